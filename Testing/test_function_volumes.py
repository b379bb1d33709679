"""Volumes, ejection fraction, mass, output and rates against shapes and curves that are known."""

from __future__ import annotations

import json

import numpy as np
import pytest
from function_shapes import SHAPE, beating, oblique_affine, plane_mm, stored_otherwise, ventricles
from refusals import refused

from CardioDiTLib.cine import LandmarkTrack, Segmentation
from CardioDiTLib.data import PhantomSpec, make_phantom
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.function import FunctionReport, cardiac_function, volume_curve_ml
from CardioDiTLib.function.timing import PeriodicCurve, peak_rates
from CardioDiTLib.function.volumes import open_end


def solid(radius_of_depth, *, slices, spacing, affine=None, size=121) -> Segmentation:
    """One frame of LV label whose slices are discs of radius_of_depth(depth in mm)."""
    shape = (slices, size, size)
    x, y = plane_mm(shape, spacing)
    depth = (np.arange(slices) + 0.5) * spacing[2]
    labels = np.stack([np.where(np.hypot(x, y) < radius_of_depth(d), 3, 0) for d in depth])[None]
    matrix = oblique_affine(spacing, shape) if affine is None else affine
    return Segmentation(labels, matrix, [0.0])


@pytest.mark.parametrize(
    ("radius_of_depth", "expected_ml", "spacing", "slices"),
    [
        (lambda d: 20.0, np.pi * 20**2 * 80 / 1000, (1.0, 1.0, 8.0), 10),
        (lambda d: 20.0, np.pi * 20**2 * 80 / 1000, (0.9, 1.3, 16.0), 5),
        (lambda d: 25.0 * (1 - d / 80.0), np.pi * 25**2 * 80 / 3000, (1.0, 1.0, 4.0), 20),
        (lambda d: 25.0 * np.sqrt(1 - (d / 80.0) ** 2), 2 / 3 * np.pi * 25**2 * 80 / 1000, (1.1, 1.1, 5.0), 16),
    ],
    ids=["cylinder", "cylinder, oblong pixels and gaps", "cone", "half-ellipsoid"],
)
def test_volume_of_solids(radius_of_depth, expected_ml, spacing, slices):
    shape = solid(radius_of_depth, slices=slices, spacing=spacing)
    assert volume_curve_ml(shape, 3)[0] == pytest.approx(expected_ml, rel=0.01)


def test_slice_distance_comes_from_the_affine_whatever_its_direction():
    spacing, shape = (1.0, 1.0, 8.0), (10, 121, 121)
    straight = np.diag([-1.0, -1.0, 8.0, 1.0])
    plain = solid(lambda d: 20.0, slices=10, spacing=spacing, affine=straight)
    oblique = solid(lambda d: 20.0, slices=10, spacing=spacing)
    assert volume_curve_ml(plain, 3)[0] == pytest.approx(volume_curve_ml(oblique, 3)[0], rel=1e-12)
    # 8-mm slices with a gap of 2 mm: the affine says 10, and so the volume is a quarter larger
    gap = Segmentation(plain.array, oblique_affine((1.0, 1.0, 10.0), shape), [0.0])
    assert volume_curve_ml(gap, 3)[0] == pytest.approx(1.25 * volume_curve_ml(plain, 3)[0], rel=1e-12)


def test_order_of_slices_does_not_change_the_volume():
    shape = solid(lambda d: 25.0 * (1 - d / 80.0), slices=20, spacing=(1.0, 1.0, 4.0))
    order = np.random.default_rng(3).permutation(20)
    mixed = Segmentation(shape.array[:, order], shape.affine, shape.frame_times)
    assert volume_curve_ml(mixed, 3)[0] == volume_curve_ml(shape, 3)[0]


def test_equal_labels_give_equal_volumes_exactly():
    segmentation, _ = beating()
    again = Segmentation(segmentation.array.copy(), segmentation.affine, segmentation.frame_times)
    assert cardiac_function(segmentation).to_dict() == cardiac_function(again).to_dict()


@pytest.mark.parametrize("flips", [(1,), (2,), (3,), (1, 2, 3)])
def test_mirrored_arrays_give_the_same_numbers(flips):
    segmentation, landmarks = beating()
    other = cardiac_function(*stored_otherwise(segmentation, landmarks, flips=flips))
    report = cardiac_function(segmentation, landmarks)
    for name in ("edv_ml", "esv_ml", "rv_edv_ml", "lv_mass_g", "cardiac_output_l_min", "peak_filling_rate_ml_s"):
        assert getattr(other, name) == pytest.approx(getattr(report, name), rel=1e-9), name


def test_labels_counted_by_hand():
    segmentation, landmarks = beating(frames=16)
    report = cardiac_function(segmentation, landmarks)
    count = {label: (segmentation.array == label).sum(axis=(1, 2, 3)) for label in (1, 2, 3)}
    voxel = 1.4 * 1.4 * 10.0 / 1000.0
    assert (report.ed_frame, report.es_frame, report.rv_ed_frame) == (0, 8, int(np.argmax(count[1])))
    assert report.edv_ml == pytest.approx(count[3][0] * voxel) and report.esv_ml == pytest.approx(count[3][8] * voxel)
    assert report.ef_percent == pytest.approx(100.0 * (1 - count[3][8] / count[3][0]))
    assert report.sv_ml == pytest.approx(report.edv_ml - report.esv_ml)
    assert report.lv_mass_g == pytest.approx(count[2][0] * voxel * 1.05)
    np.testing.assert_allclose(report.lv_mass_curve_g, count[2] * voxel * 1.05)
    assert report.rv_edv_ml == pytest.approx(count[1].max() * voxel)
    assert report.rv_ef_percent == pytest.approx(100.0 * (1 - count[1].min() / count[1].max()))
    assert report.heart_rate_bpm == pytest.approx(60.0) and report.cycle_s == pytest.approx(1.0)
    assert report.cardiac_output_l_min == pytest.approx(report.sv_ml * 60.0 / 1000.0)
    assert report.rv_cardiac_output_l_min == pytest.approx(report.rv_sv_ml * 60.0 / 1000.0)


def test_digital_phantom_has_its_known_volumes():
    """At ED and ES the base lies half-way between two slices; in between it cuts a slice, which counts in full."""
    phantom = make_phantom(PhantomSpec(frames=20, slices=25, spacing_mm=(1.5, 1.5, 5.0), shortening_mm=10.0))
    report = cardiac_function(phantom.segmentation, phantom.landmarks)
    assert report.reasons.keys() <= {
        f"segment_{n}[17]" for n in ("thickness_ed_mm", "thickness_es_mm", "thickening_percent")
    }
    assert report.edv_ml == pytest.approx(140.0, rel=0.01) and report.esv_ml == pytest.approx(56.0, rel=0.015)
    assert report.ef_percent == pytest.approx(60.0, abs=0.5)
    assert report.cardiac_output_l_min == pytest.approx(84.0 / 0.9 * 60 / 1000, rel=0.04)
    np.testing.assert_allclose(report.lv_volume_ml, phantom.lv_volume_ml, rtol=0.06)
    assert report.wall_thickness_ed_mm == pytest.approx(9.0, rel=0.05)


# --- rates ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("frames", [12, 20, 25, 50])
def test_rates_of_a_sinusoid(frames):
    phases = np.arange(frames) / frames
    volume = 100.0 + 40.0 * np.cos(2 * np.pi * phases)
    rates = peak_rates(volume, phases, 0.8)
    assert rates == pytest.approx((2 * np.pi * 40.0 / 0.8,) * 2, rel=1e-5)


def test_rates_of_unequal_frames_and_unequal_flanks():
    rng = np.random.default_rng(0)
    phases = np.sort(np.concatenate([[0.0], rng.uniform(0.01, 0.99, 23)]))
    dense = np.arange(100_000) / 100_000

    def curve(p):
        return 90 + 30 * np.cos(2 * np.pi * p) + 9 * np.sin(4 * np.pi * p) + 4 * np.cos(6 * np.pi * p + 1)

    slope = np.gradient(curve(dense), dense) / 0.9
    rates = peak_rates(curve(phases), phases, 0.9)
    assert rates.ejection_ml_s == pytest.approx(-slope.min(), rel=1e-3)
    assert rates.filling_ml_s == pytest.approx(slope.max(), rel=1e-3)
    assert rates.ejection_ml_s != pytest.approx(rates.filling_ml_s, rel=0.02)


def test_smoothing_takes_noise_away():
    rng = np.random.default_rng(1)
    phases = np.arange(30) / 30
    clean = 100.0 + 40.0 * np.cos(2 * np.pi * phases)
    errors = []
    for _ in range(20):
        noisy = clean + rng.normal(0, 2.0, 30)
        smooth = peak_rates(noisy, phases, 1.0).ejection_ml_s / (2 * np.pi * 40.0) - 1
        rough = np.max(-np.diff(noisy, append=noisy[0])) * 30 / (2 * np.pi * 40.0) - 1
        errors.append((abs(smooth), abs(rough)))
    smooth, rough = np.mean(errors, axis=0)
    assert smooth < 0.15 < rough


def test_curve_is_periodic_and_passes_through_a_constant():
    curve = PeriodicCurve(np.full(10, 80.0), np.arange(10) / 10)
    np.testing.assert_allclose(curve([0.0, 0.33, 1.0]), 80.0)
    wavy = PeriodicCurve(np.random.default_rng(2).uniform(50, 90, 15), np.arange(15) / 15)
    np.testing.assert_allclose(wavy([0.0]), wavy([1.0]))
    np.testing.assert_allclose(wavy.slope([0.0]), wavy.slope([1.0]))
    with refused(3, "frame"):
        PeriodicCurve([1.0, 2.0, 3.0], [0.0, 0.3, 0.6])


def test_rates_of_a_beating_cylinder():
    """Radius 20 + 4 cos: the volume's derivative is known."""
    frames = 40
    radius = 20.0 + 4.0 * np.cos(2 * np.pi * np.arange(frames) / frames)
    inner = np.zeros((frames, 10))
    inner[:, 1:9] = radius[:, None]
    segmentation, _ = ventricles(inner, np.where(inner > 0, 32.0, 0.0), spacing=(0.7, 0.7, 10.0), shape=(10, 150, 200))
    report = cardiac_function(segmentation)
    p = np.arange(10_000) / 10_000
    slope = np.gradient(np.pi * (20 + 4 * np.cos(2 * np.pi * p)) ** 2 * 80 / 1000, p)
    assert report.peak_ejection_rate_ml_s == pytest.approx(-slope.min(), rel=0.02)
    assert report.peak_filling_rate_ml_s == pytest.approx(slope.max(), rel=0.02)


# --- what cannot be had -----------------------------------------------------------------------------------------------


def missing(report: FunctionReport, name: str) -> str:
    value = getattr(report, name)
    assert value is None or np.all(np.isnan(value)), name
    return report.reasons[name]


def test_one_frame_has_curves_and_no_phases():
    segmentation, _ = beating()
    one = Segmentation(segmentation.array[:1], segmentation.affine, [0.0])
    report = cardiac_function(one)
    assert np.isfinite(report.lv_volume_ml).all() and np.isfinite(report.lv_mass_curve_g).all()
    for name in ("edv_ml", "ef_percent", "lv_mass_g", "wall_thickness_ed_mm", "rv_esv_ml", "ed_frame"):
        assert missing(report, name).startswith("There is one frame only")
    assert "1 frame does not sample" in missing(report, "cycle_s")


def test_two_phases_have_volumes_and_no_rates():
    segmentation, _ = beating()
    pair = Segmentation(segmentation.array[[0, 10]], segmentation.affine, [0.0, 0.4])
    report = cardiac_function(pair)
    assert report.ef_percent > 30
    assert "2 frames do not sample" in missing(report, "cardiac_output_l_min")
    assert "2 frames do not sample" in missing(report, "peak_ejection_rate_ml_s")
    known = cardiac_function(pair, heart_rate_bpm=75)
    assert known.cardiac_output_l_min == pytest.approx(known.sv_ml * 0.075)
    assert "2 frames do not sample" in missing(known, "peak_ejection_rate_ml_s")


@pytest.mark.parametrize("meta", [{"frame_times_assumed": True}, {"synthetic": True, "model": "acdc-mini"}])
def test_assumed_times_give_no_output_unless_the_heart_rate_is_known(meta):
    segmentation, _ = beating(meta=meta)
    report = cardiac_function(segmentation)
    for name in ("cardiac_output_l_min", "peak_filling_rate_ml_s", "cycle_s", "heart_rate_bpm"):
        assert "assumed" in missing(report, name) or "nominal" in missing(report, name)
    assert report.ef_percent > 30
    known = cardiac_function(segmentation, heart_rate_bpm=120)
    assert known.cycle_s == pytest.approx(0.5) and "0.5 s" in known.notes[0]
    assert known.cardiac_output_l_min == pytest.approx(known.sv_ml * 0.12)
    real = cardiac_function(beating(cycle_s=0.5)[0])
    assert known.peak_ejection_rate_ml_s == pytest.approx(real.peak_ejection_rate_ml_s)


def test_heart_rate_of_the_header_and_one_that_does_not_fit():
    segmentation, _ = beating(cycle_s=0.8, meta={"heart_rate_bpm": 60.0})
    report = cardiac_function(segmentation)
    assert report.heart_rate_bpm == 60.0 and report.cycle_s == pytest.approx(0.8)
    assert "0.8 s" in report.notes[0]
    assert not [note for note in cardiac_function(segmentation, heart_rate_bpm=75).notes if "0.8 s" in note]
    for wrong in (0, -5, 1000, float("nan")):
        with refused("heart rate", 20, 300):
            cardiac_function(segmentation, heart_rate_bpm=wrong)


def without(segmentation: Segmentation, label: int, frames=slice(None)) -> Segmentation:
    array = segmentation.array.copy()
    part = array[frames]
    part[part == label] = 0
    return Segmentation(array, segmentation.affine, segmentation.frame_times)


def test_absent_labels():
    segmentation, landmarks = beating()
    report = cardiac_function(without(segmentation, 1), landmarks)
    assert (
        missing(report, "rv_edv_ml")
        == missing(report, "rv_volume_ml")
        == "The right ventricle is not labelled in any frame."
    )
    assert np.isfinite(report.edv_ml) and np.isfinite(report.segment_thickness_ed_mm[:16]).all()
    report = cardiac_function(without(segmentation, 3), landmarks)
    assert "left ventricle is not labelled" in missing(report, "edv_ml")
    assert "left ventricle is not labelled" in missing(report, "lv_mass_g")
    assert np.isfinite(report.rv_edv_ml)
    report = cardiac_function(without(segmentation, 2), landmarks)
    assert "myocardium is not labelled" in missing(report, "lv_mass_g")
    assert "no slice shows a closed ring" in missing(report, "wall_thickness_ed_mm").lower()
    assert np.isfinite(report.edv_ml)
    report = cardiac_function(without(segmentation, 2, slice(0, 1)), landmarks)
    assert "not labelled at end-diastole" in missing(report, "lv_mass_g")
    assert np.isnan(report.lv_mass_curve_g).sum() == 1
    assert report.reasons["lv_mass_curve_g"].startswith("The myocardium is not labelled in 1 of")
    assert "lv_mass_curve_g" not in cardiac_function(segmentation, landmarks).reasons


def test_frames_without_labels_are_gaps_not_zeros():
    segmentation, _ = beating()
    report = cardiac_function(without(segmentation, 3, slice(3, 6)))
    assert np.isnan(report.lv_volume_ml[3:6]).all() and np.isfinite(report.lv_volume_ml[6:]).all()
    assert report.esv_ml == cardiac_function(segmentation).esv_ml
    assert "3 of 20 frames" in report.reasons["lv_volume_ml"]
    assert "3 of 20 frames" in missing(report, "peak_ejection_rate_ml_s")
    assert np.isfinite(report.rv_peak_ejection_rate_ml_s)
    only = cardiac_function(without(segmentation, 3, slice(1, None)))
    assert "one frame only" in missing(only, "esv_ml")


def test_a_heart_that_stands_still():
    segmentation, _ = beating(ed_mm=20.0, es_mm=20.0)
    assert "the same in all frames" in missing(cardiac_function(segmentation), "ef_percent")


def cut(slices: slice) -> Segmentation:
    segmentation, _ = beating()
    affine = segmentation.affine.copy()
    affine[:3, 3] += affine[:3, 2] * (slices.start or 0)
    return Segmentation(segmentation.array[:, slices], affine, segmentation.frame_times)


def test_a_stack_that_ends_inside_the_ventricle():
    whole = cardiac_function(beating()[0])
    for slices, where in ((slice(4, 10), "first slice (base)"), (slice(0, 6), "last slice (apex)")):
        report = cardiac_function(cut(slices))
        for name in ("edv_ml", "ef_percent", "cardiac_output_l_min", "peak_filling_rate_ml_s", "lv_mass_g"):
            assert where in missing(report, name), name
        assert (
            np.isfinite(report.lv_volume_ml).all()
            and "only the labelled part" in report.reasons["lv_volume_ml"].lower()
        )
        vouched = cardiac_function(cut(slices), stack_covers_heart=True)
        assert 0 < vouched.edv_ml < whole.edv_ml and any(where in note for note in vouched.notes)
    assert not {"edv_ml", "ef_percent", "lv_mass_g"} & whole.reasons.keys()


def test_a_stack_that_begins_with_the_ventricle_is_covered_and_says_so():
    report = cardiac_function(cut(slice(1, 10)))
    whole = cardiac_function(beating()[0])
    assert report.edv_ml == whole.edv_ml and report.lv_mass_g == whole.lv_mass_g
    assert any("begin at the valve plane" in note and "first slice (base)" in note for note in report.notes)
    assert not any("valve plane" in note for note in whole.notes)
    # who wants it strict gets it strict
    assert "first slice" in missing(cardiac_function(cut(slice(1, 10)), stack_covers_heart=False), "edv_ml")


def test_criterion_of_coverage():
    areas = np.array([[90.0, 100.0, 60.0, 20.0], [0.0, 90.0, 40.0, 0.0]])
    # the valve plane passes through the first slice: closed at the base in both frames
    assert open_end(areas, 0, "first") is None and open_end(areas, 1, "first") is None
    assert open_end(areas[:1], 0, "first") == "first slice (base)"
    # without knowing the base, every frame is judged by itself
    assert open_end(areas, 0, None) == "first slice"
    # at the apex the frame itself must taper to a third
    wide = areas.copy()
    wide[0, -1] = 34.0
    assert open_end(wide, 0, "first") == "last slice (apex)"
    wide[0, -1] = 33.0
    assert open_end(wide, 0, "first") is None
    assert open_end(np.full((2, 3), 5.0), 1, "last") == "first slice (apex) and last slice (base)"


def test_landmarks_of_another_cine_are_refused():
    segmentation, landmarks = beating()
    other = LandmarkTrack(landmarks.points[:, :5], landmarks.confidence[:, :5], landmarks.frame_times)
    with refused(20, 5, 10):
        cardiac_function(segmentation, other)


# --- the report -------------------------------------------------------------------------------------------------------


def test_report_round_trip():
    segmentation, landmarks = beating(meta={"source": "made up", "spacing": np.float64(1.5), "bad": float("nan")})
    report = cardiac_function(segmentation, landmarks)
    text = json.dumps(report.to_dict(), allow_nan=False)
    again = FunctionReport.from_dict(json.loads(text))
    assert again.to_dict() == report.to_dict() and again.reasons == report.reasons
    np.testing.assert_array_equal(again.segment_thickness_ed_mm, report.segment_thickness_ed_mm)
    assert np.isnan(again.segment_thickness_ed_mm[16]) and again.ed_frame == 0
    assert not report.lv_volume_ml.flags.writeable


def test_every_missing_number_has_a_reason():
    segmentation, landmarks = beating()
    for report in (
        cardiac_function(segmentation),
        cardiac_function(segmentation, landmarks),
        cardiac_function(Segmentation(segmentation.array[:1], segmentation.affine, [0.0]), None),
        cardiac_function(cut(slice(2, 6))),
        cardiac_function(Segmentation(np.zeros((3, *SHAPE), np.uint8), segmentation.affine, [0, 1, 2])),
    ):
        for name, value in report.to_dict().items():
            if value is None:
                assert report.reasons[name].endswith("."), name
            elif isinstance(value, list) and value and name.startswith(("segment_", "septal_", "lv_", "rv_")):
                for number in [i for i, entry in enumerate(value) if entry is None]:
                    assert name in report.reasons or f"{name}[{number + 1}]" in report.reasons, name


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"schema": "other"}, "'other'"),
        ({"edv": 1}, "unknown edv"),
        ({"edv_ml": "much"}, "'edv_ml'.*'much'"),
        ({"segment_thickness_ed_mm": [1.0]}, "segment_thickness_ed_mm"),
    ],
)
def test_damaged_reports_are_refused(change, expected):
    with pytest.raises(CardioDiTError, match=expected):
        FunctionReport.from_dict({**cardiac_function(beating()[0]).to_dict(), **change})

"""Planted faults are seen by the right number, and by no other reason than the fault."""

from __future__ import annotations

import json

import numpy as np
import pytest
from evaluation_cohorts import cohort, phantoms
from refusals import refused
from scipy import ndimage

from CardioDiTLib.cine import Cine, Segmentation
from CardioDiTLib.data import PhantomSpec, make_phantom
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.evaluation import (
    FEATURES,
    Cohort,
    SynthesisReport,
    evaluate_synthesis,
    from_json,
    measure_cine,
    measure_cohort,
    save_csv,
    to_json,
    to_markdown,
    to_text,
)
from CardioDiTLib.evaluation.evaluation_grid import judging_grid
from CardioDiTLib.evaluation.measures import MeasuredCohort
from CardioDiTLib.evaluation.side_by_side import compare_models
from CardioDiTLib.evaluation.tables import CSV_HEADER
from CardioDiTLib.reporting.tables import write_text

HALVES = 60


@pytest.fixture(scope="module")
def real() -> MeasuredCohort:
    return measure_cohort(cohort(phantoms(20, 0), "real", ["A", "B"] * 10))


@pytest.fixture(scope="module")
def hearts():
    return phantoms(10, 1)


@pytest.fixture(scope="module")
def measured(hearts) -> MeasuredCohort:
    return measure_cohort(cohort(hearts, "synthetic", ["A", "B"] * 5))


@pytest.fixture(scope="module")
def good(real, measured) -> SynthesisReport:
    return evaluate_synthesis(real, measured, resamples=HALVES)


def report_of(real: MeasuredCohort, cines: list[Cine]) -> SynthesisReport:
    return evaluate_synthesis(real, Cohort.from_cines(cines), resamples=HALVES)


def changed(hearts, change) -> list[Cine]:
    return [heart.cine.with_array(change(heart.cine.array)) for heart in hearts]


def outside(report: SynthesisReport) -> set[str]:
    return {one.field for one in report.quantities if one.distance.within_floor is False and not one.group}


def test_real_against_real_lies_within_the_floor(good):
    compared = [one.distance.within_floor for one in good.quantities]
    assert None not in compared and np.mean(compared) > 0.85
    sets = [number.within_floor for part in good.sets.values() for number in part.values()]
    assert None not in sets and np.mean(sets) > 0.85
    assert good.duplicates == () and good.n_real == 20 and good.n_synthetic_labelled == 10
    assert {one.group for one in good.quantities} == {"", "A", "B"}
    number = good.quantity("edv_ml").distance
    assert (number.n_real, number.n_synthetic, number.n_matched) == (20, 10, 10)


def test_hearts_that_stand_still_lack_motion(real, hearts, good):
    report = report_of(real, changed(hearts, lambda a: np.repeat(a[:1], len(a), axis=0)))
    motion = report.quantity("motion_amount")
    assert motion.synthetic.median == 0 and motion.distance.within_floor is False
    assert motion.distance.matched > 3 * good.quantity("motion_amount").distance.matched
    rough = report.quantity("temporal_roughness")
    assert rough.synthetic.n == 0 and rough.synthetic.missing == 10
    assert rough.synthetic.reasons == {"Nothing moves.": 10} and "synthetic" in rough.distance.reason


def test_shuffled_frames_are_rough_in_time_alone(real, hearts):
    order = np.random.default_rng(0).permutation(16)
    report = report_of(real, changed(hearts, lambda a: a[order]))
    assert {"temporal_roughness", "temporal_slow_share", "temporal_fast_share"} <= outside(report)
    assert not outside(report) & {"through_plane_correlation", "through_plane_step", "sharpness_per_mm2"}


def test_shuffled_slices_do_not_hang_together(real, hearts):
    order = [4, 0, 7, 2, 8, 5, 1, 6, 3]
    report = report_of(real, changed(hearts, lambda a: a[:, order]))
    assert {"through_plane_correlation", "through_plane_step"} <= outside(report)
    assert not outside(report) & {"temporal_roughness", "cycle_closure", "motion_amount", "sharpness_per_mm2"}
    assert report.quantity("through_plane_step").synthetic.median > 0.9


def test_blurred_pictures_are_not_sharp(real, hearts):
    report = report_of(real, changed(hearts, lambda a: ndimage.gaussian_filter(a, (0, 0, 1.5, 1.5))))
    sharp = report.quantity("sharpness_per_mm2")
    assert sharp.distance.within_floor is False and sharp.synthetic.p95 < sharp.real.p05
    assert report.sets["cine-spectrum-1"]["kernel_distance"].within_floor is False


def test_a_cycle_that_does_not_close(real, hearts):
    report = report_of(real, changed(hearts, lambda a: a[np.minimum(np.arange(16) // 2, 6)]))
    assert "cycle_closure" in outside(report)
    assert report.quantity("cycle_closure").synthetic.p05 > report.quantity("cycle_closure").real.p95


def test_one_cine_repeated_lacks_variety(real, hearts):
    report = report_of(real, [hearts[0].cine] * 10)
    assert len(report.duplicates) == 45
    for feature in FEATURES:
        numbers = report.sets[feature]
        assert numbers["mean_distance"].value == 0 and numbers["mean_distance"].within_floor is False
        assert numbers["recall"].within_floor is False and numbers["recall"].value <= 0.05
    assert "45 pairs" in to_text(report)


def test_doubled_hearts_are_seen_by_physiology(real):
    big = [
        make_phantom(PhantomSpec(slices=9, height=100, width=100, edv_ml=280, seed=s, long_axis_mm=78))
        for s in range(6)
    ]
    report = evaluate_synthesis(real, cohort(big, "synthetic"), resamples=HALVES)
    edv = report.quantity("edv_ml")
    assert edv.distance.within_floor is False and edv.distance.value == pytest.approx(135, abs=25)
    assert report.sets["physiology"]["frechet_distance"].within_floor is False
    assert report.sets["physiology"]["frechet_distance"].matched > 10


def test_doubled_voxels_double_volumes_and_nothing_else(real, hearts):
    """Labels on voxels twice as thick: the numbers come from millimetres, not from voxels."""
    heart = hearts[0]
    affine = heart.cine.affine.copy()
    affine[:3, 2] *= 2
    thick = measure_cine(
        Cine(heart.cine.array, affine, heart.cine.frame_times),
        Segmentation(heart.segmentation.array, affine, heart.cine.frame_times),
    )
    plain = measure_cine(heart.cine, heart.segmentation)
    assert thick.values["edv_ml"] == pytest.approx(2 * plain.values["edv_ml"])
    assert thick.values["ef_percent"] == pytest.approx(plain.values["ef_percent"])
    assert thick.values["sharpness_per_mm2"] == pytest.approx(plain.values["sharpness_per_mm2"])


def test_the_order_of_the_cines_changes_nothing(real, hearts, good):
    groups = ["A", "B"] * 5
    order = [7, 2, 9, 0, 1, 5, 8, 3, 6, 4]
    again = evaluate_synthesis(
        real, cohort([hearts[i] for i in order], "synthetic", [groups[i] for i in order]), resamples=HALVES
    )
    assert again.to_dict() == good.to_dict()


def test_seeds_reproduce_and_differ(real, measured, good):
    assert evaluate_synthesis(real, measured, resamples=HALVES).to_dict() == good.to_dict()
    other = evaluate_synthesis(real, measured, resamples=HALVES, seed=1)
    assert other.quantity("edv_ml").distance.floor_high != good.quantity("edv_ml").distance.floor_high
    assert other.quantity("edv_ml").distance.value == good.quantity("edv_ml").distance.value


@pytest.mark.parametrize("count", [1, 2])
def test_tiny_cohorts_give_nan_with_reasons(real, hearts, count):
    report = evaluate_synthesis(real, cohort(hearts[:count], "synthetic"), resamples=HALVES)
    hog = report.sets["cine-hog-1"]
    assert np.isfinite(hog["precision"].value) and np.isnan(hog["recall"].value) and hog["recall"].reason
    assert np.isfinite(report.quantity("edv_ml").distance.value)
    if count == 1:
        assert np.isnan(hog["kernel_distance"].value) and hog["kernel_distance"].within_floor is None
        assert hog["kernel_distance"].reason == "Fewer than two synthetic cines have no spread."
        assert np.isnan(report.sets["physiology"]["frechet_distance"].value)
    alone = evaluate_synthesis(cohort(hearts[:count], "real"), cohort(hearts[2:4], "synthetic"), resamples=HALVES)
    assert alone.quantity("edv_ml").distance.within_floor is None
    assert alone.quantity("edv_ml").distance.reason.startswith("Fewer than four real cines")
    for one in (report, alone):
        assert SynthesisReport.from_dict(json.loads(to_json(one))).to_dict() == one.to_dict()
        assert "nan" not in to_text(one)


def test_hearts_that_are_all_alike_have_no_scale(hearts):
    few = evaluate_synthesis(cohort(hearts[:1] * 4, "a"), cohort(hearts[1:3], "b"), resamples=HALVES)
    distance = few.sets["physiology"]["frechet_distance"]
    assert np.isnan(distance.value) and "do not vary" in distance.reason


def test_notes_of_several_models_name_them(hearts):
    still = [Segmentation(h.segmentation.array[:, 3:], h.cine.affine, h.cine.frame_times) for h in hearts[:2]]
    cut = Cohort.from_cines([Cine(h.cine.array[:, 3:], h.cine.affine, h.cine.frame_times) for h in hearts[:2]], still)
    found = compare_models(cohort(hearts[2:4], "real"), {"whole": cohort(hearts[:2], "a"), "cut": cut}, resamples=2)
    (told,) = [line for line in found.to_text().splitlines() if "labelled synthetic cines have no volumes" in line]
    assert told.startswith("cut: 2 of 2")


def test_missing_labels_are_counted_and_never_dropped(real, hearts):
    labels = [heart.segmentation if i < 4 else None for i, heart in enumerate(hearts[:6])]
    cines = [heart.cine for heart in hearts[:6]]
    report = evaluate_synthesis(real, Cohort.from_cines(cines, labels), resamples=HALVES)
    edv = report.quantity("edv_ml").synthetic
    assert (edv.n, edv.missing, edv.reasons) == (4, 2, {"No labels.": 2})
    assert report.n_synthetic_labelled == 4 and "missing on 2 of 6 synthetic cines. No labels." in to_text(report)
    assert any("rests on 4 of 6 synthetic cines" in note for note in report.notes)
    none = evaluate_synthesis(real, cines[:2], resamples=HALVES)
    frechet = none.sets["physiology"]["frechet_distance"]
    assert np.isnan(frechet.value) and frechet.reason.startswith("No quantity was measured")


def test_stacks_that_do_not_cover_the_heart_are_said_and_can_be_vouched_for(hearts):
    heart = hearts[0]
    affine = heart.cine.affine
    cut = [
        Cine(heart.cine.array[:, 2:6], affine, heart.cine.frame_times),
        Segmentation(heart.segmentation.array[:, 2:6], affine, heart.cine.frame_times),
    ]
    both = Cohort.from_cines([cut[0]] * 2, [cut[1]] * 2)
    report = evaluate_synthesis(both, both, resamples=2)
    edv = report.quantity("edv_ml").real
    assert edv.n == 0 and list(edv.reasons.values()) == [2] and "mL" not in next(iter(edv.reasons))
    assert any(note.startswith("2 of 2 labelled real cines have no volumes") for note in report.notes)
    vouched = evaluate_synthesis(both, both, resamples=2, stack_covers_heart=True)
    assert vouched.quantity("edv_ml").real.n == 2
    assert any("taken for complete" in note for note in vouched.notes)


def test_reports_as_tables(good, tmp_path):
    text, markdown = to_text(good), to_markdown(good)
    edv = good.quantity("edv_ml")
    for shown in (text, markdown):
        assert "10 synthetic cines" in shown and f"{edv.synthetic.median:.1f}" in shown and "cine-hog-1" in shown
    widths = {line.count("|") for line in markdown.splitlines() if line.startswith("|") and "MMD" not in line}
    assert widths == {9, 8}
    path = save_csv(good, tmp_path / "r.csv")
    rows = [line.split(",") for line in path.read_text(encoding="utf-8").splitlines()]
    assert rows[0] == list(CSV_HEADER)
    assert len(rows) == 1 + len(good.quantities) + sum(map(len, good.sets.values()))
    first = dict(zip(rows[0], rows[1]))
    assert first["number"] == "edv_ml" and float(first["real_median"]) == pytest.approx(edv.real.median, rel=1e-5)
    read = from_json(write_text(to_json(good), tmp_path / "r.json"))
    assert read.to_dict() == good.to_dict()


def test_damaged_reports_are_refused(good, tmp_path):
    values = good.to_dict()
    for bad, *named in (
        ({**values, "schema": "x"}, "schema"),
        ({**values, "extra": 1}, "extra"),
        ({k: v for k, v in values.items() if k != "sets"}, "sets"),
        ({**values, "quantities": [{"field": "a"}]}, "quantity", "title", "distance"),
        ({**values, "n_real": "many"}, "n_real", "many"),
    ):
        with refused(*named):
            SynthesisReport.from_dict(bad)
    (tmp_path / "bad.json").write_text("{", encoding="utf-8")
    for path, word in ((tmp_path / "bad.json", "JSON"), (tmp_path / "none.json", "No such file or directory")):
        with refused(path, word):
            from_json(path)
    with refused("mood", "quantities"):
        good.quantity("mood")


@pytest.mark.parametrize(
    ("named", "settings"),
    [(("0 cines",), {"neighbours": 0}), (("0 resamples",), {"resamples": 0}), (("seed -1",), {"seed": -1})],
)
def test_impossible_settings(real, hearts, named, settings):
    with refused(*named):
        evaluate_synthesis(real, [hearts[0].cine], **settings)


def test_empty_cohorts_and_other_boxes(real, hearts):
    with refused("synthetic", "no cines"):
        evaluate_synthesis(real, [])
    other = measure_cohort(Cohort.from_cines([hearts[0].cine]), centre="heart")
    with refused("heart", "places"):
        evaluate_synthesis(real, other)
    with refused("1 cines", "2 segmentations"):
        Cohort.from_cines([hearts[0].cine], [None, None])


def test_the_judging_grid_crops_without_blur_and_follows_the_heart(hearts):
    cine = hearts[0].cine
    judged = judging_grid(cine)
    assert not judged.resampled and judged.frames.shape == (16, 9, 96, 96) and judged.cycle is judged.frames
    low, high = np.percentile(cine.array[:, :, 2:98, 2:98], (1, 99.5))
    expected = np.clip((cine.array[:, :, 2:98, 2:98] - low) / (high - low), 0, 1)
    np.testing.assert_allclose(judged.frames, expected, atol=1e-5)
    moved = make_phantom(PhantomSpec(height=160, width=160, centre_mm=(30.0, -21.0)))
    still = make_phantom(PhantomSpec(height=160, width=160))
    there = judging_grid(moved.cine, "heart", moved.segmentation.array)
    here = judging_grid(still.cine, "heart", still.segmentation.array)
    assert there.centred_on_heart
    assert np.corrcoef(there.frames.ravel(), here.frames.ravel())[0, 1] > 0.8
    assert np.corrcoef(judging_grid(moved.cine).frames.ravel(), here.frames.ravel())[0, 1] < 0.6
    frozen = moved.cine.with_array(np.repeat(moved.cine.array[:1], 16, axis=0))
    assert not judging_grid(frozen, "heart").centred_on_heart
    with pytest.raises(CardioDiTError, match="'liver'"):
        judging_grid(cine, "liver")  # type: ignore[arg-type]


def test_finer_pixels_and_more_frames_come_to_the_same_grid():
    coarse = make_phantom(PhantomSpec(frames=32, slices=6, noise=0.0)).cine
    affine = coarse.affine.copy()
    affine[:3, :2] /= 2
    fine = Cine(coarse.array.repeat(2, axis=2).repeat(2, axis=3), affine, coarse.frame_times)
    slow = Cine(coarse.array[::2], coarse.affine, coarse.frame_times[::2])
    a, b = judging_grid(fine), judging_grid(slow)
    assert a.resampled and not b.resampled and a.frames.shape[0] == 32

    def alike(shift: int) -> float:
        return float(np.corrcoef(np.roll(a.cycle, shift, axis=3).ravel(), b.cycle.ravel())[0, 1])

    # Were the box off by half a pixel, a shift to one side would fit better.
    assert alike(0) > 0.99 and alike(1) == pytest.approx(alike(-1), abs=0.005) and alike(1) < alike(0)
    report = evaluate_synthesis([slow], [fine], resamples=2)
    assert any("interpolated" in note for note in report.notes) and any("own frames" in note for note in report.notes)


def test_features_do_not_change():
    """Versioned names: these numbers may only change together with the name."""
    t, z = np.arange(16)[:, None, None, None] / 16, np.arange(6)[None, :, None, None]
    y, x = (np.arange(96) - 47.5)[None, None, :, None], (np.arange(96) - 47.5)[None, None, None, :]
    rings = np.cos(np.hypot(x, 1.2 * y + z) / (5 + z + np.cos(2 * np.pi * t))) + 0.2 * np.sin(x / 3 + y / 5)
    judged = judging_grid(Cine(rings.astype(np.float32), np.diag([1.5, 1.5, 8, 1]), np.arange(16) * 0.05))
    hog, spectrum = FEATURES["cine-hog-1"](judged), FEATURES["cine-spectrum-1"](judged)
    assert set(FEATURES) == {"cine-hog-1", "cine-spectrum-1"}
    assert hog.shape == (1536,) and spectrum.shape == (60,)
    np.testing.assert_allclose(hog[::192], [0.4251, 0.2708, 0.4891, 0.4447, 0.1787, 1.0426, 0.4891, 0.4447], atol=2e-3)
    np.testing.assert_allclose(
        spectrum[::7][:8], [0.0771, -1.8209, -2.4643, 0.0002, -2.4848, 0.053, -1.5923, 1.4991], atol=2e-3
    )
    np.testing.assert_allclose((hog.reshape(12, 128) ** 2).mean(axis=1), 1.0)
    blank = judging_grid(Cine(np.zeros((4, 1, 20, 20), np.int16), np.diag([1.5, 1.5, 8, 1]), np.arange(4) * 0.1))
    assert not FEATURES["cine-hog-1"](blank).any() and np.isfinite(FEATURES["cine-spectrum-1"](blank)).all()


def test_a_gradient_falls_into_its_direction():
    ramp = np.broadcast_to(np.arange(96, dtype=np.float32), (16, 1, 96, 96))  # brighter to the right
    cine = Cine(np.array(ramp), np.diag([1.5, 1.5, 8, 1]), np.arange(16) * 0.05)
    to_right = FEATURES["cine-hog-1"](judging_grid(cine)).reshape(12, 16, 8)
    assert (to_right[..., 0] > 0).all() and not to_right[..., 1:].any()
    down = cine.with_array(cine.array.swapaxes(2, 3))
    to_bottom = FEATURES["cine-hog-1"](judging_grid(down)).reshape(12, 16, 8)
    assert (to_bottom[..., 2] > 0).all() and np.abs(np.delete(to_bottom, 2, axis=2)).max() < 1e-6

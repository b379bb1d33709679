"""The numbers by which generated cines are judged, on labelled phantoms with known answers."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

# The benchmarks are scripts, not a package: they find each other through their own folder.
sys.path.insert(0, str(Path(__file__).parent / "benchmarks"))

import cohort_numbers as cn
import sample_quality as sq

SPACING = (1.5, 1.5, 10.0)
FRAMES, SLICES, SIZE = 16, 6, 96
WALL_MM = 10.0


def beating_heart(
    ed_radius_mm: float = 25.0, ef: float = 0.6, wall_mm: float = WALL_MM
) -> tuple[np.ndarray, np.ndarray]:
    """A cylinder that contracts and comes back: images and labels (T, Z, Y, X); frame 0 ED, frame 8 ES."""
    phase = (1 - np.cos(2 * np.pi * np.arange(FRAMES) / FRAMES)) / 2
    radius = ed_radius_mm * np.sqrt(1 - ef * phase)
    y, x = (np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2) * SPACING[0]
    away = np.hypot(y, x)
    labels = np.zeros((FRAMES, SLICES, SIZE, SIZE), np.uint8)
    for t, r in enumerate(radius):
        labels[t][:, np.hypot(y, x + 45) < 18] = 1
        labels[t][:, away < r + wall_mm] = 2
        labels[t][:, away < r] = 3
    images = np.array([20, 180, 80, 200], np.float32)[labels]
    return images, labels


def test_volumes_ef_mass_and_wall_of_a_known_heart() -> None:
    images, labels = beating_heart(25.0, 0.6)
    found = cn.cine_numbers(images, labels, SPACING)
    edv = np.pi * 2.5**2 * SLICES
    assert found.edv_ml == pytest.approx(edv, rel=0.01)
    assert found.esv_ml == pytest.approx(0.4 * edv, rel=0.02)
    assert found.ef_percent == pytest.approx(60, abs=1)
    assert (found.ed_frame, found.es_frame) == (0, 8)
    assert found.lv_volume_ml[4] == pytest.approx(0.7 * edv, rel=0.02)
    assert found.lv_mass_g == pytest.approx(np.pi * (3.5**2 - 2.5**2) * SLICES * 1.05, rel=0.02)
    assert found.wall_mean_mm == pytest.approx(WALL_MM, abs=0.3)
    assert found.wall_max_mm == pytest.approx(WALL_MM, abs=0.8)
    assert found.lv_slices == SLICES
    assert found.rough_slices == 0
    assert 0 < found.join_mean < 1
    assert found.motion > 0.1


def test_a_thick_septum_shows_in_the_thickest_sector_and_less_in_the_mean() -> None:
    _, labels = beating_heart()
    y, x = (np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2) * SPACING[0]
    thick = labels[0].copy()
    # Twenty mm of muscle towards the right ventricle, over 90 degrees.
    septum = (np.hypot(y, x) < 45) & (np.hypot(y, x) >= 25) & (-x > np.abs(y))
    thick[:, septum] = 2
    mean, sector = cn.wall_thickness_mm(thick, SPACING)
    assert sector == pytest.approx(20, abs=1)
    assert WALL_MM + 1 < mean < 15


def test_neighbouring_slices_are_counted_in_the_worst_frame() -> None:
    images, labels = beating_heart()
    holed = labels.copy()
    holed[5, 3] = 0
    assert cn.cine_numbers(images, holed, SPACING).lv_slices == 3
    assert cn.longest_run(np.array([[True, True, False, True, True, True], [False] * 6])).tolist() == [3, 0]


def test_a_cavity_without_muscle_or_of_a_few_pixels_is_no_lv() -> None:
    _, labels = beating_heart()
    bare = np.where(labels == 2, 0, labels)
    assert not cn.lv_present(bare, SPACING).any()
    tiny = np.full((1, 1, 32, 32), 2, np.uint8)
    tiny[0, 0, 14:18, 14:19] = 3  # 45 mm^2
    assert not cn.lv_present(tiny, SPACING).any()
    tiny[0, 0, 14:20, 14:19] = 3  # 67.5 mm^2
    assert cn.lv_present(tiny, SPACING).all()


def test_cleaning_keeps_the_heart_and_drops_what_lies_about() -> None:
    _, labels = beating_heart()
    dirty = labels.copy()
    dirty[2, 1, 40:44, 88:92] = 3  # an island of LV in the outskirts
    dirty[3, 2, 2:6, 2:6] = 2  # muscle far away
    dirty[4, 3, 90:94, 2:5] = 1
    np.testing.assert_array_equal(cn.clean_labels(dirty), labels)


def test_cleaning_ignores_a_large_lv_at_the_rim_and_keeps_planes_apart() -> None:
    labels = np.zeros((2, 2, 64, 64), np.uint8)
    labels[0, 0, :5, :40] = 3  # large, outside the middle
    labels[0, 0, 30:34, 30:34] = 3
    labels[1, 1, 28:36, 28:36] = 3
    labels[0, 1, 20:30, 20:30] = 2  # no LV here: its muscle stays
    clean = cn.clean_labels(labels)
    assert (clean[0, 0] == 3).sum() == 16
    assert (clean[1, 1] == 3).sum() == 64
    assert (clean[0, 1] == 2).sum() == 100


def test_no_heart_gives_nan_and_zero_slices() -> None:
    images, labels = beating_heart()
    found = cn.cine_numbers(images, np.zeros_like(labels), SPACING)
    assert found.lv_slices == 0 and found.edv_ml == 0
    assert np.isnan([found.ef_percent, found.rough_time, found.rough_slices, found.wall_mean_mm]).all()
    assert np.isfinite(found.motion)
    with pytest.raises(ValueError, match="one shape"):
        cn.cine_numbers(images, labels[:3], SPACING)


def test_join_of_a_ramp_and_of_a_closed_cycle() -> None:
    ramp = np.arange(8, dtype=np.float32)[:, None, None, None] * np.ones((1, 2, 16, 16), np.float32)
    assert cn.join_ratios(ramp) == pytest.approx((7, 7))
    closed = np.minimum(ramp, 8 - ramp)
    assert cn.join_ratios(closed) == pytest.approx((1, 1))
    # What happens outside the heart box is not looked at.
    closed[-1, :, :3] += 100
    assert cn.join_ratios(closed) == pytest.approx((1, 1))
    assert np.isnan(cn.join_ratios(np.ones((8, 2, 16, 16)))).all()


def test_motion_is_the_change_over_the_spread() -> None:
    rng = np.random.default_rng(0)
    cine = np.repeat(rng.normal(0, 10, (1, 2, 64, 64)), 4, axis=0)
    cine[2] += 5
    assert cn.motion_share(cine, 2) == pytest.approx(0.5, abs=0.02)
    assert cn.motion_share(cine, 1) == 0


def test_roughness_sees_a_jump_in_space_and_in_time() -> None:
    even = np.tile(np.array([0.0, 50, 40, 30, 20, 10, 0]), (6, 1))
    assert cn.roughness_through_slices(even) == 0
    assert cn.roughness_through_time(even) == 0
    gap = even.copy()
    gap[:, 3] = 0  # second differences of 50 -> 40 -> 0 -> 20 -> 10: 30, 60, 30 over a mean of 24
    assert cn.roughness_through_slices(gap) == pytest.approx(40 / 24)
    flicker = even + 10 * (np.arange(6) % 2)[:, None]
    assert cn.roughness_through_time(flicker) == pytest.approx(20 / (10 + 0.1 * flicker.mean()))


def test_cohort_statistics() -> None:
    assert cn.wasserstein([1, 2, 3], [4, 5, 6, np.nan]) == pytest.approx(3)
    assert np.isnan(cn.wasserstein([np.nan], [1.0]))
    assert cn.superiority([3, 4], [1, 2]) == 1
    assert cn.superiority([1, 2], [1, 2]) == 0.5


def test_floor_follows_number_and_mix_of_groups() -> None:
    values = np.concatenate([np.linspace(0, 20, 30), np.linspace(60, 80, 30)])
    groups = ["DCM"] * 30 + ["NOR"] * 30
    even = cn.subset_floor(values, groups, {"DCM": 16, "NOR": 16}, draws=100)
    assert 0.5 < even["distance_median"] < even["distance_p95"] < 6
    any_mix = cn.subset_floor(values, groups, {"": 32}, draws=100)
    assert any_mix["distance_p95"] > 2 * even["distance_p95"]
    assert (
        cn.subset_floor(values, groups, {"DCM": 1000, "NOR": 1000}, draws=100)["distance_median"]
        < even["distance_median"]
    )
    lopsided = cn.subset_floor(values, groups, {"DCM": 32, "unheard of": 5}, draws=100)
    assert lopsided["distance_median"] == pytest.approx(30, abs=2)
    assert lopsided["shift_median"] == pytest.approx(30, abs=4)


@pytest.fixture(scope="module")
def cohort() -> tuple[list[cn.CineNumbers], list[str]]:
    cines, groups = [], []
    for group, radius, ef, wall in (("NOR", 25, 0.6, 8), ("DCM", 33, 0.2, 8), ("HCM", 22, 0.7, 14)):
        for step in range(3):
            cines.append(cn.cine_numbers(*beating_heart(radius + step, ef + 0.02 * step, wall), SPACING))
            groups.append(group)
    return cines, groups


def test_bars_hold_for_the_training_set_itself(cohort) -> None:
    cines, groups = cohort
    found = cn.bars(cines, groups, cines)
    assert len(found) == 11
    assert all(bar["holds"] for bar in found.values()), found
    assert found["EF 1-Wasserstein distance"]["value"] == 0


@pytest.mark.parametrize(
    ("spoil", "missed"),
    [
        (lambda one: replace(one, lv_slices=3), "LV in >= 4 neighbouring slices"),
        (lambda one: replace(one, ef_percent=one.ef_percent + 11), "EF median"),
        (lambda one: replace(one, ef_percent=60.0), "EF 1-Wasserstein"),
        (lambda one: replace(one, rough_time=one.rough_time * 5 + 1), "smooth through time"),
        (lambda one: replace(one, rough_slices=float("nan")), "smooth through slices"),
        (lambda one: replace(one, edv_ml=-one.edv_ml), "DCM - NOR, median EDV"),
        (lambda one: replace(one, wall_mean_mm=-one.wall_mean_mm), "HCM - NOR, median mean wall"),
        (lambda one: replace(one, join_max=1.5), "largest other step"),
        (lambda one: replace(one, join_mean=1.5), "mean other step"),
    ],
)
def test_each_bar_can_be_missed(cohort, spoil, missed) -> None:
    cines, groups = cohort
    found = cn.bars([spoil(one) for one in cines], groups, cines)
    assert any(missed in name and not bar["holds"] for name, bar in found.items()), found


def test_report_puts_cohorts_side_by_side_and_survives_json(cohort, tmp_path, capsys) -> None:
    cines, groups = cohort
    record = {
        "judged": [asdict(one) for one in cines],
        "labelled": [asdict(one) for one in cines],
        "groups": groups,
        "validation": [i % 3 == 0 for i in range(len(cines))],
    }
    record["judged"][0]["rough_time"] = float("nan")
    sq._write_json(tmp_path / "real.json", record)
    assert "NaN" not in (tmp_path / "real.json").read_text(encoding="utf-8")
    real = json.loads((tmp_path / "real.json").read_text(encoding="utf-8"))
    assert np.isnan(cn.CineNumbers.from_dict(real["judged"][0]).rough_time)
    report = sq.make_report(real, cines, groups)
    assert [c["count"] for c in report["cohorts"].values()] == [9, 3, 6, 6]
    assert report["cohorts"]["samples"]["chances"]["DCM lower EF than NOR"] == 1
    assert report["cohorts"]["samples"]["groups"]["DCM"]["ef_percent"] == pytest.approx(22, abs=1)
    sq.print_table(report)
    shown = capsys.readouterr().out
    assert "holds" in shown and "real held-out" in shown
    assert "bars" not in sq.make_report(real, None, ())


def test_samples_are_read_from_an_array(tmp_path) -> None:
    images = np.zeros((3, 4, 2, 16, 16), np.uint8)
    np.savez(tmp_path / "a.npz", images=images, groups=np.array([1, 0, -1]))
    found = sq.read_array(tmp_path / "a.npz", ("DCM", "NOR"), SPACING)
    assert found.groups == ("NOR", "DCM", "") and found.spacing[0] == SPACING
    np.savez(tmp_path / "b.npz", images=images, groups=np.array(["DCM", "NOR", "HCM"]), spacing=np.array([2, 2, 8]))
    found = sq.read_array(tmp_path / "b.npz", ("DCM", "NOR"), SPACING)
    assert found.groups == ("DCM", "NOR", "HCM") and found.spacing[2] == (2, 2, 8)
    np.savez(tmp_path / "c.npz", images=images, groups=np.array([0]))
    with pytest.raises(ValueError, match="1 groups"):
        sq.read_array(tmp_path / "c.npz", ("DCM",), SPACING)
    np.savez(tmp_path / "d.npz", images=images[0])
    with pytest.raises(ValueError, match="N, T, Z, Y, X"):
        sq.read_array(tmp_path / "d.npz", ("DCM",), SPACING)


def test_samples_are_read_from_a_folder(tmp_path) -> None:
    from CardioDiTLib.cine import Cine
    from CardioDiTLib.io import save_cine

    cine = Cine(np.zeros((4, 2, 16, 16), np.float32), np.diag([*SPACING, 1]), np.arange(4) * 0.05, {})
    save_cine(cine, tmp_path / "00_DCM.nii.gz")
    save_cine(cine, tmp_path / "00_DCM.seq.nrrd")
    save_cine(cine, tmp_path / "01.nii.gz")
    (tmp_path / "01.json").write_text(json.dumps({"request": {"pathology": "NOR"}}), encoding="utf-8")
    found = sq.read_folder(tmp_path, ("DCM", "NOR"))
    assert found.groups == ("DCM", "NOR") and found.names == ("00_DCM", "01")
    assert found.spacing[0] == pytest.approx(SPACING)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no cines"):
        sq.read_folder(tmp_path / "empty", ())


def test_cines_of_another_grid_are_brought_onto_the_judges() -> None:
    cine = np.zeros((2, 1, 48, 48), np.float32)
    cine[:, :, 16:32, 16:32] = 1  # 48 mm square
    found = sq.to_judge_grid(cine, (3.0, 3.0, 10.0))
    assert found.shape == (2, 1, 128, 128)
    assert found[0].sum() * 1.5**2 == pytest.approx(48**2, rel=0.03)
    where = np.nonzero(found[0, 0] > 0.5)
    assert [w.mean() for w in where] == pytest.approx([63.5, 63.5])


def test_contact_sheet_is_written(tmp_path) -> None:
    pyplot = pytest.importorskip("matplotlib.pyplot")
    images, labels = beating_heart()
    sq.contact_sheet(tmp_path / "sheet.png", [images], ["a\nb"], [(0, 8)], [labels])
    assert pyplot.imread(tmp_path / "sheet.png").shape[1] > 1000

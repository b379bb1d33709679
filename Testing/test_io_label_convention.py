"""Labels of other data sets are told by anatomy, and questioned where they contradict it."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from refusals import names, refused

import CardioDiTLib as cd
from CardioDiTLib import cli
from CardioDiTLib.cine import Segmentation
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.function.cardiac_function import cardiac_function
from CardioDiTLib.io import load_segmentation, save_segmentation
from CardioDiTLib.io.label_convention import (
    CONVENTIONS,
    Recognised,
    mapped,
    named_segmentation,
    parse_label_map,
    recognise_labels,
)
from CardioDiTLib.landmarks.septal_contour import landmarks_from_segmentation


def heart() -> np.ndarray:
    """(2, 8, 48, 48) numbered as here: a ring of muscle about a cavity, a right ventricle beside it."""
    labels = np.zeros((2, 8, 48, 48), np.uint8)
    y, x = np.mgrid[:48, :48]
    for frame, radius in enumerate((9, 6)):
        plane = np.zeros((48, 48), np.uint8)
        plane[(np.hypot(x - 17, (y - 24) * 0.8) < 12 - frame) & (x < 22)] = 1
        plane[np.hypot(x - 28, y - 24) < 13] = 2
        plane[np.hypot(x - 28, y - 24) < radius] = 3
        labels[frame, 1:7] = plane
    return labels


def two_rods(one: int, other: int) -> np.ndarray:
    labels = np.zeros((1, 3, 32, 32), np.int64)
    labels[..., 4:8, 4:28], labels[..., 14:18, 4:28] = one, other
    return labels


def segmentation(array: np.ndarray) -> Segmentation:
    return Segmentation(array, np.diag([1.5, 1.5, 10.0, 1.0]), np.arange(len(array)) * 0.4)


@pytest.mark.parametrize("name", sorted(CONVENTIONS))
def test_every_convention_is_told_by_anatomy(name):
    numbers = {meaning: number for number, meaning in CONVENTIONS[name].items()}
    theirs = np.zeros(heart().shape, np.int64)
    for meaning, number in numbers.items():
        theirs[heart() == meaning] = number
    found = recognise_labels(theirs)
    assert found.map == CONVENTIONS[name]
    np.testing.assert_array_equal(mapped(theirs, found.map), heart())
    assert bool(found.note) == (name != "acdc")


def test_a_lone_left_cavity_is_one_and_a_crescent_is_asked_about():
    assert recognise_labels((heart() == 3) * 1).map == {1: 3}
    assert "round" in recognise_labels((heart() == 3) * 1).note
    assert recognise_labels((heart() == 3) * 3).note == ""
    with refused(600, "label_map"):
        recognise_labels((heart() == 1) * 600)


def test_labels_without_a_ring_are_refused_or_believed():
    without = np.where(heart() == 2, 0, heart()).astype(np.int64)
    assert recognise_labels(without) == Recognised({1: 1, 3: 3})
    with refused(100, 200):
        recognise_labels(two_rods(100, 200))
    with refused(255):
        recognise_labels(np.arange(4 * 8 * 8).reshape(1, 4, 8, 8))


@pytest.mark.parametrize(("right", "left"), [(3, 1), (2, 1), (1, 2), (600, 500), (2, 3), (7, 4)])
def test_two_cavities_without_a_wall_are_told_by_their_shapes(right, left):
    theirs = np.choose(heart(), [0, right, 0, left]).astype(np.int64)
    found = recognise_labels(theirs)
    assert found.map == {right: 1, left: 3}
    assert "rounder" in found.note


def test_muscle_beside_one_cavity_is_not_taken_for_a_second_cavity():
    assert recognise_labels(np.where(heart() == 3, 0, heart())) == Recognised({1: 1, 2: 2})


def test_numbers_that_all_conventions_read_alike_are_used_where_shapes_do_not_tell():
    found = recognise_labels(two_rods(500, 600))
    assert found.map == {500: 3, 600: 1} and "numbers" in found.note


def test_label_maps_are_read():
    assert parse_label_map("1:LV, 2:myo,3:rv") == {1: 3, 2: 2, 3: 1} == parse_label_map("M&Ms")
    for wrong in ("1=LV", "1:LA", "x:LV", "1:LV,1:RV", ""):
        with pytest.raises(CardioDiTError, match="label map"):
            parse_label_map(wrong)


def test_function_and_landmarks_are_the_same_in_any_numbering():
    ours, theirs = segmentation(heart()), segmentation(np.choose(heart(), [0, 3, 2, 1]).astype(np.uint8))
    expected = cardiac_function(ours, stack_covers_heart=True)
    for label_map in (None, "mnms", {1: 3, 2: 2, 3: 1}):
        report = cardiac_function(theirs, stack_covers_heart=True, label_map=label_map)
        assert report.ef_percent == expected.ef_percent > 20
        assert bool([note for note in report.notes if "taken for" in note]) == (label_map is None)
        track = landmarks_from_segmentation(theirs, label_map=label_map)
        np.testing.assert_array_equal(track.points, landmarks_from_segmentation(ours).points)


def test_a_map_is_about_the_numbers_in_the_file_also_where_a_path_is_given(tmp_path):
    theirs = np.choose(heart(), [0, 3, 2, 1]).astype(np.uint8)
    path = save_segmentation(segmentation(theirs), tmp_path / "theirs.nii.gz")
    expected = cardiac_function(segmentation(heart()), stack_covers_heart=True).ef_percent
    for label_map in (None, "mnms", {1: 3, 2: 2, 3: 1}):
        report = cd.cardiac_function(path, stack_covers_heart=True, label_map=label_map)
        assert report.ef_percent == pytest.approx(expected), label_map
        np.testing.assert_array_equal(
            cd.landmarks_from_segmentation(path, label_map=label_map).points,
            landmarks_from_segmentation(load_segmentation(path)).points,
        )
    loaded = load_segmentation(path)  # renumbered: the file's numbers are not in it any more
    assert cardiac_function(loaded, stack_covers_heart=True, label_map="mnms").ef_percent == pytest.approx(expected)
    with refused("left ventricle", "load_segmentation"):
        cardiac_function(loaded, label_map="acdc")


def test_what_a_lone_label_was_said_to_be_is_not_doubted_later(tmp_path):
    path = save_segmentation(segmentation(((heart() == 3) * 1).astype(np.uint8)), tmp_path / "lone.nii.gz")
    assert np.isnan(cardiac_function(load_segmentation(path), stack_covers_heart=True).rv_edv_ml)
    said = cardiac_function(load_segmentation(path, label_map="1:RV"), stack_covers_heart=True)
    assert said.rv_edv_ml > 0 and np.isnan(said.edv_ml)


def test_a_map_that_contradicts_the_anatomy_is_obeyed_and_questioned():
    changed, note = named_segmentation(segmentation(heart()), "mnms")
    assert (changed.array == 1).sum() == (heart() == 3).sum()
    assert "contradicts the anatomy" in note


def save(path, array, dtype=None, scaled=False):
    image = nib.Nifti1Image(array.T.astype(float if scaled else array.dtype), np.diag([-1.5, -1.5, 10, 1]))
    if scaled:
        image.set_data_dtype(np.uint8)
    nib.save(image, path)
    return str(path)


def test_commands_read_any_numbering(tmp_path, capsys):
    theirs = np.choose(heart(), [0, 600, 200, 500]).astype(np.int16)
    file = save(tmp_path / "mscmr.nii.gz", theirs)
    for more in ([], ["--label-map", "mscmr"], ["--label-map", "200:MYO,500:LV,600:RV"]):
        command = ["function", file, "-f", "json", "-o", str(tmp_path), "--stack-covers-heart", "--overwrite", *more]
        assert cli.main(command) == 0
        told = capsys.readouterr().out
        assert "Ejection fraction" in told and ("taken for" in told) == (not more)
    assert cli.main(["landmarks", file, str(tmp_path / "points.csv")]) == 0
    assert "both points in 12 of 2 x 8 slices" in capsys.readouterr().out
    assert cli.main(["function", file, "-o", str(tmp_path), "--overwrite", "--label-map", "7:LV"]) != 0
    assert names(capsys.readouterr().err, "label map", "200, 500, 600")


def test_scaled_labels_are_whole(tmp_path):
    from CardioDiTLib.io import load_segmentation

    found = load_segmentation(save(tmp_path / "scaled.nii.gz", heart(), scaled=True))
    np.testing.assert_array_equal(found.array, heart())
    with refused("whole numbers"):
        segmentation(heart() * 0.99)


def test_labels_of_real_patients_are_told_in_any_numbering(shared_dir):
    files = sorted((shared_dir / "data" / "acdc").glob("*_gt.nii.gz"))[::20]
    for file in files:
        ours = np.asarray(nib.load(file).dataobj).T[None].astype(np.uint8)
        assert recognise_labels(ours).note == ""
        assert recognise_labels(np.choose(ours, [0, 3, 2, 1])).map == {1: 3, 2: 2, 3: 1}

"""An image that was turned or mirrored without its header is told, by files, from the heart that it shows."""

from __future__ import annotations

import json

import numpy as np
import pytest
from command_line import problem, run
from headerless_turns import TURNS

from CardioDiTLib.cine import Cine, Segmentation
from CardioDiTLib.data.header_check import header_doubts
from CardioDiTLib.data.orientation import base_end, short_axis_affine
from CardioDiTLib.io import save_cine, save_segmentation
from CardioDiTLib.landmarks.files import load_landmarks
from CardioDiTLib.landmarks.septal_contour import landmarks_from_segmentation

SLICES, SIZE = 8, 72


def patient() -> np.ndarray:
    """Labels (2, Z, Y, X), base first, front wall up: the septum turns, the RV leans down, as in recorded hearts."""
    y, x = np.mgrid[:SIZE, :SIZE] - SIZE / 2
    labels = np.zeros((2, SLICES, SIZE, SIZE), np.uint8)
    for z in range(SLICES - 1):
        taper = 1 - 0.06 * z
        turn = np.radians(6.0 * z - 62)  # anti-clockwise on the screen from base to apex
        across, along = x * np.cos(turn) - y * np.sin(turn), x * np.sin(turn) + y * np.cos(turn)
        plane = labels[:, z]
        right = (np.hypot(across + 17 * taper, (along - 2.5) / 1.2) < 13 * taper) & (z < SLICES - 2)
        plane[:, right] = 1
        plane[:, np.hypot(x, y) < 16 * taper] = 2
        plane[:, np.hypot(x, y) < 10 * taper] = 3
    return labels


def affine() -> np.ndarray:
    """Oblique; its anterior direction is up and a little to the right in the picture."""
    return short_axis_affine((SLICES, SIZE, SIZE), (1.5, 1.5, 10.0))


def stored(change: str, matrix: np.ndarray | None = None) -> Segmentation:
    array = np.ascontiguousarray(TURNS[change](patient()))
    return Segmentation(array, affine() if matrix is None else matrix, [0.0, 0.4])


@pytest.mark.parametrize("change", TURNS)
def test_what_was_changed_without_its_header_is_told_by_files(tmp_path, capsys, change):
    save_segmentation(stored(change), tmp_path / "labels.nii.gz")
    assert run("landmarks", tmp_path / "labels.nii.gz", tmp_path / "points.json") == 0
    said = capsys.readouterr().out
    about = load_landmarks(tmp_path / "points.json").meta["landmarks"]
    assert ("naming_note" in about) == (change != "as recorded") == ("note:" in said)
    assert (
        run("function", tmp_path / "labels.nii.gz", "-o", tmp_path / "out", "-f", "json", "--stack-covers-heart") == 0
    )
    (report,) = (tmp_path / "out").glob("*.json")
    told = [note for note in json.loads(report.read_text(encoding="utf-8"))["notes"] if "without their header" in note]
    if change not in ("upside down", "transposed"):  # a mirrored heart may have its right ventricle where it belongs
        assert bool(told) == (change != "as recorded")


def test_a_header_that_says_what_was_done_is_not_doubted():
    matrix = affine()
    flip = np.diag([1.0, 1.0, -1.0, 1.0])
    flip[2, 3] = SLICES - 1
    reversed_with_header = Segmentation(patient()[:, ::-1], matrix @ flip, [0.0, 0.4])
    assert "naming_note" not in landmarks_from_segmentation(reversed_with_header).meta["landmarks"]
    assert header_doubts(matrix, patient()) == ()
    assert header_doubts(np.diag([1.5, 1.5, 10.0, 1.0]), patient()[:, ::-1]) == ()


@pytest.mark.parametrize("mirrored", [False, True])
def test_without_directions_the_shape_says_whether_the_picture_is_mirrored(mirrored):
    labels = stored("mirrored" if mirrored else "turned by 90", np.diag([1.5, 1.5, 10.0, 1.0]))
    about = landmarks_from_segmentation(labels).meta["landmarks"]
    assert about["named_by"] == "picture" and ("naming_note" in about) == mirrored
    swapped = landmarks_from_segmentation(labels, swap=True).meta["landmarks"]
    assert ("naming_note" in swapped) != mirrored


def test_labels_that_tell_clearly_are_believed_against_the_header():
    assert base_end(affine(), patient()) == "first"
    assert base_end(affine(), patient()[:, ::-1]) == "last"
    assert base_end(affine(), np.zeros_like(patient())) == "first"


@pytest.mark.parametrize("header_too", [True, False])
@pytest.mark.parametrize("command", ["landmarks", "measure"])
def test_slices_along_another_axis_are_refused_and_nothing_is_written(tmp_path, capsys, header_too, command):
    matrix = affine()[:, [2, 0, 1, 3]] if header_too else affine() @ np.diag([1.0, 1.0, 2.0, 1.0])
    array = np.ascontiguousarray(patient().transpose(0, 2, 3, 1))  # (T, Z, Y, X): slices run along x
    out = tmp_path / "out" if command == "measure" else tmp_path / "points.json"
    if command == "measure":
        save_cine(Cine((array * 70).astype(np.int16), matrix, [0.0, 0.4]), tmp_path / "file.nii.gz")
        assert run("measure", tmp_path / "file.nii.gz", "-o", out) == 1
    else:
        save_segmentation(Segmentation(array, matrix, [0.0, 0.4]), tmp_path / "file.nii.gz")
        assert run("landmarks", tmp_path / "file.nii.gz", out) == 1
    assert "third axis" in problem(capsys)
    assert not out.exists()


def test_a_mask_of_one_label_is_no_cine(tmp_path, capsys):
    mask = Cine(((patient() == 3) * 255).astype(np.int16), affine(), [0.0, 0.4])
    save_cine(mask, tmp_path / "mask.nii.gz")
    assert run("landmarks", tmp_path / "mask.nii.gz", tmp_path / "points.json") == 1
    assert "ventricles" in problem(capsys) and not (tmp_path / "points.json").exists()
    assert run("measure", tmp_path / "mask.nii.gz", "-o", tmp_path / "out") == 1
    assert "labels" in problem(capsys) and not (tmp_path / "out").exists()

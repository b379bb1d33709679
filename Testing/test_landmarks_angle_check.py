"""Lines that turn away from the others lose their confidence; a contradiction of header and picture is told."""

from __future__ import annotations

import numpy as np
import pytest

from CardioDiTLib.cine import LandmarkTrack, Segmentation
from CardioDiTLib.data.orientation import short_axis_affine
from CardioDiTLib.landmarks.angle_check import LOW, doubted_angles, without_turned_ends
from CardioDiTLib.landmarks.fusion import fused_tracks
from CardioDiTLib.landmarks.septal_contour import landmarks_from_segmentation


def track(turns: np.ndarray, missing: tuple[tuple[int, int], ...] = (), sure: float = 0.9) -> LandmarkTrack:
    """Lines of 60 mm about the origin, turned by degrees (T, Z) from straight down."""
    angle = np.radians(turns)
    half = 30 * np.stack([np.sin(angle), -np.cos(angle), np.zeros_like(angle)], -1)
    points = np.stack([-half, half], 2)
    points[..., 2] = np.arange(turns.shape[1])[None, :, None] * 10.0
    confidence = np.full(points.shape[:3], sure)
    for place in missing:
        points[place] = np.nan
        confidence[place] = 0
    return LandmarkTrack(points, confidence, np.arange(len(turns)) * 0.1)


def test_a_line_that_turns_by_much_is_doubted():
    turns = np.tile(np.linspace(0, 15, 6), (2, 1))
    assert doubted_angles(track(turns)).confidence.min() == 0.9
    turns[1, 3] += 40
    found = doubted_angles(track(turns))
    low = found.confidence[..., 0] <= LOW
    assert np.argwhere(low).tolist() == [[1, 3]]
    assert found.meta["landmarks"]["doubted_angles"] == 1


def test_an_end_slice_that_turns_is_left_out_and_one_between_others_is_not():
    turns = np.tile(np.linspace(0, 15, 6), (2, 1))
    assert without_turned_ends(track(turns)).found.all()
    turns[:, 0] -= 50
    turns[0, 2] += 50
    beat = track(turns)
    assert without_turned_ends(beat) is beat  # frames of one size
    points = beat.points.copy()
    points[1, :, :, :2] *= 0.8
    found = without_turned_ends(LandmarkTrack(points, beat.confidence, beat.frame_times))
    assert np.argwhere(~found.found.all(axis=-1)).tolist() == [[1, 0]] and not found.confidence[1, 0].any()
    assert found.meta["landmarks"]["turned_ends"] == 1


def test_a_pair_on_which_the_sources_differ_has_a_low_confidence():
    turns = np.zeros((1, 6))
    wrong = turns.copy()
    wrong[0, 2] = 60
    for network, labels in ((track(wrong), track(turns)), (track(turns), track(wrong))):
        confidence = fused_tracks(network, labels).confidence[0]
        assert confidence[2].max() <= LOW < confidence[[0, 1, 3, 4, 5]].min()


def test_labels_fill_holes_of_the_network_but_not_its_ends():
    turns = np.zeros((1, 9))
    network = track(turns, missing=((0, 0), (0, 4)))
    labels = track(turns, sure=0.35)
    found = fused_tracks(network, labels).found.all(axis=-1)[0]
    assert found.tolist() == [False] + [True] * 8


def test_where_the_network_knows_nothing_labels_are_taken_as_they_are():
    turns = np.zeros((1, 8))
    network = track(turns, missing=tuple((0, z) for z in range(5)))
    fused = fused_tracks(network, track(turns, sure=0.5))
    assert fused.found.all() and not fused.meta["landmarks"]["network_knows_cine"]


def test_of_two_that_differ_the_one_that_fits_is_taken():
    turns = np.zeros((1, 6))
    wrong = turns.copy()
    wrong[0, 2] = 60
    for network, labels in ((track(wrong), track(turns)), (track(turns), track(wrong))):
        fused = fused_tracks(network, labels)
        np.testing.assert_allclose(fused.points[0, 2], track(turns).points[0, 2], atol=1e-9)


@pytest.mark.parametrize("turned", [False, True])
def test_a_picture_turned_without_its_header_is_told(turned):
    y, x = np.mgrid[:64, :64]
    plane = np.zeros((64, 64), np.uint8)
    plane[np.hypot(x - 20, y - 32) < 15] = 1
    plane[np.hypot(x - 36, y - 32) < 16] = 2
    plane[np.hypot(x - 36, y - 32) < 10] = 3
    labels = np.repeat(plane[None, None], 5, axis=1)
    if turned:
        labels = np.ascontiguousarray(labels[..., ::-1, ::-1])
    heart = Segmentation(labels, short_axis_affine((5, 64, 64), (1.5, 1.5, 10.0)), [0.0])
    about = landmarks_from_segmentation(heart).meta["landmarks"]
    assert about["named_by"] == "patient" and ("naming_note" in about) == turned

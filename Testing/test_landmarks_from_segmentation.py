"""The same heart gives the same points with the same names, however its array is stored."""

from __future__ import annotations

from itertools import combinations

import nibabel
import numpy as np
import pytest
from landmark_hearts import flipped, heart, quarter_turned, slice_labels

from CardioDiTLib.cine import Segmentation
from CardioDiTLib.data.orientation import short_axis_affine
from CardioDiTLib.data.phantom import PhantomSpec, make_phantom
from CardioDiTLib.io import load_segmentation
from CardioDiTLib.landmarks.septal_contour import landmarks_from_segmentation

FLIPS = ["".join(axes) for n in (1, 2, 3) for axes in combinations("xyz", n)]


def ordered(points: np.ndarray, axes: str) -> np.ndarray:
    return points[:, ::-1] if "z" in axes else points


def upright(spacing: tuple[float, float, float] = (1.5, 1.5, 10.0)) -> np.ndarray:
    return np.diag([*spacing, 1.0])


def test_points_of_an_oblique_heart_lie_where_they_should():
    segmentation = heart(septum_deg=0.0)
    track = landmarks_from_segmentation(segmentation)
    assert track.found[:, :4].all() and not track.found[:, 4].any()
    assert (track.confidence[track.found] == 1.0).all() and (track.confidence[~track.found] == 0.0).all()
    assert track.meta["landmarks"]["named_by"] == "patient" and track.meta["landmarks"]["agreement"] == 1.0
    anterior, inferior = track.points[:, :4, 0], track.points[:, :4, 1]
    towards = (anterior - inferior) @ np.array([0.0, 1.0, 1.0])
    assert (towards > 20.0).all()
    index = segmentation.ras_to_index(track.points[:, :4])
    np.testing.assert_allclose(index[..., 2], np.arange(4)[None, :, None] + np.zeros((4, 4, 2)), atol=1e-6)
    assert (index[:, :, 0, 1] < index[:, :, 1, 1]).all()  # the front wall is on top of this picture
    assert (track.frame_times == segmentation.frame_times).all() and track.meta["source"] == "made up"


@pytest.mark.parametrize("axes", FLIPS)
@pytest.mark.parametrize("affine", [None, upright()], ids=["oblique", "no orientation"])
def test_mirrored_arrays(axes, affine):
    segmentation = heart(affine)
    expected = landmarks_from_segmentation(segmentation).points
    track = landmarks_from_segmentation(flipped(segmentation, axes))
    np.testing.assert_allclose(ordered(track.points, axes), expected, atol=1e-6)


@pytest.mark.parametrize("turns", [1, 2, 3])
@pytest.mark.parametrize("axes", ["", "x", "z"])
@pytest.mark.parametrize("affine", [None, upright()], ids=["oblique", "no orientation"])
def test_quarter_turned_arrays(turns, axes, affine):
    segmentation = heart(affine)
    expected = landmarks_from_segmentation(segmentation).points
    turned = quarter_turned(flipped(segmentation, axes) if axes else segmentation, turns)
    np.testing.assert_allclose(ordered(landmarks_from_segmentation(turned).points, axes), expected, atol=1e-6)


@pytest.mark.parametrize("angle", [13.0, 45.0, 77.0, 120.0, 200.0, 290.0])
def test_planes_drawn_at_any_angle(angle):
    """The array's axes are turned in the plane and the heart is drawn anew on them: the world points stay."""
    base = short_axis_affine((5, 90, 90), (1.5, 1.5, 10.0))
    still = heart(base, septum_deg=20.0, shape=(2, 5, 90, 90))
    c, s = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
    turn = np.eye(4)
    turn[:2, :2] = [[c, -s], [s, c]]
    middle = np.eye(4)
    middle[:2, 3] = 44.5
    affine = base @ middle @ turn @ np.linalg.inv(middle)
    rows, columns = np.mgrid[:90, :90]
    new = np.stack([columns, rows, 0 * rows, 1 + 0 * rows], -1).astype(float)
    old = new @ (np.linalg.inv(base) @ affine).T
    array = np.zeros_like(still.array)
    for frame in range(2):
        for level in range(4):
            radius = 27.0 - 2.0 * level - 2.0 * np.sin(np.pi * frame / 2)
            y, x = (old[..., 1] - 44.5) * 1.5 - 3.0, (old[..., 0] - 44.5) * 1.5 + 2.0 + level
            array[frame, level] = slice_labels(y, x, radius, 20.0)
    track = landmarks_from_segmentation(Segmentation(array, affine, still.frame_times))
    expected = landmarks_from_segmentation(still).points
    error = np.linalg.norm(track.points - expected, axis=-1)
    assert np.nanmax(error) < 2.25 and np.nanmean(error) < 1.0  # pixels of 1.5 mm, drawn twice
    assert (np.isnan(error) == np.isnan(expected[..., 0])).all()


@pytest.mark.parametrize("tilt", [-50.0, -25.0, 25.0, 50.0, 65.0])
def test_hearts_that_lie_turned_in_the_chest(tilt):
    """The patient's septum may be rotated by a good deal without the names being exchanged."""
    affine = short_axis_affine((5, 72, 64), (1.5, 1.5, 10.0))
    track = landmarks_from_segmentation(heart(affine, septum_deg=tilt))
    index = heart(affine).ras_to_index(track.points[:, :4])
    # walking anti-clockwise on the screen, seen from the apex, the anterior point comes before the septum
    septum = np.deg2rad(180.0 - tilt)
    right = np.array([np.cos(septum), np.sin(septum)])
    chord = index[:, :, 0, :2] - index[:, :, 1, :2]
    assert (chord[..., 1] * right[0] - chord[..., 0] * right[1] > 0).all()


def test_where_the_septum_runs_across_the_patient_the_long_axis_decides():
    affine = short_axis_affine((5, 72, 64), (1.5, 1.5, 10.0))
    names = set()
    for degrees in range(0, 360, 10):
        segmentation = heart(affine, septum_deg=float(degrees), shape=(1, 3, 72, 64))
        track = landmarks_from_segmentation(segmentation)
        names.add(track.meta["landmarks"]["named_by"])
        if track.meta["landmarks"]["named_by"] == "long axis":
            mirrored = landmarks_from_segmentation(flipped(segmentation, "xz"))
            np.testing.assert_allclose(mirrored.points[:, ::-1], track.points, atol=1e-6)
    assert names == {"patient", "long axis"}


def test_rows_reversed_in_z_and_frames_permuted():
    segmentation = heart()
    expected = landmarks_from_segmentation(segmentation)
    order = [2, 0, 3, 1]
    shuffled = Segmentation(segmentation.array[order], segmentation.affine, segmentation.frame_times)
    np.testing.assert_array_equal(landmarks_from_segmentation(shuffled).points, expected.points[order])


def test_one_odd_slice_does_not_decide_the_names():
    """A slice whose septum lies across is outvoted, and keeps the names that its neighbours have."""
    segmentation = heart(septum_deg=0.0)
    array = segmentation.array.copy()
    y, x = (np.arange(72) - 35.5)[:, None] * 1.5, (np.arange(64) - 31.5)[None] * 1.5
    array[:, 3] = slice_labels(y, x, 15.0, 150.0, reach_mm=20.0)
    track = landmarks_from_segmentation(segmentation.with_array(array))
    before = landmarks_from_segmentation(segmentation)
    np.testing.assert_array_equal(track.points[:, :3], before.points[:, :3])
    assert 0.7 < track.meta["landmarks"]["agreement"] < 1.0


def test_a_picture_without_orientation_is_taken_as_seen_from_the_apex():
    for signs in ((1, 1, 1), (-1, -1, 1)):  # index as RAS, and as LPS: what writers put there that know none
        segmentation = heart(np.diag([1.5, 1.5, 10.0, 1.0]) @ np.diag([*signs, 1.0]), septum_deg=0.0)
        track = landmarks_from_segmentation(segmentation)
        index = segmentation.ras_to_index(track.points[:, :4])
        assert track.meta["landmarks"]["named_by"] == "picture"
        assert (index[:, :, 0, 1] < index[:, :, 1, 1] - 10).all()


def test_a_file_whose_header_has_no_orientation(tmp_path):
    """The reader mirrors x for want of better; the picture still decides."""
    array = heart(upright(), septum_deg=0.0).array
    image = nibabel.Nifti1Image(array.transpose(3, 2, 1, 0), None)
    image.header.set_zooms((1.5, 1.5, 10.0, 0.05))
    nibabel.save(image, tmp_path / "labels.nii.gz")
    segmentation = load_segmentation(tmp_path / "labels.nii.gz")
    assert np.linalg.det(segmentation.affine) < 0
    track = landmarks_from_segmentation(segmentation)
    index = segmentation.ras_to_index(track.points[:, :4])
    assert (index[:, :, 0, 1] < index[:, :, 1, 1] - 10).all()


def test_names_can_be_exchanged():
    segmentation = heart()
    track = landmarks_from_segmentation(segmentation)
    swapped = landmarks_from_segmentation(segmentation, swap=True)
    np.testing.assert_array_equal(swapped.points, track.points[:, :, ::-1])


@pytest.mark.parametrize("base_first", [True, False])
def test_phantom(base_first):
    phantom = make_phantom(PhantomSpec(frames=4, slices=8, noise=0.0, base_first=base_first))
    track = landmarks_from_segmentation(phantom.segmentation)
    assert (track.found == phantom.landmarks.found).all()
    error = np.linalg.norm(track.points - phantom.landmarks.points, axis=-1)[track.found]
    assert np.median(error) < 1.0 and error.max() < 3.0


def test_labels_without_a_septum_give_an_empty_track():
    empty = Segmentation(np.zeros((2, 3, 8, 8), np.uint8), upright(), [0.0, 0.1])
    track = landmarks_from_segmentation(empty)
    assert not track.found.any() and (track.confidence == 0).all()
    assert track.meta["landmarks"]["named_by"] == "none"

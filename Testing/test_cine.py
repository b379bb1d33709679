"""Cine, Segmentation, LandmarkTrack: what they store, what they refuse, and their geometry."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from refusals import refused
from synthetic_cines import make_cine, oblique_affine

from CardioDiTLib.cine import Cine, LandmarkTrack, Segmentation
from CardioDiTLib.errors import CardioDiTError

TIMES = np.arange(3) * 0.05
GRID = np.diag([1.5, 2.0, 10.0, 1.0])


def test_properties_are_in_mm_ml_and_seconds() -> None:
    cine = Cine(np.zeros((4, 3, 5, 6), np.int16), GRID, [0.0, 0.05, 0.10, 0.16])
    assert cine.shape == (4, 3, 5, 6)
    assert (cine.n_frames, cine.n_slices) == (4, 3)
    assert cine.spacing == (1.5, 2.0, 10.0)
    assert cine.voxel_volume_ml == pytest.approx(0.03)
    assert cine.frame_interval_s == pytest.approx(0.05)
    assert cine.cycle_s == pytest.approx(0.2)


def test_spacing_and_volume_of_an_oblique_left_handed_grid() -> None:
    affine = oblique_affine((1.4, 1.3, 9.0))
    affine[:, 2] *= -1
    cine = Cine(np.zeros((3, 3, 5, 6), np.int16), affine, TIMES)
    assert cine.spacing == pytest.approx((1.4, 1.3, 9.0))
    assert cine.voxel_volume_ml == pytest.approx(1.4 * 1.3 * 9.0 / 1000)


def test_points_go_to_mm_and_back() -> None:
    cine = make_cine()
    points = np.random.default_rng(0).uniform(-5, 40, (4, 2, 3))
    moved = cine.index_to_ras(points)
    homogeneous = np.concatenate([points, np.ones((4, 2, 1))], axis=-1) @ cine.affine.T
    assert moved == pytest.approx(homogeneous[..., :3])
    assert cine.ras_to_index(moved) == pytest.approx(points)
    assert cine.index_to_ras([0, 0, 0]) == pytest.approx(cine.affine[:3, 3])


@pytest.mark.parametrize(
    ("given", "largest", "stored"),
    [
        ("int16", 30000, "int16"),
        (">i2", 30000, "int16"),
        ("uint8", 255, "int16"),
        ("bool", 1, "int16"),
        ("uint16", 32767, "int16"),
        ("uint16", 40000, "float32"),
        ("int32", 32767, "int16"),
        ("int64", 100000, "float32"),
        ("float32", 0.5, "float32"),
        ("float64", 0.5, "float32"),
        ("float16", 0.5, "float32"),
    ],
)
def test_types_become_int16_or_float32_and_keep_their_values(given: str, largest: float, stored: str) -> None:
    array = np.zeros((3, 2, 4, 5), given)
    array[1, 1, 2, 3] = largest
    cine = Cine(array, GRID, TIMES)
    assert cine.array.dtype == np.dtype(stored)
    assert cine.array.dtype.isnative
    assert cine.array[1, 1, 2, 3] == largest


def test_arrays_of_the_right_type_are_not_copied() -> None:
    array = np.zeros((3, 2, 4, 5), np.float32)
    assert Cine(array, GRID, TIMES).array is array


def test_affine_times_and_meta_are_the_cines_own() -> None:
    affine, meta = GRID.copy(), {"a": 1}
    cine = Cine(np.zeros((3, 2, 4, 5), np.int16), affine, TIMES, meta)
    affine[0, 0] = 99
    meta["a"] = 2
    assert cine.affine[0, 0] == 1.5
    assert cine.meta == {"a": 1}
    with pytest.raises(ValueError, match="read-only"):
        cine.affine[0, 0] = 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        cine.array = np.zeros(1)  # type: ignore[misc]


def test_with_array_keeps_geometry_time_and_provenance() -> None:
    cine = make_cine()
    other = cine.with_array(cine.array.astype(np.float32) / 3)
    assert isinstance(other, Cine)
    assert other.array.dtype == np.float32
    assert np.array_equal(other.affine, cine.affine)
    assert np.array_equal(other.frame_times, cine.frame_times)
    assert other.meta == cine.meta and other.meta is not cine.meta
    assert cine.with_array(cine.array, {"b": 2}).meta == {"b": 2}
    with refused((4, 3, 7, 6), (5, 3, 7, 6)):
        cine.with_array(cine.array[:-1])


def cine_fails(*named: object, array: object = None, affine: object = GRID, times: object = TIMES) -> None:
    array = np.zeros((3, 2, 4, 5), np.float32) if array is None else array
    with refused(*named):
        Cine(array, affine, times)  # type: ignore[arg-type]


def test_wrong_arrays_are_refused() -> None:
    cine_fails("four dimensions", array=np.zeros((3, 4, 5)))
    cine_fails("2 frames", 1, array=np.zeros((1, 2, 4, 5)), times=[0.0])
    cine_fails("empty", array=np.zeros((3, 0, 4, 5)))
    cine_fails("complex64", array=np.zeros((3, 2, 4, 5), np.complex64))
    cine_fails("<U1", array=np.full((3, 2, 4, 5), "a"))
    cine_fails("1 voxel", "finite", array=np.where(np.arange(120).reshape(3, 2, 4, 5) == 7, np.nan, 0.0))
    cine_fails("2 voxels", "finite", array=np.where(np.arange(120).reshape(3, 2, 4, 5) < 2, np.inf, 0.0))
    cine_fails("not finite", array=np.full((3, 2, 4, 5), 1e300))


def test_wrong_affines_are_refused() -> None:
    sheared = GRID.copy()
    sheared[0, 1] = 2e-3
    perspective = GRID.copy()
    perspective[3, 0] = 0.1
    cine_fails("shape", affine=np.eye(3))
    cine_fails("matrix", affine="wrong")
    cine_fails("not finite", affine=np.full((4, 4), np.nan))
    cine_fails("last row", affine=perspective)
    cine_fails("no length", affine=np.diag([1.0, 1.0, 0.0, 1.0]))
    cine_fails("right angles", affine=sheared)
    cine_fails(
        "right angles", affine=np.ones((4, 4)) * [[1], [1], [1], [0]] + np.diag([0, 0, 0, 1.0]) * [[0], [0], [0], [1]]
    )


def test_right_angles_are_judged_as_itk_does() -> None:
    """1.15e-4 is the skew of a real file that ITK refuses; 8e-6 comes from six decimals in a DICOM header."""
    affine = np.eye(4)
    affine[0, 1] = 8e-6
    assert Cine(np.zeros((3, 2, 4, 5)), affine, TIMES).spacing == pytest.approx((1, 1, 1))
    affine[0, 1] = 1.15e-4
    cine_fails("0.00659 degrees", affine=affine)


def test_wrong_times_are_refused() -> None:
    cine_fails("3 frames", (2,), times=[0.0, 0.1])
    cine_fails("0.1 s", times=[0.1, 0.2, 0.3])
    cine_fails("frame 2", times=[0.0, 0.1, 0.1])
    cine_fails("frame times", "finite", times=[0.0, np.nan, 0.1])
    cine_fails("frame times", "numbers", times=["a", "b", "c"])


def test_segmentation_stores_uint8_labels() -> None:
    labels = np.zeros((3, 2, 4, 5))
    labels[:, 1] = 3.0
    segmentation = Segmentation(labels, GRID, TIMES)
    assert segmentation.array.dtype == np.uint8
    assert segmentation.array.sum() == 3 * 3 * 20
    assert isinstance(segmentation.with_array(labels * 0), Segmentation)


def test_segmentation_may_have_one_frame_without_an_interval() -> None:
    segmentation = Segmentation(np.zeros((1, 2, 4, 5), np.uint8), GRID, [0.0])
    assert np.isnan(segmentation.frame_interval_s)
    assert np.isnan(segmentation.cycle_s)


@pytest.mark.parametrize(
    ("value", "sentence"),
    [(4, "labels from 0 to 4"), (-1, "labels from -1 to 0"), (0.5, "not whole numbers"), (np.nan, "not whole")],
)
def test_wrong_labels_are_refused(value: float, sentence: str) -> None:
    labels = np.zeros((3, 2, 4, 5))
    labels[0, 0, 0, 0] = value
    with pytest.raises(CardioDiTError, match=sentence) as caught:
        Segmentation(labels, GRID, TIMES)
    assert caught.value.hint


def test_landmark_track_knows_where_points_are() -> None:
    points = np.zeros((3, 2, 2, 3))
    points[1, 0, 1] = np.nan
    confidence = np.full((3, 2, 2), 0.5)
    confidence[1, 0, 1] = np.nan
    track = LandmarkTrack(points, confidence, TIMES)
    assert (track.n_frames, track.n_slices) == (3, 2)
    assert track.found.sum() == 11
    assert not track.found[1, 0, 1]


def test_wrong_landmarks_are_refused() -> None:
    points, confidence = np.zeros((3, 2, 2, 3)), np.ones((3, 2, 2))
    partly = points.copy()
    partly[0, 0, 0, 1] = np.nan
    for wrong_points, wrong_confidence, sentence in (
        (points[..., :2], confidence, "shape"),
        (points, confidence[:2], "confidence has shape"),
        (partly, confidence, "partly missing"),
        (points + np.inf, confidence, "infinite"),
        (points, confidence * 2, "between 0 and 1"),
        (points, confidence * np.nan, "between 0 and 1"),
    ):
        with pytest.raises(CardioDiTError, match=sentence):
            LandmarkTrack(wrong_points, wrong_confidence, TIMES)

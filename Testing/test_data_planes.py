"""In-plane resampling of many planes at once."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from CardioDiTLib.data.in_plane import apply_plane_operator, plane_operator, take_nearest
from CardioDiTLib.errors import CardioDiTError

MATRIX = np.array([[0.9, -0.2, 3.3], [0.15, 1.1, -1.2]])


def smooth_planes(shape=(3, 2, 30, 40)):
    return ndimage.gaussian_filter(np.random.default_rng(0).normal(size=shape), (0, 0, 3, 3)).astype(np.float32)


def test_linear_agrees_with_scipy():
    planes = smooth_planes()
    operator, inside = plane_operator(MATRIX, (30, 40), (24, 32), order=1)
    ours = apply_plane_operator(operator, planes, (24, 32))
    yx = np.array([[MATRIX[1, 1], MATRIX[1, 0]], [MATRIX[0, 1], MATRIX[0, 0]]])
    for t, z in np.ndindex(3, 2):
        theirs = ndimage.affine_transform(
            planes[t, z], yx, (MATRIX[1, 2], MATRIX[0, 2]), (24, 32), order=1, mode="nearest"
        )
        np.testing.assert_allclose(ours[t, z], theirs, atol=1e-5)
    assert not inside.all() and inside[10, 10]


def test_cubic_is_closer_to_the_truth_than_linear():
    yy, xx = np.mgrid[:40, :40]
    truth = lambda x, y: np.sin(x / 3.0) * np.cos(y / 4.0)  # noqa: E731
    shift = np.array([[1.0, 0.0, 0.37], [0.0, 1.0, 0.21]])
    errors = {}
    for order in (0, 1, 3):
        operator, _ = plane_operator(shift, (40, 40), (40, 40), order)
        result = apply_plane_operator(operator, truth(xx, yy).astype(np.float32), (40, 40))
        errors[order] = np.abs(result - truth(xx + 0.37, yy + 0.21))[3:-3, 3:-3].max()
    assert errors[3] < 0.2 * errors[1] < errors[0]


@pytest.mark.parametrize("order", [0, 1, 3])
@pytest.mark.parametrize("padding", ["edge", "reflect"])
def test_identity_changes_nothing_and_weights_sum_to_one(order, padding):
    planes = smooth_planes()
    identity, inside = plane_operator(np.eye(3)[:2], (30, 40), (30, 40), order, padding)
    np.testing.assert_allclose(apply_plane_operator(identity, planes, (30, 40)), planes, atol=1e-6)
    assert inside.all()
    operator, _ = plane_operator(MATRIX, (30, 40), (50, 60), order, padding)
    np.testing.assert_allclose(np.asarray(operator.sum(axis=1)), 1.0, atol=1e-5)


def test_reflection_mirrors_about_the_outer_face():
    row = np.arange(4, dtype=np.float32)[None]
    operator, _ = plane_operator([[1, 0, -2], [0, 1, 0]], (1, 4), (1, 8), 0, "reflect")
    np.testing.assert_array_equal(apply_plane_operator(operator, row, (1, 8))[0], [1, 0, 0, 1, 2, 3, 3, 2])


def test_nearest_keeps_the_type():
    labels = np.random.default_rng(0).integers(0, 4, (2, 3, 30, 40)).astype(np.uint8)
    operator, _ = plane_operator(MATRIX, (30, 40), (24, 32), 0)
    taken = take_nearest(operator, labels, (24, 32))
    assert taken.dtype == np.uint8
    np.testing.assert_array_equal(taken, apply_plane_operator(operator, labels.astype(np.float32), (24, 32)))


@pytest.mark.parametrize("arguments", [{"order": 2}, {"padding": "wrap"}])
def test_unknown_choices_are_refused(arguments):
    with pytest.raises(CardioDiTError):
        plane_operator(MATRIX, (8, 8), (8, 8), **arguments)

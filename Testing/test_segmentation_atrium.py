"""What grows while the ventricle shrinks is no ventricle, at the base alone."""

from __future__ import annotations

import numpy as np
import pytest

from CardioDiTLib.segmentation.postprocess import remove_atrial_slices


def stack(*areas: tuple[int, int]) -> np.ndarray:
    """(2, Z, 20, 20) with cavities of so many pixels at ED and at ES, a rim of muscle and some right ventricle."""
    labels = np.zeros((2, len(areas), 20, 20), np.uint8)
    for z, pair in enumerate(areas):
        for t, area in enumerate(pair):
            plane = labels[t, z].reshape(-1)
            plane[:area], plane[area : area + 30], plane[350:360] = 3, 2, 1
            if not area:
                plane[:300] = 0
    return labels


HEART = [(200, 100), (180, 90), (150, 70), (100, 40), (50, 10)]


@pytest.mark.parametrize("turned", [False, True])
def test_basal_slices_that_fill_in_systole_are_no_ventricle(turned):
    labels = stack((90, 150), (100, 130), *HEART)
    base = "first"
    if turned:
        labels, base = labels[:, ::-1], "last"
    found = remove_atrial_slices(labels, base)
    if turned:
        labels, found = labels[:, ::-1], found[:, ::-1]
    assert not np.isin(found[:, :2], (2, 3)).any()
    np.testing.assert_array_equal(found[:, :2] == 1, labels[:, :2] == 1)
    np.testing.assert_array_equal(found[:, 2:], labels[:, 2:])


@pytest.mark.parametrize(
    "labels",
    [
        stack(*HEART),
        stack((110, 115), *HEART),  # hardly grows: a basal slice of a ventricle that does not contract there
        stack(*HEART[:-1], (50, 90)),  # at the apex
        stack((90, 150), (180, 178), (150, 149), (100, 99)),  # nothing contracts: areas tell nothing
        stack((90, 150), (80, 140), (70, 130), (100, 50)),  # most of the ventricle would go
        stack((90, 150), (100, 50)),
        stack((0, 0), *HEART),
    ],
)
def test_everything_else_stays(labels):
    np.testing.assert_array_equal(remove_atrial_slices(labels, "first"), labels)


def test_nothing_is_done_where_it_cannot_be_told():
    labels = stack((90, 150), (100, 130), *HEART)
    assert remove_atrial_slices(labels, None) is labels
    assert (
        remove_atrial_slices(labels[:1], "first") is not None
        and (remove_atrial_slices(labels[:1], "first") == labels[:1]).all()
    )

"""Labels compared with their own probabilities."""

from __future__ import annotations

import numpy as np
import pytest

from CardioDiTLib.segmentation.sureness import Sureness


def probabilities(likely: float, slices: int = 3) -> np.ndarray:
    """(Z, 4, 16, 16): a left cavity of this probability in the middle of each slice."""
    found = np.zeros((slices, 4, 16, 16), np.float32)
    found[:, 3, 4:12, 4:12] = likely
    found[:, 0] = 1 - found[:, 3]
    return found


@pytest.mark.parametrize("likely", [0.6, 0.8, 1.0])
def test_expected_dice_is_that_of_the_probabilities(likely):
    sure = Sureness(1, 3)
    sure.add(0, probabilities(likely), probabilities(likely).argmax(axis=1).astype(np.uint8))
    assert sure.expected_dice()[0, 2] == pytest.approx(2 * likely / (1 + likely))
    assert np.isnan(sure.expected_dice()[0, 0])


def test_a_slice_that_is_half_there_is_doubtful_whether_named_or_not():
    for likely in (0.45, 0.55):
        found = probabilities(1.0)
        found[0] = probabilities(likely)[0]
        sure = Sureness(1, 3)
        sure.add(0, found, found.argmax(axis=1).astype(np.uint8))
        assert sure.doubtful()[0, :, 2].tolist() == [True, False, False]
        assert sure.to_dict()["doubtful_slices"]["LV"] == [[0]]
        assert sure.to_dict(flipped=True)["doubtful_slices"]["LV"] == [[2]]

"""Points from label blobs and component filters, as published."""

from __future__ import annotations

import numpy as np
import pytest
from landmark_hearts import published
from refusals import refused

from CardioDiTLib.landmarks.rvip_detector import (
    largest_component_per_slice,
    rvip_points_from_label_mask,
)

MASKS = published("points_from_label_mask")["cases"]
VOLUMES = published("component_filter")["cases"]


@pytest.mark.parametrize("case", MASKS, ids=lambda case: case["name"])
@pytest.mark.parametrize("both_only", [True, False])
def test_points_agree_with_the_published_function(case, both_only):
    found = rvip_points_from_label_mask(np.array(case["inputs"]["mask"]), both_only)
    for point, expected in zip(found, case["outputs"][f"both_only_{str(both_only).lower()}"]["value"], strict=True):
        if expected is None:
            assert point is None
        else:
            assert point == pytest.approx(expected)


@pytest.mark.parametrize("case", VOLUMES, ids=lambda case: case["name"])
def test_filters_agree_with_the_published_functions(case):
    mask = np.array(case["inputs"]["mask"])
    expected = {key: np.array(value["value"]) for key, value in case["outputs"].items()}
    np.testing.assert_array_equal(largest_component_per_slice(mask), expected["per_slice_4_connected"])


def test_wrong_dimensions_are_refused():
    with refused("slice", 3):
        rvip_points_from_label_mask(np.zeros((2, 3, 4)), True)
    with refused("volume", 2):
        largest_component_per_slice(np.zeros((3, 4)))

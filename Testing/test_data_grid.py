"""The model grid: what it accepts, and that it survives JSON."""

from __future__ import annotations

import json

import pytest
from refusals import refused

from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.grid import ModelGrid


def test_shape_is_time_slice_row_column_and_extent_is_in_mm():
    grid = ModelGrid(slices=8, height=96, width=128, frames=16, spacing_mm=(1.5, 2.0, 10.0))
    assert grid.shape == (16, 8, 96, 128)
    assert grid.extent_mm == (192.0, 192.0, 80.0)


def test_json_round_trip():
    grid = ModelGrid(8, 128, 128, 16, (1.5, 1.5, 9.0))
    assert ModelGrid.from_dict(json.loads(json.dumps(grid.to_dict()))) == grid


@pytest.mark.parametrize(
    "change",
    [{"slices": 0}, {"frames": 2.5}, {"height": True}, {"spacing_mm": (1.5, 1.5)}, {"spacing_mm": (1.5, -1.5, 9.0)}],
)
def test_impossible_grids_are_refused(change):
    values = {"slices": 8, "height": 128, "width": 128, "frames": 16, "spacing_mm": (1.5, 1.5, 9.0)}
    with pytest.raises(CardioDiTError):
        ModelGrid(**{**values, **change})


def test_missing_and_unknown_entries_are_named():
    values = ModelGrid(8, 128, 128, 16, (1.5, 1.5, 9.0)).to_dict()
    values["depth"] = values.pop("slices")
    with refused("slices", "depth", "spacing_mm"):
        ModelGrid.from_dict(values)

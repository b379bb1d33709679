"""Arrays and free facts in records: what is written, what is read back, what is refused."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray
from refusals import refused

from CardioDiTLib.arrays import Facts, Numbers
from CardioDiTLib.schema import Record


@dataclass(frozen=True, eq=False)
class Curve(Record):
    record_name: ClassVar[str] = "curve"
    record_hint: ClassVar[str] = "Draw it again."

    values: Annotated[NDArray[np.float64], Numbers((None,))]
    affine: Annotated[NDArray[np.float64], Numbers((2, 2))] = field(default_factory=lambda: np.eye(2))
    meta: Annotated[dict[str, Any], Facts()] = field(default_factory=dict)


def test_arrays_come_back_and_what_is_not_known_is_null():
    given = np.array([1, 2, 3], np.int16)
    curve = Curve(given)
    assert curve.values.dtype == np.float64 and not curve.values.flags.writeable
    given[0] = 9
    assert curve.values[0] == 1.0, "a record keeps a copy"
    written = Curve([1.5, math.nan, math.inf]).to_dict()
    assert written == {"values": [1.5, None, None], "affine": [[1.0, 0.0], [0.0, 1.0]], "meta": {}}
    again = Curve.from_dict(json.loads(Curve([1.5, math.nan]).to_json()))
    np.testing.assert_array_equal(again.values, [1.5, math.nan])
    assert Curve.from_dict({"values": []}).values.shape == (0,)


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"values": ["1"]}, "'values'"),
        ({"values": ["1", None]}, "'values'"),
        ({"values": [True]}, "'values'"),
        ({"values": [True, None]}, "'values'"),
        ({"values": [[1.0]]}, "'values'"),
        ({"values": [[1.0], [1.0, 2.0]]}, "'values'"),
        ({"values": 3.0}, "'values'"),
        ({"values": {"a": 1}}, "'values'"),
        ({"values": [], "affine": [[1.0, 0.0]]}, "'affine'"),
        ({"values": [], "meta": [1]}, "'meta'"),
    ],
)
def test_what_is_no_array_is_refused(values, named):
    with refused("curve", named) as told:
        Curve.from_dict(values)
    assert told.value.hint == "Draw it again."


def test_facts_of_any_kind_are_written_as_json_can():
    meta = {
        "n": np.int64(3),
        "f": np.float32(0.5),
        1: np.arange(2),
        "p": Path("a") / "b",
        "nan": math.nan,
        "t": (True, None),
    }
    curve = Curve([], meta=meta)
    expected = {"n": 3, "f": 0.5, "1": [0, 1], "p": str(Path("a") / "b"), "nan": None, "t": [True, None]}
    assert curve.to_dict()["meta"] == expected
    assert Curve.from_dict(json.loads(curve.to_json())).meta == expected
    meta["n"] = 4
    assert curve.meta["n"] == 3

"""Records: every kind of type hint is read strictly, written as plain values, and comes back the same."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import pytest
from refusals import refused

from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.schema import (
    DEEPEST,
    Bounds,
    Count,
    Positive,
    Record,
    Shape,
    Unknowable,
    Words,
    is_number,
    parse_json,
    plain,
)


@dataclass(frozen=True)
class Point(Record):
    """Inside of another record."""

    record_name: ClassVar[str] = "point"

    x: float
    y: float = 0.0


@dataclass(frozen=True)
class Everything(Record):
    """One field of every kind."""

    record_name: ClassVar[str] = "thing"
    record_hint: ClassVar[str] = "Mend it."

    text: str
    words: Words = "some"
    whole: int = 1
    count: Count = 1
    number: float = 1.0
    positive: Positive = 1.0
    share: Annotated[float, Bounds(least=0, most=1)] = 0.5
    truth: bool = False
    code: Annotated[str, Shape(r"[a-z]+", "a word")] = "a"
    choice: Literal["one", "two", 3] = "one"
    maybe: int | None = None
    either: int | str = 1
    pair: tuple[int, float] = (1, 2.0)
    row: tuple[Count, ...] = ()
    items: list[Point] = field(default_factory=list)
    table: Mapping[str, float] = field(default_factory=dict)
    codes: dict[Annotated[str, Shape(r"[a-z]+", "a word")], int] = field(default_factory=dict)
    point: Point = Point(0.0)
    place: Point | None = None
    measured: Unknowable = 0.0
    measures: tuple[Unknowable, ...] = ()
    anything: Any = None


FULL: dict[str, Any] = {
    "text": "µ",
    "words": "x",
    "whole": -3,
    "count": 4,
    "number": 2.5,
    "positive": 0.1,
    "share": 1.0,
    "truth": True,
    "code": "abc",
    "choice": 3,
    "maybe": 7,
    "either": "b",
    "pair": [1, 2.5],
    "row": [1, 2],
    "items": [{"x": 1.0, "y": 2.0}],
    "table": {"a": 1.5},
    "codes": {"a": 1},
    "point": {"x": 1.0, "y": 0.0},
    "place": {"x": 1.0, "y": 2.0},
    "measured": None,
    "measures": [1.0, None],
    "anything": {"deep": [1, "a", None, True]},
}


def test_all_kinds_are_read_and_written_the_same():
    assert list(FULL) == [item.name for item in fields(Everything)]
    record = Everything.from_dict(FULL)
    assert record.to_dict() == FULL and list(record.to_dict()) == list(FULL)
    assert json.loads(record.to_json()) == FULL and record.to_json().endswith("}\n") and "µ" in record.to_json()
    assert record.items == [Point(1.0, 2.0)] and record.pair == (1, 2.5) and record.row == (1, 2)
    assert math.isnan(record.measured) and math.isnan(record.measures[1])
    again = Everything("µ", **{key: value for key, value in FULL.items() if key != "text"})
    assert again.to_dict() == FULL, "the constructor reads as strictly as a file"
    assert Everything("a") == Everything.from_dict({"text": "a"})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("text", 1),
        ("text", None),
        ("words", ""),
        ("whole", 1.0),
        ("whole", True),
        ("whole", "1"),
        ("count", 0),
        ("count", False),
        ("number", math.nan),
        ("number", math.inf),
        ("number", True),
        ("number", "1"),
        ("number", 10**400),
        ("number", None),
        ("positive", 0),
        ("share", 1.01),
        ("share", -0.01),
        ("truth", 1),
        ("truth", "yes"),
        ("code", "A"),
        ("code", "ab c"),
        ("code", "ab\n"),
        ("choice", "three"),
        ("choice", True),
        ("choice", None),
        ("maybe", "a"),
        ("either", 1.5),
        ("pair", [1]),
        ("pair", [1, 2, 3]),
        ("pair", "12"),
        ("row", [1, 0]),
        ("row", {"a": 1}),
        ("items", [3]),
        ("items", {"x": 1}),
        ("table", {"a": "b"}),
        ("table", {"a": math.nan}),
        ("table", [1]),
        ("codes", {"A": 1}),
        ("point", None),
        ("point", {"x": "1"}),
        ("point", {"x": 1, "z": 1}),
        ("place", 3),
        ("measured", "none"),
        ("measured", False),
        ("measures", [None, "a"]),
    ],
)
def test_a_value_of_another_kind_is_one_sentence_with_a_hint(name, value):
    for made in (lambda: Everything.from_dict({**FULL, name: value}), lambda: Everything(**{**FULL, name: value})):
        with pytest.raises(CardioDiTError) as caught:
            made()
        told = caught.value
        assert told.hint and "\n" not in told.message and told.message.endswith(".")
        assert f"'{name}'" in told.message or "point" in told.message


def test_bounds_say_what_is_possible():
    assert "'share' of the thing is 2, not a number from 0 on up to 1." in _refusal(share=2)
    assert "'positive' of the thing is 0, not a number above 0." in _refusal(positive=0)
    assert "not a whole number from 1 on. Mend it." in _refusal(count=0)
    assert len(_refusal(text=list(range(1000)))) < 200, "no more of a value than is read"


def _refusal(**wrong: Any) -> str:
    with pytest.raises(CardioDiTError) as caught:
        Everything.from_dict({**FULL, **wrong})
    return str(caught.value)


def test_missing_and_unknown_entries_are_named_together():
    values = {key: value for key, value in FULL.items() if key != "text"}
    with pytest.raises(CardioDiTError, match="The thing lacks text and has unknown a, b") as caught:
        Everything.from_dict({**values, "b": 1, "a": 2})
    assert caught.value.hint
    with refused("point", "x") as caught:
        Point.from_dict({})
    assert "x, y" in caught.value.hint, "what there is to choose from"
    for wrong in (None, [], "x", 3):
        with refused("thing", wrong):
            Everything.from_dict(wrong)


def test_numbers_of_numpy_are_numbers():
    record = Everything(
        "a",
        whole=np.int64(3),
        number=np.float32(0.5),
        row=(np.uint8(2),),
        measured=np.float64("nan"),
        measures=(np.float32(1.5), np.float32("inf")),
    )
    assert type(record.whole) is int and type(record.number) is float and type(record.row[0]) is int
    values = json.loads(record.to_json())
    assert (values["whole"], values["number"], values["row"]) == (3, 0.5, [2])
    assert values["measured"] is None and values["measures"] == [1.5, None]
    for wrong in ({"truth": np.bool_(True)}, {"whole": np.float64(1)}, {"number": np.zeros(2)}, {"count": np.int8(0)}):
        with pytest.raises(CardioDiTError):
            Everything("a", **wrong)


@dataclass(frozen=True)
class Marked(Record):
    """A record with all the class attributes there are."""

    record_name: ClassVar[str] = "marked file"
    record_mark: ClassVar[tuple[str, Any]] = ("schema_version", 2)
    json_names: ClassVar[Mapping[str, str]] = {"kind": "class"}
    omitted_when_empty: ClassVar[tuple[str, ...]] = ("notes",)
    all_needed: ClassVar[bool] = True
    came_later: ClassVar[tuple[str, ...]] = ("motion",)
    json_order: ClassVar[tuple[str, ...]] = ("size", "kind", "notes", "motion")
    derived: ClassVar[tuple[str, ...]] = ("double",)

    kind: str
    size: int = 1
    notes: tuple[str, ...] = ()
    motion: bool = False

    @property
    def double(self) -> float:
        """Not known of a single one."""
        return math.nan if self.size == 1 else 2.0 * self.size


def test_marks_names_order_and_what_may_be_absent():
    record = Marked("x", 2)
    assert list(record.to_dict().items()) == [
        ("schema_version", 2),
        ("size", 2),
        ("class", "x"),
        ("motion", False),
        ("double", 4.0),
    ]
    assert Marked.from_dict(record.to_dict()) == record
    assert Marked("x", notes=("a",)).to_dict()["notes"] == ["a"]
    assert Marked("x").to_dict()["double"] is None
    old = {"schema_version": 2, "class": "x", "size": 2}
    assert Marked.from_dict(old) == record, "neither what came later nor what is derived has to be there"
    for wrong, *named in (
        ({**old, "schema_version": 3}, "schema version 3", 2),
        ({**old, "schema_version": "2"}, "'2'", 2),
        ({**old, "schema_version": True}, True, 2),
        ({"class": "x", "size": 2}, "schema_version"),
        ({"schema_version": 2, "class": "x"}, "size"),
        ({"schema_version": 2, "kind": "x", "size": 2}, "class", "kind"),
        ({**old, "class": 3}, "class", 3),
    ):
        with refused(*named) as caught:
            Marked.from_dict(wrong)
        assert caught.value.hint


def test_a_mark_of_one_is_not_true():
    @dataclass(frozen=True)
    class First(Record):
        record_mark: ClassVar[tuple[str, int]] = ("version", 1)

    assert First.from_dict({"version": 1}) == First()
    with pytest.raises(CardioDiTError):
        First.from_dict({"version": True})


def test_what_json_does_not_have_is_not_written():
    for value in (math.nan, {1, 2}, [math.inf], {"a": object()}):
        with refused("thing", "JSON") as caught:
            Everything("a", anything=value).to_json()
        assert caught.value.hint == "Mend it."


def test_files_are_read_strictly(tmp_path):
    path = tmp_path / "thing.json"
    path.write_text(Everything.from_dict(FULL).to_json(), encoding="utf-8")
    assert Everything.read(path).to_dict() == FULL
    for content in (b"", b"{", b"\xff", b"[" * 100_000):
        path.write_bytes(content)
        with refused(path, "JSON") as caught:
            Everything.read(path)
        assert str(path) in caught.value.message
    with refused(tmp_path / "absent.json", "No such file or directory") as caught:
        Everything.read(tmp_path / "absent.json")
    assert caught.value.hint


def test_what_is_nested_without_end_is_no_json():
    assert parse_json("[" * DEEPEST + "]" * DEEPEST)
    for deep in (DEEPEST + 1, 100_000):
        for opening, closing in (("[", "]"), ('{"a":', "}")):
            inside = "1" if closing == "}" else ""
            with pytest.raises(ValueError):
                parse_json(opening * deep + inside + closing * deep)
    with pytest.raises(ValueError):
        parse_json("{")


def test_plain_values_and_numbers():
    assert plain({1: (Point(1.0), math.nan)}) == {"1": [{"x": 1.0, "y": 0.0}, pytest.approx(math.nan, nan_ok=True)]}
    assert plain((math.nan, math.inf, 1.0), True) == [None, None, 1.0]
    assert is_number(10**400) and is_number(1.5) and not any(map(is_number, (True, math.nan, math.inf, "1", None)))

"""Texts and tables as files: whole or not at all, and harmless in a spreadsheet."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass

import pytest

from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.reporting.tables import number_cell, text_cell, write_csv, write_json, write_text
from CardioDiTLib.schema import Record


@dataclass(frozen=True)
class Named(Record):
    name: str


@pytest.mark.parametrize("first", ["=", "+", "-", "@", "\t", "\r"])
def test_no_text_becomes_a_formula(first, tmp_path):
    text, shown = f"{first}HYPERLINK(1)", f"{first}HYPERLINK(1)".replace("\r", " ")
    assert text_cell(text) == f"'{shown}" and text_cell(f"a{text}") == f"a{shown}" and text_cell("") == ""
    path = write_csv(("name", "value"), [(text_cell(text), number_cell(1 / 3))], tmp_path / "a.csv")
    with path.open(newline="", encoding="utf-8") as stream:
        assert list(csv.reader(stream)) == [["name", "value"], [f"'{shown}", "0.333333"]]


def test_cells_and_bytes(tmp_path):
    assert [number_cell(value) for value in (math.nan, math.inf, 0.0, 1234567.0)] == ["", "", "0", "1.23457e+06"]
    assert write_csv(("a",), [("\u00e9,b",)], tmp_path / "a.csv").read_bytes() == 'a\n"\u00e9,b"\n'.encode()
    assert (
        write_json(Named("\u00e9"), tmp_path / "a.json", indent=1).read_bytes() == '{\n "name": "\u00e9"\n}\n'.encode()
    )
    assert write_text("\u00e9", tmp_path / "a.txt").read_text(encoding="utf-8") == "\u00e9"


def test_a_table_that_breaks_leaves_what_was_there(tmp_path):
    path = write_text("before", tmp_path / "a.csv")

    def rows():
        yield ("1",)
        raise CardioDiTError("No more.")

    with pytest.raises(CardioDiTError, match="No more"):
        write_csv(("a",), rows(), path)
    assert path.read_text(encoding="utf-8") == "before" and [one.name for one in tmp_path.iterdir()] == ["a.csv"]

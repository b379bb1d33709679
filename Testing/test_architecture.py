"""The library's rooms stand on floors: nothing imports upward, and the documentation says how they stand."""

from __future__ import annotations

import pytest
from update_architecture import (
    BEGIN,
    END,
    LIBRARY,
    PAGE,
    floors,
    imported,
    imports_between_rooms,
    table,
    with_table,
)


def test_no_room_imports_what_stands_on_it():
    found = floors(imports_between_rooms())
    assert found["errors"] == 1 and found["schema"] < found["files"] < found["bundles"] < found["generation"]
    assert max(found.values()) == max(found["worker"], found["__main__"])


def test_a_circle_is_named():
    with pytest.raises(ValueError, match="a circle: io -> data -> io"):
        floors({"io": {"data"}, "data": {"io"}})


def test_the_library_knows_no_slicer():
    for path in sorted(LIBRARY.rglob("*.py")):
        assert not {name.split(".")[0] for name in imported(path)} & {"slicer", "qt", "ctk"}, path.name


def test_the_documentation_shows_the_floors_as_they_are():
    text = PAGE.read_text(encoding="utf-8")
    assert with_table(text) == text, "run 'python Testing/update_architecture.py'"


def test_a_page_without_its_place_is_refused():
    assert with_table(f"a\n{BEGIN}\nold\n{END}\nb") == f"a\n{BEGIN}\n{table()}\n{END}\nb"
    with pytest.raises(ValueError, match="lacks"):
        with_table("a")


def test_lines_of_the_documentation_can_be_compared():
    """Prose is wrapped, so that a change shows as a change of few lines; tables and commands stay as they are."""
    for path in [PAGE.parents[1] / "README.md", *sorted(PAGE.parent.glob("*.md"))]:
        code = False
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            code ^= line.lstrip().startswith("```")
            is_prose = not code and not line.lstrip().startswith(("|", "```", "![", "[!"))
            assert len(line) <= 120 or not is_prose, f"{path.name}:{number} has {len(line)} characters"

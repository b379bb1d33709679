"""Write the table of floors in docs/architecture.md from what the library imports.

    python Testing/update_architecture.py

A room is a package or a module right below ``CardioDiTLib``. Its floor is one above the highest room that it imports,
inside functions too; what it does is the first line of its docstring.
"""

from __future__ import annotations

import ast
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
LIBRARY = REPOSITORY / "CardioDiTLib"
PAGE = REPOSITORY / "docs" / "architecture.md"
BEGIN, END = "<!-- floors: python Testing/update_architecture.py -->", "<!-- end of floors -->"


def room_of(path: Path) -> str:
    """Name of the room that a file of the library lies in; "CardioDiTLib" for the facade itself."""
    first = path.relative_to(LIBRARY).parts[0]
    return "CardioDiTLib" if first == "__init__.py" else first.removesuffix(".py")


def imported(path: Path) -> set[str]:
    """Absolute names of all modules that a file imports, relative ones resolved."""
    package = ["CardioDiTLib", *path.relative_to(LIBRARY).parent.parts]
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            names |= {f"{module}.{alias.name}" for alias in node.names} | {module}
    return names


def imports_between_rooms() -> dict[str, set[str]]:
    """The rooms that each room imports, itself left out."""
    paths = sorted(LIBRARY.rglob("*.py"))
    edges: dict[str, set[str]] = {room_of(path): set() for path in paths}
    for path in paths:
        for name in imported(path):
            top, _, rest = name.partition(".")
            if top == "CardioDiTLib" and rest:
                first = rest.split(".")[0]
                edges[room_of(path)].add(first if first in edges else "CardioDiTLib")
    return {room: others - {room} for room, others in edges.items()}


def floors(edges: dict[str, set[str]]) -> dict[str, int]:
    """Floor of each room.

    Raises:
        ValueError: Rooms import each other in a circle; it names them.
    """
    found: dict[str, int] = {}

    def visit(room: str, above: tuple[str, ...]) -> int:
        if room in above:
            raise ValueError(f"a circle: {' -> '.join([*above[above.index(room) :], room])}")
        if room not in found:
            found[room] = 1 + max((visit(other, (*above, room)) for other in sorted(edges[room])), default=0)
        return found[room]

    for room in edges:
        visit(room, ())
    return found


def first_sentence(room: str) -> str:
    """What a room says that it does."""
    path = LIBRARY / f"{room}.py"
    path = path if path.is_file() else (LIBRARY if room == "CardioDiTLib" else LIBRARY / room) / "__init__.py"
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return " ".join(text.split("\n\n")[0].split())


def table() -> str:
    """The table of floors, the lowest first."""
    edges = imports_between_rooms()
    lines = ["| floor | room | what it is for |", "| --- | --- | --- |"]
    for room, floor in sorted(floors(edges).items(), key=lambda item: (item[1], item[0])):
        lines.append(f"| {floor} | `{room}` | {first_sentence(room)} |")
    return "\n".join(lines)


def with_table(text: str) -> str:
    """The page with the table as it is now.

    Raises:
        ValueError: The page has no place for it.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{PAGE.name} lacks '{BEGIN}' or '{END}'.")
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


if __name__ == "__main__":
    old = PAGE.read_text(encoding="utf-8")
    new = with_table(old)
    if new != old:
        PAGE.write_text(new, encoding="utf-8", newline="\n")
        print(f"updated {PAGE.relative_to(REPOSITORY)}")

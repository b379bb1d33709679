"""What an installed extension will hold, and what the library may import."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
LIBRARY = REPOSITORY / "CardioDiTLib"

FLOORS = {
    "errors": -1,
    "cine": 0,
    "version": -1,
    "io": 1,
    "models": 1,
    "diffusion": 1,
    "data": 2,
    "bundles": 2,
    "generation": 3,
    "training": 4,
    "commands": 5,
    "cli": 6,
    "__init__": 5,
    "__main__": 7,
}


def sources() -> list[Path]:
    return sorted(LIBRARY.rglob("*.py"))


def test_cmake_lists_every_file():
    text = (LIBRARY / "CMakeLists.txt").read_text()
    block = re.search(r"set\(CardioDiTLib_PYTHON_SCRIPTS\n(.*?)\n  \)", text, re.S)
    assert block is not None
    listed = [line.strip() for line in block[1].splitlines()]
    assert listed == sorted(listed)
    assert set(listed) == {path.relative_to(LIBRARY).as_posix() for path in sources()}


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


@pytest.mark.parametrize("path", sources(), ids=lambda path: path.relative_to(LIBRARY).as_posix())
def test_rooms_import_only_from_floors_below(path):
    room = path.relative_to(LIBRARY).parts[0].removesuffix(".py")
    own = FLOORS[room]
    for name in imported(path):
        parts = name.split(".")
        assert parts[0] not in ("slicer", "qt", "ctk"), f"{path.name} imports {name}"
        if parts[0] == "CardioDiTLib" and len(parts) > 1 and parts[1] in FLOORS and parts[1] != room:
            assert FLOORS[parts[1]] < own, f"{path.name} of floor {own} imports {name}"


def test_nothing_is_unpickled_or_evaluated():
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            text = ast.unparse(node.func)
            assert text not in ("eval", "exec", "pickle.load", "pickle.loads", "yaml.load"), f"{path.name}: {text}"
            if text == "torch.load":
                assert any(k.arg == "weights_only" and ast.unparse(k.value) == "True" for k in node.keywords), path.name


def test_catalogue_entries_agree_with_the_project():
    entry = json.loads((REPOSITORY / "CardioDiT.json").read_text())
    cmake = (REPOSITORY / "CMakeLists.txt").read_text()
    assert "project(CardioDiT)" in cmake
    assert f'set(EXTENSION_CATEGORY "{entry["category"]}")' in cmake
    assert entry["build_dependencies"] == re.search(r'EXTENSION_DEPENDS "([^"]*)"', cmake)[1].split()
    assert {"$schema", "category", "scm_url"} <= set(entry)
    s4ext = dict(
        line.split(" ", 1)
        for line in (REPOSITORY / "CardioDiT.s4ext").read_text().splitlines()
        if not line.startswith("#")
    )
    assert s4ext["scmurl"] == entry["scm_url"] and s4ext["category"] == entry["category"]


def test_licence_is_apache():
    assert "Apache License" in (REPOSITORY / "LICENSE.txt").read_text()[:200]

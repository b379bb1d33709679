"""Write the file lists of both CMakeLists.txt from the tree.

    python Testing/update_cmake_lists.py

A file that is not listed is silently absent from an installed extension: run this after adding, moving or removing one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class FileList:
    """One ``set(VARIABLE files...)`` of a CMakeLists.txt.

    Attributes:
        folder: Folder of the CMakeLists.txt, from the repository; the files are named from there.
        variable: Name of the CMake variable.
        patterns: What is listed; see :meth:`pathlib.Path.glob`.
        python: Whether Python scripts are listed, or what is not one.
    """

    folder: str
    variable: str
    patterns: tuple[str, ...]
    python: bool

    def files(self, repository: Path) -> list[str]:
        """Names of all files in the tree that belong into the list, sorted."""
        folder = repository / self.folder
        found = {path.relative_to(folder) for pattern in self.patterns for path in folder.glob(pattern)}
        kept = [p for p in found if (folder / p).is_file() and _ships(p) and (p.suffix == ".py") == self.python]
        return sorted(path.as_posix() for path in kept)


LISTS = (
    FileList("CardioDiTLib", "CardioDiTLib_PYTHON_SCRIPTS", ("**/*",), python=True),
    FileList("CardioDiTLib", "CardioDiTLib_PYTHON_RESOURCES", ("**/*",), python=False),
    FileList("CardioDiT", "MODULE_PYTHON_SCRIPTS", ("CardioDiT.py", "CardioDiTModule/**/*"), python=True),
    FileList("CardioDiT", "MODULE_PYTHON_RESOURCES", ("Resources/**/*",), python=False),
)


def _ships(path: Path) -> bool:
    """Whether a file is part of the software, not a by-product of running, editing or building it."""
    by_product = any(part.startswith(".") or part == "__pycache__" for part in path.parts)
    return not by_product and path.suffix not in (".pyc", ".orig", ".rej") and path.name != "CMakeLists.txt"


def with_list(text: str, variable: str, files: Iterable[str]) -> str:
    """The text of a CMakeLists.txt with one list replaced.

    Raises:
        ValueError: The list is not there exactly once.
    """
    lines = "".join(f"  {name}\n" for name in files)
    changed, count = re.subn(
        rf"(set\({variable}\n)(?:  [^\n()]+\n)*(  \))", lambda match: match[1] + lines + match[2], text
    )
    if count != 1:
        raise ValueError(f"set({variable} ...) is there {count} times, not once.")
    return changed


def update(repository: Path = REPOSITORY) -> list[Path]:
    """Rewrite all lists; returns the files that changed."""
    changed = []
    for folder in dict.fromkeys(item.folder for item in LISTS):
        path = repository / folder / "CMakeLists.txt"
        before = after = path.read_text(encoding="utf-8")
        for item in LISTS:
            if item.folder == folder:
                after = with_list(after, item.variable, item.files(repository))
        if after != before:
            path.write_text(after, encoding="utf-8", newline="\n")
            changed.append(path)
    return changed


if __name__ == "__main__":
    for path in update():
        print(f"updated {path.relative_to(REPOSITORY)}")

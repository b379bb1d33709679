from __future__ import annotations

import importlib.util
import sys
from pathlib import Path


def libraryFolder() -> Path:
    """Folder that holds the package CardioDiTLib.

    Installed, it lies beside this module and is found by itself; in a source tree it lies one folder higher.

    Raises:
        ModuleNotFoundError: It is in neither place.
    """
    found = importlib.util.find_spec("CardioDiTLib")
    if found is not None and found.origin is not None:
        return Path(found.origin).resolve().parents[1]
    here = Path(__file__).resolve()
    for folder in (here.parents[1], here.parents[2]):
        if (folder / "CardioDiTLib" / "__init__.py").is_file():
            return folder
    raise ModuleNotFoundError("CardioDiTLib is neither installed nor beside the module CardioDiT.")


def ensureLibrary() -> Path:
    """Make `import CardioDiTLib` possible; returns its parent folder."""
    folder = libraryFolder()
    if importlib.util.find_spec("CardioDiTLib") is None:
        sys.path.append(str(folder))
        importlib.invalidate_caches()
    return folder

"""The one worker of the application: widgets and console scripts use the same warm networks."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from pathlib import Path

import qt
import slicer

from .QtProcess import QtProcess
from .WorkerClient import WorkerClient

CACHE_SETTING = "CardioDiT/CacheFolder"
_shared: list[WorkerClient] = []


def sharedWorker() -> WorkerClient:
    """The worker client of the application; made when first asked for. Its process starts with the first order."""
    if not _shared:
        ensureLibrary()
        _shared.append(WorkerClient(QtProcess, workerCommandLine, later))
        # without this the process would only end once its pipe breaks
        slicer.app.connect("aboutToQuit()", stopSharedWorker)
    return _shared[0]


def stopSharedWorker() -> None:
    """End the worker, waiting for it; before a reload, and when the application ends."""
    while _shared:
        _shared.pop().stop(wait=True)
        slicer.app.disconnect("aboutToQuit()", stopSharedWorker)


def later(milliseconds: int, callback) -> None:
    """Call back after a while, through the event loop."""
    qt.QTimer.singleShot(milliseconds, callback)


def workerCommandLine() -> tuple[str, list[str], dict[str, str]]:
    """(program, arguments, environment) of the worker."""
    folder = str(ensureLibrary())
    earlier = os.environ.get("PYTHONPATH", "")
    environment = {
        "PYTHONPATH": folder + (os.pathsep + earlier if earlier else ""),
        "PYTHONUNBUFFERED": "1",
        "PYTHONIOENCODING": "utf-8",
        # no module is taken from the current folder (Python 3.11 and later; earlier ones know the folder is empty)
        "PYTHONSAFEPATH": "1",
    }
    cache = qt.QSettings().value(CACHE_SETTING)
    if cache:
        environment["CARDIODIT_CACHE"] = str(cache)
    return (
        pythonExecutable(),
        ["-m", "CardioDiTLib.worker", "--background", "--parent-pid", str(os.getpid())],
        environment,
    )


def pythonExecutable() -> str:
    """Slicer's own Python as a program: by its launcher, or, where that does not pass on what is written to it, the
    real one, which the application's environment suits too.
    """
    if _shared and _shared[0].isDeaf:
        real = "python-real.exe" if sys.platform == "win32" else "python-real"
        folder = Path(slicer.app.slicerHome) / "bin"
        found = next((folder / one for one in (real, "python-real") if (folder / one).is_file()), None)
        if found is not None:
            return str(found)
    name = "PythonSlicer.exe" if sys.platform == "win32" else "PythonSlicer"
    besides = Path(slicer.app.slicerHome) / "bin" / name
    return shutil.which("PythonSlicer") or (str(besides) if besides.is_file() else sys.executable)


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

"""Fixtures for tests inside the stand-in application. These tests change PySide6 for good: they run in a process of
their own (see ../test_slicer_in_own_process.py)."""

from __future__ import annotations

import atexit
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import pytest
from slicer_standin import pythonqt, slicer_app

_status = [0]

HANGS_AFTER_S = 60.0
"""What is only waited for may take as long as a machine that is busy with other things needs; how long something may
take is said where it is the test's subject."""

LEAST_TURNS = 6
"""Of the event loop, however slow each is: what one turn brings about may itself ask for another."""


def pytest_sessionfinish(exitstatus):
    _status[0] = int(exitstatus)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure():
    """End here, all being said: when Python itself ends, VTK, Qt and the libraries that a test has loaded beside them
    (torch, Matplotlib) take each other down in no certain order, and the process may crash after the last test.
    """
    if "slicer" not in sys.modules:
        return
    sys.stdout.flush()
    sys.stderr.flush()
    atexit._run_exitfuncs()
    os._exit(_status[0])


@pytest.fixture(scope="session")
def app():
    """The one application. The environment may choose the version of Slicer and the folder with its Python classes."""
    version = os.environ.get("SLICER_STANDIN_VERSION", "main")
    slicer_python = os.environ.get("SLICER_STANDIN_PYTHON", slicer_app.STANDARD_PYTHON)
    return slicer_app.start(version, Path(slicer_python))


@pytest.fixture
def scene(app):
    """The scene, closed before the test."""
    import slicer

    slicer.mrmlScene.Clear(0)
    return slicer.mrmlScene


@pytest.fixture(autouse=True)
def noSlotErrors():
    """Exceptions in slots and observers are only printed by the application: here they fail the test."""
    pythonqt.errors.clear()
    yield pythonqt.errors
    assert not pythonqt.errors, f"exception in a slot or an observer: {pythonqt.errors!r}"


@pytest.fixture(autouse=True)
def cleanRecords(app):
    """Nothing shown, asked or prepared is left for the next test."""
    from slicer_standin.application import messages
    from slicer_standin.application.state import state
    from slicer_standin.pythonqt import corrections, dialogs

    state.reset()
    messages.clear()
    for record in (dialogs.answers, dialogs.asked, corrections.opened_urls):
        record.clear()


@pytest.fixture
def messages(cleanRecords):
    """The messages that slicer.util would have shown: `messages.texts("error")`, `messages.answers.append(False)`."""
    from slicer_standin.application import messages

    return messages


@pytest.fixture
def dialogs(cleanRecords):
    """Modal dialogs: `dialogs.answers.append("/a/file")` before, `dialogs.asked` after."""
    from slicer_standin.pythonqt import dialogs

    return dialogs


@pytest.fixture(scope="session")
def spin(app):
    """`spin(ms)`: let the application handle events for a while."""

    def run(milliseconds: int) -> None:
        end, turns = time.monotonic() + milliseconds / 1000, 0
        while turns < LEAST_TURNS or time.monotonic() < end:
            if turns:
                time.sleep(0.001)
            app.processEvents()
            turns += 1

    return run


@pytest.fixture(scope="session")
def waitUntil(spin):
    """`waitUntil(condition, seconds)`: handle events until the condition holds; fails when it does not hold within
    these seconds, nor within the time after which something hangs on any machine.
    """

    def wait(condition, seconds: float = HANGS_AFTER_S) -> None:
        seconds = max(seconds, HANGS_AFTER_S)
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, f"not within {seconds} s"
            spin(10)

    return wait


@pytest.fixture
def load(scene):
    """`load(path)`: load a scripted module; it is unloaded after the test."""
    loaded = []

    def load_module(path):
        loaded.append(slicer_app.loadModule(path))
        return loaded[-1]

    yield load_module
    for module in reversed(loaded):
        slicer_app.unloadModule(module)

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
from module_under_test import MODULE, PROBE, FakeProcess, playWorker, process
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


@pytest.fixture(scope="module")
def heart():
    """A digital heart: cine, labels and landmarks that belong together."""
    from measured_cine import phantom

    return phantom()


@pytest.fixture
def processClass():
    """The worker that the test plays; a test file may have its own."""
    return FakeProcess


@pytest.fixture
def firstAnswers():
    """What that worker answers to the panel's first questions; a test file may have its own."""
    return {"models": {"models": [], "folder": "/somewhere", "problem": ""}, "probe": PROBE}


@pytest.fixture
def panel(load, monkeypatch, spin, processClass, firstAnswers):
    """The module's widget with a worker that the test plays, and that has answered the first questions."""
    playWorker(monkeypatch, processClass)
    widget = load(MODULE).widget
    process().ready()
    for button in (widget.ui.generateButton, widget.ui.landmarksButton, widget.ui.folderButton):
        assert not button.enabled and "starting" in button.toolTip
    for command, values in firstAnswers.items():
        process().answer(command, **values)
    spin(5)
    yield widget
    from CardioDiTModule.SharedWorker import stopSharedWorker

    stopSharedWorker()


@pytest.fixture
def ui(panel):
    return panel.ui


@pytest.fixture
def choose(panel, app):
    """`choose(cine)`: put a described cine into the scene and choose it in the section Play; its browser node."""

    def build(cine):
        from CardioDiTModule.SequenceBuilder import SequenceBuilder

        browser = SequenceBuilder().build(cine)
        panel.play.show(browser, play=False)
        app.processEvents()
        return browser

    return build


@pytest.fixture
def browser(choose, heart):
    """The digital heart as a synthetic cine that is chosen."""
    from measured_cine import described

    return choose(described(heart.cine, synthetic=True, model="tiny", seed=7))


@pytest.fixture
def warmPanel(load, waitUntil):
    """`warmPanel(settings)`: the module's widget with the real worker, which has answered the first questions; keys of
    the settings without "CardioDiT/".
    """

    def make(settings):
        import qt

        for name, value in settings.items():
            qt.QSettings().setValue(f"CardioDiT/{name}", str(value))
        widget = load(MODULE).widget
        waitUntil(lambda: not widget.completion._notReady, 240)
        waitUntil(lambda: not widget.logic.worker.openRequests(), 240)
        return widget

    return make


@pytest.fixture(scope="module")
def workerEnds():
    """No real worker is left after the tests of a file, nor any setting of theirs."""
    yield
    import qt
    from CardioDiTModule.SharedWorker import stopSharedWorker

    qt.QSettings().remove("CardioDiT")
    stopSharedWorker()

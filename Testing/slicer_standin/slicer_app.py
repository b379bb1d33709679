"""Start the stand-in application, and load scripted modules into it.

app = start()
loaded = loadModule("/path/to/Module.py")
loaded.widget.ui.applyButton.click()
"""

from __future__ import annotations

import atexit
import importlib.util
import shutil
import sys
import types
from pathlib import Path
from typing import NamedTuple

from slicer_standin.application.state import state

STANDARD_PYTHON = Path(__file__).resolve().parent / "slicer_min"
VERSION_NUMBERS = {"main": (5, 13), "5.12": (5, 12)}


class LoadedModule(NamedTuple):
    """A module as the application holds it."""

    module: types.ModuleType
    widget: object
    panel: object


def _install_qt() -> None:
    """Make `import qt` and `import ctk` find the stand-ins."""
    from slicer_standin import ctk, qt

    sys.modules["qt"], sys.modules["ctk"] = qt, ctk


def _install_slicer_python(folder: Path) -> None:
    """Let the package `slicer` find the modules that Slicer adds to it, and the classes of its widgets."""
    import slicer

    from slicer_standin.widgets import stand_in

    def class_of_slicer(name: str):
        if name.startswith(("qMRML", "qSlicer")):
            return stand_in(name)
        raise AttributeError(f"module 'slicer' has no attribute '{name}'")

    slicer.__path__.append(str(folder))
    slicer.__getattr__ = class_of_slicer


def _use_settings_file(path: Path) -> None:
    """Keep all settings of this run, also those of a plain QSettings(), in one file of its own."""
    from PySide6.QtCore import QSettings

    QSettings.setDefaultFormat(QSettings.IniFormat)
    for scope in (QSettings.UserScope, QSettings.SystemScope):
        QSettings.setPath(QSettings.IniFormat, scope, str(path.parent))


def _make_application(version: str):
    from PySide6.QtCore import QCoreApplication

    from slicer_standin.widgets import stand_in

    QCoreApplication.setApplicationName("Slicer")
    QCoreApplication.setOrganizationName("StandIn")
    application = stand_in("qSlicerApplication")()
    major, minor = VERSION_NUMBERS[version]
    application._values |= {"majorVersion": major, "minorVersion": minor}
    application._values |= {"mainApplicationMajorVersion": major, "mainApplicationMinorVersion": minor}
    application.setApplicationVersion(f"{major}.{minor}.0")
    return application


def _add_core_modules() -> None:
    """`slicer.modules.<name>` for each module with a logic."""
    import slicer

    from slicer_standin.widgets import stand_in

    slicer.modules = types.SimpleNamespace()
    for name, logic in state.core.logics.items():
        class_name = "qSlicerSequencesModule" if name == "Sequences" else "qSlicerLoadableModule"
        module = stand_in(class_name)()
        module._values |= {"name": name, "title": name}
        module._logic = logic
        setattr(slicer.modules, name.lower(), module)


def start(version: str = "main", slicer_python: Path = STANDARD_PYTHON):
    """The application (one for the process): scene, logics, `slicer.app`, `qt`, `ctk`.

    `version` chooses the facts ('main' or '5.12'). `slicer_python` is the folder with ScriptedLoadableModule,
    parameterNodeWrapper and the like; by default the small ones beside this file.
    """
    import slicer

    if state.core is not None:
        return slicer.app
    from slicer_standin import widgets

    _install_qt()
    widgets.use_facts(version)
    _install_slicer_python(Path(slicer_python))

    from slicer_standin.application import core_app, messages

    state.core = core_app.CoreApp()
    atexit.register(shutil.rmtree, state.core.folder, ignore_errors=True)
    _use_settings_file(state.core.settings_file())
    slicer.app = _make_application(version)
    _add_core_modules()
    messages.install()
    return slicer.app


def _execute(path: Path) -> types.ModuleType:
    """Execute a module's file as Slicer does: its folder on sys.path, the file's name as module name."""
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    specification = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(specification)
    sys.modules[path.stem] = module
    specification.loader.exec_module(module)
    return module


def loadModule(path: str | Path) -> LoadedModule:
    """Load a scripted module: make its class, its widget, and enter the panel."""
    import slicer

    from slicer_standin.widgets import stand_in

    path = Path(path)
    python_module = _execute(path)
    parent = stand_in("qSlicerScriptedLoadableModule")()
    parent._describe(path)
    setattr(slicer.modules, path.stem.lower(), parent)
    instance = getattr(python_module, path.stem)(parent)
    setattr(slicer.modules, f"{path.stem}Instance", instance)
    state.scripted_modules[path.stem] = parent
    slicer.app.moduleManager().moduleLoaded.emit(path.stem)
    panel = parent.widgetRepresentation()
    panel.enter()
    return LoadedModule(python_module, panel.self(), panel)


def unloadModule(loaded: LoadedModule) -> None:
    """Leave the panel and unload, as at the end of the application: the widget's cleanup() is called."""
    import slicer
    from shiboken6 import Shiboken

    from slicer_standin.application.scripted_module import forget

    name = loaded.panel.moduleName
    if loaded.panel.isEntered:
        loaded.panel.exit()
    slicer.app.moduleManager().moduleAboutToBeUnloaded.emit(name)
    forget(name)
    Shiboken.delete(loaded.panel)


def reloadModule(loaded: LoadedModule) -> LoadedModule:
    """What the Reload button does: slicer.util.reloadScriptedModule, through the widget's onReload."""
    loaded.panel.self().onReload()
    return LoadedModule(sys.modules[loaded.panel.moduleName], loaded.panel.self(), loaded.panel)


def setTestingEnabled(enabled: bool) -> None:
    """Whether the application was started with --testing."""
    state.testing = enabled

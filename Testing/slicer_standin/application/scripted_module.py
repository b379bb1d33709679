"""A scripted module in the application: the object that its class gets as parent, and the panel with its widget."""

from __future__ import annotations

import sys
from pathlib import Path

from PySide6.QtWidgets import QVBoxLayout

from slicer_standin.application.state import state
from slicer_standin.widgets.behaviours import behaviour


@behaviour
class _qSlicerScriptedLoadableModule:
    """`slicer.modules.<name>`."""

    def _init(self):
        self._panel = None

    def _describe(self, path):
        self._values |= {"path": str(path), "name": Path(path).stem, "widgetRepresentationCreationEnabled": True}

    def widgetRepresentation(self):
        """The panel, made at the first call."""
        from slicer_standin.widgets import stand_in

        if self._panel is None:
            self._panel = stand_in("qSlicerScriptedLoadableModuleWidget")()
            self._panel._open(self)
        return self._panel


@behaviour
class _qSlicerAbstractModuleWidget:
    """The panel of a module."""

    def _init(self):
        self._module = None

    def module(self):
        return self._module


@behaviour
class _qSlicerScriptedLoadableModuleWidget:
    """The panel of a scripted module: it makes the module's widget class, and enters and leaves it."""

    def _init(self):
        self._widget = None

    def _open(self, module):
        import slicer

        self._module = module
        self._values["moduleName"] = module.name
        self.setLayout(QVBoxLayout())
        self.setMRMLScene(slicer.mrmlScene)
        self._make_widget()

    def _make_widget(self):
        """Create the widget from the class as it is now, and build its interface."""
        import slicer

        class_name = f"{self.moduleName}Widget"
        self._widget = getattr(sys.modules[self.moduleName], class_name)(self)
        setattr(slicer.modules, class_name, self._widget)
        self._widget.setup()

    def self(self):
        return self._widget

    def enter(self):
        self._values["isEntered"] = True
        if hasattr(self._widget, "enter"):
            self._widget.enter()

    def exit(self):
        self._values["isEntered"] = False
        if hasattr(self._widget, "exit"):
            self._widget.exit()

    def reload(self):
        """Called by slicer.util.reloadScriptedModule after the file was executed again."""
        self._make_widget()


def forget(name: str) -> None:
    """Remove what a loaded module left behind."""
    import slicer

    state.scripted_modules.pop(name, None)
    for attribute in (name.lower(), f"{name}Instance", f"{name}Widget"):
        if hasattr(slicer.modules, attribute):
            delattr(slicer.modules, attribute)
    sys.modules.pop(name, None)

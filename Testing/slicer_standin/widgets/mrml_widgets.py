"""Simple widgets that know the scene or show one node."""

from __future__ import annotations

from slicer_standin.widgets.behaviours import behaviour


def _scene(self):
    return self._scene


def _set_scene(self, scene):
    if scene is not self._scene:
        self._scene = scene
        self.mrmlSceneChanged.emit(scene)


@behaviour
class _qMRMLWidget:
    """Hands the scene on to the widgets that are connected to it in the .ui."""

    def _init(self):
        self._scene = None

    mrmlScene = _scene
    setMRMLScene = _set_scene


@behaviour
class _qSlicerWidget:
    """The same, as base of the modules' panels. Its scene is read through the application."""

    def _init(self):
        self._scene = None

    setMRMLScene = _set_scene


@behaviour
class _qMRMLCollapsibleButton:
    """A collapsible button that hands the scene on."""

    def _init(self):
        self._scene = None

    setMRMLScene = _set_scene

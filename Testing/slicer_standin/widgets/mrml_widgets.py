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


@behaviour
class _qMRMLTableView:
    """Remembers its table; shows nothing."""

    def _init(self):
        self._scene = self._table = self._view_node = None

    mrmlScene = _scene
    setMRMLScene = _set_scene

    def setMRMLTableNode(self, node):
        self._table = node

    def mrmlTableNode(self):
        return self._table

    def setMRMLTableViewNode(self, node):
        self._view_node = node

    def mrmlTableViewNode(self):
        return self._view_node


@behaviour
class _qMRMLPlotView:
    """Remembers its view node; draws nothing."""

    def _init(self):
        self._scene = self._view_node = None

    setMRMLScene = _set_scene

    def setMRMLPlotViewNode(self, node):
        self._view_node = node

    def fitToContent(self):
        """Nothing is drawn, so there is nothing to fit."""

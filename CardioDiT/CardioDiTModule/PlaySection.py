from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer
import vtk
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from .CineReader import frameTimesOf
from .Problem import CardioDiTProblem
from .SequenceBuilder import beatRateFps, originOf

SHOWN_ORIGIN = ("model", "model_version", "seed", "index", "pathology", "guidance", "steps", "sampler", "precision")


class PlaySection(VTKObservationMixin):
    """Widgets that play a cine.

    Args:
        ui: The module's widgets.
        parameterNode: () -> the module's parameter node, or None.
    """

    def __init__(self, ui: Any, parameterNode: Callable[[], Any]) -> None:
        VTKObservationMixin.__init__(self)
        self.ui, self._parameterNode = ui, parameterNode
        self._browser: Any = None
        self._filling = False
        ui.browserSelector.connect("currentNodeChanged(vtkMRMLNode*)", self.setBrowser)
        ui.frameRateSpin.connect("valueChanged(double)", self._onFrameRate)
        ui.realTimeButton.connect("clicked(bool)", self._onRealTime)
        ui.loopCheck.connect("toggled(bool)", self._onLoop)
        self.setBrowser(None)

    def browser(self) -> Any:
        """The browser node that is chosen; None for none."""
        return self._browser

    def setBrowser(self, browser: Any) -> None:
        """Choose a cine."""
        self.removeObservers()
        self._browser = browser
        self.ui.playWidget.setMRMLSequenceBrowserNode(browser)
        self.ui.seekWidget.setMRMLSequenceBrowserNode(browser)
        for widget in (self.ui.frameRateSpin, self.ui.realTimeButton, self.ui.loopCheck):
            widget.enabled = browser is not None
        if browser is not None:
            self.addObserver(browser, vtk.vtkCommand.ModifiedEvent, self._onBrowserModified)
        self._onBrowserModified()
        self._showOrigin()

    def show(self, browser: Any, play: bool = True) -> None:
        """Choose a cine, put it into the slice views, and let it beat."""
        node = self._parameterNode()
        if node is not None:
            node.browser = browser
        self.setBrowser(browser)
        showCine(browser)
        browser.SetPlaybackActive(play)

    def cleanup(self) -> None:
        """Observe nothing any more; the widgets may be gone already."""
        self.removeObservers()
        self._browser = None

    def _onBrowserModified(self, _caller: Any = None, _event: Any = None) -> None:
        if self._browser is None or self._filling:
            return
        self._filling = True
        self.ui.frameRateSpin.value = self._browser.GetPlaybackRateFps()
        self.ui.loopCheck.checked = bool(self._browser.GetPlaybackLooped())
        self._filling = False

    def _onFrameRate(self, fps: float) -> None:
        if self._browser is not None and not self._filling:
            self._browser.SetPlaybackRateFps(fps)

    def _onLoop(self, on: bool) -> None:
        if self._browser is not None and not self._filling:
            self._browser.SetPlaybackLooped(on)

    def _onRealTime(self, _checked: bool = False) -> None:
        sequence = None if self._browser is None else self._browser.GetMasterSequenceNode()
        if sequence is None:
            return
        try:
            self._browser.SetPlaybackRateFps(beatRateFps(frameTimesOf(sequence)))
        except CardioDiTProblem as error:
            self.ui.originLabel.text = str(error)

    def _showOrigin(self) -> None:
        sequence = None if self._browser is None else self._browser.GetMasterSequenceNode()
        origin = {} if sequence is None else originOf(sequence)
        if not origin:
            self.ui.originLabel.text = ""
            return
        parts = [f"{name.replace('_', ' ')} {origin[name]}" for name in SHOWN_ORIGIN if name in origin]
        self.ui.originLabel.text = _("synthetic: {parts}").format(parts=", ".join(parts))


def showCine(browser: Any) -> None:
    """Put a cine into the slice views, turned to its own planes, and into the sequence tool bar."""
    proxy = browser.GetProxyNode(browser.GetMasterSequenceNode())
    if slicer.app.layoutManager() is None or proxy is None:  # without a main window
        return
    slicer.util.setSliceViewerLayers(background=proxy, fit=True, rotateToVolumePlane=True)
    slicer.modules.sequences.setToolBarActiveBrowserNode(browser)

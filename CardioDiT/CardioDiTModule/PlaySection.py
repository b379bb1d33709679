from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer
from slicer.i18n import tr as _

from .CineReader import cineBrowsers, frameTimesOf
from .Problem import CardioDiTProblem
from .SegmentationSequence import SegmentationSequence
from .SequenceBuilder import beatRateFps, madeFromText, originOf
from .ShortAxisViews import showInViews

SHOWN_ORIGIN = (
    "model",
    "model_version",
    "seed",
    "index",
    "pathology",
    "guidance",
    "steps",
    "sampler",
    "precision",
    "backend",
)


class PlaySection:
    """Widgets that play a cine.

    Args:
        ui: The module's widgets.
        parameterNode: () -> the module's parameter node, or None.
    """

    def __init__(self, ui: Any, parameterNode: Callable[[], Any]) -> None:
        self.ui, self._parameterNode = ui, parameterNode
        self._browser: Any = None
        ui.browserSelector.connect("currentNodeChanged(vtkMRMLNode*)", self.setBrowser)
        ui.browserSelector.connect("nodeActivated(vtkMRMLNode*)", self._onChosen)
        ui.realTimeButton.connect("clicked(bool)", self._onRealTime)
        ui.playWidget.setRecordingControlsVisible(False)
        disableShortcuts(ui.playWidget)
        self.setBrowser(None)

    def browser(self) -> Any:
        """The browser node that is chosen; None for none."""
        return self._browser

    def setBrowser(self, browser: Any) -> None:
        """Choose a cine."""
        self._browser = browser
        self.ui.playWidget.setMRMLSequenceBrowserNode(browser)
        self.ui.seekWidget.setMRMLSequenceBrowserNode(browser)
        # without a cine the play widget shows a frame rate that is nobody's
        for widget in (self.ui.playWidget, self.ui.seekWidget, self.ui.realTimeButton):
            widget.setVisible(browser is not None)
        self._showOrigin()

    def show(self, browser: Any, play: bool = True) -> None:
        """Choose a cine, put it into the slice views, and let it beat."""
        node = self._parameterNode()
        if node is not None:
            node.browser = browser
        self.setBrowser(browser)
        showCine(browser)
        stopOthers(browser)
        browser.SetPlaybackActive(play)

    def cleanup(self) -> None:
        """The widgets may be gone already."""
        self._browser = None

    def _onChosen(self, browser: Any) -> None:
        """The user chose a cine: it is seen, and what played before does not go on unseen."""
        if browser is not None:
            showCine(browser)
            stopOthers(browser)

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
        madeFrom = madeFromText(self._browser)
        if origin.get("synthetic") != "1" and not madeFrom:
            self.ui.originLabel.text = ""
            return
        parts = [f"{name.replace('_', ' ')} {origin[name]}" for name in SHOWN_ORIGIN if name in origin]
        text = _("synthetic: {parts}") if not madeFrom else f"{madeFrom} {{parts}}"
        self.ui.originLabel.text = text.format(parts=", ".join(parts))


def showCine(browser: Any) -> None:
    """Put a cine into the slice views, turned to its own planes, and into the sequence tool bar; its labels are seen,
    those of others not.
    """
    for other in cineBrowsers():
        if other is not browser:
            SegmentationSequence(other).putAside()
    SegmentationSequence(browser).bringBack()
    proxy = browser.GetProxyNode(browser.GetMasterSequenceNode())
    if slicer.app.layoutManager() is None or proxy is None:  # without a main window
        return
    showInViews(proxy)
    slicer.modules.sequences.setToolBarActiveBrowserNode(browser)


def stopOthers(browser: Any) -> None:
    """Stop all other cines: nobody sees them, and each costs as much as the one that is seen."""
    for other in cineBrowsers():
        if other is not browser and other.GetPlaybackActive():
            other.SetPlaybackActive(False)


def onlyCine() -> Any:
    """The browser node of the only cine in the scene; None where there is none or more than one."""
    browsers = cineBrowsers()
    return browsers[0] if len(browsers) == 1 else None


def disableShortcuts(widget: Any) -> None:
    """The widget registers the same keys as the application's sequence tool bar; of two that are enabled neither works,
    and its properties only ever add more.
    """
    for child in widget.children():
        if child.className() == "QShortcut":
            child.setEnabled(False)

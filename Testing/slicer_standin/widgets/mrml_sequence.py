"""Widgets of the Sequences module. They only set the browser node; the application's timer advances it."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QHBoxLayout, QLabel, QSlider, QStyle, QToolButton

from slicer_standin.widgets.behaviours import behaviour
from slicer_standin.widgets.observing import observe

# Object name, picture and slot of each button, as in the real widget.
BUTTONS = (
    ("pushButton_VcrFirst", QStyle.SP_MediaSkipBackward, "onVcrFirst"),
    ("pushButton_VcrPrevious", QStyle.SP_MediaSeekBackward, "onVcrPrevious"),
    ("pushButton_VcrPlayPause", QStyle.SP_MediaPlay, "onVcrPlayPause"),
    ("pushButton_VcrNext", QStyle.SP_MediaSeekForward, "onVcrNext"),
    ("pushButton_VcrLast", QStyle.SP_MediaSkipForward, "onVcrLast"),
)


@behaviour
class _qMRMLSequenceBrowserPlayWidget:
    """Play, pause and step."""

    def _init(self):
        self._browser = None
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        for name, picture, slot in BUTTONS:
            button = QToolButton()
            button.setObjectName(name)
            button.setIcon(self.style().standardIcon(picture))
            button.clicked.connect(self._slot_without_argument(slot))
            layout.addWidget(button)
        layout.addStretch(1)
        self.setEnabled(False)

    def _slot_without_argument(self, name):
        def call(_checked=False):
            getattr(self, name)()

        return call

    def setMRMLSequenceBrowserNode(self, browser):
        self._browser = browser
        self.setEnabled(browser is not None)

    def onVcrFirst(self):
        if self._browser is not None:
            self._browser.SelectFirstItem()

    def onVcrLast(self):
        if self._browser is not None:
            self._browser.SelectLastItem()

    def onVcrNext(self):
        if self._browser is not None:
            self._browser.SelectNextItem(1)

    def onVcrPrevious(self):
        if self._browser is not None:
            self._browser.SelectNextItem(-1)

    def setPlaybackEnabled(self, play):
        if self._browser is not None:
            self._browser.SetPlaybackActive(bool(play))

    def onVcrPlayPause(self):
        if self._browser is not None:
            self.setPlaybackEnabled(not self._browser.GetPlaybackActive())

    def setPlaybackRateFps(self, rate):
        if self._browser is not None and rate != self._browser.GetPlaybackRateFps():
            self._browser.SetPlaybackRateFps(rate)

    def setPlaybackLoopEnabled(self, looped):
        if self._browser is not None:
            self._browser.SetPlaybackLooped(bool(looped))


@behaviour
class _qMRMLSequenceBrowserSeekWidget:
    """A slider over the items, and the index value of the selected one."""

    def _init(self):
        self._browser, self._tag = None, None
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self._slider, self._label = QSlider(Qt.Horizontal), QLabel()
        layout.addWidget(self._slider, 1)
        layout.addWidget(self._label)
        self._slider.valueChanged.connect(self.setSelectedItemNumber)
        self._show()

    def setMRMLSequenceBrowserNode(self, browser):
        if self._browser is not None:
            self._browser.RemoveObserver(self._tag)
        self._browser = browser
        if browser is not None:
            self._tag = observe(self, browser, "ModifiedEvent", "_show")
        self._show()

    def _show(self):
        sequence = self._browser.GetMasterSequenceNode() if self._browser is not None else None
        count = sequence.GetNumberOfDataNodes() if sequence is not None else 0
        selected = self._browser.GetSelectedItemNumber() if count else -1
        self._slider.setEnabled(count > 0)
        # Narrowing the range moves the slider: that is no wish of the user's.
        blocked = self._slider.blockSignals(True)
        self._slider.setRange(0, max(0, count - 1))
        self._slider.setValue(max(0, selected))
        self._slider.blockSignals(blocked)
        text = f"{sequence.GetNthIndexValue(selected)}{sequence.GetIndexUnit()}" if selected >= 0 else ""
        self._label.setText(text)

    def setSelectedItemNumber(self, item):
        if self._browser is not None and self._browser.GetSelectedItemNumber() != item:
            self._browser.SetSelectedItemNumber(item)

    def slider(self):
        return self._slider

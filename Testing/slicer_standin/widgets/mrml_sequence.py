"""Widgets of the Sequences module. They only set the browser node; the application's timer advances it."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtGui import QKeySequence, QShortcut
from PySide6.QtWidgets import QDoubleSpinBox, QHBoxLayout, QLabel, QSlider, QStyle, QToolButton

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


# Property, its value and slot of each shortcut: the widget registers them for its window.
SHORTCUTS = (
    ("PlayPauseShortcut", "Ctrl+Shift+Down", "onVcrPlayPause"),
    ("PreviousFrameShortcut", "Ctrl+Shift+Left", "onVcrPrevious"),
    ("NextFrameShortcut", "Ctrl+Shift+Right", "onVcrNext"),
)
RATE_BEFORE_A_BROWSER = 100.0


@behaviour
class _qMRMLSequenceBrowserPlayWidget:
    """Play, pause and step; frame rate, loop, and (while something may be recorded) record and snapshot."""

    def _init(self):
        self._browser, self._tag = None, None
        self._values["RecordingControlsVisible"] = True
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        for name, picture, slot in BUTTONS:
            button = QToolButton()
            button.setObjectName(name)
            button.setIcon(self.style().standardIcon(picture))
            button.clicked.connect(self._slot_without_argument(slot))
            layout.addWidget(button)
        self._rate = QDoubleSpinBox()
        self._rate.setObjectName("doubleSpinBox_VcrPlaybackRate")
        self._rate.setRange(0.1, 1000.0)
        self._rate.setDecimals(1)
        self._rate.setSuffix("fps")
        self._rate.setValue(RATE_BEFORE_A_BROWSER)
        self._rate.valueChanged.connect(self.setPlaybackRateFps)
        self._loop, self._record, self._snapshot = QToolButton(), QToolButton(), QToolButton()
        for button, name in ((self._loop, "Loop"), (self._record, "Record")):
            button.setObjectName(f"pushButton_Vcr{name}")
            button.setCheckable(True)
        self._loop.setIcon(self.style().standardIcon(QStyle.SP_BrowserReload))
        self._loop.toggled.connect(self.setPlaybackLoopEnabled)
        self._snapshot.setObjectName("pushButton_Snapshot")
        for widget in (self._rate, self._loop, self._record, self._snapshot):
            layout.addWidget(widget)
        for name, keys, slot in SHORTCUTS:
            self._add_shortcut(name, keys, slot)
        self._show()

    def _add_shortcut(self, name, keys, slot):
        """The real setter makes another shortcut each time, and takes none away."""
        self._values[name] = keys
        QShortcut(QKeySequence(keys), self).activated.connect(lambda: getattr(self, slot)())

    def _on_PlayPauseShortcut(self, keys):
        self._add_shortcut("PlayPauseShortcut", keys, "onVcrPlayPause")

    def _on_PreviousFrameShortcut(self, keys):
        self._add_shortcut("PreviousFrameShortcut", keys, "onVcrPrevious")

    def _on_NextFrameShortcut(self, keys):
        self._add_shortcut("NextFrameShortcut", keys, "onVcrNext")

    def _on_RecordingControlsVisible(self, _visible):
        self._show()

    def _show(self):
        sequence = None if self._browser is None else self._browser.GetMasterSequenceNode()
        self.setEnabled(sequence is not None)
        if sequence is None:
            return
        for widget, write, value in (
            (self._rate, self._rate.setValue, self._browser.GetPlaybackRateFps()),
            (self._loop, self._loop.setChecked, bool(self._browser.GetPlaybackLooped())),
        ):
            blocked = widget.blockSignals(True)
            write(value)
            widget.blockSignals(blocked)
        recording = self._browser.IsAnySequenceNodeRecording() and self._values["RecordingControlsVisible"]
        for button in (self._record, self._snapshot):
            button.setVisible(bool(recording))

    def _slot_without_argument(self, name):
        def call(_checked=False):
            getattr(self, name)()

        return call

    def setMRMLSequenceBrowserNode(self, browser):
        if self._browser is not None:
            self._browser.RemoveObserver(self._tag)
        self._browser = browser
        if browser is not None:
            self._tag = observe(self, browser, "ModifiedEvent", "_show")
        self._show()

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

from __future__ import annotations

from typing import Any

import qt

SHOWN_HEIGHT = 192
FRAME_MS = 60


class PreviewPlayer:
    """Shows a small film in a label: the heart as it appears from the noise, beating already.

    Args:
        label: A QLabel.
    """

    def __init__(self, label: Any) -> None:
        self._label = label
        self._frames: list[Any] = []
        self._next = 0
        self._timer = qt.QTimer()
        self._timer.setInterval(FRAME_MS)
        self._timer.connect("timeout()", self._showNext)

    def show(self, path: str, frameCount: int) -> bool:
        """Play a film: a picture with its frames one below the other. False where the file is gone already."""
        film = qt.QPixmap(path)
        if film.isNull() or frameCount < 1:
            return False
        height = film.height() // frameCount
        self._frames = [
            film.copy(0, number * height, film.width(), height).scaledToHeight(SHOWN_HEIGHT, qt.Qt.SmoothTransformation)
            for number in range(frameCount)
        ]
        self._next %= frameCount
        self._label.setMinimumHeight(SHOWN_HEIGHT)
        self._showNext()
        self._timer.start()
        return True

    def stop(self) -> None:
        """Empty the label."""
        self._timer.stop()
        self._frames = []
        self._next = 0
        self._label.clear()
        self._label.setMinimumHeight(0)

    def cleanup(self) -> None:
        """The label goes, or is gone."""
        self._timer.stop()
        self._frames = []

    def hasFrames(self) -> bool:
        """Whether something is shown."""
        return bool(self._frames)

    def _showNext(self) -> None:
        if self._frames:
            self._label.setPixmap(self._frames[self._next])
            self._next = (self._next + 1) % len(self._frames)

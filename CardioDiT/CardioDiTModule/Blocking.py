from __future__ import annotations

from collections.abc import Callable

import qt

LOOK_MS = 10


def blockUntil(isDone: Callable[[], bool]) -> None:
    """Come back once something is done; the application goes on meanwhile. For scripts.

    Args:
        isDone: Asked again and again.
    """
    loop = qt.QEventLoop()

    def look() -> None:
        if isDone():
            loop.quit()
        else:
            qt.QTimer.singleShot(LOOK_MS, look)

    qt.QTimer.singleShot(0, look)
    loop.exec_()

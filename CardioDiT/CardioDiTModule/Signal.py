from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any


class Signal:
    """Tells whoever has connected. Plain Python: it works with and without Qt.

    A slot that fails is logged; the others are told all the same.

    Example:
        >>> finished = Signal("finished")
        >>> finished.connect(print)
        >>> finished.emit("done")
        done
    """

    def __init__(self, name: str = "signal") -> None:
        self.name = name
        self._slots: list[Callable[..., Any]] = []

    def connect(self, slot: Callable[..., Any]) -> None:
        """Call `slot` from now on; connecting it twice changes nothing."""
        if slot not in self._slots:
            self._slots.append(slot)

    def disconnect(self, slot: Callable[..., Any]) -> None:
        """Call `slot` no more."""
        if slot in self._slots:
            self._slots.remove(slot)

    def disconnectAll(self) -> None:
        """Call nobody any more."""
        self._slots.clear()

    def emit(self, *arguments: Any) -> None:
        """Call all that are connected, in the order in which they came."""
        for slot in list(self._slots):
            try:
                slot(*arguments)
            except Exception:
                logging.exception("CardioDiT: a listener to '%s' failed", self.name)

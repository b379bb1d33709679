"""The one exception that users of CardioDiT are meant to see."""

from __future__ import annotations


class CardioDiTError(Exception):
    """A problem said in one plain sentence, with what to do next.

    The text is the same in the Python console, on the command line and in Slicer.

    Args:
        message: What is wrong, one sentence, naming the offending value.
        hint: What to do next, one sentence; may be empty.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message, hint)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


class Cancelled(CardioDiTError):
    """Raised where a caller asked for a running job to stop; nothing is left behind."""

    def __init__(self, message: str = "Cancelled.", hint: str = "") -> None:
        super().__init__(message, hint)

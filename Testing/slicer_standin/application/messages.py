"""The message boxes of slicer.util: recorded and answered instead of shown.

They are taken in both modes of the application, so that code can be tested as it runs for a user (not in testing mode).
"""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import dataclass


@dataclass
class Message:
    """One message that the user would have seen."""

    level: str
    text: str
    title: str | None
    detailed_text: str | None = None


MOST_LINES = 40
"""A message box does not scroll: one of more lines has its buttons below the lower edge of the screen."""

shown: list[Message] = []
answers: deque[bool] = deque()


def clear() -> None:
    """Forget messages and prepared answers."""
    shown.clear()
    answers.clear()


def texts(level: str | None = None) -> list[str]:
    """The texts shown so far, of one level ('info', 'warning', 'error') or of all."""
    return [message.text for message in shown if level in (None, message.level)]


def _answer(positive_buttons, negative_buttons, testing_value):
    """The next prepared answer as a button; without one, what the application answers in testing mode."""
    answer = answers.popleft() if answers else testing_value
    return positive_buttons if answer else negative_buttons


def _record(level: int, text: str, title, details) -> None:
    if len(text.splitlines()) > MOST_LINES:
        raise RuntimeError(f"a message box of {len(text.splitlines())} lines: nobody could reach its buttons")
    logging.log(level, text)
    shown.append(Message(logging.getLevelName(level).lower(), text, title, details))


def install() -> None:
    """Take the place of the functions behind slicer.util.infoDisplay, confirmOkCancelDisplay and the others."""
    import slicer
    from PySide6.QtWidgets import QMessageBox

    def message_display(
        logLevel, text, testingReturnValue, mainWindowNeeded=False, parent=None, windowTitle=None, **kwargs
    ):
        _record(logLevel, text, windowTitle, kwargs.get("detailedText"))
        if testingReturnValue is None:
            return None
        buttons = kwargs.get("standardButtons")
        positive = next(
            button for button in (QMessageBox.Ok, QMessageBox.Yes, QMessageBox.Retry) if buttons & button == button
        )
        return _answer(positive, QMessageBox.Cancel, testingReturnValue)

    def message_box(text, parent=None, **kwargs):
        _record(logging.INFO, text, kwargs.get("windowTitle"), kwargs.get("detailedText"))
        return _answer(QMessageBox.Ok, QMessageBox.Cancel, True)

    slicer.util._messageDisplay = message_display
    slicer.util.messageBox = message_box

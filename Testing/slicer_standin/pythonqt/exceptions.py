"""Exceptions raised inside slots and observers: PythonQt prints them and goes on, so a test has to look here."""

from __future__ import annotations

import sys

errors: list[BaseException] = []

_previous_hook = sys.excepthook


def _record(kind, value, traceback) -> None:
    """Take the place of sys.excepthook, where Qt's slots and VTK's observers both report what they raise."""
    errors.append(value)
    _previous_hook(kind, value, traceback)


def install() -> None:
    """Record from now on."""
    sys.excepthook = _record


def report() -> None:
    """Report the exception that is being handled."""
    sys.excepthook(*sys.exc_info())

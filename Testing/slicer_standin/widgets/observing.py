"""Observers of VTK objects that neither keep a widget alive nor call one that Qt has deleted."""

from __future__ import annotations

import weakref

from shiboken6 import Shiboken


def observe(widget, observed, event, method_name: str) -> int:
    """Call a method of the widget (without arguments) at an event; returns the observer's tag."""
    reference = weakref.ref(widget)

    def call(_caller, _event) -> None:
        target = reference()
        if target is not None and Shiboken.isValid(target):
            getattr(target, method_name)()

    return observed.AddObserver(event, call)

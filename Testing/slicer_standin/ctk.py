"""`import ctk` as in Slicer: the stand-ins of CTK's classes, made when they are asked for."""

from __future__ import annotations


def __getattr__(name: str):
    from slicer_standin.widgets import stand_in

    if name.startswith("ctk"):
        return stand_in(name)
    raise AttributeError(f"module 'ctk' has no attribute '{name}'")

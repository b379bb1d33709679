"""Figures made with Matplotlib, in the house style."""

from __future__ import annotations

import io
from typing import Any

from CardioDiTLib.errors import CardioDiTError


def new_figure(width_inches: float, height_inches: float) -> Any:
    """An empty figure that belongs to no window.

    Raises:
        CardioDiTError: Matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise CardioDiTError(
            "The report needs the package Matplotlib, which is not installed.",
            "Install it with 'pip install matplotlib pillow', or ask for json and csv only.",
        ) from error
    return Figure(figsize=(width_inches, height_inches), dpi=150, facecolor="white", layout="constrained")


def png(figure: Any) -> bytes:
    """The figure as a PNG, without a date inside, so that equal figures are equal bytes."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", metadata={"Software": None})
    return stream.getvalue()

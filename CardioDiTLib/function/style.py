"""Colours and type of the figures: few, and told apart with any kind of colour vision (Okabe and Ito)."""

from __future__ import annotations

import io
from typing import Any

from CardioDiTLib.errors import CardioDiTError

LV_COLOUR, RV_COLOUR, WALL_COLOUR = "#0072B2", "#D55E00", "#009E73"
ANTERIOR_COLOUR, INFERIOR_COLOUR = "#F0E442", "#56B4E9"
INK, FAINT, EMPTY = "#222222", "#8A8A8A", "#E4E4E4"


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


def plain_axes(axes: Any) -> None:
    """Take away what says nothing: the frame's top and right, and dark ticks."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    axes.tick_params(colors=INK, labelsize=9, color=FAINT)
    axes.xaxis.label.set_color(INK)
    axes.yaxis.label.set_color(INK)


def png(figure: Any) -> bytes:
    """The figure as a PNG, without a date inside, so that equal figures are equal bytes."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", metadata={"Software": None})
    return stream.getvalue()

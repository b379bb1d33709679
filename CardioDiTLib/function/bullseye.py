"""The bullseye of the AHA segments."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from CardioDiTLib.function.function_report import FunctionReport, printed
from CardioDiTLib.reporting.colours import EMPTY, FAINT, INK
from CardioDiTLib.reporting.drawing import new_figure, png

_RINGS = ((0.72, 1.0, 6, 1), (0.46, 0.72, 6, 7), (0.2, 0.46, 4, 13))  # inner, outer radius, segments, first number


def draw_bullseye(
    axes: Any, values: ArrayLike, *, title: str, unit: str, digits: int, limits: tuple[float, float], colours: str
) -> Any:
    """Draw 17 segments as in Cerqueira et al. 2002: base outside, anterior wall on top, septum on the left.

    Args:
        axes: Matplotlib axes.
        values: (17,) one number a segment; NaN is drawn grey with a dash.
        title: Title.
        unit: Unit, for the colour bar.
        digits: Digits after the point.
        limits: Ends of the colour scale.
        colours: Name of a Matplotlib colour map.

    Returns:
        What a colour bar is made of.
    """
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.patches import Circle, Wedge

    numbers = np.asarray(values, dtype=np.float64)
    scale = ScalarMappable(Normalize(*limits), colormaps[colours])

    def segment(patch: Any, value: float, x: float, y: float) -> None:
        known = math.isfinite(value)
        rgba = np.asarray(scale.to_rgba(np.array([value]))[0], dtype=np.float64)
        patch.set(facecolor=tuple(rgba) if known else EMPTY, edgecolor="white", linewidth=1.6)
        axes.add_patch(patch)
        dark = known and float(rgba[:3] @ (0.299, 0.587, 0.114)) < 0.55
        ink = "white" if dark else INK
        axes.text(x, y, printed(value, digits), ha="center", va="center", fontsize=8.5, color=ink)

    for inner, outer, count, first in _RINGS:
        width = 360.0 / count
        for i in range(count):
            # Segment `first` is centred on top; the others follow counter-clockwise.
            middle = 90.0 + i * width
            radius, angle = (inner + outer) / 2.0, math.radians(middle)
            wedge = Wedge((0, 0), outer, middle - width / 2, middle + width / 2, width=outer - inner)
            segment(wedge, float(numbers[first - 1 + i]), radius * math.cos(angle), radius * math.sin(angle))
    segment(Circle((0, 0), 0.2), float(numbers[16]), 0.0, 0.0)
    for text, x, y, turn in (
        *(("anterior", 0.0, 1.08, 0), ("inferior", 0.0, -1.08, 0)),
        *(("septal", -1.08, 0.0, 90), ("lateral", 1.08, 0.0, -90)),
    ):
        axes.text(x, y, text, ha="center", va="center", rotation=turn, fontsize=8, color=FAINT)
    axes.set(xlim=(-1.2, 1.2), ylim=(-1.2, 1.4), aspect="equal")
    axes.axis("off")
    axes.text(0.0, 1.3, f"{title} ({unit})", ha="center", va="center", fontsize=10.5, color=INK)
    return scale


def bullseye_pair_png(report: FunctionReport) -> bytes:
    """Thickness at ED and thickening, side by side and small: readable in a side panel 400 pixels wide.

    Args:
        report: What was measured.

    Returns:
        A PNG, 744 x 408 pixels.

    Raises:
        CardioDiTError: Matplotlib is not installed.
    """
    figure = new_figure(4.96, 2.72)
    left, right = figure.subplots(1, 2)
    draw_bullseye(
        left,
        report.segment_thickness_ed_mm,
        title="Thickness at ED",
        unit="mm",
        digits=0,
        limits=(0.0, _thickness_top(report.segment_thickness_ed_mm)),
        colours="viridis",
    )
    draw_bullseye(
        right,
        report.segment_thickening_percent,
        title="Thickening",
        unit="%",
        digits=0,
        limits=(-100.0, 100.0),
        colours="PuOr",
    )
    return png(figure)


def bullseyes_png(report: FunctionReport) -> bytes:
    """Thickness at ED and ES on one scale, and thickening, side by side.

    Args:
        report: What was measured.

    Returns:
        A PNG.

    Raises:
        CardioDiTError: Matplotlib is not installed.
    """
    figure = new_figure(10.0, 4.4)
    panels = figure.subplots(1, 3)
    top = _thickness_top(np.concatenate([report.segment_thickness_ed_mm, report.segment_thickness_es_mm]))
    thickness: dict[str, Any] = {"unit": "mm", "digits": 1, "limits": (0.0, top), "colours": "viridis"}
    first = draw_bullseye(panels[0], report.segment_thickness_ed_mm, title="Thickness at ED", **thickness)
    draw_bullseye(panels[1], report.segment_thickness_es_mm, title="Thickness at ES", **thickness)
    percent: dict[str, Any] = {"unit": "%", "digits": 0, "limits": (-100.0, 100.0), "colours": "PuOr"}
    third = draw_bullseye(panels[2], report.segment_thickening_percent, title="Thickening", **percent)
    for scale, where, unit in ((first, panels[:2], "mm"), (third, panels[2], "%")):
        bar = figure.colorbar(scale, ax=where, orientation="horizontal", shrink=0.5, aspect=30, pad=0.02)
        bar.outline.set_visible(False)
        bar.set_label(unit, fontsize=8, color=INK)
        bar.ax.tick_params(labelsize=8, colors=INK)
    return png(figure)


def _thickness_top(thickness_mm: NDArray[np.float64]) -> float:
    """Upper end of the colours: fixed, so that equal colours are equal thickness in every report up to 20 mm."""
    known = thickness_mm[np.isfinite(thickness_mm)]
    return max(20.0, math.ceil(known.max() / 5.0) * 5.0) if len(known) else 20.0

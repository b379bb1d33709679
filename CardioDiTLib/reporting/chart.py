"""Charts as vector graphics inside a page: axes with units and round ticks, names at the lines."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.reporting.colours import FAINT, INK, LINE, SOFT

_LEFT, _RIGHT, _TOP, _BOTTOM = 62.0, 46.0, 24.0, 46.0


def nice_ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten apart) within a range, `most` of them at most.

    Raises:
        CardioDiTError: The ends are not finite.
    """
    if not (math.isfinite(low) and math.isfinite(high)):
        raise CardioDiTError("An axis needs finite ends.", "Leave out what is not a number.")
    span = max(high - low, 1e-12)
    power = 10.0 ** math.floor(math.log10(span / most))
    for factor in (1.0, 2.0, 5.0, 10.0, 20.0):
        step = factor * power
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        if last - first + 1 <= most:
            break
    return [round(i * step, 12) + 0.0 for i in range(first, last + 1)]


def tick_text(value: float, ticks: Sequence[float]) -> str:
    """A tick with as many digits as its neighbours need."""
    step = min((b - a for a, b in pairwise(ticks)), default=abs(value) or 1.0)
    return f"{value:.{max(0, -math.floor(math.log10(step) + 1e-9))}f}"


class Chart:
    """Axes to draw into.

    Args:
        x: Ends of the horizontal axis.
        y: Ends of the vertical axis.
        x_label: What it shows, with its unit.
        y_label: The same of the vertical axis.
        name: What the chart shows, for those who cannot see it.
        size: Width and height, pixels of the page.
        absolute: The vertical axis goes both ways from 0 and shows how far.
    """

    def __init__(
        self,
        x: tuple[float, float],
        y: tuple[float, float],
        *,
        x_label: str,
        y_label: str,
        name: str,
        size: tuple[float, float] = (900.0, 330.0),
        absolute: bool = False,
    ) -> None:
        self._x, self._y, self._name = x, y, name
        self._width, self._height = size
        self._marks: list[str] = []
        self._axes(x_label, y_label, absolute)

    def column(self, value: float) -> float:
        """Where a value lies across, pixels."""
        low, high = self._x
        return _LEFT + (self._width - _LEFT - _RIGHT) * (value - low) / ((high - low) or 1.0)

    def row(self, value: float) -> float:
        """Where a value lies down, pixels."""
        low, high = self._y
        return self._height - _BOTTOM - (self._height - _TOP - _BOTTOM) * (value - low) / ((high - low) or 1.0)

    def _axes(self, x_label: str, y_label: str, absolute: bool) -> None:
        left, right, top, bottom = _LEFT, self._width - _RIGHT, _TOP, self._height - _BOTTOM
        ticks = nice_ticks(*self._y)
        for value in ticks:
            y = self.row(value)
            self._marks.append(f'<line x1="{left}" x2="{right:.1f}" y1="{y:.1f}" y2="{y:.1f}" stroke="{LINE}"/>')
            self.text(left - 8, y + 4, tick_text(abs(value) if absolute else value, ticks), anchor="end", colour=SOFT)
        ticks = nice_ticks(*self._x, most=9)
        for value in ticks:
            x = self.column(value)
            self._marks.append(
                f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{bottom:.1f}" y2="{bottom + 5:.1f}" stroke="{FAINT}"/>'
            )
            self.text(x, bottom + 19, tick_text(value, ticks), anchor="middle", colour=SOFT)
        self._marks.append(f'<line x1="{left}" x2="{right:.1f}" y1="{bottom:.1f}" y2="{bottom:.1f}" stroke="{FAINT}"/>')
        self.text((left + right) / 2, self._height - 6, x_label, anchor="middle")
        middle = (top + bottom) / 2
        self._marks.append(
            f'<text x="15" y="{middle:.1f}" font-size="13" fill="{INK}" text-anchor="middle" '
            f'transform="rotate(-90 15 {middle:.1f})">{escape(y_label)}</text>'
        )

    def text(
        self,
        x: float,
        y: float,
        text: str,
        *,
        anchor: str = "start",
        colour: str = INK,
        bold: bool = False,
        size: float = 13.0,
    ) -> None:
        """Words at a place in pixels."""
        weight = ' font-weight="600"' if bold else ""
        self._marks.append(
            f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size:g}" fill="{colour}" text-anchor="{anchor}"{weight}>'
            f"{escape(text)}</text>"
        )

    def line(self, x: ArrayLike, y: ArrayLike, colour: str, *, width: float = 2.0) -> None:
        """A line through points; it breaks where a value is not a number."""
        for part in _whole_parts(np.asarray(x, np.float64), np.asarray(y, np.float64)):
            points = " ".join(f"{self.column(a):.1f},{self.row(b):.1f}" for a, b in part)
            self._marks.append(
                f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="{width:g}" '
                'stroke-linejoin="round"/>'
            )

    def dots(self, x: ArrayLike, y: ArrayLike, colour: str, *, square: bool = False, radius: float = 3.4) -> None:
        """A mark at each point."""
        for a, b in zip(np.asarray(x, np.float64), np.asarray(y, np.float64)):
            if not (math.isfinite(a) and math.isfinite(b)):
                continue
            u, v = self.column(a), self.row(b)
            if square:
                side = 1.8 * radius
                self._marks.append(
                    f'<rect x="{u - side / 2:.1f}" y="{v - side / 2:.1f}" width="{side:.1f}" height="{side:.1f}" '
                    f'fill="{colour}"/>'
                )
            else:
                self._marks.append(f'<circle cx="{u:.1f}" cy="{v:.1f}" r="{radius:g}" fill="{colour}"/>')

    def upright(self, x: float, name: str, *, colour: str = FAINT, shift: float = 0.0) -> None:
        """A dashed line over the whole height, named at its top."""
        u = self.column(x)
        self._marks.append(
            f'<line x1="{u:.1f}" x2="{u:.1f}" y1="{_TOP - 4:.1f}" y2="{self._height - _BOTTOM:.1f}" stroke="{colour}" '
            'stroke-width="1.3" stroke-dasharray="5 4"/>'
        )
        late = u > self._width - 200 and len(name) > 8
        self.text(
            u + (-5 if late else 5), _TOP + 6 + shift, name, colour=INK, bold=True, anchor="end" if late else "start"
        )

    def bars(self, edges: ArrayLike, heights: ArrayLike, colour: str, what: str) -> None:
        """Bars from 0 up, or down where they are negative."""
        borders = np.asarray(edges, np.float64)
        for left, right, value in zip(borders, borders[1:], np.asarray(heights, np.float64)):
            if value == 0:
                continue
            u, w = self.column(left) + 1, self.column(right) - self.column(left) - 2
            y, height = self.row(max(value, 0.0)), abs(self.row(value) - self.row(0.0))
            self._marks.append(
                f'<rect x="{u:.1f}" y="{y:.1f}" width="{max(w, 0.8):.1f}" height="{max(height, 0.6):.1f}" '
                f'fill="{colour}"><title>{escape(what)}: {left:.4g} to {right:.4g}</title></rect>'
            )

    def level(self, y: float, colour: str = FAINT) -> None:
        """A line over the whole width."""
        v = self.row(y)
        self._marks.append(
            f'<line x1="{_LEFT}" x2="{self._width - _RIGHT:.1f}" y1="{v:.1f}" y2="{v:.1f}" stroke="{colour}"/>'
        )

    def name_lines(self, ends: Sequence[tuple[str, float, float, str]]) -> None:
        """Names (name, x, y, colour) at the ends of lines instead of a legend, moved apart where they would touch."""
        lowest = math.inf
        for name, x, y, colour in sorted(ends, key=lambda entry: entry[2]):
            v = min(self.row(y) + 4.5, lowest - 16)
            lowest = v
            self.text(self.column(x) + 8, v, name, colour=colour, bold=True, size=14)

    def svg(self) -> str:
        """The chart."""
        return (
            f'<svg viewBox="0 0 {self._width:g} {self._height:g}" role="img" aria-label="{escape(self._name)}">'
            f"{''.join(self._marks)}</svg>"
        )


def _whole_parts(x: NDArray[np.float64], y: NDArray[np.float64]) -> list[list[tuple[float, float]]]:
    parts: list[list[tuple[float, float]]] = [[]]
    for a, b in zip(x, y):
        if math.isfinite(a) and math.isfinite(b):
            parts[-1].append((float(a), float(b)))
        elif parts[-1]:
            parts.append([])
    return [part for part in parts if len(part) > 1]


def box(
    spread: tuple[float, float, float, float, float],
    limits: tuple[float, float],
    colour: str,
    size: tuple[float, float] = (150.0, 14.0),
) -> str:
    """A spread as a box: 5 to 95 % as a line, 25 to 75 % as a box, the median as a notch; all on given limits."""
    width, height = size
    low, high = limits

    def place(value: float) -> float:
        return 3 + (width - 6) * (value - low) / ((high - low) or 1.0)

    outer_low, inner_low, middle, inner_high, outer_high = spread
    if not math.isfinite(middle):
        return ""
    y = height / 2
    marks = [f'<line x1="{place(outer_low):.1f}" x2="{place(outer_high):.1f}" y1="{y}" y2="{y}" stroke="{colour}"/>']
    if math.isfinite(inner_low) and math.isfinite(inner_high):
        marks.append(
            f'<rect x="{place(inner_low):.1f}" y="2" width="{max(place(inner_high) - place(inner_low), 1):.1f}" '
            f'height="{height - 4:g}" fill="{colour}" fill-opacity="0.35"/>'
        )
    marks.append(
        f'<line x1="{place(middle):.1f}" x2="{place(middle):.1f}" y1="1" y2="{height - 1:g}" stroke="{colour}" '
        'stroke-width="2.4"/>'
    )
    return f'<svg viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}">{"".join(marks)}</svg>'


def beside_band(
    value: float, band: tuple[float, float, float], colour: str, size: tuple[float, float] = (110.0, 16.0)
) -> str:
    """A value as a dot beside a band (low, middle, high) that chance makes; empty where one is not known."""
    low, middle, high = band
    if not all(map(math.isfinite, (value, low, middle, high))):
        return ""
    width, height = size
    first, last = min(low, value), max(high, value)
    margin = 0.08 * ((last - first) or abs(last) or 1.0)
    first, last = first - margin, last + margin

    def place(number: float) -> float:
        return 5 + (width - 10) * (number - first) / ((last - first) or 1.0)

    y = height / 2
    return (
        f'<svg viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}">'
        f'<line x1="2" x2="{width - 2:g}" y1="{y:g}" y2="{y:g}" stroke="{LINE}"/>'
        f'<rect x="{place(low):.1f}" y="3" width="{max(place(high) - place(low), 1.5):.1f}" height="{height - 6:g}" '
        f'fill="#9FB8CC"/><line x1="{place(middle):.1f}" x2="{place(middle):.1f}" y1="3" y2="{height - 3:g}" '
        f'stroke="#49657C"/><circle cx="{place(value):.1f}" cy="{y:g}" r="4.2" fill="{colour}" stroke="#fff"/></svg>'
    )


class VolumeLine(NamedTuple):
    """One ventricle.

    Attributes:
        name: At the end of its line.
        volume_ml: (T,) of each frame; NaN where it is not known.
        colour: Of line and marks.
        square: Whether frames are marked by squares.
        smooth: (ms, mL) of a smooth curve; None where lines join the frames.
    """

    name: str
    volume_ml: NDArray[np.float64]
    colour: str
    square: bool = False
    smooth: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None


def volume_chart(
    times_ms: NDArray[np.float64], lines: Sequence[VolumeLine], phases: Mapping[str, int], x_label: str
) -> str:
    """Volumes over time: frames as marks, curves as lines, named phases as dashed uprights.

    Args:
        times_ms: (T,) of each frame.
        lines: Ventricles; without any, the axes are empty.
        phases: Names, such as "ED", to frames.
        x_label: Of the time axis.

    Returns:
        SVG.
    """
    known = [line for line in lines if np.isfinite(line.volume_ml).any()]
    top = max([float(np.nanmax(line.volume_ml)) for line in known] + [0.0]) or 1.0
    ends = [float(times_ms[-1])] + [float(line.smooth[0][-1]) for line in known if line.smooth is not None]
    chart = Chart(
        (0.0, max(*ends, 1.0) if len(ends) > 1 else max(ends[0], 1.0)),
        (0.0, 1.12 * top),
        x_label=x_label,
        y_label="volume (mL)",
        name="Volumes over the cycle",
    )
    placed: dict[int, list[str]] = {}
    for name, frame in phases.items():
        placed.setdefault(frame, []).append(name)
    for frame, names in placed.items():
        chart.upright(float(times_ms[frame]), ", ".join(names))
    tips = []
    for line in known:
        if line.smooth is None:
            chart.line(times_ms, line.volume_ml, line.colour, width=1.6)
            finite = np.flatnonzero(np.isfinite(line.volume_ml))
            tips.append((line.name, float(times_ms[finite[-1]]), float(line.volume_ml[finite[-1]]), line.colour))
        else:
            chart.line(*line.smooth, line.colour)
            tips.append((line.name, float(line.smooth[0][-1]), float(line.smooth[1][-1]), line.colour))
        chart.dots(times_ms, line.volume_ml, line.colour, square=line.square)
    chart.name_lines(tips)
    return chart.svg()

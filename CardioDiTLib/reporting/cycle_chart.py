"""Volumes over the cycle as a chart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from CardioDiTLib.reporting.chart import Chart


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

"""Curves over the cycle: volumes, and the septum."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from CardioDiTLib.data.time import cycle_seconds
from CardioDiTLib.function.function_report import FunctionReport
from CardioDiTLib.function.rates import PeriodicCurve
from CardioDiTLib.function.style import FAINT, INK, LV_COLOUR, RV_COLOUR, WALL_COLOUR, new_figure, plain_axes, png
from CardioDiTLib.function.timing import MIN_CYCLE_FRAMES, nominal_times


def volume_curves_png(report: FunctionReport) -> bytes:
    """Volumes of both ventricles over time: frames as dots, the smooth periodic curve as a line, ED and ES marked.

    Args:
        report: What was measured.

    Returns:
        A PNG.

    Raises:
        CardioDiTError: Matplotlib is not installed.
    """
    figure = new_figure(7.2, 3.6)
    axes = figure.subplots()
    times = report.frame_times_s * 1000.0
    top, ends = 0.0, {}
    for name, volume, colour, marker in (
        ("LV", report.lv_volume_ml, LV_COLOUR, "o"),
        ("RV", report.rv_volume_ml, RV_COLOUR, "s"),
    ):
        known = np.isfinite(volume)
        if not known.any():
            continue
        top = max(top, float(volume[known].max()))
        line = _smooth(report, volume)
        if line is None:
            axes.plot(times[known], volume[known], color=colour, linewidth=1.2, alpha=0.7)
            ends[name] = (times[known][-1], float(volume[known][-1]), colour)
        else:
            axes.plot(line[0], line[1], color=colour, linewidth=1.6)
            ends[name] = (line[0][-1], float(line[1][-1]), colour)
        axes.plot(times[known], volume[known], marker, color=colour, markersize=4, markeredgewidth=0)
    _name_lines(axes, ends, 0.07 * (top or 1.0))
    _mark_phases(axes, report)
    axes.set(xlabel=_time_label(report), ylabel="Volume (mL)", ylim=(0, 1.15 * top if top else 1.0))
    plain_axes(axes)
    return png(figure)


def septal_curves_png(report: FunctionReport) -> bytes:
    """Angle and length of the line between the insertion points over time.

    Args:
        report: What was measured.

    Returns:
        A PNG.

    Raises:
        CardioDiTError: Matplotlib is not installed.
    """
    figure = new_figure(7.2, 2.8)
    times = report.frame_times_s * 1000.0
    angle = report.septal_angle_deg.copy()
    known = np.isfinite(angle)
    # No jump of 360 degrees inside the picture.
    angle[known] = np.degrees(np.unwrap(np.radians(angle[known])))
    for axes, values, label, least in zip(
        figure.subplots(1, 2),
        (angle, report.septal_length_mm),
        ("Septal angle (degrees)", "Septal length (mm)"),
        (20, 10),
    ):
        axes.plot(times, values, "o-", color=WALL_COLOUR, markersize=3.5, linewidth=1.4, markeredgewidth=0)
        _mark_phases(axes, report)
        finite = values[np.isfinite(values)]
        if len(finite):
            # At least a range that matters, so that noise does not look like motion.
            middle, half = (finite.max() + finite.min()) / 2, max(np.ptp(finite) * 0.6, least / 2)
            axes.set_ylim(middle - half, middle + half)
        axes.set(xlabel=_time_label(report), ylabel=label)
        plain_axes(axes)
    return png(figure)


def _time_label(report: FunctionReport) -> str:
    return "Time (ms, nominal)" if nominal_times(report.meta) else "Time (ms)"


def _smooth(
    report: FunctionReport, volume: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """The curve that the rates come from, in ms and mL; None where frames are missing or too few."""
    if len(volume) < MIN_CYCLE_FRAMES or not np.isfinite(volume).all():
        return None
    spanned = cycle_seconds(report.frame_times_s)
    phases = np.linspace(0.0, 1.0, 241)
    return phases * spanned * 1000.0, PeriodicCurve(volume, report.frame_times_s / spanned)(phases)


def _mark_phases(axes: Any, report: FunctionReport) -> None:
    """Thin lines at end-diastole and end-systole, named at the top."""
    for name, frame in (("ED", report.ed_frame), ("ES", report.es_frame)):
        if frame is None:
            continue
        time = report.frame_times_s[frame] * 1000.0
        axes.axvline(time, color=FAINT, linewidth=0.9, linestyle=(0, (4, 3)), zorder=0)
        axes.annotate(
            name,
            (time, 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(3, -2),
            textcoords="offset points",
            fontsize=9,
            color=INK,
            va="top",
        )


def _name_lines(axes: Any, ends: dict[str, tuple[float, float, str]], apart: float) -> None:
    """Names at the ends of the lines instead of a legend, moved apart where they would touch."""
    lowest = -np.inf
    for name, (x, y, colour) in sorted(ends.items(), key=lambda entry: entry[1][1]):
        y = max(y, lowest + apart)
        lowest = y
        axes.annotate(
            name,
            (x, y),
            xytext=(6, 0),
            textcoords="offset points",
            color=colour,
            va="center",
            fontsize=10,
            weight="bold",
        )

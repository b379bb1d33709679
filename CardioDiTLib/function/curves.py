"""Curves over the cycle: volumes, and the septum."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from CardioDiTLib.data.time import cycle_seconds
from CardioDiTLib.function.function_report import FunctionReport
from CardioDiTLib.function.timing import MIN_CYCLE_FRAMES, PeriodicCurve, nominal_times
from CardioDiTLib.reporting.chart import Chart, VolumeLine, volume_chart
from CardioDiTLib.reporting.colours import LV_COLOUR, RV_COLOUR, WALL_COLOUR


def volume_curves_svg(report: FunctionReport) -> str:
    """Volumes of both ventricles over time: frames as marks, the smooth periodic curve as a line, ED and ES marked.

    Args:
        report: What was measured.

    Returns:
        SVG.
    """
    times = report.frame_times_s * 1000.0
    lines = [
        VolumeLine("LV", report.lv_volume_ml, LV_COLOUR, False, _smooth(report, report.lv_volume_ml)),
        VolumeLine("RV", report.rv_volume_ml, RV_COLOUR, True, _smooth(report, report.rv_volume_ml)),
    ]
    return volume_chart(times, lines, phases_of_report(report), _time_label(report))


def septal_curves_svg(report: FunctionReport) -> str:
    """Angle and length of the line between the insertion points over time.

    Args:
        report: What was measured.

    Returns:
        Two charts, SVG.
    """
    times = report.frame_times_s * 1000.0
    angle = report.septal_angle_deg.copy()
    known = np.isfinite(angle)
    # No jump of 360 degrees inside the picture.
    angle[known] = np.degrees(np.unwrap(np.radians(angle[known])))
    charts = []
    for values, label, least in (
        (angle, "septal angle (degrees)", 20.0),
        (report.septal_length_mm, "septal length (mm)", 10.0),
    ):
        finite = values[np.isfinite(values)]
        if not len(finite):
            continue
        # At least a range that matters, so that noise does not look like motion.
        middle, half = float(finite.max() + finite.min()) / 2, max(float(np.ptp(finite)) * 0.6, least / 2)
        chart = Chart(
            (0.0, max(float(times[-1]), 1.0)),
            (middle - half, middle + half),
            x_label=_time_label(report),
            y_label=label,
            name=f"{label} over the cycle",
            size=(480.0, 260.0),
        )
        for name, frame in phases_of_report(report).items():
            chart.upright(float(times[frame]), name)
        chart.line(times, values, WALL_COLOUR)
        chart.dots(times, values, WALL_COLOUR)
        charts.append(chart.svg())
    return f'<div class="pair">{"".join(charts)}</div>'


def phases_of_report(report: FunctionReport) -> dict[str, int]:
    """ED and ES of the left ventricle, as far as they are known."""
    frames = {"ED": report.ed_frame, "ES": report.es_frame}
    return {name: frame for name, frame in frames.items() if frame is not None}


def _time_label(report: FunctionReport) -> str:
    return "time (ms, nominal)" if nominal_times(report.meta) else "time (ms)"


def _smooth(
    report: FunctionReport, volume: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """The curve that the rates come from, in ms and mL; None where frames are missing or too few."""
    if len(volume) < MIN_CYCLE_FRAMES or not np.isfinite(volume).all():
        return None
    spanned = cycle_seconds(report.frame_times_s)
    phases = np.linspace(0.0, 1.0, 121)
    return phases * spanned * 1000.0, PeriodicCurve(volume, report.frame_times_s / spanned)(phases)

"""What a function report holds, in words: names, units and digits for tables."""

from __future__ import annotations

import math
from typing import NamedTuple

from CardioDiTLib.function.function_report import FunctionReport


class Quantity(NamedTuple):
    """One number of a report.

    Attributes:
        field: Name of the field.
        name: What it is, in words.
        unit: Unit, as it is printed.
        digits: Digits after the point.
    """

    field: str
    name: str
    unit: str
    digits: int


def _of_ventricle(prefix: str) -> tuple[Quantity, ...]:
    return (
        Quantity(f"{prefix}edv_ml", "End-diastolic volume", "mL", 1),
        Quantity(f"{prefix}esv_ml", "End-systolic volume", "mL", 1),
        Quantity(f"{prefix}sv_ml", "Stroke volume", "mL", 1),
        Quantity(f"{prefix}ef_percent", "Ejection fraction", "%", 1),
        Quantity(f"{prefix}cardiac_output_l_min", "Cardiac output", "L/min", 2),
        Quantity(f"{prefix}peak_ejection_rate_ml_s", "Peak ejection rate", "mL/s", 0),
        Quantity(f"{prefix}peak_filling_rate_ml_s", "Peak filling rate", "mL/s", 0),
    )


LEFT: tuple[Quantity, ...] = _of_ventricle("")
RIGHT: tuple[Quantity, ...] = _of_ventricle("rv_")
WALL: tuple[Quantity, ...] = (
    Quantity("lv_mass_g", "LV mass at ED", "g", 1),
    Quantity("wall_thickness_ed_mm", "Mean wall thickness at ED", "mm", 1),
    Quantity("wall_thickness_es_mm", "Mean wall thickness at ES", "mm", 1),
    Quantity("wall_thickening_percent", "Wall thickening", "%", 0),
)
TIME: tuple[Quantity, ...] = (
    Quantity("heart_rate_bpm", "Heart rate", "beats/min", 0),
    Quantity("cycle_s", "Duration of the frames", "s", 3),
)
SEGMENTS: tuple[Quantity, ...] = (
    Quantity("segment_thickness_ed_mm", "Thickness at ED", "mm", 1),
    Quantity("segment_thickness_es_mm", "Thickness at ES", "mm", 1),
    Quantity("segment_thickening_percent", "Thickening", "%", 0),
    Quantity("segment_mass_ed_g", "Mass at ED", "g", 1),
)
CURVES: tuple[Quantity, ...] = (
    Quantity("lv_volume_ml", "LV volume", "mL", 1),
    Quantity("rv_volume_ml", "RV volume", "mL", 1),
    Quantity("lv_mass_curve_g", "LV mass", "g", 1),
    Quantity("septal_angle_deg", "Septal angle", "degrees", 1),
    Quantity("septal_length_mm", "Septal length", "mm", 1),
)
FRAMES: tuple[str, ...] = ("ed_frame", "es_frame", "rv_ed_frame", "rv_es_frame")


def printed(value: float, digits: int) -> str:
    """A number as text; an en dash for NaN, no minus before zero."""
    if not math.isfinite(value):
        return "–"
    return f"{round(value, digits) + 0.0:.{digits}f}"


def reason_for(report: FunctionReport, field: str, segment: int | None = None) -> str:
    """Why a number is NaN; empty where the report holds no reason. Segments count from 1."""
    own = report.reasons.get(f"{field}[{segment}]", "") if segment is not None else ""
    return own or report.reasons.get(field, "")


def summary_lines(report: FunctionReport) -> list[str]:
    """The report as lines of plain text, for a terminal."""
    lines = []
    for title, group in (("Left ventricle", LEFT), ("Right ventricle", RIGHT), ("Wall", WALL), ("Time", TIME)):
        lines.append(title)
        for quantity in group:
            value = getattr(report, quantity.field)
            text = f"{printed(value, quantity.digits):>8} {quantity.unit}"
            if not math.isfinite(value):
                text = f"{'–':>8} {reason_for(report, quantity.field)}"
            lines.append(f"  {quantity.name:<26} {text}")
    return lines

"""What was measured on one heart."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from CardioDiTLib.arrays import Facts, Numbers
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.schema import Record, Unknowable
from CardioDiTLib.version import __version__

FRAMES: tuple[str, ...] = ("ed_frame", "es_frame", "rv_ed_frame", "rv_es_frame")
_BY_SLICE = ("ring_thickness_ed_mm", "ring_thickness_es_mm")


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


_BY_FRAME = ("frame_times_s", *(quantity.field for quantity in CURVES))


Row = Annotated[NDArray[np.float64], Numbers((None,))]

BySegment = Annotated[NDArray[np.float64], Numbers((17,))]


@dataclass(frozen=True, eq=False, repr=False)
class FunctionReport(Record):
    """Function of both ventricles. A number that could not be had is NaN (a frame None), and `reasons` says why.

    Attributes:
        frame_times_s: (T,) seconds.
        lv_volume_ml: (T,) left-ventricular cavity as labelled.
        rv_volume_ml: (T,) right ventricle as labelled.
        lv_mass_curve_g: (T,) myocardium as labelled; how much it varies tells about the labels.
        ed_frame, es_frame: Frames, counted from 0, of the largest and the smallest LV volume, the first of equal ones.
        rv_ed_frame, rv_es_frame: The same of the RV, whose end-systole may lie in another frame.
        cycle_s, heart_rate_bpm: Duration of the frames, and beats a minute.
        edv_ml, esv_ml, sv_ml, ef_percent: Volumes of the LV at ED and ES, EDV - ESV, 100 (EDV - ESV) / EDV.
        cardiac_output_l_min: Stroke volume times heart rate.
        peak_ejection_rate_ml_s, peak_filling_rate_ml_s: Extremes of the smooth curve's derivative, both positive.
        rv_edv_ml ... rv_peak_filling_rate_ml_s: The same of the RV.
        lv_mass_g: Myocardium at ED, 1.05 g/mL.
        wall_thickness_ed_mm, wall_thickness_es_mm: Mean over all slices with a closed ring.
        wall_thickening_percent: 100 (ES - ED) / ED of these.
        ring_thickness_ed_mm, ring_thickness_es_mm: (Z,) mean around each ring; NaN where the ring is not closed.
        segment_thickness_ed_mm, segment_thickness_es_mm: (17,) mean in each AHA segment, segment 1 first.
        segment_thickening_percent: (17,).
        segment_mass_ed_g: (17,) muscle of each segment at ED.
        septal_angle_deg, septal_length_mm: (T,) line from the anterior to the inferior insertion point.
        reasons: Name of a field, or "field[segment]", to why it is NaN; for a curve also what to beware of.
        notes: What the reader should know, one sentence each.
        meta: Provenance of what was measured.
        version: Version of this software.

    Raises:
        CardioDiTError: Arrays do not agree in length.
    """

    record_name: ClassVar[str] = "function report"
    record_hint: ClassVar[str] = "Give the JSON that 'cardiodit function' wrote."
    record_mark: ClassVar[tuple[str, Any]] = ("schema", "cardiodit.function/1")
    all_needed: ClassVar[bool] = True

    frame_times_s: Row
    lv_volume_ml: Row
    rv_volume_ml: Row
    lv_mass_curve_g: Row
    septal_angle_deg: Row
    septal_length_mm: Row
    ring_thickness_ed_mm: Row
    ring_thickness_es_mm: Row
    segment_thickness_ed_mm: BySegment
    segment_thickness_es_mm: BySegment
    segment_thickening_percent: BySegment
    segment_mass_ed_g: BySegment
    ed_frame: int | None = None
    es_frame: int | None = None
    rv_ed_frame: int | None = None
    rv_es_frame: int | None = None
    cycle_s: Unknowable = math.nan
    heart_rate_bpm: Unknowable = math.nan
    edv_ml: Unknowable = math.nan
    esv_ml: Unknowable = math.nan
    sv_ml: Unknowable = math.nan
    ef_percent: Unknowable = math.nan
    cardiac_output_l_min: Unknowable = math.nan
    peak_ejection_rate_ml_s: Unknowable = math.nan
    peak_filling_rate_ml_s: Unknowable = math.nan
    lv_mass_g: Unknowable = math.nan
    wall_thickness_ed_mm: Unknowable = math.nan
    wall_thickness_es_mm: Unknowable = math.nan
    wall_thickening_percent: Unknowable = math.nan
    rv_edv_ml: Unknowable = math.nan
    rv_esv_ml: Unknowable = math.nan
    rv_sv_ml: Unknowable = math.nan
    rv_ef_percent: Unknowable = math.nan
    rv_cardiac_output_l_min: Unknowable = math.nan
    rv_peak_ejection_rate_ml_s: Unknowable = math.nan
    rv_peak_filling_rate_ml_s: Unknowable = math.nan
    reasons: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    meta: Annotated[dict[str, Any], Facts()] = field(default_factory=dict)
    version: str = __version__

    def __post_init__(self) -> None:
        super().__post_init__()
        for names in (_BY_FRAME, _BY_SLICE):
            for name in names[1:]:
                found, wanted = len(getattr(self, name)), len(getattr(self, names[0]))
                if found != wanted:
                    raise CardioDiTError(
                        f"'{name}' of a function report has shape ({found},), not ({wanted},).",
                        "Make the report with cardiac_function.",
                    )

    def __repr__(self) -> str:
        """One line with the numbers that are asked for first; `function.summary_lines` gives all."""
        parts = []
        for title, prefix in (("LV", ""), ("RV", "rv_")):
            shown = []
            for name, field_name, unit in (("EF", "ef_percent", "%"), ("EDV", "edv_ml", "mL"), ("ESV", "esv_ml", "mL")):
                value = getattr(self, prefix + field_name)
                shown.append(f"{name} {value:.0f} {unit}" if math.isfinite(value) else f"{name} –")
            parts.append(f"{title}: {', '.join(shown)}")
        if math.isfinite(self.lv_mass_g):
            parts.append(f"mass {self.lv_mass_g:.0f} g")
        return f"FunctionReport({'; '.join(parts)}{'; synthetic' if self.synthetic else ''})"

    @property
    def synthetic(self) -> bool:
        """Whether what was measured says of itself that it is synthetic."""
        return bool(self.meta.get("synthetic"))

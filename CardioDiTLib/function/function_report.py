"""What was measured on one heart."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.version import __version__


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


SCHEMA = "cardiodit.function/1"

_BY_FRAME = (
    *("frame_times_s", "lv_volume_ml", "rv_volume_ml", "lv_mass_curve_g"),
    *("septal_angle_deg", "septal_length_mm"),
)

_BY_SLICE = ("ring_thickness_ed_mm", "ring_thickness_es_mm")

_BY_SEGMENT = (
    *("segment_thickness_ed_mm", "segment_thickness_es_mm"),
    *("segment_thickening_percent", "segment_mass_ed_g"),
)

_FRAMES = ("ed_frame", "es_frame", "rv_ed_frame", "rv_es_frame")

_OTHER = ("reasons", "notes", "meta", "version")


@dataclass(frozen=True, eq=False, repr=False)
class FunctionReport:
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

    frame_times_s: NDArray[np.float64]
    lv_volume_ml: NDArray[np.float64]
    rv_volume_ml: NDArray[np.float64]
    lv_mass_curve_g: NDArray[np.float64]
    septal_angle_deg: NDArray[np.float64]
    septal_length_mm: NDArray[np.float64]
    ring_thickness_ed_mm: NDArray[np.float64]
    ring_thickness_es_mm: NDArray[np.float64]
    segment_thickness_ed_mm: NDArray[np.float64]
    segment_thickness_es_mm: NDArray[np.float64]
    segment_thickening_percent: NDArray[np.float64]
    segment_mass_ed_g: NDArray[np.float64]
    ed_frame: int | None = None
    es_frame: int | None = None
    rv_ed_frame: int | None = None
    rv_es_frame: int | None = None
    cycle_s: float = math.nan
    heart_rate_bpm: float = math.nan
    edv_ml: float = math.nan
    esv_ml: float = math.nan
    sv_ml: float = math.nan
    ef_percent: float = math.nan
    cardiac_output_l_min: float = math.nan
    peak_ejection_rate_ml_s: float = math.nan
    peak_filling_rate_ml_s: float = math.nan
    lv_mass_g: float = math.nan
    wall_thickness_ed_mm: float = math.nan
    wall_thickness_es_mm: float = math.nan
    wall_thickening_percent: float = math.nan
    rv_edv_ml: float = math.nan
    rv_esv_ml: float = math.nan
    rv_sv_ml: float = math.nan
    rv_ef_percent: float = math.nan
    rv_cardiac_output_l_min: float = math.nan
    rv_peak_ejection_rate_ml_s: float = math.nan
    rv_peak_filling_rate_ml_s: float = math.nan
    reasons: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    meta: dict[str, Any] = field(default_factory=dict)
    version: str = __version__

    def __post_init__(self) -> None:
        for names, first in ((_BY_FRAME, _BY_FRAME[0]), (_BY_SLICE, _BY_SLICE[0]), (_BY_SEGMENT, None)):
            length = 17 if first is None else np.size(getattr(self, first))
            for name in names:
                values = np.array(getattr(self, name), dtype=np.float64)
                if values.shape != (length,):
                    raise CardioDiTError(
                        f"'{name}' of a function report has shape {values.shape}, not ({length},).",
                        "Make the report with cardiac_function.",
                    )
                values.setflags(write=False)
                object.__setattr__(self, name, values)
        object.__setattr__(self, "notes", tuple(self.notes))

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

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; NaN becomes None."""
        result: dict[str, Any] = {"schema": SCHEMA}
        for entry in fields(self):
            value = getattr(self, entry.name)
            if isinstance(value, np.ndarray):
                value = [number if math.isfinite(number) else None for number in value.tolist()]
            elif isinstance(value, float) and not math.isfinite(value):
                value = None
            elif isinstance(value, tuple):
                value = list(value)
            elif isinstance(value, dict):
                value = _plain(value)
            result[entry.name] = value
        return result

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> FunctionReport:
        """The inverse of :meth:`to_dict`.

        Raises:
            CardioDiTError: Another schema, a field that is missing or not known, or a value of the wrong kind.
        """
        hint = "Give the JSON that 'cardiodit function' wrote."
        if values.get("schema") != SCHEMA:
            raise CardioDiTError(f"The schema {values.get('schema')!r} is no function report.", hint)
        names = {entry.name for entry in fields(cls)}
        wrong = sorted(names ^ (set(values) - {"schema"}))
        if wrong:
            raise CardioDiTError(f"The field '{wrong[0]}' of a function report is missing or not known.", hint)
        try:
            return cls(**{name: _read(name, values[name]) for name in names})
        except (TypeError, ValueError) as error:
            raise CardioDiTError(f"A function report holds a value of the wrong kind: {error}.", hint) from error


def _read(name: str, value: Any) -> Any:
    if name in (*_BY_FRAME, *_BY_SLICE, *_BY_SEGMENT):
        return np.array([math.nan if number is None else number for number in value], dtype=np.float64)
    if name in _FRAMES:
        return None if value is None else int(value)
    if name in _OTHER:
        return {"reasons": dict, "notes": tuple, "meta": dict, "version": str}[name](value)
    return math.nan if value is None else float(value)


def _plain(value: Any) -> Any:
    """What JSON holds in place of numpy values, paths and numbers that are not finite."""
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if value is None or isinstance(value, str | bool | int | float) else str(value)

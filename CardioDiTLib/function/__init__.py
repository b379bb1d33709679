"""Function of the heart from labels and insertion points: volumes, EF, mass, wall thickness, septum, and a report."""

from __future__ import annotations

from CardioDiTLib.function.aha import SEGMENT_NAMES
from CardioDiTLib.function.cardiac_function import cardiac_function
from CardioDiTLib.function.function_report import FunctionReport
from CardioDiTLib.function.outputs import save_report
from CardioDiTLib.function.report_html import to_html
from CardioDiTLib.function.tables import curves_to_csv, from_json, to_csv, to_json
from CardioDiTLib.function.volumes import volume_curve_ml

__all__ = [
    "SEGMENT_NAMES",
    "FunctionReport",
    "cardiac_function",
    "curves_to_csv",
    "from_json",
    "save_report",
    "to_csv",
    "to_html",
    "to_json",
    "volume_curve_ml",
]

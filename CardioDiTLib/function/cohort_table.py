"""The numbers of many hearts as one table of pandas."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.function.function_report import FRAMES, LEFT, RIGHT, TIME, WALL, FunctionReport
from CardioDiTLib.function.tables import from_json

if TYPE_CHECKING:
    import pandas

_ENDING = "_function.json"


def cohort_table(
    hearts: Mapping[str, FunctionReport] | Iterable[FunctionReport] | str | os.PathLike[str],
) -> pandas.DataFrame:
    """One row a heart, one column a number with its unit in the name; NaN where it could not be measured.

    Args:
        hearts: Names to reports (or to whole measurements), reports alone, or the folder that 'cardiodit measure' or
            `save_report` wrote: every NAME_function.json in it.

    Returns:
        A table with the index "name" and the columns "synthetic", "ed_frame", ..., "edv_ml", ..., "reasons".

    Raises:
        CardioDiTError: pandas is not installed, a file cannot be read, or there is no heart.

    Examples:
        >>> table = cohort_table("out")  # doctest: +SKIP
        >>> table.groupby("synthetic").ef_percent.describe()  # doctest: +SKIP
    """
    try:
        import pandas
    except ImportError as error:
        raise CardioDiTError(
            "A table of hearts needs the package pandas, which is not installed.",
            "Install it with 'pip install pandas', or use the CSV that save_report writes.",
        ) from error
    reports = _reports(hearts)
    if not reports:
        raise CardioDiTError("There is no heart to make a table of.", f"Give reports, or a folder with *{_ENDING}.")
    rows = [_row(report) for report in reports.values()]
    return pandas.DataFrame(rows, index=pandas.Index(list(reports), name="name"))


def _reports(hearts: Any) -> dict[str, FunctionReport]:
    if isinstance(hearts, str | os.PathLike):
        folder = Path(hearts)
        if not folder.is_dir():
            raise CardioDiTError(f"'{folder}' is no folder.", f"Give the folder that holds *{_ENDING}.")
        return {path.name.removesuffix(_ENDING): from_json(path) for path in sorted(folder.glob(f"*{_ENDING}"))}
    if isinstance(hearts, Mapping):
        named = {str(name): one for name, one in hearts.items()}
    else:
        named = {f"heart {number}": one for number, one in enumerate(hearts)}
    # a whole measurement has its report under "function"
    found = {name: getattr(one, "function", one) for name, one in named.items()}
    for name, one in found.items():
        if not isinstance(one, FunctionReport):
            raise CardioDiTError(f"'{name}' is a {type(one).__name__}, no report.", "Give what `measure` gives.")
    return found


def _row(report: FunctionReport) -> dict[str, Any]:
    numbers = [quantity.field for group in (LEFT, RIGHT, WALL, TIME) for quantity in group]
    return {
        "synthetic": report.synthetic,
        **{field: getattr(report, field) for field in FRAMES},
        **{field: float(getattr(report, field)) for field in numbers},
        "reasons": " | ".join(f"{field}: {reason}" for field, reason in report.reasons.items()),
    }

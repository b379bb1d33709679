"""Synthesis reports as text, Markdown, JSON and comma-separated values."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from CardioDiTLib.evaluation.synthesis_report import QuantityComparison, SetNumber, Spread, SynthesisReport
from CardioDiTLib.function.function_report import printed
from CardioDiTLib.io.plain_text import markdown_text, plain_text
from CardioDiTLib.reporting.tables import number_cell, text_cell, write_csv

SET_TITLES = {
    "frechet_distance": "Frechet distance of the standardised vector",
    "kernel_distance": "Kernel distance (MMD^2, cubic)",
    "precision": "Precision",
    "recall": "Recall",
    "density": "Density",
    "coverage": "Coverage",
    "mean_distance": "Mean distance within the set",
    "nearest_distance": "Median distance to the nearest in the set",
}
"""What numbers of sets are called."""
BETTER_WORDS = {"lower": "lower is better", "higher": "higher is better", "real": "as real is best"}
"""Which way a number is better, in words."""
_WORDS = {True: "within", False: "OUTSIDE", None: "–"}

CSV_HEADER = (
    *("set", "group", "number", "unit", "value", "low", "high", "matched"),
    *("floor_low", "floor_median", "floor_high", "within_floor", "better", "n_real", "n_synthetic", "n_matched"),
    *("real_p05", "real_median", "real_p95", "real_missing"),
    *("synthetic_p05", "synthetic_median", "synthetic_p95", "synthetic_missing", "reason"),
)
"""Columns of the table of comma-separated values; a row of a quantity holds its Wasserstein distance."""


class Table(NamedTuple):
    """A table in words.

    Attributes:
        title: Above it.
        header: Names of the columns.
        rows: Cells.
    """

    title: str
    header: tuple[str, ...]
    rows: list[tuple[str, ...]]


def tables(report: SynthesisReport) -> list[Table]:
    """All numbers of a report, as tables of words."""
    made = []
    groups = list(dict.fromkeys(one.group for one in report.quantities))
    for group in groups:
        for kind in ("physiology", "coherence"):
            chosen = [q for q in report.quantities if q.group == group and q.kind == kind]
            # a line without any number says nothing; why it is missing stands below the tables
            rows = [_quantity_row(q) for q in chosen if q.real.n or q.synthetic.n]
            if rows:
                header = ("", "real: median (5..95 %) n", "synthetic: median (5..95 %) n", *_DISTANCE)
                made.append(Table(f"{kind.capitalize()}{f' of {group}' if group else ''}", header, rows))
    for feature, numbers in report.sets.items():
        title = "Physiology as a whole" if feature == "physiology" else f"Features '{feature}'"
        made.append(Table(title, ("", "", "value", *_FLOOR), [_set_row(n, v) for n, v in numbers.items()]))
    return made


_FLOOR = ("same size", "real halves (5..95 %)", "of", "floor")
_DISTANCE = ("Wasserstein", *_FLOOR)


def model_tables(reports: Mapping[str, SynthesisReport]) -> list[Table]:
    """Several models against the same real cohort: a column a model, each number at the size of its cohort."""
    first = next(iter(reports.values()))
    titles = {one.field: f"{one.title}, {one.unit}" if one.unit else one.title for one in first.quantities}
    medians, distances = [], []
    for one in first.quantities:
        if one.group or not one.real.n:
            continue
        found = [
            next((q for q in r.quantities if (q.field, q.group) == (one.field, "")), None) for r in reports.values()
        ]
        cells = [
            f"{printed(q.synthetic.median, q.digits)} ({q.synthetic.n})" if q and q.synthetic.n else "–" for q in found
        ]
        medians.append((titles[one.field], f"{printed(one.real.median, one.digits)} ({one.real.n})", *cells))
        distances.append((titles[one.field], "Wasserstein", *(_model_cell(q.distance if q else None) for q in found)))
    for where, part in first.sets.items():
        for name, number in part.items():
            numbers = (report.sets.get(where, {}).get(name) for report in reports.values())
            title = f"{SET_TITLES.get(name, name)} ({where})"
            distances.append((title, BETTER_WORDS[number.better], *map(_model_cell, numbers)))
    return [
        Table("Medians (of so many cines)", ("", "real", *reports), medians),
        Table("Distances from real, at the same size, and real halves (5..95 %)", ("", "", *reports), distances),
    ]


def _model_cell(number: SetNumber | None) -> str:
    if number is None:
        return "–"
    _, matched, floor, _, within = _number_cells(number)
    return matched if floor == "–" else f"{matched}, {floor[floor.index('(') :]} {within}"


def _quantity_row(one: QuantityComparison) -> tuple[str, ...]:
    def spread(part: Spread) -> str:
        numbers = [printed(v, one.digits) for v in (part.median, part.p05, part.p95)]
        missing = f" (-{part.missing})" if part.missing else ""
        if not part.n:
            return f"– 0{missing}"
        return f"{numbers[0]} ({numbers[1]}..{numbers[2]}) {part.n}{missing}"

    title = f"{one.title}, {one.unit}" if one.unit else one.title
    return (title, spread(one.real), spread(one.synthetic), *_number_cells(one.distance))


def _set_row(name: str, number: SetNumber) -> tuple[str, ...]:
    return (SET_TITLES.get(name, name), BETTER_WORDS[number.better], *_number_cells(number))


def _number_cells(number: SetNumber) -> tuple[str, ...]:
    value = short(number.value)
    if math.isfinite(number.low):
        value += f" [{short(number.low)}, {short(number.high)}]"
    floor = "–"
    if math.isfinite(number.floor_median):
        floor = f"{short(number.floor_median)} ({short(number.floor_low)}..{short(number.floor_high)})"
    return value, short(number.matched), floor, str(number.n_matched), _WORDS[number.within_floor]


def short(value: float) -> str:
    """A number of three digits; an en dash for NaN."""
    return f"{value:.3g}" if math.isfinite(value) else "–"


def _opening(report: SynthesisReport) -> list[str]:
    return [
        f"{report.n_synthetic} synthetic cines ({report.synthetic_name}, {report.n_synthetic_labelled} with labels) "
        f"against {report.n_real} real ones ({report.real_name}, {report.n_real_labelled} with labels).",
        f"{report.resamples} random halves, seed {report.seed}, {report.neighbours} neighbours, heart box on the "
        f"{report.centre}, CardioDiT {report.version}.",
    ]


def closing_lines(report: SynthesisReport) -> list[str]:
    """Duplicates, what could not be measured, and notes; one sentence each."""
    if report.duplicates:
        pairs = ", ".join(f"{one} = {other}" for one, other in report.duplicates[:5])
        more = " and more" if len(report.duplicates) > 5 else ""
        lines = [
            f"{len(report.duplicates)} pairs of synthetic cines are copies of each other, or nearly: {pairs}{more}."
        ]
    elif report.n_synthetic > 1:
        exact = "" if math.isfinite(report.duplicate_limit) else " exact"
        lines = [f"No{exact} duplicates among the synthetic cines."]
    else:
        lines = []
    for one in report.quantities:
        if one.group:
            continue
        for what, part in (("real", one.real), ("synthetic", one.synthetic)):
            for reason, count in part.reasons.items():
                lines.append(f"{one.title}: missing on {count} of {part.n + part.missing} {what} cines. {reason}")
    reasons = [number.reason for part in report.sets.values() for number in part.values() if number.reason]
    reasons += [one.distance.reason for one in report.quantities if one.distance.reason and not one.group]
    return [*_grouped(lines), *dict.fromkeys(reasons), *report.notes]


def _grouped(lines: list[str]) -> list[str]:
    """Lines that say the same about several quantities become one."""
    titles: dict[str, list[str]] = {}
    for line in lines:
        title, colon, rest = line.partition(": missing on ")
        titles.setdefault(f"missing on {rest}" if colon else "", []).append(title if colon else line)
    merged = list(titles.pop("", []))
    for rest, names in titles.items():
        shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        merged.append(f"{shown}: {rest}")
    return merged


def to_text(report: SynthesisReport) -> str:
    """The report for a terminal."""
    lines = [*map(plain_text, _opening(report)), *text_lines(tables(report)), ""]
    return "\n".join([*lines, *map(plain_text, closing_lines(report))]) + "\n"


def text_lines(of: Iterable[Table]) -> list[str]:
    """Tables for a terminal, an empty line before each."""
    lines: list[str] = []
    for table in map(_plain_table, of):
        widths = [max(len(row[i]) for row in (table.header, *table.rows)) for i in range(len(table.header))]
        lines += ["", table.title]
        for row in (table.header, *table.rows):
            lines.append("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())
    return lines


def _plain_table(table: Table) -> Table:
    """Groups and models are called what somebody wrote into a table."""
    header = tuple(map(plain_text, table.header))
    return Table(plain_text(table.title), header, [tuple(map(plain_text, row)) for row in table.rows])


def to_markdown(report: SynthesisReport) -> str:
    """The report as a part of a model card."""
    lines = ["## Synthetic cines beside real ones", "", *map(markdown_text, _opening(report))]
    lines += [*markdown_lines(tables(report)), "", *(f"- {markdown_text(line)}" for line in closing_lines(report))]
    return "\n".join(lines) + "\n"


def markdown_lines(of: Iterable[Table]) -> list[str]:
    """Tables in Markdown, each below its title."""
    lines: list[str] = []
    for table in of:
        lines += ["", f"### {markdown_text(table.title)}", ""]
        lines.append("| " + " | ".join(markdown_text(name) for name in table.header) + " |")
        lines.append("|" + " --- |" * len(table.header))
        lines += ["| " + " | ".join(markdown_text(cell) for cell in row) + " |" for row in table.rows]
    return lines


def to_json(report: SynthesisReport) -> str:
    """The report as JSON, NaN as null."""
    return report.to_json(indent=1)


def from_json(path: str | os.PathLike[str]) -> SynthesisReport:
    """Read a report from a JSON file.

    Raises:
        CardioDiTError: The file is not there, not JSON, or no synthesis report.
    """
    return SynthesisReport.read(path)


def save_csv(report: SynthesisReport, path: str | os.PathLike[str]) -> Path:
    """Write every number of a report as a row of a long table; missing numbers are empty cells.

    Raises:
        CardioDiTError: The file cannot be written.
    """
    rows: list[list[str]] = []
    for one in report.quantities:
        spreads = [
            cell
            for part in (one.real, one.synthetic)
            for cell in (*map(number_cell, (part.p05, part.median, part.p95)), str(part.missing))
        ]
        rows.append(_csv_row(one.kind, one.group, one.field, one.unit, one.distance, spreads))
    for feature, numbers in report.sets.items():
        rows += [_csv_row(feature, "", name, "", number, [""] * 8) for name, number in numbers.items()]
    return write_csv(CSV_HEADER, rows, path)


def _csv_row(where: str, group: str, name: str, unit: str, number: SetNumber, spreads: list[str]) -> list[str]:
    numbers = (number.value, number.low, number.high, number.matched)
    floor = (number.floor_low, number.floor_median, number.floor_high)
    within = {True: "yes", False: "no", None: ""}[number.within_floor]
    counts = (number.n_real, number.n_synthetic, number.n_matched)
    return [
        *(where, text_cell(group), name, unit, *map(number_cell, numbers), *map(number_cell, floor)),
        *(within, number.better, *map(str, counts), *spreads, number.reason),
    ]

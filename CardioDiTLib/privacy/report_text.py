"""An audit as text for a terminal, as Markdown for a model card, and as a table."""

from __future__ import annotations

import os
from pathlib import Path

from CardioDiTLib.privacy.audit_report import AuditReport, Share
from CardioDiTLib.reporting.tables import text_cell, write_csv

CSV_HEADER = ("index", "hash", "score", "p_value", "copy", "nearest_index", "nearest_hash", "name", "nearest_name")
"""Columns of the table: a synthetic cine a row."""


def facts(report: AuditReport, published: bool = True) -> list[tuple[str, str]]:
    """What an audit found, as pairs of a name and a text.

    Args:
        report: The audit.
        published: Also what the published rule says, where it was applied.
    """
    test = report.test
    by = "other real patients" if report.calibration == "validation" else "training patients, each against all others"
    rows = [
        ("training", f"{_count(report.n_train, 'cine')} of {_count(report.n_train_patients, 'patient')}"),
        ("validation", f"{_count(report.n_validation, 'cine')} of {_count(report.n_validation_patients, 'patient')}"),
        ("synthetic", _count(report.n_synthetic, "cine")),
        ("calibrated by", f"{report.n_calibration} {by}"),
        (
            "threshold (correlation)",
            f"{report.shown_threshold} for a false-alarm rate of {percent(report.false_alarm)}",
        ),
        ("smallest possible p", f"{report.smallest_p_value:.3g}"),
        ("copies, of synthetic cines", f"{share(report.copies)}; chance alone {percent(report.copies.expected)}"),
        (
            "memorized, of training patients",
            f"{share(report.memorized)}; chance alone at most {percent(report.memorized.expected)}",
        ),
        ("more than chance?", f"p = {test.p_value:.3g} (threshold's own uncertainty included)"),
        ("share above the threshold", f"at most {percent(test.copies_upper_bound)} (95 % bound)"),
        ("would be noticed from", f"{percent(test.detectable_share)} copies on (with 80 % probability)"),
        ("sure copies / discoveries", f"{test.n_sure} (Holm, 5 %) / {test.n_discoveries} (Benjamini-Hochberg, 5 %)"),
        ("almost equal to a training cine", str(report.n_identical)),
        ("almost equal to another synthetic one", str(report.n_duplicates)),
        ("validation cines of training patients", str(report.leak.left_out)),
    ]
    if published and report.published is not None:
        found = report.published
        rows += [
            ("published rule: threshold", f"{found.threshold:.4f}"),
            (
                "published rule: N_mem",
                f"{found.n_memorized} = {found.memorized_percent:.1f} % of training; without any memorization "
                f"{percent(report.published_null_memorized)}",
            ),
            (
                "published rule: N_copies",
                f"{found.n_copies} = {found.copies_percent:.1f} % of training; without any memorization "
                f"{percent(report.published_null_copies)} of the synthetic ones",
            ),
        ]
    if published and report.equal_sizes is not None:
        equal = report.equal_sizes
        rows.append(
            (
                f"published rule, {equal.size} in each set",
                f"memorized {percent(equal.memorized)}, copies {percent(equal.copies)}; without any memorization "
                f"{percent(equal.expected)}",
            )
        )
    return rows


def to_text(report: AuditReport, published: bool = True) -> str:
    """The audit for a terminal."""
    rows = facts(report, published)
    width = max(len(name) for name, _ in rows)
    lines = [report.sentence, "", *(f"  {name.ljust(width)}  {text}" for name, text in rows)]
    return "\n".join([*lines, *([""] if report.notes else []), *(f"* {note}" for note in report.notes)]) + "\n"


def to_markdown(report: AuditReport, published: bool = True) -> str:
    """The audit as a part of a model card."""
    lines = ["## Audit for memorization", "", report.sentence, "", "| | |", "| --- | --- |"]
    lines += [f"| {name} | {text} |" for name, text in facts(report, published)]
    lines += [""] if report.notes else []
    return "\n".join([*lines, *(f"- {note}" for note in report.notes)]) + "\n"


def save_csv(report: AuditReport, path: str | os.PathLike[str]) -> Path:
    """Write a row for each synthetic cine; names are empty unless the audit was made with them.

    Raises:
        CardioDiTError: The file cannot be written.
    """
    rows = (
        (
            *(one.index, one.hash, f"{one.score:.6f}", f"{one.p_value:.6g}", "yes" if one.copy else "no"),
            *(one.nearest_index, one.nearest_hash, text_cell(one.name), text_cell(one.nearest_name)),
        )
        for one in report.samples
    )
    return write_csv(CSV_HEADER, rows, path)


def percent(value: float | None) -> str:
    """A share as text."""
    return "-" if value is None else f"{100 * value:.1f} %"


def share(value: Share) -> str:
    """A share with its interval as text."""
    return (
        f"{value.count} of {value.of} = {percent(value.fraction)} (95 % interval {100 * value.low:.1f} to "
        f"{percent(value.high)})"
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"

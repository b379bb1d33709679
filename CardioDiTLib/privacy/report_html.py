"""An audit as one HTML page that needs nothing from elsewhere."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from html import escape
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from CardioDiTLib.privacy.audit_report import AuditReport, SampleVerdict
from CardioDiTLib.privacy.report_text import facts, percent, share
from CardioDiTLib.reporting.chart import Chart
from CardioDiTLib.reporting.colours import REAL_COLOUR, SYNTHETIC_COLOUR
from CardioDiTLib.reporting.drawing import data_address
from CardioDiTLib.reporting.page import NOT_FOR_DIAGNOSIS, bullets, cards, figure, key, page, section, table, tag
from CardioDiTLib.reporting.page import facts as facts_table
from CardioDiTLib.reporting.tables import write_text

Pair = tuple[NDArray[np.uint8], NDArray[np.uint8]]
PictureOf = Callable[[SampleVerdict], Pair]
"""Gives a synthetic picture and that of the nearest training cine."""

MOST_PAIRS = 12
_MOST_ROWS = 200
_BINS = 40

_METHOD = """<ul class="note">
<li>Score of a synthetic cine: correlation of its embedding with that of the nearest training cine.</li>
<li>p-value: how often a novel patient comes as near, counted among real patients (conformal; no distribution is
assumed, nothing is extrapolated beyond the patients that there are).</li>
<li>Copy: p at most the false-alarm rate. Of novel cines, this share is called copies as well; whether there are more is
what the test of the count says.</li>
<li>Intervals: bootstrap over calibrating patients and cines, never narrower than the exact binomial one.</li>
<li>An audit sees what its encoder sees. Finding nothing proves nothing about copies that the encoder does not
recognise.</li>
</ul>"""


def to_html(
    report: AuditReport,
    path: str | os.PathLike[str],
    *,
    pictures: PictureOf | None = None,
    published: bool = True,
    title: str = "Audit for memorization",
    about: Mapping[str, str] | None = None,
) -> Path:
    """Write an audit as one HTML file.

    Args:
        report: The audit.
        path: The file.
        pictures: Gives the pictures of a synthetic cine and its nearest training cine. With it, the page shows real
            patients: keep it as safe as the training set.
        published: Also what the published rule says, where it was applied.
        title: Heading.
        about: What was audited against what, such as the names of the data and of the model: shown on top.

    Raises:
        CardioDiTError: The file cannot be written.
    """
    return write_text(html_page(report, pictures=pictures, published=published, title=title, about=about), path)


def html_page(
    report: AuditReport,
    *,
    pictures: PictureOf | None = None,
    published: bool = True,
    title: str = "Audit for memorization",
    about: Mapping[str, str] | None = None,
) -> str:
    """The page of :func:`to_html` as text, with the same arguments."""
    style = {"copies": " bad", "undecided": " warn"}.get(report.verdict, "" if report.enough_to_tell else " warn")
    verdict = f'<div class="verdict{style}" id="verdict">{escape(report.sentence)}</div>'
    parts = [
        section("about", "What was audited", facts_table(about)) if about else "",
        verdict,
        _first(report),
        section("scores", "Scores", _histogram(report)),
        section("pairs", "Nearest training cines", _pairs(report, pictures)) if pictures is not None else "",
        section("samples", "Synthetic cines", _samples(report)),
        section("numbers", "Numbers", facts_table(facts(report, published))),
        section("notes", "Notes", bullets(report.notes)),
        section("method", "How it was found", _METHOD),
        section("provenance", "Provenance", _provenance(report)),
    ]
    return page(title, parts, kind="Audit for memorization", under=NOT_FOR_DIAGNOSIS, version=report.version)


def _first(report: AuditReport) -> str:
    """The numbers to see first."""
    return cards(
        [
            (
                "copies",
                f"{report.copies.count} of {report.copies.of}",
                "",
                f"by chance {percent(report.copies.expected)}",
            ),
            ("false-alarm rate", f"{100 * report.false_alarm:g}", "%", "of novel patients called copies"),
            ("threshold", report.shown_threshold, "", "correlation with the nearest"),
            ("would be noticed", _noticed(report), "", "share of copies, with 80 % probability"),
            ("training patients", str(report.n_train_patients), "", f"{report.n_train} cines"),
            ("calibrating patients", str(report.n_calibration), "", report.calibration),
        ]
    )


def _noticed(report: AuditReport) -> str:
    found = report.test.detectable_share
    return f"≥ {100 * found:.0f} %" if math.isfinite(found) and found <= 1 else "–"


def _provenance(report: AuditReport) -> str:
    return facts_table(
        {
            "CardioDiT": report.version,
            "encoder (SHA-256)": report.encoder_sha256 or "not known",
            "numbers of an embedding": str(report.dimension),
            "seed": str(report.seed),
        }
    )


def _histogram(report: AuditReport) -> str:
    """Scores of synthetic cines above the line, those of calibrating patients below it."""
    synthetic = np.array([one.score for one in report.samples])
    real = np.array(report.scores_calibration)
    known = report.threshold if report.threshold is not None and math.isfinite(report.threshold) else None
    low = float(min(synthetic.min(), real.min()))
    high = float(max(synthetic.max(), real.max(), -1.0 if known is None else known))
    low, high = low - 0.02 * (high - low + 1e-6), high + 0.02 * (high - low + 1e-6)
    edges = np.linspace(low, high, _BINS + 1)
    up, down = (100.0 * np.histogram(values, edges)[0] / len(values) for values in (synthetic, real))
    chart = Chart(
        (low, high),
        (-1.1 * float(max(down.max(), 1.0)), 1.1 * float(max(up.max(), 1.0))),
        x_label="correlation with the nearest training cine",
        y_label="share (%)",
        name="Histogram of scores",
        absolute=True,
    )
    chart.bars(edges, up, SYNTHETIC_COLOUR, "synthetic cines")
    chart.bars(edges, -down, REAL_COLOUR, "real patients")
    chart.level(0.0)
    if known is not None:
        chart.upright(known, f"threshold {known:.3f}: copies lie to the right")
    caption = key([("synthetic cines (up)", SYNTHETIC_COLOUR), ("real patients who calibrate (down)", REAL_COLOUR)])
    if known is None:
        caption += "There is no threshold: too few patients calibrate."
    else:
        caption += f"Of novel patients, {100 * report.false_alarm:g} % lie to the right of the threshold."
    return figure(chart.svg(), caption)


def _nearest_first(report: AuditReport) -> list[SampleVerdict]:
    return sorted(report.samples, key=lambda one: (-one.score, one.index))


def _pairs(report: AuditReport, pictures: PictureOf) -> str:
    figures = []
    for one in _nearest_first(report)[:MOST_PAIRS]:
        made, real = (data_address(picture) for picture in pictures(one))
        figures.append(
            f'<figure><div class="two"><div><img src="{made}" alt="synthetic"><span>synthetic '
            f'{_named(one.index, one.name)}</span></div><div><img src="{real}" alt="training"><span>training '
            f"{_named(one.nearest_index, one.nearest_name)}</span></div></div><figcaption>{_verdict_of(one)} "
            f"correlation {one.score:.4f}, p = {one.p_value:.3g}</figcaption></figure>"
        )
    return (
        f'<p class="note">The {len(figures)} nearest pairs, middle slice of frame 0. '
        "This page shows training patients: keep it as safe as the training set.</p>"
        f'<div class="pairs">{"".join(figures)}</div>'
    )


def _verdict_of(one: SampleVerdict) -> str:
    return tag("copy", "warn") if one.copy else tag("no copy", "good")


def _named(index: int, name: str) -> str:
    return f"{index} ({escape(name)})" if name else str(index)


def _samples(report: AuditReport) -> str:
    shown = _nearest_first(report)[:_MOST_ROWS]
    decided = report.threshold is not None or report.copies.count > 0
    rows = [
        f"<tr{' class=mark' if one.copy else ''}><td>{_named(one.index, one.name)}</td>"
        f"<td>{_verdict_of(one) if decided else tag('not known', 'none')}</td>"
        f'<td class="number">{one.score:.4f}</td><td class="number">{one.p_value:.3g}</td>'
        f"<td>{_named(one.nearest_index, one.nearest_name)}</td><td><code>{one.hash}</code></td>"
        f"<td><code>{one.nearest_hash}</code></td></tr>"
        for one in shown
    ]
    rest = len(report.samples) - len(shown)
    more = f'<p class="note">{rest} more are in the JSON and CSV.</p>' if rest else ""
    names = ("synthetic cine", "verdict", "correlation", "p", "nearest training cine", "its embedding", "nearest's")
    below = (
        f'<p class="note">{escape(share(report.copies))} called copies; p: how often a novel patient comes as near. '
        "The nearest come first.</p>"
    )
    return below + table(names, rows, numbers=(2, 3)) + more

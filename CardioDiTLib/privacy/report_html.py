"""An audit as one HTML page that needs nothing from elsewhere."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from CardioDiTLib.io.atomic import atomic_path
from CardioDiTLib.privacy.audit_report import AuditReport
from CardioDiTLib.privacy.grey_png import data_address
from CardioDiTLib.privacy.report_parts import SampleVerdict
from CardioDiTLib.privacy.report_text import facts

Pair = tuple[NDArray[np.uint8], NDArray[np.uint8]]
PictureOf = Callable[[SampleVerdict], Pair]
"""Gives a synthetic picture and that of the nearest training cine."""

MOST_PAIRS = 12
_MOST_ROWS = 200
_BINS = 40
_REAL, _SYNTHETIC = "#0072B2", "#D55E00"

_STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.45 system-ui, -apple-system, "Segoe UI", Helvetica, Arial, sans-serif; color: #222;
  background: #fff; max-width: 1000px; margin: 24px auto; padding: 0 20px; }
h1 { font-size: 24px; margin: 0 0 4px; }
h2 { font-size: 17px; margin: 32px 0 8px; border-bottom: 1px solid #ccc; padding-bottom: 4px; }
.verdict { border: 2px solid #0072B2; padding: 10px 14px; font-weight: 600; margin: 14px 0; }
.verdict.copies { border-color: #D55E00; background: #fdf0e6; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: 3px 10px 3px 0; border-bottom: 1px solid #eee; vertical-align: top;
  font-weight: 400; font-variant-numeric: tabular-nums; }
thead th, figcaption, .note { color: #555; font-size: 13px; }
.pairs { display: grid; grid-template-columns: repeat(auto-fill, minmax(300px, 1fr)); gap: 16px; }
.pairs img { width: 49%; background: #000; image-rendering: auto; }
figure { margin: 0; }
code { font-size: 12px; }
"""

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
) -> Path:
    """Write an audit as one HTML file.

    Args:
        report: The audit.
        path: The file.
        pictures: Gives the pictures of a synthetic cine and its nearest training cine. With it, the page shows real
            patients: keep it as safe as the training set.
        published: Also what the published rule says, where it was applied.
        title: Heading.

    Raises:
        CardioDiTError: The file cannot be written.
    """
    text = html_page(report, pictures=pictures, published=published, title=title)
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return Path(path)


def html_page(
    report: AuditReport,
    *,
    pictures: PictureOf | None = None,
    published: bool = True,
    title: str = "Audit for memorization",
) -> str:
    """The page of :func:`to_html` as text, with the same arguments."""
    rows = "".join(
        f"<tr><th scope='row'>{escape(name)}</th><td>{escape(text)}</td></tr>"
        for name, text in facts(report, published)
    )
    kind = "copies" if report.verdict == "copies" else ""
    parts = [
        f"<h1>{escape(title)}</h1>",
        '<p class="note">For research only. Not a medical device, not for diagnosis or treatment.</p>',
        f'<div class="verdict {kind}" id="verdict">{escape(report.sentence)}</div>',
        _section("numbers", "Numbers", f"<table><tbody>{rows}</tbody></table>"),
        _section("scores", "Scores", _histogram(report)),
        _section("pairs", "Nearest training cines", _pairs(report, pictures)) if pictures is not None else "",
        _section("samples", "Synthetic cines", _samples(report)),
        _section("notes", "Notes", _notes(report.notes)) if report.notes else "",
        _section("method", "How it was found", _METHOD),
        _section("provenance", "Provenance", _provenance(report)),
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(part for part in parts if part)
        + "\n</body>\n</html>\n"
    )


def _section(name: str, heading: str, content: str) -> str:
    return f'<section id="{name}">\n<h2>{escape(heading)}</h2>\n{content}\n</section>'


def _notes(notes: Sequence[str]) -> str:
    return f"<ul>{''.join(f'<li>{escape(note)}</li>' for note in notes)}</ul>"


def _provenance(report: AuditReport) -> str:
    entries = {
        "CardioDiT": report.version,
        "encoder": report.encoder_sha256 or "not known",
        "numbers of an embedding": report.dimension,
        "seed": report.seed,
    }
    rows = (f"<tr><th scope='row'>{key}</th><td>{escape(str(value))}</td></tr>" for key, value in entries.items())
    return f"<table><tbody>{''.join(rows)}</tbody></table>"


def _histogram(report: AuditReport) -> str:
    """Scores of synthetic cines above the line, those of calibrating patients below it, as vector graphics."""
    synthetic = np.array([one.score for one in report.samples])
    real = np.array(report.scores_calibration)
    low = float(min(synthetic.min(), real.min()))
    high = float(max(synthetic.max(), real.max(), report.threshold or -1.0))
    low, high = low - 0.02 * (high - low + 1e-6), high + 0.02 * (high - low + 1e-6)
    edges = np.linspace(low, high, _BINS + 1)
    shares = [np.histogram(values, edges)[0] / len(values) for values in (synthetic, real)]
    tallest = max(float(part.max()) for part in shares)
    width, half = 900.0, 110.0
    wide = width / _BINS
    bars = []
    for part, colour, up in ((shares[0], _SYNTHETIC, True), (shares[1], _REAL, False)):
        for i, value in enumerate(part):
            height = half * float(value) / tallest
            if height > 0:
                y = half - height if up else half
                bars.append(
                    f'<rect x="{i * wide + 1:.1f}" y="{y:.1f}" width="{wide - 2:.1f}" height="{height:.1f}" '
                    f'fill="{colour}"/>'
                )
    if report.threshold is not None:
        x = width * (report.threshold - low) / (high - low)
        bars.append(
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{2 * half:.0f}" stroke="#222" stroke-dasharray="5 4"/>'
        )
    ticks = "".join(
        f'<text x="{width * (value - low) / (high - low):.1f}" y="{2 * half + 16:.0f}" font-size="12" '
        f'text-anchor="middle" fill="#222">{value:.3f}</text>'
        for value in np.linspace(low, high, 7)[1:-1]
    )
    picture = (
        f'<svg viewBox="0 0 {width:.0f} {2 * half + 22:.0f}" role="img" aria-label="Histogram of scores">'
        f'<line x1="0" x2="{width:.0f}" y1="{half}" y2="{half}" stroke="#8A8A8A"/>{"".join(bars)}{ticks}</svg>'
    )
    caption = (
        f'<span style="color:{_SYNTHETIC}">■</span> synthetic cines (up) &nbsp; <span style="color:{_REAL}">■</span> '
        "calibrating real patients (down, from their percentiles) &nbsp; dashed: threshold. Correlation with the "
        "nearest training cine."
    )
    return f"<figure>{picture}<figcaption>{caption}</figcaption></figure>"


def _nearest_first(report: AuditReport) -> list[SampleVerdict]:
    return sorted(report.samples, key=lambda one: (-one.score, one.index))


def _pairs(report: AuditReport, pictures: PictureOf) -> str:
    figures = []
    for one in _nearest_first(report)[:MOST_PAIRS]:
        made, real = (data_address(picture) for picture in pictures(one))
        word = "copy" if one.copy else "no copy"
        figures.append(
            f'<figure><img src="{made}" alt="synthetic"> <img src="{real}" alt="training"><figcaption>'
            f"synthetic {_named(one.index, one.name)} | training {_named(one.nearest_index, one.nearest_name)}: "
            f"{one.score:.4f}, p = {one.p_value:.3g}, {word}</figcaption></figure>"
        )
    return (
        f'<p class="note">The {len(figures)} nearest pairs, middle slice of frame 0. '
        "This page shows training patients.</p>"
        f'<div class="pairs">{"".join(figures)}</div>'
    )


def _named(index: int, name: str) -> str:
    return f"{index} ({escape(name)})" if name else str(index)


def _samples(report: AuditReport) -> str:
    shown = _nearest_first(report)[:_MOST_ROWS]
    rows = "".join(
        f"<tr><td>{_named(one.index, one.name)}</td><td><code>{one.hash}</code></td><td>{one.score:.4f}</td>"
        f"<td>{one.p_value:.3g}</td><td>{'copy' if one.copy else ''}</td>"
        f"<td>{_named(one.nearest_index, one.nearest_name)}</td><td><code>{one.nearest_hash}</code></td></tr>"
        for one in shown
    )
    rest = len(report.samples) - len(shown)
    more = f'<p class="note">{rest} more are in the JSON and CSV.</p>' if rest else ""
    names = ("No.", "Hash", "Score", "p", "", "Nearest", "Its hash")
    head = "".join(f"<th>{name}</th>" for name in names)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>{more}"

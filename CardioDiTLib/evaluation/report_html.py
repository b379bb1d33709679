"""A comparison of a synthetic cohort with a real one as one HTML page that needs nothing from elsewhere."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from CardioDiTLib.evaluation.synthesis_report import QuantityComparison, SetNumber, Spread, SynthesisReport
from CardioDiTLib.evaluation.tables import BETTER_WORDS, SET_TITLES, closing_lines, short
from CardioDiTLib.function.function_report import printed
from CardioDiTLib.reporting.chart import beside_band, box
from CardioDiTLib.reporting.colours import REAL_COLOUR, SYNTHETIC_COLOUR
from CardioDiTLib.reporting.page import NOT_FOR_DIAGNOSIS, bullets, cards, facts, key, page, section, table, tag
from CardioDiTLib.reporting.tables import write_text

COLOURS = {True: "#00563F", False: "#B8480A", None: "#57606A"}
"""Of a number within its floor, outside of it, and where that is not known."""

_METHOD = (
    "Floor: the same number between random halves of the real cohort, at the size that is named; the grey band of a "
    "picture is its 5 to 95 %, the line in it its median. A dot in the band is what real cines are among themselves.",
    "At one size: most of these numbers depend on how many cines there are. The dot is the median of as many synthetic "
    "cines against the same real half that the floor is made with.",
    "Distributions: lines reach from 5 to 95 % of the cines, boxes from 25 to 75 %, the stroke is the median; both "
    "cohorts of a row are drawn on one axis.",
    "Wasserstein: how far the values of one cohort have to be moved to become those of the other, on average, in the "
    "unit of the quantity.",
    "Within the floor does not mean equal: with few cines the floor is wide, and little can be told apart.",
)


def to_html(report: SynthesisReport, path: str | os.PathLike[str], *, title: str = "Synthetic and real cines") -> Path:
    """Write a comparison as one HTML file.

    Args:
        report: The comparison.
        path: The file.
        title: Heading.

    Raises:
        CardioDiTError: The file cannot be written.
    """
    return write_text(html_page(report, title=title), path)


def html_page(report: SynthesisReport, *, title: str = "Synthetic and real cines") -> str:
    """The page of :func:`to_html` as text, with the same arguments."""
    parts = [section("about", "What was compared", facts(_about(report))), _verdict(report), _first(report)]
    for group in dict.fromkeys(one.group for one in report.quantities):
        for kind in ("physiology", "coherence"):
            chosen = [
                one
                for one in report.quantities
                if one.group == group and one.kind == kind and (one.real.n or one.synthetic.n)
            ]
            if chosen:
                heading = f"{kind.capitalize()}{f' of {group}' if group else ''}"
                parts.append(section(f"{kind}-{len(parts)}", heading, _quantities(chosen)))
    for feature, numbers in report.sets.items():
        heading = "Physiology as a whole" if feature == "physiology" else f"Pictures by the feature '{feature}'"
        parts.append(section(f"set-{len(parts)}", heading, _set(numbers)))
    parts += [
        section("notes", "Notes", bullets(closing_lines(report))),
        section("method", "How to read it", bullets(_METHOD, "note")),
    ]
    return page(title, parts, kind="Evaluation of synthesis", under=NOT_FOR_DIAGNOSIS, version=report.version)


def _about(report: SynthesisReport) -> list[tuple[str, str]]:
    return [
        ("real", f"{report.real_name}: {report.n_real} cines, {report.n_real_labelled} with labels"),
        (
            "synthetic",
            f"{report.synthetic_name}: {report.n_synthetic} cines, {report.n_synthetic_labelled} with labels",
        ),
        ("floors", f"{report.resamples} random halves of the real cohort, seed {report.seed}"),
        ("neighbours", f"{report.neighbours} for precision, recall, density and coverage"),
        ("heart box", f"on the {report.centre}"),
    ]


def _judged(numbers: Iterable[tuple[str, str, SetNumber]]) -> list[bool]:
    """Whether each number lies within its floor, of those of which that is known."""
    return [number.within_floor for _, _, number in numbers if number.within_floor is not None]


def outside_words(numbers: Iterable[tuple[str, str, SetNumber]]) -> str:
    """How many of how many numbers lie outside of their floors."""
    known = _judged(numbers)
    return f"{len(known) - sum(known)} of {len(known)}" if known else "–"


def within_tag(number: SetNumber) -> str:
    """The word beside a number."""
    words = {True: tag("within", "good"), False: tag("outside", "warn"), None: tag("not known", "none")}
    return words[number.within_floor]


def _verdict(report: SynthesisReport) -> str:
    judged = _judged(report.numbers())
    if not judged:
        style, text = " warn", "Too few cines to put any number beside a floor."
    else:
        outside = len(judged) - sum(judged)
        style = " warn" if outside else ""
        text = (
            f"{outside} of {len(judged)} numbers lie outside of what halves of the real cohort are among themselves."
            if outside
            else f"All {len(judged)} numbers lie within what halves of the real cohort are among themselves."
        )
    size = max((n.n_matched for part in report.sets.values() for n in part.values()), default=0)
    more = f"<p>Compared with {size} cines a side: small differences cannot be seen.</p>" if 0 < size < 20 else ""
    return f'<div class="verdict{style}" id="verdict">{escape(text)}{more}</div>'


def _first(report: SynthesisReport) -> str:
    return cards(
        [
            ("real cines", str(report.n_real), "", f"{report.n_real_labelled} with labels"),
            ("synthetic cines", str(report.n_synthetic), "", f"{report.n_synthetic_labelled} with labels"),
            ("physiology", outside_words(report.numbers("physiology")), "", "outside of the floor"),
            ("coherence", outside_words(report.numbers("coherence")), "", "outside of the floor"),
            ("sets", outside_words(report.numbers("sets")), "", "outside of the floor"),
            ("near duplicates", str(len(report.duplicates)), "", "pairs of synthetic cines"),
        ]
    )


def _quantities(chosen: Sequence[QuantityComparison]) -> str:
    sizes = sorted({one.distance.n_matched for one in chosen if one.distance.n_matched})
    size = f"Floors of {' or '.join(map(str, sizes))} cines a side." if sizes else ""
    legend = f'<p class="note">{key([("real", REAL_COLOUR), ("synthetic", SYNTHETIC_COLOUR)])}{size}</p>'
    header = (
        "",
        "real: median (5..95 %), n",
        "synthetic",
        "distributions",
        "distance",
        "floor",
        "beside its floor",
        "",
    )
    rows = []
    for one in chosen:
        title = f"{one.title}, {one.unit}" if one.unit else one.title
        rows.append(
            f"<tr><th scope='row'>{escape(title)}</th><td>{_spread(one.real, one.digits)}</td>"
            f"<td>{_spread(one.synthetic, one.digits)}</td><td>{_boxes(one)}</td>{_cells(one.distance)}</tr>"
        )
    return legend + table(header, rows, numbers=(4,), style="wide")


def _set(numbers: dict[str, SetNumber]) -> str:
    header = ("", "", "value", "floor", "beside its floor", "")
    rows = [
        f"<tr><th scope='row'>{escape(SET_TITLES.get(name, name))}</th>"
        f'<td class="reason">{escape(BETTER_WORDS[number.better])}</td>{_cells(number)}</tr>'
        for name, number in numbers.items()
    ]
    sizes = sorted({number.n_matched for number in numbers.values() if number.n_matched})
    size = f'<p class="note">Floors of {" or ".join(map(str, sizes))} cines a side.</p>' if sizes else ""
    return size + table(header, rows, numbers=(2,), style="wide")


def _spread(part: Spread, digits: int) -> str:
    missing = f' <span class="reason">(-{part.missing})</span>' if part.missing else ""
    if not part.n:
        return f"– 0{missing}"
    low, middle, high = (printed(value, digits) for value in (part.p05, part.median, part.p95))
    return f'<strong>{middle}</strong> <span class="reason">({low}..{high})</span>, {part.n}{missing}'


def _boxes(one: QuantityComparison) -> str:
    parts = (one.real, one.synthetic)
    known = [value for part in parts for value in (part.p05, part.p95) if math.isfinite(value)]
    if not known:
        return ""
    limits = min(known), max(known)
    return "".join(
        box((part.p05, part.p25, part.median, part.p75, part.p95), limits, colour)
        for part, colour in zip(parts, (REAL_COLOUR, SYNTHETIC_COLOUR))
    )


def _cells(number: SetNumber) -> str:
    """Value, floor, picture and word of a number."""
    value = short(number.value)
    if math.isfinite(number.low):
        value += f"<br><span class='reason'>{short(number.low)} to {short(number.high)}</span>"
    floor = "–"
    if math.isfinite(number.floor_median):
        floor = (
            f"{short(number.floor_median)} <span class='reason'>({short(number.floor_low)}.."
            f"{short(number.floor_high)})</span>"
        )
    band = beside_band(
        number.matched, (number.floor_low, number.floor_median, number.floor_high), COLOURS[number.within_floor]
    )
    same = f"<span class='reason'>{short(number.matched)}</span>" if band else ""
    return f'<td class="number">{value}</td><td>{floor}</td><td>{band}{same}</td><td>{within_tag(number)}</td>'

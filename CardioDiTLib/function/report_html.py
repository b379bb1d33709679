"""One HTML file about the function of one heart: everything is inside it, so it works without a network."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np

from CardioDiTLib.cine import Cine, LandmarkTrack, Segmentation
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.function.aha import SEGMENT_NAMES
from CardioDiTLib.function.bullseye import bullseyes_png
from CardioDiTLib.function.curves import phases_of_report, septal_curves_svg, volume_curves_svg
from CardioDiTLib.function.function_report import (
    LEFT,
    RIGHT,
    SEGMENTS,
    TIME,
    WALL,
    FunctionReport,
    Quantity,
    printed,
    reason_for,
)
from CardioDiTLib.function.montage import CONTOUR_NAMES, SlicePictures, landmarks_still, montage_film
from CardioDiTLib.function.timing import MIN_CYCLE_FRAMES, nominal_times
from CardioDiTLib.reporting.colours import ANTERIOR_COLOUR, INFERIOR_COLOUR
from CardioDiTLib.reporting.page import NOT_FOR_DIAGNOSIS, bullets, cards, facts, figure, key, page, picture, section
from CardioDiTLib.reporting.provenance import readable
from CardioDiTLib.reporting.tables import write_text

_METHOD = """<ul class="note">
<li>Volumes: sum of discs, labelled area times the distance between slices, gaps included. The labels decide which
slices belong to the ventricles at the base; slices that the valve plane or the tip cuts count in full as labelled.</li>
<li>ED and ES: frames of the largest and the smallest labelled volume, of each ventricle on its own.</li>
<li>Rates: derivative of a periodic Fourier series of at most four harmonics, fitted to the frames.</li>
<li>Mass: labelled myocardium at ED, 1.05 g/mL.</li>
<li>Wall thickness: in the slice plane across the mid-wall line, in slices with a closed ring. Near the apex the wall
is slanted against the slice and appears thicker than it is.</li>
<li>Segments: American Heart Association (Cerqueira et al., Circulation 2002), thirds of the slices with a closed ring
at ED and at ES; the septum reaches from the anterior to the inferior insertion point.</li>
</ul>"""


def to_html(
    report: FunctionReport,
    path: str | os.PathLike[str],
    segmentation: Segmentation,
    *,
    cine: Cine | None = None,
    landmarks: LandmarkTrack | None = None,
    title: str = "Cardiac function",
) -> Path:
    """Write a report as one HTML file with its pictures inside.

    Args:
        report: What was measured.
        path: The file.
        segmentation: What it was measured on.
        cine: Images under the contours; without it the labels are drawn in grey.
        landmarks: Insertion points to draw.
        title: Heading, such as the name of the cine.

    Returns:
        The path.

    Raises:
        CardioDiTError: Matplotlib or Pillow is not installed, cine, landmarks, report and segmentation do not belong
            together, or the file cannot be written.
    """
    return write_text(html_page(report, segmentation, cine=cine, landmarks=landmarks, title=title), path)


def html_page(
    report: FunctionReport,
    segmentation: Segmentation,
    *,
    cine: Cine | None = None,
    landmarks: LandmarkTrack | None = None,
    title: str = "Cardiac function",
) -> str:
    """The page of :func:`to_html` as text, with the same arguments and errors."""
    if len(report.frame_times_s) != segmentation.n_frames or len(report.ring_thickness_ed_mm) != segmentation.n_slices:
        raise CardioDiTError("The report was not made of this segmentation.", "Give the segmentation it was made of.")
    if landmarks is not None and (landmarks.n_frames, landmarks.n_slices) != segmentation.shape[:2]:
        raise CardioDiTError("The landmarks are not those of this segmentation.", "Give those that were measured.")
    synthetic = report.synthetic or bool(cine is not None and cine.meta.get("synthetic"))
    pictures = SlicePictures(segmentation, cine)
    parts = [
        _first(report),
        section("volumes", "Volumes and function", _volumes(report)),
        section("curve", "Volume over the cycle", _curve(report)),
        section("montage", "Slices", _montage(report, pictures, segmentation, cine, title, synthetic)),
        section("wall", "Wall thickness by segments", _wall(report)),
        section(
            "landmarks", "Right-ventricular insertion points", _landmarks(report, pictures, segmentation, landmarks)
        ),
        section("notes", "Notes", bullets(report.notes)),
        section("method", "How it was measured", _METHOD),
        section("provenance", "Provenance", _provenance(report, segmentation)),
    ]
    return page(
        title,
        parts,
        kind="Report of cardiac function",
        under=NOT_FOR_DIAGNOSIS,
        synthetic=synthetic,
        version=report.version,
    )


def _first(report: FunctionReport) -> str:
    """The numbers to see first."""
    shown = []
    for side, quantities in (("LV", LEFT), ("RV", RIGHT), ("LV", WALL)):
        for quantity in quantities:
            if quantity.field not in _FIRST:
                continue
            value = float(getattr(report, quantity.field))
            name = quantity.name if quantity.name.startswith("LV") else f"{side} {_lower(quantity.name)}"
            more = "" if math.isfinite(value) else "not measured, see below"
            shown.append((name, printed(value, quantity.digits), quantity.unit if not more else "", more))
    return cards(shown)


_FIRST = ("ef_percent", "edv_ml", "esv_ml", "lv_mass_g", "rv_ef_percent", "rv_edv_ml")


def _lower(name: str) -> str:
    return name[:1].lower() + name[1:]


def _table(report: FunctionReport, caption: str, quantities: Sequence[Quantity]) -> str:
    rows = []
    for quantity in quantities:
        value = float(getattr(report, quantity.field))
        number = f'<td class="number">{printed(value, quantity.digits)}</td>'
        after = f'<td class="unit">{escape(quantity.unit)}</td>'
        if not math.isfinite(value):
            after = f'<td class="reason">{escape(reason_for(report, quantity.field))}</td>'
        rows.append(f"<tr><th scope='row'>{escape(quantity.name)}</th>{number}{after}</tr>")
    return f"<table><caption>{escape(caption)}</caption><tbody>{''.join(rows)}</tbody></table>"


def _volumes(report: FunctionReport) -> str:
    left, right = _table(report, "Left ventricle", LEFT), _table(report, "Right ventricle", RIGHT)
    wall, time = _table(report, "Left-ventricular wall", WALL), _table(report, "Time", TIME)
    return f'<div class="pair"><div>{left}</div><div>{right}</div><div>{wall}</div><div>{time}</div></div>'


def _curve(report: FunctionReport) -> str:
    said = [f"{name} in frame {frame}" for name, frame in _phases(report)]
    said += [f"RV {name} in frame {frame}" for name, frame in _phases(report, "rv_")]
    caption = (f"{', '.join(said)} of {len(report.frame_times_s)}, counted from 0. " if said else "") + (
        "Dots: frames, as labelled. Lines: the periodic curve that the rates come from."
        if len(report.frame_times_s) >= MIN_CYCLE_FRAMES
        else "Dots: frames, as labelled."
    )
    extra = [f"{name}: {reason_for(report, f)}" for name, f in (("LV", "lv_volume_ml"), ("RV", "rv_volume_ml"))]
    extra = [text for text in extra if not text.endswith(": ")]
    return figure(volume_curves_svg(report), escape(" ".join([caption, *extra])))


def _phases(report: FunctionReport, prefix: str = "") -> list[tuple[str, int]]:
    frames = (("ED", getattr(report, f"{prefix}ed_frame")), ("ES", getattr(report, f"{prefix}es_frame")))
    return [(name, frame) for name, frame in frames if frame is not None]


def _montage(
    report: FunctionReport,
    pictures: SlicePictures,
    segmentation: Segmentation,
    cine: Cine | None,
    title: str,
    synthetic: bool,
) -> str:
    mark = "synthetic / research only" if synthetic else "research only"
    film, kind = montage_film(pictures, segmentation, phases_of_report(report), title=title, mark=mark)
    caption = key(((name, light) for name, _, light in CONTOUR_NAMES), "▬")
    caption += "Slices are numbered from 1 in the order of the file and shown as stored; frames are counted from 0."
    if nominal_times(report.meta):
        caption += f" Times: {escape(nominal_times(report.meta))}."
    if cine is None:
        caption += " No images were given: the labels are shown in grey."
    return figure(picture(film, kind, "All slices with contours, beating"), caption, "films")


def _wall(report: FunctionReport) -> str:
    shown = [getattr(report, quantity.field) for quantity in SEGMENTS]
    if not any(np.isfinite(values).any() for values in shown):
        return f'<p class="reason">No segments: {escape(reason_for(report, "segment_thickness_ed_mm"))}</p>'
    shown_as = picture(bullseyes_png(report), "png", "Bullseye of the AHA segments")
    head = "".join(f"<th class='number'>{escape(q.name)} ({escape(q.unit)})</th>" for q in SEGMENTS)
    rows: list[str] = []
    reasons: dict[str, int] = {}
    for i, name in enumerate(SEGMENT_NAMES):
        cells = []
        for quantity, values in zip(SEGMENTS, shown):
            if not math.isfinite(values[i]):
                mark = reasons.setdefault(reason_for(report, quantity.field, i + 1), len(reasons) + 1)
                cells.append(f'<td class="number">–<sup>{mark}</sup></td>')
            else:
                cells.append(f'<td class="number">{printed(values[i], quantity.digits)}</td>')
        rows.append(f"<tr><td>{i + 1}</td><th scope='row'>{escape(name)}</th>{''.join(cells)}</tr>")
    below = "".join(f'<p class="reason"><sup>{mark}</sup> {escape(text)}</p>' for text, mark in reasons.items())
    caption = "Base outside, apex inside; anterior wall on top, septum on the left."
    table = f"<table><thead><tr><th>No.</th><th>Segment</th>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    return figure(shown_as, caption) + table + below


def _landmarks(
    report: FunctionReport, pictures: SlicePictures, segmentation: Segmentation, landmarks: LandmarkTrack | None
) -> str:
    if landmarks is None:
        return f'<p class="reason">{escape(reason_for(report, "septal_length_mm"))}</p>'
    phases = _phases(report) or [("Frame 0", 0)]
    still, kind = landmarks_still(pictures, segmentation, landmarks, phases)
    caption = key([("anterior", ANTERIOR_COLOUR)], "▲") + key([("inferior", INFERIOR_COLOUR)], "●")
    result = figure(picture(still, kind, "Insertion points at end-diastole and end-systole"), caption, "films")
    if np.isfinite(report.septal_length_mm).any():
        text = (
            "Line from the anterior to the inferior point in the slice plane: angle from the patient's left, "
            "counter-clockwise seen from the apex, and length; means over the slices that hold both points throughout."
        )
        result += figure(septal_curves_svg(report), text)
    reasons = dict.fromkeys(reason_for(report, name) for name in ("septal_angle_deg", "septal_length_mm"))
    return result + "".join(f'<p class="reason">{escape(reason)}</p>' for reason in reasons if reason)


def _provenance(report: FunctionReport, segmentation: Segmentation) -> str:
    frames, slices, rows, columns = segmentation.shape
    sx, sy, sz = segmentation.spacing
    entries = [
        ("CardioDiT", report.version),
        ("grid", f"{columns} x {rows} pixels, {slices} slices, {frames} frames"),
        ("spacing", f"{sx:.3g} x {sy:.3g} mm, {sz:.3g} mm from slice to slice"),
    ]
    # what a generator or a file says may have the name of what was measured here; it never takes its place
    taken = {name for name, _ in entries}
    for name, text in readable(report.to_dict()["meta"]):
        entries.append((f"{name} (source)" if name in taken else name, text))
    return facts(entries, "facts provenance")

"""One HTML file about the function of one heart: everything is inside it, so it works without a network."""

from __future__ import annotations

import base64
import json
import math
import os
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from CardioDiTLib.cine import Cine, LandmarkTrack, Segmentation
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.function.aha import SEGMENT_NAMES
from CardioDiTLib.function.bullseye import bullseyes_png
from CardioDiTLib.function.curves import septal_curves_png, volume_curves_png
from CardioDiTLib.function.function_report import FunctionReport
from CardioDiTLib.function.montage import CONTOUR_NAMES, SlicePictures, landmarks_png, montage_gif
from CardioDiTLib.function.quantities import LEFT, RIGHT, SEGMENTS, TIME, WALL, Quantity, printed, reason_for
from CardioDiTLib.function.style import ANTERIOR_COLOUR, INFERIOR_COLOUR
from CardioDiTLib.function.timing import MIN_CYCLE_FRAMES
from CardioDiTLib.io.atomic import atomic_path

_STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.45 system-ui, -apple-system, "Segoe UI", Helvetica, Arial, sans-serif; color: #222;
  background: #fff; max-width: 1000px; margin: 24px auto; padding: 0 20px; }
h1 { font-size: 24px; margin: 0 0 4px; overflow-wrap: anywhere; }
h2 { font-size: 17px; margin: 32px 0 8px; border-bottom: 1px solid #ccc; padding-bottom: 4px; }
.banner { background: #fff3cd; border: 2px solid #b58900; padding: 10px 14px; font-weight: 600; margin: 0 0 18px; }
.use { color: #555; margin: 0; }
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: 28px; }
table { border-collapse: collapse; width: 100%; }
caption { text-align: left; font-weight: 600; padding: 4px 0; }
th, td { text-align: left; padding: 3px 10px 3px 0; border-bottom: 1px solid #eee; vertical-align: top;
  font-weight: 400; }
thead th { color: #555; font-size: 13px; border-bottom: 1px solid #bbb; }
td.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; width: 1%; }
td.unit { color: #555; white-space: nowrap; }
.reason, figcaption, .note { color: #555; font-size: 13px; }
td.reason { max-width: 32ch; }
figure { margin: 8px 0 0; }
figure img { max-width: 100%; height: auto; display: block; }
.films img { background: #000; width: 100%; }
.sign { -webkit-text-stroke: 0.4px #333; }
.key { white-space: nowrap; margin-right: 14px; }
.provenance td { overflow-wrap: anywhere; font-size: 13px; }
@media (max-width: 700px) { .pair { grid-template-columns: 1fr; } }
@media print { body { max-width: none; margin: 0; } h2, figure, tr { break-inside: avoid; } }
"""

_NOT_FOR_DIAGNOSIS = "For research only. Not a medical device, not for diagnosis or treatment."


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
    text = html_page(report, segmentation, cine=cine, landmarks=landmarks, title=title)
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return Path(path)


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
        _banner(synthetic),
        f"<h1>{escape(title)}</h1>",
        f'<p class="use">{_NOT_FOR_DIAGNOSIS}</p>',
        _section("volumes", "Volumes and function", _volumes(report)),
        _section("curve", "Volume over the cycle", _curve(report)),
        _section("montage", "Slices", _montage(pictures, segmentation, cine)),
        _section("wall", "Wall thickness by segments", _wall(report)),
        _section(
            "landmarks", "Right-ventricular insertion points", _landmarks(report, pictures, segmentation, landmarks)
        ),
        _section("notes", "Notes", _notes(report)) if report.notes else "",
        _section("method", "How it was measured", _METHOD),
        _section("provenance", "Provenance", _provenance(report, segmentation)),
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(part for part in parts if part)
        + "\n</body>\n</html>\n"
    )


def _banner(synthetic: bool) -> str:
    if not synthetic:
        return ""
    return (
        '<div class="banner" id="synthetic">Synthetic / research only: '
        "this heart was made by software and is nobody's. No number here is about a patient.</div>"
    )


def _section(name: str, heading: str, content: str) -> str:
    return f'<section id="{name}">\n<h2>{escape(heading)}</h2>\n{content}\n</section>'


def _picture(data: bytes, kind: str, alternative: str) -> str:
    encoded = base64.b64encode(data).decode("ascii")
    return f'<img src="data:image/{kind};base64,{encoded}" alt="{escape(alternative, quote=True)}">'


def _figure(picture: str, caption: str = "", style: str = "") -> str:
    below = f"<figcaption>{caption}</figcaption>" if caption else ""
    return f'<figure class="{style}">{picture}{below}</figure>'


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
    return _figure(_picture(volume_curves_png(report), "png", "Volume over time"), escape(" ".join([caption, *extra])))


def _phases(report: FunctionReport, prefix: str = "") -> list[tuple[str, int]]:
    frames = (("ED", getattr(report, f"{prefix}ed_frame")), ("ES", getattr(report, f"{prefix}es_frame")))
    return [(name, frame) for name, frame in frames if frame is not None]


def _key(entries: Iterable[tuple[str, str]], sign: str = "▬") -> str:
    return "".join(
        f'<span class="key"><span class="sign" style="color:{colour}">{sign}</span> {escape(name)}</span>'
        for name, colour in entries
    )


def _montage(pictures: SlicePictures, segmentation: Segmentation, cine: Cine | None) -> str:
    caption = _key((name, light) for name, _, light in CONTOUR_NAMES)
    caption += "Slices are numbered in the order of the file and shown as stored."
    if cine is None:
        caption += " No images were given: the labels are shown in grey."
    film = _picture(montage_gif(pictures, segmentation), "gif", "All slices with contours, beating")
    return _figure(film, caption, "films")


def _wall(report: FunctionReport) -> str:
    shown = [getattr(report, quantity.field) for quantity in SEGMENTS]
    if not any(np.isfinite(values).any() for values in shown):
        return f'<p class="reason">No segments: {escape(reason_for(report, "segment_thickness_ed_mm"))}</p>'
    picture = _picture(bullseyes_png(report), "png", "Bullseye of the AHA segments")
    head = "".join(f"<th>{escape(q.name)} ({escape(q.unit)})</th>" for q in SEGMENTS)
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
    return _figure(picture, caption) + table + below


def _landmarks(
    report: FunctionReport, pictures: SlicePictures, segmentation: Segmentation, landmarks: LandmarkTrack | None
) -> str:
    if landmarks is None:
        return f'<p class="reason">{escape(reason_for(report, "septal_length_mm"))}</p>'
    phases = _phases(report) or [("Frame 1", 0)]
    picture = landmarks_png(pictures, segmentation, landmarks, phases)
    caption = _key([("anterior", ANTERIOR_COLOUR)], "▲") + _key([("inferior", INFERIOR_COLOUR)], "●")
    result = _figure(_picture(picture, "png", "Insertion points at end-diastole and end-systole"), caption, "films")
    if np.isfinite(report.septal_length_mm).any():
        text = (
            "Line from the anterior to the inferior point in the slice plane: angle from the patient's left, "
            "counter-clockwise seen from the apex, and length; means over the slices that hold both points throughout."
        )
        result += _figure(_picture(septal_curves_png(report), "png", "Septal angle and length over time"), text)
    reasons = dict.fromkeys(reason_for(report, name) for name in ("septal_angle_deg", "septal_length_mm"))
    return result + "".join(f'<p class="reason">{escape(reason)}</p>' for reason in reasons if reason)


def _notes(report: FunctionReport) -> str:
    return f"<ul>{''.join(f'<li>{escape(note)}</li>' for note in report.notes)}</ul>"


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


_META_NAMES = {"spacing": "spacing of denoising steps"}


def _provenance(report: FunctionReport, segmentation: Segmentation) -> str:
    frames, slices, rows, columns = segmentation.shape
    sx, sy, sz = segmentation.spacing
    entries = {
        "CardioDiT": report.version,
        "grid": f"{columns} x {rows} pixels, {slices} slices, {frames} frames",
        "spacing": f"{sx:.3g} x {sy:.3g} mm, {sz:.3g} mm from slice to slice",
    }
    # what a generator or a file says may have the name of what was measured here; it never takes its place
    for key, value in report.to_dict()["meta"].items():
        entries[_META_NAMES.get(key, key if key not in entries else f"{key} (source)")] = _shown(value)
    lines = "".join(
        f"<tr><th scope='row'>{escape(str(key))}</th><td>{escape(str(value))}</td></tr>"
        for key, value in entries.items()
    )
    return f'<table class="provenance"><tbody>{lines}</tbody></table>'


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)

"""One synthetic heart as one HTML page: film, ends of the beat, volumes where it has labels, provenance."""

from __future__ import annotations

import os
from html import escape
from pathlib import Path

import numpy as np

from CardioDiTLib.cine import Cine, Segmentation
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.generation.pictures import picture_labels, square_tiles
from CardioDiTLib.generation.result import GenerationResult
from CardioDiTLib.labels import LV, RV
from CardioDiTLib.reporting.chart import VolumeLine, volume_chart
from CardioDiTLib.reporting.colours import LV_COLOUR, RV_COLOUR
from CardioDiTLib.reporting.drawing import durations_ms, film_bytes, still_bytes
from CardioDiTLib.reporting.page import NOT_FOR_DIAGNOSIS, bullets, cards, facts, figure, page, picture, section
from CardioDiTLib.reporting.provenance import readable
from CardioDiTLib.reporting.sheet import film_images, phase_sheet_image
from CardioDiTLib.reporting.tables import write_text
from CardioDiTLib.version import __version__

_FILM_PIXELS, _FILM_BYTES, _SHEET_PIXELS = 960, 400_000, 1800


def to_html(result: GenerationResult, path: str | os.PathLike[str]) -> Path:
    """Write a synthetic heart as one HTML file with its pictures inside.

    Args:
        result: What was generated.
        path: The file.

    Returns:
        The path.

    Raises:
        CardioDiTError: Pillow is not installed, or the file cannot be written.
    """
    return write_text(html_page(result), path)


def html_page(result: GenerationResult) -> str:
    """The page of :func:`to_html` as text, with the same arguments and errors."""
    cine, segmentation = result.cine, result.segmentation
    if segmentation is not None and segmentation.shape != cine.shape:
        raise CardioDiTError("The labels are not those of the cine.", "Give a result as it was generated.")
    tiles, mm = square_tiles(cine)
    labels = picture_labels(cine, mm, segmentation)
    film, kind = film_bytes(
        film_images(tiles, labels, _FILM_PIXELS), durations_ms(cine.frame_times, cine.cycle_s), _FILM_BYTES
    )
    phases = dict(sorted(labels.phases.items()))
    shown = sorted(set(phases.values())) or [0]
    sheet, sheet_kind = still_bytes(phase_sheet_image(tiles[shown], shown, labels, _SHEET_PIXELS))
    parts = [
        _first(cine, segmentation, phases),
        section("film", "The beat", figure(picture(film, kind, "All slices, beating"), _CAPTION, "films")),
        section("curve", "Volume over the cycle", _curve(cine, segmentation, phases)),
        section(
            "phases",
            "End-diastole and end-systole" if phases else "First frame",
            figure(picture(sheet, sheet_kind, "All slices at the ends of the beat")),
        ),
        section("warnings", "Notes", bullets(result.warnings)),
        section("provenance", "Provenance", facts(readable(result.provenance), "facts provenance")),
    ]
    return page(
        result.name, parts, kind="Synthetic heart", under=NOT_FOR_DIAGNOSIS, synthetic=True, version=__version__
    )


_CAPTION = "Slices are numbered from 1, frames from 0. The frame times of a generated cine are nominal."


def _volumes(segmentation: Segmentation, label: int) -> np.ndarray:
    counts = (segmentation.array == label).sum(axis=(1, 2, 3)).astype(np.float64)
    return counts * segmentation.voxel_volume_ml if counts.any() else np.full(len(counts), np.nan)


def _first(cine: Cine, segmentation: Segmentation | None, phases: dict[str, int]) -> str:
    frames, slices, rows, columns = cine.shape
    sx, sy, sz = cine.spacing
    entries = []
    if segmentation is not None and len(phases) == 2:
        volume = _volumes(segmentation, LV)
        largest, smallest = (float(volume[phases[name]]) for name in ("ED", "ES"))
        entries += [
            ("LV end-diastolic volume", f"{largest:.0f}", "mL", f"frame {phases['ED']}"),
            ("LV end-systolic volume", f"{smallest:.0f}", "mL", f"frame {phases['ES']}"),
            ("LV ejection fraction", f"{100 * (largest - smallest) / largest:.0f}", "%", "of the labels made with it"),
        ]
    entries += [
        ("frames", str(frames), "", f"{cine.cycle_s:.2f} s a beat, nominal" if frames > 1 else ""),
        ("slices", str(slices), "", f"{sz:.3g} mm apart"),
        ("pixels", f"{columns} x {rows}", "", f"{sx:.3g} x {sy:.3g} mm"),
    ]
    return cards(entries)


def _curve(cine: Cine, segmentation: Segmentation | None, phases: dict[str, int]) -> str:
    if segmentation is None or cine.n_frames < 2:
        return ""
    lines = [
        VolumeLine("LV", _volumes(segmentation, LV), LV_COLOUR),
        VolumeLine("RV", _volumes(segmentation, RV), RV_COLOUR, True),
    ]
    chart = volume_chart(cine.frame_times * 1000.0, lines, phases, "time (ms, nominal)")
    return figure(
        chart,
        escape(
            "Labelled volume of each frame, by the labels that the model made with the heart; "
            "'cardiodit measure' measures more."
        ),
    )

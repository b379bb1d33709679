"""A quick look at anything: a figure of Matplotlib, which notebooks show by themselves."""

from __future__ import annotations

from typing import Any

import numpy as np

from CardioDiTLib.cine import Cine, Segmentation
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.function.curves import phases_of_report
from CardioDiTLib.function.function_report import FunctionReport
from CardioDiTLib.generation.pictures import MOST_PIXELS, picture_labels, square_tiles
from CardioDiTLib.generation.result import GenerationResult
from CardioDiTLib.reporting.colours import FAINT, INK, LV_COLOUR, RV_COLOUR
from CardioDiTLib.reporting.drawing import new_figure
from CardioDiTLib.reporting.sheet import contact_sheet_image, phases_of
from CardioDiTLib.workflow.measure import Measurement

_SHOWN = 8


def plot(what: Any, *, segmentation: Segmentation | None = None) -> Any:
    """Draw a cine (slices and frames), or the volumes of a report over the cycle.

    Args:
        what: A cine, what was generated or measured, a function report, or (with `cd.plot`) the path of a cine.
        segmentation: Labels of the cine: frames of end-diastole and end-systole are marked.

    Returns:
        A Matplotlib figure.

    Raises:
        CardioDiTError: Nothing that can be drawn, or Matplotlib or Pillow is not installed.

    Examples:
        >>> plot(result)  # doctest: +SKIP
        >>> plot(measure("heart.nii.gz")).savefig("volumes.png")  # doctest: +SKIP
    """
    if isinstance(what, GenerationResult):
        what, segmentation = what.cine, segmentation or what.segmentation
    if isinstance(what, Measurement):
        what = what.function
    if isinstance(what, FunctionReport):
        return _volumes(what)
    if isinstance(what, Segmentation):
        what = Cine(what.array.astype(np.float32), what.affine, what.frame_times, what.meta)
    if isinstance(what, Cine):
        return _sheet(what, segmentation)
    raise CardioDiTError(
        f"A {type(what).__name__} cannot be drawn.", "Give a cine, a result, a measurement, a report or a path."
    )


def _sheet(cine: Cine, segmentation: Segmentation | None) -> Any:
    tiles, mm = square_tiles(cine)
    frames = sorted(
        {int(t) for t in np.linspace(0, len(tiles), min(_SHOWN, len(tiles)), endpoint=False)}
        | set(phases_of(segmentation).values())
    )
    image = contact_sheet_image(tiles[frames], frames, picture_labels(cine, mm, segmentation), MOST_PIXELS)
    width = 11.0
    figure = new_figure(width, width * image.height / image.width)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.imshow(np.asarray(image.convert("RGB")))
    axes.axis("off")
    return figure


def _volumes(report: FunctionReport) -> Any:
    figure = new_figure(7.2, 3.4)
    axes = figure.subplots()
    times = report.frame_times_s * 1000.0
    for name, volume, colour, marker in (
        ("LV", report.lv_volume_ml, LV_COLOUR, "o-"),
        ("RV", report.rv_volume_ml, RV_COLOUR, "s-"),
    ):
        if np.isfinite(volume).any():
            axes.plot(times, volume, marker, color=colour, markersize=4, label=name)
    for name, frame in phases_of_report(report).items():
        axes.axvline(times[frame], color=FAINT, linewidth=0.9, linestyle=(0, (4, 3)), zorder=0)
        axes.annotate(name, (times[frame], 1.0), xycoords=("data", "axes fraction"), va="top", color=INK)
    axes.set(xlabel="time (ms)", ylabel="volume (mL)", ylim=(0, None))
    axes.spines[["top", "right"]].set_visible(False)
    if axes.lines:
        axes.legend(frameon=False)
    return figure

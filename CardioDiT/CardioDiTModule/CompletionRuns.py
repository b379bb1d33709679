"""The runs of the section Complete and vary: what each sends to the worker, and what it makes of the answer. They take
what those of `MeasurementRuns` take.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from slicer.i18n import tr as _

from .BrowserSequences import cineName, requireCine
from .CineReader import cineFileSteps
from .GenerationRun import cinesSteps, warningsOf
from .MeasurementRuns import SEGMENTATION_MODEL_SETTING, modelSetting
from .SegmentationSequence import SegmentationSequence
from .WorkerClient import WorkerClient
from .WorkerRun import Later, WorkerRun


def completionRun(
    worker: WorkerClient,
    later: Later,
    browser: Any,
    *,
    missingSlices: str = "",
    missingFrames: str = "",
    onSource: bool = False,
    settings: dict[str, Any] | None = None,
    **callbacks: Any,
) -> WorkerRun:
    """Fill slices and frames of a cine that nobody recorded; the result is ``browsers`` (one a completion) and
    ``warnings``.

    Args:
        browser: Its segmentation, where there is one, says how the heart lies.
        missingSlices, missingFrames: Text such as "1,3,5" or "4-7", counted from 0.
        onSource: On the grid of the cine, where nothing else is touched; otherwise on that of the model.
        settings: bundle, device, seed, count, pathology, guidance, preset, steps, edv_ml and the like; what is absent
            or None as usual.
    """
    asked = {"missing_slices": missingSlices, "missing_frames": missingFrames, "on_source": bool(onSource)}
    title = _("Completed {cine}")
    return _run(worker, later, browser, "complete", asked, settings, title, callbacks)


def variationRun(
    worker: WorkerClient,
    later: Later,
    browser: Any,
    *,
    strength: float = 0.5,
    settings: dict[str, Any] | None = None,
    **callbacks: Any,
) -> WorkerRun:
    """Hearts like the one of a cine; result and arguments as for `completionRun`.

    Args:
        strength: 0 (only coded and decoded) to 1 (nothing of it is kept).
        settings: As for `completionRun`.
    """
    title = _("Variation of {cine}")
    return _run(worker, later, browser, "vary", {"strength": float(strength)}, settings, title, callbacks)


def _run(
    worker: WorkerClient,
    later: Later,
    browser: Any,
    command: str,
    asked: dict[str, Any],
    settings: dict[str, Any] | None,
    title: str,
    callbacks: dict[str, Any],
) -> WorkerRun:
    segmentation = SegmentationSequence(browser)

    def prepare(folder: str) -> Iterator[Any]:
        requireCine(browser)
        cine = yield from cineFileSteps(browser, folder)
        order: dict[str, Any] = {"cine": cine, "folder": folder, **asked}
        order |= {name: value for name, value in (settings or {}).items() if value is not None}
        order |= modelSetting("segmentation_weights", SEGMENTATION_MODEL_SETTING)
        if segmentation.sequence is not None:
            order["segmentation"] = yield from segmentation.readSteps(folder)
        return order

    def build(values: dict[str, Any]) -> Iterator[Any]:
        requireCine(browser)
        name = title.format(cine=cineName(browser))
        made = yield from cinesSteps([{**cine, "name": name} for cine in values["cines"]])
        return {"browsers": made, "warnings": warningsOf(values)}

    return WorkerRun(worker, later, command, prepare, build, **callbacks)

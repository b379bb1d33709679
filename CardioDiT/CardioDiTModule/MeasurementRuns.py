"""The runs of the sections Landmarks and Function: what each sends to the worker, and what it makes of the answer.

All take the worker client, ``later`` (milliseconds, callback), the browser node of the cine, and the callbacks of
`WorkerRun`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import qt
from slicer.i18n import tr as _

from .BrowserSequences import requireCine
from .CineReader import cineFileSteps
from .FunctionNodes import FunctionNodes
from .LandmarkSequence import LandmarkSequence
from .SegmentationSequence import SegmentationSequence
from .SequenceBuilder import displayName
from .WorkerClient import WorkerClient
from .WorkerRun import Later, RunRefused, WorkerRun

SEGMENTATION_MODEL_SETTING = "CardioDiT/SegmentationModel"
LANDMARK_MODEL_SETTING = "CardioDiT/LandmarkModel"
"""Settings of the application: folders of models to be used in place of the embedded ones."""


def segmentationRun(
    worker: WorkerClient,
    later: Later,
    browser: Any,
    *,
    device: str = "auto",
    mayReplace: Callable[[int], bool] | None = None,
    **callbacks: Any,
) -> WorkerRun:
    """Segment a cine; the result is the sequence node.

    Args:
        device: Where to compute.
        mayReplace: (number of edited frames) -> whether they may be replaced; without it they may.
    """
    segmentation = SegmentationSequence(browser)

    def prepare(folder: str) -> Iterator[Any]:
        requireCine(browser)
        yield from _ask(segmentation.editedSteps(), mayReplace)
        cine = yield from cineFileSteps(browser, folder)
        return {"cine": cine, "folder": folder, "device": device, **modelSetting("weights", SEGMENTATION_MODEL_SETTING)}

    def build(values: dict[str, Any]) -> Iterator[Any]:
        return segmentation.buildSteps(values["segmentation"])

    return WorkerRun(worker, later, "segment", prepare, build, **callbacks)


def landmarkRun(
    worker: WorkerClient,
    later: Later,
    browser: Any,
    *,
    device: str = "auto",
    swap: bool = False,
    mayReplace: Callable[[int], bool] | None = None,
    **callbacks: Any,
) -> WorkerRun:
    """Find the insertion points of a cine; the result is the sequence node. A segmentation that is there goes along,
    with its corrections. Arguments as for `segmentationRun`, and ``swap``: exchange anterior and inferior, for pictures
    that were mirrored and do not say so.
    """
    landmarks, segmentation = LandmarkSequence(browser), SegmentationSequence(browser)

    def prepare(folder: str) -> Iterator[Any]:
        requireCine(browser)
        yield from _ask(landmarks.editedSteps(), mayReplace)
        cine = yield from cineFileSteps(browser, folder)
        order = {"cine": cine, "folder": folder, "device": device, **modelSetting("weights", LANDMARK_MODEL_SETTING)}
        order |= modelSetting("segmentation_weights", SEGMENTATION_MODEL_SETTING)
        if swap:
            order["swap"] = True
        if segmentation.sequence is not None:
            order["segmentation"] = yield from segmentation.readSteps(folder)
        return order

    def build(values: dict[str, Any]) -> Iterator[Any]:
        return landmarks.buildSteps(values["landmarks"])

    return WorkerRun(worker, later, "landmarks", prepare, build, **callbacks)


def landmarkExportRun(worker: WorkerClient, later: Later, browser: Any, path: str, **callbacks: Any) -> WorkerRun:
    """Write the landmarks of a cine as .csv or .json; the result is the path."""
    landmarks = LandmarkSequence(browser)

    def prepare(folder: str) -> Iterator[Any]:
        requireCine(browser)
        described = yield from landmarks.readSteps(folder)
        return {"landmarks": described, "path": absolute(path)}

    def build(values: dict[str, Any]) -> Iterator[Any]:
        yield
        return values["path"]

    return WorkerRun(worker, later, "save_landmarks", prepare, build, **callbacks)


def functionRun(
    worker: WorkerClient,
    later: Later,
    browser: Any,
    *,
    heartRateBpm: float | None = None,
    path: str = "",
    **callbacks: Any,
) -> WorkerRun:
    """Measure the function of a cine from its segmentation and its landmarks as they are now; the result is a
    dictionary: ``report`` (as `FunctionReport.to_dict`), ``table`` (node), ``bullseye`` (a PNG that is there until
    `onDone` comes back, or ""), ``bullseye_problem``, ``files`` (what was written).

    Args:
        heartRateBpm: Where known.
        path: Also write a report: .html, .csv or .json.
    """
    segmentation, landmarks = SegmentationSequence(browser), LandmarkSequence(browser)

    def prepare(folder: str) -> Iterator[Any]:
        requireCine(browser)
        order: dict[str, Any] = {"folder": folder, "segmentation": (yield from segmentation.readSteps(folder))}
        if landmarks.sequence is not None:
            order["landmarks"] = yield from landmarks.readSteps(folder)
        if heartRateBpm:
            order["heart_rate_bpm"] = float(heartRateBpm)
        if path:
            order["path"] = absolute(path)
            order["title"] = reportTitle(browser, order["segmentation"]["meta"])
            if path.lower().endswith((".html", ".htm")):
                order["cine"] = yield from cineFileSteps(browser, folder)
        return order

    def build(values: dict[str, Any]) -> Iterator[Any]:
        requireCine(browser)
        table = yield from FunctionNodes(browser).buildSteps(values)
        return {**values, "table": table}

    return WorkerRun(worker, later, "function", prepare, build, **callbacks)


def reportTitle(browser: Any, meta: dict[str, Any]) -> str:
    """Heading of a report: the name of a synthetic heart; that of a loaded cine stays out, it may be a patient's."""
    if meta.get("synthetic"):
        return displayName({"meta": meta})
    return str(_("Cardiac function"))


def absolute(path: str) -> str:
    """The worker's current folder need not be the application's."""
    return str(Path(path).expanduser().absolute())


def _ask(edited: Iterator[Any], mayReplace: Callable[[int], bool] | None) -> Iterator[Any]:
    changed = yield from edited
    if changed and mayReplace is not None and not mayReplace(len(changed)):
        raise RunRefused


def modelSetting(argument: str, setting: str) -> dict[str, str]:
    """An argument of an order where the application's settings name a folder for it; nothing where they do not."""
    value = qt.QSettings().value(setting)
    return {argument: str(value)} if value else {}

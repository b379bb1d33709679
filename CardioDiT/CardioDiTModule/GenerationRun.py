from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import slicer

from .AuditMarks import markGated
from .BrowserSequences import HEART_RATE_ATTRIBUTE, removeNodes, removeSequence
from .SegmentationSequence import SegmentationSequence
from .SequenceBuilder import SequenceBuilder
from .WorkerClient import WorkerClient
from .WorkerRun import Later, WorkerRun


class GenerationRun(WorkerRun):
    """One generation, from the order to the nodes in the scene; the result is the browser nodes, one a cine.

    The scene is touched only once all cines are there; if the run is cancelled or fails, it stays as it was.

    Args:
        worker: The worker client.
        later: (milliseconds, callback).
        request: As `CardioDiTLib.GenerationRequest.to_dict`.
        gate: Draw again what lies too near to a training patient; the model has to carry training embeddings.
        falseAlarm: Of the gate: share of novel patients who are refused.
        **callbacks: As `WorkerRun` takes them.

    Attributes:
        drawn: How many cines were drawn, once they are there.
        rejected: How many of these the gate refused.
        warnings: Sentences about the order, once they are there, such as quantities that few training hearts had.
    """

    def __init__(
        self,
        worker: WorkerClient,
        later: Later,
        request: dict[str, Any],
        *,
        gate: bool = False,
        falseAlarm: float = 0.05,
        **callbacks: Any,
    ) -> None:
        order: dict[str, Any] = {"request": request}
        if gate:
            order |= {"gate": True, "false_alarm": float(falseAlarm)}
        super().__init__(
            worker, later, "generate", lambda folder: {**order, "folder": folder}, self._buildAll, **callbacks
        )
        self._cycle = request.get("cycle_s")
        self.drawn = self.rejected = 0
        self.warnings: list[str] = []

    def _buildAll(self, values: dict[str, Any]) -> Iterator[Any]:
        self.drawn = int(values.get("drawn", len(values["cines"])))
        self.rejected = int(values.get("rejected", 0))
        self.warnings = warningsOf(values)
        return cinesSteps(values["cines"], self._addToCine)

    def _addToCine(self, browser: Any, cine: dict[str, Any], isShown: bool) -> Iterator[Any]:
        if self._cycle:
            browser.SetAttribute(HEART_RATE_ATTRIBUTE, f"{60.0 / self._cycle:g}")
        if cine.get("segmentation"):
            labels = SegmentationSequence(browser)
            yield from labels.buildSteps(cine["segmentation"])
            if not isShown:
                labels.putAside()


def warningsOf(values: dict[str, Any]) -> list[str]:
    """What the worker has to say about an order."""
    return [str(warning) for warning in values.get("warnings") or []]


def cinesSteps(
    cines: Sequence[dict[str, Any]], add: Callable[[Any, dict[str, Any], bool], Iterator[Any]] | None = None
) -> Iterator[Any]:
    """Put cines into the scene, a frame at a time. If it is stopped before its end, none of them stays.

    Args:
        cines: As the worker describes them.
        add: (browser node, cine, whether it is the first, which is the one that is shown) -> steps that add to it.

    Returns:
        The browser nodes.
    """
    browsers: list[Any] = []
    try:
        for cine in cines:
            browser = yield from SequenceBuilder().buildSteps(cine)
            browsers.append(browser)
            if isinstance(cine["meta"].get("audit"), dict):  # it came through a gate, and its nodes say so
                markGated(browser, cine["meta"]["audit"], str(cine["meta"].get("model") or ""))
            if add is not None:
                yield from add(browser, cine, len(browsers) == 1)
        return browsers
    except BaseException:
        for browser in browsers:
            removeCine(browser)
        raise


def removeCine(browser: Any) -> None:
    """Take a cine out of the scene: browser, sequence, proxy with its display, labels, subject."""
    if browser.GetScene() is None:  # the scene was closed, and took it along
        return
    labels = SegmentationSequence(browser).sequence
    if labels is not None:
        removeSequence(browser, labels)
    sequence = browser.GetMasterSequenceNode()
    proxy = browser.GetProxyNode(sequence)
    hierarchy = slicer.mrmlScene.GetSubjectHierarchyNode()
    item = 0 if hierarchy is None or proxy is None else hierarchy.GetItemByDataNode(proxy)
    study = hierarchy.GetItemParent(item) if item else 0
    subject = hierarchy.GetItemParent(study) if study else 0
    shown = [] if proxy is None else [proxy.GetDisplayNode(), proxy.GetStorageNode()]
    removeNodes([browser, proxy, *shown, sequence])
    for item in filter(None, (study, subject)):
        if item != hierarchy.GetSceneItemID():
            hierarchy.RemoveItem(item, False, False)

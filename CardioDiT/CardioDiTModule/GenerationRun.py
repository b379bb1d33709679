from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from typing import Any

import slicer
from slicer.i18n import tr as _

from .AuditMarks import markGated
from .BrowserSequences import HEART_RATE_ATTRIBUTE, removeSequence
from .Problem import Problem
from .SegmentationSequence import SegmentationSequence
from .SequenceBuilder import SequenceBuilder
from .Steps import Steps
from .WorkerClient import WorkerClient, WorkerRequest


class GenerationRun:
    """One generation, from the order to the nodes in the scene, without blocking the event loop.

    The scene is touched only once all cines are there; if the run is cancelled or fails, it stays as it was. Exactly
    one of onDone, onProblem and onCancelled is called, once.

    Args:
        worker: The worker client.
        request: As `CardioDiTLib.GenerationRequest.to_dict`.
        later: (milliseconds, callback).
        onProgress: (event), see `CardioDiTLib.service.protocol`.
        onDone: (browser nodes, one a cine).
        onProblem: (problem).
        onCancelled: ().
        gate: Draw again what lies too near to a training patient; the model has to carry training embeddings.
        falseAlarm: Of the gate: share of novel patients who are refused.

    Attributes:
        drawn: How many cines were drawn, once they are there.
        rejected: How many of these the gate refused.
        warnings: Sentences about the order, once they are there, such as quantities that few training hearts had.
    """

    def __init__(
        self,
        worker: WorkerClient,
        request: dict[str, Any],
        later: Callable[[int, Callable[[], None]], None],
        *,
        onProgress: Callable[[dict[str, Any]], None] | None = None,
        onDone: Callable[[list[Any]], None] | None = None,
        onProblem: Callable[[Problem], None] | None = None,
        onCancelled: Callable[[], None] | None = None,
        gate: bool = False,
        falseAlarm: float = 0.05,
    ) -> None:
        self._worker, self._later = worker, later
        self._request = request
        self._gate = {"gate": True, "false_alarm": float(falseAlarm)} if gate else {}
        self.drawn = self.rejected = 0
        self.warnings: list[str] = []
        self._onProgress, self._onDone = onProgress, onDone
        self._onProblem, self._onCancelled = onProblem, onCancelled
        self._folder = ""
        self._order: WorkerRequest | None = None
        self._steps: Steps | None = None
        self.isRunning = False

    def start(self) -> GenerationRun:
        """Send the order; returns itself."""
        self.isRunning = True
        self._folder = slicer.util.tempDirectory("CardioDiT")
        self._order = self._worker.request(
            "generate",
            {"request": self._request, "folder": self._folder, **self._gate},
            onProgress=self._onProgress,
            onResult=self._build,
            onProblem=self._fail,
            onCancelled=self._endCancelled,
            onEnd=self._tidyIfOver,
        )
        return self

    def cancel(self) -> None:
        """Give up; `onCancelled` follows soon, and the scene is as it was."""
        if not self.isRunning:
            return
        if self._order is not None and not self._order.ended:
            self._worker.cancel(self._order)
        elif self._steps is not None:
            self._steps.close()
            self._later(0, self._endCancelled)

    def abandon(self) -> None:
        """Give up and tell nobody: whoever listened is gone. Nothing half built stays in the scene, and the files go as
        soon as the worker has let go of them.
        """
        if not self.isRunning:
            return
        self.isRunning = False
        self._onProgress = self._onDone = self._onProblem = self._onCancelled = None
        if self._order is not None and not self._order.ended:
            self._worker.cancel(self._order)  # `_tidyIfOver` follows
            return
        if self._steps is not None:
            self._steps.close()
        self._tidy()

    def _build(self, values: dict[str, Any]) -> None:
        if not self.isRunning:
            return
        self.drawn = int(values.get("drawn", len(values["cines"])))
        self.rejected = int(values.get("rejected", 0))
        self.warnings = [str(warning) for warning in values.get("warnings") or []]
        if self._onProgress is not None:
            self._onProgress({"stage": "load", "step": 0, "of": 1, "fraction": 1.0, "eta_s": 0.0})
        # a frame takes a millisecond or so, and the application stays alive in between
        self._steps = Steps(self._buildAll(values["cines"]), self._later, self._finish, self._failWith)

    def _finish(self, browsers: list[Any]) -> None:
        self._end()
        if self._onDone is not None:
            self._onDone(browsers)

    def _failWith(self, error: Exception) -> None:
        self._fail(
            Problem(
                _("The cine could not be put into the scene: {error}.").format(error=error),
                _("Copy the log and report it."),
                repr(error),
            )
        )

    def _buildAll(self, cines: list[dict[str, Any]]) -> Iterator[None]:
        """Returns the browsers; leaves nothing in the scene if it is stopped."""
        browsers: list[Any] = []
        try:
            for cine in cines:
                browser = yield from SequenceBuilder().buildSteps(cine)
                browsers.append(browser)
                markIfGated(browser, cine["meta"])
                if self._request.get("cycle_s"):
                    browser.SetAttribute(HEART_RATE_ATTRIBUTE, f"{60.0 / self._request['cycle_s']:g}")
                if cine.get("segmentation"):
                    labels = SegmentationSequence(browser)
                    yield from labels.buildSteps(cine["segmentation"])
                    if browser is not browsers[0]:  # which is the one that is shown
                        labels.putAside()
            return browsers
        except BaseException:
            for browser in browsers:
                removeCine(browser)
            raise

    def _fail(self, problem: Problem) -> None:
        if self.isRunning:
            self._end()
            if self._onProblem is not None:
                self._onProblem(problem)

    def _endCancelled(self) -> None:
        if self.isRunning:
            self._end()
            if self._onCancelled is not None:
                self._onCancelled()

    def _end(self) -> None:
        self.isRunning = False
        self._tidy()

    def _tidyIfOver(self) -> None:
        if not self.isRunning:
            self._tidy()

    def _tidy(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)


def markIfGated(browser: Any, meta: dict[str, Any]) -> None:
    """Let the nodes of a cine that came through a gate say so."""
    if isinstance(meta.get("audit"), dict):
        markGated(browser, meta["audit"], str(meta.get("model") or ""))


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
    nodes = [browser, proxy, *([] if proxy is None else [proxy.GetDisplayNode(), proxy.GetStorageNode()]), sequence]
    items = [0 if hierarchy is None or node is None else hierarchy.GetItemByDataNode(node) for node in nodes]
    # items first: the application removes those of nodes that go, and asking for one that is gone is an error
    for item in filter(None, items):
        hierarchy.RemoveItem(item, False, False)
    for node in nodes:
        if node is not None:
            slicer.mrmlScene.RemoveNode(node)
    for item in filter(None, (study, subject)):
        if item != hierarchy.GetSceneItemID():
            hierarchy.RemoveItem(item, False, False)

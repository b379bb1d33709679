"""The runs of the section Privacy: what each sends to the worker, and what it makes of the answer. They take the worker
client, ``later`` and callbacks as those of `MeasurementRuns` do.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from .AuditMarks import markAudit
from .AuditTable import AuditTable
from .BrowserSequences import cineMeta, requireCine
from .CineReader import cineFileSteps
from .MeasurementRuns import absolute, modelSetting
from .Problem import CardioDiTProblem
from .SequenceBuilder import SequenceBuilder, displayName
from .ShortAxisViews import turnToPlane
from .WorkerClient import WorkerClient
from .WorkerRun import Later, WorkerRun

ENCODER_MODEL_SETTING = "CardioDiT/EncoderModel"
"""Setting of the application: folder of an encoder to be used in place of the embedded one, for folders of cines."""


def auditRun(
    worker: WorkerClient,
    later: Later,
    browsers: Sequence[Any],
    *,
    falseAlarm: float = 0.05,
    folder: str = "",
    validation: str = "",
    **callbacks: Any,
) -> WorkerRun:
    """Audit cines; the result is a list of verdicts, see `describe_verdict` of the library's service, each with
    ``browser`` and ``name``. The nodes of the cines are marked and a table is filled.

    Args:
        browsers: Browser nodes of the cines.
        falseAlarm: Share of novel patients who may be called copies.
        folder: A folder of training cines; without it each cine is held against the training set of its model.
        validation: Beside `folder`: a folder of other real patients' cines.
    """
    browsers = list(browsers)

    def prepare(place: str) -> Iterator[Any]:
        if not browsers:
            raise CardioDiTProblem(_("There is no synthetic cine in the scene."), _("Generate one first."))
        order: dict[str, Any] = {"false_alarm": float(falseAlarm)}
        if folder:
            order["train"] = absolute(folder)
            if validation:
                order["validation"] = absolute(validation)
            order |= modelSetting("encoder", ENCODER_MODEL_SETTING)
        else:
            order["bundles"] = [modelOf(browser) for browser in browsers]
        order["cines"] = []
        for number, browser in enumerate(browsers):
            requireCine(browser)
            own = Path(place) / str(number)
            own.mkdir()
            described = yield from cineFileSteps(browser, str(own))
            order["cines"].append(described)
        return order

    def build(values: dict[str, Any]) -> Iterator[Any]:
        for browser in browsers:
            requireCine(browser)
        names = [cineTitle(browser, number) for number, browser in enumerate(browsers, start=1)]
        yield
        for browser, verdict in zip(browsers, values["cines"]):
            markAudit(browser, verdict)
        AuditTable().fill(names, values["cines"], values["sets"])
        return [
            {**verdict, "browser": browser, "name": name}
            for verdict, browser, name in zip(values["cines"], browsers, names)
        ]

    return WorkerRun(worker, later, "audit_cines", prepare, build, **callbacks)


def nearestRun(worker: WorkerClient, later: Later, path: str, title: str, **callbacks: Any) -> WorkerRun:
    """Load a cine file through the worker; the result is its browser node.

    Args:
        path: The file.
        title: What its nodes are called: not like the file, which may be named like its patient.
    """

    def prepare(folder: str) -> Iterator[Any]:
        yield
        return {"path": absolute(path), "folder": folder}

    def build(values: dict[str, Any]) -> Iterator[Any]:
        cine = values["cine"]
        return SequenceBuilder().buildSteps({**cine, "meta": {}, "name": title})

    return WorkerRun(worker, later, "load_cine", prepare, build, **callbacks)


def modelOf(browser: Any) -> str:
    """Name of the model that made a cine.

    Raises:
        CardioDiTProblem: None did.
    """
    requireCine(browser)
    model = cineMeta(browser).get("model")
    if not model:
        raise CardioDiTProblem(
            _("No model made this cine, so there is no training set of a model to compare it with."),
            _("Compare it with a folder of yours."),
        )
    return str(model)


def cineTitle(browser: Any, number: int) -> str:
    """What a cine is called in the table: a synthetic one by what it is; a loaded one may be named like a patient."""
    meta = cineMeta(browser)
    return displayName({"meta": meta}) if meta.get("synthetic") else str(_("Cine {number}")).format(number=number)


VIEWS = ("Red", "Yellow")


def showSideBySide(first: Any, second: Any) -> None:
    """Show two cines in two slice views beside each other, each in its short axis; nothing without a window.

    Args:
        first: Browser node of the cine on the left.
        second: Of that on the right.
    """
    manager = slicer.app.layoutManager()
    if manager is None:
        return
    manager.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutSideBySideView)
    for name, browser in zip(VIEWS, (first, second)):
        volume = browser.GetProxyNode(browser.GetMasterSequenceNode())
        widget = manager.sliceWidget(name)
        if widget is None or volume is None:
            continue
        logic = widget.sliceLogic()
        logic.GetSliceCompositeNode().SetBackgroundVolumeID(volume.GetID())
        turnToPlane(logic.GetSliceNode(), volume)
        logic.FitSliceToBackground()
        browser.SetPlaybackActive(True)

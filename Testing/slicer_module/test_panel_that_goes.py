"""The panel is deleted while something is under way: whatever comes later calls into no widget, leaves no temporary
folder and nothing half built. Time is driven by hand, so nothing here depends on how fast the machine is."""

from __future__ import annotations

import json
import logging

import numpy as np
import pytest
import slicer
from measured_cine import described, landmarks_answer, phantom, segmentation_answer
from module_under_test import MODULE, PROBE, Clock, described_cine, playWorker, process
from test_widget_with_fake_worker import ESTIMATE, MODELS


@pytest.fixture(scope="module")
def heart():
    return phantom(frames=4)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def folders(monkeypatch, tmp_path):
    """Temporary folders that were made."""
    made = []

    def make(key="__SlicerTemp__", tempDir=None):
        made.append(tmp_path / f"temporary-{len(made)}-{key}")
        made[-1].mkdir()
        return str(made[-1])

    monkeypatch.setattr(slicer.util, "tempDirectory", make)
    return made


@pytest.fixture
def loaded(scene, monkeypatch, clock, folders):
    """The module with a fake worker that has answered the first questions; a step a turn, and turns by hand."""
    from CardioDiTModule import SharedWorker, Steps
    from shiboken6 import Shiboken
    from slicer_standin import slicer_app

    playWorker(monkeypatch)
    monkeypatch.setattr(SharedWorker, "later", clock.later)
    monkeypatch.setattr(Steps, "BUDGET_S", -1.0)
    loaded = slicer_app.loadModule(MODULE)
    process().ready()
    models = [{**model, "accepted": True, "has_privacy": True} for model in MODELS]
    process().answer("models", models=models, folder="/somewhere", problem="")
    process().answer("probe", **PROBE)
    process().answer("estimate", **ESTIMATE)
    turn(clock, 100)
    yield loaded
    if Shiboken.isValid(loaded.panel):
        slicer_app.unloadModule(loaded)
    SharedWorker.stopSharedWorker()


@pytest.fixture
def browser(loaded, heart, clock):
    from CardioDiTModule.SequenceBuilder import SequenceBuilder

    browser = SequenceBuilder().build(described(heart.cine, synthetic=True, model="acdc-mini", seed=7))
    loaded.widget.play.show(browser, play=False)
    turn(clock, 5)
    return browser


def turn(clock, times: int = 1) -> None:
    for _ in range(times):
        clock.pass_ms(0)


def turnUntil(clock, condition) -> None:
    for _ in range(200):
        if condition():
            return
        clock.pass_ms(0)
    raise AssertionError("not within 200 turns")


def nodeIDs() -> set[str]:
    scene = slicer.mrmlScene
    nodes = [scene.GetNthNode(number) for number in range(scene.GetNumberOfNodes())]
    # the view of the chart belongs to the panel, and goes with it
    return {node.GetID() for node in nodes if not node.IsA("vtkMRMLPlotViewNode")}


def removePanel(loaded) -> None:
    """As at the end of the application or at a reload: cleanup(), and the widgets are deleted."""
    from slicer_standin import slicer_app

    slicer_app.unloadModule(loaded)


def answerAll(open_orders, answers) -> None:
    """What the worker has finished in spite of the cancel."""
    for order in open_orders:
        process().tell("progress", id=order["id"], stage="denoise", step=1, of=2, fraction=0.5, eta_s=3.0)
        process().tell("result", id=order["id"], **answers.get(order["command"], {}))


class UnderWay:
    """What can be under way: how it is started, which order it sends, and how the worker answers."""

    def __init__(self, widget, heart, browser, tmp_path):
        self.widget, self.ui, self.heart, self.browser, self.place = widget, widget.ui, heart, browser, tmp_path

    def generate(self):
        self.ui.generateButton.click()
        return "generate", {"cines": [self._generated()], "drawn": 1, "rejected": 0, "warnings": ["Rare."]}

    def _generated(self):
        cine = described_cine(frames=4)
        np.save(self.place / "cine.npy", cine["array"])
        labels = described(self.heart.cine)
        cine = {**cine, "array": labels["array"].tolist(), "affine": labels["affine"]}
        cine["frame_times"] = labels["frame_times"]
        return {**cine, "segmentation": segmentation_answer(self.heart.segmentation, self.place)["segmentation"]}

    def segment(self):
        self.ui.segmentButton.click()
        return "segment", segmentation_answer(self.heart.segmentation, self.place)

    def landmarks(self):
        self.ui.landmarksButton.click()
        return "landmarks", landmarks_answer(self.heart.landmarks, self.place)

    def function(self):
        from CardioDiTModule.SegmentationSequence import SegmentationSequence
        from CardioDiTModule.Steps import runAtOnce

        from CardioDiTLib.function.cardiac_function import cardiac_function
        from CardioDiTLib.function.outputs import function_table

        answer = segmentation_answer(self.heart.segmentation, self.place)["segmentation"]
        runAtOnce(SegmentationSequence(self.browser).buildSteps(answer))
        self.widget.function.update()
        self.ui.measureButton.click()
        report = cardiac_function(self.heart.segmentation, None)
        values = {"report": json.loads(json.dumps(report.to_dict())), "table": function_table(report)}
        return "function", {**values, "bullseye": "", "bullseye_problem": "", "files": []}

    def audit(self):
        from test_privacy_with_fake_worker import report, verdict

        self.ui.auditButton.click()
        return "audit_cines", {"cines": [verdict("passed")], "sets": [report(0, 1)]}

    def export(self):
        self.widget.export.save(str(self.place / "out.nii.gz"))
        return "save_cine", {"path": str(self.place / "out.nii.gz")}

    def folder(self):
        from CardioDiTLib.io import save_cine
        from CardioDiTLib.service.arrays import describe_cine

        (self.place / "cines").mkdir()
        save_cine(self.heart.cine, self.place / "cines" / "a.nii.gz")
        self.ui.folderEdit.currentPath = str(self.place / "cines")
        self.ui.folderResultsEdit.currentPath = str(self.place / "results")
        self.ui.folderButton.click()
        return "load_cine", {"cine": describe_cine(self.heart.cine, self.place / "read.npy")}

    def nearest(self):
        from CardioDiTLib.service.arrays import describe_cine

        self.widget.privacy._nearest[self.browser.GetID()] = ("/somewhere/a.nii.gz", "ab" * 4)
        self.widget.privacy._onNearest()
        return "load_cine", {"cine": describe_cine(self.heart.cine, self.place / "read.npy")}

    def landmarksExport(self):
        from CardioDiTModule.LandmarkSequence import LandmarkSequence
        from CardioDiTModule.Steps import runAtOnce

        answer = landmarks_answer(self.heart.landmarks, self.place)["landmarks"]
        runAtOnce(LandmarkSequence(self.browser).buildSteps(answer))
        self.widget.landmarks.save(str(self.place / "points.csv"))
        return "save_landmarks", {"path": str(self.place / "points.csv")}

    def surfaces(self):
        from CardioDiTModule.SegmentationSequence import SegmentationSequence
        from CardioDiTModule.Steps import runAtOnce

        answer = segmentation_answer(self.heart.segmentation, self.place)["segmentation"]
        runAtOnce(SegmentationSequence(self.browser).buildSteps(answer))
        self.widget.function.update()
        self.ui.segment3DCheck.click()
        return "", {}

    def models(self):
        self.ui.refreshButton.click()
        return "models", {"models": MODELS, "folder": "/somewhere", "problem": "The list is old."}

    def modelCard(self):
        self.ui.modelsTable.selectRow(0)
        self.ui.modelCardButton.click()
        return "model_card", {"text": "# Card"}

    def download(self):
        self.ui.modelsTable.selectRow(1)
        self.ui.downloadButton.click()
        return "download", {"name": "large", "notes": ["Note."]}

    def licence(self):
        self.widget.logic.modelManager.acceptLicence("acdc-mini", self.widget.generate.controls.start)
        return "accept_licence", {}

    def estimate(self):
        self.widget.generate.forgetEstimates()
        self.widget.generate._askForEstimate()
        return "estimate", ESTIMATE


KINDS = [name for name in vars(UnderWay) if not name.startswith("_")]
BUILDS = ["generate", "segment", "landmarks", "function", "nearest"]
"""What makes nodes step by step of the worker's answer."""
READS = ["segment", "landmarks", "function", "audit", "landmarksExport", "surfaces", "folder"]
"""What does something step by step before it sends an order."""
MOMENTS = [
    *((kind, "begun") for kind in READS),
    *((kind, "ordered") for kind in KINDS if kind != "surfaces"),
    *((kind, "building") for kind in BUILDS),
    *((kind, "killed") for kind in ("generate", "segment", "folder")),
]


@pytest.fixture
def silence(caplog, noSlotErrors):
    """Nothing may have failed, not even where a listener's failure is only logged."""
    yield
    assert not noSlotErrors
    assert not [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]


def openOrders() -> list[dict]:
    from CardioDiTModule.SharedWorker import sharedWorker

    numbers = {request.id for request in sharedWorker().openRequests()}
    return [request for request in process().requests if request["id"] in numbers]


@pytest.mark.parametrize("kind, moment", MOMENTS)
def test_nothing_calls_into_a_panel_that_has_gone(
    loaded, browser, heart, clock, folders, tmp_path, silence, kind, moment
):
    place = tmp_path / "answers"
    place.mkdir()
    under = UnderWay(loaded.widget, heart, browser, place)
    if kind in ("function", "surfaces", "landmarksExport"):  # what these rest on was there before
        command, answer = getattr(under, kind)()
        before = nodeIDs()
    else:
        before = nodeIDs()
        command, answer = getattr(under, kind)()
    if moment != "begun" and command:
        turnUntil(clock, lambda: command in [order["command"] for order in openOrders()])
    if moment == "building":
        answerAll(openOrders(), {command: answer})
        if kind == "generate":  # until the cine is there and its labels are being made
            turnUntil(clock, lambda: len(slicer.util.getNodesByClass("vtkMRMLSequenceBrowserNode")) > 1)
        turn(clock, 2)
        assert any(folder.exists() for folder in folders), "it is under way"
    elif kind == "surfaces":
        turn(clock, 2)
    removePanel(loaded)
    orders = openOrders()
    if moment == "killed":
        process().end(9, crashed=True)
    else:
        answerAll(orders, {command: answer})
    turn(clock, 100)
    assert nodeIDs() == before
    assert [folder for folder in folders if folder.exists()] == []
    if moment != "killed":
        assert openOrders() == [], "nothing was begun anew"


def test_a_panel_whose_widgets_went_first_is_cleaned_up_to_the_end(
    loaded, browser, heart, clock, folders, tmp_path, silence
):
    """At the end of the application widgets may be deleted before cleanup() is called."""
    from shiboken6 import Shiboken

    widget = loaded.widget
    place = tmp_path / "answers"
    place.mkdir()
    before = nodeIDs()
    under = UnderWay(widget, heart, browser, place)
    started = [under.generate(), under.segment(), under.audit(), under.folder()]
    answers = dict(started)
    turnUntil(clock, lambda: {name for name, _ in started} <= {order["command"] for order in openOrders()})
    for child in list(loaded.panel.children()):
        if child.isWidgetType():
            Shiboken.delete(child)
    removePanel(loaded)
    answerAll(openOrders(), answers)
    turn(clock, 100)
    assert nodeIDs() == before
    assert [folder for folder in folders if folder.exists()] == []
    assert all(part.run is None for part in (widget.generate, widget.function.segmenting, widget.privacy.controls))


def test_a_script_that_waits_gets_its_heart_after_the_panel_has_gone(loaded, clock, heart, tmp_path, silence):
    """The console's own runs are not the panel's."""
    ends: list = []
    run = loaded.widget.logic.generateAsync(onDone=ends.append, seed=1)
    removePanel(loaded)
    under = UnderWay(loaded.widget, heart, None, tmp_path)
    answerAll(openOrders(), {"generate": {"cines": [under._generated()]}})
    turnUntil(clock, lambda: ends)
    assert not run.isRunning and ends[0][0].GetMasterSequenceNode().GetNumberOfDataNodes() == 4


def test_a_cine_that_is_half_built_is_not_chosen(loaded, clock, heart, tmp_path):
    """It may be given up yet, and its labels are still to come."""
    widget = loaded.widget
    under = UnderWay(widget, heart, None, tmp_path)
    command, answer = under.generate()
    answerAll(openOrders(), {command: answer})
    seen = []
    while widget.generate.run is not None:
        if slicer.util.getNodesByClass("vtkMRMLSequenceBrowserNode"):
            seen.append(widget._parameterNode.browser)
        turn(clock)
    assert seen and not any(seen)
    assert widget._parameterNode.browser is not None and widget.function.segmentation.proxy is not None

"""The whole panel, clicked through with a worker that the test plays: fast, and with every mishap."""

from __future__ import annotations

import copy
import sys

import numpy as np
import pytest
import slicer
from module_under_test import MODULE, PROBE, FakeProcess, described_cine, process

MODELS = [
    {
        "name": "acdc-mini",
        "title": "ACDC mini",
        "description": "Small.",
        "version": "1.0.0",
        "state": "installed",
        "origin": "embedded",
        "problem": "",
        "removable": False,
        "accepted": False,
        "licence": {"name": "CC BY-NC-SA 4.0", "conditions": "Research only.", "needs_acceptance": True},
        "size_bytes": 14_000_000,
        "class_names": ["NOR", "DCM"],
        "class_titles": ["normal", "dilated cardiomyopathy"],
        "presets": {"draft": {"steps": 12, "guidance": 1.5}, "standard": {"steps": 30, "guidance": 2.0}},
        "folder": "/somewhere",
    },
    {
        "name": "large",
        "title": "A large one",
        "description": "Larger.",
        "version": "2.0.0",
        "state": "available",
        "origin": "catalogue",
        "problem": "",
        "removable": False,
        "accepted": True,
        "licence": {"name": "CC0", "conditions": "None.", "needs_acceptance": False},
        "size_bytes": 1_500_000_000,
        "class_names": [],
        "folder": "",
    },
    {
        "name": "mine",
        "title": "Mine",
        "description": "",
        "version": "1.0.0",
        "state": "installed",
        "origin": "user",
        "problem": "",
        "removable": True,
        "accepted": True,
        "licence": {"name": "CC0", "conditions": "", "needs_acceptance": False},
        "size_bytes": 5_000_000,
        "class_names": [],
        "presets": {"standard": {"steps": 10, "guidance": 1.0}},
        "folder": "/somewhere/mine",
    },
]
ESTIMATE = {
    "presets": {
        "draft": {"steps": 12, "seconds": 2.0, "guided_seconds": 3.0},
        "standard": {"steps": 30, "seconds": 4.0, "guided_seconds": 7.0},
    }
}


@pytest.fixture
def firstAnswers():
    models = copy.deepcopy(MODELS)
    return {"models": {"models": models, "folder": "/somewhere", "problem": ""}, "probe": PROBE, "estimate": ESTIMATE}


def accept(panel):
    panel.logic.modelManager.model("acdc-mini")["accepted"] = True


def nodes() -> list[str]:
    return sorted(
        node.GetClassName()
        for node in slicer.util.getNodes("*", useLists=False).values()
        if node.IsA("vtkMRMLSequenceNode") or node.IsA("vtkMRMLSequenceBrowserNode") or node.IsA("vtkMRMLVolumeNode")
    )


def row(ui, name: str) -> int:
    names = [model["name"] for model in MODELS]
    ui.modelsTable.selectRow(names.index(name))
    return names.index(name)


def finish(tmp_path, waitUntil, panel, count=1, **meta):
    """Let the fake worker answer a generation with small cines."""
    cines = []
    for number in range(count):
        cine = described_cine(seed=7 + number, **meta)
        path = tmp_path / f"cine{number}.npy"
        np.save(path, cine["array"])
        cines.append({**cine, "array": str(path)})
    process().answer("generate", cines=cines, licence={}, seconds=1.0)
    waitUntil(lambda: panel.generate.run is None, 5)


def test_all_is_filled_from_what_the_worker_says(ui):
    assert [ui.bundleCombo.itemData(number) for number in range(ui.bundleCombo.count)] == ["acdc-mini", "mine"]
    assert [ui.pathologyCombo.itemData(number) for number in range(ui.pathologyCombo.count)] == ["", "NOR", "DCM"]
    assert "dilated" in ui.pathologyCombo.itemText(2)
    assert [ui.deviceCombo.itemData(number) for number in range(ui.deviceCombo.count)] == ["auto", "cpu"]
    assert "No graphics card" in ui.deviceLabel.text and "4 s" in ui.deviceLabel.text
    assert ui.generateButton.enabled and ui.generateButton.text == "Generate"
    table = ui.modelsTable
    texts = [[table.item(r, c).text() for c in range(4)] for r in range(table.rowCount)]
    assert texts[0] == ["acdc-mini", "CC BY-NC-SA 4.0", "14.0 MB", "built in"]
    assert texts[1][2:] == ["1.5 GB", "to be downloaded"] and texts[2][3] == "installed"
    assert not ui.problemFrame.visible


def test_the_order_is_what_the_widgets_say(panel, ui, spin):
    accept(panel)
    ui.pathologyCombo.setCurrentIndex(2)
    ui.guidanceSlider.value = 2.5
    ui.seedSpin.value = 41
    ui.countSpin.value = 3
    ui.presetCombo.setCurrentIndex(0)
    ui.samplerCombo.setCurrentIndex(2)
    spin(5)
    ui.generateButton.click()
    request = process().asked("generate")["arguments"]["request"]
    assert request == {
        "bundle": "acdc-mini",
        "pathology": "DCM",
        "guidance": 2.5,
        "seed": 41,
        "count": 3,
        "preset": "draft",
        "sampler": "ddim",
        "steps": None,
        "device": "auto",
        "backend": "torch",
        "preview_every": 2,
    }
    from CardioDiTLib.generation.request import GenerationRequest

    GenerationRequest.from_dict(request)


def test_openvino_is_offered_with_its_size_and_goes_to_the_worker(panel, ui, spin, messages, monkeypatch):
    from CardioDiTModule.InstallLogic import InstallLogic

    from CardioDiTLib.generation.request import GenerationRequest

    missing, installed = ["openvino>=2025.0"], []
    monkeypatch.setattr(InstallLogic, "missingForOpenvino", lambda self: tuple(missing))
    monkeypatch.setattr(InstallLogic, "installForOpenvino", lambda self: installed.append(missing.pop()))
    accept(panel)
    before = process()
    assert ui.generateButton.enabled and not ui.openvinoButton.isVisibleTo(ui.advancedCollapsible)
    ui.backendCombo.setCurrentIndex(1)
    spin(5)
    assert not ui.generateButton.enabled and "OpenVINO" in ui.generateButton.toolTip
    assert ui.openvinoButton.isVisibleTo(ui.advancedCollapsible)
    messages.answers.append(False)
    ui.openvinoButton.click()
    assert not installed and "openvino" in messages.texts()[-1] and "60 MB" in messages.texts()[-1]
    messages.answers.append(True)
    ui.openvinoButton.click()
    assert installed and not before.running, "the worker starts anew with what is there now"
    assert ui.generateButton.enabled and not ui.openvinoButton.isVisibleTo(ui.advancedCollapsible)
    assert process().asked("estimate")["arguments"]["backend"] == "openvino"
    assert GenerationRequest.from_dict(panel.generate.request()).backend == "openvino"
    ui.backendCombo.setCurrentIndex(0)
    spin(5)
    assert panel.generate.request()["backend"] == "torch"


def test_guidance_needs_a_pathology(panel, ui):
    accept(panel)
    ui.pathologyCombo.setCurrentIndex(0)
    assert not ui.guidanceSlider.enabled
    assert panel.generate.request()["guidance"] is None
    ui.pathologyCombo.setCurrentIndex(1)
    assert ui.guidanceSlider.enabled


def test_guidance_goes_along_with_the_preset_unless_it_was_set_by_hand(panel, ui, spin):
    def choose(index: int) -> float:
        ui.presetCombo.setCurrentIndex(index)
        ui.presetCombo.activated.emit(index)
        spin(5)
        return panel._parameterNode.guidance

    ui.presetCombo.setCurrentIndex(1)
    spin(5)
    assert choose(0) == 1.5 and choose(1) == 2.0
    ui.guidanceSlider.value = 3.0
    assert choose(0) == 3.0
    # what a scene brings, it keeps
    panel._parameterNode.guidance = 2.0
    ui.presetCombo.setCurrentIndex(1)
    ui.presetCombo.setCurrentIndex(0)
    spin(5)
    assert panel._parameterNode.guidance == 2.0


def test_the_dice_changes_the_seed(ui):
    seeds = set()
    for _ in range(4):
        ui.diceButton.click()
        seeds.add(ui.seedSpin.value)
    assert len(seeds) > 1


def test_terms_are_asked_for_once(panel, ui, messages):
    messages.answers.append(False)
    ui.generateButton.click()
    assert not process().has_asked("generate") and not process().has_asked("accept_licence")
    assert "Research only." in str(messages.texts())
    messages.answers.append(True)
    ui.generateButton.click()
    process().answer("accept_licence", name="acdc-mini")
    assert process().has_asked("generate")
    process().tell("cancelled", id=process().asked("generate")["id"])
    count = len(messages.texts())
    ui.generateButton.click()
    assert len(messages.texts()) == count


def test_a_heart_comes_beats_and_says_what_it_is(panel, ui, tmp_path, waitUntil):
    accept(panel)
    ui.generateButton.click()
    assert ui.generateButton.text == "Cancel" and ui.progressBar.isVisibleTo(panel.parent)
    number = process().asked("generate")["id"]
    film = tmp_path / "film.pgm"
    film.write_bytes(b"P5 8 24 255\n" + bytes(range(192)))
    process().tell(
        "progress",
        id=number,
        stage="denoise",
        step=3,
        of=30,
        fraction=0.1,
        eta_s=5.2,
        preview=str(film),
        preview_frames=3,
    )
    assert ui.progressBar.value == 10 and "3 of 30" in ui.progressLabel.text and "5 s left" in ui.progressLabel.text
    assert panel.generate._preview.hasFrames() and not ui.previewLabel.pixmap.isNull()
    # a preview that is gone already is no problem
    process().tell(
        "progress",
        id=number,
        stage="denoise",
        step=4,
        of=30,
        fraction=0.2,
        eta_s=5.0,
        preview="/gone.pgm",
        preview_frames=3,
    )
    finish(tmp_path, waitUntil, panel)
    browser = ui.browserSelector.currentNode()
    assert browser is not None and browser is panel._parameterNode.browser and browser.GetPlaybackActive()
    assert "seed 7" in ui.originLabel.text and "synthetic" in ui.originLabel.text
    assert ui.generateButton.text == "Generate" and not panel.generate._preview.hasFrames()
    assert ui.exportNiftiButton.enabled


def test_slice_views_are_turned_to_the_short_axis(panel, ui, tmp_path, waitUntil):
    from module_under_test import OBLIQUE

    accept(panel)
    ui.generateButton.click()
    finish(tmp_path, waitUntil, panel)
    volume = panel._parameterNode.browser.GetProxyNode(panel._parameterNode.browser.GetMasterSequenceNode())
    normal = np.asarray(OBLIQUE)[:3, 2] / np.linalg.norm(np.asarray(OBLIQUE)[:3, 2])
    composites = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
    assert composites and all(node.GetBackgroundVolumeID() == volume.GetID() for node in composites)
    red = slicer.mrmlScene.GetNodeByID("vtkMRMLSliceNodeRed")
    across = [red.GetSliceToRAS().GetElement(row, 2) for row in range(3)]
    assert abs(np.dot(across, normal)) == pytest.approx(1.0, abs=1e-3)


def test_several_hearts_come_with_names_of_their_own(panel, ui, tmp_path, waitUntil):
    accept(panel)
    ui.generateButton.click()
    finish(tmp_path, waitUntil, panel, count=3)
    browsers = slicer.util.getNodesByClass("vtkMRMLSequenceBrowserNode")
    assert len({browser.GetName() for browser in browsers}) == 3


def test_real_time_is_as_fast_as_the_heart_beats(panel, ui, tmp_path, waitUntil):
    accept(panel)
    ui.generateButton.click()
    finish(tmp_path, waitUntil, panel)
    browser = panel._parameterNode.browser
    assert browser.GetPlaybackRateFps() == pytest.approx(20.0)
    browser.SetPlaybackRateFps(5.0)
    ui.realTimeButton.click()
    assert browser.GetPlaybackRateFps() == pytest.approx(20.0)


def test_cancel_leaves_the_scene_as_it_was(panel, ui):
    accept(panel)
    before = nodes()
    ui.generateButton.click()
    number = process().asked("generate")["id"]
    ui.generateButton.click()
    assert process().asked("cancel")["arguments"] == {"target": number}
    assert "Cancelling" in ui.progressLabel.text
    process().tell("cancelled", id=number)
    assert panel.generate.run is None and nodes() == before and "Cancelled" in ui.progressLabel.text
    assert ui.generateButton.enabled and ui.generateButton.text == "Generate"


def test_cancel_while_nodes_are_made_leaves_the_scene_as_it_was(panel, ui, tmp_path, waitUntil, spin):
    accept(panel)
    before = nodes()
    ui.generateButton.click()
    run = panel.generate.run
    cine = described_cine(frames=3000)
    np.save(tmp_path / "long.npy", cine["array"])
    process().answer("generate", cines=[{**cine, "array": str(tmp_path / "long.npy")}], licence={}, seconds=1)
    waitUntil(lambda: nodes() != before, 5)
    ui.generateButton.click()
    waitUntil(lambda: not run.isRunning, 5)
    assert nodes() == before and "Cancelled" in ui.progressLabel.text


def test_a_worker_that_dies_is_one_sentence_and_the_next_heart_comes(panel, ui, tmp_path, waitUntil):
    accept(panel)
    before = nodes()
    ui.generateButton.click()
    process().end(9, crashed=True)
    assert ui.problemFrame.isVisibleTo(panel.parent) and "ended from outside" in ui.problemLabel.text
    assert nodes() == before and ui.generateButton.enabled
    ui.generateButton.click()
    assert len(FakeProcess.made) == 2
    process().ready()
    finish(tmp_path, waitUntil, panel)
    assert panel._parameterNode.browser is not None
    ui.dismissButton.click()
    assert not ui.problemFrame.isVisibleTo(panel.parent)


def test_a_problem_comes_with_hint_and_log_to_copy(panel, ui):
    import qt

    accept(panel)
    ui.generateButton.click()
    process().errorReceived.emit(b"a line of the log\n")
    process().tell(
        "error",
        id=process().asked("generate")["id"],
        message="The memory is not enough.",
        hint="Close programs.",
        detail="",
    )
    assert ui.problemLabel.text == "The memory is not enough. Close programs."
    assert "a line of the log" in ui.logText.toPlainText()
    ui.copyLogButton.click()
    copied = qt.QApplication.clipboard().text()
    assert "memory" in copied and "a line of the log" in copied


def test_a_scene_that_is_closed_gives_the_run_up(panel, ui, spin):
    accept(panel)
    ui.generateButton.click()
    number = process().asked("generate")["id"]
    slicer.mrmlScene.Clear(0)
    assert process().has_asked("cancel")
    process().tell("cancelled", id=number)
    spin(10)
    assert panel.generate.run is None and panel._parameterNode is not None
    assert nodes() == [] and ui.generateButton.enabled and not ui.exportNiftiButton.enabled


def test_a_saved_scene_brings_its_settings_back(panel, ui, tmp_path, spin):
    ui.pathologyCombo.setCurrentIndex(2)
    ui.seedSpin.value = 99
    ui.presetCombo.setCurrentIndex(0)
    spin(5)
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    slicer.mrmlScene.Clear(0)
    spin(5)
    assert ui.seedSpin.value == 7 and ui.pathologyCombo.currentIndex == 0
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    spin(5)
    assert ui.seedSpin.value == 99 and ui.pathologyCombo.currentData == "DCM" and ui.presetCombo.currentText == "Draft"


def test_a_pathology_that_was_chosen_before_the_list_has_come_is_kept(panel, ui, spin):
    panel._parameterNode.pathology = "DCM"
    panel.logic.modelManager.models = []
    panel.logic.modelManager.modelsChanged.emit([])
    assert panel._parameterNode.pathology == "DCM"


def test_leaving_and_coming_back_changes_nothing(panel, ui, spin):
    ui.presetCombo.setCurrentIndex(2)
    ui.samplerCombo.setCurrentIndex(3)
    spin(5)
    for _ in range(3):
        panel.enter()
        spin(5)
    assert ui.presetCombo.currentText == "High" and ui.samplerCombo.currentText == "DDPM"
    ui.presetCombo.setCurrentIndex(0)
    spin(5)
    assert panel._parameterNode.preset.value == "draft"


def test_a_scene_of_another_machine_names_a_device_that_is_not_here(panel, ui):
    panel._parameterNode.device = "cuda:3"
    panel.generate.setProbe(PROBE)
    assert panel._parameterNode.device == "auto" and ui.deviceCombo.currentData == "auto"


def test_buttons_of_models_say_why_they_cannot_be_used(panel, ui):
    ui.modelsTable.clearSelection()
    ui.modelsTable.setCurrentCell(-1, -1)
    panel.models.updateButtons()
    for button in (ui.downloadButton, ui.verifyButton, ui.removeButton, ui.openFolderButton):
        assert not button.enabled and "table" in button.toolTip
    row(ui, "acdc-mini")
    assert ui.verifyButton.enabled and not ui.removeButton.enabled and "came with" in ui.removeButton.toolTip
    assert not ui.downloadButton.enabled and "already" in ui.downloadButton.toolTip
    row(ui, "large")
    assert ui.downloadButton.enabled and not ui.verifyButton.enabled
    row(ui, "mine")
    assert ui.removeButton.enabled


def test_a_download_shows_bytes_and_can_be_cancelled(panel, ui):
    row(ui, "large")
    ui.downloadButton.click()
    number = process().asked("download")["id"]
    assert process().asked("download")["arguments"] == {"name": "large"}
    process().tell("progress", id=number, stage="download", fraction=0.25, done_bytes=5e8, total_bytes=2e9, eta_s=60.0)
    assert ui.transferBar.value == 25 and "500.0 MB of 2.0 GB" in ui.transferLabel.text
    assert ui.downloadButton.text == "Cancel" and not ui.importFileButton.enabled
    ui.downloadButton.click()
    assert process().asked("cancel")["arguments"] == {"target": number}
    process().tell("cancelled", id=number)
    assert ui.downloadButton.text == "Download" and process().requests[-1]["command"] == "models"


def test_a_model_is_verified_and_a_damaged_one_is_said(panel, ui):
    row(ui, "mine")
    ui.verifyButton.click()
    process().answer("verify", problems=[])
    assert "whole" in ui.transferLabel.text
    ui.verifyButton.click()
    process().answer("verify", problems=["dit.safetensors has been changed."])
    assert "damaged" in ui.problemLabel.text


def test_a_model_is_removed_only_after_a_question(panel, ui, messages):
    row(ui, "mine")
    messages.answers.append(False)
    ui.removeButton.click()
    assert not process().has_asked("remove")
    messages.answers.append(True)
    ui.removeButton.click()
    assert process().asked("remove")["arguments"] == {"name": "mine"}
    process().answer("remove", name="mine")
    assert process().requests[-1]["command"] == "models"


def test_files_and_folders_are_imported(panel, ui, dialogs):
    dialogs.answers.append("/a/model.zip")
    ui.importFileButton.click()
    assert process().asked("import_bundle")["arguments"]["path"] == "/a/model.zip"
    process().answer("import_bundle", name="model", folder="/x")
    dialogs.answers.append("/a/folder")
    ui.importFolderButton.click()
    assert process().asked("import_bundle")["arguments"]["path"] == "/a/folder"
    process().tell("error", id=process().asked("import_bundle")["id"], message="No bundle.", hint="Look.", detail="")
    assert "No bundle." in ui.problemLabel.text and not panel.logic.modelManager.isBusy()


def test_models_can_be_kept_elsewhere(panel, ui, dialogs, tmp_path, waitUntil):
    import qt

    dialogs.answers.append(str(tmp_path))
    ui.changeFolderButton.click()
    assert len(FakeProcess.made) == 2 and process().command[2]["CARDIODIT_CACHE"] == str(tmp_path)
    assert process().has_asked("models")
    qt.QSettings().remove("CardioDiT/CacheFolder")


def test_an_address_is_added(panel, ui):
    assert not ui.addSourceButton.enabled and "address" in ui.addSourceButton.toolTip
    ui.sourceEdit.text = "hf:someone/model@main"
    assert ui.addSourceButton.enabled
    ui.addSourceButton.click()
    assert process().asked("add_source")["arguments"] == {"source": "hf:someone/model@main"}


def test_a_model_card_is_shown(panel, ui, messages):
    row(ui, "acdc-mini")
    ui.modelCardButton.click()
    process().answer("model_card", text="# The card", folder="/x")
    assert messages.texts() == [], "a message box does not scroll"
    assert "The card" in panel.models.card.browser.toPlainText()


def test_published_checkpoints_are_asked_for_with_their_files(panel, tmp_path):
    from CardioDiTModule.PublishedImportDialog import EDITS, FILES, PublishedImportDialog

    dialog = PublishedImportDialog(panel.resourcePath("UI/PublishedImportDialog.ui"))
    assert "four files" in dialog.problem()
    for name, edit in zip(FILES, EDITS):
        (tmp_path / name).write_text("x", encoding="utf-8")
        getattr(dialog.ui, edit).currentPath = str(tmp_path / name)
    assert "name" in dialog.problem()
    dialog.ui.importNameEdit.text = "published"
    dialog.ui.betweenSpin.value = 8.0
    assert dialog.problem() == ""
    assert dialog.arguments()["spacing_mm"] == [1.0, 1.0, 8.0] and dialog.arguments()["name"] == "published"


def test_missing_packages_are_named_and_nothing_runs_before_they_are_there(load, monkeypatch, messages):
    from CardioDiTModule import SharedWorker
    from CardioDiTModule.InstallLogic import InstallLogic, InstallState

    SharedWorker.stopSharedWorker()
    FakeProcess.made.clear()
    monkeypatch.setattr(SharedWorker, "QtProcess", FakeProcess)
    states = [InstallState("torch is missing", ("monai>=1.4",))]
    monkeypatch.setattr(InstallLogic, "state", lambda self: states[-1])
    installed = []
    monkeypatch.setattr(
        InstallLogic, "install", lambda self: installed.append(1) or states.append(InstallState("", ()))
    )
    widget = load(MODULE).widget
    ui = widget.ui
    assert not FakeProcess.made and ui.setupFrame.isVisibleTo(widget.parent)
    assert "PyTorch" in ui.setupLabel.text and "monai" in ui.setupLabel.text
    assert not ui.generateButton.enabled and "packages" in ui.generateButton.toolTip
    messages.answers.append(False)
    ui.installButton.click()
    assert not installed
    messages.answers.append(True)
    ui.installButton.click()
    assert installed and not ui.setupFrame.isVisibleTo(widget.parent) and FakeProcess.made
    SharedWorker.stopSharedWorker()


@pytest.fixture
def library_kept():
    """Reloading lets go of the library, of which other tests of this process hold classes: they need their modules."""
    before = {name: module for name, module in sys.modules.items() if name.split(".")[0] == "CardioDiTLib"}
    yield
    for name in [name for name in sys.modules if name.split(".")[0] == "CardioDiTLib"]:
        del sys.modules[name]
    sys.modules.update(before)


@pytest.mark.usefixtures("library_kept")
def test_the_module_can_be_reloaded_while_a_run_is_on(panel, load, spin):
    accept(panel)
    panel.ui.generateButton.click()
    first = FakeProcess.made[-1]
    panel.onReload()
    spin(10)
    assert not first.running
    import slicer as application

    again = application.modules.CardioDiTWidget
    assert again is not panel and again.ui.generateButton is not None
    sys.modules["CardioDiTModule.SharedWorker"].stopSharedWorker()


def test_the_application_can_end_while_a_run_is_on(panel, app, spin):
    accept(panel)
    panel.ui.generateButton.click()
    first = process()
    app.aboutToQuit.emit()
    spin(10)
    assert not first.running and panel.generate.run is None


# -- hearts with measures that were asked for

QUANTITIES = [
    {
        "name": "edv_ml",
        "meaning": "end-diastolic volume of the left ventricle",
        "unit": "mL",
        "low": 61.4,
        "high": 330.2,
        "usual_low": 90.0,
        "usual_high": 260.0,
    },
    {
        "name": "lv_slices",
        "meaning": "slices that the left ventricle covers",
        "unit": "",
        "low": 5.0,
        "high": 10.0,
        "usual_low": 6.0,
        "usual_high": 9.0,
    },
]


@pytest.fixture
def steered(panel, ui, tmp_path, spin):
    """The panel with a model that can be asked for quantities, chosen."""
    import json

    (tmp_path / "bundle.json").write_text(json.dumps({"name": "mine", "quantities": QUANTITIES}), encoding="utf-8")
    panel.logic.modelManager.model("mine")["folder"] = str(tmp_path)
    ui.bundleCombo.setCurrentIndex(1)
    spin(5)
    return panel


def labelled(tmp_path, number: int = 0) -> dict:
    """A cine that comes with labels, as the worker describes both."""
    from CardioDiTLib.cine import Segmentation
    from CardioDiTLib.service.arrays import describe_segmentation

    cine = described_cine(seed=7 + number)
    labels = np.zeros(cine["array"].shape, np.uint8)
    for frame in range(len(labels)):
        labels[frame, 1, 2 : 6 - frame % 2, 3:7] = 3
        labels[frame, 1, 1, 3:7], labels[frame, 1, 0, 3:7] = 2, 1
    about = Segmentation(labels, np.asarray(cine["affine"]), np.asarray(cine["frame_times"]), cine["meta"])
    np.save(tmp_path / f"image{number}.npy", cine["array"])
    described = describe_segmentation(about, tmp_path / f"labels{number}.npy")
    return {**cine, "array": str(tmp_path / f"image{number}.npy"), "segmentation": described}


def test_what_a_model_can_be_asked_for_is_offered_for_that_model_alone(steered, ui, spin):
    rows = steered.generate.steering.rows
    assert list(rows) == ["edv_ml", "lv_slices", "heart_rate_bpm"]
    assert all(row.any.checked and not row.slider.enabled for row in rows.values())
    assert (rows["edv_ml"].slider.minimum, rows["edv_ml"].slider.maximum) == (62.0, 330.0), "never beyond the range"
    ui.bundleCombo.setCurrentIndex(0)
    spin(5)
    assert list(steered.generate.steering.rows) == ["heart_rate_bpm"]
    assert ui.steeringFrame.layout().count() == 1


def test_what_all_hearts_of_a_model_have_alike_is_not_offered(steered):
    alike = {**QUANTITIES[1], "low": 8.0, "high": 8.0, "usual_low": 8.0, "usual_high": 8.0}
    steered.generate.steering.fill([QUANTITIES[0], alike], {"lv_slices": 8.0})
    assert list(steered.generate.steering.rows) == ["edv_ml", "heart_rate_bpm"]
    assert steered.generate.steering.asked() == {}


def test_what_is_asked_for_goes_into_the_order(steered, ui, spin):
    request = steered.generate.request()
    assert "edv_ml" not in request and "cycle_s" not in request and not ui.guidanceSlider.enabled
    rows = steered.generate.steering.rows
    rows["heart_rate_bpm"].any.checked = False
    rows["heart_rate_bpm"].slider.value = 75
    assert not ui.guidanceSlider.enabled, "a heart rate is nothing to guide towards"
    rows["edv_ml"].any.checked = False
    rows["edv_ml"].slider.value = 180
    assert rows["edv_ml"].slider.enabled and ui.guidanceSlider.enabled
    ui.generateButton.click()
    request = process().asked("generate")["arguments"]["request"]
    assert request["edv_ml"] == 180.0 and request["cycle_s"] == 0.8 and "lv_slices" not in request
    assert request["guidance"] == steered._parameterNode.guidance
    from CardioDiTLib.generation.request import GenerationRequest

    assert GenerationRequest.from_dict(request).quantities(0) == {"edv_ml": 180.0}


def test_an_unusual_value_is_hinted_at(steered):
    row = steered.generate.steering.rows["edv_ml"]
    row.slider.value = 300
    assert row.hint.text == "", "nothing is asked for yet"
    row.any.checked = False
    assert "90 to 260 mL" in row.hint.text and row.hint.toolTip and row.hint.isVisibleTo(row.widget)
    row.slider.value = 200
    assert row.hint.text == "" and not row.hint.isVisibleTo(row.widget)


def test_what_is_asked_for_is_saved_with_the_scene(steered, ui, tmp_path, spin):
    rows = steered.generate.steering.rows
    rows["lv_slices"].any.checked = False
    rows["lv_slices"].slider.value = 8
    ui.bundleCombo.setCurrentIndex(0)
    assert "lv_slices" not in steered.generate.request(), "that model does not know it"
    ui.bundleCombo.setCurrentIndex(1)
    assert steered.generate.request()["lv_slices"] == 8.0
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    slicer.mrmlScene.Clear(0)
    spin(5)
    assert steered.generate.steering.asked() == {}
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    spin(5)
    assert ui.bundleCombo.currentData == "mine" and steered.generate.steering.asked() == {"lv_slices": 8.0}


@pytest.mark.parametrize(
    ("low", "high", "isMeasure", "shown"),
    [(61.4, 330.2, True, (62, 330, 0)), (5.5, 9.0, False, (6, 9, 0)), (0.31, 0.74, True, (0.4, 0.7, 1))],
)
def test_a_slider_never_goes_beyond_what_the_model_has_seen(app, low, high, isMeasure, shown):
    from CardioDiTModule.SteeringRows import shownRange

    assert shownRange(low, high, isMeasure) == shown


def test_labels_that_come_with_a_heart_can_be_measured(steered, ui, tmp_path, waitUntil):
    steered.generate.steering.rows["heart_rate_bpm"].any.checked = False
    steered.generate.steering.rows["heart_rate_bpm"].slider.value = 75
    ui.generateButton.click()
    cine = labelled(tmp_path)
    warning = "300 mL is near the edge of what the model has seen."
    process().answer("generate", cines=[cine], licence={}, seconds=1.0, warnings=[warning])
    waitUntil(lambda: steered.generate.run is None, 5)
    assert ui.progressLabel.text == f"Done. {warning}"
    browser = steered._parameterNode.browser
    labels = steered.function.segmentation
    master = browser.GetMasterSequenceNode()
    count = master.GetNumberOfDataNodes()
    assert labels.sequence.GetNumberOfDataNodes() == count
    for number in range(count):
        assert labels.sequence.GetNthIndexValue(number) == master.GetNthIndexValue(number)
    from CardioDiTModule.SegmentationSequence import SEGMENTS

    for segmentId, colour in labels.colours().items():
        assert colour == pytest.approx(next(one[2] for one in SEGMENTS if one[0] == segmentId), abs=1e-6)
    assert set(labels.colours()) == {"RV", "myocardium", "LV"}
    assert ui.segmentShowCheck.checked and ui.measureButton.enabled and ui.heartRateSpin.value == 75
    browser.SetPlaybackActive(False)
    ui.measureButton.click()
    waitUntil(lambda: process().has_asked("function"), 5)
    order = process().asked("function")["arguments"]
    np.testing.assert_array_equal(np.load(order["segmentation"]["array"]), np.load(cine["segmentation"]["array"]))
    assert order["segmentation"]["meta"]["segmentation"]["edited_frames"] == [] and order["heart_rate_bpm"] == 75


def test_only_the_labels_of_the_heart_that_is_seen_are_shown(steered, ui, tmp_path, waitUntil, spin):
    from CardioDiTModule.SegmentationSequence import SegmentationSequence

    ui.generateButton.click()
    process().answer("generate", cines=[labelled(tmp_path, n) for n in range(3)], licence={}, seconds=1.0)
    waitUntil(lambda: steered.generate.run is None, 5)
    browsers = slicer.util.getNodesByClass("vtkMRMLSequenceBrowserNode")

    def shown():
        return [bool(SegmentationSequence(browser).proxy.GetDisplayVisibility()) for browser in browsers]

    assert shown() == [True, False, False]
    steered.play.show(browsers[2])
    assert shown() == [False, False, True]
    steered.onBrowserChosen(None)
    ui.segmentShowCheck.click()
    assert shown() == [False, False, False]
    steered.play.show(browsers[0])
    steered.play.show(browsers[2])
    assert shown() == [False, False, False], "what the user has hidden stays hidden"


def test_a_heart_that_is_cancelled_while_its_labels_come_leaves_nothing(steered, ui, tmp_path, waitUntil):
    before = nodes()
    ui.generateButton.click()
    run = steered.generate.run
    process().answer("generate", cines=[labelled(tmp_path, n) for n in range(24)], licence={}, seconds=1.0)
    kind = "vtkMRMLSegmentationNode"
    waitUntil(lambda: slicer.util.getNodesByClass(kind) != [], 5)
    assert run.isRunning
    ui.generateButton.click()
    waitUntil(lambda: not run.isRunning, 5)
    assert nodes() == before and slicer.util.getNodesByClass(kind) == []


def test_the_console_asks_for_quantities_and_logs_what_is_said_of_them(panel, tmp_path, caplog):
    import qt

    def answer():
        process().answer("generate", cines=[labelled(tmp_path)], licence={}, seconds=1.0, warnings=["Near the edge."])

    qt.QTimer.singleShot(20, answer)
    browser = panel.logic.generate(seed=7, show=False, bundle="mine", edv_ml=300.0, cycle_s=0.8)
    request = process().asked("generate")["arguments"]["request"]
    assert request["edv_ml"] == 300.0 and request["cycle_s"] == 0.8
    assert "Near the edge." in caplog.text and browser.GetAttribute("CardioDiT.heartRateBpm") == "75"


@pytest.fixture
def gridded(panel, ui, spin):
    """The panel with a model that makes several grids, chosen."""
    panel.logic.modelManager.model("acdc-mini").update(shape=[16, 8, 128, 128], other_grids=None)
    panel.logic.modelManager.model("mine").update(shape=[32, 12, 224, 224], other_grids={"slices": 14, "frames": 40})
    ui.bundleCombo.setCurrentIndex(1)
    spin(5)
    return panel


def test_slices_and_frames_are_shown_for_models_that_make_several_grids_alone(gridded, ui, spin):
    widgets = (ui.slicesLabel, ui.slicesSpin, ui.framesLabel, ui.framesSpin, ui.gridLabel)
    assert all(widget.isVisibleTo(gridded.parent) for widget in widgets)
    assert (ui.slicesSpin.value, ui.framesSpin.value) == (12, 32), "the model's own"
    assert (ui.slicesSpin.minimum, ui.slicesSpin.maximum) == (1, 14)
    assert (ui.framesSpin.minimum, ui.framesSpin.maximum) == (2, 40)
    assert ui.gridLabel.text.startswith("This model makes 1 to 14 slices and 2 to 40 frames; its own are 12 and 32")
    assert {"slices", "frames"}.isdisjoint(gridded.generate.request())
    ui.bundleCombo.setCurrentIndex(0)
    spin(5)
    assert not any(widget.isVisibleTo(gridded.parent) for widget in widgets)


def test_slices_and_frames_go_into_the_order(gridded, ui):
    ui.slicesSpin.value = 9
    assert "frames" not in gridded.generate.request(), "its own is not asked for"
    ui.framesSpin.value = 27
    assert (gridded._parameterNode.slices, gridded._parameterNode.frames) == (9, 27)
    ui.generateButton.click()
    request = process().asked("generate")["arguments"]["request"]
    from CardioDiTLib.generation.request import GenerationRequest

    made = GenerationRequest.from_dict(request)
    assert (made.slices, made.frames) == (9, 27)
    ui.slicesSpin.value = 12
    assert gridded._parameterNode.slices == 0 and "slices" not in gridded.generate.request()
    assert {"slices", "frames"}.isdisjoint(gridded.generate.settings()), "completion has the grid of its cine"


def test_slices_and_frames_are_saved_with_the_scene_and_ignored_by_other_models(gridded, ui, tmp_path, spin):
    ui.slicesSpin.value = 9
    ui.framesSpin.value = 27
    ui.bundleCombo.setCurrentIndex(0)
    spin(5)
    assert {"slices", "frames"}.isdisjoint(gridded.generate.request()), "that model makes one grid"
    assert (gridded._parameterNode.slices, gridded._parameterNode.frames) == (9, 27), "kept for the other one"
    ui.bundleCombo.setCurrentIndex(1)
    spin(5)
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    slicer.mrmlScene.Clear(0)
    spin(5)
    ui.bundleCombo.setCurrentIndex(1)
    assert (ui.slicesSpin.value, ui.framesSpin.value) == (12, 32)
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    spin(5)
    assert (ui.slicesSpin.value, ui.framesSpin.value) == (9, 27) and ui.slicesSpin.isVisibleTo(gridded.parent)
    assert gridded.generate.request()["frames"] == 27


def test_more_than_a_model_makes_becomes_the_most(gridded, ui, spin):
    gridded._parameterNode.slices, gridded._parameterNode.frames = 30, 400
    gridded.generate.updateFromParameterNode()
    request = gridded.generate.request()
    assert (request["slices"], request["frames"]) == (14, 40)
    assert (gridded._parameterNode.slices, gridded._parameterNode.frames) == (30, 400), "nothing was chosen here"


def test_euler_steps_can_be_chosen(panel, ui, spin):
    accept(panel)
    ui.samplerCombo.setCurrentIndex(ui.samplerCombo.count - 1)
    spin(5)
    from CardioDiTLib.generation.request import GenerationRequest

    assert GenerationRequest.from_dict(panel.generate.request()).sampler == "euler"


def test_a_scene_of_another_machine_names_what_is_here_once_it_is_open(panel, ui, tmp_path, spin):
    """What is shown is what is ordered, whatever model and device the scene was saved with."""
    panel._parameterNode.bundle, panel._parameterNode.device = "gone", "cuda:3"
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    slicer.mrmlScene.Clear(0)
    spin(5)
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    spin(10)
    request = panel.generate.request()
    assert (request["bundle"], request["device"]) == (ui.bundleCombo.currentData, ui.deviceCombo.currentData)
    assert (request["bundle"], request["device"]) == ("acdc-mini", "auto")


def test_a_scene_that_is_opened_before_the_models_are_known_keeps_its_model(panel, ui, spin):
    models = panel.logic.modelManager
    known, models.models = models.models, []
    models.modelsChanged.emit([])
    panel._parameterNode.bundle = "mine"
    spin(5)
    panel.generate.updateFromParameterNode()
    models.models = known
    models.modelsChanged.emit(known)
    assert ui.bundleCombo.currentData == panel._parameterNode.bundle == "mine"

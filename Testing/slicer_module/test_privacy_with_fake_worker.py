"""The section Privacy, the gate of Generate and the warning of Export, with a worker that the test plays."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import slicer
from module_under_test import PROBE, FakeProcess, asked, described_cine, process
from module_under_test import finish as finishRun
from refusals import names


def model(name: str, privacy: bool) -> dict:
    licence = {"name": "CC0", "conditions": "None.", "needs_acceptance": False}
    return {
        "name": name,
        "title": name,
        "description": "",
        "version": "1.0.0",
        "state": "installed",
        "origin": "user",
        "problem": "",
        "removable": True,
        "accepted": True,
        "licence": licence,
        "size_bytes": 1000,
        "class_names": [],
        "presets": {"standard": {"steps": 10, "guidance": 1.0}},
        "folder": "/somewhere",
        "has_privacy": privacy,
    }


@pytest.fixture
def firstAnswers():
    """Two models, of which one carries training embeddings."""
    models = [model("tiny", True), model("plain", False)]
    return {
        "models": {"models": models, "folder": "/", "problem": ""},
        "probe": PROBE,
        "estimate": {"presets": {}},
    }


@pytest.fixture
def browser(panel, app):
    return add(panel, app)


def add(panel, app, seed: int = 7, **meta):
    """A cine in the scene, chosen in the section Play."""
    from CardioDiTModule.SequenceBuilder import SequenceBuilder

    browser = SequenceBuilder().build(described_cine(seed, **meta))
    panel.play.show(browser, play=False)
    app.processEvents()
    return browser


def verdict(word: str, **values) -> dict:
    passed = {"passed": True, "failed": False, "undecided": None}[word]
    return {
        "verdict": word,
        "passed": passed,
        "score": 0.912345,
        "threshold": None if passed is None else 0.87,
        "p_value": 0.02,
        "false_alarm": 0.05,
        "hash": "aa" * 8,
        "nearest_hash": "bb" * 8,
        "nearest_file": "",
        "against": "tiny",
        "encoder_sha256": "cd" * 32,
        **values,
    }


def report(count: int, of: int, against: str = "tiny", **values) -> dict:
    return {
        "against": against,
        "sentence": "Copies of training patients were found.",
        "cines": list(range(of)),
        "copies": {"count": count, "of": of, "expected": 0.05},
        "test": {"p_value": 0.001},
        "notes": ["A note."],
        **values,
    }


def finish(panel, waitUntil, verdicts, sets) -> None:
    finishRun("audit_cines", {"cines": verdicts, "sets": sets}, panel.privacy.controls, waitUntil)


def cell(node, row: int, column: str) -> str:
    return node.GetTable().GetValueByName(row, column).ToString()


def test_the_button_says_why_it_cannot_be_clicked(panel, ui, app):
    assert not ui.auditButton.enabled and "section Play" in ui.auditButton.toolTip
    add(panel, app, model="plain")
    assert not ui.auditButton.enabled and "carries no training embeddings" in ui.auditButton.toolTip
    add(panel, app, synthetic=False)
    assert not ui.auditButton.enabled and "No model made this cine" in ui.auditButton.toolTip
    ui.auditAgainstCombo.setCurrentIndex(1)
    assert not ui.auditButton.enabled and "folder of training cines" in ui.auditButton.toolTip
    ui.auditTrainEdit.currentPath = "/somewhere"
    assert ui.auditButton.enabled and ui.auditTrainEdit.isVisibleTo(ui.PrivacySection)
    ui.auditAgainstCombo.setCurrentIndex(0)
    assert not ui.auditTrainEdit.isVisibleTo(ui.PrivacySection)
    add(panel, app, model="tiny")
    assert ui.auditButton.enabled


def test_the_selected_cine_is_audited_and_its_nodes_are_marked(panel, ui, browser, waitUntil):
    assert "Not audited" in ui.exportWarningLabel.text
    ui.falseAlarmSpin.value = 10
    ui.auditButton.click()
    assert ui.auditButton.text == "Cancel" and ui.auditBar.isVisibleTo(ui.PrivacySection)
    order = asked("audit_cines", waitUntil)
    assert order["bundles"] == ["tiny"] and order["false_alarm"] == pytest.approx(0.1) and "train" not in order
    (cine,) = order["cines"]
    np.testing.assert_array_equal(np.load(cine["array"]), described_cine()["array"])
    number = process().asked("audit_cines")["id"]
    process().tell("progress", id=number, stage="embed", step=2, of=4, fraction=0.5, eta_s=3.0)
    assert "2 of 4" in ui.auditLabel.text and ui.auditBar.value == 50
    finish(panel, waitUntil, [verdict("failed")], [report(1, 1)])
    assert ui.auditButton.text == "Audit" and ui.auditLabel.text.startswith("Failed")
    sequence = browser.GetMasterSequenceNode()
    for node in (browser, sequence, browser.GetProxyNode(sequence)):
        assert node.GetAttribute("CardioDiT.audit.verdict") == "failed"
        assert node.GetAttribute("CardioDiT.audit.score") == "0.912345"
        assert node.GetAttribute("CardioDiT.audit.against") == "tiny"
    assert "failed this cine" in ui.exportWarningLabel.text and ui.exportNiftiButton.enabled
    from CardioDiTModule.AuditTable import AuditTable

    node = AuditTable().node
    assert cell(node, 0, "Cine") == "Synthetic DCM seed 7" and cell(node, 0, "Verdict") == "failed"
    assert cell(node, 0, "Nearest embedding") == "bb" * 8 and float(cell(node, 0, "Threshold")) == 0.87
    assert ui.auditTable.isVisibleTo(ui.PrivacySection) and ui.auditNotesLabel.text == "A note."
    assert not Path(cine["array"]).exists(), "files on the way are gone"
    ui.auditButton.click()
    finish(panel, waitUntil, [verdict("passed")], [report(0, 1)])
    assert AuditTable().node is node and ui.exportWarningLabel.text == ""
    assert sequence.GetAttribute("CardioDiT.audit.verdict") == "passed"
    ui.auditButton.click()
    finish(panel, waitUntil, [verdict("undecided")], [report(0, 1)])
    assert sequence.GetAttribute("CardioDiT.audit.threshold") is None and "undecided" in ui.exportWarningLabel.text


def test_all_synthetic_cines_are_audited_together(panel, ui, browser, app, waitUntil):
    add(panel, app, seed=8)
    add(panel, app, seed=9, synthetic=False)
    slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", "empty")
    ui.auditCinesCombo.setCurrentIndex(1)
    ui.auditButton.click()
    order = asked("audit_cines", waitUntil)
    assert [cine["meta"]["seed"] for cine in order["cines"]] == [7, 8] and order["bundles"] == ["tiny", "tiny"]
    assert len({cine["array"] for cine in order["cines"]}) == 2
    finish(panel, waitUntil, [verdict("passed"), verdict("failed")], [report(1, 2)])
    assert ui.auditLabel.text == "1 of 2 cines failed."
    assert "1 of 2 cines failed against the training set of tiny" in ui.auditNotesLabel.text
    assert "Copies of training patients were found." in ui.auditNotesLabel.text


def test_a_folder_of_ones_own_and_the_nearest_cine(panel, ui, browser, waitUntil, tmp_path, app):
    ui.auditAgainstCombo.setCurrentIndex(1)
    ui.auditTrainEdit.currentPath = str(tmp_path / "train")
    ui.auditValidationEdit.currentPath = str(tmp_path / "others")
    assert not ui.nearestButton.enabled and ui.nearestButton.isVisibleTo(ui.PrivacySection)
    ui.auditButton.click()
    order = asked("audit_cines", waitUntil)
    assert order["train"] == str(tmp_path / "train") and order["validation"] == str(tmp_path / "others")
    assert "bundles" not in order
    near = str(tmp_path / "train" / "Doe_Jane.nii.gz")
    finish(panel, waitUntil, [verdict("failed", nearest_file=near, against="folder")], [report(1, 1, "folder")])
    attributes = [
        (n.GetAttribute(a) or "") for n in slicer.util.getNodesByClass("vtkMRMLNode") for a in n.GetAttributeNames()
    ]
    assert not any("Doe" in text for text in attributes)
    assert ui.nearestButton.enabled
    ui.nearestButton.click()
    assert asked("load_cine", waitUntil)["path"] == near and not ui.nearestButton.enabled
    array = tmp_path / "near.npy"
    cine = described_cine(3)
    np.save(array, cine["array"])
    kept = {key: cine[key] for key in ("affine", "frame_times")}
    process().answer("load_cine", cine={**kept, "array": str(array), "meta": {"PatientName": "Doe"}})
    waitUntil(lambda: panel.privacy.beside is None, 5)
    loaded = slicer.util.getNodesByClass("vtkMRMLSequenceBrowserNode")[-1]
    sequence = loaded.GetMasterSequenceNode()
    assert sequence.GetName() == "Nearest training cine " + "bb" * 8 + " sequence"
    assert sequence.GetAttribute("CardioDiT.synthetic") is None
    hierarchy = slicer.mrmlScene.GetSubjectHierarchyNode()
    study = hierarchy.GetItemParent(hierarchy.GetItemByDataNode(loaded))
    assert "Synthetic" not in hierarchy.GetItemName(study)
    assert not any("Doe" in node.GetName() for node in slicer.util.getNodesByClass("vtkMRMLNode"))


def test_cancel_leaves_the_cine_unmarked(panel, ui, browser, waitUntil):
    before = slicer.mrmlScene.GetNumberOfNodes()
    ui.auditButton.click()
    asked("audit_cines", waitUntil)
    number = process().asked("audit_cines")["id"]
    ui.auditButton.click()
    assert process().asked("cancel")["arguments"] == {"target": number}
    process().tell("cancelled", id=number)
    assert ui.auditLabel.text == "Cancelled." and slicer.mrmlScene.GetNumberOfNodes() == before
    assert browser.GetAttribute("CardioDiT.audit.verdict") is None


def test_problems_are_one_sentence(panel, ui, browser, waitUntil):
    ui.auditButton.click()
    asked("audit_cines", waitUntil)
    number = process().asked("audit_cines")["id"]
    process().tell("error", id=number, message="It carries none.", hint="Attach them.", kind="problem", detail="")
    assert ui.problemLabel.text == "It carries none. Attach them."
    ui.auditButton.click()
    asked("audit_cines", waitUntil)
    slicer.mrmlScene.Clear(0)
    waitUntil(lambda: panel.privacy.controls.run is None or process().has_asked("cancel"), 5)
    assert not ui.auditTable.isVisibleTo(ui.PrivacySection)


def test_the_gate_goes_with_models_that_carry_embeddings(panel, ui, waitUntil, tmp_path):
    assert ui.gateCheck.enabled and "drawn again" in ui.gateCheck.toolTip
    ui.gateCheck.checked = True
    ui.falseAlarmSpin.value = 20
    ui.generateButton.click()
    order = process().asked("generate")["arguments"]
    assert order["gate"] is True and order["false_alarm"] == pytest.approx(0.2) and "gate" not in order["request"]
    number = process().asked("generate")["id"]
    process().tell("progress", id=number, stage="judge", step=1, of=1, fraction=0.9, eta_s=None)
    assert "training patients" in ui.progressLabel.text
    audit = {"passed": True, "score": 0.5, "threshold": 0.8, "false_alarm": 0.2, "p_value": 0.7, "drawn": 3}
    cine = described_cine(5, audit=audit)
    np.save(tmp_path / "a.npy", cine["array"])
    process().answer("generate", cines=[{**cine, "array": str(tmp_path / "a.npy")}], drawn=3, rejected=2, seconds=1.0)
    waitUntil(lambda: panel.generate.run is None, 5)
    assert ui.progressLabel.text == "Done. The gate refused 2 of 3 hearts."
    browser = panel.play.browser()
    assert browser.GetAttribute("CardioDiT.audit.verdict") == "passed"
    assert browser.GetAttribute("CardioDiT.audit.against") == "tiny" and ui.exportWarningLabel.text == ""
    ui.bundleCombo.setCurrentIndex(ui.bundleCombo.findData("plain"))
    assert not ui.gateCheck.enabled and "carries no training embeddings" in ui.gateCheck.toolTip
    ui.generateButton.click()
    assert "gate" not in process().asked("generate")["arguments"]
    panel.generate.cancel()


def test_a_gated_cine_that_was_saved_and_loaded_is_still_said_to_have_passed(panel, app):
    from CardioDiTModule.AuditMarks import auditVerdict, exportWarning

    browser = add(panel, app, audit={"passed": True, "score": 0.5})
    assert auditVerdict(browser) == "passed" and exportWarning(browser) == ""
    assert exportWarning(add(panel, app, synthetic=False)) == "" and auditVerdict(None) == ""


def test_the_same_from_the_console(panel, browser, app, monkeypatch):
    from CardioDiTModule.Problem import CardioDiTProblem

    other = add(panel, app, seed=8)
    real = FakeProcess.write

    def write(self, data: bytes) -> None:
        real(self, data)
        request = json.loads(data)
        if request["command"] == "audit_cines":
            words = ["passed", "failed"][-len(request["arguments"]["cines"]) :]
            self.tell("result", id=request["id"], cines=[verdict(word) for word in words], sets=[report(1, len(words))])

    monkeypatch.setattr(FakeProcess, "write", write)
    found = panel.logic.audit(falseAlarm=0.1)
    assert [one["browser"] for one in found] == [browser, other]
    assert [one["verdict"] for one in found] == ["passed", "failed"] and found[0]["name"] == "Synthetic DCM seed 7"
    assert process().asked("audit_cines")["arguments"]["false_alarm"] == 0.1
    (one,) = panel.logic.audit(browser)
    assert one["verdict"] == "failed" and browser.GetAttribute("CardioDiT.audit.verdict") == "failed"
    slicer.mrmlScene.Clear(0)
    with pytest.raises(CardioDiTProblem) as caught:
        panel.logic.audit()
    assert names(str(caught.value), "synthetic", "scene")
    with pytest.raises(CardioDiTProblem) as caught:
        panel.logic.audit([add(panel, app, model=None)])
    assert names(str(caught.value), "model", "training set")


def test_all_choices_are_saved_with_the_scene(panel, ui, tmp_path, spin):
    checks = (ui.gateCheck, ui.landmarksSwapCheck, ui.folderAuditCheck, ui.folderMeasureCheck, ui.folderLandmarksCheck)
    before = [check.checked for check in checks]
    for check in checks:
        check.checked = not check.checked
    ui.falseAlarmSpin.value = 12.5
    combos = (ui.auditCinesCombo, ui.auditAgainstCombo, ui.folderExportCombo)
    for combo in combos:
        combo.setCurrentIndex(1)
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    slicer.mrmlScene.Clear(0)
    spin(20)
    assert [check.checked for check in checks] == before and ui.falseAlarmSpin.value == 5.0
    assert [combo.currentIndex for combo in combos] == [0, 0, 0]
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    spin(20)
    assert [check.checked for check in checks] == [not one for one in before]
    assert ui.falseAlarmSpin.value == 12.5 and panel.privacy.falseAlarm == pytest.approx(0.125)
    assert [combo.currentIndex for combo in combos] == [1, 1, 1]
    assert panel.generate.gate() == {"gate": True, "falseAlarm": pytest.approx(0.125)}

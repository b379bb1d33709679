"""The section Complete and vary, clicked through with a worker that the test plays."""

from __future__ import annotations

import json

import numpy as np
import pytest
import slicer
from measured_cine import described
from module_under_test import PROBE, FakeProcess, asked, process
from test_measuring_with_fake_worker import count_nodes, segment
from test_widget_with_fake_worker import MODELS, QUANTITIES


@pytest.fixture
def firstAnswers():
    models = [{**one, "accepted": True} for one in MODELS]
    return {"models": {"models": models, "folder": "/somewhere", "problem": ""}, "probe": PROBE}


def relist(panel, models) -> None:
    """Let the worker say that it knows other models."""
    panel.logic.modelManager.refresh()
    process().answer("models", models=models, folder="/somewhere", problem="")


def test_without_a_model_or_its_terms_nothing_can_be_made(panel, ui, choose, heart):
    relist(panel, [])
    choose(described(heart.cine))
    assert not ui.completionButton.enabled and "There is no model" in ui.completionButton.toolTip
    relist(panel, [dict(one) for one in MODELS])
    assert not ui.completionButton.enabled and "terms" in ui.completionButton.toolTip
    ui.bundleCombo.setCurrentIndex(ui.bundleCombo.findData("mine"))
    assert ui.completionButton.enabled


def answer(heart, tmp_path, kind: str, real: bool = True, **meta) -> dict:
    """What the worker answers: one cine, made from another."""
    whose = "real" if real else "synthetic"
    note = "Made from a patient's cine, and shows that patient." if real else "Made from a synthetic cine."
    about = {"synthetic": not real, "kind": f"{kind} of a {whose} cine", "model": "tiny", "seed": 4, "note": note}
    np.save(tmp_path / "made.npy", heart.cine.array)
    values = described(heart.cine, **{**about, **meta})
    values.pop("name")
    cine = {**values, "array": str(tmp_path / "made.npy"), "seed": 4, "index": 0}
    return {"cines": [{**cine, "generated_slices": [1, 3], "generated_frames": []}], "warnings": ["Look closely."]}


def finish(panel, command, values, waitUntil):
    asked(command, waitUntil)
    process().answer(command, **values)
    waitUntil(lambda: panel.completion.controls.run is None)


def browsers() -> list:
    return slicer.util.getNodesByClass("vtkMRMLSequenceBrowserNode")


def test_gaps_are_filled_into_a_cine_of_its_own(panel, ui, browser, heart, tmp_path, waitUntil):
    panel._parameterNode.seed = 4
    segment(panel, heart, tmp_path, waitUntil)
    assert ui.completionButton.enabled and not ui.completionStrengthSlider.isVisibleTo(ui.CompletionSection)
    ui.completionGridCombo.setCurrentIndex(1)
    assert not ui.completionButton.enabled and "Say which" in ui.completionButton.toolTip
    ui.completionSlicesEdit.text = " 1,3 "
    assert ui.completionButton.enabled
    ui.completionButton.click()
    order = asked("complete", waitUntil)
    assert (order["missing_slices"], order["missing_frames"], order["on_source"]) == ("1,3", "", True)
    assert (order["bundle"], order["seed"], order["preset"]) == ("acdc-mini", 4, "standard")
    assert "guidance" not in order and "pathology" not in order
    np.testing.assert_array_equal(np.load(order["segmentation"]["array"]), heart.segmentation.array)
    assert ui.completionButton.text == "Cancel"
    number = process().asked("complete")["id"]
    process().tell("progress", id=number, stage="denoise", step=3, of=10, fraction=0.3, eta_s=9)
    assert ui.completionBar.value == 30 and "3 of 10" in ui.completionLabel.text
    finish(panel, "complete", answer(heart, tmp_path, "completion", real=False), waitUntil)
    assert len(browsers()) == 2 and ui.completionLabel.text == "Done. Look closely."
    made = panel.play.browser()
    assert made is not browser and browser.GetScene() is not None and made.GetPlaybackActive()
    proxy = made.GetProxyNode(made.GetMasterSequenceNode())
    assert proxy.GetName().startswith("Completed Synthetic")
    assert proxy.GetAttribute("CardioDiT.kind") == "completion of a synthetic cine"
    assert "Completion of a synthetic cine." in ui.originLabel.text and "seed 4" in ui.originLabel.text


def test_a_variation_of_a_patients_heart_says_whose_it_is(panel, ui, heart, app, tmp_path, waitUntil):
    from CardioDiTModule.SequenceBuilder import SequenceBuilder

    source = SequenceBuilder().build({**described(heart.cine, synthetic=False), "name": "Doe"})
    panel.play.show(source, play=False)
    app.processEvents()
    assert ui.originLabel.text == "", "a loaded cine is not called synthetic"
    ui.completionTaskCombo.setCurrentIndex(1)
    assert not ui.completionSlicesEdit.isVisibleTo(ui.CompletionSection)
    ui.completionStrengthSlider.value = 0.35
    ui.completionButton.click()
    assert asked("vary", waitUntil)["strength"] == pytest.approx(0.35)
    audit = {"passed": False, "score": 0.93, "threshold": 0.87, "p_value": 0.01, "false_alarm": 0.05}
    finish(panel, "vary", answer(heart, tmp_path, "variation", audit=audit), waitUntil)
    made = panel.play.browser()
    sequence = made.GetMasterSequenceNode()
    proxy = made.GetProxyNode(sequence)
    for node in (made, sequence, proxy, sequence.GetNthDataNode(3)):
        assert node.GetAttribute("CardioDiT.kind") == "variation of a real cine"
        assert node.GetAttribute("CardioDiT.synthetic") == "0"
    assert made.GetAttribute("CardioDiT.audit.verdict") == "failed" and proxy.GetName() == "Variation of Doe"
    for label in (ui.originLabel, ui.completionOriginLabel, ui.exportWarningLabel):
        assert "Variation of a real cine. Made from a patient's cine" in label.text
    hierarchy = slicer.mrmlScene.GetSubjectHierarchyNode()
    study = hierarchy.GetItemParent(hierarchy.GetItemByDataNode(proxy))
    assert hierarchy.GetItemName(study) == "Variation of a real cine"


def test_what_hearts_are_asked_to_have_goes_along_with_the_guidance_towards_it(
    panel, ui, choose, heart, tmp_path, waitUntil, spin
):
    """A model of quantities alone: guidance without them is refused."""
    about = {"name": "mine", "quantities": QUANTITIES}
    (tmp_path / "bundle.json").write_text(json.dumps(about), encoding="utf-8")
    panel.logic.modelManager.model("mine")["folder"] = str(tmp_path)
    ui.bundleCombo.setCurrentIndex(1)
    spin(5)
    row = panel.generate.steering.rows["edv_ml"]
    row.any.checked, row.slider.value = False, 180
    panel.generate.steering.rows["heart_rate_bpm"].any.checked = False
    panel._parameterNode.guidance = 2.0
    choose(described(heart.cine))
    ui.completionTaskCombo.setCurrentIndex(1)
    ui.completionButton.click()
    order = asked("vary", waitUntil)
    assert (order["bundle"], order["edv_ml"], order["guidance"]) == ("mine", 180.0, 2.0)
    assert "cycle_s" not in order, "the beat is that of the cine"


def test_cancel_and_problems_leave_the_scene(panel, ui, browser, heart, tmp_path, waitUntil):
    before = count_nodes()
    ui.completionTaskCombo.setCurrentIndex(1)
    ui.completionButton.click()
    asked("vary", waitUntil)
    ui.completionButton.click()
    process().tell("cancelled", id=process().asked("vary")["id"])
    waitUntil(lambda: panel.completion.controls.run is None)
    assert ui.completionLabel.text == "Cancelled." and count_nodes() == before
    process().requests.clear()
    ui.completionButton.click()
    asked("vary", waitUntil)
    process().tell("error", id=process().asked("vary")["id"], message="No heart was found.", hint="Look.", detail="")
    waitUntil(lambda: panel.completion.controls.run is None)
    assert "No heart was found. Look." in ui.problemLabel.text and count_nodes() == before
    # given up while the new cine is being made
    process().requests.clear()
    ui.completionButton.click()
    asked("vary", waitUntil)
    process().answer("vary", **answer(heart, tmp_path, "variation"))
    panel.completion.cancel()
    waitUntil(lambda: panel.completion.controls.run is None)
    assert count_nodes() == before
    assert len(FakeProcess.made) == 1


def test_what_is_chosen_is_saved_with_the_scene(panel, ui, browser, tmp_path, spin):
    ui.completionTaskCombo.setCurrentIndex(1)
    ui.completionStrengthSlider.value = 0.8
    spin(5)
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    slicer.mrmlScene.Clear(0)
    ui.completionTaskCombo.setCurrentIndex(0)
    ui.completionStrengthSlider.value = 0.1
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    spin(10)
    assert ui.completionTaskCombo.currentData == "vary" and ui.completionStrengthSlider.value == pytest.approx(0.8)

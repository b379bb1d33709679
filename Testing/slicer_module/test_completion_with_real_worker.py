"""Completion and variation with the real worker and a tiny bundle, from the console and by a click."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import slicer
from module_under_test import REPOSITORY

pytestmark = pytest.mark.usefixtures("workerEnds")


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    sys.path.insert(0, str(REPOSITORY / "Testing"))
    from tiny_bundle import write_steered_bundle, write_tiny_bundle

    cache = tmp_path_factory.mktemp("cache")
    write_tiny_bundle(cache / "bundles" / "plain")
    write_steered_bundle(cache / "bundles" / "steered")
    return cache


@pytest.fixture
def panel(warmPanel, cache):
    return warmPanel({"CacheFolder": cache})


def arrays(browser):
    sequence = browser.GetMasterSequenceNode()
    count = sequence.GetNumberOfDataNodes()
    return np.stack([slicer.util.arrayFromVolume(sequence.GetNthDataNode(number)) for number in range(count)])


def test_a_heart_is_completed_and_varied(panel, waitUntil):
    from CardioDiTModule.Problem import CardioDiTProblem

    logic, ui = panel.logic, panel.ui
    heart = logic.generate(show=False, seed=5, preset="draft", bundle="plain")
    settings = {"bundle": "plain", "preset": "draft", "seed": 1, "steps": 3}
    filled = logic.complete(heart, missingSlices=[1], onSource=True, **settings)
    before, after = arrays(heart), arrays(filled)
    assert before.shape == after.shape
    others = [z for z in range(before.shape[1]) if z != 1]
    np.testing.assert_array_equal(after[:, others], before[:, others])
    assert np.abs(after[:, 1].astype(float) - before[:, 1]).mean() > 0
    assert filled.GetAttribute("CardioDiT.kind") == "completion of a synthetic cine"
    first, second = logic.vary(heart, strength=0.4, count=2, **settings)
    assert np.abs(arrays(first).astype(float) - arrays(second)).mean() > 0
    np.testing.assert_array_equal(arrays(logic.vary(heart, strength=0.4, **settings)), arrays(first))
    for problem, call in (
        ("no slice 99", lambda: logic.complete(heart, missingSlices=99, **settings)),
        ("Missing frames is 'x'", lambda: logic.complete(heart, missingFrames="x", **settings)),
        ("strength", lambda: logic.vary(heart, strength=2.0, **settings)),
        ("no slice and no frame", lambda: logic.complete(heart, onSource=True, **settings)),
    ):
        with pytest.raises(CardioDiTProblem, match=f"(?i){problem}"):
            call()
    panel.play.show(heart, play=False)
    panel._parameterNode.bundle = "plain"
    ui.stepsSpin.value = 3
    ui.completionTaskCombo.setCurrentIndex(1)
    count = len(slicer.util.getNodesByClass("vtkMRMLSequenceBrowserNode"))
    ui.bundleCombo.setCurrentIndex(ui.bundleCombo.findData("plain"))
    waitUntil(lambda: ui.completionButton.enabled, 10)
    ui.completionButton.click()
    waitUntil(lambda: panel.completion.controls.run is None, 120)
    assert len(slicer.util.getNodesByClass("vtkMRMLSequenceBrowserNode")) == count + 1, ui.problemLabel.text
    assert "Variation of a synthetic cine" in ui.completionOriginLabel.text


def test_a_heart_is_varied_towards_what_it_is_asked_to_have(panel):
    logic = panel.logic
    heart = logic.generate(show=False, seed=5, preset="draft", bundle="steered", edv_ml=120.0)
    settings = {"bundle": "steered", "preset": "draft", "seed": 1, "strength": 0.8, "guidance": 2.0}
    one, other = (logic.vary(heart, edv_ml=volume, **settings) for volume in (90.0, 190.0))
    assert np.abs(arrays(one).astype(float) - arrays(other)).mean() > 0

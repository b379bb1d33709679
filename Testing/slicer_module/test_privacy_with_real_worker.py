"""The section Privacy and the gate with the real worker and a tiny bundle that carries its training embeddings."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from module_under_test import REPOSITORY
from refusals import names

RATE = 0.1
SAMPLE = "CardioDiT-Sunnybrook-ShortAxis.seq.nrrd"
pytestmark = pytest.mark.usefixtures("workerEnds")


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """A cache folder in which the user has the tiny bundle, and one without embeddings."""
    sys.path.insert(0, str(REPOSITORY / "Testing"))
    from privacy_bundle import write_privacy_bundle
    from tiny_bundle import write_tiny_bundle

    cache = tmp_path_factory.mktemp("cache")
    write_privacy_bundle(cache / "bundles" / "guarded", cache / "encoder")
    write_tiny_bundle(cache / "bundles" / "plain")
    return cache


@pytest.fixture
def panel(warmPanel, cache):
    return warmPanel({"CacheFolder": cache, "EncoderModel": cache / "encoder"})


def test_a_copy_fails_and_a_gated_heart_passes(panel, cache, tmp_path, waitUntil):
    from CardioDiTModule.Problem import CardioDiTProblem

    from CardioDiTLib.data.phantom import PhantomSpec, make_phantom
    from CardioDiTLib.io import load_cine, save_cine

    ui, logic = panel.ui, panel.logic
    # the first heart of this seed is a training cine: made without the gate it fails, with it another is drawn
    request = {"seed": 5, "preset": "draft", "bundle": "guarded"}
    copy = logic.generate(show=False, **request)
    panel.play.show(copy, play=False)
    ui.falseAlarmSpin.value = 100 * RATE
    assert ui.auditButton.enabled, ui.auditButton.toolTip
    ui.auditButton.click()
    waitUntil(lambda: panel.privacy.controls.run is None, 120)
    assert not ui.problemFrame.isVisibleTo(panel.parent), ui.problemLabel.text
    assert copy.GetAttribute("CardioDiT.audit.verdict") == "failed"
    assert ui.auditLabel.text.startswith("Failed") and "failed" in ui.exportWarningLabel.text
    gated = logic.generate(show=False, gate=True, falseAlarm=RATE, **request)
    assert gated.GetAttribute("CardioDiT.audit.verdict") == "passed"
    found = logic.audit(falseAlarm=RATE)
    assert [one["browser"] for one in found] == [copy, gated]
    assert [one["verdict"] for one in found] == ["failed", "passed"]

    train = tmp_path / "train"
    train.mkdir()
    logic.export(copy, str(train / "Doe_0.nii.gz"))
    # hearts that differ: where all look alike to the encoder, none is a copy of another
    save_cine(make_phantom(PhantomSpec(seed=1)).cine, train / "Doe_1.nii.gz")
    save_cine(load_cine(REPOSITORY / "Resources" / "SampleData" / SAMPLE), train / "Doe_2.nii.gz")
    ui.auditAgainstCombo.setCurrentIndex(1)
    ui.auditTrainEdit.currentPath = str(train)
    ui.auditButton.click()
    waitUntil(lambda: panel.privacy.controls.run is None, 120)
    assert not ui.problemFrame.isVisibleTo(panel.parent), ui.problemLabel.text
    assert copy.GetAttribute("CardioDiT.audit.verdict") == "failed", "an exact copy counts by itself"
    assert "too few" in ui.auditNotesLabel.text and ui.nearestButton.enabled
    assert Path(panel.privacy._nearestFile()).name == "Doe_0.nii.gz"
    ui.nearestButton.click()
    waitUntil(lambda: panel.privacy.beside is None, 60)
    assert not ui.problemFrame.isVisibleTo(panel.parent), ui.problemLabel.text

    plain = logic.generate(show=False, seed=1, preset="draft", bundle="plain")
    with pytest.raises(CardioDiTProblem) as caught:
        logic.audit(plain)
    assert names(str(caught.value), "plain", "training embeddings")
    with pytest.raises(CardioDiTProblem) as caught:
        logic.generate(show=False, seed=1, preset="draft", bundle="plain", gate=True)
    assert names(str(caught.value), "plain", "training embeddings")

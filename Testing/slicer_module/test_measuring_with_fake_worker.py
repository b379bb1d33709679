"""The sections Landmarks and Function, clicked through with a worker that the test plays."""

from __future__ import annotations

import json

import numpy as np
import pytest
import slicer
from measured_cine import described, landmarks_answer, segmentation_answer
from module_under_test import FakeProcess, asked, finish, process


def segment(panel, heart, tmp_path, waitUntil, synthetic=True) -> None:
    panel.ui.segmentButton.click()
    answer = segmentation_answer(heart.segmentation, tmp_path, synthetic)
    finish("segment", answer, panel.function.segmenting, waitUntil)


def detect(panel, heart, tmp_path, waitUntil) -> None:
    panel.ui.landmarksButton.click()
    finish("landmarks", landmarks_answer(heart.landmarks, tmp_path), panel.landmarks.controls, waitUntil)


def function_answer(order: dict, folder) -> dict:
    """What the worker would answer, by the worker's own functions."""
    from CardioDiTLib.function.cardiac_function import cardiac_function
    from CardioDiTLib.function.outputs import function_table, write_bullseye
    from CardioDiTLib.service.arrays import segmentation_of, track_of

    track = track_of(order["landmarks"]) if "landmarks" in order else None
    report = cardiac_function(segmentation_of(order["segmentation"]), track, order.get("heart_rate_bpm"))
    picture, problem = write_bullseye(report, folder / "bullseye.png")
    values = {"report": json.loads(json.dumps(report.to_dict())), "table": function_table(report)}
    files = [order["path"]] if "path" in order else []
    return {**values, "bullseye": picture, "bullseye_problem": problem, "files": files}


def measure(panel, tmp_path, waitUntil) -> dict:
    panel.ui.measureButton.click()
    order = asked("function", waitUntil)
    finish("function", function_answer(order, tmp_path), panel.function.measuring, waitUntil)
    return order


def count_nodes() -> int:
    return slicer.mrmlScene.GetNumberOfNodes()


def test_nothing_can_be_done_without_a_cine_and_the_buttons_say_why(panel, ui):
    for button in (ui.landmarksButton, ui.segmentButton, ui.measureButton):
        assert not button.enabled and "section Play" in button.toolTip
    for widget in (ui.landmarksExportButton, ui.landmarksShowCheck, ui.segmentShowCheck, ui.reportButton):
        assert not widget.enabled
    assert not ui.functionTable.visible and not ui.chartFrame.visible


def test_landmarks_come_follow_and_can_be_hidden(panel, ui, browser, heart, tmp_path, waitUntil):
    assert ui.landmarksButton.enabled and ui.landmarksButton.text == "Detect"
    ui.landmarksButton.click()
    assert ui.landmarksButton.text == "Cancel" and ui.landmarksBar.isVisibleTo(panel.ui.LandmarksSection)
    order = asked("landmarks", waitUntil)
    assert order["device"] == "auto" and "segmentation" not in order and "swap" not in order
    np.testing.assert_array_equal(np.load(order["cine"]["array"]), heart.cine.array)
    number = process().asked("landmarks")["id"]
    process().tell("progress", id=number, stage="landmarks", step=2, of=8, fraction=0.25, eta_s=12.0)
    assert "2 of 8" in ui.landmarksLabel.text and "12 s" in ui.landmarksLabel.text and ui.landmarksBar.value == 25
    finish("landmarks", landmarks_answer(heart.landmarks, tmp_path), panel.landmarks.controls, waitUntil)
    found, all_points = int(heart.landmarks.found.sum()), heart.landmarks.found.size
    assert f"{found} of {all_points}" in ui.landmarksLabel.text and ui.landmarksButton.text == "Detect"
    proxy = panel.landmarks.landmarks.proxy
    assert proxy.GetDisplayVisibility() and ui.landmarksShowCheck.checked
    ui.landmarksShowCheck.click()
    assert not proxy.GetDisplayVisibility()
    import os

    assert not os.path.exists(order["cine"]["array"]), "files on the way are gone"


def test_points_changed_by_hand_are_replaced_only_after_a_question(
    panel, ui, browser, heart, tmp_path, waitUntil, messages
):
    detect(panel, heart, tmp_path, waitUntil)
    browser.SetSelectedItemNumber(3)
    index = int(np.flatnonzero(heart.landmarks.found[3].ravel())[0])
    panel.landmarks.landmarks.proxy.SetNthControlPointPosition(index, 1.0, 2.0, 3.0)
    messages.answers.append(False)
    ui.landmarksButton.click()
    waitUntil(lambda: panel.landmarks.controls.run is None, 5)
    assert "1 landmarks" in messages.texts()[-1] and not process().has_asked("landmarks")
    assert panel.landmarks.describe().endswith("1 changed by hand.")
    messages.answers.append(True)
    detect(panel, heart, tmp_path, waitUntil)
    assert "by hand" not in panel.landmarks.describe()


def test_landmarks_are_written_by_the_library(panel, ui, browser, heart, tmp_path, waitUntil, dialogs):
    detect(panel, heart, tmp_path, waitUntil)
    dialogs.answers.append(str(tmp_path / "points"))
    ui.landmarksExportButton.click()
    order = asked("save_landmarks", waitUntil)
    assert order["path"] == str(tmp_path / "points.csv")
    from CardioDiTLib.landmarks.files import load_landmarks, save_landmarks
    from CardioDiTLib.service.arrays import track_of

    save_landmarks(track_of(order["landmarks"]), order["path"])
    process().answer("save_landmarks", path=order["path"])
    waitUntil(lambda: "Written" in ui.landmarksLabel.text, 5)
    again = load_landmarks(order["path"])
    np.testing.assert_allclose(again.points, heart.landmarks.points, atol=1e-4)
    assert again.meta["synthetic"] is True and again.meta["landmarks"]["name"] == "tiny"


def test_mirrored_pictures_can_be_told_of(panel, ui, browser, waitUntil):
    ui.landmarksSwapCheck.click()
    ui.landmarksButton.click()
    assert asked("landmarks", waitUntil)["swap"] is True


def test_a_segmentation_goes_along_when_landmarks_are_looked_for(panel, ui, browser, heart, tmp_path, waitUntil):
    segment(panel, heart, tmp_path, waitUntil)
    ui.landmarksButton.click()
    order = asked("landmarks", waitUntil)
    np.testing.assert_array_equal(np.load(order["segmentation"]["array"]), heart.segmentation.array)


def test_segment_measure_see(panel, ui, browser, heart, tmp_path, waitUntil, spin):
    assert not ui.measureButton.enabled and "Segment" in ui.measureButton.toolTip
    segment(panel, heart, tmp_path, waitUntil)
    detect(panel, heart, tmp_path, waitUntil)
    assert ui.measureButton.enabled and ui.reportButton.enabled and "kept" in ui.segmentLabel.text
    ui.heartRateSpin.value = 72
    order = measure(panel, tmp_path, waitUntil)
    assert order["heart_rate_bpm"] == 72.0 and "cine" not in order and "path" not in order
    model = ui.functionTable.model()
    texts = {model.index(r, 0).data(): model.index(r, 1).data() for r in range(model.rowCount())}
    assert float(texts["LV ejection fraction"]) == pytest.approx(58, abs=4)
    assert float(texts["LV cardiac output"]) > 3
    assert "End-diastole is frame 0" in ui.measureLabel.text
    assert ui.functionTable.isVisibleTo(ui.FunctionSection) and ui.chartFrame.isVisibleTo(ui.FunctionSection)
    assert not ui.bullseyeLabel.pixmap.isNull()
    import vtk

    browser.SetPlaybackActive(True)
    told, ids = vtk.vtkCollection(), vtk.vtkIdTypeArray()
    ids.InsertNextValue(5)
    told.AddItem(ids)
    panel.function.chart._view.dataSelected.emit(vtk.vtkStringArray(), told)
    spin(5)
    assert browser.GetSelectedItemNumber() == 5 and not browser.GetPlaybackActive()


def test_measured_is_what_was_corrected_by_hand(panel, ui, browser, heart, tmp_path, waitUntil):
    segment(panel, heart, tmp_path, waitUntil)
    measure(panel, tmp_path, waitUntil)
    from CardioDiTModule.FunctionNodes import FunctionNodes

    nodes = FunctionNodes(browser)
    before, count = nodes.report()["lv_volume_ml"], count_nodes()
    browser.SetSelectedItemNumber(2)
    mask = (heart.segmentation.array[2] == 3).astype(np.uint8)
    mask[4, 20:24, 20:24] = 1
    volume = browser.GetProxyNode(browser.GetMasterSequenceNode())
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask, panel.function.segmentation.proxy, "LV", volume)
    order = measure(panel, tmp_path, waitUntil)
    assert order["segmentation"]["meta"]["segmentation"]["edited_frames"] == [2]
    after = nodes.report()["lv_volume_ml"]
    added = (mask.sum() - (heart.segmentation.array[2] == 3).sum()) * heart.segmentation.voxel_volume_ml
    assert after[2] - before[2] == pytest.approx(added) and after[3] == before[3]
    assert count_nodes() == count, "measured again, the same nodes take the new numbers"


def test_an_edited_segmentation_is_replaced_only_after_a_question(
    panel, ui, browser, heart, tmp_path, waitUntil, messages
):
    segment(panel, heart, tmp_path, waitUntil)
    browser.SetSelectedItemNumber(2)
    panel.function.segmentation.proxy.GetSegmentation().RemoveSegment("RV")
    messages.answers.append(False)
    ui.segmentButton.click()
    waitUntil(lambda: panel.function.segmenting.run is None, 5)
    assert "1 frames" in messages.texts()[-1] and not process().has_asked("segment")
    assert panel.function.segmentation.proxy.GetSegmentation().GetNumberOfSegments() == 2


@pytest.mark.parametrize("name", ["page.html", "numbers.csv", "all.json"])
def test_a_report_is_written_by_the_worker(panel, ui, browser, heart, tmp_path, waitUntil, dialogs, name):
    segment(panel, heart, tmp_path, waitUntil)
    dialogs.answers.append(str(tmp_path / name))
    ui.reportButton.click()
    order = asked("function", waitUntil)
    assert order["path"] == str(tmp_path / name) and order["title"] == "Synthetic heart seed 7"
    assert ("cine" in order) == name.endswith(".html")
    finish("function", function_answer(order, tmp_path), panel.function.measuring, waitUntil)
    assert name in ui.measureLabel.text


def test_the_name_of_a_loaded_cine_is_in_no_report(panel, ui, heart, tmp_path, waitUntil, app):
    from CardioDiTModule.SequenceBuilder import SequenceBuilder

    cine = described(heart.cine)
    cine["meta"], cine["name"] = {}, "Doe^Jane"
    browser = SequenceBuilder().build(cine)
    panel.play.show(browser, play=False)
    app.processEvents()
    segment(panel, heart, tmp_path, waitUntil, synthetic=False)
    panel.function.saveReport(str(tmp_path / "page.html"))
    order = asked("function", waitUntil)
    assert "Doe" not in json.dumps({key: value for key, value in order.items() if key != "path"})
    assert order["title"] == "Cardiac function"


@pytest.mark.parametrize(("button", "command"), [("landmarksButton", "landmarks"), ("segmentButton", "segment")])
def test_cancel_leaves_the_scene_as_it_was(panel, ui, browser, waitUntil, button, command):
    before = count_nodes()
    getattr(ui, button).click()
    asked(command, waitUntil)
    number = process().asked(command)["id"]
    getattr(ui, button).click()
    assert process().asked("cancel")["arguments"] == {"target": number} and not getattr(ui, button).enabled
    process().tell("cancelled", id=number)
    label = ui.landmarksLabel if command == "landmarks" else ui.segmentLabel
    assert label.text == "Cancelled." and count_nodes() == before and getattr(ui, button).enabled


def test_cancel_before_the_order_is_sent_and_while_nodes_are_made(panel, ui, browser, heart, tmp_path, waitUntil, spin):
    before = count_nodes()
    ui.segmentButton.click()
    ui.segmentButton.click()
    waitUntil(lambda: panel.function.segmenting.run is None, 5)
    spin(20)
    assert not process().has_asked("segment") and count_nodes() == before
    ui.segmentButton.click()
    asked("segment", waitUntil)
    process().answer("segment", **segmentation_answer(heart.segmentation, tmp_path))
    ui.segmentButton.click()
    waitUntil(lambda: panel.function.segmenting.run is None, 5)
    spin(20)
    assert count_nodes() == before and panel.function.segmentation.sequence is None


def test_a_problem_is_one_sentence(panel, ui, browser, waitUntil):
    ui.segmentButton.click()
    asked("segment", waitUntil)
    number = process().asked("segment")["id"]
    process().tell("error", id=number, message="There are no weights.", hint="Train one.", kind="problem", detail="")
    assert ui.problemLabel.text == "There are no weights. Train one." and ui.segmentButton.text == "Segment"


def test_a_worker_that_dies_is_one_sentence_and_it_goes_on(panel, ui, browser, heart, tmp_path, waitUntil):
    ui.landmarksButton.click()
    asked("landmarks", waitUntil)
    process().end(9, crashed=True)
    assert "ended from outside" in ui.problemLabel.text and ui.landmarksButton.enabled
    ui.landmarksButton.click()
    waitUntil(lambda: len(FakeProcess.made) == 2, 5)
    process().ready()
    finish("landmarks", landmarks_answer(heart.landmarks, tmp_path), panel.landmarks.controls, waitUntil)
    assert panel.landmarks.landmarks.proxy is not None


def test_a_cine_that_is_taken_away_meanwhile_is_said(panel, ui, browser, heart, tmp_path, waitUntil):
    ui.segmentButton.click()
    asked("segment", waitUntil)
    slicer.mrmlScene.RemoveNode(browser)
    process().answer("segment", **segmentation_answer(heart.segmentation, tmp_path))
    waitUntil(lambda: panel.function.segmenting.run is None, 5)
    assert "no longer in the scene" in ui.problemLabel.text


def test_what_is_no_cine_is_said(panel, ui, app, waitUntil):
    browser = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", "empty")
    ui.browserSelector.setCurrentNode(browser)
    app.processEvents()
    assert ui.segmentButton.enabled
    ui.segmentButton.click()
    waitUntil(lambda: panel.function.segmenting.run is None, 5)
    assert ui.problemFrame.isVisibleTo(panel.parent) and not process().has_asked("segment")


def test_another_cine_has_results_of_its_own(panel, ui, browser, heart, tmp_path, waitUntil, app):
    from CardioDiTModule.SequenceBuilder import SequenceBuilder

    segment(panel, heart, tmp_path, waitUntil)
    measure(panel, tmp_path, waitUntil)
    other = SequenceBuilder().build(described(heart.cine, synthetic=True, seed=8))
    panel.play.show(other, play=False)
    app.processEvents()
    assert not ui.functionTable.isVisibleTo(ui.FunctionSection) and not ui.measureButton.enabled
    assert not ui.landmarksExportButton.enabled
    panel.play.show(browser, play=False)
    app.processEvents()
    assert ui.functionTable.isVisibleTo(ui.FunctionSection) and ui.measureButton.enabled


def test_a_measurement_ends_well_when_another_cine_was_chosen_meanwhile(
    panel, ui, browser, heart, tmp_path, waitUntil, app
):
    from CardioDiTModule.FunctionNodes import FunctionNodes
    from CardioDiTModule.SequenceBuilder import SequenceBuilder

    segment(panel, heart, tmp_path, waitUntil)
    detect(panel, heart, tmp_path, waitUntil)
    ui.measureButton.click()
    order = asked("function", waitUntil)
    panel.play.show(SequenceBuilder().build(described(heart.cine, synthetic=True, seed=8)), play=False)
    app.processEvents()
    finish("function", function_answer(order, tmp_path), panel.function.measuring, waitUntil)
    assert FunctionNodes(browser).table is not None
    assert not ui.functionTable.isVisibleTo(ui.FunctionSection) and not ui.bullseyeLabel.isVisibleTo(ui.FunctionSection)


def test_a_scene_that_is_closed_gives_all_up_and_the_next_one_works(
    panel, ui, browser, heart, tmp_path, waitUntil, spin, app
):
    from CardioDiTModule.SequenceBuilder import SequenceBuilder

    segment(panel, heart, tmp_path, waitUntil)
    measure(panel, tmp_path, waitUntil)
    ui.landmarksButton.click()
    asked("landmarks", waitUntil)
    slicer.mrmlScene.Clear(0)
    assert process().has_asked("cancel")
    process().tell("cancelled", id=process().asked("landmarks")["id"])
    spin(10)
    assert panel.landmarks.controls.run is None and not ui.landmarksButton.enabled
    assert not ui.functionTable.isVisibleTo(ui.FunctionSection) and not ui.chartFrame.isVisibleTo(ui.FunctionSection)
    again = SequenceBuilder().build(described(heart.cine, synthetic=True))
    panel.play.show(again, play=False)
    app.processEvents()
    segment(panel, heart, tmp_path, waitUntil)
    measure(panel, tmp_path, waitUntil)
    assert ui.chartFrame.isVisibleTo(ui.FunctionSection)


def test_a_saved_scene_brings_the_results_back(panel, ui, browser, heart, tmp_path, waitUntil, spin):
    segment(panel, heart, tmp_path, waitUntil)
    detect(panel, heart, tmp_path, waitUntil)
    measure(panel, tmp_path, waitUntil)
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    slicer.mrmlScene.Clear(0)
    spin(5)
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    spin(10)
    assert panel.play.browser() is not None
    assert ui.functionTable.isVisibleTo(ui.FunctionSection) and ui.functionTable.model().rowCount() > 15
    assert panel.function.chart._view.chart().GetNumberOfPlots() == 2
    assert ui.measureButton.enabled and ui.landmarksExportButton.enabled
    assert not slicer.util.getNodesByClass("vtkMRMLPlotViewNode")[1:], "no view node is saved"


def test_leaving_and_coming_back_changes_nothing(panel, ui, browser, heart, tmp_path, waitUntil, spin):
    detect(panel, heart, tmp_path, waitUntil)
    count = count_nodes()
    for _ in range(3):
        panel.enter()
        spin(5)
    assert count_nodes() == count and ui.landmarksExportButton.enabled


def test_a_model_of_ones_own_is_sent_along(panel, ui, browser, waitUntil):
    import qt

    qt.QSettings().setValue("CardioDiT/SegmentationModel", "/my/model")
    try:
        ui.segmentButton.click()
        assert asked("segment", waitUntil)["weights"] == "/my/model"
    finally:
        qt.QSettings().remove("CardioDiT/SegmentationModel")


def test_the_segment_editor_is_opened_on_it(panel, ui, browser, heart, tmp_path, waitUntil, monkeypatch):
    import types

    segment(panel, heart, tmp_path, waitUntil)
    opened, set_nodes = [], []
    editor = types.SimpleNamespace(setSegmentationNode=set_nodes.append, setSourceVolumeNode=set_nodes.append)
    monkeypatch.setattr(slicer.util, "selectModule", opened.append)
    monkeypatch.setattr(slicer.util, "getModuleWidget", lambda name: types.SimpleNamespace(editor=editor))
    browser.SetPlaybackActive(True)
    ui.segmentEditButton.click()
    assert opened == ["SegmentEditor"] and not browser.GetPlaybackActive()
    assert set_nodes == [panel.function.segmentation.proxy, browser.GetProxyNode(browser.GetMasterSequenceNode())]


def test_what_pictures_need_is_installed_after_a_question(panel, ui, messages, monkeypatch):
    from CardioDiTModule.InstallLogic import InstallLogic

    missing, installed = ["matplotlib>=3.8"], []
    monkeypatch.setattr(InstallLogic, "missingForPictures", lambda self: tuple(missing))
    monkeypatch.setattr(InstallLogic, "installForPictures", lambda self: installed.append(missing.pop()))
    assert not ui.picturesButton.isVisibleTo(ui.FunctionSection)
    panel.enter()
    assert ui.picturesButton.isVisibleTo(ui.FunctionSection)
    messages.answers.append(False)
    ui.picturesButton.click()
    assert not installed and "matplotlib" in messages.texts()[-1]
    messages.answers.append(True)
    ui.picturesButton.click()
    assert installed and not ui.picturesButton.isVisibleTo(ui.FunctionSection)
    assert not FakeProcess.made[0].running, "the worker starts anew with what is there now"


def test_a_large_chart_is_shown_in_the_layout(panel, ui, browser, heart, tmp_path, waitUntil):
    segment(panel, heart, tmp_path, waitUntil)
    measure(panel, tmp_path, waitUntil)
    from slicer_standin.application.state import state

    before = state.core.layout_logic.GetLayoutNode().GetViewArrangement()
    ui.chartLayoutButton.click()
    after = state.core.layout_logic.GetLayoutNode().GetViewArrangement()
    assert after != before
    selection = slicer.app.applicationLogic().GetSelectionNode()
    assert selection.GetActivePlotChartID() == panel.function.chart._chart.GetID()
    state.core.layout_logic.GetLayoutNode().SetViewArrangement(before)


def test_no_step_keeps_the_application_waiting(panel, ui, waitUntil, app, tmp_path):
    """A cine of the size that scanners make: no single step of reading or building takes long."""
    import time

    from CardioDiTModule.SegmentationSequence import SegmentationSequence
    from CardioDiTModule.SequenceBuilder import SequenceBuilder

    rng = np.random.default_rng(0)
    shape = (12, 12, 256, 256)
    cine = {
        "array": rng.integers(0, 1000, shape).astype(np.int16),
        "affine": np.diag([1.4, 1.4, 8.0, 1.0]).tolist(),
        "frame_times": [0.03 * frame for frame in range(shape[0])],
        "meta": {},
        "name": "large",
    }
    labels = np.zeros(shape, np.uint8)
    labels[:, 2:10, 100:150, 100:150], labels[:, 2:10, 110:140, 110:140] = 2, 3
    browser = SequenceBuilder().build(cine)
    segmentation = SegmentationSequence(browser)

    def longest(steps) -> float:
        worst = 0.0
        while True:
            began = time.process_time()
            try:
                next(steps)
            except StopIteration:
                return worst
            finally:
                worst = max(worst, time.process_time() - began)

    from CardioDiTModule.CineReader import cineFileSteps

    worst = {
        "build": longest(segmentation.buildSteps({"array": labels, "meta": {}})),
        "read": longest(segmentation.readSteps(str(tmp_path))),
        "cine": longest(cineFileSteps(browser, str(tmp_path))),
    }
    print({name: f"{1000 * seconds:.0f} ms" for name, seconds in worst.items()})
    assert max(worst.values()) < 0.05, worst


# -- surfaces, colours, corrections in neighbouring frames, tables for a spreadsheet


def surface_points(proxy, segment_id="LV") -> int:
    name = slicer.vtkSegmentationConverter.GetSegmentationClosedSurfaceRepresentationName()
    return proxy.GetSegmentation().GetSegment(segment_id).GetRepresentation(name).GetNumberOfPoints()


def test_the_ventricles_beat_as_surfaces(panel, ui, browser, heart, tmp_path, waitUntil):
    from slicer_standin.application.state import state

    assert not ui.segment3DCheck.enabled
    segment(panel, heart, tmp_path, waitUntil)
    ui.segment3DCheck.click()
    waitUntil(lambda: ui.segment3DCheck.enabled, 20)
    proxy = panel.function.segmentation.proxy
    display = proxy.GetDisplayNode()
    assert ui.segment3DCheck.checked and display.GetVisibility3D() and display.GetSegmentOpacity3D("myocardium") < 0.5
    layouts = (slicer.vtkMRMLLayoutNode.SlicerLayoutConventionalView, slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
    assert slicer.app.layoutManager().layout in layouts and state.layouts[-1:] in ([], [layouts[1]])
    volume = (heart.segmentation.array == 3).sum(axis=(1, 2, 3))
    sizes = []
    for frame in range(len(volume)):
        browser.SetSelectedItemNumber(frame)
        slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browser)
        sizes.append(surface_points(proxy))
    assert len(set(sizes)) > 2 and np.argmax(sizes) == np.argmax(volume), "each frame has a surface of its own"
    # they lie where the labels lie
    places = np.argwhere(heart.segmentation.array[-1] == 3)[:, ::-1]
    middle = (heart.segmentation.affine @ np.append(places.mean(axis=0), 1))[:3]
    name = slicer.vtkSegmentationConverter.GetSegmentationClosedSurfaceRepresentationName()
    bounds = np.reshape(proxy.GetSegmentation().GetSegment("LV").GetRepresentation(name).GetBounds(), (3, 2))
    np.testing.assert_allclose(bounds.mean(axis=1), middle, atol=8)
    assert not np.any(np.diff(bounds) < 10)
    ui.segment3DCheck.click()
    assert not display.GetVisibility3D() and panel.function.segmentation.editedSteps is not None
    from CardioDiTModule.Steps import runAtOnce

    assert runAtOnce(panel.function.segmentation.editedSteps()) == [], "surfaces are no corrections"


def test_a_colour_is_that_of_the_segment_in_all_frames(panel, ui, browser, heart, tmp_path, waitUntil):
    import qt

    segment(panel, heart, tmp_path, waitUntil)
    assert ui.colourLVButton.color.blue() > ui.colourLVButton.color.red(), "it shows the colour that it is"
    ui.colourLVButton.color = qt.QColor(200, 30, 40)
    sequence, proxy = panel.function.segmentation.sequence, panel.function.segmentation.proxy
    for frame in range(sequence.GetNumberOfDataNodes()):
        for node in (sequence.GetNthDataNode(frame), proxy):
            found = node.GetSegmentation().GetSegment("LV").GetColor()
            np.testing.assert_allclose(found, (200 / 255, 30 / 255, 40 / 255), atol=1e-3)
    assert panel.function.segmentation.colours()["RV"] == pytest.approx((0.84, 0.37, 0.0))


def labels_now(panel, tmp_path) -> np.ndarray:
    from CardioDiTModule.Steps import runAtOnce

    folder = tmp_path / "now"
    folder.mkdir(exist_ok=True)
    return np.load(runAtOnce(panel.function.segmentation.readSteps(str(folder)))["array"])


def paint(panel, browser, frame: int, slices, label_from: int = 3, label_to: int = 2) -> None:
    """What the Segment Editor does: the labelmap of the frame that is shown is another one."""
    from CardioDiTModule.CineReader import affineOf, framesOf
    from CardioDiTModule.OrientedLabels import OrientedLabels
    from CardioDiTModule.SegmentationSequence import _putLabels

    browser.SetSelectedItemNumber(frame)
    slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browser)
    proxy = panel.function.segmentation.proxy
    volume = framesOf(browser)[0]
    labels = OrientedLabels(affineOf(volume), volume.GetImageData().GetDimensions()[::-1])
    array = np.zeros(labels.shape, np.uint8)
    for value, segment_id in ((1, "RV"), (2, "myocardium"), (3, "LV")):
        labels.addTo(array, value, proxy.GetSegmentation().GetSegment(segment_id))
    for number in slices:
        array[number][array[number] == label_from] = label_to
    _putLabels(proxy, labels.image(array))


def test_edited_slices_are_carried_to_neighbouring_frames_on_request(
    panel, ui, browser, heart, tmp_path, waitUntil, spin
):
    segment(panel, heart, tmp_path, waitUntil)
    before = labels_now(panel, tmp_path).copy()
    count = len(before)
    ui.segmentCarryButton.click()
    waitUntil(lambda: "Nothing was edited" in ui.segmentLabel.text, 5)
    # a slice of the first frame, and the same slice of the one after it: that one stays as it was edited
    paint(panel, browser, 1, [4], label_to=1)
    paint(panel, browser, 0, [4])
    ui.segmentCarrySpin.value = 2
    browser.SetPlaybackActive(True)
    ui.segmentCarryButton.click()
    assert not browser.GetPlaybackActive()
    browser.SetSelectedItemNumber(0)
    waitUntil(lambda: "went into" in ui.segmentLabel.text, 5)
    assert "1 edited slices went into 3 neighbouring" in ui.segmentLabel.text
    after = labels_now(panel, tmp_path)
    for frame in range(count):
        wanted = before[frame].copy()
        if frame in (0, 2, count - 1, count - 2):
            wanted[4] = before[0][4]
            wanted[4][wanted[4] == 3] = 2
        elif frame == 1:
            wanted[4][wanted[4] == 3] = 1
        np.testing.assert_array_equal(after[frame], wanted, err_msg=str(frame))
    # a second click changes nothing more: what was carried is edited now
    ui.segmentCarryButton.click()
    waitUntil(lambda: "went into 0" in ui.segmentLabel.text)
    np.testing.assert_array_equal(labels_now(panel, tmp_path), after)


def test_moved_points_are_carried_to_neighbouring_frames_on_request(panel, ui, browser, heart, tmp_path, waitUntil):
    detect(panel, heart, tmp_path, waitUntil)
    sequence = panel.landmarks.landmarks.sequence
    count = sequence.GetNumberOfDataNodes()
    found = np.argwhere(heart.landmarks.found.all(axis=0).ravel()).ravel()
    index, other = int(found[0]), int(found[1])

    def points(which):
        return np.array([sequence.GetNthDataNode(n).GetNthControlPointPosition(which) for n in range(count)])

    before, untouched = points(index), points(other)
    ui.landmarksCarryButton.click()
    assert "No point" in ui.landmarksLabel.text
    browser.SetSelectedItemNumber(2)
    slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browser)
    sequence.GetNthDataNode(3).SetNthControlPointPosition(index, 1.0, 2.0, 3.0)
    proxy = panel.landmarks.landmarks.proxy
    proxy.SetNthControlPointPosition(index, *(before[2] + (6.0, -3.0, 0.0)))
    ui.landmarksCarrySpin.value = 2
    ui.landmarksCarryButton.click()
    assert "3 points" in ui.landmarksLabel.text
    after = points(index)
    wanted = before.copy()
    wanted[2] += (6.0, -3.0, 0.0)
    wanted[1] += np.array((6.0, -3.0, 0.0)) * 2 / 3
    wanted[3] = (1.0, 2.0, 3.0)  # corrected by hand: it stays
    for far in (0, 4):
        wanted[far] += np.array((6.0, -3.0, 0.0)) / 3
    np.testing.assert_allclose(after, wanted, atol=1e-3)
    np.testing.assert_allclose(points(other), untouched, atol=1e-6)


def test_table_and_curves_are_copied_and_saved_by_one_click(panel, ui, browser, heart, tmp_path, waitUntil, dialogs):
    import csv

    import qt

    assert not ui.copyTableButton.isVisibleTo(ui.FunctionSection)
    segment(panel, heart, tmp_path, waitUntil)
    measure(panel, tmp_path, waitUntil)
    from CardioDiTModule.FunctionNodes import FunctionNodes

    report = FunctionNodes(browser).report()
    ui.copyTableButton.click()
    rows = [line.split("\t") for line in qt.QApplication.clipboard().text().splitlines()]
    assert rows[0] == ["Quantity", "Value", "Unit", "Remark"]
    values = {row[0]: row[1] for row in rows[1:]}
    assert float(values["LV end-diastolic volume"]) == pytest.approx(report["edv_ml"], abs=0.06)
    assert values["LV cardiac output"] == "" or float(values["LV cardiac output"]) > 0
    ui.copyCurvesButton.click()
    lines = qt.QApplication.clipboard().text().splitlines()
    assert lines[0].split("\t")[:2] == ["time (s)", "LV volume (mL)"] and len(lines) == 1 + len(heart.cine.array)
    dialogs.answers.append(str(tmp_path / "numbers"))
    orders = len(process().requests)
    ui.saveCsvButton.click()
    with open(tmp_path / "numbers.csv", encoding="utf-8", newline="") as stream:
        assert next(csv.reader(stream)) == rows[0]
    with open(tmp_path / "numbers_curves.csv", encoding="utf-8", newline="") as stream:
        curve = [float(row["LV volume (mL)"]) for row in csv.DictReader(stream)]
    np.testing.assert_allclose(curve, report["lv_volume_ml"], rtol=1e-4)
    assert len(process().requests) == orders, "nothing is measured anew"
    dialogs.answers.append(str(tmp_path / "gone" / "numbers.csv"))
    ui.saveCsvButton.click()
    assert "could not be written" in ui.problemLabel.text


def test_the_heart_rate_belongs_to_the_cine(panel, ui, browser, heart, app):
    from CardioDiTModule.SequenceBuilder import SequenceBuilder

    ui.heartRateSpin.value = 66
    other = SequenceBuilder().build(described(heart.cine, synthetic=True, model="tiny", seed=8))
    panel.play.show(other, play=False)
    app.processEvents()
    assert ui.heartRateSpin.value == 0
    panel.play.show(browser, play=False)
    app.processEvents()
    assert ui.heartRateSpin.value == 66 and other.GetAttribute("CardioDiT.heartRateBpm") is None

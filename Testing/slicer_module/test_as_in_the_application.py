"""What the real application showed and no test had seen: views, tables, trees, shortcuts, lost corrections."""

from __future__ import annotations

import os
import sys

import numpy as np
import pytest
import slicer
import vtk
from measured_cine import landmarks_answer, segmentation_answer
from module_under_test import OBLIQUE, PROBE, REPOSITORY, FakeProcess, described_cine, finish

CONTROLS = ("Ctrl+Shift+Down", "Ctrl+Shift+Left", "Ctrl+Shift+Right")


def stack(normal: tuple[float, float, float], turn: float = 0.0) -> list[list[float]]:
    """A stack whose slices follow each other along a direction; turned in its plane."""
    k = np.array(normal) / np.linalg.norm(normal)
    i = np.cross([0.2, 0.3, 1.0], k)
    i /= np.linalg.norm(i)
    j = np.cross(k, i)
    i, j = np.cos(turn) * i + np.sin(turn) * j, np.cos(turn) * j - np.sin(turn) * i
    affine = np.eye(4)
    affine[:3, :3] = np.stack([1.4 * i, 1.4 * j, 9.0 * k], axis=1)
    affine[:3, 3] = (40.0, -20.0, 15.0)
    return affine.tolist()


AFFINES = {
    "nearly axial": stack((0.1, 0.2, 0.97)),
    "short axis": OBLIQUE,
    "as in M&Ms": stack((0.66, -0.60, 0.45), 0.4),
    "nearly sagittal": stack((0.9, 0.2, 0.3), 1.1),
    "nearly coronal": stack((0.1, -0.95, 0.25), 2.2),
    "left-handed": (np.array(OBLIQUE) @ np.diag([1, 1, -1, 1])).tolist(),
}


def build(**changes):
    from CardioDiTModule.SequenceBuilder import SequenceBuilder

    return SequenceBuilder().build({**described_cine(), **changes})


def detect(panel, heart, tmp_path, waitUntil):
    panel.ui.landmarksButton.click()
    finish("landmarks", landmarks_answer(heart.landmarks, tmp_path), panel.landmarks.controls, waitUntil)
    return panel.landmarks.landmarks.proxy


def segment(panel, heart, tmp_path, waitUntil):
    panel.ui.segmentButton.click()
    finish("segment", segmentation_answer(heart.segmentation, tmp_path), panel.function.segmenting, waitUntil)
    return panel.function.segmentation.proxy


def axes(name: str) -> np.ndarray:
    """(3, 3): across, up and normal of a slice view in RAS."""
    matrix = slicer.mrmlScene.GetNodeByID(f"vtkMRMLSliceNode{name}").GetSliceToRAS()
    return slicer.util.arrayFromVTKMatrix(matrix)[:3, :3]


def along(affine, axis: int) -> np.ndarray:
    column = np.array(affine)[:3, axis]
    return column / np.linalg.norm(column)


# -- 1: the model card


def test_a_long_model_card_scrolls_in_a_window_that_fits_the_screen(panel, ui, app, messages, spin):
    card = "# Model card\n\n" + "\n\n".join(f"Line {number} of a long card." for number in range(210))
    model = {"name": "m", "title": "M", "state": "installed", "size_bytes": 1, "problem": "", "origin": "user"}
    model |= {"removable": True, "folder": "/m", "licence": {}}
    panel.logic.modelManager.refresh()
    FakeProcess.made[-1].answer("models", models=[model], folder="/m", problem="")
    ui.modelsTable.selectRow(0)
    ui.modelCardButton.click()
    FakeProcess.made[-1].answer("model_card", text=card, folder="/m")
    spin(20)
    dialog, view = panel.models.card.dialog, panel.models.card.browser
    assert messages.texts() == [] and dialog.visible
    assert dialog.height < 700 and panel.models.card.closeButton.visible, "on a screen of 768 lines too"
    assert "Line 209" in view.toPlainText() and view.verticalScrollBar().maximum > 0
    panel.models.card.closeButton.click()
    assert not dialog.visible


# -- 2: planes


@pytest.mark.parametrize("name", AFFINES)
def test_red_is_the_short_axis_and_the_others_are_the_long_ones(panel, name):
    panel.play.show(build(affine=AFFINES[name]), play=False)
    for view, axis in (("Red", 2), ("Green", 1), ("Yellow", 0)):
        assert abs(axes(view)[:, 2] @ along(AFFINES[name], axis)) == pytest.approx(1.0, abs=1e-4), view


@pytest.mark.parametrize("first", AFFINES)
def test_side_by_side_shows_the_same_plane_whatever_the_views_showed(panel, first, app):
    from CardioDiTModule.PrivacyRuns import showSideBySide

    for before in ("nearly axial", "as in M&Ms"):
        panel.play.show(build(affine=AFFINES[before]), play=False)
        left, right = build(affine=AFFINES[first], meta={}), build(affine=AFFINES[first], meta={})
        showSideBySide(left, right)
        assert abs(axes("Red")[:, 2] @ along(AFFINES[first], 2)) == pytest.approx(1.0, abs=1e-4)
        np.testing.assert_allclose(axes("Red"), axes("Yellow"), atol=1e-6)
        volumes = [slicer.mrmlScene.GetNodeByID(f"vtkMRMLSliceCompositeNode{view}") for view in ("Red", "Yellow")]
        assert len({node.GetBackgroundVolumeID() for node in volumes}) == 2
        slicer.mrmlScene.Clear(0)


# -- 3: corrections while the heart beats


def frame_of(browser, sequence, frame: int):
    return sequence.GetDataNodeAtValue(browser.GetMasterSequenceNode().GetNthIndexValue(frame), True)


def test_a_point_that_is_dragged_while_the_heart_beats_is_kept(panel, browser, heart, tmp_path, waitUntil, spin):
    proxy = detect(panel, heart, tmp_path, waitUntil)
    browser.SetPlaybackActive(True)
    spin(80)
    proxy.InvokeEvent(slicer.vtkMRMLMarkupsNode.PointStartInteractionEvent)
    assert not browser.GetPlaybackActive(), "a sequence that plays takes no changes"
    shown = browser.GetSelectedItemNumber()
    index = next(n for n in range(proxy.GetNumberOfControlPoints()) if proxy.GetNthControlPointPositionStatus(n) == 2)
    proxy.SetNthControlPointPosition(index, 11.0, 12.0, 13.0)
    spin(20)
    kept = frame_of(browser, panel.landmarks.landmarks.sequence, shown).GetNthControlPointPosition(index)
    assert tuple(kept) == (11.0, 12.0, 13.0)


def test_detection_ends_with_a_heart_that_stands_still(panel, browser, heart, tmp_path, waitUntil):
    browser.SetPlaybackActive(True)
    detect(panel, heart, tmp_path, waitUntil)
    assert not browser.GetPlaybackActive()


def test_placing_a_point_stops_the_heart(panel, browser, heart, tmp_path, waitUntil):
    proxy = detect(panel, heart, tmp_path, waitUntil)
    browser.SetPlaybackActive(True)
    logic = slicer.app.applicationLogic()
    logic.GetSelectionNode().SetActivePlaceNodeID(proxy.GetID())
    logic.GetInteractionNode().SetCurrentInteractionMode(slicer.vtkMRMLInteractionNode.Place)
    assert not browser.GetPlaybackActive()
    logic.GetInteractionNode().SetCurrentInteractionMode(slicer.vtkMRMLInteractionNode.ViewTransform)


def test_a_tool_of_the_segment_editor_stops_the_heart_and_playing_puts_it_down(
    panel, browser, heart, tmp_path, waitUntil
):
    proxy = segment(panel, heart, tmp_path, waitUntil)
    browser.SetPlaybackActive(True)
    editor = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentEditorNode")
    editor.SetAndObserveSegmentationNode(proxy)
    assert browser.GetPlaybackActive(), "to look at it is no correction"
    editor.SetActiveEffectName("Paint")
    assert not browser.GetPlaybackActive()
    browser.SetPlaybackActive(True)
    assert browser.GetPlaybackActive() and not editor.GetActiveEffectName()


# -- 4, 10: table and chart


def headers(view) -> list[str]:
    import qt

    model = view.model()
    return [model.headerData(column, qt.Qt.Horizontal) for column in range(model.columnCount())]


def test_tables_have_headers_and_no_second_row_of_them(panel, ui, browser, heart, tmp_path, waitUntil, spin):
    from test_measuring_with_fake_worker import function_answer

    segment(panel, heart, tmp_path, waitUntil)
    ui.measureButton.click()
    process = FakeProcess.made[-1]
    waitUntil(lambda: process.has_asked("function"), 5)
    order = process.asked("function")["arguments"]
    process.answer("function", **function_answer(order, tmp_path))
    waitUntil(lambda: panel.function.measuring.run is None, 5)
    assert headers(ui.functionTable) == ["Quantity", "Value", "Unit", "Remark"]
    assert "end-diastolic" in ui.functionTable.model().index(0, 0).data()
    import qt
    from CardioDiTModule.TableNodes import fitTable

    assert ui.functionTable.horizontalHeader().sectionResizeMode(3) == qt.QHeaderView.Stretch
    view = slicer.qMRMLTableView()
    view.resize(400, 220)
    view.show()
    view.setMRMLTableNode(panel.logic.functionTable(browser))
    fitTable(view, remarkLast=True)
    spin(50)
    assert view.wordWrap and view.horizontalHeader().length() <= 400, "no remark lies beyond the edge"
    view.hide()
    # the legend takes the upper third of the chart
    from CardioDiTModule.FunctionNodes import FunctionNodes

    nodes = FunctionNodes(browser)
    chart = nodes.chart
    largest = max(max(nodes.report()[name]) for name in ("lv_volume_ml", "rv_volume_ml"))
    assert not chart.GetYAxisRangeAuto() and chart.GetYAxisRange()[0] == 0.0
    assert chart.GetYAxisRange()[1] * 0.66 > largest


def test_the_audit_has_headers(panel, ui):
    from CardioDiTModule.AuditTable import AuditTable

    numbers = {"score": 0.5, "threshold": None, "p_value": 0.2}
    AuditTable().fill(["one"], [{"verdict": "passed", "hash": "ab", "nearest_hash": "cd", **numbers}], [])
    panel.privacy.showTable()
    assert headers(ui.auditTable)[:2] == ["Cine", "Verdict"]
    assert ui.auditTable.model().index(0, 0).data() == "one"


# -- 5, 6, 7, 9: playing


def test_a_new_heart_stops_the_former_one(panel, app):
    first, second = build(), build()
    panel.play.show(first)
    assert first.GetPlaybackActive()
    panel.play.show(second)
    assert second.GetPlaybackActive() and not first.GetPlaybackActive()


def test_a_cine_that_is_chosen_is_seen_and_the_other_stops(panel, ui, app):
    first, second = build(), build()
    panel.play.show(second)
    ui.browserSelector.setCurrentNode(first)
    ui.browserSelector.nodeActivated.emit(first)
    volume = first.GetProxyNode(first.GetMasterSequenceNode())
    red = slicer.mrmlScene.GetNodeByID("vtkMRMLSliceCompositeNodeRed")
    assert red.GetBackgroundVolumeID() == volume.GetID() and not second.GetPlaybackActive()


def test_the_panel_takes_no_shortcut_from_the_tool_bar(panel, ui):
    found = [child for child in ui.playWidget.children() if child.className() == "QShortcut"]
    assert len(found) >= len(CONTROLS) and not any(shortcut.enabled for shortcut in found)


def test_there_is_one_frame_rate_and_one_loop_switch_and_nothing_before_a_cine(panel, ui, app):
    import qt

    assert not ui.playWidget.isVisibleTo(ui.PlaySection) and not ui.realTimeButton.isVisibleTo(ui.PlaySection)
    browser = build()
    panel.play.show(browser, play=False)
    assert ui.playWidget.isVisibleTo(ui.PlaySection)
    rates = [one for one in ui.PlaySection.findChildren(qt.QDoubleSpinBox) if one.isVisibleTo(ui.PlaySection)]
    assert len(rates) == 1
    assert not [one for one in ui.PlaySection.findChildren(qt.QCheckBox) if one.isVisibleTo(ui.PlaySection)]
    browser.SetRecording(browser.GetMasterSequenceNode(), True)
    for name in ("pushButton_VcrRecord", "pushButton_Snapshot"):
        assert not ui.playWidget.findChild(qt.QObject, name).isVisibleTo(ui.PlaySection)


def test_the_only_cine_is_taken_and_of_two_neither(panel, ui, spin):
    sample = REPOSITORY / "Resources" / "SampleData" / "CardioDiT-Sunnybrook-ShortAxis.seq.nrrd"
    assert ui.browserSelector.currentNode() is None
    slicer.util.loadSequence(str(sample))
    spin(20)
    chosen = ui.browserSelector.currentNode()
    assert chosen is not None and panel._parameterNode.browser is chosen and ui.segmentButton.enabled
    panel._parameterNode.browser = None
    build()
    spin(20)
    assert ui.browserSelector.currentNode() is None


def test_a_cine_that_came_while_the_panel_was_closed_is_taken_when_it_opens(panel, ui, spin):
    panel.parent.exit()
    browser = build()
    spin(20)
    assert panel._parameterNode.browser is None
    panel.parent.enter()
    assert panel._parameterNode.browser is browser


# -- 8: names and the Data tree


def test_the_volume_has_the_name_and_the_tree_knows_all_that_is_in_it(panel, heart, browser, tmp_path, waitUntil):
    from slicer_standin.application.state import state

    detect(panel, heart, tmp_path, waitUntil)
    segment(panel, heart, tmp_path, waitUntil)
    again = build(meta=described_cine()["meta"])
    names = [one.GetProxyNode(one.GetMasterSequenceNode()).GetName() for one in (browser, again)]
    assert names[0] == "Synthetic heart seed 7" and names[1] == "Synthetic DCM seed 7"
    third = build(meta=described_cine()["meta"])
    assert third.GetProxyNode(third.GetMasterSequenceNode()).GetName() == "Synthetic DCM seed 7_1"
    assert third.GetName() == "Synthetic DCM seed 7_1 browser"
    assert state.core.unclaimed() == []
    hierarchy = slicer.mrmlScene.GetSubjectHierarchyNode()
    study = hierarchy.GetItemParent(hierarchy.GetItemByDataNode(browser.GetProxyNode(browser.GetMasterSequenceNode())))
    for node in (panel.landmarks.landmarks.proxy, panel.function.segmentation.proxy):
        assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node)) == study


# -- 11, 12: the worker process


def test_no_file_of_the_current_folder_ends_the_worker(app, tmp_path, monkeypatch, waitUntil):
    from CardioDiTModule.QtProcess import QtProcess
    from CardioDiTModule.SharedWorker import workerCommandLine

    for name in ("random", "json", "numpy", "CardioDiTLib"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit(3)\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    _program, arguments, environment = workerCommandLine()
    output: list[bytes] = []
    process = QtProcess()
    process.outputReceived.connect(output.append)
    process.errorReceived.connect(output.append)
    process.start(sys.executable, arguments, environment)
    waitUntil(lambda: b'"ready"' in b"".join(output) or not process.isRunning(), 60)
    folder = process._folder
    assert b'"ready"' in b"".join(output), b"".join(output)
    process.closeInput()
    waitUntil(lambda: not process.isRunning(), 20)
    assert not os.path.exists(folder)


def test_a_low_priority_is_told(panel, ui, monkeypatch):
    from CardioDiTModule import DeviceNote

    monkeypatch.setattr(DeviceNote, "ownNiceness", lambda: 19)
    panel.generate._showDeviceNote()
    assert "SLICER_BACKGROUND_THREAD_PRIORITY" in ui.deviceLabel.toolTip and "priority" in ui.deviceLabel.text
    monkeypatch.setattr(DeviceNote, "ownNiceness", lambda: 0)
    panel.generate._showDeviceNote()
    assert "priority" not in ui.deviceLabel.text


@pytest.mark.parametrize("version, word", [("2.9.1+cpu", "made for the processor"), ("2.9.1", "driver may be too old")])
def test_a_graphics_card_that_is_not_used_is_explained(panel, ui, monkeypatch, version, word):
    from CardioDiTModule import DeviceNote

    monkeypatch.setattr(DeviceNote, "hasNvidiaDriver", lambda: True)
    panel.generate.setProbe({**PROBE, "versions": {"torch": version}})
    assert word in ui.deviceLabel.text and version in ui.deviceLabel.text and "PyTorch Util" in ui.deviceLabel.text
    gpu = {"name": "cuda:0", "title": "A card", "memory_bytes": 8e9}
    panel.generate.setProbe({**PROBE, "devices": [gpu, *PROBE["devices"]], "has_gpu": True, "versions": {}})
    assert "PyTorch" not in ui.deviceLabel.text
    monkeypatch.setattr(DeviceNote, "hasNvidiaDriver", lambda: False)
    panel.generate.setProbe({**PROBE, "versions": {"torch": version}})
    assert "No graphics card" in ui.deviceLabel.text and "NVIDIA" not in ui.deviceLabel.text


# -- 14, 15: scene


def parameter_nodes() -> int:
    return len(
        [
            n
            for n in slicer.util.getNodesByClass("vtkMRMLScriptedModuleNode")
            if n.GetAttribute("ModuleName") == "CardioDiT"
        ]
    )


def test_a_scene_that_is_closed_behind_the_panel_stays_empty(panel):
    panel.parent.exit()
    slicer.mrmlScene.Clear(0)
    assert parameter_nodes() == 0
    panel.parent.enter()
    assert parameter_nodes() == 1
    slicer.mrmlScene.Clear(0)
    assert parameter_nodes() == 1, "where the panel is open"


def test_saving_touches_no_frame(panel, browser, heart, tmp_path, waitUntil):
    proxies = [detect(panel, heart, tmp_path, waitUntil), segment(panel, heart, tmp_path, waitUntil)]
    proxies.append(browser.GetProxyNode(browser.GetMasterSequenceNode()))
    assert all(proxy.GetStorageNode() is not None for proxy in proxies), "made in advance, not while it is saved"
    changed: list[str] = []
    tags = []
    for proxy in proxies:
        sequence = browser.GetSequenceNode(proxy)
        tags.append(
            (sequence, sequence.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda s, _e: changed.append(s.GetName())))
        )
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    for sequence, tag in tags:
        sequence.RemoveObserver(tag)
    slicer.mrmlScene.Clear(0)
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    from CardioDiTModule.CineReader import cineBrowsers
    from CardioDiTModule.LandmarkSequence import LandmarkSequence
    from CardioDiTModule.SegmentationSequence import SegmentationSequence
    from CardioDiTModule.Steps import runAtOnce

    (loaded,) = cineBrowsers()
    assert runAtOnce(SegmentationSequence(loaded).editedSteps()) == []
    assert runAtOnce(LandmarkSequence(loaded).editedSteps()) == []

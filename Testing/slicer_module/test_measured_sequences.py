"""Segmentations, landmarks and numbers of a cine as nodes: on its index, edited by hand, saved, read back."""

from __future__ import annotations

import json

import numpy as np
import pytest
import slicer
import vtk
from measured_cine import FRAMES, described, landmarks_answer, segmentation_answer
from module_under_test import MODULE_FOLDER  # noqa: F401 - puts the module on the path
from refusals import names


@pytest.fixture
def browser(scene, heart):
    from CardioDiTModule.SequenceBuilder import SequenceBuilder

    return SequenceBuilder().build(described(heart.cine, synthetic=True, model="tiny", seed=7))


@pytest.fixture
def segmentation(browser, heart, tmp_path):
    from CardioDiTModule.SegmentationSequence import SegmentationSequence
    from CardioDiTModule.Steps import runAtOnce

    segmentation = SegmentationSequence(browser)
    runAtOnce(segmentation.buildSteps(segmentation_answer(heart.segmentation, tmp_path)["segmentation"]))
    return segmentation


@pytest.fixture
def landmarks(browser, heart, tmp_path):
    from CardioDiTModule.LandmarkSequence import LandmarkSequence
    from CardioDiTModule.Steps import runAtOnce

    landmarks = LandmarkSequence(browser)
    runAtOnce(landmarks.buildSteps(landmarks_answer(heart.landmarks, tmp_path)["landmarks"]))
    return landmarks


def read(sequence, tmp_path):
    from CardioDiTModule.Steps import runAtOnce

    values = runAtOnce(sequence.readSteps(str(tmp_path)))
    return values, np.load(values["array"], allow_pickle=False)


def edited(sequence):
    from CardioDiTModule.Steps import runAtOnce

    return runAtOnce(sequence.editedSteps())


def index_texts(sequence):
    return [sequence.GetNthIndexValue(number) for number in range(sequence.GetNumberOfDataNodes())]


def test_a_cine_is_written_frame_by_frame_as_it_is(browser, heart, tmp_path):
    from CardioDiTModule.CineReader import cineFileSteps, cineOfBrowser
    from CardioDiTModule.Steps import runAtOnce

    from CardioDiTLib.service.arrays import cine_of

    values = runAtOnce(cineFileSteps(browser, str(tmp_path)))
    cine = cine_of(values)
    np.testing.assert_array_equal(cine.array, heart.cine.array)
    np.testing.assert_allclose(cine.affine, heart.cine.affine, atol=1e-5)
    np.testing.assert_allclose(cine.frame_times, heart.cine.frame_times, atol=1e-6)
    assert cine.meta["seed"] == 7 and "name" not in values
    np.testing.assert_array_equal(cineOfBrowser(browser)["array"], heart.cine.array)


def test_both_sequences_carry_the_very_index_texts_of_the_cine(browser, segmentation, landmarks):
    cine = index_texts(browser.GetMasterSequenceNode())
    assert len(cine) == FRAMES
    for sequence in (segmentation.sequence, landmarks.sequence):
        assert index_texts(sequence) == cine
        assert sequence.GetIndexUnit() == "s" and sequence.GetIndexName() == "time"
        assert browser.GetSaveChanges(sequence)
    assert not browser.GetSaveChanges(browser.GetMasterSequenceNode())


def test_labels_come_back_as_they_went_in(browser, segmentation, heart, tmp_path):
    values, array = read(segmentation, tmp_path)
    np.testing.assert_array_equal(array, heart.segmentation.array)
    assert edited(segmentation) == [] and values["meta"]["segmentation"]["edited_frames"] == []
    assert values["meta"]["segmentation"]["version"] == "0.1.0" and values["meta"]["synthetic"] is True
    from CardioDiTLib.service.arrays import segmentation_of

    assert segmentation_of(values).voxel_volume_ml == pytest.approx(heart.segmentation.voxel_volume_ml)


def test_the_segmentation_says_what_it_is(browser, segmentation):
    proxy, sequence = segmentation.proxy, segmentation.sequence
    inside = proxy.GetSegmentation()
    assert [inside.GetNthSegmentID(n) for n in range(3)] == ["RV", "myocardium", "LV"]
    assert [inside.GetNthSegment(n).GetName() for n in range(3)] == ["Right ventricle", "Myocardium", "Left ventricle"]
    assert inside.GetNumberOfLayers() == 1, "one labelmap for all three"
    for node in (proxy, sequence, sequence.GetNthDataNode(FRAMES - 1)):
        assert node.GetAttribute("CardioDiT.synthetic") == "1"
        assert node.GetAttribute("CardioDiT.segmentation.name") == "tiny"
        assert node.GetAttribute("CardioDiT.segmentation.sha256") == "cd" * 32
        assert node.GetAttribute("CardioDiT.source") == browser.GetMasterSequenceNode().GetID()
    assert proxy.GetName().startswith("Segmentation Synthetic") and proxy.GetDisplayNode() is not None


def test_all_follow_the_frame_that_is_shown(browser, segmentation, landmarks, heart):
    volume = browser.GetProxyNode(browser.GetMasterSequenceNode())
    for frame in (0, 3, FRAMES - 1):
        browser.SetSelectedItemNumber(frame)
        slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browser)
        np.testing.assert_array_equal(slicer.util.arrayFromVolume(volume), heart.cine.array[frame])
        lv = slicer.util.arrayFromSegmentBinaryLabelmap(segmentation.proxy, "LV", volume)
        np.testing.assert_array_equal(lv > 0, heart.segmentation.array[frame] == 3)
        found = heart.landmarks.found[frame].ravel()
        for index in range(landmarks.proxy.GetNumberOfControlPoints()):
            if found[index]:
                place = landmarks.proxy.GetNthControlPointPosition(index)
                np.testing.assert_allclose(place, heart.landmarks.points[frame].reshape(-1, 3)[index], atol=1e-4)


def test_points_are_named_by_slice_and_lost_ones_have_no_place(landmarks, heart):
    proxy = landmarks.proxy
    assert proxy.GetNumberOfControlPoints() == 2 * heart.cine.n_slices
    assert [proxy.GetNthControlPointLabel(n) for n in range(8)] == [f"{k} {s}" for s in range(4) for k in "AI"]
    assert "anterior" in proxy.GetNthControlPointDescription(6)
    assert not heart.landmarks.found.all(), "the phantom has slices without a right ventricle"
    for frame in range(FRAMES):
        node = landmarks.sequence.GetNthDataNode(frame)
        status = [node.GetNthControlPointPositionStatus(n) for n in range(node.GetNumberOfControlPoints())]
        found = heart.landmarks.found[frame].ravel()
        assert status == [node.PositionDefined if there else node.PositionUndefined for there in found]
    assert landmarks.countFound() == (int(heart.landmarks.found.sum()), heart.landmarks.found.size)
    assert landmarks.sequence.GetAttribute("CardioDiT.landmarks.method") == "network"


def test_points_come_back_as_they_went_in(landmarks, heart, tmp_path):
    values, array = read(landmarks, tmp_path)
    np.testing.assert_allclose(array[..., :3], heart.landmarks.points, atol=1e-4)
    np.testing.assert_allclose(array[..., 3], np.nan_to_num(heart.landmarks.confidence), atol=1e-3)
    assert values["meta"]["landmarks"]["edited_points"] == 0 and edited(landmarks) == []
    from CardioDiTLib.service.arrays import track_of

    assert track_of(values).found.sum() == heart.landmarks.found.sum()


def test_a_point_that_is_moved_stays_in_its_frame_alone(browser, landmarks, heart, tmp_path):
    index = int(np.flatnonzero(heart.landmarks.found[2].ravel())[0])
    lost = int(np.flatnonzero(~heart.landmarks.found[2].ravel())[0])
    browser.SetSelectedItemNumber(2)
    landmarks.proxy.SetNthControlPointPosition(index, 11.0, 12.0, 13.0)
    landmarks.proxy.SetNthControlPointPosition(lost, 1.0, 2.0, 3.0)
    for frame in (*range(FRAMES), 2):
        browser.SetSelectedItemNumber(frame)
    assert tuple(landmarks.proxy.GetNthControlPointPosition(index)) == (11.0, 12.0, 13.0)
    values, array = read(landmarks, tmp_path)
    flat = array.reshape(FRAMES, -1, 4)
    assert flat[2, index].tolist() == [11.0, 12.0, 13.0, 1.0] and flat[2, lost].tolist() == [1.0, 2.0, 3.0, 1.0]
    assert edited(landmarks) == sorted([(2, index), (2, lost)]) and values["meta"]["landmarks"]["edited_points"] == 2
    others = [frame for frame in range(FRAMES) if frame != 2]
    np.testing.assert_allclose(array[others][..., :3], heart.landmarks.points[others], atol=1e-4)
    assert index_texts(landmarks.sequence) == index_texts(browser.GetMasterSequenceNode())


def test_a_segment_that_is_edited_stays_in_its_frame_alone(browser, segmentation, heart, tmp_path):
    volume = browser.GetProxyNode(browser.GetMasterSequenceNode())
    browser.SetSelectedItemNumber(5)
    mask = (heart.segmentation.array[5] == 3).astype(np.uint8)
    mask[0, :3, :3] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask, segmentation.proxy, "LV", volume)
    for frame in (*range(FRAMES), 5):
        browser.SetSelectedItemNumber(frame)
    values, array = read(segmentation, tmp_path)
    assert edited(segmentation) == [5] and values["meta"]["segmentation"]["edited_frames"] == [5]
    assert (array[5] == 3).sum() == (heart.segmentation.array[5] == 3).sum() + 9
    others = [frame for frame in range(FRAMES) if frame != 5]
    np.testing.assert_array_equal(array[others], heart.segmentation.array[others])


def test_a_segment_that_is_taken_away_is_background(browser, segmentation, tmp_path):
    browser.SetSelectedItemNumber(1)
    segmentation.proxy.GetSegmentation().RemoveSegment("RV")
    _values, array = read(segmentation, tmp_path)
    assert (array[1] == 1).sum() == 0 and (array[0] == 1).sum() > 0 and edited(segmentation) == [1]


def test_a_segmentation_on_another_grid_is_brought_to_that_of_the_cine(browser, segmentation, heart, tmp_path):
    """As the Segment Editor leaves it: the labelmap is cropped to what it holds."""
    node = segmentation.sequence.GetNthDataNode(3)
    from CardioDiTModule.OrientedLabels import OrientedLabels

    name = slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName()
    image = node.GetSegmentation().GetSegment("LV").GetRepresentation(name)
    cropped = slicer.vtkOrientedImageData()
    where = np.argwhere(heart.segmentation.array[3] > 0)
    low, high = where.min(axis=0)[::-1], where.max(axis=0)[::-1]
    extent = [int(value) for pair in zip(low, high) for value in pair]
    slicer.vtkOrientedImageDataResample.CopyImage(image, cropped, extent)
    assert cropped.GetDimensions() != image.GetDimensions()
    image.DeepCopy(cropped)
    _values, array = read(segmentation, tmp_path)
    np.testing.assert_array_equal(array[3], heart.segmentation.array[3])
    empty = OrientedLabels(heart.cine.affine, heart.cine.shape[1:])
    assert empty.image(np.zeros(heart.cine.shape[1:])).GetDimensions() == heart.cine.shape[:0:-1]


def test_made_anew_they_take_the_place_of_the_old_ones(browser, segmentation, landmarks, heart, tmp_path):
    from CardioDiTModule.Steps import runAtOnce

    before = slicer.mrmlScene.GetNumberOfNodes()
    names = (segmentation.proxy.GetName(), landmarks.sequence.GetName())
    old = (segmentation.sequence.GetID(), landmarks.sequence.GetID())
    runAtOnce(segmentation.buildSteps(segmentation_answer(heart.segmentation, tmp_path)["segmentation"]))
    runAtOnce(landmarks.buildSteps(landmarks_answer(heart.landmarks, tmp_path)["landmarks"]))
    assert slicer.mrmlScene.GetNumberOfNodes() == before
    assert (segmentation.proxy.GetName(), landmarks.sequence.GetName()) == names
    assert not any(slicer.mrmlScene.GetNodeByID(name) for name in old)


@pytest.mark.parametrize("kind", ["segmentation", "landmarks"])
def test_stopped_half_way_the_scene_is_as_it_was(browser, heart, tmp_path, kind):
    from CardioDiTModule.LandmarkSequence import LandmarkSequence
    from CardioDiTModule.SegmentationSequence import SegmentationSequence

    before = slicer.mrmlScene.GetNumberOfNodes()
    if kind == "segmentation":
        steps = SegmentationSequence(browser).buildSteps(segmentation_answer(heart.segmentation, tmp_path)[kind])
    else:
        steps = LandmarkSequence(browser).buildSteps(landmarks_answer(heart.landmarks, tmp_path)[kind])
    next(steps)
    next(steps)
    steps.close()
    assert slicer.mrmlScene.GetNumberOfNodes() == before


def test_a_cine_that_goes_while_nodes_are_made_is_said(browser, heart, tmp_path):
    from CardioDiTModule.Problem import CardioDiTProblem
    from CardioDiTModule.SegmentationSequence import SegmentationSequence

    steps = SegmentationSequence(browser).buildSteps(segmentation_answer(heart.segmentation, tmp_path)["segmentation"])
    next(steps)
    slicer.mrmlScene.Clear(0)
    with pytest.raises(CardioDiTProblem, match="no longer"):
        next(steps)


def test_made_while_a_late_frame_is_shown_every_frame_is_right(browser, heart, tmp_path):
    from CardioDiTModule.SegmentationSequence import SegmentationSequence
    from CardioDiTModule.Steps import runAtOnce

    browser.SetSelectedItemNumber(6)
    segmentation = SegmentationSequence(browser)
    runAtOnce(segmentation.buildSteps(segmentation_answer(heart.segmentation, tmp_path)["segmentation"]))
    _values, array = read(segmentation, tmp_path)
    np.testing.assert_array_equal(array, heart.segmentation.array)


@pytest.mark.parametrize("right_handed", [True, False])
def test_a_saved_scene_brings_all_back(scene, heart, tmp_path, right_handed):
    """A left-handed stack comes back with its slices in the other order: numbers of slices are not what they were."""
    from CardioDiTModule.CineReader import affineOf, framesOf
    from CardioDiTModule.LandmarkSequence import LandmarkSequence
    from CardioDiTModule.SegmentationSequence import SegmentationSequence
    from CardioDiTModule.SequenceBuilder import SequenceBuilder
    from CardioDiTModule.Steps import runAtOnce

    from CardioDiTLib.service.arrays import track_of

    made = heart if not right_handed else turned(heart)
    assert (np.linalg.det(made.cine.affine[:3, :3]) > 0) == right_handed
    browser = SequenceBuilder().build(described(made.cine, synthetic=True))
    labels, points = SegmentationSequence(browser), LandmarkSequence(browser)
    runAtOnce(labels.buildSteps(segmentation_answer(made.segmentation, tmp_path)["segmentation"]))
    runAtOnce(points.buildSteps(landmarks_answer(made.landmarks, tmp_path)["landmarks"]))
    index = int(np.flatnonzero(made.landmarks.found[2].ravel())[0])
    browser.SetSelectedItemNumber(2)
    points.proxy.SetNthControlPointPosition(index, 11.0, 12.0, 13.0)
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    slicer.mrmlScene.Clear(0)
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    again = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLSequenceBrowserNode")
    labels, points = SegmentationSequence(again), LandmarkSequence(again)
    kept = np.allclose(affineOf(framesOf(again)[0]), made.cine.affine, atol=1e-4)
    order = slice(None) if kept else slice(None, None, -1)
    assert kept == right_handed
    _values, array = read(labels, tmp_path)
    np.testing.assert_array_equal(array, made.segmentation.array[:, order])
    assert edited(labels) == [] and edited(points) == [(2, index)]
    values, array = read(points, tmp_path)
    there = made.landmarks.points.reshape(FRAMES, -1, 3).copy()
    there[2, index] = (11.0, 12.0, 13.0)
    there = there.reshape(made.landmarks.points.shape)[:, order]
    np.testing.assert_allclose(array[..., :3], there, atol=1e-3)
    assert track_of(values).meta["synthetic"] is True
    assert index_texts(points.sequence) == index_texts(again.GetMasterSequenceNode())
    assert points.sequence.GetAttribute("CardioDiT.synthetic") == "1"


def turned(heart):
    """The same heart with its slices in the other order."""
    from dataclasses import replace

    last = heart.cine.n_slices - 1
    affine = heart.cine.affine @ np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, -1, last], [0, 0, 0, 1]], float)
    return replace(
        heart,
        cine=replace(heart.cine, array=heart.cine.array[:, ::-1].copy(), affine=affine),
        segmentation=replace(heart.segmentation, array=heart.segmentation.array[:, ::-1].copy(), affine=affine),
        landmarks=replace(
            heart.landmarks,
            points=heart.landmarks.points[:, ::-1].copy(),
            confidence=heart.landmarks.confidence[:, ::-1].copy(),
        ),
    )


def test_an_own_segmentation_of_the_user_is_read_by_its_names(browser, heart, tmp_path):
    from CardioDiTModule.SegmentationSequence import SegmentationSequence

    volume = browser.GetProxyNode(browser.GetMasterSequenceNode())
    own = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceNode", "mine")
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "mine")
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    node.GetSegmentation().AddEmptySegment("Segment_1", "left ventricle")
    for frame, value in enumerate(index_texts(browser.GetMasterSequenceNode())):
        mask = (heart.segmentation.array[frame] == 3).astype(np.uint8)
        slicer.util.updateSegmentBinaryLabelmapFromArray(mask, node, "Segment_1", volume)
        own.SetDataNodeAtValue(node, value)
    browser.AddProxyNode(node, own, False)
    _values, array = read(SegmentationSequence(browser), tmp_path)
    np.testing.assert_array_equal(array, 3 * (heart.segmentation.array == 3))


def test_missing_things_are_one_sentence(browser, tmp_path):
    from CardioDiTModule.LandmarkSequence import LandmarkSequence
    from CardioDiTModule.Problem import CardioDiTProblem
    from CardioDiTModule.SegmentationSequence import SegmentationSequence

    with pytest.raises(CardioDiTProblem, match="no segmentation"):
        read(SegmentationSequence(browser), tmp_path)
    with pytest.raises(CardioDiTProblem, match="no landmarks"):
        read(LandmarkSequence(browser), tmp_path)
    assert SegmentationSequence(None).proxy is None and LandmarkSequence(None).sequence is None


def test_numbers_and_curves_become_tables_and_a_chart(browser, heart):
    from CardioDiTModule.FunctionNodes import FunctionNodes
    from CardioDiTModule.Steps import runAtOnce

    from CardioDiTLib.function.cardiac_function import cardiac_function
    from CardioDiTLib.function.outputs import function_table

    report = cardiac_function(heart.segmentation, heart.landmarks)
    values = {"report": json.loads(json.dumps(report.to_dict())), "table": function_table(report)}
    nodes = FunctionNodes(browser)
    table = runAtOnce(nodes.buildSteps(values))
    assert nodes.table is table and table.GetName().startswith("Function ")
    inside = table.GetTable()
    rows = {inside.GetValue(r, 0).ToString(): r for r in range(table.GetNumberOfRows())}
    assert inside.GetValueByName(rows["LV ejection fraction"], "Value").ToDouble() == round(report.ef_percent, 1)
    assert inside.GetValueByName(rows["LV end-diastolic volume"], "Unit").ToString() == "mL"
    output = rows["LV cardiac output"]
    known = np.isfinite(report.cardiac_output_l_min)
    assert bool(inside.GetValueByName(output, "Remark").ToString()) != known
    curves = nodes.chart.GetNthPlotSeriesNode(0).GetTableNode()
    assert curves.GetColumnUnitLabel("LV volume") == "mL" and curves.GetColumnUnitLabel("time") == "s"
    np.testing.assert_allclose(slicer.util.arrayFromTableColumn(curves, "LV volume"), report.lv_volume_ml)
    assert nodes.chart.GetNumberOfPlotSeriesNodes() == 2 and nodes.report()["ed_frame"] == report.ed_frame
    count = slicer.mrmlScene.GetNumberOfNodes()
    assert runAtOnce(nodes.buildSteps(values)) is table and slicer.mrmlScene.GetNumberOfNodes() == count


def test_a_click_on_a_point_of_the_chart_shows_its_frame(browser, heart, app, spin):
    """The real view tells of a click before the point is marked, and of a box afterwards."""
    import qt
    from CardioDiTModule.FunctionNodes import FunctionNodes
    from CardioDiTModule.SharedWorker import later
    from CardioDiTModule.Steps import runAtOnce
    from CardioDiTModule.VolumeChart import VolumeChart

    from CardioDiTLib.function.cardiac_function import cardiac_function
    from CardioDiTLib.function.outputs import function_table

    report = cardiac_function(heart.segmentation)
    nodes = FunctionNodes(browser)
    runAtOnce(nodes.buildSteps({"report": report.to_dict(), "table": function_table(report)}))
    frame = qt.QFrame()
    qt.QVBoxLayout(frame)
    shown = []
    chart = VolumeChart(frame, later, shown.append)
    chart.show(nodes.chart)
    view = chart._view
    assert view.chart().GetNumberOfPlots() == 2

    def selected(number):
        ids = vtk.vtkIdTypeArray()
        ids.InsertNextValue(number)
        return ids

    empty = (vtk.vtkStringArray(), vtk.vtkCollection())
    view.dataSelected.emit(*empty)
    view.chart().GetPlot(1).SetSelection(selected(4))
    spin(5)
    assert shown == [4]
    told = vtk.vtkCollection()
    told.AddItem(selected(2))
    view.chart().GetPlot(0).SetSelection(selected(2))
    view.dataSelected.emit(vtk.vtkStringArray(), told)
    spin(5)
    assert shown == [4, 2]
    view.dataSelected.emit(*empty)
    spin(5)
    assert shown == [4, 2]
    own = chart._viewNode
    chart.cleanup()
    assert own.GetScene() is None


# -- segmentations of others


@pytest.mark.parametrize(
    "name, part",
    [
        *((name, "LV") for name in ("LV", "left ventricle", "Left Ventricle", "LV cavity", "LV blood pool", "lv_bp")),
        *((name, "LV") for name in ("heart_ventricle_left", "LVC", "LV endo", "endocardium", "leftVentricle")),
        *((name, "RV") for name in ("rv", "Right ventricular cavity", "heart_ventricle_right", "RV-BP", "RVendo")),
        *((name, "myocardium") for name in ("Myo", "LV myocardium", "LVM", "heart_myocardium", "LV wall", "lv_epi")),
        *((name, "myocardium") for name in ("left ventricular muscle", "Myocard")),
        *(
            (name, "")
            for name in ("left atrium", "RV wall", "right ventricular myocardium", "LA", "Segment_1", "aorta")
        ),
        *((name, "") for name in ("left", "cavity", "LV+RV", "pulmonary artery right", "myocardial scar", "")),
    ],
)
def test_parts_of_the_heart_are_known_by_what_they_are_called(name, part):
    from CardioDiTModule.SegmentNames import partOf

    assert partOf(name) == part


def foreign(browser, segmentation, names, tags=None):
    """The segmentation as if somebody else had made it: other IDs and names, nothing of ours on the nodes."""
    sequence = segmentation.sequence
    for node in [sequence.GetNthDataNode(n) for n in range(FRAMES)]:
        inside = node.GetSegmentation()
        for number, old in enumerate(("RV", "myocardium", "LV")):
            inside.GetSegment(old).SetName(names[number])
            if tags:
                inside.GetSegment(old).SetTag("TerminologyEntry", tags[number])
            inside.ChangeSegmentId(old, f"Segment_{number + 1}") if hasattr(inside, "ChangeSegmentId") else None
            if inside.GetSegment(old) is not None:
                segment = inside.GetSegment(old)
                copy = slicer.vtkSegment()
                copy.DeepCopy(segment)
                inside.RemoveSegment(old)
                inside.AddSegment(copy, f"Segment_{number + 1}")
        node.RemoveAttribute("CardioDiT.kind")
    sequence.RemoveAttribute("CardioDiT.kind")
    sequence.RemoveAttribute("CardioDiT.provenance")
    return segmentation


SCT = "SCT^85756007^Tissue~SCT^{}^Part~^^~Anatomic codes~^^~^^"


@pytest.mark.parametrize(
    "names, tags",
    [
        (("right ventricle cavity", "LV wall", "LV blood pool"), None),
        (("a", "b", "c"), tuple(SCT.format(code) for code in ("53085002", "74281007", "87878005"))),
    ],
)
def test_segments_of_others_are_taken_by_what_they_are_called(browser, segmentation, heart, tmp_path, names, tags):
    from CardioDiTLib.service.arrays import segmentation_of

    values, array = read(foreign(browser, segmentation, names, tags), tmp_path)
    np.testing.assert_array_equal(array, heart.segmentation.array)
    assert values["named_by"] == "names"
    made = segmentation_of(values)
    assert not made.meta["labels"].get("note"), "anatomy agrees"
    assert set(segmentation.colours()) == {"LV", "myocardium", "RV"}


def test_names_that_contradict_the_anatomy_are_questioned(browser, segmentation, heart, tmp_path):
    from types import SimpleNamespace

    from CardioDiTLib.service.job import Job
    from CardioDiTLib.service.measurement_jobs import MeasurementJobs

    values, array = read(foreign(browser, segmentation, ("LV", "myocardium", "RV")), tmp_path)
    assert (array == 3).sum() == (heart.segmentation.array == 1).sum()
    request = SimpleNamespace(arguments={"segmentation": values}, command="function", id="1")
    writer = SimpleNamespace(send=lambda *_args, **_values: None)
    report = MeasurementJobs().function(Job(request, writer))["report"]
    assert [note for note in report["notes"] if "contradicts the anatomy" in note], report["notes"]


def test_segments_without_names_are_told_by_anatomy(browser, segmentation, heart, tmp_path):
    from CardioDiTLib.service.arrays import segmentation_of

    values, _array = read(foreign(browser, segmentation, ("Segment_1", "Segment_2", "Segment_3")), tmp_path)
    assert values["named_by"] == "order"
    np.testing.assert_array_equal(segmentation_of(values).array, heart.segmentation.array)
    # counted otherwise, and told all the same
    turned = np.array([0, 3, 2, 1], np.uint8)[heart.segmentation.array]
    np.save(tmp_path / "turned.npy", turned)
    made = segmentation_of({**values, "array": str(tmp_path / "turned.npy")})
    np.testing.assert_array_equal(made.array, heart.segmentation.array)
    assert "ringed" in made.meta["labels"]["note"]


def test_two_segments_that_are_called_alike_are_a_question(browser, segmentation, tmp_path):
    from CardioDiTModule.Problem import CardioDiTProblem

    foreign(browser, segmentation, ("LV endo", "myocardium", "LV cavity"))
    with pytest.raises(CardioDiTProblem) as caught:
        read(segmentation, tmp_path)
    assert names(str(caught.value), "LV endo", "LV cavity")
    assert set(segmentation.colours()) == {"myocardium"}, "showing it is no problem"

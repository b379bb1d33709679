"""Cines in a real MRML scene: geometry, time, grey levels, origin; saved, loaded and exported without loss."""

from __future__ import annotations

import numpy as np
import pytest
import slicer
import vtk
from module_under_test import OBLIQUE, described_cine


@pytest.fixture
def builder(scene):
    from CardioDiTModule.SequenceBuilder import SequenceBuilder

    return SequenceBuilder()


def nodeIDs() -> set[str]:
    scene = slicer.mrmlScene
    return {scene.GetNthNode(number).GetID() for number in range(scene.GetNumberOfNodes())}


def voxels(sequence) -> np.ndarray:
    count = sequence.GetNumberOfDataNodes()
    return np.stack([slicer.util.arrayFromVolume(sequence.GetNthDataNode(number)) for number in range(count)])


def ijkToRas(volume) -> np.ndarray:
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)


@pytest.mark.parametrize("dtype", ["int16", "float32"])
def test_voxels_millimetres_and_seconds_arrive(builder, dtype):
    cine = described_cine(dtype=dtype)
    browser = builder.build(cine)
    sequence = browser.GetMasterSequenceNode()
    assert voxels(sequence).dtype == dtype
    np.testing.assert_array_equal(voxels(sequence), cine["array"])
    np.testing.assert_allclose(ijkToRas(sequence.GetNthDataNode(3)), OBLIQUE, atol=1e-9)
    assert [sequence.GetNthIndexValue(number) for number in range(5)] == ["0", "0.05", "0.1", "0.15", "0.2"]
    assert (sequence.GetIndexName(), sequence.GetIndexUnit()) == ("time", "s")


def test_index_values_are_those_that_the_library_writes(app):
    from CardioDiTModule.SequenceBuilder import indexStrings

    from CardioDiTLib.io.nrrd_sequence import index_strings

    times = np.concatenate([[0.0], np.cumsum(np.random.default_rng(0).uniform(0.01, 0.09, 30))])
    assert indexStrings(times) == index_strings(times)


def test_the_proxy_follows_the_frames_with_fixed_grey_levels(builder):
    cine = described_cine()
    browser = builder.build(cine)
    proxy = browser.GetProxyNode(browser.GetMasterSequenceNode())
    for number in (0, 3, 1):
        browser.SetSelectedItemNumber(number)
        slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browser)
        np.testing.assert_array_equal(slicer.util.arrayFromVolume(proxy), cine["array"][number])
        display = proxy.GetDisplayNode()
        assert not display.GetAutoWindowLevel()
        assert (display.GetWindowLevelMin(), display.GetWindowLevelMax()) == (0.0, 900.0)
    assert browser.GetPlaybackLooped() and browser.GetPlaybackRateFps() == pytest.approx(20.0)
    proxies = vtk.vtkCollection()
    browser.GetAllProxyNodes(proxies)
    assert proxies.GetNumberOfItems() == 1


def test_nodes_say_that_they_are_synthetic_and_where_they_come_from(builder):
    from CardioDiTModule.SequenceBuilder import originOf

    cine = described_cine()
    browser = builder.build(cine)
    sequence = browser.GetMasterSequenceNode()
    nodes = [browser, sequence, browser.GetProxyNode(sequence), sequence.GetNthDataNode(2)]
    for node in nodes:
        assert node.GetName().startswith("Synthetic DCM")
        origin = originOf(node)
        assert origin["synthetic"] == "1" and origin["seed"] == "7" and origin["model_sha256"] == "ab" * 32
        assert origin["guidance"] == "1.5" and origin["sampler"] == "dpmpp_2m" and origin["pathology"] == "DCM"
    hierarchy = slicer.mrmlScene.GetSubjectHierarchyNode()
    study = hierarchy.GetItemParent(hierarchy.GetItemByDataNode(nodes[2]))
    subject = hierarchy.GetItemParent(study)
    assert hierarchy.GetItemLevel(study) == "Study" and hierarchy.GetItemLevel(subject) == "Patient"
    assert "Synthetic" in hierarchy.GetItemName(subject) and "Synthetic" in hierarchy.GetItemName(study)
    for node in nodes[:2]:
        assert not hierarchy.GetItemByDataNode(node), "no plugin of the Data tree knows sequences and browsers"


def test_a_building_that_is_stopped_leaves_nothing(builder):
    before = nodeIDs()
    for stop_after in (1, 3, 5):
        steps = builder.buildSteps(described_cine())
        for _ in range(stop_after):
            next(steps)
        steps.close()
        assert nodeIDs() == before


def test_a_building_that_fails_leaves_nothing(builder):
    before = nodeIDs()
    with pytest.raises(IndexError):
        builder.build({**described_cine(), "frame_times": [0.0] * 9})
    assert nodeIDs() == before


def test_a_cine_can_be_taken_out_again(builder):
    from CardioDiTModule.GenerationRun import removeCine

    keep = builder.build(described_cine(seed=1))
    before = nodeIDs()
    hierarchy = slicer.mrmlScene.GetSubjectHierarchyNode()
    items = hierarchy.GetNumberOfItems()
    removeCine(builder.build(described_cine(seed=2)))
    assert nodeIDs() == before and hierarchy.GetNumberOfItems() == items
    assert keep.GetMasterSequenceNode().GetNumberOfDataNodes() == 5


def test_a_scene_with_several_cines_is_saved_and_loaded_equal(builder, tmp_path):
    from CardioDiTModule.SequenceBuilder import originOf

    cines = {seed: described_cine(seed=seed, pathology=name) for seed, name in ((1, "DCM"), (2, "HCM"), (3, None))}
    for cine in cines.values():
        builder.build(cine)
    path = tmp_path / "scene.mrb"
    assert slicer.util.saveScene(str(path))
    slicer.mrmlScene.Clear(0)
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSequenceNode") == 0
    slicer.util.loadScene(str(path))
    browsers = slicer.util.getNodesByClass("vtkMRMLSequenceBrowserNode")
    assert len(browsers) == 3
    for browser in browsers:
        sequence = browser.GetMasterSequenceNode()
        origin = originOf(browser)
        cine = cines[int(origin["seed"])]
        np.testing.assert_array_equal(voxels(sequence), cine["array"])
        np.testing.assert_allclose(ijkToRas(sequence.GetNthDataNode(1)), OBLIQUE, atol=1e-5)
        times = [float(sequence.GetNthIndexValue(number)) for number in range(5)]
        np.testing.assert_allclose(times, cine["frame_times"], atol=1e-9)
        assert origin.get("pathology") == cine["meta"]["pathology"] and origin == originOf(sequence)
        proxy = browser.GetProxyNode(sequence)
        assert originOf(proxy) == origin and proxy.GetDisplayNode().GetWindowLevelMax() == 900.0
        browser.SetSelectedItemNumber(2)
        slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browser)
        np.testing.assert_array_equal(slicer.util.arrayFromVolume(proxy), cine["array"][2])


def test_a_sequence_file_is_read_by_the_library_and_by_slicer(builder, tmp_path):
    from CardioDiTLib.io import load_cine

    cine = described_cine()
    browser = builder.build(cine)
    path = tmp_path / "heart.seq.nrrd"
    assert slicer.util.saveNode(browser.GetMasterSequenceNode(), str(path))
    back = load_cine(path)
    np.testing.assert_array_equal(back.array, cine["array"])
    np.testing.assert_allclose(back.affine, OBLIQUE, atol=1e-5)
    np.testing.assert_allclose(back.frame_times, cine["frame_times"], atol=1e-9)
    again = slicer.modules.sequences.logic().AddSequence(str(path))
    np.testing.assert_array_equal(voxels(again), cine["array"])


def test_what_was_built_is_read_back_for_an_export(builder):
    from CardioDiTModule.CineReader import cineOfBrowser

    cine = described_cine()
    read = cineOfBrowser(builder.build(cine))
    np.testing.assert_array_equal(read["array"], cine["array"])
    np.testing.assert_allclose(read["affine"], OBLIQUE)
    assert read["frame_times"] == pytest.approx(cine["frame_times"], abs=1e-9) and read["meta"] == cine["meta"]


def sequenceOf(nodes, unit="s", values=None):
    scene = slicer.mrmlScene
    sequence = scene.AddNewNodeByClass("vtkMRMLSequenceNode", "other")
    sequence.SetIndexUnit(unit)
    for number, node in enumerate(nodes):
        sequence.SetDataNodeAtValue(node, str(number) if values is None else values[number])
    browser = scene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", "other browser")
    browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
    return browser


def volume(shift=0.0, shape=(3, 4, 5)):
    node = slicer.vtkMRMLScalarVolumeNode()
    slicer.util.updateVolumeFromArray(node, np.zeros(shape, np.int16))
    node.SetOrigin(shift, 0, 0)
    return node


def test_a_sequence_in_milliseconds_is_understood(scene):
    from CardioDiTModule.CineReader import cineOfBrowser

    browser = sequenceOf([volume(), volume(), volume()], "ms", ["100", "140", "185"])
    assert cineOfBrowser(browser)["frame_times"] == pytest.approx([0.0, 0.04, 0.085])


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda: None, "not a cine"),
        (lambda: sequenceOf([volume()]), "not a cine"),
        (lambda: sequenceOf([slicer.vtkMRMLMarkupsFiducialNode(), slicer.vtkMRMLMarkupsFiducialNode()]), "not a cine"),
        (lambda: sequenceOf([volume(), volume(shift=3.0)]), "lies elsewhere"),
        (lambda: sequenceOf([volume(), volume(shape=(3, 4, 6))]), "differ in size"),
        (lambda: sequenceOf([volume(), volume()], "mm"), "not a time"),
    ],
)
def test_what_is_no_cine_is_said_in_a_sentence(scene, make, word):
    from CardioDiTModule.CineReader import cineOfBrowser
    from CardioDiTModule.Problem import CardioDiTProblem

    with pytest.raises(CardioDiTProblem, match=word):
        cineOfBrowser(make())

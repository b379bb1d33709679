"""Runs inside Slicer: labels and landmarks go along with a cine, follow its frames and keep corrections by hand."""

import unittest

import slicer
from CardioDiTModule.FunctionNodes import makeChart
from CardioDiTModule.LandmarkSequence import LandmarkSequence
from CardioDiTModule.SegmentationSequence import SegmentationSequence
from CardioDiTModule.SequenceBuilder import SequenceBuilder
from CardioDiTModule.Steps import runAtOnce

FRAMES = 6


class CardioDiTMeasuredSequencesTest(unittest.TestCase):
    """A made-up cine, without the worker."""

    def setUp(self):
        import numpy as np

        slicer.mrmlScene.Clear()
        self.labels = np.zeros((FRAMES, 3, 20, 24), np.uint8)
        for frame in range(FRAMES):
            self.labels[frame, :, 5:15, 5:15] = 2
            self.labels[frame, :, 7 : 12 - frame // 3, 7:12] = 3
        points = np.full((FRAMES, 3, 2, 4), np.nan)
        points[:, :, 0] = [10.0, 20.0, 0.0, 0.9]
        points[:, :, 0, 2] = 8.0 * np.arange(3)
        cine = {
            "array": (self.labels * 100).astype(np.int16),
            "affine": np.diag([1.5, 1.5, 8.0, 1.0]).tolist(),
            "frame_times": [0.05 * frame for frame in range(FRAMES)],
            "meta": {"synthetic": True},
            "name": "made up",
        }
        self.browser = SequenceBuilder().build(cine)
        self.segmentation, self.landmarks = SegmentationSequence(self.browser), LandmarkSequence(self.browser)
        runAtOnce(self.segmentation.buildSteps({"array": self.labels, "meta": cine["meta"]}))
        runAtOnce(self.landmarks.buildSteps({"array": points, "meta": cine["meta"]}))

    def test_theyFollowOnTheSameIndexValues(self):
        cine = self.browser.GetMasterSequenceNode()
        values = [cine.GetNthIndexValue(frame) for frame in range(FRAMES)]
        volume = self.browser.GetProxyNode(cine)
        for sequence in (self.segmentation.sequence, self.landmarks.sequence):
            self.assertEqual([sequence.GetNthIndexValue(frame) for frame in range(FRAMES)], values)
        for frame in (0, FRAMES - 1):
            self.browser.SetSelectedItemNumber(frame)
            slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(self.browser)
            shown = slicer.util.arrayFromSegmentBinaryLabelmap(self.segmentation.proxy, "LV", volume)
            self.assertEqual(int((shown > 0).sum()), int((self.labels[frame] == 3).sum()))

    def test_correctionsAreKept(self):
        self.browser.SetSelectedItemNumber(2)
        self.landmarks.proxy.SetNthControlPointPosition(0, 1.0, 2.0, 3.0)
        for frame in (0, 2):
            self.browser.SetSelectedItemNumber(frame)
            slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(self.browser)
        self.assertEqual(tuple(self.landmarks.proxy.GetNthControlPointPosition(0)), (1.0, 2.0, 3.0))
        self.assertEqual(runAtOnce(self.landmarks.editedSteps()), [(2, 0)])
        self.assertEqual(runAtOnce(self.segmentation.editedSteps()), [])

    def test_aChartIsMade(self):
        table = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode")
        self.assertEqual(makeChart(table, "made up").GetNumberOfPlotSeriesNodes(), 2)

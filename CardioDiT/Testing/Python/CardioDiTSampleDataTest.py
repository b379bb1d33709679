"""Runs inside Slicer: the sample cine loads from the Sample Data module as a sequence in seconds."""

import unittest

import SampleData
import slicer
from CardioDiTModule.SampleDataSources import SAMPLE_NAME, registerSampleData


class CardioDiTSampleDataTest(unittest.TestCase):
    """The sample cine, asked for by its name."""

    def setUp(self):
        slicer.mrmlScene.Clear()
        registerSampleData()

    def test_loadsAsSequence(self):
        sequence = SampleData.downloadSample(SAMPLE_NAME)
        self.assertTrue(sequence.IsA("vtkMRMLSequenceNode"))
        self.assertEqual(sequence.GetNumberOfDataNodes(), 20)
        self.assertEqual((sequence.GetIndexName(), sequence.GetIndexUnit()), ("time", "s"))
        self.assertEqual(sequence.GetNthDataNode(0).GetImageData().GetDimensions(), (112, 112, 11))

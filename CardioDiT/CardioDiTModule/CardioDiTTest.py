import slicer
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleTest

from .CardioDiTLogic import CardioDiTLogic


class CardioDiTTest(ScriptedLoadableModuleTest):
    """Self-test in the application: needs the Python packages."""

    def setUp(self):
        slicer.mrmlScene.Clear()

    def runTest(self):
        self.setUp()
        self.test_GenerateDraft()

    def test_GenerateDraft(self):
        """A heart comes into the scene, with time, millimetres and origin."""
        self.delayDisplay("Generating")
        browser = CardioDiTLogic().generate(seed=7, preset="draft", show=False)
        sequence = browser.GetMasterSequenceNode()
        self.assertEqual(sequence.GetNumberOfDataNodes(), 16)
        self.assertEqual(sequence.GetIndexUnit(), "s")
        proxy = browser.GetProxyNode(sequence)
        self.assertTrue(proxy.GetName().startswith("Synthetic"))
        self.assertEqual(proxy.GetAttribute("CardioDiT.synthetic"), "1")
        first = slicer.util.arrayFromVolume(proxy).copy()
        browser.SetSelectedItemNumber(6)
        slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browser)
        self.assertGreater(abs(slicer.util.arrayFromVolume(proxy) - first).max(), 0)
        self.delayDisplay("Test passed")

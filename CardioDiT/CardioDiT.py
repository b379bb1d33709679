import slicer
from CardioDiTModule.CardioDiTLogic import CardioDiTLogic
from CardioDiTModule.CardioDiTTest import CardioDiTTest
from CardioDiTModule.CardioDiTWidget import CardioDiTWidget
from CardioDiTModule.ParameterNode import CardioDiTParameterNode, Preset, Sampler
from CardioDiTModule.SampleDataSources import registerSampleData
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import ScriptedLoadableModule

__all__ = [
    "CardioDiT",
    "CardioDiTLogic",
    "CardioDiTParameterNode",
    "CardioDiTTest",
    "CardioDiTWidget",
    "Preset",
    "Sampler",
]
"""Slicer looks for widget and test class in this file, and scripts for the logic: each lies in a file of its own."""


class CardioDiT(ScriptedLoadableModule):
    """Introduces the module to Slicer."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("CardioDiT")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Cardiac")]
        self.parent.dependencies = ["Sequences", "Markups", "Segmentations", "Tables", "Plots"]
        self.parent.contributors = ["CardioDiT contributors"]
        self.parent.helpText = _(
            "Makes synthetic beating short-axis heart MRI (3D+t cine) on this computer. Choose a pathology and a seed, "
            "click Generate, and watch the heart beat; find landmarks and measure its function. Synthetic images are "
            "for research only, not for diagnosis. "
            'See the <a href="https://github.com/Cardio-AI/SlicerCardioDiT">documentation</a>.'
        )
        self.parent.acknowledgementText = _(
            "Follows CardioDiT (arXiv 2603.25194). The embedded model was trained on ACDC (Bernard et al., IEEE TMI "
            "2018) and carries its terms, CC BY-NC-SA 4.0."
        )
        slicer.app.connect("startupCompleted()", registerSampleData)

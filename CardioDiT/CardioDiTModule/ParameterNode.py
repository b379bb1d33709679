import enum
from typing import Annotated

from slicer import vtkMRMLSequenceBrowserNode
from slicer.i18n import tr as _
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper


class Preset(enum.Enum):
    """Quality settings; values are the names of a bundle's presets."""

    DRAFT = "draft"
    STANDARD = "standard"
    HIGH = "high"

    def label(self):
        return {Preset.DRAFT: _("Draft"), Preset.STANDARD: _("Standard"), Preset.HIGH: _("High")}[self]


class Sampler(enum.Enum):
    """Samplers; values are the library's names."""

    BY_QUALITY = ""
    DPMPP_2M = "dpmpp_2m"
    DDIM = "ddim"
    DDPM = "ddpm"
    EULER = "euler"

    def label(self):
        return {
            Sampler.BY_QUALITY: _("by quality"),
            Sampler.DPMPP_2M: "DPM-Solver++ (2M)",
            Sampler.DDIM: "DDIM",
            Sampler.DDPM: "DDPM",
            Sampler.EULER: _("Euler (flow matching)"),
        }[self]


class Backend(enum.Enum):
    """What networks run in; values are the library's names."""

    TORCH = "torch"
    OPENVINO = "openvino"

    def label(self):
        return {Backend.TORCH: "PyTorch", Backend.OPENVINO: _("OpenVINO (processor)")}[self]


@parameterNodeWrapper
class CardioDiTParameterNode:
    """What is saved with the scene.

    bundle - Name of the model.
    pathology - Its class; empty for any.
    guidance - Strength of guidance towards the pathology and what is asked for.
    asked - Quantities that hearts are to have and their heart rate, by name; what is absent may be any.
    seed, count - Which hearts, how many.
    preset, sampler, steps - Quality; 0 steps for those of the preset.
    slices, frames - Of models that make several grids: how many; 0 for the model's own.
    device, backend - Where to compute, and in what.
    browser - The cine that is shown.
    gate, falseAlarm - Whether hearts too near to a training patient are drawn again; share of false alarms, in percent.
    auditCines, auditAgainst - What is audited, and against what. Folders are not saved: they may be named like
        patients.
    completionTask, variationStrength - Whether gaps are filled or a variation is made, and how far it may go.
    swapPoints - Exchange anterior and inferior.
    folderMeasure, folderLandmarks, folderAudit, folderExport - What is done with a folder of cines.
    """

    bundle: str = "acdc-mini"
    pathology: str = ""
    guidance: Annotated[float, WithinRange(1, 5)] = 1.5
    asked: dict[str, float]
    seed: Annotated[int, WithinRange(0, 2147483647)] = 7
    count: Annotated[int, WithinRange(1, 100)] = 1
    preset: Preset = Preset.STANDARD
    sampler: Sampler = Sampler.BY_QUALITY
    steps: Annotated[int, WithinRange(0, 1000)] = 0
    slices: Annotated[int, WithinRange(0, 1000)] = 0
    frames: Annotated[int, WithinRange(0, 1000)] = 0
    device: str = "auto"
    backend: Backend = Backend.TORCH
    browser: vtkMRMLSequenceBrowserNode
    gate: bool = False
    falseAlarm: Annotated[float, WithinRange(0.1, 50)] = 5.0
    auditCines: str = "selected"
    auditAgainst: str = "model"
    swapPoints: bool = False
    completionTask: str = "complete"
    variationStrength: Annotated[float, WithinRange(0, 1)] = 0.5
    folderMeasure: bool = True
    folderLandmarks: bool = True
    folderAudit: bool = False
    folderExport: str = ""

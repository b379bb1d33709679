"""The modules whose logic is in the MRML libraries."""

from __future__ import annotations

from typing import NamedTuple


class LogicEntry(NamedTuple):
    """A module: its name, and the class of its logic."""

    module: str
    logic: str


LOGICS = (
    LogicEntry("Colors", "vtkSlicerColorLogic"),
    LogicEntry("CropVolume", "vtkSlicerCropVolumeLogic"),
    LogicEntry("Data", "vtkSlicerDataModuleLogic"),
    LogicEntry("Markups", "vtkSlicerMarkupsLogic"),
    LogicEntry("Models", "vtkSlicerModelsLogic"),
    LogicEntry("Plots", "vtkSlicerPlotsLogic"),
    LogicEntry("Segmentations", "vtkSlicerSegmentationsModuleLogic"),
    LogicEntry("Sequences", "vtkSlicerSequencesLogic"),
    LogicEntry("SubjectHierarchy", "vtkSlicerSubjectHierarchyModuleLogic"),
    LogicEntry("Tables", "vtkSlicerTablesLogic"),
    LogicEntry("Terminologies", "vtkSlicerTerminologiesModuleLogic"),
    LogicEntry("Texts", "vtkSlicerTextsLogic"),
    LogicEntry("Transforms", "vtkSlicerTransformLogic"),
    LogicEntry("Units", "vtkSlicerUnitsLogic"),
    LogicEntry("VolumeRendering", "vtkSlicerVolumeRenderingLogic"),
    LogicEntry("Volumes", "vtkSlicerVolumesLogic"),
)

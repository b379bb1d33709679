from __future__ import annotations

import json
from typing import Any

import slicer
import vtk
from slicer.i18n import tr as _

from .Problem import CardioDiTProblem, Problem
from .SequenceBuilder import PROVENANCE_ATTRIBUTE

_SECONDS = {"s": 1.0, "ms": 0.001}


def cineOfBrowser(browser: Any) -> dict[str, Any]:
    """The volume sequence of a browser as the worker describes cines, its array in memory.

    Returns:
        ``array`` (T, Z, Y, X), ``affine`` (4 rows, (x, y, z) index to mm in RAS), ``frame_times`` (seconds, from 0),
        ``meta``, ``name``.

    Raises:
        CardioDiTProblem: The browser shows no volumes over time, or they differ in geometry.
    """
    import numpy as np

    sequence = None if browser is None else browser.GetMasterSequenceNode()
    count = 0 if sequence is None else sequence.GetNumberOfDataNodes()
    frames = [sequence.GetNthDataNode(number) for number in range(count)]
    if count < 2 or not all(frame is not None and frame.IsA("vtkMRMLScalarVolumeNode") for frame in frames):
        raise CardioDiTProblem(
            Problem(_("This is not a cine: a sequence of at least two volumes."), _("Choose another."))
        )
    affine = _affineOf(frames[0])
    for number, frame in enumerate(frames):
        if frame.GetImageData() is None or not np.allclose(_affineOf(frame), affine, atol=1e-4):
            raise CardioDiTProblem(
                Problem(
                    _("Frame {number} lies elsewhere than frame 0, or is empty.").format(number=number),
                    _("Resample the frames to one grid."),
                )
            )
    arrays = [slicer.util.arrayFromVolume(frame) for frame in frames]
    if len({array.shape for array in arrays}) > 1:
        raise CardioDiTProblem(Problem(_("The frames differ in size."), _("Resample the frames to one grid.")))
    return {
        "array": np.stack(arrays),
        "affine": affine.tolist(),
        "frame_times": frameTimesOf(sequence),
        "meta": _metaOf(sequence),
        "name": sequence.GetName(),
    }


def frameTimesOf(sequence: Any) -> list[float]:
    """Seconds of the frames of a sequence, beginning at 0.

    Raises:
        CardioDiTProblem: The index is no time.
    """
    unit = _SECONDS.get(sequence.GetIndexUnit())
    values = [sequence.GetNthIndexValue(number) for number in range(sequence.GetNumberOfDataNodes())]
    try:
        numbers = [float(value) for value in values]
    except ValueError:
        unit, numbers = None, []
    if unit is None:
        raise CardioDiTProblem(
            Problem(
                _("The index of '{name}' is not a time in s or ms.").format(name=sequence.GetName()),
                _("Set the index unit in the module Sequences."),
            )
        )
    # rounded to what an index value can hold, so that 0.3 - 0.1 stays 0.2
    return [round((number - numbers[0]) * unit, 9) for number in numbers]


def _affineOf(volume: Any) -> Any:
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)


def _metaOf(sequence: Any) -> dict[str, Any]:
    text = sequence.GetAttribute(PROVENANCE_ATTRIBUTE)
    if not text and sequence.GetNumberOfDataNodes():
        # a sequence that was loaded from a file has its attributes on the frames
        text = sequence.GetNthDataNode(0).GetAttribute(PROVENANCE_ATTRIBUTE)
    try:
        meta = json.loads(text or "{}")
    except ValueError:
        return {}
    return meta if isinstance(meta, dict) else {}

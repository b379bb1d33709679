from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import slicer
import vtk
from slicer.i18n import tr as _

from .Problem import CardioDiTProblem
from .SequenceBuilder import PROVENANCE_ATTRIBUTE, cineTitle, jsonAttribute


def arrayFileSteps(path: str | Path, shape: tuple[int, ...], dtype: Any, frames: Iterator[Any]) -> Iterator[None]:
    """Write a ``.npy`` file a frame at a time, so that an event loop can run in between.

    Args:
        path: The file.
        shape: Of the whole array, frames first.
        dtype: Of the whole array.
        frames: The frames in order.

    Returns:
        The path, as text.
    """
    import numpy as np

    kind = np.dtype(dtype)
    with open(path, "wb") as stream:
        header = {"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False, "shape": tuple(shape)}
        np.lib.format.write_array_header_1_0(stream, header)
        for frame in frames:
            if frame is not None:  # None: the frame is not ready yet, only let the application have its turn
                stream.write(np.ascontiguousarray(frame, kind).data)
            yield
    return str(path)


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

    cine = describedCine(browser)
    return {**cine, "array": np.stack([slicer.util.arrayFromVolume(frame) for frame in framesOf(browser)])}


def cineFileSteps(browser: Any, folder: str) -> Iterator[None]:
    """The same with the array in a file, a frame at a time.

    Args:
        browser: The browser node.
        folder: Where the file goes.

    Returns:
        As `cineOfBrowser`, without ``name``; ``array`` is the file.

    Raises:
        CardioDiTProblem: As for `cineOfBrowser`.
    """
    import numpy as np

    cine = describedCine(browser)
    frames = framesOf(browser)
    yield
    arrays = [slicer.util.arrayFromVolume(frame) for frame in frames]
    dtype = np.result_type(*(array.dtype for array in arrays))
    shape = (len(arrays), *arrays[0].shape)
    path = yield from arrayFileSteps(Path(folder) / "cine.npy", shape, dtype, iter(arrays))
    cine.pop("name")
    return {**cine, "array": path}


def framesOf(browser: Any) -> list[Any]:
    """The volumes of a cine, frame by frame.

    Raises:
        CardioDiTProblem: The browser shows no volumes over time.
    """
    sequence = None if browser is None else browser.GetMasterSequenceNode()
    count = 0 if sequence is None else sequence.GetNumberOfDataNodes()
    frames = [sequence.GetNthDataNode(number) for number in range(count)]
    if count < 2 or not all(frame is not None and frame.IsA("vtkMRMLScalarVolumeNode") for frame in frames):
        raise CardioDiTProblem(_("This is not a cine: a sequence of at least two volumes."), _("Choose another."))
    return frames


def cineBrowsers() -> list[Any]:
    """Browser nodes of all cines in the scene."""
    found = []
    for browser in slicer.util.getNodesByClass("vtkMRMLSequenceBrowserNode"):
        try:
            framesOf(browser)
        except CardioDiTProblem:
            continue
        found.append(browser)
    return found


def describedCine(browser: Any) -> dict[str, Any]:
    """All that `cineOfBrowser` gives, but the array.

    Raises:
        CardioDiTProblem: As for `cineOfBrowser`.
    """
    import numpy as np

    frames = framesOf(browser)
    sequence = browser.GetMasterSequenceNode()
    affine = affineOf(frames[0])
    for number, frame in enumerate(frames):
        if frame.GetImageData() is None or not np.allclose(affineOf(frame), affine, atol=1e-4):
            raise CardioDiTProblem(
                _("Frame {number} lies elsewhere than frame 0, or is empty.").format(number=number),
                _("Resample the frames to one grid."),
            )
    if len({frame.GetImageData().GetDimensions() for frame in frames}) > 1:
        raise CardioDiTProblem(_("The frames differ in size."), _("Resample the frames to one grid."))
    return {
        "affine": affine.tolist(),
        "frame_times": frameTimesOf(sequence),
        "meta": metaOf(sequence),
        "name": cineTitle(sequence),
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
            _("The index of '{name}' is not a time in s or ms.").format(name=sequence.GetName()),
            _("Set the index unit in the module Sequences."),
        )
    # rounded to what an index value can hold, so that 0.3 - 0.1 stays 0.2
    return [round((number - numbers[0]) * unit, 9) for number in numbers]


def affineOf(volume: Any) -> Any:
    """(x, y, z) index to mm in RAS, 4 x 4."""
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)


def metaOf(sequence: Any) -> dict[str, Any]:
    """Provenance of a sequence; empty where it has none."""
    node = sequence
    if not node.GetAttribute(PROVENANCE_ATTRIBUTE) and sequence.GetNumberOfDataNodes():
        # a sequence that was loaded from a file has its attributes on the frames
        node = sequence.GetNthDataNode(0)
    meta = jsonAttribute(node, PROVENANCE_ATTRIBUTE)
    return meta if isinstance(meta, dict) else {}

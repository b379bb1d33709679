from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from .BrowserSequences import (
    KIND_ATTRIBUTE,
    attachSequence,
    cineMeta,
    cineName,
    dataNodes,
    describeNode,
    findSequence,
    indexValues,
    neighbours,
    newSequence,
    removeNodes,
    removeSequence,
    requireCine,
)
from .CineReader import affineOf, arrayFileSteps, describedCine, framesOf, metaOf
from .OrientedLabels import OrientedLabels
from .Problem import CardioDiTProblem, Problem
from .SegmentNames import findSegment
from .SequenceBuilder import ATTRIBUTE_PREFIX

KIND = "segmentation"
CHECKSUMS_ATTRIBUTE = ATTRIBUTE_PREFIX + "checksums"
PLANES_ATTRIBUTE = ATTRIBUTE_PREFIX + "planes"
ASIDE_ATTRIBUTE = ATTRIBUTE_PREFIX + "segmentationAside"
MYOCARDIUM_OPACITY_3D = 0.35
"""Of the surface: the left ventricle is to be seen in it."""
MOST_SEGMENTS = 32
"""Of a segmentation without names that say anything."""

SEGMENTS = (
    (1, "RV", "Right ventricle", (0.84, 0.37, 0.0)),
    (2, "myocardium", "Myocardium", (0.0, 0.62, 0.45)),
    (3, "LV", "Left ventricle", (0.0, 0.45, 0.7)),
)
"""Label of the library, ID of the segment, name, colour (told apart with any kind of colour vision)."""


class SegmentationSequence:
    """The segmentation of a cine: a sequence of segmentation nodes on the index values of the cine, with the segments
    RV, myocardium and LV, shown by one node that can be edited; what is edited is kept, frame by frame.

    The segments of a frame share one labelmap, as the Segment Editor makes it: a third of the memory, and no overlaps.

    Args:
        browser: The browser node of the cine, or None.
    """

    def __init__(self, browser: Any) -> None:
        self._browser = browser

    @property
    def sequence(self) -> Any:
        """The sequence node; None where there is none."""
        return findSequence(self._browser, KIND, "vtkMRMLSegmentationNode")

    @property
    def proxy(self) -> Any:
        """The node that shows it; None where there is none."""
        sequence = self.sequence
        return None if sequence is None else self._browser.GetProxyNode(sequence)

    def putAside(self) -> None:
        """Hide it while another cine is seen: hearts lie in the same place."""
        proxy = self.proxy
        if proxy is not None and proxy.GetDisplayVisibility():
            proxy.SetDisplayVisibility(False)
            self._browser.SetAttribute(ASIDE_ATTRIBUTE, "1")

    def bringBack(self) -> None:
        """Show it again, if it was put aside; what the user has hidden stays hidden."""
        proxy = self.proxy
        if proxy is not None and self._browser.GetAttribute(ASIDE_ATTRIBUTE):
            self.setShown(True)

    def setShown(self, on: bool) -> None:
        """Show or hide it, as the user wants it."""
        proxy = self.proxy
        if proxy is not None:
            proxy.SetDisplayVisibility(on)
            self._browser.RemoveAttribute(ASIDE_ATTRIBUTE)

    def buildSteps(self, described: dict[str, Any]) -> Iterator[float]:
        """Put labels into the scene in place of those that are there, a frame at a time.

        Args:
            described: ``array`` (a .npy file or an array, (T, Z, Y, X) on the grid of the cine) and ``meta``.

        Returns:
            The sequence node. If the iterator is closed before its end, the scene is as it was.

        Raises:
            CardioDiTProblem: The cine has gone.
        """
        import numpy as np

        requireCine(self._browser)
        array = described["array"]
        array = np.load(array, allow_pickle=False) if isinstance(array, str) else np.asarray(array, np.uint8)
        meta = dict(described.get("meta") or {})
        name = _("Segmentation {cine}").format(cine=cineName(self._browser))
        volume = framesOf(self._browser)[0]
        labels = OrientedLabels(affineOf(volume), array.shape[1:])
        sequence = newSequence(self._browser, name)
        values = indexValues(self._browser)
        checksums, planes = [], []
        for number, value in enumerate(values):
            node = _segmentationNode(labels.image(array[number]), volume)
            node.SetName(name)
            describeNode(node, KIND, self._browser, meta)
            sequence.SetDataNodeAtValue(node, value)
            planes.append(_planes(array[number]))
            checksums.append(sum(planes[-1]))
            yield (number + 1) / (len(values) + 1)
            requireCine(self._browser)
        describeNode(sequence, KIND, self._browser, meta)
        sequence.SetAttribute(CHECKSUMS_ATTRIBUTE, json.dumps(checksums))
        sequence.SetAttribute(PLANES_ATTRIBUTE, json.dumps(planes))
        self._putInPlace(sequence, meta)
        return sequence

    def readSteps(self, folder: str) -> Iterator[None]:
        """Write the labels into a file, a frame at a time.

        Returns:
            ``array`` (the file, (T, Z, Y, X) uint8 on the grid of the cine), ``affine``, ``frame_times``, ``meta`` (of
            the cine and of the segmentation, with the numbers of the frames that were edited). Of a segmentation that
            was not made here also ``named_by``: "names", where segments are called like parts of the heart, or "order",
            where none is and labels are just counted; the library holds either against the anatomy.

        Raises:
            CardioDiTProblem: There is no segmentation, or a frame lacks one.
        """
        sequence = self.sequence
        if sequence is None:
            raise CardioDiTProblem(
                Problem(_("There is no segmentation of this cine."), _("Make one in the section Function."))
            )
        cine = describedCine(self._browser)
        size = framesOf(self._browser)[0].GetImageData().GetDimensions()[::-1]
        edited: list[int] = []
        path = Path(folder) / "segmentation.npy"
        frames = self._labelFrames(edited)
        array = yield from arrayFileSteps(path, (len(cine["frame_times"]), *size), "uint8", frames)
        meta = {**metaOf(sequence), **cine["meta"]}
        about = metaOf(sequence).get(KIND)
        meta[KIND] = {**(about if isinstance(about, dict) else {}), "edited_frames": edited}
        described = {"array": array, "affine": cine["affine"], "frame_times": cine["frame_times"], "meta": meta}
        if sequence.GetAttribute(KIND_ATTRIBUTE) != KIND:
            described["named_by"] = "names" if self._hasNames() else "order"
        return described

    def _hasNames(self) -> bool:
        """Whether any segment is called like a part of the heart."""
        nodes = dataNodes(self._browser, self.sequence)
        return any(
            findSegment(node.GetSegmentation(), segmentId, name) is not None
            for node in nodes
            for _label, segmentId, name, _colour in SEGMENTS
        )

    def editedSteps(self) -> Iterator[None]:
        """Look for frames that were edited since they were made.

        Returns:
            Their numbers.
        """
        edited: list[int] = []
        if self.sequence is not None:
            for _frame in self._labelFrames(edited):
                yield
        return edited

    def surfaceSteps(self) -> Iterator[float]:
        """Give every frame closed surfaces of its segments, and show them in 3D: they beat with the cine.

        Returns:
            The node that shows them.

        Raises:
            CardioDiTProblem: There is no segmentation.
        """
        sequence, proxy = self.sequence, self.proxy
        if sequence is None or proxy is None:
            raise CardioDiTProblem(
                Problem(_("There is no segmentation of this cine."), _("Make one in the section Function."))
            )
        surface = slicer.vtkSegmentationConverter.GetSegmentationClosedSurfaceRepresentationName()
        nodes = dataNodes(self._browser, sequence)
        for number, node in enumerate(nodes):
            if not node.GetSegmentation().ContainsRepresentation(surface):
                node.CreateClosedSurfaceRepresentation()
            yield (number + 1) / len(nodes)
            requireCine(self._browser)
        slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(self._browser)
        display = proxy.GetDisplayNode()
        display.SetPreferredDisplayRepresentationName3D(surface)
        segmentation = proxy.GetSegmentation()
        for _label, segmentId, name, _colour in SEGMENTS:
            segment = findSegment(segmentation, segmentId, name)
            if segment is not None:
                opacity = MYOCARDIUM_OPACITY_3D if segmentId == "myocardium" else 1.0
                display.SetSegmentOpacity3D(segmentation.GetSegmentIdBySegment(segment), opacity)
        display.SetVisibility3D(True)
        return proxy

    def isShownIn3D(self) -> bool:
        """Whether surfaces are shown."""
        proxy = self.proxy
        surface = slicer.vtkSegmentationConverter.GetSegmentationClosedSurfaceRepresentationName()
        if proxy is None or not proxy.GetSegmentation().ContainsRepresentation(surface):
            return False
        return bool(proxy.GetDisplayNode().GetVisibility3D())

    def hideIn3D(self) -> None:
        """Show slices only; the surfaces stay for the next time."""
        proxy = self.proxy
        if proxy is not None:
            proxy.GetDisplayNode().SetVisibility3D(False)

    def colours(self) -> dict[str, tuple[float, float, float]]:
        """Colour of each segment in the frame that is shown, by the segment's ID."""
        proxy = self.proxy
        found = {}
        for _label, segmentId, name, _colour in SEGMENTS:
            segment = None if proxy is None else _segmentOrNone(proxy.GetSegmentation(), segmentId, name)
            if segment is not None:
                found[segmentId] = tuple(segment.GetColor())
        return found

    def setColour(self, segmentId: str, colour: tuple[float, float, float]) -> None:
        """Colour a segment in all frames: each frame has colours of its own, and one alone would flicker."""
        sequence, proxy = self.sequence, self.proxy
        if sequence is None:
            return
        name = next(one[2] for one in SEGMENTS if one[1] == segmentId)
        for node in [*dataNodes(self._browser, sequence), *([] if proxy is None else [proxy])]:
            segment = _segmentOrNone(node.GetSegmentation(), segmentId, name)
            if segment is not None:
                segment.SetColor(*colour)

    def carrySteps(self, frame: int, reach: int) -> Iterator[None]:
        """Put slices that were edited by hand in a frame into its neighbours too; a neighbour's slice that was itself
        edited stays. The cycle is closed: after the last frame comes the first.

        Args:
            frame: Number of the frame.
            reach: As many frames before and after it.

        Returns:
            (number of frames changed, number of slices that were edited in `frame`).

        Raises:
            CardioDiTProblem: There is no segmentation, or it is not known what was edited.
        """
        sequence = self.sequence
        arrays: list[Any] = []
        for array in self._labelFrames([]):
            if array is not None:
                arrays.append(array)
            yield
        try:
            before = json.loads(sequence.GetAttribute(PLANES_ATTRIBUTE) or "[]")
        except ValueError:
            before = []
        if [len(planes) for planes in before] != [len(array) for array in arrays]:
            raise CardioDiTProblem(
                Problem(
                    _("It is not known what was edited in this segmentation: it was not made here."),
                    _("Click Segment first."),
                )
            )
        edited = [_editedPlanes(_planes(array), planes) for array, planes in zip(arrays, before)]
        nodes = dataNodes(self._browser, sequence)
        volume = framesOf(self._browser)[0]
        labels = OrientedLabels(affineOf(volume), volume.GetImageData().GetDimensions()[::-1])
        changed = 0
        for other in neighbours(frame, reach, len(arrays)):
            slices = sorted(edited[frame] - edited[other])
            if slices:
                arrays[other][slices] = arrays[frame][slices]
                _putLabels(nodes[other], labels.image(arrays[other]))
                changed += 1
            yield
        slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(self._browser)
        return changed, len(edited[frame])

    def _labelFrames(self, edited: list[int]) -> Iterator[Any]:
        """The labels of each frame; None in between, where it takes longer. Fills in which frames were edited."""
        import numpy as np

        sequence = self.sequence
        volume = framesOf(self._browser)[0]
        labels = OrientedLabels(affineOf(volume), volume.GetImageData().GetDimensions()[::-1])
        try:
            checksums = json.loads(sequence.GetAttribute(CHECKSUMS_ATTRIBUTE) or "[]")
        except ValueError:
            checksums = []
        named = self._hasNames()
        for number, node in enumerate(dataNodes(self._browser, sequence)):
            array = np.zeros(labels.shape, np.uint8)
            inside = node.GetSegmentation()
            if named:
                parts = [(label, findSegment(inside, segmentId, name)) for label, segmentId, name, _colour in SEGMENTS]
            else:
                count = min(inside.GetNumberOfSegments(), MOST_SEGMENTS)
                parts = [(one + 1, inside.GetNthSegment(one)) for one in range(count)]
            for label, segment in parts:
                if segment is not None:
                    labels.addTo(array, label, segment)
                    yield None
            if number >= len(checksums) or _checksum(array) != checksums[number]:
                edited.append(number)
            yield array

    def _putInPlace(self, sequence: Any, meta: dict[str, Any]) -> None:
        """The new one first, then away with the old one: whatever goes wrong, one of them is there."""
        old = self.sequence
        name = sequence.GetName()
        made = []
        try:
            sequence.SetName(slicer.mrmlScene.GenerateUniqueName(name))
            slicer.mrmlScene.AddNode(sequence)
            made.append(sequence)
            proxy = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
            made.append(proxy)
            proxy.CreateDefaultDisplayNodes()
            display = proxy.GetDisplayNode()
            made.append(display)
            display.SetOpacity2DFill(0.25)
            display.SetOpacity2DOutline(1.0)
            describeNode(proxy, KIND, self._browser, meta)
            attachSequence(self._browser, sequence, proxy)
            made.append(proxy.GetStorageNode())
            volume = self._browser.GetProxyNode(self._browser.GetMasterSequenceNode())
            proxy.SetReferenceImageGeometryParameterFromVolumeNode(volume)
        except BaseException:
            removeNodes(made[::-1])
            raise
        if old is not None:
            removeSequence(self._browser, old)
            sequence.SetName(name)
            proxy.SetName(name)

    def meta(self) -> dict[str, Any]:
        """Provenance of the segmentation, that of the cine included."""
        sequence = self.sequence
        return {} if sequence is None else {**metaOf(sequence), **cineMeta(self._browser)}


def _segmentOrNone(segmentation: Any, segmentId: str, name: str) -> Any:
    """As `findSegment`; None too where two are called alike: only what measures has to ask which one is meant."""
    try:
        return findSegment(segmentation, segmentId, name)
    except CardioDiTProblem:
        return None


def _checksum(array: Any) -> int:
    """Of labels (Z, Y, X), in whatever order the slices are: files turn the slices of left-handed stacks about."""
    return sum(_planes(array))


def _planes(array: Any) -> list[int]:
    """A checksum of each slice of labels (Z, Y, X)."""
    import numpy as np

    return [zlib.crc32(np.ascontiguousarray(plane)) for plane in array]


def _editedPlanes(now: list[int], before: list[int]) -> set[int]:
    """The slices that are not as they were; files turn the slices of left-handed stacks about."""
    orders = (before, before[::-1])
    return min(({z for z, one in enumerate(now) if one != order[z]} for order in orders), key=len)


def _segmentationNode(image: Any, volume: Any) -> Any:
    """A segmentation node, not in the scene, whose segments share one labelmap."""
    node = slicer.vtkMRMLSegmentationNode()
    segmentation = node.GetSegmentation()
    representation = slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName()
    segmentation.SetSourceRepresentationName(representation)
    for label, segmentId, name, colour in SEGMENTS:
        segment = slicer.vtkSegment()
        segment.SetName(name)
        segment.SetColor(*colour)
        segment.AddRepresentation(representation, image)
        segment.SetLabelValue(label)
        segmentation.AddSegment(segment, segmentId)
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    return node


def _putLabels(node: Any, image: Any) -> None:
    """Give the segments of a node other labels; surfaces that it has are made anew."""
    segmentation = node.GetSegmentation()
    representation = slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName()
    surface = slicer.vtkSegmentationConverter.GetSegmentationClosedSurfaceRepresentationName()
    hadSurface = segmentation.ContainsRepresentation(surface)
    for label, segmentId, name, _colour in SEGMENTS:
        segment = findSegment(segmentation, segmentId, name)
        if segment is not None:
            segment.AddRepresentation(representation, image)
            segment.SetLabelValue(label)
    if hadSurface:
        segmentation.RemoveRepresentation(surface)
        node.CreateClosedSurfaceRepresentation()

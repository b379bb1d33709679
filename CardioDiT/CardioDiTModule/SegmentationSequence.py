from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import slicer
from slicer.i18n import tr as _

from .BrowserSequences import KIND_ATTRIBUTE, dataNodes, neighbours, requireCine
from .CineReader import affineOf, framesOf
from .CompanionSequence import CompanionSequence
from .OrientedLabels import OrientedLabels
from .Problem import CardioDiTProblem, Problem
from .SegmentNames import LV, MYOCARDIUM, RV, findSegment
from .SequenceBuilder import ATTRIBUTE_PREFIX, jsonAttribute
from .SharedWorker import ensureLibrary

CHECKSUMS_ATTRIBUTE = ATTRIBUTE_PREFIX + "checksums"
PLANES_ATTRIBUTE = ATTRIBUTE_PREFIX + "planes"
ASIDE_ATTRIBUTE = ATTRIBUTE_PREFIX + "segmentationAside"
MYOCARDIUM_OPACITY_3D = 0.35
"""Of the surface: the left ventricle is to be seen in it."""
MOST_SEGMENTS = 32
"""Of a segmentation without names that say anything."""

SEGMENTS = (
    (RV, "Right ventricle", (0.84, 0.37, 0.0)),
    (MYOCARDIUM, "Myocardium", (0.0, 0.62, 0.45)),
    (LV, "Left ventricle", (0.0, 0.45, 0.7)),
)
"""ID of the segment, name, colour (told apart with any kind of colour vision)."""


@cache
def segmentLabels() -> dict[str, int]:
    """Label of each segment, by its ID: the names of the library's labels are the IDs."""
    ensureLibrary()
    from CardioDiTLib.labels import LABEL_NAMES

    labels = {name: label for label, name in LABEL_NAMES.items()}
    return {segmentId: labels[segmentId] for segmentId, _name, _colour in SEGMENTS}


class SegmentationSequence(CompanionSequence):
    """The segmentation of a cine: a sequence of segmentation nodes on the index values of the cine, with the segments
    RV, myocardium and LV.

    The segments of a frame share one labelmap, as the Segment Editor makes it: a third of the memory, and no overlaps.
    Its array is (T, Z, Y, X) on the grid of the cine. What was edited is a list of frames.
    """

    KIND = "segmentation"
    NODE_CLASS = "vtkMRMLSegmentationNode"
    TAKES_UNMARKED = True
    DTYPE = "uint8"

    def _name(self, cine: str) -> str:
        return str(_("Segmentation {cine}")).format(cine=cine)

    def _absent(self) -> Problem:
        return Problem(_("There is no segmentation of this cine."), _("Make one in the section Function."))

    def _nodeMaker(self, array: Any) -> Callable[[Any], Any]:
        labels, volume = self._labels(), framesOf(self._browser)[0]
        planes = self._newPlanes = []

        def make(frame: Any) -> Any:
            planes.append(_planes(frame))
            return _segmentationNode(labels.image(frame), volume)

        return make

    def _remember(self, sequence: Any, array: Any) -> None:
        sequence.SetAttribute(CHECKSUMS_ATTRIBUTE, json.dumps([sum(planes) for planes in self._newPlanes]))
        sequence.SetAttribute(PLANES_ATTRIBUTE, json.dumps(self._newPlanes))

    def _style(self, display: Any) -> None:
        display.SetOpacity2DFill(0.25)
        display.SetOpacity2DOutline(1.0)

    def _attached(self, proxy: Any) -> None:
        volume = self._browser.GetProxyNode(self._browser.GetMasterSequenceNode())
        proxy.SetReferenceImageGeometryParameterFromVolumeNode(volume)

    def _editedEntry(self, edited: list[Any]) -> dict[str, Any]:
        return {"edited_frames": edited}

    def _labels(self) -> OrientedLabels:
        return OrientedLabels(affineOf(framesOf(self._browser)[0]), self._cineShape())

    def _frames(self, edited: list[Any]) -> Iterator[Any]:
        import numpy as np

        labels = self._labels()
        checksums = jsonAttribute(self.sequence, CHECKSUMS_ATTRIBUTE) or []
        named = self._hasNames()
        for number, node in enumerate(dataNodes(self._browser, self.sequence)):
            array = np.zeros(labels.shape, np.uint8)
            inside = node.GetSegmentation()
            if named:
                parts = [(segmentLabels()[one], findSegment(inside, one, name)) for one, name, _colour in SEGMENTS]
            else:
                count = min(inside.GetNumberOfSegments(), MOST_SEGMENTS)
                parts = [(one + 1, inside.GetNthSegment(one)) for one in range(count)]
            for label, segment in parts:
                if segment is not None:
                    labels.addTo(array, label, segment)
                    yield None
            # the sum does not know in which order the slices are: files turn those of left-handed stacks about
            if number >= len(checksums) or sum(_planes(array)) != checksums[number]:
                edited.append(number)
            yield array

    def readSteps(self, folder: str) -> Iterator[None]:
        """As that of every such sequence, with ``affine``. Of a segmentation that was not made here also ``named_by``:
        "names", where segments are called like parts of the heart, or "order", where none is and labels are just
        counted; the library holds either against the anatomy.
        """
        described = yield from super().readSteps(folder)
        described["affine"] = affineOf(framesOf(self._browser)[0]).tolist()
        if self.sequence.GetAttribute(KIND_ATTRIBUTE) != self.KIND:
            described["named_by"] = "names" if self._hasNames() else "order"
        return described

    def _hasNames(self) -> bool:
        """Whether any segment is called like a part of the heart."""
        nodes = dataNodes(self._browser, self.sequence)
        return any(
            findSegment(node.GetSegmentation(), segmentId, name) is not None
            for node in nodes
            for segmentId, name, _colour in SEGMENTS
        )

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

    def surfaceSteps(self) -> Iterator[float]:
        """Give every frame closed surfaces of its segments, and show them in 3D: they beat with the cine.

        Returns:
            The node that shows them.

        Raises:
            CardioDiTProblem: There is no segmentation.
        """
        sequence, proxy = self.required(), self.proxy
        if proxy is None:
            raise CardioDiTProblem(self._absent())
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
        for segmentId, name, _colour in SEGMENTS:
            segment = findSegment(segmentation, segmentId, name)
            if segment is not None:
                opacity = MYOCARDIUM_OPACITY_3D if segmentId == MYOCARDIUM else 1.0
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
        for segmentId, name, _colour in SEGMENTS:
            segment = None if proxy is None else _segmentOrNone(proxy.GetSegmentation(), segmentId, name)
            if segment is not None:
                found[segmentId] = tuple(segment.GetColor())
        return found

    def setColour(self, segmentId: str, colour: tuple[float, float, float]) -> None:
        """Colour a segment in all frames: each frame has colours of its own, and one alone would flicker."""
        sequence, proxy = self.sequence, self.proxy
        if sequence is None:
            return
        name = next(one[1] for one in SEGMENTS if one[0] == segmentId)
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
        sequence = self.required()
        arrays: list[Any] = []
        for array in self._frames([]):
            if array is not None:
                arrays.append(array)
            yield
        before = jsonAttribute(self.sequence, PLANES_ATTRIBUTE) or []
        if [len(planes) for planes in before] != [len(array) for array in arrays]:
            raise CardioDiTProblem(
                _("It is not known what was edited in this segmentation: it was not made here."),
                _("Click Segment first."),
            )
        edited = [_editedPlanes(_planes(array), planes) for array, planes in zip(arrays, before)]
        nodes = dataNodes(self._browser, sequence)
        labels = self._labels()
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


def _segmentOrNone(segmentation: Any, segmentId: str, name: str) -> Any:
    """As `findSegment`; None too where two are called alike: only what measures has to ask which one is meant."""
    try:
        return findSegment(segmentation, segmentId, name)
    except CardioDiTProblem:
        return None


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
    for segmentId, name, colour in SEGMENTS:
        segment = slicer.vtkSegment()
        segment.SetName(name)
        segment.SetColor(*colour)
        segment.AddRepresentation(representation, image)
        segment.SetLabelValue(segmentLabels()[segmentId])
        segmentation.AddSegment(segment, segmentId)
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    return node


def _putLabels(node: Any, image: Any) -> None:
    """Give the segments of a node other labels; surfaces that it has are made anew."""
    segmentation = node.GetSegmentation()
    representation = slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName()
    surface = slicer.vtkSegmentationConverter.GetSegmentationClosedSurfaceRepresentationName()
    hadSurface = segmentation.ContainsRepresentation(surface)
    for segmentId, name, _colour in SEGMENTS:
        segment = findSegment(segmentation, segmentId, name)
        if segment is not None:
            segment.AddRepresentation(representation, image)
            segment.SetLabelValue(segmentLabels()[segmentId])
    if hadSurface:
        segmentation.RemoveRepresentation(surface)
        node.CreateClosedSurfaceRepresentation()

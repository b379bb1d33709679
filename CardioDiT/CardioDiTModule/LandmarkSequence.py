from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from .BrowserSequences import (
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
from .Problem import CardioDiTProblem, Problem
from .SequenceBuilder import ATTRIBUTE_PREFIX

KIND = "landmarks"
DETECTED_ATTRIBUTE = ATTRIBUTE_PREFIX + "detected"
POINTS = (("A", "anterior", (0.94, 0.89, 0.26)), ("I", "inferior", (0.34, 0.71, 0.91)))
"""Letter, name and colour of the two points of a slice, in the order of the library."""

AFFINE_ATTRIBUTE = ATTRIBUTE_PREFIX + "affine"
MOVED_MM = 0.005
"""A point this far from where it was found was moved by hand."""


class LandmarkSequence:
    """The insertion points of a cine: a sequence of point lists on the index values of the cine. Each list holds two
    points a slice, "A 3" and "I 3" for the anterior and the inferior one of slice 3 (counted from 0, as in Slicer's
    data probe and in the files); points that were not found are there without a position and can be placed by hand.

    Args:
        browser: The browser node of the cine, or None.
    """

    def __init__(self, browser: Any) -> None:
        self._browser = browser

    @property
    def sequence(self) -> Any:
        """The sequence node; None where there is none."""
        return findSequence(self._browser, KIND)

    @property
    def proxy(self) -> Any:
        """The point list that is shown; None where there is none."""
        sequence = self.sequence
        return None if sequence is None else self._browser.GetProxyNode(sequence)

    def buildSteps(self, described: dict[str, Any]) -> Iterator[float]:
        """Put points into the scene in place of those that are there, a frame at a time.

        Args:
            described: ``array`` (a .npy file or an array, (T, Z, 2, 4): mm RAS, NaN where there is no point, then the
                confidence) and ``meta``.

        Returns:
            The sequence node. If the iterator is closed before its end, the scene is as it was.

        Raises:
            CardioDiTProblem: The cine has gone.
        """
        import numpy as np

        requireCine(self._browser)
        array = described["array"]
        array = np.load(array, allow_pickle=False) if isinstance(array, str) else np.asarray(array, float)
        meta = dict(described.get("meta") or {})
        name = _("Landmarks {cine}").format(cine=cineName(self._browser))
        sequence = newSequence(self._browser, name)
        node = _emptyList(array.shape[1])
        node.SetName(name)
        describeNode(node, KIND, self._browser, meta)
        values = indexValues(self._browser)
        for number, value in enumerate(values):
            _fill(node, array[number].reshape(-1, 4))
            sequence.SetDataNodeAtValue(node, value)
            yield (number + 1) / (len(values) + 1)
            requireCine(self._browser)
        describeNode(sequence, KIND, self._browser, meta)
        sequence.SetAttribute(DETECTED_ATTRIBUTE, json.dumps(_plain(array)))
        sequence.SetAttribute(AFFINE_ATTRIBUTE, json.dumps(describedCine(self._browser)["affine"]))
        self._putInPlace(sequence, meta)
        return sequence

    def readSteps(self, folder: str) -> Iterator[None]:
        """Write the points into a file, a frame at a time.

        Returns:
            ``array`` (the file, as `buildSteps` takes it; points that were placed or moved by hand have the confidence
            1), ``frame_times``, ``meta`` (of the cine and of the landmarks, with the number of points moved).

        Raises:
            CardioDiTProblem: There are no landmarks, or they do not fit the cine.
        """
        sequence = self.sequence
        if sequence is None:
            raise CardioDiTProblem(
                Problem(_("There are no landmarks of this cine."), _("Find them in the section Landmarks."))
            )
        cine = describedCine(self._browser)
        slices = framesOf(self._browser)[0].GetImageData().GetDimensions()[2]
        shape = (len(cine["frame_times"]), slices, len(POINTS), 4)
        moved: list[tuple[int, int]] = []
        path = Path(folder) / "landmarks.npy"
        array = yield from arrayFileSteps(path, shape, "float64", self._pointFrames(slices, moved))
        meta = {**metaOf(sequence), **cine["meta"]}
        about = metaOf(sequence).get(KIND)
        meta[KIND] = {**(about if isinstance(about, dict) else {}), "edited_points": len(moved)}
        return {"array": array, "frame_times": cine["frame_times"], "meta": meta}

    def countFound(self) -> tuple[int, int]:
        """(points with a position, all points) over all frames."""
        sequence = self.sequence
        nodes = [] if sequence is None else dataNodes(self._browser, sequence)
        found = sum(node.GetNumberOfDefinedControlPoints() for node in nodes)
        return found, sum(node.GetNumberOfControlPoints() for node in nodes)

    def editedSteps(self) -> Iterator[None]:
        """Look for points that were placed, moved or taken away by hand.

        Returns:
            (frame, point) of each.
        """
        moved: list[tuple[int, int]] = []
        if self.sequence is not None:
            slices = framesOf(self._browser)[0].GetImageData().GetDimensions()[2]
            for _frame in self._pointFrames(slices, moved):
                yield
        return moved

    def carry(self, frame: int, reach: int) -> tuple[int, int]:
        """Move points of the neighbouring frames as they were moved by hand in a frame: by less, the farther a frame is
        from it. A neighbour's point that was itself changed by hand stays. A point that was placed where none had been
        found is placed in neighbours that lack it. The cycle is closed: after the last frame comes the first.

        Args:
            frame: Number of the frame.
            reach: As many frames before and after it.

        Returns:
            (number of points changed, number of points that were changed by hand in `frame`).

        Raises:
            CardioDiTProblem: There are no landmarks, or they do not fit the cine.
        """
        import numpy as np

        if self.sequence is None:
            raise CardioDiTProblem(
                Problem(_("There are no landmarks of this cine."), _("Find them in the section Landmarks."))
            )
        moved: list[tuple[int, int]] = []
        slices = framesOf(self._browser)[0].GetImageData().GetDimensions()[2]
        for _frame in self._pointFrames(slices, moved):
            pass
        nodes = dataNodes(self._browser, self.sequence)
        detected = self._detected((len(nodes), slices * len(POINTS), 4))
        here, changed = [index for number, index in moved if number == frame], 0
        points = _pointsOf(nodes[frame])
        for other, weight in neighbours(frame, reach, len(nodes)).items():
            for index in here:
                node, shift = nodes[other], points[index, :3] - detected[frame, index, :3]
                if (other, index) in moved or np.isnan(points[index, 0]):
                    continue
                was = _pointsOf(node)[index, :3]
                if np.isnan(was[0]):
                    node.SetNthControlPointPosition(index, *points[index, :3])
                elif not np.isnan(shift[0]):
                    node.SetNthControlPointPosition(index, *(was + weight * shift))
                else:
                    continue
                changed += 1
        return changed, len(here)

    def _pointFrames(self, slices: int, moved: list[tuple[int, int]]) -> Iterator[Any]:
        """(Z, 2, 4) of each frame. Fills in which points were changed by hand."""
        import numpy as np

        nodes = dataNodes(self._browser, self.sequence)
        order = self._order(slices)
        detected = self._detected((len(nodes), slices * len(POINTS), 4))
        for number, node in enumerate(nodes):
            if node.GetNumberOfControlPoints() != slices * len(POINTS):
                raise CardioDiTProblem(
                    Problem(
                        _("Frame {number} holds {count} landmarks, not two in each of {slices} slices.").format(
                            number=number, count=node.GetNumberOfControlPoints(), slices=slices
                        ),
                        _("Find them again."),
                    )
                )
            points = _pointsOf(node)
            before = detected[number]
            same = np.isnan(points[:, 0]) & np.isnan(before[:, 0])
            same |= np.linalg.norm(points[:, :3] - before[:, :3], axis=1) < MOVED_MM
            moved += [(number, int(index)) for index in np.flatnonzero(~same)]
            points[:, 3] = np.where(same, np.nan_to_num(before[:, 3]), 1.0)
            points[np.isnan(points[:, 0]), 3] = 0.0
            frame = np.zeros((slices, len(POINTS), 4))
            frame[order] = points.reshape(frame.shape)
            yield frame

    def _order(self, slices: int) -> Any:
        """(Z,) slice of the cine that each slice of the points is: files turn the slices of left-handed stacks about.

        Raises:
            CardioDiTProblem: The slices lie elsewhere now.
        """
        import numpy as np

        now = affineOf(framesOf(self._browser)[0])
        try:
            then = np.array(json.loads(self.sequence.GetAttribute(AFFINE_ATTRIBUTE) or "null"), float).reshape(4, 4)
        except (TypeError, ValueError):
            then = now
        depths = np.arange(slices)[:, None] * [0.0, 0.0, 1.0, 0.0] + [0.0, 0.0, 0.0, 1.0]
        places = (depths @ (np.linalg.inv(now) @ then).T)[:, 2]
        order = np.rint(places).astype(int)
        if not np.allclose(places, order, atol=0.1) or sorted(order.tolist()) != list(range(slices)):
            raise CardioDiTProblem(
                Problem(_("The slices of the cine are not those of its landmarks."), _("Find the landmarks again."))
            )
        return order

    def _detected(self, shape: tuple[int, ...]) -> Any:
        """Where the points were found; NaN where that is not known."""
        import numpy as np

        try:
            values = json.loads(self.sequence.GetAttribute(DETECTED_ATTRIBUTE) or "null")
            return np.array(values, dtype=float).reshape(shape)
        except (TypeError, ValueError):
            return np.full(shape, np.nan)

    def _putInPlace(self, sequence: Any, meta: dict[str, Any]) -> None:
        """The new one first, then away with the old one: whatever goes wrong, one of them is there."""
        old = self.sequence
        name = sequence.GetName()
        made = []
        try:
            sequence.SetName(slicer.mrmlScene.GenerateUniqueName(name))
            slicer.mrmlScene.AddNode(sequence)
            made.append(sequence)
            proxy = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", name)
            made.append(proxy)
            proxy.CreateDefaultDisplayNodes()
            display = proxy.GetDisplayNode()
            made.append(display)
            # anterior points are "selected", inferior ones are not: two colours in one list
            display.SetSelectedColor(*POINTS[0][2])
            display.SetColor(*POINTS[1][2])
            display.SetUseGlyphScale(False)
            display.SetGlyphSize(4.0)
            display.SetTextScale(2.5)
            describeNode(proxy, KIND, self._browser, meta)
            attachSequence(self._browser, sequence, proxy)
            made.append(proxy.GetStorageNode())
        except BaseException:
            removeNodes(made[::-1])
            raise
        if old is not None:
            removeSequence(self._browser, old)
            sequence.SetName(name)
            proxy.SetName(name)

    def meta(self) -> dict[str, Any]:
        """Provenance of the landmarks, that of the cine included."""
        sequence = self.sequence
        return {} if sequence is None else {**metaOf(sequence), **cineMeta(self._browser)}


def _emptyList(slices: int) -> Any:
    """A point list, not in the scene, with all points of a frame by name."""
    node = slicer.vtkMRMLMarkupsFiducialNode()
    for number in range(slices):
        for letter, title, _colour in POINTS:
            index = node.AddControlPoint(0.0, 0.0, 0.0, f"{letter} {number}")
            node.SetNthControlPointDescription(index, f"{title} insertion point, slice {number}")
            node.SetNthControlPointSelected(index, letter == POINTS[0][0])
    node.SetFixedNumberOfControlPoints(True)
    return node


def _fill(node: Any, points: Any) -> None:
    """Positions of one frame; what is NaN has none."""
    for index, (x, y, z, _confidence) in enumerate(points.tolist()):
        if x == x:
            node.SetNthControlPointPosition(index, x, y, z)
        else:
            # a fresh place first: what is left of the last frame would be saved along
            node.SetNthControlPointPosition(index, 0.0, 0.0, 0.0)
            node.UnsetNthControlPointPosition(index)


def _pointsOf(node: Any) -> Any:
    """(points, 4): mm RAS and an empty place for the confidence; NaN where a point has no position."""
    import numpy as np

    points = np.full((node.GetNumberOfControlPoints(), 4), np.nan)
    for index in range(len(points)):
        if node.GetNthControlPointPositionStatus(index) == node.PositionDefined:
            points[index, :3] = node.GetNthControlPointPosition(index)
    return points


def _plain(array: Any) -> list[Any]:
    """For JSON: numbers to the micrometre, null for NaN."""
    return [None if value != value else round(value, 3) for value in array.astype(float).ravel().tolist()]

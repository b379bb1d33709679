from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import slicer
from slicer.i18n import tr as _

from .BrowserSequences import dataNodes, neighbours
from .CineReader import affineOf, describedCine, framesOf
from .CompanionSequence import CompanionSequence
from .Problem import CardioDiTProblem, Problem
from .SequenceBuilder import ATTRIBUTE_PREFIX, jsonAttribute
from .Steps import runAtOnce

DETECTED_ATTRIBUTE = ATTRIBUTE_PREFIX + "detected"
POINTS = (("A", "anterior", (0.94, 0.89, 0.26)), ("I", "inferior", (0.34, 0.71, 0.91)))
"""Letter, name and colour of the two points of a slice, in the order of the library."""

AFFINE_ATTRIBUTE = ATTRIBUTE_PREFIX + "affine"
MOVED_MM = 0.005
"""A point this far from where it was found was moved by hand."""


class LandmarkSequence(CompanionSequence):
    """The insertion points of a cine: a sequence of point lists on the index values of the cine. Each list holds two
    points a slice, "A 3" and "I 3" for the anterior and the inferior one of slice 3 (counted from 0, as in Slicer's
    data probe and in the files); points that were not found are there without a position and can be placed by hand.

    Its array is (T, Z, 2, 4): mm RAS, NaN where there is no point, then the confidence, which is 1 for points that were
    placed or moved by hand. What was edited is a list of (frame, point).
    """

    KIND = "landmarks"
    NODE_CLASS = "vtkMRMLMarkupsFiducialNode"
    DTYPE = "float64"

    def _name(self, cine: str) -> str:
        return str(_("Landmarks {cine}")).format(cine=cine)

    def _absent(self) -> Problem:
        return Problem(_("There are no landmarks of this cine."), _("Find them in the section Landmarks."))

    def _nodeMaker(self, array: Any) -> Callable[[Any], Any]:
        node = _emptyList(array.shape[1])

        def fill(points: Any) -> Any:
            _fill(node, points.reshape(-1, 4))
            return node

        return fill

    def _remember(self, sequence: Any, array: Any) -> None:
        sequence.SetAttribute(DETECTED_ATTRIBUTE, json.dumps(_plain(array)))
        sequence.SetAttribute(AFFINE_ATTRIBUTE, json.dumps(describedCine(self._browser)["affine"]))

    def _style(self, display: Any) -> None:
        # anterior points are "selected", inferior ones are not: two colours in one list
        display.SetSelectedColor(*POINTS[0][2])
        display.SetColor(*POINTS[1][2])
        display.SetUseGlyphScale(False)
        display.SetGlyphSize(4.0)
        display.SetTextScale(2.5)

    def _editedEntry(self, edited: list[Any]) -> dict[str, Any]:
        return {"edited_points": len(edited)}

    def _frameShape(self) -> tuple[int, ...]:
        return (self._cineShape()[0], len(POINTS), 4)

    def countFound(self) -> tuple[int, int]:
        """(points with a position, all points) over all frames."""
        sequence = self.sequence
        nodes = [] if sequence is None else dataNodes(self._browser, sequence)
        found = sum(node.GetNumberOfDefinedControlPoints() for node in nodes)
        return found, sum(node.GetNumberOfControlPoints() for node in nodes)

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

        sequence = self.required()
        moved = runAtOnce(self.editedSteps())
        nodes = dataNodes(self._browser, sequence)
        detected = self._detected(len(nodes))
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

    def _frames(self, edited: list[Any]) -> Iterator[Any]:
        import numpy as np

        nodes = dataNodes(self._browser, self.sequence)
        slices = self._cineShape()[0]
        order = self._order(slices)
        detected = self._detected(len(nodes))
        for number, node in enumerate(nodes):
            if node.GetNumberOfControlPoints() != slices * len(POINTS):
                raise CardioDiTProblem(
                    _("Frame {number} holds {count} landmarks, not two in each of {slices} slices.").format(
                        number=number, count=node.GetNumberOfControlPoints(), slices=slices
                    ),
                    _("Find them again."),
                )
            points = _pointsOf(node)
            before = detected[number]
            same = np.isnan(points[:, 0]) & np.isnan(before[:, 0])
            same |= np.linalg.norm(points[:, :3] - before[:, :3], axis=1) < MOVED_MM
            edited += [(number, int(index)) for index in np.flatnonzero(~same)]
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
            then = np.array(jsonAttribute(self.sequence, AFFINE_ATTRIBUTE), float).reshape(4, 4)
        except (TypeError, ValueError):
            then = now
        depths = np.arange(slices)[:, None] * [0.0, 0.0, 1.0, 0.0] + [0.0, 0.0, 0.0, 1.0]
        places = (depths @ (np.linalg.inv(now) @ then).T)[:, 2]
        order = np.rint(places).astype(int)
        if not np.allclose(places, order, atol=0.1) or sorted(order.tolist()) != list(range(slices)):
            raise CardioDiTProblem(
                _("The slices of the cine are not those of its landmarks."), _("Find the landmarks again.")
            )
        return order

    def _detected(self, frames: int) -> Any:
        """(frames, points, 4): where the points were found; NaN where that is not known."""
        import numpy as np

        shape = (frames, self._cineShape()[0] * len(POINTS), 4)
        try:
            return np.array(jsonAttribute(self.sequence, DETECTED_ATTRIBUTE), dtype=float).reshape(shape)
        except (TypeError, ValueError):
            return np.full(shape, np.nan)


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

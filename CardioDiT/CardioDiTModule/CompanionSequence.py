from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import slicer

from .BrowserSequences import (
    attachSequence,
    cineName,
    describeNode,
    findSequence,
    indexValues,
    newSequence,
    removeNodes,
    removeSequence,
    requireCine,
)
from .CineReader import arrayFileSteps, describedCine, framesOf, metaOf
from .Problem import CardioDiTProblem, Problem
from .SequenceBuilder import loadArray


class CompanionSequence(ABC):
    """What goes along with a cine: a sequence of nodes on the index values of the cine, shown by one node that can be
    edited; what is edited is kept, frame by frame. A class that is derived says what a frame is.

    Args:
        browser: The browser node of the cine, or None.
    """

    KIND = ""
    """As `describeNode` marks it; also the entry of ``meta`` and the name of the file for the worker."""
    NODE_CLASS = ""
    TAKES_UNMARKED = False
    """Whether a sequence of such nodes that was not made here will do."""
    DTYPE = ""

    def __init__(self, browser: Any) -> None:
        self._browser = browser

    # -- what derived classes define

    @abstractmethod
    def _name(self, cine: str) -> str:
        """What the nodes are called."""

    @abstractmethod
    def _absent(self) -> Problem:
        """What is said where there is none."""

    @abstractmethod
    def _nodeMaker(self, array: Any) -> Callable[[Any], Any]:
        """(array of one frame) -> a node, not in the scene, that is copied into the sequence."""

    @abstractmethod
    def _remember(self, sequence: Any, array: Any) -> None:
        """Write onto a new sequence what tells corrections later."""

    @abstractmethod
    def _style(self, display: Any) -> None:
        """How a new one looks."""

    def _attached(self, proxy: Any) -> None:  # noqa: B027 - most have nothing to do
        """The node that shows it goes along with the cine now."""

    @abstractmethod
    def _frames(self, edited: list[Any]) -> Iterator[Any]:
        """The array of each frame as it is now; None in between, where it takes longer. Fills in what was edited."""

    @abstractmethod
    def _editedEntry(self, edited: list[Any]) -> dict[str, Any]:
        """What ``meta`` says about it."""

    # -- what they share

    @property
    def sequence(self) -> Any:
        """The sequence node; None where there is none."""
        return findSequence(self._browser, self.KIND, self.NODE_CLASS if self.TAKES_UNMARKED else "")

    @property
    def proxy(self) -> Any:
        """The node that shows it; None where there is none."""
        sequence = self.sequence
        return None if sequence is None else self._browser.GetProxyNode(sequence)

    def buildSteps(self, described: dict[str, Any]) -> Iterator[float]:
        """Put it into the scene in place of what is there, a frame at a time.

        Args:
            described: ``array`` (a .npy file or an array; frames first) and ``meta``.

        Returns:
            The sequence node. If the iterator is closed before its end, the scene is as it was.

        Raises:
            CardioDiTProblem: The cine has gone.
        """
        requireCine(self._browser)
        array = loadArray(described["array"], self.DTYPE)
        meta = dict(described.get("meta") or {})
        name = self._name(cineName(self._browser))
        sequence = newSequence(self._browser, name)
        makeNode = self._nodeMaker(array)
        values = indexValues(self._browser)
        for number, value in enumerate(values):
            node = makeNode(array[number])
            node.SetName(name)
            describeNode(node, self.KIND, self._browser, meta)
            sequence.SetDataNodeAtValue(node, value)
            yield (number + 1) / (len(values) + 1)
            requireCine(self._browser)
        describeNode(sequence, self.KIND, self._browser, meta)
        self._remember(sequence, array)
        self._putInPlace(sequence, meta)
        return sequence

    def readSteps(self, folder: str) -> Iterator[None]:
        """Write it into a file, a frame at a time.

        Returns:
            ``array`` (the file, as `buildSteps` takes it), ``frame_times``, ``meta`` (of the cine and of this, with
            what was edited).

        Raises:
            CardioDiTProblem: There is none, or it does not fit the cine.
        """
        sequence = self.required()
        cine = describedCine(self._browser)
        edited: list[Any] = []
        path = Path(folder) / f"{self.KIND}.npy"
        shape = (len(cine["frame_times"]), *self._frameShape())
        array = yield from arrayFileSteps(path, shape, self.DTYPE, self._frames(edited))
        meta = {**metaOf(sequence), **cine["meta"]}
        about = metaOf(sequence).get(self.KIND)
        meta[self.KIND] = {**(about if isinstance(about, dict) else {}), **self._editedEntry(edited)}
        return {"array": array, "frame_times": cine["frame_times"], "meta": meta}

    def editedSteps(self) -> Iterator[None]:
        """Look for what was edited by hand since it was made.

        Returns:
            A list of it.
        """
        edited: list[Any] = []
        if self.sequence is not None:
            for _frame in self._frames(edited):
                yield
        return edited

    def required(self) -> Any:
        """The sequence node.

        Raises:
            CardioDiTProblem: There is none.
        """
        sequence = self.sequence
        if sequence is None:
            raise CardioDiTProblem(self._absent())
        return sequence

    def _frameShape(self) -> tuple[int, ...]:
        """Of the array of one frame; first its slices."""
        return self._cineShape()

    def _cineShape(self) -> tuple[int, int, int]:
        """(Z, Y, X)."""
        return tuple(framesOf(self._browser)[0].GetImageData().GetDimensions()[::-1])

    def _putInPlace(self, sequence: Any, meta: dict[str, Any]) -> None:
        """The new one first, then away with the old one: whatever goes wrong, one of them is there."""
        old = self.sequence
        name = sequence.GetName()
        made = []
        try:
            sequence.SetName(slicer.mrmlScene.GenerateUniqueName(name))
            slicer.mrmlScene.AddNode(sequence)
            made.append(sequence)
            proxy = slicer.mrmlScene.AddNewNodeByClass(self.NODE_CLASS, name)
            made.append(proxy)
            proxy.CreateDefaultDisplayNodes()
            made.append(proxy.GetDisplayNode())
            self._style(proxy.GetDisplayNode())
            describeNode(proxy, self.KIND, self._browser, meta)
            attachSequence(self._browser, sequence, proxy)
            made.append(proxy.GetStorageNode())
            self._attached(proxy)
        except BaseException:
            removeNodes(made[::-1])
            raise
        if old is not None:
            removeSequence(self._browser, old)
            sequence.SetName(name)
            proxy.SetName(name)

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import slicer
import vtk

ATTRIBUTE_PREFIX = "CardioDiT."
PROVENANCE_ATTRIBUTE = ATTRIBUTE_PREFIX + "provenance"
INDEX_DIGITS = 6
SEQUENCE_SUFFIX = " sequence"
"""What the name of a sequence has more than that of the volume, which is the one that people see."""


class SequenceBuilder:
    """Puts cines into the scene: a volume sequence, its browser, its proxy volume, each with its origin, under a
    subject and study of their own, said to be synthetic where they are.

    A cine is described as by the worker: ``array`` (a .npy file or an array (T, Z, Y, X)), ``affine`` (4 x 4, (x, y, z)
    index to mm in RAS), ``frame_times`` (seconds), ``name``, ``meta``, ``display_range``.

    Example:
        >>> browser = SequenceBuilder().build(cine)  # doctest: +SKIP
    """

    def build(self, cine: dict[str, Any]) -> slicer.vtkMRMLSequenceBrowserNode:
        """Put a cine into the scene at once.

        Returns:
            Its browser node; `GetProxyNode(GetMasterSequenceNode())` is the volume.
        """
        steps = self.buildSteps(cine)
        while True:
            try:
                next(steps)
            except StopIteration as end:
                return end.value

    def buildSteps(self, cine: dict[str, Any]) -> Iterator[float]:
        """The same a frame at a time, so that an event loop can run in between; yields the share that is done.

        Returns:
            The browser node. If the iterator is closed before its end, nothing stays in the scene.
        """
        array = loadArray(cine["array"])
        times = indexStrings(cine["frame_times"])
        low, high = cine.get("display_range") or _displayRange(array)
        made: list[slicer.vtkMRMLNode] = []
        done = False
        try:
            name = _freeName(displayName(cine))
            sequence = self._addNode("vtkMRMLSequenceNode", name + SEQUENCE_SUFFIX, made)
            sequence.SetIndexName("time")
            sequence.SetIndexUnit("s")
            sequence.SetIndexType(slicer.vtkMRMLSequenceNode.NumericIndex)
            # a node outside the scene: frames are copied from it
            frame = slicer.vtkMRMLScalarVolumeNode()
            frame.SetName(name)
            frame.SetIJKToRASMatrix(_matrixOf(cine["affine"]))
            setOrigin(frame, cine)
            for number, time in enumerate(times):
                slicer.util.updateVolumeFromArray(frame, array[number])
                frame.SetAttribute("DICOM.triggerTime", f"{1000 * float(time):g}")
                sequence.SetDataNodeAtValue(frame, time)
                yield (number + 1) / (len(times) + 1)
            browser = self._show(sequence, name, cine["frame_times"], low, high, made)
            for node in made:
                setOrigin(node, cine)
            self._placeInHierarchy(cine, name, browser.GetProxyNode(sequence))
            done = True
            return browser
        finally:
            if not done:
                for node in reversed(made):
                    slicer.mrmlScene.RemoveNode(node)

    def _show(self, sequence, name: str, frameTimes: Sequence[float], low: float, high: float, made: list) -> Any:
        """Browser and proxy of a sequence; grey levels are the same in all frames."""
        browser = self._addNode("vtkMRMLSequenceBrowserNode", f"{name} browser", made)
        proxy = self._addNode("vtkMRMLScalarVolumeNode", name, made)
        proxy.Copy(sequence.GetNthDataNode(0))
        proxy.SetName(name)  # copying took the frame's
        proxy.CreateDefaultDisplayNodes()
        display = proxy.GetDisplayNode()
        made.append(display)
        display.AutoWindowLevelOff()
        display.SetWindowLevelMinMax(low, high)
        made += addStorage(proxy)
        # the proxy first: adding the sequence alone would make a second one
        browser.AddProxyNode(proxy, sequence, False)
        browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
        browser.SetOverwriteProxyName(sequence, False)
        browser.SetSaveChanges(sequence, False)
        browser.SetPlaybackRateFps(beatRateFps(frameTimes))
        browser.SetPlaybackLooped(True)
        browser.SetPlaybackItemSkippingEnabled(True)
        browser.SetSelectedItemNumber(0)
        slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browser)
        return browser

    @staticmethod
    def _addNode(className: str, name: str, made: list) -> Any:
        node = slicer.mrmlScene.AddNewNodeByClass(className, name)
        made.append(node)
        return node

    @staticmethod
    def _placeInHierarchy(cine: dict[str, Any], name: str, proxy: Any) -> None:
        """Subject and study above the volume, as a DICOM export needs them; nobody is to take a synthetic heart for a
        patient. Sequence and browser stay out of the tree: no plugin of it knows them.
        """
        hierarchy = slicer.mrmlScene.GetSubjectHierarchyNode()
        if hierarchy is None:
            return
        subject = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), name)
        made = isSynthetic(cine)
        title = "Synthetic cine cardiac MRI" if made else "Cine cardiac MRI"
        if isMadeFrom(cine.get("meta") or {}):
            title = str(cine["meta"]["kind"]).capitalize()
        study = hierarchy.CreateStudyItem(subject, title)
        if made:
            hierarchy.SetItemAttribute(subject, ATTRIBUTE_PREFIX + "synthetic", "1")
        # the application makes an item for every volume; without its main window nobody does
        item = hierarchy.GetItemByDataNode(proxy) or hierarchy.CreateItem(study, proxy)
        hierarchy.SetItemParent(item, study)


def displayName(cine: dict[str, Any]) -> str:
    """Name of a cine's nodes; says that it is synthetic."""
    meta = cine.get("meta") or {}
    if not isSynthetic(cine) or (cine.get("name") and isMadeFrom(meta)):
        return str(cine.get("name") or "Cine")
    parts = ["Synthetic", meta.get("pathology") or "heart"]
    if "seed" in meta:
        parts.append(f"seed {meta['seed']}")
    if meta.get("index"):
        parts.append(f"no. {meta['index']}")
    return " ".join(str(part) for part in parts)


def addStorage(node: Any) -> list[Any]:
    """Give a node that shows a sequence its storage node now: made while a scene is saved, it would count as a change
    of the frame that is shown. Returns what was made.
    """
    if node.GetStorageNode() is None and node.AddDefaultStorageNode() and node.GetStorageNode() is not None:
        return [node.GetStorageNode()]
    return []


def cineTitle(sequence: Any) -> str:
    """What a cine is called, by its sequence."""
    return str(sequence.GetName() or "").removesuffix(SEQUENCE_SUFFIX)


def _freeName(name: str) -> str:
    """The name, or with a number where a cine in the scene has it already."""
    scene = slicer.mrmlScene
    return name if scene.GetFirstNodeByName(name) is None else scene.GenerateUniqueName(name)


def isSynthetic(cine: dict[str, Any]) -> bool:
    """Whether a cine was generated."""
    return bool((cine.get("meta") or {}).get("synthetic"))


def isMadeFrom(meta: dict[str, Any]) -> bool:
    """Whether a cine is a completion or a variation of another one."""
    return str(meta.get("kind") or "").startswith(("completion of ", "variation of "))


def madeFromText(browser: Any) -> str:
    """What a cine is that was made from another one, in words; empty where it was not."""
    sequence = None if browser is None else browser.GetMasterSequenceNode()
    origin = {} if sequence is None else originOf(sequence)
    if not isMadeFrom(origin):
        return ""
    kind = str(origin["kind"])
    parts = [f"{kind[:1].upper()}{kind[1:]}.", origin.get("note"), origin.get("audit_note")]
    return " ".join(str(part) for part in parts if part)


def setOrigin(node: Any, cine: dict[str, Any]) -> None:
    """Write where a cine comes from onto a node, as attributes ``CardioDiT.*``; they are saved with the scene. One
    more, ``CardioDiT.provenance``, holds all of it as JSON, for an export without loss.
    """
    meta = cine.get("meta") or {}
    if meta:
        node.SetAttribute(PROVENANCE_ATTRIBUTE, json.dumps(meta))
    for name, value in meta.items():
        if value is None:
            continue
        if isinstance(value, bool):
            text = str(int(value))
        elif isinstance(value, str | int | float):
            text = str(value)
        else:
            text = json.dumps(value)
        node.SetAttribute(ATTRIBUTE_PREFIX + name, text)


def originOf(node: Any) -> dict[str, str]:
    """What `setOrigin` wrote, as texts."""
    names = [name for name in node.GetAttributeNames() if name.startswith(ATTRIBUTE_PREFIX)]
    return {name[len(ATTRIBUTE_PREFIX) :]: node.GetAttribute(name) for name in names}


def jsonAttribute(node: Any, name: str) -> Any:
    """What an attribute of a node holds as JSON; None where it holds none, or nothing that can be read."""
    try:
        return json.loads(node.GetAttribute(name) or "null")
    except ValueError:
        return None


def indexStrings(frameTimes: Sequence[float]) -> list[str]:
    """Seconds as index values of a sequence: to the microsecond, no trailing zeros. All sequences of one cine carry the
    same strings, and the library writes the same into files.
    """
    return [f"{time:.{INDEX_DIGITS}f}".rstrip("0").rstrip(".") for time in frameTimes]


def beatRateFps(frameTimes: Sequence[float]) -> float:
    """Frames a second at which the heart beats as fast as it did."""
    if len(frameTimes) < 2:
        return 10.0
    return (len(frameTimes) - 1) / (frameTimes[-1] - frameTimes[0])


def loadArray(source: Any, dtype: Any = None) -> Any:
    """The array that a description holds: a .npy file, or the array itself, which is turned into `dtype` then."""
    import numpy as np

    return np.load(source, allow_pickle=False) if isinstance(source, str) else np.asarray(source, dtype)


def _displayRange(array: Any) -> tuple[float, float]:
    import numpy as np

    low, high = np.percentile(array[:: max(1, len(array) // 4)], [0.5, 99.7])
    return float(low), float(max(high, low + 1))


def _matrixOf(affine: Sequence[Sequence[float]]) -> vtk.vtkMatrix4x4:
    matrix = vtk.vtkMatrix4x4()
    for row in range(4):
        for column in range(4):
            matrix.SetElement(row, column, float(affine[row][column]))
    return matrix

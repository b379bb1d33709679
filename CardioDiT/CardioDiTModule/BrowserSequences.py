"""Sequences that go along with a cine in its browser: made, found, put in place, taken away."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import slicer
import vtk
from slicer.i18n import tr as _

from .CineReader import metaOf
from .Problem import CardioDiTProblem
from .SequenceBuilder import ATTRIBUTE_PREFIX, addStorage, cineTitle, setOrigin

KIND_ATTRIBUTE = ATTRIBUTE_PREFIX + "kind"
SOURCE_ATTRIBUTE = ATTRIBUTE_PREFIX + "source"
SOURCE_ROLE = "CardioDiTSource"
HEART_RATE_ATTRIBUTE = ATTRIBUTE_PREFIX + "heartRateBpm"
"""Of a browser: beats a minute of its cine, where somebody knows it."""


def findSequence(browser: Any, kind: str, className: str = "") -> Any:
    """The sequence of a kind in a browser; None where there is none.

    Args:
        browser: The browser node, or None.
        kind: As `describeNode` marked it.
        className: Where no sequence is marked, one that holds nodes of this class will do: the user's own.
    """
    if browser is None or browser.GetScene() is None:
        return None
    nodes = vtk.vtkCollection()
    browser.GetSynchronizedSequenceNodes(nodes, False)
    sequences = [nodes.GetItemAsObject(number) for number in range(nodes.GetNumberOfItems())]
    filled = [sequence for sequence in sequences if sequence is not None and sequence.GetNumberOfDataNodes() > 0]
    for sequence in filled:
        if sequence.GetAttribute(KIND_ATTRIBUTE) == kind:
            return sequence
    for sequence in filled:
        if className and sequence.GetNthDataNode(0).IsA(className):
            return sequence
    return None


def indexValues(browser: Any) -> list[str]:
    """Index values of the cine: every sequence that goes along with it carries the same texts."""
    sequence = browser.GetMasterSequenceNode()
    return [sequence.GetNthIndexValue(number) for number in range(sequence.GetNumberOfDataNodes())]


def dataNodes(browser: Any, sequence: Any) -> list[Any]:
    """The nodes of a sequence for the frames of the cine, in their order.

    Raises:
        CardioDiTProblem: A frame has none.
    """
    found = [sequence.GetDataNodeAtValue(value, True) for value in indexValues(browser)]
    if any(node is None for node in found):
        missing = next(number for number, node in enumerate(found) if node is None)
        raise CardioDiTProblem(
            _("'{name}' has nothing at frame {number} of the cine.").format(name=sequence.GetName(), number=missing),
            _("Make it again."),
        )
    return found


def newSequence(browser: Any, name: str) -> Any:
    """A sequence node like the cine's, not in the scene yet."""
    cine = browser.GetMasterSequenceNode()
    sequence = slicer.vtkMRMLSequenceNode()
    sequence.SetName(name)
    sequence.SetIndexName(cine.GetIndexName())
    sequence.SetIndexUnit(cine.GetIndexUnit())
    sequence.SetIndexType(cine.GetIndexType())
    return sequence


def describeNode(node: Any, kind: str, browser: Any, meta: dict[str, Any]) -> None:
    """Write what a node is and where it comes from as attributes ``CardioDiT.*``: kind, source, provenance (and
    ``synthetic`` where the cine is), and each entry of ``meta[kind]`` (method, name, version and sha256 of weights) by
    itself.
    """
    cine = browser.GetMasterSequenceNode()
    setOrigin(node, {"meta": meta})
    node.SetAttribute(KIND_ATTRIBUTE, kind)
    node.SetAttribute(SOURCE_ATTRIBUTE, cine.GetID())
    about = meta.get(kind)
    if isinstance(about, dict):
        for name, value in about.items():
            if isinstance(value, str | int | float):
                text = str(int(value)) if isinstance(value, bool) else str(value)
                node.SetAttribute(f"{ATTRIBUTE_PREFIX}{kind}.{name}", text)


def attachSequence(browser: Any, sequence: Any, proxy: Any) -> None:
    """Let a finished sequence and the node that shows it go along with the cine; corrections by hand are kept.

    Args:
        browser: The browser node.
        sequence: In the scene already.
        proxy: In the scene already, with its display node.
    """
    shown = max(0, browser.GetSelectedItemNumber())
    name = proxy.GetName()
    frame = sequence.GetDataNodeAtValue(browser.GetMasterSequenceNode().GetNthIndexValue(shown), True)
    proxy.CopyContent(frame)
    proxy.SetName(name)
    addStorage(proxy)
    # the proxy first: adding the sequence alone would make a second one
    browser.AddProxyNode(proxy, sequence, False)
    browser.SetOverwriteProxyName(sequence, False)
    slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browser)
    # only now: before, what the proxy happens to hold could get into the frame that is shown
    browser.SetSaveChanges(sequence, True)
    sequence.SetNodeReferenceID(SOURCE_ROLE, browser.GetMasterSequenceNode().GetID())
    placeBesideCine(browser, [proxy])


def placeBesideCine(browser: Any, nodes: Sequence[Any]) -> None:
    """Put nodes where the cine is in the subject hierarchy; of kinds that its plugins know, sequences are none."""
    hierarchy = slicer.mrmlScene.GetSubjectHierarchyNode()
    cine = browser.GetProxyNode(browser.GetMasterSequenceNode())
    item = 0 if hierarchy is None or cine is None else hierarchy.GetItemByDataNode(cine)
    if not item:
        return
    parent = hierarchy.GetItemParent(item)
    for node in nodes:
        # the application makes an item for every node; without its main window nobody does
        hierarchy.SetItemParent(hierarchy.GetItemByDataNode(node) or hierarchy.CreateItem(parent, node), parent)


def removeSequence(browser: Any, sequence: Any) -> None:
    """Take a sequence out of the scene, with the node that shows it."""
    proxy = browser.GetProxyNode(sequence)
    displays = [] if proxy is None else [proxy.GetNthDisplayNode(n) for n in range(proxy.GetNumberOfDisplayNodes())]
    browser.SetSaveChanges(sequence, False)
    browser.RemoveSynchronizedSequenceNode(sequence.GetID())
    storage = None if proxy is None else proxy.GetStorageNode()
    removeNodes([proxy, *displays, storage, sequence])


def removeNodes(nodes: Sequence[Any]) -> None:
    """Take nodes out of the scene and its subject hierarchy; None and what has gone already count for nothing."""
    present = [node for node in nodes if node is not None and node.GetScene() is not None]
    hierarchy = slicer.mrmlScene.GetSubjectHierarchyNode()
    items = [0 if hierarchy is None else hierarchy.GetItemByDataNode(node) for node in present]
    # items first: the application removes those of nodes that go, and asking for one that is gone is an error
    for item in filter(None, items):
        hierarchy.RemoveItem(item, False, False)
    for node in present:
        slicer.mrmlScene.RemoveNode(node)


def neighbours(frame: int, reach: int, count: int) -> dict[int, float]:
    """Frames around one, the nearest first, and how much of a change in it is theirs: 1 for that frame itself, 0 for
    one beyond reach. After the last frame of the cycle comes the first.
    """
    found: dict[int, float] = {}
    for distance in range(1, reach + 1):
        for other in ((frame - distance) % count, (frame + distance) % count):
            if other != frame:
                found.setdefault(other, 1 - distance / (reach + 1))
    return found


def requireCine(browser: Any) -> None:
    """Ask before nodes are made for a cine.

    Raises:
        CardioDiTProblem: It is no longer there.
    """
    if browser is None or browser.GetScene() is None or browser.GetMasterSequenceNode() is None:
        raise CardioDiTProblem(_("The cine is no longer in the scene."), _("Choose another."))


def cineName(browser: Any) -> str:
    """What the cine is called."""
    return cineTitle(browser.GetMasterSequenceNode())


def cineMeta(browser: Any) -> dict[str, Any]:
    """Provenance of the cine."""
    return metaOf(browser.GetMasterSequenceNode())

"""`qMRMLNodeComboBox`: a list of the scene's nodes of some types."""

from __future__ import annotations

from PySide6.QtWidgets import QComboBox, QHBoxLayout

from slicer_standin.widgets.behaviours import behaviour
from slicer_standin.widgets.observing import observe

CREATE = "+"


@behaviour
class _qMRMLNodeComboBox:
    """Follows the scene; keeps its node as long as it exists, else takes the first one (or none)."""

    def _init(self):
        self._scene, self._observations, self._attributes, self._ids, self._current = None, [], [], [], ""
        self._values |= {"noneEnabled": False, "addEnabled": True, "removeEnabled": True, "showChildNodeTypes": True}
        self._values |= {"selectNodeUponCreation": True, "noneDisplay": "None"}
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self._combo = QComboBox()
        layout.addWidget(self._combo)
        self._combo.activated.connect(self._activated)

    def mrmlScene(self):
        return self._scene

    def setMRMLScene(self, scene):
        for observed, tag in self._observations:
            observed.RemoveObserver(tag)
        self._observations, self._scene = [], scene
        if scene is not None:
            events = (scene.NodeAddedEvent, scene.NodeRemovedEvent, scene.EndImportEvent, scene.EndCloseEvent)
            self._observations = [(scene, observe(self, scene, event, "_fill")) for event in events]
        self._fill()

    def _matches_type(self, node):
        types = self._values.get("nodeTypes", ())
        if self._values["showChildNodeTypes"]:
            return any(node.IsA(kind) for kind in types)
        return node.GetClassName() in types

    def _matches_attributes(self, node):
        for kind, name, value in self._attributes:
            found = node.GetAttribute(name)
            if node.IsA(kind) and (found is None or (value is not None and found != str(value))):
                return False
        return True

    def _nodes(self):
        if self._scene is None:
            return []
        nodes = [self._scene.GetNthNode(index) for index in range(self._scene.GetNumberOfNodes())]
        shown = [node for node in nodes if self._values.get("showHidden") or not node.GetHideFromEditors()]
        return [node for node in shown if self._matches_type(node) and self._matches_attributes(node)]

    def _fill(self, _changed=None):
        nodes = self._nodes()
        self._ids = [node.GetID() for node in nodes]
        self._combo.clear()
        if self._values["noneEnabled"]:
            self._combo.addItem(self._values["noneDisplay"], "")
        for node in nodes:
            self._combo.addItem(node.GetName(), node.GetID())
        if self._values["addEnabled"] and self._scene is not None:
            for kind in self._values.get("nodeTypes", ()):
                self._combo.addItem(f"Create new {self._scene.GetTagByClassName(kind)}", CREATE + kind)
        first = "" if self._values["noneEnabled"] or not self._ids else self._ids[0]
        self._select(self._current if self._current in self._ids else first)

    _on_nodeTypes = _on_noneEnabled = _on_addEnabled = _on_showHidden = _on_showChildNodeTypes = _fill

    def _select(self, node_id):
        node_id = node_id if node_id in self._ids else ""
        self._combo.setCurrentIndex(self._combo.findData(node_id))
        if node_id == self._current:
            return
        self._current = node_id
        node = self.currentNode()
        self.currentNodeChanged[object].emit(node)
        self.currentNodeChanged[bool].emit(node is not None)
        self.currentNodeIDChanged.emit(node_id)

    def _activated(self, index):
        data = self._combo.itemData(index)
        if data and data.startswith(CREATE):
            self.nodeAddedByUser.emit(self.addNode(data[len(CREATE) :]))
        else:
            self._select(data)
            self.nodeActivated.emit(self.currentNode())

    def _get_currentNodeID(self):
        return self._current

    def _on_currentNodeID(self, node_id):
        self._select(node_id)

    def currentNode(self):
        return self._scene.GetNodeByID(self._current) if self._scene is not None and self._current else None

    def currentNodeId(self):
        return self._current

    def setCurrentNode(self, node):
        self._select(node if isinstance(node, str) else node.GetID() if node is not None else "")

    def setCurrentNodeID(self, node_id):
        self._select(node_id)

    def setCurrentNodeIndex(self, index):
        self._select(self._ids[index])

    def nodeFromIndex(self, index):
        return self._scene.GetNodeByID(self._ids[index]) if 0 <= index < len(self._ids) else None

    def nodeCount(self):
        return len(self._ids)

    def addAttribute(self, node_type, name, value=None):
        self._attributes.append((node_type, name, value))
        self._fill()

    def removeAttribute(self, node_type, name):
        self._attributes = [entry for entry in self._attributes if entry[:2] != (node_type, name)]
        self._fill()

    def addNode(self, node_type=None):
        kind = node_type or self._values["nodeTypes"][0]
        node = self._scene.AddNewNodeByClass(kind, self._values.get("baseName", ""))
        if self._values["selectNodeUponCreation"]:
            self.setCurrentNode(node)
        self.nodeAdded.emit(node)
        return node

    def removeCurrentNode(self):
        node = self.currentNode()
        if node is not None:
            self.nodeAboutToBeRemoved.emit(node)
            self._scene.RemoveNode(node)

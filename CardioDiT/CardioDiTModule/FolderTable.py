from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import slicer
import vtk
from slicer.i18n import tr as _

from .BrowserSequences import KIND_ATTRIBUTE

KIND = "folder"
COLUMNS = (
    ("Cine", "file"),
    ("State", "state"),
    ("LV EDV (mL)", "edv_ml"),
    ("LV ESV (mL)", "esv_ml"),
    ("LV EF (%)", "ef_percent"),
    ("LV mass (g)", "lv_mass_g"),
    ("RV EDV (mL)", "rv_edv_ml"),
    ("RV EF (%)", "rv_ef_percent"),
    ("Audit", "verdict"),
    ("Remark", "problem"),
)
"""Title, entry of a row: what is looked at first. All of it is in the results file."""


class FolderTable:
    """The table node of the last folder. It is not saved with the scene: file names may be patients' names."""

    @property
    def node(self) -> Any:
        """The node; None where there was no folder yet."""
        nodes = slicer.util.getNodesByClass("vtkMRMLTableNode")
        return next((node for node in nodes if node.GetAttribute(KIND_ATTRIBUTE) == KIND), None)

    def fill(self, rows: Sequence[dict[str, Any]]) -> Any:
        """Show rows in the node, which is made if need be; returns it."""
        node = self.node
        if node is None:
            node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", _("Folder of cines"))
            node.SetAttribute(KIND_ATTRIBUTE, KIND)
            node.SetSaveWithScene(False)
        table = vtk.vtkTable()
        for title, entry in COLUMNS:
            array = vtk.vtkStringArray()
            array.SetName(title)
            for row in rows:
                value = row.get(entry, "")
                array.InsertNextValue("" if value is None else str(value))
            table.AddColumn(array)
        node.SetAndObserveTable(table)
        node.SetLocked(True)
        node.SetUseColumnTitleAsColumnHeader(True)
        return node

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import slicer
from slicer.i18n import tr as _

from .BrowserSequences import KIND_ATTRIBUTE
from .TableNodes import fillTable, findTable, texts

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
        return findTable(KIND)

    def fill(self, rows: Sequence[dict[str, Any]]) -> Any:
        """Show rows in the node, which is made if need be; returns it."""
        node = self.node
        if node is None:
            node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", _("Folder of cines"))
            node.SetAttribute(KIND_ATTRIBUTE, KIND)
            node.SetSaveWithScene(False)
        fillTable(node, [texts(title, (row.get(entry) for row in rows)) for title, entry in COLUMNS])
        return node

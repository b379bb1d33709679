from __future__ import annotations

from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

FILES = ("stage1", "stage1_config", "dit", "dit_config")
EDITS = ("stage1Edit", "stage1ConfigEdit", "ditEdit", "ditConfigEdit")


class PublishedImportDialog:
    """Asks for the four files of a published model, its name and its millimetres.

    Args:
        uiFile: ``PublishedImportDialog.ui``.
    """

    def __init__(self, uiFile: str) -> None:
        self.dialog = slicer.util.loadUI(uiFile)
        self.ui = slicer.util.childWidgetVariables(self.dialog)
        self.ui.importOkButton.connect("clicked(bool)", self._onOk)
        self.ui.importCancelButton.connect("clicked(bool)", self._onCancel)

    def ask(self) -> dict[str, Any] | None:
        """Show the dialog; arguments for the worker's `import_published`, None where the user thought better of it."""
        # Qt 6 knows it by the second name alone
        execute = getattr(self.dialog, "exec_", None) or self.dialog.exec
        arguments = self.arguments() if execute() else None
        self.dialog.deleteLater()
        return arguments

    def arguments(self) -> dict[str, Any]:
        """What was entered."""
        files = {name: str(getattr(self.ui, edit).currentPath) for name, edit in zip(FILES, EDITS)}
        inPlane, between = float(self.ui.inPlaneSpin.value), float(self.ui.betweenSpin.value)
        return {
            **files,
            "name": self.ui.importNameEdit.text.strip(),
            "spacing_mm": [inPlane, inPlane, between],
            "cycle_s": float(self.ui.cycleSpin.value),
        }

    def problem(self) -> str:
        """What is missing; empty where nothing is."""
        arguments = self.arguments()
        for name in FILES:
            if not Path(arguments[name]).is_file():
                return _("Choose all four files: '{path}' is none.").format(path=arguments[name])
        return "" if arguments["name"] else _("Give the model a name.")

    def _onOk(self, _checked: bool = False) -> None:
        problem = self.problem()
        self.ui.importProblemLabel.text = problem
        if not problem:
            self.dialog.accept()

    def _onCancel(self, _checked: bool = False) -> None:
        self.dialog.reject()

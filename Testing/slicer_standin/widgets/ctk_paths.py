"""CTK's fields for paths."""

from __future__ import annotations

from PySide6.QtWidgets import QComboBox, QFileDialog, QHBoxLayout, QPushButton, QToolButton

from slicer_standin.widgets.behaviours import behaviour


@behaviour
class _ctkPathLineEdit:
    """An editable combo box with a browse button."""

    def _init(self):
        self._values |= {"showBrowseButton": True, "showHistoryButton": True}
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self._combo, self._button = QComboBox(), QToolButton()
        self._combo.setEditable(True)
        self._button.setText("…")
        self._button.setToolTip("Open a dialog")
        layout.addWidget(self._combo, 1)
        layout.addWidget(self._button)
        self._button.clicked.connect(self._browse)
        self._combo.editTextChanged.connect(self._edited)

    def _browse(self, _checked=False):
        self.browse()

    def _edited(self, text):
        if text != self._values.get("shown", ""):
            self._values["shown"] = self._values["currentPath"] = text
            self.currentPathChanged.emit(text)

    def _on_currentPath(self, path):
        if self._combo.currentText != path:
            self._combo.setEditText(path)

    def comboBox(self):
        return self._combo

    def browse(self):
        filters = self._values.get("filters", "")
        ask = QFileDialog.getExistingDirectory if "Dirs" in filters and "Files" not in filters else None
        path = ask(self, self.label) if ask else QFileDialog.getOpenFileName(self, self.label)
        if path:
            self.currentPath = path

    def addCurrentPathToHistory(self):
        if self._combo.findText(self._combo.currentText) < 0:
            self._combo.addItem(self._combo.currentText)


@behaviour
class _ctkDirectoryButton:
    """A button that shows a folder."""

    def _init(self):
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self._button, self._shown = QPushButton("(none)"), ""
        layout.addWidget(self._button)
        self._button.clicked.connect(self._browse)

    def _browse(self, _checked=False):
        self.browse()

    def _on_directory(self, directory):
        if directory != self._shown:
            self._shown = directory
            self._button.setText(directory)
            self.directoryChanged.emit(directory)

    def browse(self):
        directory = QFileDialog.getExistingDirectory(self, self.caption)
        if directory:
            self.directory = directory
            self.directorySelected.emit(directory)
        return directory

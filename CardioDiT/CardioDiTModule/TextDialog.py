from __future__ import annotations

import qt
import slicer
from slicer.i18n import tr as _

SIZE = (720, 640)


class TextDialog:
    """A window with a long text that scrolls; the application goes on behind it.

    Args:
        title: Of the window.
        text: As Markdown.
    """

    def __init__(self, title: str, text: str) -> None:
        self.dialog = qt.QDialog(slicer.util.mainWindow())
        self.dialog.setWindowTitle(title)
        layout = qt.QVBoxLayout(self.dialog)
        self.browser = qt.QTextBrowser()
        self.browser.setOpenExternalLinks(True)
        if hasattr(self.browser, "setMarkdown"):
            self.browser.setMarkdown(text)
        else:  # before Qt 5.14
            self.browser.setPlainText(text)
        layout.addWidget(self.browser)
        self.closeButton = qt.QPushButton(_("Close"))
        self.closeButton.connect("clicked(bool)", self._onClose)
        layout.addWidget(self.closeButton)
        width, height = SIZE
        window = slicer.util.mainWindow()
        if window is not None:  # which has its place on the screen
            width, height = min(width, window.width), min(height, window.height)
        self.dialog.resize(width, height)

    def show(self) -> None:
        """Open it."""
        self.dialog.show()

    def close(self) -> None:
        """Close it for good."""
        self.dialog.close()
        self.dialog.deleteLater()

    def _onClose(self, _checked: bool = False) -> None:
        self.dialog.close()

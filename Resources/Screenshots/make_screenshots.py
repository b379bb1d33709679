"""Pictures of the module's panel for README and catalogue: the real module with the real worker and the embedded
model, on the Qt stand-in of the tests (not in the Slicer application).

    QT_QPA_PLATFORM=offscreen python Resources/Screenshots/make_screenshots.py
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "Testing")]
FOLDER = Path(__file__).parent
WIDTH = 460


def main() -> None:
    from slicer_standin import slicer_app

    app = slicer_app.start()
    import qt
    from slicer_standin.application import messages

    messages.answers += [True] * 10
    qt.QSettings().setValue("CardioDiT/CacheFolder", tempfile.mkdtemp())
    loaded = slicer_app.loadModule(REPOSITORY / "CardioDiT" / "CardioDiT.py")
    widget, panel = loaded.widget, loaded.panel
    ui = widget.ui
    window = qt.QMainWindow()
    window.setWindowTitle("CardioDiT")
    window.setCentralWidget(panel)

    def wait(condition, seconds=120.0):
        end = time.monotonic() + seconds
        while not condition() and time.monotonic() < end:
            app.processEvents()
            time.sleep(0.002)

    def shoot(name: str, *opened: str) -> None:
        for section in ("generate", "play", "export", "models", "log"):
            getattr(ui, f"{section}Collapsible").collapsed = section not in opened
        window.resize(WIDTH, 40)
        app.processEvents()
        window.resize(WIDTH, panel.sizeHint.height() if not callable(panel.sizeHint) else panel.sizeHint().height())
        window.show()
        app.processEvents()
        window.grab().save(str(FOLDER / name))
        print(FOLDER / name)

    wait(lambda: ui.generateButton.enabled and not widget.logic.worker.openRequests())
    ui.pathologyCombo.setCurrentIndex(ui.pathologyCombo.findData("HCM"))
    ui.seedSpin.value = 7
    window.show()
    ui.generateButton.click()
    wait(lambda: "24 of 30" in ui.progressLabel.text and widget.generate._preview.hasFrames())
    shoot("1.png", "generate")
    wait(lambda: widget._parameterNode.browser is not None)
    shoot("2.png", "play", "export")
    ui.modelsTable.selectRow(0)
    app.processEvents()
    shoot("3.png", "models")
    from CardioDiTModule.SharedWorker import stopSharedWorker

    stopSharedWorker()


if __name__ == "__main__":
    main()

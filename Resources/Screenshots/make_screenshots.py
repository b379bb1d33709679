"""Pictures of the module's panel for README and catalogue: the real module with the real worker and the embedded
model, on the Qt stand-in of the tests (not in the Slicer application).

    QT_QPA_PLATFORM=offscreen python Resources/Screenshots/make_screenshots.py [--segmentation FOLDER]

With the option another segmentation model than the embedded one labels the heart.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "Testing")]
FOLDER = Path(__file__).parent
WIDTH = 460


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--segmentation", help="folder of a segmentation model")
    arguments = parser.parse_args()
    from slicer_standin import slicer_app

    app = slicer_app.start()
    import qt
    from slicer_standin.application import messages

    messages.answers += [True] * 10
    qt.QSettings().setValue("CardioDiT/CacheFolder", tempfile.mkdtemp())
    qt.QSettings().setValue("CardioDiT/SegmentationModel", arguments.segmentation or "")
    loaded = slicer_app.loadModule(REPOSITORY / "CardioDiT" / "CardioDiT.py")
    widget, panel = loaded.widget, loaded.panel
    ui = widget.ui
    window = qt.QMainWindow()
    window.setWindowTitle("CardioDiT")
    window.setCentralWidget(panel)

    def wait(condition, seconds=900.0):
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:  # better no picture than one of something else
                sys.exit(f"not within {seconds:.0f} s: {ui.problemLabel.text}")
            app.processEvents()
            time.sleep(0.002)

    def unfold(*opened: str) -> None:
        for section in (
            *("generate", "play", "landmarks", "function", "privacy"),
            *("completion", "export", "folder", "models", "log"),
        ):
            getattr(ui, f"{section}Collapsible").collapsed = section not in opened

    def shoot(name: str, *opened: str) -> None:
        unfold(*opened)
        for _ in range(3):  # what was folded away is forgotten bit by bit
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
    unfold("landmarks", "function")
    ui.segmentButton.click()
    wait(lambda: widget.function.segmenting.run is None)
    ui.landmarksButton.click()
    wait(lambda: widget.landmarks.controls.run is None)
    ui.heartRateSpin.value = 67
    ui.measureButton.click()
    wait(lambda: widget.function.measuring.run is None)
    print(ui.problemLabel.text)
    shoot("4.png", "landmarks", "function")
    if ui.auditButton.enabled:  # the model carries training embeddings
        ui.auditButton.click()
        wait(lambda: widget.privacy.controls.run is None)
        shoot("5.png", "privacy", "export")
    ui.modelsTable.selectRow(0)
    app.processEvents()
    shoot("3.png", "models")
    from CardioDiTModule.SharedWorker import stopSharedWorker

    stopSharedWorker()
    # VTK and Qt take each other down in no certain order when Python ends
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()

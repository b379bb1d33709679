"""The sample cine of CardioDiT in Slicer's Sample Data module."""

from __future__ import annotations

from pathlib import Path

CATEGORY = "CardioDiT"
SAMPLE_NAME = "CardioDiT Sunnybrook cine"
NODE_NAME = "Sunnybrook cine"
FILE_NAME = "CardioDiT-Sunnybrook-ShortAxis.seq.nrrd"
SHA256 = "bfe9f0e16d6bd74fe530542e75cf64b7e54a4d2b42c03af550044055d866f1be"
URL = f"https://raw.githubusercontent.com/Cardio-AI/SlicerCardioDiT/main/Resources/SampleData/{FILE_NAME}"

_MODULE_FOLDER = Path(__file__).resolve().parents[1]


def registerSampleData():
    """Add the sample cine to the Sample Data module; once Slicer has started, when that module is there."""
    import SampleData
    from slicer.i18n import tr as _

    logic = SampleData.SampleDataLogic
    if hasattr(logic, "registerCustomSampleDataCategory"):  # not in Slicer 5.10
        logic.registerCustomSampleDataCategory(CATEGORY, title=_("CardioDiT"))
    logic.registerCustomSampleDataSource(
        category=CATEGORY,
        sampleName=SAMPLE_NAME,
        thumbnailFileName=str(_MODULE_FOLDER / "Resources" / "Icons" / "CardioDiT-Sunnybrook.png"),
        uris=sampleUri(),
        fileNames=FILE_NAME,
        nodeNames=NODE_NAME,
        checksums=f"SHA256:{SHA256}",
        loadFileTypes="SequenceFile",
    )


def sampleUri() -> str:
    """Where the sample cine is taken from: the copy that came with the extension, so that no network is needed."""
    installed = _MODULE_FOLDER / "CardioDiTLib" / "Resources" / "SampleData" / FILE_NAME
    inSourceTree = _MODULE_FOLDER.parent / "Resources" / "SampleData" / FILE_NAME
    for path in (installed, inSourceTree):
        if path.is_file():
            return path.as_uri()
    return URL

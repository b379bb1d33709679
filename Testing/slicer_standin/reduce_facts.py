"""Reduce the full facts about Slicer's classes to those that a scripted module can meet, into facts-<version>.json.

Usage: python -m slicer_standin.reduce_facts FULL-main.json FULL-5.12.json
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

from slicer_standin import facts

LIMIT_BYTES = 150_000
DROPPED_KEYS = ("f", "ctor")

# Classes of the tools behind the widgets: no module's .ui or script names them.
NOT_NEEDED = re.compile(
    r"(Plugins?|EventPlayer|EventTranslator|Worker|Job|JobDetail|JobResponseSet|MessageHandler|Delegate|Tester"
    r"|ModuleReader|ReaderTest)$|^ctk(DICOM|Xnat|CmdLine|Workflow|TransferFunction|ErrorLog|AbstractPython|XMLEvent|Job"
    r"|CommandLine|Console|Axes|Linear|ValueProxy|Extension|Flat|ScriptingPython|ITK|Boolean|Callback|Test|VTKMatrix"
    r"|VTKAbstractMatrix|VTKDiscretizable|VTKSurface|VTKObject|VTKDataSetModel|VTKComposite|VTKHistogram|VTKLookup"
    r"|VTKPiecewise|VTKColorTransfer|VTKConnection|VTKScalars|VTKProperty|VTKVolume|VTKText|QtTesting|ModelTester"
    r"|MaterialProperty|Thumbnail|FontButton|Settings|Python|Checkable(Model|Header)|EventTranslator|Crosshair|Sort)"
    r"|^qMRML(Event|Unit|Settings|Scene\w*Model|SortFilter\w*|SegmentEditor|SubjectHierarchyModel|SegmentsModel"
    r"|ColorModel|Transform\w+|SegmentationGeometry|VolumePropertyNode|Navigation|Layout(ViewFactory|Widget)"
    r"|MarkupsOptionsWidgetsFactory|ColorLegend|SegmentationFileExport|Slice(Vertical)?Controller)"
)
WANTED = re.compile(r"^(ctk|qMRML)")
APPLICATION = re.compile(
    r"^qSlicer((Core)?Application|Abstract(Core)?Module(Widget)?|Loadable(Module)?|ScriptedLoadable\w*|ModuleManager"
    r"|ModuleSelectorToolBar|ExtensionsManagerModel|(Core)?IOManager|LayoutManager|MainWindow|Widget|WebWidget"
    r"|SequencesModule|PlotsModule|MarkupsPlaceWidget|SimpleMarkupsWidget|DICOMExportable|Utils"
    r"|MouseModeToolBar|ViewersToolBar|ModulePanel)$"
)
# Widgets whose plain C++ methods are easily mistaken for methods that Python can call.
PLAIN_KEPT = re.compile(
    r"^(ctk(Slider|Range|PathLine|Collapsible|Combo|Directory|DoubleSpin|Checkable)\w*|qMRMLNodeCombo\w*)$"
)


def wanted(name: str) -> bool:
    """Whether a class is kept for its own sake."""
    if NOT_NEEDED.search(name):
        return False
    return bool(WANTED.match(name) or APPLICATION.match(name))


def reduced_class(name: str, full: dict) -> dict:
    """One class without what nobody asks for."""
    dropped = DROPPED_KEYS if PLAIN_KEPT.match(name) else (*DROPPED_KEYS, "plain")
    return {key: value for key, value in full.items() if key not in dropped and value}


def reduced(full: dict) -> dict:
    """The wanted classes, all their bases, and the public names of Slicer's Python packages."""
    classes = full["classes"]
    names = {base for name in classes if wanted(name) for base in facts.ancestry(classes, name) if base in classes}
    meta = {key: full["_meta"][key] for key in ("ctk_commit", "slicer_commit")}
    kept = {name: reduced_class(name, classes[name]) for name in sorted(names)}
    return {"_meta": meta, "classes": kept, "python": full["python"]}


def write(version: str, source: Path) -> Path:
    """Reduce one full file; refuse a result that is too large to keep in the repository."""
    text = json.dumps(reduced(json.loads(source.read_text(encoding="utf-8"))), sort_keys=True, separators=(",", ":"))
    if len(text) > LIMIT_BYTES:
        raise SystemExit(f"{version}: {len(text)} bytes, more than {LIMIT_BYTES}")
    target = facts.FOLDER / f"facts-{version}.json"
    target.write_text(text + "\n", encoding="utf-8")
    return target


def main(arguments: list[str]) -> None:
    """Write one reduced file for each version."""
    for version, source in zip(facts.VERSIONS, arguments, strict=True):
        target = write(version, Path(source))
        print(f"{target.name}: {target.stat().st_size} bytes")


if __name__ == "__main__":
    main(sys.argv[1:])

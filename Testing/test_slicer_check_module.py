"""The static checker of the Slicer module finds planted mistakes, and nothing in a module without mistakes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("PySide6", reason="PySide6-Essentials is not installed (pip install 'CardioDiTLib[slicer]')")

from slicer_standin import check_module, facts, reduce_facts

TOY = Path(facts.FOLDER) / "toy"
TOY_UI = TOY / "Resources" / "UI" / "ToyCine.ui"

# A line of Python, and what has to be found in it.
PLANTED_IN_PYTHON = {
    "self.ui.framesSlider.setMinimum(3)": "shows Python no 'setMinimum' (a C++ method only)",
    "self.ui.framesSlider.valeu = 3": "shows Python no 'valeu'",
    "self.ui.applyButton.text()": "'text' of QPushButton is a property in PythonQt",
    "self.ui.applyButton.connect('clickt(bool)', f)": "QPushButton has no signal clickt(bool)",
    "self.ui.inputSelector.connect('currentNodeChanged(int)', f)": "qMRMLNodeComboBox has no signal",
    "self.ui.aplyButton.enabled = True": "no .ui file has an object 'aplyButton'",
    "slider = self.ui.framesSlider; slider.setRange(1, 2)": "shows Python no 'setRange'",
    "ui = self.ui; ui.playWidget.play()": "qMRMLSequenceBrowserPlayWidget (playWidget) shows Python no 'play'",
    "ctk.ctkFooWidget()": "no ctk.ctkFooWidget",
    "slicer.qMRMLFooWidget()": "no slicer.qMRMLFooWidget",
    "slicer.util.erorDisplay('x')": "no slicer.util.erorDisplay",
    "slicer.app.mainWindow()": "no slicer.app.mainWindow",
    "slicer.app.temporaryPath()": "'temporaryPath' of qSlicerApplication is a property",
    "slicer.app.connect('startup()', f)": "qSlicerApplication has no signal startup()",
    "from slicer.util import loadUi": "no slicer.util.loadUi",
    "from slicer.ScriptedLoadableModule import ScriptedModule": "no slicer.ScriptedLoadableModule.ScriptedModule",
}

# What must not be found fault with.
RIGHT_IN_PYTHON = [
    "self.ui.framesSlider.value = 3",
    "self.ui.applyButton.connect('clicked(bool)', f)",
    "self.ui.applyButton.connect('clicked()', f)",
    "self.ui.applyButton.clicked.connect(f)",
    "self.ui.inputSelector.connect('currentNodeChanged(vtkMRMLNode*)', f)",
    "self.ui.inputSelector.setMRMLScene(slicer.mrmlScene)",
    "self.ui.statusLabel.setProperty('warning', True)",
    "slicer.app.connect('startupCompleted()', f)",
    "slicer.app.processEvents()",
    "slicer.app.aboutToQuit.connect(f)",
    "slider = self.ui.framesSlider; slider = other; slider.anything()",
    "ctk.ctkCollapsibleButton()",
]

# A part of the toy's .ui, what is written in its place, and what has to be found.
PLANTED_IN_UI = [
    ('class="ctkSliderWidget"', 'class="ctkSlidingWidget"', "no class ctkSlidingWidget"),
    ('name="addEnabled"', 'name="adEnabled"', "has no property adEnabled"),
    ("mrmlSceneChanged(", "mrmlSceneChangd(", "has no signal mrmlSceneChangd"),
    ("<slot>setMRMLScene(", "<slot>setScene(", "has no slot setScene"),
    ("<receiver>inputSelector", "<receiver>inputSelektor", "no object 'inputSelektor'"),
]


@pytest.fixture(params=facts.VERSIONS)
def known(request) -> dict:
    return facts.load(request.param)


def check_line(line: str, folder: Path, known: dict) -> list[str]:
    """The findings in a method with one line of code."""
    module = folder / "Module.py"
    is_import = line.startswith("from")
    module.write_text(line if is_import else f"class Widget:\n    def setup(self):\n        {line}\n", encoding="utf-8")
    return check_module.check([module], [TOY_UI], known)


def test_toy_is_clean(known):
    assert check_module.check([TOY / "ToyCine.py"], [TOY_UI], known) == []


@pytest.mark.parametrize("line", PLANTED_IN_PYTHON)
def test_planted_in_python(line, tmp_path, known):
    findings = check_line(line, tmp_path, known)
    assert len(findings) == 1, findings
    assert PLANTED_IN_PYTHON[line] in findings[0]
    assert findings[0].startswith("Module.py:")


@pytest.mark.parametrize("line", RIGHT_IN_PYTHON)
def test_right_in_python(line, tmp_path, known):
    assert check_line(line, tmp_path, known) == []


@pytest.mark.parametrize(("right", "wrong", "message"), PLANTED_IN_UI)
def test_planted_in_ui(right, wrong, message, tmp_path, known):
    text = TOY_UI.read_text(encoding="utf-8")
    assert right in text
    path = tmp_path / "Form.ui"
    path.write_text(text.replace(right, wrong), encoding="utf-8")
    findings = check_module.check([], [path], known)
    assert findings and all(message in finding for finding in findings)


def test_several_files(tmp_path, known):
    """A helper file of the same package is checked against the .ui too; findings name their file."""
    helper = tmp_path / "Helper.py"
    helper.write_text("def fill(ui):\n    ui.framesSlider.setMaximum(4)\n", encoding="utf-8")
    findings = check_module.check([TOY / "ToyCine.py", helper], [TOY_UI], known)
    assert len(findings) == 1 and findings[0].startswith("Helper.py:2")


def test_same_name_in_two_ui_files(tmp_path, known):
    """Where two .ui files give one name to different classes, nothing is said about it."""
    other = tmp_path / "Other.ui"
    other.write_text('<ui version="4.0"><widget class="QSlider" name="framesSlider"/></ui>', encoding="utf-8")
    module = tmp_path / "Module.py"
    module.write_text("def fill(ui):\n    ui.framesSlider.setMaximum(4)\n", encoding="utf-8")
    assert check_module.check([module], [TOY_UI, other], known) == []


def test_command(tmp_path, capsys):
    assert check_module.main([str(TOY / "ToyCine.py"), str(TOY_UI)]) == 0
    assert capsys.readouterr().out == "clean\n"
    wrong = tmp_path / "Wrong.py"
    wrong.write_text("import ctk\nctk.ctkNothing()\n", encoding="utf-8")
    assert check_module.main([str(wrong)]) == 1
    assert capsys.readouterr().out == "Wrong.py:2: no ctk.ctkNothing\n"


@pytest.mark.parametrize("version", facts.VERSIONS)
def test_reduced_facts_are_those_of_the_full_ones(version, shared_dir):
    full = shared_dir / "slicer" / "api" / f"slicer-{version}.json"
    if not full.is_file():
        pytest.skip("the full facts are not beside the repository")
    assert reduce_facts.reduced(json.loads(full.read_text(encoding="utf-8"))) == facts.load(version)


def test_reduced_facts_are_small():
    for version in facts.VERSIONS:
        assert (facts.FOLDER / f"facts-{version}.json").stat().st_size <= reduce_facts.LIMIT_BYTES

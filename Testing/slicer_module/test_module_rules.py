"""What a module may do at all: names that Slicer has, nothing heavy at file scope, quick to import."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import time

import pytest
from module_under_test import MODULE, MODULE_FOLDER, REPOSITORY, UI_FILES

SOURCES = [MODULE, *sorted((MODULE_FOLDER / "CardioDiTModule").glob("*.py"))]
AT_FILE_SCOPE = {"vtk", "qt", "ctk", "slicer", MODULE_FOLDER.name + "Module"}


def facts(version):
    """The facts beside the stand-in, and the whole ones where they are at hand."""
    own = REPOSITORY / "Testing" / "slicer_standin" / f"facts-{version}.json"
    whole = REPOSITORY.parent / "shared" / "slicer" / "api" / f"slicer-{version}.json"
    return [json.loads(path.read_text(encoding="utf-8")) for path in (own, whole) if path.is_file()]


@pytest.mark.parametrize("version", ["5.12", "main"])
def test_every_name_that_is_used_exists_in_slicer(version):
    from slicer_standin.check_module import check

    for known in facts(version):
        assert check(SOURCES, UI_FILES, known) == []


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_nothing_heavy_is_imported_at_file_scope(path):
    """Only the standard library, vtk, qt, ctk, slicer, and files of this module."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [node.module or ""]
        else:
            continue
        for name in names:
            root = name.split(".")[0]
            assert root in AT_FILE_SCOPE or root in sys.stdlib_module_names, f"{path.name} imports {name}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_torch_is_never_imported_in_the_application(path):
    text = path.read_text(encoding="utf-8")
    for node in ast.walk(ast.parse(text)):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        assert not {name.split(".")[0] for name in names} & {"torch", "monai", "torchvision"}, path.name
    assert "CardioDiTLib.generation" not in text and "CardioDiTLib.models" not in text


def test_the_module_is_imported_quickly(app, monkeypatch, tmp_path):
    """With all its parts, compiled once before, in a process in which the application's own are there, as in Slicer."""
    import importlib.util

    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    monkeypatch.setattr(sys, "pycache_prefix", str(tmp_path))
    times = []
    for _ in range(5):
        spec = importlib.util.spec_from_file_location("CardioDiTTimed", MODULE)
        parts = {name: sys.modules.pop(name) for name in list(sys.modules) if name.startswith("CardioDiTModule")}
        began = time.process_time()
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
        times.append(time.process_time() - began)
        for name in [name for name in sys.modules if name.startswith("CardioDiTModule")]:
            del sys.modules[name]
        sys.modules.update(parts)
    assert min(times) < 0.05, times


def test_the_parts_bring_neither_torch_nor_numpy(app):
    """Asked of a fresh process that has nothing but names for qt and slicer."""
    code = (
        "import sys, types\n"
        "for name in ('qt', 'ctk', 'vtk', 'slicer', 'slicer.i18n', 'slicer.util', 'slicer.ScriptedLoadableModule'):\n"
        "    sys.modules[name] = types.ModuleType(name)\n"
        "wrapper = sys.modules['slicer.parameterNodeWrapper'] = types.ModuleType('wrapper')\n"
        "wrapper.WithinRange, wrapper.parameterNodeWrapper = (lambda *ends: ends), (lambda wrapped: wrapped)\n"
        "bases = sys.modules['slicer.ScriptedLoadableModule']\n"
        "for part in ('Widget', 'Logic', 'Test'):\n"
        "    setattr(bases, 'ScriptedLoadableModule' + part, type(part, (), {}))\n"
        "sys.modules['slicer.i18n'].tr = str\n"
        "sys.modules['slicer'].vtkMRMLSequenceBrowserNode = sys.modules['slicer'].vtkMRMLNode = object\n"
        "sys.modules['slicer.util'].VTKObservationMixin = type('Mixin', (), {})\n"
        "sys.modules['vtk'].vtkMatrix4x4 = object\n"
        "sys.modules['vtk'].VTK_OBJECT, sys.modules['vtk'].calldata_type = 0, lambda kind: lambda method: method\n"
        f"sys.path.insert(0, {str(MODULE_FOLDER)!r})\n"
        "import importlib, pathlib\n"
        f"for path in pathlib.Path({str(MODULE_FOLDER / 'CardioDiTModule')!r}).glob('*.py'):\n"
        "    importlib.import_module('CardioDiTModule.' + path.stem)\n"
        "print(sorted({'torch', 'monai', 'numpy', 'requests', 'CardioDiTLib'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr

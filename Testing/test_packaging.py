"""What an installed extension will hold, and what the library may import."""

from __future__ import annotations

import ast
import json
import re
import shutil
import sys
from pathlib import Path

import update_cmake_lists
from update_architecture import imported

REPOSITORY = Path(__file__).resolve().parents[1]
LIBRARY = REPOSITORY / "CardioDiTLib"


def sources() -> list[Path]:
    return sorted(LIBRARY.rglob("*.py"))


def listed(folder: str, variable: str, repository: Path = REPOSITORY) -> list[str]:
    """Files that a CMakeLists.txt names in one of its lists."""
    text = (repository / folder / "CMakeLists.txt").read_text(encoding="utf-8")
    block = re.search(rf"set\({variable}\n(.*?)\n  \)", text, re.S)
    assert block is not None
    return [line.strip() for line in block[1].splitlines()]


REFRESH = "run 'python Testing/update_cmake_lists.py'"


def test_cmake_lists_every_file_of_the_library():
    scripts = listed("CardioDiTLib", "CardioDiTLib_PYTHON_SCRIPTS")
    assert scripts == sorted(scripts)
    assert set(scripts) == {path.relative_to(LIBRARY).as_posix() for path in sources()}, REFRESH
    others = {path.relative_to(LIBRARY).as_posix() for path in LIBRARY.rglob("*") if path.is_file()}
    others = {name for name in others if not name.endswith((".py", ".pyc", "CMakeLists.txt"))}
    assert set(listed("CardioDiTLib", "CardioDiTLib_PYTHON_RESOURCES")) == others, REFRESH


def test_cmake_lists_every_file_of_the_module():
    module = REPOSITORY / "CardioDiT"
    scripts = listed("CardioDiT", "MODULE_PYTHON_SCRIPTS")
    parts = {path.relative_to(module).as_posix() for path in (module / "CardioDiTModule").rglob("*.py")}
    assert scripts == sorted(scripts)
    assert set(scripts) == parts | {"CardioDiT.py"}, REFRESH
    resources = {path.relative_to(module).as_posix() for path in (module / "Resources").rglob("*") if path.is_file()}
    assert set(listed("CardioDiT", "MODULE_PYTHON_RESOURCES")) == resources, REFRESH


def test_lists_are_refreshed_from_the_tree(tmp_path):
    for folder in ("CardioDiT", "CardioDiTLib"):
        (tmp_path / folder).mkdir()
        shutil.copy(REPOSITORY / folder / "CMakeLists.txt", tmp_path / folder)
    before = (tmp_path / "CardioDiTLib" / "CMakeLists.txt").read_text(encoding="utf-8")
    for name in (
        *("CardioDiT/CardioDiT.py", "CardioDiT/CardioDiTModule/B.py", "CardioDiT/CardioDiTModule/A.py"),
        *("CardioDiT/Resources/UI/CardioDiT.ui", "CardioDiT/Testing/Python/Test.py"),
        *("CardioDiTLib/__init__.py", "CardioDiTLib/io/__init__.py", "CardioDiTLib/io/known.json"),
        *("CardioDiTLib/__pycache__/a.pyc", "CardioDiTLib/.hidden.py"),
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert len(update_cmake_lists.update(tmp_path)) == 2
    scripts = ["CardioDiT.py", "CardioDiTModule/A.py", "CardioDiTModule/B.py"]
    assert listed("CardioDiT", "MODULE_PYTHON_SCRIPTS", tmp_path) == scripts
    assert listed("CardioDiT", "MODULE_PYTHON_RESOURCES", tmp_path) == ["Resources/UI/CardioDiT.ui"]
    assert listed("CardioDiTLib", "CardioDiTLib_PYTHON_SCRIPTS", tmp_path) == ["__init__.py", "io/__init__.py"]
    assert listed("CardioDiTLib", "CardioDiTLib_PYTHON_RESOURCES", tmp_path) == ["io/known.json"]
    after = (tmp_path / "CardioDiTLib" / "CMakeLists.txt").read_text(encoding="utf-8")
    assert before.split("slicerMacroBuildScriptedModule")[1] == after.split("slicerMacroBuildScriptedModule")[1]
    assert update_cmake_lists.update(tmp_path) == []


def test_nothing_is_unpickled_or_evaluated():
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            text = ast.unparse(node.func)
            assert text not in ("eval", "exec", "pickle.load", "pickle.loads", "yaml.load"), f"{path.name}: {text}"
            if text == "torch.load":
                assert any(k.arg == "weights_only" and ast.unparse(k.value) == "True" for k in node.keywords), path.name


BROUGHT_BY_SLICER = {"numpy", "scipy", "SimpleITK", "requests", "pydicom", "vtk"}
BROUGHT_BY_SLICER |= {"urllib3"}  # what requests is built on
BROUGHT_BY_THE_PYTORCH_EXTENSION = {"torch"}
OPTIONAL = {"PIL", "matplotlib", "highdicom", "imageio_ffmpeg", "pandas", "torchio"}  # extras of pyproject.toml
OPTIONAL |= {"openvino", "pyarrow", "submitit"}
IMPORT_NAMES = {"pyyaml": "yaml", "pillow": "PIL", "imageio-ffmpeg": "imageio_ffmpeg"}


def requirements(lines: list[str]) -> dict[str, str]:
    """Name -> version condition."""
    return dict(re.fullmatch(r"([A-Za-z0-9_-]+)(.*)", line.strip()).groups() for line in lines)  # type: ignore[union-attr]


def required_in_slicer() -> dict[str, str]:
    """What the Slicer module offers to install."""
    return requirements(
        (REPOSITORY / "CardioDiT" / "Resources" / "requirements.txt").read_text(encoding="utf-8").splitlines()
    )


def third_party_imports() -> set[str]:
    """Every package from elsewhere that the library imports anywhere, inside functions too."""
    tops = {name.split(".")[0] for path in sources() for name in imported(path)}
    return tops - set(sys.stdlib_module_names) - {"CardioDiTLib"}


def test_everything_the_library_imports_is_installed_in_slicer():
    """torch comes through the PyTorch extension alone, which picks the build for the machine's GPU."""
    installed = {IMPORT_NAMES.get(name, name) for name in required_in_slicer()}
    assert third_party_imports() - OPTIONAL <= installed | BROUGHT_BY_SLICER | BROUGHT_BY_THE_PYTORCH_EXTENSION
    assert installed <= third_party_imports()  # nothing that nobody needs
    assert not installed & (BROUGHT_BY_SLICER | BROUGHT_BY_THE_PYTORCH_EXTENSION)


def test_requirements_agree_with_the_project():
    """Lower bounds only: in Slicer all extensions share one set of packages."""
    text = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    block = re.search(r"^dependencies = \[\n(.*?)^\]", text, re.S | re.M)
    assert block is not None
    project = requirements([line.strip().strip('",') for line in block[1].splitlines()])
    wanted = required_in_slicer()
    assert wanted
    for name, condition in wanted.items():
        assert re.fullmatch(r">=[0-9.]+", condition), name
        assert project[name] == condition, name


def test_optional_packages_are_documented_and_imported_late():
    """Without them everything but pictures works, so no file may import them when it is itself imported."""
    text = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    extras = re.findall(r"^(?:report|dicom|notebook|cluster|parquet|openvino) = \[(.*)\]", text, re.M)
    assert len(extras) == 6
    named = requirements([item.strip().strip('"') for extra in extras for item in extra.split(",")])
    assert {IMPORT_NAMES.get(name, name) for name in named} == OPTIONAL
    for path in sources():
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            names = {alias.name for alias in node.names} if isinstance(node, ast.Import) else set()
            names |= {node.module or ""} if isinstance(node, ast.ImportFrom) else set()
            assert not {name.split(".")[0] for name in names} & OPTIONAL, path.name


def test_catalogue_entries_agree_with_the_project():
    entry = json.loads((REPOSITORY / "CardioDiT.json").read_text(encoding="utf-8"))
    cmake = (REPOSITORY / "CMakeLists.txt").read_text(encoding="utf-8")
    assert "project(CardioDiT)" in cmake
    assert f'set(EXTENSION_CATEGORY "{entry["category"]}")' in cmake
    assert entry["build_dependencies"] == re.search(r'EXTENSION_DEPENDS "([^"]*)"', cmake)[1].split()
    assert {"$schema", "category", "scm_url"} <= set(entry)
    s4ext = dict(
        line.split(" ", 1)
        for line in (REPOSITORY / "CardioDiT.s4ext").read_text(encoding="utf-8").splitlines()
        if not line.startswith("#")
    )
    assert s4ext["scmurl"] == entry["scm_url"] and s4ext["category"] == entry["category"]


def test_licence_is_apache():
    assert "Apache License" in (REPOSITORY / "LICENSE.txt").read_text(encoding="utf-8")[:200]

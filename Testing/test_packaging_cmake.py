"""What an installed extension holds: a real CMake run with a stand-in for Slicer's macros (Testing/cmake)."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
STAND_IN = Path(__file__).resolve().parent / "cmake"
MODULES = Path("lib/Slicer-5.12/qt-scripted-modules")

TOOLS = ("cmake", "make", "cc")  # every project asks for a C compiler unless told otherwise, as Slicer's template does
MISSING = [tool for tool in TOOLS if shutil.which(tool) is None]
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"not on this machine: {', '.join(MISSING)}")


def copy_of_the_tree(folder: Path) -> Path:
    """What CMake needs of the repository, with the by-products that a tree in use has."""
    unwanted = shutil.ignore_patterns("__pycache__", "*.pyc")
    for name in ("CardioDiT", "CardioDiTLib", "Resources"):
        shutil.copytree(REPOSITORY / name, folder / name, ignore=unwanted)
    for name in ("CMakeLists.txt", "LICENSE.txt", "README.md"):
        shutil.copy2(REPOSITORY / name, folder / name)
    for place in ("CardioDiTLib/__pycache__", "CardioDiT/__pycache__", "Resources/SampleData/__pycache__"):
        (folder / place).mkdir()
        (folder / place / "junk.cpython-312.pyc").write_bytes(b"junk")
    half_written = folder / "Resources" / "Bundles" / ".half-written"
    half_written.mkdir()
    (half_written / "bundle.json").write_text("{}", encoding="utf-8")
    return folder


def run(*command: str | os.PathLike[str], **options: object) -> str:
    """Output of a command that has to succeed."""
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=300, **options)  # type: ignore[call-overload]
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}\n{done.stderr}"
    return str(done.stdout)


def installed_from(tree: Path) -> tuple[Path, Path]:
    """Configure, build and install a tree; the folders of the build and of the installation."""
    build, prefix = tree.parent / "build", tree.parent / "installed"
    run(
        *("cmake", "-S", tree, "-B", build, "-G", "Unix Makefiles", f"-DSlicer_DIR={STAND_IN}", "-DBUILD_TESTING=ON"),
        # no compiler is used: do not try them out
        *("-DCMAKE_C_COMPILER_FORCED=TRUE", "-DCMAKE_CXX_COMPILER_FORCED=TRUE"),
    )
    run("cmake", "--build", build)
    # Slicer packages this component alone where it is bundled with other projects
    run("cmake", "--install", build, "--prefix", prefix, "--component", "RuntimeLibraries")
    return build, prefix


def files_under(folder: Path) -> dict[str, bytes]:
    """Name and content of every file."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def expected_from(tree: Path) -> dict[str, bytes]:
    """What has to arrive, told from the tree alone."""

    def under(folder: Path, destination: str) -> dict[str, bytes]:
        return {f"{destination}{name}": data for name, data in files_under(folder).items()}

    found = {
        **under(tree / "CardioDiTLib", "CardioDiTLib/"),
        **under(tree / "CardioDiT" / "CardioDiTModule", "CardioDiTModule/"),
        **under(tree / "CardioDiT" / "Resources", "Resources/"),
        **under(tree / "Resources" / "Bundles", "CardioDiTLib/Resources/Bundles/"),
        **under(tree / "Resources" / "Models", "CardioDiTLib/Resources/Models/"),
        "CardioDiT.py": (tree / "CardioDiT" / "CardioDiT.py").read_bytes(),
    }
    for path in (tree / "Resources" / "SampleData").glob("*"):
        if path.name == "README.md" or path.name.endswith(".seq.nrrd"):
            found[f"CardioDiTLib/Resources/SampleData/{path.name}"] = path.read_bytes()
    return {
        f"{MODULES.as_posix()}/{name}": data
        for name, data in found.items()
        if not name.endswith((".pyc", "CMakeLists.txt")) and "/." not in name
    }


def differences(tree: Path, prefix: Path) -> dict[str, list[str]]:
    """Files that are missing, too many or different in an installation; all lists empty where it is right."""
    expected, found = expected_from(tree), files_under(prefix)
    return {
        "missing": sorted(expected.keys() - found.keys()),
        "too many": sorted(found.keys() - expected.keys()),
        "different": sorted(name for name in expected.keys() & found.keys() if expected[name] != found[name]),
    }


@pytest.fixture(scope="module")
def packaged(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """(tree, build, installation) of the extension as it is."""
    tree = copy_of_the_tree(tmp_path_factory.mktemp("package") / "tree")
    return (tree, *installed_from(tree))


def test_every_file_arrives_and_nothing_else(packaged):
    tree, _, prefix = packaged
    assert differences(tree, prefix) == {"missing": [], "too many": [], "different": []}


def test_what_matters_is_among_what_arrives(packaged):
    """Guards the expectation itself against becoming empty."""
    _, _, prefix = packaged
    found = set(files_under(prefix / MODULES))
    assert {
        "CardioDiT.py",
        "CardioDiTModule/SampleDataSources.py",
        "Resources/Icons/CardioDiT.png",
        "Resources/UI/CardioDiT.ui",
        "Resources/requirements.txt",
        "CardioDiTLib/__init__.py",
        "CardioDiTLib/bundles/registry.py",
        "CardioDiTLib/py.typed",
        "CardioDiTLib/Resources/Bundles/acdc-mini/bundle.json",
        "CardioDiTLib/Resources/Bundles/acdc-mini/MODEL_CARD.md",
        "CardioDiTLib/Resources/Bundles/acdc-mini/dit.safetensors",
        "CardioDiTLib/Resources/SampleData/CardioDiT-Sunnybrook-ShortAxis.seq.nrrd",
    } <= found


def test_self_tests_are_registered(packaged):
    _, build, _ = packaged
    listing = run("ctest", "-N", cwd=build)
    assert "py_CardioDiT\n" in listing and "py_CardioDiTSampleDataTest\n" in listing


PROBE = """
import importlib.util, json, sys, pathlib
modules = sys.argv[1]
sys.path[:0] = [modules]
sys.path += sys.argv[2:]
import CardioDiTLib
from CardioDiTLib.bundles.registry import list_bundles
from CardioDiTLib.bundles.registry import verify
place = pathlib.Path(modules, "CardioDiTModule", "SampleDataSources.py")
spec = importlib.util.spec_from_file_location("sources", place)
sources = importlib.util.module_from_spec(spec)
spec.loader.exec_module(sources)
print(json.dumps({
    "library": CardioDiTLib.__file__,
    "bundles": {e.name: [e.origin, str(e.folder), e.problem, verify(e.folder)] for e in list_bundles()},
    "sample": sources.sampleUri(),
}))
"""


@pytest.mark.parametrize("place", ["build", "installed"])
def test_a_fresh_python_finds_library_model_and_sample(packaged, tmp_path, place):
    """Nothing but the modules' folder and third-party packages on the path: no repository, no editable installation."""
    _, build, prefix = packaged
    modules = (build if place == "build" else prefix) / MODULES
    packages = dict.fromkeys(sysconfig.get_paths()[name] for name in ("purelib", "platlib"))
    environment = {k: v for k, v in os.environ.items() if k != "CARDIODIT_BUNDLES"}
    environment["CARDIODIT_CACHE"] = str(tmp_path / "empty")
    # -S keeps out .pth files, by which an editable installation would bring the repository in; -B leaves the tree clean
    answer = json.loads(
        run(sys.executable, "-I", "-S", "-B", "-c", PROBE, modules, *packages, cwd=tmp_path, env=environment)
    )
    assert Path(answer["library"]) == modules / "CardioDiTLib" / "__init__.py"
    data = modules / "CardioDiTLib" / "Resources"
    assert answer["bundles"]["acdc-mini"] == ["embedded", str(data / "Bundles" / "acdc-mini"), "", []]
    assert answer["sample"] == (data / "SampleData" / "CardioDiT-Sunnybrook-ShortAxis.seq.nrrd").as_uri()


def replaced(path: Path, old: str, new: str) -> None:
    """Replace text that is there exactly once."""
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1
    path.write_text(text.replace(old, new), encoding="utf-8")


def without_bundles(tree: Path) -> None:
    """Large files play no part in the mistakes below."""
    shutil.rmtree(tree / "Resources" / "Bundles")


def test_a_file_that_is_not_listed_would_be_noticed(tmp_path):
    tree = copy_of_the_tree(tmp_path / "tree")
    without_bundles(tree)
    replaced(tree / "CardioDiTLib" / "CMakeLists.txt", "\n  io/nifti.py", "")
    _, prefix = installed_from(tree)
    missing = [f"{MODULES.as_posix()}/CardioDiTLib/io/nifti.py"]
    assert differences(tree, prefix) == {"missing": missing, "too many": [], "different": []}


def test_a_library_listed_by_the_module_would_be_noticed(tmp_path):
    """It configures and builds without a word, and the library lands beside the folder that is packaged."""
    tree = copy_of_the_tree(tmp_path / "tree")
    without_bundles(tree)
    replaced(tree / "CMakeLists.txt", "add_subdirectory(CardioDiTLib)\n", "")
    scripts = sorted(path.relative_to(tree).as_posix() for path in (tree / "CardioDiTLib").rglob("*.py"))
    lines = "".join(f"\n  ../{name}" for name in scripts)
    replaced(tree / "CardioDiT" / "CMakeLists.txt", "set(MODULE_PYTHON_SCRIPTS", f"set(MODULE_PYTHON_SCRIPTS{lines}")
    build, prefix = installed_from(tree)
    assert (build / MODULES.parent / "CardioDiTLib" / "__init__.py").is_file()
    missing = set(differences(tree, prefix)["missing"])
    assert {f"{MODULES.as_posix()}/{name}" for name in scripts} <= missing

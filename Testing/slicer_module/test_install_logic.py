"""Python packages: found without being imported, installed only when told to, PyTorch first and by its extension."""

from __future__ import annotations

import sys
import types
from importlib.metadata import PackageNotFoundError

import pytest
from module_under_test import MODULE_FOLDER
from refusals import names

REQUIREMENTS = "# a comment\nmonai>=1.4\nnibabel>=5.0  # and why\n\nsafetensors\n"


class Packages:
    """Versions that are installed."""

    def __init__(self, **versions):
        self.versions = versions

    def version(self, name):
        if name not in self.versions:
            raise PackageNotFoundError(name)
        return self.versions[name]


@pytest.fixture
def logic(app, tmp_path):
    from CardioDiTModule.InstallLogic import InstallLogic

    (tmp_path / "requirements.txt").write_text(REQUIREMENTS, encoding="utf-8")

    def make(**versions):
        packages = Packages(**versions)
        made = InstallLogic(tmp_path / "requirements.txt", packages.version)
        made.packages = packages
        return made

    return make


def test_all_there(logic):
    state = logic(torch="2.13.0+cpu", monai="1.6.1", nibabel="5.0", safetensors="0.4.1").state()
    assert state.isComplete and "installed" in state.text()


@pytest.mark.parametrize(
    ("versions", "torch", "missing"),
    [
        ({}, True, 3),
        ({"torch": "2.4.1", "monai": "1.4", "nibabel": "5.3.2", "safetensors": "1"}, True, 0),
        ({"torch": "2.10", "monai": "1.3.9", "nibabel": "4.9", "safetensors": "1"}, False, 2),
        ({"torch": None, "monai": "1.10rc1", "nibabel": "5.0.0", "safetensors": "1"}, True, 0),
    ],
)
def test_what_is_missing_or_old_is_named_with_its_size(logic, versions, torch, missing):
    state = logic(**versions).state()
    assert bool(state.torchProblem) is torch and len(state.missing) == missing and not state.isComplete
    assert ("PyTorch" in state.text()) is torch and all(name in state.text() for name in state.missing)
    assert "MB" in state.text() or "GB" in state.text()


def test_the_modules_own_requirements_can_be_read(app):
    from CardioDiTModule.InstallLogic import InstallLogic

    own = InstallLogic(MODULE_FOLDER / "Resources" / "requirements.txt")
    assert "torch" not in " ".join(own.requirements()) and len(own.requirements()) >= 5
    assert own.state().isComplete, own.state().text()


def test_what_pictures_need_is_asked_for_by_itself(logic, monkeypatch):
    from CardioDiTModule import InstallLogic as home

    text = (MODULE_FOLDER.parent / "pyproject.toml").read_text(encoding="utf-8")
    assert all(f'"{requirement}"' in text for requirement in home.PICTURE_REQUIREMENTS)
    made = logic(matplotlib="3.8.1", pillow="9.5")
    assert made.missingForPictures() == ("pillow>=10",)
    asked = []
    monkeypatch.setattr(made, "_installOthers", asked.append)
    made.installForPictures()
    assert asked == [("pillow>=10",)]
    made.packages.versions["pillow"] = "10.0"
    made.installForPictures()
    assert len(asked) == 1


def test_openvino_is_optional_and_asked_for_by_itself(logic, monkeypatch):
    from CardioDiTModule import InstallLogic as home

    text = (MODULE_FOLDER.parent / "pyproject.toml").read_text(encoding="utf-8")
    assert f'"{home.OPENVINO_REQUIREMENT}"' in text
    made = logic(openvino="2024.6.0")
    assert made.missingForOpenvino() == (home.OPENVINO_REQUIREMENT,)
    assert not any("openvino" in line for line in made.requirements())
    asked = []
    monkeypatch.setattr(made, "_installOthers", asked.append)
    made.installForOpenvino()
    assert asked == [(home.OPENVINO_REQUIREMENT,)]
    made.packages.versions["openvino"] = "2026.4.1"
    made.installForOpenvino()
    assert len(asked) == 1 and made.missingForOpenvino() == ()


@pytest.fixture
def pytorch(monkeypatch):
    """The PyTorch extension, as far as this module uses it."""
    calls = []

    class PyTorchUtilsLogic:
        def installTorch(self, askConfirmation=False, forceComputationBackend=None, torchVersionRequirement=None):
            calls.append(("torch", torchVersionRequirement))
            return types.ModuleType("torch")

    module = types.ModuleType("PyTorchUtils")
    module.PyTorchUtilsLogic = PyTorchUtilsLogic
    monkeypatch.setitem(sys.modules, "PyTorchUtils", module)
    return calls


@pytest.fixture
def pip(monkeypatch, pytorch):
    """Slicer's own installer of packages."""
    import slicer

    module = types.ModuleType("slicer.packaging")

    def pip_install(requirements, skip_packages=None, requester=None, **others):
        pytorch.append(("pip", list(requirements), skip_packages))

    module.pip_install = pip_install
    monkeypatch.setitem(sys.modules, "slicer.packaging", module)
    monkeypatch.setattr(slicer, "packaging", module, raising=False)
    return pytorch


def test_pytorch_comes_first_and_is_never_brought_by_another(logic, pip):
    made = logic(safetensors="1")

    def install_all(name):
        return "99"

    original = made._installOthers

    def others(missing):
        original(missing)
        made._installedVersion = install_all

    made._installOthers = others
    made.install()
    assert pip == [("torch", ">=2.5"), ("pip", ["monai>=1.4", "nibabel>=5.0"], ["torch"])]


def test_an_older_extension_with_other_keywords_is_used(logic, pip, monkeypatch):
    class Older:
        def installTorch(self, askConfirmation=True):
            pip.append(("older", askConfirmation))
            return types.ModuleType("torch")

    monkeypatch.setattr(sys.modules["PyTorchUtils"], "PyTorchUtilsLogic", Older)
    from CardioDiTModule.Problem import CardioDiTProblem

    with pytest.raises(CardioDiTProblem, match="still missing"):
        logic(monai="2", nibabel="6", safetensors="1").install()
    assert pip == [("older", False)]


def test_without_the_extension_nothing_is_installed(logic, monkeypatch):
    monkeypatch.setitem(sys.modules, "PyTorchUtils", None)
    from CardioDiTModule.Problem import CardioDiTProblem

    with pytest.raises(CardioDiTProblem) as caught:
        logic().install()
    assert names(str(caught.value), "extension", "PyTorch")
    assert "Extensions Manager" in caught.value.problem.hint


def test_an_installation_that_fails_says_so(logic, pip, monkeypatch):
    from CardioDiTModule.Problem import CardioDiTProblem

    def broken(*arguments, **others):
        raise RuntimeError("no network")

    monkeypatch.setattr(sys.modules["slicer.packaging"], "pip_install", broken)
    with pytest.raises(CardioDiTProblem) as caught:
        logic(torch="2.9").install()
    assert names(str(caught.value), "packages", "network")
    assert "no network" in caught.value.problem.detail and caught.value.problem.hint


def test_slicer_5_10_without_slicer_packaging_uses_its_pip(logic, pytorch, monkeypatch):
    import slicer
    from CardioDiTModule.Problem import CardioDiTProblem

    monkeypatch.setitem(sys.modules, "slicer.packaging", None)
    monkeypatch.setattr(slicer.util, "pip_install", lambda names: pytorch.append(("util", names)), raising=False)
    with pytest.raises(CardioDiTProblem, match="still missing"):
        logic(torch="2.9", safetensors="1").install()
    assert pytorch == [("util", ["monai>=1.4", "nibabel>=5.0"])]


def test_on_a_mac_without_pytorch_the_rest_is_installed_and_what_is_off_is_named(logic, pip, monkeypatch):
    import platform

    from CardioDiTModule.Problem import CardioDiTProblem

    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    made = logic()
    with pytest.raises(CardioDiTProblem) as caught:
        made.install()
    text = caught.value.problem.text()
    assert all(section in text for section in ("Generate", "Landmarks", "Function", "Privacy", "Folder"))
    assert "playing and exporting" in text and "Apple silicon" in text
    assert pip == [("pip", ["monai>=1.4", "nibabel>=5.0", "safetensors"], ["torch"])], "what needs no PyTorch works"

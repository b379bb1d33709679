from __future__ import annotations

import importlib
import inspect
import platform
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import slicer
from slicer.i18n import tr as _

from .Problem import CardioDiTProblem

TORCH_REQUIREMENT = ">=2.5"
TORCH_SIZE_TEXT = "0.2 to 3 GB"
OTHERS_SIZE_TEXT = "20 MB"
PICTURE_REQUIREMENTS = ("matplotlib>=3.8", "pillow>=10")
"""What the bullseye and the pages with pictures need beside; all else works without."""

PICTURES_SIZE_TEXT = "20 MB"
OPENVINO_REQUIREMENT = "openvino>=2025.0"
"""What the choice OpenVINO of the section Generate needs; all else works without."""

OPENVINO_SIZE_TEXT = "60 MB to download, 180 MB on disk"


@dataclass(frozen=True)
class InstallState:
    """What is there of the Python packages that the worker needs.

    Attributes:
        torchProblem: What is wrong with PyTorch; empty where nothing is.
        missing: Requirements, beside PyTorch, that are absent or too old.
    """

    torchProblem: str
    missing: tuple[str, ...]

    @property
    def isComplete(self) -> bool:
        """Whether all is there."""
        return not self.torchProblem and not self.missing

    def text(self) -> str:
        """What would be installed and how large it is, for the user to decide."""
        if self.isComplete:
            return _("All Python packages are installed.")
        parts = []
        if self.torchProblem:
            parts.append(
                _("PyTorch (through the PyTorch extension; {size} to download, depending on the graphics card)").format(
                    size=TORCH_SIZE_TEXT
                )
            )
        if self.missing:
            parts.append(_("{packages} (about {size})").format(packages=", ".join(self.missing), size=OTHERS_SIZE_TEXT))
        return _("To be installed into Slicer's Python: {parts}.").format(parts="; ".join(parts))


class InstallLogic:
    """Python packages of the worker: looks without importing them, installs only when told to.

    PyTorch comes only through the PyTorch extension, which knows graphics cards; and it comes first, so that no other
    package brings another build of it.

    Args:
        requirementsFile: ``Resources/requirements.txt`` of the module.
        installedVersion: Version of an installed distribution; raises PackageNotFoundError. For tests.

    Example:
        >>> logic = InstallLogic(Path("requirements.txt"))  # doctest: +SKIP
        >>> if not logic.state().isComplete:  # doctest: +SKIP
        ...     logic.install()
    """

    def __init__(self, requirementsFile: Path, installedVersion: Callable[[str], str] = version) -> None:
        self._requirementsFile = requirementsFile
        self._installedVersion = installedVersion

    def requirements(self) -> list[str]:
        """Requirements beside PyTorch."""
        lines = (
            line.partition("#")[0].strip() for line in self._requirementsFile.read_text(encoding="utf-8").splitlines()
        )
        return [line for line in lines if line and not line.startswith("-")]

    def state(self) -> InstallState:
        """What is there. Nothing is imported: a half-installed PyTorch must not harm the application."""
        importlib.invalidate_caches()
        torchProblem = self._problemOf("torch" + TORCH_REQUIREMENT)
        missing = tuple(line for line in self.requirements() if self._problemOf(line))
        return InstallState(torchProblem, missing)

    def missingForPictures(self) -> tuple[str, ...]:
        """What of `PICTURE_REQUIREMENTS` is absent or too old."""
        return self._missingOf(PICTURE_REQUIREMENTS)

    def installForPictures(self) -> None:
        """Install it. The caller has asked the user.

        Raises:
            CardioDiTProblem: The installation failed.
        """
        self._installMissing(self.missingForPictures())

    def missingForOpenvino(self) -> tuple[str, ...]:
        """`OPENVINO_REQUIREMENT` where it is absent or too old."""
        return self._missingOf((OPENVINO_REQUIREMENT,))

    def installForOpenvino(self) -> None:
        """Install it. The caller has asked the user.

        Raises:
            CardioDiTProblem: The installation failed.
        """
        self._installMissing(self.missingForOpenvino())

    def _missingOf(self, requirements: tuple[str, ...]) -> tuple[str, ...]:
        importlib.invalidate_caches()
        return tuple(line for line in requirements if self._problemOf(line))

    def _installMissing(self, missing: tuple[str, ...]) -> None:
        if missing:
            self._installOthers(missing)

    def install(self) -> None:
        """Install what is missing. The caller has asked the user. Blocks, with Slicer's own progress windows.

        Raises:
            CardioDiTProblem: The PyTorch extension is absent, or an installation failed or was declined.
        """
        state = self.state()
        if state.torchProblem and noTorchHere():
            # what does not need PyTorch, playing and export, is to work all the same
            if state.missing:
                self._installOthers(state.missing)
            raise CardioDiTProblem(
                _("There is no PyTorch {requirement} for this Slicer.").format(requirement=TORCH_REQUIREMENT),
                _(
                    "On a Mac, Generate, Landmarks, Function, Privacy and Folder need a Slicer built for Apple "
                    "silicon; playing and exporting cines works here."
                ),
            )
        if state.torchProblem:
            self._installTorch()
        if state.missing:
            self._installOthers(state.missing)
        left = self.state()
        if not left.isComplete:
            raise CardioDiTProblem(
                _("Some packages are still missing: {packages}.").format(
                    packages=", ".join(filter(None, ["torch" if left.torchProblem else "", *left.missing]))
                ),
                _("Restart Slicer; if that does not help, look at the Python console."),
            )

    def _installTorch(self) -> None:
        try:
            import PyTorchUtils
        except ImportError as error:
            raise CardioDiTProblem(
                _("The extension PyTorch is not installed."),
                _("Install it in the Extensions Manager, restart Slicer, and try again."),
            ) from error
        logic = PyTorchUtils.PyTorchUtilsLogic()
        try:
            # keywords differ between versions of the extension
            known = inspect.signature(logic.installTorch).parameters
            wanted = {"askConfirmation": False, "torchVersionRequirement": TORCH_REQUIREMENT}
            torch = logic.installTorch(**{name: value for name, value in wanted.items() if name in known})
        except Exception as error:
            raise CardioDiTProblem(
                _("PyTorch could not be installed."),
                _("Open the module PyTorch Util, uninstall it there, restart Slicer, and install it again."),
                str(error),
            ) from error
        if torch is None:
            raise CardioDiTProblem(_("PyTorch was not installed."), _("Look at the Python console for the reason."))

    def _installOthers(self, missing: Sequence[str]) -> None:
        try:
            packaging = importlib.import_module("slicer.packaging")
        except ImportError:
            packaging = None
        try:
            if packaging is not None:
                # asked already; PyTorch must not be replaced by what another package brings
                packaging.pip_install(list(missing), skip_packages=["torch"], requester="CardioDiT")
            else:
                slicer.util.pip_install(list(missing))
        except Exception as error:
            raise CardioDiTProblem(
                _("The Python packages could not be installed."),
                _("Check the network and the free disk space, and try again."),
                str(error),
            ) from error

    def _problemOf(self, requirement: str) -> str:
        """Why a requirement is not met; empty where it is."""
        match = re.fullmatch(r"\s*([A-Za-z0-9._-]+)\s*(?:>=\s*([0-9][0-9.]*))?\s*", requirement)
        if match is None:
            return f"'{requirement}' cannot be read"
        try:
            found = self._installedVersion(match[1])
        except PackageNotFoundError:
            return f"{match[1]} is missing"
        # a package that was taken away by force can leave its description without a version
        if not found or (match[2] and _numbers(found) < _numbers(match[2])):
            return f"{match[1]} {found} is too old"
        return ""


def noTorchHere() -> bool:
    """Whether no PyTorch that is new enough is built for this machine: Macs with an Intel processor, or an application
    that was built for one.
    """
    return sys.platform == "darwin" and platform.machine() == "x86_64"


def _numbers(text: str) -> tuple[int, ...]:
    """(2, 13, 0) of "2.13.0+cpu"; trailing zeros do not count."""
    numbers = [int(digits) for digits in re.findall(r"\d+", re.split(r"[+a-z]", text, maxsplit=1)[0])]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)

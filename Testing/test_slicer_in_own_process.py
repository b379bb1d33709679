"""Run the tests in slicer_module/, each file in a process of its own: they change Qt for the whole process."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent / "slicer_module"
FILES = sorted(FOLDER.glob("test_*.py"))
SECONDS = 600
# A test that hangs is shown with all stacks after this time.
STACKS_AFTER = 120


def _skip_without_slicer() -> None:
    for package, wheel in (("slicer_core", "slicer-core"), ("PySide6", "PySide6-Essentials")):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{wheel} is not installed (pip install 'CardioDiTLib[slicer]')")


def _run(file: Path) -> tuple[int | None, str]:
    """Exit code (None when the time was over) and output of pytest on one file."""
    options = ["-q", "--color=no", "-o", f"faulthandler_timeout={STACKS_AFTER}"]
    command = [sys.executable, "-m", "pytest", str(file), *options]
    environment = os.environ | {"QT_QPA_PLATFORM": "offscreen"}
    try:
        result = subprocess.run(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=SECONDS
        )
    except subprocess.TimeoutExpired as error:
        return None, (error.stdout or b"").decode(errors="replace")
    return result.returncode, result.stdout.decode(errors="replace")


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_in_own_process(file: Path) -> None:
    _skip_without_slicer()
    code, output = _run(file)
    print(output)
    assert code == 0, f"{file.name}: exit code {code} (None: not done in {SECONDS} s)\n{output[-6000:]}"

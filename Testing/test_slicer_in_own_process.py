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
SECONDS = 900


def _skip_without_slicer() -> None:
    for package, wheel in (("slicer_core", "slicer-core"), ("PySide6", "PySide6-Essentials")):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{wheel} is not installed (pip install 'CardioDiTLib[slicer]')")


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_in_own_process(file: Path) -> None:
    _skip_without_slicer()
    command = [sys.executable, "-m", "pytest", str(file), "-q", "--color=no"]
    environment = os.environ | {"QT_QPA_PLATFORM": "offscreen"}
    result = subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=SECONDS
    )
    print(result.stdout)
    assert result.returncode == 0, f"{file.name}: exit code {result.returncode}\n{result.stdout[-6000:]}"

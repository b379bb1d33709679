"""A wheel is a whole installation: models, settings and all."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
PARTS = ("CardioDiTLib", "Resources", "pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE.txt")


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """The content of a wheel, in a folder of its own."""
    if importlib.util.find_spec("pip") is None or importlib.util.find_spec("setuptools") is None:
        pytest.skip("pip or setuptools is not installed here")
    source, place = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("installed")
    for part in PARTS:
        path = REPOSITORY / part
        if path.is_dir():
            shutil.copytree(path, source / part, ignore=shutil.ignore_patterns("__pycache__", "Screenshots"))
        else:
            shutil.copy(path, source / part)
    words = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        ".",
        "--no-deps",
        "--no-build-isolation",
        "--quiet",
        "-w",
        str(place),
    ]
    done = subprocess.run(words, cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    (wheel,) = place.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(place)
    wheel.unlink()
    return place


def cardiodit(installed: Path, folder: Path, *words: object) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(installed), "CARDIODIT_CACHE": str(folder / "cache")}
    environment.pop("CARDIODIT_BUNDLES", None)
    command = [sys.executable, "-P"] if sys.version_info >= (3, 11) else [sys.executable]
    return subprocess.run(
        [*command, "-m", "CardioDiTLib", *map(str, words)],
        cwd=folder, env=environment, capture_output=True, text=True,
    )  # fmt: skip


def test_every_resource_is_in_the_wheel(installed):
    for kind in ("Bundles", "Models", "SampleData", "Training"):
        wanted = {
            path.relative_to(REPOSITORY)
            for path in (REPOSITORY / "Resources" / kind).rglob("*")
            if path.is_file() and path.suffix not in (".py", ".pyc") and not path.name.startswith(".")
        }
        there = {path.relative_to(installed / "CardioDiTLib") for path in (installed / "CardioDiTLib").rglob("*")}
        assert wanted and wanted <= there, sorted(wanted - there)


def test_an_installed_wheel_generates(installed, tmp_path):
    done = cardiodit(installed, tmp_path, "models", "verify")
    assert done.returncode == 0 and "acdc-mini: whole and unchanged" in done.stdout, done.stderr
    done = cardiodit(installed, tmp_path, "generate", "--steps", 1, "-o", "out")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "acdc-mini_seed0_000.nii.gz").is_file()


def test_settings_are_found_by_their_name(tmp_path, monkeypatch):
    from CardioDiTLib.training.config import find_config, read_config

    monkeypatch.chdir(tmp_path)
    assert read_config("acdc-mini").name == "acdc-mini"
    (tmp_path / "acdc-mini").write_text("mine", encoding="utf-8")
    assert find_config("acdc-mini") == Path("acdc-mini")
    assert find_config("./other.yaml") == Path("other.yaml") and find_config("none") == Path("none")

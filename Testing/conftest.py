"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """Folder with the real cines and the check data; tests that need it skip where it is absent."""
    folder = Path(os.environ.get("CARDIODIT_SHARED", REPOSITORY.parent / "shared"))
    if not folder.is_dir():
        pytest.skip("the folder 'shared' with real cines is not beside the repository")
    return folder


@pytest.fixture(scope="session")
def test_data() -> Path:
    """Small check data that is committed with the tests."""
    return Path(__file__).parent / "data"


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """The tests in slicer_module/ need a process of their own: collect them only where the command line names them."""
    if collection_path.name != "slicer_module":
        return None
    return None if any("slicer_module" in argument for argument in config.args) else True

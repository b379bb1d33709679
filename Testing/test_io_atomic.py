"""Files appear whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.io.atomic import atomic_path


def test_file_appears_with_the_block_end_and_leaves_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "new folder" / "a.nii.gz"
    with atomic_path(target) as temporary:
        assert temporary.parent == target.parent
        assert temporary.name.endswith(".nii.gz")
        temporary.write_text("whole")
        assert not target.exists()
    assert target.read_text() == "whole"
    assert [file.name for file in target.parent.iterdir()] == ["a.nii.gz"]


@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt])
def test_failure_keeps_the_old_file_and_removes_the_new(tmp_path: Path, failure: type[BaseException]) -> None:
    target = tmp_path / "a.json"
    target.write_text("old")
    with pytest.raises(failure), atomic_path(target) as temporary:
        temporary.write_text("half")
        raise failure
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_full_disk_is_said_in_one_sentence(tmp_path: Path) -> None:
    full = pytest.raises(CardioDiTError, match="could not be written: No space left")
    with full as caught, atomic_path(tmp_path / "a.json") as temporary:
        temporary.write_text("half")
        raise OSError(28, "No space left on device")
    assert "free disk space" in caught.value.hint
    assert list(tmp_path.iterdir()) == []


def test_folders_are_not_overwritten(tmp_path: Path) -> None:
    with pytest.raises(CardioDiTError, match="is a folder"), atomic_path(tmp_path) as temporary:
        temporary.write_text("never")


def test_a_file_in_place_of_the_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CardioDiTError, match="could not be written"), atomic_path(tmp_path / "file" / "a.json"):
        pass

"""Files appear whole or not at all."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from refusals import refused

from CardioDiTLib import files
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.files import PREFIX, atomic_path, machine, own_name, sweep_files


def test_file_appears_with_the_block_end_and_leaves_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "new folder" / "a.nii.gz"
    with atomic_path(target) as temporary:
        assert temporary.parent == target.parent
        assert temporary.name.endswith(".nii.gz")
        temporary.write_text("whole", encoding="utf-8")
        assert not target.exists()
    assert target.read_text(encoding="utf-8") == "whole"
    assert [file.name for file in target.parent.iterdir()] == ["a.nii.gz"]


@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt])
def test_failure_keeps_the_old_file_and_removes_the_new(tmp_path: Path, failure: type[BaseException]) -> None:
    target = tmp_path / "a.json"
    target.write_text("old", encoding="utf-8")
    with pytest.raises(failure), atomic_path(target) as temporary:
        temporary.write_text("half", encoding="utf-8")
        raise failure
    assert target.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_full_disk_is_said_in_one_sentence(tmp_path: Path) -> None:
    full = pytest.raises(CardioDiTError, match="could not be written: No space left")
    with full as caught, atomic_path(tmp_path / "a.json") as temporary:
        temporary.write_text("half", encoding="utf-8")
        raise OSError(28, "No space left on device")
    assert "free disk space" in caught.value.hint
    assert list(tmp_path.iterdir()) == []


def test_folders_are_not_overwritten(tmp_path: Path) -> None:
    with refused(tmp_path), atomic_path(tmp_path) as temporary:
        temporary.write_text("never", encoding="utf-8")


def test_a_file_in_place_of_the_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with refused("a.json"), atomic_path(tmp_path / "file" / "a.json"):
        pass


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_what_a_run_left_that_was_ended_by_force_is_swept_by_the_next(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys\nfrom CardioDiTLib.files import atomic_path\n"
        "with atomic_path(sys.argv[1]) as path:\n    path.write_text('half')\n    os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "report.json")], check=False)
    left = list(tmp_path.iterdir())
    assert len(left) == 1 and left[0].name.startswith(".cardiodit-") and left[0].name.endswith(".report.json")
    beside = tmp_path / "own.txt"
    beside.write_text("of somebody else", encoding="utf-8")
    still = tmp_path / f"{own_name()}.b.json"  # of a run that goes on: this one
    still.write_text("half", encoding="utf-8")
    old, link = tmp_path / ".cardiodit-00000000-1-01234567.c.json", tmp_path / ".cardiodit-00000000-1-01234568.d.json"
    old.write_text("from another machine, two days ago", encoding="utf-8")
    link.symlink_to(beside)
    os.utime(old, (time.time() - 2 * 86400,) * 2)
    files._SWEPT.discard(tmp_path)
    with atomic_path(tmp_path / "next.json") as path:
        path.write_text("whole", encoding="utf-8")
    assert {path.name for path in tmp_path.iterdir()} == {"own.txt", "next.json", still.name, link.name}


def test_the_longest_names_are_written(tmp_path: Path) -> None:
    for name in ("x" * 251 + ".txt", "é" * 120 + ".txt"):
        with atomic_path(tmp_path / name) as path:
            path.write_text("whole", encoding="utf-8")
        assert (tmp_path / name).read_text(encoding="utf-8") == "whole"


@pytest.mark.skipif(not os.path.isfile("/proc/sys/kernel/random/boot_id"), reason="the system has no mark of its start")
def test_what_a_machine_of_the_same_name_is_writing_is_left_alone(tmp_path, monkeypatch):
    """Containers of one image may have one name and one drive; numbers of processes say nothing of the other's."""
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    own = tmp_path / f"{PREFIX}{machine()}-{gone.pid}-00000000"
    theirs = Path.read_text
    monkeypatch.setattr(Path, "read_text", lambda path, **words: f"other {theirs(path, **words)}")
    other = tmp_path / f"{PREFIX}{machine()}-{gone.pid}-00000001"
    monkeypatch.undo()
    for path in (own, other):
        path.write_text("half")
    assert own.name[:22] != other.name[:22]
    sweep_files(tmp_path)
    assert not own.exists() and other.exists()

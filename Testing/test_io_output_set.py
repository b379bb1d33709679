"""Files that belong together: all or none, and nothing that was there is touched unasked."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from refusals import refused

from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.files import own_name
from CardioDiTLib.io import output_set
from CardioDiTLib.io.output_set import check_folder, refuse_existing, sweep, write_outputs


def texts(*names: str, text: str = "new") -> dict:
    return {name: (lambda path: path.write_text(text, encoding="utf-8")) for name in names}


def content(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir()}


def test_all_appear_and_nothing_else(tmp_path):
    paths = write_outputs(tmp_path / "a" / "b", texts("x", "y"))
    assert [path.name for path in paths] == ["x", "y"]
    assert content(tmp_path / "a" / "b") == {"x": "new", "y": "new"}


def test_what_is_there_is_refused_before_anything_is_written(tmp_path):
    (tmp_path / "y").write_text("old", encoding="utf-8")
    with refused(tmp_path / "y", "--overwrite") as caught:
        write_outputs(tmp_path, {"x": lambda path: pytest.fail("written"), **texts("y")})
    assert "--overwrite" in caught.value.hint and content(tmp_path) == {"y": "old"}
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with refused(tmp_path / "link", "--overwrite"):
        refuse_existing([tmp_path / "link"])
    (tmp_path / "folder").mkdir()
    with refused(tmp_path / "folder"):
        refuse_existing([tmp_path / "folder"], overwrite=True)


@pytest.mark.parametrize("failure", [KeyboardInterrupt, OSError(28, "No space left on device"), CardioDiTError("no")])
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("at", ["x", "y", "z"])
def test_a_failure_while_names_are_given_restores_all(tmp_path, monkeypatch, failure, when, at):
    """Older files come back with their content; what is new goes; folders that were made go."""
    original = output_set._give_name

    def fail(source, target):
        if target.name == at and when == "before":
            raise failure
        original(source, target)
        if target.name == at:
            raise failure

    monkeypatch.setattr(output_set, "_give_name", fail)
    (tmp_path / "y").write_text("old", encoding="utf-8")
    (tmp_path / "other").write_text("mine", encoding="utf-8")
    with pytest.raises((KeyboardInterrupt, CardioDiTError)):
        write_outputs(tmp_path, texts("x", "y", "z"), overwrite=True)
    assert content(tmp_path) == {"y": "old", "other": "mine"}
    with pytest.raises((KeyboardInterrupt, CardioDiTError)):
        write_outputs(tmp_path / "new" / "folder", texts("x", "y", "z"))
    assert content(tmp_path) == {"y": "old", "other": "mine"}


@pytest.mark.parametrize("links", [True, False])
def test_a_file_that_appears_meanwhile_is_not_replaced(tmp_path, monkeypatch, links):
    if not links:
        monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(PermissionError(1, "no links")))

    def write(path):
        path.write_text("new", encoding="utf-8")
        (tmp_path / "y").write_text("somebody else's", encoding="utf-8")

    with pytest.raises(CardioDiTError):
        write_outputs(tmp_path, {"x": write, **texts("y")})
    assert content(tmp_path) == {"y": "somebody else's"}


def test_without_links_files_appear_too(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(PermissionError(1, "no links")))
    (tmp_path / "x").write_text("old", encoding="utf-8")
    write_outputs(tmp_path, texts("x", "y"), overwrite=True)
    assert content(tmp_path) == {"x": "new", "y": "new"}


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_what_a_run_left_that_was_ended_by_force_is_swept(tmp_path):
    code = (
        "import os, signal, sys\nfrom pathlib import Path\nfrom CardioDiTLib.io import output_set\n"
        "give = output_set._give_name\n"
        "output_set._give_name = lambda *a: os.kill(os.getpid(), signal.SIGKILL)\n"
        "output_set.write_outputs(Path(sys.argv[1]), {'x': lambda p: p.write_text('new')}, overwrite=True)"
    )
    (tmp_path / "x").write_text("old", encoding="utf-8")
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    left = [path.name for path in tmp_path.iterdir()]
    assert len(left) == 1 and left[0].startswith(".cardiodit-"), "ended while the old file was aside"
    write_outputs(tmp_path, texts("y"))
    assert content(tmp_path) == {"x": "old", "y": "new"}


def test_only_what_is_surely_stale_is_swept(tmp_path):
    own = tmp_path / own_name()
    elsewhere = tmp_path / ".cardiodit-00000000-1-01234567"
    strangers = [tmp_path / name for name in (".cardiodit-notes", "cardiodit-x")]
    for folder in (own, elsewhere, *strangers):
        folder.mkdir()
        (folder / "file").write_text("x", encoding="utf-8")
    sweep(tmp_path)
    assert all(folder.is_dir() for folder in (own, elsewhere, *strangers))
    before = time.time() - 2 * 86400
    for folder in (elsewhere, *strangers):
        os.utime(folder, (before, before))
    sweep(tmp_path)
    assert not elsewhere.exists() and own.is_dir() and all(folder.is_dir() for folder in strangers)


def test_a_folder_is_checked_without_a_trace(tmp_path):
    check_folder(tmp_path / "not" / "yet")
    assert list(tmp_path.iterdir()) == []
    with refused("/proc"):
        check_folder(Path("/proc/nowhere"))


@pytest.mark.skipif(os.name == "nt", reason="permissions of POSIX")
def test_weights_can_be_read_by_whoever_may_read_the_files_beside_them(tmp_path):
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file

    from CardioDiTLib.bundles.weights import write_weights
    from CardioDiTLib.files import atomic_path

    (tmp_path / "plain").touch()
    write_weights(tmp_path / "w.safetensors", {"a": torch.ones(2)})
    with atomic_path(tmp_path / "v.safetensors") as partial:
        save_file({"a": torch.ones(2)}, partial)
    modes = {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert len(modes) == 1 and len(list(tmp_path.iterdir())) == 3

"""Bundles from folders and zips: nothing of them is believed, and nothing half-copied can be found."""

from __future__ import annotations

import json
import os
import shutil
import stat
import struct
import threading
import zipfile
from contextlib import nullcontext
from pathlib import Path

import pytest
from misbehaving_server import MisbehavingServer, cut, length, redirect, slow, status, wait_until
from tiny_bundle import write_tiny_bundle

from CardioDiTLib import files
from CardioDiTLib.bundles import (
    RetryPolicy,
    TransferProgress,
    bundle_size_bytes,
    import_bundle,
    installation,
    list_bundles,
    load_bundle,
    remove_bundle,
    verify,
)
from CardioDiTLib.bundles.registry import BUNDLES_VARIABLE, CACHE_VARIABLE
from CardioDiTLib.errors import Cancelled, CardioDiTError
from CardioDiTLib.locks import FileLock

QUICK = RetryPolicy(attempts=2, first_wait_s=0.01)


@pytest.fixture(scope="module")
def original(tmp_path_factory) -> Path:
    return write_tiny_bundle(tmp_path_factory.mktemp("original") / "tiny").folder


@pytest.fixture()
def folder(original, tmp_path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "given" / "tiny"))


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.delenv(BUNDLES_VARIABLE, raising=False)
    return tmp_path / "cache" / "bundles"


def zipped(path: Path, folder: Path, prefix: str = "", method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for file in sorted(folder.iterdir()):
            archive.write(file, prefix + file.name)
    return path


def names(place: Path) -> list[str]:
    return sorted(path.name for path in place.iterdir()) if place.is_dir() else []


def assert_whole(folder: Path, original: Path) -> None:
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == {p.name: p.read_bytes() for p in original.iterdir()}
    assert verify(folder) == []


def refused(source: object, **more) -> str:
    with pytest.raises(CardioDiTError) as caught:
        import_bundle(source, **{"policy": QUICK, **more})
    assert "\n" not in str(caught.value) and caught.value.message.endswith(".") and caught.value.hint
    return str(caught.value)


@pytest.mark.parametrize("form", ["folder", "manifest", "link", "root", "top", "stored", "finder"])
def test_every_form_arrives_whole(folder, original, place, tmp_path, form):
    source = {
        "folder": lambda: str(folder),
        "manifest": lambda: folder / "bundle.json",
        "link": lambda: (tmp_path / "way").symlink_to(folder) or tmp_path / "way",
        "root": lambda: zipped(tmp_path / "a.zip", folder),
        "top": lambda: zipped(tmp_path / "a.zip", folder, "any name/"),
        "stored": lambda: zipped(tmp_path / "a", folder, method=zipfile.ZIP_STORED),
        "finder": lambda: zipped(tmp_path / "a.zip", folder, "tiny/"),
    }[form]()
    if form == "finder":  # what systems add by themselves is left out
        with zipfile.ZipFile(source, "a") as archive:
            archive.writestr("tiny/", "")
            archive.writestr("tiny/.DS_Store", "x")
            archive.writestr("__MACOSX/tiny/._bundle.json", "x")
    if form == "folder":
        (folder / ".DS_Store").write_text("x", encoding="utf-8")
    signs: list[TransferProgress] = []
    made = import_bundle(source, progress=signs.append)
    assert made == place / "tiny" and names(place) == ["tiny"]
    assert_whole(made, original)
    assert signs[-1].done_bytes == signs[-1].total_bytes == bundle_size_bytes(original) and signs[-1].state == "done"
    assert load_bundle("tiny").dit is not None
    assert folder.is_dir(), "what was given stays"


def _symlink(folder: Path) -> None:
    (folder / "dit.safetensors").rename(folder.parent / "elsewhere")
    (folder / "dit.safetensors").symlink_to(folder.parent / "elsewhere")


def _edit(**changes):
    def edit(folder: Path) -> None:
        values = json.loads((folder / "bundle.json").read_text(encoding="utf-8"))
        (folder / "bundle.json").write_text(json.dumps({**values, **changes}), encoding="utf-8")

    return edit


def _flip(folder: Path) -> None:
    content = bytearray((folder / "dit.safetensors").read_bytes())
    content[-1] ^= 1
    (folder / "dit.safetensors").write_bytes(bytes(content))


BOTH = [
    (_flip, ["'dit.safetensors'", "SHA-256 differs"]),
    (lambda f: (f / "dit.safetensors").unlink(), ["'dit.safetensors' is missing"]),
    (lambda f: (f / "dit.safetensors").write_bytes(b"x"), ["'dit.safetensors'", "1 bytes instead of"]),
    (lambda f: (f / "notes.txt").write_text("x", encoding="utf-8"), ["'notes.txt'", "does not belong"]),
    (lambda f: (f / ".hidden").write_text("x", encoding="utf-8"), ["'.hidden'", "does not belong"]),
    (lambda f: (f / "bundle.json").unlink(), ["bundle.json"]),
    (lambda f: (f / "bundle.json").write_text("{", encoding="utf-8"), ["not JSON"]),
    (lambda f: (f / "bundle.json").write_text(" " * (2 << 20), encoding="utf-8"), ["larger than 1 MB"]),
    (_edit(schema_version=7), ["schema version 7"]),
    (_edit(name="../../up"), ["'../../up', not a name"]),
    (_edit(name="nul"), ["'nul'", "every system"]),
    (_edit(files={}), ["is missing"]),
]
ONLY_FOLDER = [
    (_symlink, ["'dit.safetensors'", "link"]),
    (lambda f: (f / "more").mkdir(), ["'more'", "not a file"]),
    (lambda f: os.mkfifo(f / "pipe"), ["'pipe'", "not a file"]),
]


@pytest.mark.parametrize("form", ["folder", "zip"])
@pytest.mark.parametrize(("spoil", "words"), BOTH)
def test_each_fault_is_a_sentence_and_leaves_nothing(folder, place, tmp_path, form, spoil, words):
    spoil(folder)
    said = refused(folder if form == "folder" else zipped(tmp_path / "tiny.zip", folder))
    assert all(word in said for word in words), said
    assert names(place) == [] and not (tmp_path / "up").exists()


@pytest.mark.parametrize(("spoil", "words"), ONLY_FOLDER)
def test_a_folder_holds_files_only(folder, place, spoil, words):
    spoil(folder)
    said = refused(folder)
    assert all(word in said for word in words), said
    assert names(place) == []


def test_what_is_not_there_is_told(tmp_path, place):
    assert "There is no" in refused(tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    assert "holds no bundle.json" in refused(tmp_path / "empty")
    (tmp_path / "text.zip").write_text("hello", encoding="utf-8")
    assert "'text.zip' is not a whole zip" in refused(tmp_path / "text.zip")
    assert names(place) == []


def _add(name: str, content: bytes = b"x", **fields):
    def add(path: Path) -> None:
        member = zipfile.ZipInfo(name)
        for key, value in fields.items():
            setattr(member, key, value)
        with (
            pytest.warns(UserWarning) if name == "dit.safetensors" else nullcontext(),
            zipfile.ZipFile(path, "a") as archive,
        ):
            archive.writestr(member, content)

    return add


def _patch(path: Path, name: bytes, offset: int, value: bytes) -> None:
    """Change a field in the central directory's record of a file."""
    content = bytearray(path.read_bytes())
    start = content.rindex(b"PK\x01\x02", 0, content.rindex(name))
    content[start + offset : start + offset + len(value)] = value
    path.write_bytes(bytes(content))


def _swap_name(old: bytes, new: bytes):
    assert len(old) == len(new)
    return lambda path: path.write_bytes(path.read_bytes().replace(old, new))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_add("../evil.txt"), ["outside of its folder", "../evil.txt"]),
        (_add("a/../../evil.txt"), ["outside of its folder"]),
        (_add("/etc/evil.txt"), ["outside of its folder", "/etc/evil.txt"]),
        (_add("C:/evil.txt"), ["outside of its folder", "C:/evil.txt"]),
        (_swap_name(b"MODEL_CARD.md", b"..\\..\\evil.md"), ["outside of its folder"]),
        (_swap_name(b"MODEL_CARD.md", b"\\evil_CARD.md"), ["outside of its folder"]),
        (_swap_name(b"MODEL_CARD.md", b"evil\\CARD.md1"), ["odd name"]),
        (_swap_name(b"MODEL_CARD.md", b"MODEL_C\0RD.md"), ["odd name"]),
        (_add("./x"), ["odd name"]),
        (_add("a//x"), ["odd name"]),
        (_add("sub/"), ["'sub'", "does not belong"]),
        (_add("sub/x"), ["'sub/x'", "does not belong"]),
        (_add("other/bundle.json"), ["2 bundles"]),
        (_add("dit.safetensors"), ["'dit.safetensors' twice"]),
        (_add("DIT.safetensors"), ["twice"]),
        (_add("link", b"/etc/passwd", external_attr=(stat.S_IFLNK | 0o777) << 16), ["'link'", "link to another place"]),
        (_add("pipe", external_attr=(stat.S_IFIFO | 0o600) << 16), ["'pipe'", "not a file"]),
        (_add("packed", b"x" * 99, compress_type=zipfile.ZIP_LZMA), ["unusual way (method 14)"]),
        (lambda p: _patch(p, b"dit.safetensors", 8, b"\x01\x00"), ["'dit.safetensors'", "encrypted"]),
        (lambda p: p.write_bytes(p.read_bytes()[:-200]), ["not a whole zip"]),
        (lambda p: p.write_bytes(p.read_bytes()[: p.stat().st_size // 2]), ["not a whole zip"]),
        (lambda p: p.write_bytes(b""), ["not a whole zip"]),
        # sizes that the zip claims, other than those of the manifest, and other than what really comes out
        (lambda p: _patch(p, b"dit.safetensors", 24, struct.pack("<I", 2**31)), ["bytes instead of"]),
        (lambda p: _patch(p, b"MODEL_CARD.md", 16, b"\0\0\0\0"), ["not a whole zip", "CRC"]),
    ],
)
def test_a_zip_is_not_believed(folder, place, tmp_path, spoil, words):
    path = zipped(tmp_path / "tiny.zip", folder)
    spoil(path)
    said = refused(path)
    assert all(word in said for word in words), said
    assert names(place) == [] and not list(tmp_path.rglob("evil*"))


def test_a_file_that_unpacks_to_more_than_it_says_is_stopped(folder, place, tmp_path):
    """The manifest and the zip both say 1000 bytes; the stream would give 50 million."""
    record = {"sha256": "0" * 64, "bytes": 1000}
    values = json.loads((folder / "bundle.json").read_text(encoding="utf-8"))
    _edit(files={**values["files"], "bomb.bin": record})(folder)
    (folder / "bomb.bin").write_bytes(bytes(50_000_000))
    path = zipped(tmp_path / "tiny.zip", folder)
    assert path.stat().st_size < 1_000_000
    assert "'bomb.bin' in 'tiny.zip' has 50000000 bytes instead of 1000" in refused(path)
    _patch(path, b"bomb.bin", 24, struct.pack("<I", 1000))
    said = refused(path)
    assert "bomb.bin" in said or "not a whole zip" in said
    assert names(place) == []


def test_a_bundle_too_large_for_the_disk_is_refused_first(folder, place, monkeypatch):
    monkeypatch.setattr(files.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, 1000))
    assert "not enough room" in refused(folder) and names(place) == []


def test_a_name_that_is_taken_is_not_overwritten_unless_asked(folder, original, place, tmp_path, monkeypatch):
    import_bundle(folder)
    write_tiny_bundle(tmp_path / "new" / "tiny", version="2.0.0")
    assert "tiny' already" in refused(tmp_path / "new" / "tiny")
    assert_whole(place / "tiny", original)
    import_bundle(tmp_path / "new" / "tiny", overwrite=True)
    assert json.loads((place / "tiny" / "bundle.json").read_text(encoding="utf-8"))["version"] == "2.0.0" and names(
        place
    ) == ["tiny"]
    # a broken one does not cost the good one
    _flip(folder)
    assert "SHA-256" in refused(folder, overwrite=True)
    assert load_bundle("tiny").manifest.version == "2.0.0" and verify("tiny") == [] and names(place) == ["tiny"]
    # nor does one that hides behind another
    monkeypatch.setenv(BUNDLES_VARIABLE, str(tmp_path / "new"))
    remove_bundle("tiny")
    assert "always be taken instead" in refused(original) and names(place) == []
    # something else under the name
    monkeypatch.delenv(BUNDLES_VARIABLE)
    (place / "tiny").mkdir()
    (place / "tiny" / "thesis.txt").write_text("years", encoding="utf-8")
    assert "is no bundle" in refused(original, overwrite=True) and (place / "tiny" / "thesis.txt").is_file()


def test_cancelling_leaves_nothing(folder, place, tmp_path):
    for source in (folder, zipped(tmp_path / "a.zip", folder)):
        signs: list[TransferProgress] = []
        with pytest.raises(Cancelled):
            import_bundle(source, progress=signs.append, cancel=lambda seen=signs: bool(seen))
        assert signs and names(place) == []


def test_a_zip_on_the_web(folder, original, place, tmp_path):
    web = tmp_path / "web"
    web.mkdir()
    size = zipped(web / "tiny.zip", folder).stat().st_size
    with MisbehavingServer(web) as server:
        server.misbehave("tiny.zip", cut(5000))
        assert_whole(import_bundle(server.url("tiny.zip?key=1"), policy=QUICK), original)
        assert server.sent_bytes("tiny.zip") == size, "it goes on where it was cut off"
        assert names(place) == ["tiny"] and not list((place.parent / "downloads").iterdir())
        remove_bundle("tiny")

        for fault, word in [
            (status(404), "has no"),
            (redirect("http://example.org/tiny.zip"), "only https"),
            (length(1 << 60), "larger than"),
            (cut(5000), "was cut"),
        ]:
            server.always("tiny.zip", fault)
            assert word in refused(server.url("tiny.zip"))
        server.always("tiny.zip", None)
        (web / "text.zip").write_text("<html>", encoding="utf-8")
        assert "'text.zip' is not a whole zip" in refused(server.url("text.zip"))
        assert ".zip" in refused(server.url("tiny/bundle.json"))
        assert names(place) == []

        # cancelled, it goes on from there
        server.served.clear()
        server.always("tiny.zip", slow(30_000))
        event = threading.Event()
        thread = threading.Thread(
            target=lambda: (wait_until(lambda: server.sent_bytes("tiny.zip") > 8000), event.set())
        )
        thread.start()
        with pytest.raises(Cancelled):
            import_bundle(server.url("tiny.zip"), cancel=event)
        thread.join()
        server.always("tiny.zip", None)
        assert_whole(import_bundle(server.url("tiny.zip"), policy=QUICK), original)
        assert server.requests("tiny.zip")[-1].wanted_range.startswith("bytes=")
    assert not list((place.parent / "downloads").iterdir())
    assert "only https" in refused("http://example.org/tiny.zip")


def test_removing(folder, place, tmp_path, monkeypatch):
    import_bundle(folder)
    size = bundle_size_bytes(place / "tiny")
    assert size == sum(path.stat().st_size for path in folder.iterdir())
    lock = FileLock(place / ".tiny.lock")
    assert lock.try_acquire()
    with pytest.raises(CardioDiTError, match="right now"):
        remove_bundle("tiny")
    lock.release()
    assert remove_bundle("tiny") == size and names(place) == []
    with pytest.raises(CardioDiTError, match="no bundle called 'tiny'"):
        remove_bundle("tiny")
    # a damaged one can be removed too
    import_bundle(folder)
    (place / "tiny" / "bundle.json").write_text("{", encoding="utf-8")
    assert remove_bundle("tiny") > 0 and names(place) == []
    # one that is only linked keeps its files
    (place / "mine").symlink_to(folder)
    assert remove_bundle("mine") == 0 and names(place) == [] and verify(folder) == []


@pytest.mark.parametrize("name", ["..", "../bundles", "a/b", "", ".", ".tiny.download"])
def test_removing_reaches_nothing_else(folder, place, name):
    import_bundle(folder)
    with pytest.raises(CardioDiTError, match="no bundle called"):
        remove_bundle(name)
    assert names(place) == ["tiny"]


def test_bundles_of_others_are_not_removed(folder, monkeypatch):
    monkeypatch.setenv(BUNDLES_VARIABLE, str(folder.parent))
    with pytest.raises(CardioDiTError, match=rf"'tiny' lies in {BUNDLES_VARIABLE}.*not removed"):
        remove_bundle("tiny")
    monkeypatch.delenv(BUNDLES_VARIABLE)
    monkeypatch.setattr("CardioDiTLib.bundles.registry.embedded_bundles_folder", lambda: folder.parent)
    assert [entry.name for entry in list_bundles()] == ["tiny"]
    with pytest.raises(CardioDiTError, match=r"comes with CardioDiT.*Only bundles that were downloaded"):
        remove_bundle("tiny")
    assert verify(folder) == []


def test_a_bundle_in_use_is_not_half_removed(folder, original, place, monkeypatch):
    import_bundle(folder)

    def refuse(*_: object) -> None:
        raise PermissionError(13, "in use")

    monkeypatch.setattr(installation.os, "replace", refuse)
    with pytest.raises(CardioDiTError, match="in use"):
        remove_bundle("tiny")
    assert_whole(place / "tiny", original)


def test_what_dead_processes_left_is_swept_away_but_not_the_neighbours(folder, place):
    place.mkdir(parents=True)
    for name in (".tiny.0123abcd.import", ".tiny.0123abcd.removed", ".tiny.2.0123abcd.import", ".tiny.download"):
        (place / name).mkdir()
    import_bundle(folder)
    assert names(place) == [".tiny.2.0123abcd.import", ".tiny.download", "tiny"]

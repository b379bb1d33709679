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
from refusals import names, refused
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


def visible(place: Path) -> list[str]:
    return sorted(path.name for path in place.iterdir()) if place.is_dir() else []


def assert_whole(folder: Path, original: Path) -> None:
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == {p.name: p.read_bytes() for p in original.iterdir()}
    assert verify(folder) == []


def import_fails(source: object, **more) -> str:
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
    assert made == place / "tiny" and visible(place) == ["tiny"]
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
    (_flip, ["'dit.safetensors'", "SHA-256"]),
    (lambda f: (f / "dit.safetensors").unlink(), ["dit.safetensors", "missing"]),
    (lambda f: (f / "dit.safetensors").write_bytes(b"x"), ["'dit.safetensors'", "1 bytes"]),
    (lambda f: (f / "notes.txt").write_text("x", encoding="utf-8"), ["'notes.txt'", "belong"]),
    (lambda f: (f / ".hidden").write_text("x", encoding="utf-8"), ["'.hidden'", "belong"]),
    (lambda f: (f / "bundle.json").unlink(), ["bundle.json"]),
    (lambda f: (f / "bundle.json").write_text("{", encoding="utf-8"), ["bundle.json", "JSON"]),
    (lambda f: (f / "bundle.json").write_text(" " * (2 << 20), encoding="utf-8"), ["bundle.json", "1 MB"]),
    (_edit(schema_version=7), ["schema version 7"]),
    (_edit(name="../../up"), ["name", "../../up"]),
    (_edit(name="nul"), ["'nul'", "system"]),
    (_edit(files={}), ["dit.safetensors", "missing"]),
]
ONLY_FOLDER = [
    (_symlink, ["'dit.safetensors'", "link"]),
    (lambda f: (f / "more").mkdir(), ["'more'", "file"]),
    (lambda f: os.mkfifo(f / "pipe"), ["'pipe'", "file"]),
]


@pytest.mark.parametrize("form", ["folder", "zip"])
@pytest.mark.parametrize(("spoil", "words"), BOTH)
def test_each_fault_is_a_sentence_and_leaves_nothing(folder, place, tmp_path, form, spoil, words):
    spoil(folder)
    said = import_fails(folder if form == "folder" else zipped(tmp_path / "tiny.zip", folder))
    assert names(said, *words)
    assert visible(place) == [] and not (tmp_path / "up").exists()


@pytest.mark.parametrize(("spoil", "words"), ONLY_FOLDER)
def test_a_folder_holds_files_only(folder, place, spoil, words):
    spoil(folder)
    said = import_fails(folder)
    assert names(said, *words)
    assert visible(place) == []


def test_what_is_not_there_is_told(tmp_path, place):
    assert names(import_fails(tmp_path / "absent"), tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    assert names(import_fails(tmp_path / "empty"), tmp_path / "empty", "bundle.json")
    (tmp_path / "text.zip").write_text("hello", encoding="utf-8")
    assert names(import_fails(tmp_path / "text.zip"), "text.zip", "whole")
    assert visible(place) == []


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
        (_add("../evil.txt"), ["outside", "../evil.txt"]),
        (_add("a/../../evil.txt"), ["outside"]),
        (_add("/etc/evil.txt"), ["outside", "/etc/evil.txt"]),
        (_add("C:/evil.txt"), ["outside", "C:/evil.txt"]),
        (_swap_name(b"MODEL_CARD.md", b"..\\..\\evil.md"), ["outside"]),
        (_swap_name(b"MODEL_CARD.md", b"\\evil_CARD.md"), ["outside"]),
        (_swap_name(b"MODEL_CARD.md", b"evil\\CARD.md1"), ["odd"]),
        (_swap_name(b"MODEL_CARD.md", b"MODEL_C\0RD.md"), ["odd"]),
        (_add("./x"), ["odd"]),
        (_add("a//x"), ["odd"]),
        (_add("sub/"), ["'sub'", "belong"]),
        (_add("sub/x"), ["'sub/x'", "belong"]),
        (_add("other/bundle.json"), ["2 bundles"]),
        (_add("dit.safetensors"), ["dit.safetensors", "twice"]),
        (_add("DIT.safetensors"), ["DIT.safetensors", "twice"]),
        (_add("link", b"/etc/passwd", external_attr=(stat.S_IFLNK | 0o777) << 16), ["'link'", "another place"]),
        (_add("pipe", external_attr=(stat.S_IFIFO | 0o600) << 16), ["'pipe'", "file"]),
        (_add("packed", b"x" * 99, compress_type=zipfile.ZIP_LZMA), ["packed", "method 14"]),
        (lambda p: _patch(p, b"dit.safetensors", 8, b"\x01\x00"), ["'dit.safetensors'", "encrypted"]),
        (lambda p: p.write_bytes(p.read_bytes()[:-200]), ["tiny.zip", "whole"]),
        (lambda p: p.write_bytes(p.read_bytes()[: p.stat().st_size // 2]), ["tiny.zip", "whole"]),
        (lambda p: p.write_bytes(b""), ["tiny.zip", "whole"]),
        # sizes that the zip claims, other than those of the manifest, and other than what really comes out
        (
            lambda p: _patch(p, b"dit.safetensors", 24, struct.pack("<I", 2**31)),
            ["dit.safetensors", 2**31],
        ),
        (lambda p: _patch(p, b"MODEL_CARD.md", 16, b"\0\0\0\0"), ["MODEL_CARD.md", "CRC-32"]),
    ],
)
def test_a_zip_is_not_believed(folder, place, tmp_path, spoil, words):
    path = zipped(tmp_path / "tiny.zip", folder)
    spoil(path)
    said = import_fails(path)
    assert names(said, *words)
    assert visible(place) == [] and not list(tmp_path.rglob("evil*"))


def test_a_file_that_unpacks_to_more_than_it_says_is_stopped(folder, place, tmp_path):
    """The manifest and the zip both say 1000 bytes; the stream would give 50 million."""
    record = {"sha256": "0" * 64, "bytes": 1000}
    values = json.loads((folder / "bundle.json").read_text(encoding="utf-8"))
    _edit(files={**values["files"], "bomb.bin": record})(folder)
    (folder / "bomb.bin").write_bytes(bytes(50_000_000))
    path = zipped(tmp_path / "tiny.zip", folder)
    assert path.stat().st_size < 1_000_000
    assert names(import_fails(path), "bomb.bin", "tiny.zip", "50000000 bytes", 1000)
    _patch(path, b"bomb.bin", 24, struct.pack("<I", 1000))
    said = import_fails(path)
    assert names(said, "tiny.zip", "bomb.bin")
    assert visible(place) == []


def test_a_bundle_too_large_for_the_disk_is_refused_first(folder, place, monkeypatch):
    monkeypatch.setattr(files.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, 1000))
    assert names(import_fails(folder), place, "tiny", "room", CACHE_VARIABLE) and visible(place) == []


def test_a_name_that_is_taken_is_not_overwritten_unless_asked(folder, original, place, tmp_path, monkeypatch):
    import_bundle(folder)
    write_tiny_bundle(tmp_path / "new" / "tiny", version="2.0.0")
    assert names(import_fails(tmp_path / "new" / "tiny"), place / "tiny", "overwriting")
    assert_whole(place / "tiny", original)
    import_bundle(tmp_path / "new" / "tiny", overwrite=True)
    assert json.loads((place / "tiny" / "bundle.json").read_text(encoding="utf-8"))["version"] == "2.0.0" and visible(
        place
    ) == ["tiny"]
    # a broken one does not cost the good one
    _flip(folder)
    assert "SHA-256" in import_fails(folder, overwrite=True)
    assert load_bundle("tiny").manifest.version == "2.0.0" and verify("tiny") == [] and visible(place) == ["tiny"]
    # nor does one that hides behind another
    monkeypatch.setenv(BUNDLES_VARIABLE, str(tmp_path / "new"))
    remove_bundle("tiny")
    assert names(import_fails(original), tmp_path / "new", "tiny", "destination") and visible(place) == []
    # something else under the name
    monkeypatch.delenv(BUNDLES_VARIABLE)
    (place / "tiny").mkdir()
    (place / "tiny" / "thesis.txt").write_text("years", encoding="utf-8")
    assert names(import_fails(original, overwrite=True), place / "tiny", "exists")
    assert (place / "tiny" / "thesis.txt").is_file()


def test_cancelling_leaves_nothing(folder, place, tmp_path):
    for source in (folder, zipped(tmp_path / "a.zip", folder)):
        signs: list[TransferProgress] = []
        with pytest.raises(Cancelled):
            import_bundle(source, progress=signs.append, cancel=lambda seen=signs: bool(seen))
        assert signs and visible(place) == []


def test_a_zip_on_the_web(folder, original, place, tmp_path):
    web = tmp_path / "web"
    web.mkdir()
    size = zipped(web / "tiny.zip", folder).stat().st_size
    with MisbehavingServer(web) as server:
        server.misbehave("tiny.zip", cut(5000))
        assert_whole(import_bundle(server.url("tiny.zip?key=1"), policy=QUICK), original)
        assert server.sent_bytes("tiny.zip") == size, "it goes on where it was cut off"
        assert visible(place) == ["tiny"] and not list((place.parent / "downloads").iterdir())
        remove_bundle("tiny")

        for fault, *words in [
            (status(404), "127.0.0.1", 404),
            (redirect("http://example.org/tiny.zip"), "https", "http://example.org/tiny.zip"),
            (length(1 << 60), "127.0.0.1", "larger"),
            (cut(5000), "127.0.0.1", "cut"),
        ]:
            server.always("tiny.zip", fault)
            assert names(import_fails(server.url("tiny.zip")), *words)
        server.always("tiny.zip", None)
        (web / "text.zip").write_text("<html>", encoding="utf-8")
        assert names(import_fails(server.url("text.zip")), "text.zip", "whole")
        assert ".zip" in import_fails(server.url("tiny/bundle.json"))
        assert visible(place) == []

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
    assert names(import_fails("http://example.org/tiny.zip"), "http://example.org/tiny.zip", "https")


def test_removing(folder, place, tmp_path, monkeypatch):
    import_bundle(folder)
    size = bundle_size_bytes(place / "tiny")
    assert size == sum(path.stat().st_size for path in folder.iterdir())
    lock = FileLock(place / ".tiny.lock")
    assert lock.try_acquire()
    with refused("tiny", "downloaded", "changed"):
        remove_bundle("tiny")
    lock.release()
    assert remove_bundle("tiny") == size and visible(place) == []
    with refused("tiny", "none"):
        remove_bundle("tiny")
    # a damaged one can be removed too
    import_bundle(folder)
    (place / "tiny" / "bundle.json").write_text("{", encoding="utf-8")
    assert remove_bundle("tiny") > 0 and visible(place) == []
    # one that is only linked keeps its files
    (place / "mine").symlink_to(folder)
    assert remove_bundle("mine") == 0 and visible(place) == [] and verify(folder) == []


@pytest.mark.parametrize("name", ["..", "../bundles", "a/b", "", ".", ".tiny.download"])
def test_removing_reaches_nothing_else(folder, place, name):
    import_bundle(folder)
    with refused(repr(name), "tiny"):
        remove_bundle(name)
    assert visible(place) == ["tiny"]


def test_bundles_of_others_are_not_removed(folder, monkeypatch):
    monkeypatch.setenv(BUNDLES_VARIABLE, str(folder.parent))
    with refused("tiny", BUNDLES_VARIABLE, "removed"):
        remove_bundle("tiny")
    monkeypatch.delenv(BUNDLES_VARIABLE)
    monkeypatch.setattr("CardioDiTLib.bundles.registry.embedded_bundles_folder", lambda: folder.parent)
    assert [entry.name for entry in list_bundles()] == ["tiny"]
    with refused("tiny", "CardioDiT", "removed"):
        remove_bundle("tiny")
    assert verify(folder) == []


def test_a_bundle_in_use_is_not_half_removed(folder, original, place, monkeypatch):
    import_bundle(folder)

    def refuse(*_: object) -> None:
        raise PermissionError(13, "in use")

    monkeypatch.setattr(installation.os, "replace", refuse)
    with refused(place / "tiny", "in use"):
        remove_bundle("tiny")
    assert_whole(place / "tiny", original)


def test_what_dead_processes_left_is_swept_away_but_not_the_neighbours(folder, place):
    place.mkdir(parents=True)
    for name in (".tiny.0123abcd.import", ".tiny.0123abcd.removed", ".tiny.2.0123abcd.import", ".tiny.download"):
        (place / name).mkdir()
    import_bundle(folder)
    assert visible(place) == [".tiny.2.0123abcd.import", ".tiny.download", "tiny"]

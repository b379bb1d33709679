"""The catalogue: what can be downloaded, and what a user adds to it."""

from __future__ import annotations

import hashlib
import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from misbehaving_server import (
    MisbehavingServer,
    chunked,
    cut,
    length,
    no_length,
    other_content,
    redirect,
    silent,
    status,
)
from refusals import names, refused
from tiny_bundle import tiny_manifest, write_tiny_bundle

from CardioDiTLib.bundles import (
    CatalogueEntry,
    FileRecord,
    Licence,
    RemoteFile,
    RetryPolicy,
    accept,
    add_source,
    catalogue,
    find_entry,
    is_accepted,
    list_added,
    list_catalogue,
    read_source,
    remove_source,
    require_accepted,
)
from CardioDiTLib.bundles.catalogue import HUB_VARIABLE, BundleSource
from CardioDiTLib.bundles.http_stream import beside, check_address
from CardioDiTLib.bundles.registry import CACHE_VARIABLE
from CardioDiTLib.errors import Cancelled, CardioDiTError

QUICK = RetryPolicy(attempts=2, first_wait_s=0.01)
IMPATIENT = RetryPolicy(attempts=2, first_wait_s=0.01, read_timeout_s=0.3)


@pytest.fixture(scope="module")
def original(tmp_path_factory) -> Path:
    return write_tiny_bundle(tmp_path_factory.mktemp("original") / "tiny").folder


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.delenv(HUB_VARIABLE, raising=False)
    return tmp_path / "cache"


@pytest.fixture()
def web(original, tmp_path) -> Path:
    shutil.copytree(original, tmp_path / "web" / "tiny")
    return tmp_path / "web"


@pytest.fixture()
def server(web):
    with MisbehavingServer(web) as server:
        yield server


def refusal_of(text: str) -> str:
    with pytest.raises(CardioDiTError) as caught:
        add_source(text, policy=QUICK)
    return str(caught.value)


def test_the_packaged_catalogue_lists_only_what_exists():
    values = json.loads(catalogue.PACKAGED.read_text(encoding="utf-8"))
    assert values["schema_version"] == 1
    entries = catalogue.list_packaged()
    assert len(entries) == len(values["bundles"]) and list_catalogue() == entries
    assert all(file.url.startswith("https://") for entry in entries for file in entry.files)


@pytest.mark.parametrize("form", ["tiny/bundle.json", "tiny/", "tiny", "tiny/bundle.json?key=a%20b"])
def test_an_added_source_is_kept_with_every_fingerprint(server, original, cache, form):
    entry = add_source(server.url(form))
    assert (entry.name, entry.version, entry.title, entry.class_names) == ("tiny", "1.2.3", "Tiny", ("NOR", "DCM"))
    assert entry.licence == Licence("CC0", "None.") and entry.source == server.url(form)
    assert {file.name: file.sha256 for file in entry.files} == {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in original.iterdir()
    }
    assert entry.size_bytes == sum(path.stat().st_size for path in original.iterdir())
    query = "?key=a%20b" if "?" in form else ""
    assert {file.url for file in entry.files} == {server.url(f"tiny/{p.name}{query}") for p in original.iterdir()}
    assert find_entry("tiny") == entry and list_catalogue() == list_added() == [entry]
    assert CatalogueEntry.from_dict(json.loads(json.dumps(entry.to_dict()))) == entry
    assert [path.name for path in cache.iterdir()] == ["catalogue.json"]
    assert server.requests("tiny/bundle.json")[0].query == query[1:], "what opens the folder is sent"


def test_looking_does_not_add(server, cache):
    assert read_source(server.url("tiny")).name == "tiny"
    assert list_added() == [] and not cache.exists()


def test_adding_again_updates_and_forgetting_forgets(server, web):
    add_source(server.url("tiny"))
    write_tiny_bundle(web / "heart")
    add_source(server.url("heart"))
    shutil.rmtree(web / "tiny")
    write_tiny_bundle(web / "tiny", version="2.0.0")
    assert add_source(server.url("tiny")).version == "2.0.0"
    assert [(e.name, e.version) for e in list_catalogue()] == [("tiny", "2.0.0"), ("heart", "1.2.3")]
    remove_source("tiny")
    assert [e.name for e in list_catalogue()] == ["heart"]
    with refused("tiny", "heart"):
        remove_source("tiny")
    with refused("tiny", "download", "heart"):
        find_entry("tiny")


def test_a_name_belongs_to_whom_had_it_first(server, web, tmp_path, monkeypatch):
    entry = add_source(server.url("tiny"))
    shutil.copytree(web / "tiny", web / "copy")
    assert names(refusal_of(server.url("copy")), "tiny", server.url("tiny")) and list_added() == [entry]
    remove_source("tiny")
    packaged = tmp_path / "registry.json"
    packaged.write_text(json.dumps({"schema_version": 1, "bundles": [entry.to_dict()]}), encoding="utf-8")
    monkeypatch.setattr(catalogue, "PACKAGED", packaged)
    assert list_catalogue() == [entry] and list_added() == []
    assert names(refusal_of(server.url("tiny")), "tiny", "catalogue", "CardioDiT")
    with refused("tiny", "catalogue"):
        remove_source("tiny")


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("hf:lab/heart@v1.0", "https://huggingface.co/lab/heart/resolve/v1.0/bundle.json"),
        ("hf:lab/heart@abc123/models/rv", "https://huggingface.co/lab/heart/resolve/abc123/models/rv/bundle.json"),
        ("HF:lab/he.a_rt-2@refs%2Fpr%2F1/", "https://huggingface.co/lab/he.a_rt-2/resolve/refs%2Fpr%2F1/bundle.json"),
        ("hf:lab/heart", "https://huggingface.co/lab/heart/resolve/main/bundle.json"),
        ("hf:lab/heart/models", "https://huggingface.co/lab/heart/resolve/main/models/bundle.json"),
        (" https://example.org/a/ ", "https://example.org/a/bundle.json"),
        ("https://example.org/a?x=1", "https://example.org/a/bundle.json?x=1"),
        ("https://example.org/bundle.json#top", "https://example.org/bundle.json"),
        ("https://example.org", "https://example.org/bundle.json"),
    ],
)
def test_sources_are_understood(text, address):
    source = BundleSource.from_text(text)
    assert source.manifest_url == address
    assert bool(source.notes) == ("/resolve/main/" in address)
    assert BundleSource.from_text(source.text).manifest_url == address
    assert beside(address, "x.bin") == address.replace("bundle.json", "x.bin")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("hf:lab", "repository"),
        ("hf:lab/heart@", "repository"),
        ("hf:lab/../heart@v1", "repository"),
        ("hf:lab/heart@v1/../..", "repository"),
        ("hf:lab/heart@../x", "repository"),
        ("http://example.org/a", "secure"),
        ("http://127.0.0.1.example.org/a", "secure"),
        ("http://127.0.0.1@example.org/a", "password"),
        ("https://me:secret@example.org/a", "password"),
        ("ftp://example.org/a", "secure"),
        ("file:///etc/passwd", "address"),
        ("https://", "address"),
        ("https://[::1", "address"),
        ("https://example.org:port/a", "address"),
        ("https://example.org/a b", "address"),
        ("https://example.org/heart.zip", "zip"),
        ("heart", "address"),
        ("", "address"),
    ],
)
def test_what_is_no_source_is_refused_before_anything_is_fetched(text, named, cache):
    said = refusal_of(text)
    assert names(said, named) and "secret" not in said and not cache.exists()
    assert ("secure" in said) == (named == "secure")


def test_this_very_machine_may_speak_plain_http_unless_sent_there_from_outside():
    for host in ("127.0.0.1", "localhost:8080", "[::1]:8080"):
        check_address(f"http://{host}/x")
        with refused("https://"):
            check_address(f"http://{host}/x", only_https=True)


def test_a_mirror_of_the_hub_is_used(server, web, monkeypatch):
    shutil.copytree(web / "tiny", web / "lab" / "heart" / "resolve" / "v1" / "sub")
    monkeypatch.setenv(HUB_VARIABLE, server.url())
    entry = add_source("hf:lab/heart@v1/sub")
    assert entry.source == "hf:lab/heart@v1/sub" and entry.notes == ()
    assert all(file.url.startswith(server.url("lab/heart/resolve/v1/sub/")) for file in entry.files)


def changed(**changes) -> bytes:
    records = {n: FileRecord("0" * 64, 3) for n in ("codec.safetensors", "dit.safetensors", "latents.safetensors")}
    values = tiny_manifest(files={**records, "MODEL_CARD.md": FileRecord("0" * 64, 3)}).to_dict()
    values.update(changes)
    return json.dumps(values).encode()


RECORD = {"sha256": "0" * 64, "bytes": 3}


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (status(404), ["127.0.0.1", "bundle.json", 404]),
        (status(403), ["bundle.json", 403, "login"]),
        (status(502), ["bundle.json", 502, "2 times"]),
        (cut(10), ["127.0.0.1", "cut", "2 times"]),
        (length(50_000), ["127.0.0.1", "cut", "2 times"]),
        (length(1 << 30), ["bundle.json", "1 MB"]),
        (other_content(b" " * (2 << 20)), ["bundle.json", "1 MB"]),
        (other_content(b" " * (2 << 20), then=no_length()), ["bundle.json", "1 MB"]),
        (other_content(b" " * (2 << 20), then=chunked()), ["bundle.json", "1 MB"]),
        (redirect("http://example.org/bundle.json"), ["127.0.0.1", "http://example.org/bundle.json", "https"]),
        (other_content(b"<html>Please sign in</html>"), ["bundle.json", "JSON"]),
        (other_content(b"\xff\xfe\x00"), ["bundle.json", "JSON"]),
        (other_content(b""), ["bundle.json", "JSON"]),
        (other_content(b"[" * 100_000), ["bundle.json", "JSON"]),
        (other_content(b'{"schema_version": NaN}'), ["bundle.json", "JSON"]),
        (other_content(b"[1, 2]"), ["manifest", "[1, 2]"]),
        (other_content(changed(schema_version=2)), ["schema version 2", 1]),
        (other_content(changed(colour="red")), ["manifest", "colour"]),
        (other_content(changed(name="../up")), ["name", "../up"]),
        (other_content(changed(name="con")), ["'con'", "system"]),
        (other_content(changed(files={})), ["MODEL_CARD.md", "missing"]),
        (other_content(changed(files={"../x": RECORD})), ["files", "../x"]),
        (
            other_content(changed(files={**json.loads(changed())["files"], "DIT.safetensors": RECORD})),
            ["DIT.safetensors", "twice"],
        ),
        (
            other_content(changed(files={**json.loads(changed())["files"], "bundle.json": RECORD})),
            ["bundle.json", "twice"],
        ),
        (
            other_content(changed(files={**json.loads(changed())["files"], "aux.txt": RECORD})),
            ["'aux.txt'", "system"],
        ),
        (
            other_content(changed(files={**json.loads(changed())["files"], **{f"f{i}": RECORD for i in range(300)}})),
            ["305 files"],
        ),
    ],
)
def test_a_manifest_that_is_none_is_refused(server, cache, fault, words):
    server.always("tiny/bundle.json", fault)
    said = refusal_of(server.url("tiny"))
    assert names(said, *words) and "\n" not in said
    assert list_added() == [] and not cache.exists()


def test_a_silent_server_is_given_up(server, cache):
    server.always("tiny/bundle.json", silent(None))
    with pytest.raises(CardioDiTError, match=r"silent for too long.*Try again later\.$"):
        add_source(server.url("tiny"), policy=IMPATIENT)
    assert not cache.exists()


def test_adding_can_be_cancelled(server, cache):
    server.always("tiny/bundle.json", silent(None))
    with pytest.raises(Cancelled):
        add_source(server.url("tiny"), cancel=lambda: bool(server.served))
    assert not cache.exists()


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("{", ("JSON",)),
        ("[" * 100_000, ("JSON",)),
        ("[]", ("schema version", None, 1)),
        ('{"schema_version": 2, "bundles": []}', ("schema version", 2, 1)),
        ('{"schema_version": 1}', ("bundles", "list")),
        ('{"schema_version": 1, "bundles": [3]}', ("bundles", "list")),
        ('{"schema_version": 1, "bundles": [{"name": "x"}]}', ("version", "licence")),
    ],
)
def test_damaged_additions_are_told_and_never_lost(server, cache, content, named):
    cache.mkdir()
    (cache / "catalogue.json").write_text(content, encoding="utf-8")
    for act in (list_catalogue, lambda: find_entry("x"), lambda: add_source(server.url("tiny"))):
        with pytest.raises(CardioDiTError) as caught:
            act()
        assert names(str(caught.value), cache / "catalogue.json", "damaged", *named)
        assert "Repair" in caught.value.hint
    assert (cache / "catalogue.json").read_text(encoding="utf-8") == content and server.served == []
    assert [path.name for path in cache.iterdir()] == ["catalogue.json"]


def test_additions_at_one_moment_are_all_kept(server, web):
    for number in range(6):
        shutil.copytree(web / "tiny", web / f"b{number}")
        manifest = web / f"b{number}" / "bundle.json"
        manifest.write_text(
            manifest.read_text(encoding="utf-8").replace('"name": "tiny"', f'"name": "b{number}"'), encoding="utf-8"
        )
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda number: add_source(server.url(f"b{number}")), range(6)))
    assert sorted(entry.name for entry in list_added()) == [f"b{number}" for number in range(6)]


FILE = RemoteFile("bundle.json", "https://example.org/bundle.json", "0" * 64, 5)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"size_bytes": 6}, ("x", "6 bytes", 5)),
        ({"files": []}, ("x", "bundle.json")),
        ({"files": "none"}, ("files", "none", "list")),
        ({"files": [{**FILE.to_dict(), "url": "http://example.org/x"}]}, ("http://example.org/x", "https")),
        ({"files": [{**FILE.to_dict(), "name": "../bundle.json"}]}, ("name", "../bundle.json")),
        ({"files": [{**FILE.to_dict(), "sha256": "0"}]}, ("sha256", "SHA-256")),
        ({"files": [FILE.to_dict(), FILE.to_dict()]}, ("bundle.json", "twice")),
        ({"name": "a/b"}, ("name", "a/b")),
        ({"class_names": [3]}, ("class_names", 3, "text")),
        ({"title": None}, ("title", None)),
        ({"colour": "red"}, ("colour", "licence")),
    ],
)
def test_entries_are_read_strictly(changes, named):
    values = CatalogueEntry("x", "1.0.0", "X", "", Licence("CC0", ""), (), 5, "https://example.org", (FILE,)).to_dict()
    assert CatalogueEntry.from_dict(values).sha256 == "0" * 64
    with refused(*named):
        CatalogueEntry.from_dict({**values, **changes})


def test_an_agreement_is_remembered_for_its_version_and_terms(cache):
    terms, other = Licence("NC", "No trade.", True), Licence("NC", "No trade, no gifts.", True)
    with refused("x 1.0.0", "NC", "terms"):
        require_accepted("x", "1.0.0", terms)
    require_accepted("x", "1.0.0", Licence("CC0", ""))
    accept("x", "1.0.0", terms)
    before = (cache / "accepted_licences.json").read_bytes()
    accept("x", "1.0.0", terms)
    assert (cache / "accepted_licences.json").read_bytes() == before, "asked once"
    require_accepted("x", "1.0.0", terms)
    assert is_accepted("x", "1.0.0") and is_accepted("x", "1.0.0", terms)
    assert not is_accepted("x", "1.0.1") and not is_accepted("y", "1.0.0") and not is_accepted("x", "1.0.0", other)
    accept("x", "1.0.0", other)
    assert is_accepted("x", "1.0.0", other) and not is_accepted("x", "1.0.0", terms)
    (record,) = json.loads(before)["accepted"]
    assert record["licence"]["conditions"] == "No trade." and record["accepted_at"].startswith("20")
    (cache / "accepted_licences.json").write_text("", encoding="utf-8")
    with refused("accepted_licences.json", "damaged"):
        is_accepted("x", "1.0.0")
    with refused("accepted_licences.json", "damaged"):
        accept("x", "1.0.0", terms)

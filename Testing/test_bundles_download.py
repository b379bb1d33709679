"""Downloads: whatever a server does, there is a whole bundle at the end, or none and a plain sentence."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from email.utils import formatdate
from pathlib import Path

import pytest
from misbehaving_server import (
    MisbehavingServer,
    chunked,
    cut,
    gated,
    ignoring_range,
    length,
    no_length,
    other_content,
    redirect,
    silent,
    slow,
    status,
    wait_until,
    without_etag,
    wrong_range,
)
from refusals import names
from tiny_bundle import write_tiny_bundle

from CardioDiTLib import files
from CardioDiTLib.bundles import (
    RetryPolicy,
    TransferProgress,
    add_source,
    discard_partial,
    download_bundle,
    find_entry,
    installation,
    list_bundles,
    load_bundle,
    partial_bytes,
    verify,
)
from CardioDiTLib.bundles.catalogue import CatalogueEntry
from CardioDiTLib.bundles.http_stream import TransferMeter
from CardioDiTLib.bundles.registry import BUNDLES_VARIABLE, CACHE_VARIABLE
from CardioDiTLib.errors import Cancelled, CardioDiTError
from CardioDiTLib.locks import FileLock

REPOSITORY = Path(__file__).parents[1]
WEIGHTS = "tiny/dit.safetensors"
QUICK = RetryPolicy(attempts=3, first_wait_s=0.01, longest_wait_s=0.05, progress_bytes=1 << 30)
IMPATIENT = RetryPolicy(attempts=3, first_wait_s=0.01, read_timeout_s=0.3, progress_bytes=1 << 30)


@pytest.fixture(scope="module")
def original(tmp_path_factory) -> Path:
    return write_tiny_bundle(tmp_path_factory.mktemp("original") / "tiny").folder


@pytest.fixture()
def web(original, tmp_path) -> Path:
    """What the server serves."""
    shutil.copytree(original, tmp_path / "web" / "tiny")
    return tmp_path / "web"


@pytest.fixture()
def server(web):
    with MisbehavingServer(web) as server:
        yield server


@pytest.fixture()
def place(tmp_path, monkeypatch) -> Path:
    """The user's folder of bundles."""
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.delenv(BUNDLES_VARIABLE, raising=False)
    return tmp_path / "cache" / "bundles"


@pytest.fixture()
def entry(server, place) -> CatalogueEntry:
    return add_source(server.url("tiny/"), policy=QUICK)


def visible(place: Path) -> list[str]:
    """What anybody could take for a bundle, and what lies about without a reason."""
    names = [path.name for path in place.iterdir()] if place.is_dir() else []
    return sorted(name for name in names if name != ".tiny.download")


def assert_whole(folder: Path, original: Path) -> None:
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == {p.name: p.read_bytes() for p in original.iterdir()}
    assert verify(folder) == []


def failure(name="tiny", **more) -> CardioDiTError:
    with pytest.raises(CardioDiTError) as caught:
        download_bundle(name, **{"policy": QUICK, **more})
    assert "\n" not in str(caught.value) and caught.value.message.endswith(".") and caught.value.hint.endswith(".")
    return caught.value


def test_a_bundle_arrives_whole_and_can_be_opened(entry, server, place, original):
    signs: list[TransferProgress] = []
    folder = download_bundle("tiny", progress=signs.append)
    assert folder == place / "tiny" and visible(place) == ["tiny"] and not partial_bytes("tiny")
    assert_whole(folder, original)
    assert load_bundle("tiny").dit is not None
    assert [e.origin for e in list_bundles() if e.name == "tiny"] == ["user"]
    last = signs[-1]
    assert (last.done_bytes, last.total_bytes, last.fraction, last.eta_s) == (
        entry.size_bytes,
        entry.size_bytes,
        1.0,
        0,
    )
    assert last.state == "done" and json.dumps(last.to_dict()) and all(sign.name == "tiny" for sign in signs)
    assert all(0 <= sign.fraction <= 1 for sign in signs)
    assert all(served.headers["Accept-Encoding"] == "identity" for served in server.served)


def test_what_is_there_already_is_not_fetched_again(entry, server, place, original):
    download_bundle("tiny")
    before = len(server.served)
    assert download_bundle("tiny") == place / "tiny" and len(server.served) == before
    # a damaged copy of the same bundle is mended
    (place / "tiny" / "dit.safetensors").write_bytes(b"x")
    assert_whole(download_bundle("tiny"), original)
    assert len(server.served) > before and visible(place) == ["tiny"]


def test_a_destination_of_ones_own_and_a_source_in_place_of_a_name(server, place, tmp_path, original):
    folder = download_bundle(server.url("tiny/bundle.json"), destination=tmp_path / "mine" / "heart", policy=QUICK)
    assert_whole(folder, original)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["heart"] and not place.exists()


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (status(404), ["127.0.0.1", "dit.safetensors", 404]),
        (status(403), ["dit.safetensors", 403, "login"]),
        (status(401), ["dit.safetensors", 401]),
        (status(418), ["status 418"]),
        (status(500), ["dit.safetensors", "status 500", "3 times", "later"]),
        (status(429, Retry_After="3600"), [429, "3 times"]),
        (status(206, Content_Range="bytes 0-4/5"), ["status 206"]),
        (cut(0), ["cut", "3 times"]),
        (length(17), ["17 bytes", "dit.safetensors"]),
        (length(10**9), ["1000000000 bytes", "dit.safetensors"]),
        (no_length(extra=b"more"), ["more", "dit.safetensors"]),
        (no_length(chop=9), ["cut", "3 times"]),
        (chunked(extra=b"more"), ["more", "dit.safetensors"]),
        (redirect("http://example.org/dit.safetensors"), ["127.0.0.1", "https", "http://example.org/dit.safetensors"]),
        (redirect("ftp://127.0.0.1/x"), ["127.0.0.1", "https", "ftp://127.0.0.1/x"]),
        (redirect("/tiny/dit.safetensors"), ["127.0.0.1", "8 redirections"]),
        (redirect("https://u:secret@example.org/x"), ["127.0.0.1", "example.org", "password"]),
        (status(200, Content_Encoding="gzip"), ["compressed", "gzip"]),
    ],
)
def test_each_fault_is_a_sentence_and_leaves_no_bundle(entry, server, place, fault, words):
    server.always(WEIGHTS, fault)
    error = failure()
    assert names(str(error), *words)
    assert "secret" not in str(error)
    assert visible(place) == [] and [e.name for e in list_bundles() if e.origin == "user"] == []
    if "tried" not in str(error) and "8 redirections" not in str(error):
        assert len(server.requests(WEIGHTS)) == 1, "what cannot be mended is not tried again"
    # once the server behaves, the same download works
    server.always(WEIGHTS, None)
    assert verify(download_bundle("tiny", policy=QUICK)) == [] and visible(place) == ["tiny"]


def test_a_server_that_falls_silent_is_given_up(entry, server, place, original):
    server.always(WEIGHTS, silent(None))
    assert "127.0.0.1 was silent for too long when asked for 'dit.safetensors'; tried 3 times." in str(
        failure(policy=IMPATIENT)
    )
    assert visible(place) == []
    server.always(WEIGHTS, silent(5000))
    assert names(str(failure(policy=IMPATIENT)), "127.0.0.1", "silent", "dit.safetensors") and visible(place) == []
    server.always(WEIGHTS, None)
    server.served.clear()
    assert_whole(download_bundle("tiny", policy=QUICK), original)
    (request,) = server.requests(WEIGHTS)
    assert request.status == 206 and int(request.wanted_range[6:-1]) % 5000 == 0, "what came before counts"


@pytest.mark.parametrize(
    "faults",
    [
        [status(500), status(503)],
        [status(429, Retry_After="0")],
        [status(429, Retry_After="Wed, 21 Oct 2015 07:28:00 GMT")],
        [cut(5000), cut(5000)],
        [cut(5000, reset=True), cut(0, reset=True)],
        [no_length()],
        [chunked()],
        [cut(5000), ignoring_range()],
        [cut(5000), wrong_range(-100)],
        [cut(5000), wrong_range(7)],
        [cut(5000), status(416)],
        [without_etag(cut(5000)), without_etag()],
        [redirect("/elsewhere/dit.safetensors")],
    ],
)
def test_passing_trouble_passes(entry, server, place, original, web, faults):
    shutil.copytree(original, web / "elsewhere")
    server.misbehave(WEIGHTS, *faults)
    assert_whole(download_bundle("tiny", policy=QUICK), original)
    assert visible(place) == ["tiny"]


def test_a_cut_download_goes_on_and_says_which_file_it_means(entry, server, place, original):
    server.misbehave(WEIGHTS, cut(5000), cut(7000))
    assert_whole(download_bundle("tiny", policy=QUICK), original)
    size = (original / "dit.safetensors").stat().st_size
    first, second, third = server.requests(WEIGHTS)
    assert (first.wanted_range, second.wanted_range, third.wanted_range) == ("", "bytes=5000-", "bytes=12000-")
    assert not first.if_range and second.if_range == third.if_range != ""
    assert server.sent_bytes(WEIGHTS) == size


def test_a_part_of_another_file_is_thrown_away(entry, server, place, original):
    """The file changes between two tries: by its mark, by its mark alone, and unnoticed."""
    whole = (original / "dit.safetensors").read_bytes()
    foreign = bytes(len(whole))
    server.misbehave(WEIGHTS, other_content(foreign, then=cut(5000)))
    assert_whole(download_bundle("tiny", policy=QUICK), original)
    assert [served.status for served in server.requests(WEIGHTS)] == [200, 200]

    shutil.rmtree(place / "tiny")
    server.served.clear()
    server.misbehave(WEIGHTS, other_content(whole, etag='"old"', then=cut(5000)))
    assert_whole(download_bundle("tiny", policy=QUICK), original)
    assert [served.status for served in server.requests(WEIGHTS)] == [200, 200]

    shutil.rmtree(place / "tiny")
    server.served.clear()
    server.misbehave(WEIGHTS, other_content(foreign, etag="", then=cut(5000)), without_etag(), without_etag())
    assert_whole(download_bundle("tiny", policy=QUICK), original)
    assert [served.status for served in server.requests(WEIGHTS)] == [200, 206, 200]


def test_a_wrong_file_is_refused_without_another_try(entry, server, place, original):
    wrong = bytearray((original / "dit.safetensors").read_bytes())
    wrong[100] ^= 1
    server.always(WEIGHTS, other_content(bytes(wrong)))
    error = failure()
    assert "'dit.safetensors' from 127.0.0.1 is not the file that was announced" in str(error)
    assert "SHA-256" in str(error) and len(server.requests(WEIGHTS)) == 1 and visible(place) == []
    # the good files stay for the next try, the wrong one does not
    assert 0 < partial_bytes("tiny") < entry.size_bytes - len(wrong) + 1


def test_a_manifest_that_was_exchanged_is_noticed_first(entry, server, place, web):
    manifest = web / "tiny" / "bundle.json"
    manifest.write_text(manifest.read_text(encoding="utf-8").replace("Tiny", "Tony"), encoding="utf-8")
    assert "'bundle.json'" in str(failure()) and visible(place) == []
    assert not server.requests(WEIGHTS)


def test_the_entry_and_the_manifest_have_to_agree(entry, server, place):
    values = find_entry("tiny").to_dict()
    error = failure(CatalogueEntry.from_dict({**values, "version": "9.9.9"}))
    assert "9.9.9" in str(error) and "1.2.3" in str(error) and visible(place) == []


def test_retries_wait_longer_each_time_and_not_all_at_one_moment():
    policy = RetryPolicy(first_wait_s=1, longest_wait_s=10)
    assert [policy.wait_s(n, chance=lambda: 1.0) for n in (1, 2, 3, 4, 5)] == [1, 2, 4, 8, 10]
    assert policy.wait_s(3, chance=lambda: 0.0) == 2 and policy.wait_s(1, 7.0) == 7 and policy.wait_s(1, 3600) == 10


def test_what_the_server_asks_for_is_waited_for(entry, server):
    asked: list[float | None] = []

    class Impatient(RetryPolicy):
        def wait_s(self, failures, asked_s=None, chance=lambda: 0.0):
            asked.append(asked_s)
            return 0.0

    soon = formatdate(time.time() + 30, usegmt=True)
    faults = [status(429, Retry_After="7"), status(503, Retry_After=soon), status(503, Retry_After="soon"), cut(0)]
    server.misbehave(WEIGHTS, *faults)
    download_bundle("tiny", policy=Impatient())
    assert asked[0] == 7 and 20 < asked[1] <= 30 and asked[2:] == [None, None]


def test_a_download_that_comes_along_may_be_cut_off_often(entry, server, original):
    server.misbehave(WEIGHTS, *[cut(5000)] * 8)
    patient = RetryPolicy(attempts=2, first_wait_s=0.01, progress_bytes=5000)
    assert_whole(download_bundle("tiny", policy=patient), original)


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (slow(20_000), "event"),
        (silent(None), "function"),
        (silent(3000), "event"),
        (status(503, Retry_After="60"), "function"),
    ],
    ids=["slow", "mute", "hung", "busy"],
)
def test_cancelling_does_not_wait_for_the_server_and_keeps_what_has_come(entry, server, place, original, fault, kind):
    server.always(WEIGHTS, fault)
    event = threading.Event()
    asked: list[float] = []

    def ask() -> None:
        wait_until(lambda: bool(server.requests(WEIGHTS)))
        time.sleep(0.1)
        asked.append(time.monotonic())
        event.set()

    thread = threading.Thread(target=ask)
    thread.start()
    with pytest.raises(Cancelled):
        download_bundle("tiny", cancel=event if kind == "event" else event.is_set)
    took = time.monotonic() - asked[0]
    thread.join()
    # a tenth of a second, but on a machine that is busy with other things
    assert took < 3 and visible(place) == [] and partial_bytes("tiny") > 0
    server.always(WEIGHTS, None)
    server.served.clear()
    assert_whole(download_bundle("tiny", policy=QUICK), original)
    assert [served.path for served in server.served] == [f"/{WEIGHTS}"] + ["/tiny/latents.safetensors"], "only the rest"


def test_what_was_collected_can_be_thrown_away(entry, server, place):
    server.always(WEIGHTS, status(404))
    failure()
    assert partial_bytes("tiny") > 0
    lock = FileLock(place / ".tiny.lock")
    assert lock.try_acquire()
    with pytest.raises(CardioDiTError, match="right now"):
        discard_partial("tiny")
    lock.release()
    assert discard_partial("tiny") and not discard_partial("tiny") and not partial_bytes("tiny")
    assert list(place.iterdir()) == []
    for name in ("../tiny", ".tiny", "a/b", ""):
        with pytest.raises(CardioDiTError, match="name"):
            discard_partial(name)


def test_nothing_collected_leaves_nothing(entry, server, place):
    server.always("tiny/bundle.json", status(404))
    failure()
    assert list(place.iterdir()) == []


def test_an_older_version_is_replaced_and_other_work_is_not(entry, server, place, web):
    download_bundle("tiny", policy=QUICK)
    write_tiny_bundle(web / "new" / "tiny", version="1.10.0")
    folder = download_bundle(server.url("new/tiny"), policy=QUICK)
    assert (
        json.loads((folder / "bundle.json").read_text(encoding="utf-8"))["version"] == "1.10.0" and verify("tiny") == []
    )
    assert visible(place) == ["tiny"]
    # back to an older one, and over something of the same version with other content, only if asked
    before = (folder / "bundle.json").read_bytes()
    assert "1.10.0" in str(failure()) and "overwriting" in str(failure())
    write_tiny_bundle(web / "third" / "tiny", version="1.10.0", title="Other")
    assert names(str(failure(server.url("third/tiny"))), "tiny", "another")
    assert (folder / "bundle.json").read_bytes() == before and visible(place) == ["tiny"]
    download_bundle("tiny", policy=QUICK, overwrite=True)
    assert json.loads((folder / "bundle.json").read_text(encoding="utf-8"))["version"] == "1.2.3"
    (folder / "bundle.json").write_text("{", encoding="utf-8")
    assert names(str(failure()), place / "tiny", "read") and verify(folder) != []


def test_a_folder_with_something_else_is_left_alone(entry, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "text.txt").write_text("years", encoding="utf-8")
    assert names(str(failure(destination=tmp_path / "thesis")), tmp_path / "thesis", "exists")
    assert [p.name for p in (tmp_path / "thesis").iterdir()] == ["text.txt"]


def test_a_name_that_would_never_be_found_is_refused(entry, server, place, original, tmp_path, monkeypatch):
    shutil.copytree(original, tmp_path / "others" / "tiny")
    monkeypatch.setenv(BUNDLES_VARIABLE, str(tmp_path / "others"))
    server.served.clear()
    assert names(str(failure()), tmp_path / "others", "tiny", "destination")
    assert server.served == [] and visible(place) == []
    assert download_bundle("tiny", destination=tmp_path / "mine").is_dir()


def test_the_old_bundle_survives_a_rename_that_fails(entry, server, place, web, monkeypatch):
    download_bundle("tiny", policy=QUICK)
    before = {p.name: p.read_bytes() for p in (place / "tiny").iterdir()}
    write_tiny_bundle(web / "new" / "tiny", version="2.0.0")
    real = os.replace

    def refuse(source, target):
        if Path(source).name == "complete":
            raise PermissionError(13, "in use")
        real(source, target)

    monkeypatch.setattr(installation.os, "replace", refuse)
    assert "in use" in str(failure(server.url("new/tiny")))
    monkeypatch.setattr(installation.os, "replace", real)
    assert {p.name: p.read_bytes() for p in (place / "tiny").iterdir()} == before and visible(place) == ["tiny"]
    # a process that dies between the two renames leaves the old one aside; the next change puts it back
    os.replace(place / "tiny", place / ".tiny.0123abcd.replaced")
    with installation.changing(place / "tiny", installation.Stop()):
        assert {p.name: p.read_bytes() for p in (place / "tiny").iterdir()} == before


def test_no_room_is_told_before_anything_is_fetched(entry, server, place, monkeypatch):
    server.served.clear()
    monkeypatch.setattr(files.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, 1000))
    error = failure()
    assert "not enough room" in str(error) and "0.00 GB are free" in str(error) and CACHE_VARIABLE in error.hint
    assert server.served == [] and list(place.iterdir()) == []


def test_a_disk_that_refuses_is_not_taken_for_the_network(entry, server, place):
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text("a file where the folder should be", encoding="utf-8")
    assert names(str(failure()), place, "File exists")


def test_unknown_names_are_told(place):
    assert names(str(failure("absent")), "absent")


def child(code: str, place: Path) -> subprocess.Popen:
    environment = {**os.environ, CACHE_VARIABLE: str(place.parent), "PYTHONPATH": str(REPOSITORY)}
    return subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True)


FETCH = """
import sys
from CardioDiTLib.bundles import download_bundle
seen = set()
def show(progress):
    if progress.state not in seen:
        print(progress.state, flush=True)
    seen.add(progress.state)
print(download_bundle("tiny", progress=show).name)
"""


def test_two_processes_fetch_a_bundle_once(entry, server, place, original):
    gate = threading.Event()
    server.always(WEIGHTS, gated(gate))
    first = child(FETCH, place)
    wait_until(lambda: bool(server.requests(WEIGHTS)))
    second = child(FETCH, place)
    assert second.stdout is not None and second.stdout.readline() == "wait\n"
    gate.set()
    assert [c.communicate(timeout=60)[0].split()[-1] for c in (first, second)] == ["tiny", "tiny"]
    assert first.returncode == second.returncode == 0
    assert_whole(place / "tiny", original)
    assert len(server.requests(WEIGHTS)) == 1 and visible(place) == ["tiny"]


def test_a_killed_process_leaves_what_it_has_fetched(entry, server, place, original):
    size = (original / "dit.safetensors").stat().st_size
    part = place / ".tiny.download" / "parts" / "dit.safetensors.part"
    server.always(WEIGHTS, slow(40_000))
    process = child(FETCH, place)
    wait_until(lambda: part.is_file() and part.stat().st_size >= size // 4)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    kept = part.stat().st_size
    assert visible(place) == [".tiny.lock"] and size // 4 <= kept < size

    server.always(WEIGHTS, None)
    server.served.clear()
    assert_whole(download_bundle("tiny", policy=QUICK), original)
    (request,) = server.requests(WEIGHTS)
    assert request.wanted_range == f"bytes={kept}-" and request.status == 206 and request.body_bytes == size - kept
    assert visible(place) == ["tiny"]


def test_a_part_whose_sidecar_is_damaged_is_fetched_anew(entry, server, place, original):
    server.misbehave(WEIGHTS, cut(5000), *[status(503)] * 2)
    failure()
    sidecar = place / ".tiny.download" / "parts" / "dit.safetensors.part.json"
    assert json.loads(sidecar.read_text(encoding="utf-8"))["etag"]
    sidecar.write_text("{", encoding="utf-8")
    server.served.clear()
    assert_whole(download_bundle("tiny", policy=QUICK), original)
    assert [served.wanted_range for served in server.requests(WEIGHTS)] == [""]


def test_a_lock_is_held_by_one(tmp_path):
    first, second = FileLock(tmp_path / "lock"), FileLock(tmp_path / "lock")
    assert first.try_acquire() and not second.try_acquire()
    first.release()
    assert second.try_acquire() and not first.try_acquire()
    second.release()
    assert list(tmp_path.iterdir()) == []


def test_progress_counts_bytes_and_seconds():
    signs: list[TransferProgress] = []
    clock = [0.0]
    meter = TransferMeter("x", 3000, signs.append, now=lambda: clock[0])
    meter.begin("a")
    for step in range(1, 11):
        clock[0] = step * 1.0
        meter.at(step * 100, came=100)
    assert signs[-1].bytes_per_s == pytest.approx(100) and signs[-1].eta_s == pytest.approx(20)
    meter.begin("b")
    clock[0] = 11.0
    meter.at(500, came=500)
    assert (signs[-1].file, signs[-1].done_bytes, signs[-1].fraction) == ("b", 1500, 0.5)
    count = len(signs)
    meter.at(501, came=1)
    assert len(signs) == count, "not more than ten signs a second"


def test_proxies_are_those_of_the_system(entry, server, place, monkeypatch):
    # this very machine is never asked through a proxy, anything else is
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    assert names(str(failure("https://example.org/tiny/")), "proxy", "example.org")
    assert download_bundle("tiny", policy=QUICK).is_dir()


def test_looking_at_bundles_imports_neither_torch_nor_requests():
    code = (
        "import sys\nfrom CardioDiTLib.bundles import download_bundle, import_bundle, add_source, accept\n"
        "import CardioDiTLib.bundles.catalogue as c\nc.list_packaged()\n"
        "heavy = {'torch', 'requests', 'numpy'} & set(sys.modules)\nassert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=REPOSITORY)

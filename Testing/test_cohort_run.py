"""Workers of a cohort: killed, torn, failed or in company, they make the same bytes."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import sys
import tarfile
import time
from pathlib import Path

import pytest
from cohort_folders import planned, start_worker, tars, write_labelled_bundle
from refusals import refused
from tiny_bundle import write_tiny_bundle

from CardioDiTLib import cli
from CardioDiTLib.cohort import making
from CardioDiTLib.cohort.heart_record import HeartFailure
from CardioDiTLib.cohort.merging import MergeRequest, merge_cohort
from CardioDiTLib.cohort.plan import open_plan
from CardioDiTLib.cohort.reading import open_shard
from CardioDiTLib.cohort.running import run_cohort, verify_shards
from CardioDiTLib.cohort.spread import Distributions, parse_shares, parse_spreads
from CardioDiTLib.cohort.status import StatusReader, cohort_status
from CardioDiTLib.errors import Cancelled, CardioDiTError

DRAWN = Distributions(parse_shares("NOR,DCM=2"), {})


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return write_tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny").folder


@pytest.fixture(scope="module")
def calm(bundle, tmp_path_factory) -> dict[str, bytes]:
    """Shards of a run that nobody disturbed."""
    folder = planned(tmp_path_factory.mktemp("calm") / "c", bundle, drawn_from=DRAWN)
    done = run_cohort(folder)
    assert (done.made, done.failed, done.shards) == (8, 0, 3)
    return tars(folder)


@pytest.fixture()
def folder(bundle, tmp_path):
    return planned(tmp_path / "c", bundle, drawn_from=DRAWN)


def left(folder: Path) -> list[str]:
    """What a whole cohort must not have."""
    return [path.name for name in ("claims", "parts") for path in (folder / name).glob("*")]


def test_a_shard_holds_what_generate_writes(bundle, calm, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CARDIODIT_BUNDLES", str(bundle.parent))
    words = "generate -m tiny -s 3 --first-index 1 -p NOR --preset draft --precision fp32 -o"
    assert cli.main([*words.split(), str(tmp_path)]) == 0
    written = (tmp_path / "tiny_seed3_001_NOR.nii.gz").read_bytes()
    (tmp_path / "hearts.tar").write_bytes(calm["shard-00000"])
    with tarfile.open(tmp_path / "hearts.tar") as tar:
        assert tar.getnames() == [f"heart-00000{i}.{kind}" for i in range(3) for kind in ("nii.gz", "json")]
        assert tar.extractfile("heart-000001.nii.gz").read() == written


def test_status_is_true_at_every_heart(folder):
    seen = []

    def told(number, is_there):
        status = cohort_status(folder)
        (worker,) = status.workers
        seen.append((status.made, worker.shard, worker.hearts, worker.alive, worker.pid == os.getpid(), is_there))

    run_cohort(folder, told=told)
    assert seen == [(n + 1, n // 3, n % 3 + 1, True, True, True) for n in range(8)]
    status = cohort_status(folder)
    assert status.complete and status.made == 8 and status.shards_done == 3 and not status.workers
    assert status.seconds_left == 0 and status.seconds_a_heart > 0 and not left(folder)


def test_a_run_that_was_stopped_goes_on_where_it_was(folder, calm):
    first = run_cohort(folder, most_hearts=2)
    assert first.made == 2 and first.shards == 0
    status = cohort_status(folder)
    assert status.made == 2 and not status.workers and not status.complete and status.left == 6
    calls = []

    def stop_late():
        calls.append(1)
        return len(calls) > 20

    with pytest.raises(Cancelled):
        run_cohort(folder, cancel=stop_late)
    assert not cohort_status(folder).workers, "a worker that is stopped gives its shard up"
    made = cohort_status(folder).made
    assert 2 <= made < 8
    assert run_cohort(folder).made == 8 - made
    assert tars(folder) == calm and not left(folder)


def test_minutes_end_a_run(folder):
    done = run_cohort(folder, minutes=1e-9)
    assert done.out_of_time and done.made == 0 and not left(folder)


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_killed_at_random_moments_by_twos(bundle, tmp_path):
    """The same as Testing/benchmarks/cohort_kills.py, in seconds."""
    folders = [planned(tmp_path / name, bundle, 18, drawn_from=DRAWN, shard_size=4) for name in ("calm", "rough")]
    run_cohort(folders[0])
    rng, reader, before, kills = random.Random(0), StatusReader(folders[1]), 0, 0
    workers = [start_worker(folders[1]) for _ in range(2)]
    try:
        for _ in range(6):
            time.sleep(rng.uniform(0.05, 0.8))
            victim = rng.randrange(2)
            kills += workers[victim].is_alive()
            workers[victim].kill()
            workers[victim].join()
            status = reader.read()
            assert status.made >= before, "no heart is lost"
            assert {one.pid for one in status.workers if one.alive} <= {workers[1 - victim].pid}
            before = status.made
            workers[victim] = start_worker(folders[1])
        for worker in workers:
            worker.join(120)
    finally:
        for worker in workers:
            worker.kill()
            worker.join()
    run_cohort(folders[1])
    assert kills >= 2
    assert tars(folders[1]) == tars(folders[0])
    assert not verify_shards(folders[1]) and not left(folders[1])
    names = [path.name for path in folders[1].rglob("*") if path.name.startswith(".")]
    assert names == [], "what killed workers left is swept"


@pytest.mark.parametrize("damage", ["cut", "empty", "flipped", "foreign"])
def test_a_torn_heart_is_made_again(folder, calm, damage):
    run_cohort(folder, most_hearts=2)
    part = folder / "parts" / "shard-00000" / "heart-000000.part"
    content = bytearray(part.read_bytes())
    other = (folder / "parts" / "shard-00000" / "heart-000001.part").read_bytes()
    content[700] ^= 255
    part.write_bytes(
        {"cut": part.read_bytes()[:-900], "empty": b"", "flipped": bytes(content), "foreign": other}[damage]
    )
    assert run_cohort(folder).made == 7
    assert tars(folder) == calm


@pytest.mark.parametrize("damage", ["cut", "flipped", "no record", "no tar", "torn record"])
def test_a_torn_shard_is_found_and_made_again(folder, calm, damage):
    run_cohort(folder)
    shard = folder / "shards" / "shard-00001"
    if damage in ("cut", "flipped"):
        content = bytearray((shard / "hearts.tar").read_bytes())
        content[5000] ^= 1
        (shard / "hearts.tar").write_bytes(content if damage == "flipped" else content[:9000])
        with pytest.raises(CardioDiTError):
            open_shard(shard, verify=True)
    elif damage == "torn record":
        (shard / "shard.json").write_text('{"schema"', encoding="utf-8")
    else:
        (shard / {"no record": "shard.json", "no tar": "hearts.tar"}[damage]).unlink()
    assert list(verify_shards(folder)) == [1]
    assert run_cohort(folder).made == 3 and tars(folder) == calm and not verify_shards(folder)


def test_a_shard_that_somebody_else_finished_first_stays(folder, calm, monkeypatch):
    """Two workers at one shard, as after a claim that was taken for dead: the first one's bytes stay, nothing tears."""
    run_cohort(folder, most_hearts=2)
    twin = folder.with_name("twin")
    shutil.copytree(folder, twin)
    run_cohort(twin)
    finished, made = twin / "shards" / "shard-00000", []

    def told(number, is_there):
        made.append(number)
        if number == 2:
            shutil.copytree(finished, folder / "shards" / "shard-00000")
            (folder / "shards" / "shard-00000" / "first").touch()

    run_cohort(folder, told=told)
    assert (folder / "shards" / "shard-00000" / "first").exists() and tars(folder) == calm and not left(folder)


def failing(monkeypatch, numbers, message="it does not want to be"):
    original = making.HeartMaker.make

    def make(self, hearts, cancel):
        for heart, made in original(self, hearts, cancel):
            yield (heart, making._failure(heart, CardioDiTError(message))) if heart.number in numbers else (heart, made)

    monkeypatch.setattr(making.HeartMaker, "make", make)


def test_hearts_that_fail_are_listed_and_tried_again(folder, calm, monkeypatch):
    with monkeypatch.context() as context:
        failing(context, {1, 4})
        done = run_cohort(folder)
        assert (done.made, done.failed, done.shards) == (6, 2, 3)
        status = cohort_status(folder)
        assert status.complete and status.made == 6 and status.left == 0
        assert [(one.number, one.reason, one.attempts) for one in status.failed] == [
            (1, "it does not want to be", 1),
            (4, "it does not want to be", 1),
        ]
        assert open_shard(folder / "shards" / "shard-00000").numbers == (0, 2)
        assert run_cohort(folder).made == 0, "not asked to try again"
        time.sleep(0.01)  # times are kept in milliseconds
        assert run_cohort(folder, retry=True).failed == 2
        assert [one.attempts for one in cohort_status(folder).failed] == [2, 2]
    time.sleep(0.01)
    again = run_cohort(folder, retry=True)
    assert (again.made, again.failed) == (2, 0)
    assert not cohort_status(folder).failed and tars(folder) == calm and not left(folder)


def test_where_nothing_works_no_heart_is_to_blame(folder, calm, monkeypatch):
    with monkeypatch.context() as context:
        failing(context, set(range(8)), "there is no such device")
        with refused("3 hearts", "there is no such device"):
            run_cohort(folder)
    assert not cohort_status(folder).failed
    run_cohort(folder)
    assert tars(folder) == calm


def test_a_failure_that_is_torn_is_no_failure(folder, calm):
    run_cohort(folder, most_hearts=1)
    (folder / "parts" / "shard-00000" / "heart-000001.failed.json").write_text("{", encoding="utf-8")
    assert not cohort_status(folder).failed
    run_cohort(folder)
    assert tars(folder) == calm


def test_another_bundle_than_the_one_that_was_planned_with(tmp_path):
    place = write_tiny_bundle(tmp_path / "tiny").folder
    folder = planned(tmp_path / "c", place)
    shutil.rmtree(place)
    write_tiny_bundle(place, description="Changed.")
    with pytest.raises(CardioDiTError, match="fingerprint"):
        run_cohort(folder)
    assert not cohort_status(folder).workers


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('"shard_size": 3', '"shard_size": 2'),
        ('"preset": "draft"', '"preset": "standard"'),
        ('"precision": "fp32"', '"precision": "bf16"'),
    ],
)
def test_a_plan_that_was_changed_by_hand_is_told_and_nothing_that_is_whole_is_lost(folder, before, after):
    run_cohort(folder, most_hearts=4)
    plan, made = folder / "plan.json", tars(folder)
    text = plan.read_text(encoding="utf-8")
    assert len(made) == 1 and before in text
    plan.write_text(text.replace(before, after), encoding="utf-8")
    assert cohort_status(folder).made <= 8
    for work in (run_cohort, verify_shards, lambda place: merge_cohort(MergeRequest(folder=str(place), partial=True))):
        with refused("plan", "plan.json"):
            work(folder)
    assert tars(folder) == made
    if "shard_size" not in before:
        shutil.rmtree(folder / "shards")
        with refused("Heart 3", "plan.json"):  # on its way into a shard
            run_cohort(folder)
    assert (folder / "parts" / "shard-00001" / "heart-000003.part").is_file()


def test_a_torn_shard_that_cannot_be_taken_away_is_told(folder, monkeypatch):
    run_cohort(folder, most_hearts=3)
    (folder / "shards" / "shard-00000" / "hearts.tar").write_bytes(b"")

    def no(path, **options):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(shutil, "rmtree", no)
    with refused("Read-only", "permissions"):
        verify_shards(folder)


def test_hearts_together_are_those_of_a_batch_of_generate(bundle, tmp_path, monkeypatch, capsys):
    folder = planned(tmp_path / "c", bundle, 4, batch_size=2, shard_size=4)
    run_cohort(folder, most_hearts=2)
    run_cohort(folder)
    monkeypatch.setenv("CARDIODIT_BUNDLES", str(bundle.parent))
    words = "generate -m tiny -n 4 -s 3 --batch-size 2 --preset draft --precision fp32 -f nii.gz -o"
    assert cli.main([*words.split(), str(tmp_path / "out")]) == 0
    with open_shard(folder / "shards" / "shard-00000") as shard:
        for heart in shard:
            written = (tmp_path / "out" / f"{heart.record.name}.nii.gz").read_bytes()
            assert heart.content("cine") == written
            assert hashlib.sha256(written).hexdigest() == heart.record.files["cine"].sha256


def test_asked_hearts_with_labels_measured_in_the_same_pass(tmp_path):
    given = Distributions({}, {"edv_ml": parse_spreads("100:200")})
    bundle = write_labelled_bundle(tmp_path / "labelled")
    folder = planned(tmp_path / "c", bundle, 2, drawn_from=given, adjust=1, storage="seq.nrrd")
    run_cohort(folder)
    there = open_plan(folder)
    for heart in open_shard(folder / "shards" / "shard-00000"):
        asked = there.hearts[heart.number]
        assert heart.request.edv_ml == asked.edv_ml and heart.request.adjust == 1 and heart.request.seed == 3
        assert heart.segmentation.shape == heart.cine.shape and heart.cine.meta["synthetic"] is True
        volume = (heart.segmentation.array == 3).sum(axis=(1, 2, 3)).max() * heart.cine.voxel_volume_ml
        assert heart.function["labels"].values["edv_ml"] == pytest.approx(volume, rel=1e-4)
        assert heart.embedding is None


def test_a_failure_is_read_as_it_was_written():
    one = HeartFailure(number=3, reason="why", at="2026-01-01T00:00:00+00:00", attempts=2)
    assert HeartFailure.from_dict(one.to_dict()) == one

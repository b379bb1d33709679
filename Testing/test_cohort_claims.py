"""Claims of shards: one worker each, and nobody waits for the dead."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from dataclasses import replace

import pytest

from CardioDiTLib.cohort import claims as module
from CardioDiTLib.cohort.claims import Claims, shard_name

needs_numbers = pytest.mark.skipif(sys.platform == "win32", reason="Windows tells nothing of other processes here")


@pytest.fixture()
def folder(tmp_path):
    return tmp_path / "claims"


def left_by(folder, monkeypatch, shard=0, age_s=0.0, **changes):
    """A claim that another worker left."""
    original = module._own
    with monkeypatch.context() as context:
        context.setattr(module, "_own", lambda number: replace(original(number), **changes))
        claim = Claims(folder).take(shard)
    then = time.time() - age_s
    os.utime(folder / shard_name(shard) / f"{claim.token}.json", (then, then))
    return claim


def test_one_of_many_gets_a_shard(folder):
    found, gate = [], threading.Barrier(12)

    def take():
        gate.wait()
        found.append(Claims(folder).take(3))

    threads = [threading.Thread(target=take) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (claim,) = [one for one in found if one is not None]
    assert Claims(folder).all() == {3: (claim, True)} and Claims(folder).holds(claim)
    assert [path.name for path in folder.iterdir()] == [shard_name(3)], "nothing else is left"


def test_what_is_given_up_is_free_again(folder):
    claims = Claims(folder)
    first = claims.take(0)
    with claims.held(first):
        assert claims.take(0) is None
    assert not claims.holds(first) and claims.take(0) is not None


def test_a_heart_beats_while_a_claim_is_held(folder):
    claims = Claims(folder)
    claim = claims.take(0)
    path = folder / shard_name(0) / f"{claim.token}.json"
    os.utime(path, (1, 1))
    with claims.held(claim, beat_s=0.02):
        end = time.monotonic() + 5
        while path.stat().st_mtime < 10 and time.monotonic() < end:
            time.sleep(0.02)
        assert path.stat().st_mtime > 10


@needs_numbers
def test_the_shard_of_a_dead_process_of_this_machine_is_free_at_once(folder, monkeypatch):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    left = left_by(folder, monkeypatch, pid=gone.pid, born="")
    assert Claims(folder).all() == {0: (left, False)}
    taken = Claims(folder).take(0)
    assert taken is not None and taken.token != left.token and not Claims(folder).holds(left)


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="the system does not say when a process began")
def test_a_number_that_was_given_again_is_another_process(folder, monkeypatch):
    left_by(folder, monkeypatch, born="00000000-1")
    assert Claims(folder).take(0) is not None


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="the system does not say that a process has ended")
def test_a_process_that_ended_and_that_nobody_asked_for_is_dead(folder, monkeypatch):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    left = left_by(folder, monkeypatch, pid=ended.pid, born=module._born(ended.pid))
    end = time.monotonic() + 20
    while Claims(folder).all()[0][1] and time.monotonic() < end:
        time.sleep(0.05)
    assert Claims(folder).all() == {0: (left, False)}
    ended.wait()


def test_a_worker_elsewhere_lives_as_long_as_its_heart_beats(folder, monkeypatch):
    fresh = left_by(folder, monkeypatch, shard=0, place="elsewhere", pid=1)
    left_by(folder, monkeypatch, shard=1, place="elsewhere", pid=1, age_s=module.STALE_S + 60)
    assert Claims(folder).all()[0] == (fresh, True) and Claims(folder).take(0) is None
    assert Claims(folder).take(1) is not None


def test_a_torn_claim_is_honoured_for_a_while(folder, monkeypatch):
    claim = left_by(folder, monkeypatch)
    path = folder / shard_name(0) / f"{claim.token}.json"
    path.write_text("{", encoding="utf-8")
    assert Claims(folder).all() == {0: (None, True)} and Claims(folder).take(0) is None
    os.utime(path, (1, 1))
    assert Claims(folder).take(0) is not None


def test_a_claim_that_was_made_meanwhile_is_put_back(folder, monkeypatch):
    """A worker that saw a dead claim, and is late, must not take away the living one in its place."""
    left = left_by(folder, monkeypatch, place="elsewhere", age_s=module.STALE_S + 60)
    living = Claims(folder).take(0)
    assert not Claims(folder)._clear(folder / shard_name(0), left)
    assert Claims(folder).holds(living)

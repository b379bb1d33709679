"""Orders to a worker that dies, hangs, babbles or never starts: each ends in exactly one answer."""

from __future__ import annotations

import pytest
from module_under_test import Clock, FakeProcess


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def client(app, clock):
    from CardioDiTModule.SharedWorker import ensureLibrary
    from CardioDiTModule.WorkerClient import WorkerClient

    ensureLibrary()
    FakeProcess.made.clear()
    FakeProcess.obeys_close = FakeProcess.hears = True
    return WorkerClient(FakeProcess, lambda: ("python", ["-m", "worker"], {"A": "b"}), clock.later)


class Answers:
    """Collects how an order ends."""

    def __init__(self, client, command="generate", **arguments):
        self.progress, self.ends = [], []
        self.order = client.request(
            command,
            arguments,
            onProgress=self.progress.append,
            onResult=lambda values: self.ends.append(("result", values)),
            onProblem=lambda problem: self.ends.append(("problem", problem)),
            onCancelled=lambda: self.ends.append(("cancelled", None)),
        )

    @property
    def end(self):
        assert len(self.ends) == 1, self.ends
        return self.ends[0]


def test_the_first_order_starts_the_process_and_the_second_does_not(client):
    assert not client.isRunning()
    first, second = Answers(client), Answers(client, "models")
    process = FakeProcess.made[0]
    assert len(FakeProcess.made) == 1 and process.command == ("python", ["-m", "worker"], {"A": "b"})
    process.ready()
    assert client.isReady()
    process.tell("progress", id=first.order.id, stage="denoise", fraction=0.5)
    process.tell("result", id=second.order.id, models=[])
    process.tell("result", id=first.order.id, cines=[])
    assert first.progress == [{"stage": "denoise", "fraction": 0.5}]
    assert first.end == ("result", {"cines": []}) and second.end == ("result", {"models": []})
    assert not client.openRequests()


def test_lines_are_put_together_however_they_are_cut(client):
    answers = Answers(client)
    process = FakeProcess.made[0]
    line = f'a log line with ä\nCARDIODIT {{"event": "result", "id": "{answers.order.id}", "text": "ü"}}\n'.encode()
    for place in range(len(line)):
        process.outputReceived.emit(line[place : place + 1])
    assert answers.end == ("result", {"text": "ü"}) and "a log line with ä" in client.logText()


def test_an_error_comes_with_its_hint(client):
    answers = Answers(client)
    FakeProcess.made[0].tell("error", id=answers.order.id, message="Wrong.", hint="Do this.", detail="Trace\nback")
    kind, problem = answers.end
    assert kind == "problem" and problem.text() == "Wrong. Do this." and "back" in client.logText()


@pytest.mark.parametrize(
    ("code", "crashed", "word"),
    [(1, False, "unexpectedly (code 1)"), (9, True, "memory"), (137, False, "memory"), (0, False, "unexpectedly")],
)
def test_a_worker_that_dies_ends_its_orders_and_the_next_order_starts_another(client, code, crashed, word):
    ended = []
    client.ended.connect(ended.append)
    first, second = Answers(client), Answers(client, "models")
    FakeProcess.made[0].ready()
    FakeProcess.made[0].end(code, crashed)
    for answers in (first, second):
        kind, problem = answers.end
        assert kind == "problem" and word in problem.message and problem.hint
    assert len(ended) == 1 and word in ended[0].message and not client.isRunning()
    third = Answers(client)
    assert len(FakeProcess.made) == 2
    FakeProcess.made[1].tell("result", id=third.order.id)
    assert third.end[0] == "result"


def test_a_worker_that_cannot_start_is_one_sentence(client):
    answers = Answers(client)
    FakeProcess.made[0].end(-1, crashed=True)
    assert "could not be started" in answers.end[1].message


def test_a_worker_that_ends_while_starting_shows_its_last_lines(client):
    answers = Answers(client)
    FakeProcess.made[0].errorReceived.emit(b"ModuleNotFoundError: No module named 'monai'\n")
    FakeProcess.made[0].end(1)
    problem = answers.end[1]
    assert "while it was starting" in problem.message and "monai" in problem.detail


def test_a_worker_that_is_never_ready_is_ended(client, clock):
    answers = Answers(client)
    clock.pass_ms(60000)
    assert FakeProcess.made[0].killed and answers.end[0] == "problem"


def test_a_ready_worker_is_not_ended_by_the_clock_of_its_start(client, clock):
    Answers(client)
    FakeProcess.made[0].ready()
    clock.pass_ms(60000)
    assert not FakeProcess.made[0].killed


def test_a_worker_that_does_not_hear_is_started_another_way_and_gets_its_orders(client, clock):
    """A launcher in between may pass on what the worker says, and not what it is told."""
    FakeProcess.hears = False
    answers = Answers(client, "models", a=1)
    FakeProcess.made[0].ready()
    assert FakeProcess.made[0].has_asked("ping")
    clock.pass_ms(20000)
    assert FakeProcess.made[0].killed and client.isDeaf and not answers.ends
    assert FakeProcess.made[1].asked("models")["arguments"] == {"a": 1}
    FakeProcess.made[1].ready()
    FakeProcess.made[1].tell("result", id=answers.order.id, models=[])
    assert answers.end[0] == "result"
    clock.pass_ms(20000)
    assert not FakeProcess.made[1].killed


def test_a_worker_that_hears_neither_way_is_one_sentence(client, clock):
    FakeProcess.hears = False
    answers = Answers(client)
    for number in (0, 1):
        FakeProcess.made[number].ready()
        clock.pass_ms(20000)
    assert len(FakeProcess.made) == 2 and "does not hear" in answers.end[1].message


def test_a_worker_that_has_answered_anything_hears(client, clock):
    Answers(client)
    FakeProcess.hears = False
    FakeProcess.made[0].ready()
    FakeProcess.made[0].answer("ping")
    clock.pass_ms(20000)
    assert not FakeProcess.made[0].killed


def test_cancel_is_asked_for_first(client, clock):
    answers = Answers(client)
    process = FakeProcess.made[0]
    process.ready()
    client.cancel(answers.order)
    client.cancel(answers.order)
    commands = [request["command"] for request in process.requests if request["command"] != "ping"]
    assert commands == ["generate", "cancel"]
    assert process.asked("cancel")["arguments"] == {"target": answers.order.id}
    process.tell("cancelled", id=answers.order.id)
    assert answers.end == ("cancelled", None)
    clock.pass_ms(5000)
    assert not process.killed


def test_a_worker_that_hangs_is_ended_with_its_tree_and_the_order_is_cancelled(client, clock):
    hanging, other = Answers(client), Answers(client, "models")
    FakeProcess.made[0].ready()
    client.cancel(hanging.order)
    clock.pass_ms(1000)
    assert not hanging.ends
    clock.pass_ms(1000)
    assert FakeProcess.made[0].killed
    assert hanging.end == ("cancelled", None)
    assert other.end[0] == "problem" and "together" in other.end[1].message


def test_the_cancel_of_an_earlier_worker_does_not_end_the_next(client, clock):
    answers = Answers(client)
    FakeProcess.made[0].ready()
    client.cancel(answers.order)
    FakeProcess.made[0].end(1)
    Answers(client)
    FakeProcess.made[1].ready()
    clock.pass_ms(5000)
    assert not FakeProcess.made[1].killed


def test_a_result_that_comes_after_the_cancel_still_ends_the_order_once(client):
    answers = Answers(client)
    client.cancel(answers.order)
    FakeProcess.made[0].tell("result", id=answers.order.id)
    FakeProcess.made[0].tell("cancelled", id=answers.order.id)
    assert answers.end[0] == "result"


@pytest.mark.parametrize(
    "garbage",
    [
        b"\xff\xfe\x00\x01\n",
        b"CARDIODIT {broken\n",
        b"CARDIODIT [1]\n",
        b'CARDIODIT {"event": "result"}\n',
        b'CARDIODIT {"event": "result", "id": "999"}\n',
        b'CARDIODIT {"event": "dance", "id": "1"}\n',
        b'CARDIODIT {"event": "error", "message": "no id"}\n',
        b"x" * 300000 + b"\n",
    ],
)
def test_garbage_is_logged_and_harms_nothing(client, garbage):
    answers = Answers(client)
    FakeProcess.made[0].outputReceived.emit(garbage)
    assert not answers.ends and client.isRunning()
    FakeProcess.made[0].tell("result", id=answers.order.id)
    assert answers.end[0] == "result"


@pytest.mark.parametrize("obeys", [True, False])
def test_stopping_cancels_what_is_open(client, obeys):
    FakeProcess.obeys_close = obeys
    ended = []
    client.ended.connect(ended.append)
    answers = Answers(client)
    FakeProcess.made[0].ready()
    client.stop(wait=True)
    assert FakeProcess.made[0].closed and FakeProcess.made[0].killed is not obeys
    assert answers.end == ("cancelled", None) and ended == [None] and not client.isRunning()
    client.stop(wait=True)


def test_a_listener_that_fails_does_not_keep_others_from_hearing(client):
    def bad(line):
        raise ValueError(line)

    heard = []
    client.logged.connect(bad)
    client.logged.connect(heard.append)
    Answers(client)
    FakeProcess.made[0].errorReceived.emit(b"hello\n")
    assert "hello" in heard


def test_a_process_tree_is_ended_to_its_leaves(app):
    """Slicer's Python is a launcher with the real process below it."""
    import subprocess
    import sys
    import time

    from CardioDiTModule.QtProcess import descendants, killTree

    leaf = "import time; time.sleep(60)"
    middle = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {leaf!r}])"
    top = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {middle!r}])"
    process = subprocess.Popen([sys.executable, "-c", top])
    end = time.monotonic() + 60
    while len(descendants(process.pid)) < 2 and time.monotonic() < end:
        time.sleep(0.05)
    below = descendants(process.pid)
    assert len(below) == 2
    killTree(process.pid)
    process.wait(timeout=60)
    from CardioDiTModule.QtProcess import parentsOfAll

    # a zombie waits for whoever adopted it; it holds nothing any more
    end = time.monotonic() + 30
    while alive := [pid for pid in below if pid in parentsOfAll() and not _isZombie(pid)]:
        assert time.monotonic() < end, alive
        time.sleep(0.05)
    killTree(process.pid)


def _isZombie(pid: int) -> bool:
    from pathlib import Path

    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True

"""Lines between a worker and whoever started it."""

from __future__ import annotations

import io
import json
import os
import threading

import numpy as np
import pytest
from synthetic_cines import make_cine

from CardioDiTLib.errors import Cancelled, CardioDiTError
from CardioDiTLib.service.arrays import cine_of, describe_cine, read_array, write_film
from CardioDiTLib.service.job import Job, Lane, run_job
from CardioDiTLib.service.parent_watch import is_alive, watch_parent
from CardioDiTLib.service.protocol import PREFIX, EventWriter, ServiceRequest, format_event, parse_event, parse_request


def test_a_request_is_read():
    request = parse_request('{"id": "7", "command": "generate", "arguments": {"request": {"seed": 7}}}\n')
    assert request == ServiceRequest("7", "generate", {"request": {"seed": 7}})
    assert parse_request('{"id": "1", "command": "probe"}').arguments == {}


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("hello", "not JSON"),
        ("[1, 2]", "object"),
        ('{"command": "probe"}', "'id'"),
        ('{"id": 1, "command": "probe"}', "'id'"),
        ('{"id": "1"}', "'command'"),
        ('{"id": "1", "command": "probe", "arguments": 3}', "'arguments'"),
        ('{"id": "1", "command": "probe", "more": 3}', "more"),
        ("x" * 4_000_001, "too long"),
    ],
)
def test_what_is_no_request_is_refused_in_a_sentence(line, word):
    with pytest.raises(CardioDiTError, match=word) as caught:
        parse_request(line)
    assert caught.value.hint and len(str(caught.value)) < 300


def test_events_survive_the_way_and_other_lines_are_none():
    line = format_event({"event": "result", "text": "Zeile\nä", "number": float("nan"), "list": [float("inf"), 1.5]})
    assert line.endswith("\n") and line.count("\n") == 1 and line.isascii()
    assert parse_event(line) == {"event": "result", "text": "Zeile\nä", "number": None, "list": [None, 1.5]}
    for other in ("a log line", PREFIX + "{broken", PREFIX + "[1]", PREFIX + '{"no": "event"}', ""):
        assert parse_event(other) is None


def test_lines_of_many_threads_do_not_mix():
    stream = io.BytesIO()
    writer = EventWriter(stream)
    threads = [
        threading.Thread(target=lambda n=n: [writer.send("log", text=f"{n}" * 500) for _ in range(50)])
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = stream.getvalue().decode().splitlines(keepends=True)
    assert len(lines) == 400 and all(len(set(parse_event(line)["text"])) == 1 for line in lines)


def test_a_reader_that_is_gone_is_noticed_once():
    reading, writing = os.pipe()
    os.close(reading)
    lost = []
    with os.fdopen(writing, "wb", buffering=0) as stream:
        writer = EventWriter(stream, when_lost=lambda: lost.append(1))
        writer.send("log")
        writer.send("log")
    assert lost == [1]


def ended(handler, cancelled=False) -> dict:
    stream = io.BytesIO()
    job = Job(ServiceRequest("1", "test", {"name": "x", "number": 3}), EventWriter(stream))
    if cancelled:
        job.cancel.set()
    run_job(job, handler)
    lines = stream.getvalue().decode().splitlines()
    assert len(lines) == 1
    return parse_event(lines[0])


def raising(error: BaseException):
    def handler(job):
        raise error

    return handler


def test_every_end_of_a_job_is_one_event():
    assert ended(lambda job: {"value": 3}) == {"event": "result", "id": "1", "value": 3}
    assert ended(raising(Cancelled())) == {"event": "cancelled", "id": "1"}
    assert ended(lambda job: {"value": 3}, cancelled=True)["event"] == "cancelled"
    problem = ended(raising(CardioDiTError("Wrong.", "Do this.")))
    assert (problem["message"], problem["hint"], problem["kind"]) == ("Wrong.", "Do this.", "problem")
    memory = ended(raising(MemoryError()))
    assert "memory" in memory["message"] and memory["kind"] == "problem"
    unexpected = ended(raising(ZeroDivisionError("division\nby zero")))
    assert unexpected["kind"] == "unexpected" and "ZeroDivisionError" in unexpected["detail"]
    assert "\n" not in unexpected["message"]


@pytest.mark.parametrize(
    ("use", "word"),
    [
        (lambda job: job.argument("absent", str), "lacks 'absent'"),
        (lambda job: job.argument("name", int), "not a int"),
        (lambda job: job.check_arguments("name"), "takes no 'number'"),
    ],
)
def test_arguments_are_checked(use, word):
    assert word in ended(use)["message"]


def test_a_lane_keeps_the_order_and_one_thread():
    lane, seen = Lane("test"), []
    for number in range(20):
        lane.put(lambda number=number: seen.append((number, threading.current_thread().name)))
    assert lane.close(5)
    assert seen == [(number, "test") for number in range(20)]


def test_a_lane_that_hangs_is_given_up():
    lane, go = Lane("hanging"), threading.Event()
    lane.put(go.wait)
    assert not lane.close(0.05)
    go.set()


def test_a_parent_that_ends_is_noticed():
    import subprocess
    import sys

    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    gone = threading.Event()
    watch_parent(child.pid, gone.set, poll_s=0.02)
    assert is_alive(child.pid) and not gone.wait(0.2)
    child.communicate(b"\n")
    assert gone.wait(5) and not is_alive(child.pid)
    assert not is_alive(0) and is_alive(os.getpid())


def test_a_cine_passes_as_a_file_and_plain_values(tmp_path):
    cine = make_cine()
    values = json.loads(json.dumps(describe_cine(cine, tmp_path / "cine.npy")))
    back = cine_of(values)
    np.testing.assert_array_equal(back.array, cine.array)
    np.testing.assert_array_equal(back.affine, cine.affine)
    np.testing.assert_array_equal(back.frame_times, cine.frame_times)
    assert back.meta == cine.meta
    with pytest.raises(CardioDiTError, match="frame_times"):
        cine_of({"array": "x", "affine": []})
    (tmp_path / "damaged.npy").write_bytes(b"\x93NUMPY nonsense")
    for name in ("damaged.npy", "absent.npy"):
        with pytest.raises(CardioDiTError, match=name):
            read_array(tmp_path / name)


def test_objects_in_an_array_file_are_not_loaded(tmp_path):
    np.save(tmp_path / "objects.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(CardioDiTError, match=r"objects\.npy"):
        read_array(tmp_path / "objects.npy")


def test_a_film_is_a_grey_picture_that_others_read(tmp_path):
    image = pytest.importorskip("PIL.Image")
    frames = np.zeros((4, 10, 12), np.int16)
    frames[2, 3:6] = 900
    picture = np.asarray(image.open(write_film(frames, tmp_path / "film.pgm")))
    assert picture.shape == (40, 12) and picture.dtype == np.uint8
    assert picture[23:26].min() == 255 and picture.sum() == 255 * 36

"""The worker as a process: what it answers, how it stops, and that it never outlives its parent."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from tiny_bundle import SHAPE, write_tiny_bundle
from worker_client import REPOSITORY, WorkerUnderTest

from CardioDiTLib.bundles.manifest_parts import Licence
from CardioDiTLib.bundles.registry import BUNDLES_VARIABLE, CACHE_VARIABLE
from CardioDiTLib.io import load_cine
from CardioDiTLib.service.job import Job
from CardioDiTLib.service.model_jobs import ModelJobs
from CardioDiTLib.service.parent_watch import is_alive
from CardioDiTLib.service.protocol import EventWriter, ServiceRequest


@pytest.fixture(scope="module")
def places(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("places")
    write_tiny_bundle(folder / "bundles" / "tiny")
    write_tiny_bundle(folder / "cache" / "bundles" / "mine", licence=Licence("Terms", "Be kind.", True))
    return folder


@pytest.fixture(scope="module")
def environment(places) -> dict[str, str]:
    return {BUNDLES_VARIABLE: str(places / "bundles"), CACHE_VARIABLE: str(places / "cache")}


@pytest.fixture(scope="module")
def worker(environment):
    worker = WorkerUnderTest(environment)
    assert worker.wait("ready")["protocol"] == 1
    yield worker
    worker.kill()


def request(**changes) -> dict:
    return {"bundle": "tiny", "device": "cpu", "precision": "fp32", "seed": 3, **changes}


def test_the_probe_tells_devices_memory_and_versions(worker):
    probe = worker.ask("probe")
    assert probe["event"] == "result"
    assert "cpu" in [device["name"] for device in probe["devices"]]
    assert probe["memory_bytes"] > 1e9 and probe["processors"] >= 1
    assert probe["versions"]["torch"] and probe["versions"]["cardiodit"]


def test_cines_come_as_files_that_are_whole(worker, tmp_path):
    made = worker.ask("generate", request=request(count=2, pathology="DCM"), folder=str(tmp_path))
    assert made["event"] == "result", made
    first = made["cines"][0]
    array = np.load(first["array"])
    assert array.shape == SHAPE and array.dtype == np.int16
    assert first["meta"]["synthetic"] is True and first["meta"]["seed"] == 3 and first["pathology"] == "DCM"
    assert len(first["frame_times"]) == 16 and np.asarray(first["affine"]).shape == (4, 4)
    low, high = first["display_range"]
    assert array.min() <= low < high <= max(array.max(), low + 1)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(Path(c["array"]).name for c in made["cines"])


def test_the_same_seed_gives_the_same_array_and_the_network_stays_loaded(worker, tmp_path):
    arrays = []
    for _ in range(2):
        number = worker.send("generate", request=request(), folder=str(tmp_path))
        made = worker.wait("result", request=number)
        arrays.append(np.load(made["cines"][0]["array"]))
        loads = [e for e in worker.events if e.get("id") == number and e.get("stage") == "load"]
    assert not loads
    np.testing.assert_array_equal(*arrays)


def test_progress_never_falls_and_previews_are_films(worker, tmp_path):
    number = worker.send("generate", request=request(steps=6, preview_every=2), folder=str(tmp_path))
    shapes, fractions = [], []
    while True:
        event = worker.wait("progress", "result", request=number)
        if event["event"] == "result":
            break
        fractions.append(event["fraction"])
        if "preview" in event:
            header = Path(event["preview"]).read_bytes()[:20].split()
            shapes.append((header[0], int(header[2]), int(header[1]), event["preview_frames"]))
    assert fractions == sorted(fractions) and fractions[-1] == 1.0
    assert shapes == [(b"P5", 16 * 32, 32, 16)] * 3
    assert not list(tmp_path.glob("preview*")) and not list(tmp_path.glob(".*"))


def test_a_cancelled_run_leaves_no_file_and_the_worker_goes_on(worker, tmp_path):
    number = worker.send("generate", request=request(steps=900), folder=str(tmp_path))
    worker.wait("progress", request=number)
    asked = time.monotonic()
    assert worker.ask("cancel", target=number)["found"] is True
    # the answer to the cancel may come after the end of what it cancelled
    assert any(e["event"] == "cancelled" and e["id"] == number for e in worker.events) or worker.wait(
        "cancelled", request=number, seconds=2
    )
    assert time.monotonic() - asked < 2
    assert not list(tmp_path.iterdir())
    assert worker.ask("generate", request=request(), folder=str(tmp_path))["event"] == "result"
    assert worker.ask("cancel", target=number)["found"] is False


def test_what_waits_in_the_queue_can_be_cancelled(worker, tmp_path):
    first = worker.send("generate", request=request(steps=300), folder=str(tmp_path))
    second = worker.send("generate", request=request(), folder=str(tmp_path))
    worker.send("cancel", target=second)
    worker.send("cancel", target=first)
    assert worker.wait("cancelled", request=first, seconds=10)
    assert worker.wait("cancelled", request=second, seconds=10)


def test_models_are_listed_while_a_heart_is_made(worker, tmp_path):
    number = worker.send("generate", request=request(steps=900), folder=str(tmp_path))
    worker.wait("progress", request=number)
    models = worker.ask("models")["models"]
    assert {"tiny", "mine", "acdc-mini"} <= {model["name"] for model in models}
    tiny = next(model for model in models if model["name"] == "tiny")
    assert tiny["state"] == "installed" and tiny["class_names"] == ["NOR", "DCM"] and tiny["size_bytes"] > 0
    assert not tiny["removable"] and tiny["presets"]["draft"]["steps"] == 2
    worker.send("cancel", target=number)
    worker.wait("cancelled", request=number)


def test_terms_are_accepted_once(worker):
    def accepted() -> bool:
        return next(m for m in worker.ask("models")["models"] if m["name"] == "mine")["accepted"]

    assert not accepted()
    assert worker.ask("accept_licence", name="mine")["event"] == "result"
    assert accepted()
    assert "absent" in worker.ask("accept_licence", name="absent")["message"]


def test_terms_are_accepted_once_whatever_the_folder_is_called(tmp_path, monkeypatch):
    terms = Licence("Some", "Ask first.", needs_acceptance=True)
    write_tiny_bundle(tmp_path / "models" / "heart", licence=terms)
    (tmp_path / "models" / "heart").rename(tmp_path / "models" / "my copy")
    monkeypatch.setenv(BUNDLES_VARIABLE, str(tmp_path / "models"))
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))

    def listed() -> dict:
        found = ModelJobs().models(Job(ServiceRequest("1", "models"), EventWriter(io.BytesIO())))["models"]
        return next(one for one in found if one["name"] == "my copy")

    assert not listed()["accepted"]
    order = ServiceRequest("2", "accept_licence", {"name": "my copy"})
    assert ModelJobs().accept_licence(Job(order, EventWriter(io.BytesIO()))) == {"name": "my copy"}
    assert listed()["accepted"]


def test_an_estimate_times_each_preset(worker):
    estimate = worker.ask("estimate", bundle="tiny", device="cpu", precision="fp32")
    assert estimate["event"] == "result", estimate
    presets = estimate["presets"]
    assert presets["high"]["seconds"] > presets["draft"]["seconds"] > 0
    assert presets["draft"]["guided_seconds"] > presets["draft"]["seconds"]
    # This bundle cannot be asked for volumes.
    assert presets["draft"]["steered_seconds"] == pytest.approx(presets["draft"]["guided_seconds"])
    assert estimate["device"] == "cpu" and estimate["precision"] == "fp32"


def test_a_cine_is_written_where_it_is_wanted(worker, tmp_path):
    made = worker.ask("generate", request=request(), folder=str(tmp_path))["cines"][0]
    cine = {name: made[name] for name in ("array", "affine", "frame_times", "meta")}
    for suffix in (".nii.gz", ".seq.nrrd"):
        saved = worker.ask("save_cine", cine=cine, path=str(tmp_path / f"heart{suffix}"))
        back = load_cine(saved["path"])
        np.testing.assert_array_equal(back.array, np.load(made["array"]))
        np.testing.assert_allclose(back.affine, made["affine"], atol=1e-5)
    assert "heart.jpg" in worker.ask("save_cine", cine=cine, path=str(tmp_path / "heart.jpg"))["message"]


@pytest.mark.parametrize(
    ("command", "arguments", "word"),
    [
        ("nonsense", {}, "no command 'nonsense'"),
        ("generate", {"folder": "x"}, "lacks 'request'"),
        ("generate", {"request": {"seed": -1}, "folder": "x"}, "'seed'"),
        ("generate", {"request": {"bundle": "absent"}, "folder": "x"}, "absent"),
        ("generate", {"request": {"bundle": "tiny", "device": "cuda:77"}, "folder": "x"}, "CUDA"),
        ("generate", {"request": {"bundle": "tiny", "pathology": "flu"}, "folder": "x"}, "flu"),
        ("probe", {"more": 1}, "takes no 'more'"),
        ("verify", {"name": "absent"}, "absent"),
        ("remove", {"name": "acdc-mini"}, "acdc-mini"),
        ("download", {"name": "absent"}, "absent"),
        ("import_bundle", {"path": "/absent.zip"}, "absent.zip"),
        (
            "import_published",
            {"stage1": "a", "stage1_config": "b", "dit": "c", "dit_config": "d", "name": "../x"},
            "../x",
        ),
        ("save_cine", {"cine": {}, "path": "x.nii.gz"}, "lacks"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(worker, command, arguments, word):
    answer = worker.ask(command, **arguments)
    assert answer["event"] == "error" and answer["kind"] == "problem", answer
    assert word in answer["message"], answer
    assert "Traceback" not in answer["message"] and answer["hint"]


def test_garbage_costs_a_line_and_not_the_worker(worker):
    for line in ("hello", b"\xff\xfe\x00", "{", '{"id": "a"}', ""):
        worker.send_line(line)
    assert worker.ask("models")["event"] == "result"
    errors = [event for event in worker.events if event["event"] == "error" and "id" not in event]
    assert len(errors) >= 4


def test_an_id_that_is_under_way_is_refused(worker, tmp_path):
    number = worker.send("generate", request=request(steps=900), folder=str(tmp_path))
    worker.wait("progress", request=number)
    worker.send_line(f'{{"id": "{number}", "command": "probe"}}')
    assert "under way" in worker.wait("error")["message"]
    worker.send("cancel", target=number)
    worker.wait("cancelled", request=number)


def test_nothing_but_events_comes_on_stdout(environment):
    """Prints of libraries, also of those that are not Python, must not break an event."""
    patch = (
        "import os\nimport CardioDiTLib.service.probe as p\nold = p.load_torch\n"
        "def noisy():\n    print('a print')\n    os.write(1, b'from C, no line end')\n    return old()\n"
        "p.load_torch = noisy\n"
    )
    worker = WorkerUnderTest(environment, patch=patch)
    assert worker.ask("probe")["event"] == "result"
    assert worker.end() == 0
    assert worker.other_lines == [] and "a print" in worker.stderr and "from C" in worker.stderr


def test_memory_that_runs_out_is_said_and_the_worker_lives(environment, tmp_path):
    patch = (
        "import CardioDiTLib.service.generation_jobs as g\n"
        "def full(self, *a):\n    raise MemoryError\n"
        "g.GenerationJobs.generator = full\n"
    )
    worker = WorkerUnderTest(environment, patch=patch)
    answer = worker.ask("generate", request=request(), folder=str(tmp_path))
    assert answer["event"] == "error" and "memory" in answer["message"] and answer["kind"] == "problem"
    assert worker.ask("models")["event"] == "result"
    worker.end()


def test_torch_that_is_missing_or_broken_is_said(environment):
    for statement, word in (
        ("raise ModuleNotFoundError(\"No module named 'torch'\")", "not installed"),
        ("raise OSError('undefined symbol')", "cannot be loaded"),
    ):
        patch = (
            "import sys, importlib.abc\n"
            "class Blocker(importlib.abc.MetaPathFinder):\n"
            "    def find_spec(self, name, *a):\n"
            f"        if name == 'torch': {statement}\n"
            "sys.meta_path.insert(0, Blocker())\n"
        )
        worker = WorkerUnderTest(environment, patch=patch)
        answer = worker.ask("probe")
        assert word in answer["message"] and answer["hint"], answer
        assert worker.ask("models")["event"] == "result"
        worker.end()


def test_the_end_of_stdin_ends_a_busy_worker(environment, tmp_path):
    worker = WorkerUnderTest(environment)
    number = worker.send("generate", request=request(steps=900), folder=str(tmp_path))
    worker.wait("progress", request=number)
    began = time.monotonic()
    assert worker.end() == 0
    assert time.monotonic() - began < 4
    assert not list(tmp_path.iterdir())


def test_shutdown_ends_it_with_an_answer(environment):
    worker = WorkerUnderTest(environment)
    assert worker.ask("shutdown")["event"] == "result"
    assert worker.process.wait(timeout=10) == 0


def test_from_a_shell_it_can_finish_what_was_piped_in(environment):
    done = subprocess.run(
        [sys.executable, "-m", "CardioDiTLib.worker", "--finish"],
        input=b'{"id": "1", "command": "models"}\n{"id": "2", "command": "verify", "arguments": {"name": "tiny"}}\n',
        capture_output=True,
        cwd=REPOSITORY,
        env={**os.environ, **environment},
        timeout=60,
    )
    assert done.returncode == 0 and done.stdout.count(b'"event": "result"') == 2


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.parametrize("launcher", ["direct parent", "launcher between"])
def test_a_parent_that_is_killed_takes_the_worker_with_it(environment, tmp_path, launcher):
    """Its stdin stays open in a process that lives on, so that only the watch can notice."""
    between = launcher == "launcher between"
    code = (
        "import os, subprocess, sys, time\n"
        "words = [sys.executable, '-m', 'CardioDiTLib.worker', '--parent-pid', str(os.getpid())]\n"
        + (
            "words = [sys.executable, '-c', 'import subprocess, sys; subprocess.run(sys.argv[1:])', *words]\n"
            if between
            else ""
        )
        + "child = subprocess.Popen(words, stdin=int(sys.argv[1]), stdout=subprocess.PIPE, close_fds=True)\n"
        "line = child.stdout.readline().decode()\n"
        "print(line, flush=True)\ntime.sleep(60)\n"
    )
    reading, writing = os.pipe()
    parent = subprocess.Popen(
        [sys.executable, "-c", code, str(reading)],
        stdout=subprocess.PIPE,
        pass_fds=[reading],
        cwd=REPOSITORY,
        env={**os.environ, **environment},
    )
    try:
        import json

        pid = json.loads(parent.stdout.readline().decode().removeprefix("CARDIODIT "))["pid"]
        assert is_alive(pid)
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        end = time.monotonic() + 8
        while is_alive(pid) and time.monotonic() < end:
            time.sleep(0.05)
        assert not is_alive(pid)
    finally:
        parent.kill()
        os.close(reading)
        os.close(writing)

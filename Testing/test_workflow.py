"""Requests: what the command line, the worker and Slicer have in common."""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
from dataclasses import fields
from importlib import import_module
from pathlib import Path

import pytest

from CardioDiTLib.commands import COMMANDS
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.progress import Pace, Progress, steps_to
from CardioDiTLib.service.job import Job, JobListener, Loaded
from CardioDiTLib.service.protocol import EventWriter, ServiceRequest, parse_event
from CardioDiTLib.workflow.audit import AuditRequest, CineAuditRequest
from CardioDiTLib.workflow.complete import CompleteRequest, VaryRequest
from CardioDiTLib.workflow.convert import ConvertRequest
from CardioDiTLib.workflow.function import FunctionRequest
from CardioDiTLib.workflow.generate import CohortRequest
from CardioDiTLib.workflow.import_published import ImportRequest
from CardioDiTLib.workflow.landmarks import LandmarkRequest
from CardioDiTLib.workflow.measure import MeasureRequest
from CardioDiTLib.workflow.segment import SegmentRequest
from CardioDiTLib.workflow.sources import CineFile, LabelFile

CINE = CineFile("heart.dcm", square_axes=True, series_uid=("1.2", "1.3"))

REQUESTS = [
    AuditRequest(train="a", synthetic="b", out=("r.html",), false_alarm=0.1),
    CineAuditRequest(bundles=("one", "two")),
    CompleteRequest(cine=CINE, missing_slices=(1, 3), segmentation=LabelFile("l.nii.gz"), destination="c.nii.gz"),
    VaryRequest(cine=CINE, strength=0.25, ef_percent=40.0),
    ConvertRequest(CINE, "heart.gif"),
    FunctionRequest(LabelFile("l.nii.gz", "acdc"), cine=CINE, landmarks="p.csv", out="out", formats=("json",)),
    ImportRequest(stage1="a", stage1_config="b", dit="c", spacing_mm=(1.0, 1.0, 8.0), class_names=("A", "B")),
    LandmarkRequest("heart.nii.gz", destination="p.csv", track=False),
    MeasureRequest(CINE, heart_rate_bpm=60.0, stack_covers_heart=True),
    SegmentRequest(CINE, "l.nii.gz", raw=True),
]


@pytest.mark.parametrize("request_", REQUESTS, ids=lambda one: type(one).__name__)
def test_requests_about_files_are_json_and_strict(request_):
    kind = type(request_)
    values = json.loads(request_.to_json())
    assert kind.from_dict(values) == request_
    with pytest.raises(CardioDiTError, match="nonsense"):
        kind.from_dict({**values, "nonsense": 1})


@pytest.mark.parametrize(
    ("command", "words", "kind", "others"),
    [
        ("audit", "--train a", AuditRequest, {"train": "a"}),
        ("complete", "heart.nii.gz c.nii.gz", CompleteRequest, {"destination": "c.nii.gz"}),
        ("vary", "heart.nii.gz", VaryRequest, {"out": "out"}),
        ("convert", "heart.nii.gz x.png", ConvertRequest, {"destination": "x.png"}),
        ("function", "l.nii.gz", FunctionRequest, {"out": "out"}),
        ("generate", "", CohortRequest, {}),
        ("import", "--stage1 a --stage1-config b --dit c", ImportRequest, {}),
        ("landmarks", "heart.nii.gz p.csv", LandmarkRequest, {"destination": "p.csv"}),
        ("measure", "heart.nii.gz", MeasureRequest, {}),
        ("segment", "heart.nii.gz l.nii.gz", SegmentRequest, {"destination": "l.nii.gz"}),
    ],
)
def test_the_command_line_has_no_defaults_of_its_own(monkeypatch, command, words, kind, others):
    """The request that a command makes of its least arguments has the defaults of the request."""
    module = import_module(COMMANDS[command].module)
    asked: list[object] = []

    class Enough(Exception):
        pass

    def catch(request, *_arguments, **_options):
        asked.append(request)
        raise Enough

    names = {"Cohort", "audit", "complete", "run_variation", "measure_function", "import_published", "find_landmarks"}
    for name in names | {"measure", "segment", "convert"}:
        if callable(vars(module).get(name)):
            monkeypatch.setattr(module, name, catch)
    if command == "convert":
        monkeypatch.setattr(module.convert, "run", catch)
    parser = argparse.ArgumentParser()
    module.add_arguments(parser)
    with pytest.raises(Enough):
        module.run(parser.parse_args(words.split()))
    (request,) = asked
    assert type(request) is kind
    for item in fields(kind):
        if item.name not in ("cine", "source", "input", "segmentation", "stage1", "stage1_config", "dit", "cines"):
            assert getattr(request, item.name) == others.get(item.name, item.default), item.name


def test_requests_are_made_without_torch():
    names = [path.stem for path in (Path(__file__).parents[1] / "CardioDiTLib" / "workflow").glob("[a-z]*.py")]
    assert len(names) > 8
    code = f"import sys\nfor one in {names!r}: __import__('CardioDiTLib.workflow.' + one)\n"
    code += "assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[1])


def test_a_pace_never_falls_and_tells_what_is_left():
    moments = iter([0.0, 10.0, 12.0])
    pace = Pace(lambda: next(moments))
    assert pace.seconds_left(0.5) == 10.0 and pace.share == 0.5
    assert pace.seconds_left(0.25) == 36.0 and pace.share == 0.5, "a function that began anew"
    assert Pace().seconds_left(0.0) is None


def test_listeners_take_the_older_calls():
    told: list[Progress] = []
    assert steps_to(None, "a") is None
    steps = steps_to(told.append, "a")
    assert steps is not None
    steps(1, 4)
    steps(2, 0)
    assert told == [Progress("a", 1, 4), Progress("a", 2, 0)] and [one.share for one in told] == [0.25, 1.0]


def _job() -> tuple[Job, io.BytesIO]:
    stream = io.BytesIO()
    return Job(ServiceRequest("1", "x", {"a": 0, "b": "", "c": None, "d": False}), EventWriter(stream)), stream


def test_a_job_tells_shares_that_never_fall():
    job, stream = _job()
    listener = JobListener(job, "work")
    for sign in (Progress("load", 0, 1), Progress("work", 2, 4), Progress("work", 1, 4), Progress("draw", 1, 1, 0.0)):
        listener(sign)
    events = [parse_event(line) for line in stream.getvalue().decode().splitlines()]
    assert [event["fraction"] for event in events] == [0.0, 0.5, 0.5, 1.0]
    assert [event["eta_s"] is None for event in events] == [True, False, False, False] and events[-1]["eta_s"] == 0.0
    assert job.given("a", "b", "c", "d", "e") == {"a": 0, "d": False}


def test_networks_stay_loaded_until_their_folder_changes(tmp_path):
    job, stream = _job()
    kept: Loaded[object] = Loaded(2)
    for name in ("one", "two", "three"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.json").write_text(name, encoding="utf-8")

    def get(name: str, *settings: str) -> object:
        return kept.get(job, tmp_path / name / "x.json", object, *settings)

    first = get("one", "cpu")
    assert get("one", "cpu") is first and len(stream.getvalue().splitlines()) == 1
    assert get("one", "cuda") is not first, "other settings, other networks"
    assert get("one", "cpu") is first
    get("two", "cpu")  # the one of "cuda" was not used for longest
    assert get("one", "cpu") is first
    (tmp_path / "one" / "x.json").write_text("changed", encoding="utf-8")
    second = get("one", "cpu")
    assert second is not first
    kept.forget(tmp_path / "one")
    assert get("one", "cpu") is not second

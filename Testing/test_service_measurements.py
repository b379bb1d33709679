"""The worker's measurements: labels, landmarks, function, with a tiny segmentation model and a digital heart."""

from __future__ import annotations

import io
import json
import time
from pathlib import Path

import numpy as np
import pytest
from tiny_segmentation import tiny_model_folder
from worker_client import WorkerUnderTest

from CardioDiTLib.data.phantom import PhantomSpec, make_phantom
from CardioDiTLib.function.cardiac_function import cardiac_function
from CardioDiTLib.landmarks.files import load_landmarks
from CardioDiTLib.service.arrays import describe_cine, describe_segmentation, describe_track, segmentation_of, track_of
from CardioDiTLib.service.job import Job, run_job
from CardioDiTLib.service.measurement_jobs import MeasurementJobs
from CardioDiTLib.service.protocol import EventWriter, ServiceRequest, parse_event


@pytest.fixture(scope="module")
def heart():
    return make_phantom(PhantomSpec(frames=8, slices=9, height=64, width=64, spacing_mm=(2.5, 2.5, 12.0)))


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> str:
    return str(tiny_model_folder(tmp_path_factory.mktemp("model") / "segmentation"))


@pytest.fixture(scope="module")
def worker(tmp_path_factory):
    worker = WorkerUnderTest({"CARDIODIT_CACHE": str(tmp_path_factory.mktemp("cache"))})
    commands = worker.wait("ready")["commands"]
    assert {"segment", "landmarks", "function", "save_landmarks"} <= set(commands)
    yield worker
    worker.kill()


@pytest.fixture
def cine(heart, tmp_path) -> dict:
    return describe_cine(heart.cine, tmp_path / "cine.npy")


@pytest.fixture
def labels(heart, tmp_path) -> dict:
    return describe_segmentation(heart.segmentation, tmp_path / "given.npy")


@pytest.fixture
def points(heart, tmp_path) -> dict:
    return describe_track(heart.landmarks, tmp_path / "points.npy")


def test_labels_and_points_pass_without_loss(heart, labels, points):
    again = segmentation_of(json.loads(json.dumps(labels)))
    np.testing.assert_array_equal(again.array, heart.segmentation.array)
    np.testing.assert_array_equal(again.affine, heart.segmentation.affine)
    track = track_of(json.loads(json.dumps(points)))
    np.testing.assert_array_equal(track.points, heart.landmarks.points)
    np.testing.assert_array_equal(track.found, heart.landmarks.found)
    assert track.meta == heart.landmarks.meta


def test_a_cine_is_segmented_with_progress_and_the_network_stays_loaded(worker, cine, heart, weights, tmp_path):
    number = worker.send("segment", cine=cine, folder=str(tmp_path), weights=weights, device="cpu")
    seen = []
    while (event := worker.wait("progress", "result", "error", request=number))["event"] == "progress":
        seen.append((event["stage"], event["step"], event["of"], event["fraction"]))
    assert event["event"] == "result", event
    assert seen[0][0] == "load" and ("segment", 8, 8, 1.0) in seen
    fractions = [entry[3] for entry in seen]
    assert fractions == sorted(fractions)
    found = segmentation_of(event["segmentation"])
    assert found.shape == heart.cine.shape and found.meta["segmentation"]["name"] == "tiny"
    assert found.meta["synthetic"] is True
    number = worker.send("segment", cine=cine, folder=str(tmp_path), weights=weights)
    again = worker.wait("result", request=number)
    assert not [e for e in worker.events if e.get("id") == number and e.get("stage") == "load"]
    np.testing.assert_array_equal(segmentation_of(again["segmentation"]).array, found.array)


def test_a_cancelled_segmentation_leaves_no_file(worker, weights, tmp_path):
    large = make_phantom(PhantomSpec(frames=30, slices=12, height=192, width=192))
    (tmp_path / "out").mkdir()
    cine = describe_cine(large.cine, tmp_path / "cine.npy")
    number = worker.send("segment", cine=cine, folder=str(tmp_path / "out"), weights=weights)
    worker.wait("progress", request=number)
    asked = time.monotonic()
    worker.send("cancel", target=number)
    assert worker.wait("cancelled", "result", request=number)["event"] == "cancelled"
    assert time.monotonic() - asked < 5
    assert not list((tmp_path / "out").iterdir())


def test_landmarks_are_found_in_labels_that_are_given(worker, cine, labels, heart, tmp_path):
    answer = worker.ask("landmarks", cine=cine, folder=str(tmp_path), segmentation=labels, method="segmentation")
    assert answer["event"] == "result", answer
    track = track_of(answer["landmarks"])
    both = track.found & heart.landmarks.found
    assert both.sum() > 0.9 * heart.landmarks.found.sum()
    away = np.linalg.norm(track.points - heart.landmarks.points, axis=-1)[both]
    assert np.median(away) < 4.0 and answer["found"] == track.found.sum() and answer["of"] == track.found.size
    swapped = worker.ask(
        "landmarks", cine=cine, folder=str(tmp_path), segmentation=labels, method="segmentation", swap=True
    )
    np.testing.assert_allclose(track_of(swapped["landmarks"]).points, track.points[:, :, ::-1])


def test_landmarks_without_labels_come_from_the_networks(worker, cine, weights, tmp_path):
    number = worker.send(
        "landmarks", cine=cine, folder=str(tmp_path), method="segmentation", segmentation_weights=weights
    )
    answer = worker.wait("result", "error", request=number)
    assert answer["event"] == "result", answer
    steps = [event for event in worker.events if event.get("id") == number and event.get("stage") == "landmarks"]
    assert steps[-1]["step"] == steps[-1]["of"] == 8


def test_function_is_measured_as_by_the_library(worker, labels, points, heart, tmp_path):
    answer = worker.ask("function", segmentation=labels, landmarks=points, heart_rate_bpm=72, folder=str(tmp_path))
    assert answer["event"] == "result", answer
    expected = cardiac_function(heart.segmentation, heart.landmarks, 72.0)
    assert answer["report"] == json.loads(json.dumps(expected.to_dict()))
    rows = {row["field"]: row for row in answer["table"]}
    assert rows["ef_percent"]["value"] == pytest.approx(expected.ef_percent) and rows["ef_percent"]["unit"] == "%"
    assert rows["cardiac_output_l_min"]["value"] > 0 and rows["lv_mass_g"]["group"] == "Wall"
    assert {row["group"] for row in rows.values()} == {"Left ventricle", "Right ventricle", "Wall", "Time"}
    picture = Path(answer["bullseye"]).read_bytes()
    assert picture.startswith(b"\x89PNG") and answer["bullseye_problem"] == "" and answer["files"] == []
    width, height = int.from_bytes(picture[16:20], "big"), int.from_bytes(picture[20:24], "big")
    assert (width, height) == (744, 408)


def test_what_could_not_be_measured_says_why(worker, labels):
    answer = worker.ask("function", segmentation=labels)
    rows = {row["field"]: row for row in answer["table"]}
    output = rows["cardiac_output_l_min"]
    assert answer["bullseye"] == "" and answer["bullseye_problem"] == ""
    assert (output["value"] is None) == bool(output["reason"])


def test_no_bullseye_without_insertion_points(worker, labels, tmp_path):
    answer = worker.ask("function", segmentation=labels, folder=str(tmp_path))
    assert answer["bullseye"] == "" and "insertion points" in answer["bullseye_problem"]


def test_reports_are_files_that_appear_whole(worker, labels, points, cine, tmp_path):
    out = tmp_path / "reports"
    page = worker.ask(
        "function", segmentation=labels, landmarks=points, cine=cine, path=str(out / "a.html"), title="A heart"
    )
    assert page["files"] == [str(out / "a.html")], page
    assert "A heart" in (out / "a.html").read_text(encoding="utf-8")
    table = worker.ask("function", segmentation=labels, path=str(out / "a.csv"))
    assert [Path(file).name for file in table["files"]] == ["a.csv", "a_curves.csv"]
    whole = worker.ask("function", segmentation=labels, path=str(out / "a.json"))
    assert json.loads((out / "a.json").read_text(encoding="utf-8"))["edv_ml"] == whole["report"]["edv_ml"]
    wrong = worker.ask("function", segmentation=labels, path=str(out / "a.pdf"))
    assert wrong["event"] == "error" and "a.pdf" in wrong["message"] and ".html" in wrong["hint"]
    assert not list(out.glob(".*"))


@pytest.mark.parametrize("suffix", [".csv", ".json"])
def test_landmarks_are_written(worker, points, heart, tmp_path, suffix):
    path = tmp_path / f"points{suffix}"
    assert worker.ask("save_landmarks", landmarks=points, path=str(path))["path"] == str(path)
    np.testing.assert_allclose(load_landmarks(path).points, heart.landmarks.points, atol=1e-9)


@pytest.mark.parametrize(
    ("command", "arguments", "said"),
    [
        ("segment", {}, "lacks 'folder'"),
        ("segment", {"cine": {}, "folder": "."}, "lacks array"),
        ("segment", {"cine": {}, "folder": ".", "weight": "x"}, "takes no 'weight'"),
        ("landmarks", {"cine": {"array": "gone.npy", "affine": [], "frame_times": []}, "folder": "."}, "gone.npy"),
        ("function", {"segmentation": {"array": "x"}}, "lacks affine"),
        ("function", {"segmentation": {}, "heart_rate_bpm": "fast"}, "lacks array"),
        ("save_landmarks", {"landmarks": {"array": "gone.npy", "frame_times": []}, "path": "a.csv"}, "gone.npy"),
    ],
)
def test_wrong_orders_are_one_sentence(worker, command, arguments, said):
    answer = worker.ask(command, **arguments)
    assert answer["event"] == "error" and answer["kind"] == "problem" and said in answer["message"], answer


def test_a_model_that_is_not_there_is_one_sentence(worker, cine, tmp_path):
    answer = worker.ask("segment", cine=cine, folder=str(tmp_path), weights=str(tmp_path / "absent"))
    assert answer["event"] == "error" and "absent" in answer["message"] and answer["hint"]


def test_too_little_memory_is_one_sentence(tmp_path, cine, weights, monkeypatch):
    from CardioDiTLib.segmentation import segment as home

    def full(*_arguments, **_named):
        raise MemoryError()

    monkeypatch.setattr(home, "segment", full)
    stream = io.BytesIO()
    arguments = {"cine": cine, "folder": str(tmp_path), "weights": weights}
    job = Job(ServiceRequest("1", "segment", arguments), EventWriter(stream))
    run_job(job, MeasurementJobs().segment)
    event = parse_event(stream.getvalue().decode().splitlines()[-1])
    assert event["event"] == "error" and event["message"] == "The memory is not enough." and event["hint"]


def test_points_of_another_shape_are_refused(points, tmp_path):
    from CardioDiTLib.errors import CardioDiTError

    np.save(tmp_path / "wrong.npy", np.zeros((2, 3, 4)))
    with pytest.raises(CardioDiTError, match="shape"):
        track_of({**points, "array": str(tmp_path / "wrong.npy")})

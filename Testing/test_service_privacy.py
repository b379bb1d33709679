"""The worker's audits and its gate, with a tiny bundle that carries embeddings of its training set."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from privacy_bundle import write_privacy_bundle
from refusals import names
from tiny_bundle import write_tiny_bundle
from worker_client import WorkerUnderTest

from CardioDiTLib.io import save_cine
from CardioDiTLib.privacy.gate import Gate
from CardioDiTLib.service.arrays import cine_of, describe_cine

RATE = 0.1


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """A bundle with training embeddings (its own first cines), one without, an encoder, and cines."""
    folder = tmp_path_factory.mktemp("privacy")
    cines = write_privacy_bundle(folder / "tiny", folder / "encoder")
    plain = write_tiny_bundle(folder / "plain").folder
    return {"bundle": folder / "tiny", "plain": plain, "encoder": folder / "encoder", "cines": cines}


@pytest.fixture(scope="module")
def worker(tmp_path_factory):
    worker = WorkerUnderTest({"CARDIODIT_CACHE": str(tmp_path_factory.mktemp("cache"))})
    assert {"audit_cines", "load_cine"} <= set(worker.wait("ready")["commands"])
    yield worker
    worker.kill()


@pytest.fixture
def described(parts, tmp_path):
    """A training cine and two others, as the worker is told of them."""
    return [describe_cine(parts["cines"][place], tmp_path / f"{place}.npy") for place in (0, 12, 20)]


def test_cines_are_judged_as_by_the_gate(worker, parts, described):
    order = {"cines": described, "bundles": [str(parts["bundle"])] * 3, "false_alarm": RATE}
    number = worker.send("audit_cines", **order)
    answer = worker.wait("result", "error", request=number)
    assert answer["event"] == "result", answer
    from CardioDiTLib.bundles import load_bundle

    gate = Gate.from_bundle(load_bundle(parts["bundle"]), RATE)
    for verdict, one in zip(answer["cines"], described):
        expected = gate.judge(cine_of(one))
        assert verdict["passed"] == expected.passed and verdict["verdict"] in ("passed", "failed")
        assert verdict["score"] == pytest.approx(expected.score, abs=1e-4)
        assert verdict["p_value"] == pytest.approx(expected.p_value, abs=1e-5)
        assert verdict["nearest_hash"] == expected.nearest_hash and verdict["nearest_file"] == ""
        assert verdict["against"] == str(parts["bundle"]) and verdict["encoder_sha256"] == gate.encoder.sha256
    assert answer["cines"][0]["verdict"] == "failed", "a training cine is no novel one"
    (found,) = answer["sets"]
    assert found["cines"] == [0, 1, 2] and found["n_train"] == 10 and found["sentence"]
    assert found["copies"]["count"] == sum(one["verdict"] == "failed" for one in answer["cines"])
    told = [e for e in worker.events if e.get("id") == number and e["event"] == "progress"]
    shares = [event["fraction"] for event in told]
    assert shares == sorted(shares) and shares[-1] == 1.0
    assert [event["step"] for event in told if event["stage"] == "embed"] == [1, 2, 3]


def test_too_few_patients_for_the_rate_is_undecided(worker, parts, described):
    answer = worker.ask("audit_cines", cines=described[1:2], bundles=[str(parts["bundle"])], false_alarm=0.01)
    (verdict,) = answer["cines"]
    assert verdict["verdict"] == "undecided" and verdict["passed"] is None and verdict["threshold"] is None
    assert any("too few" in note for note in answer["sets"][0]["notes"])


def test_a_folder_of_ones_own_tells_the_nearest_file_but_no_name(worker, parts, described, tmp_path):
    train, validation = tmp_path / "train", tmp_path / "validation"
    for folder, places in ((train, range(4)), (validation, range(10, 30))):
        folder.mkdir()
        for place in places:
            save_cine(parts["cines"][place], folder / f"Doe_{place:02d}.nii.gz")
    order = {"cines": described[:2], "train": str(train), "validation": str(validation), "false_alarm": RATE}
    number = worker.send("audit_cines", encoder=str(parts["encoder"]), **order)
    answer = worker.wait("result", "error", request=number, seconds=120)
    assert answer["event"] == "result", answer
    first = answer["cines"][0]
    assert first["verdict"] == "failed" and first["score"] > 0.999 and first["against"] == "folder"
    assert Path(first["nearest_file"]) == train / "Doe_00.nii.gz"
    told = [{key: value for key, value in one.items() if key != "nearest_file"} for one in answer["cines"]]
    assert "Doe" not in json.dumps([told, answer["sets"]])
    events = [e for e in worker.events if e.get("id") == number and e.get("stage") == "embed"]
    assert (events[-1]["step"], events[-1]["of"]) == (26, 26)
    loaded = worker.ask("load_cine", path=first["nearest_file"], folder=str(tmp_path))
    again = cine_of(loaded["cine"])
    np.testing.assert_allclose(again.array, parts["cines"][0].array, atol=1)


def test_a_bundle_without_embeddings_is_one_sentence(worker, parts, described, tmp_path):
    answer = worker.ask("audit_cines", cines=described[:1], bundles=[str(parts["plain"])])
    assert answer["event"] == "error" and names(answer["message"], "plain", "training embeddings") and answer["hint"]
    request = {"bundle": str(parts["plain"]), "preset": "draft"}
    answer = worker.ask("generate", request=request, folder=str(tmp_path), gate=True)
    assert answer["event"] == "error" and names(answer["message"], "plain", "training embeddings")


def test_an_audit_can_be_cancelled(worker, parts, described):
    order = {"cines": described * 20, "bundles": [str(parts["bundle"])] * 60}
    number = worker.send("audit_cines", **order)
    worker.wait("progress", request=number)
    worker.send("cancel", target=number)
    assert worker.wait("cancelled", "result", request=number)["event"] == "cancelled"


def test_gated_cines_carry_their_audit(worker, parts, tmp_path):
    (tmp_path / "out").mkdir()
    request = {"bundle": str(parts["bundle"]), "preset": "draft", "seed": 5, "count": 12}
    number = worker.send("generate", request=request, folder=str(tmp_path / "out"), gate=True, false_alarm=RATE)
    answer = worker.wait("result", "error", request=number)
    assert answer["event"] == "result", answer
    # the first ten are the very training cines: they are drawn again
    assert answer["rejected"] >= 10 and answer["drawn"] == 12 + answer["rejected"]
    for cine in answer["cines"]:
        audit = cine["meta"]["audit"]
        assert audit == cine["provenance"]["audit"] and audit["passed"] is True and audit["false_alarm"] == RATE
        assert "nearest" not in json.dumps(audit)
    told = [e for e in worker.events if e.get("id") == number and e["event"] == "progress"]
    shares = [event["fraction"] for event in told]
    assert shares == sorted(shares) and "judge" in {event["stage"] for event in told}
    plain = worker.ask("generate", request={**request, "count": 1}, folder=str(tmp_path / "out"))
    assert (plain["drawn"], plain["rejected"]) == (1, 0) and "audit" not in plain["cines"][0]["meta"]


@pytest.mark.parametrize(
    ("order", "said"),
    [
        ({}, "lacks 'cines'"),
        ({"cines": []}, "no cine to audit"),
        ({"cines": [{}]}, "either bundles or a folder"),
        ({"cines": [{}], "bundles": ["a"], "train": "b"}, "either bundles or a folder"),
        ({"cines": [{}], "bundles": []}, "not one name"),
        ({"cines": [{}], "bundles": ["a"], "encoder": "b"}, "'encoder' goes along"),
        ({"cines": [{}], "bundles": ["absent"]}, "absent"),
        ({"cines": [{}], "train": "t", "false_alarm": 2.0}, "2"),
        ({"cines": [{}], "train": "t", "rate": 1}, "takes no 'rate'"),
    ],
)
def test_wrong_orders_are_one_sentence(worker, order, said):
    answer = worker.ask("audit_cines", **order)
    assert answer["event"] == "error" and answer["kind"] == "problem" and said in answer["message"], answer

"""``cardiodit audit`` and ``cardiodit generate --gate``."""

from __future__ import annotations

import json

import numpy as np
import pytest
from command_line import problem, run
from privacy_sets import copies_of, normal
from refusals import names, refused
from tiny_bundle import write_tiny_bundle
from tiny_encoder import tiny_encoder_folder

from CardioDiTLib.bundles import load_bundle, verify
from CardioDiTLib.privacy.audit_report import AuditReport
from CardioDiTLib.workflow.audit import AuditRequest
from CardioDiTLib.workflow.audit import run as audit


@pytest.fixture()
def tables(tmp_path):
    """Embeddings with ten copies, and without."""
    x = normal(60, 0)
    y = normal(40, 2)
    np.save(tmp_path / "clean.npy", y)
    y[:10] = copies_of(x, range(10))
    for name, values in (("train", x), ("validation", normal(50, 1)), ("copies", y)):
        np.save(tmp_path / f"{name}.npy", values)
    return tmp_path


def test_verdict_reports_and_exit_code(tables, capsys):
    words = ("audit", "--train", tables / "train.npy", "--validation", tables / "validation.npy", "--synthetic")
    outs = [tables / f"r.{suffix}" for suffix in ("json", "csv", "html", "md")]
    given = [word for out in outs for word in ("--out", out)]
    assert run(*words, tables / "copies.npy", *given) == 0
    said = capsys.readouterr().out
    assert said.startswith("Copies of training patients were found.") and "published" not in said
    report = AuditReport.from_json(outs[0])
    assert report.verdict == "copies" and report.published is None and all(out.is_file() for out in outs)
    assert run(*words, tables / "copies.npy", "--fail-on-copies") == 1
    assert run(*words, tables / "clean.npy", "--fail-on-copies", "--published") == 0
    said = capsys.readouterr().out
    assert "No more synthetic cines are near" in said and names(said, "N_copies")


def test_pictures_that_cannot_be_are_told_before_the_work(tables, monkeypatch, capsys):
    def work(*_, **__):
        raise AssertionError("hours of embedding")

    monkeypatch.setattr("CardioDiTLib.privacy.embedding_io.read_embeddings", work)
    (tables / "cines").mkdir()
    bundle = write_tiny_bundle(tables / "tiny")
    page = ("--pictures", "--out", tables / "r.html")
    words = (
        "audit",
        "--train",
        tables / "train.npy",
        "--synthetic",
        tables / "cines",
        *page,
        "--attach",
        bundle.folder,
    )
    assert run(*words) == 1
    assert names(problem(capsys), "cines themselves") and verify(bundle.folder) == []


def test_wrong_orders_are_one_line(tables, capsys):
    train, synthetic = ("--train", tables / "train.npy"), ("--synthetic", tables / "copies.npy")
    for words, expected in (
        (synthetic, "Give --train or --bundle"),
        ((*train, "--bundle", "x", *synthetic), "Give --train or --bundle"),
        (train, "nothing to audit"),
        ((*train, *synthetic, "--out", "r.pdf"), "'r.pdf' is no kind of report"),
        ((*train, *synthetic, "--pictures"), "HTML only"),
        ((*train, *synthetic, "--pictures", "--out", tables / "r.html"), "need the cines themselves"),
        ((*train, *synthetic, "--false-alarm", "5"), "false-alarm rate is 5.0"),
        ((*train, *synthetic, "--seed", "-1"), "seed -1"),
        (("--bundle", "x", "--encoder", "y", *synthetic), "brings its own encoder"),
        (("--bundle", "nonsense", *synthetic), "no bundle called 'nonsense'"),
        ((*train, "--attach", "x", "--out", tables / "r.json"), "Without synthetic cines there is no report"),
    ):
        assert run("audit", *words) == 1, words
        assert expected in problem(capsys)
    assert not (tables / "r.json").exists() and not (tables / "r.html").exists()
    with pytest.raises(SystemExit) as wrong:
        run("audit", "--calibration", "guess")
    assert wrong.value.code == 2


def test_from_cines_to_a_gate(tmp_path, capsys):
    """A bundle's own cines as its training set: attached, audited by name, pictured, and kept out by the gate."""
    bundle = write_tiny_bundle(tmp_path / "tiny").folder
    encoder = tiny_encoder_folder(tmp_path / "encoder")
    make = ("generate", "--model", bundle, "--preset", "draft", "--formats", "nii.gz,json", "--quiet")
    assert run(*make, "--count", 8, "--seed", 1, "--out", tmp_path / "train") == 0
    assert run(*make, "--count", 24, "--seed", 2, "--out", tmp_path / "validation") == 0
    assert run(*make, "--count", 2, "--out", tmp_path / "none", "--gate") == 1
    assert "carries no training embeddings" in problem(capsys)
    sets = ("--train", tmp_path / "train", "--validation", tmp_path / "validation", "--encoder", encoder, "--quiet")
    page, table = tmp_path / "r.html", tmp_path / "r.json"
    words = ("--synthetic", tmp_path / "train", "--pictures", "--false-alarm", 0.1, "--out", page, "--out", table)
    capsys.readouterr()
    assert run("audit", *sets, *words, "--attach", bundle) == 0
    said = capsys.readouterr().out
    assert names(said, "8 training embeddings", "Copies")
    assert page.read_text(encoding="utf-8").count("<img") == 16 and "_seed1_" not in page.read_text(encoding="utf-8")
    assert verify(bundle) == [] and load_bundle(bundle).manifest.audit["copies"]["count"] == 8
    assert "## Audit for memorization" in load_bundle(bundle).model_card
    strict = ("--fail-on-copies", "--false-alarm", 0.1, "--quiet")
    # the training set itself is not needed any more
    assert run("audit", "--bundle", bundle, "--synthetic", tmp_path / "train", *strict) == 1
    assert "8 cines of 8 patients" in capsys.readouterr().out
    # its own training cines are drawn again
    gated = ("--gate", "--false-alarm", 0.1, "--count", 2, "--seed", 1)
    assert run(*make, *gated, "--out", tmp_path / "gated") == 0
    assert names(capsys.readouterr().err, "gate", "refused")
    for path in sorted((tmp_path / "gated").glob("*.json")):
        audit = json.loads(path.read_text(encoding="utf-8"))["audit"]
        assert audit["passed"] and audit["drawn"] >= 2 and audit["requested_seed"] == 1
    first = {path.name: path.read_bytes() for path in (tmp_path / "gated").glob("*.nii.gz")}
    assert run(*make, *gated, "--out", tmp_path / "again") == 0
    assert first == {path.name: path.read_bytes() for path in (tmp_path / "again").glob("*.nii.gz")}
    assert run(*make, *gated, "--redraws", 0, "--out", tmp_path / "refused") == 1
    assert not (tmp_path / "refused").exists()
    # a gated run that was ended goes on; hearts that passed no gate are never taken for others
    assert sorted(first) == ["tiny_seed1_000.nii.gz", "tiny_seed1_001.nii.gz"], (
        "called after the seed that was asked for"
    )
    (tmp_path / "again" / "tiny_seed1_001.nii.gz").unlink()
    assert run(*make, *gated, "--out", tmp_path / "again", "--resume") == 0
    assert first == {path.name: path.read_bytes() for path in (tmp_path / "again").glob("*.nii.gz")}
    capsys.readouterr()
    assert run(*make, "--count", 2, "--seed", 1, "--out", tmp_path / "again", "--resume") == 1
    assert "with a gate" in problem(capsys)
    assert run(*make, *gated, "--false-alarm", 0.3, "--out", tmp_path / "again", "--resume") == 1
    assert "false_alarm 0.1, not 0.3" in problem(capsys)


def test_a_gate_is_calibrated_as_an_audit_of_the_same_patients_would_be(tmp_path):
    """Without synthetic cines, too: of 20 validation patients 2 were trained on, which leaves too few for 5 %."""
    bundle, encoder = write_tiny_bundle(tmp_path / "tiny").folder, tiny_encoder_folder(tmp_path / "encoder")
    validation, train = normal(20, 1, 16), normal(60, 0, 16)
    validation[:2] = train[:2]
    for name, values in (("train", train), ("validation", validation), ("synthetic", normal(30, 2, 16))):
        np.save(tmp_path / f"{name}.npy", values)
    sets = {name: str(tmp_path / f"{name}.npy") for name in ("train", "validation", "synthetic")}
    found = []
    for more in ({}, {"synthetic": sets["synthetic"]}):
        given = {"train": sets["train"], "validation": sets["validation"], **more}
        audit(AuditRequest(encoder=str(encoder), attach=str(bundle), **given))
        found.append(load_bundle(bundle).manifest.privacy)
    assert found[0] == found[1] and found[0].calibration == "leave-one-out"
    assert found[0].thresholds["0.05"] is not None
    before = (bundle / "bundle.json").read_bytes()
    with refused("validation"):
        audit(AuditRequest(train=sets["train"], encoder=str(encoder), attach=str(bundle), calibration="validation"))
    assert (bundle / "bundle.json").read_bytes() == before

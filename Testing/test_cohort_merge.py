"""The whole of a cohort: verified, listed, audited, shown, described, exported."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import shutil
import signal
import sys
from dataclasses import replace

import numpy as np
import pytest
from cohort_folders import planned, tars, write_labelled_bundle
from privacy_bundle import write_privacy_bundle
from refusals import refused
from tiny_bundle import write_tiny_bundle

from CardioDiTLib import cli
from CardioDiTLib.cohort import claims, making
from CardioDiTLib.cohort.cluster import ClusterRequest, sbatch_script, submit_jobs
from CardioDiTLib.cohort.exporting import export_hearts
from CardioDiTLib.cohort.merging import MergeRequest, merge_cohort
from CardioDiTLib.cohort.page import phase_tiles, shown_text
from CardioDiTLib.cohort.processes import available_cores, run_processes, seats
from CardioDiTLib.cohort.reading import open_heart, open_shard
from CardioDiTLib.cohort.running import run_cohort
from CardioDiTLib.cohort.spread import Distributions, parse_shares, parse_spreads
from CardioDiTLib.cohort.status import cohort_status
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.generation import Generator
from CardioDiTLib.privacy.audit_report import AuditReport


@pytest.fixture(scope="module")
def gated(tmp_path_factory):
    """A cohort that was made with a gate: the first hearts of its seed are training cines, and drawn again."""
    place = tmp_path_factory.mktemp("gated")
    write_privacy_bundle(place / "bundles" / "guarded", place / "encoder")
    folder = planned(place / "c", place / "bundles" / "guarded", 4, seed=5, gate=True, precision=None)
    run_cohort(folder)
    return folder


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    """A cohort with labels of which volumes are asked, and one heart that failed."""
    place = tmp_path_factory.mktemp("asked")
    bundle = write_labelled_bundle(place / "bundles" / "labelled")
    drawn = Distributions(parse_shares("NOR,DCM"), {"edv_ml": parse_spreads("100:200")})
    folder = planned(place / "c", bundle, 5, drawn_from=drawn, adjust=0)
    original = making.HeartMaker.make

    def make(self, hearts, cancel):
        for heart, made in original(self, hearts, cancel):
            failed = making._failure(heart, CardioDiTError("it | does <not> want to be"))
            yield heart, failed if heart.number == 3 else made

    with pytest.MonkeyPatch.context() as context:
        context.setattr(making.HeartMaker, "make", make)
        run_cohort(folder)
    return folder


@pytest.fixture()
def copy(asked, tmp_path):
    return shutil.copytree(asked, tmp_path / "copy")


def merged(folder, **options):
    return merge_cohort(MergeRequest(folder=str(folder), **options))


def rows(folder):
    with (folder / "manifest.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_a_manifest_says_all_of_each_heart(copy):
    done = merged(copy)
    assert (done.made, done.failed, done.missing) == (4, 1, 0) and done.audit is None
    table = rows(copy)
    assert [row["number"] for row in table] == list("01234")
    assert [row["status"] for row in table] == ["made"] * 3 + ["failed", "made"]
    assert "does <not>" in table[3]["problem"] and not table[3]["cine_sha256"]
    for row in (table[0], table[4]):
        for what in ("cine", "labels"):
            offset, size = int(row[f"{what}_offset"]), int(row[f"{what}_bytes"])
            data = (copy / row["shard"]).read_bytes()[offset : offset + size]
            assert data[:2] == b"\x1f\x8b" and hashlib.sha256(data).hexdigest() == row[f"{what}_sha256"]
        heart = open_heart(copy, int(row["number"]))
        assert float(row["asked_edv_ml"]) == heart.request.edv_ml and row["pathology"] == heart.request.pathology
        assert float(row["labels_edv_ml"]) == heart.function["labels"].values["edv_ml"]


def test_a_card_says_what_the_set_is(copy):
    pytest.importorskip("PIL")
    done = merged(copy)
    card = (copy / "DATA_CARD.md").read_text(encoding="utf-8")
    for said in (
        "Synthetic",
        "CC0",
        "1.2.3",
        "| NOR |",
        "| DCM |",
        "volume of the left ventricle: 100 to 200 mL",
        "No gate was used",
    ):
        assert said in card, said
    assert "it \\| does \\<not> want to be" in card, "what others wrote is no markup"
    assert "Asked and measured" in card and "open_shard" in card and "cardiodit generate --model labelled" in card
    assert {path.name for path in done.files} == {"manifest.csv", "sheet.png", "DATA_CARD.md"} | {
        path.name for path in copy.glob("*.parquet")
    }
    before = {path.name: path.read_bytes() for path in done.files}
    again = merged(copy)
    assert {path.name: path.read_bytes() for path in again.files} == before, "merged twice, the same bytes"


def test_the_command_on_the_card_makes_the_heart_again(copy, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CARDIODIT_BUNDLES", str(copy.parents[0] / "none"))
    bundle = json.loads((copy / "plan.json").read_text(encoding="utf-8"))["bundle"]
    merged(copy)
    card = (copy / "DATA_CARD.md").read_text(encoding="utf-8")
    (command,) = [line for line in card.splitlines() if line.startswith("cardiodit generate")]
    words = command.split()[1:]
    words[words.index("--model") + 1] = bundle
    assert cli.main([*words, "--out", str(tmp_path / "again"), "--formats", "nii.gz,labels.nii.gz"]) == 0
    files = {path.name: path.read_bytes() for path in (tmp_path / "again").iterdir()}
    heart = open_heart(copy, 0)
    assert files == {
        f"{heart.record.name}.nii.gz": heart.content("cine"),
        f"{heart.record.name}_segmentation.nii.gz": heart.content("labels"),
    }


def test_what_is_torn_or_missing_is_not_merged(copy):
    data = bytearray((copy / "shards" / "shard-00001" / "hearts.tar").read_bytes())
    data[3000] ^= 4
    (copy / "shards" / "shard-00001" / "hearts.tar").write_bytes(data)
    with pytest.raises(CardioDiTError, match="shard-00001"):
        merged(copy)
    shutil.rmtree(copy / "shards" / "shard-00001")
    with refused("1 of 2 shards", "--partial"):
        merged(copy)
    assert not (copy / "manifest.csv").exists()
    done = merged(copy, partial=True)
    assert (done.made, done.missing) == (3, 2) and [row["status"] for row in rows(copy)][3:] == ["missing"] * 2
    assert any("not made yet" in note for note in done.notes)
    shutil.rmtree(copy / "shards" / "shard-00000")
    with pytest.raises(CardioDiTError, match="No shard"):
        merged(copy, partial=True)


def test_shards_of_other_machines_are_told(copy):
    path = copy / "shards" / "shard-00001" / "shard.json"
    values = json.loads(path.read_text(encoding="utf-8"))
    values["machine"]["hardware"] = "AVX2"
    path.write_text(json.dumps(values), encoding="utf-8")
    assert any("2 kinds of machine" in note for note in merged(copy).notes)


def test_parquet_where_it_can_be_and_said_where_not(copy, monkeypatch):
    with monkeypatch.context() as context:
        context.setitem(sys.modules, "pyarrow", None)
        done = merged(copy)
        assert any("pyarrow" in note for note in done.notes) and not (copy / "manifest.parquet").exists()
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    merged(copy)
    table = parquet.read_table(copy / "manifest.parquet").to_pylist()
    assert [row["number"] for row in table] == list(range(5)) and table[3]["labels_edv_ml"] is None
    assert table[0]["labels_edv_ml"] == pytest.approx(float(rows(copy)[0]["labels_edv_ml"]), rel=1e-5)


def test_a_gate_in_the_same_pass_and_the_audit_of_the_whole(gated, monkeypatch):
    hearts = [open_heart(gated, number) for number in range(4)]
    drawn = [heart.record.audit["drawn"] for heart in hearts]
    assert all(heart.record.audit["passed"] for heart in hearts) and max(drawn) > 1
    for heart in hearts:
        assert heart.record.audit["requested_seed"] == 5 and heart.embedding.ndim == 2
        assert heart.record.name.startswith("guarded_seed5_")
    with monkeypatch.context() as context:  # everything that the audit needs lies in the shards
        context.setattr("CardioDiTLib.privacy.embedding_io.embedded", None)
        done = merged(gated)
    assert done.audit.n_synthetic == 4 and done.audit.copies.count == 0
    assert AuditReport.from_json(gated / "audit.json").verdict == done.audit.verdict
    scores = [heart.record.audit["score"] for heart in hearts]
    assert [one.score for one in done.audit.samples] == pytest.approx(scores, abs=2e-5)
    card = (gated / "DATA_CARD.md").read_text(encoding="utf-8")
    assert f"{sum(drawn)} hearts were drawn for 4" in card and "Audit for memorization" in card


def test_hearts_of_no_class_stand_beside_guided_ones(tmp_path):
    """Of hearts of which nothing is asked guidance leads nowhere: they are drawn without it, as `generate` does."""
    bundle = write_tiny_bundle(tmp_path / "tiny").folder
    folder = planned(tmp_path / "c", bundle, 2, guidance=2.0, drawn_from=Distributions(parse_shares("none,NOR"), {}))
    assert run_cohort(folder).made == 2
    merged(folder)
    hearts = [open_heart(folder, number) for number in range(2)]
    assert [(heart.request.pathology, heart.request.guidance) for heart in hearts] == [(None, None), ("NOR", 2.0)]
    assert [heart.record.provenance["guidance"] for heart in hearts] == [1.0, 2.0]
    for heart in hearts:
        (again,) = Generator.for_request(replace(heart.request, bundle=str(bundle))).generate(heart.request)
        np.testing.assert_array_equal(again.cine.array, heart.cine.array)
    assert "--guidance" not in (folder / "DATA_CARD.md").read_text(encoding="utf-8").partition("Making a heart")[2]
    with refused("guidance"):
        planned(tmp_path / "none", bundle, 2, guidance=2.0)


def test_a_page_says_what_its_pictures_show(asked, gated):
    """Hearts of a model without labels have no end-diastole and no end-systole."""
    assert "ventricle" in shown_text([open_heart(asked, 0)]) and "ventricle" not in shown_text([open_heart(gated, 0)])
    assert next(name for name, _ in phase_tiles(open_heart(gated, 0))[0]) == "frame 0"


def test_hearts_of_a_laxer_gate_are_none_of_a_stricter_plan(gated, tmp_path):
    folder = shutil.copytree(gated, tmp_path / "c")
    plan = folder / "plan.json"
    text = plan.read_text(encoding="utf-8")
    assert '"false_alarm": 0.05' in text
    plan.write_text(text.replace('"false_alarm": 0.05', '"false_alarm": 0.2'), encoding="utf-8")
    with refused("false alarm", "plan.json"):
        merged(folder)


def test_hearts_that_the_gate_refuses_are_listed_however_many_and_in_every_try(gated, tmp_path):
    bundle = json.loads((gated / "plan.json").read_text(encoding="utf-8"))["bundle"]
    folder = planned(tmp_path / "c", bundle, 4, seed=5, gate=True, precision=None, redraws=0, false_alarm=0.96)
    first = run_cohort(folder)
    failed = cohort_status(folder).failed
    assert first.failed >= 3 and len(failed) == first.failed and all(one.refused for one in failed)
    assert run_cohort(folder, retry=True).failed == first.failed
    assert [one.attempts for one in cohort_status(folder).failed] == [2] * first.failed


def test_a_gated_heart_is_what_generate_makes_with_the_gate(gated, tmp_path, capsys):
    bundle = json.loads((gated / "plan.json").read_text(encoding="utf-8"))["bundle"]
    words = ["generate", "--model", bundle, "--seed", "5", "--first-index", "1", "--preset", "draft", "--gate"]
    assert cli.main([*words, "--out", str(tmp_path), "--formats", "nii.gz"]) == 0
    (path,) = tmp_path.iterdir()
    assert path.read_bytes() == open_heart(gated, 1).content("cine")


def test_hearts_that_kept_no_embedding_are_embedded_for_the_audit(gated, tmp_path):
    bundle = json.loads((gated / "plan.json").read_text(encoding="utf-8"))["bundle"]
    folder = planned(tmp_path / "c", gated.parent / "bundles" / "guarded", 2, seed=5, embed=False, precision=None)
    assert bundle.endswith("guarded")
    run_cohort(folder)
    done = merged(folder, sheet=1)
    assert done.audit.n_identical == 2, "hearts 0 and 1 of seed 5 are training cines, and no gate was asked"
    assert merged(folder, audit=False).audit is None


def test_beside_real_cines(copy, asked, tmp_path, capsys):
    assert cli.main(["cohort", "export", str(asked), "--numbers", "0-2", "--out", str(tmp_path / "real")]) == 0
    done = merged(copy, real=str(tmp_path / "real"), evaluate=3)
    assert done.synthesis.n_real == 3 and done.synthesis.n_synthetic == 3
    assert (copy / "synthesis.json").is_file() and "beside real ones" in (copy / "DATA_CARD.md").read_text("utf-8")


def test_real_cines_that_are_not_there_are_told_before_anything_is_written(copy):
    with refused("absent"):
        merged(copy, real="absent")
    assert not (copy / "manifest.csv").exists()


def test_a_cohort_that_was_taken_to_another_machine_finds_its_model_by_name(copy, tmp_path, monkeypatch):
    plan = copy / "plan.json"
    text, place = plan.read_text(encoding="utf-8"), json.loads(plan.read_text(encoding="utf-8"))["bundle"]
    plan.write_text(text.replace(json.dumps(place), json.dumps(str(tmp_path / "elsewhere"))), encoding="utf-8")
    with refused("elsewhere", "'labelled'", "plan.json"):
        merged(copy)
    monkeypatch.setenv("CARDIODIT_BUNDLES", os.path.dirname(place))
    assert merged(copy).made == 4


def test_exported_hearts_are_files_of_generate(asked, tmp_path, capsys):
    plan = json.loads((asked / "plan.json").read_text(encoding="utf-8"))
    heart = open_heart(asked, 2)
    words = ["generate", "--model", plan["bundle"], "--seed", "3", "--first-index", "2", "--preset", "draft"]
    words += ["--precision", "fp32", "--adjust", "0", "--pathology", heart.request.pathology]
    words += ["--edv-ml", f"{heart.request.edv_ml:g}"]
    formats = "nii.gz,seq.nrrd,labels.nii.gz,labels.seq.nrrd,json"
    assert cli.main([*words, "--out", str(tmp_path / "a"), "--formats", formats]) == 0
    words = ["cohort", "export", str(asked), "--numbers", "2", "--out", str(tmp_path / "b"), "--formats", formats]
    assert cli.main(words) == 0
    one, other = ({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in "ab")
    described = f"{heart.record.name}.json"
    first, second = (json.loads(files.pop(described)) for files in (one, other))
    assert {key: value for key, value in first.items() if key != "seconds"} == second
    assert one == other
    assert cli.main(words) == 1 and "there already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--numbers", "3"), "not in"),
        (("--numbers", "7"), "no heart 7"),
        (("--numbers", "a"), "no number"),
        (("--seeds", "99"), "among those"),
        ((), "which hearts"),
        (("--numbers", "1", "--formats", "mp4"), "mp4"),
    ],
)
def test_what_cannot_be_exported_is_told_in_a_line(asked, tmp_path, capsys, words, said):
    assert cli.main(["cohort", "export", str(asked), "--out", str(tmp_path / "out"), *words]) == 1
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and said in lines[0]
    assert not (tmp_path / "out").exists()


def test_hearts_that_differ_in_what_is_asked_alone_are_exported_side_by_side(asked, tmp_path):
    bundle = json.loads((asked / "plan.json").read_text(encoding="utf-8"))["bundle"]
    (tmp_path / "asked.csv").write_text("seed,index,edv_ml\n1,0,100\n1,0,200\n2,0,\n", encoding="utf-8")
    folder = planned(tmp_path / "c", bundle, None, table=str(tmp_path / "asked.csv"), adjust=0)
    run_cohort(folder)
    paths = list(export_hearts(folder, tmp_path / "out", numbers=[range(3)], formats=("nii.gz", "json")))
    merged(folder)
    assert [path.name for path in paths[::2]] == [f"{row['name']}.nii.gz" for row in rows(folder)]
    assert len(set(paths)) == 6 and paths[4].name == "labelled_seed2_000.nii.gz"
    for number, path in enumerate(paths[::2]):
        assert path.read_bytes() == open_heart(folder, number).content("cine")


def test_the_request_of_a_heart_makes_it_again_where_its_model_has_no_name_on_the_machine(asked):
    heart = open_heart(asked, 1)
    bundle = json.loads((asked / "plan.json").read_text(encoding="utf-8"))["bundle"]
    assert heart.request.precision == "fp32", "not what suits the machine"
    (again,) = Generator.for_request(replace(heart.request, bundle=bundle)).generate(heart.request)
    np.testing.assert_array_equal(again.cine.array, heart.cine.array)
    with pytest.raises(CardioDiTError, match="other"):
        Generator(bundle).generate(replace(heart.request, bundle="other"))


def test_numbers_and_seeds_may_be_as_many_as_they_like(asked, tmp_path):
    with refused("among those"):
        export_hearts(asked, tmp_path / "out", seeds=[range(4, 10**15), range(0)])
    with refused("no heart 5", "0 to 4"):
        export_hearts(asked, tmp_path / "out", numbers=[range(10**15)])


def test_a_damaged_heart_is_not_exported(copy, tmp_path):
    tar = copy / "shards" / "shard-00000" / "hearts.tar"
    offset, size = open_heart(copy, 1).places["labels"]
    data = bytearray(tar.read_bytes())
    data[offset + size // 2] ^= 1
    tar.write_bytes(data)
    with refused("heart-000001.labels.nii.gz", "--verify"):
        list(export_hearts(copy, tmp_path / "out", numbers=[1]))
    assert not (tmp_path / "out").exists(), "all files of a heart, or none"


def test_what_an_earlier_merge_wrote_of_other_hearts_does_not_stay(gated, tmp_path):
    folder = shutil.copytree(gated, tmp_path / "c")
    assert merged(folder).audit is not None
    (folder / "synthesis.json").write_text("{}", encoding="utf-8")
    done = merged(folder, audit=False)
    assert not list(folder.glob("audit.*")) and not list(folder.glob("synthesis.*"))
    assert any("audit.html" in note and "synthesis.json" in note for note in done.notes)
    assert not any("Taken away" in note for note in merged(folder, audit=False).notes)


def test_a_shard_by_itself(asked, tmp_path):
    alone = shutil.copytree(asked / "shards" / "shard-00000", tmp_path / "somewhere")
    with open_shard(alone / "hearts.tar", verify=True) as shard:
        assert len(shard) == 3 and shard.numbers == (0, 1, 2)
        for heart in shard:
            assert heart.cine.shape == heart.segmentation.shape
            np.testing.assert_array_equal(heart.cine.affine, heart.segmentation.affine)
        with pytest.raises(CardioDiTError, match="Heart 9"):
            shard[9]
    with pytest.raises(CardioDiTError, match="no shard"):
        open_shard(tmp_path)
    (alone / "hearts.tar").write_bytes((alone / "hearts.tar").read_bytes()[:3000])
    with pytest.raises(CardioDiTError):
        open_shard(alone)


def test_the_commands_one_after_the_other(asked, tmp_path, capsys):
    """Plan, run by two processes, status: what a new user types."""
    bundle = json.loads((asked / "plan.json").read_text(encoding="utf-8"))["bundle"]
    folder = tmp_path / "c"
    words = ["cohort", "plan", folder, "-m", bundle, "-n", 5, "-s", 3, "--shard-size", 2, "--preset", "draft"]
    words += ["--precision", "fp32", "-p", "NOR=1,DCM=1", "--edv-ml", "100:200", "--adjust", 0, "--measure", "none"]
    assert cli.main([str(word) for word in words]) == 0
    assert cli.main(["cohort", "run", str(folder), "--processes", "2", "--quiet"]) == 0
    capsys.readouterr()
    assert cli.main(["cohort", "status", str(folder), "--json"]) == 0
    status = json.loads(capsys.readouterr().out)
    assert status["complete"] and status["made"] == 5 and status["workers"] == []
    assert cli.main(["cohort", "status", str(folder)]) == 0
    assert "5 of 5 hearts made" in capsys.readouterr().out
    twin = planned(
        tmp_path / "twin", bundle, 5, shard_size=2, adjust=0, measure=(), drawn_from=Distributions(
            parse_shares("NOR=1,DCM=1"), {"edv_ml": parse_spreads("100:200")})
    )  # fmt: skip
    run_cohort(twin)
    assert tars(folder) == tars(twin), "threads and processes change no byte here"


def test_who_holds_the_rest_is_said_where_a_run_ends_before_them(copy, monkeypatch, capsys):
    shutil.rmtree(copy / "shards" / "shard-00001")
    original = claims._own
    with monkeypatch.context() as context:
        context.setattr(claims, "_own", lambda shard: replace(original(shard), place="elsewhere", host="node9", pid=7))
        assert claims.Claims(copy / "claims").take(1) is not None
    assert cli.main(["cohort", "run", str(copy), "--quiet"]) == 0
    assert "node9:7" in capsys.readouterr().out and not (copy / "shards" / "shard-00001").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_a_worker_that_is_killed_is_started_again(asked, tmp_path, monkeypatch):
    bundle = json.loads((asked / "plan.json").read_text(encoding="utf-8"))["bundle"]
    folder = planned(tmp_path / "c", bundle, 12, shard_size=4, adjust=0, measure=())
    monkeypatch.setattr("CardioDiTLib.cohort.processes._POLL_S", 0.05)
    monkeypatch.setattr("CardioDiTLib.cohort.processes._TOLD_S", 0.1)
    killed = []

    def told(status):
        alive = [worker.pid for worker in status.workers if worker.alive]
        if alive and not killed:
            killed.append(alive[0])
            os.kill(alive[0], signal.SIGKILL)

    status = run_processes(folder, seats(1, "cpu"), told=told)
    assert killed and status.complete and status.made == 12


def test_workers_that_cannot_go_on_say_why(asked, tmp_path):
    bundle = json.loads((asked / "plan.json").read_text(encoding="utf-8"))["bundle"]
    moved = shutil.copytree(bundle, tmp_path / "moved")
    folder = planned(tmp_path / "c", moved, 2, adjust=0)
    shutil.rmtree(moved)
    with pytest.raises(CardioDiTError, match="holds no"):
        run_processes(folder, seats(1, "cpu"))


def test_seats_share_the_cores(monkeypatch):
    monkeypatch.setattr("CardioDiTLib.cohort.processes.available_cores", lambda: list(range(10, 17)))
    found = seats(3, "cpu")
    assert sum((seat.cores for seat in found), ()) == tuple(range(10, 17)) or not found[0].cores
    assert [seat.threads for seat in found] == [2, 2, 2] and {seat.gpu for seat in found} == {None}
    assert len(seats(None, "cpu")) == 7
    assert [(seat.cores, seat.threads) for seat in seats(9, "cpu")][7:] == [
        (found[0].cores[:1], 1),
        (found[0].cores[1:], 1),
    ]
    monkeypatch.setattr("CardioDiTLib.cohort.processes.visible_gpus", lambda: ["3", "5"])
    assert [seat.gpu for seat in seats(None)] == ["3", "5"] and [seat.gpu for seat in seats(3)] == ["3", "5", "3"]
    assert seats(None)[1].environment()["CUDA_VISIBLE_DEVICES"] == "5"
    assert available_cores()


def test_a_script_for_sbatch(asked, capsys):
    words = ["cohort", "run", str(asked), "--print-sbatch", "--jobs", "4", "--cpus", "32", "--gpus", "2"]
    assert cli.main([*words, "--minutes", "90", "--partition", "gpu"]) == 0
    script = capsys.readouterr().out
    for line in ("--array=0-3", "--cpus-per-task=32", "--gpus-per-task=2", "--time=01:30:00", "--partition=gpu"):
        assert f"#SBATCH {line}\n" in script
    assert script.startswith("#!/bin/bash\n") and "--processes auto" in script and "--minutes 85" in script
    assert str(asked.resolve()) in script.splitlines()[-1]
    with refused("gpus", -1):
        ClusterRequest(folder=str(asked), gpus=-1)
    with pytest.raises(CardioDiTError, match="partition"):
        sbatch_script(ClusterRequest(folder=str(asked), partition="a\nb"))


def test_jobs_without_submitit_are_told_in_a_line(asked, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "submitit", None)
    assert cli.main(["cohort", "run", str(asked), "--cluster", "slurm"]) == 1
    assert "submitit" in capsys.readouterr().err


def test_jobs_through_submitit(asked, tmp_path):
    pytest.importorskip("submitit", reason="submitit is not installed (extra 'cluster')")
    bundle = json.loads((asked / "plan.json").read_text(encoding="utf-8"))["bundle"]
    folder = planned(tmp_path / "c", bundle, 4, shard_size=2, adjust=0, measure=())
    jobs = submit_jobs(ClusterRequest(folder=str(folder), jobs=2, cpus=1, minutes=20), "local")
    assert max(job.result() for job in jobs) == 4
    assert cohort_status(folder).complete

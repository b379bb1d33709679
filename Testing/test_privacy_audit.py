"""The audit: false alarms as often as said, copies found, and everything that can be wrong with its inputs."""

from __future__ import annotations

import json
import re
from functools import partial

import nibabel as nib
import numpy as np
import pytest
from privacy_sets import DIMENSION, MeanEncoder, copies_of, noise_cine, normal, reference
from refusals import refused

import CardioDiTLib as cd
from CardioDiTLib.cine import Cine
from CardioDiTLib.data.packing import read_pack, write_cines
from CardioDiTLib.errors import Cancelled, CardioDiTError
from CardioDiTLib.io import save_cine
from CardioDiTLib.privacy.audit import audit_memorization
from CardioDiTLib.privacy.calibration import Calibration, patients_needed
from CardioDiTLib.privacy.count_tests import detectable_share, discoveries, holm, p_value_of_count
from CardioDiTLib.privacy.embedding_set import EmbeddingSet, checked, embedding_hash
from CardioDiTLib.service.privacy_jobs import describe_verdict
from CardioDiTLib.workflow.audit import AuditRequest, run


def alarms(n: int, m: int, s: int, rate: float, repeats: int, **choices: object) -> tuple[float, float]:
    """Over cohorts without a copy: share of cines called copies, and of audits that say so."""
    shares, said = [], []
    for i in range(repeats):
        seed = 10_000 + 3 * i
        x, v, y = normal(n, seed), normal(m, seed + 1) if m else None, normal(s, seed + 2)
        report = audit_memorization(x, v, y, false_alarm=rate, published=False, **choices)
        shares.append(report.copies.fraction)
        said.append(report.verdict == "copies")
    return float(np.mean(shares)), float(np.mean(said))


@pytest.mark.parametrize(
    ("n", "m", "s", "rate", "expected", "choices"),
    [
        (60, 99, 40, 0.05, 0.05, {}),
        (60, 49, 200, 0.1, 0.1, {}),
        (200, 39, 20, 0.05, 0.05, {}),
        (99, 0, 40, 0.1, 0.097, {}),
        (80, 12, 40, 0.05, 0.047, {}),  # too few validation patients: training patients calibrate
    ],
)
def test_false_alarms_come_as_often_as_said(n, m, s, rate, expected, choices):
    """Conformal p-values are exact for validation; leave-one-out is a little careful."""
    share, said = alarms(n, m, s, rate, 120, **choices)
    assert share == pytest.approx(expected, abs=0.012)
    assert said <= 0.08


def test_planted_copies_are_found():
    x, v, y = normal(100, 0), normal(60, 1), normal(50, 2)
    y[:12] = copies_of(x, [3, 3, 3, 3, 7, 11, 15, 19, 23, 27, 31, 35])
    report = audit_memorization(x, v, y)
    assert report.verdict == "copies" and report.test.p_value < 0.01
    assert {one.index for one in report.samples if one.copy} >= set(range(12))
    assert [one.nearest_index for one in report.samples[:12]] == [3, 3, 3, 3, 7, 11, 15, 19, 23, 27, 31, 35]
    assert report.memorized.of == 100 and 9 <= report.memorized.count <= 12
    assert report.copies.of == 50 and report.copies.low < 12 / 50 < report.copies.high
    assert report.samples[0].nearest_hash == embedding_hash(x[3]) != report.samples[0].hash
    assert report.copied[0].score == max(one.score for one in report.samples)
    assert report.test.excess == pytest.approx((report.copies.fraction - 0.05) / 0.95)


def test_no_copies_no_verdict():
    report = audit_memorization(normal(100, 0), normal(60, 1), normal(50, 2))
    assert report.verdict == "none found" and report.test.n_sure == 0
    assert 0 < report.test.detectable_share < 0.3
    assert report.test.copies_upper_bound > report.copies.fraction
    assert report.equal_sizes.size == 50 and report.equal_sizes.memorized < 0.15
    assert report.published_null_memorized == pytest.approx(0.0446, abs=0.005)


def test_sizes_that_are_not_equal_do_not_matter():
    """The published rule flags a fifth without a single copy; the audit and equal sizes do not."""
    x, v, y = normal(400, 0), normal(100, 1), normal(400, 2)
    report = audit_memorization(x, v, y)
    assert report.published.memorized_percent > 12 and report.published.copies_percent > 12
    assert report.verdict == "none found" and report.copies.fraction < 0.12
    assert report.equal_sizes.size == 100 and report.equal_sizes.repeats > 1
    assert report.equal_sizes.memorized == pytest.approx(0.05, abs=0.04)
    assert report.equal_sizes.copies == pytest.approx(0.05, abs=0.04)


def test_leaked_patients_do_not_hide_copies():
    x, y = normal(60, 0), normal(30, 2)
    y[:10] = copies_of(x, range(10))
    v = np.concatenate([normal(60, 1), x[:30] * 2 + 1, copies_of(x, range(30, 40), 0.01)])
    report = audit_memorization(x, v, y)
    assert (report.leak.identical, report.leak.near_identical, report.leak.left_out) == (30, 10, 40)
    assert report.published.n_copies == 0 and report.published.threshold > 0.999  # hidden
    assert report.verdict == "copies" and sum(one.copy for one in report.samples[:10]) == 10
    assert report.n_calibration == 60 and any("left out of the calibration" in note for note in report.notes)
    with pytest.raises(CardioDiTError, match="40 of the 100 validation embeddings are of training patients"):
        audit_memorization(x, v, y, leaks="refuse")
    with refused(60, "validation"):
        audit_memorization(x, x, y)


def test_a_patient_in_both_sets_is_a_leak():
    x, v = normal(50, 0), normal(40, 1)
    report = audit_memorization(
        x, v, normal(20, 2), train_groups=range(50), validation_groups=[f"{i}" for i in range(45, 85)]
    )
    assert report.leak.shared_patients == 5 and report.leak.left_out == 5 and report.n_calibration == 35


def test_several_embeddings_of_a_patient_are_one_patient():
    patients = normal(40, 0)
    x = np.concatenate([copies_of(patients, range(40), 0.2, seed) for seed in range(4)])
    groups = list(range(40)) * 4
    others = np.concatenate([copies_of(normal(50, 1), range(50), 0.2, seed) for seed in range(3)])
    y = normal(30, 2)
    report = audit_memorization(x, others, y, train_groups=groups, validation_groups=list(range(100, 150)) * 3)
    assert (report.n_train, report.n_train_patients, report.memorized.of) == (160, 40, 40)
    assert (report.n_validation, report.n_validation_patients, report.n_calibration) == (150, 50, 50)
    assert report.verdict == "none found" and report.exchangeability_p > 1e-3
    # without groups each patient's other embeddings look like a second patient, and leave-one-out sees no alarm at all
    blind = audit_memorization(x, None, copies_of(patients, range(30), 0.2, 99), published=False)
    aware = audit_memorization(x, None, copies_of(patients, range(30), 0.2, 99), published=False, train_groups=groups)
    assert aware.copies.count == 30 and aware.verdict == "copies" and blind.copies.count < 15


def test_duplicates_among_synthetic_cines_are_counted():
    y = normal(40, 2)
    y[30:] = y[0] * 3 - 1
    assert audit_memorization(normal(50, 0), normal(50, 1), y).n_duplicates == 11


def test_a_patient_who_is_in_the_training_set_twice_is_no_alarm():
    x = normal(60, 0)
    x[50:] = copies_of(x, range(10), 0.005)
    report = audit_memorization(x, None, copies_of(x, range(20, 30)), published=False)
    assert report.n_train_duplicates == 20 and report.n_calibration == 40 and report.copies.count == 10


def test_an_equal_embedding_is_a_copy_however_few_patients_calibrate():
    x, y = normal(12, 0), normal(8, 2)
    report = audit_memorization(x, normal(6, 1), y)
    assert report.verdict == "undecided" and report.threshold is None and report.copies.count == 0
    assert report.smallest_p_value == pytest.approx(1 / 7)
    assert any("6 calibrating patients are too few" in note and "19 are needed" in note for note in report.notes)
    y[3] = x[5]
    report = audit_memorization(x, normal(6, 1), y)
    assert report.verdict == "copies" and report.n_identical == 1
    # rows, counts and verdict say the same
    assert [one.index for one in report.samples if one.copy] == [3]
    assert report.copies.count == 1 and report.memorized.count == 1
    verdicts = [describe_verdict(report, one, "folder") for one in report.samples]
    assert [one["verdict"] for one in verdicts] == ["failed" if i == 3 else "undecided" for i in range(8)]
    assert verdicts[3]["passed"] is False
    everyone = audit_memorization(x, None, x[:4], published=False)
    assert everyone.copies.count == everyone.n_identical == 4 and all(one.copy for one in everyone.samples)


def test_the_pose_that_is_nearest_counts_and_calibrates_too():
    """Each cine is asked about in three poses; the copy hides in the last."""
    x = checked(normal(60, 0), "training")
    v, y = (np.stack([normal(n, 10 * seed + pose) for pose in range(3)], axis=1) for n, seed in ((99, 1), (40, 2)))
    y[4, 2] = copies_of(x.values, [7])[0]
    report = audit_memorization(
        x, checked(v[:, 0], "validation", poses=v), checked(y[:, 0], "synthetic", poses=y), published=False
    )
    assert report.samples[4].copy and report.samples[4].nearest_index == 7 and report.samples[4].score > 0.9
    blind = audit_memorization(x, checked(v[:, 0], "validation"), checked(y[:, 0], "synthetic"), published=False)
    assert not blind.samples[4].copy and report.threshold > blind.threshold
    # more is looked at, no more is called a copy than was asked for
    assert report.copies.count <= 6
    assert len(x.kept(np.arange(60) < 5).nearest(x.values).index) == 5


def test_an_encoder_that_saw_the_training_set_is_noticed():
    """Training patients pushed apart, validation patients not."""
    x = np.concatenate([np.eye(DIMENSION), -np.eye(DIMENSION)]) * 5 + 0.1 * normal(2 * DIMENSION, 0)
    report = audit_memorization(x, normal(60, 1), normal(20, 2))
    assert report.exchangeability_p < 0.01 and any("learned the training patients" in note for note in report.notes)


def test_an_encoder_that_tells_nobody_apart_finds_no_copies():
    base = normal(1, 0)
    x, v, y = (base + 0.08 * normal(count, seed) for count, seed in ((40, 1), (40, 2), (20, 3)))
    y[0] = x[0]
    report = audit_memorization(x, v, y)
    assert report.verdict == "none found" and report.n_identical == 1
    assert any("hardly tells patients apart" in note for note in report.notes)
    x, v, y = (base + 0.001 * normal(count, seed) for count, seed in ((40, 1), (40, 2), (20, 3)))
    with refused(40, "validation"):
        audit_memorization(x, v, y)


@pytest.mark.parametrize(
    ("values", "named"),
    [
        (np.zeros((5, DIMENSION)), ("5 of the 5", "constant", "row 0")),
        (np.full((5, DIMENSION), np.nan), ("5 of the 5", "finite", "row 0")),
        (np.zeros(DIMENSION), ("synthetic", 1, (DIMENSION,))),
        (np.zeros((0, DIMENSION)), ("no", "synthetic")),
        (np.ones((5, 2)), ("synthetic", 2, 3)),
        (normal(5, 0, 7), ("training", 24, "synthetic", 7)),
        ([["a", "b"]], ("synthetic", "table")),
        ([[1.0, 2.0], [1.0]], ("synthetic", "table")),
        (normal(5, 0).astype(np.float64) * 1e39, ("synthetic", "3e38")),
    ],
)
def test_embeddings_that_cannot_be_used_are_refused(values, named):
    with refused(*named):
        audit_memorization(normal(30, 0), normal(30, 1), values)


@pytest.mark.parametrize(
    ("choices", "named"),
    [
        ({"false_alarm": 0}, ("false-alarm", 0)),
        ({"seed": -1}, ("seed", -1)),
        ({"calibration": "guess"}, ("calibration", "guess", "leave-one-out")),
        ({"leaks": "keep"}, ("leaks", "keep", "refuse")),
        ({"train_groups": [1, 2]}, (30, 2, "groups")),
        ({"validation": None, "calibration": "validation"}, ("validation", "leave-one-out")),
        ({"synthetic": None}, ("nothing", "synthetic")),
        ({"train": normal(1, 0), "validation": None}, ("one", "training", "validation")),
    ],
)
def test_choices_that_cannot_be_made_are_refused(choices, named):
    values = {"train": normal(30, 0), "validation": normal(30, 1), "synthetic": normal(9, 2), **choices}
    with refused(*named):
        audit_memorization(values.pop("train"), values.pop("validation"), values.pop("synthetic"), **values)


def test_the_same_audit_twice_is_the_same():
    sets = normal(80, 0), normal(30, 1), normal(50, 2)
    assert audit_memorization(*sets, seed=4) == audit_memorization(*sets, seed=4)


def test_it_tells_and_stops():
    told = []
    audit_memorization(normal(30, 0), normal(30, 1), normal(9, 2), progress=lambda *now: told.append(now[0]))
    assert told[-1] == "done" and len(set(told)) >= 4
    with pytest.raises(Cancelled):
        audit_memorization(normal(30, 0), normal(30, 1), normal(9, 2), cancel=lambda: True)


def test_files_of_embeddings(tmp_path):
    from safetensors.numpy import save_file

    x, v, y = normal(30, 0), normal(40, 1), normal(9, 2)
    expected = audit_memorization(x, v, y, train_groups=np.arange(30) // 2)
    np.save(tmp_path / "y.npy", y)
    np.savez(tmp_path / "x.npz", embeddings=x, groups=np.arange(30) // 2)
    save_file({"embeddings": v}, tmp_path / "v.safetensors")
    found = cd.audit_memorization(tmp_path / "x.npz", str(tmp_path / "v.safetensors"), tmp_path / "y.npy")
    assert found == expected and found.n_train_patients == 15
    np.savez(tmp_path / "other.npz", numbers=x)
    (tmp_path / "broken.npy").write_bytes(b"nothing")
    np.save(tmp_path / "objects.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    for name in ("other.npz", "broken.npy", "objects.npy"):
        with refused(name, "embeddings", ".npz"):
            audit_memorization(x, v, tmp_path / name)
    with refused("absent.npy"):
        audit_memorization(x, v, tmp_path / "absent.npy")


def test_folders_of_cines_are_embedded(tmp_path):
    for i in range(6):
        save_cine(noise_cine(i), tmp_path / "real" / f"patient{i}.nii.gz")
        save_cine(noise_cine(i if i < 2 else 50 + i), tmp_path / "made" / f"s{i}.nii.gz")
    save_cine(noise_cine(90), tmp_path / "made" / "s0_seg.nii.gz")
    encoder = MeanEncoder()
    report = audit_memorization(tmp_path / "real", None, tmp_path / "made", encoder=encoder)
    assert encoder.seen == 12 and report.n_identical == 2 and report.verdict == "copies"
    assert report.encoder_sha256 == encoder.sha256
    assert not re.search(r"patient\d|s\d\.nii|real|made", report.to_json().replace("real patients", ""))
    named = audit_memorization(tmp_path / "real", None, tmp_path / "made", encoder=encoder, names=True)
    assert (named.samples[1].name, named.samples[1].nearest_name) == ("s1.nii.gz", "patient1.nii.gz")
    (tmp_path / "real" / "patients.csv").write_text(
        "file,patient\n" + "".join(f"patient{i}.nii.gz,{i // 2}\n" for i in range(6)), encoding="utf-8"
    )
    assert audit_memorization(tmp_path / "real", None, tmp_path / "made", encoder=encoder).n_train_patients == 3
    (tmp_path / "real" / "patients.csv").write_text("file,patient\npatient0.nii.gz,0\n", encoding="utf-8")
    with refused("patients.csv", "5 of the 6"):
        audit_memorization(tmp_path / "real", None, tmp_path / "made", encoder=encoder)
    (tmp_path / "made" / "s3.nii.gz").write_bytes(b"broken")
    with refused("Cine 4 of 6", "s3.nii.gz"):
        audit_memorization(normal(20, 0), None, tmp_path / "made", encoder=encoder)


def test_what_of_a_folder_was_not_looked_at_is_said(tmp_path):
    for i in range(3):
        save_cine(noise_cine(i), tmp_path / "made" / f"s{i}.nii.gz")
    save_cine(noise_cine(9), tmp_path / "made" / "s0_seg.nii.gz")
    audit = partial(audit_memorization, normal(30, 0), normal(30, 1), encoder=MeanEncoder())
    assert not [note for note in audit(tmp_path / "made").notes if "Not looked at" in note]
    one = nib.load(tmp_path / "made" / "s0.nii.gz")
    nib.save(one.slicer[..., 0], tmp_path / "made" / "volume.nii.gz")
    save_cine(noise_cine(3), tmp_path / "made" / "more" / "s3.nii.gz")
    report = audit(tmp_path / "made")
    (note,) = [note for note in report.notes if "Not looked at" in note]
    assert report.n_synthetic == 3
    assert "synthetic" in note and "single volumes (1)" in note and "folders in it (1)" in note


def test_one_set_given_as_validation_and_as_synthetic_is_noticed():
    v, y = normal(60, 1), normal(40, 2)
    assert not [note for note in audit_memorization(normal(50, 0), v, y).notes if "validation one" in note]
    y[:7] = v[:7]
    report = audit_memorization(normal(50, 0), v, y)
    assert [note[:2] for note in report.notes if "validation one" in note] == ["7 "]


def test_a_pack_brings_its_own_validation(tmp_path, monkeypatch):
    from CardioDiTLib.privacy import encoder as encoders

    images = np.random.default_rng(0).integers(0, 255, (40, 2, 3, 16, 16)).astype(np.uint8)
    aside = np.arange(40) % 2 == 1
    pack = write_cines(tmp_path / "pack.npz", images, (1.5, 1.5, 10.0), validation=aside)

    def embed_pack(encoder, path, which="train", progress=None, cancel=None, turns=1):
        chosen = images[aside == (which == "validation")]
        rows = encoder.embed([Cine(one.astype(np.int16), np.eye(4), np.arange(2) * 0.1) for one in chosen])
        return rows[:, None]

    monkeypatch.setattr(encoders, "embed_pack", embed_pack)
    synthetic = MeanEncoder().embed([Cine(images[0].astype(np.int16), np.eye(4), np.arange(2) * 0.1)])
    report = audit_memorization(pack, None, synthetic, encoder=MeanEncoder())
    assert (report.n_train, report.n_validation) == (20, 20) and report.n_identical == 1
    assert report.samples[0].nearest_index == 0


def test_packs_of_one_name_are_not_taken_for_the_same_patients(tmp_path, monkeypatch):
    from CardioDiTLib.privacy import encoder as encoders

    packs = []
    for number in range(2):
        images = np.random.default_rng(number).integers(0, 255, (30, 2, 3, 16, 16)).astype(np.uint8)
        aside = np.full(30, bool(number))
        aside[0] = not number
        packs.append(write_cines(tmp_path / str(number) / "pack.npz", images, (1.5, 1.5, 10.0), validation=aside))

    def embed_pack(encoder, path, which="train", progress=None, cancel=None, turns=1):
        pack = read_pack(path)
        chosen = pack.images[pack.validation == (which == "validation")]
        return encoder.embed([Cine(one.astype(np.int16), np.eye(4), np.arange(2) * 0.1) for one in chosen])[:, None]

    monkeypatch.setattr(encoders, "embed_pack", embed_pack)
    report = audit_memorization(packs[0], packs[1], normal(20, 3), encoder=MeanEncoder())
    assert report.leak.shared_patients == 0 and report.leak.left_out == 0 and report.n_validation == 29


def test_of_a_synthetic_pack_all_cines_are_audited(tmp_path, monkeypatch):
    """Packs keep some cines aside by themselves: an audit that left them out would say nothing of copies there."""
    from CardioDiTLib.privacy import encoder as encoders

    images = np.random.default_rng(0).integers(0, 255, (9, 2, 3, 16, 16)).astype(np.uint8)
    aside = np.arange(9) % 2 == 1
    pack = write_cines(tmp_path / "made.npz", images, (1.5, 1.5, 10.0), validation=aside)

    def embed_pack(encoder, path, which="train", progress=None, cancel=None, turns=1):
        chosen = images if which == "all" else images[aside == (which == "validation")]
        return encoder.embed([Cine(one.astype(np.int16), np.eye(4), np.arange(2) * 0.1) for one in chosen])[:, None]

    monkeypatch.setattr(encoders, "embed_pack", embed_pack)
    monkeypatch.setattr(encoders, "load_encoder", lambda folder=None: MeanEncoder())
    train = normal(40, 0)
    train[0] = embed_pack(MeanEncoder(), pack, "all")[1, 0]  # one of those that are kept aside
    np.save(tmp_path / "train.npy", train)
    report = audit_memorization(train, None, pack, encoder=MeanEncoder())
    assert report.n_synthetic == 9 and report.n_identical == 1 and report.verdict == "copies"
    done = run(AuditRequest(train=str(tmp_path / "train.npy"), synthetic=str(pack)))
    assert done.report.n_synthetic == 9 and done.report.n_identical == 1


def test_different_encoders_are_not_compared():
    one, other = (EmbeddingSet(normal(30, i), encoder_sha256=letter * 64) for i, letter in enumerate("ab"))
    with refused("training", "synthetic", "encoders"):
        audit_memorization(one, None, other)


def test_a_reference_set_stands_in_for_the_training_set():
    stored = reference()
    y = normal(40, 5)
    y[:10] = copies_of(normal(60, 0), range(10))
    report = audit_memorization(stored, None, y)
    direct = audit_memorization(normal(60, 0), normal(99, 1), y, published=False)
    assert report.copies.count == direct.copies.count and report.calibration == "validation"
    assert [one.nearest_index for one in report.samples] == [one.nearest_index for one in direct.samples]
    assert report.threshold == pytest.approx(direct.threshold, abs=2e-3)
    assert (report.n_train, report.n_validation, report.published) == (60, 99, None)
    again = audit_memorization(stored, normal(99, 1), y)
    assert again.published is not None and again.verdict == "copies"


def test_p_values_are_conformal():
    calibration = Calibration.of(np.array([0.1, 0.2, 0.3, 0.4]))
    np.testing.assert_allclose(calibration.p_values(np.array([0.5, 0.4, 0.35, 0.05])), [0.2, 0.4, 0.4, 1.0])
    assert calibration.threshold(0.2) == 0.4 and calibration.threshold(0.4) == 0.3
    assert calibration.threshold(0.19) == np.inf and calibration.smallest_p == 0.2
    careful = Calibration.of(np.array([0.1, 0.2, 0.3, 0.4]), kind="leave-one-out")
    np.testing.assert_allclose(careful.p_values(np.array([0.5, 0.35])), [0.4, 0.6])
    grouped = Calibration.of(np.array([0.1, 0.2, 0.3, 0.4]), np.array([0, 0, 1, 2]))
    assert grouped.n_patients == 3 and grouped.p_values(np.array([0.15]))[0] == pytest.approx(3.5 / 4)
    assert patients_needed(0.05) == 19 and patients_needed(0.05, "leave-one-out") == 39
    for rate in (0.05, 0.1, 0.31):
        scores = np.random.default_rng(0).random(137)
        for kind in ("validation", "leave-one-out"):
            one = Calibration.of(scores, kind=kind)
            tries = np.random.default_rng(1).random(500)
            np.testing.assert_array_equal(tries > one.threshold(rate), one.p_values(tries) <= rate + 1e-12)


def test_the_count_is_beta_binomial():
    """Against a simulation of the threshold and the count."""
    rng = np.random.default_rng(0)
    m, r, s, count = 39, 1, 60, 9
    limits = np.sort(rng.random((20000, m)), axis=1)[:, m - 1 - r]
    simulated = np.mean(rng.binomial(s, 1 - limits) >= count)
    calibration = Calibration.of(np.linspace(0, 1, m))
    assert calibration.n_above(0.05) == r
    assert p_value_of_count(count, s, calibration.share_above(0.05)) == pytest.approx(simulated, abs=0.01)
    assert p_value_of_count(0, s, (2, 38)) == 1.0 and p_value_of_count(5, s, None) == 1.0
    assert 0 < detectable_share(s, (2, 38), 0.025) < 0.35 and detectable_share(s, None, 0.025) == 1.0
    assert detectable_share(2000, (51, 950), 0.025) < 0.05 < detectable_share(20, (2, 38), 0.025)


def test_many_p_values():
    p = np.array([0.001, 0.012, 0.03, 0.04, 0.9])
    assert holm(p, 0.05) == 2 and discoveries(p, 0.05) == 4
    assert holm(np.array([0.2]), 0.05) == 0 == discoveries(np.array([0.2]), 0.05)
    assert holm(np.full(3, 1e-9), 0.05) == 3 == discoveries(np.full(3, 1e-9), 0.05)


def test_the_audit_needs_no_torch():
    import subprocess
    import sys
    from pathlib import Path

    code = (
        "import sys, numpy as np, CardioDiTLib as cd\n"
        "r = np.random.default_rng(0)\n"
        "cd.audit_memorization(*(r.standard_normal((30, 8)) for _ in range(3))).to_json()\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[1])


def test_reports_are_plain_json():
    report = audit_memorization(normal(30, 0), normal(30, 1), normal(9, 2))
    json.dumps(report.to_dict(), allow_nan=False)

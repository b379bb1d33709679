"""Copies as people meet them: cines of patients changed, saved, read back, and judged or audited."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from disguised_files import disguises

from CardioDiTLib.bundles import load_bundle
from CardioDiTLib.cine import Cine
from CardioDiTLib.cli import main
from CardioDiTLib.data.acdc import read_pair
from CardioDiTLib.io import load_cine, save_cine
from CardioDiTLib.privacy.audit import audit_memorization
from CardioDiTLib.privacy.gate import Gate

TRAINED, KEPT_ASIDE = 3, 7
"""Places in a group of the pack; two of sixteen are kept aside (`data.acdc`)."""


@pytest.fixture(scope="module")
def acdc(shared_dir):
    folder = shared_dir / "data" / "acdc"
    if not (folder / "metadata.csv").is_file():
        pytest.skip("there is no ACDC")
    return folder


@pytest.fixture(scope="module")
def gate() -> Gate:
    return Gate.from_bundle(load_bundle("acdc-mini"))


def posed(folder, place: int, group: str = "NOR") -> Cine:
    """A cine as the pack has it."""
    with open(folder / "metadata.csv", newline="", encoding="utf-8") as stream:
        rows = sorted((row for row in csv.DictReader(stream) if row["pathology"] == group), key=lambda row: row["pid"])
    pair = read_pair(folder, rows[place]["pid"], rows[place], 152)
    images = pair.frames(16)[0][:, np.asarray(pair.slice_valid, bool)]
    return Cine(images.astype(np.int16), np.diag([*pair.spacing, 1.0]), np.arange(16) * pair.cycle_s / 16)


@pytest.fixture(scope="module")
def trained(acdc) -> Cine:
    return posed(acdc, TRAINED)


BARRED = [kind for kind in disguises() if kind.barred or "130" in kind.name]


@pytest.mark.parametrize("kind", BARRED, ids=[kind.name for kind in BARRED])
def test_the_gate_knows_a_training_cine_saved_in_another_way(gate, trained, tmp_path, kind):
    verdict = gate.judge(load_cine(kind.save(trained, tmp_path, "copy")))
    assert not verdict.passed, f"{verdict.score:.3f} is below {verdict.threshold:.3f}"
    if kind.name == "exact":
        # the motion between ED and ES is made here, not as it was when the embeddings were stored
        assert verdict.score > 0.99


def test_a_patient_who_was_not_trained_on_passes(gate, acdc, tmp_path):
    verdict = gate.judge(load_cine(save_cine(posed(acdc, KEPT_ASIDE), tmp_path / "other.nii.gz")))
    assert verdict.passed and verdict.p_value > 0.05


def test_most_training_patients_own_recorded_images_are_known(gate, acdc, tmp_path):
    """Not the cine that was made for training: both ends of the beat from the scanner's file; not all are (docs)."""
    with open(acdc / "metadata.csv", newline="", encoding="utf-8") as stream:
        rows = sorted(csv.DictReader(stream), key=lambda row: row["pid"])
    found = 0
    for group in ("NOR", "DCM", "HCM", "MINF", "RV"):
        pid = [row["pid"] for row in rows if row["pathology"] == group][TRAINED]
        found += not gate.judge(load_cine(save_cine(recorded(acdc, pid), tmp_path / f"{group}.nii"))).passed
    assert found == 5


def recorded(folder, pid: str) -> Cine:
    ends = [load_cine_of(folder / f"{pid}_{part}.nii.gz") for part in ("ED", "ES")]
    return Cine(np.concatenate([one.array[:1] for one in ends]), ends[0].affine, [0.0, 0.4])


def load_cine_of(path):
    from CardioDiTLib.io.nifti import read_nifti

    return read_nifti(path, allow_volume=True)


def test_copies_in_folders_are_found_and_counted(acdc, tmp_path, capsys):
    """Training files as recorded, heart anywhere; copies turned and cut, and the very same file."""
    train, made = tmp_path / "train", tmp_path / "made"
    train.mkdir()
    made.mkdir()
    cines = [recorded(acdc, pid) for pid in sorted({p.name[:10] for p in acdc.glob("patient*_ED.nii.gz")})[:5]]
    for number, cine in enumerate(cines[:4]):
        save_cine(cine, train / f"{number}.nii.gz")
    by_name = {kind.name: kind for kind in disguises()}
    by_name["exact"].save(cines[1], made, "a")
    by_name["turned 45 deg"].save(cines[2], made, "b")
    by_name["as .seq.nrrd"].save(cines[4], made, "c")
    report = audit_memorization(train, None, made, published=False)
    assert report.threshold is None  # four patients tell no rate
    exact, turned, novel = report.samples
    assert report.verdict == "copies" and report.n_identical == 1
    assert exact.copy and exact.nearest_index == 1 and exact.score > 0.999
    assert turned.nearest_index == 2 and turned.score > 0.6 > novel.score
    # what is said agrees with what is counted
    assert report.copies.count == report.memorized.count == 1
    assert not novel.copy
    table = tmp_path / "report.csv"
    assert main(
        ["audit", "--train", str(train), "--synthetic", str(made), "-q", "--out", str(table), "--fail-on-copies"]
    )
    rows = list(csv.DictReader(table.open(encoding="utf-8")))
    assert [row["copy"] for row in rows] == ["yes", "no", "no"]
    assert "1 of 3" in capsys.readouterr().out

"""A folder of cines: one row each, resumable, failures at the end; and paths and consoles as users have them."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
from refusals import names
from synthetic_cines import make_cine
from synthetic_dicom import write_series
from test_cli_measure import Straight
from tiny_segmentation import tiny_model_folder

from CardioDiTLib.cine import Cine
from CardioDiTLib.cli import main
from CardioDiTLib.data.phantom import PhantomSpec, make_phantom
from CardioDiTLib.io import save_cine, save_segmentation
from CardioDiTLib.io.cine_files import find_cines
from CardioDiTLib.landmarks import detect as detection
from CardioDiTLib.segmentation import segment as segment_module

PHANTOM = make_phantom(PhantomSpec(frames=6, slices=5, height=64, width=64, spacing_mm=(2.5, 2.5, 12.0)))


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path, list[str]]:
    """A folder with two good cines, one of them deep inside, a broken one, labels and a single volume; the weights."""
    cines = tmp_path / "cines"
    save_cine(PHANTOM.cine, cines / "first.nii.gz")
    save_cine(PHANTOM.cine, cines / "ward" / "second.seq.nrrd")
    (cines / "broken.nii").write_bytes(b"no image at all" * 40)
    save_segmentation(PHANTOM.segmentation, cines / "first_seg.nii.gz")
    save_segmentation(PHANTOM.segmentation, cines / "unmarked.nii.gz")
    frame = nibabel.Nifti1Image(PHANTOM.cine.array[0].transpose(2, 1, 0), PHANTOM.cine.affine)
    nibabel.save(frame, cines / "ward" / "frame01.nii.gz")
    calls: list[str] = []

    def labels(*_: object, **__: object) -> np.ndarray:
        calls.append("one")
        return PHANTOM.segmentation.array

    monkeypatch.setattr(segment_module, "_labels", labels)
    monkeypatch.setattr("CardioDiTLib.data.slice_inference.CanonicalView", Straight)
    monkeypatch.setattr(detection, "detect_landmarks", lambda cine, **rest: PHANTOM.landmarks)
    return cines, tiny_model_folder(tmp_path / "weights"), calls


def rows(table: Path) -> dict[str, dict[str, str]]:
    with table.open(newline="", encoding="utf-8") as stream:
        return {row["cine"]: row for row in csv.DictReader(stream)}


def run(cines: Path, out: Path, weights: Path, *words: str) -> int:
    return main(["measure", str(cines), "-o", str(out), "--segmentation-weights", str(weights), "-f", "json", *words])


COVERED = "--stack-covers-heart"


def test_a_row_a_cine_and_resumed(
    place: tuple[Path, Path, list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cines, weights, calls = place
    out = tmp_path / "out"
    assert run(cines, out, weights, COVERED) == 1
    told, problems = capsys.readouterr()
    assert "2 measured, 0 measured before, 1 failed, of 3 cines" in told, problems
    for reason in ("labels, by name", "labels, by content", "single volumes"):
        assert f"passed over: 1 ({reason})" in told
    assert told.index("3 cines") < told.index("failed: broken: 'broken.nii' is not a NIfTI image")
    table = rows(out / "measurements.csv")
    assert {name: row["status"] for name, row in table.items()} == {
        "first": "done",
        "ward_second": "done",
        "broken": "failed",
    }
    volumes = (PHANTOM.segmentation.array == 3).sum(axis=(1, 2, 3)) * PHANTOM.segmentation.voxel_volume_ml
    assert float(table["first"]["edv_ml"]) == pytest.approx(volumes.max(), rel=1e-5)
    assert table["ward_second"]["ef_percent"] == table["first"]["ef_percent"]
    assert table["ward_second"]["source"] == "ward/second.seq.nrrd"
    assert (out / "ward_second_function.json").is_file()
    assert len(calls) == 2

    # again: nothing is measured twice, the mended one is measured, the interrupted one too
    save_cine(PHANTOM.cine, cines / "broken.nii")
    content = (out / "measurements.csv").read_text(encoding="utf-8")
    (out / "measurements.csv").write_text(content.replace("ward_second,done", "ward_second,started"), encoding="utf-8")
    assert run(cines, out, weights, COVERED) == 0
    assert "2 measured, 1 measured before, 0 failed" in capsys.readouterr().out and len(calls) == 4

    # other options are other numbers
    assert run(cines, out, weights, "--heart-rate", "60") == 1
    assert names(capsys.readouterr().err, "options", "--overwrite")
    assert run(cines, out, weights, "--heart-rate", "60", "--overwrite") == 0
    first = rows(out / "measurements.csv")["first"]
    assert float(first["heart_rate_bpm"]) == 60
    assert first["edv_ml"] == "" and "may not cover the left ventricle" in first["missing"]


def test_another_file_of_the_same_name_and_size_is_measured(
    place: tuple[Path, Path, list[str]], tmp_path: Path
) -> None:
    cines, weights, calls = place
    (cines / "broken.nii").unlink()
    assert run(cines, tmp_path / "out", weights) == 0 and len(calls) == 2
    (cines / "ward" / "second.seq.nrrd").rename(cines / "ward_second.seq.nrrd")
    assert run(cines, tmp_path / "out", weights) == 0 and len(calls) == 3
    assert rows(tmp_path / "out" / "measurements.csv")["ward_second"]["source"] == "ward_second.seq.nrrd"


def test_files_of_somebody_else_are_not_replaced(place: tuple[Path, Path, list[str]], tmp_path: Path) -> None:
    cines, weights, calls = place
    out = tmp_path / "out"
    out.mkdir()
    (out / "first_segmentation.nii.gz").write_bytes(b"mine")
    for _ in range(3):  # a row of a run that refused them makes them no files of ours
        assert run(cines, out, weights) == 1
        assert (out / "first_segmentation.nii.gz").read_bytes() == b"mine"
        assert "already" in rows(out / "measurements.csv")["first"]["problem"] and len(calls) == 1
    (out / "first_segmentation.nii.gz").unlink()
    assert run(cines, out, weights) == 1 and len(calls) == 2, "only the broken one is left"
    assert rows(out / "measurements.csv")["first"]["status"] == "done"
    (out / "measurements.csv").write_text("a,b\n1,2\n", encoding="utf-8")
    assert run(cines, out, weights) == 1
    assert (out / "measurements.csv").read_text(encoding="utf-8") == "a,b\n1,2\n"


def test_folders_of_dicom(tmp_path: Path) -> None:
    cine = make_cine((6, 4, 8, 7), times=np.arange(6) * 0.05)
    write_series(cine, tmp_path / "one", one_series_a_slice=True)
    assert find_cines(tmp_path / "one").cines == {}
    # a folder a slice of one study is still one cine
    slices = tmp_path / "slices"
    for z in range(4):
        affine = cine.affine.copy()
        affine[:3, 3] += z * affine[:3, 2]
        write_series(Cine(cine.array[:, z : z + 1], affine, cine.frame_times), slices / f"s{z}", study="1.2.3")
    assert find_cines(slices).cines == {}
    write_series(cine, tmp_path / "many" / "a" / "deep")
    write_series(cine, tmp_path / "many" / "b")
    save_cine(cine, tmp_path / "many" / "c.nii")
    save_cine(cine, tmp_path / "many" / "c.nrrd")
    assert list(find_cines(tmp_path / "many", below=True).cines) == ["a", "b", "c_nii", "c_nrrd"]


# ------------------------------------------------------------------------------------------ consoles and paths


@pytest.mark.parametrize("code_page", ["cp932", "ascii", "latin-1", "cp949"])
def test_consoles_of_other_code_pages(tmp_path: Path, code_page: str) -> None:
    labels = tmp_path / "grün – 心.nii.gz"
    save_segmentation(PHANTOM.segmentation, labels)
    environment = {**os.environ, "PYTHONIOENCODING": code_page, "PYTHONPATH": str(Path(__file__).parents[1])}
    environment["HOME"] = environment["USERPROFILE"] = str(tmp_path / "home")
    words = ["function", labels.name, "--out=~/results", "-f", "json"]
    done = subprocess.run(
        [sys.executable, "-m", "CardioDiTLib", *words], cwd=tmp_path, env=environment, capture_output=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "home" / "results" / "grün – 心_function.json").is_file()
    assert not (tmp_path / "~").exists()
    assert b"Left ventricle" in done.stdout and done.stdout.count(b"\n") > 20


def test_notes_of_reading_and_label_map(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    array = np.array([0, 3, 2, 1], np.uint8)[PHANTOM.segmentation.array]
    image = nibabel.Nifti1Image(array.transpose(3, 2, 1, 0), PHANTOM.segmentation.affine)
    nibabel.save(image, tmp_path / "a.nii.gz")
    assert main(["function", str(tmp_path / "a.nii.gz"), "-o", str(tmp_path / "b"), "-f", "json"]) == 0
    assert "label 1 is ringed by label 2" in capsys.readouterr().out
    mapped = ["--label-map", "1:3,2:2,3:1", "-o", str(tmp_path / "c"), "-f", "json"]
    assert main(["function", str(tmp_path / "a.nii.gz"), *mapped]) == 0
    assert "ringed by" not in capsys.readouterr().out
    edv = [
        (tmp_path / part / "a_function.json").read_text(encoding="utf-8").split('"edv_ml": ')[1].split(",")[0]
        for part in "bc"
    ]
    assert edv[0] == edv[1]
    assert main(["function", str(tmp_path / "a.nii.gz"), "--label-map", "1=3"]) == 1
    assert names(capsys.readouterr().err, "1=3")


def test_convert_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cine = make_cine((6, 4, 8, 7), times=np.arange(6) * 0.05)
    save_cine(cine, tmp_path / "in" / "a.nii")
    write_series(cine, tmp_path / "in" / "b")
    (tmp_path / "in" / "c.nrrd").write_bytes(b"NRRD0004\nnothing")
    words = ["convert", str(tmp_path / "in"), str(tmp_path / "out"), "--to", ".seq.nrrd"]
    assert main(words) == 1
    told = capsys.readouterr().out
    assert "2 converted, 0 there already, 1 failed, of 3 cines" in told and "failed: c: 'c.nrrd'" in told
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.seq.nrrd", "b.seq.nrrd"]
    (tmp_path / "in" / "c.nrrd").unlink()
    assert main(words) == 0
    assert "0 converted, 2 there already, 0 failed" in capsys.readouterr().out


@pytest.mark.parametrize("suffix", [".nii.gz", ".dcm"])
def test_what_was_converted_is_not_converted_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], suffix: str
) -> None:
    cine = make_cine((6, 4, 8, 7), times=np.arange(6) * 0.05)
    for more, name in enumerate("ab"):
        save_cine(cine.with_array(cine.array + np.int16(more)), tmp_path / f"{name}.seq.nrrd")
    words = ["convert", str(tmp_path), str(tmp_path / "converted"), "--to", suffix]
    for said in ("2 converted, 0 there already", "0 converted, 2 there already"):
        assert main(words) == 0
        assert f"{said}, 0 failed, of 2 cines" in capsys.readouterr().out
        assert sorted(path.name for path in (tmp_path / "converted").iterdir()) == [f"a{suffix}", f"b{suffix}"]
    # a folder above that of the cines is none of theirs
    assert main(["convert", str(tmp_path / "converted"), str(tmp_path), "--to", ".nii"]) == 0
    assert "2 converted" in capsys.readouterr().out and len(list(tmp_path.glob("*.nii"))) == 2

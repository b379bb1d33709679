"""Results as files: all, or none."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from refusals import refused

from CardioDiTLib.cine import Cine, Segmentation
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.generation import GenerationResult, outputs, save_results
from CardioDiTLib.io import load_cine, load_segmentation


def results(count: int = 2, labelled: bool = True) -> list[GenerationResult]:
    made = []
    for i in range(count):
        cine = Cine(np.full((3, 2, 8, 8), i, np.int16), np.diag([1.5, 1.5, 10, 1]), np.arange(3) * 0.05, {"index": i})
        provenance = {"model": "tiny", "seconds": 1.0 + i}
        plane = np.zeros((8, 8), np.uint8)
        plane[1:3, 0:2], plane[1:7, 2:8], plane[3:5, 4:6] = 1, 2, 3
        array = np.broadcast_to(plane, cine.shape).copy()
        labels = Segmentation(array, cine.affine, cine.frame_times) if labelled else None
        made.append(GenerationResult(cine, 7, i, "DCM" if i else None, provenance, 1.0, segmentation=labels))
    return made


def test_every_format_of_every_sample(tmp_path):
    pytest.importorskip("PIL")
    paths = save_results(results(), tmp_path / "a" / "b", outputs.FORMATS)
    stems = ("tiny_seed7_000", "tiny_seed7_001_DCM")
    assert [path.name for path in paths] == [
        outputs.output_name(stem, kind) for stem in stems for kind in outputs.FORMATS
    ]
    assert sorted(path.name for path in (tmp_path / "a" / "b").iterdir()) == sorted(path.name for path in paths)
    for name in ("tiny_seed7_001_DCM.nii.gz", "tiny_seed7_001_DCM.seq.nrrd"):
        cine = load_cine(tmp_path / "a" / "b" / name)
        assert (cine.array == 1).all() and cine.spacing == (1.5, 1.5, 10.0) and cine.meta["index"] == 1
    for name in ("tiny_seed7_000_segmentation.nii.gz", "tiny_seed7_000_segmentation.seq.nrrd"):
        written = load_segmentation(tmp_path / "a" / "b" / name)
        np.testing.assert_array_equal(written.array, results()[0].segmentation.array)
    described = next(path for path in paths if path.suffix == ".json")
    assert json.loads(described.read_text(encoding="utf-8")) == {"model": "tiny", "seconds": 1.0}


def test_labels_are_refused_where_the_model_makes_none(tmp_path):
    with refused("labels", "segment"):
        save_results(results(labelled=False), tmp_path / "out", ["nii.gz", "labels.nii.gz"])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("failure", [KeyboardInterrupt, OSError(28, "No space left on device"), CardioDiTError("no")])
def test_a_failure_leaves_nothing_behind(tmp_path, monkeypatch, failure):
    calls = []
    original = outputs.save_cine

    def fail_late(*arguments):
        calls.append(arguments)
        if len(calls) == 2:
            raise failure
        return original(*arguments)

    monkeypatch.setattr(outputs, "save_cine", fail_late)
    with pytest.raises((KeyboardInterrupt, CardioDiTError)):
        save_results(results(3), tmp_path / "new" / "out", ["nii.gz"])
    assert len(calls) == 2
    assert list(tmp_path.iterdir()) == []


def test_results_of_the_same_names_are_replaced_only_when_asked_for(tmp_path):
    first = save_results(results(1), tmp_path, ["json"])
    first[0].write_text("mine", encoding="utf-8")
    with refused("tiny_seed7_000.json", "--overwrite"):
        save_results(results(1), tmp_path, ["json"])
    assert first[0].read_text(encoding="utf-8") == "mine"
    save_results(results(1), tmp_path, ["json"], overwrite=True)
    assert first[0].read_text(encoding="utf-8") != "mine"


def test_what_was_there_stays(tmp_path, monkeypatch):
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    monkeypatch.setattr(outputs, "save_cine", lambda cine, path: (_ for _ in ()).throw(CardioDiTError("no")))
    with pytest.raises(CardioDiTError):
        save_results(results(), tmp_path, ["nii.gz"])
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_unknown_formats_and_impossible_folders(tmp_path):
    for formats in (["mp4"], [], ["", " "]):
        with refused("nii.gz", "png"):
            save_results(results(), tmp_path, formats)
    assert outputs.check_formats([" .NII.gz", "json", "json"]) == ("nii.gz", "json")
    (tmp_path / "file").write_text("x", encoding="utf-8")
    with refused(tmp_path / "file" / "out"):
        save_results(results(), Path(tmp_path / "file" / "out"), ["json"])

"""The section Folder: all cines of a folder at once, with a worker that answers by the library's own functions."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import slicer
from measured_cine import landmarks_answer, segmentation_answer
from module_under_test import FakeProcess
from synthetic_dicom import write_series


class AnsweringProcess(FakeProcess):
    """Answers soon, as a worker would; `held` holds back the answers to a command."""

    heart = None
    held = bare = ""

    def write(self, data: bytes) -> None:
        super().write(data)
        request = self.requests[-1]
        from CardioDiTModule.SharedWorker import later

        if request["command"] in ("load_cine", "segment", "landmarks", "function", "audit_cines", "save_cine"):
            later(0, lambda: self._answer(request))

    def _answer(self, request) -> None:
        if not self.running or request["command"] == AnsweringProcess.held:
            return
        from CardioDiTLib.errors import CardioDiTError

        try:
            values = getattr(self, "_" + request["command"])(request["arguments"], request["id"])
        except CardioDiTError as error:
            self.tell("error", id=request["id"], message=error.message, hint=error.hint)
        else:
            self.tell("progress", id=request["id"], stage="segment", step=1, of=2, fraction=0.5, eta_s=None)
            self.tell("result", id=request["id"], **values)

    def _load_cine(self, order, number):
        from CardioDiTLib.io import load_cine
        from CardioDiTLib.service.arrays import describe_cine

        return {"cine": describe_cine(load_cine(order["path"]), Path(order["folder"]) / f"cine-{number}.npy")}

    def _segment(self, order, _number):
        return segmentation_answer(AnsweringProcess.heart.segmentation, Path(order["folder"]))

    def _landmarks(self, order, _number):
        return landmarks_answer(AnsweringProcess.heart.landmarks, Path(order["folder"]))

    def _function(self, order, _number):
        from CardioDiTLib.function.cardiac_function import cardiac_function
        from CardioDiTLib.function.outputs import function_table
        from CardioDiTLib.service.arrays import segmentation_of, track_of

        track = track_of(order["landmarks"]) if "landmarks" in order else None
        report = cardiac_function(segmentation_of(order["segmentation"]), track)
        values = {"report": json.loads(json.dumps(report.to_dict())), "table": function_table(report)}
        return {**values, "bullseye": "", "bullseye_problem": "", "files": []}

    def _audit_cines(self, order, _number):
        assert all(Path(cine["array"]).is_file() for cine in order["cines"]), "arrays are kept until they were audited"
        if AnsweringProcess.bare and AnsweringProcess.bare in order["bundles"]:
            from CardioDiTLib.errors import CardioDiTError

            raise CardioDiTError("The bundle carries no training embeddings.", "Choose a folder.")
        one = {"verdict": "passed", "score": 0.5, "p_value": 0.4, "nearest_hash": "ab"}
        return {"cines": [one for _cine in order["cines"]], "sets": []}

    def _save_cine(self, order, _number):
        from CardioDiTLib.io import save_cine
        from CardioDiTLib.service.arrays import cine_of

        return {"path": str(save_cine(cine_of(order["cine"]), order["path"]))}


@pytest.fixture
def processClass(heart):
    AnsweringProcess.heart, AnsweringProcess.held, AnsweringProcess.bare = heart, "", ""
    return AnsweringProcess


@pytest.fixture
def folder(heart, tmp_path):
    """Two cines, one of them in a folder below, a broken one, and what is none."""
    from CardioDiTLib.io import save_cine

    place = tmp_path / "cines"
    (place / "b").mkdir(parents=True)
    save_cine(heart.cine, place / "a.nii.gz")
    save_cine(heart.cine, place / "b" / "c.seq.nrrd")
    (place / "broken.nii.gz").write_bytes(b"no image")
    (place / "notes.txt").write_text("none of it", encoding="utf-8")
    (place / ".hidden.nii").write_bytes(b"")
    return place


def rows_of(path: Path) -> dict[str, dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as stream:
        return {row["file"]: row for row in csv.DictReader(stream)}


def run(panel, ui, waitUntil, folder, results="") -> None:
    ui.folderEdit.currentPath = str(folder)
    ui.folderResultsEdit.currentPath = str(results)
    assert ui.folderButton.enabled, ui.folderButton.toolTip
    ui.folderButton.click()
    waitUntil(lambda: panel.folder.controls.run is None, 30)


def asked(command: str) -> int:
    return sum(request["command"] == command for process in FakeProcess.made for request in process.requests)


def test_a_folder_is_measured_and_exported_with_a_row_for_each_cine(panel, ui, folder, heart, tmp_path, waitUntil):
    assert not ui.folderButton.enabled and "folder of the cines" in ui.folderButton.toolTip
    ui.folderExportCombo.setCurrentIndex(1)
    results = tmp_path / "results"
    before = set(slicer.util.getNodes("vtkMRMLSequence*"))
    run(panel, ui, waitUntil, folder, results)
    rows = rows_of(results / "cines.csv")
    assert list(rows) == ["a.nii.gz", "b/c.seq.nrrd", "broken.nii.gz"]
    assert [row["state"] for row in rows.values()] == ["done", "done", "failed"]
    assert rows["broken.nii.gz"]["problem"] and "Traceback" not in rows["broken.nii.gz"]["problem"]
    from CardioDiTLib.function.cardiac_function import cardiac_function

    true = cardiac_function(heart.segmentation, heart.landmarks)
    for name in ("a.nii.gz", "b/c.seq.nrrd"):
        assert float(rows[name]["edv_ml"]) == pytest.approx(true.edv_ml, abs=0.06)
        assert float(rows[name]["ef_percent"]) == pytest.approx(true.ef_percent, abs=0.06)
        assert int(rows[name]["points_found"]) > 0
    from CardioDiTLib.io import load_cine

    np.testing.assert_allclose(load_cine(results / "b" / "c.nii.gz").affine, heart.cine.affine, atol=1e-4)
    assert "3 cines, 1 failed" in ui.folderLabel.text and "cines.csv" in ui.folderLabel.text
    model = ui.folderTable.model()
    assert ui.folderTable.isVisibleTo(ui.FolderSection) and model.rowCount() == 3
    assert model.index(0, 0).data() == "a.nii.gz" and model.index(2, 1).data() == "failed"
    assert set(slicer.util.getNodes("vtkMRMLSequence*")) == before, "the scene keeps no cine of it"
    order = FakeProcess.made[-1].asked("segment")["arguments"]
    assert not Path(order["folder"]).exists(), "files on the way are gone"


def test_a_run_that_was_stopped_goes_on_after_what_is_finished(panel, ui, folder, tmp_path, waitUntil):
    results = tmp_path / "results"
    ui.folderEdit.currentPath, ui.folderResultsEdit.currentPath = str(folder), str(results)
    ui.folderButton.click()
    waitUntil(lambda: (results / "cines.csv").is_file(), 10)
    AnsweringProcess.held = "segment"
    waitUntil(lambda: asked("segment") == 2, 10)
    assert "Cine 2 of 3: b/c.seq.nrrd" in ui.folderLabel.text and ui.folderButton.text == "Cancel"
    ui.folderButton.click()
    number = FakeProcess.made[-1].asked("segment")["id"]
    FakeProcess.made[-1].tell("cancelled", id=number)
    waitUntil(lambda: panel.folder.controls.run is None, 10)
    assert "Cancelled" in ui.folderLabel.text and list(rows_of(results / "cines.csv")) == ["a.nii.gz"]
    AnsweringProcess.held = ""
    run(panel, ui, waitUntil, folder, results)
    assert len(rows_of(results / "cines.csv")) == 3 and asked("segment") == 3, "the first was not measured again"
    assert ui.folderTable.model().rowCount() == 3
    # asked for something else, all is made again
    ui.folderLandmarksCheck.checked = False
    run(panel, ui, waitUntil, folder, results)
    assert asked("segment") == 5


def test_cines_are_audited_together(panel, ui, folder, tmp_path, waitUntil):
    ui.folderMeasureCheck.checked = False
    assert not ui.folderButton.enabled
    ui.folderAuditCheck.checked = True
    ui.auditAgainstCombo.setCurrentIndex(1)
    ui.auditTrainEdit.currentPath = str(tmp_path)
    results = tmp_path / "results"
    run(panel, ui, waitUntil, folder, results)
    rows = rows_of(results / "cines.csv")
    assert asked("audit_cines") == 1 and asked("segment") == 0
    assert rows["a.nii.gz"]["verdict"] == "passed" and rows["broken.nii.gz"]["state"] == "failed"
    # of real cines nobody knows the model
    ui.auditAgainstCombo.setCurrentIndex(0)
    run(panel, ui, waitUntil, folder, tmp_path / "other")
    rows = rows_of(tmp_path / "other" / "cines.csv")
    assert rows["a.nii.gz"]["state"] == "failed" and "folder of training cines" in rows["a.nii.gz"]["problem"]


def test_a_model_without_training_embeddings_fails_its_own_cines_alone(panel, ui, heart, tmp_path, waitUntil):
    from dataclasses import replace

    from CardioDiTLib.io import save_cine

    place = tmp_path / "cines"
    for name, model in (("a", "guarded"), ("b", "bare"), ("c", "guarded")):
        save_cine(replace(heart.cine, meta={"synthetic": True, "model": model}), place / f"{name}.nii.gz")
    AnsweringProcess.bare = "bare"
    ui.folderMeasureCheck.checked, ui.folderAuditCheck.checked = False, True
    run(panel, ui, waitUntil, place, tmp_path / "results")
    rows = rows_of(tmp_path / "results" / "cines.csv")
    assert [rows[f"{name}.nii.gz"]["state"] for name in "abc"] == ["done", "failed", "done"]
    assert rows["c.nii.gz"]["verdict"] == "passed" and "no training embeddings" in rows["b.nii.gz"]["problem"]


def test_cines_are_audited_again_beside_other_patients(panel, ui, folder, tmp_path, waitUntil):
    ui.folderMeasureCheck.checked, ui.folderAuditCheck.checked = False, True
    ui.auditAgainstCombo.setCurrentIndex(1)
    ui.auditTrainEdit.currentPath = str(tmp_path)
    results = tmp_path / "results"
    run(panel, ui, waitUntil, folder, results)
    run(panel, ui, waitUntil, folder, results)
    assert asked("audit_cines") == 1
    ui.auditValidationEdit.currentPath = str(tmp_path / "cines")
    run(panel, ui, waitUntil, folder, results)
    assert asked("audit_cines") == 2


def test_an_empty_folder_and_results_among_the_cines_are_said(panel, ui, tmp_path, waitUntil):
    empty = tmp_path / "empty"
    empty.mkdir()
    run(panel, ui, waitUntil, empty)
    assert "no cine" in ui.problemLabel.text
    ui.folderResultsEdit.currentPath = str(empty)
    assert not ui.folderButton.enabled and "another folder" in ui.folderButton.toolTip


def test_a_closed_scene_gives_the_folder_up(panel, ui, folder, spin, waitUntil):
    AnsweringProcess.held = "segment"
    ui.folderEdit.currentPath = str(folder)
    ui.folderButton.click()
    waitUntil(lambda: FakeProcess.made[-1].has_asked("segment"))
    slicer.mrmlScene.Clear(0)
    FakeProcess.made[-1].tell("cancelled", id=FakeProcess.made[-1].asked("segment")["id"])
    spin(20)
    assert panel.folder.controls.run is None and not ui.folderTable.isVisibleTo(ui.FolderSection)


def test_what_is_a_cine_in_a_folder(app, heart, tmp_path):
    from CardioDiTModule.FolderRun import cineFiles

    write_series(heart.cine, tmp_path / "one", study="1.2.3")
    write_series(heart.cine, tmp_path / "two", study="1.2.4")
    for name in ("three/readme", "x.nii", "x_seg.nii", "y.seq.nrrd"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"text")
    found = [path.relative_to(tmp_path).as_posix() for path in cineFiles(tmp_path)]
    assert found == ["one", "two", "x.nii", "y.seq.nrrd"]

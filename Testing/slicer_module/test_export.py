"""The section Export: files that the library writes, DICOM among them, and Slicer's own DICOM database."""

from __future__ import annotations

from pathlib import Path

import dicom_database
import numpy as np
import pydicom
import pytest
import slicer
from refusals import names
from test_folder_of_cines import AnsweringProcess, processClass  # noqa: F401 (a fixture)


@pytest.fixture
def answered(browser, monkeypatch):
    """A cine that is chosen, and a worker that writes by the library's own job."""

    def save(self, order, number):
        from types import SimpleNamespace

        from CardioDiTLib.service.generation_jobs import GenerationJobs
        from CardioDiTLib.service.job import Job

        request = SimpleNamespace(arguments=order, command="save_cine", id=number)
        return GenerationJobs().save_cine(Job(request, None))

    monkeypatch.setattr(AnsweringProcess, "_save_cine", save)
    return browser


def same(cine, wanted) -> None:
    np.testing.assert_allclose(cine.affine, wanted.affine, atol=1e-4)
    np.testing.assert_allclose(cine.frame_times, wanted.frame_times, atol=1e-6)
    step = (float(np.max(wanted.array)) - float(np.min(wanted.array))) / 65535
    np.testing.assert_allclose(cine.array, wanted.array, atol=step)


@pytest.mark.parametrize("button, files", [("exportDicomButton", 8 * 9), ("exportMultiFrameButton", 1)])
def test_dicom_keeps_millimetres_seconds_and_what_it_is(
    answered,
    panel,
    ui,
    heart,
    dialogs,
    tmp_path,
    waitUntil,
    button,
    files,
):
    from CardioDiTLib.io import load_cine

    path = tmp_path / "heart"
    dialogs.answers.append(str(path))
    assert getattr(ui, button).enabled, getattr(ui, button).toolTip
    getattr(ui, button).click()
    waitUntil(lambda: "Written" in ui.exportLabel.text)
    path = path.with_suffix(".dcm")
    written = [path] if path.is_file() else list(path.iterdir())
    assert len(written) == files
    for file in written[:3]:
        header = pydicom.dcmread(file, stop_before_pixels=True)
        assert header.PatientName == "SYNTHETIC^NOT A PATIENT" and header[0x0008001C].value == "YES"
    same(load_cine(path), heart.cine)


def test_a_cine_goes_into_the_database_of_slicer(answered, panel, ui, heart, monkeypatch, tmp_path, waitUntil):
    import slicer

    from CardioDiTLib.io import load_cine

    assert not ui.exportDatabaseButton.enabled and "open the module DICOM" in ui.exportDatabaseButton.toolTip
    database = dicom_database.install(monkeypatch, tmp_path / "database")
    made = []
    temporary = slicer.util.tempDirectory
    monkeypatch.setattr(
        slicer.util, "tempDirectory", lambda *args, **kw: made.append(temporary(*args, **kw)) or made[-1]
    )
    database.isOpen = False
    panel.export.updateButtons()
    assert not ui.exportDatabaseButton.enabled
    database.isOpen = True
    panel.export.updateButtons()
    ui.exportDatabaseButton.click()
    waitUntil(lambda: "72 images" in ui.exportLabel.text)
    assert len(database.files()) == 72 and made and not any(Path(folder).exists() for folder in made)
    same(load_cine(tmp_path / "database"), heart.cine)
    assert panel.logic.exportToDatabase(answered) == 72 and len(database.files()) == 72, "the same heart, the same UIDs"


@pytest.mark.parametrize("refuses", ["quietly", "raise"])
def test_a_database_that_refuses_is_said(answered, panel, ui, monkeypatch, tmp_path, waitUntil, refuses):
    from CardioDiTModule.Problem import CardioDiTProblem

    database = dicom_database.install(monkeypatch, tmp_path / "database")
    database.refuses = refuses
    panel.export.updateButtons()
    ui.exportDatabaseButton.click()
    waitUntil(lambda: "did not take the files" in ui.problemLabel.text)
    assert ui.exportLabel.text == "" and database.files() == []
    with pytest.raises(CardioDiTProblem) as caught:
        panel.logic.exportToDatabase(answered)
    assert names(str(caught.value), "DICOM", "files")
    monkeypatch.delattr("slicer.dicomDatabase")
    with pytest.raises(CardioDiTProblem) as caught:
        panel.logic.exportToDatabase(answered)
    assert names(str(caught.value), "database", "open")


def test_the_console_writes_dicom_too(answered, panel, heart, tmp_path):
    from CardioDiTLib.io import load_cine

    assert Path(panel.logic.export(answered, tmp_path / "a.dcm")).is_dir()
    one = panel.logic.export(answered, tmp_path / "b.dcm", multiFrame=True)
    assert Path(one).is_file()
    same(load_cine(one), heart.cine)


def test_a_cine_that_cannot_be_handed_over_is_a_problem_and_leaves_nothing(answered, panel, ui, monkeypatch, waitUntil):
    """Such as a full disk; and one that is no cine any more."""
    from CardioDiTModule import CineReader

    made = []
    makeFolder = slicer.util.tempDirectory
    monkeypatch.setattr(slicer.util, "tempDirectory", lambda *names: made.append(makeFolder(*names)) or made[-1])

    def full(*_arguments):
        raise OSError("No space left on device")
        yield

    with monkeypatch.context() as patch:
        patch.setattr(CineReader, "arrayFileSteps", full)
        panel.export.save("heart.nii.gz")
        waitUntil(lambda: "No space left" in ui.problemLabel.text)
    assert ui.exportLabel.text == ""
    sequence = answered.GetMasterSequenceNode()
    sequence.SetIndexUnit("mm")
    panel.export.save("heart.nii.gz")
    waitUntil(lambda: "not a time" in ui.problemLabel.text)
    assert ui.exportLabel.text == "" and len(made) == 2 and not any(Path(folder).exists() for folder in made)

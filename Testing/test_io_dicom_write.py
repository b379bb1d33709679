"""Cines out as DICOM: exact millimetres and seconds for every reader; no synthetic heart passes for a patient."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK
from refusals import names, refused
from synthetic_cines import make_cine
from synthetic_dicom import PATIENT, write_series

from CardioDiTLib.cine import Cine, Segmentation
from CardioDiTLib.cli import main
from CardioDiTLib.data.phantom import PhantomSpec, make_phantom
from CardioDiTLib.data.time import cycle_seconds
from CardioDiTLib.io import load_cine, load_segmentation, save_cine, save_segmentation
from CardioDiTLib.io.frame_times import assumed_times
from CardioDiTLib.workflow.sources import CineFile

CINE = make_cine((8, 4, 9, 7), times=np.cumsum([0, *np.linspace(0.04, 0.06, 7)]))
SYNTHETIC = CINE.with_array(CINE.array, {"synthetic": True, "model": "acdc-mini 0.2.0", "seed": 3, "notes": ["a note"]})


def left_handed() -> Cine:
    affine = CINE.affine.copy()
    affine[:3, 2] *= -1
    return Cine(CINE.array, affine, CINE.frame_times)


def files(folder: Path) -> list[pydicom.Dataset]:
    return [pydicom.dcmread(path) for path in sorted(folder.iterdir())]


@pytest.mark.parametrize("multi_frame", [False, True])
@pytest.mark.parametrize("hand", ["right", "left"])
def test_round_trip_is_exact(tmp_path: Path, multi_frame: bool, hand: str) -> None:
    cine = left_handed() if hand == "left" else CINE
    path = save_cine(cine, f"{tmp_path}/deep/heart.dcm/", multi_frame=multi_frame)
    assert path == tmp_path / "deep" / "heart.dcm" and path.is_file() == multi_frame
    back = load_cine(path)
    assert back.array.dtype == np.int16 and np.array_equal(back.array, cine.array)
    assert back.affine == pytest.approx(cine.affine, abs=1e-9)
    assert back.frame_times == pytest.approx(cine.frame_times, abs=1e-9)
    assert [part.name for part in (tmp_path / "deep").iterdir()] == ["heart.dcm"]


def test_provenance_comes_back_and_nominal_times_give_no_heart_rate(tmp_path: Path) -> None:
    back = load_cine(save_cine(SYNTHETIC, tmp_path / "a.dcm"))
    for key, value in SYNTHETIC.meta.items():
        assert back.meta[key] == value
    assert "heart_rate_bpm" not in back.meta and back.meta["source_format"] == "dicom"


@pytest.mark.parametrize("multi_frame", [False, True])
def test_a_given_interval_is_no_assumed_one(tmp_path: Path, multi_frame: bool) -> None:
    meta: dict[str, object] = {}
    times = assumed_times(CINE.n_frames, meta)
    path = save_cine(Cine(CINE.array, CINE.affine, times, meta), tmp_path / "a.dcm", multi_frame=multi_frame)
    assert load_cine(path).meta["frame_times_assumed"]
    back = load_cine(path, frame_interval_s=0.04)
    assert back.frame_interval_s == pytest.approx(0.04) and back.meta["frame_times_from"] == "given"
    assert "frame_times_assumed" not in back.meta and not back.meta["notes"]


def test_floats_are_stored_in_sixteen_bits(tmp_path: Path) -> None:
    for cine in (make_cine(dtype="float32"), CINE.with_array(CINE.array.astype(np.float32))):
        back = load_cine(save_cine(cine, tmp_path / "a.dcm"))
        step = float(cine.array.max() - cine.array.min()) / 65535
        whole = bool((cine.array == np.rint(cine.array)).all())
        assert np.abs(back.array - cine.array).max() <= (0 if whole else 0.51 * step + 1e-4)


@pytest.mark.parametrize("multi_frame", [False, True])
def test_a_beat_with_missing_frames_lasts_as_long_as_it_does(tmp_path: Path, multi_frame: bool) -> None:
    times = np.delete(np.arange(11) * 0.1, (4, 5, 8))
    cine = Cine(CINE.array, CINE.affine, times)
    assert cine.cycle_s == pytest.approx(1.1) == cycle_seconds(times)
    path = save_cine(cine, tmp_path / "a.dcm", multi_frame=multi_frame)
    image = pydicom.dcmread(path if multi_frame else next(path.iterdir()))
    assert image.HeartRate == 55
    assert load_cine(path).frame_times == pytest.approx(times)
    if not multi_frame:
        assert image.NominalInterval == 1100, "no image is triggered after the beat"


def test_same_cine_gives_same_files(tmp_path: Path) -> None:
    one, two = save_cine(CINE, tmp_path / "a.dcm"), save_cine(CINE, tmp_path / "b.dcm")
    assert [path.read_bytes() for path in sorted(one.iterdir())] == [
        path.read_bytes() for path in sorted(two.iterdir())
    ]
    other = save_cine(CINE.with_array(CINE.array + np.int16(1)), tmp_path / "c.dcm")
    assert not {x.SOPInstanceUID for x in files(one)} & {x.SOPInstanceUID for x in files(other)}


def test_a_synthetic_heart_is_no_patient(tmp_path: Path) -> None:
    images = files(save_cine(SYNTHETIC, tmp_path / "a.dcm"))
    images.append(pydicom.dcmread(save_cine(SYNTHETIC, tmp_path / "b.dcm", multi_frame=True)))
    for image in images:
        assert str(image.PatientName) == "SYNTHETIC^NOT A PATIENT" and image.PatientID.startswith("SYNTHETIC-")
        assert image.SyntheticData == "YES" and image.ImageType[0] == "DERIVED" and "SYNTHETIC" in image.ImageType
        assert "SYNTHETIC: made by acdc-mini 0.2.0" in image.DerivationDescription
        assert "SYNTHETIC" in image.SeriesDescription and "SYNTHETIC" in image.StudyDescription
        assert "ContrastBolusAgent" not in image and "HeartRate" not in image
        assert image.SOPInstanceUID.startswith("2.25.") and image.SOPInstanceUID.is_valid
    assert len({image.SeriesInstanceUID for image in images[:-1]}) == 1
    assert len({image.SOPInstanceUID for image in images}) == len(images)
    real = files(save_cine(CINE, tmp_path / "c.dcm"))[0]
    assert "SyntheticData" not in real and "SYNTHETIC" not in str(real.PatientName)


def test_any_maker_may_say_that_an_image_is_synthetic(tmp_path: Path) -> None:
    write_series(CINE, tmp_path, change=lambda image, z, t: setattr(image, "SyntheticData", "YES"))
    assert load_cine(tmp_path).meta["synthetic"] is True


def test_simpleitk_reads_the_same(tmp_path: Path) -> None:
    folder = save_cine(CINE, tmp_path / "a.dcm")
    by_frame: dict[float, list[str]] = {}
    for path in sorted(folder.iterdir()):
        by_frame.setdefault(float(pydicom.dcmread(path).TriggerTime), []).append(str(path))
    assert np.array(sorted(by_frame)) / 1000 == pytest.approx(CINE.frame_times, abs=1e-9)
    for t, time in enumerate(sorted(by_frame)):
        image = SimpleITK.ReadImage(by_frame[time])
        assert np.array_equal(SimpleITK.GetArrayFromImage(image), CINE.array[t])
        assert image.GetSpacing() == pytest.approx(CINE.spacing, abs=1e-6)
        lps = np.diag([-1.0, -1.0, 1.0]) @ CINE.affine[:3, :3] / CINE.spacing
        assert np.array(image.GetDirection()).reshape(3, 3) == pytest.approx(lps, abs=1e-6)
        assert image.GetOrigin() == pytest.approx(np.diag([-1.0, -1.0, 1.0]) @ CINE.affine[:3, 3], abs=1e-6)
    enhanced = SimpleITK.ReadImage(str(save_cine(CINE, tmp_path / "b.dcm", multi_frame=True)))
    voxels = SimpleITK.GetArrayFromImage(enhanced).reshape(4, 8, 9, 7)
    assert np.array_equal(voxels, np.moveaxis(CINE.array, 0, 1))


def test_instance_numbers_sort_slices_and_frames(tmp_path: Path) -> None:
    """Viewers, and Slicer's importer of series, go by instance number, position along the normal, and trigger time."""
    images = sorted(files(save_cine(CINE, tmp_path / "a.dcm")), key=lambda image: image.InstanceNumber)
    normal = np.cross(images[0].ImageOrientationPatient[:3], images[0].ImageOrientationPatient[3:])
    places = [(round(float(normal @ np.array(image.ImagePositionPatient)), 3), image.TriggerTime) for image in images]
    assert places == sorted(places) and len(set(places)) == 32
    assert {image.TemporalPositionIdentifier for image in images} == set(range(1, 9))
    assert {int(image.NominalInterval) for image in images} == {round(1000 * CINE.cycle_s)}


@pytest.mark.parametrize("multi_frame", [False, True])
def test_required_attributes_of_the_standard(tmp_path: Path, multi_frame: bool) -> None:
    """The modules that the standard makes mandatory, as highdicom's copy of its tables has them."""
    standard = pytest.importorskip("highdicom._standard_utils")
    path = save_cine(SYNTHETIC, tmp_path / "a.dcm", multi_frame=multi_frame)
    image = pydicom.dcmread(path if multi_frame else next(path.iterdir()))
    iod = standard.get_sop_class_iod_map()[str(image.SOPClassUID)]
    skipped = {"mr-pulse-sequence", "clinical-trial-subject"}
    checked = 0
    for module in standard.get_iod_module_map()[iod]:
        # the table of functional groups mixes those that must be there with those that may
        if module["usage"] == "M" and module["key"] not in skipped and "functional-groups" not in module["key"]:
            standard.check_required_attributes(image, module["key"])
            checked += 1
    assert checked >= 9
    assert all(element.keyword or element.tag.is_private for element in image.iterall())


def test_other_files_are_not_replaced(tmp_path: Path) -> None:
    save_cine(CINE, tmp_path / "a.dcm")
    assert len(list(save_cine(make_cine(), tmp_path / "a.dcm").iterdir())) == 15
    (tmp_path / "a.dcm" / "letter.txt").write_text("keep me", encoding="utf-8")
    with refused("a.dcm", "other files"):
        save_cine(CINE, tmp_path / "a.dcm")
    assert (tmp_path / "a.dcm" / "letter.txt").is_file() and len(list((tmp_path / "a.dcm").iterdir())) == 16
    (tmp_path / "b.dcm").write_text("a file", encoding="utf-8")
    with refused("b.dcm", "other files"):
        save_cine(CINE, tmp_path / "b.dcm")


def test_convert(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_cine(CINE, tmp_path / "a.nii.gz")
    assert main(["convert", str(tmp_path / "a.nii.gz"), str(tmp_path / "b.dcm")]) == 0
    assert main(["convert", str(tmp_path / "b.dcm"), str(tmp_path / "c.dcm"), "--multi-frame"]) == 0
    assert main(["convert", str(tmp_path / "c.dcm"), str(tmp_path / "d.seq.nrrd")]) == 0
    assert np.array_equal(load_cine(tmp_path / "d.seq.nrrd").array, CINE.array)
    assert main(["convert", str(tmp_path / "a.nii.gz"), str(tmp_path / "b.dcm")]) == 1
    assert names(capsys.readouterr().err, "b.dcm", "already")


# ------------------------------------------------------------------------------------------ SEG and SR

PHANTOM = make_phantom(PhantomSpec(frames=8, slices=5, height=63, width=61, spacing_mm=(2.5, 2.5, 12.0)))


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Segmentation]:
    """DICOM images of a patient, shuffled and a series a slice, and their labels on the grid that is read from them."""
    pytest.importorskip("highdicom")
    folder = tmp_path_factory.mktemp("hospital") / "images"
    affine = PHANTOM.cine.affine.copy()
    affine[:3, 2] *= -1  # right-handed, as the helper wants it
    values = np.rint(PHANTOM.cine.array).astype(np.int16)
    write_series(Cine(values, affine, PHANTOM.cine.frame_times), folder, one_series_a_slice=True)
    cine = load_cine(folder)
    return folder, Segmentation(PHANTOM.segmentation.array, cine.affine, cine.frame_times)


def test_segmentation_object(hospital: tuple[Path, Segmentation], tmp_path: Path) -> None:
    import highdicom as hd

    folder, labels = hospital
    path = save_segmentation(labels, tmp_path / "seg.dcm", source=folder)
    seg = hd.seg.segread(path)
    assert [item.SegmentLabel for item in seg.SegmentSequence] == ["RV cavity", "LV myocardium", "LV cavity"]
    assert seg.NumberOfFrames == 3 * 5 * 8
    assert str(seg.PatientName) == PATIENT
    # each image finds its own labels: by the identifiers of the images, and so by place and time
    for file in folder.iterdir():
        image = pydicom.dcmread(file)
        pixels = seg.get_pixels_by_source_instance([image.SOPInstanceUID], combine_segments=True)[0]
        t = int(np.argmin(np.abs(labels.frame_times - (float(image.TriggerTime) - 12.5) / 1000)))
        index = labels.ras_to_index(np.diag([-1.0, -1.0, 1.0]) @ np.array(image.ImagePositionPatient, float))
        assert np.array_equal(pixels, labels.array[t, round(index[2])])
    assert len(seg.ReferencedSeriesSequence) == 5
    back = load_segmentation(path)
    assert np.array_equal(back.array, labels.array)
    assert back.affine == pytest.approx(labels.affine, abs=1e-6)
    assert back.frame_times == pytest.approx(labels.frame_times)
    slower = load_segmentation(path, frame_interval_s=0.05)
    assert slower.frame_interval_s == pytest.approx(0.05) and np.array_equal(slower.array, labels.array)
    frames = pydicom.dcmread(path).PerFrameFunctionalGroupsSequence
    indices = [tuple(frame.FrameContentSequence[0].DimensionIndexValues) for frame in frames]
    assert len(set(indices)) == len(indices) and {len(index) for index in indices} == {len(seg.DimensionIndexSequence)}


def test_segmentation_needs_its_images(hospital: tuple[Path, Segmentation], tmp_path: Path) -> None:
    folder, labels = hospital
    with refused("source"):
        save_segmentation(labels, tmp_path / "seg.dcm")
    fewer = Segmentation(labels.array[:-1], labels.affine, labels.frame_times[:-1])
    with refused(5, 7):
        save_segmentation(fewer, tmp_path / "seg.dcm", source=folder)
    assert not (tmp_path / "seg.dcm").exists()


def test_structured_report(hospital: tuple[Path, Segmentation], tmp_path: Path) -> None:
    import highdicom as hd

    from CardioDiTLib.function.cardiac_function import cardiac_function
    from CardioDiTLib.function.structured_report import write_structured_report
    from CardioDiTLib.io.dicom import dicom_headers
    from CardioDiTLib.io.dicom_seg import segmentation_dataset

    folder, labels = hospital
    report = cardiac_function(labels, stack_covers_heart=True)
    images = dicom_headers(folder)
    write_structured_report(report, images, tmp_path / "sr.dcm", segmentation_dataset(labels, images))
    sr = hd.sr.srread(tmp_path / "sr.dcm")
    groups = sr.content.get_image_measurement_groups()
    found = {m.name.value: (m.value, m.unit.value) for group in groups for m in group.get_measurements()}
    assert found["8821-1"] == (pytest.approx(report.edv_ml, rel=1e-5), "ml")
    assert found["8811-2"] == (pytest.approx(report.ef_percent, rel=1e-5), "%")
    assert found["8818-7"] == (pytest.approx(report.rv_ef_percent, rel=1e-5), "%")
    assert found["18087-7"] == (pytest.approx(report.lv_mass_g, rel=1e-5), "g")
    assert str(sr.PatientName) == PATIENT and sr.VerificationFlag == "UNVERIFIED"
    referenced = {
        item.ReferencedSOPInstanceUID
        for study in sr.CurrentRequestedProcedureEvidenceSequence
        for series in study.ReferencedSeriesSequence
        for item in series.ReferencedSOPSequence
    }
    assert {image.SOPInstanceUID for frames in images for image in frames} < referenced and len(referenced) == 41


def test_objects_of_a_multi_frame_image_name_its_frames(tmp_path: Path) -> None:
    hd = pytest.importorskip("highdicom")
    from CardioDiTLib.function.cardiac_function import cardiac_function
    from CardioDiTLib.function.structured_report import write_structured_report
    from CardioDiTLib.io.dicom import dicom_headers
    from CardioDiTLib.io.dicom_seg import segmentation_dataset

    values = np.rint(PHANTOM.cine.array).astype(np.int16)
    source = save_cine(
        Cine(values, PHANTOM.cine.affine, PHANTOM.cine.frame_times), tmp_path / "a.dcm", multi_frame=True
    )
    cine = load_cine(source)
    labels = Segmentation(PHANTOM.segmentation.array, cine.affine, cine.frame_times)
    seg = hd.seg.segread(save_segmentation(labels, tmp_path / "seg.dcm", source=source))
    assert CineFile(str(source)).dicom_source()["source"] == source, "the commands take the file as the library does"
    image = pydicom.dcmread(source)
    assert image.SOPClassUID == "1.2.840.10008.5.1.4.1.1.4.1" and seg.NumberOfFrames == 3 * 5 * 8
    # an independent reader finds the labels of each frame of the image, by place and time of that frame
    for number, groups in enumerate(image.PerFrameFunctionalGroupsSequence, start=1):
        pixels = seg.get_pixels_by_source_frame(image.SOPInstanceUID, [number], combine_segments=True)[0]
        place = np.array(groups.PlanePositionSequence[0].ImagePositionPatient, float)
        z = round(labels.ras_to_index(np.diag([-1.0, -1.0, 1.0]) @ place)[2])
        time_s = float(groups.CardiacSynchronizationSequence[0].NominalCardiacTriggerDelayTime) / 1000
        t = int(np.argmin(np.abs(labels.frame_times - time_s)))
        assert np.array_equal(pixels, labels.array[t, z]), number
    (series,) = seg.ReferencedSeriesSequence
    (instance,) = series.ReferencedInstanceSequence
    assert instance.ReferencedSOPInstanceUID == image.SOPInstanceUID
    assert instance.ReferencedSOPClassUID == image.SOPClassUID
    back = load_segmentation(tmp_path / "seg.dcm")
    assert np.array_equal(back.array, labels.array) and back.affine == pytest.approx(labels.affine, abs=1e-6)
    assert back.frame_times == pytest.approx(labels.frame_times)

    report, images = cardiac_function(labels, stack_covers_heart=True), dicom_headers(source)
    write_structured_report(report, images, tmp_path / "sr.dcm", segmentation_dataset(labels, images))
    sr = hd.sr.srread(tmp_path / "sr.dcm")
    (left, _right) = sr.content.get_image_measurement_groups()
    (reference,) = left.source_images
    measured = {
        frame_of.InstanceNumber
        for frames in images
        for t, frame_of in enumerate(frames)
        if t in (report.ed_frame, report.es_frame)
    }
    assert set(reference.referenced_frame_numbers) == measured and len(measured) == 10
    (study,) = sr.CurrentRequestedProcedureEvidenceSequence
    assert sum(len(one.ReferencedSOPSequence) for one in study.ReferencedSeriesSequence) == 2, "the image and the SEG"


def test_objects_of_a_synthetic_heart_say_so(tmp_path: Path) -> None:
    pytest.importorskip("highdicom")
    from CardioDiTLib.function.cardiac_function import cardiac_function
    from CardioDiTLib.function.structured_report import structured_report
    from CardioDiTLib.io.dicom import dicom_headers

    cine = Cine(PHANTOM.cine.array, PHANTOM.cine.affine, PHANTOM.cine.frame_times, {"synthetic": True, "model": "m"})
    folder = save_cine(cine, tmp_path / "a.dcm")
    labels = Segmentation(PHANTOM.segmentation.array, cine.affine, cine.frame_times, dict(cine.meta))
    seg = pydicom.dcmread(save_segmentation(labels, tmp_path / "seg.dcm", source=folder))
    report = cardiac_function(labels, stack_covers_heart=True)
    sr = structured_report(report, dicom_headers(folder))
    for made in (seg, sr):
        assert made.SyntheticData == "YES" and str(made.PatientName) == "SYNTHETIC^NOT A PATIENT"
    back = load_segmentation(tmp_path / "seg.dcm")
    assert np.array_equal(back.array, labels.array) and back.affine == pytest.approx(labels.affine, abs=1e-6)
    assert back.meta["synthetic"] is True

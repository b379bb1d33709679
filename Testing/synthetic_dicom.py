"""Classic cine DICOM files for tests: one image a file, names shuffled, identity of the patient inside."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from synthetic_cines import make_cine

from CardioDiTLib.cine import Cine
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.io import load_cine

PATIENT = "Doe^Jane"
_MR = "1.2.840.10008.5.1.4.1.1.4"

CINE = make_cine((6, 4, 8, 7), times=np.arange(6) * 0.05)


def same(loaded: Cine, cine: Cine = CINE) -> None:
    """See that what was read is the cine that was written."""
    assert np.array_equal(loaded.array, cine.array)
    assert loaded.affine == pytest.approx(cine.affine, abs=1e-4)
    assert loaded.frame_times == pytest.approx(cine.frame_times, abs=1e-6)


def refused(folder: Path, sentence: str, **options: object) -> None:
    """See that reading is refused with such a sentence and a hint."""
    with pytest.raises(CardioDiTError, match=sentence) as caught:
        load_cine(folder, **options)  # type: ignore[arg-type]
    assert caught.value.hint


def write_series(
    cine: Cine,
    folder: Path,
    *,
    one_series_a_slice: bool = False,
    change: Callable[[Dataset, int, int], bool | None] | None = None,
    study: str | None = None,
    seed: int = 1,
) -> list[str]:
    """Write an int16 cine as DICOM images whose file names and instance numbers say nothing about their order.

    Args:
        cine: Its affine must be right-handed.
        folder: Made if it is missing.
        one_series_a_slice: A series UID for each slice instead of one for all.
        change: Called with (dataset, slice, frame) before writing; returning False leaves the image out.
        study: Study UID; a new one where it is None.
        seed: Of the shuffling.

    Returns:
        The series UIDs.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ cine.affine
    directions = lps[:3, :3] / np.asarray(cine.spacing)
    study = study or generate_uid()
    series = [generate_uid() for _ in range(cine.n_slices if one_series_a_slice else 1)]
    names = np.random.default_rng(seed).permutation(cine.n_slices * cine.n_frames)
    for z in range(cine.n_slices):
        for t in range(cine.n_frames):
            name = int(names[z * cine.n_frames + t])
            meta = FileMetaDataset()
            meta.TransferSyntaxUID = ExplicitVRLittleEndian
            meta.MediaStorageSOPClassUID = _MR
            meta.MediaStorageSOPInstanceUID = generate_uid()
            image = FileDataset("", {}, b"\0" * 128, meta, is_implicit_VR=False, is_little_endian=True)
            image.SOPClassUID = _MR
            image.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
            image.StudyInstanceUID = study
            image.SeriesInstanceUID = series[z % len(series)]
            image.SeriesNumber = z % len(series) + 1
            image.InstanceNumber = name + 1
            image.PatientName = PATIENT
            image.PatientID = "4711"
            image.Modality = "MR"
            image.Manufacturer = "Maker"
            image.ImageType = ["ORIGINAL", "PRIMARY", "M"]
            image.TriggerTime = f"{12.5 + 1000.0 * cine.frame_times[t]:.6f}"
            image.ImagePositionPatient = [f"{v:.9g}" for v in lps[:3, :3] @ (0, 0, z) + lps[:3, 3]]
            image.ImageOrientationPatient = [f"{v:.9g}" for v in (*directions[:, 0], *directions[:, 1])]
            image.PixelSpacing = [f"{cine.spacing[1]:.9g}", f"{cine.spacing[0]:.9g}"]
            image.SliceThickness = "8"
            image.Rows, image.Columns = cine.shape[2:]
            image.SamplesPerPixel = 1
            image.PhotometricInterpretation = "MONOCHROME2"
            image.BitsAllocated = image.BitsStored = 16
            image.HighBit = 15
            image.PixelRepresentation = 1
            image.PixelData = np.ascontiguousarray(cine.array[t, z]).astype("<i2").tobytes()
            if change is not None and change(image, z, t) is False:
                continue
            image.save_as(folder / f"IM{name:05d}.dcm")
    return series


def write_enhanced(
    cine: Cine,
    path: Path,
    *,
    shared_orientation: bool = True,
    trigger_keyword: str | None = "NominalCardiacTriggerDelayTime",
    slope: float = 1.0,
    series: str = "1.2.3.5",
    study: str = "1.2.3.1",
    seed: int = 1,
) -> None:
    """Write an int16 cine as one enhanced MR file, its frames shuffled.

    Args:
        cine: Its affine must be right-handed.
        path: The file.
        shared_orientation: Orientation and spacing in the shared functional groups, not in each frame's.
        trigger_keyword: Attribute of the cardiac synchronization; without it frames have a temporal position only.
        slope: Rescale slope of every frame.
        series: Series UID.
        study: Study UID.
        seed: Of the shuffling.
    """
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ cine.affine
    directions = lps[:3, :3] / np.asarray(cine.spacing)
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = f"{_MR}.1"
    meta.MediaStorageSOPInstanceUID = generate_uid()
    image = FileDataset("", {}, b"\0" * 128, meta, is_implicit_VR=False, is_little_endian=True)
    image.SOPClassUID, image.SOPInstanceUID = f"{_MR}.1", meta.MediaStorageSOPInstanceUID
    image.StudyInstanceUID, image.SeriesInstanceUID, image.SeriesNumber = study, series, 7
    image.Modality, image.PatientName, image.ImageType = "MR", PATIENT, ["ORIGINAL", "PRIMARY", "CARDIAC", "NONE"]
    image.NumberOfFrames, image.InstanceNumber = cine.n_slices * cine.n_frames, 1
    image.Rows, image.Columns = cine.shape[2:]
    image.SamplesPerPixel, image.PhotometricInterpretation, image.PixelRepresentation = 1, "MONOCHROME2", 1
    image.BitsAllocated = image.BitsStored = 16
    image.HighBit = 15

    def item(**values: object) -> Dataset:
        dataset = Dataset()
        for keyword, value in values.items():
            setattr(dataset, keyword, value)
        return dataset

    orientation = item(ImageOrientationPatient=[f"{v:.9g}" for v in (*directions[:, 0], *directions[:, 1])])
    measures = item(
        PixelSpacing=[f"{cine.spacing[1]:.9g}", f"{cine.spacing[0]:.9g}"],
        SliceThickness="8",
        SpacingBetweenSlices=f"{cine.spacing[2]:.9g}",
    )
    fixed = {"PlaneOrientationSequence": [orientation], "PixelMeasuresSequence": [measures]}
    image.SharedFunctionalGroupsSequence = [item(**(fixed if shared_orientation else {}))]
    frames, voxels = [], []
    for number in np.random.default_rng(seed).permutation(cine.n_slices * cine.n_frames):
        z, t = divmod(int(number), cine.n_frames)
        groups = item(
            PlanePositionSequence=[
                item(ImagePositionPatient=[f"{v:.9g}" for v in lps[:3, :3] @ (0, 0, z) + lps[:3, 3]])
            ],
            PixelValueTransformationSequence=[item(RescaleSlope=f"{slope:g}", RescaleIntercept="0", RescaleType="US")],
            FrameContentSequence=[item(TemporalPositionIndex=t + 1, StackID="1", InStackPositionNumber=z + 1)],
            **({} if shared_orientation else fixed),
        )
        if trigger_keyword is not None:
            sync = item(**{trigger_keyword: 12.5 + 1000.0 * float(cine.frame_times[t]), "RRIntervalTimeNominal": 900.0})
            groups.CardiacSynchronizationSequence = [sync]
        frames.append(groups)
        voxels.append(np.ascontiguousarray(cine.array[t, z]).astype("<i2").tobytes())
    image.PerFrameFunctionalGroupsSequence = frames
    image.PixelData = b"".join(voxels)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save_as(path)

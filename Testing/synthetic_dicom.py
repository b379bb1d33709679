"""Classic cine DICOM files for tests: one image a file, names shuffled, identity of the patient inside."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from CardioDiTLib.cine import Cine

PATIENT = "Doe^Jane"
_MR = "1.2.840.10008.5.1.4.1.1.4"


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

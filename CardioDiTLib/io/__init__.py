"""Reading and writing of cines and segmentations, whatever the file format.

======================  ====  =====  ==================================================
format                  read  write  told by
======================  ====  =====  ==================================================
NIfTI                   yes   yes    ``.nii``, ``.nii.gz``
Slicer volume sequence  yes   yes    ``.seq.nrrd``, ``.nrrd``
DICOM, classic          yes   no     a folder, or ``.zip`` (cines only)
======================  ====  =====  ==================================================
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from CardioDiTLib.cine import Cine, Segmentation
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.io.raw_frames import RawFrames

__all__ = ["load_cine", "load_segmentation", "save_cine", "save_segmentation"]

_NIFTI = (".nii", ".nii.gz")
_NRRD = (".nrrd",)
_FORMATS_HINT = "Use .nii, .nii.gz, .seq.nrrd or .nrrd; DICOM is read from a folder or a .zip."


def load_cine(
    path: str | os.PathLike[str],
    *,
    frame_interval_s: float | None = None,
    square_axes: bool = False,
    series_uid: str | Sequence[str] | None = None,
    allow_incomplete: bool = False,
) -> Cine:
    """Read a cine from NIfTI, a Slicer sequence file, or a folder or zip of DICOM images.

    Args:
        path: File or folder; the format is told from the suffix.
        frame_interval_s: Seconds between frames, in place of what the file says. Where neither says anything a cycle of
            one second is assumed and ``meta["frame_times_assumed"]`` is True.
        square_axes: Take the nearest right-angled axes where the file's are slightly crooked (below 3 degrees).
        series_uid: DICOM only: the series to read, one or several.
        allow_incomplete: DICOM only: leave slices out that have another number of frames than most.

    Returns:
        The cine: (T, Z, Y, X), int16 or float32, mm in RAS, seconds.

    Raises:
        CardioDiTError: Anything that keeps the file from being a cine: missing, truncated, damaged, another format, 3D,
            one frame, voxels that are not finite, axes that are not at right angles.

    Examples:
        >>> cine = load_cine("heart.nii.gz")  # doctest: +SKIP
        >>> cine.shape, cine.spacing, cine.frame_interval_s  # doctest: +SKIP
        ((20, 11, 256, 256), (1.367, 1.367, 10.0), 0.051)
    """
    source = _existing(path)
    try:
        if source.is_dir() or _suffix(source) == ".zip":
            from CardioDiTLib.io.dicom import read_dicom  # pydicom takes long to import

            raw = read_dicom(
                source, frame_interval_s=frame_interval_s, series_uid=series_uid, allow_incomplete=allow_incomplete
            )
        else:
            raw = _read_file(source, frame_interval_s, square_axes, allow_volume=False)
        return Cine(raw.array, raw.affine, raw.frame_times, raw.meta)
    except CardioDiTError as error:
        raise _naming(source, error) from error
    except MemoryError as error:
        raise _too_large(source) from error


def save_cine(cine: Cine, path: str | os.PathLike[str]) -> Path:
    """Write a cine as NIfTI or as a Slicer sequence file.

    The file appears whole or not at all; the same cine gives the same bytes.

    Args:
        cine: What to write.
        path: Ends in .nii, .nii.gz, .seq.nrrd or .nrrd; missing folders are made.

    Returns:
        The path.

    Raises:
        CardioDiTError: Another suffix, or the file cannot be written.
    """
    return _save(cine, path)


def load_segmentation(
    path: str | os.PathLike[str],
    *,
    label_map: Mapping[int, int] | None = None,
    frame_interval_s: float | None = None,
    square_axes: bool = False,
) -> Segmentation:
    """Read a segmentation from NIfTI or a Slicer sequence file; a 3D file is one frame.

    Args:
        path: The file.
        label_map: From the file's labels to 0 background, 1 RV, 2 myocardium, 3 LV; labels that it does not name become
            background.
        frame_interval_s: Seconds between frames, in place of what the file says.
        square_axes: Take the nearest right-angled axes where the file's are slightly crooked (below 3 degrees).

    Returns:
        The segmentation: (T, Z, Y, X), uint8, mm in RAS, seconds.

    Raises:
        CardioDiTError: Anything that keeps the file from being a segmentation, labels above 3 included.
    """
    source = _existing(path)
    try:
        raw = _read_file(source, frame_interval_s, square_axes, allow_volume=True)
        array = raw.array
        if label_map is not None:
            array = np.zeros(raw.array.shape, np.int64)
            for label, meaning in label_map.items():
                array[raw.array == label] = meaning
        return Segmentation(array, raw.affine, raw.frame_times, raw.meta)
    except CardioDiTError as error:
        raise _naming(source, error) from error
    except MemoryError as error:
        raise _too_large(source) from error


def save_segmentation(segmentation: Segmentation, path: str | os.PathLike[str]) -> Path:
    """Write a segmentation as NIfTI or as a Slicer sequence file of label maps.

    Args:
        segmentation: What to write.
        path: Ends in .nii, .nii.gz, .seq.nrrd or .nrrd; missing folders are made.

    Returns:
        The path.

    Raises:
        CardioDiTError: Another suffix, or the file cannot be written.
    """
    return _save(segmentation, path)


def _suffix(path: Path) -> str:
    """The suffix that tells the format, lower case; ``.nii.gz`` is one suffix."""
    name = path.name.lower()
    return ".nii.gz" if name.endswith(".nii.gz") else path.suffix.lower()


def _existing(path: str | os.PathLike[str]) -> Path:
    source = Path(path)
    try:
        size = source.stat().st_size
    except FileNotFoundError as error:
        raise CardioDiTError(f"'{source}' does not exist.", "Check the path.") from error
    except (OSError, ValueError) as error:  # no permission, a name that is too long or holds a zero byte
        raise CardioDiTError(f"'{source}' cannot be opened: {error}.", "Check the path.") from error
    if size == 0 and source.is_file():
        raise CardioDiTError(f"'{source.name}' is empty.", "Copy or download the file again.")
    return source


def _read_file(source: Path, frame_interval_s: float | None, square_axes: bool, allow_volume: bool) -> RawFrames:
    suffix = _suffix(source)
    if source.is_file() and suffix in _NIFTI:
        from CardioDiTLib.io.nifti import read_nifti

        return read_nifti(source, frame_interval_s=frame_interval_s, square_axes=square_axes, allow_volume=allow_volume)
    if source.is_file() and suffix in _NRRD:
        from CardioDiTLib.io.nrrd_sequence import read_nrrd

        return read_nrrd(source, frame_interval_s=frame_interval_s, square_axes=square_axes, allow_volume=allow_volume)
    if suffix in (".dcm", ".ima"):
        raise CardioDiTError(
            f"'{source.name}' is a single DICOM file.", "Give the folder that holds all images of the cine."
        )
    raise CardioDiTError(f"'{source.name}' is of no format that is read here.", _FORMATS_HINT)


def _save(image: Cine | Segmentation, path: str | os.PathLike[str]) -> Path:
    destination = Path(path)
    suffix = _suffix(destination)
    if suffix in _NIFTI:
        from CardioDiTLib.io.nifti import write_nifti

        write_nifti(image, destination)
    elif suffix in _NRRD:
        from CardioDiTLib.io.nrrd_sequence import write_nrrd

        write_nrrd(image, destination)
    else:
        raise CardioDiTError(
            f"'{destination.name}' ends in no format that is written here.",
            "Use .nii, .nii.gz, .seq.nrrd or .nrrd.",
        )
    return destination


def _naming(source: Path, error: CardioDiTError) -> CardioDiTError:
    """The same error, with the file's name in front where the sentence does not have it."""
    if source.name in error.message:
        return error
    return CardioDiTError(f"'{source.name}': {error.message}", error.hint)


def _too_large(source: Path) -> CardioDiTError:
    return CardioDiTError(f"'{source.name}' does not fit into memory.", "Close other programs, or crop the cine first.")

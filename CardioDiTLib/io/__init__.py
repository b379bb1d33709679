"""Reading and writing of cines and segmentations, whatever the file format.

======================  ====  =====  =====================================================
format                  read  write  told by
======================  ====  =====  =====================================================
NIfTI                   yes   yes    ``.nii``, ``.nii.gz``
Slicer volume sequence  yes   yes    ``.seq.nrrd``, ``.nrrd``
DICOM                   yes   yes    a folder, ``.zip`` or multi-frame file (cines only)
======================  ====  =====  =====================================================
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from CardioDiTLib.cine import Cine, Segmentation
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.files import at_home
from CardioDiTLib.io.frame_times import RawFrames, add_note
from CardioDiTLib.io.label_convention import named_labels
from CardioDiTLib.io.plausible import judge_spacing, judged_times

__all__ = ["load_cine", "load_segmentation", "save_cine", "save_segmentation"]

_NIFTI = (".nii", ".nii.gz")
_NRRD = (".nrrd",)
_FORMATS_HINT = "Use .nii, .nii.gz, .seq.nrrd, .nrrd or .nhdr; DICOM is read from a folder or a .zip."


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
        if source.is_dir() or _suffix(source) == ".zip" or _is_multi_frame(source):
            from CardioDiTLib.io.dicom import read_dicom  # pydicom takes long to import

            raw = read_dicom(
                source, frame_interval_s=frame_interval_s, series_uid=series_uid, allow_incomplete=allow_incomplete
            )
        else:
            raw = _read_file(source, frame_interval_s, square_axes, allow_volume=False)
        judge_spacing(raw.affine, raw.meta, raw.array.shape[1])
        return Cine(raw.array, raw.affine, judged_times(raw.frame_times, raw.meta), raw.meta)
    except CardioDiTError as error:
        raise _naming(source, error) from error
    except MemoryError as error:
        raise _too_large(source) from error


def save_cine(cine: Cine, path: str | os.PathLike[str], *, multi_frame: bool = False) -> Path:
    """Write a cine as NIfTI, as a Slicer sequence file, or as DICOM.

    The file, or the folder of files, appears whole or not at all; the same cine gives the same bytes.

    Args:
        cine: What to write.
        path: Ends in .nii, .nii.gz, .seq.nrrd or .nrrd; or in .dcm, then it is a folder of classic MR images. Missing
            folders are made.
        multi_frame: DICOM only: one file, an enhanced multi-frame MR image, in place of the folder.

    Returns:
        The path.

    Raises:
        CardioDiTError: Another suffix, or the file cannot be written.
    """
    destination = at_home(path)
    if _suffix(destination) != ".dcm":
        return _save(cine, path)
    from CardioDiTLib.io.dicom_write import write_dicom, write_enhanced_dicom

    (write_enhanced_dicom if multi_frame else write_dicom)(cine, destination)
    return destination


def load_segmentation(
    path: str | os.PathLike[str],
    *,
    label_map: Mapping[int, int] | str | None = None,
    frame_interval_s: float | None = None,
    square_axes: bool = False,
) -> Segmentation:
    """Read a segmentation from NIfTI, a Slicer sequence file or DICOM SEG; a 3D file is one frame.

    Args:
        path: The file.
        label_map: From the file's labels to 0 background, 1 RV, 2 myocardium, 3 LV, those that it does not name to
            background; or the name of a convention, or ``1:LV,2:MYO,3:RV``. None to tell by anatomy, with a note where
            the labels are not numbered so already (:mod:`CardioDiTLib.io.label_convention`).
        frame_interval_s: Seconds between frames, in place of what the file says.
        square_axes: Take the nearest right-angled axes where the file's are slightly crooked (below 3 degrees).

    Returns:
        The segmentation: (T, Z, Y, X), uint8, mm in RAS, seconds.

    Raises:
        CardioDiTError: Anything that keeps the file from being a segmentation, or its labels cannot be told.
    """
    source = _existing(path)
    try:
        raw = _read_file(source, frame_interval_s, square_axes, allow_volume=True)
        judge_spacing(raw.affine, raw.meta, raw.array.shape[1])
        array, meta, note = named_labels(raw.array, raw.meta, label_map)
        segmentation = Segmentation(array, raw.affine, judged_times(raw.frame_times, meta), meta)
        if note:
            add_note(segmentation.meta, note)
        return segmentation
    except CardioDiTError as error:
        raise _naming(source, error) from error
    except MemoryError as error:
        raise _too_large(source) from error


def save_segmentation(
    segmentation: Segmentation,
    path: str | os.PathLike[str],
    *,
    source: str | os.PathLike[str] | None = None,
    series_uid: str | Sequence[str] | None = None,
    allow_incomplete: bool = False,
) -> Path:
    """Write a segmentation as NIfTI, as a Slicer sequence file of label maps, or as DICOM SEG.

    Args:
        segmentation: What to write.
        path: Ends in .nii, .nii.gz, .seq.nrrd, .nrrd, or .dcm (DICOM SEG, needs highdicom); missing folders are made.
        source: DICOM SEG only: the folder or zip of DICOM images that were segmented; each frame names its image.
        series_uid: DICOM SEG only: as the cine was loaded.
        allow_incomplete: DICOM SEG only: as the cine was loaded.

    Returns:
        The path.

    Raises:
        CardioDiTError: Another suffix, or the file cannot be written.
    """
    destination = at_home(path)
    if _suffix(destination) != ".dcm":
        return _save(segmentation, path)
    if source is None:
        raise CardioDiTError(
            "A DICOM segmentation must name the images it belongs to.", "Give source, the folder of DICOM images."
        )
    from CardioDiTLib.io.dicom import dicom_headers
    from CardioDiTLib.io.dicom_seg import write_segmentation_dicom

    images = dicom_headers(_existing(source), series_uid=series_uid, allow_incomplete=allow_incomplete)
    write_segmentation_dicom(segmentation, images, destination)
    return destination


def _suffix(path: Path) -> str:
    """The suffix that tells the format, lower case; ``.nii.gz`` is one suffix."""
    name = path.name.lower()
    return ".nii.gz" if name.endswith(".nii.gz") else path.suffix.lower()


def _existing(path: str | os.PathLike[str]) -> Path:
    source = at_home(path)
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
    if source.is_file() and suffix in (*_NRRD, ".nhdr"):
        from CardioDiTLib.io.nrrd_sequence import read_nrrd

        return read_nrrd(source, frame_interval_s=frame_interval_s, square_axes=square_axes, allow_volume=allow_volume)
    if allow_volume and source.is_file() and suffix == ".dcm":
        from CardioDiTLib.io.dicom_seg import is_segmentation_file, read_segmentation_dicom

        if is_segmentation_file(source):
            return read_segmentation_dicom(source, frame_interval_s=frame_interval_s)
    if suffix in (".dcm", ".ima") or _is_dicom(source):
        raise CardioDiTError(
            f"'{source.name}' is a single DICOM file.", "Give the folder that holds all images of the cine."
        )
    raise CardioDiTError(f"'{source.name}' is of no format that is read here.", _FORMATS_HINT)


def _is_dicom(source: Path) -> bool:
    try:
        with source.open("rb") as stream:
            return stream.read(132)[128:] == b"DICM"
    except OSError:
        return False


def _is_multi_frame(source: Path) -> bool:
    """Whether a single file is a multi-frame DICOM image, whatever its name."""
    if _suffix(source) in (*_NIFTI, *_NRRD, ".nhdr") or not _is_dicom(source):
        return False
    from CardioDiTLib.io.dicom_frames import is_multi_frame_file

    return is_multi_frame_file(source)


def _save(image: Cine | Segmentation, path: str | os.PathLike[str]) -> Path:
    destination = at_home(path)
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
            "Use .nii, .nii.gz, .seq.nrrd or .nrrd; for a cine also .dcm, a folder of DICOM images.",
        )
    return destination


def _naming(source: Path, error: CardioDiTError) -> CardioDiTError:
    """The same error, with the file's name in front where the sentence does not have it."""
    if source.name in error.message:
        return error
    return CardioDiTError(f"'{source.name}': {error.message}", error.hint)


def _too_large(source: Path) -> CardioDiTError:
    return CardioDiTError(f"'{source.name}' does not fit into memory.", "Close other programs, or crop the cine first.")

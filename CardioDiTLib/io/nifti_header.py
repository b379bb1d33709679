"""What a NIfTI header says of millimetres, decided by the standard where its parts contradict each other."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from CardioDiTLib.cine import MAX_SKEW, axis_skew
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.io.frame_times import add_note

_SAME_LENGTH = 2e-3
"""Relative difference of two spacings that rounding of decimals explains."""
_NEAR_LENGTH = 0.05
_SAME_DIRECTION = 0.02

_EXPORT_HINT = "Make the file again from its DICOM images, or correct its header."


def qform_rotation(b: float, c: float, d: float, handedness: float) -> NDArray[np.float64]:
    """Rotation of a unit quaternion's last three numbers, (3, 3) with the axes as columns.

    As nifti1_io.c takes it: where b2 + c2 + d2 exceeds 1 (rounding), they are scaled to 1 and a is 0.

    Args:
        b, c, d: Of the header.
        handedness: pixdim[0]; negative: the third axis is turned round.
    """
    vector = np.array([b, c, d], dtype=np.float64)
    a2 = 1.0 - float(vector @ vector)
    if a2 < 1e-7:
        vector /= np.linalg.norm(vector)
        a = 0.0
    else:
        a = float(np.sqrt(a2))
    b, c, d = vector
    rotation = np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - c * c - b * b],
        ]
    )
    if handedness < 0:
        rotation[:, 2] *= -1.0
    return rotation


def header_affine(header: Any, name: str, meta: dict[str, Any]) -> NDArray[np.float64]:
    """Voxel (x, y, z) to the header's unit of length, RAS.

    pixdim, sform and qform should agree. Where they do not:

    =====================================  =======================================================================
    header                                 reading
    =====================================  =======================================================================
    sform has no lengths (1, 1, 1)         lengths of pixdim; directions of the qform, without it of the sform
    pixdim has none (1, 1, 1, or zeros)    the sform
    both have, within 5 percent            the sform
    both have, they differ, qform present  lengths of pixdim and directions of the qform, as ITK takes it
    both have, they differ, no qform       refused
    sform of zeros, or not finite          the qform, without it pixdim alone
    sform crooked, qform the same but so   the qform
    =====================================  =======================================================================

    Every row but the third adds a note.

    Args:
        header: A nibabel header, not corrected.
        name: Of the file.
        meta: Gets the notes.

    Raises:
        CardioDiTError: No lengths at all, or two that contradict each other.
    """
    pixdim = np.abs(np.asarray(header["pixdim"], dtype=np.float64)[1:4])
    has_pixdim = bool(np.isfinite(pixdim).all() and (pixdim > 1e-6).all())
    sform = _sform(header, meta)
    qform = _qform(header, pixdim, meta) if has_pixdim else None
    if sform is None and qform is None:
        if not has_pixdim:
            raise CardioDiTError(
                f"'{name}' has no voxel size: its header gives {', '.join(f'{v:g}' for v in pixdim)}.", _EXPORT_HINT
            )
        add_note(meta, "The header gives no orientation; one was made from the spacing.")
        return _centred(header, pixdim)
    if sform is None:
        return qform if qform is not None else np.eye(4)
    lengths = np.linalg.norm(sform[:3, :3], axis=0)
    if not has_pixdim:
        add_note(meta, "The header's pixdim holds no voxel size; that of the sform was taken.")
        return sform
    apart = float(np.abs(lengths / pixdim - 1.0).max())
    if apart <= _SAME_LENGTH:
        return _sform_or_qform(sform, qform, meta)
    said = f"the sform says {_size(lengths)}, pixdim {_size(pixdim)}"
    if _unit(lengths):
        add_note(meta, f"The header contradicts itself ({said}); an sform of length 1 holds no size, pixdim was taken.")
        return qform if qform is not None else _with_lengths(sform, pixdim)
    if _unit(pixdim):
        add_note(meta, f"The header contradicts itself ({said}); a pixdim of 1 is a default, the sform was taken.")
        return sform
    if apart <= _NEAR_LENGTH:
        add_note(meta, f"The header's parts differ slightly ({said}); the sform was taken.")
        return sform
    if qform is not None:
        add_note(meta, f"The header contradicts itself ({said}); pixdim and the qform were taken, as ITK does.")
        return qform
    raise CardioDiTError(f"The header of '{name}' contradicts itself: {said}.", _EXPORT_HINT)


def _sform(header: Any, meta: dict[str, Any]) -> NDArray[np.float64] | None:
    if int(header["sform_code"]) <= 0:
        return None
    affine = np.eye(4)
    affine[:3] = [np.asarray(header[f"srow_{axis}"], dtype=np.float64) for axis in "xyz"]
    if not np.isfinite(affine).all() or (np.linalg.norm(affine[:3, :3], axis=0) < 1e-6).any():
        add_note(meta, "The header's sform holds no axes, though its code says that it does; it was not used.")
        return None
    return affine


def _qform(header: Any, pixdim: NDArray[np.float64], meta: dict[str, Any]) -> NDArray[np.float64] | None:
    if int(header["qform_code"]) <= 0:
        return None
    quaternion = [float(header[f"quatern_{letter}"]) for letter in "bcd"]
    offset = np.array([float(header[f"qoffset_{axis}"]) for axis in "xyz"])
    if not (np.isfinite(quaternion).all() and np.isfinite(offset).all()):
        add_note(meta, "The header's qform holds no axes, though its code says that it does; it was not used.")
        return None
    excess = float(np.square(quaternion).sum()) - 1.0
    if excess > 1e-2:
        add_note(meta, f"The header's quaternion is too long (by {excess:.2g}); it was scaled to length 1.")
    affine = np.eye(4)
    b, c, d = quaternion
    affine[:3, :3] = qform_rotation(b, c, d, float(header["pixdim"][0])) * pixdim
    affine[:3, 3] = offset
    return affine


def _sform_or_qform(
    sform: NDArray[np.float64], qform: NDArray[np.float64] | None, meta: dict[str, Any]
) -> NDArray[np.float64]:
    """Both have the same lengths: the sform, unless it is the qform made crooked."""
    if qform is None:
        return sform
    lengths = np.linalg.norm(sform[:3, :3], axis=0)
    difference = float(np.abs(sform[:3, :3] / lengths - qform[:3, :3] / lengths).max())
    if axis_skew(sform) > MAX_SKEW and difference <= _SAME_DIRECTION:
        add_note(meta, "The axes of the header's sform are not at right angles; those of the qform were taken.")
        return qform
    if difference > _SAME_DIRECTION:
        add_note(meta, "The header's sform and qform point in different directions; the sform was taken.")
    return sform


def _with_lengths(affine: NDArray[np.float64], lengths: NDArray[np.float64]) -> NDArray[np.float64]:
    scaled = affine.copy()
    scaled[:3, :3] *= lengths / np.linalg.norm(affine[:3, :3], axis=0)
    return scaled


def _centred(header: Any, pixdim: NDArray[np.float64]) -> NDArray[np.float64]:
    """As nibabel places an image without orientation: x towards the left, the middle at 0."""
    shape = np.asarray(header["dim"], dtype=np.float64)[1:4]
    affine = np.diag([-pixdim[0], pixdim[1], pixdim[2], 1.0])
    affine[:3, 3] = -affine[:3, :3] @ ((shape - 1.0) / 2.0)
    return affine


def _unit(lengths: NDArray[np.float64]) -> bool:
    return bool(np.allclose(lengths, 1.0, rtol=0.0, atol=1e-3))


def _size(lengths: NDArray[np.float64]) -> str:
    return " x ".join(f"{length:.4g}" for length in lengths)

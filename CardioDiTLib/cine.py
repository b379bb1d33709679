"""Cines, segmentations and landmark tracks: arrays over time with geometry and times.

Three frozen dataclasses are shared by every part of the library: :class:`Cine` (grey values), :class:`Segmentation`
(labels on the same kind of grid) and :class:`LandmarkTrack` (points that move with the frames).

Conventions, the same everywhere:

* arrays are ordered (T, Z, Y, X): frame, slice, row, column;
* an affine maps the voxel index (x, y, z) to millimetres in RAS (right, anterior, superior), as nibabel has it;
* times are in seconds and start at 0; the frames cover one cardiac cycle.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.labels import LABEL_NAMES, LABEL_ROUNDING

MAX_REPAIRED_SKEW = 0.05
"""Up to here (3 degrees) `square_axes` takes the nearest right angles; beyond lies a true shear."""
MAX_SKEW = 1e-4
"""Largest |cosine| between two axes that still counts as a right angle; ITK, and so Slicer, draws the line there."""

_AXES_HINT = (
    "Load the file with square_axes=True to take the nearest right-angled axes, or make it again from its DICOM images."
)


def axis_skew(affine: NDArray[np.float64]) -> float:
    """Largest |cosine| between two voxel axes of a 4x4 affine; 0 where all angles are right."""
    directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return float(np.abs(directions.T @ directions - np.eye(3)).max())


def check_affine(affine: ArrayLike) -> NDArray[np.float64]:
    """Check a voxel-to-millimetre matrix and return a read-only float64 copy.

    Args:
        affine: 4x4, voxel index (x, y, z) to mm in RAS.

    Returns:
        The matrix as float64, shape (4, 4), not writeable.

    Raises:
        CardioDiTError: Wrong shape, values that are not finite, last row not (0, 0, 0, 1), an axis of length zero, or
            axes that are not at right angles (:data:`MAX_SKEW`).
    """
    try:
        matrix = np.array(affine, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise CardioDiTError("The affine is not a matrix of numbers.", "Give a 4x4 matrix.") from error
    if matrix.shape != (4, 4):
        raise CardioDiTError(f"The affine has shape {matrix.shape}, not (4, 4).", "Give voxel (x, y, z) to mm in RAS.")
    if not np.isfinite(matrix).all():
        raise CardioDiTError("The affine holds values that are not finite.", "Write the file again from its source.")
    if not np.allclose(matrix[3], (0.0, 0.0, 0.0, 1.0), atol=1e-9):
        raise CardioDiTError("The last row of the affine is not 0 0 0 1.", "Give a voxel-to-mm matrix (x, y, z, 1).")
    spacing = np.linalg.norm(matrix[:3, :3], axis=0)
    if (spacing < 1e-6).any():
        raise CardioDiTError(
            f"A voxel axis has no length (spacing {_listed(spacing)} mm).", "Give every axis a spacing in mm."
        )
    skew = axis_skew(matrix)
    if skew > MAX_REPAIRED_SKEW:
        angle = float(np.degrees(np.arcsin(min(skew, 1.0))))
        raise CardioDiTError(
            f"The image axes are not at right angles (off by {angle:.3g} degrees).",
            "That is a true shear: make the file again from its DICOM images, or resample it to right-angled axes.",
        )
    if skew > MAX_SKEW:
        angle = float(np.degrees(np.arcsin(min(skew, 1.0))))
        raise CardioDiTError(f"The image axes are not at right angles (off by {angle:.3g} degrees).", _AXES_HINT)
    matrix.setflags(write=False)
    return matrix


def check_frame_times(frame_times: ArrayLike, n_frames: int) -> NDArray[np.float64]:
    """Check frame times and return a read-only float64 copy.

    Args:
        frame_times: (T,) seconds, starting at 0, rising.
        n_frames: T, the number of frames they belong to.

    Returns:
        The times as float64, shape (T,), not writeable.

    Raises:
        CardioDiTError: Wrong length, values that are not finite, a start other than 0, or times that do not rise.
    """
    try:
        times = np.array(frame_times, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise CardioDiTError("The frame times are not numbers.", "Give one time a frame, in seconds.") from error
    if times.shape != (n_frames,):
        raise CardioDiTError(
            f"There are {n_frames} frames but frame times of shape {times.shape}.", "Give one time a frame, in seconds."
        )
    if not np.isfinite(times).all():
        raise CardioDiTError("The frame times are not all finite.", "Give one time a frame, in seconds.")
    if n_frames and abs(times[0]) > 1e-9:
        raise CardioDiTError(f"The frame times start at {times[0]:g} s, not at 0.", "Subtract the first frame time.")
    if (np.diff(times) <= 0).any():
        late = int(np.flatnonzero(np.diff(times) <= 0)[0]) + 1
        raise CardioDiTError(f"The frame times do not rise at frame {late}.", "Sort the frames by their time.")
    times.setflags(write=False)
    return times


def cycle_of_times(frame_times: NDArray[np.float64]) -> float:
    """Length of the cycle that frames cover: T times the (median) interval.

    Where uneven frames last longer than that, as where some are missing, it is the last frame's time plus one (median)
    interval.

    Args:
        frame_times: (T,) seconds, rising; two or more.

    Returns:
        Seconds.
    """
    interval = float(np.median(np.diff(frame_times)))
    duration = float(frame_times[-1] - frame_times[0])
    return len(frame_times) * interval if len(frame_times) * interval > duration else duration + interval


def _listed(values: NDArray[Any]) -> str:
    return ", ".join(f"{value:g}" for value in values)


FramesT = TypeVar("FramesT", bound="_Frames")


@dataclass(frozen=True, eq=False, repr=False)
class _Frames:
    """What a cine and a segmentation have in common: frames on one grid, with geometry and time.

    Equality is identity (``eq=False``): comparing arrays element by element has no single truth value.
    """

    array: NDArray[Any]
    affine: NDArray[np.float64]
    frame_times: NDArray[np.float64]
    meta: dict[str, Any] = field(default_factory=dict)

    kind: ClassVar[str] = "image"
    min_frames: ClassVar[int] = 1

    def __post_init__(self) -> None:
        array = np.asarray(self.array)
        if array.ndim != 4:
            raise CardioDiTError(
                f"A {self.kind} has four dimensions (T, Z, Y, X), this array has {array.ndim}: {array.shape}.",
                "Stack the volumes of the cycle along a first axis.",
            )
        if array.shape[0] < self.min_frames:
            raise CardioDiTError(
                f"A {self.kind} needs at least {self.min_frames} frame{'s' * (self.min_frames > 1)}, "
                f"this one has {array.shape[0]}.",
                "Give the whole cardiac cycle, not a single phase.",
            )
        if 0 in array.shape:
            raise CardioDiTError(f"The {self.kind} is empty, its shape is {array.shape}.", "Check the source file.")
        object.__setattr__(self, "array", self._stored(array))
        object.__setattr__(self, "affine", check_affine(self.affine))
        object.__setattr__(self, "frame_times", check_frame_times(self.frame_times, array.shape[0]))
        object.__setattr__(self, "meta", dict(self.meta))

    def __repr__(self) -> str:
        """One line: arrays and provenance would fill pages."""
        frames, slices, rows, columns = self.shape
        spacing = " x ".join(f"{value:.3g}" for value in self.spacing)
        cycle = f", {self.cycle_s:.3g} s" if frames > 1 else ""
        mark = ", synthetic" if self.meta.get("synthetic") else ""
        return (
            f"{type(self).__name__}({frames} frames, {slices} slices, {columns} x {rows} pixels, {spacing} mm{cycle}, "
            f"{self.array.dtype}{mark})"
        )

    @staticmethod
    def _stored(array: NDArray[Any]) -> NDArray[Any]:
        """Turn the values into the type this class stores, or refuse them."""
        raise NotImplementedError

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(T, Z, Y, X)."""
        frames, slices, rows, columns = self.array.shape
        return frames, slices, rows, columns

    @property
    def n_frames(self) -> int:
        """Number of frames T."""
        return int(self.array.shape[0])

    @property
    def n_slices(self) -> int:
        """Number of slices Z."""
        return int(self.array.shape[1])

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Distance between voxel centres along (x, y, z), in mm."""
        x, y, z = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(x), float(y), float(z)

    @property
    def voxel_volume_ml(self) -> float:
        """Volume of one voxel in millilitres."""
        return float(abs(np.linalg.det(self.affine[:3, :3]))) / 1000.0

    @property
    def frame_interval_s(self) -> float:
        """Median time between neighbouring frames in seconds; NaN where there is only one frame."""
        return float(np.median(np.diff(self.frame_times))) if self.n_frames > 1 else float("nan")

    @property
    def cycle_s(self) -> float:
        """Length of the cycle in seconds, see :func:`cycle_of_times`; NaN where there is only one frame."""
        return cycle_of_times(self.frame_times) if self.n_frames > 1 else float("nan")

    def index_to_ras(self, points: ArrayLike) -> NDArray[np.float64]:
        """Voxel indices to millimetres.

        Args:
            points: (..., 3), voxel index in the order (x, y, z), fractions allowed.

        Returns:
            (..., 3), mm in RAS.
        """
        return np.asarray(points, dtype=np.float64) @ self.affine[:3, :3].T + self.affine[:3, 3]

    def ras_to_index(self, points: ArrayLike) -> NDArray[np.float64]:
        """Millimetres to voxel indices, the inverse of :meth:`index_to_ras`.

        Args:
            points: (..., 3), mm in RAS.

        Returns:
            (..., 3), voxel index in the order (x, y, z), with fractions.
        """
        offsets = np.asarray(points, dtype=np.float64) - self.affine[:3, 3]
        return offsets @ np.linalg.inv(self.affine[:3, :3]).T

    def with_array(self: FramesT, array: NDArray[Any], meta: dict[str, Any] | None = None) -> FramesT:
        """The same geometry and times with other values.

        Args:
            array: (T, Z, Y, X), the shape of this one.
            meta: Replaces the provenance; a copy of this one's where it is None.

        Raises:
            CardioDiTError: The shape differs, or the values are not finite numbers, or not labels.
        """
        array = np.asarray(array)
        if array.shape != self.array.shape:
            raise CardioDiTError(
                f"The new array has shape {array.shape}, the {self.kind} has {self.array.shape}.",
                "Make a new one with its own affine and frame times when the grid changes.",
            )
        return replace(self, array=array, meta=self.meta if meta is None else meta)


@dataclass(frozen=True, eq=False, repr=False)
class Cine(_Frames):
    """Grey values of a beating heart over one cycle, with geometry and time.

    ====================  ==========================================
    array given           array stored
    ====================  ==========================================
    int16, float32        as it is, not copied
    bool, other integers  int16 where every value fits, else float32
    other floats          float32
    ====================  ==========================================

    Args:
        array: (T, Z, Y, X), at least two frames, finite.
        affine: 4x4, voxel index (x, y, z) to mm in RAS, axes at right angles, either handedness.
        frame_times: (T,) seconds, starting at 0, rising; steps need not be equal.
        meta: Provenance, plain values that JSON can hold.

    Raises:
        CardioDiTError: Anything above is not so; the sentence says what.

    Examples:
        >>> import numpy as np
        >>> cine = Cine(np.zeros((20, 8, 64, 64), np.int16), np.diag([1.4, 1.4, 10, 1]), np.arange(20) * 0.05)
        >>> cine.spacing, round(cine.cycle_s, 3)
        ((1.4, 1.4, 10.0), 1.0)
    """

    kind: ClassVar[str] = "cine"
    min_frames: ClassVar[int] = 2

    @staticmethod
    def _stored(array: NDArray[Any]) -> NDArray[Any]:
        if array.dtype.kind in "biu":
            if array.dtype == np.int16:
                return array
            limits = np.iinfo(np.int16)
            fits = limits.min <= int(array.min()) and int(array.max()) <= limits.max
            return array.astype(np.int16 if fits else np.float32)
        if array.dtype.kind != "f":
            raise CardioDiTError(
                f"A cine holds one real number a voxel, this array is of type {array.dtype}.",
                "Convert colour or complex images to one grey value a voxel.",
            )
        with np.errstate(over="ignore"):
            values = array.astype(np.float32, copy=False)
        bad = values.size - int(np.count_nonzero(np.isfinite(values)))
        if bad:
            raise CardioDiTError(
                f"The cine holds {bad} voxel{'s' * (bad > 1)} that are not finite numbers (NaN or infinity).",
                "Replace them, for instance with numpy.nan_to_num, or write the file again from its source.",
            )
        return values


def whole_labels(array: NDArray[Any]) -> NDArray[Any]:
    """Labels that a scaled integer file stores a little beside whole numbers, made whole again.

    Args:
        array: Of any shape and type.

    Returns:
        The array itself where it holds whole numbers, or values that no rounding of labels explains.
    """
    if array.dtype.kind != "f" or not np.isfinite(array).all():
        return array
    whole = np.rint(array)
    return whole if float(np.abs(array - whole).max(initial=0.0)) <= LABEL_ROUNDING else array


@dataclass(frozen=True, eq=False, repr=False)
class Segmentation(_Frames):
    """Labels of a beating heart: 0 background, 1 right ventricle, 2 myocardium, 3 left-ventricular cavity.

    Args:
        array: (T, Z, Y, X), at least one frame, whole numbers from 0 to 3 of any type; stored as uint8.
        affine: 4x4, voxel index (x, y, z) to mm in RAS, axes at right angles, either handedness.
        frame_times: (T,) seconds, starting at 0, rising.
        meta: Provenance, plain values that JSON can hold.

    Raises:
        CardioDiTError: Anything above is not so; the sentence says what.
    """

    kind: ClassVar[str] = "segmentation"
    min_frames: ClassVar[int] = 1

    @staticmethod
    def _stored(array: NDArray[Any]) -> NDArray[Any]:
        if array.dtype.kind not in "biuf":
            raise CardioDiTError(
                f"A segmentation holds whole numbers, this array is of type {array.dtype}.", "Give labels 0 to 3."
            )
        array = whole_labels(array)
        if array.dtype.kind == "f" and not (np.isfinite(array).all() and (array == np.rint(array)).all()):
            raise CardioDiTError(
                "The segmentation holds values that are not whole numbers.",
                "Give labels 0 to 3; labels must be resampled with the nearest neighbour.",
            )
        if array.min() < 0 or array.max() > max(LABEL_NAMES):
            raise CardioDiTError(
                f"The segmentation holds labels from {array.min():g} to {array.max():g}, only 0 to 3 have a meaning.",
                "Give a label_map from the file's labels to 0 background, 1 RV, 2 myocardium, 3 LV.",
            )
        return array.astype(np.uint8, copy=False)


@dataclass(frozen=True, eq=False, repr=False)
class LandmarkTrack:
    """The two right-ventricular insertion points, slice by slice through the cycle.

    Args:
        points: (T, Z, 2, 3) mm in RAS, on the third axis the anterior then the inferior point; NaN where there is none.
        confidence: (T, Z, 2), from 0 to 1, NaN allowed where there is no point.
        frame_times: (T,) seconds, starting at 0, rising.
        meta: Provenance, plain values that JSON can hold.

    Raises:
        CardioDiTError: Shapes do not agree, a point is only partly NaN, or a confidence lies outside 0 to 1.
    """

    points: NDArray[np.float64]
    confidence: NDArray[np.float64]
    frame_times: NDArray[np.float64]
    meta: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        points = np.asarray(self.points, dtype=np.float64)
        confidence = np.asarray(self.confidence, dtype=np.float64)
        if points.ndim != 4 or points.shape[2:] != (2, 3) or points.shape[0] < 1:
            raise CardioDiTError(
                f"A landmark track has points of shape (T, Z, 2, 3), these have {points.shape}.",
                "Give the anterior and the inferior point of every slice and frame, NaN where there is none.",
            )
        if confidence.shape != points.shape[:3]:
            raise CardioDiTError(
                f"The confidence has shape {confidence.shape}, the points ask for {points.shape[:3]}.",
                "Give one confidence a point.",
            )
        missing = np.isnan(points)
        if np.isinf(points).any() or (missing.any(axis=-1) != missing.all(axis=-1)).any():
            raise CardioDiTError(
                "A landmark has coordinates that are infinite or only partly missing.",
                "Give three numbers in mm, or NaN three times.",
            )
        found = ~missing.any(axis=-1)
        usable = (confidence >= 0) & (confidence <= 1)
        if not (usable | (np.isnan(confidence) & ~found)).all():
            raise CardioDiTError("A landmark's confidence is not between 0 and 1.", "Scale it to 0 to 1.")
        object.__setattr__(self, "points", points)
        object.__setattr__(self, "confidence", confidence)
        object.__setattr__(self, "frame_times", check_frame_times(self.frame_times, points.shape[0]))
        object.__setattr__(self, "meta", dict(self.meta))

    def __repr__(self) -> str:
        """One line."""
        both = int(self.found.all(axis=-1).sum())
        return f"LandmarkTrack({self.n_frames} frames, {self.n_slices} slices, both points in {both})"

    @property
    def n_frames(self) -> int:
        """Number of frames T."""
        return int(self.points.shape[0])

    @property
    def n_slices(self) -> int:
        """Number of slices Z."""
        return int(self.points.shape[1])

    @property
    def found(self) -> NDArray[np.bool_]:
        """(T, Z, 2), True where there is a point."""
        return np.asarray(~np.isnan(self.points).any(axis=-1), dtype=np.bool_)

"""Copies of a cine as somebody might save them: changed, written to a file, to be read back as a user's file is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

from CardioDiTLib.cine import Cine
from CardioDiTLib.io import save_cine

TURNS_DEG = (5, 10, 20, 45, 90, 180)
CROPS_MM = (160, 130, 110)


@dataclass(frozen=True)
class Disguise:
    """One way to change and save a cine.

    Attributes:
        name: What it is called in tables.
        change: Cine and another patient's -> what is saved.
        suffix: Of the file.
        barred: Whether it is one of those that must be recognised nearly always.
    """

    name: str
    change: Callable[[Cine, Cine], Cine]
    suffix: str = ".nii"  # which takes the least time; every other suffix is a kind of its own
    barred: bool = True

    def save(self, cine: Cine, folder: Path, stem: str, other: Cine | None = None) -> Path:
        """Write the changed cine; returns the file."""
        return save_cine(self.change(cine, cine if other is None else other), folder / f"{stem}{self.suffix}")


def turned(cine: Cine, degrees: float) -> Cine:
    """Turned in plane about the middle of the picture; black where nothing was recorded."""
    array = np.asarray(cine.array, np.float32)
    made = ndimage.rotate(array, degrees, axes=(3, 2), reshape=False, order=1, cval=float(array.min()))
    return _whole(cine, made)


def cropped(cine: Cine, field_mm: float) -> Cine:
    """The middle of the picture alone: a smaller picture, nothing black about it."""
    parts = []
    for count, spacing in zip(cine.array.shape[-2:], cine.spacing[1::-1]):
        keep = min(count, round(field_mm / spacing))
        start = (count - keep) // 2
        parts.append(slice(start, start + keep))
    affine = np.array(cine.affine)
    affine[:3, 3] += affine[:3, 0] * parts[1].start + affine[:3, 1] * parts[0].start
    return Cine(np.ascontiguousarray(cine.array[..., parts[0], parts[1]]), affine, cine.frame_times)


def resampled(cine: Cine, spacing_mm: float) -> Cine:
    """On another pixel grid, in plane."""
    factors = (1, 1, cine.spacing[1] / spacing_mm, cine.spacing[0] / spacing_mm)
    array = ndimage.zoom(np.asarray(cine.array, np.float32), factors, order=1)
    affine = np.array(cine.affine)
    for axis, (old, new) in enumerate(zip(cine.array.shape[:1:-1], array.shape[:1:-1])):
        affine[:3, axis] *= old / new
    made = Cine(array, affine, cine.frame_times)
    return _whole(made, array)


def eight_bit(cine: Cine) -> Cine:
    """Darkest to brightest on 256 steps."""
    array = np.asarray(cine.array, np.float32)
    return _whole(cine, (array - array.min()) / max(float(np.ptp(array)), 1e-6) * 255)


def disguises() -> list[Disguise]:
    """All of them."""
    same: Callable[[Cine, Cine], Cine] = lambda cine, other: cine  # noqa: E731
    return [
        Disguise("exact", same),
        Disguise("as .nii.gz", same, ".nii.gz"),
        Disguise("as .seq.nrrd", same, ".seq.nrrd"),
        Disguise("8 bit", lambda cine, other: eight_bit(cine)),
        Disguise("mirrored", lambda cine, other: cine.with_array(np.ascontiguousarray(cine.array[..., ::-1]))),
        *(Disguise(f"turned {a} deg", lambda cine, other, a=a: turned(cine, a)) for a in TURNS_DEG),  # type: ignore[misc]
        Disguise("brightness, gamma 0.7", lambda cine, other: _gamma(cine, 0.7)),
        Disguise("brightness, gamma 1.6", lambda cine, other: _gamma(cine, 1.6)),
        Disguise("noise, 5 % of the range", lambda cine, other: _noisy(cine, 0.05), barred=False),
        Disguise("phase, a third", lambda cine, other: _later(cine)),
        Disguise("slices, one less", lambda cine, other: _fewer(cine), barred=False),
        Disguise("resampled to 1.17 mm", lambda cine, other: resampled(cine, 1.17)),
        *(Disguise(f"cropped to {s} mm", lambda cine, other, s=s: cropped(cine, s), barred=s == 160) for s in CROPS_MM),  # type: ignore[misc]
        Disguise("mixed 75:25", lambda cine, other: _mixed(cine, other, 0.75), barred=False),
        Disguise("mixed 60:40", lambda cine, other: _mixed(cine, other, 0.6), barred=False),
        Disguise(
            "still", lambda cine, other: cine.with_array(np.repeat(cine.array[:1], len(cine.array), 0)), barred=False
        ),
        Disguise("inverted", lambda cine, other: cine.with_array(cine.array.max() - cine.array), barred=False),
    ]


def _whole(cine: Cine, array: np.ndarray) -> Cine:
    return Cine(np.rint(array).astype(np.int16), cine.affine, cine.frame_times)


def _gamma(cine: Cine, power: float) -> Cine:
    array = np.asarray(cine.array, np.float32)
    low, span = array.min(), max(float(np.ptp(array)), 1e-6)
    return _whole(cine, ((array - low) / span) ** power * span + low)


def _noisy(cine: Cine, share: float) -> Cine:
    array = np.asarray(cine.array, np.float32)
    noise = np.random.default_rng(1).standard_normal(array.shape, dtype=np.float32) * share * float(np.ptp(array))
    return _whole(cine, np.clip(array + noise, array.min(), array.max()))


def _later(cine: Cine) -> Cine:
    return cine.with_array(np.roll(cine.array, len(cine.array) // 3, axis=0))


def _fewer(cine: Cine) -> Cine:
    affine = np.array(cine.affine)
    affine[:3, 3] += affine[:3, 2]
    return Cine(np.ascontiguousarray(cine.array[:, 1:]), affine, cine.frame_times)


def _mixed(cine: Cine, other: Cine, share: float) -> Cine:
    array, second = (np.asarray(one.array, np.float32) for one in (cine, other))
    places = np.rint(np.linspace(0, second.shape[1] - 1, array.shape[1])).astype(int)
    return _whole(cine, share * array + (1 - share) * second[: len(array), places])

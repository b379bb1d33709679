"""What a copied cine may hide behind, in several strengths: the transformations of ``planted_copies.py``.

They are not the ones of training: pictures are moved at full resolution with cubic interpolation
(``CardioDiTLib.data.augment``), and strengths are fixed instead of drawn.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from CardioDiTLib.data.augment import AugmentationDraw
from CardioDiTLib.models.vqgan import VQGAN

Array = NDArray[np.float32]
SPACING_MM = (1.5, 1.5, 10.0)


@dataclass(frozen=True)
class Transformation:
    """One way to hide a copy.

    Attributes:
        kind: Its name; all strengths of a kind are one row of the table.
        strength: What is written in the column.
        apply: (T, Z, Y, X) in [-1, 1] and the same of another patient -> (T, Z, Y, X); rows and columns may be
            wider than what is looked at.
        in_bar: Whether the sensitivity that is asked for counts it.
    """

    kind: str
    strength: str
    apply: Callable[[Array, Array], Array]
    in_bar: bool = False


def _drawn(**values: object) -> Callable[[Array, Array], Array]:
    draw = AugmentationDraw(**values)  # type: ignore[arg-type]
    return lambda cine, other: draw.apply(cine, SPACING_MM)


def _other_slices(count: int) -> Callable[[Array, Array], Array]:
    """The stack begins `count` slices later (or earlier); the last slice stands in for those that are missing."""

    def apply(cine: Array, other: Array) -> Array:
        places = np.clip(np.arange(cine.shape[1]) + count, 0, cine.shape[1] - 1)
        return cine[:, places]

    return apply


def _cropped(field_mm: float) -> Callable[[Array, Array], Array]:
    """Black beyond a square of this side about the middle."""

    def apply(cine: Array, other: Array) -> Array:
        keep = []
        for count, spacing in zip(cine.shape[-2:], SPACING_MM[1::-1]):
            place = np.abs(np.arange(count) - (count - 1) / 2) * spacing
            keep.append(place <= field_mm / 2)
        return np.where(keep[0][:, None] & keep[1][None, :], cine, np.float32(-1))

    return apply


def _blended(weight: float) -> Callable[[Array, Array], Array]:
    return lambda cine, other: np.asarray(weight * cine + (1 - weight) * other, np.float32)


def _two_frames(cine: Array, other: Array) -> Array:
    """End-diastole and the frame that differs most from it, and straight lines between the two."""
    middle = cine[..., cine.shape[-2] // 4 : -(cine.shape[-2] // 4), cine.shape[-1] // 4 : -(cine.shape[-1] // 4)]
    systole = int(np.abs(middle - middle[:1]).mean(axis=(1, 2, 3)).argmax())
    share = 1 - np.abs(np.linspace(-1, 1, len(cine), endpoint=False, dtype=np.float32))
    share = share[:, None, None, None]
    return (1 - share) * cine[:1] + share * cine[systole : systole + 1]


def _fewer_frames(cine: Array, other: Array) -> Array:
    return np.repeat(cine[::2], 2, axis=0)


@torch.inference_mode()
def decoded(codec: VQGAN, cine: Array, noise: float, seed: int = 0) -> Array:
    """What a codec makes of a cine; noise on its latents as a share of their standard deviation."""
    factor = codec.downsampling[0]
    rows, columns = (count // factor * factor for count in cine.shape[-2:])
    top, left = (cine.shape[-2] - rows) // 2, (cine.shape[-1] - columns) // 2
    window = (..., slice(top, top + rows), slice(left, left + columns))
    made, generator = cine.copy(), torch.Generator().manual_seed(seed)
    for z in range(cine.shape[1]):
        frames = torch.from_numpy(np.ascontiguousarray(cine[:, z][window])).permute(1, 2, 0)[None, None]
        latents = codec.encode(frames)
        latents = latents + torch.randn(latents.shape, generator=generator) * noise * latents.std()
        made[:, z][window] = codec.decode_latents(latents)[0, 0].permute(2, 0, 1).clamp(-1, 1).numpy()
    return made


def transformations(codec: VQGAN | None) -> list[Transformation]:
    """All of them; those through a codec only where there is one."""
    bent = (0.3, -0.2, 0.15, -0.2, 0.1, 0.1)

    def field(size: float) -> tuple[float, ...]:
        return tuple(size * value for value in bent)

    made = [
        Transformation("exact", "", lambda cine, other: cine, True),
        Transformation("mirrored", "", _drawn(mirror=True), True),
        *(Transformation("rotated", f"{a:g} deg", _drawn(rotation_deg=a), a <= 10) for a in (3.0, 6.0, 10.0, 20.0)),
        *(Transformation("shifted", f"{s:g} mm", _drawn(shift_mm=(s, -0.6 * s))) for s in (3.0, 6.0, 12.0)),
        *(Transformation("scaled", f"x{s:g}", _drawn(scale=s)) for s in (1.04, 1.1, 0.88)),
        *(Transformation("gamma", f"{g:g}", _drawn(gamma=g), True) for g in (0.8, 1.4, 1.8)),
        *(
            Transformation("gain, offset", f"x{g:g} {o:+g}", _drawn(gain=g, offset=o), True)
            for g, o in ((0.9, 0.05), (0.75, 0.1), (1.3, -0.1))
        ),
        *(Transformation("coil field", f"{s:g}", _drawn(field=field(s)), True) for s in (1.0, 2.0, 3.0)),
        *(Transformation("noise", f"sd {s:g}", _drawn(noise_sd=s, noise_seed=1)) for s in (0.05, 0.1, 0.2)),
        *(Transformation("cycle shifted", f"{s:g}", _drawn(cycle_shift=s), True) for s in (0.125, 0.25, 0.5)),
        *(Transformation("other slices", f"{n:+d}", _other_slices(n)) for n in (1, -1, 2)),
        *(Transformation("cropped", f"{f:g} mm", _cropped(f)) for f in (168.0, 144.0, 120.0)),
        Transformation("fewer frames", "8", _fewer_frames),
        Transformation("fewer frames", "2", _two_frames),
        *(Transformation("blended", f"{100 * w:g} %", _blended(w)) for w in (0.9, 0.75, 0.6)),
        *(
            Transformation(
                "all at once",
                name,
                _drawn(
                    rotation_deg=10 * s,
                    shift_mm=(5 * s, -4 * s),
                    scale=1 - 0.05 * s,
                    mirror=s > 0.8,
                    gamma=1 + 0.3 * s,
                    field=field(s),
                    noise_sd=0.06 * s,
                    noise_seed=2,
                    cycle_shift=0.25,
                ),
            )
            for name, s in (("mild", 0.4), ("medium", 0.7), ("strong", 1.0))
        ),
    ]
    if codec is not None:
        made += [
            Transformation("decoded", name, lambda cine, other, n=noise: decoded(codec, cine, n), noise == 0)  # type: ignore[misc]
            for name, noise in (("codes", 0.0), ("noise 0.3", 0.3), ("noise 0.6", 0.6))
        ]
    return made

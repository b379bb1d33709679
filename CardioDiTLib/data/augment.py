"""Augmentation of whole cines: one draw a cine, the same for every frame and slice.

What is drawn does not depend on time: a point at rest stays at rest, and a path of motion is only turned, scaled,
shifted or mirrored. Exceptions are noise, drawn anew for every voxel of every frame, and the optional shift of the
cycle, which moves all frames together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from CardioDiTLib.data.in_plane import apply_plane_operator, plane_operator, take_nearest
from CardioDiTLib.errors import CardioDiTError

#: Terms of the smooth brightness field, as powers of (x, y, z) on [-1, 1].
_FIELD_POWERS = ((1, 0, 0), (0, 1, 0), (0, 0, 1), (2, 0, 0), (0, 2, 0), (1, 1, 0))


@dataclass(frozen=True)
class AugmentationDraw:
    """One set of drawn values; `apply` and `apply_labels` use it on all frames and slices alike.

    Args:
        rotation_deg: Turn of the picture, counter-clockwise as displayed, about the middle of the plane.
        scale: Magnification.
        shift_mm: Shift of the picture (x, y) in mm.
        mirror: Whether columns are mirrored.
        gamma: Exponent of the brightness curve on [0, 1].
        gain: Contrast about the darkest value.
        offset: Added brightness, in units of [-1, 1].
        field: Coefficients of the smooth multiplicative field (logarithm), constant over time.
        noise_sd: Standard deviation of the added noise, in units of [-1, 1].
        noise_seed: Seed of the noise.
        cycle_shift: Share of the cycle by which the frames are rolled, 0 to 1.
        order: Interpolation order of images, 0, 1 or 3.
        padding: What comes in from beyond the rim, "edge" or "reflect".
    """

    rotation_deg: float = 0.0
    scale: float = 1.0
    shift_mm: tuple[float, float] = (0.0, 0.0)
    mirror: bool = False
    gamma: float = 1.0
    gain: float = 1.0
    offset: float = 0.0
    field: tuple[float, ...] = (0.0,) * len(_FIELD_POWERS)
    noise_sd: float = 0.0
    noise_seed: int = 0
    cycle_shift: float = 0.0
    order: int = 3
    padding: str = "edge"

    def plane_matrix(
        self, shape_yx: tuple[int, int], spacing_xy_mm: tuple[float, float] = (1.0, 1.0)
    ) -> NDArray[np.float64]:
        """(2, 3) from a pixel (x, y, 1) of the result to the source position (x, y), in pixels.

        Args:
            shape_yx: (Y, X) of the plane.
            spacing_xy_mm: (x, y) mm; the turn is rigid in mm, also where pixels are not square.
        """
        spacing = np.asarray(spacing_xy_mm, dtype=np.float64)
        angle = np.deg2rad(self.rotation_deg)
        # Rows run downward: turning the picture counter-clockwise takes a target point back clockwise.
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) / self.scale
        if self.mirror:
            turn = np.diag([-1.0, 1.0]) @ turn
        linear = turn * spacing[None, :] / spacing[:, None]
        middle = (np.array(shape_yx[::-1], dtype=np.float64) - 1.0) / 2.0
        offset = middle - linear @ (middle + np.asarray(self.shift_mm) / spacing)
        return np.column_stack([linear, offset])

    @property
    def moves(self) -> bool:
        """Whether the plane is changed at all."""
        return self.mirror or self.rotation_deg != 0.0 or self.scale != 1.0 or any(self.shift_mm)

    def _roll(self, array: NDArray[Any]) -> NDArray[Any]:
        frames = round(self.cycle_shift * len(array)) % len(array)
        return np.roll(array, frames, axis=0) if frames else array

    def apply(
        self, array: NDArray[np.floating], spacing_mm: tuple[float, float, float] = (1.0, 1.0, 1.0)
    ) -> NDArray[np.float32]:
        """Augment images.

        Args:
            array: (T, Z, Y, X) within [-1, 1].
            spacing_mm: (x, y, z) mm.

        Returns:
            (T, Z, Y, X) float32 within [-1, 1].
        """
        _check(array)
        shape = array.shape[-2:]
        values: NDArray[np.float32] = self._roll(np.asarray(array, dtype=np.float32))
        if self.moves:
            matrix = self.plane_matrix(shape, spacing_mm[:2])
            operator, _ = plane_operator(matrix, shape, shape, self.order, self.padding)
            values = apply_plane_operator(operator, values, shape)
        else:
            values = values.copy()
        unit = values
        unit += 1.0
        unit *= 0.5
        np.clip(unit, 0.0, 1.0, out=unit)
        if self.gamma != 1.0:
            np.power(unit, np.float32(self.gamma), out=unit)
        if any(self.field):
            unit *= self.brightness_field(array.shape[1:])
        if self.gain != 1.0:
            unit *= np.float32(self.gain)
        unit *= 2.0
        unit += np.float32(self.offset - 1.0)
        if self.noise_sd > 0.0:
            rng = np.random.default_rng(self.noise_seed)
            unit += rng.standard_normal(unit.shape, dtype=np.float32) * np.float32(self.noise_sd)
        return np.clip(unit, -1.0, 1.0, out=unit)

    def apply_labels(
        self, labels: NDArray[np.integer], spacing_mm: tuple[float, float, float] = (1.0, 1.0, 1.0)
    ) -> NDArray[Any]:
        """Move labels exactly as the images move; nearest neighbour, same type out as in.

        Args:
            labels: (T, Z, Y, X).
            spacing_mm: (x, y, z) mm.

        Returns:
            (T, Z, Y, X).
        """
        _check(labels)
        shape = labels.shape[-2:]
        values = self._roll(np.asarray(labels))
        if not self.moves:
            return values.copy()
        operator, _ = plane_operator(self.plane_matrix(shape, spacing_mm[:2]), shape, shape, 0, self.padding)
        return take_nearest(operator, values, shape)

    def brightness_field(self, shape_zyx: tuple[int, ...]) -> NDArray[np.float32]:
        """(Z, Y, X) smooth positive factors, as of receiver coils; the same in all frames."""
        z, y, x = (np.linspace(-1.0, 1.0, size) if size > 1 else np.zeros(1) for size in shape_zyx)
        log = np.zeros(shape_zyx)
        for coefficient, (i, j, k) in zip(self.field, _FIELD_POWERS):
            log += coefficient * (z**k)[:, None, None] * (y**j)[None, :, None] * (x**i)[None, None, :]
        return np.exp(log).astype(np.float32)


def _check(array: NDArray[Any]) -> None:
    if array.ndim != 4:
        raise CardioDiTError(
            f"Augmentation works on cines (T, Z, Y, X), not on an array of shape {array.shape}.",
            "Give one cine at a time.",
        )


@dataclass(frozen=True)
class CineAugmentation:
    """Ranges from which one draw a cine is made.

    Args:
        rotation_deg: Largest turn in plane, either way, degrees.
        scale: Smallest and largest magnification.
        shift_mm: Largest shift in plane, each way, mm.
        mirror: Whether half of the cines are mirrored. Off: a mirrored heart lies on the right side of the chest.
        gamma: Smallest and largest exponent of the brightness curve (drawn evenly in its logarithm).
        gain: Smallest and largest contrast factor.
        offset: Largest added brightness, either way, in units of [-1, 1].
        field: Strength of the smooth brightness field; no voxel changes by more than a factor exp(field).
        noise_sd: Smallest and largest standard deviation of noise, in units of [-1, 1].
        cycle_shift: Whether the cycle may start anywhere. Off: frame 0 is end-diastole.
        order: Interpolation order of images, 0, 1 or 3 (3 keeps them sharp).
        padding: As in :class:`AugmentationDraw`.

    Raises:
        CardioDiTError: If a range is upside down or negative where it must not be.

    Examples:
        >>> augment = CineAugmentation()
        >>> draw = augment.draw(np.random.default_rng(0))
        >>> image, label = draw.apply(cine, spacing), draw.apply_labels(labels, spacing)  # doctest: +SKIP
    """

    rotation_deg: float = 15.0
    scale: tuple[float, float] = (0.9, 1.1)
    shift_mm: float = 8.0
    mirror: bool = False
    gamma: tuple[float, float] = (0.8, 1.25)
    gain: tuple[float, float] = (0.9, 1.1)
    offset: float = 0.05
    field: float = 0.2
    noise_sd: tuple[float, float] = (0.0, 0.02)
    cycle_shift: bool = False
    order: int = 3
    padding: str = "edge"

    def __post_init__(self) -> None:
        for name in ("scale", "gamma", "gain", "noise_sd"):
            low, high = getattr(self, name)
            lowest_allowed = 0.0 if name == "noise_sd" else 1e-6
            if not lowest_allowed <= low <= high:
                raise CardioDiTError(
                    f"The augmentation range of {name}, {low} to {high}, is not possible.",
                    "Give the smaller value first; factors must be positive.",
                )
        for name in ("rotation_deg", "shift_mm", "offset", "field"):
            if getattr(self, name) < 0:
                raise CardioDiTError(f"The largest {name} is negative.", "Give its size; both signs are drawn.")

    def draw(self, rng: np.random.Generator) -> AugmentationDraw:
        """Draw once, for one cine.

        The same number of values is taken from the generator whatever is switched off, so that switching one thing
        off leaves the others as they were.

        Args:
            rng: Where the randomness comes from.

        Returns:
            The values drawn.
        """
        turn, zoom, shift_x, shift_y, flip, gamma, gain, offset, noise, phase = rng.random(10)
        field = rng.uniform(-1.0, 1.0, len(_FIELD_POWERS)) / len(_FIELD_POWERS) * self.field
        noise_seed = int(rng.integers(2**63))
        return AugmentationDraw(
            rotation_deg=float(self.rotation_deg * (2 * turn - 1)),
            scale=_between(self.scale, zoom),
            shift_mm=(float(self.shift_mm * (2 * shift_x - 1)), float(self.shift_mm * (2 * shift_y - 1))),
            mirror=bool(self.mirror and flip < 0.5),
            gamma=float(np.exp(_between((np.log(self.gamma[0]), np.log(self.gamma[1])), gamma))),
            gain=_between(self.gain, gain),
            offset=float(self.offset * (2 * offset - 1)),
            field=tuple(float(value) for value in field),
            noise_sd=_between(self.noise_sd, noise),
            noise_seed=noise_seed,
            cycle_shift=float(phase) if self.cycle_shift else 0.0,
            order=self.order,
            padding=self.padding,
        )

    def __call__(
        self,
        array: NDArray[np.floating],
        rng: np.random.Generator,
        labels: NDArray[np.integer] | None = None,
        spacing_mm: tuple[float, float, float] = (1.0, 1.0, 1.0),
    ) -> tuple[NDArray[np.float32], NDArray[Any] | None]:
        """Draw once and augment a cine, and its labels if there are any.

        Args:
            array: (T, Z, Y, X) within [-1, 1].
            rng: Where the randomness comes from.
            labels: (T, Z, Y, X), or None.
            spacing_mm: (x, y, z) mm.

        Returns:
            Augmented images, and labels or None.

        Raises:
            CardioDiTError: If an array is not (T, Z, Y, X).
        """
        drawn = self.draw(rng)
        moved = None if labels is None else drawn.apply_labels(labels, spacing_mm)
        return drawn.apply(array, spacing_mm), moved


def _between(limits: tuple[float, float], share: float) -> float:
    return float(limits[0] + (limits[1] - limits[0]) * share)

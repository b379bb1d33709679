"""A digital short-axis cine phantom whose volumes, labels and landmarks are known.

The left ventricle is half an ellipsoid (cavity 2/3 pi a^2 L) inside a thicker one; the volume of the muscle stays the
same over the cycle, so the wall thickens as the cavity empties, and the base moves towards the apex. The right
ventricle is the crescent between the outer wall of the left one and a wider circle; the two insertion points are where
those circles meet. Around them lie chest wall, lung, liver, a pulsing aorta and texture that rests.

For tests, demonstrations and benchmarks: it is drawn from formulas and holds no patient's data.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage
from scipy.interpolate import PchipInterpolator

from CardioDiTLib.cine import Cine, LandmarkTrack, Segmentation
from CardioDiTLib.data.orientation import short_axis_affine
from CardioDiTLib.errors import CardioDiTError

# Grey values, as a share of the brightest.
_AIR, _LUNG, _MUSCLE, _MYOCARDIUM, _LIVER, _FAT, _BLOOD = 0.02, 0.07, 0.26, 0.22, 0.36, 0.80, 0.72


@dataclass(frozen=True)
class PhantomSpec:
    """What the phantom is like.

    Args:
        frames: Frames of one cycle, T.
        slices: Slices, Z.
        height: Rows, Y.
        width: Columns, X.
        spacing_mm: (x, y, z) mm.
        edv_ml: End-diastolic volume of the left cavity, mL.
        ejection_fraction: (EDV - ESV) / EDV, 0 to 0.9.
        long_axis_mm: Base to apex of the cavity at end-diastole.
        wall_mm: Wall thickness at end-diastole.
        shortening_mm: How far the base moves towards the apex.
        systole: Phase of end-systole, as a share of the cycle.
        cycle_s: Seconds of a cycle.
        end_diastole: Frame at which end-diastole lies.
        septum_deg: Direction from the left to the right ventricle, counter-clockwise as displayed; 180 is to the left.
        centre_mm: (x, y) of the heart from the middle of the picture, mm.
        base_first: Slice 0 at the base, else at the apex.
        noise: Standard deviation of noise, share of the brightest value.
        seed: Seed of texture and noise.

    Raises:
        CardioDiTError: If a value is not possible.
    """

    frames: int = 16
    slices: int = 10
    height: int = 128
    width: int = 128
    spacing_mm: tuple[float, float, float] = (1.5, 1.5, 10.0)
    edv_ml: float = 140.0
    ejection_fraction: float = 0.6
    long_axis_mm: float = 85.0
    wall_mm: float = 9.0
    shortening_mm: float = 12.0
    systole: float = 0.35
    cycle_s: float = 0.9
    end_diastole: int = 0
    septum_deg: float = 180.0
    centre_mm: tuple[float, float] = (0.0, 0.0)
    base_first: bool = True
    noise: float = 0.01
    seed: int = 0

    def __post_init__(self) -> None:
        possible = (
            min(self.frames, self.slices, self.height, self.width) >= 1
            and len(self.spacing_mm) == 3
            and min(self.spacing_mm) > 0
            and self.edv_ml > 0
            and 0 <= self.ejection_fraction <= 0.9
            and self.long_axis_mm > self.shortening_mm >= 0
            and self.wall_mm > 0
            and 0.15 <= self.systole <= 0.55
            and self.cycle_s > 0
            and self.noise >= 0
        )
        if not possible:
            raise CardioDiTError("A phantom cannot be made with these values.", "See the help text of PhantomSpec.")


@dataclass(frozen=True)
class Phantom:
    """A phantom and the truth about it.

    Args:
        cine: Images, float32, about 0 to 1000.
        segmentation: Labels of the same grid.
        landmarks: Insertion points: the anterior one lies upward in the picture where the septum is to the left.
        lv_volume_ml: (T,) exact volume of the left cavity.
        centre_ras_mm: (3,) middle of the heart (both ventricles), mm RAS.
    """

    cine: Cine
    segmentation: Segmentation
    landmarks: LandmarkTrack
    lv_volume_ml: NDArray[np.float64] = field(repr=False)
    centre_ras_mm: NDArray[np.float64] = field(repr=False)


def contraction(phase: ArrayLike, systole: float = 0.35) -> NDArray[np.float64]:
    """How far the heart has contracted: 0 at end-diastole, 1 at end-systole, periodic.

    Ejection, rapid early filling, diastasis, and atrial contraction just before the next end-diastole.

    Args:
        phase: Fraction of the cycle, any shape; taken modulo 1.
        systole: Phase of end-systole.

    Returns:
        Same shape, within [0, 1].
    """
    rest = 1.0 - systole
    knots = np.array([0.0, 0.35 * systole, systole, systole + 0.25 * rest, systole + 0.7 * rest, 1.0])
    curve = PchipInterpolator(knots, [0.0, 0.3, 1.0, 0.32, 0.2, 0.0])
    return np.asarray(curve(np.mod(np.asarray(phase, dtype=np.float64), 1.0)))


def _wall(cavity_mm3: float, muscle_mm3: float, radius: float, length: float) -> float:
    """Wall thickness w at which the outer half-ellipsoid, w thicker all round, holds cavity and muscle."""
    target = (cavity_mm3 + muscle_mm3) * 3.0 / (2.0 * np.pi)
    w = 9.0
    for _ in range(30):
        value = (radius + w) ** 2 * (length + w) - target
        slope = 2.0 * (radius + w) * (length + w) + (radius + w) ** 2
        w -= value / slope
    return float(w)


def _radius(depth: float, radius: float, length: float) -> float:
    """Radius of a half-ellipsoid at a depth below the base; 0 outside."""
    share = depth / length
    return radius * float(np.sqrt(1.0 - share * share)) if 0.0 <= share < 1.0 else 0.0


#: Half the angle, seen from the left ventricle, over which the right one is attached.
_ATTACHMENT = np.deg2rad(60.0)


def _right_circle(outer: float, gap: float) -> tuple[float, float]:
    """Distance of centre and radius of the circle through both insertion points and the far side of the crescent."""
    far = outer + gap
    distance = (far**2 - outer**2) / (2.0 * (far - outer * np.cos(_ATTACHMENT)))
    return distance, far - distance


def _texture(shape: tuple[int, int, int], spacing: tuple[float, float, float], seed: int) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal(shape).astype(np.float32)
    coarse = ndimage.gaussian_filter(noise, (0.5, 6.0 / spacing[1], 6.0 / spacing[0]), mode="wrap")
    fine = ndimage.gaussian_filter(noise, (0.3, 2.0 / spacing[1], 2.0 / spacing[0]), mode="wrap")
    return coarse / max(float(coarse.std()), 1e-9) + fine / max(float(fine.std()), 1e-9)


def _surroundings(spec: PhantomSpec, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Chest without the heart, (Z, Y, X), at rest; x and y in mm from the heart's centre."""
    pixel = float(np.mean(spec.spacing_mm[:2]))

    def soft(distance: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.clip(0.5 - distance / (2.0 * pixel), 0.0, 1.0)

    image = np.full(x.shape, _LUNG)

    def paint(mask: NDArray[np.float64], value: float) -> None:
        image[...] = image * (1.0 - mask) + value * mask

    def ellipse(cx: float, cy: float, rx: float, ry: float) -> NDArray[np.float64]:
        return soft((np.hypot((x - cx) / rx, (y - cy) / ry) - 1.0) * min(rx, ry))

    paint(ellipse(-75.0, 55.0, 70.0, 45.0), _LIVER)
    paint(ellipse(25.0, 92.0, 32.0, 28.0), 0.5 * (_FAT + _MUSCLE))
    paint(ellipse(-4.0, 2.0, 66.0, 48.0), 0.5 * (_FAT + _LIVER))
    # Chest wall: fat outside muscle, then air.
    edge = np.hypot(x / 165.0, (y - 45.0) / 125.0) - 1.0
    paint(soft(-(edge * 125.0 + 24.0)), _MUSCLE)
    paint(soft(-(edge * 125.0 + 14.0)), _FAT)
    paint(soft(-edge * 125.0), _AIR)
    volume = np.repeat(image[None], spec.slices, axis=0)
    texture = _texture(volume.shape, spec.spacing_mm, spec.seed)
    return np.clip(volume * (1.0 + 0.08 * texture), 0.0, None)


def make_phantom(spec: PhantomSpec | None = None, affine: ArrayLike | None = None) -> Phantom:
    """Draw the phantom.

    Args:
        spec: What it is like; None is a normal heart on 16 x 10 x 128 x 128.
        affine: (4, 4) index (x, y, z) to mm RAS with the spacing of `spec`; None is a plausible oblique short axis.

    Returns:
        Images, labels, landmarks and true volumes. Myocardium and ventricles are labelled below the moving base only.

    Raises:
        CardioDiTError: If the affine does not have the spacing of `spec`.

    Examples:
        >>> phantom = make_phantom(PhantomSpec(frames=12, ejection_fraction=0.5))
        >>> volume = phantom.lv_volume_ml
        >>> round(float(1 - volume.min() / volume.max()), 1)
        0.5
    """
    spec = PhantomSpec() if spec is None else spec
    shape = (spec.slices, spec.height, spec.width)
    matrix = short_axis_affine(shape, spec.spacing_mm, spec.base_first) if affine is None else np.asarray(affine, float)
    if matrix.shape != (4, 4) or not np.allclose(np.linalg.norm(matrix[:3, :3], axis=0), spec.spacing_mm, rtol=1e-4):
        raise CardioDiTError("The affine does not fit the phantom's spacing.", "Give both the same spacing in mm.")
    sx, sy, sz = spec.spacing_mm
    x = (np.arange(spec.width) - (spec.width - 1) / 2)[None, :] * sx - spec.centre_mm[0]
    y = (np.arange(spec.height) - (spec.height - 1) / 2)[:, None] * sy - spec.centre_mm[1]
    x, y = (np.asarray(axis, dtype=np.float64) for axis in np.broadcast_arrays(x, y))
    depth = (np.arange(spec.slices) - (spec.slices - 1) / 2) * sz + spec.long_axis_mm / 2
    if not spec.base_first:
        depth = depth[::-1]

    phase = np.mod(np.arange(spec.frames) - spec.end_diastole, spec.frames) / spec.frames
    squeeze = contraction(phase, spec.systole)
    # The curve reaches 1 between frames as a rule; the ejection fraction asked for is that of the frames.
    squeeze = squeeze / squeeze.max() if squeeze.max() > 0 else squeeze
    volume_ml = spec.edv_ml * (1.0 - spec.ejection_fraction * squeeze)

    toward_rv = np.array([np.cos(np.deg2rad(spec.septum_deg)), -np.sin(np.deg2rad(spec.septum_deg))])
    # The left ventricle sits off the middle so that both together are centred.
    left = -16.0 * toward_rv
    along = (x - left[0]) * toward_rv[0] + (y - left[1]) * toward_rv[1]
    across = -(x - left[0]) * toward_rv[1] + (y - left[1]) * toward_rv[0]
    distance = np.hypot(along, across)
    pixel = float(np.mean(spec.spacing_mm[:2]))

    def soft(signed: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.clip(0.5 - signed / pixel, 0.0, 1.0)

    chest = _surroundings(spec, x, y)
    grain = _texture(shape, spec.spacing_mm, spec.seed + 1)
    images = np.empty((spec.frames, *shape), dtype=np.float32)
    labels = np.zeros((spec.frames, *shape), dtype=np.uint8)
    index = np.full((spec.frames, spec.slices, 2, 2), np.nan)

    rest_radius = float(np.sqrt(3000.0 * spec.edv_ml / (2.0 * np.pi * spec.long_axis_mm)))
    outer_volume = 2.0 / 3.0 * np.pi * (rest_radius + spec.wall_mm) ** 2 * (spec.long_axis_mm + spec.wall_mm)
    muscle = outer_volume - 1000.0 * spec.edv_ml
    for t, (contracted, volume) in enumerate(zip(squeeze, volume_ml)):
        base = spec.shortening_mm * contracted
        length = spec.long_axis_mm - base
        radius = float(np.sqrt(3000.0 * volume / (2.0 * np.pi * length)))
        wall = _wall(1000.0 * volume, muscle, radius, length)
        for z in range(spec.slices):
            below = float(depth[z]) - base
            image = chest[z].copy()

            def paint(mask: NDArray[np.float64], value: float, image: NDArray[np.float64] = image) -> None:
                image[...] = image * (1.0 - mask) + value * mask

            aorta = soft(np.hypot(x - 30.0, y - 60.0) - (10.0 + 1.0 * contracted))
            paint(aorta, _BLOOD)
            if below < 0.0:
                # Above the valve plane: the atria, unlabelled, wider in systole.
                paint(soft(distance - (24.0 + 3.0 * contracted)), _BLOOD * 0.95)
                paint(soft(np.hypot(along - 42.0, across) - (20.0 + 3.0 * contracted)), _BLOOD * 0.95)
            inner = _radius(below, radius, length)
            outer = _radius(below, radius + wall, length + wall)
            if outer > 0.0:
                in_wall = soft(distance - outer)
                gap = (34.0 - 12.0 * contracted) * (outer / (radius + wall)) - 3.0
                if below / length < 0.85 and gap > 2.0:
                    far_centre, far_radius = _right_circle(outer, gap)
                    away = np.hypot(along - far_centre, across) - far_radius
                    paint(soft(away - 3.0), _MYOCARDIUM)
                    paint(soft(away), _BLOOD)
                    labels[t, z][(away < 0) & (distance >= outer)] = 1
                    for side, sign in enumerate((1.0, -1.0)):
                        offset_along, offset_across = outer * np.cos(_ATTACHMENT), sign * outer * np.sin(_ATTACHMENT)
                        point = left + offset_along * toward_rv
                        point = point + offset_across * np.array([-toward_rv[1], toward_rv[0]])
                        index[t, z, side] = point
                paint(in_wall, _MYOCARDIUM)
                labels[t, z][distance < outer] = 2
                if inner > 0.0:
                    paint(soft(distance - inner), _BLOOD)
                    labels[t, z][distance < inner] = 3
                    if 0.15 < below / length < 0.7:
                        for direction in (np.deg2rad(50.0), np.deg2rad(-70.0)):
                            muscle_along = -0.62 * inner * np.cos(direction)
                            muscle_across = 0.62 * inner * np.sin(direction)
                            spot = np.hypot(along - muscle_along, across - muscle_across)
                            paint(soft(spot - 0.14 * inner), _MYOCARDIUM)
            images[t, z] = image * (1.0 + 0.03 * grain[z])
    if spec.noise > 0:
        rng = np.random.default_rng(spec.seed + 2)
        images += rng.standard_normal(images.shape, dtype=np.float32) * np.float32(spec.noise)
        np.abs(images, out=images)
    images *= 1000.0

    times = np.asarray(np.arange(spec.frames) * (spec.cycle_s / spec.frames), dtype=np.float64)
    meta = {"source": "digital phantom", "synthetic": True}
    column = (index[..., 0] + spec.centre_mm[0]) / sx + (spec.width - 1) / 2
    row = (index[..., 1] + spec.centre_mm[1]) / sy + (spec.height - 1) / 2
    slice_index = np.broadcast_to(np.arange(spec.slices)[None, :, None], column.shape)
    points = np.stack([column, row, slice_index], axis=-1) @ matrix[:3, :3].T + matrix[:3, 3]
    found = np.isfinite(column)
    landmarks = LandmarkTrack(
        points=np.where(found[..., None], points, np.nan),
        confidence=found.astype(np.float64),
        frame_times=times,
        meta=dict(meta),
    )
    middle = np.array(
        [
            spec.centre_mm[0] / sx + (spec.width - 1) / 2,
            spec.centre_mm[1] / sy + (spec.height - 1) / 2,
            (spec.slices - 1) / 2,
        ]
    )
    return Phantom(
        cine=Cine(array=images, affine=matrix, frame_times=times, meta=dict(meta)),
        segmentation=Segmentation(array=labels, affine=matrix, frame_times=times, meta=dict(meta)),
        landmarks=landmarks,
        lv_volume_ml=np.asarray(volume_ml),
        centre_ras_mm=matrix[:3, :3] @ middle + matrix[:3, 3],
    )

"""New hearts from pairs of patients: A's cine warped part of the way to B's ventricles.

The field that brings A's ventricles onto B's is found from labels alone, once at end-diastole and once at end-systole,
and blended by the volume curve through the beat. A's image is warped, not averaged with B's, so it stays sharp; its
labels are warped with it. The result differs from both patients in size, wall, shape and motion.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage

from CardioDiTLib.data.cine_from_pair import LABELS, PosedPair
from CardioDiTLib.data.motion import minimum_jacobian, register_planes
from CardioDiTLib.labels import LV, MYOCARDIUM, RV

# The distance maps that guide the field: cavity of the left ventricle, its outer border, right ventricle.
_GUIDES = ((LV,), (MYOCARDIUM, LV), (RV,))
_GUIDE_WEIGHTS = (1.0, 1.0, 0.6)
_DISTANCE_SCALE_PX = 8.0
_FEWEST_PIXELS = 8
_SMALLEST_JACOBIAN = 0.15
BLOOD_GREY = 150.0
"""Grey value of 255 to which the blood of the left ventricle is brought in all patients."""

_INVERSION_STEPS = 10


@dataclass(frozen=True, eq=False)
class Morph:
    """Displacements from one patient to another.

    Attributes:
        fields: (2, 2, Z, Y, X) float32 pixels, ED and ES; A(x + u(x)) has B's ventricles. Axis 1 = (dy, dx).
        most: Largest share of the way at which nothing folds.
    """

    fields: np.ndarray
    most: float


@dataclass(frozen=True)
class View:
    """In-plane position of the picture that is made: turn, size, shift; pixels of the source.

    Attributes:
        turn_deg: Turn, degrees.
        scale: Magnification.
        shift_px: (y, x).
    """

    turn_deg: float = 0.0
    scale: float = 1.0
    shift_px: tuple[float, float] = (0.0, 0.0)

    def places(self, source: int, size: int) -> np.ndarray:
        """(2, size, size) source rows and columns of a picture of `size` pixels, from one of `source` pixels."""
        angle = np.radians(self.turn_deg)
        middle = (size - 1) / 2
        rows, columns = np.mgrid[0:size, 0:size] - middle
        turned = (
            np.cos(angle) * rows + np.sin(angle) * columns,
            -np.sin(angle) * rows + np.cos(angle) * columns,
        )
        return np.stack([part / self.scale + step + (source - 1) / 2 for part, step in zip(turned, self.shift_px)])


def find_morph(source: PosedPair, target: PosedPair) -> Morph:
    """The field that brings the ventricles of `source` onto those of `target`, both in the common pose on one grid."""
    fields = []
    for phase in range(2):
        fixed, moving, weights = _guides(target.labels[phase], source.labels[phase])
        field = register_planes(
            fixed, moving, weights, factors=(4, 2), iterations=(30, 20), fluid_sigma=1.5, elastic_sigma=2.0
        )
        fields.append(ndimage.gaussian_filter(field, (0, 0.6, 1.0, 1.0), mode="nearest"))
    both = np.stack(fields).astype(np.float32)
    most = 1.0
    while most > 0.2 and min(minimum_jacobian(most * field) for field in both) < _SMALLEST_JACOBIAN:
        most -= 0.1
    return Morph(both, most)


def _guides(fixed: np.ndarray, moving: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    slices = fixed.shape[0]
    maps = np.zeros((2, len(_GUIDES), *fixed.shape), np.float32)
    weights = np.zeros((len(_GUIDES), slices), np.float32)
    for channel, names in enumerate(_GUIDES):
        masks = [np.isin(labels, names) for labels in (fixed, moving)]
        for z in range(slices):
            if min(mask[z].sum() for mask in masks) <= _FEWEST_PIXELS:
                continue
            weights[channel, z] = _GUIDE_WEIGHTS[channel]
            for which, mask in enumerate(masks):
                maps[which, channel, z] = _distance(mask[z])
    return maps[0], maps[1], weights


def _distance(mask: np.ndarray) -> np.ndarray:
    signed = ndimage.distance_transform_edt(~mask) - ndimage.distance_transform_edt(mask)
    return np.clip(signed / _DISTANCE_SCALE_PX, -2.0, 2.0)


def blood_gain(pair: PosedPair) -> float:
    """Factor that brings the blood of the left ventricle at ED to one brightness in all patients."""
    inner = ndimage.binary_erosion(pair.labels[0] == LV, np.ones((1, 3, 3)))
    if inner.sum() < 50:
        return 1.0
    return float(np.clip(BLOOD_GREY / max(float(np.median(pair.images[0][inner])), 1.0), 0.6, 2.0))


class MorphPainter:
    """Makes the frames of one patient's morphs.

    Args:
        pair: The patient whose pictures are moved.
        size: Rows and columns of what is made.
    """

    def __init__(self, pair: PosedPair, size: int = 128) -> None:
        self.pair, self.size = pair, size
        self.source = pair.images.shape[-1]
        self._stacks = [_planes(pair, phase) for phase in range(2)]
        self._motion = torch.from_numpy(pair.displacement.transpose(1, 0, 2, 3).copy())

    @torch.no_grad()
    def paint(
        self, curve: np.ndarray, view: View | None = None, morph: Morph | None = None, share: float = 0.0
    ) -> tuple[np.ndarray, np.ndarray]:
        """Images and labels of one cycle.

        Args:
            curve: (T,) share of the way from ED to ES.
            view: Where the picture lies.
            morph: The field towards another patient; None for no change.
            share: Share of the way, 0 to `morph.most`.

        Returns:
            images (T, Z, size, size) float32, 0..255, and labels (T, Z, size, size) uint8.
        """
        places = torch.from_numpy((view or View()).places(self.source, self.size)).float()
        slices = self.pair.images.shape[1]
        places = places[None].expand(slices, -1, -1, -1)
        fields = None if morph is None else torch.from_numpy(share * morph.fields.transpose(0, 2, 1, 3, 4))
        made: dict[float, tuple[np.ndarray, np.ndarray]] = {}
        for fraction in np.round(curve, 3):
            if float(fraction) not in made:
                made[float(fraction)] = self._frame(float(fraction), places, fields)
        frames = [made[float(fraction)] for fraction in np.round(curve, 3)]
        return np.stack([frame[0] for frame in frames]), np.stack([frame[1] for frame in frames])

    def _frame(
        self, fraction: float, places: torch.Tensor, fields: torch.Tensor | None
    ) -> tuple[np.ndarray, np.ndarray]:
        if fields is not None:
            places = places + _sample((1 - fraction) * fields[0] + fraction * fields[1], places)
        first = places + _sample(self._back(fraction), places)
        second = first + _sample(self._motion, first)
        return _named((1 - fraction) * _sample(self._stacks[0], first) + fraction * _sample(self._stacks[1], second))

    def _back(self, fraction: float) -> torch.Tensor:
        """Displacement from this frame back to ED, (Z, 2, Y, X), by fixed-point iteration."""
        rows, columns = torch.meshgrid(torch.arange(self.source), torch.arange(self.source), indexing="ij")
        grid = torch.stack([rows, columns]).float()[None].expand(len(self._motion), -1, -1, -1)
        # Half the resolution is enough: the motion is smooth.
        coarse = F.avg_pool2d(self._motion, 2)
        grid = F.avg_pool2d(grid, 2)
        back = -fraction * coarse
        for _ in range(_INVERSION_STEPS):
            back = -fraction * _sample(self._motion, grid + back)
        return F.interpolate(back, scale_factor=2, mode="bilinear", align_corners=False)


def moved(pair: PosedPair, phase: int, field: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Picture and labels of one phase at x + field(x).

    Args:
        pair: The patient.
        phase: 0 for ED, 1 for ES.
        field: (2, Z, Y, X) pixels, axis 0 = (dy, dx).

    Returns:
        picture (Z, Y, X) float32, 0..255, and labels (Z, Y, X) uint8.
    """
    size = pair.images.shape[-1]
    here = torch.from_numpy(View().places(size, size)).float()
    return _named(_sample(_planes(pair, phase), here + field.transpose(0, 1)))


def _planes(pair: PosedPair, phase: int) -> torch.Tensor:
    """(Z, 1 + labels, Y, X): the picture of a phase and each label as a picture."""
    parts = [pair.images[phase], *[255 * (pair.labels[phase] == label) for label in LABELS]]
    return torch.from_numpy(np.stack(parts, axis=1)).float()


def _named(stack: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Picture and labels of sampled planes."""
    labels = torch.cat([255 - stack[:, 1:].sum(1, keepdim=True), stack[:, 1:]], dim=1).argmax(1)
    return stack[:, 0].numpy(), labels.to(torch.uint8).numpy()


def _sample(planes: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """Planes (Z, C, Y, X) at places (Z, 2, h, w) given in (row, column) pixels; edges extended."""
    height, width = planes.shape[-2:]
    grid = torch.stack([places[:, 1] * (2 / (width - 1)) - 1, places[:, 0] * (2 / (height - 1)) - 1], dim=-1)
    return F.grid_sample(planes, grid, mode="bilinear", padding_mode="border", align_corners=True)

"""In-plane warp of a cine that changes the volumes of the left ventricle.

In every plane the cavity of the left ventricle is scaled about its centre with its shape kept; the wall keeps its area
(or gets another one); the surroundings are displaced with their area kept, less with growing distance. Areas are kept
since muscle and blood hardly change their volume during a beat.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from CardioDiTLib.labels import LV, MYOCARDIUM

_HARMONICS = 3  # of the outline over the angle: enough for its shape, smooth over the steps between pixels
_NARROWEST, _WIDEST = 0.3, 3.0  # areas of a cavity against before; the warp is limited to these
_THINNEST, _THICKEST = 0.5, 2.0  # areas of a wall
_STILL = 0.44  # of the width of the picture: what is farther from the centre than this does not move
_FEWEST_PIXELS = 4


def cavity_volumes(labels: NDArray[np.uint8], millilitres: float) -> NDArray[np.float64]:
    """(T,) mL of the left ventricle's cavity of labels (T, Z, Y, X), for voxels of so many mL."""
    return (labels == LV).sum(axis=(1, 2, 3)) * millilitres


def wanted_volumes(volumes: NDArray[np.float64], edv_ml: float, ef_percent: float) -> NDArray[np.float64]:
    """(T,) mL: the volume curve of a heart with another end-diastolic volume and ejection fraction, the pace of its
    beat kept.

    Args:
        volumes: (T,) mL as they are; frame 0 is end-diastole.
        edv_ml, ef_percent: As they shall be.
    """
    smooth = (np.roll(volumes, 1) + 2 * volumes + np.roll(volumes, -1)) / 4
    smooth[0] = volumes[0]
    low = smooth.min()
    esv_ml = edv_ml * (1 - ef_percent / 100)
    fullness = (smooth - low) / max(volumes[0] - low, 1e-6)
    return esv_ml + (edv_ml - esv_ml) * np.clip(fullness, 0.0, 1.0)


@dataclass(frozen=True, eq=False)
class VentricleWarp:
    """How the planes of a cine are moved.

    Attributes:
        places: (T, Z, Y, X, 2) float32, where each pixel's value comes from: (x, y) in the picture, each -1 to 1.
    """

    places: torch.Tensor

    @classmethod
    def of(cls, labels: NDArray[np.uint8], cavity: NDArray[np.float64], wall: float = 1.0) -> VentricleWarp:
        """The move that changes the cavity's area in every plane of a frame by one factor, and the wall's by another.

        Args:
            labels: (T, Z, Y, X), 2 myocardium, 3 LV cavity.
            cavity: (T,) factors, one a frame.
            wall: Factor of the wall's area in all frames.
        """
        rows, columns = labels.shape[2:]
        inner, outer = labels == LV, (labels == LV) | (labels == MYOCARDIUM)
        centre = _centres(inner)[..., None, None]
        y, x = np.mgrid[0:rows, 0:columns]
        dy, dx = y - centre[:, 0], x - centre[:, 1]
        angle, far = np.arctan2(dy, dx), dy**2 + dx**2
        # Squared radii, before and after, of where the cavity and the wall end: areas are what is kept or multiplied.
        cavity_end = _outline(inner, angle)
        wall_end = np.maximum(_outline(outer, angle), cavity_end)
        k = np.clip(cavity, _NARROWEST, _WIDEST)[:, None, None, None]
        m = float(np.clip(wall, _THINNEST, _THICKEST))
        new_cavity_end = k * cavity_end
        new_wall_end = new_cavity_end + m * (wall_end - cavity_end)
        radius = np.sqrt(new_wall_end)
        gone = np.clip((np.sqrt(far) - radius) / np.maximum(_STILL * columns - radius, 1.0), 0.0, 1.0)
        pushed = (new_wall_end - wall_end) * (0.5 + 0.5 * np.cos(math.pi * gone))
        source = np.where(
            far < new_cavity_end,
            far / k,
            np.where(far < new_wall_end, cavity_end + (far - new_cavity_end) / m, far - pushed),
        )
        share = np.sqrt(np.maximum(source, 0.0) / np.maximum(far, 1e-9))
        from_x, from_y = centre[:, 1] + share * dx, centre[:, 0] + share * dy
        places = np.stack([2 * from_x / (columns - 1) - 1, 2 * from_y / (rows - 1) - 1], axis=-1)
        return cls(torch.from_numpy(places.astype(np.float32)))

    def moved(self, image: torch.Tensor) -> torch.Tensor:
        """A stack (Z, H, W, T) moved."""
        frames, slices = self.places.shape[:2]
        # on the CPU: it takes little time, and not every GPU backend has it
        planes = image.cpu().permute(3, 0, 1, 2).reshape(frames * slices, 1, *image.shape[1:3])
        made = F.grid_sample(
            planes, self.places.flatten(0, 1), mode="bicubic", padding_mode="border", align_corners=True
        )
        return made.reshape(frames, slices, *image.shape[1:3]).permute(1, 2, 3, 0).to(image.device)


def _centres(inner: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(Z, 2) row and column of the middle of the cavity over the beat, of the picture where there is no cavity."""
    rows, columns = inner.shape[2:]
    weight = inner.sum(axis=0).astype(np.float64)
    total = weight.sum(axis=(1, 2))
    y, x = np.mgrid[0:rows, 0:columns]
    found = np.stack([(weight * y).sum(axis=(1, 2)), (weight * x).sum(axis=(1, 2))], axis=1)
    middle = np.array([(rows - 1) / 2, (columns - 1) / 2])
    return np.where(total[:, None] > 0, found / np.maximum(total, 1.0)[:, None], middle)


def _outline(mask: NDArray[np.bool_], angle: NDArray[np.float64]) -> NDArray[np.float64]:
    """Squared radius of a region's outline at every pixel's angle, (T, Z, Y, X), smooth over angle and beat; the area
    inside is that of the region.
    """
    inside = mask.astype(np.float64)
    area = inside.sum(axis=(2, 3), keepdims=True)
    found = _over_time(area)
    for n in range(1, _HARMONICS + 1):
        damped = 2 * (1 - n / (_HARMONICS + 1))
        for wave in (np.cos(n * angle), np.sin(n * angle)):
            found = found + damped * _over_time((inside * wave).sum(axis=(2, 3), keepdims=True)) * wave
    found = np.maximum(found, 0.05 * _over_time(area)) / math.pi
    return np.where(_over_time(area) < _FEWEST_PIXELS, 0.0, found)


def _over_time(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return (np.roll(x, 1, axis=0) + 2 * x + np.roll(x, -1, axis=0)) / 4

"""Views of cines for contrastive training: everything that a copy may hide behind, drawn by chance.

One draw a view, the same for all of its frames: what rests still rests. A view is turned, shifted, magnified, mirrored,
bent a little, cut at the rims or around the heart, taken from other slices and another codec, mixed with a little of
another cine; its brightness, contrast, sharpness and noise change.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace

import torch
import torch.nn.functional as F

from ..errors import CardioDiTError


@dataclass(frozen=True)
class ViewRanges:
    """How far views may differ from the cine.

    Attributes:
        turn_deg: Largest turn in plane, either way.
        any_turn: Share of views that are turned by any angle.
        shift_mm: Largest shift, each way.
        scale: Standard deviation of the logarithm of magnification.
        stretch: The same of one axis against the other.
        bend_mm: Largest standard deviation of a smooth bend of the plane; small, or it would be another heart.
        slice_shift_mm: Standard deviation of the shift of single slices (breath-holds).
        mirror: Share of views that are mirrored.
        slices: Neighbouring slices of a view; which ones is drawn, so that two views differ by some.
        crop: Share of views that lose the rims or what is far from the heart.
        two_frames: Share of views that have only end-diastole and end-systole.
        gamma, gain, slice_gain: Standard deviations of logarithms.
        field: Largest strength of a smooth brightness field (logarithm).
        offset: Largest added brightness, in units of [0, 1].
        blur_px: Largest softening.
        noise: Largest standard deviation of noise, in units of [0, 1].
        blend: Largest weight of another cine.
        blended: Share of views that are mixed with another cine.
        decoded: Share of views taken from what a codec made of the cine.
    """

    turn_deg: float = 20.0
    any_turn: float = 0.1
    shift_mm: float = 10.0
    scale: float = 0.06
    stretch: float = 0.02
    bend_mm: float = 1.5
    slice_shift_mm: float = 1.0
    mirror: float = 0.5
    slices: int = 6
    crop: float = 0.25
    two_frames: float = 0.2
    gamma: float = 0.25
    gain: float = 0.15
    slice_gain: float = 0.08
    field: float = 0.4
    offset: float = 0.08
    blur_px: float = 1.0
    noise: float = 0.1
    blend: float = 0.3
    blended: float = 0.2
    decoded: float = 0.3

    def __post_init__(self) -> None:
        shares = ("any_turn", "mirror", "crop", "two_frames", "blended", "decoded", "blend")
        for item in fields(self):
            value = getattr(self, item.name)
            if not math.isfinite(value) or value < 0 or (item.name in shares and value > 1):
                raise CardioDiTError(f"'{item.name}' of views is {value}.", "Give a size, or a share from 0 to 1.")
        if self.slices < 1:
            raise CardioDiTError("A view needs one slice or more.", "Give a positive number of slices.")

    def eased(self, share: float) -> ViewRanges:
        """All ranges at a share of their size; mirrors and the number of slices stay."""
        kept = ("mirror", "slices")
        return replace(self, **{f.name: share * getattr(self, f.name) for f in fields(self) if f.name not in kept})


class ViewMaker:
    """Draws views.

    Args:
        ranges: What may happen.
        size: Rows and columns of a view.
        spacing_mm: Their pixel spacing, the same as that of the cines that go in.
    """

    def __init__(self, ranges: ViewRanges, size: int, spacing_mm: float) -> None:
        self.ranges, self.size, self.spacing_mm = ranges, size, spacing_mm

    def __call__(
        self, cines: torch.Tensor, others: torch.Tensor, systole: torch.Tensor, generator: torch.Generator
    ) -> torch.Tensor:
        """One view of each cine.

        Args:
            cines: (B, T, Z, Y, X) in [0, 1], CPU.
            others: (B, T, Z, Y, X), cines to mix with.
            systole: (B,) frame of end-systole; frame 0 is end-diastole.
            generator: Where the randomness comes from.

        Returns:
            (B, T, slices, size, size) in [-1, 1].
        """
        draw = _Draw(generator, len(cines))
        ranges = self.ranges
        weight = draw.share() * ranges.blend * (draw.share() < ranges.blended)
        unit = torch.lerp(cines, others, weight[:, :, None, None, None]) if bool(weight.any()) else cines
        unit = self._slices(unit, draw)
        unit = self._frames(unit, systole, draw)
        return self._brightness(self._placed(unit, draw), draw)

    def _slices(self, unit: torch.Tensor, draw: _Draw) -> torch.Tensor:
        count = min(self.ranges.slices, unit.shape[2])
        first = (draw.share()[:, 0] * (unit.shape[2] - count + 1)).long()
        return torch.stack([one[:, start : start + count] for one, start in zip(unit, first.tolist())])

    def _frames(self, unit: torch.Tensor, systole: torch.Tensor, draw: _Draw) -> torch.Tensor:
        """Some views as if only two frames had been recorded and the cycle been filled in between."""
        few = draw.share()[:, 0] < self.ranges.two_frames
        if not bool(few.any()):
            return unit
        count = unit.shape[1]
        share = (1 - torch.cos(2 * torch.pi * torch.arange(count) / count)) / 2
        result = unit.clone()
        for index in few.nonzero()[:, 0].tolist():
            ends = unit[index, [0, int(systole[index])]]
            result[index] = torch.lerp(ends[:1], ends[1:], share[:, None, None, None])
        return result

    def _placed(self, unit: torch.Tensor, draw: _Draw) -> torch.Tensor:
        """(B, T, Z, Y, X) -> (B, T, Z, size, size): moved, 0 beyond the rim."""
        ranges = self.ranges
        batch, frames, slices, height, width = unit.shape
        turn = draw.uniform(ranges.turn_deg)
        turn = torch.where(draw.share() < ranges.any_turn, draw.uniform(180.0), turn) * (torch.pi / 180)
        scale, stretch = torch.exp(draw.normal(ranges.scale)), torch.exp(draw.normal(ranges.stretch))
        mirror = torch.where(draw.share() < ranges.mirror, -1.0, 1.0)
        axis = (torch.arange(self.size) - (self.size - 1) / 2) * self.spacing_mm
        y, x = torch.meshgrid(axis, axis, indexing="ij")
        x, y = x[None] * (mirror * scale * stretch)[:, :, None], y[None] * (scale / stretch)[:, :, None]
        cos, sin = torch.cos(turn)[:, :, None], torch.sin(turn)[:, :, None]
        place = torch.stack([cos * x - sin * y, sin * x + cos * y], 1)
        place = place + draw.uniform(ranges.shift_mm, 2)[..., None, None]
        coarse = draw.field(2, 5) * (draw.share() * ranges.bend_mm)[..., None, None]
        place = place + F.interpolate(coarse, (self.size, self.size), mode="bicubic", align_corners=True)
        apart = draw.normal(ranges.slice_shift_mm, 2 * slices).view(batch, slices, 2, 1, 1)
        place = (place[:, None] + apart).flatten(0, 1)
        half = torch.tensor([2 / (width * self.spacing_mm), 2 / (height * self.spacing_mm)])
        grid = (place * half.view(1, 2, 1, 1)).permute(0, 2, 3, 1)
        planes = unit.transpose(1, 2).flatten(0, 1)
        moved = F.grid_sample(planes, grid, "bilinear", "zeros", align_corners=False)
        return moved.view(batch, slices, frames, self.size, self.size).transpose(1, 2)

    def _brightness(self, unit: torch.Tensor, draw: _Draw) -> torch.Tensor:
        """(B, T, Z, size, size) within [0, 1] -> [-1, 1]."""
        ranges = self.ranges
        slices, size = unit.shape[2], unit.shape[-1]

        def spread(value: torch.Tensor) -> torch.Tensor:
            return value[:, None, :, None, None]

        unit = _softened(unit, draw.share() * ranges.blur_px * (draw.share() < 0.4))
        unit = unit.clamp(0, 1) ** spread(torch.exp(draw.normal(ranges.gamma)))
        gain = torch.exp(draw.normal(ranges.gain) + draw.normal(ranges.slice_gain, slices))
        field = draw.field(1, 3) * (draw.share() * ranges.field)[..., None, None]
        factor = torch.exp(F.interpolate(field, (size, size), mode="bicubic", align_corners=True)) * self._kept(draw)
        unit = unit * (spread(gain) * factor[:, None]) + spread(draw.uniform(ranges.offset))
        noise = draw.share() * ranges.noise * (draw.share() < 0.6)
        noisy = noise[:, 0].nonzero()[:, 0]
        if len(noisy):
            sharp = torch.randn(unit[noisy].shape, generator=draw.generator)
            unit[noisy] = unit[noisy] + sharp * spread(noise[noisy])
        return (2 * unit - 1).clamp(-1, 1)

    def _kept(self, draw: _Draw) -> torch.Tensor:
        """(B, 1, size, size): 0 where a view was cut away, either at one or two rims or all around the heart."""
        place = torch.arange(self.size).float()
        cut = draw.share() < self.ranges.crop
        around = draw.share() < 0.4
        ends = torch.where(around, (draw.share() * 0.2).expand(-1, 4), _some(draw, 4) * 0.25) * self.size * cut
        rows = (place >= ends[:, :1].round()) & (place < self.size - ends[:, 1:2].round())
        columns = (place >= ends[:, 2:3].round()) & (place < self.size - ends[:, 3:].round())
        return (rows[:, None, :, None] & columns[:, None, None, :]).float()


class _Draw:
    """Numbers for each of some views."""

    def __init__(self, generator: torch.Generator, count: int) -> None:
        self.generator, self.count = generator, count

    def share(self, numbers: int = 1) -> torch.Tensor:
        """(B, numbers) within [0, 1)."""
        return torch.rand(self.count, numbers, generator=self.generator)

    def uniform(self, largest: float, numbers: int = 1) -> torch.Tensor:
        """(B, numbers) within -largest to largest."""
        return (2 * self.share(numbers) - 1) * largest

    def normal(self, spread: float, numbers: int = 1) -> torch.Tensor:
        """(B, numbers), no further than 2.5 standard deviations out."""
        return torch.randn(self.count, numbers, generator=self.generator).clamp(-2.5, 2.5) * spread

    def field(self, channels: int, size: int) -> torch.Tensor:
        """(B, channels, size, size) normal numbers."""
        return torch.randn(self.count, channels, size, size, generator=self.generator)


def _some(draw: _Draw, numbers: int) -> torch.Tensor:
    """(B, numbers) within [0, 1), most of them 0."""
    return draw.share(numbers) * (draw.share(numbers) < 0.4)


def _softened(unit: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """Each view with its own Gaussian; sigma (B, 1), pixels."""
    soft = sigma[:, 0] > 0.05
    if not bool(soft.any()):
        return unit
    taps = torch.arange(-3, 4).float()
    kernel = torch.exp(-0.5 * (taps / sigma[soft]) ** 2)
    kernel = (kernel / kernel.sum(1, keepdim=True))[:, None, None]
    views = unit[soft]
    planes = views.flatten(1, 2).transpose(0, 1)
    planes = F.conv2d(F.pad(planes, (3, 3, 3, 3), mode="replicate"), kernel, groups=len(views))
    planes = F.conv2d(planes, kernel.transpose(2, 3), groups=len(views))
    unit = unit.clone()
    unit[soft] = planes.transpose(0, 1).reshape(views.shape)
    return unit

"""Images of other scanners, patients and planes, drawn from those at hand.

Everything is drawn anew for every image. Mirror images are among them: labels name tissue, not sides, and files come
in every orientation. Contrast is never inverted: in a balanced cine blood is brighter than muscle.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F

from CardioDiTLib.errors import CardioDiTError


@dataclass(frozen=True)
class SegmentationAugmentation:
    """Ranges; 0 switches a thing off.

    Args:
        turn_deg: Largest turn, either way.
        mirror: Share of mirrored images.
        posed_share: Share of images that are turned by `posed_turn_deg` at most, and mirrored top to bottom only: a
            right ventricle that lies on the left stays there.
        posed_turn_deg: Largest turn of those, either way.
        scale: Standard deviation of the logarithm of the magnification.
        stretch: The same for one axis against the other.
        shift_mm: Largest shift each way.
        bend_mm: Largest standard deviation of the smooth displacement.
        slice_shift_mm: Standard deviation of the shift of neighbouring slices (another breath-hold).
        drop_neighbours: Share of images in which the slice stands in for its neighbours (a single slice, an end).
        gamma: Standard deviation of the logarithm of the exponent.
        warp: Strength of the random monotone curve of grey values.
        gain: Standard deviation of the logarithm of the contrast.
        offset: Largest added brightness, in units of [-1, 1].
        field: Largest standard deviation of the smooth brightness field's logarithm.
        slice_gain: The same as `gain`, slice by slice.
        blur_px: Largest standard deviation of the blur, pixels.
        coarse: Largest factor by which the resolution is lowered; 1 is off.
        noise: Largest standard deviation of noise, in units of [-1, 1].
        black: Share of images with a black band at a rim (a narrow field of view).

    Raises:
        CardioDiTError: A value is negative.
    """

    turn_deg: float = 180.0
    mirror: float = 0.5
    posed_share: float = 0.0
    posed_turn_deg: float = 25.0
    scale: float = 0.15
    stretch: float = 0.05
    shift_mm: float = 25.0
    bend_mm: float = 3.0
    slice_shift_mm: float = 2.0
    drop_neighbours: float = 0.15
    gamma: float = 0.25
    warp: float = 0.6
    gain: float = 0.15
    offset: float = 0.15
    field: float = 0.3
    slice_gain: float = 0.1
    blur_px: float = 1.5
    coarse: float = 2.0
    noise: float = 0.12
    black: float = 0.15

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if not math.isfinite(value) or value < (1 if item.name == "coarse" else 0):
                raise CardioDiTError(f"The augmentation '{item.name}' is {value}.", "Give a size; signs are drawn.")


class ImageAugmenter:
    """Draws from the ranges.

    Args:
        ranges: What may happen.
        size: Rows and columns of the images that come out.
        spacing_mm: Their pixel spacing.
        source_mm: Pixel spacing (x, y) of the images that go in.
    """

    def __init__(
        self, ranges: SegmentationAugmentation, size: int, spacing_mm: float, source_mm: tuple[float, float]
    ) -> None:
        self.ranges, self.size, self.spacing_mm, self.source_mm = ranges, size, spacing_mm, source_mm

    def __call__(
        self,
        images: torch.Tensor,
        labels: torch.Tensor,
        generator: torch.Generator,
        own: Sequence[int] | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Augments images and moves their labels along.

        Args:
            images: (N, C, Y, X) within [-1, 1], CPU; the slice itself is in the middle of C.
            labels: (N, Y, X), whole numbers.
            generator: Where the randomness comes from.
            own: Channels that show the slice itself (other frames of it); they move and brighten as one. None: the one
                in the middle.

        Returns:
            (N, C, size, size) within [-1, 1] and (N, size, size) int64.
        """
        return self.with_places(images, labels, generator, own)[:2]

    def with_places(
        self,
        images: torch.Tensor,
        labels: torch.Tensor,
        generator: torch.Generator,
        own: Sequence[int] | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The same, and where each pixel was taken from.

        Returns:
            Images, labels, and (N, 2, size, size): the place (x, y) of every pixel in the image that went in, in mm
            from its middle.
        """
        draw = _Draw(generator, len(images))
        place = self._places(draw)
        # Black is 0 from here on, which is also what comes in from beyond the rim.
        unit = images.add(1.0).mul(0.5)
        still = list(own) if own is not None else [unit.shape[1] // 2]
        channels = []
        for channel, image in enumerate(unit.split(1, dim=1)):
            shift = draw.normal(self.ranges.slice_shift_mm, 2)[..., None, None]
            seen = place if channel in still else place + shift
            channels.append(F.grid_sample(image, self._grid(seen, unit), "bilinear", "zeros", align_corners=False))
        truth = F.grid_sample(labels[:, None].float(), self._grid(place, unit), "nearest", "zeros", align_corners=False)
        return self._brightness(torch.cat(channels, 1), draw, still), truth[:, 0].round().long(), place

    def _places(self, draw: _Draw) -> torch.Tensor:
        """(N, 2, size, size): the place (x, y) in mm from the middle that each pixel is taken from."""
        ranges = self.ranges
        turn = draw.uniform(ranges.turn_deg) * (math.pi / 180)
        scale = torch.exp(draw.normal(ranges.scale))
        stretch = torch.exp(draw.normal(ranges.stretch))
        mirror = torch.where(draw.share() < ranges.mirror, -1.0, 1.0)
        if ranges.posed_share > 0:
            # Mirrored left to right and then turned by half a turn is mirrored top to bottom.
            little = draw.uniform(ranges.posed_turn_deg) * (math.pi / 180) + math.pi * (mirror < 0)
            turn = torch.where(draw.share() < ranges.posed_share, little, turn)
        axis = (torch.arange(self.size) - (self.size - 1) / 2) * self.spacing_mm
        y, x = torch.meshgrid(axis, axis, indexing="ij")
        x, y = x[None] * (mirror * scale * stretch)[:, :, None], y[None] * (scale / stretch)[:, :, None]
        cos, sin = torch.cos(turn)[:, :, None], torch.sin(turn)[:, :, None]
        place = torch.stack([cos * x - sin * y, sin * x + cos * y], 1)
        place = place + draw.uniform(ranges.shift_mm, 2)[..., None, None]
        coarse = draw.field(2, 7) * (draw.share() * ranges.bend_mm)[..., None, None]
        return place + F.interpolate(coarse, (self.size, self.size), mode="bicubic", align_corners=True)

    def _grid(self, place: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
        height, width = images.shape[-2:]
        half = torch.tensor([2 / (width * self.source_mm[0]), 2 / (height * self.source_mm[1])])
        return (place * half.view(1, 2, 1, 1)).permute(0, 2, 3, 1)

    def _brightness(self, unit: torch.Tensor, draw: _Draw, still: list[int]) -> torch.Tensor:
        """(N, C, size, size) within [0, 1] -> [-1, 1]."""
        ranges, channels = self.ranges, unit.shape[1]

        def spread(value: torch.Tensor) -> torch.Tensor:
            return value[:, :, None, None]

        unit = _softened(unit, draw.share() * ranges.blur_px * (draw.share() < 0.5))
        unit = _coarsened(unit, 1 + draw.share() * (ranges.coarse - 1) * (draw.share() < 0.3))
        unit = unit.clamp(0, 1) ** spread(torch.exp(draw.normal(ranges.gamma)))
        unit = _warped(unit, draw.normal(ranges.warp, 6) * (draw.share() < 0.5))
        unit = unit * spread(torch.exp(draw.normal(ranges.gain)))
        gains = draw.normal(ranges.slice_gain, channels)
        gains[:, still] = gains[:, still[:1]]
        unit = unit * spread(torch.exp(gains))
        field = draw.field(1, 3) * spread(draw.share() * ranges.field)
        unit = unit * torch.exp(F.interpolate(field, unit.shape[-2:], mode="bicubic", align_corners=True))
        unit = unit * _band(unit.shape[-1], draw.share() < ranges.black, draw)
        sharp = torch.randn(unit.shape, generator=draw.generator)
        noise = draw.share() * ranges.noise * (draw.share() < 0.6)
        result = 2 * unit - 1 + spread(draw.uniform(ranges.offset)) + sharp * spread(noise)
        return result.clamp(-1, 1)


class _Draw:
    """Numbers for each of some images."""

    def __init__(self, generator: torch.Generator, count: int) -> None:
        self.generator, self.count = generator, count

    def share(self) -> torch.Tensor:
        """(N, 1) within [0, 1)."""
        return torch.rand(self.count, 1, generator=self.generator)

    def uniform(self, largest: float, numbers: int = 1) -> torch.Tensor:
        """(N, numbers) within -largest to largest."""
        return (2 * torch.rand(self.count, numbers, generator=self.generator) - 1) * largest

    def normal(self, spread: float, numbers: int = 1) -> torch.Tensor:
        """(N, numbers), no further than 2.5 standard deviations out."""
        return torch.randn(self.count, numbers, generator=self.generator).clamp(-2.5, 2.5) * spread

    def field(self, channels: int, size: int) -> torch.Tensor:
        """(N, channels, size, size) normal numbers."""
        return torch.randn(self.count, channels, size, size, generator=self.generator)


def _softened(images: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """Each image with its own Gaussian; sigma (N, 1), pixels."""
    count, channels = images.shape[:2]
    taps = torch.arange(-5, 6).float()
    kernel = torch.exp(-0.5 * (taps / sigma.clamp_min(0.05)) ** 2)
    kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(channels, 0)[:, None, None]
    flat = F.pad(images.reshape(1, count * channels, *images.shape[2:]), (5, 5, 5, 5), mode="replicate")
    flat = F.conv2d(flat, kernel, groups=count * channels)
    flat = F.conv2d(flat, kernel.transpose(2, 3), groups=count * channels)
    return flat.reshape(images.shape)


def _coarsened(images: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    """Each image down to fewer pixels and up again."""
    size = images.shape[-1]
    parts = []
    for image, number in zip(images.split(1), factor[:, 0].tolist()):
        smaller = max(4, round(size / number))
        if smaller < size:
            low = F.interpolate(image, (smaller, smaller), mode="bilinear", antialias=True)
            image = F.interpolate(low, (size, size), mode="bilinear")
        parts.append(image)
    return torch.cat(parts)


def _warped(unit: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
    """A rising curve from (0, 0) to (1, 1) of straight pieces, with slopes exp(steps) before it is scaled."""
    heights = torch.softmax(steps, 1)
    count, pieces = heights.shape
    ends = torch.cat([torch.zeros(count, 1), heights.cumsum(1)], 1)
    place = unit.clamp(0, 1) * pieces
    lower = place.long().clamp(max=pieces - 1)
    start = ends.gather(1, lower.flatten(1)).view(unit.shape)
    slope = heights.gather(1, lower.flatten(1)).view(unit.shape)
    return start + slope * (place - lower)


def _band(size: int, wanted: torch.Tensor, draw: _Draw) -> torch.Tensor:
    """(N, 1, size, size): 0 in up to a fifth of the image at one rim, else 1."""
    width = (draw.share() * 0.2 * size * wanted).round()
    place = torch.arange(size).float()
    side = (draw.share() * 4).long()
    along = torch.where(side % 2 == 0, place, size - 1 - place)
    keep = (along >= width).float()
    rows, columns = keep[:, None, :, None], keep[:, None, None, :]
    return torch.where((side < 2)[:, :, None, None], rows.expand(-1, 1, size, size), columns.expand(-1, 1, size, size))

"""Views of cines for contrastive training: random changes under which a copy has to be recognised.

A view is what the encoder sees of a cine: mean and first harmonic within a disc about the heart (see
`privacy.cine_canvas`). It may be of the whole cine, of end-diastole and end-systole as recorded, or of one frame that
stands still; it is turned, shifted, magnified, mirrored, bent a little, cut around the heart, taken from other slices
and another codec, mixed with another cine; its brightness, contrast, sharpness and noise change.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace

import torch
import torch.nn.functional as F

from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.privacy.cine_canvas import DISC_MM, levelled


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
        between: Share of views whose slices lie between those of the cine.
        crop: Share of views that are cut out around the heart.
        crop_mm: Smallest field of these.
        two_frames: Share of views that have only end-diastole and end-systole.
        still: Share of views of a single frame, without a beat.
        beatless: Share of the others that lose their beat.
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
    between: float = 0.3
    crop: float = 0.25
    crop_mm: float = 100.0
    two_frames: float = 0.2
    still: float = 0.2
    beatless: float = 0.1
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
        shares = (
            "any_turn",
            "mirror",
            "between",
            "crop",
            "two_frames",
            "still",
            "beatless",
            "blended",
            "decoded",
            "blend",
        )
        for item in fields(self):
            value = getattr(self, item.name)
            if not math.isfinite(value) or value < 0 or (item.name in shares and value > 1):
                raise CardioDiTError(f"'{item.name}' of views is {value}.", "Give a size, or a share from 0 to 1.")
        if self.two_frames + self.still > 1:
            raise CardioDiTError("More views than there are have two frames or one.", "Give shares below 1 together.")
        if self.slices < 1:
            raise CardioDiTError("A view needs one slice or more.", "Give a positive number of slices.")

    def eased(self, share: float) -> ViewRanges:
        """All ranges at a share of their size; mirrors, the number of slices and the smallest field stay."""
        kept = ("mirror", "slices", "crop_mm")
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
        along = (torch.arange(size) - (size - 1) / 2) * spacing_mm
        self._y, self._x = torch.meshgrid(along, along, indexing="ij")
        self._disc = self._x.square() + self._y.square() <= (DISC_MM / 2) ** 2

    def __call__(
        self, cines: torch.Tensor, others: torch.Tensor, frames: torch.Tensor, generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """One view of each cine.

        Args:
            cines: (B, 3, Z, Y, X) mean (in [0, 1]), cosine and sine part of the first harmonic, CPU.
            others: The same of cines to mix with.
            frames: (B, F, Z, Y, X) in [0, 1], single frames of the cines: end-diastole, end-systole, any others.
            generator: Where the randomness comes from.

        Returns:
            (B, slices, size, size) mean in [-1, 1], and the amplitude of the beat, as `CineEmbedding.planes_of` takes
            them.
        """
        draw = _Draw(generator, len(cines))
        ranges = self.ranges
        unit, noisier = self._moments(cines, frames, draw)
        weight = draw.share() * ranges.blend * (draw.share() < ranges.blended)
        if bool(weight.any()):
            unit = torch.lerp(unit, others, weight[:, :, None, None, None])
        unit = self._slices(unit, draw)
        blank = (unit[:, 0].flatten(2).amax(-1) <= 0)[..., None, None]  # slices that the stack did not have
        unit, inside = self._placed(unit, draw)
        unit = self._brightness(unit, noisier, draw)
        mean, beat = zip(*(levelled(*one) for one in zip(unit, inside & self._disc)))
        return torch.where(blank, -1.0, torch.stack(mean)), torch.where(blank, 0.0, torch.stack(beat))

    def _moments(self, cines: torch.Tensor, frames: torch.Tensor, draw: _Draw) -> tuple[torch.Tensor, torch.Tensor]:
        """Whole cines, some as if only two frames of them, or one, had been recorded; and how much noisier (B, 1)."""
        ranges = self.ranges
        kind, which, beatless = draw.share()[:, 0], draw.share()[:, 0], draw.share()[:, 0] < ranges.beatless
        unit = cines.clone()
        noisier = torch.full((len(cines), 1), 0.35)
        for index, (value, place) in enumerate(zip(kind.tolist(), which.tolist())):
            if value < ranges.two_frames:
                first, second = frames[index, :2]
                # The amplitude of the first harmonic of two moments that alternate.
                unit[index] = torch.stack([(first + second) / 2, first - second, torch.zeros_like(first)])
                noisier[index] = 0.7
            elif value < ranges.two_frames + ranges.still:
                unit[index, 0] = frames[index, int(place * frames.shape[1])]
                unit[index, 1:] = 0
                noisier[index] = 1.0
        unit[beatless, 1:] = 0
        return unit, noisier

    def _slices(self, unit: torch.Tensor, draw: _Draw) -> torch.Tensor:
        total = unit.shape[2]
        count = min(self.ranges.slices, total)
        first = (draw.share()[:, 0] * (total - count + 1)).long().tolist()
        share = (draw.share() * (draw.share() < self.ranges.between))[:, 0].tolist()
        chosen = []
        for one, start, part in zip(unit, first, share):
            own = one[:, start : start + count]
            if part and total > 1:
                low = min(start, total - count - 1) if count < total else 0
                upper = one[:, low + 1 : low + count + 1]
                lower = one[:, low : low + upper.shape[1]]
                own = torch.lerp(lower, upper, part)
                if own.shape[1] < count:
                    own = torch.cat([own, one[:, -1:]], 1)
            chosen.append(own)
        return torch.stack(chosen)

    def _placed(self, unit: torch.Tensor, draw: _Draw) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, 3, Z, Y, X) -> (B, 3, Z, size, size) moved, and (B, size, size) what lies inside of the image."""
        ranges = self.ranges
        batch, parts, slices, height, width = unit.shape
        turn = draw.uniform(ranges.turn_deg)
        turn = torch.where(draw.share() < ranges.any_turn, draw.uniform(180.0), turn) * (torch.pi / 180)
        scale, stretch = torch.exp(draw.normal(ranges.scale)), torch.exp(draw.normal(ranges.stretch))
        mirror = torch.where(draw.share() < ranges.mirror, -1.0, 1.0)
        x, y = self._x[None] * (mirror * scale * stretch)[:, :, None], self._y[None] * (scale / stretch)[:, :, None]
        cos, sin = torch.cos(turn)[:, :, None], torch.sin(turn)[:, :, None]
        place = torch.stack([cos * x - sin * y, sin * x + cos * y], 1)
        place = place + draw.uniform(ranges.shift_mm, 2)[..., None, None]
        coarse = draw.field(2, 5) * (draw.share() * ranges.bend_mm)[..., None, None]
        place = place + F.interpolate(coarse, (self.size, self.size), mode="bicubic", align_corners=True)
        half = torch.tensor([2 / (width * self.spacing_mm), 2 / (height * self.spacing_mm)]).view(1, 2, 1, 1)
        inside = ((place * half).abs() <= 1).all(1) & self._kept(place, draw)
        apart = draw.normal(ranges.slice_shift_mm, 2 * slices).view(batch, slices, 2, 1, 1)
        grid = ((place[:, None] + apart).flatten(0, 1) * half).permute(0, 2, 3, 1)
        planes = unit.transpose(1, 2).flatten(0, 1)
        moved = F.grid_sample(planes, grid, "bilinear", "border", align_corners=False)
        return moved.view(batch, slices, parts, self.size, self.size).transpose(1, 2), inside

    def _kept(self, place: torch.Tensor, draw: _Draw) -> torch.Tensor:
        """(B, Y, X) what is left of the image where it was cut around the heart, along any axes."""
        ranges = self.ranges
        cut = draw.share() < ranges.crop
        field = ranges.crop_mm + draw.share(2) * max(0.0, 160.0 - ranges.crop_mm)
        half = torch.where(cut, field / 2, torch.inf)[..., None, None]
        angle = draw.uniform(torch.pi)[:, :, None]
        x, y = place.unbind(1)
        centre = draw.uniform(8.0, 2)[..., None, None]
        along, across = torch.cos(angle) * x + torch.sin(angle) * y, torch.cos(angle) * y - torch.sin(angle) * x
        return ((along - centre[:, 0]).abs() <= half[:, 0]) & ((across - centre[:, 1]).abs() <= half[:, 1])

    def _brightness(self, unit: torch.Tensor, noisier: torch.Tensor, draw: _Draw) -> torch.Tensor:
        """(B, 3, Z, size, size), the mean within [0, 1] at first: its curve, gain, field, offset, sharpness, noise."""
        ranges = self.ranges
        slices, size = unit.shape[2], unit.shape[-1]

        def spread(value: torch.Tensor) -> torch.Tensor:
            return value[:, None, :, None, None]

        unit = _softened(unit, draw.share() * ranges.blur_px * (draw.share() < 0.4))
        mean = unit[:, :1].clamp(0, 1)
        power = spread(torch.exp(draw.normal(ranges.gamma)))
        steepness = (power * mean.clamp_min(0.02) ** (power - 1)).clamp(max=4.0)
        unit = torch.cat([mean**power, unit[:, 1:] * steepness], 1)
        gain = torch.exp(draw.normal(ranges.gain) + draw.normal(ranges.slice_gain, slices))
        field = draw.field(1, 3) * (draw.share() * ranges.field)[..., None, None]
        factor = torch.exp(F.interpolate(field, (size, size), mode="bicubic", align_corners=True))
        unit = unit * (spread(gain) * factor[:, None])
        unit[:, :1] += spread(draw.uniform(ranges.offset))
        noise = draw.share() * ranges.noise * (draw.share() < 0.6) * noisier
        noisy = noise[:, 0].nonzero()[:, 0]
        if len(noisy):
            sharp = torch.randn(unit[noisy].shape, generator=draw.generator)
            sharp[:, 1:] *= 2**0.5 * (unit[noisy, 1:].abs().amax((1, 2, 3, 4), keepdim=True) > 0)
            unit[noisy] = unit[noisy] + sharp * spread(noise[noisy])
        return unit


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

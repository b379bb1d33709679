"""One embedding for a whole cine, invariant or nearly so to changes that leave a copy recognisable.

Three invariances are exact. Start of the cycle: of time, only the mean and the amplitude of the heartbeat's first
harmonic enter, pixel by pixel. Order of the slices: all go through the same network, and its features are averaged; a
slice more or less at the ends changes little. Mirroring: the embedding is the mean over a cine and its mirror image.
Brightness, contrast and coil profiles are normalised locally before the network; invariance to turns, shifts,
magnification, noise and codecs is learned (`CardioDiTLib.training.encoder_stage`).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from torch import nn

from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.schema import Bounds, Count, Record

TEMPERATURE = 0.07
"""Of the published training."""

_PLANES = 3  # what is seen of a slice: local contrast, brightness, amplitude of the beat
_DARK = 0.02  # of the range -1 to 1: a slice with less spread than this is empty


def nt_xent(
    first: torch.Tensor,
    second: torch.Tensor,
    temperature: float = TEMPERATURE,
    patients: torch.Tensor | None = None,
) -> torch.Tensor:
    """Normalised, temperature-scaled cross-entropy over the cosines of a batch (NT-Xent; Chen et al., ICML 2020).

    For each of the 2B embeddings, -log of the share of its other view in the sum of exp(cosine / temperature) over all
    others. The loss is the mean over the 2B; it is 0 for a batch of one pair.

    Args:
        first, second: (B, D) embeddings; row i of both shows image i.
        temperature: Divides the cosines.
        patients: (B,) whole numbers; images of the same patient are then never told apart (in the published training
            they were). None takes every image as another patient.

    Returns:
        A number.

    Raises:
        CardioDiTError: Shapes that do not fit, or a temperature that is not positive.

    Examples:
        >>> views = torch.eye(4)
        >>> float(nt_xent(views, views)) < 1e-5
        True
    """
    if first.ndim != 2 or first.shape != second.shape or not len(first):
        raise CardioDiTError(
            f"Views of shapes {tuple(first.shape)} and {tuple(second.shape)} are no pairs.", "Give two tables (B, D)."
        )
    if not temperature > 0:
        raise CardioDiTError(f"The temperature {temperature:g} is not possible.", "Give a positive number.")
    count = len(first)
    if patients is not None and patients.shape != (count,):
        raise CardioDiTError(f"There are {count} pairs but {len(patients)} patients.", "Give one number a pair.")
    views = F.normalize(torch.cat([first, second]), dim=1)
    logits = views @ views.T / temperature
    own = torch.arange(2 * count, device=first.device)
    partner = own.roll(count)
    hidden = torch.eye(2 * count, dtype=torch.bool, device=first.device)
    if patients is not None:
        everyone = patients.to(first.device).repeat(2)
        hidden = hidden | (everyone[:, None] == everyone[None, :])
        hidden[own, partner] = False
    return F.cross_entropy(logits.masked_fill(hidden, -torch.inf), partner)


@dataclass(frozen=True)
class CineEmbeddingConfig(Record):
    """Settings of a `CineEmbedding`.

    Args:
        channels: Feature channels, level by level; each level has half the resolution of the one above.
        dimension: Numbers of the embedding.
        hidden: Width of the layer between the features and the embedding.
        size: Rows and columns of the pictures that the network works on.
        spacing_mm: Their pixel spacing.
        contrast_mm: Standard deviation of the neighbourhood in which contrast is evened out.
        dropout: In front of both layers of the head, in training.

    Raises:
        CardioDiTError: A value is not possible.
    """

    record_name: ClassVar[str] = "encoder's network"
    record_hint: ClassVar[str] = "Correct the settings, or get the model's folder again."
    all_needed: ClassVar[bool] = True

    channels: tuple[Count, ...] = (24, 48, 96, 160)
    dimension: Annotated[int, Bounds(least=3)] = 128
    hidden: Annotated[int, Bounds(least=3)] = 256
    size: Annotated[int, Bounds(least=3)] = 64
    spacing_mm: Annotated[float, Bounds(least=0.1, most=20)] = 3.0
    contrast_mm: Annotated[float, Bounds(least=0.1, most=200)] = 15.0
    dropout: Annotated[float, Bounds(least=0, most=0.9)] = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        levels = len(self.channels)
        if levels < 2 or any(width % 8 for width in self.channels) or self.size % 2**levels:
            raise CardioDiTError(
                f"An encoder cannot have the channels {self.channels} for {self.size} pixels.",
                "Two channels or more have to be multiples of 8, pixels of two to the power of the number of levels.",
            )


class _Level(nn.Module):
    """Convolution, mean over 2 x 2 pixels, and a residual convolution on what is left."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.widen = nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False)
        self.norm = nn.GroupNorm(8, channels_out)
        self.refine = nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False)
        self.refine_norm = nn.GroupNorm(8, channels_out)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # The mean over 2 x 2 before pixels are dropped: a shift by one pixel then changes little. Convolution and
        # mean are one convolution of 4 x 4 pixels, which costs less than half.
        shifted = [F.pad(self.widen.weight, (i, 1 - i, j, 1 - j)) for i in (0, 1) for j in (0, 1)]
        kernel = torch.stack(shifted).mean(0)
        x = F.silu(self.norm(F.conv2d(x, kernel, stride=2, padding=1)))
        return F.silu(x + self.refine_norm(self.refine(x)))


class CineEmbedding(nn.Module):
    """Cines (B, T, Z, Y, X) in [-1, 1] to embeddings (B, D); compare them by Pearson's correlation or the cosine.

    Slices that show nothing are passed over.

    Args:
        config: Settings.

    Examples:
        >>> network = CineEmbedding(CineEmbeddingConfig(channels=(8, 8), size=16)).eval()
        >>> network(torch.rand(2, 6, 3, 16, 16)).shape
        torch.Size([2, 128])
    """

    kernel: torch.Tensor

    def __init__(self, config: CineEmbeddingConfig | None = None) -> None:
        super().__init__()
        self.config = config or CineEmbeddingConfig()
        channels = self.config.channels
        self.first = nn.Conv2d(_PLANES, channels[0], 5, stride=2, padding=2, bias=False)
        self.first_norm = nn.GroupNorm(8, channels[0])
        self.levels = nn.ModuleList(_Level(a, b) for a, b in pairwise(channels))
        side = self.config.size // 2 ** len(channels)
        self.head = nn.Sequential(
            nn.Dropout(self.config.dropout),
            nn.Linear(channels[-1] * side * side, self.config.hidden, bias=False),
            nn.BatchNorm1d(self.config.hidden),
            nn.SiLU(),
            nn.Dropout(self.config.dropout),
            nn.Linear(self.config.hidden, self.config.dimension, bias=False),
            # Centred over cines: without it all embeddings begin, and long stay, next to each other.
            nn.BatchNorm1d(self.config.dimension, affine=False),
        )
        sigma = self.config.contrast_mm / self.config.spacing_mm
        reach = max(1, round(2.5 * sigma))
        taps = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sigma) ** 2)
        self.register_buffer("kernel", taps / taps.sum(), persistent=False)

    def forward(self, frames: torch.Tensor, mirrored: bool = True) -> torch.Tensor:
        """Embeds cines.

        Args:
            frames: (B, T, Z, size, size) in [-1, 1], T frames of one cycle at even intervals, two or more.
            mirrored: Take the mean over both mirror images (exact invariance, twice the work).

        Returns:
            (B, D), not scaled to any length.

        Raises:
            CardioDiTError: Another number of axes, rows or columns.
        """
        size = self.config.size
        if frames.ndim != 5 or frames.shape[-2:] != (size, size) or frames.shape[1] < 2:
            raise CardioDiTError(
                f"Cines of shape {tuple(frames.shape)} cannot be embedded.",
                f"Give cines (B, T, Z, {size}, {size}) of two frames or more.",
            )
        planes, shown = self.planes(frames)
        return self.embed_planes(planes, shown, mirrored)

    def embed_planes(self, planes: torch.Tensor, shown: torch.Tensor, mirrored: bool = True) -> torch.Tensor:
        """Embeds what `planes` or `planes_of` gave.

        Args:
            planes: (B, Z, 3, Y, X).
            shown: (B, Z) which slices count; (B, W, Z) for W choices of slices at once.
            mirrored: The mean over both mirror images, or this one alone.

        Returns:
            (B, D), or (B, W, D).
        """
        if not mirrored:
            return self._embed(planes, shown)
        return (self._embed(planes, shown) + self._embed(planes.flip(-1), shown)) / 2

    @torch.no_grad()
    def fold(self, mean: torch.Tensor, matrix: torch.Tensor) -> None:
        """Takes a linear map of embeddings, ``(embedding - mean) @ matrix``, into the last layer.

        Args:
            mean: (D,).
            matrix: (D, D).
        """
        last, norm = self.head[-2], self.head[-1]
        assert isinstance(last, nn.Linear) and isinstance(norm, nn.BatchNorm1d)
        assert norm.running_mean is not None and norm.running_var is not None
        scale = (norm.running_var.double() + norm.eps).rsqrt()
        turned = matrix.double().T
        last.weight.copy_(turned @ (scale[:, None] * last.weight.double()))
        norm.running_mean.copy_(turned @ (scale * norm.running_mean.double() + mean.double()))
        norm.running_var.fill_(1.0 - norm.eps)

    def planes(self, frames: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """What the network sees of cines: (B, Z, 3, Y, X), and (B, Z) whether a slice shows anything."""
        frames = frames.float()
        count = frames.shape[1]
        mean = frames.mean(1)
        angle = 2 * torch.pi * torch.arange(count, device=frames.device, dtype=torch.float32) / count
        wave = torch.stack([torch.cos(angle), torch.sin(angle)]) * (2 / count)
        return self.planes_of(mean, torch.einsum("kt,btzyx->kbzyx", wave, frames).square().sum(0).sqrt())

    def planes_of(self, mean: torch.Tensor, beat: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The same from the mean over time and the amplitude of the first harmonic, (B, Z, Y, X) each."""
        shown = mean.std(dim=(-2, -1)) > _DARK
        smooth = self._blurred(mean)
        spread = self._blurred((mean - smooth).square()).clamp_min(0).sqrt()
        # A share of the slice's own spread keeps noise in air from becoming a pattern.
        floor = 0.2 * mean.std(dim=(-2, -1), keepdim=True) + 1e-3
        local = (mean - smooth) / (spread + floor)
        centred = mean - mean.mean(dim=(-2, -1), keepdim=True)
        bright = centred / (mean.std(dim=(-2, -1), keepdim=True) + 1e-3)
        power = beat.square().mean(dim=(-2, -1)) * shown
        typical = (power.sum(1) / shown.sum(1).clamp_min(1)).sqrt()[:, None, None, None] + 1e-3
        return torch.stack([local, bright, (beat / typical).clamp(max=25.0).sqrt()], dim=2), shown

    def _blurred(self, planes: torch.Tensor) -> torch.Tensor:
        flat = planes.reshape(-1, 1, *planes.shape[-2:])
        reach = len(self.kernel) // 2
        # Weights that lie outside the picture are left out of the mean.
        inside = [F.conv1d(flat.new_ones(1, 1, n), self.kernel[None, None], padding=reach) for n in flat.shape[-2:]]
        flat = F.conv2d(flat, self.kernel[None, None, :, None], padding=(reach, 0)) / inside[0][..., None]
        flat = F.conv2d(flat, self.kernel[None, None, None, :], padding=(0, reach)) / inside[1][:, :, None, :]
        return flat.reshape(planes.shape)

    def _embed(self, planes: torch.Tensor, shown: torch.Tensor) -> torch.Tensor:
        batch, slices = planes.shape[:2]
        x = F.silu(self.first_norm(self.first(planes.flatten(0, 1))))
        for level in self.levels:
            x = level(x)
        features = x.float().flatten(1).view(batch, slices, -1)
        if shown.ndim == 3:  # what is found in a slice is the same in every choice of slices
            choices = shown.float()
            mean = (choices @ features) / choices.sum(-1, keepdim=True).clamp_min(1.0)
            return self.head(mean.flatten(0, 1)).view(*choices.shape[:2], -1)
        weight = shown.float()[..., None]
        return self.head((features * weight).sum(1) / weight.sum(1).clamp_min(1.0))


def at_working_size(planes: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Pictures (..., Y, X) with fewer pixels, smoothed first so that nothing finer than them is left over.

    Args:
        planes: Any leading axes.
        size: Rows and columns that come out; the same field of view.
    """
    if tuple(planes.shape[-2:]) == tuple(size):
        return planes
    flat = planes.reshape(-1, 1, *planes.shape[-2:])
    small = F.interpolate(flat, size, mode="bilinear", antialias=True, align_corners=False)
    return small.reshape(*planes.shape[:-2], *size)

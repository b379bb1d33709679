"""Second half of an asymmetric codec: refines the slice decoder's image with the whole stack and beat as input.

The slice decoder takes one slice, rounded to codes, and blurs thin septa, trabeculae and the apex. The refiner takes
all slices: the latents before rounding and the slice decoder's image. It predicts a correction of the image and the
tissue labels in one pass, so that image and labels agree.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from CardioDiTLib.errors import CardioDiTError


class Mixed(nn.Module):
    """Residual block on planes that also looks at neighbouring frames (cyclic) or slices (edges empty).

    Args:
        width: Channels.
        along: "time", "slices" or "both".
    """

    def __init__(self, width: int, along: str) -> None:
        super().__init__()
        self.along = along
        self.plane = nn.Conv2d(width, width, 3, padding=1)
        self.time = nn.Conv2d(3 * width, width, 1) if along in ("time", "both") else None
        self.slices = nn.Conv2d(3 * width, width, 1) if along in ("slices", "both") else None
        self.out = nn.Conv2d(width, width, 1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)  # type: ignore[arg-type]  # made with a bias

    def forward(self, x: torch.Tensor, stack: tuple[int, int, int]) -> torch.Tensor:
        """(B Z T, C, H, W) -> the same; `stack` is (B, Z, T)."""
        y = F.silu(self.plane(x), inplace=_may_overwrite())
        if self.time is not None:
            y = F.silu(_along_time(self.time, y, stack), inplace=_may_overwrite())
        if self.slices is not None:
            y = F.silu(_along_slices(self.slices, y, stack), inplace=_may_overwrite())
        return x + self.out(y)


def _may_overwrite() -> bool:
    return not torch.is_grad_enabled()


def _along_time(layer: nn.Conv2d, x: torch.Tensor, stack: tuple[int, int, int]) -> torch.Tensor:
    """A layer on the planes of the frame before, the own and the frame behind, side by side: (B Z T, C, H, W) -> same.

    As a convolution along the beat, whose ends meet: nothing is laid side by side.
    """
    slices, frames = stack[0] * stack[1], stack[2]
    y = x.permute(0, 2, 3, 1).reshape(slices, frames, -1, x.shape[1])
    y = torch.cat([y[:, -1:], y, y[:, :1]], 1).permute(0, 3, 1, 2)
    return (
        F.conv2d(y, _three(layer), layer.bias).permute(0, 2, 3, 1).reshape(-1, *x.shape[2:], x.shape[1]).movedim(3, 1)
    )


def _along_slices(layer: nn.Conv2d, x: torch.Tensor, stack: tuple[int, int, int]) -> torch.Tensor:
    """The same for the slices towards base and apex; beyond the ends of the stack there is nothing."""
    y = x.permute(0, 2, 3, 1).reshape(*stack[:2], -1, x.shape[1]).permute(0, 3, 1, 2)
    y = F.conv2d(y, _three(layer), layer.bias, padding=(1, 0))
    return y.permute(0, 2, 3, 1).reshape(-1, *x.shape[2:], x.shape[1]).movedim(3, 1)


def _largest(x: torch.Tensor) -> torch.Tensor:
    """(B, K, ...) -> (B, ...) uint8: which of K is the largest, the first of equal ones. Faster than argmax on CPUs."""
    x = x.contiguous()
    most, place = x[:, 0], torch.zeros_like(x[:, 0], dtype=torch.uint8)
    for number in range(1, x.shape[1]):
        place = place.masked_fill_(x[:, number] > most, number)
        most = torch.maximum(most, x[:, number])
    return place


def _three(layer: nn.Conv2d) -> torch.Tensor:
    """Weights (out, 3 C, 1, 1) of three planes side by side as those of a convolution, (out, C, 3, 1)."""
    return layer.weight.unflatten(1, (3, -1))[..., 0].transpose(1, 2).contiguous()  # the gradient needs it so


class CineRefiner(nn.Module):
    """Image and tissues of a whole cine from its latents and the slice decoder's image.

    Args:
        latent_size: (Z, h, w, t) of the latents.
        latent_channels: C of the latents.
        image_size: (H, W, T) of a slice.
        widths: Channels at full (half the image's) resolution, in between, and at that of the latents.
        depths: Residual blocks at these three.
        classes: Tissues, background among them; 0 for no labels.
        picture: Refine the image; False gives it back as it came and names the tissues only.

    Examples:
        >>> refiner = CineRefiner((2, 4, 4, 2), 4, (32, 32, 8), widths=(8, 8, 16), depths=(1, 1, 1))
        >>> image, logits = refiner(torch.zeros(1, 2, 32, 32, 8), torch.zeros(1, 4, 2, 4, 4, 2))
        >>> image.shape, logits.shape
        (torch.Size([1, 2, 32, 32, 8]), torch.Size([1, 4, 2, 32, 32, 8]))
    """

    def __init__(
        self,
        latent_size: Sequence[int] = (8, 16, 16, 4),
        latent_channels: int = 4,
        image_size: Sequence[int] = (128, 128, 16),
        widths: Sequence[int] = (16, 40, 160),
        depths: Sequence[int] = (1, 2, 3),
        classes: int = 4,
        picture: bool = True,
    ) -> None:
        super().__init__()
        slices, height, width, times = latent_size
        shrink = image_size[0] // height
        if shrink not in (4, 8) or image_size[1] != shrink * width or image_size[2] % times:
            raise CardioDiTError(
                f"Images of {tuple(image_size)} do not fit latents of {tuple(latent_size)} in this refiner.",
                "The latents have to be 4 or 8 times smaller in plane, and divide the frames.",
            )
        self.latent_size, self.image_size, self.classes = tuple(latent_size), tuple(image_size), classes
        self.frames_a_latent = image_size[2] // times
        self.coarse = shrink // 4
        fine, middle, deep = widths
        self.place = nn.Parameter(torch.zeros(1, deep, slices, 1, height, width))
        self.enter = nn.Conv2d(latent_channels, deep, 3, padding=1)
        self.deep = nn.ModuleList(Mixed(deep, "both") for _ in range(depths[2]))
        self.rise = nn.Conv2d(deep, middle * self.frames_a_latent * self.coarse**2, 1)
        self.stem = nn.Conv2d(4, fine, 3, padding=1)
        self.sink = nn.Conv2d(fine, middle, 3, stride=2, padding=1)
        self.middle = nn.ModuleList(Mixed(middle, "time") for _ in range(depths[1]))
        self.lift = nn.Conv2d(middle, 4 * fine, 1)
        self.fine = nn.ModuleList(Mixed(fine, "time") for _ in range(depths[0]))
        self.picture = nn.Conv2d(fine, 4, 3, padding=1) if picture else None
        self.tissue = nn.Conv2d(fine, 4 * classes, 3, padding=1) if classes else None
        if self.picture is not None:
            nn.init.zeros_(self.picture.weight)
            nn.init.zeros_(self.picture.bias)  # type: ignore[arg-type]  # made with a bias

    def forward(
        self, image: torch.Tensor, latents: torch.Tensor, first: int = 0
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Refine a stack, or neighbouring slices of one.

        Args:
            image: (B, Z, H, W, T) in [-1, 1], of the slice decoder.
            latents: (B, C, Z, h, w, t), at mean 0 and spread about 1.
            first: Place of the first slice in the stack.

        Returns:
            The refined image (B, Z, H, W, T), and logits of the tissues (B, classes, Z, H, W, T) or None.
        """
        fine, stack = self._fine(image, latents, first)
        refined = image if self.picture is None else image + self._whole(self.picture(fine), stack)[:, 0].float()
        return refined, None if self.tissue is None else self._whole(self.tissue(fine), stack).float()

    def named(
        self, image: torch.Tensor, latents: torch.Tensor, first: int = 0
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """As the network itself, with the most likely tissue (B, Z, H, W, T) uint8 in place of the logits."""
        fine, stack = self._fine(image, latents, first)
        refined = image if self.picture is None else image + self._whole(self.picture(fine), stack)[:, 0].float()
        if self.tissue is None:
            return refined, None
        # the largest is taken before the planes are put together: one number a pixel is moved, not one a tissue
        likely = _largest(self.tissue(fine).unflatten(1, (self.classes, 4)))
        return refined, self._whole(likely, stack)[:, 0]

    def _fine(
        self, image: torch.Tensor, latents: torch.Tensor, first: int
    ) -> tuple[torch.Tensor, tuple[int, int, int]]:
        """Features (B Z T, C, H/2, W/2) of all planes, and (B, Z, T)."""
        count, slices = image.shape[:2]
        times, frames = latents.shape[-1], image.shape[-1]
        deep_stack, stack = (count, slices, times), (count, slices, frames)
        x = self.enter(latents.permute(0, 2, 5, 1, 3, 4).flatten(0, 2))
        place = self.place[:, :, first : first + slices].permute(0, 2, 3, 1, 4, 5)
        x = x + place.expand(count, slices, times, -1, -1, -1).flatten(0, 2).to(x.dtype)
        for block in self.deep:
            x = block(x, deep_stack)
        x = self.rise(x).unflatten(1, (self.frames_a_latent, -1)).unflatten(0, deep_stack)
        x = F.pixel_shuffle(x.flatten(2, 3).flatten(0, 2), self.coarse)
        planes = F.pixel_unshuffle(image.permute(0, 1, 4, 2, 3).flatten(0, 2)[:, None], 2)
        stem = F.silu(self.stem(planes))
        x = x + self.sink(stem)
        for block in self.middle:
            x = block(x, stack)
        x = F.pixel_shuffle(self.lift(x), 2) + stem
        for block in self.fine:
            x = block(x, stack)
        return x, stack

    @staticmethod
    def _whole(planes: torch.Tensor, stack: tuple[int, int, int]) -> torch.Tensor:
        """(B Z T, 4 K, H/2, W/2) -> (B, K, Z, H, W, T)."""
        return F.pixel_shuffle(planes, 2).unflatten(0, stack).permute(0, 3, 1, 4, 5, 2)

"""Which grid the cines of a request have: the bundle's, or another one that its transformer takes."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from CardioDiTLib.bundles.bundle import Bundle
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.generation.request import GenerationRequest
from CardioDiTLib.grid import BundleGrid


@dataclass(frozen=True)
class AskedGrid:
    """A grid, and what the transformer makes for it.

    Attributes:
        grid: Grid of the cines.
        seen_size: (Z, H, W, T) that the transformer sees; it may hold more slices and frames, which are cut off.
    """

    grid: BundleGrid
    seen_size: tuple[int, int, int, int]


def asked_grid(request: GenerationRequest, bundle: Bundle) -> AskedGrid:
    """The grid of a request.

    Slices and frames are rounded up to whole patches of the transformer (and, in time, to what the codec shrinks), and
    cut to what was asked for afterwards: a training cine was continued by its beginning in the same way.

    Args:
        request: The request.
        bundle: The bundle.

    Raises:
        CardioDiTError: The bundle makes one grid only, or none so large.
    """
    own, dit = bundle.manifest.grid, bundle.dit
    if request.slices is None and request.frames is None:
        return AskedGrid(own, dit.input_size)
    if not free_grid(bundle):
        raise CardioDiTError(
            f"The bundle '{bundle.manifest.name}' makes cines of {own.slices} slices and {own.frames} frames, no "
            "others.",
            "Leave slices and frames out, or use a model that was trained on grids of several sizes.",
        )
    _, height, width, frames = dit.input_size
    most_slices, most_frames = largest_grid(bundle)
    stride = bundle.vqgan.downsampling[2]
    for name, asked, most in (("slices", request.slices, most_slices), ("frames", request.frames, most_frames)):
        if asked is not None and asked > most:
            raise CardioDiTError(
                f"The bundle '{bundle.manifest.name}' makes at most {most} {name}, not {asked}.",
                f"Ask for fewer {name}.",
            )
    slices = own.slices if request.slices is None else request.slices
    if request.frames is not None:
        frames = _rounded_up(-(-request.frames // stride), dit.patch_size[3])
    size = (_rounded_up(slices, dit.patch_size[0]), height, width, frames)
    grid = replace(own, slices=slices, frames=own.frames if request.frames is None else request.frames)
    return AskedGrid(grid, size)


def free_grid(bundle: Bundle) -> bool:
    """Whether a bundle makes cines of other numbers of slices and frames than its own."""
    scale, dit = bundle.latent_scale, bundle.dit
    if not dit.variable_shape or bundle.refiner is not None or scale.basis is not None or scale.modes:
        return False
    # statistics of places or of frames would be those of one grid
    shapes = torch.broadcast_shapes(scale.mean.shape, scale.std.shape)
    return shapes[1] == shapes[4] == 1


def largest_grid(bundle: Bundle) -> tuple[int, int]:
    """The most slices and frames that a bundle makes."""
    most = bundle.dit.max_input_size
    return most[0], most[3] * bundle.vqgan.downsampling[2]


def _rounded_up(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple

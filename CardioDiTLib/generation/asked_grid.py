"""Which grid the cines of a request have: the bundle's, or another one that its transformer takes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from CardioDiTLib.bundles.manifest import BundleManifest, most_slices_and_frames
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.generation.request import GenerationRequest
from CardioDiTLib.grid import BundleGrid

if TYPE_CHECKING:
    from CardioDiTLib.bundles.bundle import Bundle


@dataclass(frozen=True)
class AskedGrid:
    """A grid, and what the transformer makes for it.

    Attributes:
        grid: Grid of the cines.
        seen_size: (Z, H, W, T) that the transformer sees; it may hold more slices and frames, which are cut off.
    """

    grid: BundleGrid
    seen_size: tuple[int, int, int, int]


def check_grid(request: GenerationRequest, folder: Path, manifest: BundleManifest) -> None:
    """Check that a bundle makes the grid of a request, without loading a network.

    Raises:
        CardioDiTError: It makes one grid only, or none so large.
    """
    if request.slices is None and request.frames is None:
        return
    most, own = most_slices_and_frames(folder, manifest), manifest.grid
    if most is None:
        raise CardioDiTError(
            f"The bundle '{manifest.name}' makes cines of {own.slices} slices and {own.frames} frames, no others.",
            "Leave slices and frames out, or use a model that was trained on grids of several sizes.",
        )
    for name, asked, largest in zip(("slices", "frames"), (request.slices, request.frames), most):
        if asked is not None and asked > largest:
            raise CardioDiTError(
                f"The bundle '{manifest.name}' makes at most {largest} {name}, not {asked}.",
                f"Ask for fewer {name}.",
            )


def asked_grid(request: GenerationRequest, bundle: Bundle) -> AskedGrid:
    """The grid of a request.

    Slices and frames are rounded up to whole patches of the transformer (and, in time, to what the codec shrinks), and
    cut to what was asked for afterwards: training cines were padded cyclically in time in the same way.

    Args:
        request: The request.
        bundle: The bundle.

    Raises:
        CardioDiTError: The bundle makes one grid only, or none so large.
    """
    own, dit = bundle.manifest.grid, bundle.dit
    if request.slices is None and request.frames is None:
        return AskedGrid(own, dit.input_size)
    check_grid(request, bundle.folder, bundle.manifest)
    _, height, width, frames = dit.input_size
    stride = bundle.vqgan.downsampling[2]
    slices = own.slices if request.slices is None else request.slices
    if request.frames is not None:
        frames = _rounded_up(-(-request.frames // stride), dit.patch_size[3])
    size = (_rounded_up(slices, dit.patch_size[0]), height, width, frames)
    grid = replace(own, slices=slices, frames=own.frames if request.frames is None else request.frames)
    return AskedGrid(grid, size)


def _rounded_up(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple

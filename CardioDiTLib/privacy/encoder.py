"""Cines in, one embedding each out: what the audit compares.

Embeddings of two cines of the same patient correlate, also where a copy was altered; those of two patients much less.
``Testing/benchmarks/planted_copies.py`` measures this for a list of alterations.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sized
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from CardioDiTLib.bundles.manifest_parts import NetworkManifest
from CardioDiTLib.bundles.model_folder import NetworkFolder
from CardioDiTLib.cine import Cine
from CardioDiTLib.data.packing import PackedCines, read_pack
from CardioDiTLib.errors import Cancelled, CardioDiTError
from CardioDiTLib.grid import ModelGrid
from CardioDiTLib.models.contrastive_cine import CineEmbedding, CineEmbeddingConfig
from CardioDiTLib.privacy.cine_canvas import MIDDLE, CineCanvas
from CardioDiTLib.privacy.pose_search import TURNS, PoseSearch, embed_poses
from CardioDiTLib.progress import CancelSource, Stop
from CardioDiTLib.progress import StepCallback as Progress

MANIFEST_NAME = "encoder.json"

WEIGHTS_NAME = "encoder.safetensors"
PARTS = ("train", "validation", "all")


@dataclass(frozen=True, kw_only=True)
class EncoderManifest(NetworkManifest):
    """All that is known about an encoder.

    Args:
        network: Settings of the network.
        grid: Grid that cines are brought to first; its pixels are made fewer for the network.

    Raises:
        CardioDiTError: A value is out of range, or grid and network do not show the same field of view.
    """

    record_name: ClassVar[str] = "encoder"
    file_name: ClassVar[str] = MANIFEST_NAME
    weights_name: ClassVar[str] = WEIGHTS_NAME
    json_order: ClassVar[tuple[str, ...]] = (
        *("name", "version", "network", "grid", "licence", "training_data", "quality", "provenance", "files"),
    )

    network: CineEmbeddingConfig
    grid: ModelGrid

    def __post_init__(self) -> None:
        super().__post_init__()
        seen = self.network.size * self.network.spacing_mm
        if any(abs(side - seen) > 0.01 * seen for side in self.grid.extent_mm[:2]) or self.grid.frames < 2:
            raise CardioDiTError(
                f"The encoder's grid shows {self.grid.extent_mm[0]:g} mm, its network {seen:g} mm.", self.record_hint
            )

    @staticmethod
    def grid_of(network: CineEmbeddingConfig, slices: int = 8, frames: int = 16) -> ModelGrid:
        """The grid of a network: pixels of half its spacing, slices 10 mm apart."""
        pixels, spacing = 2 * network.size, network.spacing_mm / 2
        return ModelGrid(slices, pixels, pixels, frames, (spacing, spacing, 10.0))


KIND = NetworkFolder(EncoderManifest, "encoder", "encoder", "audit's encoder")


class CineEncoder:
    """An encoder that is ready to work.

    Args:
        network: The network; it is put into evaluation mode.
        manifest: Its description.
        sha256: Of the file with its weights; embeddings of different encoders must not be compared.

    Examples:
        >>> encoder = load_encoder()  # doctest: +SKIP
        >>> encoder.embed([cine, other]).shape  # doctest: +SKIP
        (2, 128)
    """

    def __init__(self, network: CineEmbedding, manifest: EncoderManifest, sha256: str = "") -> None:
        self.network = network.eval()
        self.manifest = manifest
        self.sha256 = sha256

    @property
    def dimension(self) -> int:
        """Numbers of an embedding."""
        return self.network.config.dimension

    def embed(
        self, cines: Iterable[Cine], progress: Progress | None = None, cancel: CancelSource = None
    ) -> NDArray[np.float32]:
        """Embeds cines of any grid, one after the other.

        Args:
            cines: Short-axis cines; they may be loaded as they are asked for.
            progress: Called with (cines done, cines in all); the latter is 0 where `cines` has no length.
            cancel: A function that says whether to stop, an event, or None; asked before every cine.

        Returns:
            (N, D) float32.

        Raises:
            CardioDiTError: A cine is blank or has a single frame; the sentence gives its number.
            Cancelled: `cancel` said so.
        """
        return self.embed_poses(cines, progress, cancel, turns=1)[:, 0]

    def embed_poses(
        self,
        cines: Iterable[Cine],
        progress: Progress | None = None,
        cancel: CancelSource = None,
        *,
        turns: int = TURNS,
    ) -> NDArray[np.float32]:
        """Embeds cines of any grid in every pose in which one may be a copy (see `pose_search.embed_poses`).

        Args:
            cines, progress, cancel: As in `embed`.
            turns: So many in each place where the heart may lie.

        Returns:
            (N, poses, D) float32. The first pose of each cine is what `embed` gives; where one has fewer places than
            another, its first pose is repeated.

        Raises:
            CardioDiTError, Cancelled: As in `embed`.
        """

        def embed(canvas: CineCanvas) -> NDArray[np.float32]:
            if turns == 1:
                canvas = replace(canvas, places=canvas.places[:1])
            return np.asarray(embed_poses(self.network, canvas, turns).numpy())

        return self._each(cines, embed, progress, cancel)

    def embed_likeliest(
        self,
        cines: Iterable[Cine],
        references: NDArray[np.floating],
        progress: Progress | None = None,
        cancel: CancelSource = None,
    ) -> NDArray[np.float32]:
        """Embeds cines in those of the poses of `embed_poses` in which each most looks like one of some references,
        which costs a third (see `pose_search.PoseSearch`).

        Args:
            cines, progress, cancel: As in `embed`.
            references: (m, D) embeddings that the cines will be compared with.

        Returns:
            (N, poses, D) float32, as `embed_poses` gives it.

        Raises:
            CardioDiTError, Cancelled: As in `embed`.
        """
        return self._each(
            cines, lambda canvas: PoseSearch(self.network, canvas).likeliest(references).numpy(), progress, cancel
        )

    def _each(
        self,
        cines: Iterable[Cine],
        embed: Callable[[CineCanvas], NDArray[np.float32]],
        progress: Progress | None,
        cancel: CancelSource,
    ) -> NDArray[np.float32]:
        total = len(cines) if isinstance(cines, Sized) else 0
        stop = Stop(cancel)
        tables = []
        stop.check()
        for number, cine in enumerate(cines, start=1):
            stop.check()
            try:
                canvas = CineCanvas.of(cine, self.network.config.spacing_mm)
                tables.append(embed(canvas))
            except Cancelled:
                raise
            except CardioDiTError as error:
                raise CardioDiTError(f"Cine {number} cannot be embedded: {error.message}", error.hint) from error
            if progress is not None:
                progress(number, total)
        return _stacked(tables, self.dimension)

    def embed_arrays(self, array: NDArray[Any], turns: int = 1) -> NDArray[np.float32]:
        """Embeds cines that are on the encoder's grid, the heart in the middle.

        Args:
            array: (N, T, Z, Y, X), any scale of brightness; rows and columns of the grid, any number of slices, and of
                frames at even intervals over one cycle.
            turns: In so many turns.

        Returns:
            (N, D) float32; with more than one turn (N, turns, D).

        Raises:
            CardioDiTError: Another number of axes, rows or columns, or values that are not finite.
        """
        grid = self.manifest.grid
        if array.ndim != 5 or array.shape[-2:] != (grid.height, grid.width):
            raise CardioDiTError(
                f"Cines of shape {array.shape} are not on the encoder's grid.",
                f"Give an array (N, T, Z, {grid.height}, {grid.width}), or whole cines to `embed`.",
            )
        tables = [embed_poses(self.network, self._posed(one, grid.spacing_mm), turns).numpy() for one in array]
        found = _stacked(tables, self.dimension)
        return found[:, 0] if turns == 1 else found

    def _posed(self, array: NDArray[Any], spacing_mm: tuple[float, float, float]) -> CineCanvas:
        """Canvas of a cine (T, Z, Y, X) whose heart lies in the middle."""
        cine = Cine(np.asarray(array, np.float32), np.diag([*spacing_mm, 1.0]), np.arange(len(array)) / len(array))
        return CineCanvas.of(cine, self.network.config.spacing_mm, (MIDDLE,))


def _stacked(tables: list[NDArray[np.float32]], dimension: int) -> NDArray[np.float32]:
    """Tables (poses, D) as one (N, poses, D)."""
    if not tables:
        return np.zeros((0, 1, dimension), np.float32)
    most = max(map(len, tables))
    return np.stack([np.concatenate([one, np.repeat(one[:1], most - len(one), axis=0)]) for one in tables])


def load_encoder(folder: str | os.PathLike[str] | None = None) -> CineEncoder:
    """Opens an encoder's folder, None for the embedded one; see `NetworkFolder.find` and `NetworkFolder.load`."""
    network, manifest = KIND.load(KIND.find(folder), lambda manifest: CineEmbedding(manifest.network))
    return CineEncoder(network, manifest, manifest.files[WEIGHTS_NAME].sha256)


def write_encoder(
    destination: str | os.PathLike[str],
    manifest: EncoderManifest,
    network: CineEmbedding,
    *,
    storage: str = "int8",
    overwrite: bool = False,
) -> Path:
    """Writes an encoder's folder, see `NetworkFolder.write_network`; it is opened once before it gets its name."""
    return KIND.write_network(destination, manifest, network, load_encoder, storage=storage, overwrite=overwrite)


def embed_pack(
    encoder: CineEncoder,
    path: str | os.PathLike[str],
    which: str = "train",
    progress: Progress | None = None,
    cancel: CancelSource = None,
    *,
    turns: int = 1,
) -> NDArray[np.float32]:
    """Embeds cines of a training pack as training sees them: the heart in the middle of the pack's picture, slices that
    the stack did not have left out.

    Args:
        encoder: The encoder.
        path: The pack.
        which: "train" (cines that are not kept aside), "validation" (those that are) or "all".
        progress: Called with (cines done, cines in all).
        cancel: A function that says whether to stop, an event, or None.
        turns: With more than one, each cine in every pose in which a file of it would be asked about: about the middle,
            and about what looks like a heart in it.

    Returns:
        (N, D) float32, in the order of the pack; with more than one turn (N, poses, D), the first as above.

    Raises:
        CardioDiTError: The pack cannot be read, or another word for `which`.
        Cancelled: `cancel` said so.
    """
    if which not in PARTS:
        raise CardioDiTError(f"A pack has no part '{which}'.", f"Choose one of {', '.join(PARTS)}.")
    pack = read_pack(Path(path), encoder.manifest.grid.frames)
    chosen = np.ones(len(pack.images), bool) if which == "all" else pack.validation == (which == "validation")
    indices, stop = np.flatnonzero(chosen), Stop(cancel)
    tables = []
    for place, index in enumerate(indices):
        stop.check()
        canvas = pack_canvas(pack, int(index), encoder, searched=turns > 1)
        tables.append(embed_poses(encoder.network, canvas, turns).numpy())
        if progress is not None:
            progress(place + 1, len(indices))
    found = _stacked(tables, encoder.dimension)
    return found[:, 0] if turns == 1 else found


def pack_array(pack: PackedCines, index: int, encoder: CineEncoder) -> NDArray[np.float32]:
    """The middle of one cine of a pack on the encoder's grid, (T, Z, Y, X) in [-1, 1].

    Raises:
        CardioDiTError: The pack has another pixel spacing, or smaller pictures.
    """
    grid, images = encoder.manifest.grid, pack.images[index]
    valid = np.asarray(pack.slice_valid[index], bool)
    images = images[:, valid] if valid.any() else images
    surplus = [images.shape[-2] - grid.height, images.shape[-1] - grid.width]
    if min(surplus) < 0 or not np.allclose(pack.spacing[:2], grid.spacing_mm[:2], rtol=0.01):
        raise CardioDiTError("The pack is on another grid than the encoder.", "Prepare it with the default spacing.")
    top, left = surplus[0] // 2, surplus[1] // 2
    return images[..., top : top + grid.height, left : left + grid.width].astype(np.float32) / 127.5 - 1


def pack_canvas(pack: PackedCines, index: int, encoder: CineEncoder, searched: bool = False) -> CineCanvas:
    """One cine of a pack, its heart in the middle; `searched` adds where a file of it might be looked at."""
    images, valid = pack.images[index], np.asarray(pack.slice_valid[index], bool)
    images = images[:, valid] if valid.any() else images
    times = np.arange(len(images)) * float(pack.cycle_s[index]) / len(images)
    cine = Cine(images.astype(np.int16), np.diag([*pack.spacing, 1.0]), times)
    canvas = CineCanvas.of(cine, encoder.network.config.spacing_mm, None if searched else (MIDDLE,))
    others = tuple(place for place in canvas.places if place != MIDDLE)
    return replace(canvas, places=(MIDDLE, *others))

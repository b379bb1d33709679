"""Cines in, one embedding each out: what the audit compares.

Embeddings of two cines that show the same patient correlate, whatever the copy hides behind; those of two patients
much less. How well that holds is measured by ``Testing/benchmarks/planted_copies.py``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sized
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from CardioDiTLib.bundles.fingerprint import record_of
from CardioDiTLib.bundles.stopping import CancelSource, Stop
from CardioDiTLib.bundles.storage import write_weights
from CardioDiTLib.cine import Cine
from CardioDiTLib.data.packing import PackedCines, read_pack
from CardioDiTLib.data.preprocess import to_grid
from CardioDiTLib.errors import Cancelled, CardioDiTError
from CardioDiTLib.models.contrastive_cine import CineEmbedding, at_working_size
from CardioDiTLib.privacy.encoder_manifest import KIND, WEIGHTS_NAME, EncoderManifest, read_encoder_manifest

Progress = Callable[[int, int], None]
PARTS = ("train", "validation", "all")


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
        total = len(cines) if isinstance(cines, Sized) else 0
        stop = Stop(cancel)
        rows = []
        stop.check()
        for number, cine in enumerate(cines, start=1):
            stop.check()
            try:
                rows.append(self.embed_arrays(self.on_grid(cine)[None])[0])
            except Cancelled:
                raise
            except CardioDiTError as error:
                raise CardioDiTError(f"Cine {number} cannot be embedded: {error.message}", error.hint) from error
            if progress is not None:
                progress(number, total)
        return np.stack(rows) if rows else np.zeros((0, self.dimension), np.float32)

    def on_grid(self, cine: Cine) -> NDArray[np.float32]:
        """A cine (T, Z, Y, X) on the encoder's grid, heart in the middle, [-1, 1].

        A heart that stands still has no centre that could be seen; the middle of the picture is taken.
        """
        # Neither the order of slices nor where the cycle begins makes a difference, so neither is looked for.
        about: dict[str, Any] = {"end_diastole": None, "level": True, "padding": "minimum"}
        try:
            return to_grid(cine, self.manifest.grid, **about)[0]
        except CardioDiTError as error:
            if "heartbeat" not in error.message:
                raise
        middle = cine.index_to_ras((np.array(cine.shape[:0:-1]) - 1) / 2)
        return to_grid(cine, self.manifest.grid, centre=middle, **about)[0]

    def embed_arrays(self, array: NDArray[Any]) -> NDArray[np.float32]:
        """Embeds cines that are on the encoder's grid.

        Args:
            array: (N, T, Z, Y, X) in [-1, 1]; rows and columns of the grid, any number of slices, and of frames at
                even intervals over one cycle.

        Returns:
            (N, D) float32.

        Raises:
            CardioDiTError: Another number of axes, rows or columns, or values that are not finite.
        """
        grid = self.manifest.grid
        if array.ndim != 5 or array.shape[-2:] != (grid.height, grid.width):
            raise CardioDiTError(
                f"Cines of shape {array.shape} are not on the encoder's grid.",
                f"Give an array (N, T, Z, {grid.height}, {grid.width}), or whole cines to `embed`.",
            )
        size = self.network.config.size
        found = np.empty((len(array), self.dimension), np.float32)
        with torch.inference_mode():
            for index, cine in enumerate(array):
                frames = torch.from_numpy(np.ascontiguousarray(cine, np.float32))
                if not bool(torch.isfinite(frames).all()):
                    raise CardioDiTError("The images hold values that are not numbers.", "Repair the file.")
                frames = at_working_size(frames.clamp(-1, 1), (size, size))
                found[index] = self.network(frames[None])[0].numpy()
        return found


def load_encoder(folder: str | os.PathLike[str] | None = None) -> CineEncoder:
    """Opens an encoder's folder and verifies every file before a weight is used.

    Args:
        folder: The folder; None for the encoder that comes with the software.

    Raises:
        CardioDiTError: There is none, it is damaged or changed, or its weights do not fit its network.
    """
    place = KIND.find(folder)
    manifest = read_encoder_manifest(place)
    KIND.verify(place, manifest.files, (WEIGHTS_NAME,))
    network = CineEmbedding(manifest.network)
    KIND.load_weights(network, place / WEIGHTS_NAME, manifest.name)
    return CineEncoder(network, manifest, manifest.files[WEIGHTS_NAME].sha256)


def encoder_from_parts(params: Mapping[str, Any], weights_path: str | os.PathLike[str]) -> CineEncoder:
    """An encoder whose description and weights lie apart, as in a bundle that brings one along.

    Args:
        params: What `EncoderManifest.to_dict` gave, whole.
        weights_path: The file `encoder.safetensors`.

    Raises:
        CardioDiTError: The description is incomplete, the file is absent or damaged, its fingerprint is not the one of
            the description (where that lists it), or the weights do not fit the network.
    """
    manifest, path = EncoderManifest.from_dict(params), Path(weights_path)
    network = CineEmbedding(manifest.network)
    if path.name in manifest.files:
        KIND.verify(path.parent, {path.name: manifest.files[path.name]}, (path.name,))
    KIND.load_weights(network, path, manifest.name)
    return CineEncoder(network, manifest, record_of(path).sha256)


def write_encoder(
    destination: str | os.PathLike[str],
    manifest: EncoderManifest,
    network: CineEmbedding,
    *,
    storage: str = "int8",
    overwrite: bool = False,
) -> Path:
    """Writes an encoder's folder; it appears under its name only once it is complete and has been opened.

    Args:
        destination: The folder to make.
        manifest: Everything but ``files``, which is filled in.
        network: The network.
        storage: "fp32", "fp16" or "int8".
        overwrite: Replace an encoder that lies there. A folder that is none is never replaced.

    Returns:
        The folder.

    Raises:
        CardioDiTError: Something lies there already, network and description differ, or the disk is full.
    """
    KIND.refuse_what_is_there(Path(destination), overwrite)
    if network.config != manifest.network:
        raise CardioDiTError("The network is not the one of its description.", "Make them agree.")
    return KIND.write(
        destination,
        lambda place: write_weights(place / WEIGHTS_NAME, network.state_dict(), storage),
        lambda files: manifest.with_files(files).to_json(),
        load_encoder,
        overwrite=overwrite,
    )


def embed_pack(
    encoder: CineEncoder,
    path: str | os.PathLike[str],
    which: str = "train",
    progress: Progress | None = None,
    cancel: CancelSource = None,
) -> NDArray[np.float32]:
    """Embeds cines of a training pack as training sees them: the middle of the pack's picture, slices that the stack
    did not have left out.

    Args:
        encoder: The encoder.
        path: The pack.
        which: "train" (cines that are not kept aside), "validation" (those that are) or "all".
        progress: Called with (cines done, cines in all).
        cancel: A function that says whether to stop, an event, or None.

    Returns:
        (N, D) float32, in the order of the pack.

    Raises:
        CardioDiTError: The pack cannot be read, or another word for `which`.
        Cancelled: `cancel` said so.
    """
    if which not in PARTS:
        raise CardioDiTError(f"A pack has no part '{which}'.", f"Choose one of {', '.join(PARTS)}.")
    pack = read_pack(Path(path), encoder.manifest.grid.frames)
    chosen = np.ones(len(pack.images), bool) if which == "all" else pack.validation == (which == "validation")
    indices, stop = np.flatnonzero(chosen), Stop(cancel)
    found = np.zeros((len(indices), encoder.dimension), np.float32)
    for place, index in enumerate(indices):
        stop.check()
        found[place] = encoder.embed_arrays(pack_array(pack, int(index), encoder)[None])[0]
        if progress is not None:
            progress(place + 1, len(indices))
    return found


def pack_array(pack: PackedCines, index: int, encoder: CineEncoder) -> NDArray[np.float32]:
    """One cine of a pack on the encoder's grid, (T, Z, Y, X) in [-1, 1]."""
    grid, images = encoder.manifest.grid, pack.images[index]
    valid = np.asarray(pack.slice_valid[index], bool)
    images = images[:, valid] if valid.any() else images
    surplus = [images.shape[-2] - grid.height, images.shape[-1] - grid.width]
    if min(surplus) < 0 or not np.allclose(pack.spacing[:2], grid.spacing_mm[:2], rtol=0.01):
        times = np.arange(len(images)) * float(pack.cycle_s[index]) / len(images)
        return encoder.on_grid(Cine(images.astype(np.int16), np.diag([*pack.spacing, 1.0]), times))
    top, left = surplus[0] // 2, surplus[1] // 2
    return images[..., top : top + grid.height, left : left + grid.width].astype(np.float32) / 127.5 - 1

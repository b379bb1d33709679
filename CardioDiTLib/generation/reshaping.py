"""Reshaping a drawn heart to the volumes, ejection fraction or mass that were asked for.

The image is warped by the heart's own labels to the values asked for (`ventricle_warp`), encoded again, noised part of
the way and denoised by the transformer (SDEdit, Meng et al., ICLR 2022). Labels are predicted anew from the result;
errors of the first labels enter the warp.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext

import numpy as np
import torch
from numpy.typing import NDArray

from CardioDiTLib.generation.heart_quantities import QUANTITIES, heart_quantities
from CardioDiTLib.generation.ventricle_warp import VentricleWarp, cavity_volumes, wanted_volumes
from CardioDiTLib.models.latent_scale import LatentScale
from CardioDiTLib.models.vqgan import VQGAN

LEAST_LOG_SNR = 1.6
"""log-SNR at which denoising begins: from this level (noise of sd 0.41) outlines stay where the warp put them, and
stretched textures are redrawn."""


class Reshaper:
    """Warps drawn hearts to other volumes and encodes them, up to the transformer's input.

    Args:
        vqgan: The codec, on the device where it computes.
        scale: Between the codec's latents and what the transformer sees.
        dtype: Type in which the codec computes.
    """

    def __init__(self, vqgan: VQGAN, scale: LatentScale, dtype: torch.dtype = torch.float32) -> None:
        self._vqgan, self._scale, self._dtype = vqgan, scale, dtype

    @torch.inference_mode()
    def reshaped(
        self,
        latents: torch.Tensor,
        images: torch.Tensor,
        labels: NDArray[np.uint8],
        asked: dict[str, float],
        spacing_mm: Sequence[float],
        stop: Callable[[], None] | None = None,
    ) -> torch.Tensor:
        """Transformer input of a heart whose image is warped to the values asked for.

        Only the change of the picture goes through the encoder: where nothing is moved the latents stay as they are.

        Args:
            latents: (1, C, Z, h, w, t) in the codec's scale.
            images: (1, Z, H, W, T) as decoded from them.
            labels: (T, Z, Y, X) of the heart.
            asked: Values by name, of which those in `request.RESHAPED` count; what is absent stays as it is.
            spacing_mm: (x, y, z) mm.
            stop: Called between slices; may raise.

        Returns:
            (1, K, Z', H', W', T').
        """
        measured = dict(zip(QUANTITIES, heart_quantities(labels, spacing_mm)))
        volumes = cavity_volumes(labels, float(np.prod(spacing_mm)) / 1000.0)
        if volumes[0] <= 0 or np.isnan(measured["ef_percent"]):
            return self._scale.normalise(latents.float())
        wanted = {**measured, **asked}
        cavity = wanted_volumes(volumes, wanted["edv_ml"], wanted["ef_percent"]) / np.maximum(volumes, 1e-6)
        wall = wanted["lv_mass_g"] / measured["lv_mass_g"] if measured["lv_mass_g"] > 0 else 1.0
        moved = VentricleWarp.of(labels, cavity, wall).moved(images[0])
        changes = []
        for before, after in zip(images[0], moved):
            changes.append(self._encode(after) - self._encode(before))
            if stop is not None:
                stop()
        return self._scale.normalise(latents.float() + torch.stack(changes, dim=2))

    def _encode(self, plane: torch.Tensor) -> torch.Tensor:
        """(H, W, T) -> (1, C, h, w, t)."""
        narrow = self._dtype != torch.float32
        with torch.autocast(plane.device.type, dtype=self._dtype) if narrow else nullcontext():
            return self._vqgan.encode(plane[None, None]).float()

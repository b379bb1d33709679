"""From latents to grey values, one slice at a time."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext

import numpy as np
import torch
from numpy.typing import NDArray

from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.models.axes import model_to_cine, slice_of
from CardioDiTLib.models.vqgan import VQGAN

BRIGHTEST = 1000
"""Grey value of the upper end of the codec's intensity range; the lower end is 0."""


class SliceDecoder:
    """Decodes latents slice by slice, so that a whole cine in floats never exists.

    Args:
        vqgan: The codec, on the device where it computes.
        quantised: Take the nearest codes first, as the published decoding does. This is done in float32 or better.
        dtype: Type in which the decoder computes.
        intensity_range: (low, high) of the codec's images, mapped to 0 and 1000.
    """

    def __init__(
        self,
        vqgan: VQGAN,
        quantised: bool = True,
        dtype: torch.dtype = torch.float32,
        intensity_range: tuple[float, float] = (-1.0, 1.0),
    ) -> None:
        self._vqgan = vqgan
        self._quantised = quantised
        self._dtype = dtype
        self._low, self._high = intensity_range

    @torch.inference_mode()
    def decode_slice(self, latents: torch.Tensor, z: int) -> NDArray[np.int16]:
        """One slice of one sample.

        Args:
            latents: (1, C, Z, H, W, T) in the codec's scale.
            z: Number of the slice.

        Returns:
            (T, Y, X) int16, 0 to 1000.

        Raises:
            CardioDiTError: The latents are not finite.
        """
        x = slice_of(latents, z).float().contiguous()
        if self._quantised:
            x = self._vqgan.nearest_codes(x)
        elif not bool(torch.isfinite(x).all()):
            raise CardioDiTError("The latents hold values that are not finite.", "Use the precision fp32.")
        narrow = self._dtype != torch.float32
        with torch.autocast(x.device.type, dtype=self._dtype) if narrow else nullcontext():
            image = self._vqgan.decode(x).float()
        # (1, 1, H, W, T): the channel stands where a volume has its slices
        grey = (image.clamp(self._low, self._high) - self._low) * (BRIGHTEST / (self._high - self._low))
        return model_to_cine(grey[0].round().to(torch.int16))[:, 0].contiguous().cpu().numpy()

    def decode(self, latents: torch.Tensor, after_slice: Callable[[int], None] | None = None) -> NDArray[np.int16]:
        """All slices of one sample.

        Args:
            latents: (1, C, Z, H, W, T) in the codec's scale.
            after_slice: Called with the number of slices done; may raise to stop.

        Returns:
            (T, Z, Y, X) int16, 0 to 1000.
        """
        slices = latents.shape[2]
        array: NDArray[np.int16] | None = None
        for z in range(slices):
            image = self.decode_slice(latents, z)
            if array is None:
                frames, rows, columns = image.shape
                array = np.empty((frames, slices, rows, columns), np.int16)
            array[:, z] = image
            if after_slice is not None:
                after_slice(z + 1)
        assert array is not None  # latents have at least one slice
        return array

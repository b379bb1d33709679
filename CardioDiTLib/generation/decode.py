"""From latents to grey values, one slice at a time."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext

import numpy as np
import torch
from numpy.typing import NDArray

from CardioDiTLib.bundles.bundle import Bundle
from CardioDiTLib.bundles.manifest import BundleManifest
from CardioDiTLib.data.orientation import short_axis_affine
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.grid import BundleGrid
from CardioDiTLib.models.axes import model_to_cine, slice_of
from CardioDiTLib.models.detail_filter import DetailFilter
from CardioDiTLib.models.latent_scale import LatentScale
from CardioDiTLib.models.refiner import CineRefiner
from CardioDiTLib.models.vqgan import VQGAN

BRIGHTEST = 1000
"""Grey value of the upper end of the codec's intensity range; the lower end is 0."""


def cine_affine(manifest: BundleManifest, grid: BundleGrid | None = None) -> NDArray[np.float64]:
    """4x4, index (x, y, z) to mm in RAS, of the cines of a bundle.

    The bundle's own where it has one. Otherwise a plausible oblique short axis: slice 0 at the base, slices running to
    the patient's left, front and feet (the apex); columns running to the left, so that the right ventricle is on the
    left of the picture; rows running backward, so that the front wall is on top. Base first with this picture makes
    the axes left-handed, as in many scanners' files. `grid` is that of the cine where it is not the bundle's.
    """
    if manifest.affine is not None:
        return np.array(manifest.affine, dtype=np.float64)
    grid = grid or manifest.grid
    return short_axis_affine((grid.slices, grid.height, grid.width), grid.spacing_mm)


def cine_frame_times(
    manifest: BundleManifest, cycle_s: float | None = None, grid: BundleGrid | None = None
) -> NDArray[np.float64]:
    """(T,) seconds: the frames spread evenly over a cycle of `cycle_s` seconds; None for the bundle's."""
    frames = (grid or manifest.grid).frames
    interval_s = (cycle_s or manifest.grid.cycle_s) / frames
    return np.arange(frames, dtype=np.float64) * interval_s


class SliceDecoder:
    """Decodes latents slice by slice, so that a whole cine in floats never exists.

    Args:
        vqgan: The codec, on the device where it computes.
        quantised: Take the nearest codes first, as the published decoding does. This is done in float32 or better.
        dtype: Type in which the decoder computes.
        intensity_range: (low, high) of the codec's images, mapped to 0 and 1000.
        detail: What decoded slices pass in the end; None leaves them as they are.
    """

    def __init__(
        self,
        vqgan: VQGAN,
        quantised: bool = True,
        dtype: torch.dtype = torch.float32,
        intensity_range: tuple[float, float] = (-1.0, 1.0),
        detail: DetailFilter | None = None,
    ) -> None:
        self._vqgan = vqgan
        self._detail = detail
        self._quantised = quantised
        self._dtype = dtype
        self._low, self._high = intensity_range

    @classmethod
    def of(cls, bundle: Bundle, dtype: torch.dtype = torch.float32, codec: VQGAN | None = None) -> SliceDecoder:
        """The decoder as a bundle describes it, on the device where the bundle's codec is, or with another one."""
        manifest = bundle.manifest
        spec = manifest.detail
        detail = None if spec is None else DetailFilter(spec.kernel, spec.period)
        low, high = manifest.intensity_range
        return cls(codec or bundle.vqgan, manifest.latents.quantised, dtype, (low, high), detail)

    @property
    def intensity_range(self) -> tuple[float, float]:
        """(low, high) of the codec's images."""
        return self._low, self._high

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
        return self.finished(self.image_slice(latents, z))[:, 0]

    def finished(self, image: torch.Tensor) -> NDArray[np.int16]:
        """(1, Z, H, W, T) as decoded -> (T, Z, Y, X) int16, 0 to 1000, its detail raised where there is a filter."""
        if self._detail is not None:
            image = self._detail(image.clamp(self._low, self._high))
        return grey_of(image, self._low, self._high)

    @torch.inference_mode()
    def image_slice(self, latents: torch.Tensor, z: int) -> torch.Tensor:
        """One slice of one sample as the decoder has it, (1, 1, H, W, T) float."""
        x = slice_of(latents, z).float().contiguous()
        if self._quantised:
            x = self._vqgan.nearest_codes(x)
        elif not bool(torch.isfinite(x).all()):
            raise CardioDiTError("The latents hold values that are not finite.", "Use the precision fp32.")
        narrow = self._dtype != torch.float32
        with torch.autocast(x.device.type, dtype=self._dtype) if narrow else nullcontext():
            return self._vqgan.decode(x).float()

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


class RefinedDecoder:
    """Decodes slice by slice, then refines all slices together and names the tissues.

    Args:
        slices: The slice decoder.
        refiner: The refiner, on the same device.
        scale: Between the codec's latents and those that the refiner takes.
        dtype: Type in which the refiner computes.
    """

    def __init__(
        self, slices: SliceDecoder, refiner: CineRefiner, scale: LatentScale, dtype: torch.dtype = torch.float32
    ) -> None:
        self._slices, self._refiner, self._scale, self._dtype = slices, refiner, scale, dtype

    def decode(
        self, latents: torch.Tensor, after_slice: Callable[[int], None] | None = None
    ) -> tuple[NDArray[np.int16], NDArray[np.uint8] | None]:
        """All slices of one sample: (T, Z, Y, X) int16 from 0 to 1000, and labels (T, Z, Y, X) uint8 of the tissues.

        Arguments are those of :meth:`SliceDecoder.decode`.
        """
        return self.refined(latents, self.images(latents, after_slice))

    @torch.inference_mode()
    def images(self, latents: torch.Tensor, after_slice: Callable[[int], None] | None = None) -> torch.Tensor:
        """All slices of one sample as the slice decoder has them, (1, Z, H, W, T).

        Arguments are those of :meth:`SliceDecoder.decode`.
        """
        planes = []
        for z in range(latents.shape[2]):
            planes.append(self._slices.image_slice(latents, z)[:, 0])
            if after_slice is not None:
                after_slice(z + 1)
        low, high = self._slices.intensity_range
        return torch.stack(planes, dim=1).clamp(low, high)

    @torch.inference_mode()
    def refined(
        self, latents: torch.Tensor, images: torch.Tensor
    ) -> tuple[NDArray[np.int16], NDArray[np.uint8] | None]:
        """What :meth:`decode` gives, of latents and their :meth:`images`."""
        narrow = self._dtype != torch.float32
        levelled = self._scale.levelled(latents.float())
        with torch.autocast(latents.device.type, dtype=self._dtype) if narrow else nullcontext():
            image, tissues = self._refiner.named(images, levelled)
        labels = None if tissues is None else model_to_cine(tissues[0]).contiguous().cpu().numpy()
        return self._slices.finished(image), labels


def grey_of(image: torch.Tensor, low: float, high: float) -> NDArray[np.int16]:
    """(1, Z, H, W, T) float -> (T, Z, Y, X) int16, `low` to 0 and `high` to 1000."""
    grey = (image.clamp(low, high) - low) * (BRIGHTEST / (high - low))
    return model_to_cine(grey[0].round().to(torch.int16)).contiguous().cpu().numpy()

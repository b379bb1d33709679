"""The codec of one 2D+t slice: a vector-quantised autoencoder over (H, W, T).

Source: CardioDiT (arXiv 2603.25194), stage 1; the encoder and decoder are those of MONAI's VQVAE, whose parameter
names the published checkpoints share (`vqvae_blocks`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.models.cyclic import make_cyclic
from CardioDiTLib.models.quantizer import EMAQuantizer, VectorQuantizer
from CardioDiTLib.models.vqvae_blocks import Activation, Decoder, Encoder


class VQGAN(nn.Module):
    """Codec of slices (B, C, H, W, T) to a grid of codes (B, embedding_dim, h, w, t) and back.

    The published keys of `stage1.params` are taken as they are. Below the line are additions of this library, which
    published configurations leave off; none of them changes a parameter name.

    Args:
        spatial_dims: Number of spatial axes; 3 means (H, W, T).
        in_channels: Channels of the image.
        out_channels: Channels of the decoded image.
        num_channels: Channels of each level, finest first.
        num_res_channels: Channels inside the residual units of each level, or one number for all levels.
        num_res_layers: Residual units a level.
        downsample_parameters: (stride, kernel, dilation, padding) of each level, or one such tuple for all levels.
            Each entry is a number or a number for each of (H, W, T).
        upsample_parameters: The same with the output padding appended, coarsest level first.
        num_embeddings: Codes in the codebook.
        embedding_dim: Numbers a code.
        embedding_init: "normal" or "kaiming_uniform".
        commitment_cost: Weight of the commitment loss.
        decay: Decay of the codebook's moving averages.
        epsilon: Laplace smoothing of the codebook's cluster sizes.
        dropout: Dropout rate of the convolutions.
        act: Activation, as MONAI names it.
        output_act: Activation after the decoder, as MONAI names it; None for none.
        ddp_sync: Accepted for published configurations; the codebook is the same on every rank in any case.
        use_checkpointing: Recompute activations in the backward pass to save memory.
        channels: Other spelling of `num_channels`; give one of the two.

        space_to_depth: In-plane factor f; (B, C, H, W, T) is rearranged to (B, C f^2, H/f, W/f, T) before the encoder
            and back after the decoder.
        wrap_time: How far a cycle is wrapped in time: the encoder sees `frames` frames of the other end on both
            sides, the decoder `latents` latents, and the surplus is cut. One number n means n latents for both
            (n times the time stride in frames); a pair is (frames, latents). 0 is off.
        cyclic_time: Pad in time with the other end of the cycle instead of zeros, in every convolution (see
            `models.cyclic`).
        dead_code_threshold: Codes used less than this (moving average a step) are revived; 0 is off.

    Raises:
        CardioDiTError: if the numbers of levels disagree or an option does not fit the strides.

    Examples:
        >>> model = VQGAN(num_channels=[8, 16], num_res_channels=16, num_embeddings=64, embedding_dim=4)
        >>> recon, loss, indices = model(torch.zeros(2, 1, 16, 16, 8))
        >>> recon.shape, indices.shape
        (torch.Size([2, 1, 16, 16, 8]), torch.Size([2, 4, 4, 2]))
    """

    def __init__(
        self,
        spatial_dims: int = 3,
        in_channels: int = 1,
        out_channels: int = 1,
        num_channels: Sequence[int] | None = None,
        num_res_channels: Sequence[int] | int = 256,
        num_res_layers: int = 2,
        downsample_parameters: Sequence[Any] = (2, 4, 1, 1),
        upsample_parameters: Sequence[Any] = (2, 4, 1, 1, 0),
        num_embeddings: int = 16384,
        embedding_dim: int = 8,
        embedding_init: str = "normal",
        commitment_cost: float = 0.25,
        decay: float = 0.99,
        epsilon: float = 1e-5,
        dropout: float = 0.0,
        act: Activation = "relu",
        output_act: str | None = None,
        ddp_sync: bool = True,
        use_checkpointing: bool = False,
        *,
        channels: Sequence[int] | None = None,
        space_to_depth: int = 1,
        wrap_time: int | Sequence[int] = 0,
        dead_code_threshold: float = 0.0,
        cyclic_time: bool = False,
    ) -> None:
        super().__init__()
        if num_channels is not None and channels is not None:
            raise CardioDiTError("Both 'num_channels' and 'channels' are given.", "Keep one of them.")
        widths = tuple(num_channels if num_channels is not None else channels or (128, 256))
        levels = len(widths)
        res_channels = (num_res_channels,) * levels if isinstance(num_res_channels, int) else tuple(num_res_channels)
        down = _level_parameters(downsample_parameters, levels, 4, "downsample_parameters")
        up = _level_parameters(upsample_parameters, levels, 5, "upsample_parameters")
        if len(res_channels) != levels:
            raise CardioDiTError(
                f"num_res_channels has {len(res_channels)} entries for {levels} levels of num_channels.",
                "Give one entry a level.",
            )
        if space_to_depth < 1 or (space_to_depth > 1 and spatial_dims != 3):
            raise CardioDiTError(
                f"space_to_depth {space_to_depth} is not possible with {spatial_dims} spatial axes.",
                "Use a whole number from 1 on, with three spatial axes.",
            )

        self.spatial_dims = spatial_dims
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.num_embeddings = num_embeddings
        self.embedding_dim = embedding_dim
        self.space_to_depth = space_to_depth
        self.use_checkpointing = use_checkpointing
        self._down = down
        self._up = up

        folded = space_to_depth**2
        self.encoder = Encoder(
            spatial_dims=spatial_dims,
            in_channels=in_channels * folded,
            out_channels=embedding_dim,
            channels=widths,
            num_res_layers=num_res_layers,
            num_res_channels=res_channels,
            downsample_parameters=down,
            dropout=dropout,
            act=act,
        )
        self.decoder = Decoder(
            spatial_dims=spatial_dims,
            in_channels=embedding_dim,
            out_channels=out_channels * folded,
            channels=widths,
            num_res_layers=num_res_layers,
            num_res_channels=res_channels,
            upsample_parameters=up,
            dropout=dropout,
            act=act,
            output_act=output_act,
        )
        self.quantizer = VectorQuantizer(
            EMAQuantizer(
                num_embeddings,
                embedding_dim,
                commitment_cost=commitment_cost,
                decay=decay,
                epsilon=epsilon,
                embedding_init=embedding_init,
                dead_code_threshold=dead_code_threshold,
            )
        )
        self.wrap_frames, self.wrap_latents = self._wrap_of(wrap_time)
        if cyclic_time:
            make_cyclic(self.encoder)
            make_cyclic(self.decoder)

    @property
    def downsampling(self) -> tuple[int, ...]:
        """Factor by which each of (H, W, T) shrinks, space-to-depth included."""
        factors = [1] * self.spatial_dims
        for level in self._down:
            factors = [f * _along(level[0], axis) for axis, f in enumerate(factors)]
        if self.space_to_depth > 1:
            factors[0] *= self.space_to_depth
            factors[1] *= self.space_to_depth
        return tuple(factors)

    def latent_shape(self, *size: int) -> tuple[int, ...]:
        """Shape (embedding_dim, h, w, t) of the latents of one slice of size (H, W, T).

        Raises:
            CardioDiTError: if the size is too small or does not divide where it has to.
        """
        if len(size) != self.spatial_dims:
            raise CardioDiTError(
                f"A slice of this codec has {self.spatial_dims} axes, but {len(size)} sizes were given.",
                "Give height, width and frames.",
            )
        self._check_size(size)
        return self.embedding_dim, *self._latent_size(size)

    def decoded_size(self, *size: int) -> tuple[int, ...]:
        """Size (H, W, T) in which a slice of size (H, W, T) comes back; the same where it divides by `downsampling`.

        Raises:
            CardioDiTError: as for `latent_shape`.
        """
        latent = self.latent_shape(*size)[1:]
        factors = [self.space_to_depth] * 2 + [1] * (len(size) - 2)
        return tuple(self._grown(n, axis) * factor for axis, (n, factor) in enumerate(zip(latent, factors)))

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """Latents before quantisation: (B, in_channels, H, W, T) -> (B, embedding_dim, h, w, t).

        Raises:
            CardioDiTError: if the size does not fit the strides.
        """
        self._check_size(x.shape[2:])
        x = space_to_depth(x, self.space_to_depth)
        frames = x.shape[-1]
        if self.wrap_frames:
            x = wrap(x, self.wrap_frames)
        z = self._run(self.encoder, x)
        if self.wrap_frames:
            stride = self._time_stride
            z = z.narrow(-1, self.wrap_frames // stride, frames // stride)
        return z

    def quantize(self, z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Quantised latents (B, C, h, w, t), commitment loss, indices (B, h, w, t).

        The gradient passes straight through; in training mode the codebook moves.
        """
        return self.quantizer(z)

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        """Image of latents that are used as they are: (B, embedding_dim, h, w, t) -> (B, out_channels, H, W, T)."""
        latents = z.shape[-1]
        if self.wrap_latents:
            z = wrap(z, self.wrap_latents)
        x = self._run(self.decoder, z)
        if self.wrap_latents:
            stride = self._time_stride
            x = x.narrow(-1, self.wrap_latents * stride, latents * stride)
        return depth_to_space(x, self.space_to_depth)

    def encode_to_latents(self, x: torch.Tensor) -> torch.Tensor:
        """Quantised latents of an image; never moves the codebook and passes no gradient to the encoder."""
        return self.nearest_codes(self.encode(x))

    def decode_latents(self, z: torch.Tensor) -> torch.Tensor:
        """Image of the codes nearest to the latents z (as a sampler returns them, in the codec's own scale)."""
        return self.decode(self.nearest_codes(z))

    def nearest_codes(self, z: torch.Tensor) -> torch.Tensor:
        """Codes nearest to z, of the same shape; no gradient, no change of the codebook."""
        return self.quantizer.embed(self.quantizer.quantize(z))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Encode, quantise, decode.

        Args:
            x: (B, in_channels, H, W, T), brightness in [-1, 1].

        Returns:
            The reconstruction (B, out_channels, H, W, T), the commitment loss (scalar), the indices (B, h, w, t).
        """
        quantized, loss, indices = self.quantize(self.encode(x))
        return self.decode(quantized), loss, indices

    @property
    def _time_stride(self) -> int:
        return self.downsampling[-1]

    def _run(self, part: nn.Module, x: torch.Tensor) -> torch.Tensor:
        if self.use_checkpointing and self.training and torch.is_grad_enabled():
            return checkpoint(part, x, use_reentrant=False)
        return part(x)

    def _latent_size(self, size: Sequence[int]) -> tuple[int, ...]:
        factors = [self.space_to_depth] * 2 + [1] * (len(size) - 2)
        return tuple(self._shrunk(n // factor, axis) for axis, (n, factor) in enumerate(zip(size, factors)))

    def _shrunk(self, n: int, axis: int) -> int:
        for level in self._down:
            stride, kernel, dilation, padding = (_along(value, axis) for value in level)
            n = (n + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
        return n

    def _grown(self, n: int, axis: int) -> int:
        for level in self._up:
            stride, kernel, dilation, padding, output_padding = (_along(value, axis) for value in level)
            n = (n - 1) * stride - 2 * padding + dilation * (kernel - 1) + output_padding + 1
        return n

    def _check_size(self, size: Sequence[int]) -> None:
        multiples = [1] * len(size)
        if self.space_to_depth > 1:
            multiples[:2] = self.downsampling[:2]
        if self.wrap_frames:
            multiples[-1] = self._time_stride
        fits = all(n % multiple == 0 for n, multiple in zip(size, multiples))
        if not fits or min(self._latent_size(size)) < 1:
            raise CardioDiTError(
                f"A slice of size {' x '.join(map(str, size))} does not fit this codec, which shrinks it by "
                f"{' x '.join(map(str, self.downsampling))}.",
                "Crop or pad it to multiples of these factors.",
            )

    def _wrap_of(self, wrap_time: int | Sequence[int]) -> tuple[int, int]:
        stride = self._time_stride
        if isinstance(wrap_time, int):
            frames, latents = wrap_time * stride, wrap_time
        else:
            frames, latents = wrap_time
        if frames < 0 or latents < 0 or frames % stride:
            raise CardioDiTError(
                f"wrap_time {wrap_time} does not fit the time stride {stride}.",
                "Wrap a multiple of the time stride in frames.",
            )
        axis = self.spatial_dims - 1
        probe = 8
        keeps = self._shrunk(probe * stride, axis) == probe and self._grown(probe, axis) == probe * stride
        if (frames or latents) and not keeps:
            raise CardioDiTError(
                "Wrapping in time needs convolutions that turn n latents into exactly n times the stride in frames.",
                "Use kernel 4, stride 2, padding 1, or switch wrap_time off.",
            )
        return frames, latents


def wrap(x: torch.Tensor, amount: int) -> torch.Tensor:
    """Cycle continued by `amount` positions beyond both ends of the last axis (more than one period is possible)."""
    length = x.shape[-1]
    index = torch.arange(-amount, length + amount, device=x.device) % length
    return x.index_select(-1, index)


def space_to_depth(x: torch.Tensor, factor: int) -> torch.Tensor:
    """(B, C, H, W, T) -> (B, C f^2, H/f, W/f, T); the inverse of `depth_to_space`."""
    if factor == 1:
        return x
    b, c, h, w, t = x.shape
    x = x.reshape(b, c, h // factor, factor, w // factor, factor, t)
    return x.permute(0, 1, 3, 5, 2, 4, 6).reshape(b, c * factor**2, h // factor, w // factor, t)


def depth_to_space(x: torch.Tensor, factor: int) -> torch.Tensor:
    """(B, C f^2, H, W, T) -> (B, C, H f, W f, T); the inverse of `space_to_depth`."""
    if factor == 1:
        return x
    b, c, h, w, t = x.shape
    x = x.reshape(b, c // factor**2, factor, factor, h, w, t)
    return x.permute(0, 1, 4, 2, 5, 3, 6).reshape(b, c // factor**2, h * factor, w * factor, t)


def _along(value: int | Sequence[int], axis: int) -> int:
    return value if isinstance(value, int) else value[axis]


def _level_parameters(values: Sequence[Any], levels: int, entries: int, name: str) -> tuple[tuple[Any, ...], ...]:
    """One tuple of `entries` for each level, from a tuple a level or one tuple for all."""
    if len(values) == entries and all(isinstance(value, int) for value in values):
        values = [values] * levels
    rows = tuple(tuple(tuple(v) if isinstance(v, Sequence) else v for v in row) for row in values)
    if len(rows) != levels or any(len(row) != entries for row in rows):
        raise CardioDiTError(
            f"{name} must have {entries} entries for each of the {levels} levels.",
            "Compare it with num_channels in the configuration.",
        )
    return rows

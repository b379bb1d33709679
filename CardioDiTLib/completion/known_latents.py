"""What is known of the latents, and clean samples that agree with it."""

from __future__ import annotations

import torch
from torch import Tensor

from CardioDiTLib.diffusion.any_schedule import AnySchedule
from CardioDiTLib.diffusion.samplers import Denoise
from CardioDiTLib.models.latent_scale import LatentScale, from_modes, to_modes

_ROUNDS = 24

_LEAST_NOISE = 1e-3
"""Variance, of 1, that known numbers have at least."""


class KnownLatents:
    """Moves the transformer's numbers to the likeliest values, given that some latents are known.

    The codec's latents are linear in the transformer's numbers (``y = A x``), so for x normal with variances v about
    the denoiser's x0 the likeliest are ``x0 + V A' (A V A' + s I)^-1 (y - A x0)``: the null-space projection of Wang et
    al. (DDNM, ICLR 2023) with noise (Song et al., Pseudoinverse-guided diffusion, ICLR 2023). Where the transformer
    sees the latents one by one it is their replacement; where patches of neighbouring slices and frames have become
    principal components, the known half of a patch also moves the other half, through the components. Two variances
    regularise it: s is what the components cannot represent of the known latents, and v is the remaining variance of
    each number at a noise level, ``1 / (1 / spread + (alpha / sigma)^2)``. Without both, a small misfit of the known
    half would cause a large error in the other. It is solved by conjugate gradients; the matrix is never formed.

    Args:
        scale: Between the codec's latents and what the transformer sees.
        latents: (1, C, Z, H, W, T) in the codec's scale.
        known: (Z, T) bool, which slices and frames of the latents are known.
        spread: (K,) variance of each number that the transformer sees, over hearts and places.
    """

    def __init__(self, scale: LatentScale, latents: Tensor, known: Tensor, spread: Tensor) -> None:
        self._scale = scale
        self.latents = latents.float()
        self.known = known.to(latents.device).reshape(1, 1, known.shape[0], 1, 1, known.shape[1])
        self._spread = spread.float().to(latents.device).reshape(1, -1, 1, 1, 1, 1)
        self._unit = scale.std.flatten(1).mean(1).reshape(1, -1, 1, 1, 1, 1)
        seen = scale.normalise(self.latents)
        self._restored_zero = scale.restore(torch.zeros_like(seen))
        self._seen_zero = scale.normalise(torch.zeros_like(self.latents))
        lost = ((self.latents - scale.restore(seen)) / self._unit).square()
        places = self.known.expand_as(lost)
        self._noise = max(float(lost[places].mean()) if bool(places.any()) else 0.0, _LEAST_NOISE)

    def agree(self, x0: Tensor, alpha: float, sigma: float) -> Tensor:
        """Clean samples moved to what is likeliest.

        Args:
            x0: (B, K, ...) as a denoiser saw them.
            alpha, sigma: Shares of image and noise in what it was given.
        """
        if not bool(self.known.any()) or sigma == 0:
            return x0
        root = (1.0 / (1.0 / self._spread + (alpha / sigma) ** 2)).sqrt()
        wanted = self._weighed(self.latents - self._scale.restore(x0.float()))
        move = root * self._solve(root * self._adjoint(wanted), root)
        return x0 + move.to(x0.dtype)

    def put_in(self, latents: Tensor) -> Tensor:
        """The codec's latents (B, C, Z, H, W, T) with those that are known in their places."""
        return torch.where(self.known, self.latents, latents)

    def _weighed(self, latents: Tensor) -> Tensor:
        kept = torch.where(self.known, latents, torch.zeros_like(latents))
        return kept / (self._unit.square() * self._noise)

    def _adjoint(self, latents: Tensor) -> Tensor:
        # restoring multiplies by std what normalising divides by it; the rest of both are turns
        scale = self._scale
        if scale.modes:
            latents = from_modes(to_modes(latents) * scale.std.square())
        else:
            latents = latents * scale.std.square()
        return scale.normalise(latents) - self._seen_zero

    def _normal(self, move: Tensor, root: Tensor) -> Tensor:
        seen = self._scale.restore(root * move) - self._restored_zero
        return root * self._adjoint(self._weighed(seen)) + move

    def _solve(self, right: Tensor, root: Tensor) -> Tensor:
        """Conjugate gradients, all samples at once."""
        axes = tuple(range(1, right.ndim))
        found, rest = torch.zeros_like(right), right.clone()
        way, left = rest.clone(), rest.square().sum(axes, keepdim=True)
        for _ in range(_ROUNDS):
            ahead = self._normal(way, root)
            step = left / (way * ahead).sum(axes, keepdim=True).clamp(min=1e-20)
            found = found + step * way
            rest = rest - step * ahead
            now = rest.square().sum(axes, keepdim=True)
            way, left = rest + now / left.clamp(min=1e-20) * way, now
        return found


class AgreeingDenoiser:
    """Wraps ``denoise(x, t) -> x0``, so that any sampler leads to a sample that agrees with the known latents.

    Args:
        denoise: The denoiser.
        known: What is known.
        schedule: The noise schedule of the denoiser.
    """

    def __init__(self, denoise: Denoise, known: KnownLatents, schedule: AnySchedule) -> None:
        self._denoise, self._known, self._schedule = denoise, known, schedule

    def __call__(self, x: Tensor, t: float) -> Tensor:
        """The clean samples in noisy ones, moved to agree with what is known."""
        alpha, sigma = (float(share) for share in self._schedule.alpha_sigma(t))
        return self._known.agree(self._denoise(x, t), alpha, sigma)

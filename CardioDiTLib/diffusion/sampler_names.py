"""Names of the samplers and the default spacing of each; imports no torch."""

from __future__ import annotations

DEFAULT_SPACING = {"ddpm": "angle", "ddim": "angle", "dpmpp_2m": "wide_angle", "euler": "angle"}
"""The spacing that does best for each of `samplers.SAMPLERS`; a name from `spacing.SPACINGS`."""

FEW_STEPS = "few_steps"
"""The sampler of a bundle whose network was trained to sample in a few steps."""

SAMPLER_NAMES = (*DEFAULT_SPACING, FEW_STEPS)

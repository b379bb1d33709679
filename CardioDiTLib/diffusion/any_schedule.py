"""Diffusion and flow matching behind one interface."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from CardioDiTLib.diffusion.flow import FLOW_MATCHING, FlowSchedule
from CardioDiTLib.diffusion.schedule import NoiseSchedule

AnySchedule = NoiseSchedule | FlowSchedule
"""Both give alpha, sigma and log-SNR at a time, add noise, and give velocities and clean samples from predictions."""


def schedule_from_config(config: Mapping[str, Any]) -> AnySchedule:
    """The schedule of plain values, such as a bundle's JSON or the settings of a training.

    Args:
        config: Arguments of :class:`FlowSchedule` where ``name`` (or ``schedule``) is "flow_matching", else those of
            :class:`NoiseSchedule`.

    Raises:
        CardioDiTError: A key is not known, or a value is not possible.
    """
    if config.get("name", config.get("schedule")) == FLOW_MATCHING:
        return FlowSchedule.from_config(config)
    return NoiseSchedule.from_config(config)

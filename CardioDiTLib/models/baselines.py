"""Baselines of the transformer over a whole heart: its blocks on slices one by one, and on slices as channels.

Both have the inputs and outputs of `DiT4D`, so training and sampling need no change.

==============  ======================================================================================================
name            network
==============  ======================================================================================================
``full4d``      `DiT4D`: every token attends to all others, over z, h, w and t
``factorised``  `DiT4D` with `attention="factorised"`: blocks over space and over time in turn
``slice2dt``    `SliceDiT`: each slice by itself (2D+t), told its place in the stack
``channel3dt``  `ChannelDiT`: all slices side by side in the channels (3D+t), tokens over h, w and t
==============  ======================================================================================================

Source of the comparison: CardioDiT (arXiv 2603.25194), abstract; details are ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.models.dit import DiT4D

BASELINES = ("full4d", "factorised", "slice2dt", "channel3dt")


def baseline_network(name: str, params: Mapping[str, Any]) -> DiT4D:
    """The network of a baseline.

    Args:
        name: One of `BASELINES`.
        params: Arguments of `DiT4D` for the whole latents; `input_size` is that of the stack.

    Raises:
        CardioDiTError: The name is not known, or the parameters do not fit.
    """
    if name == "full4d":
        return DiT4D(**params)
    if name == "factorised":
        return DiT4D(**{"attention": "factorised", **params})
    if name == "slice2dt":
        return SliceDiT(**params)
    if name == "channel3dt":
        return ChannelDiT(**params)
    raise CardioDiTError(f"The baseline '{name}' is not known.", f"Choose one of {', '.join(BASELINES)}.")


class SliceDiT(DiT4D):
    """Each slice by itself, told its place: (B, C, Z, H, W, T) as B Z samples of one slice.

    Nothing passes from slice to slice: neighbours have only class, place and quantities in common.

    Args:
        params: As of `DiT4D`, for the whole stack; patches have one slice.
    """

    def __init__(self, **params: Any) -> None:
        self.slices = _slices(params)
        super().__init__(**{**params, **_of_one_slice(params)})
        self.z_embedder = nn.Embedding(self.slices, self.hidden_size)
        nn.init.normal_(self.z_embedder.weight, std=0.02)

    def forward(
        self,
        x: torch.Tensor,
        t: torch.Tensor,
        y: torch.Tensor | None = None,
        force_drop_ids: torch.Tensor | None = None,
        conditions: torch.Tensor | None = None,
        *,
        x_self_cond: torch.Tensor | None = None,
        alpha_t: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """As `DiT4D.forward`."""
        _check_stack(x, self.slices)
        if alpha_t is not None:
            raise CardioDiTError("Phases of frames cannot be given to this network.", "Leave them out.")
        each = self.slices
        y = y if y is None else y.repeat_interleave(each)
        if y is not None and force_drop_ids is None and self.training and self.null_class is not None:
            # one heart is one draw: all of its slices keep the label or none does
            assert self.y_embedder is not None
            force_drop_ids = torch.rand(len(x), device=x.device) < self.y_embedder.dropout
        made = super().forward(
            _slices_as_samples(x),
            t.expand(len(x)).repeat_interleave(each) if t.ndim == 0 or len(t) == 1 else t.repeat_interleave(each),
            y,
            force_drop_ids if force_drop_ids is None else force_drop_ids.repeat_interleave(each),
            conditions if conditions is None else conditions.repeat_interleave(each, dim=0),
            x_self_cond=None if x_self_cond is None else _slices_as_samples(x_self_cond),
        )
        return made.unflatten(0, (-1, each)).squeeze(3).transpose(1, 2)

    def _condition(
        self,
        x: torch.Tensor,
        t: torch.Tensor,
        y: torch.Tensor | None,
        force_drop_ids: torch.Tensor | None,
        conditions: torch.Tensor | None,
    ) -> torch.Tensor:
        places = torch.arange(self.slices, device=x.device).repeat(len(x) // self.slices)
        return super()._condition(x, t, y, force_drop_ids, conditions) + self.z_embedder(places)


class ChannelDiT(DiT4D):
    """All slices in the channels: (B, C, Z, H, W, T) as (B, C Z, 1, H, W, T).

    Args:
        params: As of `DiT4D`, for the whole stack; patches have one slice.
    """

    def __init__(self, **params: Any) -> None:
        self.slices = _slices(params)
        channels = params.get("in_channels", 8) * self.slices
        super().__init__(**{**params, **_of_one_slice(params), "in_channels": channels})

    def forward(
        self,
        x: torch.Tensor,
        t: torch.Tensor,
        y: torch.Tensor | None = None,
        force_drop_ids: torch.Tensor | None = None,
        conditions: torch.Tensor | None = None,
        *,
        x_self_cond: torch.Tensor | None = None,
        alpha_t: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """As `DiT4D.forward`."""
        _check_stack(x, self.slices)
        estimate = None if x_self_cond is None else x_self_cond.flatten(1, 2)[:, :, None]
        made = super().forward(
            x.flatten(1, 2)[:, :, None], t, y, force_drop_ids, conditions, x_self_cond=estimate, alpha_t=alpha_t
        )
        return made[:, :, 0].unflatten(1, (-1, self.slices))


def _slices_as_samples(x: torch.Tensor) -> torch.Tensor:
    return x.transpose(1, 2).flatten(0, 1)[:, :, None]


def _slices(params: Mapping[str, Any]) -> int:
    patch = params.get("patch_size", (1, 4, 4, 2))
    if patch[0] != 1 or params.get("variable_shape") or params.get("learn_sigma"):
        raise CardioDiTError(
            "Slices can only be taken apart with patches of one slice, one grid and no learned sigma.",
            "Set patch_size to [1, ...] and leave variable_shape and learn_sigma off.",
        )
    return int(params.get("input_size", (6, 64, 64, 8))[0])


def _of_one_slice(params: Mapping[str, Any]) -> dict[str, Any]:
    return {"input_size": [1, *params.get("input_size", (6, 64, 64, 8))[1:]]}


def _check_stack(x: torch.Tensor, slices: int) -> None:
    if x.ndim != 6 or x.shape[2] != slices:
        raise CardioDiTError(
            f"The network takes stacks of {slices} slices, but got {tuple(x.shape)}.", "Use the grid of the model."
        )

"""The diffusion transformer over a whole 3D+t latent.

Source: CardioDiT (arXiv 2603.25194), stage 2, on the DiT of W. Peebles and S. Xie (arXiv 2212.09748). Written from the
papers and the parameter names of the published checkpoints.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn

from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.models.dit_layers import (
    ConditionEmbedder,
    DiTBlock,
    FinalLayer,
    LabelEmbedder,
    PatchEmbedder,
    Rotation,
    TimestepEmbedder,
)
from CardioDiTLib.models.patches import patchify, resample_positions, sincos_positions, unpatchify
from CardioDiTLib.models.positions import (
    PHASE_SCHEMAS,
    POSITION_MODES,
    axis_steps,
    harmonics,
    rotations,
    times_of_frames,
    token_indices,
    waves,
)


class DiT4D(nn.Module):
    """Transformer whose tokens are patches over (Z, H, W, T), each attending to all others.

    The published keys of `dit.params` (version 1) and `model.params` (version 2) are taken as they are, with the
    published defaults. The options below the second line are additions of this library, which published configurations
    leave off.

    Args:
        input_size: Latent size (Z, H, W, T).
        patch_size: Patch size (pz, ph, pw, pt).
        in_channels: C, numbers a code.
        hidden_size: Width of a token; a multiple of 8 and of `num_heads`.
        depth: Number of blocks.
        num_heads: Number of attention heads.
        mlp_ratio: Width of the MLP over the width of a token.
        class_dropout_prob: Share of labels dropped in training; above 0 adds a null class.
        num_classes: Number of classes; 0 for an unconditional network.
        learn_sigma: Give 2C channels, the second half being a log sigma.
        flash_attention: Accepted for published configurations; torch chooses the attention kernel by itself.

        attn_drop, proj_drop, mlp_drop: Dropout in training: attention weights, output of attention, MLP.
        self_conditioning: The network is also given its own last estimate of the clean latents, side by side with the
            noisy ones in the channels.
        pos_embed_mode: One of `positions.POSITION_MODES`; "absolute" where it is left out.
        temporal_pe: Older spelling of the same ("rope" is "time_rope"); `pos_embed_mode` goes first.
        variable_shape: Take any latents up to `max_input_size` that divide by the patches.
        max_input_size: Largest latent size (Z, H, W, T); the grid of the positions.
        spacing: Size of a latent along (Z, H, W, T), by which positions are spaced; None for all alike.
        rope_temporal_scale: Factor on the times of the tokens.
        phase_schema: "legacy_v1" or "cyclic_v2" (phases on a circle; see `positions`).
        qk_norm: Normalise queries and keys of each head: False, "rms" or "layer". True is what it was trained as:
            LayerNorm beside any of the published settings of version 2 above, RMS without.

        learned_positions: Train the positions, started from the sines and cosines.
        num_conditions: Number of measured quantities (volumes and the like) by which samples can be steered.
        attention: "full", or "factorised": blocks over the tokens of one frame and over those of one place in turn,
            with the same weights.

    Raises:
        CardioDiTError: if sizes do not divide as they must.

    Examples:
        >>> model = DiT4D(input_size=[2, 8, 8, 4], patch_size=[1, 4, 4, 2], in_channels=4, hidden_size=64, depth=2,
        ...               num_heads=4)
        >>> model(torch.zeros(1, 4, 2, 8, 8, 4), torch.tensor([10])).shape
        torch.Size([1, 4, 2, 8, 8, 4])
    """

    def __init__(
        self,
        input_size: Sequence[int] = (6, 64, 64, 8),
        patch_size: Sequence[int] = (1, 4, 4, 2),
        in_channels: int = 8,
        hidden_size: int = 768,
        depth: int = 12,
        num_heads: int = 12,
        mlp_ratio: float = 4.0,
        class_dropout_prob: float = 0.0,
        num_classes: int = 0,
        learn_sigma: bool = False,
        flash_attention: bool = True,
        *,
        attn_drop: float | None = None,
        proj_drop: float | None = None,
        mlp_drop: float | None = None,
        self_conditioning: bool | None = None,
        temporal_pe: str | None = None,
        pos_embed_mode: str | None = None,
        max_input_size: Sequence[int] | None = None,
        variable_shape: bool | None = None,
        spacing: Sequence[float] | None = None,
        rope_temporal_scale: float | None = None,
        phase_schema: str | None = None,
        qk_norm: bool | str = False,
        learned_positions: bool = False,
        num_conditions: int = 0,
        attention: str = "full",
    ) -> None:
        super().__init__()
        self.patch_size = tuple(patch_size)
        self.input_size, self.grid = _size_and_grid(input_size, self.patch_size)
        if hidden_size % 8 or hidden_size % num_heads:
            raise CardioDiTError(
                f"hidden_size {hidden_size} does not divide by 8 and by the {num_heads} heads.",
                "Four axes take a sine and a cosine each; choose a multiple of both.",
            )
        version2: list[object] = [attn_drop, proj_drop, mlp_drop, self_conditioning, temporal_pe, pos_embed_mode]
        version2 += [max_input_size, variable_shape, spacing, rope_temporal_scale, phase_schema]
        norm = _norm_name(qk_norm, any(value is not None for value in version2))

        self.in_channels = in_channels
        self.out_channels = 2 * in_channels if learn_sigma else in_channels
        self.hidden_size = hidden_size
        self.head_width = hidden_size // num_heads
        self.num_classes = num_classes
        self.learn_sigma = learn_sigma
        self.learned_positions = learned_positions
        self.self_conditioning = bool(self_conditioning)
        self.variable_shape = bool(variable_shape)
        largest = max_input_size if self.variable_shape and max_input_size is not None else input_size
        self.max_input_size, self.position_grid = _size_and_grid(largest, self.patch_size, "max_input_size")
        self.pos_embed_mode = _position_mode(pos_embed_mode, temporal_pe)
        self.position_steps = axis_steps(_checked_spacing(spacing), self.patch_size)
        self.rope_temporal_scale = 1.0 if rope_temporal_scale is None else float(rope_temporal_scale)
        self.phase_schema = phase_schema or PHASE_SCHEMAS[0]
        self._check_positions()

        volume = math.prod(self.patch_size)
        self.x_embedder = PatchEmbedder(volume * in_channels * (2 if self.self_conditioning else 1), hidden_size)
        self.t_embedder = TimestepEmbedder(hidden_size)
        self.y_embedder = LabelEmbedder(num_classes, hidden_size, class_dropout_prob) if num_classes > 0 else None
        self.c_embedder = ConditionEmbedder(num_conditions, hidden_size) if num_conditions > 0 else None
        self.pos_embed: nn.Parameter | None = None
        if self.pos_embed_mode != "rope4d":
            table = sincos_positions(hidden_size, self.position_grid, self.position_steps)
            self.pos_embed = nn.Parameter(table, requires_grad=learned_positions)
        drops = (attn_drop or 0.0, proj_drop or 0.0, mlp_drop or 0.0)
        turns = {"full": ("all",), "factorised": ("space", "time")}.get(attention)
        if turns is None:
            raise CardioDiTError(f"The attention '{attention}' is not known.", "Use 'full' or 'factorised'.")
        self.blocks = nn.ModuleList(
            DiTBlock(hidden_size, num_heads, mlp_ratio, norm, *drops, turns[number % len(turns)])
            for number in range(depth)
        )
        self.final_layer = FinalLayer(hidden_size, volume * self.out_channels)
        self._initialise()

    @property
    def null_class(self) -> int | None:
        """Label that stands for "no label"; None where the network has none."""
        return self.y_embedder.null_class if self.y_embedder is not None else None

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
        """Prediction (noise, velocity or image, as trained) for a noisy latent.

        Args:
            x: (B, in_channels, Z, H, W, T).
            t: (B,) or one number for all; diffusion times, whole or not.
            y: (B,) int64 labels. None means the null class where there is one, else no label at all.
            force_drop_ids: (B,) bool, True where a label is to be dropped; without it labels are dropped at random
                in training mode.
            conditions: (B, K) measured quantities in their own units, NaN where one is not asked for; None asks for
                none.
            x_self_cond: Like `x`: an earlier estimate of the clean latents, for a network with self-conditioning; None
                stands for zeros.
            alpha_t: Phases of the frames within the beat, (T,), (1, T) or (B, T), where positions can say them.

        Returns:
            (B, in_channels, Z, H, W, T), or 2 in_channels with learn_sigma.

        Raises:
            CardioDiTError: for a latent of another size, or labels that the network cannot take.
        """
        grid = self._grid_of(x)
        condition = self._condition(x, t, y, force_drop_ids, conditions)
        tokens = self.x_embedder(patchify(self._with_estimate(x, x_self_cond), self.patch_size))
        added, rotation = self._positions(len(x), grid, alpha_t, x.device)
        if added is not None:
            tokens = tokens + added
        for block in self.blocks:
            tokens = block(tokens, condition, rotation, grid[3])
        return unpatchify(self.final_layer(tokens, condition), self.patch_size, grid)

    def _condition(
        self,
        x: torch.Tensor,
        t: torch.Tensor,
        y: torch.Tensor | None,
        force_drop_ids: torch.Tensor | None,
        conditions: torch.Tensor | None,
    ) -> torch.Tensor:
        """Time, labels and quantities as one vector a sample, (B, hidden_size)."""
        condition = self.t_embedder(t.expand(len(x)) if t.ndim == 0 or len(t) == 1 else t)
        labels = self._labels(x, y)
        if labels is not None and self.y_embedder is not None:
            condition = condition + self.y_embedder(labels, force_drop_ids)
        if self.c_embedder is not None:
            if conditions is None:
                conditions = torch.full((len(x), self.c_embedder.count), math.nan, device=x.device)
            condition = condition + self.c_embedder(conditions)
        elif conditions is not None:
            raise CardioDiTError(
                "Quantities were given to a model that was not trained with any.",
                "Leave them out, or use another model.",
            )
        return condition

    def takes(self, size: Sequence[int]) -> bool:
        """Whether latents of this size (Z, H, W, T) can be given to the network as it is."""
        if not self.variable_shape:
            return tuple(size) == self.input_size
        return len(size) == 4 and all(
            0 < n <= most and n % patch == 0 for n, most, patch in zip(size, self.max_input_size, self.patch_size)
        )

    def set_input_size(self, input_size: Sequence[int]) -> None:
        """Take latents of another size (Z, H, W, T) from now on.

        Sines and cosines are computed anew for the new grid; what training added to them is stretched over it. Do it
        before an optimizer is made: the parameter `pos_embed` is replaced.

        Raises:
            CardioDiTError: if the size does not divide by the patch size.
        """
        size, grid = _size_and_grid(input_size, self.patch_size)
        if self.pos_embed is not None:
            old, steps = self.pos_embed.detach(), self.position_steps
            learned = old - sincos_positions(self.hidden_size, self.position_grid, steps).to(old)
            fixed = sincos_positions(self.hidden_size, grid, steps).to(old)
            if self.learned_positions:
                fixed = fixed + resample_positions(learned, self.position_grid, grid)
            self.pos_embed = nn.Parameter(fixed, requires_grad=self.learned_positions)
        self.input_size = self.max_input_size = size
        self.grid = self.position_grid = grid

    def _grid_of(self, x: torch.Tensor) -> tuple[int, int, int, int]:
        """Tokens along (z, h, w, t) of latents, whose shape is checked first."""
        if x.ndim == 6 and x.shape[1] == self.in_channels and self.takes(x.shape[2:]):
            z, h, w, t = (n // patch for n, patch in zip(x.shape[2:], self.patch_size))
            return z, h, w, t
        wanted = f"(B, {self.in_channels}, {', '.join(map(str, self.max_input_size))})"
        if self.variable_shape:
            raise CardioDiTError(
                f"The transformer takes latents of up to {wanted} in multiples of {list(self.patch_size)}, but got "
                f"{tuple(x.shape)}.",
                "Use a grid within the largest that it was made for.",
            )
        raise CardioDiTError(
            f"The transformer takes latents of shape {wanted}, but got {tuple(x.shape)}.",
            "Use the grid of the model, or set_input_size for another one.",
        )

    def _with_estimate(self, x: torch.Tensor, estimate: torch.Tensor | None) -> torch.Tensor:
        if not self.self_conditioning:
            if estimate is not None:
                raise CardioDiTError(
                    "An earlier estimate was given to a model without self-conditioning.", "Leave it out."
                )
            return x
        if estimate is None:
            estimate = torch.zeros_like(x)
        elif estimate.shape != x.shape:
            raise CardioDiTError(
                f"The earlier estimate has shape {tuple(estimate.shape)}, the latents {tuple(x.shape)}.",
                "Give an estimate of these latents.",
            )
        return torch.cat([x, estimate.to(x.dtype)], dim=1)

    def _positions(
        self, batch: int, grid: tuple[int, int, int, int], alpha_t: torch.Tensor | None, device: torch.device
    ) -> tuple[torch.Tensor | None, Rotation | None]:
        """What is added to the tokens, (1 or B, N, hidden_size), and by what queries and keys are turned."""
        mode = self.pos_embed_mode
        if mode in ("absolute", "center_select"):
            return self._middle(grid), None
        step = self.position_steps[3] * self.rope_temporal_scale
        times = times_of_frames(grid[3], batch, step, self.phase_schema, alpha_t, device)
        places = token_indices(grid, device)
        if mode == "rope4d":
            steps = torch.tensor(self.position_steps[:3], device=device)
            apart = (places[:, :3] * steps).expand(len(times), -1, -1)
            return None, rotations(torch.cat([apart, times[:, places[:, 3], None]], dim=2), self.head_width)
        if mode == "time_rope":
            return self._without_time(grid), rotations(times[:, places[:, 3], None], self.head_width)
        quarter = self.hidden_size // 4
        if mode == "phase":
            whole = self.position_steps[3] * grid[3]
            if self.phase_schema == "cyclic_v2":
                phase = torch.remainder(times / max(whole, 1.0), 1.0)
                made = harmonics(self.hidden_size, phase)[:, places[:, 3]]
                return self._without_time(grid) + made.to(self._middle(grid).dtype), None
            last = self.position_steps[3] * max(grid[3] - 1, 1)
            phase = times / max(last, 1.0) * (2.0 * math.pi)
            table = self._middle(grid)
            return table + waves(self.hidden_size, phase)[:, places[:, 3]].to(table.dtype), None
        if mode == "interpolated_rescaled":
            usual = max(self.input_size[3] // self.patch_size[3] - 1, 0)
            times = torch.linspace(0.0, usual, grid[3], device=device)[None] * self.position_steps[3]
        table = self._middle(grid).expand(len(times), -1, -1)
        made = waves(quarter, times)[:, places[:, 3]].to(table.dtype)
        return torch.cat([table[..., : 3 * quarter], made], dim=2), None

    def _middle(self, grid: tuple[int, int, int, int]) -> torch.Tensor:
        """The positions (1, N, hidden_size) of a grid: the middle of the table along every axis."""
        assert self.pos_embed is not None
        if grid == self.position_grid:
            return self.pos_embed
        table = self.pos_embed.reshape(1, *self.position_grid, -1)
        for axis, (length, most) in enumerate(zip(grid, self.position_grid), start=1):
            table = table.narrow(axis, (most - length) // 2, length)
        return table.reshape(1, math.prod(grid), -1)

    def _without_time(self, grid: tuple[int, int, int, int]) -> torch.Tensor:
        table, quarter = self._middle(grid), self.hidden_size // 4
        return torch.cat([table[..., : 3 * quarter], torch.zeros_like(table[..., :quarter])], dim=2)

    def _check_positions(self) -> None:
        if self.phase_schema not in PHASE_SCHEMAS:
            raise CardioDiTError(
                f"phase_schema '{self.phase_schema}' is not known.", f"Use one of {', '.join(PHASE_SCHEMAS)}."
            )
        if self.pos_embed_mode == "rope4d" and self.head_width < 8:
            raise CardioDiTError(
                f"A head of {self.head_width} numbers is too narrow for rope4d.",
                "Four axes turn a pair of numbers each: use heads of at least 8.",
            )
        if self.pos_embed_mode == "rope4d" and self.learned_positions:
            raise CardioDiTError("rope4d has no positions to be learned.", "Leave learned_positions off.")
        if not all(n <= most for n, most in zip(self.input_size, self.max_input_size)):
            raise CardioDiTError(
                f"input_size {list(self.input_size)} is larger than max_input_size {list(self.max_input_size)}.",
                "Give the largest size that the network is to take.",
            )

    def _labels(self, x: torch.Tensor, y: torch.Tensor | None) -> torch.Tensor | None:
        if y is None:
            if self.null_class is None:
                return None
            return torch.full((len(x),), self.null_class, dtype=torch.long, device=x.device)
        if self.y_embedder is None:
            raise CardioDiTError(
                "Labels were given to a model without classes.", "Leave the pathology out, or use another model."
            )
        return y.long()

    def _initialise(self) -> None:
        """Xavier for linear layers, small normals for time and labels, zeros for all that gates (arXiv 2212.09748)."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        for name, parameter in self.named_parameters():
            if ".adaLN_modulation." in name or name.startswith("final_layer."):
                nn.init.zeros_(parameter)
            elif name.startswith(("t_embedder.", "y_embedder.")) and name.endswith("weight"):
                nn.init.normal_(parameter, std=0.02)
            elif name.startswith("c_embedder.mlp.2."):
                nn.init.zeros_(parameter)


def _norm_name(qk_norm: bool | str, version2: bool) -> str:
    norm = qk_norm if isinstance(qk_norm, str) else ("layer" if version2 else "rms") if qk_norm else ""
    if norm not in ("", "rms", "layer"):
        raise CardioDiTError(f"qk_norm '{qk_norm}' is not known.", "Use False, True, 'rms' or 'layer'.")
    return norm


def _position_mode(pos_embed_mode: str | None, temporal_pe: str | None) -> str:
    mode = str(pos_embed_mode if pos_embed_mode is not None else temporal_pe or "absolute").lower()
    mode = "time_rope" if mode == "rope" else mode
    if mode not in POSITION_MODES:
        raise CardioDiTError(f"pos_embed_mode '{mode}' is not known.", f"Use one of {', '.join(POSITION_MODES)}.")
    return mode


def _checked_spacing(spacing: Sequence[float] | None) -> Sequence[float] | None:
    if spacing is None:
        return None
    numbers = all(isinstance(size, int | float) and not isinstance(size, bool) for size in spacing)
    if isinstance(spacing, str) or len(spacing) != 4 or not numbers or not min(spacing) > 0:
        raise CardioDiTError(
            f"The spacing of the latents is {spacing!r}.", "Give four positive numbers (Z, H, W, T), or none."
        )
    return spacing


def _size_and_grid(
    input_size: Sequence[int], patch_size: Sequence[int], name: str = "input_size"
) -> tuple[tuple[int, int, int, int], tuple[int, int, int, int]]:
    size, patch = tuple(input_size), tuple(patch_size)
    fits = len(size) == len(patch) == 4 and min(*size, *patch) > 0 and all(n % p == 0 for n, p in zip(size, patch))
    if not fits:
        raise CardioDiTError(
            f"{name} {list(size)} does not divide by patch_size {list(patch)}.",
            "Give four numbers (Z, H, W, T) each, the first a multiple of the second.",
        )
    z, h, w, t = (n // p for n, p in zip(size, patch))
    return (size[0], size[1], size[2], size[3]), (z, h, w, t)

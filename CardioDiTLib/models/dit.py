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
    TimestepEmbedder,
)
from CardioDiTLib.models.patches import patchify, resample_positions, sincos_positions, unpatchify


class DiT4D(nn.Module):
    """Transformer whose tokens are patches over (Z, H, W, T), each attending to all others.

    The published keys of `dit.params` are taken as they are; the options below the line are additions of this
    library, which published configurations leave off.

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

        qk_norm: Normalise queries and keys of each head: False, True or "rms", or "layer".
        learned_positions: Train the positions, started from the sines and cosines.
        num_conditions: Number of measured quantities (volumes and the like) by which samples can be steered.

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
        qk_norm: bool | str = False,
        learned_positions: bool = False,
        num_conditions: int = 0,
    ) -> None:
        super().__init__()
        self.patch_size = tuple(patch_size)
        self.input_size, self.grid = _size_and_grid(input_size, self.patch_size)
        if hidden_size % 8 or hidden_size % num_heads:
            raise CardioDiTError(
                f"hidden_size {hidden_size} does not divide by 8 and by the {num_heads} heads.",
                "Four axes take a sine and a cosine each; choose a multiple of both.",
            )
        norm = ("rms" if qk_norm else "") if isinstance(qk_norm, bool) else qk_norm
        if norm not in ("", "rms", "layer"):
            raise CardioDiTError(f"qk_norm '{qk_norm}' is not known.", "Use False, True, 'rms' or 'layer'.")

        self.in_channels = in_channels
        self.out_channels = 2 * in_channels if learn_sigma else in_channels
        self.hidden_size = hidden_size
        self.num_classes = num_classes
        self.learn_sigma = learn_sigma
        self.learned_positions = learned_positions

        volume = math.prod(self.patch_size)
        self.x_embedder = PatchEmbedder(volume * in_channels, hidden_size)
        self.t_embedder = TimestepEmbedder(hidden_size)
        self.y_embedder = LabelEmbedder(num_classes, hidden_size, class_dropout_prob) if num_classes > 0 else None
        self.c_embedder = ConditionEmbedder(num_conditions, hidden_size) if num_conditions > 0 else None
        self.pos_embed = nn.Parameter(sincos_positions(hidden_size, self.grid), requires_grad=learned_positions)
        self.blocks = nn.ModuleList(DiTBlock(hidden_size, num_heads, mlp_ratio, norm) for _ in range(depth))
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
    ) -> torch.Tensor:
        """What the network was trained to say (noise, velocity or image) of a noisy latent.

        Args:
            x: (B, in_channels, Z, H, W, T).
            t: (B,) or one number for all; diffusion times, whole or not.
            y: (B,) int64 labels. None means the null class where there is one, else no label at all.
            force_drop_ids: (B,) bool, True where a label is to be dropped; without it labels are dropped at random
                in training mode.
            conditions: (B, K) measured quantities in their own units, NaN where one is not asked for; None asks for
                none.

        Returns:
            (B, in_channels, Z, H, W, T), or 2 in_channels with learn_sigma.

        Raises:
            CardioDiTError: for a latent of another size, or labels that the network cannot take.
        """
        if x.ndim != 6 or tuple(x.shape[1:]) != (self.in_channels, *self.input_size):
            raise CardioDiTError(
                f"The transformer takes latents of shape (B, {self.in_channels}, "
                f"{', '.join(map(str, self.input_size))}), but got {tuple(x.shape)}.",
                "Use the grid of the model, or set_input_size for another one.",
            )
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

        tokens = self.x_embedder(patchify(x, self.patch_size)) + self.pos_embed
        for block in self.blocks:
            tokens = block(tokens, condition)
        return unpatchify(self.final_layer(tokens, condition), self.patch_size, self.grid)

    def set_input_size(self, input_size: Sequence[int]) -> None:
        """Take latents of another size (Z, H, W, T) from now on.

        Sines and cosines are computed anew for the new grid; what training added to them is stretched over it. Do it
        before an optimizer is made: the parameter `pos_embed` is replaced.

        Raises:
            CardioDiTError: if the size does not divide by the patch size.
        """
        size, grid = _size_and_grid(input_size, self.patch_size)
        old = self.pos_embed.detach()
        learned = old - sincos_positions(self.hidden_size, self.grid).to(old)
        fixed = sincos_positions(self.hidden_size, grid).to(old)
        if self.learned_positions:
            fixed = fixed + resample_positions(learned, self.grid, grid)
        self.pos_embed = nn.Parameter(fixed, requires_grad=self.learned_positions)
        self.input_size, self.grid = size, grid

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


def _size_and_grid(
    input_size: Sequence[int], patch_size: Sequence[int]
) -> tuple[tuple[int, int, int, int], tuple[int, int, int, int]]:
    size, patch = tuple(input_size), tuple(patch_size)
    fits = len(size) == len(patch) == 4 and min(*size, *patch) > 0 and all(n % p == 0 for n, p in zip(size, patch))
    if not fits:
        raise CardioDiTError(
            f"input_size {list(size)} does not divide by patch_size {list(patch)}.",
            "Give four numbers (Z, H, W, T) each, the first a multiple of the second.",
        )
    z, h, w, t = (n // p for n, p in zip(size, patch))
    return (size[0], size[1], size[2], size[3]), (z, h, w, t)

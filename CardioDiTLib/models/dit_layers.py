"""Layers of the diffusion transformer, under the published parameter names.

Source: W. Peebles and S. Xie, "Scalable Diffusion Models with Transformers" (arXiv 2212.09748), section 3.2, the
adaLN-Zero variant.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import nn

from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.models.positions import rotated

Rotation = tuple[torch.Tensor, torch.Tensor]
"""Cosine and sine by which queries and keys are turned (`positions.rotations`)."""

_TIME_FREQUENCIES = 256
_LONGEST_PERIOD = 10000.0


def modulate(x: torch.Tensor, shift: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Tokens (B, N, width) scaled by 1 + scale and shifted, each (B, width)."""
    return x * (1 + scale[:, None]) + shift[:, None]


class PatchEmbedder(nn.Module):
    """Linear map of a token's numbers to the network's width."""

    def __init__(self, numbers: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Linear(numbers, width)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """(B, N, numbers) -> (B, N, width)."""
        return self.proj(tokens)


class TimestepEmbedder(nn.Module):
    """Diffusion time as a vector: 256 cosines and sines, then two linear layers."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(_TIME_FREQUENCIES, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, t: torch.Tensor) -> torch.Tensor:
        """Times (B,), whole or not -> (B, width)."""
        half = _TIME_FREQUENCIES // 2
        steps = torch.arange(half, dtype=torch.float32, device=t.device)
        angles = t.float()[:, None] * torch.exp(-math.log(_LONGEST_PERIOD) * steps / half)
        waves = torch.cat([angles.cos(), angles.sin()], dim=1)
        return self.mlp(waves.to(next(self.mlp.parameters()).dtype))


class LabelEmbedder(nn.Module):
    """Class labels as vectors, with a last row for "no label" where labels are dropped in training.

    Args:
        num_classes: Number of classes.
        width: Width of the network.
        dropout: Share of labels replaced by the null class in training mode (classifier-free guidance, J. Ho and
            T. Salimans, arXiv 2207.12598).
    """

    def __init__(self, num_classes: int, width: int, dropout: float) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.dropout = dropout
        self.embedding_table = nn.Embedding(num_classes + (dropout > 0), width)

    @property
    def null_class(self) -> int | None:
        """Index of the null class, None where there is none."""
        return self.num_classes if self.dropout > 0 else None

    def forward(self, labels: torch.Tensor, force_drop_ids: torch.Tensor | None = None) -> torch.Tensor:
        """Vectors (B, width) of labels (B,).

        Args:
            labels: (B,) int64, the null class allowed.
            force_drop_ids: (B,) bool; True replaces a label by the null class. In its absence, and in training mode
                only, labels are dropped at random.

        Raises:
            CardioDiTError: for a label out of range, or a forced drop where there is no null class.
        """
        known = (labels >= 0) & (labels < self.embedding_table.num_embeddings)
        # A compiled graph cannot check values; there the caller has to give valid labels.
        if not torch.compiler.is_compiling() and not bool(known.all()):
            raise CardioDiTError(
                f"Class labels {labels.tolist()} are not all among the {self.num_classes} classes of this model.",
                f"Use whole numbers from 0 to {self.num_classes - 1}.",
            )
        if force_drop_ids is not None and self.null_class is None:
            raise CardioDiTError(
                "Labels cannot be dropped, because this model was made without a null class.",
                "Use a model with class_dropout_prob above 0.",
            )
        if force_drop_ids is None and self.training and self.null_class is not None:
            force_drop_ids = torch.rand(labels.shape, device=labels.device) < self.dropout
        if force_drop_ids is not None:
            labels = labels.masked_fill(force_drop_ids.bool(), self.num_classes)
        return self.embedding_table(labels)


class ConditionEmbedder(nn.Module):
    """Measured quantities, such as volumes, as one vector; any of them may be absent.

    Each quantity is brought to mean 0 and spread 1 and accompanied by a mark that says whether it is given, so that
    absent ones are told from average ones. The last layer is initialised with zeros: the output of a network trained
    without quantities does not change at first.

    Args:
        count: K, number of quantities.
        width: Width of the network.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, count: int, width: int) -> None:
        super().__init__()
        self.count = count
        self.register_buffer("mean", torch.zeros(count))
        self.register_buffer("std", torch.ones(count))
        self.mlp = nn.Sequential(nn.Linear(2 * count, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """(B, K) in the quantities' own units, NaN where absent -> (B, width).

        Raises:
            CardioDiTError: for another number of quantities.
        """
        if values.ndim != 2 or values.shape[1] != self.count:
            raise CardioDiTError(
                f"The transformer takes {self.count} quantities a sample, but got shape {tuple(values.shape)}.",
                "Give one row a sample, NaN for what is not asked for.",
            )
        known = values.isfinite()
        even = torch.where(known, (values - self.mean) / self.std, torch.zeros_like(values)).clamp(-4, 4)
        return self.mlp(torch.cat([even, known.to(even.dtype)], dim=1).to(next(self.mlp.parameters()).dtype))


class Attention(nn.Module):
    """Self-attention of all tokens with all others, of those of one frame, or of those of one place.

    Args:
        width: Width of a token.
        num_heads: Number of heads.
        qk_norm: "", "rms" or "layer": how the queries and keys of a head are normalised.
        attn_drop: Share of attention weights dropped in training.
        proj_drop: Share of the output's numbers dropped in training.
        over: "all", "space" (tokens of the same frame) or "time" (tokens of the same place).
    """

    def __init__(
        self,
        width: int,
        num_heads: int,
        qk_norm: str = "",
        attn_drop: float = 0.0,
        proj_drop: float = 0.0,
        over: str = "all",
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.over = over
        self.attn_drop = attn_drop
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.proj_drop = _dropout(proj_drop)
        self.q_norm = _head_norm(qk_norm, width // num_heads)
        self.k_norm = _head_norm(qk_norm, width // num_heads)

    def forward(self, x: torch.Tensor, rotation: Rotation | None = None, frames: int = 1) -> torch.Tensor:
        """(B, N, width) -> (B, N, width); queries and keys are normalised first, then turned.

        `frames` is the number of tokens along t, which run fastest.
        """
        b, n, width = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        q, k = _normed(self.q_norm, q), _normed(self.k_norm, k)
        if rotation is not None:
            q, k = rotated(q, rotation), rotated(k, rotation)
        if self.over != "all":  # (B, heads, places, frames, numbers): one of the two becomes another batch axis
            q, k, v = (part.unflatten(2, (-1, frames)) for part in (q, k, v))
        if self.over == "space":
            q, k, v = (part.transpose(2, 3) for part in (q, k, v))
        x = F.scaled_dot_product_attention(q, k, v, dropout_p=self.attn_drop if self.training else 0.0)
        if self.over == "space":
            x = x.transpose(2, 3)
        if self.over != "all":
            x = x.flatten(2, 3)
        return self.proj_drop(self.proj(x.transpose(1, 2).reshape(b, n, width)))


def _normed(norm: nn.Module, x: torch.Tensor) -> torch.Tensor:
    # Under autocast the norm works in its own, wider type; attention needs the type of the values.
    weight = getattr(norm, "weight", None)
    return x if weight is None else norm(x.to(weight.dtype)).to(x.dtype)


def _head_norm(kind: str, size: int) -> nn.Module:
    if kind == "rms":
        return nn.RMSNorm(size, eps=1e-6)
    if kind == "layer":
        return nn.LayerNorm(size)  # torch's own eps of 1e-5, as published
    return nn.Identity()


def _dropout(share: float) -> nn.Module:
    return nn.Dropout(share) if share > 0 else nn.Identity()


class Mlp(nn.Module):
    """Two linear layers with exact GELU between them, numbers dropped after each of them in training."""

    def __init__(self, width: int, hidden: int, drop: float = 0.0) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)
        self.drop = _dropout(drop)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, N, width) -> (B, N, width)."""
        return self.drop(self.fc2(self.drop(F.gelu(self.fc1(x)))))


class DiTBlock(nn.Module):
    """Attention and MLP, each shifted, scaled and gated by the condition (adaLN-Zero)."""

    def __init__(
        self,
        width: int,
        num_heads: int,
        mlp_ratio: float,
        qk_norm: str = "",
        attn_drop: float = 0.0,
        proj_drop: float = 0.0,
        mlp_drop: float = 0.0,
        over: str = "all",
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
        self.attn = Attention(width, num_heads, qk_norm, attn_drop, proj_drop, over)
        self.norm2 = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
        self.mlp = Mlp(width, int(width * mlp_ratio), mlp_drop)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 6 * width))

    def forward(
        self, x: torch.Tensor, condition: torch.Tensor, rotation: Rotation | None = None, frames: int = 1
    ) -> torch.Tensor:
        """Tokens (B, N, width) under a condition (B, width)."""
        shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = self.adaLN_modulation(condition).chunk(6, dim=1)
        x = x + gate_a[:, None] * self.attn(modulate(self.norm1(x), shift_a, scale_a), rotation, frames)
        return x + gate_m[:, None] * self.mlp(modulate(self.norm2(x), shift_m, scale_m))


class FinalLayer(nn.Module):
    """Tokens to the numbers of an output patch."""

    def __init__(self, width: int, numbers: int) -> None:
        super().__init__()
        self.norm_final = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
        self.linear = nn.Linear(width, numbers)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 2 * width))

    def forward(self, x: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        """(B, N, width) under a condition (B, width) -> (B, N, numbers)."""
        shift, scale = self.adaLN_modulation(condition).chunk(2, dim=1)
        return self.linear(modulate(self.norm_final(x), shift, scale))

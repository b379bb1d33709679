"""Vector quantisation with a codebook that follows the encoder by moving averages.

Sources: A. van den Oord et al., "Neural Discrete Representation Learning" (arXiv 1711.00937), appendix A.1 for the
moving averages; A. Razavi et al. (arXiv 1906.00446). The parameter names are those of the published checkpoints.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import distributed, nn

from CardioDiTLib.errors import CardioDiTError

# Entries of the distance table that are held at a time: 4 Mi doubles = 32 MiB.
_TABLE_ENTRIES = 1 << 22
# On the CPU a k-d tree wins once the table is larger than this, as long as the codes have few dimensions.
_TREE_ENTRIES = 1 << 20
_TREE_DIMENSIONS = 16


def nearest_code(points: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
    """Index of the code nearest to each point (Euclidean), exact and within some tens of megabytes.

    Distances are compared in double precision where the device has it, so that the CPU and a GPU, with or without
    autocast or TF32, choose the same code. Of identical codes the lowest index is chosen.

    Args:
        points: (N, C), any floating type.
        codes: (K, C), any floating type.

    Returns:
        (N,) int64 on the device of the points.

    Raises:
        CardioDiTError: if a point is NaN or infinite.
    """
    if not bool(torch.isfinite(points).all()):
        raise CardioDiTError(
            "The latents to be quantised hold values that are not finite.",
            "Lower the learning rate, or check the input for NaN.",
        )
    table_entries = points.shape[0] * codes.shape[0]
    if points.device.type == "cpu" and table_entries > _TREE_ENTRIES and codes.shape[1] <= _TREE_DIMENSIONS:
        return _nearest_by_tree(points, codes)
    return _nearest_by_table(points, codes)


class _CodeTree:
    """A k-d tree of codes on the CPU.

    Args:
        codes: (K, C), any floating type.
    """

    def __init__(self, codes: torch.Tensor) -> None:
        from scipy.spatial import cKDTree

        # Duplicates are merged first: a tree returns any of them, but the answer has to be the lowest index.
        unique, self._first = np.unique(codes.detach().double().numpy(), axis=0, return_index=True)
        self._tree = cKDTree(unique)
        self._codes = codes.detach().clone()

    def holds(self, codes: torch.Tensor) -> bool:
        """Whether it was made of these codes."""
        return torch.equal(self._codes, codes)

    def nearest(self, points: torch.Tensor) -> torch.Tensor:
        """(N, C) finite -> (N,) int64, as `nearest_code`."""
        _, found = self._tree.query(points.detach().double().numpy(), workers=torch.get_num_threads())
        return torch.from_numpy(self._first[found].astype(np.int64))


_latest_tree: _CodeTree | None = None


def _nearest_by_tree(points: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
    # the last tree is kept: all slices of a heart are quantised with the same codes
    global _latest_tree
    tree = _latest_tree
    if tree is None or not tree.holds(codes):
        tree = _latest_tree = _CodeTree(codes)
    return tree.nearest(points)


def _nearest_by_table(points: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
    dtype = torch.float32 if points.device.type == "mps" else torch.float64
    with torch.no_grad(), torch.autocast(points.device.type, enabled=False):
        codes = codes.detach().to(dtype)
        # |p - c|^2 = |p|^2 - 2 (p.c - |c|^2 / 2); the first term is the same for all codes.
        half_norms = codes.square().sum(1) * 0.5
        rows = max(1, _TABLE_ENTRIES // codes.shape[0])
        found = [
            torch.addmm(half_norms, chunk.to(dtype), codes.T, alpha=-1.0).argmin(1)
            for chunk in points.detach().split(rows)
        ]
    return torch.cat(found)


class EMAQuantizer(nn.Module):
    """Nearest-code quantiser; codes are moving averages of the encoder outputs that chose them.

    State: `embedding.weight` (K, C), `ema_cluster_size` (K,), `ema_w` (K, C). The codebook gets no gradient: it moves
    only in `forward` in training mode, by sums over all ranks, so it stays the same on every rank. All arithmetic is
    done in float32 or better, also under autocast.

    Args:
        num_embeddings: K, number of codes.
        embedding_dim: C, numbers a code.
        commitment_cost: Weight of the loss that pulls the encoder to its code.
        decay: Decay of the moving averages a step.
        epsilon: Laplace smoothing of the cluster sizes.
        embedding_init: "normal" or "kaiming_uniform".
        dead_code_threshold: Codes whose `ema_cluster_size` falls below it are replaced by encoder outputs drawn from
            the batch (of rank 0, the same on every rank). 0 switches it off.

    Raises:
        CardioDiTError: for an unknown `embedding_init`.
    """

    embedding: nn.Embedding
    ema_cluster_size: torch.Tensor
    ema_w: torch.Tensor

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        commitment_cost: float = 0.25,
        decay: float = 0.99,
        epsilon: float = 1e-5,
        embedding_init: str = "normal",
        dead_code_threshold: float = 0.0,
    ) -> None:
        super().__init__()
        self.num_embeddings = num_embeddings
        self.embedding_dim = embedding_dim
        self.commitment_cost = commitment_cost
        self.decay = decay
        self.epsilon = epsilon
        self.dead_code_threshold = dead_code_threshold

        self.embedding = nn.Embedding(num_embeddings, embedding_dim)
        if embedding_init == "kaiming_uniform":
            nn.init.kaiming_uniform_(self.embedding.weight, mode="fan_in", nonlinearity="linear")
        elif embedding_init != "normal":
            raise CardioDiTError(
                f"The codebook initialisation '{embedding_init}' is not known.", "Use 'normal' or 'kaiming_uniform'."
            )
        self.embedding.weight.requires_grad_(False)
        self.register_buffer("ema_cluster_size", torch.zeros(num_embeddings))
        self.register_buffer("ema_w", self.embedding.weight.detach().clone())

    def quantize(self, z: torch.Tensor) -> torch.Tensor:
        """Index of the nearest code at each position.

        Args:
            z: (B, C, *spatial) with any number of spatial axes.

        Returns:
            (B, *spatial) int64.

        Raises:
            CardioDiTError: if z has another number of channels or is not finite.
        """
        indices = nearest_code(self._positions(z), self.embedding.weight)
        return indices.view(z.shape[0], *z.shape[2:])

    def embed(self, indices: torch.Tensor) -> torch.Tensor:
        """Codes of the given indices: (B, *spatial) int64 -> (B, C, *spatial)."""
        return F.embedding(indices, self.embedding.weight).movedim(-1, 1).contiguous()

    def forward(self, z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Quantise; in training mode then move the codebook.

        Args:
            z: (B, C, *spatial).

        Returns:
            The codes (B, C, *spatial) with the gradient passed straight through to z, the commitment loss (scalar),
            the indices (B, *spatial) int64.

        Raises:
            CardioDiTError: if z has another number of channels or is not finite.
        """
        with torch.autocast(z.device.type, enabled=False):
            wide = z if z.dtype == torch.float64 else z.float()
            indices = self.quantize(wide)
            codes = self.embed(indices)
            if self.training:
                self._follow(self._positions(wide.detach()), indices.flatten())
            loss = self.commitment_cost * F.mse_loss(wide, codes.to(wide.dtype))
            if torch.is_grad_enabled() and z.requires_grad:
                codes = wide + (codes - wide).detach()
        return codes, loss, indices

    def _positions(self, z: torch.Tensor) -> torch.Tensor:
        if z.ndim < 2 or z.shape[1] != self.embedding_dim:
            raise CardioDiTError(
                f"The quantiser takes {self.embedding_dim} channels on axis 1, but got a tensor of shape "
                f"{tuple(z.shape)}.",
                "Check embedding_dim against the encoder.",
            )
        return z.movedim(1, -1).reshape(-1, self.embedding_dim)

    @torch.no_grad()
    def _follow(self, points: torch.Tensor, indices: torch.Tensor) -> None:
        """One step of the moving averages of cluster sizes and sums (arXiv 1711.00937, eq. 6-8)."""
        points = points.to(self.ema_w.dtype)
        counts = torch.bincount(indices, minlength=self.num_embeddings).to(self.ema_w.dtype)
        sums = torch.zeros_like(self.ema_w).index_add_(0, indices, points)
        if _several_ranks():
            distributed.all_reduce(counts)
            distributed.all_reduce(sums)

        self.ema_cluster_size.mul_(self.decay).add_(counts, alpha=1 - self.decay)
        self.ema_w.mul_(self.decay).add_(sums, alpha=1 - self.decay)
        if self.dead_code_threshold > 0:
            self._revive(points)

        total = self.ema_cluster_size.sum()
        sizes = (self.ema_cluster_size + self.epsilon) / (total + self.num_embeddings * self.epsilon) * total
        self.embedding.weight.copy_(self.ema_w / sizes[:, None])

    def _revive(self, points: torch.Tensor) -> None:
        dead = (self.ema_cluster_size < self.dead_code_threshold).nonzero().flatten()
        if not len(dead):
            return
        # The averages are equal on every rank, so each rank counts the same dead codes; only the draw is shared.
        drawn = points[torch.randint(len(points), (len(dead),), device=points.device)].contiguous()
        if _several_ranks():
            distributed.broadcast(drawn, src=0)
        # Twice the threshold: a revived code that nothing chooses is replaced after some steps only (69 at decay 0.99).
        size = 2 * self.dead_code_threshold
        self.ema_cluster_size[dead] = size
        self.ema_w[dead] = drawn * size


class VectorQuantizer(nn.Module):
    """Holder of the quantiser under the published parameter names, `quantizer.quantizer.*`.

    Args:
        quantizer: The quantiser that does the work.
    """

    def __init__(self, quantizer: EMAQuantizer) -> None:
        super().__init__()
        self.quantizer = quantizer

    def forward(self, z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """See `EMAQuantizer.forward`."""
        return self.quantizer(z)

    def quantize(self, z: torch.Tensor) -> torch.Tensor:
        """See `EMAQuantizer.quantize`."""
        return self.quantizer.quantize(z)

    def embed(self, indices: torch.Tensor) -> torch.Tensor:
        """See `EMAQuantizer.embed`."""
        return self.quantizer.embed(indices)


def _several_ranks() -> bool:
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1

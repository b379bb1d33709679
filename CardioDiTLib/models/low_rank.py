"""Low-rank changes of a network's matrices: W + up @ down (E. Hu et al., LoRA, arXiv 2106.09685).

A second network that differs little from the first is kept as its difference, here a thirteenth of its size.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import nn
from torch.nn.utils import parametrize

from CardioDiTLib.errors import CardioDiTError

_DOWN, _UP = ".down", ".up"


class LowRankUpdate(nn.Module):
    """A matrix (O, I) with its change; nothing is changed at first.

    Args:
        matrix: The matrix as it is.
        rank: Rank of the change.
        generator: Of the first values of `down`.
    """

    def __init__(self, matrix: torch.Tensor, rank: int, generator: torch.Generator) -> None:
        super().__init__()
        rows, columns = matrix.shape
        down = torch.randn(rank, columns, generator=generator) / math.sqrt(columns)  # on the CPU, whatever the device
        self.down = nn.Parameter(down.to(matrix.device))
        self.up = nn.Parameter(torch.zeros(rows, rank, device=matrix.device))

    def forward(self, matrix: torch.Tensor) -> torch.Tensor:
        return matrix + self.up @ self.down


def changed_matrices(network: nn.Module) -> list[str]:
    """Names of the linear layers that can be changed: those in the blocks, and the last one's."""
    return [
        name
        for name, module in network.named_modules()
        if isinstance(module, nn.Linear) and name.startswith(("blocks.", "final_layer."))
    ]


def make_changeable(network: nn.Module, rank: int, seed: int = 0) -> list[nn.Parameter]:
    """Freezes a network and gives its matrices changes that can be trained.

    Args:
        network: Changed in place.
        rank: Rank of the changes.
        seed: Of their first values.

    Returns:
        The parameters to train.
    """
    generator = torch.Generator().manual_seed(seed)
    network.requires_grad_(False)
    trained: list[nn.Parameter] = []
    for name in changed_matrices(network):
        layer = network.get_submodule(name)
        update = LowRankUpdate(layer.weight, rank, generator)  # type: ignore[arg-type]
        parametrize.register_parametrization(layer, "weight", update)
        trained += [update.down, update.up]
    return trained


def changes_of(network: nn.Module) -> dict[str, torch.Tensor]:
    """The changes by name, such as ``blocks.0.mlp.fc1.up`` (R, O) and ``.down`` (R, I): long rows, which round well."""
    state: dict[str, torch.Tensor] = {}
    for name, module in network.named_modules():
        if parametrize.is_parametrized(module, "weight"):
            update = module.parametrizations["weight"][0]  # type: ignore[index]
            state |= {name + _DOWN: update.down.detach(), name + _UP: update.up.detach().T.contiguous()}
    return state


@torch.no_grad()
def apply_changes(network: nn.Module, state: Mapping[str, torch.Tensor], source: str) -> None:
    """Adds changes to a network's matrices.

    Args:
        network: Changed in place.
        state: As `changes_of` gives it.
        source: Name of the file, for the message.

    Raises:
        CardioDiTError: The changes are not those of such a network, or not finite; nothing is changed then.
    """
    names = sorted({name.removesuffix(_DOWN).removesuffix(_UP) for name in state})
    known = set(changed_matrices(network))
    deltas: dict[str, torch.Tensor] = {}
    for name in names:
        down, up = state.get(name + _DOWN), state.get(name + _UP)
        matrix = network.get_submodule(name).weight if name in known else None
        fits = matrix is not None and down is not None and up is not None and down.ndim == up.ndim == 2
        if not fits or len(up) != len(down) or (up.shape[1], down.shape[1]) != matrix.shape:  # type: ignore
            raise CardioDiTError(f"{source} does not fit the transformer: {name}.", "Get the bundle again.")
        deltas[name] = up.T @ down  # type: ignore[operator, union-attr]
        if not bool(torch.isfinite(deltas[name]).all()):
            raise CardioDiTError(f"{source} holds changes that are not finite: {name}.", "Get the bundle again.")
    if not deltas:
        raise CardioDiTError(f"{source} holds no changes.", "Get the bundle again.")
    for name, delta in deltas.items():
        network.get_submodule(name).weight += delta  # type: ignore[operator]

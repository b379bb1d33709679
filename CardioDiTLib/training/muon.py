"""Muon: momentum whose updates are made orthogonal (Jordan et al. 2024; scaling of Liu et al., arXiv 2502.16982).

`torch.optim.Muon` runs its Newton-Schulz iteration in bf16, which many CPUs do several times slower than float32;
here it runs in float32 on the CPU, unless it is asked not to, and in bf16 on a GPU.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)


def orthogonalised(matrix: torch.Tensor, iterations: int = 5, narrow: bool = False) -> torch.Tensor:
    """The matrix with all singular values brought near 1, by a quintic Newton-Schulz iteration; `narrow` in bf16."""
    a, b, c = _COEFFICIENTS
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x.bfloat16() if narrow or x.device.type == "cuda" else x.float()
    x = x / (x.norm() + 1e-7)
    for _ in range(iterations):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x.T if tall else x).to(matrix.dtype)


class Muon(torch.optim.Optimizer):
    """Muon for matrices; everything else belongs to another optimizer.

    Args:
        parameters: 2D parameters of hidden layers.
        lr: Learning rate; updates have a root mean square of 0.2 lr, as those of AdamW.
        momentum: Nesterov momentum.
        weight_decay: Decoupled weight decay.
        narrow: Iterate in bf16 on the CPU too.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        lr: float = 2e-3,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
        narrow: bool = False,
    ) -> None:
        super().__init__(list(parameters), {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        self.narrow = narrow

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if "momentum" not in state:
                    state["momentum"] = torch.zeros_like(parameter)
                held = state["momentum"]
                held.lerp_(parameter.grad, 1 - group["momentum"])
                update = orthogonalised(parameter.grad.lerp(held, group["momentum"]), narrow=self.narrow)
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                parameter.add_(update, alpha=-0.2 * group["lr"] * max(parameter.shape) ** 0.5)

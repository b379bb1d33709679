"""The loss that pulls views of one image together and pushes images of different patients apart."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from CardioDiTLib.errors import CardioDiTError

TEMPERATURE = 0.07
"""Of the published training."""


def nt_xent(
    first: torch.Tensor,
    second: torch.Tensor,
    temperature: float = TEMPERATURE,
    patients: torch.Tensor | None = None,
) -> torch.Tensor:
    """Normalised, temperature-scaled cross-entropy over the cosines of a batch (NT-Xent; Chen et al., ICML 2020).

    Each of the 2B embeddings is asked to know its other view among all others: -log of its share of
    exp(cosine / temperature). The mean over the 2B questions is the loss; a batch of one pair has nothing to ask, and
    costs 0.

    Args:
        first, second: (B, D) embeddings; row i of both shows image i.
        temperature: Divides the cosines.
        patients: (B,) whole numbers; images of the same patient are then never told apart (in the published training
            they were). None takes every image as another patient.

    Returns:
        A number.

    Raises:
        CardioDiTError: Shapes that do not fit, or a temperature that is not positive.

    Examples:
        >>> views = torch.eye(4)
        >>> float(nt_xent(views, views)) < 1e-5
        True
    """
    if first.ndim != 2 or first.shape != second.shape or not len(first):
        raise CardioDiTError(
            f"Views of shapes {tuple(first.shape)} and {tuple(second.shape)} are no pairs.", "Give two tables (B, D)."
        )
    if not temperature > 0:
        raise CardioDiTError(f"The temperature {temperature:g} is not possible.", "Give a positive number.")
    count = len(first)
    if patients is not None and patients.shape != (count,):
        raise CardioDiTError(f"There are {count} pairs but {len(patients)} patients.", "Give one number a pair.")
    views = F.normalize(torch.cat([first, second]), dim=1)
    logits = views @ views.T / temperature
    own = torch.arange(2 * count, device=first.device)
    partner = own.roll(count)
    hidden = torch.eye(2 * count, dtype=torch.bool, device=first.device)
    if patients is not None:
        everyone = patients.to(first.device).repeat(2)
        hidden = hidden | (everyone[:, None] == everyone[None, :])
        hidden[own, partner] = False
    return F.cross_entropy(logits.masked_fill(hidden, -torch.inf), partner)

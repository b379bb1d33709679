"""From a network's prediction to the clean sample that samplers need."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext

import torch
from torch import Tensor

from CardioDiTLib.diffusion.any_schedule import AnySchedule
from CardioDiTLib.errors import CardioDiTError

Network = Callable[..., Tensor]
"""``network(x, t)`` or, with labels, ``network(x, t, y)``: x (B, C, ...), t (B,) float32 times, y (B,) int64 labels.
With quantities to steer by also ``conditions=`` (B, K)."""


class Denoiser:
    """A network made into ``denoise(x, t) -> x0``, with guidance.

    What the network predicts (``schedule.prediction_type``) is guided first and turned into a clean sample afterwards:

    ============  ================  ==========================================================================
    guidance w    guide             prediction
    ============  ================  ==========================================================================
    1             any               ``main``: the network with the labels; nothing else is run
    other         None              ``free + w * (main - free)``, where free is the network with ``null_label``;
                                    both in one forward of twice the batch (Ho and Salimans 2022,
                                    arXiv:2207.12598)
    other         weaker network    ``guide + w * (main - guide)``, the guide with the same labels
                                    (autoguidance, Karras et al. 2024, arXiv:2406.02507)
    ============  ================  ==========================================================================

    A network with self-conditioning is also given the clean samples of the step before (guided ones, where there is
    guidance), and none at the first step of a sampling run.

    Samples stay in their own type, float32 or finer; the network is given them in the type of its weights, and computes
    in ``autocast`` where that is set.

    Args:
        network: The network, in evaluation mode. If it returns twice as many channels as it was given, the second half
            (learned variances) is left out.
        schedule: The noise schedule with which it was trained.
        labels: Class of each sample, (B,), or one for all; None for a network without classes.
        guidance: w. 0 gives the unconditional (or guide's) prediction, 1 the plain one.
        null_label: The class that stands for "no class"; needed for guidance without a guide.
        guide: A weaker network with the same inputs and outputs.
        conditions: (B, K) quantities that each sample is asked to have, NaN where any will do, or one row for all; None
            for a network that knows none, or to ask for none. Guidance without a guide leaves them out, together with
            the label, in the prediction that it leads away from.
        autocast: Type in which the network computes, such as ``torch.bfloat16``; None for the type of its weights.
        estimates: False never gives a network with self-conditioning its own estimates, as where it learned without.

    Raises:
        CardioDiTError: If guidance has nothing to guide with, or a network is in training mode.

    Examples:
        >>> denoise = Denoiser(dit.eval(), NoiseSchedule("cosine", 300), labels=[2, 4], guidance=2.0, null_label=5)
        >>> x0 = denoise(x, 299.0)
    """

    def __init__(
        self,
        network: Network,
        schedule: AnySchedule,
        *,
        labels: Tensor | Sequence[int] | int | None = None,
        guidance: float = 1.0,
        null_label: int | None = None,
        guide: Network | None = None,
        conditions: Tensor | None = None,
        autocast: torch.dtype | None = None,
        estimates: bool = True,
    ) -> None:
        asked = conditions is not None or (labels is not None and null_label is not None)
        if guidance != 1 and guide is None and not asked:
            raise CardioDiTError(
                f"Guidance {guidance:g} needs something to guide with.",
                "Give labels and the label of no class, or a guide network, or leave guidance at 1.",
            )
        for model in (network, guide):
            if getattr(model, "training", False):
                raise CardioDiTError(
                    "The network is in training mode, where labels are dropped at random.",
                    "Put it into evaluation mode first.",
                )
        self.network = network
        self.schedule = schedule
        self.labels = None if labels is None else torch.as_tensor(labels, dtype=torch.int64).reshape(-1)
        self.guidance = float(guidance)
        self.null_label = null_label
        self.guide = guide
        self.conditions = conditions
        self.autocast = autocast
        self._remembers = estimates and any(getattr(model, "self_conditioning", False) for model in (network, guide))
        self._last: tuple[float, Tensor] | None = None

    def __call__(self, x: Tensor, t: float) -> Tensor:
        """Clean samples predicted from noisy ones.

        Args:
            x: (B, C, ...) noisy samples.
            t: Their time in [0, N-1], given to the network as it is.

        Returns:
            (B, C, ...) clean samples in the dtype of ``x``.

        Raises:
            CardioDiTError: If the number of labels or the network's output does not fit ``x``.
        """
        # times fall from step to step
        if self._last is not None and (t >= self._last[0] or self._last[1].shape != x.shape):
            self._last = None  # another sampling run begins
        clean = self.schedule.x0_from_prediction(x, self._guided(x, float(t)), float(t))
        if self._remembers:
            self._last = float(t), clean
        return clean

    def _guided(self, x: Tensor, t: float) -> Tensor:
        labels, conditions = self._labels_for(x), self._conditions_for(x)
        if self.guidance == 1:
            return self._predict(self.network, x, t, labels, conditions)
        if self.guide is not None:
            main = self._predict(self.network, x, t, labels, conditions)
            weak = self._predict(self.guide, x, t, labels, conditions)
        else:
            if labels is not None:
                free = labels if self.null_label is None else torch.full_like(labels, self.null_label)
                labels = torch.cat([labels, free])
            if conditions is not None:
                conditions = torch.cat([conditions, torch.full_like(conditions, float("nan"))])
            main, weak = self._predict(self.network, torch.cat([x, x]), t, labels, conditions).chunk(2)
        return torch.lerp(weak, main, self.guidance)

    def _predict(
        self, network: Network, x: Tensor, t: float, labels: Tensor | None, conditions: Tensor | None
    ) -> Tensor:
        times = torch.full((len(x),), t, dtype=torch.float32, device=x.device)
        given = x.to(_weight_dtype(network, x.dtype))
        inputs = (given, times) if labels is None else (given, times, labels)
        more = {} if conditions is None else {"conditions": conditions}
        if self._last is not None and getattr(network, "self_conditioning", False):
            estimate = self._last[1].to(given.dtype)
            more["x_self_cond"] = torch.cat([estimate, estimate]) if len(x) == 2 * len(estimate) else estimate
        with nullcontext() if self.autocast is None else torch.autocast(x.device.type, dtype=self.autocast):
            output = network(*inputs, **more)
        if output.ndim == x.ndim and output.shape[1] == 2 * x.shape[1]:
            output = output[:, : x.shape[1]]
        if output.shape != x.shape:
            raise CardioDiTError(
                f"The network made {tuple(output.shape)} from {tuple(x.shape)}.",
                "Its output must have the shape of its input.",
            )
        return output.to(x.dtype)

    def _labels_for(self, x: Tensor) -> Tensor | None:
        if self.labels is None:
            return None
        if len(self.labels) not in (1, len(x)):
            raise CardioDiTError(
                f"There are {len(self.labels)} labels for {len(x)} samples.", "Give one label, or one a sample."
            )
        return self.labels.to(x.device).expand(len(x))

    def _conditions_for(self, x: Tensor) -> Tensor | None:
        if self.conditions is None:
            return None
        if len(self.conditions) not in (1, len(x)):
            raise CardioDiTError(
                f"There are {len(self.conditions)} rows of quantities for {len(x)} samples.",
                "Give one row, or one a sample.",
            )
        return self.conditions.to(x.device).expand(len(x), -1)


def _weight_dtype(network: Network, default: torch.dtype) -> torch.dtype:
    if isinstance(network, torch.nn.Module):
        return next((p.dtype for p in network.parameters() if p.is_floating_point()), default)
    return default

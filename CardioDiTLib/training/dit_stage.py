"""Stage 2: the diffusion transformer on the latents of whole cines."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from CardioDiTLib.diffusion.any_schedule import AnySchedule, schedule_from_config
from CardioDiTLib.diffusion.flow import FlowSchedule
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.models.baselines import BASELINES, baseline_network
from CardioDiTLib.models.dit import DiT4D
from CardioDiTLib.models.latent_scale import LatentScale
from CardioDiTLib.training.buckets import channel_scale, drawn_bucket
from CardioDiTLib.training.distributed import average_gradients
from CardioDiTLib.training.latents import LatentSet
from CardioDiTLib.training.loop import StepContext, check_choice
from CardioDiTLib.training.muon import Muon

VALIDATION_LOG_SNR = (-4.0, -2.0, 0.0, 2.0, 4.0)

_LARGEST_LOG_SNR = 23.0  # 10^10, as good as clean

_LOSSES: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "huber": lambda made, wanted: F.smooth_l1_loss(made, wanted, reduction="none"),
    "mse": lambda made, wanted: (made - wanted).square(),
    "l1": lambda made, wanted: (made - wanted).abs(),
}


@dataclass(frozen=True)
class DitStageConfig:
    """Settings of stage 2.

    Attributes:
        model: Keyword arguments of `DiT4D`; `class_dropout_prob` is the share of labels that are dropped.
        baseline: `full4d`, or what it is compared with: `factorised`, `slice2dt`, `channel3dt` (`models.baselines`).
        schedule: Arguments of `NoiseSchedule`, or of `FlowSchedule` with `name: flow_matching`.
        place_mean, modes, mode_power, patch, coordinates: See `LatentScale.fit`. With `coordinates` the transformer
            sees the principal components of each patch, so its own patches are 1 x 1 x 1 x 1.
        batch: Cines a step and rank.
        accumulate: Batches a step.
        loss: `huber` (smooth L1, as published), `mse` or `l1`.
        log_snr_mean, log_snr_sd: Normal distribution of the noise level; None for the mean draws times uniformly (as
            published), for flow matching as its `sample_method` says.
        log_snr_spread: Share of draws that are uniform over the whole range instead.
        self_conditioning_share: Share of steps in which a network with self-conditioning is given its own estimate,
            made without a gradient; in the others it is given zeros.
        offset_noise: Spread of a part of the noise that is the same in all places of a channel; not with flow matching.
        min_snr_gamma: Largest signal-to-noise ratio that a time's loss is weighed by (T. Hang et al., arXiv
            2303.09556); 0 weighs all times alike.
        heart_floor: Weight of the loss far from the heart; 1 weighs all places alike.
        optimizer: `muon` (for the matrices of the blocks, AdamW for the rest) or `adamw`.
        lr, muon_lr, weight_decay, clip, betas: Their settings.
        muon_precision: `fp32`, or `bf16` on a CPU that is fast at it (a GPU takes bf16 anyway).
        condition_dropout: Share of cines with a class (of all, where none has one) whose measured quantities are all
            left out; of the others each quantity is left out by itself with `quantity_dropout`, so that any subset can
            be asked for.
        compiled: Let torch compile the transformer (needs a C++ compiler): faster, and rounded a little otherwise.
        average_decay: Moving average of the weights, at most (1 + step) / (10 + step); the averaged ones are what is
            used.
    """

    model: dict[str, Any] = field(default_factory=dict)
    baseline: str = "full4d"
    schedule: dict[str, Any] = field(
        default_factory=lambda: {"name": "cosine", "num_train_timesteps": 300, "prediction_type": "v_prediction"}
    )
    place_mean: bool = False
    modes: bool = False
    mode_power: float = 1.0
    patch: tuple[int, ...] = (1, 1, 1, 1)
    coordinates: int = 0
    batch: int = 16
    accumulate: int = 1
    loss: str = "huber"
    log_snr_mean: float | None = None
    log_snr_sd: float = 2.2
    log_snr_spread: float = 0.1
    self_conditioning_share: float = 0.5
    offset_noise: float = 0.0
    min_snr_gamma: float = 0.0
    heart_floor: float = 1.0
    optimizer: str = "adamw"
    lr: float = 1e-3
    muon_lr: float = 2e-3
    muon_precision: str = "fp32"
    weight_decay: float = 1e-4
    clip: float = 1.0
    betas: tuple[float, float] = (0.9, 0.98)
    average_decay: float = 0.999
    condition_dropout: float = 0.25
    quantity_dropout: float = 0.4
    compiled: bool = False

    def __post_init__(self) -> None:
        check_choice("loss", self.loss, ("huber", "mse", "l1"))
        check_choice("baseline", self.baseline, BASELINES)
        check_choice("muon_precision", self.muon_precision, ("fp32", "bf16"))
        check_choice("optimizer", self.optimizer, ("muon", "adamw"))
        check_choice("prediction_type", self.schedule.get("prediction_type", "v_prediction"), ("v_prediction",))
        schedule = schedule_from_config(self.schedule)
        if self.offset_noise and isinstance(schedule, FlowSchedule):
            raise CardioDiTError(
                "Flow matching takes no offset noise: it would bend its straight lines.", "Set it to 0."
            )
        if self.log_snr_mean is not None and not schedule.continuous:
            raise CardioDiTError(
                "Noise levels drawn about a log-SNR fall between the steps of a discrete schedule.",
                "Add 'continuous: true' to the schedule, or leave log_snr_mean out.",
            )


@dataclass(frozen=True, eq=False)
class _Bucket:
    """Latents of one shape, and which of them are learned from and which kept aside."""

    data: LatentSet
    train: np.ndarray
    aside: torch.Tensor

    @classmethod
    def of(cls, data: LatentSet) -> _Bucket:
        return cls(data, torch.nonzero(~data.validation).flatten().numpy(), torch.nonzero(data.validation).flatten())


class DitStage:
    """Trains a `DiT4D` on latents.

    Args:
        config: Settings.
        data: Latents of one shape; or one set for each of several shapes, for a network that takes them. Then a batch
            holds one shape, drawn as often as it has training cines.
        scale: Scale of the latents; None to fit it to the training cines.

    Raises:
        CardioDiTError: Settings that need one shape were given latents of several, or latents that the network does not
            take.
    """

    name = "dit"

    def __init__(
        self, config: DitStageConfig, data: LatentSet | Sequence[LatentSet], scale: LatentScale | None = None
    ) -> None:
        sets = (data,) if isinstance(data, LatentSet) else tuple(data)
        self.config, self.data = config, sets[0]
        self.buckets = [_Bucket.of(one) for one in sets]
        self.model = baseline_network(config.baseline, config.model)
        if len(sets) > 1 or sets[0].about.get("shapes"):
            self._check_shapes()
        if self.model.c_embedder is not None:
            known = torch.cat([one.quantities[~one.validation] for one in sets])
            self.model.c_embedder.mean.copy_(known.nanmean(0))
            spread = (known - known.nanmean(0)).square().nanmean(0).sqrt()
            self.model.c_embedder.std.copy_(spread.clamp(min=1e-3))
        self.average = copy.deepcopy(self.model).requires_grad_(False).eval()
        self.network: Callable[..., torch.Tensor] = torch.compile(self.model) if config.compiled else self.model
        self.schedule: AnySchedule = schedule_from_config(config.schedule)
        self.scale = scale or self._fitted_scale()
        self.modules: dict[str, nn.Module] = {"dit": self.model, "average": self.average, "scale": self.scale}
        self.optimizers = self._optimizers()
        self.train_index, self.validation_index = self.buckets[0].train, self.buckets[0].aside
        # Far from the heart lies chest wall and lung, which differ more between patients and matter less.
        heart = torch.ones(1, 1, 1) if len(sets) > 1 else F.max_pool2d(self.data.heart[None], 3, 1, 1)[0]
        floor = config.heart_floor
        weight = (floor + (1 - floor) * heart.clamp(0, 1).sqrt())[None, None]
        self.slices_a_token = self.scale.patch[0] if self.scale.basis is not None else 1
        if self.scale.basis is not None:
            weight = F.avg_pool3d(weight, self.scale.patch[:3])
        self.place_weight = weight[..., None]

    def _fitted_scale(self) -> LatentScale:
        config = self.config
        parts = [(one.data.latents[one.train].float(), one.data.slice_valid[one.train]) for one in self.buckets]
        if len(parts) > 1:
            return channel_scale(parts)
        return LatentScale.fit(
            *parts[0],
            place_mean=config.place_mean,
            modes=config.modes,
            power=config.mode_power,
            patch=config.patch,
            coordinates=config.coordinates,
        )

    def _check_shapes(self) -> None:
        config = self.config
        wrong = [name for name in ("place_mean", "modes", "coordinates") if getattr(config, name)]
        wrong += ["heart_floor"] if config.heart_floor != 1 else []
        if wrong:
            raise CardioDiTError(
                f"With latents of several shapes there is no {', '.join(wrong)}: each would be of one grid.",
                "Leave it out, or leave latents.shapes out.",
            )
        for one in self.buckets:
            size = tuple(one.data.latents.shape[2:])
            if not self.model.takes(size):
                raise CardioDiTError(
                    f"There are latents of size {size}, which the transformer does not take.",
                    "Set variable_shape, and a max_input_size that holds them.",
                )
        if not any(len(one.train) for one in self.buckets):
            raise CardioDiTError("There are no latents to learn from.", "Make them of cines that are not kept aside.")

    def begin_with(self, dit: DiT4D) -> None:
        """Take over the weights of a trained transformer; what it lacks for steering keeps its first weights."""
        state = dict(dit.state_dict())
        for network in (self.model, self.average):
            own = {name: value for name, value in network.state_dict().items() if name.startswith("c_embedder.")}
            network.load_state_dict({**own, **state} if network.c_embedder is not None else state)

    def _optimizers(self) -> dict[str, torch.optim.Optimizer]:
        config = self.config
        matrices, others, plain = [], [], []
        for name, parameter in self.model.named_parameters():
            if not parameter.requires_grad:
                continue
            hidden = name.startswith("blocks.") and parameter.ndim == 2 and "adaLN" not in name
            if hidden and config.optimizer == "muon":
                matrices.append(parameter)
            elif parameter.ndim < 2 or name == "pos_embed":
                plain.append(parameter)
            else:
                others.append(parameter)
        groups: list[dict[str, Any]] = [{"params": others}, {"params": plain, "weight_decay": 0.0}]
        made: dict[str, torch.optim.Optimizer] = {
            "adamw": torch.optim.AdamW(groups, config.lr, betas=config.betas, weight_decay=config.weight_decay)
        }
        if matrices:
            made["muon"] = Muon(
                matrices, config.muon_lr, weight_decay=config.weight_decay, narrow=config.muon_precision == "bf16"
            )
        return made

    def _times(self, count: int, rng: np.random.Generator) -> torch.Tensor:
        """Noise levels of a batch, stratified so that each batch covers them evenly."""
        config = self.config
        places = (rng.permutation(count) + rng.random(count)) / count
        if config.log_snr_mean is None and isinstance(self.schedule, FlowSchedule):
            return self.schedule.drawn_times(torch.from_numpy(places))
        if config.log_snr_mean is None:
            steps = self.schedule.num_train_timesteps
            return torch.from_numpy(np.minimum((places * steps).astype(np.int64), steps - 1)).double()
        low, high = self.schedule.log_snr_ends
        low = max(low, -9.0)
        normal = torch.special.ndtri(torch.from_numpy(places)).mul(config.log_snr_sd).add(config.log_snr_mean)
        flat = torch.from_numpy(low + (high - low) * rng.random(count))
        level = torch.where(torch.from_numpy(rng.random(count) < config.log_snr_spread), flat, normal)
        return self.schedule.t_of_log_snr(level.clamp(low, high))

    def _loss(
        self,
        model: Callable[..., torch.Tensor],
        x0: torch.Tensor,
        groups: torch.Tensor,
        valid: torch.Tensor,
        t: torch.Tensor,
        noise: torch.Tensor,
        context: StepContext,
        quantities: torch.Tensor | None = None,
        *,
        own_estimate: bool = False,
    ) -> torch.Tensor:
        """Loss of each cine, (B,)."""
        device = context.device
        x0, noise = x0.to(device), noise.to(device)
        seen = self.schedule.add_noise(x0, noise, t)
        wanted = self.schedule.velocity(x0, noise, t)
        labels = None
        if self.model.num_classes > 0:
            null = self.model.null_class
            labels = groups.clone().to(device)
            if null is not None:
                labels[labels < 0] = null
        times = t.float().to(device)
        asked = None if self.model.c_embedder is None or quantities is None else quantities.to(device)
        estimate = {}
        if own_estimate:
            with torch.no_grad(), context.autocast():
                first = model(seen, times, labels, conditions=asked)[:, : wanted.shape[1]].float()
            estimate = {"x_self_cond": self.schedule.x0_from_velocity(seen, first, t)}
        with context.autocast():
            made = model(seen, times, labels, conditions=asked, **estimate)
        made = made[:, : wanted.shape[1]].float()
        each = _LOSSES[self.config.loss](made, wanted)
        # A token counts where the stack has all of its slices.
        whole = valid.unflatten(1, (-1, self.slices_a_token)).all(2).to(device)
        weight = self.place_weight.to(device) * whole[:, None, :, None, None, None]
        loss = (each * weight).sum((1, 2, 3, 4, 5)) / weight.expand_as(each).sum((1, 2, 3, 4, 5)).clamp(min=1)
        return loss if self.config.min_snr_gamma == 0 else loss * self._snr_weight(t).to(loss)

    def _snr_weight(self, t: torch.Tensor) -> torch.Tensor:
        """min(SNR, gamma) over SNR + 1 for a velocity, over SNR for the flow, as published; (B,)."""
        flow = isinstance(self.schedule, FlowSchedule)
        snr = self.schedule.log_snr(t).clamp(max=_LARGEST_LOG_SNR).exp()
        return snr.clamp(max=self.config.min_snr_gamma) / (snr.clamp(min=1e-8) if flow else snr + 1)

    def _drawn(
        self, index: np.ndarray | torch.Tensor, context: StepContext, data: LatentSet | None = None
    ) -> tuple[torch.Tensor, ...]:
        data, index = data or self.data, torch.as_tensor(index)
        x0 = self.scale.normalise(data.latents[index].float().to(context.device))
        noise = torch.randn(x0.shape, generator=context.generator)
        return x0, data.groups[index], data.slice_valid[index], noise

    def _asked(self, index: np.ndarray, context: StepContext, data: LatentSet | None = None) -> torch.Tensor:
        """Quantities of a batch, some of them left out."""
        data = data or self.data
        values = data.quantities[torch.as_tensor(index)].clone()
        config = self.config
        nothing = torch.from_numpy(context.rng.random(len(values)) < config.condition_dropout)
        # Hearts without a class may have been made of any size and beat on purpose: where others have one, what comes
        # out when nothing is asked for is to be learned from those.
        if any(bool((bucket.data.groups[bucket.train] >= 0).any()) for bucket in self.buckets):
            nothing &= data.groups[torch.as_tensor(index)] >= 0
        some = torch.from_numpy(context.rng.random(values.shape) < config.quantity_dropout)
        return values.masked_fill(nothing[:, None] | some, float("nan"))

    def step(self, context: StepContext) -> dict[str, torch.Tensor | float]:
        config = self.config
        self.model.train()
        for optimizer in self.optimizers.values():
            optimizer.zero_grad(set_to_none=True)
        total = torch.zeros((), device=context.device)
        for _ in range(config.accumulate):
            bucket = self.buckets[drawn_bucket([len(one.train) for one in self.buckets], context.rng)]
            index = context.rng.choice(bucket.train, config.batch, replace=config.batch > len(bucket.train))
            x0, groups, valid, noise = self._drawn(index, context, bucket.data)
            t = self._times(config.batch, context.rng)
            quantities = None if self.model.c_embedder is None else self._asked(index, context, bucket.data)
            if config.offset_noise:
                apart = (len(noise), noise.shape[1], *[1] * (noise.ndim - 2))
                noise = noise + config.offset_noise * torch.randn(apart, generator=context.generator)
            own = self.model.self_conditioning and context.rng.random() < config.self_conditioning_share
            each = self._loss(self.network, x0, groups, valid, t, noise, context, quantities, own_estimate=own)
            loss = each.mean() / config.accumulate
            loss.backward()
            total += loss.detach()
        held = [p for p in self.model.parameters() if p.requires_grad]
        average_gradients(held)
        norm = nn.utils.clip_grad_norm_(held, config.clip)
        for optimizer in self.optimizers.values():
            optimizer.step()
        self._follow(context.step)
        return {"loss": total, "gradient_norm": float(norm)}

    @torch.no_grad()
    def _follow(self, step: int) -> None:
        decay = min(self.config.average_decay, (1 + step) / (10 + step))
        own = dict(self.model.named_parameters())
        for name, value in self.average.named_parameters():
            value.lerp_(own[name], 1 - decay)

    @torch.no_grad()
    def validate(self, context: StepContext) -> dict[str, float]:
        """Loss of the averaged weights at five noise levels: on cines kept aside, and on as many training cines (what
        is learned by heart shows as a gap).
        """
        names = [*(f"snr{level:+.0f}" for level in VALIDATION_LOG_SNR), "loss"]
        totals: dict[str, list[tuple[int, list[float]]]] = {}
        for bucket in self.buckets:
            # As many training cines as are kept aside, spread over all groups, not augmented.
            _, first = np.unique(bucket.data.cine[bucket.train].numpy(), return_index=True)
            wanted = max(len(bucket.aside), 1) if len(first) else 0
            chosen = first[np.linspace(0, len(first) - 1, wanted).astype(int)]
            sets = {"": bucket.aside, "seen_": torch.as_tensor(bucket.train[chosen])}
            for prefix, index in sets.items():
                if len(index) == 0:
                    continue
                x0, groups, valid, noise = self._drawn(index, context, bucket.data)
                losses = []
                for level in VALIDATION_LOG_SNR:
                    t = self.schedule.t_of_log_snr(level).reshape(1).expand(len(index)).clone()
                    losses.append(float(self._loss(self.average, x0, groups, valid, t, noise, context).mean()))
                totals.setdefault(prefix, []).append((len(index), [*losses, float(np.mean(losses))]))
        scores: dict[str, float] = {}
        for prefix, rows in totals.items():
            counts, values = zip(*rows)
            means = np.average(np.array(values), axis=0, weights=counts)
            scores |= {f"{prefix}{name}": float(value) for name, value in zip(names, means)}
        return scores

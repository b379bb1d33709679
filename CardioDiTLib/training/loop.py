"""The one training loop: steps, schedule, log, validation, checkpoints, resume. What is trained is a `Stage`.

Every step draws from generators seeded with (seed, step, rank), so a run that was killed and resumed draws what it
would have drawn, and the position in the data is the step number.
"""

from __future__ import annotations

import json
import math
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.locks import FileLock
from CardioDiTLib.training import checkpoint, distributed
from CardioDiTLib.training.telling import told_time

LOCK = ".training"
"""Held in a stage's folder by the process that trains there."""


def check_choice(name: str, value: str, known: tuple[str, ...]) -> None:
    """Refuses a setting that would silently mean something else."""
    if value not in known:
        raise CardioDiTError(f"The setting {name} is '{value}'.", f"Choose one of {', '.join(known)}.")


@dataclass(frozen=True)
class LoopConfig:
    """What every stage shares.

    Attributes:
        steps: Optimizer steps of the whole run.
        seed: Seed of everything that is drawn.
        warmup_steps: Linear warm-up.
        schedule: `cosine` (to `final_lr_share`), or `linear_end` (constant, then linear decay over the last
            `decay_share` of the run).
        final_lr_share: Last learning rate as a share of the first.
        decay_share: See `schedule`.
        validate_every: Steps between validations.
        save_every_s: Seconds between checkpoints.
        log_every: Steps between lines of the log.
        device: `auto`, `cpu`, `cuda`, ...
        precision: `auto` (bf16 where a GPU has it, else float32), `bf16` or `fp32`.
        threads: CPU threads; 0 leaves torch's own choice.
        compact: Small checkpoints (see `checkpoint.save_checkpoint`).
    """

    steps: int = 1000
    seed: int = 0
    warmup_steps: int = 50
    schedule: str = "cosine"
    final_lr_share: float = 0.02
    decay_share: float = 0.5
    validate_every: int = 200
    save_every_s: float = 120.0
    log_every: int = 20
    device: str = "auto"
    precision: str = "auto"
    threads: int = 0
    compact: bool = False

    def __post_init__(self) -> None:
        check_choice("schedule", self.schedule, ("cosine", "linear_end"))
        check_choice("precision", self.precision, ("auto", "bf16", "fp32"))
        for name in ("validate_every", "log_every"):
            if getattr(self, name) < 1:
                raise CardioDiTError(
                    f"{name} is {getattr(self, name)}; it counts steps.",
                    "Give 1 or more; with more than 'steps' it is done once, at the end.",
                )

    def lr_share(self, step: int) -> float:
        """Learning rate at a step as a share of the configured one."""
        if step < self.warmup_steps:
            return (step + 1) / self.warmup_steps
        if self.schedule == "linear_end":
            start = self.steps * (1 - self.decay_share)
            done = min(max((step - start) / max(self.steps - start, 1), 0.0), 1.0)
            return 1 - (1 - self.final_lr_share) * done
        done = min((step - self.warmup_steps) / max(self.steps - self.warmup_steps, 1), 1.0)
        return self.final_lr_share + (1 - self.final_lr_share) * 0.5 * (1 + math.cos(math.pi * done))


@dataclass
class StepContext:
    """What one step may use.

    Attributes:
        step: Index of the step, from 0.
        progress: step / steps.
        lr_share: See `LoopConfig.lr_share`.
        rng: NumPy generator of this step and rank.
        generator: torch CPU generator of this step and rank.
        device: Where to compute.
        precision: `bf16` or `fp32`.
    """

    step: int
    progress: float
    lr_share: float
    rng: np.random.Generator
    generator: torch.Generator
    device: torch.device
    precision: str

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16")


class Stage(Protocol):
    """One thing to train."""

    name: str
    modules: dict[str, nn.Module]
    optimizers: dict[str, torch.optim.Optimizer]

    def step(self, context: StepContext) -> dict[str, torch.Tensor | float]:
        """Forward, backward, optimizer step; returns numbers for the log."""

    def validate(self, context: StepContext) -> dict[str, float]:
        """Numbers of a validation with fixed draws."""


def resolve_precision(wanted: str, device: torch.device) -> str:
    """bf16 by itself only on a GPU that has it: on CPUs it has to be asked for, since many are slower with it."""
    if wanted != "auto":
        return wanted
    return "bf16" if device.type == "cuda" and torch.cuda.is_bf16_supported() else "fp32"


def _seeded(config: LoopConfig, step: int, rank: int) -> tuple[np.random.Generator, torch.Generator]:
    rng = np.random.default_rng([config.seed, step, rank])
    number = int(rng.integers(2**62))
    torch.manual_seed(number)
    return rng, torch.Generator().manual_seed(number + 1)


class Trainer:
    """Runs a stage in a folder until its steps or its minutes are used up.

    Args:
        stage: What to train.
        config: The loop's settings.
        folder: Gets `log.jsonl`, `curves.png` and the checkpoints; a folder with a checkpoint in it is continued.
    """

    def __init__(self, stage: Stage, config: LoopConfig, folder: str | Path) -> None:
        self.stage, self.config, self.folder = stage, config, Path(folder)
        if config.threads:
            torch.set_num_threads(config.threads)
        self.rank, self.ranks = distributed.start()
        self.device = distributed.pick_device(config.device)
        self.precision = resolve_precision(config.precision, self.device)
        for module in stage.modules.values():
            module.to(self.device)
        self.done = 0
        self.seconds = 0.0
        self._resume()
        distributed.same_start(stage.modules.values())
        if not distributed.same_everywhere(self.done, self.device):
            raise CardioDiTError(
                "The ranks of this run would begin at different steps.", "Give a folder that all machines see."
            )
        self._stop = False
        self._pace = 0.0

    def _resume(self) -> None:
        for path in reversed(checkpoint.checkpoints(self.folder)):
            try:
                state = checkpoint.load_checkpoint(path)
            except CardioDiTError as error:
                print(error, flush=True)
                if self.rank == 0:
                    # Out of the way, or its name would count as progress.
                    path.rename(path.with_name(f"damaged-{path.name}"))
                continue
            try:
                self._take(state)
            except (KeyError, RuntimeError, ValueError) as error:
                raise CardioDiTError(
                    f"'{path.name}' in '{self.folder.name}' is of other networks than the settings describe.",
                    "Use the settings that the run began with, or another folder.",
                ) from error
            self.done, self.seconds = int(state["step"]), float(state["seconds"])
            print(f"continuing at step {self.done} of {self.config.steps}", flush=True)
            return

    def _take(self, state: dict[str, Any]) -> None:
        """Weights and moments of a checkpoint; learning rates and the like are those of the settings."""
        for name, module in self.stage.modules.items():
            module.load_state_dict(state["modules"][name])
        for name, optimizer in self.stage.optimizers.items():
            own = [{key: value for key, value in group.items() if key != "params"} for group in optimizer.param_groups]
            optimizer.load_state_dict(state["optimizers"][name])
            for group, settings in zip(optimizer.param_groups, own):
                group.pop("base_lr", None)
                group.update(settings)

    def _save(self) -> None:
        if self.rank != 0:
            return
        # Averaged weights are modules too; their name tells the compact form that they may be rounded.
        state: dict[str, Any] = {
            "step": self.done,
            "seconds": self.seconds,
            "modules": {name: dict(module.state_dict()) for name, module in self.stage.modules.items()},
            "optimizers": {name: optimizer.state_dict() for name, optimizer in self.stage.optimizers.items()},
        }
        checkpoint.save_checkpoint(self.folder, self.done, state, compact=self.config.compact)

    def _context(self, step: int, rank: int) -> StepContext:
        rng, generator = _seeded(self.config, step, rank)
        return StepContext(
            step=step,
            progress=step / max(self.config.steps, 1),
            lr_share=self.config.lr_share(step),
            rng=rng,
            generator=generator,
            device=self.device,
            precision=self.precision,
        )

    def _log(self, entry: dict[str, Any]) -> None:
        if self.rank != 0:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.folder / "log.jsonl", "a", encoding="utf-8") as stream:
            stream.write(json.dumps(entry) + "\n")
        shown = [f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in entry.items()]
        shown[0] += f" of {self.config.steps}"
        if "lr" in entry and self.done < self.config.steps:
            shown.insert(2, f"left {told_time(self._pace * (self.config.steps - self.done))}")
        # above the bar where there is one
        tqdm.write("  ".join(shown), file=sys.stdout)
        sys.stdout.flush()

    def run(self, deadline: float | None = None) -> dict[str, float]:
        """Trains; SIGTERM, SIGINT and SIGHUP end it after the step at hand, with a checkpoint.

        Args:
            deadline: `time.monotonic()` after which no step is begun; the next call goes on.

        Returns:
            The last validation's numbers.

        Raises:
            CardioDiTError: Another process is training in the folder.
        """
        asked = [signal.SIGTERM, signal.SIGINT, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]
        # what was started to outlive its terminal (nohup) does
        asked = [which for which in asked if signal.getsignal(which) is not signal.SIG_IGN]
        lock = FileLock(self.folder / LOCK)
        if self.rank == 0 and not lock.try_acquire():
            raise CardioDiTError(
                f"Another process is training in '{self.folder}'.", "Wait until it ends, or take another folder."
            )
        before: dict[signal.Signals, Any] = {}
        try:
            before |= {which: signal.signal(which, self._ask_to_stop) for which in asked}
            return self._run(deadline)
        finally:
            for which, handler in before.items():
                signal.signal(which, handler)
            lock.release()

    def _ask_to_stop(self, *_: object) -> None:
        self._stop = True

    def _run(self, deadline: float | None) -> dict[str, float]:
        began = last_save = time.monotonic()
        earlier = self.seconds
        summed: dict[str, list[float]] = {}
        scores: dict[str, float] = {}
        first = self.done
        bar = tqdm(
            desc=self.stage.name,
            total=self.config.steps,
            initial=first,
            unit="step",
            file=sys.stderr,
            disable=None if self.rank == 0 else True,
            leave=False,
        )
        while self.done < self.config.steps:
            # At least one step a call, so that even the shortest pieces come to an end.
            late = deadline is not None and self.done > first and time.monotonic() > deadline
            if distributed.any_rank(self._stop or late, self.device):
                break
            context = self._context(self.done, self.rank)
            for optimizer in self.stage.optimizers.values():
                for group in optimizer.param_groups:
                    group.setdefault("base_lr", group["lr"])
                    group["lr"] = group["base_lr"] * context.lr_share
            numbers = self.stage.step(context)
            self.done += 1
            self.seconds = earlier + time.monotonic() - began
            self._pace = (time.monotonic() - began) / (self.done - first)
            bar.update()
            for name, value in numbers.items():
                summed.setdefault(name, []).append(float(value))
            if self.done % self.config.log_every == 0 or self.done == self.config.steps:
                # some numbers are of some steps only: of redrawn latents, or of a critic that began in between
                means = {name: sum(values) / len(values) for name, values in summed.items()}
                self._log({"step": self.done, "seconds": round(self.seconds, 1), "lr": context.lr_share, **means})
                summed = {}
            if self.done % self.config.validate_every == 0 or self.done == self.config.steps:
                scores = self._validate()
            if time.monotonic() - last_save > self.config.save_every_s:
                self._save()
                last_save = time.monotonic()
        bar.close()
        if self.done > first:
            self._save()
        distributed.wait_for_all()
        if self.rank == 0:
            draw_curves(self.folder)
        return scores

    def _validate(self) -> dict[str, float]:
        scores: dict[str, float] = {}
        if self.rank == 0:
            # The same draws every time: a validation that moves by its own noise chooses models by luck.
            context = self._context(2**31, 0)
            with torch.no_grad():
                scores = self.stage.validate(context)
            self._log(
                {"step": self.done, "seconds": round(self.seconds, 1), **{f"val_{k}": v for k, v in scores.items()}}
            )
        distributed.wait_for_all()
        return scores


def draw_curves(folder: Path) -> Path | None:
    """Draws `log.jsonl` to `curves.png`, one panel a quantity; does nothing where matplotlib is not installed."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        return None
    log = folder / "log.jsonl"
    if not log.is_file():
        return None
    series: dict[str, list[tuple[int, float]]] = {}
    for line in log.read_text(encoding="utf-8").splitlines():
        try:
            entry = json.loads(line)
        except ValueError:  # a kill may have cut a line
            continue
        for name, value in entry.items():
            if name not in ("step", "seconds") and isinstance(value, (int, float)):
                series.setdefault(name, []).append((entry["step"], value))
    panels: dict[str, list[str]] = {}
    for name in series:
        panels.setdefault(name.removeprefix("val_"), []).append(name)
    columns = min(len(panels), 3)
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(5 * columns, 3 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    for index, (title, names) in enumerate(panels.items()):
        axes = figure.add_subplot(rows, columns, index + 1)
        for name in names:
            steps, values = zip(*series[name], strict=True)
            axes.plot(steps, values, label="validation" if name.startswith("val_") else "training")
        axes.set_title(title)
        axes.set_xlabel("step")
        if len(names) > 1:
            axes.legend()
    path = folder / "curves.png"
    figure.savefig(path, dpi=80)
    return path

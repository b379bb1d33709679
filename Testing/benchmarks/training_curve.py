"""What so many minutes of training give: quality against time, for the settings of a transformer.

Run: ``python Testing/benchmarks/training_curve.py --data runs/acdc.npz --work runs/curve --minutes 5,10,20,40,80 --out
curve.md`` (again, to go on where it was ended; with everything made, it writes the table anew).

A transformer is trained from nothing on latents of the codec of ``--bundle`` by the settings of ``--config``. At each
mark its averaged weights draw ``--samples`` cines with the classes of the training cines in turn, without guidance,
which are decoded, labelled by the embedded segmentation network (real cines too, so that both are judged alike), and
compared with the real ones by `evaluate_synthesis`. The rate of learning stays constant after the warm-up, so each mark
is a little worse than a run that was meant to end there. Last comes the bundle's own transformer, drawn alike.
``--checkpoints FOLDER`` measures checkpoints that were kept of another run (``step-...``) in place of training.

In ``--work``: ``latents/`` (made once), ``real/`` (labels of the real cines), ``dit/`` with the trainer's own files,
and ``report-<minutes>.json``.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from comparison import number_of, real_cohort, sampled

from CardioDiTLib.bundles.bundle import Bundle, load_bundle
from CardioDiTLib.data.packing import read_pairs
from CardioDiTLib.evaluation import evaluate_synthesis
from CardioDiTLib.evaluation.cohort import Cohort
from CardioDiTLib.evaluation.measures import measure_cohort
from CardioDiTLib.evaluation.synthesis_report import SetNumber, SynthesisReport
from CardioDiTLib.files import atomic_path
from CardioDiTLib.training.checkpoint import load_checkpoint
from CardioDiTLib.training.config import TrainingConfig, read_config
from CardioDiTLib.training.dit_stage import DitStage
from CardioDiTLib.training.latents import LatentSet, encode_pack, read_latents
from CardioDiTLib.training.loop import Trainer
from CardioDiTLib.training.telling import opened_pack

_NEVER = 10**9
_OWN = "own"
_LATE_S = 60.0
"""A run that ends at a mark is past it by its last step and validation."""

COLUMNS: tuple[tuple[str, ...], ...] = (
    ("cine-hog-1", "kernel_distance", "kernel distance"),
    ("cine-hog-1", "precision", "precision"),
    ("cine-hog-1", "coverage", "coverage"),
    ("edv_ml", "EDV, mL"),
    ("ef_percent", "EF, points"),
    ("lv_mass_g", "LV mass, g"),
    ("wall_thickening_percent", "thickening, points"),
    ("through_plane_correlation", "slices: correlation"),
    ("temporal_roughness", "time: roughness"),
)
"""As `comparison` names them: a quantity or a set's number, and the title."""


def endless(config: TrainingConfig, device: str) -> TrainingConfig:
    """The settings with a constant rate: nobody knows how many steps fit into the minutes."""
    never = {"steps": _NEVER, "schedule": "linear_end", "decay_share": 0.0, "device": device}
    dit = dataclasses.replace(config.dit, loop=dataclasses.replace(config.dit.loop, **never))
    return dataclasses.replace(config, dit=dit)


def latents_of(config: TrainingConfig, bundle: Bundle, arguments: argparse.Namespace) -> LatentSet:
    """Latents of the pack as the settings ask for them; what an earlier call made counts."""
    pack = opened_pack(arguments.data, bundle.manifest.grid.frames, None)
    ranges = config.latents.augmentation
    if arguments.copies:
        ranges = dataclasses.replace(ranges, copies=arguments.copies)
    encode_pack(
        bundle.vqgan,
        pack,
        arguments.work / "latents",
        size=bundle.manifest.grid.height,
        ranges=ranges,
        quantised=config.latents.quantised,
        seed=config.latents.seed,
        progress=lambda done, of: print(f"latents {done} of {of}", flush=True),
        pairs=read_pairs(arguments.data) if ranges.morphs else None,
    )
    return read_latents(arguments.work / "latents")


def trainer_of(config: TrainingConfig, latents: LatentSet, folder: Path, own: Bundle | None = None) -> Trainer:
    """The run, as far as it is; with ``own`` the bundle's transformer in its place."""
    loop = config.dit.loop
    torch.manual_seed(loop.seed)
    stage = DitStage(config.dit.stage, latents, None if own is None else own.latent_scale)
    if own is not None:
        stage.average.load_state_dict(own.dit.state_dict())
    return Trainer(stage, loop, folder)


def kept(config: TrainingConfig, latents: LatentSet, checkpoint: Path, folder: Path) -> Trainer:
    """A run as it was when a checkpoint was written."""
    trainer = trainer_of(config, latents, folder)
    state = load_checkpoint(checkpoint)
    for name, module in trainer.stage.modules.items():
        module.load_state_dict(state["modules"][name])
    trainer.done, trainer.seconds = int(state["step"]), float(state["seconds"])
    return trainer


def losses(folder: Path, step: int) -> tuple[float | None, float | None]:
    """The last validation up to a step: patients kept aside, training cines."""
    found: tuple[float | None, float | None] = (None, None)
    log = folder / "log.jsonl"
    for line in log.read_text(encoding="utf-8").splitlines() if log.is_file() else ():
        record = json.loads(line)
        if record.get("step", 0) <= step and ("val_loss" in record or "val_seen_loss" in record):
            found = record.get("val_loss"), record.get("val_seen_loss")
    return found


def record_of(cohort: Cohort, real: Any, seed: int, told: dict[str, Any]) -> dict[str, Any]:
    """What is kept of a mark."""
    measured = measure_cohort(cohort, stack_covers_heart=True)
    report = evaluate_synthesis(real, measured, seed=seed)
    return {**told, "report": report.to_dict()}


def table(records: Sequence[dict[str, Any]]) -> list[str]:
    """The table of all marks, and of what real cines are among themselves."""
    heads = ["minutes", "steps", "loss, aside", "loss, training", "median EDV, EF", *(column[-1] for column in COLUMNS)]
    lines = ["| " + " | ".join(heads) + " |", "| --- |" + " ---: |" * (len(heads) - 1)]
    floors: list[list[SetNumber]] = [[] for _ in COLUMNS]
    for record in records:
        report = SynthesisReport.from_dict(record["report"])
        cells = []
        for column, floor in zip(COLUMNS, floors):
            number = number_of(report, column)
            cells.append("-" if number is None else f"{number.matched:.3g}")
            floor += [] if number is None else [number]
        name = "the bundle's own" if record["minutes"] == _OWN else f"{record['minutes']:.3g}"
        told = [name, str(record["steps"]), *(_short(loss) for loss in record["losses"]), _middle(report)]
        lines.append("| " + " | ".join([*told, *cells]) + " |")
    limits = [f"{np.mean([one.floor_median for one in floor]):.3g}" if floor else "-" for floor in floors]
    lines.append("| real against real | | | | | " + " | ".join(limits) + " |")
    return lines


def _middle(report: SynthesisReport) -> str:
    found = {one.field: one for one in report.quantities if not one.group}
    return ", ".join(f"{found[name].synthetic.median:.0f}" for name in ("edv_ml", "ef_percent") if name in found)


def _short(loss: float | None) -> str:
    return "-" if loss is None else f"{loss:.4f}"


def parsed(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="training pack (.npz)")
    parser.add_argument("--work", type=Path, required=True, help="folder of what is trained and measured")
    parser.add_argument("--config", type=Path, default=Path("Resources/Training/acdc-mini-steered.yaml"))
    parser.add_argument("--bundle", default="acdc-mini", help="whose codec is used, and whose transformer comes last")
    parser.add_argument("--minutes", default="5,10,20,40,80", help="marks, in minutes of training")
    parser.add_argument("--checkpoints", type=Path, help="folder with checkpoints of another run (and its log.jsonl)")
    parser.add_argument("--copies", type=int, default=0, help="augmented copies of each cine (as the settings say)")
    parser.add_argument("--samples", type=int, default=40)
    parser.add_argument("--sample-batch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=30, help="of DPM-Solver++(2M)")
    parser.add_argument("--seed", type=int, default=0, help="of the samples")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--no-labels", action="store_true", help="without the segmentation network")
    parser.add_argument("--out", type=Path, help="table to write (Markdown)")
    return parser.parse_args(words)


def made(
    mark: Any, config: TrainingConfig, bundle: Bundle, latents: LatentSet, arguments: argparse.Namespace
) -> tuple[Trainer, Path]:
    """The run at a mark, and the folder of its log."""
    if mark == _OWN:
        return trainer_of(config, latents, arguments.work / "own", bundle), arguments.work / "own"
    if isinstance(mark, Path):
        return kept(config, latents, mark, arguments.work / "kept"), mark.parent
    trainer = trainer_of(config, latents, arguments.work / "dit")
    if trainer.seconds > 60 * mark + _LATE_S:
        raise SystemExit(f"The run in {arguments.work} is past {mark:g} minutes already: give another --work.")
    if trainer.seconds < 60 * mark:
        trainer.run(time.monotonic() + 60 * mark - trainer.seconds)
    return trainer, trainer.folder


def main(words: Sequence[str] | None = None) -> None:
    """Train to each mark, sample, measure; write the table."""
    arguments = parsed(words)
    config, bundle = endless(read_config(arguments.config), arguments.device), load_bundle(arguments.bundle)
    latents = latents_of(config, bundle, arguments)
    if arguments.checkpoints:
        marks: list[Any] = sorted(arguments.checkpoints.glob("step-*"))
    else:
        marks = sorted(float(mark) for mark in arguments.minutes.split(","))
    real: Any = None
    records = []
    for mark in [*marks, _OWN]:
        name = mark if mark == _OWN else mark.name if arguments.checkpoints else format(mark, "g")
        found = arguments.work / f"report-{name}.json"
        if not found.is_file():
            trainer, folder = made(mark, config, bundle, latents, arguments)
            cohort = sampled(trainer, bundle, latents, arguments.seed, arguments)
            real = real_cohort(arguments) if real is None else real
            told = {
                "minutes": mark if mark == _OWN else trainer.seconds / 60 if arguments.checkpoints else mark,
                "steps": bundle.manifest.provenance.get("dit_steps", "-") if mark == _OWN else trainer.done,
                "losses": (None, None) if mark == _OWN else losses(folder, trainer.done),
                "precision": trainer.precision,
            }
            with atomic_path(found) as partial:
                text = json.dumps(record_of(cohort, real, arguments.seed, told), indent=1)
                partial.write_text(text, encoding="utf-8")
        records.append(json.loads(found.read_text(encoding="utf-8")))
    text = "\n".join(table(records)) + "\n"
    print(text)
    if arguments.out is not None:
        with atomic_path(arguments.out) as partial:
            partial.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()

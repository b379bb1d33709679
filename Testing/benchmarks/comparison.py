"""Is one transformer over a whole heart better than slices one by one, slices as channels, or attention in turns?

Run: ``python Testing/benchmarks/comparison.py --data runs/acdc.npz --work runs/comparison --seconds 3600 --out
docs/comparison.md`` (again, to go on where it was ended; with everything made, it writes the table anew).

All four baselines (`models.baselines`) have the same codec (that of ``--bundle``), the same latents, the same blocks,
the same settings of the trainer, the same sampler and the same number of seconds of training, over several seeds. Of
each, ``--samples`` cines are drawn with the classes of the training cines in turn, decoded, labelled by the embedded
segmentation network (real cines too, so that both are judged alike), and compared with the real ones by
`evaluate_synthesis`. Every number stands beside what it is between random halves of the real cines.

In ``--work``: ``latents/`` (made once), ``real/`` (labels of the real cines), ``<baseline>-<seed>/`` with the trainer's
own files and ``report.json``.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import textwrap
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import stats

from CardioDiTLib.bundles.bundle import Bundle, load_bundle
from CardioDiTLib.cine import Cine, Segmentation
from CardioDiTLib.data.orientation import short_axis_affine
from CardioDiTLib.diffusion import DEFAULT_SPACING, SAMPLERS, Denoiser, draw_noise, noise_levels, sample_generators
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.evaluation import cohort_from_pack, evaluate_synthesis
from CardioDiTLib.evaluation.cohort import Cohort
from CardioDiTLib.evaluation.measures import MeasuredCohort, measure_cohort
from CardioDiTLib.evaluation.synthesis_report import SetNumber, SynthesisReport
from CardioDiTLib.files import atomic_path
from CardioDiTLib.generation.decode import SliceDecoder
from CardioDiTLib.io import load_segmentation, save_segmentation
from CardioDiTLib.models.baselines import BASELINES
from CardioDiTLib.training.dit_stage import DitStage, DitStageConfig
from CardioDiTLib.training.latent_augmentation import LatentAugmentation
from CardioDiTLib.training.latents import LatentSet, encode_pack, read_latents
from CardioDiTLib.training.loop import LoopConfig, Trainer
from CardioDiTLib.training.telling import opened_pack

TITLES = {
    "full4d": "4D (all tokens)",
    "factorised": "space and time in turn",
    "slice2dt": "2D+t, slice by slice",
    "channel3dt": "3D+t, slices as channels",
}
QUANTITIES = (
    ("through_plane_correlation", "slices: correlation"),
    ("through_plane_step", "slices: step"),
    ("temporal_roughness", "time: roughness"),
    ("cycle_closure", "time: closure"),
    ("motion_amount", "motion"),
    ("ef_percent", "EF %"),
    ("edv_ml", "EDV mL"),
    ("lv_mass_g", "LV mass g"),
)
"""What the paper names: slices that agree, motion that hangs together, function spread as in patients."""

SETS = (
    ("physiology", "frechet_distance", "Frechet, function"),
    ("cine-hog-1", "kernel_distance", "kernel distance"),
    ("cine-hog-1", "coverage", "coverage"),
)
READING = "## Reading\n"
"""Where the part of the page begins that is written by hand."""

_NEVER = 10**9


def network_settings(latents: LatentSet, arguments: argparse.Namespace) -> dict[str, Any]:
    """Arguments of the transformer, alike for all; it sees principal components of each patch as one token."""
    channels, *size = arguments.coordinates, *seen_size(latents, arguments.patch)
    groups = len(latents.about["group_names"])
    return {
        "input_size": list(size),
        "patch_size": [1, 1, 1, 1],
        "in_channels": channels,
        "hidden_size": arguments.width,
        "depth": arguments.depth,
        "num_heads": arguments.heads,
        "num_classes": groups,
        "class_dropout_prob": 0.15 if groups else 0.0,
        "qk_norm": "rms",
        "learned_positions": True,
    }


def seen_size(latents: LatentSet, patch: Sequence[int]) -> list[int]:
    """Tokens along z, h, w, t.

    Raises:
        CardioDiTError: All of time is one token, so that attention over time would have nothing to look at.
    """
    size = [size // step for size, step in zip(latents.latents.shape[2:], patch)]
    if size[-1] < 2:
        raise CardioDiTError("All of time is one token: attention in turns would see no time.", "Take a shorter patch.")
    return size


def stage_settings(baseline: str, latents: LatentSet, arguments: argparse.Namespace) -> DitStageConfig:
    """Settings of the trainer, alike for all but the baseline's name."""
    return DitStageConfig(
        model=network_settings(latents, arguments),
        baseline=baseline,
        schedule={"name": "cosine", "num_train_timesteps": 300, "continuous": True, "log_snr_range": [-12.0, 8.0]},
        patch=tuple(arguments.patch),
        coordinates=arguments.coordinates,
        place_mean=True,  # the embedded model's: what all hearts have in common needs no learning
        heart_floor=0.4,
        log_snr_mean=-0.5,
        batch=arguments.batch,
        loss="mse",
        optimizer="muon",
        lr=2e-3,
    )


def trained(baseline: str, seed: int, latents: LatentSet, folder: Path, arguments: argparse.Namespace) -> Trainer:
    """A baseline trained for its seconds; what an earlier call did counts."""
    torch.manual_seed(seed)
    stage = DitStage(stage_settings(baseline, latents, arguments), latents)
    # The rate stays constant after the warm-up: nobody knows how many steps fit into the seconds.
    loop = LoopConfig(
        steps=_NEVER,
        seed=seed,
        schedule="linear_end",
        decay_share=0.0,
        validate_every=_NEVER,
        log_every=50,
        device=arguments.device,
        precision=arguments.precision,
    )
    trainer = Trainer(stage, loop, folder)
    if trainer.seconds < arguments.seconds:
        trainer.run(time.monotonic() + arguments.seconds - trainer.seconds)
    return trainer


@torch.inference_mode()
def sampled(trainer: Trainer, bundle: Bundle, latents: LatentSet, seed: int, arguments: argparse.Namespace) -> Cohort:
    """Cines of a trained baseline, with the classes of the training cines in turn."""
    stage, device = trainer.stage, trainer.device
    assert isinstance(stage, DitStage)
    network = stage.average.eval()
    scale = stage.scale.eval()
    _, first = np.unique(latents.cine[stage.train_index].numpy(), return_index=True)
    groups = latents.groups[stage.train_index[first]]
    names = list(latents.about["group_names"])
    low, high = bundle.manifest.intensity_range
    # drawn in the precision that they were trained in
    narrow = torch.bfloat16 if trainer.precision == "bf16" else None
    codec, quantised = bundle.vqgan.to(device), bundle.manifest.latents.quantised
    decoder = SliceDecoder(codec, quantised, narrow or torch.float32, (low, high))
    levels = noise_levels(stage.schedule, arguments.steps, DEFAULT_SPACING["dpmpp_2m"])
    cines, segmentations, classes = [], [], []
    for start in range(0, arguments.samples, arguments.sample_batch):
        numbers = range(start, min(start + arguments.sample_batch, arguments.samples))
        labels = torch.stack([groups[number % len(groups)] for number in numbers])
        generators = sample_generators(seed, len(numbers), start)
        noise = draw_noise(generators, scale.seen_shape(latents.latents.shape[1:]), device)
        known = None if not names else torch.where(labels < 0, torch.full_like(labels, len(names)), labels)
        denoise = Denoiser(network, stage.schedule, labels=known, autocast=narrow)
        made = scale.restore(SAMPLERS["dpmpp_2m"](denoise, noise, levels, generators=generators).float())
        for place, label in enumerate(labels.tolist()):
            array = decoder.decode(made[place : place + 1])
            cine = cine_of(array, latents.about)
            cines.append(cine)
            segmentations.append(labelled(cine, arguments))
            classes.append(names[label] if 0 <= label < len(names) else "")
        print(f"{numbers.stop} of {arguments.samples} cines", flush=True)
    return Cohort.from_cines(cines, segmentations, classes, name="synthetic")


def cine_of(array: np.ndarray, about: dict[str, Any]) -> Cine:
    """A decoded cine (T, Z, Y, X) with the latents' millimetres and seconds."""
    x, y, z = about["spacing_mm"]
    affine = short_axis_affine((array.shape[1], array.shape[2], array.shape[3]), (x, y, z))
    return Cine(array, affine, np.arange(len(array)) * about["cycle_s"] / len(array))


def labelled(cine: Cine, arguments: argparse.Namespace) -> Segmentation | None:
    """What the segmentation network sees; None with --no-labels, or where it finds no heart."""
    if arguments.no_labels:
        return None
    from CardioDiTLib.segmentation.segment import segment

    try:
        return segment(cine, mirrored=False, device=arguments.device)
    except CardioDiTError:
        return None


def real_cohort(arguments: argparse.Namespace) -> MeasuredCohort:
    """The pack's cines, labelled by the same network as the synthetic ones; labels are kept in ``real/``."""
    given = cohort_from_pack(arguments.data, "all")
    cines, labels = [], []
    for item in given.items:
        cine, _ = item.load()
        kept = arguments.work / "real" / f"{item.name}.nii.gz"
        if kept.is_file() and not arguments.no_labels:
            labels.append(load_segmentation(kept))
        else:
            labels.append(labelled(cine, arguments))
            if labels[-1] is not None:
                save_segmentation(labels[-1], kept)
        cines.append(cine)
    cohort = Cohort.from_cines(cines, labels, [item.group for item in given.items], name="real")
    return measure_cohort(cohort, stack_covers_heart=True)


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Mean and half the width of its 95 % interval over seeds (Student); NaN for the width of one."""
    known = np.array([value for value in values if math.isfinite(value)])
    if len(known) < 2:
        return (float(known.mean()) if len(known) else math.nan), math.nan
    half = stats.t.ppf(0.975, len(known) - 1) * known.std(ddof=1) / math.sqrt(len(known))
    return float(known.mean()), float(half)


def number_of(report: SynthesisReport, column: tuple[str, ...]) -> SetNumber | None:
    """A column's number of a report; None where it has none."""
    if len(column) == 2:
        return next((q.distance for q in report.quantities if q.field == column[0] and not q.group), None)
    return report.sets.get(column[0], {}).get(column[1])


def table(reports: dict[str, list[SynthesisReport]]) -> list[str]:
    """The table: distances to the real cines at matched size, mean over seeds with its interval, beside the floor."""
    columns: list[tuple[str, ...]] = [*QUANTITIES, *SETS]
    lines = ["| | " + " | ".join(column[-1] for column in columns) + " |", "| --- |" + " --- |" * len(columns)]
    floors = []
    for column in columns:
        found = [number_of(report, column) for group in reports.values() for report in group]
        middle = [one.floor_median for one in found if one is not None and math.isfinite(one.floor_median)]
        high = [one.floor_high for one in found if one is not None and math.isfinite(one.floor_high)]
        floors.append(f"{_short(np.mean(middle))} (to {_short(np.mean(high))})" if middle else "-")
    for name in BASELINES:
        if name not in reports:
            continue
        cells = []
        for column in columns:
            found = [number_of(report, column) for report in reports[name]]
            mean, half = interval([math.nan if one is None else one.matched for one in found])
            cells.append("-" if math.isnan(mean) else _short(mean) + ("" if math.isnan(half) else f" ± {_short(half)}"))
        lines.append(f"| {TITLES[name]} | " + " | ".join(cells) + " |")
    lines.append("| real against real | " + " | ".join(floors) + " |")
    return lines


def _middle_edv(record: dict[str, Any], of: str) -> str:
    """Whether there are hearts at all: the median EDV that the segmentation network finds."""
    found = [one[of] for one in record["report"]["quantities"] if one["field"] == "edv_ml" and not one.get("group")]
    return f"{found[0]['median']:.0f}" if found and found[0]["n"] else "-"


def _short(value: float) -> str:
    return f"{value:.3g}"


def page(records: list[dict[str, Any]], arguments: argparse.Namespace, command: str) -> str:
    """The page of the documentation."""
    reports: dict[str, list[SynthesisReport]] = {}
    for record in records:
        reports.setdefault(record["baseline"], []).append(SynthesisReport.from_dict(record["report"]))
    seeds = sorted({record["seed"] for record in records})
    sizes = "\n".join(
        f"| {TITLES[name]} | {group[0]['parameters']:,} | {group[0]['tokens']} | "
        f"{', '.join(str(one['steps']) for one in group)} | "
        f"{', '.join(_middle_edv(one, 'synthetic') for one in group)} |"
        for name in BASELINES
        if (group := [one for one in records if one["baseline"] == name])
    )
    first = records[0]
    return "\n".join(
        [
            "# One transformer over the heart, and what it is compared with",
            "",
            "Made by",
            "",
            "```",
            command,
            "```",
            "",
            *textwrap.wrap(
                f"Same codec (`{arguments.bundle}`), latents, blocks, trainer and sampler (DPM-Solver++(2M), "
                f"{arguments.steps} steps); {first['seconds']:.0f} seconds of training each on {first['machine']}; "
                f"seeds {', '.join(map(str, seeds))}; {first['report']['n_synthetic']} cines of each against "
                f"{first['report']['n_real']} real ones.",
                120,
            ),
            "",
            "| | parameters | tokens a forward | steps, by seed | median EDV of the samples, mL, by seed |",
            "| --- | --- | --- | --- | --- |",
            sizes,
            f"| real | | | | {_middle_edv(first, 'real')} |",
            "",
            *textwrap.wrap(
                f"A token is {' x '.join(map(str, arguments.patch))} latents (z, h, w, t), of which the transformer "
                f"sees the first {arguments.coordinates} principal components, as the embedded model does.",
                120,
            ),
            "",
            "Distances to the real cines (1-Wasserstein of each quantity; lower is better, but for coverage), of",
            "equally many cines: mean over seeds ± 95 % interval (Student). Last line: the same between random halves",
            "of the real cines, median and 95 % quantile. A distance below that is as near as patients are to each",
            "other.",
            "",
            *table(reports),
            "",
        ]
    )


def parsed(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="training pack (.npz)")
    parser.add_argument("--work", type=Path, required=True, help="folder of what is trained and measured")
    parser.add_argument("--out", type=Path, help="page to write (Markdown)")
    parser.add_argument("--bundle", default="acdc-mini", help="whose codec is used")
    parser.add_argument("--baselines", default=",".join(BASELINES))
    parser.add_argument("--seconds", type=float, default=3600.0, help="of training, for each baseline and seed")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--sample-batch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--copies", type=int, default=8, help="augmented copies of each cine")
    parser.add_argument("--width", type=int, default=192)
    parser.add_argument("--depth", type=int, default=6)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--patch", type=int, nargs=4, default=(1, 4, 4, 2), help="a token's latents: z h w t")
    parser.add_argument("--coordinates", type=int, default=48, help="principal components of a token's latents (48)")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto", choices=("auto", "bf16", "fp32"))
    parser.add_argument(
        "--no-labels", action="store_true", help="without the segmentation network, so without function"
    )
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None) -> None:
    """Train, sample, measure what is missing; write the page."""
    arguments = parsed(words)
    bundle = load_bundle(arguments.bundle)
    grid = bundle.manifest.grid
    pack = opened_pack(arguments.data, grid.frames, None)
    encode_pack(
        bundle.vqgan,
        pack,
        arguments.work / "latents",
        size=grid.height,
        ranges=LatentAugmentation(copies=arguments.copies),
        quantised=False,
        progress=lambda done, of: print(f"latents {done} of {of}", flush=True),
    )
    latents = read_latents(arguments.work / "latents")
    real: MeasuredCohort | None = None
    records = []
    for seed in range(arguments.seeds):
        for baseline in arguments.baselines.split(","):
            folder = arguments.work / f"{baseline}-{seed}"
            found = folder / "report.json"
            if not found.is_file():
                trainer = trained(baseline, seed, latents, folder, arguments)
                cohort = sampled(trainer, bundle, latents, seed, arguments)
                real = real_cohort(arguments) if real is None else real
                report = evaluate_synthesis(real, measure_cohort(cohort, stack_covers_heart=True), seed=seed)
                network = trainer.stage.modules["average"]
                record = {
                    "baseline": baseline,
                    "seed": seed,
                    "seconds": arguments.seconds,
                    "steps": trainer.done,
                    "parameters": sum(p.numel() for p in network.parameters()),
                    "tokens": math.prod(network.grid),  # type: ignore[arg-type]
                    "machine": f"{platform.processor() or platform.machine()}, {trainer.device.type}, "
                    f"{torch.get_num_threads()} threads, {trainer.precision}",
                    "report": report.to_dict(),
                }
                with atomic_path(found) as partial:
                    partial.write_text(json.dumps(record, indent=1), encoding="utf-8")
            records.append(json.loads(found.read_text(encoding="utf-8")))
    told = " ".join(f"--{name.replace('_', '-')} {value}" for name, value in _told(arguments))
    text = page(records, arguments, f"python Testing/benchmarks/comparison.py {told}")
    print(text)
    if arguments.out is not None:
        if arguments.out.is_file():  # what people wrote beneath the tables stays
            _, mark, written = arguments.out.read_text(encoding="utf-8").partition(READING)
            text += f"\n{mark}{written}" if mark else ""
        with atomic_path(arguments.out) as partial:
            partial.write_text(text, encoding="utf-8")


def _told(arguments: argparse.Namespace) -> list[tuple[str, str]]:
    """What was asked for otherwise than by default."""
    usual = vars(parsed(["--data", "", "--work", ""]))
    flags = [(name, "") for name, value in vars(arguments).items() if value is True]
    other = [(name, value) for name, value in vars(arguments).items() if value != usual[name] and value is not True]
    return [(name, " ".join(map(str, value)) if name == "patch" else str(value)) for name, value in other] + flags


if __name__ == "__main__":
    main()

"""Is a heart drawn in few steps as good as one drawn in many?

Run: ``python Testing/benchmarks/few_steps.py --bundle acdc-mini --count 40 --out few_steps.json --sheet few_steps.png``

The same seeds and classes are drawn by each way (``--ways``: names of presets, or ``SAMPLER:STEPS:GUIDANCE``), files
are written and read back, and each heart is measured by the embedded segmentation network, which had no part in making
it (``--own-labels``: by the labels that came with it, which costs nothing). Told for each way: seconds of processor
time a heart, until it is drawn and until all is decoded and labelled; and what `cohort_numbers` tells of the cohort.
The distance to the hearts of the last way, drawn from the same noise, is the mean over hearts of |difference| of grey
values of 1000 in the middle of the picture; between hearts of different seeds it is told beside it.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from cohort_numbers import CineNumbers, cine_numbers, cohort_summary, middle, wasserstein
from numpy.typing import NDArray

import CardioDiTLib as cd
from CardioDiTLib.evaluation.coherence import coherence
from CardioDiTLib.evaluation.evaluation_grid import judging_grid
from CardioDiTLib.files import atomic_path
from CardioDiTLib.generation.precision import precision_name
from CardioDiTLib.generation.progress import ProgressEvent

_SHOWN = 5


def settings_of(way: str) -> dict[str, Any]:
    """What a request is given for a way.

    Raises:
        ValueError: It is neither a preset nor sampler, steps and guidance.
    """
    parts = way.split(":")
    if len(parts) == 1:
        return {"preset": way}
    sampler, steps, guidance = parts
    return {"sampler": sampler, "steps": int(steps), "guidance": float(guidance)}


class Clock:
    """Processor time of one heart, to the end of the last step and to the end."""

    def __init__(self) -> None:
        self.began = time.process_time()
        self.drawn = 0.0

    def __call__(self, event: ProgressEvent) -> None:
        if event.stage == "denoise":
            self.drawn = time.process_time() - self.began


def draw(
    generator: cd.Generator, way: str, seeds: Sequence[int], classes: Sequence[str], own_labels: bool
) -> dict[str, Any]:
    """Hearts of a way: arrays, numbers, and seconds."""
    arrays: list[NDArray[Any]] = []
    numbers: list[CineNumbers] = []
    sharp: list[float] = []
    drawn, whole = [], []
    for seed, name in zip(seeds, classes):
        clock = Clock()
        request = cd.GenerationRequest(seed=seed, pathology=name, **settings_of(way))
        (result,) = generator.generate(request, progress=clock)
        drawn.append(clock.drawn)
        whole.append(time.process_time() - clock.began)
        with tempfile.TemporaryDirectory() as folder:
            cine = cd.load_cine(cd.save_cine(result.cine, Path(folder) / "heart.nii.gz"))
        labels = result.segmentation if own_labels else cd.segment(cine)
        if labels is None:
            raise SystemExit("The bundle makes no labels: leave --own-labels out.")
        array = np.asarray(cine.array, np.float32)
        numbers.append(cine_numbers(array, np.asarray(labels.array), tuple(cine.spacing)))
        sharp.append(float(coherence(judging_grid(cine)).sharpness_per_mm2))
        arrays.append(array)
        print(f"{way} seed {seed} {name}: {whole[-1]:.2f} s, EF {numbers[-1].ef_percent:.0f} %", flush=True)
    return {"arrays": arrays, "numbers": numbers, "sharp": sharp, "drawn_s": drawn, "whole_s": whole}


def distance(first: Sequence[NDArray[Any]], second: Sequence[NDArray[Any]]) -> float:
    """Mean |difference| of grey values in the middle of the picture."""
    return float(np.mean([np.abs(middle(a, 64) - middle(b, 64)).mean() for a, b in zip(first, second)]))


def told(made: dict[str, Any], like: dict[str, Any], classes: Sequence[str]) -> dict[str, Any]:
    """What is written of a way."""
    summary = cohort_summary(made["numbers"], list(classes))
    groups = summary["groups"]
    wall = {group: groups[group]["wall_mean_mm"] for group in ("HCM", "NOR") if group in groups}
    return {
        "drawn_s": round(float(np.median(made["drawn_s"])), 3),
        "whole_s": round(float(np.median(made["whole_s"])), 3),
        "share_lv4": summary["share_lv4"],
        "ef_percent": {group: groups[group]["ef_percent"] for group in groups},
        "edv_ml": {group: groups[group]["edv_ml"] for group in groups},
        "hcm_wall_over_nor": wall["HCM"] / wall["NOR"] if len(wall) == 2 and wall["NOR"] else None,
        "rough_slices": summary["quantiles"]["rough_slices"]["median"],
        "rough_time": summary["quantiles"]["rough_time"]["median"],
        "sharpness_per_mm2": float(np.median(made["sharp"])),
        "ef_distance": wasserstein(
            [one.ef_percent for one in made["numbers"]], [one.ef_percent for one in like["numbers"]]
        ),
        "grey_distance": distance(made["arrays"], like["arrays"]),
        "grey_distance_of_other_seeds": distance(made["arrays"], like["arrays"][5:] + like["arrays"][:5]),
        "hearts": [one.__dict__ for one in made["numbers"]],
    }


def sheet(made: dict[str, dict[str, Any]], path: Path) -> None:
    """End-diastole and end-systole of a middle slice: a row a way, the first hearts as columns."""
    from PIL import Image

    rows = []
    for way in made.values():
        cells = []
        for array, numbers in list(zip(way["arrays"], way["numbers"]))[:_SHOWN]:
            for frame in (numbers.ed_frame, numbers.es_frame):
                cells += [array[frame, z] for z in (2, 4, 6) if z < array.shape[1]]
        rows.append(np.concatenate(cells, axis=1))
    picture = np.concatenate(rows) / np.percentile(rows[0], 99.5)
    Image.fromarray((picture.clip(0, 1) * 255).astype(np.uint8)).save(path)


def table(report: dict[str, Any]) -> str:
    """The report as Markdown."""
    lines = [
        "| way | drawn, s | whole, s | LV in 4 slices | EF by class, % | HCM wall / NOR | sharpness, 1/mm^2 "
        "| roughness slices / time | distance to the last: EF, grey (other seeds) |",
        "| --- " * 9 + "|",
    ]
    for name, way in report["ways"].items():
        ef = ", ".join(f"{group} {value:.0f}" for group, value in way["ef_percent"].items())
        wall = "" if way["hcm_wall_over_nor"] is None else f"{way['hcm_wall_over_nor']:.2f}"
        lines.append(
            f"| {name} | {way['drawn_s']:.2f} | {way['whole_s']:.2f} | {100 * way['share_lv4']:.0f} % | {ef} | {wall} "
            f"| {way['sharpness_per_mm2']:.4f} | {way['rough_slices']:.2f} / {way['rough_time']:.2f} "
            f"| {way['ef_distance']:.1f}, {way['grey_distance']:.0f} ({way['grey_distance_of_other_seeds']:.0f}) |"
        )
    return "\n".join(lines)


def parsed(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", default="acdc-mini")
    parser.add_argument("--ways", default="few_steps:4:2,few_steps:2:2,dpmpp_2m:4:2,dpmpp_2m:12:2,dpmpp_2m:30:2")
    parser.add_argument("--count", type=int, default=40, help="hearts of each way, classes in turn")
    parser.add_argument("--seed", type=int, default=9300)
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--own-labels", action="store_true", help="measure by the labels that came with the hearts")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sheet", type=Path, help="contact sheet, .png")
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None) -> None:
    arguments = parsed(words)
    generator = cd.Generator.from_bundle(arguments.bundle, precision=arguments.precision)
    names = generator.bundle.manifest.class_names or ("",)
    classes = [names[number % len(names)] for number in range(arguments.count)]
    seeds = [arguments.seed + number for number in range(arguments.count)]
    ways = arguments.ways.split(",")
    made = {way: draw(generator, way, seeds, classes, arguments.own_labels) for way in ways}
    report = {
        "bundle": generator.bundle.manifest.name,
        "version": generator.bundle.manifest.version,
        "precision": precision_name(generator.dtype),
        "count": arguments.count,
        "seed": arguments.seed,
        "labels": "own" if arguments.own_labels else "segmentation network",
        "ways": {way: told(made[way], made[ways[-1]], classes) for way in ways},
    }
    with atomic_path(arguments.out) as partial:
        partial.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    if arguments.sheet is not None:
        sheet(made, arguments.sheet)
    print(table(report))


if __name__ == "__main__":
    main()

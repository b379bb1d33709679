"""The published variants of the landmark network, trained and compared: which one is best depends on the metric.

Run, until it prints the table: ``python Testing/benchmarks/published_landmarks.py --pack acdc.npz --work runs/variants
--minutes 9 --out runs/variants.md --picture runs/variants.jpg``

Base (blobs), Var.1 (histogram matching), Var.2 and Var.3 (Gauss 2 and 4 px) are trained one after the other with the
same settings (``--config``), for the same number of steps, from the same first weights. They are judged at
end-diastole and end-systole of the cines that the pack keeps aside, against the ends of the septum in an expert's
labels, by the published metrics with all their faults and by the corrected ones.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from CardioDiTLib.cine import LandmarkTrack
from CardioDiTLib.data.packing import PackedCines, read_pack
from CardioDiTLib.landmarks.metrics import evaluate_landmarks
from CardioDiTLib.landmarks.pitfalls import PitfallReport, compare_metrics
from CardioDiTLib.landmarks.rvip_detector import predict_rvip
from CardioDiTLib.models.rvip_network import RvipNetwork
from CardioDiTLib.training.checkpoint import averaged_weights, finished_steps
from CardioDiTLib.training.landmark_stage import PackReferences
from CardioDiTLib.training.network_tasks import LandmarkRun

CONFIG = Path(__file__).resolve().parents[2] / "Resources" / "Training" / "landmarks-published-cpu.yaml"
TITLES = {"base": "Base", "var1": "Var.1", "var2": "Var.2", "var3": "Var.3"}
SHOWN = {
    "published volume distance mm (points)": "volume distance, mm",
    "published slice distance mm (points)": "slice distance, mm",
    "published upper bound mm (points)": "upper bound, mm",
    "published angle deg (line)": "angle, degrees",
    "published TPR (points)": "TPR",
    "published PPV (points)": "PPV",
    "published TPR 15 mm (points)": "TPR, 15 mm",
    "published PPV 15 mm (points)": "PPV, 15 mm",
    "recall (points)": "recall",
    "precision (points)": "precision",
    "hit distance mm (points)": "distance of hits, mm",
    "capped distance mm (points)": "capped distance, mm",
    "angle deg (line)": "angle, degrees",
}
"""Metrics of the table, published ones first, with the names that it gives them."""

_INTERVALS = {"recall (points)": "recall", "precision (points)": "precision"}
_INTERVALS |= {"hit distance mm (points)": "hit_distance_mm", "capped distance mm (points)": "capped_distance_mm"}


def of_variant(path: Path, variant: str) -> LandmarkRun:
    """The run of a settings file for another variant."""
    run = LandmarkRun(path)
    stage = dataclasses.replace(run.settings.stage, variant=variant)
    run.settings = dataclasses.replace(run.settings, stage=stage)
    return run


def train_all(config: Path, pack: Path, work: Path, minutes: float | None) -> bool:
    """Train what is not trained yet; True where all variants are."""
    began = time.monotonic()
    for variant in TITLES:
        left = None if minutes is None else minutes - (time.monotonic() - began) / 60
        if left is not None and left <= 0:
            return False
        if not of_variant(config, variant).train(pack, work / variant, left):
            return False
    return True


def truth_and_pixels(pack: PackedCines) -> tuple[list[LandmarkTrack], list[tuple[int, list[int], NDArray[np.intp]]]]:
    """References at end-diastole and end-systole of the cines kept aside, a track a frame, and where they lie."""
    assert pack.labels is not None
    references = PackReferences.of_pack(pack)
    systole = (pack.labels == 3).sum(axis=(2, 3, 4)).argmin(axis=1)
    tracks, places = [], []
    for index in np.nonzero(pack.validation)[0]:
        frames = [0, int(systole[index])]
        slices = np.nonzero(pack.slice_valid[index])[0]
        points = np.stack([[references.points(int(index), t, int(z))[0] for z in slices] for t in frames])
        tracks += tracks_of(points, pack)
        places.append((int(index), frames, slices))
    return tracks, places


def tracks_of(points: NDArray[np.float64], pack: PackedCines) -> list[LandmarkTrack]:
    """Pixels (T, Z, 2, 2) (x, y), first and second of the walk, as one track a frame.

    All cines of a pack lie alike, the right ventricle on the left: the first point is the anterior one.
    """
    made = []
    for frame in points:
        places = frame * np.asarray(pack.spacing[:2])
        depth = np.arange(len(frame))[:, None, None] * pack.spacing[2]
        ras = np.concatenate([places, np.broadcast_to(depth, (*places.shape[:2], 1))], axis=-1)
        ras[np.isnan(places).any(axis=-1)] = np.nan
        made.append(LandmarkTrack(ras[None], np.isfinite(ras[None, ..., 0]).astype(float), [0.0]))
    return made


def predicted(
    network: RvipNetwork, pack: PackedCines, places: list[tuple[int, list[int], NDArray[np.intp]]]
) -> list[LandmarkTrack]:
    """What a network finds there."""
    tracks = []
    for index, frames, slices in places:
        seen = [predict_rvip(network, pack.images[index, t, slices], pack.spacing[:2]) for t in frames]
        points = np.stack([np.where(s.presence[..., None] >= 0.5, s.places, np.nan) for s in seen])
        tracks += tracks_of(points, pack)
    return tracks


def intervals(
    tracks: dict[str, list[LandmarkTrack]], truth: list[LandmarkTrack], resamples: int
) -> dict[str, dict[str, list[float]]]:
    """95 % intervals of the corrected metrics, from resampling patients (two tracks each, ED and ES)."""
    groups = [str(number // 2) for number in range(len(truth))]
    found: dict[str, dict[str, list[float]]] = {}
    for name, ours in tracks.items():
        scores = evaluate_landmarks(ours, truth, groups=groups, n_resamples=resamples)
        for metric, key in _INTERVALS.items():
            one = scores["points"].pooled[key]
            found.setdefault(metric, {})[name] = [one.low, one.high]
    return found


def markdown(report: PitfallReport, spread: dict[str, dict[str, list[float]]]) -> str:
    """The table: the winner of each row in bold."""
    lines = ["| | " + " | ".join(report.methods) + " |", "| --- |" + " --- |" * len(report.methods)]
    for metric, title in SHOWN.items():
        kind = "published" if metric.startswith("published") else "corrected"
        cells = []
        for method in report.methods:
            value = report.values[metric][method]
            text = "-" if np.isnan(value) else f"{value:.2f}"
            if method in report.winners(metric):
                text = f"**{text}**"
            if metric in spread and not np.isnan(value):
                low, high = spread[metric][method]
                text += f" [{low:.2f}, {high:.2f}]"
            cells.append(text)
        lines.append(f"| {kind}: {title} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def findings(report: PitfallReport) -> str:
    """What bends the metrics, one sentence each."""
    return "\n".join(f"- {one.sentence}" for one in report.findings)


def picture(path: Path, report: PitfallReport) -> None:
    """Ranks of the variants by metric, and the values."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    rows = list(SHOWN)
    ranks = np.array([[report.ranks[metric][method] for method in report.methods] for metric in rows], float)
    drawn, axes = plt.subplots(figsize=(7.2, 5.6))
    axes.imshow(ranks, cmap="YlGn_r", vmin=1, vmax=len(report.methods) + 1.5, aspect="auto")
    for y, metric in enumerate(rows):
        for x, method in enumerate(report.methods):
            value = report.values[metric][method]
            best = method in report.winners(metric)
            text = "-" if np.isnan(value) else f"{value:.2f}"
            axes.text(
                x,
                y,
                text,
                ha="center",
                va="center",
                weight="bold" if best else "normal",
                color="white" if best else "k",
            )
    kinds = ["published" if metric.startswith("published") else "corrected" for metric in rows]
    axes.set_yticks(range(len(rows)), [f"{kind}: {SHOWN[metric]}" for kind, metric in zip(kinds, rows)])
    axes.set_xticks(range(len(report.methods)), report.methods)
    axes.xaxis.tick_top()
    axes.axhline(kinds.index("corrected") - 0.5, color="k", lw=1.5)
    axes.set_title("Best (dark) to worst (light) by metric", fontsize=10, pad=22)
    drawn.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    drawn.savefig(path, dpi=110)
    plt.close(drawn)


def main(words: list[str] | None = None) -> None:
    """Train, judge, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pack", type=Path, required=True, help="training pack with labels")
    parser.add_argument("--config", type=Path, default=CONFIG, help="settings; landmarks-published-cpu.yaml without it")
    parser.add_argument("--work", type=Path, required=True, help="folder of the runs; what is trained is kept there")
    parser.add_argument("--minutes", type=float, help="train for so long at most; the next call goes on")
    parser.add_argument("--resamples", type=int, default=2000, help="for the intervals")
    parser.add_argument("--out", type=Path, help="the table as Markdown; everything as .json beside it")
    parser.add_argument("--picture", type=Path, help="a chart of the ranks")
    options = parser.parse_args(words)
    config = LandmarkRun(options.config)
    if not train_all(options.config, options.pack, options.work, options.minutes):
        print("Not all variants are trained yet: call it again.")
        return
    pack = read_pack(options.pack, config.frames)
    truth, places = truth_and_pixels(pack)
    tracks: dict[str, list[LandmarkTrack]] = {}
    for variant, title in TITLES.items():
        network = RvipNetwork(config.settings.stage.network)
        network.load_state_dict(averaged_weights(options.work / variant / "landmarks", "landmarks"))
        tracks[title] = predicted(network.eval(), pack, places)
    affine = np.diag([*pack.spacing, 1.0])
    report = compare_metrics(tracks, truth, affines=[affine] * len(truth))
    spread = intervals(tracks, truth, options.resamples)
    steps = {variant: finished_steps(options.work / variant / "landmarks") for variant in TITLES}
    text = f"{markdown(report, spread)}\n\n{findings(report)}\n"
    print(f"{len(truth)} volumes of {len(places)} patients kept aside; steps {steps}\n\n{text}")
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(text, encoding="utf-8")
        content: dict[str, Any] = {"steps": steps, "intervals": spread, **report.to_dict()}
        options.out.with_suffix(".json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    if options.picture is not None:
        picture(options.picture, report)


if __name__ == "__main__":
    main()

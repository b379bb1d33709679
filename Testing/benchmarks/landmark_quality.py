"""Distance, recall and precision of insertion points: the network's, those of found labels, and both fused.

Run: ``python Testing/benchmarks/landmark_quality.py --pack acdc.npz --folder PATH/TO/acdc --out report.json``.

The truth is the ends of the septum in an expert's labels (``landmarks_from_segmentation``), not points marked by hand.
From a pack the cines that it keeps aside are taken, judged at end-diastole and end-systole (the frames with an expert's
labels); a folder is read as by ``segmentation_quality.py``, and of the patients of ACDC only those are taken that the
pack keeps aside. Networks see every frame, so that times are those of whole cines.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parent))

from segmentation_quality import Case, folder_cases, pack_cases

from CardioDiTLib.cine import LandmarkTrack, Segmentation
from CardioDiTLib.landmarks.fusion import fused_tracks
from CardioDiTLib.landmarks.heatmap import landmarks_from_network
from CardioDiTLib.landmarks.metrics import evaluate_landmarks, septum_angle_differences
from CardioDiTLib.landmarks.model import LandmarkModel, load_model
from CardioDiTLib.landmarks.septal_contour import landmarks_from_segmentation
from CardioDiTLib.landmarks.tracking import FEWEST_FRAMES, track_landmarks
from CardioDiTLib.segmentation.model import SegmentationModel
from CardioDiTLib.segmentation.model import load_model as load_segmentation_model
from CardioDiTLib.segmentation.segment import segment

Tracks = dict[str, LandmarkTrack]


def frames_of(track: LandmarkTrack, frames: list[int]) -> LandmarkTrack:
    """Some frames of a track."""
    times = np.arange(len(frames), dtype=np.float64)
    return LandmarkTrack(track.points[frames], track.confidence[frames], times, track.meta)


def found(
    case: Case, model: LandmarkModel, labeller: SegmentationModel, follow: bool
) -> tuple[Tracks, dict[str, float]]:
    """Tracks by method, and seconds of each part."""
    _, cine, _ = case
    seconds: dict[str, float] = {}
    began = time.perf_counter()
    segmentation = segment(cine, weights=labeller)
    labels = landmarks_from_segmentation(segmentation)
    seconds["segmentation"] = time.perf_counter() - began
    began = time.perf_counter()
    # as `detect_landmarks` has it: labels tell where the heart lies
    network = landmarks_from_network(cine, model, labels=segmentation)
    seconds["network"] = time.perf_counter() - began
    tracks = {"network": network, "segmentation": labels, "fusion": fused_tracks(network, labels)}
    follow = follow and case[1].n_frames >= FEWEST_FRAMES  # as detect_landmarks does
    return {name: track_landmarks(track) if follow else track for name, track in tracks.items()}, seconds


def judged(pairs: list[tuple[LandmarkTrack, LandmarkTrack]], resamples: int) -> dict[str, Any]:
    """Medians, and the scores of `evaluate_landmarks`; both pooled over all slices of all cines."""
    scores = evaluate_landmarks([ours for ours, _ in pairs], [truth for _, truth in pairs], n_resamples=resamples)
    distances: list[NDArray[np.float64]] = []
    angles: list[NDArray[np.float64]] = []
    for ours, truth in pairs:
        distances.append(np.linalg.norm(ours.points - truth.points, axis=-1).reshape(-1, 2))
        angles += [septum_angle_differences(a, b) for a, b in zip(ours.points, truth.points)]
    table, turn = np.concatenate(distances), np.concatenate(angles)
    return {
        "median_mm": {name: float(np.nanmedian(table[:, k])) for k, name in enumerate(("anterior", "inferior"))},
        "median_angle_deg": float(np.nanmedian(turn)),
        "recall_15mm": {
            level: scores[level].pooled["recall"].value for level in ("anterior", "inferior", "points", "line")
        },
        "precision_15mm": {
            level: scores[level].pooled["precision"].value for level in ("anterior", "inferior", "points", "line")
        },
        "capped_mm": scores["points"].pooled["capped_distance_mm"].value,
        "scores": scores.to_dict(),
    }


def measured(
    cases: Iterator[Case], model: LandmarkModel, labeller: SegmentationModel, follow: bool, resamples: int
) -> dict[str, Any]:
    """All methods on some cines."""
    pairs: dict[str, list[tuple[LandmarkTrack, LandmarkTrack]]] = {}
    times: dict[str, list[float]] = {}
    for case in cases:
        name, cine, labels = case
        cavity = (labels == 3).sum(axis=(1, 2, 3))
        frames = sorted({int(cavity.argmax()), int(cavity.argmin())})
        truth = landmarks_from_segmentation(Segmentation(labels, cine.affine, cine.frame_times, cine.meta))
        tracks, seconds = found(case, model, labeller, follow)
        for method, track in tracks.items():
            pairs.setdefault(method, []).append((frames_of(track, frames), frames_of(truth, frames)))
        for part, value in seconds.items():
            times.setdefault(part, []).append(value / (cine.n_frames * cine.n_slices))
        print(f"  {name}: {cine.n_frames} x {cine.n_slices} slices", flush=True)
    return {
        "methods": {method: judged(found, resamples) for method, found in pairs.items()},
        "seconds_a_slice": {part: float(np.mean(values)) for part, values in times.items()},
        "cines": len(next(iter(pairs.values()), [])),
    }


def table(title: str, report: dict[str, Any]) -> str:
    """A few lines to read."""
    lines = [
        f"{title}: {report['cines']} cines; seconds a slice "
        + ", ".join(f"{part} {value:.3f}" for part, value in report["seconds_a_slice"].items()),
        f"  {'':14s}anterior  inferior mm   recall  precision   angle deg   capped mm",
    ]
    for method, row in report["methods"].items():
        lines.append(
            f"  {method:14s}{row['median_mm']['anterior']:8.2f}  {row['median_mm']['inferior']:8.2f}   "
            f"{row['recall_15mm']['points']:9.3f}  {row['precision_15mm']['points']:9.3f}   "
            f"{row['median_angle_deg']:9.2f}   {row['capped_mm']:9.2f}"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure insertion points on labelled cines.")
    parser.add_argument("--weights", type=Path, help="landmark model; the embedded one without it")
    parser.add_argument("--segmentation-weights", type=Path, help="segmentation model; the embedded one without it")
    parser.add_argument("--pack", type=Path, help="training pack; its cines kept aside are taken")
    parser.add_argument("--frames", type=int, default=16, help="frames a cycle that the pack was opened with")
    parser.add_argument("--folder", type=Path, action="append", default=[], help="folder with labels; may be repeated")
    parser.add_argument("--everyone", action="store_true", help="patients too that training may have seen")
    parser.add_argument("--raw", action="store_true", help="points not followed through the cycle")
    parser.add_argument("--resamples", type=int, default=1000, help="for the intervals")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--out", type=Path, help="JSON")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    model, labeller = load_model(options.weights), load_segmentation_model(options.segmentation_weights)
    sources = [(options.pack.name, pack_cases(options.pack, options.frames))] if options.pack else []
    sources += [(folder.name, folder_cases(folder, options.everyone)) for folder in options.folder]
    report: dict[str, Any] = {
        "model": model.manifest.name,
        "version": model.manifest.version,
        "segmentation_model": labeller.manifest.name,
        "truth": "ends of the septum in an expert's labels, not points marked by hand",
    }
    for title, cases in sources:
        report[title] = measured(cases, model, labeller, not options.raw, options.resamples)
        print(table(title, report[title]))
    text = json.dumps(report, indent=1)
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(text + "\n", encoding="utf-8")
    else:
        print(text)


if __name__ == "__main__":
    main()

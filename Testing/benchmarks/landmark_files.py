"""Insertion points on the way that people use: a cine saved as a file, ``cardiodit landmarks``, the file read back.

Run: ``python Testing/benchmarks/landmark_files.py --acdc PATH/TO/acdc [--half 1] [--look noise] [--cine CINE POINTS]
--out report.json``.

The patients that ``cardiodit prepare acdc`` keeps aside are saved as recorded, end-diastole and end-systole a cine of
two frames, and given to the command line by network alone, by labels alone and by both. ``--look`` changes the images
first, as another scanner or coil would (the truth stays): a fusion must not lose to the better of the two there either.
The truth is what ``cardiodit landmarks`` makes of the expert's labels. ``--cine`` judges a whole cine against a table
of points (columns ``frame``, ``k``, ``R_mm``, ``A_mm``, ``S_mm``, two rows a slice, not named).

``--turned`` saves two frames of a cine with sound directions once as they are and once changed in seven ways without
their header, and tells in which of them the command says that header and heart do not fit.

Told for end-diastole and end-systole: recall and precision at 15 mm, the median distance, where the false points lie
(slices beyond the expert's first or last one with points, or between), and of pairs whose line is more than 25 degrees
off how many have a low confidence.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from headerless_turns import TURNS
from segmentation_quality import folder_cases

from CardioDiTLib import cli
from CardioDiTLib.cine import Cine, LandmarkTrack, Segmentation
from CardioDiTLib.io import load_cine, save_cine, save_segmentation
from CardioDiTLib.landmarks.angle_check import LOW
from CardioDiTLib.landmarks.files import load_landmarks
from CardioDiTLib.landmarks.metrics import septum_angle_differences

METHODS = ("network", "segmentation", "fusion")
HIT_MM, LARGE_DEG = 15.0, 25.0
Look = Callable[[NDArray[np.float64], np.random.Generator], NDArray[np.float64]]


def _noise(images: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    return images + rng.normal(scale=0.12 * np.percentile(images, 99), size=images.shape)


def _gamma(images: NDArray[np.float64], power: float) -> NDArray[np.float64]:
    top = max(float(images.max()), 1e-9)
    return np.asarray(top * (np.clip(images, 0, None) / top) ** power)


def _blur(images: NDArray[np.float64], _: np.random.Generator) -> NDArray[np.float64]:
    return np.asarray(ndimage.gaussian_filter(images, (0, 0, 1.6, 1.6)))


def _coil(images: NDArray[np.float64], _: np.random.Generator) -> NDArray[np.float64]:
    y, x = np.linspace(-1, 1, images.shape[2])[:, None], np.linspace(-1, 1, images.shape[3])[None]
    return images * np.exp(1.2 * x - 0.6 * y)


LOOKS: dict[str, Look] = {
    "recorded": lambda images, _: images,
    "noise": _noise,
    "pale": lambda images, _: _gamma(images, 0.5),
    "dark": lambda images, _: _gamma(images, 2.0),
    "blur": _blur,
    "coil": _coil,
}


def patients(folder: Path, half: int, look: str) -> Iterator[tuple[str, Cine, Segmentation]]:
    """Kept-aside patients, every second one for a half: 1 to work with, 2 for a last look, 0 for both."""
    for number, (name, cine, labels) in enumerate(folder_cases(folder, everyone=False)):
        if half and number % 2 != half - 1:
            continue
        images = LOOKS[look](cine.array.astype(np.float64), np.random.default_rng(number))
        shown = np.clip(np.rint(images), -32768, 32767).astype(np.int16) if images.max() > 20 else images
        yield (
            name,
            Cine(shown.astype(np.float32), cine.affine, cine.frame_times),
            Segmentation(labels, cine.affine, cine.frame_times),
        )


def command(*words: object) -> str:
    """What ``cardiodit`` says; a failure is told as its one line on stderr."""
    said, problem = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(problem):
        code = cli.main([str(word) for word in words])
    return said.getvalue() if code == 0 else f"failed: {problem.getvalue().strip()}"


def points_of(source: Path, destination: Path, *words: object) -> LandmarkTrack | str:
    """The points that the command wrote, or what it said."""
    said = command("landmarks", source, destination, *words)
    return said if said.startswith("failed") else load_landmarks(destination)


def judged(found: LandmarkTrack, truth: LandmarkTrack, frame: int) -> dict[str, Any]:
    """Counts of one frame."""
    ours, theirs = found.points[frame], truth.points[frame]
    distance = np.linalg.norm(ours - theirs, axis=-1)
    there, true = ~np.isnan(ours[..., 0]), ~np.isnan(theirs[..., 0])
    hit = np.nan_to_num(distance, nan=np.inf) <= HIT_MM
    levels = np.flatnonzero(true.any(axis=1))
    false = np.argwhere(there & ~hit)
    outside = [bool(not len(levels) or z < levels[0] or z > levels[-1]) for z, _ in false]
    angle = septum_angle_differences(ours, theirs)
    large = np.nan_to_num(angle) > LARGE_DEG
    sure = found.confidence[frame].min(axis=1)
    return {
        "true": int(true.sum()),
        "found": int(there.sum()),
        "hits": int(hit.sum()),
        "false_outside": int(sum(outside)),
        "false_within": int(len(outside) - sum(outside)),
        "distances_mm": [round(float(value), 2) for value in distance[np.isfinite(distance)]],
        "angles_deg": [round(float(value), 1) for value in angle[np.isfinite(angle)]],
        "large_angles": [[int(z), round(float(angle[z]), 1), round(float(sure[z]), 2)] for z in np.flatnonzero(large)],
        "doubted": int((there.all(axis=1) & (sure <= LOW)).sum()),
        "false_points": [[int(z), int(k), round(float(found.confidence[frame, z, k]), 2)] for z, k in false],
        "missed_points": [[int(z), int(k)] for z, k in np.argwhere(true & ~hit)],
        "true_slices": [int(z) for z in levels],
    }


def pooled(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Counts of several frames together."""
    total = {key: sum(row[key] for row in rows) for key in ("true", "found", "hits", "false_outside", "false_within")}
    distances = [value for row in rows for value in row["distances_mm"]]
    angles = [value for row in rows for value in row["angles_deg"]]
    large = [entry for row in rows for entry in row["large_angles"]]
    return {
        **total,
        "recall": total["hits"] / max(total["true"], 1),
        "precision": total["hits"] / max(total["found"], 1),
        "median_mm": float(np.median(distances)) if distances else float("nan"),
        "median_deg": float(np.median(angles)) if angles else float("nan"),
        "largest_deg": max(angles, default=float("nan")),
        "large_angles": len(large),
        "large_angles_sure": sum(1 for _, _, sure in large if sure > LOW),
        "doubted_pairs": sum(row["doubted"] for row in rows),
        "pairs": len(angles),
    }


def table(title: str, report: dict[str, Any]) -> str:
    """A few lines to read."""
    lines = [f"{title}", f"  {'':14s}     recall  precision  mm     deg (worst)   false beyond/within  >25 deg (sure)"]
    for method, frames in report.items():
        for moment, row in frames.items():
            lines.append(
                f"  {method:14s}{moment}   {row['recall']:.3f}    {row['precision']:.3f}    {row['median_mm']:.2f}   "
                f"{row['median_deg']:.1f} ({row['largest_deg']:.0f})      {row['false_outside']:2d} / "
                f"{row['false_within']:2d}              {row['large_angles']} ({row['large_angles_sure']})"
                f"   doubted {row['doubted_pairs']} of {row['pairs']}"
            )
    return "\n".join(lines)


def measured(
    cases: Iterator[tuple[str, Cine, Segmentation]], methods: tuple[str, ...]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Pooled figures by method and moment, and every frame."""
    rows: list[dict[str, Any]] = []
    for name, cine, labels in cases:
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            source = save_cine(cine, folder / "cine.nii.gz")
            truth = points_of(save_segmentation(labels, folder / "labels.nii.gz"), folder / "truth.json")
            if isinstance(truth, str):
                print(f"  {name}: {truth}")
                continue
            cavity = (labels.array == 3).sum(axis=(1, 2, 3))
            moments = {"ED": int(cavity.argmax()), "ES": int(cavity.argmin())}
            for method in methods:
                found = points_of(source, folder / f"{method}.json", "--method", method, "--from", "cine")
                if isinstance(found, str):
                    print(f"  {name}, {method}: {found}")
                    found = LandmarkTrack(np.full_like(truth.points, np.nan), truth.confidence * 0, truth.frame_times)
                for moment, frame in moments.items():
                    rows.append({"name": name, "method": method, "moment": moment, **judged(found, truth, frame)})
        print(f"  {name}", flush=True)
    result = {
        method: {
            moment: pooled([row for row in rows if row["method"] == method and row["moment"] == moment])
            for moment in ("ED", "ES")
        }
        for method in methods
    }
    return result, rows


def unnamed_points(path: Path, cine: Cine) -> NDArray[np.float64]:
    """(T, Z, 2, 3) mm RAS of a table of another program; NaN where it has none."""
    points = np.full((cine.n_frames, cine.n_slices, 2, 3), np.nan)
    with open(path, newline="", encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            place = points[int(row["frame"]), int(float(row["k"]))]
            place[int(not np.isnan(place[0, 0]))] = [float(row[name]) for name in ("R_mm", "A_mm", "S_mm")]
    return points


def judged_cine(source: Path, table_path: Path, methods: tuple[str, ...]) -> dict[str, Any]:
    """All frames of a cine against points without names: each is given the name with which it fits better."""
    cine = load_cine(source)
    theirs = unnamed_points(table_path, cine)
    result = {}
    for method in methods:
        with tempfile.TemporaryDirectory() as place:
            found = points_of(source, Path(place) / "points.json", "--method", method, "--from", "cine")
        if isinstance(found, str):
            print(f"  {source.name}, {method}: {found}")
            continue
        crossed = np.nansum(np.linalg.norm(found.points - theirs[:, :, ::-1], axis=-1), axis=-1)
        straight = np.nansum(np.linalg.norm(found.points - theirs, axis=-1), axis=-1)
        named = np.where((crossed < straight)[..., None, None], theirs[:, :, ::-1], theirs)
        truth = LandmarkTrack(named, np.where(np.isnan(named[..., 0]), 0.0, 1.0), found.frame_times)
        result[method] = {"all": pooled([judged(found, truth, frame) for frame in range(cine.n_frames)])}
    return result


def judged_turns(source: Path) -> dict[str, str]:
    """By change: what the command notes of the names of the points; empty where it notes nothing."""
    cine = load_cine(source)
    frames = [0, max(1, round(0.35 * cine.n_frames))]
    told = {}
    for change, turn in TURNS.items():
        with tempfile.TemporaryDirectory() as place:
            changed = Cine(np.ascontiguousarray(turn(cine.array[frames])), cine.affine, [0.0, 0.35])
            file = save_cine(changed, Path(place) / "cine.nii.gz")
            found = points_of(file, Path(place) / "points.json", "--from", "cine")
        told[change] = found if isinstance(found, str) else found.meta["landmarks"].get("naming_note", "")
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure insertion points by files.")
    parser.add_argument("--acdc", type=Path, help="folder with ACDC's volumes, labels and metadata.csv")
    parser.add_argument("--half", type=int, choices=(0, 1, 2), default=0, help="of the patients kept aside")
    parser.add_argument("--look", choices=tuple(LOOKS), action="append", help="may be repeated; default: recorded")
    parser.add_argument("--cine", type=Path, nargs=2, metavar=("CINE", "POINTS"), action="append", default=[])
    parser.add_argument("--turned", type=Path, action="append", default=[], metavar="CINE", help="may be repeated")
    parser.add_argument("--method", choices=METHODS, action="append", help="may be repeated; default: all three")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--out", type=Path, help="JSON")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    methods = tuple(options.method or METHODS)
    report: dict[str, Any] = {}
    for look in (options.look or ["recorded"]) if options.acdc else []:
        pools, rows = measured(patients(options.acdc, options.half, look), methods)
        report[look] = {"pooled": pools, "frames": rows}
        print(table(f"ACDC kept aside, half {options.half or 'both'}, {look}", pools), flush=True)
    for source, points in options.cine:
        report[source.name] = {"pooled": judged_cine(source, points, methods)}
        print(table(source.name, report[source.name]["pooled"]), flush=True)
    for source in options.turned:
        turned = report[f"{source.name}, turned"] = judged_turns(source)
        print(f"{source.name}: " + ", ".join(f"{change} {'TOLD' if note else '-'}" for change, note in turned.items()))
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

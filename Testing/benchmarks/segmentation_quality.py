"""Dice at end-diastole and end-systole and errors of volumes and EF of a segmentation model.

Run: ``python Testing/benchmarks/segmentation_quality.py --weights FOLDER --pack acdc.npz --out report.json``.

From a pack the cines that it keeps aside are taken. A folder holds ``NAME_ED.nii.gz``, ``NAME_ED_gt.nii.gz``,
``NAME_ES.nii.gz``, ``NAME_ES_gt.nii.gz`` (volumes as recorded), or cines ``NAME.nii.gz`` with ``NAME_gt.nii.gz``. Where
it has the table ``metadata.csv`` of ACDC, only the patients that ``cardiodit prepare acdc`` keeps aside are taken,
since the model may have been trained on the others.
"""

from __future__ import annotations

import argparse
import csv
import json
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from CardioDiTLib.cine import Cine, Segmentation
from CardioDiTLib.data.acdc import HELD_OUT_EVERY, HELD_OUT_PLACE
from CardioDiTLib.data.packing import read_pack
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.io import load_cine, load_segmentation
from CardioDiTLib.io.nifti import read_nifti
from CardioDiTLib.segmentation.model import SegmentationModel, load_model
from CardioDiTLib.segmentation.postprocess import dice_per_label
from CardioDiTLib.segmentation.segment import segment

Case = tuple[str, Cine, NDArray[np.uint8]]


def pack_cases(path: Path, frames: int) -> Iterator[Case]:
    """Cines that a pack keeps aside, their empty slices cut away."""
    pack = read_pack(path, frames)
    if pack.labels is None:
        raise CardioDiTError(f"'{path.name}' has no labels.", "Give a pack of labelled cines.")
    for index in np.nonzero(pack.validation)[0]:
        valid = pack.slice_valid[index]
        images = pack.images[index][:, valid].astype(np.int16)
        times = np.arange(len(images)) * float(pack.cycle_s[index]) / len(images)
        yield f"aside {index}", Cine(images, np.diag([*pack.spacing, 1.0]), times), pack.labels[index][:, valid]


def folder_cases(folder: Path, everyone: bool) -> Iterator[Case]:
    """Labelled cines of a folder; ED and ES volumes of a patient are a cine of two frames."""
    chosen = None if everyone else _kept_aside(folder / "metadata.csv")
    for truth in sorted(folder.glob("*_gt.nii*")):
        name = truth.name.split("_gt.nii")[0]
        ending = truth.name.removeprefix(f"{name}_gt")
        if name.endswith("_ES"):
            continue
        person = name.removesuffix("_ED")
        if chosen is not None and person not in chosen:
            continue
        if name.endswith("_ED"):
            parts = [read_nifti(folder / f"{person}_{part}{ending}", allow_volume=True) for part in ("ED", "ES")]
            labels = [load_segmentation(folder / f"{person}_{part}_gt{ending}").array[0] for part in ("ED", "ES")]
            images = np.concatenate([part.array[:1] for part in parts])
            yield person, Cine(images, parts[0].affine, [0.0, 0.35]), np.stack(labels)
        else:
            yield person, load_cine(folder / f"{name}{ending}"), load_segmentation(truth).array


def _kept_aside(table: Path) -> set[str] | None:
    if not table.is_file():
        return None
    with open(table, newline="", encoding="utf-8") as stream:
        rows = sorted(csv.DictReader(stream), key=lambda row: (row["pathology"], row["pid"]))
    seen: dict[str, int] = {}
    aside = set()
    for row in rows:
        place = seen.get(row["pathology"], 0)
        seen[row["pathology"]] = place + 1
        if place % HELD_OUT_EVERY == HELD_OUT_PLACE:
            aside.add(row["pid"])
    return aside


def judged(model: SegmentationModel, case: Case, device: str, mirrored: bool, plausible: bool) -> dict[str, object]:
    """Numbers of one case: Dice of each label at ED and ES, volumes (mL), EF (percent), seconds."""
    name, cine, truth = case
    began = time.perf_counter()
    found: Segmentation = segment(cine, weights=model, device=device, mirrored=mirrored, plausible=plausible)
    seconds = time.perf_counter() - began
    cavity = (truth == 3).sum(axis=(1, 2, 3))
    moments = {"ED": int(cavity.argmax()), "ES": int(cavity.argmin())}
    row: dict[str, object] = {"name": name, "seconds": seconds}
    for moment, frame in moments.items():
        for label, value in dice_per_label(found.array[frame], truth[frame]).items():
            row[f"dice_{moment}_{label}"] = value
            row[f"expected_{moment}_{label}"] = found.meta["segmentation"]["sureness"]["expected_dice"][label][frame]
    # Muscle at ED: where it is more than an expert's, and how much of that lies where he saw background.
    wall = [labels[moments["ED"]] == 2 for labels in (found.array, truth)]
    row["mass_g_found"], row["mass_g_true"] = (float(part.sum() * cine.voxel_volume_ml * 1.05) for part in wall)
    both_slices = (wall[1].any(axis=(1, 2)) & wall[0].any(axis=(1, 2)))[:, None, None]
    outside = truth[moments["ED"]] == 0
    row["mass_g_outside_same_slices"] = float((wall[0] & outside & both_slices).sum() * cine.voxel_volume_ml * 1.05)
    row["mass_g_other_slices"] = float((wall[0] & ~both_slices).sum() * cine.voxel_volume_ml * 1.05)
    row["mass_g_missing_slices"] = float((wall[1] & ~both_slices).sum() * cine.voxel_volume_ml * 1.05)
    for side, label in (("LV", 3), ("RV", 1)):
        volumes = [(labels == label).sum(axis=(1, 2, 3)) * cine.voxel_volume_ml for labels in (found.array, truth)]
        for what, curve in zip(("found", "true"), volumes):
            row[f"{side}_edv_ml_{what}"], row[f"{side}_esv_ml_{what}"] = float(curve.max()), float(curve.min())
            row[f"{side}_ef_percent_{what}"] = float(100 * (1 - curve.min() / curve.max())) if curve.any() else None
    return row


def summary(rows: list[dict[str, object]]) -> dict[str, float]:
    """Mean Dice; bias and mean absolute error of volumes and EF."""

    def numbers(key: str) -> NDArray[np.float64]:
        return np.array([np.nan if row[key] is None else row[key] for row in rows], dtype=np.float64)

    def mean(values: NDArray[np.float64]) -> float:
        return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")

    result = {key: mean(numbers(key)) for key in rows[0] if key.startswith("dice")}
    for side in ("LV", "RV"):
        for what in ("edv_ml", "esv_ml", "ef_percent"):
            error = numbers(f"{side}_{what}_found") - numbers(f"{side}_{what}_true")
            result[f"{side}_{what}_bias"], result[f"{side}_{what}_mae"] = mean(error), mean(np.abs(error))
    mass = numbers("mass_g_found") - numbers("mass_g_true")
    result["mass_g_bias"], result["mass_g_mae"] = mean(mass), mean(np.abs(mass))
    for key in ("mass_g_outside_same_slices", "mass_g_other_slices", "mass_g_missing_slices"):
        result[key] = mean(numbers(key))
    for label in ("RV", "myocardium", "LV"):
        pairs = [numbers(f"{what}_{moment}_{label}") for moment in ("ED", "ES") for what in ("expected", "dice")]
        expected, true = np.concatenate(pairs[::2]), np.concatenate(pairs[1::2])
        known = np.isfinite(expected) & np.isfinite(true)
        result[f"sureness_correlation_{label}"] = (
            float(np.corrcoef(expected[known], true[known])[0, 1]) if known.sum() > 2 else float("nan")
        )
        result[f"sureness_minus_dice_{label}"] = mean(expected - true)
    result["without_ef"] = float(np.isnan(numbers("LV_ef_percent_found")).sum())
    result["seconds"] = mean(numbers("seconds"))
    return result


def table(title: str, means: dict[str, float], count: int) -> str:
    """A few lines to read."""
    lines = [f"{title}: {count} cines, {means['seconds']:.1f} s each", "        RV     myocardium  LV"]
    for moment in ("ED", "ES"):
        values = [means[f"dice_{moment}_{label}"] for label in ("RV", "myocardium", "LV")]
        lines.append(f"  {moment}  " + "  ".join(f"{value:.3f}  " for value in values))
    for side in ("LV", "RV"):
        parts = [
            f"{what} {means[f'{side}_{key}_bias']:+.1f} (|{means[f'{side}_{key}_mae']:.1f}|)"
            for what, key in (("EDV mL", "edv_ml"), ("ESV mL", "esv_ml"), ("EF points", "ef_percent"))
        ]
        lines.append(f"  {side} bias (mean absolute error): " + ", ".join(parts))
    parts = [means[f"mass_g_{key}"] for key in ("outside_same_slices", "other_slices", "missing_slices")]
    lines.append(
        f"  LV mass at ED minus an expert's, g: {means['mass_g_bias']:+.1f} (|{means['mass_g_mae']:.1f}|); outside his "
        f"outline {parts[0]:.1f}, in slices of ours alone {parts[1]:.1f}, in slices of his alone {parts[2]:.1f}"
    )
    told = [
        f"{label} {means[f'sureness_correlation_{label}']:.2f} ({means[f'sureness_minus_dice_{label}']:+.3f})"
        for label in ("RV", "myocardium", "LV")
    ]
    lines.append(f"  expected and true Dice, correlation (difference): {', '.join(told)}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure a segmentation model on labelled cines.")
    parser.add_argument("--weights", type=Path, help="model's folder; the embedded one without it")
    parser.add_argument("--pack", type=Path, help="training pack; its cines kept aside are taken")
    parser.add_argument("--frames", type=int, default=16, help="frames a cycle that the pack was opened with")
    parser.add_argument("--folder", type=Path, action="append", default=[], help="folder with labels; may be repeated")
    parser.add_argument("--everyone", action="store_true", help="patients too that training may have seen")
    parser.add_argument("--mirrored", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--raw", action="store_true", help="nothing made plausible")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--out", type=Path, help="JSON")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    model = load_model(options.weights)
    sources = [(options.pack.name, pack_cases(options.pack, options.frames))] if options.pack else []
    sources += [(folder.name, folder_cases(folder, options.everyone)) for folder in options.folder]
    report: dict[str, object] = {"model": model.manifest.name, "version": model.manifest.version}
    for title, cases in sources:
        rows = [judged(model, case, options.device, options.mirrored, not options.raw) for case in cases]
        if not rows:
            print(f"{title}: nothing with labels")
            continue
        means = summary(rows)
        print(table(title, means, len(rows)))
        report[title] = {"means": means, "cines": rows}
    text = json.dumps(report, indent=1)
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(text + "\n", encoding="utf-8")
    else:
        print(text)


if __name__ == "__main__":
    main()

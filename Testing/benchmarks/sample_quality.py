"""Are generated cines hearts? Judged by a network that has only seen real ones, with real cines side by side.

Run: ``python Testing/benchmarks/sample_quality.py --pack acdc.npz --judge judge.safetensors --array samples.npz --out
report.json --sheet sheet.png``, or ``--cines FOLDER`` in place of ``--array``; without either, the real cines alone.

``samples.npz`` holds ``images`` (N, T, Z, Y, X), uint8 or float in [-1, 1]; ``groups`` (N,), names, or numbers with
``group_names`` beside them (default: those of the pack); ``spacing`` (x, y, z) mm (default: that of the pack). In a
folder, files are .nii.gz, .nii, .seq.nrrd; the group of a cine is a name of the pack's groups standing alone in the
file's name (``03_DCM.nii.gz``) or the value of ``pathology`` in ``<name>.json``. Arrays must lie in the model's pose:
base first, heart in the middle, right ventricle on the left.

The judge is made with ``judge.py train``. What it says about the pack's own cines is kept beside it and made once.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from cohort_numbers import (
    SPACING_MM,
    CineNumbers,
    bars,
    cine_numbers,
    clean_labels,
    cohort_summary,
    middle,
    subset_floor,
    wasserstein,
)
from numpy.typing import NDArray
from scipy import ndimage

# Raise where the numbers mean something else than before, so that kept ones are made anew.
NUMBERS_VERSION = 2
SUFFIXES = (".nii.gz", ".nii", ".seq.nrrd", ".nrrd")
SUMMARY_ROWS = (
    ("ef_percent", "EF %"),
    ("edv_ml", "EDV mL"),
    ("esv_ml", "ESV mL"),
    ("lv_mass_g", "LV mass g"),
    ("wall_mean_mm", "wall, mean mm"),
    ("wall_max_mm", "wall, thickest sector mm"),
    ("rough_slices", "LV area roughness, slices"),
    ("rough_time", "LV area roughness, time"),
    ("join_mean", "last-first / mean step"),
    ("join_max", "last-first / largest step"),
    ("motion", "motion, share of sd"),
)


@dataclass(frozen=True, eq=False)
class Cohort:
    """Cines to judge.

    Attributes:
        images: One (T, Z, Y, X) array a cine.
        groups: Pathology group of each; "" unknown.
        names: What to call each.
        spacing: (x, y, z) mm of each.
    """

    images: Sequence[NDArray]
    groups: tuple[str, ...]
    names: tuple[str, ...]
    spacing: tuple[tuple[float, float, float], ...]


def read_array(path: Path, group_names: Sequence[str], spacing: tuple[float, float, float]) -> Cohort:
    """Cines of a `samples.npz`.

    Args:
        path: The file.
        group_names: Names that numbers in `groups` stand for, where the file has no `group_names`.
        spacing: (x, y, z) mm, where the file has none.

    Raises:
        ValueError: `images` is not (N, T, Z, Y, X), or `groups` has another length.
    """
    with np.load(path, allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    images = arrays["images"]
    if images.ndim != 5:
        raise ValueError(f"'images' of {path.name} has shape {images.shape}, not (N, T, Z, Y, X).")
    given = arrays.get("groups", np.full(len(images), -1))
    if len(given) != len(images):
        raise ValueError(f"{path.name} has {len(images)} cines and {len(given)} groups.")
    if given.dtype.kind in "US":
        groups = [str(name) for name in given]
    else:
        names = [str(name) for name in arrays.get("group_names", group_names)]
        groups = [names[int(index)] if 0 <= int(index) < len(names) else "" for index in given]
    step = tuple(float(v) for v in arrays.get("spacing", spacing))
    count = len(images)
    return Cohort(images, tuple(groups), tuple(str(i) for i in range(count)), ((step[0], step[1], step[2]),) * count)


def read_folder(folder: Path, group_names: Sequence[str]) -> Cohort:
    """Cines of a folder of files.

    Raises:
        ValueError: There are none.
    """
    from CardioDiTLib.io import load_cine

    paths = sorted(path for path in folder.iterdir() if path.name.endswith(SUFFIXES))
    # The same cine is often written in two formats.
    unique = {next(path.name[: -len(end)] for end in SUFFIXES if path.name.endswith(end)): path for path in paths}
    if not unique:
        raise ValueError(f"'{folder}' holds no cines ({', '.join(SUFFIXES)}).")
    cines = {name: load_cine(path) for name, path in unique.items()}
    groups = tuple(_group_of(folder, name, group_names) for name in cines)
    return Cohort(
        [cine.array for cine in cines.values()], groups, tuple(cines), tuple(cine.spacing for cine in cines.values())
    )


def _group_of(folder: Path, name: str, group_names: Sequence[str]) -> str:
    told = folder / f"{name}.json"
    if told.is_file():
        record = json.loads(told.read_text(encoding="utf-8"))
        for part in (record, record.get("request", {})):
            if isinstance(part, dict) and part.get("pathology") in group_names:
                return str(part["pathology"])
    words = re.split(r"[^A-Za-z]+", name)
    return next((group for group in group_names if group in words), "")


def to_judge_grid(cine: NDArray, spacing: tuple[float, float, float]) -> NDArray:
    """Onto 1.5 mm in plane, middle 128 x 128: (T, Z, Y, X) -> (T, Z, 128, 128)."""
    zoom = (1.0, 1.0, spacing[1] / SPACING_MM, spacing[0] / SPACING_MM)
    if max(abs(z - 1) for z in zoom) > 0.005:
        cine = ndimage.zoom(cine.astype(np.float32), zoom, order=1, grid_mode=True, mode="nearest")
    return middle(cine)


def judge_cohort(judge, cohort: Cohort, say: str = "") -> tuple[list[CineNumbers], list[NDArray[np.uint8]]]:
    """Numbers and cleaned labels (T, Z, 128, 128) of every cine."""
    from judge import segment

    numbers, labels = [], []
    for index, cine in enumerate(cohort.images):
        picture = to_judge_grid(cine, cohort.spacing[index])
        found = clean_labels(segment(judge, picture))
        numbers.append(cine_numbers(picture, found, (SPACING_MM, SPACING_MM, cohort.spacing[index][2])))
        labels.append(found)
        if say and (index + 1) % 10 == 0:
            print(f"{say}: {index + 1} of {len(cohort.images)}", flush=True)
    return numbers, labels


def real_numbers(judge, judge_path: Path, pack_path: Path) -> dict:
    """What the judge, and the experts' labels, say about the pack's own cines; kept beside the judge.

    Returns:
        judged and labelled (lists of dicts of `CineNumbers`), groups, validation, group_names, spacing.
    """
    from judge import file_digest

    from CardioDiTLib.data.packing import read_pack

    key = [NUMBERS_VERSION, file_digest(judge_path), file_digest(pack_path)]
    kept = judge_path.with_name(f"{judge_path.stem}.real.json")
    if kept.is_file():
        record = json.loads(kept.read_text(encoding="utf-8"))
        if record.get("key") == key:
            return record
    pack = read_pack(pack_path)
    groups = tuple(pack.group_names[g] if g >= 0 else "" for g in pack.groups)
    cines = [cine[:, valid] for cine, valid in zip(pack.images, pack.slice_valid)]
    cohort = Cohort(cines, groups, tuple(str(i) for i in range(len(cines))), (pack.spacing,) * len(cines))
    judged, _ = judge_cohort(judge, cohort, "real cines")
    labelled = []
    if pack.labels is not None:
        labelled = [
            cine_numbers(middle(cine), middle(labels[:, valid]), pack.spacing)
            for cine, labels, valid in zip(cines, pack.labels, pack.slice_valid)
        ]
    record = {
        "key": key,
        "judged": [asdict(one) for one in judged],
        "labelled": [asdict(one) for one in labelled],
        "groups": groups,
        "validation": [bool(v) for v in pack.validation],
        "group_names": pack.group_names,
        "spacing": pack.spacing,
    }
    _write_json(kept, record)
    return record


def _plain(value):
    """NaN has no name in JSON; a number that could not be measured is written as null."""
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _write_json(path: Path, record: dict) -> None:
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(_plain(record), indent=1), encoding="utf-8")
    os.replace(partial, path)


def contact_sheet(
    path: Path, cines: Sequence[NDArray], titles: Sequence[str], frames: Sequence[tuple[int, int]], labels=None
) -> None:
    """One row a cine: its slices at ED, then at ES; with `labels`, the judge's borders (LV yellow, wall cyan, RV red).

    Args:
        path: PNG to write.
        cines: (T, Z, Y, X) each.
        titles: A word a row.
        frames: (ED, ES) frame of each.
        labels: (T, Z, Y, X) each, or None.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(
        len(cines), 1, figsize=(17, 1.08 * len(cines)), dpi=100, squeeze=False, gridspec_kw={"hspace": 0.02}
    )
    for row, (axis, cine) in enumerate(zip(axes[:, 0], cines)):
        low, high = np.percentile(cine, (1, 99.5))
        grey = np.clip((cine[list(frames[row])].astype(np.float32) - low) / max(high - low, 1e-6), 0, 1)
        colour = np.repeat(grey[..., None], 3, axis=-1)
        if labels is not None:
            shown = labels[row][list(frames[row])]
            for label, paint in ((1, (1, 0.3, 0.3)), (2, (0.2, 0.9, 1)), (3, (1, 0.9, 0.1))):
                mask = shown == label if label != 2 else shown >= 2
                inner = ndimage.binary_erosion(mask, ndimage.generate_binary_structure(2, 1)[None, None])
                colour[mask & ~inner] = paint
        height, width = colour.shape[2:4]
        colour = colour[:, :, height // 8 : -(height // 8), width // 8 : -(width // 8)]
        planes = colour.reshape(-1, *colour.shape[2:])
        axis.imshow(np.concatenate(list(planes), axis=1), interpolation="nearest", aspect="equal")
        axis.set_xticks([])
        axis.set_yticks([])
        axis.set_ylabel(titles[row], rotation=0, ha="right", va="center", fontsize=8)
    figure.savefig(path, bbox_inches="tight", pad_inches=0.05)
    pyplot.close(figure)


def print_table(report: dict) -> None:
    """The cohorts side by side, then the bars."""
    cohorts = report["cohorts"]

    def row(title: str, cells: Sequence[str]) -> None:
        print(f"{title:46s}" + "".join(f"{cell:>28s}" for cell in cells))

    def number(value: float) -> str:
        return "-" if value is None or not math.isfinite(value) else f"{value:.3g}"

    row("", list(cohorts))
    row("cines (without LV)", [f"{c['count']} ({c['without_lv']})" for c in cohorts.values()])
    row("LV in >= 4 slices at every frame", [f"{100 * c['share_lv4']:.0f} %" for c in cohorts.values()])
    for key, title in SUMMARY_ROWS:
        cells = [c["quantiles"][key] for c in cohorts.values()]
        row(title, [f"{number(q['median'])} ({number(q['p05'])}..{number(q['p95'])})" for q in cells])
    row("EF distance to training (judged)", [number(c["ef_distance"]) for c in cohorts.values()])
    row("EF distance to training (labels)", [number(c["ef_distance_labels"]) for c in cohorts.values()])
    row("EDV distance to training (judged), mL", [number(c["edv_distance"]) for c in cohorts.values()])
    for name in next(iter(cohorts.values()))["chances"]:
        row(f"chance: {name}", [number(c["chances"][name]) for c in cohorts.values()])
    print("\nmedians by group: n, EDV mL, EF %, wall mean mm, thickest sector mm, LV mass g")
    groups = sorted({group for cohort in cohorts.values() for group in cohort["groups"]})
    keys = ("edv_ml", "ef_percent", "wall_mean_mm", "wall_max_mm", "lv_mass_g")
    row("", list(cohorts))
    for group in groups:
        parts = [cohort["groups"].get(group) for cohort in cohorts.values()]
        row(group, [" ".join([str(p["count"])] + [number(p[k]) for k in keys]) if p else "-" for p in parts])
    floor = report["floor"]
    print(
        f"\n{floor['size']} real cines drawn anew, same mix of groups: EF distance {floor['distance_median']:.1f} "
        f"(95 % below {floor['distance_p95']:.1f}), EF median off by {floor['shift_median']:.1f} "
        f"(95 % below {floor['shift_p95']:.1f})"
    )
    for name, bar in report.get("bars", {}).items():
        print(f"{'holds' if bar['holds'] else 'MISSED':7s} {name}: {number(bar['value'])} ({bar['asked']})")


def make_report(real: dict, samples: Sequence[CineNumbers] | None, groups: Sequence[str]) -> dict:
    """Cohorts side by side, bars, and how far real cines would be from real cines.

    Args:
        real: From `real_numbers`.
        samples: Numbers of the generated cines, or None.
        groups: Their groups.
    """

    def of(kind: str, aside: bool) -> tuple[list[CineNumbers], list[str]]:
        chosen = [i for i, kept in enumerate(real["validation"]) if kept == aside and i < len(real[kind])]
        return [CineNumbers.from_dict(real[kind][i]) for i in chosen], [real["groups"][i] for i in chosen]

    parts: dict[str, tuple[Sequence[CineNumbers], Sequence[str]]] = {}
    if samples is not None:
        parts["samples"] = (samples, groups)
    parts["real held-out"] = of("judged", True)
    parts["real training"] = of("judged", False)
    if real["labelled"]:
        parts["training, expert labels"] = of("labelled", False)
    training = parts["real training"][0]
    labelled = of("labelled", False)[0]
    cohorts = {}
    for name, (cines, own) in parts.items():
        if not cines:
            continue
        ef = [one.ef_percent for one in cines]
        cohorts[name] = cohort_summary(cines, own) | {
            "ef_distance": wasserstein(ef, [one.ef_percent for one in training]),
            "ef_distance_labels": wasserstein(ef, [one.ef_percent for one in labelled]),
            "edv_distance": wasserstein([one.edv_ml for one in cines], [one.edv_ml for one in training]),
        }
    known = sorted(set(real["groups"]))
    # Without samples: 32 spread over the groups.
    chosen = list(groups) if samples is not None else [known[i % len(known)] for i in range(32)]
    floor = subset_floor([one.ef_percent for one in training], of("judged", False)[1], Counter(chosen))
    report: dict = {"cohorts": cohorts, "floor": {"size": len(chosen)} | floor}
    if samples is not None:
        report["bars"] = bars(samples, groups, training)
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description="Judge generated cines side by side with real ones.")
    parser.add_argument("--pack", type=Path, required=True, help="training pack")
    parser.add_argument("--judge", type=Path, required=True, help="weights from judge.py")
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--array", type=Path, help="samples.npz")
    source.add_argument("--cines", type=Path, help="folder of cine files")
    parser.add_argument("--out", type=Path, required=True, help="report, .json")
    parser.add_argument("--sheet", type=Path, help="contact sheet, .png; a second one with borders is put beside it")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()

    import torch
    from judge import judge_facts, load_judge

    torch.set_num_threads(options.threads)
    judge = load_judge(options.judge)
    real = real_numbers(judge, options.judge, options.pack)
    cohort, numbers = None, None
    start, start_cpu = time.monotonic(), time.process_time()
    if options.array:
        cohort = read_array(options.array, real["group_names"], tuple(real["spacing"]))
    elif options.cines:
        cohort = read_folder(options.cines, real["group_names"])
    if cohort is not None:
        numbers, labels = judge_cohort(judge, cohort, "samples")
    report = make_report(real, numbers, cohort.groups if cohort else ())
    report["judge"] = judge_facts(options.judge)
    if cohort is not None and numbers is not None:
        report["seconds"], report["cpu_seconds"] = time.monotonic() - start, time.process_time() - start_cpu
        report["samples"] = [
            {"name": name, "group": group} | asdict(one)
            for name, group, one in zip(cohort.names, cohort.groups, numbers)
        ]
        if options.sheet:
            pictures = [to_judge_grid(cine, step) for cine, step in zip(cohort.images, cohort.spacing)]
            titles = [
                f"{name} {group}\nEF {one.ef_percent:.0f}  {one.edv_ml:.0f} mL\nLV in {one.lv_slices}"
                for name, group, one in zip(cohort.names, cohort.groups, numbers)
            ]
            frames = [(one.ed_frame, one.es_frame) for one in numbers]
            contact_sheet(options.sheet, pictures, titles, frames)
            contact_sheet(options.sheet.with_suffix(".borders.png"), pictures, titles, frames, labels)
    _write_json(options.out, report)
    print_table(report)
    if "seconds" in report:
        wall, cpu = report["seconds"], report["cpu_seconds"]
        print(f"\n{len(report['samples'])} cines judged in {wall:.0f} s ({cpu:.0f} s of CPU)")


if __name__ == "__main__":
    main()

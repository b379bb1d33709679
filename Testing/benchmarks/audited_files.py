"""Are copies recognised on the way that people use: saved as files, read back, audited?

Run: ``python Testing/benchmarks/audited_files.py --pack runs/acdc.npz --out files.json [--recorded PATH/TO/acdc]``.

Patients that the pack keeps aside, whom the encoder never saw, are put among the training patients, in turn with all
others; then files of them are asked about, changed in every way of ``Testing/disguised_files.py``. Two ways:

* bundle: references are the pack's cines, rounded as a bundle stores them (what ``--attach`` writes);
* folder: references are files of the same cines, found and posed as any file is (``--train FOLDER``).

A copy is found where its nearest reference is of its own patient and more similar than the threshold. Thresholds: the
one that the training patients of the pack give at 5 % (each against all others: what a bundle is given), and, for 5 %
and 1 %, the quantiles of what the same changed files score where their own patient is not among the references.

``--recorded`` asks about end-diastole and end-systole of the pack's patients as they were recorded (an ACDC folder, in
the order of the pack): training patients have to be found by the bundle's threshold, those kept aside must not be.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[1]))
from disguised_files import Disguise, disguises

from CardioDiTLib.cine import Cine
from CardioDiTLib.data.packing import PackedCines, read_pack
from CardioDiTLib.data.same_patients import patients_of
from CardioDiTLib.io import load_cine, save_cine
from CardioDiTLib.io.nifti import read_nifti
from CardioDiTLib.privacy.calibration import Calibration
from CardioDiTLib.privacy.embedding_set import EmbeddingSet, checked
from CardioDiTLib.privacy.encoder import CineEncoder, embed_pack, load_encoder
from CardioDiTLib.privacy.leakage import leave_one_out
from CardioDiTLib.privacy.nearest import directions
from CardioDiTLib.privacy.pose_search import TURNS
from CardioDiTLib.privacy.reference_set import ReferenceSet

RATES = (0.05, 0.01)


def cine_of(pack: PackedCines, index: int) -> Cine:
    """A cine of the pack, slices that were recorded alone."""
    images = pack.images[index][:, np.asarray(pack.slice_valid[index], bool)]
    times = np.arange(len(images)) * float(pack.cycle_s[index]) / len(images)
    return Cine(images.astype(np.int16), np.diag([*pack.spacing, 1.0]), times)


def similarities(poses: NDArray[np.float32], references: NDArray[np.float32]) -> NDArray[np.float64]:
    """(R,) largest correlation of any pose of a cine with each reference."""
    return np.asarray((directions(poses) @ directions(references).T).max(axis=0), np.float64)


def scores(
    found: NDArray[np.float64], own: NDArray[np.int64], people: NDArray[np.int64], hidden: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Of queries (Q, R): similarity to their own patient, and the largest one to any other that is not hidden."""
    mine = own[:, None] == people[None]
    return np.where(mine, found, -1.0).max(1), np.where(mine | hidden, -1.0, found).max(1)


def measure(
    kinds: list[Disguise],
    cines: list[Cine],
    planted: NDArray[np.int64],
    people: NDArray[np.int64],
    tables: dict[str, NDArray[np.float32]],
    thresholds: dict[str, float],
    encoder: CineEncoder,
) -> dict[str, Any]:
    """Sensitivities of every disguise by every way."""
    right: dict[str, list[NDArray[np.float64]]] = {way: [] for way in tables}
    wrong: dict[str, list[NDArray[np.float64]]] = {way: [] for way in tables}
    seconds: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        for kind in kinds:
            rows: dict[str, list[NDArray[np.float64]]] = {way: [] for way in tables}
            hidden = np.zeros((len(planted), len(people)), bool)
            for place, index in enumerate(planted):
                other = planted[(place + 1) % len(planted)]
                if kind.name.startswith("mixed"):
                    hidden[place] = people == people[other]
                path = kind.save(cines[index], Path(folder), "query", cines[other])
                begun = time.process_time()
                poses = encoder.embed_poses([load_cine(path)])[0]
                seconds.append(time.process_time() - begun)
                for way, table in tables.items():
                    rows[way].append(similarities(poses, table))
            for way in tables:
                one, two = scores(np.array(rows[way]), people[planted], people, hidden)
                right[way].append(one)
                wrong[way].append(two)
            print(kind.name, {way: np.round(np.sort(right[way][-1])[:3], 2).tolist() for way in tables}, flush=True)
    report: dict[str, Any] = {"cpu_seconds_a_file": float(np.mean(seconds))}
    for way in tables:
        copy, novel = np.array(right[way]), np.array(wrong[way])
        cuts = {"own": thresholds[way], **{f"{rate:g}": float(np.quantile(novel, 1 - rate)) for rate in RATES}}
        barred = np.array([kind.barred for kind in kinds])
        hit = {name: (copy > cut) & (copy > novel) for name, cut in cuts.items()}
        report[way] = {
            "thresholds": cuts,
            "novel_above_own_threshold": float((novel > cuts["own"]).mean()),
            "barred": {name: float(found[barred].mean()) for name, found in hit.items()},
            "rows": [
                {
                    "name": kind.name,
                    "lowest": float(copy[i].min()),
                    **{name: float(found[i].mean()) for name, found in hit.items()},
                }
                for i, kind in enumerate(kinds)
            ],
        }
    return report


def threshold_of(
    train: EmbeddingSet, people: NDArray[np.int64], references: NDArray[np.float32] | None = None
) -> float:
    """What training patients, each against all others, give at 5 %."""
    found, owners, _ = leave_one_out(train, people, 0.999, 64.0, references=references)
    return Calibration.of(found, owners, "leave-one-out").threshold(0.05)


def recorded(folder: Path, names: Path, encoder: CineEncoder, limit: int | None) -> NDArray[np.float32]:
    """Poses of files of end-diastole and end-systole as recorded, in the order of a pack."""
    with open(folder / "metadata.csv", newline="", encoding="utf-8") as stream:
        rows = sorted(csv.DictReader(stream), key=lambda row: (row["pathology"], row["pid"]))
    paths = []
    for row in rows[:limit]:
        parts = [read_nifti(folder / f"{row['pid']}_{part}.nii.gz", allow_volume=True) for part in ("ED", "ES")]
        cine = Cine(np.concatenate([part.array[:1] for part in parts]), parts[0].affine, [0.0, 0.4])
        paths.append(save_cine(cine, names / f"{len(paths):03d}.nii.gz"))
    return encoder.embed_poses([load_cine(path) for path in paths])


def markdown(report: dict[str, Any]) -> str:
    """A table for the docs."""
    ways = [way for way in ("bundle", "folder") if way in report]
    lines = [
        "| saved | " + " | ".join(f"{way}: own threshold | 5 % (1 %)" for way in ways) + " |",
        "| --- |" + " ---: | ---: |" * len(ways),
    ]
    for i, row in enumerate(report[ways[0]]["rows"]):
        cells = []
        for way in ways:
            one = report[way]["rows"][i]
            cells.append(f"{one['own']:.2f} | {one['0.05']:.2f} ({one['0.01']:.2f})")
        lines.append(f"| {row['name']} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pack", type=Path, required=True)
    parser.add_argument("--encoder", type=Path, help="encoder's folder; the embedded one without it")
    parser.add_argument("--recorded", type=Path, help="ACDC folder that the pack was made of")
    parser.add_argument("--patients", type=int, help="so many of the patients kept aside; all without it")
    parser.add_argument("--limit", type=int, help="so many recorded patients at most")
    parser.add_argument("--no-folder", action="store_true", help="leave the way with folders out")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    encoder = load_encoder(options.encoder)
    pack = read_pack(options.pack, encoder.manifest.grid.frames)
    people = patients_of(pack.images)
    aside = np.isin(people, people[pack.validation])
    planted = np.flatnonzero(pack.validation)[: options.patients]
    cines = [cine_of(pack, i) for i in range(len(people))]
    poses = embed_pack(encoder, options.pack, "all", turns=TURNS)
    everyone = checked(poses[:, 0], "training", people.tolist(), poses=poses)
    tables = {"bundle": ReferenceSet.build(everyone).values}
    thresholds = {"bundle": threshold_of(everyone.kept(~aside), people[~aside], tables["bundle"][~aside])}
    if not options.no_folder:
        with tempfile.TemporaryDirectory() as folder:
            paths = [save_cine(cine, Path(folder) / f"{i:03d}.nii.gz") for i, cine in enumerate(cines)]
            files = encoder.embed_poses([load_cine(path) for path in paths])
        saved = checked(files[:, 0], "training", people.tolist(), poses=files)
        tables["folder"] = saved.values
        thresholds["folder"] = threshold_of(saved.kept(~aside), people[~aside])
    report = measure(disguises(), cines, planted, people, tables, thresholds, encoder)
    report["planted"], report["references"] = len(planted), len(people)
    if options.recorded is not None:
        with tempfile.TemporaryDirectory() as folder:
            asked = recorded(options.recorded, Path(folder), encoder, options.limit)
        found = np.array([similarities(one, tables["bundle"]) for one in asked])
        known = aside[: len(asked)]
        right, wrong = scores(found, people[: len(asked)], people, np.tile(aside, (len(asked), 1)))
        cut = thresholds["bundle"]
        report["recorded"] = {
            "training_patients": int((~known).sum()),
            "recognised": float((right[~known] > cut).mean()),
            "nearest_is_right": float((right > wrong)[~known].mean()),
            "novel_patients": int(known.sum()),
            "novel_flagged": float((wrong[known] > cut).mean()) if known.any() else None,
            "scores": np.round(right[~known], 3).tolist(),
        }
    options.out.write_text(json.dumps(report, indent=1), encoding="utf-8")
    print(markdown(report))
    print(json.dumps({key: report[key] for key in report if key not in ("bundle", "folder")}, indent=1))
    for way in tables:
        print(way, {key: report[way][key] for key in ("thresholds", "novel_above_own_threshold", "barred")})


if __name__ == "__main__":
    main()

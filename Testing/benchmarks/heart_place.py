"""Fits and measures where the heart is looked for (``CardioDiTLib/data/heart_place.py``).

Run: ``python Testing/benchmarks/heart_place.py --pack runs/acdc.npz --acdc PATH/TO/acdc [--write] [--folds 4]``.

Cines of the pack, end-diastolic and end-systolic volumes as recorded, a crop of each of these with the heart anywhere
in it, and digital phantoms; the truth is the centroid of all labels. ``--folds`` measures on patients that were left
out of the fit (2: the first figures are of one half of the patients, who were not seen, the next of the other),
``--write`` fits all and writes ``heart_place.json``. Without either, what is written is measured. The last line is the
cost of finding the heart, in CPU seconds a cine of the pack.
"""

from __future__ import annotations

import argparse
import csv
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from CardioDiTLib.data import heart_place
from CardioDiTLib.data.heart_place import WEIGHTS, place_features, place_pictures, pulls
from CardioDiTLib.data.heart_roi import heart_places, label_centre_index, motion_energy
from CardioDiTLib.data.packing import patients_of, read_pack
from CardioDiTLib.data.phantom import PhantomSpec, make_phantom
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.io.nifti import read_nifti

HIDDEN, STEPS, RATE, DECAY = 12, 120, 1.5e-2, 1e-3
TRUTH_MM, NEAR_MM, KEPT = 6.0, 30.0, 0.12
PULL_NETWORKS, PULL_HIDDEN, PULL_STEPS, PULL_RATE, PULL_DECAY = 2, 4, 600, 1e-2, 1e-2
STARTS, START_MM, BATCH = 6, 12.0, 512
PIXEL_MM = 4.0
Table = tuple[torch.Tensor, ...]
Spacing = tuple[float, float, float]


@dataclass(frozen=True, eq=False)
class Case:
    """A cine, its patient, and where its heart is."""

    kind: str
    patient: int
    array: NDArray[Any]
    spacing: Spacing
    truth: tuple[float, float]


def cases(pack: Path, acdc: Path, seed: int = 0) -> list[Case]:
    """Everything that is fitted to and measured on."""
    opened, rng = read_pack(pack), np.random.default_rng(seed)
    assert opened.labels is not None
    people = [int(person) for person in patients_of(opened.images)]  # one was recorded twice
    whole = []
    for i, (images, labels, valid) in enumerate(zip(opened.images, opened.labels, opened.slice_valid)):
        whole.append(
            Case("pack", people[i], images[:, valid], opened.spacing, label_centre_index(labels[:, valid])[:2])
        )
    with open(acdc / "metadata.csv", newline="", encoding="utf-8") as stream:
        rows = sorted(csv.DictReader(stream), key=lambda row: (row["pathology"], row["pid"]))
    for i, row in enumerate(rows):
        parts = {
            name: read_nifti(acdc / f"{row['pid']}_{name}.nii.gz", allow_volume=True)
            for name in ("ED", "ES", "ED_gt", "ES_gt")
        }
        array, labels = (np.concatenate([parts[f"{t}{end}"].array[:1] for t in ("ED", "ES")]) for end in ("", "_gt"))
        axes = np.linalg.norm(parts["ED"].affine[:3, :3], axis=0)
        spacing = (float(axes[0]), float(axes[1]), float(axes[2]))
        whole.append(Case("recorded", people[i], array, spacing, label_centre_index(labels)[:2]))
    made = list(whole)
    for case in whole:
        part, truth = cut(case, case.array, rng.uniform(110, 190), rng.uniform(-35, 35, 2))
        made.append(Case("crop", case.patient, part, case.spacing, truth))
    for i in range(24):
        spec = PhantomSpec(
            frames=(2, 6, 12)[i % 3],
            height=(96, 128, 160)[i % 3],
            width=(96, 128, 160)[i % 3],
            centre_mm=tuple(rng.uniform(-25, 25, 2)),
            septum_deg=float(rng.uniform(0, 360)),
            noise=float(rng.uniform(0, 0.05)),
            seed=i,
        )
        phantom = make_phantom(spec)
        truth = label_centre_index(phantom.segmentation.array)[:2]
        made.append(Case("phantom", i, phantom.cine.array, phantom.cine.spacing, truth))
    return made


def parts_of(whole: list[Case], seed: int = 5) -> list[Case]:
    """Two pieces of each: some of the slices and frames, another field, another brightness; to fit to alone."""
    rng, made = np.random.default_rng(seed), []
    for case in whole:
        for again in range(2):
            array, slices = case.array, case.array.shape[1]
            if slices > 4:
                count = rng.integers(max(3, slices // 2), slices + 1)
                start = rng.integers(0, slices - count + 1)
                array = array[:, start : start + count]
            if len(array) > 8:
                array = array[np.sort(rng.choice(len(array), 8, replace=False))] if again else array[::3]
            array, truth = cut(case, array, rng.uniform(110, 260), rng.uniform(-40, 40, 2))
            array = array.astype(np.float32)
            low, high = np.percentile(array, (0.5, 99.5))
            array = np.clip((array - low) / (high - low), 0, 1.3) ** rng.uniform(0.7, 1.4)
            made.append(Case("part", case.patient, array, case.spacing, truth))
    return made


def cut(
    case: Case, array: NDArray[Any], field_mm: float, shift_mm: NDArray[np.float64]
) -> tuple[NDArray[Any], tuple[float, float]]:
    """A square of some frames and slices of a case, its middle off the heart's, and the truth in it."""
    begin, end = [], []
    for centre, spacing_mm, move, count in zip(case.truth, case.spacing, shift_mm, array.shape[:1:-1]):
        begin.append(int(max(0, centre + (move - field_mm / 2) / spacing_mm)))
        end.append(int(min(count, centre + (move + field_mm / 2) / spacing_mm)))
    truth = (case.truth[0] - begin[0], case.truth[1] - begin[1])
    return array[..., begin[1] : end[1], begin[0] : end[0]], truth


def pictures_of(case: Case) -> tuple[NDArray[np.float32], float, float]:
    """(8, Y, X) pictures, and column and row of the truth in them."""
    energy = motion_energy(case.array, case.spacing)
    pictures = place_pictures(case.array.mean(0, dtype=np.float32), energy, case.spacing[:2])
    x, y = (
        (truth + 0.5) * count / whole - 0.5
        for truth, count, whole in zip(case.truth, pictures.shape[:0:-1], case.array.shape[:1:-1])
    )
    return pictures, x, y


def table_of(pictures: NDArray[np.float32], x0: float, y0: float) -> Table:
    """(pixels, F) features, (pixels,) share of the truth, (pixels,) logarithm of what each pixel stands for."""
    found = place_features(pictures)
    height, width = found.shape[1:]
    y, x = np.mgrid[:height, :width]
    far = ((y - y0) ** 2 + (x - x0) ** 2) * PIXEL_MM**2
    truth = np.exp(-0.5 * far / TRUTH_MM**2)
    near = far < NEAR_MM**2
    kept = near | (np.random.default_rng(1).random(far.shape) < KEPT)  # far away, some pixels stand for all
    stands = np.where(near, 0.0, -np.log(KEPT))
    parts = found[:, kept].T, (truth / truth.sum())[kept], stands[kept]
    return tuple(torch.from_numpy(np.ascontiguousarray(one, np.float32)) for one in parts)


def pull_table(pictures: NDArray[np.float32], x0: float, y0: float, rng: np.random.Generator) -> Table:
    """(S, P, 2) and (S, P) of `pulls` from places about the truth, and (S, 2) mm from there to it."""
    away = rng.normal(0, START_MM / PIXEL_MM, (STARTS, 2))
    turning, still = zip(*(pulls(pictures, y0 + dy, x0 + dx) for dx, dy in away))
    return tuple(torch.from_numpy(np.asarray(one, np.float32)) for one in (turning, still, -away * PIXEL_MM))


def fit_pulls(tables: list[Table]) -> dict[str, NDArray[Any]]:
    """Networks that say the way to the truth, least distance; several that began elsewhere, averaged."""
    turning, still, truth = (torch.cat(parts) for parts in zip(*tables))
    mean, scale = still.mean(0), still.std(0) + 1e-6
    size = turning.square().mean((0, 2)).sqrt() + 1e-6
    still, turning = (still - mean) / scale, turning / size[:, None]
    count = still.shape[1]
    parts: list[tuple[torch.Tensor, ...]] = []
    for seed in range(PULL_NETWORKS):
        torch.manual_seed(seed)
        first, second = torch.nn.Linear(count, PULL_HIDDEN), torch.nn.Linear(PULL_HIDDEN, count)
        with torch.no_grad():
            second.weight *= 0.1
            second.bias *= 0.1
        parameters = [*first.parameters(), *second.parameters()]
        adam = torch.optim.Adam(parameters, PULL_RATE)
        for step in range(PULL_STEPS):
            adam.param_groups[0]["lr"] = PULL_RATE * 0.5 * (1 + np.cos(np.pi * step / PULL_STEPS)) + 1e-4
            some = torch.from_numpy(np.random.default_rng(step).choice(len(still), BATCH))
            way = (second(torch.tanh(first(still[some])))[:, :, None] * turning[some]).sum(1)
            loss = ((way - truth[some]).square().sum(1) + 4).sqrt().mean()
            loss = loss + PULL_DECAY * sum(p.square().sum() for p in parameters)
            adam.zero_grad()
            loss.backward()
            adam.step()
        weight = first.weight / scale
        offset = first.bias - (weight * mean).sum(1)
        parts.append((weight, offset, (second.weight / size[:, None]).T, second.bias / size))
    weights, offsets, seconds, biases = zip(*((one.detach().numpy() for one in part) for part in parts))
    return {
        "pull_first": np.concatenate(weights),
        "pull_first_offset": np.concatenate(offsets),
        "pull_second": np.concatenate(seconds).T / PULL_NETWORKS,
        "pull_second_offset": np.mean(biases, axis=0),
    }


def fit_places(tables: list[Table]) -> dict[str, NDArray[Any]]:
    """Maximum likelihood of the truth among the pixels of each picture."""
    features, truth, stands = (torch.cat(parts) for parts in zip(*tables))
    which = torch.cat([torch.full((len(one[0]),), i) for i, one in enumerate(tables)])
    mean, scale = features.mean(0), features.std(0) + 1e-6
    features = (features - mean) / scale
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(len(mean), HIDDEN), torch.nn.Tanh(), torch.nn.Linear(HIDDEN, 1))
    adam = torch.optim.Adam(network.parameters(), RATE)
    count = len(tables)
    for step in range(STEPS):
        adam.param_groups[0]["lr"] = RATE * 0.5 * (1 + np.cos(np.pi * step / STEPS)) + 1e-4
        scores = network(features)[:, 0]
        most = torch.full((count,), -1e9).scatter_reduce(0, which, (scores + stands).detach(), "amax")
        total = torch.zeros(count).index_add(0, which, torch.exp(scores + stands - most[which]))
        shares = torch.zeros(count).index_add(0, which, truth)
        loss = ((most + total.log()) * shares).mean() - (truth * scores).sum() / count
        loss = loss + DECAY * sum(p.square().sum() for p in network.parameters())
        adam.zero_grad()
        loss.backward()
        adam.step()
    first, second = network[0], network[2]
    weight = first.weight / scale
    found = {"first": weight, "first_offset": first.bias - (weight * mean).sum(1), "second": second.weight[0]}
    return {name: values.detach().numpy() for name, values in found.items()}


def fit(places: list[Table], ways: list[Table]) -> dict[str, Any]:
    """Both fits, rounded to what is written."""
    found = {**fit_places(places), **fit_pulls(ways)}
    return {
        name: np.vectorize(lambda v: float(f"{v:.4g}"))(values.astype(np.float64)).tolist()
        for name, values in found.items()
    }


def errors(some: list[Case]) -> dict[str, list[float]]:
    """Distance in plane from the truth, mm, of what is written."""
    found: dict[str, list[float]] = {}
    for case in some:
        try:
            x, y, _ = heart_places(case.array, case.spacing)[0]
        except CardioDiTError:
            x, y = (n / 2 for n in case.array.shape[:1:-1])
        way = np.hypot((x - case.truth[0]) * case.spacing[0], (y - case.truth[1]) * case.spacing[1])
        found.setdefault(case.kind, []).append(float(way))
    return found


def main() -> None:
    """Fit, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pack", type=Path, required=True)
    parser.add_argument("--acdc", type=Path, required=True)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--folds", type=int, default=0)
    options = parser.parse_args()
    everyone = cases(options.pack, options.acdc)
    if options.folds or options.write:
        rng = np.random.default_rng(2)
        pictures = [pictures_of(case) for case in everyone]
        places = [(case.patient, table_of(*seen)) for case, seen in zip(everyone, pictures)]
        pieces = parts_of([case for case in everyone if case.kind in ("pack", "recorded")])
        seen = [*zip(everyone, pictures), *zip(pieces, map(pictures_of, pieces))]
        ways = [(case.patient, pull_table(*one, rng)) for case, one in seen]
        for fold in range(options.folds):
            kept = [case.patient % options.folds != fold for case in everyone]
            values = fit(
                [table for patient, table in places if patient % options.folds != fold],
                [table for patient, table in ways if patient % options.folds != fold],
            )
            written = heart_place._weights
            heart_place._weights = fixed(values)  # type: ignore[assignment]
            tell(f"fold {fold}: ", errors([case for case, one in zip(everyone, kept) if not one]))
            heart_place._weights = written
        if options.write:
            WEIGHTS.write_text(
                json.dumps(fit([table for _, table in places], [table for _, table in ways])) + "\n", encoding="utf-8"
            )
            heart_place._weights.cache_clear()
    if options.write or not options.folds:
        tell("", errors(everyone))
        some = [case for case in everyone if case.kind == "pack"][:10]
        begun = time.process_time()
        for case in some:
            heart_places(case.array, case.spacing)
        print(f"{(time.process_time() - begun) / len(some):.3f} s of one processor a cine of the pack")


def fixed(values: dict[str, Any]) -> Callable[[], dict[str, NDArray[Any]]]:
    """Weights in place of those that are written."""
    arrays = {name: np.array(one) for name, one in values.items()}
    return lambda: arrays


def tell(begin: str, found: dict[str, list[float]]) -> None:
    """Print what errors there were."""
    for kind, some in found.items():
        values = np.array(some)
        print(
            f"{begin}{kind}: {len(values)}, within 10 mm {(values < 10).mean():.3f}, within 20 mm "
            f"{(values < 20).mean():.3f}, median {np.median(values):.1f} mm, largest "
            f"{np.round(np.sort(values)[::-1][:5], 1).tolist()}",
            flush=True,
        )


if __name__ == "__main__":
    main()

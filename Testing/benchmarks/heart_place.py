"""Fits and measures where the heart is looked for (``CardioDiTLib/data/heart_place.py``).

Run: ``python Testing/benchmarks/heart_place.py --pack runs/acdc.npz --acdc PATH/TO/acdc [--write] [--folds 4]``.

Cines of the pack, end-diastolic and end-systolic volumes as recorded, a crop of each of these with the heart anywhere
in it, and digital phantoms; the truth is the centroid of all labels. ``--folds`` measures on patients that were left
out of the fit, ``--write`` fits all and writes ``heart_place.json``. Without either, what is written is measured.
"""

from __future__ import annotations

import argparse
import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from CardioDiTLib.data.heart_place import WEIGHTS, place_features
from CardioDiTLib.data.heart_roi import heart_places, label_centre_index, motion_energy
from CardioDiTLib.data.packing import read_pack
from CardioDiTLib.data.phantom import PhantomSpec, make_phantom
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.io.nifti import read_nifti

HIDDEN, STEPS, RATE, DECAY = 12, 120, 1.5e-2, 1e-3
TRUTH_MM, NEAR_MM, KEPT = 6.0, 30.0, 0.12
PIXEL_MM = 4.0
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
    whole = []
    for i, (images, labels, valid) in enumerate(zip(opened.images, opened.labels, opened.slice_valid)):
        whole.append(Case("pack", i, images[:, valid], opened.spacing, label_centre_index(labels[:, valid])[:2]))
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
        whole.append(Case("recorded", i, array, spacing, label_centre_index(labels)[:2]))
    made = list(whole)
    for case in whole:
        field, shift = rng.uniform(110, 190), rng.uniform(-35, 35, 2)
        begin, end = [], []
        for centre, spacing_mm, move, count in zip(case.truth, case.spacing, shift, case.array.shape[:1:-1]):
            begin.append(int(max(0, centre + (move - field / 2) / spacing_mm)))
            end.append(int(min(count, centre + (move + field / 2) / spacing_mm)))
        part = case.array[..., begin[1] : end[1], begin[0] : end[0]]
        truth = (case.truth[0] - begin[0], case.truth[1] - begin[1])
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
        x, y, _ = phantom.cine.ras_to_index(phantom.centre_ras_mm)
        made.append(Case("phantom", i, phantom.cine.array, phantom.cine.spacing, (float(x), float(y))))
    return made


def table_of(case: Case) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(pixels, F) features, (pixels,) share of the truth, (pixels,) logarithm of what each pixel stands for."""
    energy = motion_energy(case.array, case.spacing)
    found = place_features(case.array.mean(0, dtype=np.float32), energy, case.spacing[:2])
    height, width = found.shape[1:]
    size = case.array.shape[:1:-1]
    x0 = (case.truth[0] + 0.5) * width / size[0] - 0.5
    y0 = (case.truth[1] + 0.5) * height / size[1] - 0.5
    y, x = np.mgrid[:height, :width]
    far = ((y - y0) ** 2 + (x - x0) ** 2) * PIXEL_MM**2
    truth = np.exp(-0.5 * far / TRUTH_MM**2)
    near = far < NEAR_MM**2
    kept = near | (np.random.default_rng(1).random(far.shape) < KEPT)  # far away, some pixels stand for all
    stands = np.where(near, 0.0, -np.log(KEPT))
    parts = found[:, kept].T, (truth / truth.sum())[kept], stands[kept]
    return tuple(torch.from_numpy(np.ascontiguousarray(one, np.float32)) for one in parts)  # type: ignore[return-value]


def fit(tables: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]) -> dict[str, Any]:
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
    rounded = {
        "first": weight,
        "first_offset": first.bias - (weight * mean).sum(1),
        "second": second.weight[0],
    }
    return {
        name: np.vectorize(lambda v: float(f"{v:.4g}"))(values.detach().double().numpy()).tolist()
        for name, values in rounded.items()
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
    found: dict[str, list[float]] = {}
    if options.folds or options.write:
        from CardioDiTLib.data import heart_place

        tables = [table_of(case) for case in everyone]
        for fold in range(options.folds):
            kept = [case.patient % options.folds != fold for case in everyone]
            values = fit([table for table, one in zip(tables, kept) if one])
            heart_place._weights = lambda values=values: {k: np.array(v) for k, v in values.items()}  # type: ignore[misc,assignment]
            for kind, some in errors([case for case, one in zip(everyone, kept) if not one]).items():
                found.setdefault(kind, []).extend(some)
        if options.write:
            WEIGHTS.write_text(json.dumps(fit(tables), indent=0) + "\n", encoding="utf-8")
    if not options.folds:
        found = errors(everyone) if not options.write else {}
    for kind, some in found.items():
        values = np.array(some)
        print(
            f"{kind}: {len(values)}, within 10 mm {(values < 10).mean():.3f}, within 20 mm {(values < 20).mean():.3f}, "
            f"median {np.median(values):.1f} mm, largest {np.round(np.sort(values)[::-1][:5], 1).tolist()}"
        )


if __name__ == "__main__":
    main()

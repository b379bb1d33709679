"""What somebody could learn of a training set from the quantised embeddings that a bundle carries.

    python Testing/benchmarks/embedding_leak.py --pack runs/acdc.npz
    python Testing/benchmarks/embedding_leak.py --pack runs/acdc.npz --encoder FOLDER --json leak.json

Two questions, each beside what chance gives:

* Membership: given a cine of a patient, was the patient trained on? Answered by the similarity with the nearest stored
  embedding, for each training cine as it is, for a changed image of it (another brightness, a shift, noise), and for
  each validation cine. AUC 0.5 is chance, 1 is certainty. Certainty is what the gate needs: this is by design.
* Inversion: from the embedding alone, how much of the image and of simple facts can be had by linear regression that
  learned on other patients (ridge, leave-one-out over patients, penalty chosen inside)? Share of variance explained by
  a prediction for a patient who was not learned from; chance is 0 or a little below, and the 95 % quantile under
  shuffled patients is given. A stronger attacker with other data of this kind can do better: this is a lower bound.

Facts come from the pack's labels: volume of the LV cavity at its largest (within the slices of the stack), ejection
fraction, LV muscle; and the pathology group. Images are frame 0, middle slice, averaged down to 16 x 16 pixels.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from CardioDiTLib.data.packing import PackedCines, read_pack
from CardioDiTLib.privacy.embedding_set import checked
from CardioDiTLib.privacy.encoder import CineEncoder, embed_pack, load_encoder, pack_array
from CardioDiTLib.privacy.nearest import directions
from CardioDiTLib.privacy.reference_set import ReferenceSet

PENALTIES = (0.1, 1.0, 10.0, 100.0, 1000.0)
SIDE = 16  # pixels of the picture that is to be guessed


def area_under_curve(members: NDArray, others: NDArray) -> float:
    """Probability that a member scores higher than another; 0.5 is chance."""
    ranks = rankdata(np.concatenate([members, others]))
    return float((ranks[: len(members)].sum() - len(members) * (len(members) + 1) / 2) / (len(members) * len(others)))


def changed(array: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """The same heart acquired again, roughly: other brightness and contrast, moved by some pixels, with noise."""
    moved = np.roll(array, tuple(rng.integers(-4, 5, 2)), axis=(-2, -1))
    gamma = rng.uniform(0.8, 1.25)
    bright = 2 * ((moved + 1) / 2).clip(0, 1) ** gamma - 1
    return np.clip(bright + 0.05 * rng.standard_normal(array.shape), -1, 1).astype(np.float32)


def ridge_predictions(x: NDArray, y: NDArray) -> NDArray:
    """Predictions for each row from all others, with the penalty that did best among these others.

    Args:
        x: (n, d).
        y: (n, k).

    Returns:
        (n, k). For each left-out row the model is fitted, penalty and all, without it.
    """
    n = len(x)
    predictions = np.empty_like(y, dtype=np.float64)
    for left in range(n):
        rest = np.arange(n) != left
        a, b = x[rest], y[rest]
        centre_x, centre_y = a.mean(axis=0), b.mean(axis=0)
        a, b = a - centre_x, b - centre_y
        u, s, vt = np.linalg.svd(a, full_matrices=False)
        ub = u.T @ b
        best, chosen = np.inf, PENALTIES[0]
        for penalty in PENALTIES:
            shrink = s**2 / (s**2 + penalty * s[0] ** 2 / 1000)
            hat = ((u * shrink) * u).sum(axis=1) + 1 / len(a)
            error = float((((b - u @ (shrink[:, None] * ub)) / (1 - hat)[:, None]) ** 2).sum())
            if error < best:
                best, chosen = error, penalty
        weights = vt.T @ ((s / (s**2 + chosen * s[0] ** 2 / 1000))[:, None] * ub)
        predictions[left] = (x[left] - centre_x) @ weights + centre_y
    return predictions


def explained(y: NDArray, predictions: NDArray) -> float:
    """Share of the variance over patients that the predictions explain, over all columns together."""
    n = len(y)
    # a constant guess is also made from the other patients, so that chance is 0 and not below
    others = (y.sum(axis=0) - y) / (n - 1)
    return 1 - float(((y - predictions) ** 2).sum() / ((y - others) ** 2).sum())


def hits(groups: NDArray[np.int64], predictions: NDArray) -> float:
    """Share of patients whose group is guessed."""
    return float((predictions.argmax(axis=1) == groups).mean())


def pictures(pack: PackedCines, chosen: NDArray[np.int64]) -> NDArray:
    """(n, SIDE * SIDE) frame 0, middle slice, the middle of the picture averaged down."""
    result = []
    for i in chosen:
        valid = np.flatnonzero(pack.slice_valid[i])
        plane = pack.images[i, 0, valid[len(valid) // 2]].astype(np.float64)
        size = min(plane.shape) // SIDE * SIDE
        top, left = ((side - size) // 2 for side in plane.shape)
        box = plane[top : top + size, left : left + size].reshape(SIDE, size // SIDE, SIDE, size // SIDE)
        small = box.mean(axis=(1, 3)).ravel()
        result.append((small - small.mean()) / (small.std() + 1e-6))
    return np.stack(result)


def facts(pack: PackedCines, chosen: NDArray[np.int64]) -> dict[str, NDArray]:
    """Simple facts of each patient, (n,) each."""
    if pack.labels is None:
        return {}
    voxel_ml = float(np.prod(pack.spacing)) / 1000
    cavity = np.stack([(pack.labels[i] == 3).sum(axis=(1, 2, 3)) for i in chosen]) * voxel_ml
    muscle = np.stack([(pack.labels[i, 0] == 2).sum() for i in chosen]) * voxel_ml * 1.05
    largest, smallest = cavity.max(axis=1), cavity.min(axis=1)
    ejected = 100 * (largest - smallest) / np.maximum(largest, 1e-6)
    return {"LV EDV, mL": largest, "LV EF, %": ejected, "LV muscle, g": muscle}


def inversion(rows: NDArray, y: NDArray, shuffles: int, rng: np.random.Generator) -> dict[str, float]:
    """Explained variance, and its 95 % quantile among shuffled patients."""
    value = explained(y, ridge_predictions(rows, y))
    chance = []
    for _ in range(shuffles):
        mixed = y[rng.permutation(len(y))]
        chance.append(explained(mixed, ridge_predictions(rows, mixed)))
    return {"explained": value, "chance_p95": float(np.quantile(chance, 0.95)) if chance else float("nan")}


def membership(encoder: CineEncoder, pack: PackedCines, stored: ReferenceSet, seed: int) -> dict[str, float]:
    """AUC of telling members from others by the nearest stored embedding."""
    rng = np.random.default_rng(seed)
    rows: dict[str, list[Any]] = {"as it is": [], "changed": [], "others": []}
    for i in range(len(pack.images)):
        array = pack_array(pack, i, encoder)
        if pack.validation[i]:
            rows["others"].append(encoder.embed_arrays(changed(array, rng)[None])[0])
        else:
            rows["as it is"].append(encoder.embed_arrays(array[None])[0])
            rows["changed"].append(encoder.embed_arrays(changed(array, rng)[None])[0])
    scores = {name: stored.score(np.stack(values)).similarity[:, 0] for name, values in rows.items()}
    return {
        "auc_as_it_is": area_under_curve(scores["as it is"], scores["others"]),
        "auc_changed": area_under_curve(scores["changed"], scores["others"]),
        "median_changed": float(np.median(scores["changed"])),
        "median_others": float(np.median(scores["others"])),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pack", required=True, type=Path, help="training pack (.npz) with labels and groups")
    parser.add_argument("--encoder", type=Path, help="encoder's folder, in place of the embedded one")
    parser.add_argument("--shuffles", type=int, default=20, help="shuffled cohorts for chance (20)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write the numbers there")
    arguments = parser.parse_args()
    rng = np.random.default_rng(arguments.seed)
    encoder = load_encoder(arguments.encoder)
    pack = read_pack(arguments.pack, encoder.manifest.grid.frames)
    train, others = (embed_pack(encoder, arguments.pack, which=part) for part in ("train", "validation"))
    stored = ReferenceSet.build(checked(train, "training"), checked(others, "validation"))
    chosen = np.flatnonzero(~pack.validation)
    # what is on disk, as an attacker would use it
    rows = directions(stored.values).astype(np.float64)
    found: dict[str, Any] = {
        "patients": len(chosen),
        "dimension": stored.dimension,
        "bytes_a_patient": stored.dimension,
        "membership": membership(encoder, pack, stored, arguments.seed),
        "inversion": {f"image, {SIDE} x {SIDE}": inversion(rows, pictures(pack, chosen), arguments.shuffles, rng)},
    }
    for name, values in facts(pack, chosen).items():
        found["inversion"][name] = inversion(rows, values[:, None], arguments.shuffles, rng)
    groups = pack.groups[chosen]
    if len(pack.group_names) > 1 and (groups >= 0).all():
        table = np.eye(len(pack.group_names))[groups]
        chance = []
        for _ in range(arguments.shuffles):
            order = rng.permutation(len(groups))
            chance.append(hits(groups[order], ridge_predictions(rows, table[order])))
        found["group"] = {
            "guessed": hits(groups, ridge_predictions(rows, table)),
            "most_frequent": float(np.bincount(groups).max() / len(groups)),
            "chance_p95": float(np.quantile(chance, 0.95)) if chance else float("nan"),
        }
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(f"{found['patients']} training patients, {stored.dimension} bytes each\n")
    print("| membership, given a cine | AUC |\n| --- | ---: |")
    print(f"| the training cine itself | {found['membership']['auc_as_it_is']:.3f} |")
    print(f"| a changed image of the patient | {found['membership']['auc_changed']:.3f} |\n")
    print(
        "| from the embedding alone, other patients learned from | explained | 95 % of chance |\n| --- | ---: | ---: |"
    )
    for name, one in found["inversion"].items():
        print(f"| {name} | {100 * one['explained']:.1f} % | {100 * one['chance_p95']:.1f} % |")
    if "group" in found:
        one = found["group"]
        print(f"\npathology group: {100 * one['guessed']:.0f} % guessed right; most frequent one")
        print(f"{100 * one['most_frequent']:.0f} %, 95 % of chance {100 * one['chance_p95']:.0f} %")


if __name__ == "__main__":
    main()

"""How many planted copies the audit's encoder finds, against nearest neighbours in pixel space and by SSIM.

Run: ``python Testing/benchmarks/planted_copies.py --pack acdc.npz --encoder FOLDER --out planted.json``.

Only patients that the pack keeps aside are planted; the encoder never saw them in training. The references are all
cines of the pack. A query is a transformed cine of a kept-aside patient p.

* Copy: p is among the references. It is found if its nearest reference is p and their similarity exceeds the threshold.
* Novel: the same query against the references without p. A false alarm if any similarity exceeds the threshold.

The threshold for a rate of false alarms is a quantile of all novel similarities, every transformation in it, so that it
comes from patients that training did not push apart. A blend is planted as its heavier patient; the other one is left
out of the references. With ten patients kept aside a sensitivity has an uncertainty of some points: a bootstrap over
patients gives its interval.

``--recorded`` takes ED/ES volumes of an ACDC folder as they were recorded, two frames, not turned, in place of the
pack's, and every query goes the whole way of a user's file: the heart is searched for anew.

``--stacks`` plants patients of another source instead, who had no part in training nor in any choice of settings: a
folder of ``.npz`` with contoured pictures of the Sunnybrook data (``images``, ``lv_endo``, ``instance``, 20 frames a
slice). Each becomes a cine of two frames; pixels are taken as 1.3 mm, since the files do not tell. All of them and all
cines of the pack are references.

``--published RUN`` judges by the published encoder of volumes too, as ``cardiodit train encoder --config
Resources/Training/encoder-published.yaml --out RUN`` leaves it; ``--published-minutes`` trains it first. It sees the
first frame of a cine, which is end-diastole unless the copy begins elsewhere.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parent))
from copy_transformations import SPACING_MM, Transformation, transformations

from CardioDiTLib.bundles import load_bundle
from CardioDiTLib.cine import Cine
from CardioDiTLib.data.packing import patients_of, read_pack
from CardioDiTLib.data.preprocess import to_grid
from CardioDiTLib.grid import ModelGrid
from CardioDiTLib.io import load_cine
from CardioDiTLib.io.nifti import read_nifti
from CardioDiTLib.models.contrastive_cine import at_working_size
from CardioDiTLib.models.dar_encoder import VolumeEmbedding
from CardioDiTLib.privacy.encoder import CineEncoder, load_encoder
from CardioDiTLib.privacy.pose_search import TURNS
from CardioDiTLib.training.checkpoint import averaged_weights
from CardioDiTLib.training.encoder_stage import middle
from CardioDiTLib.training.network_tasks import EncoderRun

RATES = (0.05, 0.01)
PUBLISHED_CONFIG = Path(__file__).resolve().parents[2] / "Resources" / "Training" / "encoder-published.yaml"
SIZE = 128
Array = NDArray[np.float32]
Scores = dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]
"""(right, wrong) of each method, (transformations, patients) each."""


def cut(cines: Array, size: int = SIZE) -> Array:
    """(..., Y, X) -> the middle (..., size, size)."""
    top, left = (cines.shape[-2] - size) // 2, (cines.shape[-1] - size) // 2
    return cines[..., top : top + size, left : left + size]


def recorded_cines(folder: Path) -> list[Cine]:
    """ED and ES volumes of an ACDC folder as cines of two frames, in the order of a pack."""
    with open(folder / "metadata.csv", newline="", encoding="utf-8") as stream:
        rows = sorted(csv.DictReader(stream), key=lambda row: (row["pathology"], row["pid"]))
    made = []
    for row in rows:
        parts = [read_nifti(folder / f"{row['pid']}_{part}.nii.gz", allow_volume=True) for part in ("ED", "ES")]
        made.append(Cine(np.concatenate([part.array[:1] for part in parts]), parts[0].affine, [0.0, 0.4]))
    return made


def stack_cines(folder: Path, frames: int = 20, spacing_mm: float = 1.3) -> list[Cine]:
    """Contoured pictures as cines of two frames; slices that have both end-diastole and end-systole."""
    made = []
    for path in sorted(folder.glob("*.npz")):
        with np.load(path, allow_pickle=False) as archive:
            images, areas, instance = archive["images"], archive["lv_endo"] > 0, archive["instance"]
        slices: dict[int, list[tuple[int, int]]] = {}
        for index, number in enumerate(instance):
            slices.setdefault((int(number) - 1) // frames, []).append((int(areas[index].sum()), index))
        pairs = [sorted(found) for _, found in sorted(slices.items()) if len(found) == 2]
        if len(pairs) < 3:
            continue
        moments = [images[[pair[moment][1] for pair in pairs]] for moment in (1, 0)]
        made.append(Cine(np.stack(moments).astype(np.int16), np.diag([spacing_mm, spacing_mm, 10.0, 1.0]), [0.0, 0.4]))
    return made


def wide_grid(cines: list[Cine], size: int = 152) -> Array:
    """Recorded cines with some room around what is looked at, (N, T, Z, size, size) in [-1, 1]."""
    grid = ModelGrid(8, size, size, 16, SPACING_MM)
    return np.stack([to_grid(cine, grid, end_diastole=None, level=True)[0] for cine in cines])


class EmbeddingJudge:
    """Pearson's correlation of embeddings; `whole_way` goes through a file's preprocessing once more."""

    def __init__(self, encoder: CineEncoder, whole_way: bool) -> None:
        self.encoder, self.whole_way = encoder, whole_way

    def describe(self, wide: Array) -> Array:
        if not self.whole_way:
            return self.encoder.embed_arrays(cut(wide)[None], turns=TURNS)[0]
        times = np.arange(len(wide)) * 0.9 / len(wide)
        return self.encoder.embed_poses([Cine(wide, np.diag([*SPACING_MM, 1.0]), times)])[0]

    def compare(self, queries: list[Array], references: list[Array]) -> NDArray[np.float64]:
        """A query in all its poses, the references in their first; the largest correlation counts."""
        table = np.stack([one[0] for one in references])
        return np.stack([correlations(one, table).max(axis=0) for one in queries])


class VolumeJudge:
    """Pearson's correlation of embeddings of the published encoder, which sees the first frame as a volume."""

    def __init__(self, run: Path, config: EncoderRun) -> None:
        stage = config.settings.stage
        self.size, self.spacing_mm = stage.size, stage.spacing_mm
        self.network = VolumeEmbedding(stage.downsample, stage.hidden, 1, stage.dimension)
        self.network.load_state_dict(averaged_weights(run / "encoder", "encoder"))
        self.network.eval()

    @torch.no_grad()
    def describe(self, wide: Array) -> Array:
        side = round(wide.shape[-1] * SPACING_MM[0] / self.spacing_mm)
        small = at_working_size(torch.from_numpy(np.ascontiguousarray(wide[0])), (side, side))
        low, high = small.min(), small.max()
        volume = middle((small - low) / (high - low + 1e-4) * 2 - 1, self.size)
        return self.network(volume[None, None])[0].numpy()

    def compare(self, queries: list[Array], references: list[Array]) -> NDArray[np.float64]:
        return correlations(np.stack(queries), np.stack(references))


class PixelJudge:
    """Pearson's correlation of all voxels, 3 mm, every other frame."""

    def describe(self, wide: Array) -> Array:
        planes = torch.from_numpy(np.ascontiguousarray(cut(wide)[::2]))
        return at_working_size(planes, (SIZE // 2, SIZE // 2)).numpy().astype(np.float16).ravel()

    def compare(self, queries: list[Array], references: list[Array]) -> NDArray[np.float64]:
        return correlations(np.stack(queries).astype(np.float32), np.stack(references).astype(np.float32))


class SsimJudge:
    """Mean structural similarity (Wang et al., IEEE TIP 2004), every other slice of two frames, 3 mm, window 7 x 7."""

    def describe(self, wide: Array) -> Array:
        planes = torch.from_numpy(np.ascontiguousarray(cut(wide)[[0, len(wide) * 5 // 16], ::2]))
        return at_working_size(planes, (SIZE // 2, SIZE // 2)).flatten(0, 1).numpy()

    def compare(self, queries: list[Array], references: list[Array]) -> NDArray[np.float64]:
        c1, c2 = (0.01 * 2) ** 2, (0.03 * 2) ** 2
        second = torch.from_numpy(np.stack(references))
        mean2, var2 = self._moments(second)
        found = np.empty((len(queries), len(references)))
        for row, query in enumerate(queries):
            first = torch.from_numpy(query)[None]
            mean1, var1 = self._moments(first)
            both = self._mean(first * second) - mean1 * mean2
            ssim = (2 * mean1 * mean2 + c1) * (2 * both + c2)
            ssim = ssim / ((mean1**2 + mean2**2 + c1) * (var1 + var2 + c2))
            found[row] = ssim.mean(dim=(1, 2, 3)).numpy()
        return found

    def _moments(self, planes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        mean = self._mean(planes)
        return mean, self._mean(planes**2) - mean**2

    @staticmethod
    def _mean(planes: torch.Tensor) -> torch.Tensor:
        return F.avg_pool2d(planes, 7, stride=1)


def correlations(first: Array, second: Array) -> NDArray[np.float64]:
    """(Q, R) Pearson's correlations of rows."""
    rows = []
    for values in (first, second):
        centred = values - values.mean(axis=1, keepdims=True)
        rows.append(centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-12))
    return np.asarray(rows[0] @ rows[1].T, np.float64)


def split(
    similar: NDArray[np.float64], own: NDArray[np.int64], mixed: NDArray[np.int64], people: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(Q,) similarity to the own patient, and the largest one to any other.

    Args:
        similar: (Q, R).
        own: (Q,) patient of each query.
        mixed: (Q,) second patient of a blend, -1 for none; hidden from the query.
        people: (R,) patient of each reference.
    """
    mine, theirs = people[None] == own[:, None], people[None] == mixed[:, None]
    return np.where(mine, similar, -np.inf).max(axis=1), np.where(mine | theirs, -np.inf, similar).max(axis=1)


def area(right: NDArray[np.float64], wrong: NDArray[np.float64]) -> float:
    """Area under the ROC curve: how often a copy scores above a novel cine."""
    ordered = np.sort(wrong)
    below = np.searchsorted(ordered, right, "left") + np.searchsorted(ordered, right, "right")
    return float(below.mean() / (2 * len(wrong)))


def judge(
    right: NDArray[np.float64], wrong: NDArray[np.float64], own: NDArray[np.int64], kinds: list[Transformation]
) -> dict[str, Any]:
    """Numbers of one method.

    Args:
        right: (K, P) similarity of each transformed patient to itself.
        wrong: (K, P) to the nearest other.
        own: (P,) patient.
        kinds: (K,) transformations.
    """
    thresholds = {rate: float(np.quantile(wrong, 1 - rate)) for rate in RATES}
    found = {rate: (right > tau) & (right > wrong) for rate, tau in thresholds.items()}
    rng = np.random.default_rng(0)
    rows = []
    for index, kind in enumerate(kinds):
        row: dict[str, Any] = {"kind": kind.kind, "strength": kind.strength, "in_bar": kind.in_bar}
        row["auc"] = area(right[index], wrong.ravel())
        row["lowest_copy"] = float(right[index].min())
        row["highest_novel"] = float(wrong[index].max())
        for rate, hit in found.items():
            row[f"sensitivity_{rate:g}"] = float(hit[index].mean())
            row[f"false_alarms_{rate:g}"] = float((wrong[index] > thresholds[rate]).mean())
        rows.append(row)
    barred = np.array([kind.in_bar for kind in kinds])
    summary: dict[str, Any] = {"auc": area(right.ravel(), wrong.ravel())}
    for rate in RATES:
        for name, some in (("all", np.ones_like(barred)), ("bar", barred)):
            draws = []
            for _ in range(500):
                people = rng.integers(0, len(own), len(own))
                tau = np.quantile(wrong[:, people], 1 - rate)
                draws.append(((right > tau) & (right > wrong))[some][:, people].mean())
            summary[f"sensitivity_{rate:g}_{name}"] = float(found[rate][some].mean())
            summary[f"interval_{rate:g}_{name}"] = [float(v) for v in np.quantile(draws, (0.025, 0.975))]
    return {"thresholds": {f"{rate:g}": tau for rate, tau in thresholds.items()}, "summary": summary, "rows": rows}


def middle_strengths(kinds: list[Transformation]) -> list[Transformation]:
    """One of each kind: the second of its strengths."""
    chosen: dict[str, list[Transformation]] = {}
    for kind in kinds:
        chosen.setdefault(kind.kind, []).append(kind)
    return [some[min(1, len(some) - 1)] for some in chosen.values()]


def measure(
    wide: Array,
    aside: NDArray[np.bool_],
    people: NDArray[np.int64],
    judges: dict[str, Any],
    kinds: list[Transformation],
    say: Callable[[str], None] = print,
) -> tuple[dict[str, Any], Scores]:
    """Plants every transformation of every patient kept aside; numbers and (right, wrong) of each method."""
    planted = np.flatnonzero(aside)
    references = {name: [one.describe(cine) for cine in wide] for name, one in judges.items()}
    queries: dict[str, list[Array]] = {name: [] for name in judges}
    own, mixed = [], []
    for kind in kinds:
        for place, index in enumerate(planted):
            other = planted[(place + 1) % len(planted)]
            cine = kind.apply(wide[index], wide[other])
            if kind.kind == "noise":  # slices that were never recorded stay empty
                cine[:, np.ptp(wide[index], axis=(0, 2, 3)) == 0] = -1
            for name, one in judges.items():
                queries[name].append(one.describe(cine))
            own.append(people[index])
            mixed.append(people[other] if kind.kind == "blended" else -1)
        say(f"{kind.kind} {kind.strength}")
    report, scores = {}, {}
    shape = (len(kinds), len(planted))
    for name, one in judges.items():
        similar = one.compare(queries[name], references[name])
        right, wrong = split(similar, np.array(own), np.array(mixed), people)
        scores[name] = (right.reshape(shape), wrong.reshape(shape))
        report[name] = judge(*scores[name], people[planted], kinds)
    return report, scores


def markdown(report: dict[str, Any]) -> str:
    """A table a person reads: sensitivity at 5 % (1 %) false alarms and AUC of each method."""
    names = list(report["methods"])
    lines = [
        f"{report['planted']} patients planted ({report['source']}), {report['references']} references. "
        "Each cell: sensitivity at 5 % (at 1 %) false alarms, area under the ROC curve.",
        "",
        "| hidden by | strength | " + " | ".join(names) + " |",
        "| --- | --- |" + " --- |" * len(names),
    ]
    for index, first in enumerate(report["methods"][names[0]]["rows"]):
        cells = []
        for name in names:
            row = report["methods"][name]["rows"][index]
            cells.append(f"{row['sensitivity_0.05']:.2f} ({row['sensitivity_0.01']:.2f}) {row['auc']:.3f}")
        lines.append(
            f"| {first['kind']}{' *' if first['in_bar'] else ''} | {first['strength']} | " + " | ".join(cells) + " |"
        )
    for name, title in (("bar", "all with *"), ("all", "all")):
        cells = []
        for method in names:
            found = report["methods"][method]["summary"]
            low, high = found[f"interval_0.05_{name}"]
            cells.append(
                f"{found[f'sensitivity_0.05_{name}']:.3f} [{low:.2f}, {high:.2f}] "
                f"({found[f'sensitivity_0.01_{name}']:.3f})"
            )
        lines.append(f"| **{title}** | | " + " | ".join(cells) + " |")
    lines.append("")
    for name in names:
        taus = report["methods"][name]["thresholds"]
        lines.append(f"Threshold of {name}: {taus['0.05']:.3f} at 5 %, {taus['0.01']:.3f} at 1 %.")
    for row in report.get("strangers", []):
        lines.append(f"Nearest reference of stranger {row['number']} (another source): {row['nearest']:.3f}.")
    return "\n".join(lines) + "\n"


def figure(path: Path, report: dict[str, Any], scores: Scores) -> None:
    """Sensitivities, distributions and ROC curves as a picture."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    names = list(report["methods"])
    rows = report["methods"][names[0]]["rows"]
    labels = [f"{row['kind']} {row['strength']}" for row in rows]
    drawn, axes = plt.subplots(1, 3, figsize=(17, 9), gridspec_kw={"width_ratios": [2, 1.3, 1.3]})
    places = np.arange(len(rows))
    for index, name in enumerate(names):
        values = [row["sensitivity_0.05"] for row in report["methods"][name]["rows"]]
        width = 0.81 / len(names)
        axes[0].barh(places + width * (index - (len(names) - 1) / 2), values, 0.93 * width, label=name)
    axes[0].set_yticks(places, labels, fontsize=7)
    axes[0].invert_yaxis()
    axes[0].axvline(0.95, color="grey", lw=0.8, ls=":")
    axes[0].set(xlabel="sensitivity at 5 % false alarms", xlim=(0, 1.02))
    axes[0].legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=len(names), fontsize=8, frameon=False)
    axes[0].margins(y=0.01)
    right, wrong = scores[names[0]]
    axes[1].hist(wrong.ravel(), 40, alpha=0.7, density=True, label="novel")
    axes[1].hist(right.ravel(), 40, alpha=0.7, density=True, label="copy")
    axes[1].axvline(report["methods"][names[0]]["thresholds"]["0.05"], color="k", lw=0.8)
    axes[1].set(xlabel=f"similarity to the nearest reference ({names[0]})", yticks=[])
    axes[1].legend(fontsize=8)
    for name in names:
        right, wrong = scores[name]
        levels = np.sort(np.concatenate([right.ravel(), wrong.ravel(), [-np.inf]]))
        axes[2].plot(
            [(wrong > level).mean() for level in levels],
            [(right > level).mean() for level in levels],
            label=f"{name}, area {report['methods'][name]['summary']['auc']:.3f}",
        )
    axes[2].set(xlabel="false alarms", ylabel="copies above the threshold", title="all transformations")
    axes[2].legend(fontsize=8)
    drawn.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    drawn.savefig(path, dpi=110)
    plt.close(drawn)


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pack", type=Path, required=True)
    parser.add_argument("--encoder", type=Path, help="encoder's folder; the embedded one without it")
    parser.add_argument("--codec", default="acdc-mini", help="bundle whose codec decodes copies; 'none' for none")
    parser.add_argument("--recorded", type=Path, help="ACDC folder: volumes as recorded in place of the pack's cines")
    parser.add_argument("--stacks", type=Path, help="folder of contoured Sunnybrook pictures: other patients to plant")
    parser.add_argument("--published", type=Path, help="run of the published encoder, to judge by it too")
    parser.add_argument("--published-config", type=Path, default=PUBLISHED_CONFIG, help="settings of that run")
    parser.add_argument("--published-minutes", type=float, default=0.0, help="first train it for so long at most")
    parser.add_argument("--one-strength", action="store_true", help="the middle strength of each kind only")
    parser.add_argument("--stranger", type=Path, action="append", default=[], help="cine of another source")
    parser.add_argument("--out", type=Path, required=True, help="JSON; a table .md and a picture .png lie beside it")
    parser.add_argument("--no-picture", action="store_true")
    parser.add_argument("--threads", type=int, default=0)
    options = parser.parse_args(words)
    if options.threads:
        torch.set_num_threads(options.threads)
    encoder = load_encoder(options.encoder)
    grid = encoder.manifest.grid
    if (grid.height, grid.width) != (SIZE, SIZE) or not np.allclose(grid.spacing_mm[:2], SPACING_MM[:2]):
        raise SystemExit(
            f"The encoder's grid is not the {SIZE} x {SIZE} pixels of {SPACING_MM[0]:g} mm of this script."
        )
    pack = read_pack(options.pack)
    people = patients_of(pack.images)
    aside = np.asarray(pack.validation, bool)
    if options.stacks is not None:
        wide = wide_grid(stack_cines(options.stacks), pack.images.shape[-1])
        aside = np.arange(len(wide) + len(people)) < len(wide)
        people = np.concatenate([-2 - np.arange(len(wide)), people])
        wide = np.concatenate([wide, pack.images.astype(np.float32) / 127.5 - 1])
    elif options.recorded is None:
        wide = pack.images.astype(np.float32) / 127.5 - 1
    else:
        wide = wide_grid(recorded_cines(options.recorded))
        if len(wide) != len(people):
            raise SystemExit("The folder and the pack are not of the same patients.")
    codec = None if options.codec == "none" else load_bundle(options.codec).vqgan.eval()
    judges: dict[str, Any] = {"encoder": EmbeddingJudge(encoder, options.recorded is not None)}
    if options.published is not None:
        config = EncoderRun(options.published_config)
        if options.published_minutes > 0:
            config.train(options.pack, options.published, options.published_minutes)
        judges["published"] = VolumeJudge(options.published, config)
    judges |= {
        "pixels": PixelJudge(),
        "SSIM": SsimJudge(),
    }
    began = time.perf_counter()
    kinds = transformations(codec)
    if options.one_strength:
        kinds = middle_strengths(kinds)
    methods, scores = measure(wide, aside, people, judges, kinds)
    report: dict[str, Any] = {
        "encoder": {"name": encoder.manifest.name, "version": encoder.manifest.version, "sha256": encoder.sha256},
        "planted": int(aside.sum()),
        "references": len(people),
        "source": "stacks" if options.stacks else "recorded" if options.recorded else "pack",
        "methods": methods,
        "seconds": time.perf_counter() - began,
    }
    if options.stranger:
        references = np.stack([judges["encoder"].describe(cine) for cine in wide])
        found = encoder.embed(load_cine(path) for path in options.stranger)
        nearest = correlations(found, references).max(axis=1)
        # By number, in the order given: a file may be called like its patient.
        report["strangers"] = [{"number": n, "nearest": float(value)} for n, value in enumerate(nearest, start=1)]
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    text = markdown(report)
    options.out.with_suffix(".md").write_text(text, encoding="utf-8")
    print(text)
    if not options.no_picture:
        figure(options.out.with_suffix(".png"), report, scores)


if __name__ == "__main__":
    main()

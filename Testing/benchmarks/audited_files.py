"""Are copies recognised on the way that people use: saved as files, read back, audited?

Run: ``python Testing/benchmarks/audited_files.py --pack runs/acdc.npz --out files.json [--recorded PATH/TO/acdc]
[--novel FOLDER ...]``.

Patients that the pack keeps aside, whom the encoder never saw, are put among the training patients, in turn with all
others; then files of them are asked about, changed in every way of ``Testing/disguised_files.py`` and once through the
codec of a bundle. References are the pack's cines, rounded as a bundle stores them (what ``--attach`` writes);
``--stored`` adds whoever else the bundle was trained on and takes its threshold, which is quicker. ``--folder`` asks
among files of the same cines too, found and posed as any file is (``--train FOLDER``).

A copy is found where its nearest reference is of its own patient and more similar than the threshold. Thresholds: the
one that the training patients of the pack give at 5 % (each against all others: what a bundle is given), and, for 5 %
and 1 %, the quantiles of what the same changed files score where their own patient is not among the references: they
are searched for anew without him, since the poses in which a cine is compared depend on the references.

``--recorded`` asks about end-diastole and end-systole of the pack's patients as they were recorded (an ACDC folder, in
the order of the pack): training patients have to be found by the bundle's threshold, those kept aside must be found
where they are among the references, and must not be flagged where they are not. ``--unseen`` names training patients
of the pack whom the encoder was not trained on; they are counted by themselves. ``--novel`` asks about other people's
cines (files, or pairs ``*_ED`` and ``*_ES``), none of whom may be flagged more often than the rate says.

The whole takes some minutes of one core: 5 patients of those kept aside by default, ``--patients 10`` for all of them;
``--kinds`` and ``--limit`` make it shorter. What is done is written after every kind.
"""

from __future__ import annotations

import argparse
import csv
import json
import re
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[1]))
from disguised_files import Disguise, disguises

from CardioDiTLib.bundles import load_bundle
from CardioDiTLib.cine import Cine
from CardioDiTLib.data.packing import PackedCines, patients_of, read_pack
from CardioDiTLib.io import load_cine, save_cine
from CardioDiTLib.io.nifti import read_nifti
from CardioDiTLib.privacy.calibration import Calibration, leave_one_out
from CardioDiTLib.privacy.cine_canvas import CineCanvas
from CardioDiTLib.privacy.embedding_set import EmbeddingSet, checked
from CardioDiTLib.privacy.encoder import CineEncoder, embed_pack, load_encoder
from CardioDiTLib.privacy.gate import load_reference
from CardioDiTLib.privacy.nearest import directions
from CardioDiTLib.privacy.pose_search import TURNS, PoseSearch
from CardioDiTLib.privacy.reference_set import ReferenceSet
from CardioDiTLib.training.encoder_decoded import decoded_cine

RATES = (0.05, 0.01)
SAME = 0.98  # a cine's motion is made anew with each pack


def cine_of(pack: PackedCines, index: int) -> Cine:
    """A cine of the pack, slices that were recorded alone."""
    images = pack.images[index][:, np.asarray(pack.slice_valid[index], bool)]
    times = np.arange(len(images)) * float(pack.cycle_s[index]) / len(images)
    return Cine(images.astype(np.int16), np.diag([*pack.spacing, 1.0]), times)


def similarities(poses: NDArray[np.float32], references: NDArray[np.float32]) -> NDArray[np.float64]:
    """(R,) largest correlation of any pose of a cine with each reference."""
    return np.asarray((directions(poses) @ directions(references).T).max(axis=0), np.float64)


def held_against(search: PoseSearch, table: NDArray[np.float32], own: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(R,) similarities of a cine: to its own references where it is searched for among all, to others without these.

    Args:
        search: The cine.
        table: (R, D) references.
        own: (R,) those of its patient, and of whoever else must not be among them.
    """
    result = similarities(search.likeliest(table).numpy(), table)
    others = table[~own]
    result[~own] = similarities(search.likeliest(others).numpy(), others)
    return result


def searched(encoder: CineEncoder, cine: Cine) -> PoseSearch:
    """A cine, ready to be held against references."""
    return PoseSearch(encoder.network, CineCanvas.of(cine, encoder.network.config.spacing_mm))


def scores(
    found: NDArray[np.float64], own: NDArray[np.int64], people: NDArray[np.int64], hidden: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Of queries (Q, R): similarity to their own patient, and the largest one to any other that is not hidden."""
    mine = own[:, None] == people[None]
    return np.where(mine, found, -1.0).max(1), np.where(mine | hidden, -1.0, found).max(1)


def through_codec(name: str) -> Disguise:
    """What the codec of a bundle makes of a cine: nothing that a generator copies comes out otherwise."""
    codec = load_bundle(name).vqgan.eval()

    def change(cine: Cine, other: Cine) -> Cine:
        return cine.with_array(decoded_cine(codec, np.asarray(cine.array, np.uint8), 1, 0)[0].astype(np.int16))

    return Disguise("through the codec", change, ".nii", barred=False)


class Asked:
    """What files scored, by kind and way.

    Args:
        tables: Embeddings of the references by way.
        thresholds: Of each way.
        people: (R,) patient of each reference.
        out: Gets the report.
    """

    def __init__(
        self,
        tables: dict[str, NDArray[np.float32]],
        thresholds: dict[str, float],
        people: NDArray[np.int64],
        out: Path,
    ) -> None:
        self.tables, self.thresholds, self.people, self.out = tables, thresholds, people, out
        self.report: dict[str, Any] = {}
        self._kinds: list[Disguise] = []
        self._right: dict[str, list[NDArray[np.float64]]] = {way: [] for way in tables}
        self._wrong: dict[str, list[NDArray[np.float64]]] = {way: [] for way in tables}

    def ask(self, kind: Disguise, cines: list[Cine], planted: NDArray[np.int64], encoder: CineEncoder) -> float:
        """Ask about one kind of files; returns the CPU seconds the first took to be read and embedded."""
        rows: dict[str, list[NDArray[np.float64]]] = {way: [] for way in self.tables}
        hidden = np.zeros((len(planted), len(self.people)), bool)
        seconds = 0.0
        with tempfile.TemporaryDirectory() as folder:
            for place in range(len(planted)):
                after = (place + 1) % len(planted)
                if kind.name.startswith("mixed"):
                    hidden[place] = self.people == self.people[planted[after]]
                path = kind.save(cines[place], Path(folder), "query", cines[after])
                begun = time.process_time()
                cine = load_cine(path)
                if not place:  # of the first file alone: what follows looks twice
                    encoder.embed_likeliest([cine], self.tables["bundle"])
                    seconds = time.process_time() - begun
                path.unlink()
                away = hidden[place] | (self.people == self.people[planted[place]])
                search = searched(encoder, cine)
                for way, table in self.tables.items():
                    rows[way].append(held_against(search, table, away))
        self._kinds.append(kind)
        for way in self.tables:
            one, two = scores(np.array(rows[way]), self.people[planted], self.people, hidden)
            self._right[way].append(one)
            self._wrong[way].append(two)
        print(
            kind.name, {way: np.round(np.sort(self._right[way][-1])[:3], 2).tolist() for way in self.tables}, flush=True
        )
        return seconds

    def summary(self) -> dict[str, Any]:
        """Sensitivities of every disguise by every way, so far."""
        found: dict[str, Any] = {}
        barred = np.array([kind.barred for kind in self._kinds])
        for way in self.tables:
            copy, novel = np.array(self._right[way]), np.array(self._wrong[way])
            cuts = {
                "own": self.thresholds[way],
                **{f"{rate:g}": float(np.quantile(novel, 1 - rate)) for rate in RATES},
            }
            hit = {name: (copy > cut) & (copy > novel) for name, cut in cuts.items()}
            found[way] = {
                "thresholds": cuts,
                "novel_above_own_threshold": float((novel > cuts["own"]).mean()),
                "barred": {name: float(one[barred].mean()) for name, one in hit.items()} if barred.any() else {},
                "rows": [
                    {
                        "name": kind.name,
                        "lowest": float(copy[i].min()),
                        **{name: float(one[i].mean()) for name, one in hit.items()},
                    }
                    for i, kind in enumerate(self._kinds)
                ],
            }
        return found

    def write(self, **more: Any) -> None:
        """Write what is known so far."""
        self.report |= more
        whole = {**self.report, **(self.summary() if self._kinds else {})}
        self.out.write_text(json.dumps(whole, indent=1), encoding="utf-8")


def threshold_of(
    train: EmbeddingSet, people: NDArray[np.int64], references: NDArray[np.float32] | None = None
) -> float:
    """What training patients, each against all others, give at 5 %."""
    found, owners, _ = leave_one_out(train, people, 0.999, 64.0, references=references)
    return Calibration.of(found, owners, "leave-one-out").threshold(0.05)


def joined(ends: list[Path], folder: Path) -> Cine:
    """A cine of two volumes, saved and read as a file is."""
    parts = [read_nifti(path, allow_volume=True) for path in ends]
    cine = Cine(np.concatenate([part.array[:1] for part in parts]), parts[0].affine, [0.0, 0.4])
    return load_cine(save_cine(cine, folder / "query.nii"))


def recorded(
    source: Path, chosen: list[int], encoder: CineEncoder, table: NDArray[np.float32], away: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """(N, R) similarities of files of end-diastole and end-systole as recorded, patients in the order of a pack; `away`
    (N, R) as `held_against` takes it."""
    with open(source / "metadata.csv", newline="", encoding="utf-8") as stream:
        rows = sorted(csv.DictReader(stream), key=lambda row: (row["pathology"], row["pid"]))
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for index, own in zip(chosen, away):
            ends = [source / f"{rows[index]['pid']}_{part}.nii.gz" for part in ("ED", "ES")]
            found.append(held_against(searched(encoder, joined(ends, Path(folder))), table, own))
    return np.array(found)


def novel_scores(sources: list[Path], encoder: CineEncoder, references: NDArray[np.float32]) -> dict[str, float]:
    """Largest similarity of each cine of some folders (cine files, or pairs ``*_ED`` and ``*_ES``)."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for source in sources:
            for path in sorted(source.glob("*.nii.gz")):
                if "label" in path.name or "_gt" in path.name or path.name.endswith("_ES.nii.gz"):
                    continue
                pair = [path, path.with_name(path.name.replace("_ED.nii", "_ES.nii"))]
                cine = joined(pair, Path(folder)) if path.name.endswith("_ED.nii.gz") else load_cine(path)
                found[path.name] = float(similarities(encoder.embed_likeliest([cine], references)[0], references).max())
    return found


def markdown(report: dict[str, Any]) -> str:
    """A table for the docs."""
    ways = [way for way in ("bundle", "folder") if way in report]
    lines = [
        "| saved |"
        + "".join(
            f" {way}: lowest score | threshold {report[way]['thresholds']['own']:.3f} | 5 % (1 %) of these |"
            for way in ways
        ),
        "| --- |" + " ---: | ---: | ---: |" * len(ways),
    ]
    for i, row in enumerate(report[ways[0]]["rows"]):
        cells = []
        for way in ways:
            one = report[way]["rows"][i]
            cells.append(f"{one['lowest']:.2f} | {one['own']:.2f} | {one['0.05']:.2f} ({one['0.01']:.2f})")
        lines.append(f"| {row['name']} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def about_recorded(
    found: NDArray[np.float64],
    chosen: NDArray[np.int64],
    people: NDArray[np.int64],
    aside: NDArray[np.bool_],
    unseen: list[int],
    cut: float,
) -> dict[str, Any]:
    """Training patients by themselves and those of them that the encoder never saw; patients kept aside both ways."""
    right, wrong = scores(found, people[chosen], people, np.tile(aside, (len(chosen), 1)))
    kept, new = aside[chosen], np.isin(chosen, unseen)
    report: dict[str, Any] = {}
    for name, some in (("training", ~kept & ~new), ("unseen_by_encoder", ~kept & new), ("kept_aside", kept)):
        if some.any():
            report[name] = {
                "patients": int(some.sum()),
                "recognised": float((right[some] > cut).mean()),
                "nearest_is_right": float((right > wrong)[some].mean()),
                "scores": np.round(np.sort(right[some]), 3).tolist(),
            }
    if kept.any():
        report["kept_aside"]["flagged_where_not_among_references"] = float((wrong[kept] > cut).mean())
    return report


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pack", type=Path, required=True)
    parser.add_argument("--encoder", type=Path, help="encoder's folder; the embedded one without it")
    parser.add_argument("--codec", default="acdc-mini", help="bundle whose codec copies go through; '' for none")
    parser.add_argument("--recorded", type=Path, help="ACDC folder that the pack was made of")
    parser.add_argument("--unseen", type=int, nargs="*", default=[], help="cines of the pack, as above")
    parser.add_argument("--novel", type=Path, nargs="*", default=[], help="folders of other patients' cines")
    parser.add_argument("--patients", type=int, default=5, help="so many of the patients kept aside")
    parser.add_argument("--kinds", default="", help="only disguises whose name holds this regular expression")
    parser.add_argument("--limit", type=int, help="so many recorded patients at most, evenly from all")
    parser.add_argument("--stored", action="store_true", help="all references and the threshold of the bundle")
    parser.add_argument("--folder", action="store_true", help="ask among files of the training set too")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    encoder = load_encoder(options.encoder)
    pack = read_pack(options.pack, encoder.manifest.grid.frames)
    people = patients_of(pack.images)
    aside = np.isin(people, people[pack.validation])
    planted = np.flatnonzero(pack.validation)[: options.patients]
    begun = time.process_time()
    tables, thresholds = {}, {}
    if options.stored and options.folder:
        parser.error("With --stored there are references that no file is at hand of: ask about folders by itself.")
    if options.stored:
        stored = load_reference(load_bundle(options.codec or "acdc-mini"))
        own = directions(embed_pack(encoder, options.pack, "all"))
        others = directions(stored.values)
        others = others[(others @ own.T).max(axis=1) < SAME]  # of whoever else the bundle was trained on
        tables["bundle"], thresholds["bundle"] = np.concatenate([own, others]), stored.calibration.threshold(0.05)
        people = np.append(people, people.max() + 1 + np.arange(len(others)))
        aside = np.append(aside, np.zeros(len(others), bool))
    else:
        poses = embed_pack(encoder, options.pack, "all", turns=TURNS)
        everyone = checked(poses[:, 0], "training", people.tolist(), poses=poses)
        tables["bundle"] = ReferenceSet.build(everyone).values
        thresholds["bundle"] = threshold_of(everyone.kept(~aside), people[~aside], tables["bundle"][~aside])
    print("references:", round(time.process_time() - begun), "s, threshold", thresholds["bundle"], flush=True)
    if options.folder:
        with tempfile.TemporaryDirectory() as folder:
            paths = [save_cine(cine_of(pack, i), Path(folder) / f"{i:03d}.nii") for i in range(len(people))]
            files = encoder.embed_poses([load_cine(path) for path in paths])
        saved = checked(files[:, 0], "training", people.tolist(), poses=files)
        tables["folder"] = saved.values
        thresholds["folder"] = threshold_of(saved.kept(~aside), people[~aside])
    asked = Asked(tables, thresholds, people, options.out)
    asked.write(encoder_sha256=encoder.sha256, planted=len(planted), references=len(people))
    if options.recorded is not None:
        whole = len(pack.images)
        count = whole if options.limit is None else min(options.limit, whole)
        chosen = np.unique(np.r_[np.linspace(0, whole - 1, count).astype(int), options.unseen].astype(int))
        away = (people[chosen][:, None] == people[None]) | aside
        found = recorded(options.recorded, chosen.tolist(), encoder, tables["bundle"], away)
        own = about_recorded(found, chosen, people, aside, options.unseen, thresholds["bundle"])
        asked.write(recorded=own)
        print(json.dumps(own), flush=True)
    if options.novel:
        by_file = novel_scores(options.novel, encoder, tables["bundle"][~aside])
        flagged = float(np.mean([score > thresholds["bundle"] for score in by_file.values()]))
        asked.write(novel={"flagged": flagged, "scores": by_file})
        print("novel", flagged, {name: round(score, 2) for name, score in by_file.items()}, flush=True)
    kinds = [*disguises(), *([through_codec(options.codec)] if options.codec else [])]
    kinds = [kind for kind in kinds if re.search(options.kinds, kind.name)]
    cines = [cine_of(pack, i) for i in planted]
    seconds = []
    for kind in kinds:
        seconds.append(asked.ask(kind, cines, planted, encoder))
        asked.write(cpu_seconds_a_file=float(np.mean(seconds)))
    report = {**asked.report, **(asked.summary() if kinds else {})}
    if kinds:
        print(markdown(report))
    print({key: report[key] for key in report if key not in ("bundle", "folder", "recorded", "novel")})
    for way in tables if kinds else ():
        print(way, {key: report[way][key] for key in ("thresholds", "novel_above_own_threshold", "barred")})


if __name__ == "__main__":
    main()

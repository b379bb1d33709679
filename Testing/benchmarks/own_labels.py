"""What the labels that come with generated hearts say, beside what the segmentation network sees in the pictures.

    cardiodit generate --count 40 --seed 900 --pathology all ... --out hearts
    python Testing/benchmarks/own_labels.py hearts --out own_labels.md

The folder holds cines with their segmentations as `generate` writes them. Medians of both, the mean difference (own
minus network) and Dice over all frames, as Markdown. About 5 s a heart on one core.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import CardioDiTLib as cd
from CardioDiTLib.files import atomic_path
from CardioDiTLib.segmentation.postprocess import dice_per_label
from CardioDiTLib.segmentation.segment import segment

QUANTITIES = {
    "edv_ml": "EDV, mL",
    "ef_percent": "EF, %",
    "lv_mass_g": "LV mass, g",
    "wall_thickness_ed_mm": "wall at ED, mm",
    "wall_thickness_es_mm": "wall at ES, mm",
    "wall_thickening_percent": "wall thickening, %",
    "rv_edv_ml": "RV EDV, mL",
    "rv_ef_percent": "RV EF, %",
}
_SUFFIX = ".nii.gz"
_LABELS = "_segmentation" + _SUFFIX


def measured(labels: cd.Segmentation) -> list[float]:
    """One number for each of `QUANTITIES`; a ventricle at the end of the stack counts as whole."""
    report = cd.cardiac_function(labels, stack_covers_heart=True)
    return [float(getattr(report, name)) for name in QUANTITIES]


def table(own: NDArray[np.float64], seen: NDArray[np.float64], dice: Sequence[dict[str, float]]) -> str:
    """Markdown."""
    lines = ["| | own labels | segmentation network | own - network |", "| --- | ---: | ---: | ---: |"]
    for column, title in enumerate(QUANTITIES.values()):
        a, b = own[:, column], seen[:, column]
        lines.append(f"| {title} | {np.nanmedian(a):.1f} | {np.nanmedian(b):.1f} | {np.nanmean(a - b):+.1f} |")
    agree = ", ".join(f"{name} {np.nanmean([one[name] for one in dice]):.2f}" for name in dice[0])
    return "\n".join([*lines, "", f"{len(own)} hearts. Dice: {agree}.", ""])


def main(words: Sequence[str] | None = None) -> None:
    """Measure a folder and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args(words)
    own, seen, dice = [], [], []
    for path in sorted(arguments.folder.glob("*" + _LABELS)):
        labels = cd.load_segmentation(path)
        found = segment(cd.load_cine(path.with_name(path.name.replace(_LABELS, _SUFFIX))), mirrored=False)
        own.append(measured(labels))
        seen.append(measured(found))
        dice.append(dice_per_label(np.asarray(labels.array), np.asarray(found.array)))
        print(f"{len(own)} hearts", flush=True)
    if not own:
        raise SystemExit(f"There is no '*{_LABELS}' in '{arguments.folder}'.")
    with atomic_path(arguments.out) as partial:
        partial.write_text(table(np.array(own), np.array(seen), dice), encoding="utf-8")
    print(arguments.out.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()

"""How surely the ring of muscle tells the left ventricle from the right, on label maps of known numbering.

    python Testing/benchmarks/label_contacts.py FOLDER

For each label map (1 RV, 2 myocardium, 3 LV; files ending in ``_gt.nii.gz``): the share of the in-plane outline of
each cavity that touches myocardium. `load_segmentation` renumbers labels by it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from CardioDiTLib.io import load_segmentation
from CardioDiTLib.io.label_convention import label_contacts


def main() -> None:
    """Measure, and print the extremes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("folder", type=Path)
    files = sorted(parser.parse_args().folder.rglob("*_gt.nii.gz"))
    maps = [load_segmentation(file, label_map={1: 1, 2: 2, 3: 3}) for file in files]
    contacts = [label_contacts(one.array) for one in maps]
    print(f"{len(files)} label maps")
    for name, label in (("left ventricle", 3), ("right ventricle", 1)):
        shares = 100 * np.array([one[label, 2] for one in contacts if (label, 2) in one])
        print(f"{name}: {shares.min():.1f} to {shares.max():.1f} % of the outline touches myocardium")


if __name__ == "__main__":
    main()

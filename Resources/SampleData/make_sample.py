"""Make the sample cine and its thumbnail from the Sunnybrook Cardiac Data.

    python Resources/SampleData/make_sample.py SCD0002001_dicom.zip

The source is the short-axis cine of patient SCD0002001 (CC0): 220 DICOM images, as a folder or a zip.
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from CardioDiTLib import load_cine, save_cine
from CardioDiTLib.cine import Cine

REPOSITORY = Path(__file__).resolve().parents[2]
SAMPLE = REPOSITORY / "Resources" / "SampleData" / "CardioDiT-Sunnybrook-ShortAxis.seq.nrrd"
THUMBNAIL = REPOSITORY / "CardioDiT" / "Resources" / "Icons" / "CardioDiT-Sunnybrook.png"

COLUMNS = slice(74, 186)  # the heart and at least 2 cm around it; all eleven slices hold heart
ROWS = slice(72, 184)
SOURCE = "Sunnybrook Cardiac Data, patient SCD0002001, short axis, CC0 1.0"

THUMBNAIL_SIZE = (260, 280)  # what Slicer's Sample Data module asks for
THUMBNAIL_SLICE = 6  # mid-ventricular: both ventricles and a papillary muscle


def cropped(cine: Cine, columns: slice, rows: slice) -> Cine:
    """Part of a cine in the plane; every voxel that stays keeps its place in millimetres."""
    affine = np.array(cine.affine)
    affine[:3, 3] += affine[:3, 0] * columns.start + affine[:3, 1] * rows.start
    meta: dict[str, Any] = {
        **{key: value for key, value in cine.meta.items() if key != "files"},  # how many were read is no provenance
        "source": SOURCE,
        "cropped_columns": [columns.start, columns.stop],
        "cropped_rows": [rows.start, rows.stop],
    }
    return Cine(np.ascontiguousarray(cine.array[:, :, rows, columns]), affine, cine.frame_times, meta)


def picture(plane: NDArray[Any], size: tuple[int, int]) -> Image.Image:
    """One plane as a picture that fills the size; what does not fit is cut off evenly at both sides."""
    low, high = np.percentile(plane, [1.0, 99.7])
    grey = np.clip((plane - low) / (high - low), 0.0, 1.0)
    image = Image.fromarray(np.uint8(np.rint(grey * 255)))
    scale = max(size[0] / image.width, size[1] / image.height)
    image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.LANCZOS)
    left, top = (image.width - size[0]) // 2, (image.height - size[1]) // 2
    return image.crop((left, top, left + size[0], top + size[1]))


def main(arguments: Sequence[str] | None = None) -> None:
    """Write both files and print the checksum that README.md and the Slicer module carry."""
    parser = argparse.ArgumentParser(description="Make the sample cine and its thumbnail.")
    parser.add_argument("source", type=Path, help="DICOM images of SCD0002001, a folder or a zip")
    sample = cropped(load_cine(parser.parse_args(arguments).source), COLUMNS, ROWS)
    save_cine(sample, SAMPLE)
    picture(sample.array[0, THUMBNAIL_SLICE], THUMBNAIL_SIZE).save(THUMBNAIL, optimize=True)
    print(f"{hashlib.sha256(SAMPLE.read_bytes()).hexdigest()}  {SAMPLE.name}, {SAMPLE.stat().st_size} bytes")


if __name__ == "__main__":
    main()

"""Slicer's own sequence reader and writer against ours.

Needs a Python with Slicer's MRML libraries (the wheel ``slicer-core``, import name ``slicer``). As it need not be
the Python of the tests, its path may be given in CARDIODIT_SLICER_PYTHON.
"""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from synthetic_cines import make_cine, oblique_affine

from CardioDiTLib.cine import Cine, Segmentation
from CardioDiTLib.io import load_cine, load_segmentation, save_cine, save_segmentation
from CardioDiTLib.io.frame_times import decode_meta, encode_meta
from CardioDiTLib.io.nrrd_sequence import index_strings

DRIVER = Path(__file__).with_name("slicer_sequence_driver.py")
DTYPES = ("int16", "float32")
HANDS = ("right", "left")
UNITS = {"s": 1.0, "ms": 1000.0}


def cine_of(dtype: str, hand: str = "right") -> Cine:
    affine = oblique_affine()
    affine[:3, 2] *= -1 if hand == "left" else 1
    return make_cine(dtype=dtype, affine=affine)


def labels() -> Segmentation:
    cine = make_cine()
    return Segmentation(np.abs(cine.array) % 4, cine.affine, cine.frame_times)


def save_for_driver(image: Cine | Segmentation, path: Path, node: str, unit: str) -> Path:
    np.savez(
        path,
        voxels=image.array,
        ijk_to_ras=image.affine,
        index=[f"{time * UNITS[unit]:.3f}" for time in image.frame_times],
        names=["time", unit, "numeric"],
        node=node,
        meta=encode_meta(image.meta),
    )
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Our files as Slicer reads them (.npz) and Slicer's files (slicer_*.seq.nrrd), all made in one process."""
    python = os.environ.get("CARDIODIT_SLICER_PYTHON", sys.executable)
    probe = "import slicer; slicer.vtkMRMLVolumeSequenceStorageNode"
    if subprocess.run([python, "-c", probe], capture_output=True, timeout=120).returncode:
        pytest.skip(
            f"{python} has no Slicer libraries: make an environment of Python 3.12, 'pip install slicer-core' there, "
            "and set CARDIODIT_SLICER_PYTHON to its python"
        )
    folder = tmp_path_factory.mktemp("slicer")
    jobs: list[str | Path] = []
    for dtype, hand in product(DTYPES, HANDS):
        ours = save_cine(cine_of(dtype, hand), folder / f"{dtype}_{hand}.seq.nrrd")
        jobs += ["read", ours, folder / f"{dtype}_{hand}.npz"]
    jobs += ["read", save_segmentation(labels(), folder / "labels.seq.nrrd"), folder / "labels.npz"]
    for dtype, unit in product(DTYPES, UNITS):
        given = save_for_driver(cine_of(dtype), folder / f"in_{dtype}_{unit}.npz", "vtkMRMLScalarVolumeNode", unit)
        jobs += ["write", given, folder / f"slicer_{dtype}_{unit}.seq.nrrd"]
    given = save_for_driver(labels(), folder / "in_labels.npz", "vtkMRMLLabelMapVolumeNode", "s")
    jobs += ["write", given, folder / "slicer_labels.seq.nrrd"]
    done = subprocess.run([python, DRIVER, *jobs], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ERR|" not in done.stderr, done.stderr
    return folder


def with_axes_like(voxels: np.ndarray, affine: np.ndarray, like: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Turn axes that run against those of ``like``, points staying where they are.

    Slicer turns left-handed axes into right-handed ones when it reads; in space that changes nothing.
    """
    affine = affine.copy()
    for column in range(3):
        if affine[:3, column] @ like[:3, column] < 0:
            array_axis = 3 - column
            affine[:3, 3] += affine[:3, column] * (voxels.shape[array_axis] - 1)
            affine[:3, column] *= -1
            voxels = np.flip(voxels, array_axis)
    return voxels, affine


@pytest.mark.parametrize(("dtype", "hand"), product(DTYPES, HANDS))
def test_slicer_reads_our_cine(folder: Path, dtype: str, hand: str) -> None:
    cine = cine_of(dtype, hand)
    read = np.load(folder / f"{dtype}_{hand}.npz")
    voxels, ijk_to_ras = with_axes_like(read["voxels"], read["ijk_to_ras"], cine.affine)
    assert voxels.dtype == cine.array.dtype
    assert np.array_equal(voxels, cine.array)
    assert ijk_to_ras == pytest.approx(cine.affine, abs=1e-6)
    assert read["index"].tolist() == index_strings(cine.frame_times)
    assert read["names"].tolist() == ["time", "s", "numeric"]
    assert str(read["node"]) == "vtkMRMLScalarVolumeNode"
    assert decode_meta(str(read["meta"])) == cine.meta


def test_slicer_reads_our_segmentation(folder: Path) -> None:
    read = np.load(folder / "labels.npz")
    assert np.array_equal(read["voxels"], labels().array)
    assert read["ijk_to_ras"] == pytest.approx(labels().affine, abs=1e-6)
    assert str(read["node"]) == "vtkMRMLLabelMapVolumeNode"


@pytest.mark.parametrize(("dtype", "unit"), product(DTYPES, UNITS))
def test_we_read_slicers_cine(folder: Path, dtype: str, unit: str) -> None:
    cine = cine_of(dtype)
    back = load_cine(folder / f"slicer_{dtype}_{unit}.seq.nrrd")
    assert back.array.dtype == cine.array.dtype
    assert np.array_equal(back.array, cine.array)
    assert back.affine == pytest.approx(cine.affine, abs=1e-6)
    assert back.frame_times == pytest.approx(cine.frame_times, abs=1e-6)
    assert back.meta == cine.meta


def test_we_read_slicers_segmentation(folder: Path) -> None:
    back = load_segmentation(folder / "slicer_labels.seq.nrrd")
    assert np.array_equal(back.array, labels().array)
    assert back.affine == pytest.approx(labels().affine, abs=1e-6)

"""From any format to any other: no millimetre, no millisecond, no orientation is lost."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pytest
from synthetic_cines import make_cine, oblique_affine
from synthetic_dicom import write_series

from CardioDiTLib.cine import Cine
from CardioDiTLib.io import load_cine, save_cine

WRITTEN = [".nii", ".nii.gz", ".seq.nrrd", ".nrrd"]


def stored(cine: Cine, folder: Path, kind: str) -> Path:
    if kind != "dicom":
        return save_cine(cine, folder / f"cine{kind}")
    write_series(cine, folder / "images")
    return folder / "images"


@pytest.mark.parametrize(("first", "second"), product(["dicom", *WRITTEN], WRITTEN))
def test_two_formats_in_turn(tmp_path: Path, first: str, second: str) -> None:
    cine = make_cine((5, 3, 40, 60))
    once = load_cine(stored(cine, tmp_path / "1", first))
    twice = load_cine(stored(once, tmp_path / "2", second))
    assert np.array_equal(twice.array, cine.array)
    assert twice.array.dtype == cine.array.dtype
    assert twice.frame_times == pytest.approx(cine.frame_times, abs=2e-6)
    corners = np.array([[x, y, z] for x in (0, 59) for y in (0, 39) for z in (0, 2)])
    assert np.abs(twice.index_to_ras(corners) - cine.index_to_ras(corners)).max() < 1e-4
    assert twice.meta == once.meta


@pytest.mark.parametrize("suffix", WRITTEN)
@pytest.mark.parametrize("flipped", range(3))
def test_left_handed_axes(tmp_path: Path, suffix: str, flipped: int) -> None:
    affine = oblique_affine()
    affine[:3, flipped] *= -1
    cine = make_cine(dtype="float32", affine=affine)
    back = load_cine(save_cine(cine, tmp_path / f"a{suffix}"))
    assert np.array_equal(back.array, cine.array)
    assert back.affine == pytest.approx(affine, abs=1e-4)


@pytest.mark.parametrize("suffix", WRITTEN)
@pytest.mark.parametrize("shape", [(2, 1, 1, 1), (3, 1, 5, 4), (2, 4, 1, 6)])
def test_axes_of_length_one_stay(tmp_path: Path, suffix: str, shape: tuple[int, int, int, int]) -> None:
    cine = make_cine(shape)
    assert np.array_equal(load_cine(save_cine(cine, tmp_path / f"a{suffix}")).array, cine.array)

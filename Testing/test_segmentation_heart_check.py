"""What holds no heart is not measured as one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from refusals import names
from scipy import ndimage

import CardioDiTLib as cd
from CardioDiTLib.cine import Cine, Segmentation
from CardioDiTLib.cli import main
from CardioDiTLib.data import PhantomSpec, make_phantom
from CardioDiTLib.segmentation.heart_check import LEAST_SURE, walled_share, why_no_heart
from CardioDiTLib.segmentation.model import embedded_model_folder

SHAPE = (2, 3, 96, 96)


def labels(array: np.ndarray, dice: float | None = None) -> Segmentation:
    sure = {} if dice is None else {"segmentation": {"sureness": {"expected_dice": {"myocardium": [dice, None]}}}}
    return Segmentation(array.astype(np.uint8), np.diag([1.5, 1.5, 10, 1]), np.arange(len(array)) * 0.1, sure)


@pytest.fixture(scope="module")
def phantom():
    return make_phantom(PhantomSpec(frames=4, slices=6, height=96, width=96))


def test_hearts_are_hearts(phantom):
    assert why_no_heart(phantom.segmentation) == "" and walled_share(phantom.segmentation) > 0.9
    assert why_no_heart(labels(phantom.segmentation.array, 0.85)) == ""
    assert why_no_heart(labels(phantom.segmentation.array, LEAST_SURE)) == ""
    odd = Segmentation(phantom.segmentation.array, phantom.segmentation.affine, phantom.segmentation.frame_times,
                       {"segmentation": {"sureness": "yes"}})  # fmt: skip
    assert why_no_heart(odd) == ""


def test_a_wall_that_is_open_for_a_third_is_still_one(phantom):
    array = phantom.segmentation.array.copy()
    array[:, 0, :48][array[:, 0, :48] == 2] = 0  # half of the wall of the basal slice
    assert why_no_heart(labels(array)) == ""


def test_what_is_none_is_said(phantom):
    array = phantom.segmentation.array
    assert "no left ventricle" in why_no_heart(labels(np.where(array == 3, 0, array)))
    assert "wall around" in why_no_heart(labels(np.where(array == 2, 0, array)))
    assert "not sure of any heart muscle (expected Dice 0.38)" in why_no_heart(labels(array, 0.38))
    specks = np.zeros(SHAPE)
    specks[:, :, ::16, ::16] = 3
    assert "wall around" in why_no_heart(labels(specks)) or "no slice shows" in why_no_heart(labels(specks))


def pictures(kind: str) -> Cine:
    rng = np.random.default_rng(0)
    y, x = np.mgrid[: SHAPE[2], : SHAPE[3]]
    noise = rng.random(SHAPE)
    if kind == "smoothed noise":
        array = ndimage.gaussian_filter(noise, (0, 0, 5, 5))
    elif kind == "constant with a speck":
        array = np.zeros(SHAPE)
        array[:, :, 40:44, 40:44] = 1
    elif kind == "photograph":
        array = 0.4 + 0.2 * np.sin(x / 20) + 0.2 * (y > 48) * (x % 24 < 12) + 0.02 * noise
        array[..., 20:40, 20:60] = 0.9
    elif kind == "chest on CT":
        plane = np.full(SHAPE[2:], -1000.0)
        plane[((y - 48) / 34) ** 2 + ((x - 48) / 44) ** 2 < 1] = 40
        for middle in (30, 66):
            plane[((y - 45) / 19) ** 2 + ((x - middle) / 12) ** 2 < 1] = -850
        plane[(y - 72) ** 2 + (x - 48) ** 2 < 40] = 600
        array = ndimage.gaussian_filter(plane, 1) + 15 * noise
    else:
        array = noise
    return Cine(array.astype(np.float32), np.diag([1.5, 1.5, 10, 1]), np.arange(2) * 0.1, {})


@pytest.mark.parametrize(
    "kind", ["white noise", "smoothed noise", "constant with a speck", "photograph", "chest on CT"]
)
def test_pictures_without_a_heart_are_refused_and_nothing_is_written(kind, tmp_path, capsys):
    if not embedded_model_folder().is_dir():
        pytest.skip("the segmentation network is not here")
    path = cd.save_cine(pictures(kind), tmp_path / "in.nii.gz")
    for command in (("segment", path, tmp_path / "out.nii.gz"), ("measure", path, "--out", tmp_path / "out")):
        assert main([*map(str, command), "--device", "cpu"]) == 1
        said = capsys.readouterr().err.strip().splitlines()[-1]
        plain = kind == "constant with a speck" and ("blank" in said or "labels" in said)
        assert plain or names(said, "heart")
        assert [one.name for one in tmp_path.iterdir()] == ["in.nii.gz"]


REAL = Path(__file__).resolve().parents[2] / "shared" / "data"
"""Real cines; not part of the repository."""


def real_cines() -> list[Path]:
    found = [path for path in REAL.glob("*/*sax_4d.nii.gz") if path.is_file()]
    return sorted(found, key=lambda path: path.name)


@pytest.mark.slow
@pytest.mark.parametrize("path", real_cines() or [None], ids=lambda path: "none" if path is None else path.stem)
def test_no_real_cine_is_refused(path):
    """Two frames, every second slice, the middle 150 mm: what the whole would say, in a tenth of the time."""
    if path is None:
        pytest.skip("no real cines at ../shared/data")
    cine = cd.load_cine(path)
    frames = [0, cine.n_frames // 3]
    half = int(75 / cine.spacing[0])
    rows, columns = (slice(max(0, n // 2 - half), n // 2 + half) for n in cine.shape[2:])
    affine = cine.affine.copy()
    affine[:3, 2] *= 2
    part = Cine(cine.array[frames][:, 1::2][:, :, rows, columns], affine, np.array([0.0, 0.3]), {})
    found = cd.segment(part, device="cpu", mirrored=False)
    sure = found.meta["segmentation"]["sureness"]["expected_dice"]["myocardium"]
    print(f"walled {walled_share(found):.3f}, expected Dice of the myocardium {sure}")
    assert why_no_heart(found) == ""

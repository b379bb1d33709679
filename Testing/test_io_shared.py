"""Real cines: DICOM archives against the NIfTI files made from them, and a file with crooked axes."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
from refusals import refused

from CardioDiTLib.io import load_cine, load_segmentation, save_cine

SUNNYBROOK = "data/sunnybrook_scd0002001"
BIVME = "data/bivme_patient1"


@pytest.mark.parametrize(
    ("archive", "volume", "shape", "spacing", "interval"),
    [
        (
            f"{SUNNYBROOK}/SCD0002001_dicom.zip",
            f"{SUNNYBROOK}/SCD0002001_sax_4d.nii.gz",
            (20, 11, 256, 256),
            (1.367, 1.367, 10.0),
            0.051,
        ),
        (
            f"{BIVME}/bivme_patient1_sax_dicom.zip",
            f"{BIVME}/bivme_patient1_sax_4d.nii.gz",
            (25, 6, 208, 256),
            (1.406, 1.406, 17.7),
            0.033,
        ),
    ],
)
def test_dicom_equals_its_nifti(
    shared_dir: Path,
    archive: str,
    volume: str,
    shape: tuple[int, ...],
    spacing: tuple[float, ...],
    interval: float,
) -> None:
    """Both have the same direction of every axis, so no flip is needed: voxel (t, z, y, x) is the same voxel."""
    dicom, nifti = load_cine(shared_dir / archive), load_cine(shared_dir / volume)
    assert dicom.shape == nifti.shape == shape
    assert dicom.array.dtype == nifti.array.dtype == np.int16
    assert np.array_equal(dicom.array, nifti.array)
    assert dicom.affine == pytest.approx(nifti.affine, abs=1e-4)
    last = np.array(shape[:0:-1]) - 1
    assert np.abs(dicom.index_to_ras(last) - nifti.index_to_ras(last)).max() < 1e-3
    assert dicom.spacing == pytest.approx(spacing, abs=1e-3)
    assert dicom.frame_interval_s == pytest.approx(interval, abs=5e-4)
    assert dicom.frame_times == pytest.approx(nifti.frame_times, abs=1e-6)
    assert dicom.meta["frame_order_from"] == "TriggerTime"
    assert "notes" not in dicom.meta


def test_real_cine_through_a_sequence_file(shared_dir: Path, tmp_path: Path) -> None:
    cine = load_cine(shared_dir / SUNNYBROOK / "SCD0002001_sax_4d.nii.gz")
    back = load_cine(save_cine(cine, tmp_path / "a.seq.nrrd"))
    assert np.array_equal(back.array, cine.array)
    assert back.affine == pytest.approx(cine.affine, abs=1e-9)
    assert back.frame_times == pytest.approx(cine.frame_times, abs=1e-6)


def test_expert_contours_give_the_known_volumes(shared_dir: Path) -> None:
    """EDV 159 ml at frame 19, ESV 91 ml at frame 6: millimetres and frames are right."""
    labels = load_segmentation(shared_dir / SUNNYBROOK / "SCD0002001_sax_4d_LVendo_ED19_ES6.nii.gz", label_map={1: 3})
    volumes = (labels.array == 3).sum(axis=(1, 2, 3)) * labels.voxel_volume_ml
    assert volumes[19] == pytest.approx(159, abs=0.5)
    assert volumes[6] == pytest.approx(91, abs=0.5)


def test_swine(shared_dir: Path) -> None:
    cine = load_cine(shared_dir / "data/swine_cc0/swine_E774S5_sax_4d.nii.gz")
    assert cine.shape == (20, 20, 256, 256)
    assert cine.spacing == pytest.approx((0.82, 0.82, 5.0), abs=1e-3)
    assert cine.frame_interval_s == pytest.approx(0.0316, abs=5e-5)


def test_crooked_axes_of_a_real_file(shared_dir: Path, tmp_path: Path) -> None:
    """ITK refuses this affine; as a volume and as a cine it is named, and squaring it moves no corner by 0.1 mm."""
    bad = shared_dir / "data/bad_geometry/worse_C8O0P2_sa_ED.nii.gz"
    with refused("3D", "256x256x10", "axes"):
        load_cine(bad)
    volume = nibabel.load(bad)
    data = np.asanyarray(volume.dataobj)[:, :, :, np.newaxis].repeat(2, axis=3).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(data, volume.affine), tmp_path / "cine.nii")
    with refused("cine.nii", 0.0066, "square_axes=True"):
        load_cine(tmp_path / "cine.nii")
    squared = load_cine(tmp_path / "cine.nii", square_axes=True)
    corners = np.array([[x, y, z] for x in (0, 255) for y in (0, 255) for z in (0, 9)])
    moved = squared.index_to_ras(corners) - (corners @ volume.affine[:3, :3].T + volume.affine[:3, 3])
    assert np.abs(moved).max() < 0.1

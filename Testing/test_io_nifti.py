"""NIfTI: axes, units of time and space, scaling, and the exact times beside pixdim."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK
from refusals import refused
from synthetic_cines import make_cine, oblique_affine

from CardioDiTLib.cine import Segmentation
from CardioDiTLib.io import load_cine, load_segmentation, save_cine, save_segmentation
from CardioDiTLib.io.conversion import from_simpleitk, to_simpleitk


def write_foreign(
    path: Path,
    array: np.ndarray,
    *,
    interval: float = 0.05,
    units: tuple[str, str] = ("mm", "sec"),
    affine: np.ndarray | None = None,
    kind: type = nibabel.Nifti1Image,
) -> Path:
    """A file as another program would write it: (X, Y, Z, T), no extension."""
    image = kind(array, oblique_affine() if affine is None else affine)
    image.header.set_xyzt_units(*units)
    image.header["pixdim"][4] = interval
    nibabel.save(image, path)
    return path


def test_voxels_axes_and_header(tmp_path: Path) -> None:
    cine = make_cine(times=np.arange(5) * 0.05)
    image = nibabel.load(save_cine(cine, tmp_path / "a.nii.gz"))
    assert image.shape == (6, 7, 3, 5)
    assert image.get_data_dtype() == np.int16
    assert np.array_equal(np.asanyarray(image.dataobj)[4, 2, 1, 3], cine.array[3, 1, 2, 4])
    assert image.header.get_xyzt_units() == ("mm", "sec")
    assert image.header.get_zooms()[3] == pytest.approx(0.05)
    assert (int(image.header["sform_code"]), int(image.header["qform_code"])) == (1, 1)
    assert image.get_sform() == pytest.approx(cine.affine, abs=1e-4)
    assert image.get_qform() == pytest.approx(cine.affine, abs=1e-3)


def test_itk_reads_the_file_extension_and_all(tmp_path: Path) -> None:
    cine = make_cine(times=np.arange(5) * 0.05)
    image = SimpleITK.ReadImage(str(save_cine(cine, tmp_path / "a.nii.gz")))
    assert np.array_equal(SimpleITK.GetArrayFromImage(image), cine.array)
    assert image.GetSpacing() == pytest.approx((*cine.spacing, 0.05))


@pytest.mark.parametrize("dtype", ["int16", "float32"])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".NII.GZ"])
def test_round_trip_keeps_everything(tmp_path: Path, dtype: str, suffix: str) -> None:
    cine = make_cine(dtype=dtype)
    back = load_cine(save_cine(cine, tmp_path / f"a.b{suffix}"))
    assert back.array.dtype == cine.array.dtype
    assert np.array_equal(back.array, cine.array)
    assert back.affine == pytest.approx(cine.affine, abs=2e-5)
    assert np.array_equal(back.frame_times, cine.frame_times)
    assert back.meta == cine.meta


def test_same_cine_gives_same_bytes(tmp_path: Path) -> None:
    one = save_cine(make_cine(), tmp_path / "one.nii.gz").read_bytes()
    assert one == save_cine(make_cine(), tmp_path / "other name.nii.gz").read_bytes()


def test_header_wins_over_times_that_no_longer_fit(tmp_path: Path) -> None:
    """Another program changed the frame interval and kept the extension."""
    path = save_cine(make_cine(), tmp_path / "a.nii")
    image = nibabel.load(path)
    image.header.set_zooms((*image.header.get_zooms()[:3], 0.2))
    nibabel.save(image, tmp_path / "b.nii")
    assert load_cine(tmp_path / "b.nii").frame_times == pytest.approx(np.arange(5) * 0.2)


@pytest.mark.parametrize(
    ("interval", "unit", "seconds"),
    [
        (0.035, "sec", 0.035),
        (35.0, "msec", 0.035),
        (35000.0, "usec", 0.035),
        (35.0, "unknown", 0.035),
        (0.035, "unknown", 0.035),
        (1.0, "msec", 0.001),
    ],
)
def test_units_of_time(tmp_path: Path, interval: float, unit: str, seconds: float) -> None:
    path = write_foreign(tmp_path / "a.nii", np.zeros((4, 5, 3, 6), np.int16), interval=interval, units=("mm", unit))
    cine = load_cine(path)
    assert cine.frame_interval_s == pytest.approx(seconds, rel=1e-12)
    assert "frame_times_assumed" not in cine.meta
    assert ("notes" in cine.meta) == (unit == "unknown" and interval > 5)


@pytest.mark.parametrize(("interval", "unit"), [(0.0, "sec"), (1.0, "unknown"), (1.0, "sec")])
def test_missing_times_are_assumed_and_said(tmp_path: Path, interval: float, unit: str) -> None:
    path = write_foreign(tmp_path / "a.nii", np.zeros((4, 5, 3, 8), np.int16), interval=interval, units=("mm", unit))
    cine = load_cine(path)
    assert cine.cycle_s == pytest.approx(1.0)
    assert cine.meta["frame_times_assumed"] is True
    assert "cycle of 1 s was assumed" in cine.meta["notes"][0]
    given = load_cine(path, frame_interval_s=0.06)
    assert given.frame_interval_s == pytest.approx(0.06)
    assert "frame_times_assumed" not in given.meta
    saved = load_cine(save_cine(cine, tmp_path / "again.nii"), frame_interval_s=0.06)
    assert "frame_times_assumed" not in saved.meta and saved.meta["notes"] == []


def test_times_set_by_another_program_are_not_assumed(tmp_path: Path) -> None:
    array = np.zeros((6, 7, 3, 5), np.int16) + np.arange(5, dtype=np.int16)
    mine = load_cine(write_foreign(tmp_path / "none.nii.gz", array, interval=0.0))
    assert mine.meta["frame_times_assumed"]
    save_cine(mine, tmp_path / "mine.nii.gz")
    for unit, interval, said in (("sec", 0.04, False), ("msec", 40.0, False), ("msec", 200.0, True)):
        image = nibabel.load(tmp_path / "mine.nii.gz")
        image.header.set_xyzt_units("mm", unit)
        image.header["pixdim"][4] = interval
        nibabel.save(image, tmp_path / "set.nii.gz")
        back = load_cine(tmp_path / "set.nii.gz")
        assert back.frame_interval_s == pytest.approx(interval * (1 if unit == "sec" else 1e-3))
        assert back.meta.get("frame_times_assumed", False) == said == bool(back.meta["notes"])
    # some of the frames alone: the interval is as assumed as before
    image = nibabel.load(tmp_path / "mine.nii.gz").slicer[..., :3]
    nibabel.save(image, tmp_path / "part.nii.gz")
    assert load_cine(tmp_path / "part.nii.gz").meta["frame_times_assumed"]
    other = to_simpleitk(mine)
    assert from_simpleitk(other).meta["frame_times_assumed"]
    other.SetSpacing((*mine.spacing, 0.04))
    found = from_simpleitk(other)
    assert found.frame_interval_s == pytest.approx(0.04) and not found.meta.get("frame_times_assumed")


def test_frequencies_are_not_times(tmp_path: Path) -> None:
    path = write_foreign(tmp_path / "a.nii", np.zeros((4, 5, 3, 8), np.int16), units=("mm", "hz"))
    with refused("a.nii", "hz", "frame_interval_s"):
        load_cine(path)
    with refused("a.nii", -1):
        load_cine(path, frame_interval_s=-1)


@pytest.mark.parametrize(("unit", "scale"), [("meter", 1000.0), ("micron", 1e-3), ("unknown", 1.0)])
def test_units_of_space(tmp_path: Path, unit: str, scale: float) -> None:
    path = write_foreign(tmp_path / "a.nii", np.zeros((4, 5, 3, 6), np.int16), units=(unit, "sec"))
    assert load_cine(path).spacing == pytest.approx(np.array([1.40625, 1.3, 9.5]) * scale, rel=1e-5)


def test_scaled_integers_become_floats(tmp_path: Path) -> None:
    array = np.random.default_rng(0).normal(size=(4, 5, 3, 6))
    image = nibabel.Nifti1Image(array, oblique_affine())
    image.header.set_data_dtype(np.int16)
    image.header.set_xyzt_units("mm", "sec")
    image.header["pixdim"][4] = 0.05
    nibabel.save(image, tmp_path / "a.nii")
    cine = load_cine(tmp_path / "a.nii")
    assert cine.array.dtype == np.float32
    assert cine.array == pytest.approx(array.transpose(3, 2, 1, 0), abs=1e-3)


@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", ">i2", "<i4", "float64"])
def test_other_types_and_nifti2(tmp_path: Path, kind: type, dtype: str) -> None:
    array = np.random.default_rng(0).integers(0, 255, (4, 5, 3, 6)).astype(dtype)
    cine = load_cine(write_foreign(tmp_path / "a.nii.gz", array, kind=kind))
    assert np.array_equal(cine.array, array.transpose(3, 2, 1, 0))


def test_trailing_axes_of_one_are_dropped(tmp_path: Path) -> None:
    array = np.arange(360, dtype=np.int16).reshape(4, 5, 3, 6, 1)
    assert load_cine(write_foreign(tmp_path / "a.nii", array)).shape == (6, 3, 5, 4)


def test_compressed_file_without_gz_in_its_name(tmp_path: Path) -> None:
    path = save_cine(make_cine(), tmp_path / "a.nii")
    path.write_bytes(gzip.compress(path.read_bytes()))
    assert np.array_equal(load_cine(path).array, make_cine().array)


def test_file_without_orientation_says_so(tmp_path: Path) -> None:
    path = write_foreign(tmp_path / "a.nii", np.zeros((4, 5, 3, 6), np.int16))
    image = nibabel.load(path)
    image.set_sform(None, code=0)
    image.set_qform(None, code=0)
    nibabel.save(image, tmp_path / "b.nii")
    cine = load_cine(tmp_path / "b.nii")
    assert cine.spacing == pytest.approx((1.40625, 1.3, 9.5), rel=1e-5)
    assert "no orientation" in cine.meta["notes"][0]


def test_crooked_axes_are_refused_or_squared(tmp_path: Path) -> None:
    affine = oblique_affine()
    affine[:3, 2] += 0.01 * affine[:3, 1]
    path = write_foreign(tmp_path / "a.nii", np.zeros((4, 5, 3, 6), np.int16), affine=affine)
    with refused("a.nii", "right angles", "square_axes=True") as caught:
        load_cine(path)
    assert "square_axes=True" in caught.value.hint
    cine = load_cine(path, square_axes=True)
    assert cine.spacing == pytest.approx(np.linalg.norm(affine[:3, :3], axis=0), rel=1e-5)
    centre = np.array([1.5, 2.0, 1.0])
    assert cine.index_to_ras(centre) == pytest.approx(affine[:3, :3] @ centre + affine[:3, 3], abs=1e-4)


def test_true_shear_is_not_squared(tmp_path: Path) -> None:
    affine = oblique_affine()
    affine[:3, 1] += 0.3 * affine[:3, 0]
    path = write_foreign(tmp_path / "a.nii", np.zeros((4, 5, 3, 6), np.int16), affine=affine)
    with refused("a.nii", "right angles", "shear"):
        load_cine(path, square_axes=True)


def test_segmentation_round_trip_and_label_map(tmp_path: Path) -> None:
    cine = make_cine()
    labels = np.random.default_rng(0).integers(0, 4, cine.shape)
    segmentation = Segmentation(labels, cine.affine, cine.frame_times, {"by": "hand"})
    path = save_segmentation(segmentation, tmp_path / "a.nii.gz")
    assert nibabel.load(path).get_data_dtype() == np.uint8
    back = load_segmentation(path)
    assert np.array_equal(back.array, labels)
    assert np.array_equal(back.frame_times, cine.frame_times)
    assert back.meta == {"by": "hand", "source_format": "nifti"}
    mapped = load_segmentation(path, label_map={1: 3, 2: 2})
    assert np.array_equal(mapped.array, np.array([0, 3, 2, 0])[labels])


def test_segmentation_of_one_volume(tmp_path: Path) -> None:
    labels = np.random.default_rng(0).integers(0, 4, (6, 5, 3)).astype(np.float64)
    segmentation = load_segmentation(write_foreign(tmp_path / "a.nii", labels))
    assert np.array_equal(segmentation.array[0], labels.T)
    assert segmentation.frame_times.tolist() == [0.0]
    again = load_segmentation(save_segmentation(segmentation, tmp_path / "b.nii.gz"))
    assert np.array_equal(again.array, segmentation.array)


def test_segmentation_with_foreign_labels_asks_for_a_map(tmp_path: Path) -> None:
    array = np.full((4, 5, 3, 6), 7, np.uint8)
    array[:2] = 9
    path = write_foreign(tmp_path / "a.nii", array)
    with refused("a.nii", 7, 9, "label_map") as caught:
        load_segmentation(path)
    assert "label_map" in caught.value.hint
    assert (load_segmentation(path, label_map={7: 3, 9: 3}).array == 3).all()

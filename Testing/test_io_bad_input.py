"""Whatever is thrown at the loaders, a user sees one sentence and a hint, never a traceback."""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest
from refusals import refused
from synthetic_cines import make_cine
from synthetic_dicom import write_series

from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.io import load_cine, load_segmentation, save_cine

KINDS = {".nii": "NIfTI", ".nii.gz": "NIfTI", ".seq.nrrd": "NRRD", ".nrrd": "NRRD", ".zip": "zip"}
SUFFIXES = [".nii", ".nii.gz", ".seq.nrrd", ".zip"]


def reading_fails(path: Path, *named: object) -> None:
    with refused(*named) as caught:
        load_cine(path)
    assert path.name[:40] in str(caught.value)


def good_file(folder: Path, suffix: str) -> Path:
    cine = make_cine((4, 2, 6, 5), times=np.arange(4) * 0.05)
    if suffix != ".zip":
        return save_cine(cine, folder / f"good{suffix}")
    write_series(cine, folder / "files")
    return Path(shutil.make_archive(str(folder / "good"), "zip", folder / "files"))


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".seq.nrrd", ".nrrd", ".zip"])
def test_files_that_are_something_else(tmp_path: Path, suffix: str) -> None:
    reading_fails(tmp_path / f"none{suffix}", "exist")
    (tmp_path / f"empty{suffix}").touch()
    reading_fails(tmp_path / f"empty{suffix}", "empty")
    (tmp_path / f"text{suffix}").write_text("This is a letter, not an image. " * 40, encoding="utf-8")
    reading_fails(tmp_path / f"text{suffix}", KINDS[suffix])
    (tmp_path / f"short{suffix}").write_bytes(b"\x1f")
    reading_fails(tmp_path / f"short{suffix}", KINDS[suffix])


def test_compressed_text(tmp_path: Path) -> None:
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(b"letter" * 200))
    reading_fails(tmp_path / "a.nii.gz", "NIfTI")


@pytest.mark.parametrize("name", ["a.jpg", "a.npz", "a.mha", "a", "a.nii.bz2"])
def test_formats_that_are_not_read(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("x", encoding="utf-8")
    reading_fails(tmp_path / name, "format")


def test_single_dicom_file(tmp_path: Path) -> None:
    write_series(make_cine(), tmp_path)
    reading_fails(min(tmp_path.iterdir()), "single", "DICOM")


def test_folder_named_like_a_file(tmp_path: Path) -> None:
    (tmp_path / "a.nii.gz").mkdir()
    reading_fails(tmp_path / "a.nii.gz", "no DICOM")


def test_impossible_names(tmp_path: Path) -> None:
    reading_fails(tmp_path / ("a" * 5000 + ".nii"), "opened")
    with refused("null byte"):
        load_cine(f"{tmp_path}/a\0b.nii")


def nifti(path: Path, array: np.ndarray) -> Path:
    nibabel.save(nibabel.Nifti1Image(array, np.diag([1.5, 1.5, 9, 1])), path)
    return path


def test_wrong_dimensions(tmp_path: Path) -> None:
    reading_fails(nifti(tmp_path / "a.nii.gz", np.zeros((6, 5, 4), np.int16)), "3D", "6x5x4")
    reading_fails(nifti(tmp_path / "b.nii.gz", np.zeros((6, 5), np.int16)), "2 dimensions", "6x5")
    reading_fails(nifti(tmp_path / "c.nii.gz", np.zeros((6, 5, 4, 3, 2), np.int16)), "5 dimensions", "6x5x4x3x2")
    reading_fails(nifti(tmp_path / "d.nii.gz", np.zeros((6, 5, 4, 1), np.int16)), "2 frames", 1)
    header = b"NRRD0004\ntype: uchar\ndimension: 3\nsizes: 2 2 2\nspacings: 1 1 1\nencoding: raw\n\n"
    (tmp_path / "e.nrrd").write_bytes(header + bytes(8))
    reading_fails(tmp_path / "e.nrrd", "3D", "2x2x2")
    with refused("b.nii.gz", "2 dimensions"):
        load_segmentation(tmp_path / "b.nii.gz")


def test_one_frame_sequence(tmp_path: Path) -> None:
    header = b"NRRD0004\ntype: uchar\ndimension: 4\nsizes: 2 2 2 1\nspacings: 1 1 1 1\nencoding: raw\n\n"
    (tmp_path / "a.nrrd").write_bytes(header + bytes(8))
    reading_fails(tmp_path / "a.nrrd", "2 frames", 1)


def test_colour_complex_and_nan_voxels(tmp_path: Path) -> None:
    rgb = np.zeros((6, 5, 4, 3), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    reading_fails(nifti(tmp_path / "a.nii.gz", rgb), "u1", "voxel")
    reading_fails(nifti(tmp_path / "b.nii.gz", np.zeros((6, 5, 4, 3), np.complex64)), "complex64", "voxel")
    holed = np.zeros((6, 5, 4, 3), np.float32)
    holed[1, 2, 3, :2] = np.nan
    reading_fails(nifti(tmp_path / "c.nii.gz", holed), "2 voxels", "finite")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_truncated_anywhere(tmp_path: Path, suffix: str) -> None:
    path = good_file(tmp_path, suffix)
    content = path.read_bytes()
    for part in np.linspace(0.02, 0.98, 40):
        path.write_bytes(content[: int(part * len(content))])
        reading_fails(path)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_damaged_anywhere(tmp_path: Path, suffix: str) -> None:
    """A few bytes are overwritten: either the file is still a cine, or the problem is said."""
    path = good_file(tmp_path, suffix)
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    problems = 0
    for _ in range(150):
        damaged = bytearray(content)
        start = int(rng.integers(len(content) if rng.random() < 0.5 else min(900, len(content))))
        damaged[start : start + 3] = rng.bytes(3)
        path.write_bytes(bytes(damaged[: len(content)]))
        try:
            load_cine(path)
        except CardioDiTError as error:
            assert error.hint
            problems += 1
    assert problems > 0


@pytest.mark.parametrize("suffix", [".nii", ".seq.nrrd"])
def test_headers_of_garbage(tmp_path: Path, suffix: str) -> None:
    """Numbers of the header are replaced one by one, the file stays well-formed."""
    path = good_file(tmp_path, suffix)
    content = path.read_bytes()
    if suffix == ".nii":
        for offset in range(40, 340, 2):
            for value in (b"\xff\xff", b"\x00\x00", b"\xff\x7f"):
                path.write_bytes(content[:offset] + value + content[offset + 2 :])
                try:
                    load_cine(path)
                except CardioDiTError as error:
                    assert error.hint
        return
    header, data = content.split(b"\n\n", 1)
    lines = header.split(b"\n")
    for number in range(1, len(lines)):
        key = lines[number].split(b":")[0]
        for value in (b"", b"-1", b"nan nan nan nan", b"()", b"none none none none", b"\xff", b"4 4 4 4 4"):
            changed = [*lines[:number], key + b": " + value, *lines[number + 1 :]]
            path.write_bytes(b"\n".join(changed) + b"\n\n" + data)
            try:
                load_cine(path)
            except CardioDiTError as error:
                assert error.hint


@pytest.mark.parametrize("name", ["a.jpg", "a.zip", "a", "a.nii.bz2", "a.dcm.gz"])
def test_formats_that_are_not_written(tmp_path: Path, name: str) -> None:
    with refused(name, "format") as caught:
        save_cine(make_cine(), tmp_path / name)
    assert ".seq.nrrd" in caught.value.hint
    assert list(tmp_path.iterdir()) == []

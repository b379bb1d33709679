"""Slicer sequence files: the header to the letter, and other NRRD files with a time axis."""

from __future__ import annotations

import gzip
from pathlib import Path

import nrrd
import numpy as np
import pytest
from refusals import refused
from synthetic_cines import make_cine, oblique_affine

from CardioDiTLib.cine import Cine, Segmentation
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.io import load_cine, load_segmentation, save_cine, save_segmentation
from CardioDiTLib.io.nrrd_sequence import index_strings

VOXELS = np.random.default_rng(0).integers(-500, 500, (3, 2, 5, 4)).astype(np.int16)  # (T, Z, Y, X)


def write_foreign(path: Path, lines: list[str], voxels: np.ndarray) -> Path:
    """A file as another program would write it; ``voxels`` with the slowest axis first."""
    sizes = " ".join(str(length) for length in voxels.shape[::-1])
    header = ["NRRD0004", "type: short", f"dimension: {voxels.ndim}", f"sizes: {sizes}", "endian: little"]
    header += ["encoding: gzip", *lines]
    path.write_bytes(("\n".join(header) + "\n\n").encode() + gzip.compress(voxels.astype("<i2").tobytes()))
    return path


TIME_LAST = [
    "space: left-posterior-superior",
    "space directions: (-1.5,0,0) (0,1.25,0) (0,0,8) none",
    "space origin: (10,-20,-30)",
    "kinds: domain domain domain list",
    'labels: "" "" "" "time"',
    'units: "" "" "" "s"',
    "axis 3 index type:=numeric",
    "axis 3 index values:=0.0000 0.0500 0.1000",
]


def test_header_is_what_slicer_documents(tmp_path: Path) -> None:
    times = [0.0, 0.051089, 0.102178]
    cine = Cine(VOXELS, np.array([[-1.5, 0, 0, 10], [0, -1.25, 0, 20], [0, 0, 8, -30], [0, 0, 0, 1]]), times, {"a": 1})
    content = save_cine(cine, tmp_path / "a.seq.nrrd").read_bytes()
    header, data = content.split(b"\n\n", 1)
    assert header.decode("ascii").splitlines() == [
        "NRRD0005",
        "type: short",
        "dimension: 4",
        "space: left-posterior-superior",
        "sizes: 3 4 5 2",
        "space directions: none (1.5,0.0,0.0) (0.0,1.25,0.0) (0.0,0.0,8.0)",
        "kinds: list domain domain domain",
        'labels: "time" "" "" ""',
        'units: "s" "" "" ""',
        "endian: little",
        "encoding: gzip",
        "space origin: (-10.0,-20.0,-30.0)",
        "DataNodeClassName:=vtkMRMLScalarVolumeNode",
        "axis 0 index type:=numeric",
        "axis 0 index values:=0 0.051089 0.102178",
        'CardioDiT.meta:={"a": 1}',
    ]
    values = np.frombuffer(gzip.decompress(data), "<i2").reshape(2, 5, 4, 3)
    assert np.array_equal(values, np.moveaxis(VOXELS, 0, -1))


def test_other_readers_get_the_same_voxels(tmp_path: Path) -> None:
    data, header = nrrd.read(str(save_cine(make_cine(), tmp_path / "a.seq.nrrd")))
    assert np.array_equal(data, make_cine().array.transpose(0, 3, 2, 1))
    assert header["kinds"] == ["list", "domain", "domain", "domain"]


@pytest.mark.parametrize("dtype", ["int16", "float32"])
@pytest.mark.parametrize("suffix", [".seq.nrrd", ".nrrd"])
def test_round_trip_keeps_everything(tmp_path: Path, dtype: str, suffix: str) -> None:
    cine = make_cine(dtype=dtype)
    back = load_cine(save_cine(cine, tmp_path / f"a.b{suffix}"))
    assert back.array.dtype == cine.array.dtype
    assert np.array_equal(back.array, cine.array)
    assert np.array_equal(back.affine, cine.affine)
    assert back.frame_times == pytest.approx(cine.frame_times, abs=1e-6)
    assert back.meta == cine.meta


def test_same_cine_gives_same_bytes(tmp_path: Path) -> None:
    one = save_cine(make_cine(), tmp_path / "one.seq.nrrd").read_bytes()
    assert one == save_cine(make_cine(), tmp_path / "other name.seq.nrrd").read_bytes()


def test_index_strings() -> None:
    assert index_strings([0.0, 0.05, 0.1000004, 10.0]) == ["0", "0.05", "0.1", "10"]


def test_frames_that_slicer_would_merge_are_refused(tmp_path: Path) -> None:
    cine = make_cine(times=np.arange(5) * 0.0005)
    with refused("1 ms", ".nii.gz"):
        save_cine(cine, tmp_path / "a.seq.nrrd")
    assert list(tmp_path.iterdir()) == []


def test_time_axis_last_as_newer_slicer_writes_it(tmp_path: Path) -> None:
    cine = load_cine(write_foreign(tmp_path / "a.seq.nrrd", TIME_LAST, VOXELS))
    assert np.array_equal(cine.array, VOXELS)
    assert cine.frame_times == pytest.approx([0, 0.05, 0.1])
    expected = [[1.5, 0, 0, -10], [0, -1.25, 0, 20], [0, 0, 8, -30], [0, 0, 0, 1]]
    assert cine.affine == pytest.approx(np.array(expected))


@pytest.mark.parametrize("spot", range(4))
def test_time_axis_anywhere(tmp_path: Path, spot: int) -> None:
    kinds, directions = ["domain"] * 3, ["(1,0,0)", "(0,2,0)", "(0,0,8)"]
    kinds.insert(spot, "list")
    directions.insert(spot, "none")
    lines = ["space: RAS", "kinds: " + " ".join(kinds), "space directions: " + " ".join(directions)]
    cine = load_cine(write_foreign(tmp_path / "a.nrrd", lines, np.moveaxis(VOXELS, 0, 3 - spot)))
    assert np.array_equal(cine.array, VOXELS)
    assert cine.affine == pytest.approx(np.diag([1.0, 2.0, 8.0, 1.0]))


@pytest.mark.parametrize(
    ("unit", "values", "times"),
    [("ms", "0 30 65", [0, 0.03, 0.065]), ("", "100 130 165", [0, 0.03, 0.065]), ("s", "0 0.5 1", [0, 0.5, 1])],
)
def test_units_of_time(tmp_path: Path, unit: str, values: str, times: list[float]) -> None:
    lines = [*TIME_LAST[:5], f'units: "" "" "" "{unit}"', f"axis 3 index values:={values}"]
    cine = load_cine(write_foreign(tmp_path / "a.nrrd", lines, VOXELS))
    assert cine.frame_times == pytest.approx(times)
    assert "frame_times_assumed" not in cine.meta


@pytest.mark.parametrize("values", ["0 1 2", "rest systole rest%20again", "0 0.1"])
def test_frame_numbers_and_words_are_no_times(tmp_path: Path, values: str) -> None:
    lines = [*TIME_LAST[:5], f"axis 3 index values:={values}"]
    path = write_foreign(tmp_path / "a.nrrd", lines, VOXELS)
    assert load_cine(path).meta["frame_times_assumed"] is True
    assert load_cine(path).cycle_s == pytest.approx(1.0)
    assert load_cine(path, frame_interval_s=0.04).frame_times == pytest.approx([0, 0.04, 0.08])


def test_plain_file_with_spacings(tmp_path: Path) -> None:
    cine = load_cine(write_foreign(tmp_path / "a.nrrd", ["spacings: 1.5 1.25 8 0.04"], VOXELS))
    assert np.array_equal(cine.array, VOXELS)
    assert cine.spacing == (1.5, 1.25, 8.0)
    assert cine.frame_interval_s == pytest.approx(0.04)


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        ([], "neither directions nor spacings"),
        (["space: scanner-xyz", *TIME_LAST[1:4]], "not an anatomical one"),
        (["kinds: RGB-color domain domain domain", "spacings: 1 1 1 1"], "colour or vector"),
        (["space: LPS", "kinds: domain domain domain list", "space directions: (1,0,0) none (0,0,8) none"], "axis 1"),
    ],
)
def test_files_without_usable_axes(tmp_path: Path, lines: list[str], sentence: str) -> None:
    with pytest.raises(CardioDiTError, match=sentence) as caught:
        load_cine(write_foreign(tmp_path / "a.nrrd", lines, VOXELS))
    assert caught.value.hint


def test_crooked_axes_are_refused_or_squared(tmp_path: Path) -> None:
    lines = ["space: RAS", "kinds: domain domain domain list", "space directions: (1,0,0) (0.01,1,0) (0,0,8) none"]
    path = write_foreign(tmp_path / "a.nrrd", lines, VOXELS)
    with refused("a.nrrd", "right angles"):
        load_cine(path)
    assert load_cine(path, square_axes=True).spacing == pytest.approx((1, 1, 8), abs=1e-4)


def test_segmentation_is_a_sequence_of_label_maps(tmp_path: Path) -> None:
    labels = np.random.default_rng(0).integers(0, 4, (3, 2, 5, 4))
    path = save_segmentation(Segmentation(labels, oblique_affine(), [0, 0.05, 0.1]), tmp_path / "a.seq.nrrd")
    assert b"DataNodeClassName:=vtkMRMLLabelMapVolumeNode" in path.read_bytes()
    back = load_segmentation(path)
    assert np.array_equal(back.array, labels)
    assert back.array.dtype == np.uint8


def test_segmentation_of_one_volume(tmp_path: Path) -> None:
    path = write_foreign(tmp_path / "a.nrrd", ["spacings: 1 1 8"], np.abs(VOXELS[0]) % 4)
    assert np.array_equal(load_segmentation(path).array[0], np.abs(VOXELS[0]) % 4)
    one = load_segmentation(path)
    assert load_segmentation(save_segmentation(one, tmp_path / "b.seq.nrrd")).shape == (1, 2, 5, 4)

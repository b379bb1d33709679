"""NIfTI and NRRD headers as people have them: the right millimetres and seconds, a note, or a refusal that is true."""

from __future__ import annotations

import gzip
import struct
import time
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK
from synthetic_cines import make_cine, oblique_affine

from CardioDiTLib.cine import Segmentation
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.function.cardiac_function import cardiac_function
from CardioDiTLib.io import load_cine, load_segmentation, memory, save_cine, save_segmentation

VOXELS = np.random.default_rng(0).integers(-500, 500, (10, 4, 8, 7)).astype(np.int16)  # (T, Z, Y, X)


def notes(image: object) -> str:
    return " ".join(image.meta.get("notes", []))  # type: ignore[attr-defined]


def refused(path: Path, sentence: str, **options: object) -> None:
    with pytest.raises(CardioDiTError, match=sentence) as caught:
        load_cine(path, **options)  # type: ignore[arg-type]
    assert caught.value.hint


def nifti(
    path: Path,
    *,
    pixdim: tuple[float, ...] = (1.5, 1.4, 10.0),
    sform: np.ndarray | None = None,
    quaternion: tuple[float, float, float] | None = None,
    interval: float = 0.05,
    units: int = 10,
    voxels: np.ndarray = VOXELS,
    dims: tuple[int, ...] | None = None,
    datatype: tuple[int, int] = (4, 16),
) -> Path:
    """A NIfTI file byte by byte, so that no library corrects its header."""
    header = bytearray(348)
    dims = dims or voxels.shape[::-1]
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into(f"<{len(dims) + 1}h", header, 40, len(dims), *dims)
    struct.pack_into("<2h", header, 70, *datatype)
    struct.pack_into("<8f", header, 76, 1.0, *pixdim, interval, 0, 0, 0)
    struct.pack_into("<f", header, 108, 352)
    header[123] = units
    struct.pack_into("<2h", header, 252, quaternion is not None, 0 if sform is None else 2)
    struct.pack_into("<6f", header, 256, *(quaternion or (0, 0, 0)), 11, 12, 13)
    if sform is not None:
        struct.pack_into("<12f", header, 280, *np.asarray(sform, float)[:3].ravel())
    header[344:348] = b"n+1\0"
    content = bytes(header) + bytes(4) + voxels.astype("<i2").tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


# ------------------------------------------------------------------------------------------ NIfTI: millimetres

HALF_TURN = (0.0, 0.0, 1.0)
DIRECTIONS = np.diag([-1.0, -1.0, 1.0])


def with_lengths(*lengths: float) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = DIRECTIONS * lengths
    affine[:3, 3] = 11, 12, 13
    return affine


@pytest.mark.parametrize("quaternion", [HALF_TURN, None])
def test_sform_without_scale_beside_good_pixdim(tmp_path: Path, quaternion: tuple[float, float, float] | None) -> None:
    path = nifti(tmp_path / "a.nii", sform=with_lengths(1, 1, 1), quaternion=quaternion)
    cine = load_cine(path)
    assert cine.affine == pytest.approx(with_lengths(1.5, 1.4, 10), abs=1e-5)
    assert cine.spacing == pytest.approx(SimpleITK.ReadImage(str(path)).GetSpacing()[:3])
    assert "contradicts itself" in notes(cine) and "1.5 x 1.4 x 10" in notes(cine)


@pytest.mark.parametrize("sform", [np.zeros((4, 4)), np.full((4, 4), np.nan)])
def test_sform_of_zeros_beside_a_good_qform(tmp_path: Path, sform: np.ndarray) -> None:
    cine = load_cine(nifti(tmp_path / "a.nii", sform=sform, quaternion=HALF_TURN))
    assert cine.affine == pytest.approx(with_lengths(1.5, 1.4, 10), abs=1e-5)
    assert "sform holds no axes" in notes(cine)
    only = load_cine(nifti(tmp_path / "b.nii", sform=sform))
    assert only.spacing == pytest.approx((1.5, 1.4, 10)) and "no orientation" in notes(only)


@pytest.mark.parametrize("pixdim", [(1.0, 1.0, 1.0), (0.0, 0.0, 0.0), (1.5, 1.4, 0.0), (np.nan, 1.4, 10.0)])
def test_pixdim_without_size_beside_a_good_sform(tmp_path: Path, pixdim: tuple[float, ...]) -> None:
    cine = load_cine(nifti(tmp_path / "a.nii", pixdim=pixdim, sform=with_lengths(1.5, 1.4, 10), quaternion=HALF_TURN))
    assert cine.affine == pytest.approx(with_lengths(1.5, 1.4, 10), abs=1e-5)
    assert "sform was taken" in notes(cine) or "of the sform was taken" in notes(cine)


def test_no_voxel_size_at_all_is_never_one_millimetre(tmp_path: Path) -> None:
    refused(nifti(tmp_path / "a.nii", pixdim=(1.5, 1.4, 0.0)), "has no voxel size")
    refused(nifti(tmp_path / "b.nii", pixdim=(0.0, 0.0, 0.0), quaternion=HALF_TURN), "has no voxel size")
    said = load_cine(nifti(tmp_path / "c.nii", pixdim=(1.0, 1.0, 1.0), quaternion=HALF_TURN))
    assert "1 x 1 x 1 mm, which programs write that know no size" in notes(said)


def test_two_sizes_that_contradict_each_other(tmp_path: Path) -> None:
    other = with_lengths(1.3, 1.3, 8)
    cine = load_cine(nifti(tmp_path / "a.nii", sform=other, quaternion=HALF_TURN))
    assert cine.spacing == pytest.approx((1.5, 1.4, 10), rel=1e-5) and "as ITK does" in notes(cine)
    refused(
        nifti(tmp_path / "b.nii", sform=other), r"contradicts itself: the sform says 1.3 x 1.3 x 8, pixdim 1.5 x 1.4"
    )
    near = load_cine(nifti(tmp_path / "c.nii", sform=with_lengths(1.52, 1.4, 10)))
    assert near.spacing == pytest.approx((1.52, 1.4, 10), rel=1e-5) and "differ slightly" in notes(near)


def test_headers_that_agree_say_nothing(tmp_path: Path) -> None:
    rounded = with_lengths(1.5004, 1.4, 10)
    cine = load_cine(nifti(tmp_path / "a.nii", sform=rounded, quaternion=HALF_TURN))
    assert "notes" not in cine.meta


def test_negative_pixdim(tmp_path: Path) -> None:
    assert load_cine(nifti(tmp_path / "a.nii", pixdim=(-1.5, 1.4, -10), quaternion=HALF_TURN)).spacing == pytest.approx(
        (1.5, 1.4, 10)
    )


def test_crooked_sform_of_a_sound_qform(tmp_path: Path) -> None:
    crooked = with_lengths(1.5, 1.4, 10)
    crooked[1, 0] = 0.004
    cine = load_cine(nifti(tmp_path / "a.nii", sform=crooked, quaternion=HALF_TURN))
    assert cine.affine == pytest.approx(with_lengths(1.5, 1.4, 10), abs=1e-5)
    assert "those of the qform were taken" in notes(cine)


@pytest.mark.parametrize("excess", [0.0, 4e-7, 1e-5, 1e-2])
def test_quaternion_a_hair_too_long(tmp_path: Path, excess: float) -> None:
    quaternion = tuple(value * (1 + excess) for value in (0.6, 0.64, 0.48))
    path = nifti(tmp_path / "a.nii", quaternion=quaternion)
    cine = load_cine(path)
    assert cine.spacing == pytest.approx((1.5, 1.4, 10), rel=1e-6)
    itk = SimpleITK.ReadImage(str(path))
    directions = np.array(itk.GetDirection()).reshape(4, 4)[:3, :3]
    assert np.diag([-1.0, -1.0, 1.0]) @ cine.affine[:3, :3] / cine.spacing == pytest.approx(directions, abs=1e-3)
    assert ("too long" in notes(cine)) == (excess == 1e-2)


def test_any_quaternion_is_that_of_nibabel(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(VOXELS.transpose(3, 2, 1, 0), None)
    image.set_qform(oblique_affine() @ np.diag([1, 1, -1, 1]), 1)
    image.header.set_xyzt_units("mm", "sec")
    image.header["pixdim"][4] = 0.05
    nibabel.save(image, tmp_path / "a.nii")
    assert load_cine(tmp_path / "a.nii").affine == pytest.approx(nibabel.load(tmp_path / "a.nii").affine, abs=1e-5)


def test_unusual_sizes_and_units_are_told(tmp_path: Path) -> None:
    metres = load_cine(nifti(tmp_path / "a.nii", units=9, quaternion=HALF_TURN))
    assert metres.spacing == pytest.approx((1500, 1400, 10000)) and "unusual" in notes(metres)
    unknown = load_cine(nifti(tmp_path / "b.nii", units=5 + 8, quaternion=HALF_TURN))
    assert unknown.spacing == pytest.approx((1.5, 1.4, 10)) and "unit of length (5)" in notes(unknown)


# ------------------------------------------------------------------------------------------ NIfTI: seconds


@pytest.mark.parametrize(
    ("units", "interval", "said"),
    [(10, 35.0, "longer than a heart beat"), (18, 0.035, "shorter"), (2 + 56, 0.05, "no unit of time")],
)
def test_times_of_no_heart_beat_count_as_unknown(tmp_path: Path, units: int, interval: float, said: str) -> None:
    path = nifti(tmp_path / "a.nii", units=units, interval=interval, quaternion=HALF_TURN)
    cine = load_cine(path)
    assert cine.meta["frame_times_assumed"] is True and said in notes(cine)
    again = load_cine(save_cine(cine, tmp_path / "b.nii"))
    assert again.meta["frame_times_assumed"] is True
    given = load_cine(path, frame_interval_s=0.04)
    assert given.frame_interval_s == pytest.approx(0.04) and "frame_times_assumed" not in given.meta


def test_times_that_the_user_gave_are_kept(tmp_path: Path) -> None:
    path = nifti(tmp_path / "a.nii", quaternion=HALF_TURN)
    cine = load_cine(path, frame_interval_s=0.01)
    assert cine.frame_interval_s == pytest.approx(0.01) and "that were given" in notes(cine)
    assert load_cine(save_cine(cine, tmp_path / "b.nii")).frame_interval_s == pytest.approx(0.01)


# ------------------------------------------------------------------------------------------ NIfTI: the file itself


def test_what_is_wrong_is_what_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refused(nifti(tmp_path / "a.nii", datatype=(77, 16)), "voxels of type 77, which NIfTI does not have")
    pair = bytearray(nifti(tmp_path / "b.nii").read_bytes())
    pair[344:348] = b"ni1\0"
    (tmp_path / "b.nii").write_bytes(bytes(pair))
    refused(tmp_path / "b.nii", "header of a pair of files")
    refused(nifti(tmp_path / "c.nii", dims=(7, 8, -4, 10)), "damaged: its header gives it 7x8x-4x10")

    def denied(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    nifti(tmp_path / "d.nii"), (tmp_path / "d.nrrd").write_bytes(b"NRRD0004\n")
    monkeypatch.setattr(Path, "open", denied)
    refused(tmp_path / "d.nii", "could not be read: Permission denied")
    refused(tmp_path / "d.nrrd", "could not be read: Permission denied")


def test_size_is_weighed_before_anything_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = nifti(tmp_path / "a.nii.gz", dims=(2000, 2000, 100, 16))
    start = time.monotonic()
    refused(bomb, r"claims 2000x2000x100x16 voxels, 12.8 GB")
    monkeypatch.setattr(memory, "available_bytes", lambda: 20_000)
    refused(nifti(tmp_path / "b.nii.gz"), r"would take 0.0 GB of memory")
    monkeypatch.undo()
    monkeypatch.setattr("CardioDiTLib.io.nifti._MOST_TRAILING", 1 << 20)
    content = gzip.decompress(nifti(tmp_path / "c.nii.gz").read_bytes())
    (tmp_path / "c.nii.gz").write_bytes(gzip.compress(content + bytes(1 << 24)))
    refused(tmp_path / "c.nii.gz", "far more data than its header says")
    assert time.monotonic() - start < 10


def test_several_gzip_members_and_trailing_zeros(tmp_path: Path) -> None:
    content = nifti(tmp_path / "a.nii", quaternion=HALF_TURN).read_bytes()
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(content[:500]) + gzip.compress(content[500:]) + bytes(7))
    assert np.array_equal(load_cine(tmp_path / "a.nii.gz").array, VOXELS)
    broken = bytearray((tmp_path / "a.nii.gz").read_bytes())
    broken[-10] ^= 255  # of the checksum
    (tmp_path / "b.nii.gz").write_bytes(bytes(broken))
    refused(tmp_path / "b.nii.gz", "truncated or damaged")


# ------------------------------------------------------------------------------------------ NRRD


def nrrd(path: Path, lines: list[str], voxels: np.ndarray | None = VOXELS, packed: bytes | None = None) -> Path:
    sizes = " ".join(str(length) for length in VOXELS.shape[::-1])
    head = ["NRRD0005", "type: short", "dimension: 4", f"sizes: {sizes}", "endian: little"]
    if not any(line.startswith("encoding") for line in lines):
        head.append("encoding: raw")
    content = b"" if voxels is None else voxels.astype("<i2").tobytes()
    end = b"" if any(line.startswith("data file: LIST") for line in lines) else b"\n"
    path.write_bytes(("\n".join(head + lines) + "\n").encode() + end + (content if packed is None else packed))
    return path


SPACE = ["space: left-posterior-superior", "space directions: (1.5,0,0) (0,1.4,0) (0,0,10) none"]
TIMES = "axis 3 index values:=0 0.05 0.1 0.15 0.2 0.25 0.3 0.35 0.4 0.45"


@pytest.mark.parametrize(
    ("space", "turn"),
    [
        ("space dimension: 4", (-1, -1, 1)),
        ("space: left-posterior-superior-time", (-1, -1, 1)),
        ("space: LPST", (-1, -1, 1)),
        ("space: RAST", (1, 1, 1)),
        ("space: right-anterior-superior-time", (1, 1, 1)),
        ("space: LAST", (-1, 1, 1)),
    ],
)
def test_space_of_four_dimensions(tmp_path: Path, space: str, turn: tuple[int, int, int]) -> None:
    lines = [space, "space directions: (1.5,0,0,0) (0,1.4,0,0) (0,0,10,0) (0,0,0,0.05)", "space origin: (1,2,3,0)"]
    cine = load_cine(nrrd(tmp_path / "a.nrrd", lines))
    expected = np.diag([*turn, 1.0]) @ np.array([[1.5, 0, 0, 1], [0, 1.4, 0, 2], [0, 0, 10, 3], [0, 0, 0, 1]])
    assert cine.affine == pytest.approx(expected)
    assert cine.frame_interval_s == pytest.approx(0.05) and np.array_equal(cine.array, VOXELS)


def test_what_simpleitk_writes(tmp_path: Path) -> None:
    frames = [SimpleITK.GetImageFromArray(frame) for frame in VOXELS]
    image = SimpleITK.JoinSeries(frames)
    image.SetSpacing((1.5, 1.4, 10.0, 0.05))
    image.SetOrigin((1.0, 2.0, 3.0, 0.0))
    for suffix in (".nrrd", ".nhdr", ".nii.gz"):
        SimpleITK.WriteImage(image, str(tmp_path / f"a{suffix}"), useCompression=suffix != ".nhdr")
        cine = load_cine(tmp_path / f"a{suffix}")
        assert np.array_equal(cine.array, VOXELS)
        assert cine.spacing == pytest.approx((1.5, 1.4, 10)) and cine.frame_interval_s == pytest.approx(0.05)
        assert cine.affine[:3, 3] == pytest.approx((-1, -2, 3))


def test_frame_labels_of_a_multi_volume(tmp_path: Path) -> None:
    def lines(tag: str, unit: str) -> list[str]:
        return [
            *SPACE,
            f"MultiVolume.FrameIdentifyingDICOMTagName:={tag}",
            f"MultiVolume.FrameIdentifyingDICOMTagUnits:={unit}",
            "MultiVolume.FrameLabels:=" + ",".join(str(50 * t) for t in range(10)),
        ]

    for unit in ("ms", ""):
        cine = load_cine(nrrd(tmp_path / "a.nrrd", lines("TriggerTime", unit)))
        assert cine.frame_times == pytest.approx(np.arange(10) * 0.05) and "frame_times_assumed" not in cine.meta
    echo = load_cine(nrrd(tmp_path / "b.nrrd", lines("EchoTime", "ms")))
    assert echo.meta["frame_times_assumed"] is True and "'EchoTime', which is no time" in notes(echo)


@pytest.mark.parametrize(
    ("unit", "label", "step", "seconds"),
    [
        ("%", "time", 10, None),
        ("frame", "time", 2, None),
        ("", "frame", 2, None),
        ("", "phase", 0.1, None),
        ("mm", "time", 0.05, None),
        ("min", "time", 0.05 / 60, 0.05),
        ("ms", "time", 50, 0.05),
        ("", "time", 0.05, 0.05),
    ],
)
def test_stated_units(tmp_path: Path, unit: str, label: str, step: float, seconds: float | None) -> None:
    values = "axis 3 index values:=" + " ".join(str(step * t) for t in range(10))
    lines = [*SPACE, f'units: "" "" "" "{unit}"', f'labels: "" "" "" "{label}"', values]
    cine = load_cine(nrrd(tmp_path / "a.nrrd", lines))
    assert cine.meta.get("frame_times_assumed", False) is (seconds is None)
    assert cine.frame_interval_s == pytest.approx(0.1 if seconds is None else seconds)


def test_keys_that_come_twice(tmp_path: Path) -> None:
    cine = load_cine(nrrd(tmp_path / "a.nrrd", [*SPACE, "who:=a", "who:=b", "kinds: domain domain domain list", TIMES]))
    assert np.array_equal(cine.array, VOXELS)
    assert np.array_equal(load_cine(nrrd(tmp_path / "b.nrrd", [*SPACE, *SPACE, TIMES])).array, VOXELS)
    refused(nrrd(tmp_path / "c.nrrd", [*SPACE, "space: RAS"]), "gives 'space' twice, with different values")


def test_data_only_beside_the_header(tmp_path: Path) -> None:
    (tmp_path / "secret.raw").write_bytes(VOXELS.tobytes())
    place = tmp_path / "place"
    place.mkdir()
    (place / "linked.raw").symlink_to(tmp_path / "secret.raw")
    for name in ("../secret.raw", str(tmp_path / "secret.raw"), "/etc/passwd", "linked.raw", "LIST\n../secret.raw"):
        for skip in ("byte skip: 0", "byte skip: -1"):
            refused(nrrd(place / "a.nhdr", [*SPACE, TIMES, skip, f"data file: {name}"], None), "in another folder")
    refused(nrrd(place / "a.nhdr", [*SPACE, TIMES, "data file: gone.raw"], None), "which is not beside it")
    (place / "own.raw").write_bytes(b"12345" + VOXELS.tobytes())
    for skip in ("byte skip: 5", "byte skip: -1"):
        cine = load_cine(nrrd(place / "a.nhdr", [*SPACE, TIMES, skip, "data file: own.raw"], None))
        assert np.array_equal(cine.array, VOXELS)
    refused(nrrd(place / "a.nhdr", [*SPACE, "byte skip: -7", "data file: own.raw"], None), "'byte skip' is -7")


def test_data_in_several_files(tmp_path: Path) -> None:
    for number, frame in enumerate(VOXELS):
        (tmp_path / f"f{number:02d}.raw").write_bytes(frame.tobytes())
    pattern = nrrd(tmp_path / "a.nhdr", [*SPACE, TIMES, "data file: f%02d.raw 0 9 1 3"], None)
    names = "\n".join(f"f{number:02d}.raw" for number in range(10))
    listed = nrrd(tmp_path / "b.nhdr", [*SPACE, TIMES, f"data file: LIST 3\n{names}"], None)
    assert np.array_equal(load_cine(pattern).array, VOXELS)
    assert np.array_equal(load_cine(listed).array, VOXELS)
    refused(nrrd(tmp_path / "c.nhdr", [*SPACE, TIMES, "data file: f%99999999d.raw 0 9 1"], None), "pattern")


def test_encodings_and_sizes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import bz2

    raw = VOXELS.astype("<i2").tobytes()
    text = " ".join(str(value) for value in VOXELS.ravel()).encode()
    for encoding, packed in (
        ("gzip", gzip.compress(raw)),
        ("bz2", bz2.compress(raw)),
        ("ascii", text),
        ("hex", raw.hex().encode()),
    ):
        lines = [*SPACE, TIMES, f"encoding: {encoding}"]
        assert np.array_equal(load_cine(nrrd(tmp_path / "a.nrrd", lines, packed=packed)).array, VOXELS)
        refused(nrrd(tmp_path / "b.nrrd", lines, packed=packed[: len(packed) // 2]), "truncated or damaged")
    refused(nrrd(tmp_path / "c.nrrd", ["encoding: zstd"]), "encoding 'zstd', which is not read here")
    monkeypatch.setattr(memory, "MAX_BYTES", 1000)
    refused(nrrd(tmp_path / "d.nrrd", [*SPACE, TIMES]), "claims 7x8x4x10 voxels")


# ------------------------------------------------------------------------------------------ labels


def heart(numbers: tuple[int, int, int] = (1, 2, 3), frames: int = 20) -> np.ndarray:
    """(T, Z, Y, X) labels with the given numbers for RV, myocardium, LV; the LV is a beating square in a ring."""
    rv, muscle, lv = numbers
    labels = np.zeros((frames, 8, 48, 48), np.uint8)
    labels[:, 1:7, 10:38, 10:40] = muscle
    labels[:, 1:7, 12:36, 4:10] = rv
    for t in range(frames):
        half = round(8 - 2 * np.sin(np.pi * t / frames))
        labels[t, 1:7, 24 - half : 24 + half, 24 - half : 24 + half] = lv
    return labels


def save_labels(path: Path, labels: np.ndarray, dtype: object = np.uint8) -> Path:
    image = nibabel.Nifti1Image(labels.transpose(3, 2, 1, 0), np.diag([-1.5, -1.5, 10, 1]))
    image.set_data_dtype(dtype)
    image.header.set_xyzt_units("mm", "sec")
    image.header["pixdim"][4] = 0.05
    nibabel.save(image, path)
    return path


@pytest.mark.parametrize("numbers", [(3, 2, 1), (2, 3, 1), (1, 3, 2), (3, 1, 2), (2, 1, 3)])
def test_the_cavity_in_the_ring_is_the_left_ventricle(tmp_path: Path, numbers: tuple[int, int, int]) -> None:
    read = load_segmentation(save_labels(tmp_path / "a.nii.gz", heart(numbers)))
    assert np.array_equal(read.array, heart())
    assert f"label {numbers[2]} is ringed by label {numbers[1]}" in notes(read)
    again = load_segmentation(save_segmentation(read, tmp_path / "b.nii.gz"))
    assert np.array_equal(again.array, heart())
    mapped = load_segmentation(tmp_path / "a.nii.gz", label_map={1: 1, 2: 2, 3: 3})
    assert np.array_equal(mapped.array, heart(numbers))


def test_our_own_numbers_are_left_alone(tmp_path: Path) -> None:
    for labels in (heart(), heart() * (heart() != 1), heart() * (heart() != 3)):
        read = load_segmentation(save_labels(tmp_path / "a.nii.gz", labels))
        assert np.array_equal(read.array, labels) and "notes" not in read.meta


def test_labels_saved_with_a_slope(tmp_path: Path) -> None:
    path = save_labels(tmp_path / "a.nii.gz", heart().astype(np.float64), np.uint8)
    assert float(nibabel.load(path).dataobj.slope) != 1.0
    assert np.array_equal(load_segmentation(path).array, heart())
    swapped = load_segmentation(path, label_map={1: 3, 2: 2, 3: 1})
    assert np.array_equal(swapped.array, np.array([0, 3, 2, 1])[heart()])
    smooth = heart().astype(np.float64)
    smooth[0, 3, 20, 20] = 1.5
    with pytest.raises(CardioDiTError, match=r"b\.nii\.gz.*whole"):
        load_segmentation(save_labels(tmp_path / "b.nii.gz", smooth, np.float32))


def test_frames_that_do_not_fit_are_told(tmp_path: Path) -> None:
    for failed in ([7], [7, 8], [0]):
        labels = heart()
        for t in failed:
            labels[t][labels[t] == 3] = 2
            labels[t, 4, 24, 24] = 3
        report = cardiac_function(load_segmentation(save_labels(tmp_path / "a.nii.gz", labels)))
        text = next(note for note in report.notes if "fit the others" in note)
        assert all(f"{t} (" in text for t in failed), text
    pair = np.zeros_like(heart())
    pair[[0, 9]] = heart()[[0, 9]]
    report = cardiac_function(load_segmentation(save_labels(tmp_path / "b.nii.gz", pair)))
    assert not any("fit the others" in note for note in report.notes)


def test_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    cine = make_cine()
    assert save_cine(cine, "~/a.nii.gz") == tmp_path / "a.nii.gz"
    assert load_cine("~/a.nii.gz").shape == cine.shape
    labels = Segmentation(np.abs(cine.array) % 4, cine.affine, cine.frame_times)
    save_segmentation(labels, "~/b.nrrd")
    assert np.array_equal(load_segmentation("~/b.nrrd").array, labels.array)

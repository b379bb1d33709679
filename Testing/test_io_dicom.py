"""DICOM: slices by position, frames by trigger time, whatever files and series look like."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset
from synthetic_cines import make_cine
from synthetic_dicom import CINE, PATIENT, refused, same, write_series

from CardioDiTLib.cine import Cine
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.io import load_cine


def deleting(*keywords: str) -> Callable[[Dataset, int, int], None]:
    def change(image: Dataset, z: int, t: int) -> None:
        for keyword in keywords:
            if keyword in image:
                del image[keyword]

    return change


@pytest.mark.parametrize("one_series_a_slice", [False, True])
def test_shuffled_oblique_series(tmp_path: Path, one_series_a_slice: bool) -> None:
    write_series(CINE, tmp_path / "deep" / "er", one_series_a_slice=one_series_a_slice)
    (tmp_path / "notes.txt").write_text("not an image", encoding="utf-8")
    (tmp_path / ".DS_Store").write_bytes(b"\0\0\0\1")
    loaded = load_cine(tmp_path)
    same(loaded)
    assert loaded.array.dtype == np.int16
    assert loaded.meta["frame_order_from"] == "TriggerTime"
    assert loaded.meta["frame_times_from"] == "TriggerTime"
    assert "notes" not in loaded.meta


def test_zip_gives_the_same(tmp_path: Path) -> None:
    write_series(CINE, tmp_path / "files")
    shutil.make_archive(str(tmp_path / "files"), "zip", tmp_path / "files")
    same(load_cine(tmp_path / "files.zip"))


def test_series_shared_out_unevenly(tmp_path: Path) -> None:
    """Three slices in one series, the fourth in another."""

    def change(image: Dataset, z: int, t: int) -> None:
        if z == 3:
            image.SeriesInstanceUID = "1.2.3.4"

    write_series(CINE, tmp_path, change=change)
    same(load_cine(tmp_path))


def test_nobody_is_named(tmp_path: Path) -> None:
    series = write_series(CINE, tmp_path / "Doe_Jane")
    text = json.dumps(load_cine(tmp_path / "Doe_Jane").meta)
    for secret in (*PATIENT.split("^"), "4711", *series):
        assert secret not in text


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("NominalCardiacTriggerDelayTime", lambda t: 50.0 * t),
        ("TemporalPositionIdentifier", lambda t: t + 1),
        ("ContentTime", lambda t: f"0959{58 + t // 2:02d}.{5 * (t % 2)}" if t < 4 else f"10000{t - 4}.250000"),
        ("InstanceNumber", lambda t: t + 1),
    ],
)
def test_order_without_trigger_times(tmp_path: Path, keyword: str, value: Callable[[int], object]) -> None:
    def change(image: Dataset, z: int, t: int) -> None:
        deleting("TriggerTime", "InstanceNumber")(image, z, t)
        setattr(image, keyword, value(t))

    write_series(CINE, tmp_path, change=change)
    loaded = load_cine(tmp_path)
    assert np.array_equal(loaded.array, CINE.array)
    assert loaded.meta["frame_order_from"] == keyword
    timed = keyword == "NominalCardiacTriggerDelayTime"
    assert loaded.cycle_s == pytest.approx(0.3 if timed else 1.0)
    assert loaded.meta.get("frame_times_assumed", False) is not timed


def test_equal_trigger_times_do_not_give_the_order(tmp_path: Path) -> None:
    def change(image: Dataset, z: int, t: int) -> None:
        image.TriggerTime = "0"
        image.InstanceNumber = t + 1

    write_series(CINE, tmp_path, change=change)
    assert np.array_equal(load_cine(tmp_path).array, CINE.array)


def test_no_order_at_all(tmp_path: Path) -> None:
    write_series(CINE, tmp_path, change=deleting("TriggerTime", "InstanceNumber"))
    refused(tmp_path, "in which order the frames come")


@pytest.mark.parametrize(("keyword", "value"), [("NominalInterval", "900"), ("HeartRate", "67")])
def test_times_from_the_heart_period(tmp_path: Path, keyword: str, value: str) -> None:
    def change(image: Dataset, z: int, t: int) -> None:
        del image.TriggerTime
        image.InstanceNumber = t + 1
        setattr(image, keyword, value)

    write_series(CINE, tmp_path, change=change)
    loaded = load_cine(tmp_path)
    assert loaded.cycle_s == pytest.approx(0.9 if keyword == "NominalInterval" else 60 / 67)
    assert loaded.meta["heart_rate_bpm"] == pytest.approx(66.7, abs=0.31)
    assert load_cine(tmp_path, frame_interval_s=0.02).frame_interval_s == pytest.approx(0.02)


def test_times_are_the_mean_over_the_slices(tmp_path: Path) -> None:
    """Each slice is a breath-hold with its own heart rate and its own trigger delay."""

    def change(image: Dataset, z: int, t: int) -> None:
        image.TriggerTime = f"{3.0 * z + (44 + 4 * z) * t}"

    write_series(CINE, tmp_path, change=change)
    loaded = load_cine(tmp_path)
    assert loaded.frame_times == pytest.approx(np.arange(6) * 0.05)
    assert loaded.meta["slice_frame_interval_range_s"] == [0.044, 0.056]


def test_missing_frame_names_the_slice(tmp_path: Path) -> None:
    write_series(CINE, tmp_path, one_series_a_slice=True, change=lambda image, z, t: (z, t) != (3, 2))
    refused(tmp_path, r"Slice 4 of 4 .* has 5 frames, most slices have 6")
    loaded = load_cine(tmp_path, allow_incomplete=True)
    assert np.array_equal(loaded.array, CINE.array[:, :3])
    assert "1 of 4 slices were left out" in loaded.meta["notes"][0]


def test_missing_slice_is_noticed(tmp_path: Path) -> None:
    five = make_cine((2, 5, 8, 7))
    write_series(five, tmp_path, change=lambda image, z, t: z != 1)
    refused(tmp_path, r"Slices 1 and 2 are 19\.00 mm apart, the others 9\.50 mm")


def test_larger_of_two_stacks_is_read_and_the_other_named(tmp_path: Path) -> None:
    write_series(CINE, tmp_path / "short axis", study="1.2.3")
    turned = CINE.affine.copy()
    turned[:3, :3] = turned[:3, [2, 0, 1]] / np.array(CINE.spacing)[[2, 0, 1]] * CINE.spacing
    long_axis = Cine(CINE.array[:, :1], turned, CINE.frame_times)
    series = write_series(long_axis, tmp_path / "long axis", study="1.2.3")
    loaded = load_cine(tmp_path)
    same(loaded)
    assert loaded.meta["notes"] == ["Another cine was left out: 1 slices, 6 images."]
    same(load_cine(tmp_path, series_uid=series), long_axis_with_thickness(long_axis))


def long_axis_with_thickness(cine: Cine) -> Cine:
    """One slice has no neighbour to tell the spacing from; the header's thickness (8 mm) is taken."""
    affine = cine.affine.copy()
    affine[:3, 2] *= 8.0 / cine.spacing[2]
    return Cine(cine.array, affine, cine.frame_times)


def test_two_stacks_of_one_size_are_ambiguous(tmp_path: Path) -> None:
    write_series(CINE, tmp_path / "a", study="1.2.3")
    other = CINE.with_array(CINE.array[::-1].copy())
    series = write_series(other, tmp_path / "b", study="1.2.3")
    refused(tmp_path, "Two cines of the same size")
    same(load_cine(tmp_path, series_uid=series[0]), other)
    refused(tmp_path, "There is no series 9.9", series_uid="9.9")


def test_two_patients_are_not_mixed(tmp_path: Path) -> None:
    write_series(Cine(CINE.array[:, :2], CINE.affine, CINE.frame_times), tmp_path / "a")
    below = CINE.affine.copy()
    below[:3, 3] += 2 * below[:3, 2]
    write_series(Cine(CINE.array[:, 2:], below, CINE.frame_times), tmp_path / "b")
    refused(tmp_path, "Two cines of the same size")


def test_repeated_slice_is_taken_from_the_later_series(tmp_path: Path) -> None:
    def later(image: Dataset, z: int, t: int) -> None:
        image.SeriesNumber = 50

    write_series(CINE, tmp_path / "a", one_series_a_slice=True, study="1.2.3")
    repeated = CINE.affine.copy()
    repeated[:3, 3] += repeated[:3, 2]
    again = Cine(CINE.array[:, 1:2] + np.int16(1), repeated, CINE.frame_times)
    write_series(again, tmp_path / "b", study="1.2.3", change=later)
    loaded = load_cine(tmp_path)
    assert np.array_equal(loaded.array[:, 1], CINE.array[:, 1] + 1)
    assert np.array_equal(loaded.array[:, 2:], CINE.array[:, 2:])
    assert loaded.meta["notes"] == ["Another cine was left out: 1 slices, 6 images."]


def test_scouts_and_phase_images_are_left_out(tmp_path: Path) -> None:
    def phase(image: Dataset, z: int, t: int) -> None:
        image.ImageType = ["ORIGINAL", "PRIMARY", "P"]

    write_series(CINE, tmp_path / "cine", study="1.2.3")
    write_series(CINE, tmp_path / "phase", study="1.2.3", change=phase)
    write_series(CINE, tmp_path / "scout", study="1.2.3", change=lambda image, z, t: t == 0)
    loaded = load_cine(tmp_path)
    same(loaded)
    assert loaded.meta["notes"] == [
        "24 phase images were left out.",
        "4 images that are not part of a cine were left out.",
    ]


def test_copies_of_an_image_count_once(tmp_path: Path) -> None:
    write_series(CINE, tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "copy of a")
    same(load_cine(tmp_path))


@pytest.mark.parametrize(
    ("slope", "intercept", "dtype"), [("2", "-1000", "int16"), ("0.5", "3", "float32"), ("1", "40000", "float32")]
)
def test_rescaling(tmp_path: Path, slope: str, intercept: str, dtype: str) -> None:
    def change(image: Dataset, z: int, t: int) -> None:
        image.RescaleSlope, image.RescaleIntercept = slope, intercept

    write_series(CINE, tmp_path, change=change)
    loaded = load_cine(tmp_path)
    assert loaded.array.dtype == np.dtype(dtype)
    assert loaded.array == pytest.approx(CINE.array * float(slope) + float(intercept))


def test_one_slice_takes_its_thickness_from_the_header(tmp_path: Path) -> None:
    one = Cine(CINE.array[:, :1], CINE.affine, CINE.frame_times)
    write_series(one, tmp_path / "a")
    assert load_cine(tmp_path / "a").spacing[2] == pytest.approx(8.0)
    write_series(one, tmp_path / "b", change=deleting("SliceThickness"))
    refused(tmp_path / "b", "nothing of its thickness")


def test_slices_shifted_in_plane(tmp_path: Path) -> None:
    def change(image: Dataset, z: int, t: int) -> None:
        row = np.array(image.ImageOrientationPatient[:3], float)
        image.ImagePositionPatient = [f"{v:.8g}" for v in np.array(image.ImagePositionPatient, float) + 3.0 * z * row]

    write_series(CINE, tmp_path, change=change)
    refused(tmp_path, "shifted against each other by up to 9.0 mm")


def test_single_frame_series(tmp_path: Path) -> None:
    write_series(CINE, tmp_path, change=lambda image, z, t: t == 0)
    refused(tmp_path, "one frame only")


def test_enhanced_multi_frame(tmp_path: Path) -> None:
    def change(image: Dataset, z: int, t: int) -> None:
        image.SOPClassUID = "1.2.840.10008.5.1.4.1.1.4.1"

    write_series(CINE, tmp_path, change=change)
    refused(tmp_path, "enhanced multi-frame")


def test_folders_and_zips_without_images(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "holds no DICOM images")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.txt", "hello")
    refused(tmp_path / "a.zip", "holds no DICOM images")
    (tmp_path / "b.zip").write_bytes((tmp_path / "a.zip").read_bytes()[:20])
    refused(tmp_path / "b.zip", "not a zip file")


def test_truncated_image(tmp_path: Path) -> None:
    write_series(CINE, tmp_path)
    file = sorted(tmp_path.iterdir())[7]
    file.write_bytes(file.read_bytes()[:-40])
    refused(tmp_path, f"{file.name}' is truncated or damaged")
    file.write_bytes(b"\0" * 128 + b"DICM" + b"\xff" * 300)
    with pytest.raises(CardioDiTError):
        load_cine(tmp_path)


def test_damaged_header_names_the_file(tmp_path: Path) -> None:
    def change(image: Dataset, z: int, t: int) -> None:
        if (z, t) == (1, 1):
            image.ImageOrientationPatient = [0, 0, 0, 0, 0, 0]

    write_series(CINE, tmp_path, change=change)
    refused(tmp_path, r"IM\d+.dcm' has a damaged header")


@pytest.mark.parametrize("with_file_meta", [True, False])
def test_files_without_preamble(tmp_path: Path, with_file_meta: bool) -> None:
    write_series(CINE, tmp_path)
    for file in tmp_path.iterdir():
        content = file.read_bytes()[132:]
        first_of_the_dataset = content.index(b"\x08\x00\x08\x00CS")  # image type
        file.write_bytes(content if with_file_meta else content[first_of_the_dataset:])
    same(load_cine(tmp_path))


def test_too_much_to_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_series(CINE, tmp_path)
    monkeypatch.setattr("CardioDiTLib.io.dicom_entries.MAX_BYTES", 5000)
    refused(tmp_path, "GB to read")

"""DICOM as people have it: the right value, or a refusal that is true; nothing drops out without being counted."""

from __future__ import annotations

import os
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK
from pydicom.dataset import Dataset
from synthetic_cines import make_cine
from synthetic_dicom import CINE, refused, same, write_enhanced, write_series

from CardioDiTLib.cine import Cine
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.io import load_cine

# ------------------------------------------------------------------------------------------ counted, or refused


def test_files_are_counted(tmp_path: Path) -> None:
    write_series(CINE, tmp_path)
    (tmp_path / "letter.txt").write_text("Dear colleague", encoding="utf-8")
    shutil.copy(next(tmp_path.glob("*.dcm")), tmp_path / "copy.dcm")
    counted = load_cine(tmp_path).meta["files"]
    assert (counted["seen"], counted["images"], counted["used"]) == (26, 25, 24)
    assert counted["passed_over"] == {"copy of an image": 1, "not DICOM": 1}


@pytest.mark.parametrize("keyword", ["PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient"])
@pytest.mark.parametrize("one_series_a_slice", [False, True])
def test_slice_without_geometry_is_not_lost(tmp_path: Path, keyword: str, one_series_a_slice: bool) -> None:
    def change(image: Dataset, z: int, t: int) -> None:
        image.SeriesDescription = "cine sax"
        if z == 3:
            delattr(image, keyword)

    write_series(CINE, tmp_path, change=change, one_series_a_slice=one_series_a_slice)
    refused(tmp_path, f"6 without {keyword}")
    less = load_cine(tmp_path, allow_incomplete=True)
    assert less.n_slices == 3 and any(keyword in note for note in less.meta["notes"])


def test_no_image_has_a_pixel_spacing(tmp_path: Path) -> None:
    write_series(CINE, tmp_path, change=lambda image, z, t: delattr(image, "PixelSpacing"))
    refused(tmp_path, "24 images, none of which can be placed in space: 24 without PixelSpacing")


def test_screenshot_of_another_series_is_told_and_not_in_the_way(tmp_path: Path) -> None:
    write_series(CINE, tmp_path, study="1.2.3")

    def screenshot(image: Dataset, z: int, t: int) -> bool:
        del image.ImagePositionPatient, image.ImageOrientationPatient, image.PixelSpacing
        return (z, t) == (0, 0)

    write_series(CINE, tmp_path / "other", change=screenshot, study="1.2.3")
    loaded = load_cine(tmp_path)
    same(loaded)
    assert loaded.meta["notes"] == ["1 image without ImagePositionPatient was left out."]


def test_repeated_identifiers_of_different_images(tmp_path: Path) -> None:
    def change(image: Dataset, z: int, t: int) -> None:
        image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4.5"

    write_series(CINE, tmp_path, change=change)
    same(load_cine(tmp_path))


def test_linked_folders_are_followed_once(tmp_path: Path) -> None:
    write_series(CINE, tmp_path / "archive")
    place = tmp_path / "study"
    (place / "a").mkdir(parents=True)
    for number, file in enumerate(sorted((tmp_path / "archive").iterdir())):
        if number % 2:
            shutil.move(file, place / "a" / file.name)
    os.symlink(tmp_path / "archive", place / "b")
    os.symlink(place, place / "a" / "round")
    same(load_cine(place))


def test_broken_link_is_not_passed_over(tmp_path: Path) -> None:
    write_series(CINE, tmp_path)
    os.symlink(tmp_path / "gone", tmp_path / "IM99")
    refused(tmp_path, "'IM99' is a link to a file that is not there, so slices may be missing")
    same(load_cine(tmp_path, allow_incomplete=True))


def test_unreadable_file_and_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_series(CINE, tmp_path)
    locked = sorted(tmp_path.iterdir())[3]
    real = Path.open

    def open_unless_locked(self: Path, *arguments: object, **options: object) -> object:
        if self.name == locked.name:
            raise PermissionError(13, "Permission denied", str(self))
        return real(self, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Path, "open", open_unless_locked)
    refused(tmp_path, f"'{locked.name}' could not be read: Permission denied, so slices may be missing")
    monkeypatch.undo()
    walk = os.walk

    def walk_with_a_locked_folder(top: object, **options: object) -> object:
        options["onerror"](PermissionError(13, "Permission denied", "apex"))  # type: ignore[operator]
        return walk(top, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(os, "walk", walk_with_a_locked_folder)
    refused(tmp_path, "'apex' could not be read: Permission denied")


def test_slices_of_another_matrix_are_not_lost(tmp_path: Path) -> None:
    write_series(CINE, tmp_path, study="1.2.3")
    wider = make_cine((6, 1, 8, 9), times=CINE.frame_times)
    below = CINE.affine.copy()
    below[:3, 3] += 4 * below[:3, 2]
    series = write_series(Cine(wider.array, below, wider.frame_times), tmp_path / "apex", study="1.2.3")
    refused(tmp_path, f"1 slices that seem to belong to it .* {series[0]}")
    same(load_cine(tmp_path, allow_incomplete=True))


def test_apex_with_few_frames_in_a_series_of_its_own(tmp_path: Path) -> None:
    def change(image: Dataset, z: int, t: int) -> bool | None:
        return t < 2 if z == 3 else None

    write_series(CINE, tmp_path, change=change, one_series_a_slice=True)
    refused(tmp_path, "seem to belong to it|has 2 frames")


# ------------------------------------------------------------------------------------------ enhanced multi-frame


@pytest.mark.parametrize("shared_orientation", [True, False])
@pytest.mark.parametrize("trigger", ["NominalCardiacTriggerDelayTime", "ActualCardiacTriggerDelayTime"])
def test_enhanced_cine(tmp_path: Path, shared_orientation: bool, trigger: str) -> None:
    write_enhanced(CINE, tmp_path / "IM1", shared_orientation=shared_orientation, trigger_keyword=trigger)
    loaded = load_cine(tmp_path)
    same(loaded)
    same(load_cine(tmp_path / "IM1"))
    assert loaded.meta["heart_rate_bpm"] == pytest.approx(66.7)


def test_enhanced_cine_without_trigger_times(tmp_path: Path) -> None:
    write_enhanced(CINE, tmp_path / "a.dcm", trigger_keyword=None, slope=2.0)
    loaded = load_cine(tmp_path / "a.dcm")
    assert np.array_equal(loaded.array, 2 * CINE.array)
    assert loaded.meta["frame_times_assumed"] is True
    assert loaded.meta["frame_order_from"] == "TemporalPositionIdentifier"


def test_enhanced_slice_beside_classic_ones(tmp_path: Path) -> None:
    write_series(CINE, tmp_path, change=lambda image, z, t: z < 3, study="1.2.3")
    last = CINE.affine.copy()
    last[:3, 3] += 3 * last[:3, 2]
    write_enhanced(Cine(CINE.array[:, 3:], last, CINE.frame_times), tmp_path / "apex.dcm", study="1.2.3")
    same(load_cine(tmp_path))


def test_multi_frame_slice_without_functional_groups_is_not_lost(tmp_path: Path) -> None:
    def change(image: Dataset, z: int, t: int) -> bool | None:
        if z == 3:
            image.SOPClassUID, image.NumberOfFrames, image.PixelData = "1.2.840.10008.5.1.4.1.1.4.1", 6, b"\0" * 672
        return t == 0 if z == 3 else None

    write_series(CINE, tmp_path, change=change)
    refused(tmp_path, "1 of an enhanced multi-frame kind without functional groups")


# ------------------------------------------------------------------------------------------ series and order


@pytest.mark.parametrize("a_series_is", ["a phase", "an image"])
def test_series_with_one_image_a_slice(tmp_path: Path, a_series_is: str) -> None:
    def change(image: Dataset, z: int, t: int) -> None:
        image.SeriesNumber = t + 1 if a_series_is == "a phase" else 6 * z + t + 1
        image.SeriesInstanceUID = f"1.2.3.{image.SeriesNumber}"

    write_series(CINE, tmp_path, change=change)
    loaded = load_cine(tmp_path)
    same(loaded)
    assert f"gathered from {6 if a_series_is == 'a phase' else 24} series" in loaded.meta["notes"][0]


def test_series_a_phase_without_trigger_times_goes_by_series_number(tmp_path: Path) -> None:
    def change(image: Dataset, z: int, t: int) -> None:
        image.SeriesNumber, image.InstanceNumber = t + 1, z + 1
        image.SeriesInstanceUID = f"1.2.3.{image.SeriesNumber}"
        del image.TriggerTime

    write_series(CINE, tmp_path, change=change)
    loaded = load_cine(tmp_path)
    assert np.array_equal(loaded.array, CINE.array)
    assert loaded.meta["frame_times_assumed"] is True


def test_stacks_of_different_protocols_are_no_cine(tmp_path: Path) -> None:
    def change(image: Dataset, z: int, t: int) -> None:
        image.SeriesInstanceUID = f"1.2.3.{t}"
        image.InversionTime = str(200 + 10 * t)

    write_series(CINE, tmp_path, change=change)
    refused(tmp_path, "None of the 6 series has more than one image a slice, and nothing says")


def test_two_reconstructions_are_not_interleaved(tmp_path: Path) -> None:
    def change(image: Dataset, z: int, t: int) -> None:
        image.SeriesInstanceUID = "1.2.3.9"

    write_series(CINE, tmp_path / "a", change=change, study="1.2.3")
    write_series(CINE.with_array(CINE.array + np.int16(1)), tmp_path / "b", change=change, study="1.2.3")
    refused(tmp_path, "has 2 images for each trigger time")


def test_across_midnight(tmp_path: Path) -> None:
    def change(image: Dataset, z: int, t: int) -> None:
        del image.TriggerTime, image.InstanceNumber
        image.ContentTime = f"2359{57 + t:02d}.5" if t < 3 else f"00000{t - 3}.5"

    write_series(CINE, tmp_path, change=change)
    assert np.array_equal(load_cine(tmp_path).array, CINE.array)


# ------------------------------------------------------------------------------------------ geometry


def test_positions_that_drift_by_tenths(tmp_path: Path) -> None:
    def change(image: Dataset, z: int, t: int) -> None:
        step = 0.3 * (t - 2.5)
        normal = np.cross(image.ImageOrientationPatient[:3], image.ImageOrientationPatient[3:])
        image.ImagePositionPatient = [f"{v:.9g}" for v in np.array(image.ImagePositionPatient, float) + step * normal]

    write_series(CINE, tmp_path, change=change)
    loaded = load_cine(tmp_path)
    same(loaded)
    assert "mm from their mean position" in loaded.meta["notes"][0]


def test_thin_slices_stay_apart(tmp_path: Path) -> None:
    affine = CINE.affine.copy()
    affine[:3, 2] *= 0.8 / CINE.spacing[2]
    thin = Cine(CINE.array, affine, CINE.frame_times)

    def change(image: Dataset, z: int, t: int) -> None:
        image.SliceThickness = "0.8"

    write_series(thin, tmp_path, change=change)
    assert load_cine(tmp_path).spacing[2] == pytest.approx(0.8, abs=1e-4)


def test_negative_spacing_between_slices(tmp_path: Path) -> None:
    one = Cine(CINE.array[:, :1], CINE.affine, CINE.frame_times)

    def change(image: Dataset, z: int, t: int) -> None:
        image.SpacingBetweenSlices = "-9.5"

    write_series(one, tmp_path / "one", change=change)
    assert load_cine(tmp_path / "one").spacing[2] == pytest.approx(9.5)
    write_series(CINE, tmp_path / "all", change=change)
    same(load_cine(tmp_path / "all"))


# ------------------------------------------------------------------------------------------ time


@pytest.mark.parametrize(("start", "step"), [(324000.0, 2000.0), (0.0, 0.05), (10.0, 300.0)])
def test_trigger_times_of_no_heart_beat_count_as_unknown(tmp_path: Path, start: float, step: float) -> None:
    ten = make_cine((10, 3, 8, 7), times=np.arange(10) * 0.05)

    def change(image: Dataset, z: int, t: int) -> None:
        image.TriggerTime = f"{start + step * t:.6f}"

    write_series(ten, tmp_path / "a", change=change)
    loaded = load_cine(tmp_path / "a")
    assert np.array_equal(loaded.array, ten.array)
    assert loaded.meta["frame_times_assumed"] is True
    assert any("heart beat" in note for note in loaded.meta["notes"])

    def with_rate(image: Dataset, z: int, t: int) -> None:
        change(image, z, t)
        image.NominalInterval = "800"

    write_series(ten, tmp_path / "b", change=with_rate)
    assert load_cine(tmp_path / "b").cycle_s == pytest.approx(0.8)


# ------------------------------------------------------------------------------------------ files


@pytest.mark.parametrize("name", ["IM{}", "{}.dcm", "{}.MR"])
def test_without_preamble_and_suffix(tmp_path: Path, name: str) -> None:
    write_series(CINE, tmp_path)
    for number, file in enumerate(sorted(tmp_path.iterdir())):
        content = file.read_bytes()[132:]
        file.unlink()
        (tmp_path / name.format(number)).write_bytes(content)
    same(load_cine(tmp_path))


@pytest.mark.parametrize("rescale", [(None, None), ("2", "-10")])
@pytest.mark.parametrize("signed", [0, 1])
def test_monochrome1_is_turned_as_itk_does(tmp_path: Path, signed: int, rescale: tuple[str, str]) -> None:
    bright = Cine(np.abs(CINE.array), CINE.affine, CINE.frame_times)

    def change(image: Dataset, z: int, t: int) -> None:
        image.PhotometricInterpretation, image.PixelRepresentation = "MONOCHROME1", signed
        if rescale[0]:
            image.RescaleSlope, image.RescaleIntercept = rescale

    write_series(bright, tmp_path, change=change)
    loaded = load_cine(tmp_path)
    for file in list(tmp_path.iterdir())[:5]:
        number = int(pydicom.dcmread(file).InstanceNumber) - 1
        spot = int(np.flatnonzero(np.random.default_rng(1).permutation(24) == number)[0])
        expected = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(file)))[0]
        assert np.array_equal(loaded.array[spot % 6, spot // 6], expected)
    assert (np.diff(loaded.array.ravel()[np.argsort(bright.array.ravel(), kind="stable")]) <= 0).all()


def test_jpeg_lossless(tmp_path: Path) -> None:
    bright = Cine(np.abs(CINE.array), CINE.affine, CINE.frame_times)
    write_series(bright, tmp_path / "plain", change=lambda image, z, t: setattr(image, "PixelRepresentation", 0))
    (tmp_path / "packed").mkdir()
    for file in (tmp_path / "plain").iterdir():
        writer = SimpleITK.ImageFileWriter()
        writer.SetImageIO("GDCMImageIO")
        writer.SetFileName(str(tmp_path / "one.dcm"))
        writer.UseCompressionOn()
        writer.SetCompressor("JPEG")
        writer.Execute(SimpleITK.ReadImage(str(file)))
        packed, header = pydicom.dcmread(tmp_path / "one.dcm"), pydicom.dcmread(file)
        header.file_meta.TransferSyntaxUID = packed.file_meta.TransferSyntaxUID
        assert packed.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.4.70"
        header.PixelData = packed.PixelData
        header["PixelData"].VR = "OB"
        header["PixelData"].is_undefined_length = True
        header.save_as(tmp_path / "packed" / file.name)
    same(load_cine(tmp_path / "packed"), bright)
    shutil.make_archive(str(tmp_path / "packed"), "zip", tmp_path / "packed")
    same(load_cine(tmp_path / "packed.zip"), bright)


def test_encrypted_zip_is_called_encrypted(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("IM1", b"x" * 40)
    content = bytearray((tmp_path / "a.zip").read_bytes())
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(mark) + offset] |= 1
    (tmp_path / "a.zip").write_bytes(bytes(content))
    refused(tmp_path / "a.zip", r"'a\.zip' is encrypted")


def test_unknown_packing_of_a_zip_is_said(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("IM1", b"x" * 40)
    content = bytearray((tmp_path / "a.zip").read_bytes())
    for mark, offset in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        content[content.index(mark) + offset] = 9
    (tmp_path / "a.zip").write_bytes(bytes(content))
    refused(tmp_path / "a.zip", r"packed in a way that is not read here \(method 9\)")


def test_header_that_asks_for_much_memory(tmp_path: Path) -> None:
    def change(image: Dataset, z: int, t: int) -> None:
        image.Rows = image.Columns = 65535

    write_series(CINE, tmp_path, change=change)
    refused(tmp_path, "GB")


def test_single_images_and_deflated_files(tmp_path: Path) -> None:
    write_series(CINE, tmp_path)
    for file in tmp_path.glob("*.dcm"):
        file.rename(file.with_suffix(""))
    refused(next(tmp_path.iterdir()), "is a single DICOM file")

    def deflated(image: Dataset, z: int, t: int) -> None:
        image.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1.99"
        image.PixelData = np.random.default_rng(z * 6 + t).bytes(image.Rows * image.Columns * 2)
        image.ImageComments = "x" * 8

    write_series(CINE, tmp_path / "small", change=deflated)
    assert load_cine(tmp_path / "small").shape == CINE.shape
    large = make_cine((2, 1, 900, 900), times=np.arange(2) * 0.5)
    write_series(large, tmp_path / "large", change=deflated)
    refused(tmp_path / "large", "deflated DICOM of more than 1 MB")


@pytest.mark.parametrize("kind", ["classic", "enhanced"])
def test_damaged_headers_are_said(tmp_path: Path, kind: str) -> None:
    """A few bytes of a header are overwritten: it is still a cine, or the problem is said; nothing else is raised."""
    cine = make_cine((3, 2, 6, 5), times=np.arange(3) * 0.1)
    write_series(cine, tmp_path) if kind == "classic" else write_enhanced(cine, tmp_path / "a.dcm")
    file = sorted(tmp_path.iterdir())[0]
    content = file.read_bytes()
    rng = np.random.default_rng(5)
    problems = 0
    for _ in range(80):
        damaged = bytearray(content)
        start = int(rng.integers(min(1800, len(content) - 4)))
        damaged[start : start + 3] = rng.bytes(3)
        file.write_bytes(bytes(damaged))
        try:
            load_cine(tmp_path)
        except CardioDiTError as error:
            assert error.hint
            problems += 1
    assert problems > 0

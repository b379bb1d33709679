"""What scripts and notebooks ask for: other libraries' images, films, tables, models side by side, a quick look."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from evaluation_cohorts import cohort, phantoms
from html_pages import check_page
from refusals import refused

import CardioDiTLib as cd
from CardioDiTLib.cine import Cine, Segmentation


@pytest.fixture(scope="module")
def heart():
    """A phantom in an oblique position, with frames at uneven times and a provenance."""
    one = phantoms(1, 3)[0]
    turn = np.eye(4)
    turn[:3, :3] = [[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1]]
    times = np.cumsum([0, *np.tile([0.05, 0.07], 8)[:15]])
    affine = turn @ one.cine.affine
    meta = {"synthetic": True, "model": "tiny", "seed": 7}
    return (
        Cine(one.cine.array, affine, times, meta),
        Segmentation(one.segmentation.array, affine, times, meta),
        one,
    )


def same(first, second) -> None:
    assert type(first) is type(second)
    np.testing.assert_array_equal(first.array, second.array)
    np.testing.assert_allclose(first.affine, second.affine, atol=1e-4)
    np.testing.assert_allclose(first.frame_times, second.frame_times, atol=1e-6)
    assert second.meta.get("synthetic") and second.meta.get("model") == "tiny" and second.meta.get("seed") == 7


def test_simpleitk_and_back(heart):
    cine, labels, _ = heart
    image = cd.to_simpleitk(cine)
    assert image.GetDimension() == 4 and image.GetSize() == cine.shape[::-1]
    index = (3, 4, 2, 0)
    point = np.array(image.TransformIndexToPhysicalPoint(index))[:3] * (-1, -1, 1)
    np.testing.assert_allclose(point, cine.index_to_ras(index[:3]), atol=1e-3)
    assert image.GetMetaData("synthetic").startswith("SYNTHETIC; not a patient")
    same(cine, cd.from_simpleitk(image))
    same(labels, cd.from_simpleitk(cd.to_simpleitk(labels), labels=True))


def test_simpleitk_images_of_others():
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(np.zeros((5, 3, 8, 8), np.int16), isVector=False)
    image.SetSpacing((1.2, 1.2, 8.0, 0.04))
    cine = cd.from_simpleitk(image)
    assert cine.spacing == pytest.approx((1.2, 1.2, 8.0)) and cine.frame_interval_s == pytest.approx(0.04)
    image.SetSpacing((1.2, 1.2, 8.0, 1.0))
    assert cd.from_simpleitk(image).meta["frame_times_assumed"]
    image.SetMetaData("CardioDiT", "[" * 5000)
    assert cd.from_simpleitk(image).n_frames == 5
    with refused("3 dimensions"):
        cd.from_simpleitk(sitk.GetImageFromArray(np.zeros((3, 8, 8))))


def test_nibabel_and_back(heart, tmp_path):
    import nibabel

    cine, labels, _ = heart
    image = cd.to_nibabel(cine)
    assert image.shape == cine.shape[::-1] and b"SYNTHETIC" in image.header["descrip"].item()
    same(cine, cd.from_nibabel(image))
    same(labels, cd.from_nibabel(cd.to_nibabel(labels), labels=True))
    nibabel.save(image, tmp_path / "a.nii.gz")
    same(cine, cd.load_cine(tmp_path / "a.nii.gz"))
    same(cine, cd.from_nibabel(nibabel.load(tmp_path / "a.nii.gz")))
    other = nibabel.Nifti1Image(np.zeros((8, 8, 3, 5), np.int16), np.diag([1.2, 1.2, 8, 1]))
    assert cd.from_nibabel(other).meta["frame_times_assumed"]
    with refused("3 dimensions"):
        cd.from_nibabel(nibabel.Nifti1Image(np.zeros((8, 8, 3)), np.eye(4)))
    with refused("ndarray", "NIfTI", "nibabel"):
        cd.from_nibabel(np.zeros((8, 8, 3, 5)))


class Lookalike(dict):
    """What `from_torchio` looks at of an image of TorchIO."""

    def __init__(self, data, affine, **entries):
        super().__init__(entries)
        self.data, self.affine = data, affine


def test_torchio_frames_are_channels(heart):
    cine, _, _ = heart
    given = Lookalike(cine.array.transpose(0, 3, 2, 1), cine.affine, frame_times_s=cine.frame_times.tolist())
    back = cd.from_torchio(given)
    np.testing.assert_array_equal(back.array, cine.array)
    np.testing.assert_allclose(back.frame_times, cine.frame_times)
    with refused("ndarray", "TorchIO"):
        cd.from_torchio(np.zeros((2, 2)))


def test_torchio_and_back(heart):
    pytest.importorskip("torchio", reason="torchio is not installed")
    cine, labels, _ = heart
    same(cine, cd.from_torchio(cd.to_torchio(cine)))
    same(labels, cd.from_torchio(cd.to_torchio(labels)))


def test_without_a_package_it_says_which(heart, monkeypatch, tmp_path):
    cine, labels, _ = heart
    for name in ("torchio", "pandas", "imageio_ffmpeg"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setenv("PATH", str(tmp_path))
    report = cd.cardiac_function(labels)
    for call in (
        lambda: cd.to_torchio(cine),
        lambda: cd.cohort_table({"a": report}),
        lambda: cd.save_film(cine, tmp_path / "a.mp4"),
    ):
        with refused("installed", "pip install") as caught:
            call()
        assert "pip install" in caught.value.hint
    assert list(tmp_path.iterdir()) == []


def test_films_of_every_kind(heart, tmp_path):
    from PIL import Image

    cine, labels, _ = heart
    film = Image.open(cd.save_film(cine, tmp_path / "a.webp", segmentation=labels))
    assert film.n_frames == cine.n_frames
    assert Image.open(cd.save_film(cine, tmp_path / "a.gif")).n_frames == cine.n_frames
    with refused("a.avi", ".mp4"):
        cd.save_film(cine, tmp_path / "a.avi")
    with refused("0 beats"):
        cd.save_film(cine, tmp_path / "a.mp4", beats=0)


def test_an_mp4_lasts_as_many_beats_as_asked(heart, tmp_path):
    from CardioDiTLib.generation.film_file import _ffmpeg

    try:
        program = _ffmpeg()
    except cd.CardioDiTError:
        pytest.skip("no ffmpeg on this machine")
    cine, labels, _ = heart
    path = cd.save_film(cine, tmp_path / "a.mp4", segmentation=labels, beats=2)
    assert path.read_bytes()[4:8] == b"ftyp" and path.stat().st_size > 2000
    said = subprocess.run([program, "-i", str(path), "-f", "null", "-"], capture_output=True, check=True, text=True)
    assert f"frame= {2 * cine.n_frames:4d}"[7:].strip() in said.stderr


def test_a_table_of_hearts(heart, tmp_path):
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    _, labels, one = heart
    report = cd.cardiac_function(labels, stack_covers_heart=True)
    table = cd.cohort_table({"a": report, "b": cd.cardiac_function(one.segmentation)})
    assert isinstance(table, pandas.DataFrame) and list(table.index) == ["a", "b"]
    assert table.loc["a", "ef_percent"] == pytest.approx(report.ef_percent) and bool(table.loc["a", "synthetic"])
    cd.save_report(report, tmp_path, "x", labels, formats=["json"])
    assert cd.cohort_table(tmp_path).loc["x", "edv_ml"] == pytest.approx(report.edv_ml)
    for wrong in ({}, {"a": 1}, tmp_path / "absent"):
        with pytest.raises(cd.CardioDiTError):
            cd.cohort_table(wrong)


def test_models_side_by_side(tmp_path):
    hearts = phantoms(12, 0)
    evil = "<b>"
    found = cd.compare_models(
        cohort(hearts[:6], "real"),
        {"good": cohort(hearts[6:], "x"), evil: cohort(phantoms(6, 5, volume=1.6), "y")},
        resamples=30,
    )
    assert set(found.reports) == {"good", evil} and "\n" not in repr(found) and "good: " in repr(found)
    edv = {row["model"]: row for row in found.rows() if row["number"] == "edv_ml"}
    assert edv["good"]["value"] < edv[evil]["value"] and edv[evil]["within_floor"] is False
    text = check_page(found.to_html(tmp_path / "a.html").read_text(encoding="utf-8")).text
    assert "End-diastolic volume, mL" in text and "<b>: median" in text and "Recall" in text
    with refused("1 model"):
        cd.compare_models(cohort(hearts[:6], "real"), {"one": cohort(hearts[6:], "x")})


def test_a_quick_look(heart, tmp_path):
    figure_type = pytest.importorskip("matplotlib.figure").Figure
    cine, labels, _ = heart
    cd.save_cine(cine, tmp_path / "a.nii.gz")
    result = cd.GenerationResult(cine, 7, 0, None, {"model": "tiny"}, 1.0, segmentation=labels)
    for what in (cine, labels, result, cd.cardiac_function(labels), tmp_path / "a.nii.gz"):
        figure = cd.plot(what)
        assert isinstance(figure, figure_type)
        figure.savefig(tmp_path / "a.png", dpi=40)
    for wrong in (None, 3, np.zeros((2, 2))):
        with refused(type(wrong).__name__, "drawn"):
            cd.plot(wrong)

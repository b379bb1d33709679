"""What is said is so: reasons name what lifts them, numbers count alike, hints do something where they are read."""

from __future__ import annotations

import re
import sys

import nibabel
import numpy as np
import pytest
from command_line import run
from evaluation_cohorts import phantoms
from function_shapes import beating
from refusals import names, refused
from synthetic_cines import make_cine
from tiny_bundle import write_tiny_bundle

from CardioDiTLib.cine import Cine, Segmentation, check_affine
from CardioDiTLib.data import PhantomSpec, make_phantom
from CardioDiTLib.data.packing import make_pack
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.function import cardiac_function
from CardioDiTLib.function.report_html import html_page
from CardioDiTLib.generation.request import GenerationRequest
from CardioDiTLib.io import save_cine, save_segmentation
from CardioDiTLib.io.frame_times import squared_axes


def test_the_reason_of_an_empty_ef_names_the_option_that_lifts_it(tmp_path, capsys):
    whole, _ = beating(frames=6, cycle_s=0.8)
    part = Segmentation(whole.array[:, 1:4], whole.affine, whole.frame_times)
    reason = cardiac_function(part).reasons["ef_percent"]
    assert "stack_covers_heart" in reason
    assert np.isfinite(cardiac_function(part, stack_covers_heart=True).ef_percent)
    save_segmentation(part, tmp_path / "part.nii.gz")
    assert run("function", tmp_path / "part.nii.gz", "-o", tmp_path / "out", "-f", "csv") == 0
    told = capsys.readouterr().out
    assert "--stack-covers-heart" in told and "stack_covers_heart" not in told


def test_a_cine_is_no_segmentation():
    cine = make_cine()
    with pytest.raises(CardioDiTError, match="a Cine") as caught:
        cardiac_function(cine)
    assert "Segment the cine" in caught.value.hint
    labels = Segmentation(np.ones(cine.shape, np.uint8), cine.affine, cine.frame_times)
    with pytest.raises(CardioDiTError, match="a Cine"):
        cardiac_function(labels, cine)


@pytest.mark.parametrize(("share", "told"), [(1.0, False), (0.3, True)])
def test_one_ventricle_is_judged_by_the_other(share, told):
    """Most of the right-ventricular labels taken away: its stroke becomes too small."""
    whole = make_phantom(PhantomSpec(slices=12)).segmentation
    array = whole.array.copy()
    if share < 1:
        right = array == 1
        columns = np.nonzero(right.any(axis=(0, 1, 2)))[0]
        array[right & (np.arange(array.shape[3]) < np.quantile(columns, 1 - share))] = 0
    report = cardiac_function(Segmentation(array, whole.affine, whole.frame_times), stack_covers_heart=True)
    assert np.isfinite(report.sv_ml) and np.isfinite(report.rv_sv_ml)
    notes = [note for note in report.notes if "eject" in note]
    assert bool(notes) == told, (report.sv_ml, report.rv_sv_ml)
    if told:
        assert f"{report.sv_ml:.0f} mL (left) and {report.rv_sv_ml:.0f} mL (right)" in notes[0]


def test_pages_count_frames_from_0_and_keep_the_voxel_spacing():
    pytest.importorskip("matplotlib")
    whole, _ = beating(frames=10, cycle_s=0.8)
    segmentation = Segmentation(
        whole.array, whole.affine, whole.frame_times, {"synthetic": True, "spacing": "wide_angle", "grid": "x"}
    )
    report = cardiac_function(segmentation)
    page = html_page(report, segmentation)
    assert f"ES in frame {report.es_frame}" in page and "of 10, counted from 0" in page
    rows = dict(re.findall(r"<th scope='row'>([^<]*)</th><td>([^<]*)</td>", page))
    sx, sy, sz = segmentation.spacing
    assert rows["spacing"] == f"{sx:.3g} x {sy:.3g} mm, {sz:.3g} mm from slice to slice"
    assert rows["spacing of denoising steps"] == "wide_angle" and rows["grid (source)"] == "x"


def test_hints_name_options_on_the_command_line(tmp_path, capsys):
    affine = make_cine().affine.copy()
    affine[0, 1] += 0.02
    image = nibabel.Nifti1Image(make_cine().array.transpose(3, 2, 1, 0), affine)
    image.header.set_zooms((*image.header.get_zooms()[:3], 0.05))
    nibabel.save(image, tmp_path / "crooked.nii")
    assert run("convert", tmp_path / "crooked.nii", tmp_path / "a.nii") == 1
    told = capsys.readouterr().err
    assert "--square-axes" in told and "square_axes" not in told and "option of" not in told
    assert run("convert", tmp_path / "crooked.nii", tmp_path / "a.nii", "--square-axes") == 0
    capsys.readouterr()
    assert run("audit", "--train", tmp_path / "crooked.nii", "--synthetic", tmp_path / "crooked.nii") == 1
    assert "--square-axes (an option of 'cardiodit convert')" in capsys.readouterr().err


@pytest.mark.parametrize(("degrees", "repaired"), [(1.0, True), (2.8, True), (3.2, False), (20.0, False)])
def test_the_hint_about_axes_comes_only_where_it_helps(degrees, repaired):
    affine = np.diag([1.4, 1.4, 10.0, 1.0])
    affine[0, 1] = 1.4 * np.sin(np.radians(degrees))
    affine[1, 1] = 1.4 * np.cos(np.radians(degrees))
    with pytest.raises(CardioDiTError, match="right angles") as caught:
        check_affine(affine)
    assert ("square_axes" in caught.value.hint) == repaired
    if repaired:
        check_affine(squared_axes(affine, (8, 8, 8)))
    else:
        with pytest.raises(CardioDiTError):
            check_affine(squared_axes(affine, (8, 8, 8)))


def test_labels_of_another_place_are_refused(tmp_path, capsys):
    heart = phantoms(1, 0)[0]
    save_cine(heart.cine, tmp_path / "a.nii.gz")
    moved = heart.segmentation.affine.copy()
    moved[0, 3] += 50
    shifted = Segmentation(heart.segmentation.array, moved, heart.segmentation.frame_times)
    save_segmentation(shifted, tmp_path / "b.nii.gz")
    words = ("landmarks", tmp_path / "a.nii.gz", tmp_path / "p.csv", "--method", "segmentation")
    assert run(*words, "--segmentation", tmp_path / "b.nii.gz") == 1
    assert names(capsys.readouterr().err, "grid") and not (tmp_path / "p.csv").exists()
    save_segmentation(heart.segmentation, tmp_path / "c.nii.gz")
    assert run(*words, "--segmentation", tmp_path / "c.nii.gz") == 0
    assert "tracking:" in capsys.readouterr().out, "as 'measure' does"
    assert run(*words, "--segmentation", tmp_path / "c.nii.gz", "--no-track", "--overwrite") == 0
    assert "tracking:" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "values", [{"steps": 1_000_000}, {"guidance": 1e9}, {"guidance": -1e9}, {"guidance": float("nan")}]
)
def test_requests_that_no_heart_comes_out_of_are_refused(values):
    with pytest.raises(CardioDiTError, match=next(iter(values))):
        GenerationRequest(pathology="DCM", **values)


def test_a_pack_of_one_frame_is_refused(tmp_path):
    save_cine(make_cine(), tmp_path / "a.nii.gz")
    with refused("1 frames"):
        make_pack(tmp_path, tmp_path / "p.npz", frames=1)


def test_a_bundle_beside_the_user_is_taken(tmp_path, monkeypatch):
    write_tiny_bundle(tmp_path / "mybundle")
    monkeypatch.chdir(tmp_path)
    assert run("generate", "-m", "mybundle", "--steps", 1, "-o", "first") == 0
    assert run("generate", "-m", "./mybundle", "--steps", 1) == 0


def test_an_evaluation_without_labels_says_how_to_make_them(tmp_path, capsys):
    for name, seed in (("real", 0), ("synthetic", 1)):
        for index, heart in enumerate(phantoms(2, seed)):
            save_cine(heart.cine, tmp_path / name / f"{index}.nii.gz")
    words = ("evaluate", "synthesis", "--real", tmp_path / "real", "--synthetic", tmp_path / "synthetic")
    assert run(*words, "--resamples", 5) == 0
    told = capsys.readouterr().out
    assert "cardiodit segment NAME.nii.gz NAME_seg.nii.gz" in told
    assert not [line for line in told.splitlines() if line.count("– 0") > 1], "no line without a number"


def test_nothing_is_written_where_no_heart_was_found(tmp_path, capsys, monkeypatch):
    import CardioDiTLib.segmentation.segment  # noqa: F401 - its name in the package is the function
    from CardioDiTLib.segmentation import model

    def nothing(cine: Cine, **_: object) -> Segmentation:
        return Segmentation(np.zeros(cine.shape, np.uint8), cine.affine, cine.frame_times)

    monkeypatch.setattr(model, "load_model", lambda weights: None)
    monkeypatch.setattr(sys.modules["CardioDiTLib.segmentation.segment"], "segment", nothing)
    save_cine(make_cine(), tmp_path / "a.nii.gz")
    assert run("segment", tmp_path / "a.nii.gz", tmp_path / "b.nii.gz") == 1
    assert names(capsys.readouterr().err, "left ventricle") and not (tmp_path / "b.nii.gz").exists()

"""``cardiodit evaluate synthesis`` and the cohorts it reads."""

from __future__ import annotations

import json

import nibabel
import numpy as np
import pytest
from command_line import problem
from evaluation_cohorts import phantoms
from html_pages import check_page
from refusals import names, refused

from CardioDiTLib import cli
from CardioDiTLib.cine import Segmentation
from CardioDiTLib.data.packing import write_cines
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.evaluation import cohort_from_folder, cohort_from_pack, from_json, measure_cine
from CardioDiTLib.io import save_cine, save_segmentation


def run(*words: object) -> int:
    return cli.main(["evaluate", "synthesis", *(str(word) for word in words)])


@pytest.fixture(scope="module")
def hearts():
    return phantoms(6, 0)


@pytest.fixture()
def folders(tmp_path, hearts):
    """Four real cines with labels beside them, two synthetic ones with labels in a folder of their own."""
    for i, heart in enumerate(hearts):
        folder = tmp_path / ("real" if i < 4 else "synthetic")
        save_cine(heart.cine, folder / f"heart{i}.nii.gz")
        place = folder / f"heart{i}_seg.seq.nrrd" if i < 4 else tmp_path / "labels" / f"heart{i}.nii.gz"
        save_segmentation(heart.segmentation, place)
    return tmp_path


def test_folders_with_labels_and_every_output(folders, capsys):
    words = ("--real", folders / "real", "--synthetic", folders / "synthetic", "--resamples", 20)
    words += ("--synthetic-labels", folders / "labels")
    out = folders / "out"
    assert run(*words, "--json", out / "r.json", "--markdown", out / "r.md", "--csv", out / "r.csv") == 0
    shown = capsys.readouterr().out
    assert "2 synthetic cines (synthetic, 2 with labels) against 4 real ones (real, 4 with labels)." in shown
    assert sorted(path.name for path in out.iterdir()) == ["r.csv", "r.json", "r.md"]
    report = from_json(out / "r.json")
    assert report.resamples == 20 and report.quantity("edv_ml").distance.n_matched == 2
    assert f"{report.quantity('edv_ml').real.median:.1f}" in (out / "r.md").read_text(encoding="utf-8")
    assert str(folders) not in (out / "r.json").read_text(encoding="utf-8")
    assert run(*words, "--out", out / "again.json", "-o", out / "again.html") == 0
    assert (out / "again.json").read_bytes() == (out / "r.json").read_bytes()
    page = check_page((out / "again.html").read_text(encoding="utf-8"))
    assert "real: 4 cines, 4 with labels" in page.text and str(folders) not in page.text
    named = ("--synthetic", f"draft={folders / 'synthetic'}", "--resamples", 2)
    assert run(*words[:2], *named) == 0 and "(draft, 0 with labels)" in capsys.readouterr().out
    assert run(*words, "--out", out / "again.pdf") == 1 and run(*words, "--html", out / "again.html") == 1


def test_a_pack_brings_labels_groups_and_parts(folders, hearts, capsys):
    images = np.stack([np.clip(h.cine.array / 4, 0, 255).astype(np.uint8) for h in hearts])
    labels = np.stack([h.segmentation.array for h in hearts])
    valid = np.ones((6, 9), bool)
    valid[:, -1] = False
    write_cines(
        folders / "pack.npz",
        images,
        (1.5, 1.5, 10.0),
        groups=["A", "B"] * 3,
        validation=[False] * 4 + [True] * 2,
        labels=labels,
        slice_valid=valid,
    )
    cohort = cohort_from_pack(folders / "pack.npz")
    cine, segmentation = cohort.items[1].load()
    assert cine.n_slices == 8 and cohort.items[1].group == "B" and cohort.notes == ()
    assert segmentation is not None and np.array_equal(segmentation.array, labels[1][:, :8])
    assert [item.name for item in cohort_from_pack(folders / "pack.npz", "validation").items] == [
        "pack-004",
        "pack-005",
    ]
    words = ("--real", folders / "pack.npz", "--synthetic", folders / "synthetic", "--resamples", 5)
    assert run(*words, "--real-part", "training", "--stack-covers-heart", "--json", folders / "r.json") == 0
    assert "taken for complete" in capsys.readouterr().out
    assert from_json(folders / "r.json").n_real_labelled == 4
    assert sorted(p.name for p in folders.iterdir()) == ["labels", "pack.npz", "r.json", "real", "synthetic"]
    assert run(*words, "--real-labels", folders / "labels") == 1 and names(problem(capsys), "--real-labels")


def test_label_files_and_groups_are_found_by_name(folders, hearts):
    real = folders / "real"
    cohort = cohort_from_folder(real)
    assert [item.name for item in cohort.items] == [f"heart{i}" for i in range(4)]
    loaded = [item.load() for item in cohort.items]
    for heart, (_, labels) in zip(hearts, loaded):
        assert labels is not None and np.array_equal(labels.array, heart.segmentation.array)
    (real / "heart0_seg.seq.nrrd").rename(real / "heart0_labels.seq.nrrd")
    (real / "heart1_seg.seq.nrrd").unlink()
    found = [item.load()[1] is not None for item in cohort_from_folder(real).items]
    assert found == [True, False, True, True]
    assert [item.load()[1] is not None for item in cohort_from_folder(real, real).items] == found
    (real / "groups.csv").write_text(
        "file,group\n" + "".join(f"heart{i}.nii.gz,G{i % 2}\n" for i in range(4)), encoding="utf-8"
    )
    assert [item.group for item in cohort_from_folder(real).items] == ["G0", "G1", "G0", "G1"]
    (real / "groups.csv").write_text("file,group\nheart0.nii.gz,G\n", encoding="utf-8")
    with pytest.raises(CardioDiTError, match=r"heart1\.nii\.gz"):
        cohort_from_folder(real)
    (real / "groups.csv").write_text("a,b\n1,2\n", encoding="utf-8")
    with refused("groups.csv", "read"):
        cohort_from_folder(real)


@pytest.mark.parametrize("known", [False, True])
def test_rates_need_times_that_somebody_knows(tmp_path, hearts, known):
    cine, labels = hearts[0].cine, hearts[0].segmentation
    interval = cine.frame_interval_s
    for name, array, step in (("a", cine.array, interval if known else 0.0), ("a_seg", labels.array, 0.0)):
        image = nibabel.Nifti1Image(array.transpose(3, 2, 1, 0), cine.affine)
        image.header.set_zooms((*cine.spacing, step))
        nibabel.save(image, tmp_path / f"{name}.nii.gz")
    (item,) = cohort_from_folder(tmp_path).items
    found = measure_cine(*item.load(), stack_covers_heart=True)
    assert np.isfinite(found.values["edv_ml"])
    for rate in ("peak_ejection_rate_ml_s", "peak_filling_rate_ml_s"):
        assert np.isfinite(found.values[rate]) == known
        assert known or "assumed" in found.reasons[rate]


def test_labels_of_another_grid_are_refused(folders, hearts, capsys):
    heart = hearts[4]
    smaller = Segmentation(heart.segmentation.array[:, :-1], heart.segmentation.affine, heart.cine.frame_times)
    save_segmentation(smaller, folders / "labels" / "heart4.nii.gz")
    words = ("--real", folders / "real", "--synthetic", folders / "synthetic", "--synthetic-labels", folders / "labels")
    assert run(*words, "--json", folders / "r.json") == 1
    assert names(problem(capsys), "heart4.nii.gz", "grid")
    assert not (folders / "r.json").exists()


def test_bad_input_is_one_sentence_and_leaves_nothing(folders, capsys):
    real, synthetic, out = folders / "real", folders / "synthetic", folders / "r.json"
    (folders / "empty").mkdir()
    (folders / "broken").mkdir()
    (folders / "broken" / "a.nii.gz").write_bytes(b"no cine")
    (folders / "no.npz").write_bytes(b"no pack")
    for words, expected in (
        (("--real", folders / "none", "--synthetic", synthetic), "no folder"),
        (("--real", folders / "empty", "--synthetic", synthetic), "no cine in"),
        (("--real", real, "--synthetic", folders / "broken"), "a.nii.gz"),
        (("--real", folders / "no.npz", "--synthetic", synthetic), "cannot be read as a training pack"),
        (("--real", real, "--synthetic", synthetic, "--real-labels", folders / "none"), "no folder"),
        (("--real", real, "--synthetic", synthetic, "--synthetic-labels", folders / "empty"), "holds no labels"),
        (("--real", real, "--synthetic", synthetic, "--real-part", "training"), "Only a training pack has parts"),
        (("--real", real, "--synthetic", synthetic, "--neighbours", 0), "0 cines"),
        (("--real", real, "--synthetic", synthetic, "--resamples", 0), "0 resamples"),
    ):
        assert run(*words, "--json", out) == 1
        assert expected in problem(capsys)
        assert not out.exists()


def test_json_of_the_command_has_no_nan(folders):
    out = folders / "r.json"
    assert run("--real", folders / "synthetic", "--synthetic", folders / "synthetic", "--json", out) == 0
    values = json.loads(out.read_text(encoding="utf-8"), parse_constant=pytest.fail)
    assert values["sets"]["cine-hog-1"]["recall"]["value"] is None
    assert values["n_real_labelled"] == 0 and not any(q["kind"] == "physiology" for q in values["quantities"])


def test_several_models_side_by_side(folders, hearts, capsys):
    for i, heart in enumerate(hearts[2:5]):
        save_cine(heart.cine, folders / "other" / f"h{i}.nii.gz")
        save_segmentation(heart.segmentation, folders / "other" / f"h{i}_seg.nii.gz")
    bare = folders / "bare"
    for i, heart in enumerate(hearts[4:]):
        save_cine(heart.cine, bare / f"h{i}.nii.gz")
    out = folders / "out"
    words = ("--real", folders / "real", "--resamples", 10)
    files = [word for suffix in ("json", "csv", "md", "html") for word in ("-o", out / f"r.{suffix}")]
    models = ("--synthetic", f"new={folders / 'other'}", f"=odd={bare}")
    assert run(*words, *models, *files) == 1 and names(problem(capsys), "NAME=PATH") and not out.exists()
    assert run(*words, "--synthetic", f"new={folders / 'other'}", f"=2+3={bare}", *files) == 1
    assert names(problem(capsys), "NAME=PATH")
    assert run(*words, "--synthetic", f"new={folders / 'other'}", f"bare={bare}", *files) == 0
    shown = capsys.readouterr().out
    assert "new (3)" in shown and "bare (2)" in shown and "no bare cine has labels" in shown
    reports = json.loads((out / "r.json").read_text(encoding="utf-8"))["models"]
    assert list(reports) == ["new", "bare"] and [r["n_synthetic"] for r in reports.values()] == [3, 2]
    rows = (out / "r.csv").read_text(encoding="utf-8").splitlines()
    edv = {row.split(",")[0]: row.split(",") for row in rows if ",edv_ml," in row}
    assert float(edv["new"][3]) > 0 and edv["bare"][3] == ""
    assert "| new | bare |" in (out / "r.md").read_text(encoding="utf-8")
    page = check_page((out / "r.html").read_text(encoding="utf-8"))
    assert "3 cines, 3 with labels" in page.text and "2 cines, 0 with labels" in page.text
    one = ("--synthetic", folders / "other", folders / "bare")
    assert run(*words, *one) == 1 and names(problem(capsys), "--names")
    labelled = ("--synthetic-labels", folders / "labels")
    assert run(*words, "--synthetic", f"a={bare}", f"b={bare}", *labelled) == 1
    assert names(problem(capsys), "--synthetic-labels")

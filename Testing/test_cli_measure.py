"""From a cine to labels, insertion points and a report in one command, with small networks of random weights."""

from __future__ import annotations

import json

import numpy as np
import pytest
from tiny_segmentation import tiny_model_folder

from CardioDiTLib.cli import main
from CardioDiTLib.data.canonical_view import CanonicalView
from CardioDiTLib.data.phantom import PhantomSpec, make_phantom
from CardioDiTLib.io import load_segmentation, save_cine
from CardioDiTLib.io.cine_files import file_stem
from CardioDiTLib.landmarks import load_landmarks
from CardioDiTLib.segmentation import segment as segment_module


class Straight(CanonicalView):
    """A view of a cine as it is stored."""

    @classmethod
    def of(cls, affine):
        return cls(False, False, False, False)


@pytest.fixture
def place(tmp_path, monkeypatch):
    phantom = make_phantom(PhantomSpec(frames=6, slices=5, height=64, width=64, spacing_mm=(2.5, 2.5, 12.0)))
    save_cine(phantom.cine, tmp_path / "heart.nii.gz")
    # the labels of the phantom in place of a network's: what is tested is the chain
    monkeypatch.setattr(segment_module, "_labels", lambda *_, **__: phantom.segmentation.array)

    # nothing is turned: the phantom's labels are those of its own grid
    monkeypatch.setattr("CardioDiTLib.data.slice_inference.CanonicalView", Straight)
    weights = tiny_model_folder(tmp_path / "weights")
    return tmp_path, phantom, weights


def run(*words) -> int:
    return main(["measure", *map(str, words)])


def test_labels_points_and_numbers_are_those_of_the_heart(place, capsys):
    folder, phantom, weights = place
    assert run(folder / "heart.nii.gz", "-o", folder / "out", "--segmentation-weights", weights, "-f", "json,html") == 0
    out = folder / "out"
    names = {"heart_segmentation.nii.gz", "heart_landmarks.csv", "heart_function.json", "heart_function.html"}
    assert {path.name for path in out.iterdir()} == names
    np.testing.assert_array_equal(
        load_segmentation(out / "heart_segmentation.nii.gz").array, phantom.segmentation.array
    )
    assert load_landmarks(out / "heart_landmarks.csv").found.all(axis=-1).any()
    report = json.loads((out / "heart_function.json").read_text(encoding="utf-8"))
    volumes = (phantom.segmentation.array == 3).sum(axis=(1, 2, 3)) * phantom.segmentation.voxel_volume_ml
    np.testing.assert_allclose(report["lv_volume_ml"], volumes, rtol=1e-6)
    assert "heart_function.html" in capsys.readouterr().out
    # nothing is replaced unasked
    assert run(folder / "heart.nii.gz", "-o", out, "--segmentation-weights", weights) == 1
    assert "already" in capsys.readouterr().err
    assert run(folder / "heart.nii.gz", "-o", out, "--segmentation-weights", weights, "--overwrite", "-f", "csv") == 0


def test_names_of_results(tmp_path):
    (tmp_path / "a.b").mkdir()
    assert file_stem(tmp_path / "x.seq.nrrd") == "x" and file_stem(tmp_path / "y.nii.gz") == "y"
    assert file_stem(tmp_path / "a.b") == "a.b" and file_stem(tmp_path / "z.v.json") == "z.v"


def rounded(value):
    """Numbers to six digits: points pass through a table in between."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    return [rounded(item) for item in value] if isinstance(value, list) else value


def test_measure_is_the_three_commands_one_after_the_other(place, capsys):
    """Same labels, same points, same numbers."""
    folder, _, weights = place
    out, cine = folder / "out", folder / "heart.nii.gz"
    assert run(cine, "-o", out, "--segmentation-weights", weights, "-f", "json") == 0
    steps = folder / "steps"
    seg, points = steps / "heart.nii.gz", steps / "heart.csv"
    assert main(["segment", str(cine), str(seg), "--weights", str(weights)]) == 0
    assert main(["landmarks", str(cine), str(points), "--segmentation", str(seg)]) == 0
    assert main(["function", str(seg), "--landmarks", str(points), "-o", str(steps), "-f", "json"]) == 0
    one, other = (json.loads((place / "heart_function.json").read_text(encoding="utf-8")) for place in (out, steps))
    assert set(one) == set(other)
    for name in set(one) - {"meta"}:
        assert rounded(one[name]) == rounded(other[name]), name
    first, second = load_landmarks(out / "heart_landmarks.csv"), load_landmarks(points)
    np.testing.assert_allclose(first.points, second.points)


def test_measure_in_python_takes_a_path_and_writes_the_same_files(place):
    import CardioDiTLib as cd

    folder, phantom, weights = place
    told = []
    found = cd.measure(
        str(folder / "heart.nii.gz"), segmentation_weights=weights, progress=lambda what, *rest: told.append(what)
    )
    np.testing.assert_array_equal(found.segmentation.array, phantom.segmentation.array)
    assert {"segmenting", "insertion points"} >= set(told) and told
    assert len(repr(found)) < 300 and "EF" in repr(found)
    paths = found.save(folder / "py", "heart", formats=["json"])
    assert [path.name for path in paths] == [
        *("heart_segmentation.nii.gz", "heart_landmarks.csv"),
        "heart_function.json",
    ]

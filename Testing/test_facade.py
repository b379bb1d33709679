"""``import CardioDiTLib``: next to nothing, until something is used."""

from __future__ import annotations

import inspect
import io
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import CardioDiTLib as cd


def test_the_import_is_light():
    code = (
        "import sys, time\nbegin = time.process_time()\nimport CardioDiTLib\nseconds = time.process_time() - begin\n"
        "heavy = {'torch', 'monai', 'numpy', 'scipy', 'nibabel', 'SimpleITK', 'pydicom', 'nrrd'} & set(sys.modules)\n"
        "assert not heavy, heavy\nassert seconds < 0.2, seconds"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[1])


def test_io_and_geometry_bring_no_torch():
    code = (
        "import sys, CardioDiTLib as cd\ncd.load_cine, cd.Cine, cd.GenerationRequest\nassert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[1])


@pytest.mark.parametrize("name", cd.__all__)
def test_everything_that_is_promised_is_there(name):
    assert getattr(cd, name) is not None and name in dir(cd)


def test_functions_are_functions_even_after_their_modules_were_imported():

    assert callable(cd.bundles.verify) and callable(cd.bundles.import_published) and callable(cd.bundles.write_bundle)
    assert cd.models.VQGAN.__name__ == "VQGAN" and cd.Generator.__name__ == "Generator"


def test_what_is_not_there_is_said():
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = cd.nonsense


def test_the_version_is_the_one_of_the_package():
    text = (Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8")
    assert re.search(r'^version = "(.+)"$', text, re.MULTILINE).group(1) == cd.__version__


def test_the_package_is_typed():
    assert (Path(cd.__file__).parent / "py.typed").is_file()


def test_results_print_one_line(tmp_path):
    from evaluation_cohorts import cohort, phantoms

    from CardioDiTLib.data.packing import read_pack, write_cines

    hearts = phantoms(2, 0)
    one = hearts[0]
    report = cd.cardiac_function(one.segmentation, one.landmarks)
    write_cines(tmp_path / "p.npz", np.zeros((1, 4, 2, 16, 16), np.uint8), (1.5, 1.5, 10.0))
    result = cd.GenerationResult(one.cine, 7, 0, "DCM", {"model": "tiny"}, 1.5)
    synthesis = cd.evaluate_synthesis(cohort(hearts, "a"), cohort(hearts, "b"), resamples=3)
    for value in (one.cine, one.segmentation, one.landmarks, report, result, cohort(hearts, "x"), synthesis):
        text = repr(value)
        assert text.startswith(type(value).__name__ + "(") and "\n" not in text and len(text) < 250, text
    assert "16 frames, 9 slices" in repr(one.cine) and f"EF {report.ef_percent:.0f} %" in repr(report)
    assert "1 cines" in repr(read_pack(tmp_path / "p.npz"))


def test_functions_take_paths_and_names(tmp_path, monkeypatch):
    from evaluation_cohorts import phantoms
    from tiny_bundle import write_tiny_bundle

    from CardioDiTLib.bundles.registry import BUNDLES_VARIABLE

    monkeypatch.setenv(BUNDLES_VARIABLE, str(tmp_path / "bundles"))
    write_tiny_bundle(tmp_path / "bundles" / "tiny")
    assert cd.Generator("tiny").bundle.manifest.name == "tiny"
    for name, seed in (("a", 0), ("b", 1)):
        for index, heart in enumerate(phantoms(2, seed)):
            cd.save_cine(heart.cine, tmp_path / name / f"{index}.nii.gz")
    cd.save_segmentation(heart.segmentation, tmp_path / "labels.nii.gz")
    cd.save_landmarks(heart.landmarks, tmp_path / "points.csv")
    report = cd.evaluate_synthesis(str(tmp_path / "a"), tmp_path / "b", resamples=3)
    assert report.n_real == report.n_synthetic == 2
    by_path = cd.cardiac_function(str(tmp_path / "labels.nii.gz"), tmp_path / "points.csv")
    assert by_path.ef_percent == pytest.approx(cd.cardiac_function(heart.segmentation).ef_percent)
    assert cd.landmarks_from_segmentation(tmp_path / "labels.nii.gz").found.any()
    cd.save_cine(tmp_path / "a" / "0.nii.gz", tmp_path / "copy.seq.nrrd")
    assert cd.load_cine(tmp_path / "copy.seq.nrrd").shape == heart.cine.shape


def test_what_a_function_cannot_take_is_said():
    from synthetic_cines import make_cine

    for call in (
        lambda: cd.segment(np.zeros((2, 2, 8, 8))),
        lambda: cd.cardiac_function(make_cine()),
        lambda: cd.cardiac_function(None),
        lambda: cd.measure(None),
        lambda: cd.evaluate_landmarks("absent.csv", "absent.csv"),
        lambda: cd.evaluate_landmarks([None], [None]),
        lambda: cd.detect_landmarks("absent.nii.gz"),
        lambda: cd.Generator("absent"),
        lambda: cd.evaluate_synthesis("absent", "absent"),
    ):
        with pytest.raises(cd.CardioDiTError):
            call()
    assert list(inspect.signature(cd.segment).parameters)[:2] == ["cine", "weights"]


@pytest.mark.parametrize("terminal", [False, True])
def test_a_bar_is_shown_in_a_terminal_and_nowhere_else(monkeypatch, terminal, tmp_path):
    from evaluation_cohorts import cohort, phantoms
    from tiny_bundle import write_tiny_bundle

    class Screen(io.StringIO):
        def isatty(self) -> bool:
            return terminal

    screen = Screen()
    monkeypatch.setattr(sys, "stderr", screen)
    hearts = cohort(phantoms(2, 0), "a")
    cd.evaluate_synthesis(hearts, hearts, resamples=3)
    assert ("evaluate" in screen.getvalue() or "real" in screen.getvalue()) == terminal
    screen.truncate(0)
    cd.Generator(write_tiny_bundle(tmp_path / "tiny")).generate(cd.GenerationRequest(steps=2))
    assert ("coding" in screen.getvalue()) == terminal
    screen.truncate(0)
    cd.evaluate_synthesis(hearts, hearts, resamples=3, progress=lambda *_: None)
    assert not screen.getvalue().strip("\0")


@pytest.mark.parametrize("terminal", [False, True])
def test_audits_and_gates_show_bars_too(monkeypatch, terminal):
    from privacy_sets import normal

    class Screen(io.StringIO):
        def isatty(self) -> bool:
            return terminal

    class Gate:
        def judge(self, cine):
            return Passed()

    class Passed:
        passed = True

        def to_dict(self):
            return {}

    from synthetic_cines import make_cine

    screen = Screen()
    monkeypatch.setattr(sys, "stderr", screen)
    cd.audit_memorization(normal(30, 0), normal(30, 1), normal(5, 2))
    assert ("comparing with training patients" in screen.getvalue()) == terminal
    screen.truncate(0)
    made = cd.GenerationResult(make_cine(), 7, 0, None, {"model": "tiny"}, 1.0)
    cd.generate_gated(lambda request: [made], cd.GenerationRequest(seed=7), Gate())
    assert ("gate, draw 1 of cine 0" in screen.getvalue()) == terminal

"""The command line: exit codes, one-line problems, and files that appear whole or not at all."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import nibabel
import numpy as np
import pytest
import yaml
from command_line import problem, run
from refusals import names
from synthetic_cines import make_cine
from tiny_bundle import SHAPE, write_steered_bundle, write_tiny_bundle

from CardioDiTLib import cli
from CardioDiTLib.bundles.registry import BUNDLES_VARIABLE, CACHE_VARIABLE
from CardioDiTLib.commands import COMMANDS
from CardioDiTLib.errors import Cancelled
from CardioDiTLib.io import load_cine, save_cine
from CardioDiTLib.version import __version__

DATA = Path(__file__).parent / "data"


@pytest.fixture(autouse=True)
def places(tmp_path_factory, monkeypatch) -> Path:
    folder = tmp_path_factory.mktemp("places")
    monkeypatch.setenv(BUNDLES_VARIABLE, str(folder / "bundles"))
    monkeypatch.setenv(CACHE_VARIABLE, str(folder / "cache"))
    return folder


@pytest.fixture()
def bundle(places) -> Path:
    return write_tiny_bundle(places / "bundles" / "tiny").folder


def test_generate_writes_every_format(bundle, tmp_path, capsys):
    pytest.importorskip("PIL")
    words = ("generate", "-m", "tiny", "-n", 2, "-s", 7, "-p", "dcm", "-g", 1.5, "--steps", 3, "-o", tmp_path / "out")
    assert run(*words, "-f", "nii.gz,seq.nrrd,png,gif,json", "--precision", "fp32") == 0
    paths = [Path(line) for line in capsys.readouterr().out.splitlines()]
    assert len(paths) == 10 and all(path.is_file() for path in paths)
    assert sorted((tmp_path / "out").iterdir()) == sorted(paths)

    nifti, sequence = (load_cine(tmp_path / "out" / f"tiny_seed7_001_DCM.{s}") for s in ("nii.gz", "seq.nrrd"))
    assert nifti.shape == SHAPE and np.array_equal(nifti.array, sequence.array)
    np.testing.assert_allclose(nifti.affine, sequence.affine, atol=1e-4)
    np.testing.assert_allclose(nifti.frame_times, np.arange(16) * 0.05, atol=1e-6)
    assert nibabel.load(tmp_path / "out" / "tiny_seed7_001_DCM.nii.gz").header.get_zooms() == pytest.approx(
        (1.5, 1.5, 10.0, 0.05)
    )
    made = json.loads((tmp_path / "out" / "tiny_seed7_001_DCM.json").read_text(encoding="utf-8"))
    assert made["synthetic"] is True and made["seed"] == 7 and made["index"] == 1 and made["guidance"] == 1.5
    assert made["steps"] == 3 and made["pathology"] == "DCM" and made["seconds"] > 0
    assert len(made["model_sha256"]) == 64 and nifti.meta["model_sha256"] == made["model_sha256"]


def test_the_same_seed_gives_the_same_files(bundle, tmp_path):
    for out, seed in (("a", 3), ("b", 3), ("c", 4)):
        words = ("generate", "-m", "tiny", "-s", seed, "-o", tmp_path / out, "-f", "nii.gz,seq.nrrd")
        assert run(*words, "--precision", "fp32") == 0
    for suffix in ("nii.gz", "seq.nrrd"):
        a, b = ((tmp_path / out / f"tiny_seed3_000.{suffix}").read_bytes() for out in "ab")
        assert a == b
        assert a != (tmp_path / "c" / f"tiny_seed4_000.{suffix}").read_bytes()


def test_one_pathology_a_cine(bundle, tmp_path, capsys):
    words = ("generate", "-m", "tiny", "-n", 2, "-o", tmp_path, "-f", "json", "--steps", 2)
    assert run(*words, "-p", "NOR,DCM") == 0
    assert [Path(line).name for line in capsys.readouterr().out.splitlines()] == [
        "tiny_seed0_000_NOR.json",
        "tiny_seed0_001_DCM.json",
    ]
    assert run(*words, "-p", "NOR,DCM,NOR") == 1 and "3 pathologies" in problem(capsys)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("-m", "absent"), "no bundle called 'absent'"),
        (("-m", "tiny", "-p", "HCM"), "Choose one of NOR, DCM."),
        (("-m", "tiny", "-g", "3"), "pathology"),
        (("-m", "tiny", "-n", "0"), "count"),
        (("-m", "tiny", "--preset", "best"), "preset"),
        (("-m", "tiny", "-f", "mp4"), "mp4"),
        (("-m", "tiny", "--device", "cuda:77"), "CUDA"),
    ],
)
def test_problems_are_one_line_and_leave_nothing(bundle, tmp_path, capsys, words, expected):
    assert run("generate", *words, "-o", tmp_path / "out") == 1
    assert expected in problem(capsys)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_bundle_does_not_generate(bundle, tmp_path, capsys):
    content = bytearray((bundle / "codec.safetensors").read_bytes())
    content[-1] ^= 255
    (bundle / "codec.safetensors").write_bytes(bytes(content))
    assert run("generate", "-m", "tiny", "-o", tmp_path / "out") == 1
    assert "codec.safetensors has been changed" in problem(capsys)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", [(), ("dance",), ("generate", "--count", "two"), ("convert", "one"), ("models",)])
def test_wrong_usage_is_code_2(words, capsys):
    with pytest.raises(SystemExit) as caught:
        run(*words)
    assert caught.value.code == 2 and "usage" in capsys.readouterr().err


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name, capsys):
    with pytest.raises(SystemExit) as caught:
        run(name, "--help")
    assert caught.value.code == 0 and f"cardiodit {name}" in capsys.readouterr().out


def test_the_help_is_quick_to_import():
    code = (
        "import sys\nfrom CardioDiTLib import cli\n"
        "try:\n    cli.main(['--help'])\nexcept SystemExit as end:\n    assert end.code == 0\n"
        "heavy = {'torch', 'monai', 'numpy', 'scipy', 'nibabel', 'SimpleITK'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    shown = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert all(name in shown for name in COMMANDS)


def test_python_m_is_the_same_command_line():
    words = [sys.executable, "-m", "CardioDiTLib", "--version"]
    shown = subprocess.run(words, check=True, capture_output=True, text=True, cwd=Path(__file__).parents[1])
    assert shown.stdout.strip() == f"cardiodit {__version__}"


@pytest.mark.parametrize("error", [KeyboardInterrupt(), Cancelled()])
def test_interrupted_is_said_in_one_word(bundle, tmp_path, capsys, monkeypatch, error):
    from CardioDiTLib.generation import outputs

    def interrupted(*arguments, **options):
        raise error

    monkeypatch.setattr(outputs, "contact_sheet", interrupted)
    assert run("generate", "-m", "tiny", "-o", tmp_path / "out", "-f", "nii.gz,png", "--steps", 2) == 1
    assert problem(capsys) == "Cancelled."
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_ending_the_process_leaves_no_file(bundle, tmp_path):
    words = ["generate", "-m", "tiny", "-n", "500", "--batch-size", "1", "-o", str(tmp_path / "out"), "-s", "1"]
    code = (
        "import sys\nfrom CardioDiTLib.generation import generator\nfrom CardioDiTLib import cli\n"
        "original = generator.ProgressClock.tell\n"
        "def tell(self, *a, **k):\n    original(self, *a, **k)\n    print('going', flush=True)\n"
        "generator.ProgressClock.tell = tell\nsys.exit(cli.main(sys.argv[1:]))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "going\n"
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1 and errors.strip().splitlines()[-1] == "Cancelled.", errors
    assert "Traceback" not in errors and list(tmp_path.iterdir()) == []


def test_hearts_are_on_disk_as_soon_as_they_are_made_and_a_run_that_was_ended_goes_on(
    bundle, tmp_path, capsys, monkeypatch
):
    from CardioDiTLib.workflow import generate

    words = ("generate", "-m", "tiny", "-n", 5, "--batch-size", 2, "--steps", 2, "-f", "nii.gz,json", "-s", 3)
    assert run(*words, "-o", tmp_path / "whole") == 0
    original, saved = generate.save_results, []

    def ended(results, folder, *arguments, **options):
        if len(saved) == 3:
            raise KeyboardInterrupt
        saved.extend(result.index for result in results)
        return original(results, folder, *arguments, **options)

    monkeypatch.setattr(generate, "save_results", ended)
    assert run(*words, "-o", tmp_path / "out") == 1
    told = capsys.readouterr().err
    assert "3 of 5 cines are whole" in told and "--resume" in told
    assert len(list((tmp_path / "out").iterdir())) == 6

    monkeypatch.setattr(generate, "save_results", original)
    (tmp_path / "out" / "tiny_seed3_001.json").unlink()  # as if ended between two files of a heart
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    assert run(*words, "-o", tmp_path / "out") == 1 and "--overwrite" in problem(capsys)
    assert run(*words, "-o", tmp_path / "out", "--resume") == 0
    after = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    assert len(after) == 10 and all(after[name] == moment for name, moment in before.items())
    for index in range(5):
        name = f"tiny_seed3_00{index}.nii.gz"
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    capsys.readouterr()
    assert run(*words, "-o", tmp_path / "out", "--resume") == 0
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("suffix", ["json", "nii.gz"])
def test_resume_never_mixes_hearts_of_other_settings(bundle, tmp_path, capsys, suffix):
    words = ("generate", "-m", "tiny", "-o", tmp_path / "out", "-f", suffix, "-p", "DCM")
    assert run(*words, "--steps", 2) == 0
    before = {path: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    capsys.readouterr()
    assert run(*words, "--steps", 3, "--resume") == 1
    assert "steps 2, not 3" in problem(capsys)
    assert run(*words, "--steps", 2, "-g", 1.0, "--resume") == 1 and "guidance 2.0, not 1.0" in problem(capsys)
    assert run(*words, "--steps", 2, "--cycle-s", 1.2, "--resume") == 1 and "1.2" in problem(capsys)
    assert run(*words, "--steps", 3) == 1 and "there already" in problem(capsys)
    assert {path: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before
    assert run(*words, "--steps", 3, "--overwrite") == 0


def test_where_nothing_can_be_written_is_told_before_any_work(bundle, tmp_path, capsys, monkeypatch):
    from CardioDiTLib.generation.generator import Generator

    monkeypatch.setattr(Generator, "for_request", lambda *_: pytest.fail("work was done first"))
    (tmp_path / "file").write_text("x", encoding="utf-8")
    assert run("generate", "-m", "tiny", "-o", tmp_path / "file") == 1 and "is a file" in problem(capsys)
    assert run("generate", "-m", "tiny", "-o", tmp_path / "file" / "out") == 1 and "is a file" in problem(capsys)
    assert run("generate", "-m", "tiny", "-o", "/proc/nowhere") == 1 and "Nothing can be written" in problem(capsys)


def test_an_unexpected_problem_is_one_line_unless_debugging(bundle, tmp_path, capsys, monkeypatch):
    from CardioDiTLib.generation.generator import Generator

    def broken(*arguments, **values):
        raise ValueError("a\nb")

    monkeypatch.setattr(Generator, "batches", broken)
    assert run("generate", "-m", "tiny", "-o", tmp_path / "out") == 1
    assert "ValueError: a b" in problem(capsys)
    monkeypatch.setenv(cli.DEBUG_VARIABLE, "1")
    with pytest.raises(ValueError):
        run("generate", "-m", "tiny", "-o", tmp_path / "out")


def test_convert_there_and_back(tmp_path, capsys):
    cine = make_cine()
    save_cine(cine, tmp_path / "a.nii.gz")
    assert run("convert", tmp_path / "a.nii.gz", tmp_path / "b.seq.nrrd") == 0
    shown = capsys.readouterr().out
    assert "6 x 7 x 3 voxels" in shown and "5 frames" in shown and "1.406" in shown
    assert run("convert", tmp_path / "b.seq.nrrd", tmp_path / "c.nii") == 0
    again = load_cine(tmp_path / "c.nii")
    assert np.array_equal(again.array, cine.array)
    np.testing.assert_allclose(again.affine, cine.affine, atol=1e-4)
    np.testing.assert_allclose(again.frame_times, cine.frame_times, atol=1e-6)

    capsys.readouterr()
    assert run("convert", tmp_path / "a.nii.gz", tmp_path / "c.nii") == 1 and "--overwrite" in problem(capsys)
    assert run("convert", tmp_path / "a.nii.gz", tmp_path / "c.nii", "--overwrite", "--frame-interval-s", 0.1) == 0
    assert load_cine(tmp_path / "c.nii").frame_interval_s == pytest.approx(0.1)


def test_convert_to_pictures(tmp_path):
    pytest.importorskip("PIL")
    save_cine(make_cine(), tmp_path / "a.nii.gz")
    for suffix, magic in (("png", b"\x89PNG"), ("gif", b"GIF8")):
        assert run("convert", tmp_path / "a.nii.gz", tmp_path / f"a.{suffix}") == 0
        assert (tmp_path / f"a.{suffix}").read_bytes().startswith(magic)


def test_convert_says_what_is_wrong(tmp_path, capsys):
    (tmp_path / "x.nii.gz").write_bytes(b"not an image")
    assert run("convert", tmp_path / "x.nii.gz", tmp_path / "y.nii.gz") == 1 and "x.nii.gz" in problem(capsys)
    assert run("convert", tmp_path / "absent.nii", tmp_path / "y.nii.gz") == 1 and "absent.nii" in problem(capsys)
    save_cine(make_cine(), tmp_path / "a.nii.gz")
    assert run("convert", tmp_path / "a.nii.gz", tmp_path / "y.docx") == 1 and "y.docx" in problem(capsys)
    assert not list(tmp_path.glob("y*"))


def test_what_a_model_can_be_asked_for_is_told(tmp_path, capsys):
    place = write_steered_bundle(tmp_path / "steered").folder
    assert run("models", "info", place) == 0
    shown = capsys.readouterr().out
    assert names(shown, "edv_ml", "60 to 200 mL", "lv_slices", "1 to 3") and "classes:" not in shown


def test_models_are_listed_described_and_verified(bundle, capsys):
    assert run("models", "list") == 0
    assert "tiny  1.2.3  (environment)  Tiny; CC0; NOR, DCM" in capsys.readouterr().out
    assert run("models", "list", "--json") == 0
    listed = {entry["name"]: entry for entry in json.loads(capsys.readouterr().out)}
    assert listed["tiny"]["folder"] == str(bundle) and listed["tiny"]["class_names"] == ["NOR", "DCM"]
    assert run("models", "info", "tiny") == 0
    shown = capsys.readouterr().out
    assert "32 x 32 x 3 voxels, 1.5 x 1.5 x 10 mm, 16 frames" in shown and "DCM (dilated)" in shown
    assert run("models", "info", "tiny", "--json") == 0
    assert json.loads(capsys.readouterr().out)["name"] == "tiny"

    assert run("models", "verify", "tiny") == 0 and "tiny: whole and unchanged" in capsys.readouterr().out
    (bundle / "dit.safetensors").unlink()
    assert run("models", "verify") == 1 and "tiny: dit.safetensors is missing." in capsys.readouterr().out
    assert run("models", "verify", "absent") == 1 and "absent" in problem(capsys)


def test_a_bundle_of_another_version_is_listed_with_its_problem(bundle, capsys):
    values = json.loads((bundle / "bundle.json").read_text(encoding="utf-8"))
    (bundle / "bundle.json").write_text(json.dumps({**values, "schema_version": 2}), encoding="utf-8")
    assert run("models", "list") == 0 and "schema version 2" in capsys.readouterr().out
    assert run("models", "verify", "tiny") == 1 and "schema version 2" in capsys.readouterr().out
    assert run("generate", "-m", "tiny") == 1 and "Update" in problem(capsys)


def test_class_names_may_have_spaces_between_them(monkeypatch, capsys):
    asked = []

    def fake(request):
        asked.append(request)
        return SimpleNamespace(notes=(), folder="there")

    monkeypatch.setattr("CardioDiTLib.commands.import_published.import_published", fake)
    files = ("--stage1", "a.pth", "--stage1-config", "a.yaml", "--dit", "b.pth")
    assert run("import", *files, "--name", "x", "--class-names", "NOR, DCM") == 0
    assert list(asked[0].class_names) == ["NOR", "DCM"] and capsys.readouterr().out == "there\n"


def test_published_files_are_imported_and_generate(places, tmp_path, capsys):
    configs = {
        "stage1": {"stage1": {"params": json.loads((DATA / "vqgan_tiny.json").read_text(encoding="utf-8"))["config"]}}
    }
    configs["dit"] = {
        "dit": {"params": json.loads((DATA / "dit_tiny.json").read_text(encoding="utf-8"))["config"]},
        "training": {"scale_factor": 0.8, "num_train_timesteps": 300},
    }
    for name, config in configs.items():
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    files = ("--stage1", DATA / "vqgan_tiny.pth", "--stage1-config", tmp_path / "stage1.yaml")
    files += ("--dit", DATA / "dit_tiny.pth", "--dit-config", tmp_path / "dit.yaml")
    assert run("import", *files) == 1 and "--name" in problem(capsys)
    assert run("import", *files, "--name", "published", "--spacing-mm", 1.2, 1.2, 9) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[-1] == str(places / "cache" / "bundles" / "published") and "averaged (EMA)" in " ".join(shown)
    assert run("import", *files, "--name", "published") == 1 and "already" in problem(capsys)
    assert run("models", "verify", "published") == 0

    assert run("generate", "-m", "published", "-o", tmp_path / "out", "--steps", 3, "--sampler", "ddim") == 0
    cine = load_cine(tmp_path / "out" / "published_seed0_000.nii.gz")
    assert cine.shape == (16, 2, 32, 32) and cine.spacing == pytest.approx((1.2, 1.2, 9.0))
    capsys.readouterr()
    assert run("generate", "-m", "published", "-o", tmp_path / "no", "-p", "DCM") == 1
    assert "no pathologies" in problem(capsys)


def test_files_are_complete_from_the_moment_they_appear(bundle, tmp_path):
    """A watcher that looks while a command runs never sees a file that is still growing."""
    words = [sys.executable, "-m", "CardioDiTLib", "generate", "-m", "tiny", "-n", "3", "-o", str(tmp_path / "out")]
    process = subprocess.Popen(words, cwd=Path(__file__).parents[1], stdout=subprocess.DEVNULL)
    first_seen: dict[str, bytes] = {}
    while process.poll() is None:
        for path in (tmp_path / "out").glob("[!.]*"):
            first_seen.setdefault(path.name, path.read_bytes())
        time.sleep(0.005)
    assert process.returncode == 0
    final = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert len(final) == 6 and all(final[name] == content for name, content in first_seen.items())


@pytest.mark.parametrize(("given", "expected"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_waiting_threads_sleep_unless_the_user_decides_otherwise(monkeypatch, given, expected):
    monkeypatch.setenv("OMP_WAIT_POLICY", "x")  # so that it is put back afterwards
    if given is None:
        monkeypatch.delenv("OMP_WAIT_POLICY")
    else:
        monkeypatch.setenv("OMP_WAIT_POLICY", given)
    assert run("models", "list") == 0 and os.environ["OMP_WAIT_POLICY"] == expected


def test_what_the_manifest_tells_is_refused_before_torch_is_imported(bundle, tmp_path):
    cine, there = tmp_path / "cine.nii.gz", tmp_path / "there"
    save_cine(make_cine(), cine)
    there.mkdir()
    (there / "tiny_seed0_000.nii.gz").write_bytes(b"")
    wrong = (
        "generate -m WRONG",
        "generate -m tiny -p WRONG",
        "generate -m tiny --preset WRONG",
        "generate -m tiny --edv-ml 5000",
        "generate -m tiny --slices 900",
        "generate -m tiny --device WRONG",
        "generate -m tiny -f labels.nii.gz",
        f"generate -m tiny -o {there}",
        f"complete {cine} out.nii.gz -m tiny -p WRONG",
        f"vary {cine} -m WRONG",
        f"vary {cine} -m tiny --strength 2",
        f"vary {cine} -m tiny --segmentation-weights WRONG",
        f"segment {cine} out.nii.gz --weights WRONG",
        f"segment {cine} out.nii.gz --device WRONG",
        "segment none.nii.gz out.nii.gz",
        f"landmarks {cine} out.csv --weights WRONG",
        f"measure {cine} --landmark-weights WRONG",
        "audit -m WRONG --synthetic .",
        "train all --config none.json --data none.npz --out run",
    )
    code = (
        "import json, sys\n"
        "from CardioDiTLib.cli import main\n"
        "for line in json.loads(sys.argv[1]):\n"
        "    assert main(line.split()) == 1, line\n"
        "    assert 'torch' not in sys.modules, line\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(wrong)], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stderr.splitlines()) == len(wrong), done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cine.nii.gz", "there"]

"""Files, lines and names that are meant to do harm: nothing is ended, nothing written elsewhere, nothing given away."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import nibabel
import pytest
from command_line import run
from function_shapes import beating
from refusals import refused
from synthetic_cines import make_cine
from tiny_bundle import write_tiny_bundle

from CardioDiTLib.bundles.registry import BUNDLES_VARIABLE
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.generation.result import sample_name
from CardioDiTLib.io import load_cine, save_cine, save_segmentation
from CardioDiTLib.io.plain_text import markdown_text, plain_text
from CardioDiTLib.landmarks.files import load_landmarks
from CardioDiTLib.schema import parse_json
from CardioDiTLib.service.protocol import PREFIX, EventWriter, parse_request
from CardioDiTLib.worker import Worker

DEEP = [("[" * depth + "]" * depth) for depth in (150, 900, 100_000)]
ESCAPE = "\x1b[2J\x1b]0;title\x07\u202e\x9b31m"


@pytest.mark.parametrize("deep", DEEP, ids=len)
def test_json_without_a_bottom_is_refused_wherever_it_is_read(tmp_path, deep):
    with pytest.raises(ValueError, match="deep"):
        parse_json(deep)
    with pytest.raises(CardioDiTError, match="not JSON"):
        parse_request('{"id": "1", "command": "probe", "arguments": {"a": ' + deep + "}}")
    (tmp_path / "points.json").write_text(f'{{"format": {deep}}}', encoding="utf-8")
    with pytest.raises(CardioDiTError, match="JSON"):
        load_landmarks(tmp_path / "points.json")
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "bundle.json").write_text(f'{{"schema_version": {deep}}}', encoding="utf-8")
    from CardioDiTLib.bundles.manifest import read_manifest

    with refused("bundle.json", "bundle", "damaged"):
        read_manifest(tmp_path / "bundle")
    save_cine(make_cine(), tmp_path / "a.nii")
    image = nibabel.load(tmp_path / "a.nii")
    image.header.extensions.clear()
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension(6, deep.encode()))
    nibabel.save(image, tmp_path / "b.nii")
    assert load_cine(tmp_path / "b.nii").shape == make_cine().shape


def test_shallow_json_is_read():
    text = '{"a": [1, {"b": [[2.5, null]]}], "c": "[[[["}'
    assert parse_json(text) == json.loads(text) and parse_json("3") == 3


@pytest.mark.parametrize(
    "bad", ["../../../x", "/etc/x", "a/b", "a\\b", "..", ".x", "x" * 65, "a b", "a\n", "ä", "\ud800"]
)
def test_an_id_that_could_be_a_path_is_refused(bad):
    with refused("id", 64):
        parse_request(json.dumps({"id": bad, "command": "probe"}))


def test_a_worker_outlives_every_line():
    class Stream(io.BytesIO):
        pass

    stream = Stream()
    worker = Worker(EventWriter(stream))
    lines = [
        *DEEP,
        '{"id": "1", "command": "cancel", "arguments": {"target": ' + "[" * 90 + "]" * 90 + "}}",
        '{"id": "../../x", "command": "generate", "arguments": {}}',
        '{"id": "\\ud800", "command": "probe"}',
        '{"id": "2", "command": "\\u0000"}',
        "\x00\x01",
        '{"id": "3", "command": "ping"}',
    ]
    worker.serve(lines)
    worker.stop()
    events = [json.loads(line[len(PREFIX) :]) for line in stream.getvalue().decode().splitlines()]
    assert events[-1] == {"event": "result", "id": "3"}
    assert sum(event["event"] == "error" for event in events) >= 5


def test_names_of_classes_never_leave_the_folder():
    for hostile in ("../../x", "/etc/x", "a\\b", "x\x00y", ESCAPE):
        name = sample_name("tiny", 0, 0, hostile)
        assert "/" not in name and "\\" not in name and name.isprintable() and name.isascii()
        assert Path("folder", name).parent == Path("folder")
    assert sample_name("acdc-mini", 7, 1, "DCM") == "acdc-mini_seed7_001_DCM"


def test_texts_of_bundles_steer_no_terminal(tmp_path, monkeypatch, capsys):
    from CardioDiTLib.bundles import Licence

    monkeypatch.setenv(BUNDLES_VARIABLE, str(tmp_path))
    licence = Licence(f"mine{ESCAPE}", f"none{ESCAPE}", needs_acceptance=True)
    write_tiny_bundle(tmp_path / "tiny", licence=licence, title=f"Tiny{ESCAPE}", class_names=("NOR", f"D{ESCAPE}"))
    for words in (
        ("models", "list"),
        ("models", "list", "--json"),
        ("models", "info", "tiny"),
        ("models", "info", "tiny", "--json"),
        ("generate", "-m", "tiny", "--steps", 1, "-o", tmp_path / "out", "-f", "nii.gz"),
        ("generate", "-m", "tiny", "-p", "other", "-o", tmp_path / "out"),
        ("generate", "-m", f"{ESCAPE}", "-o", tmp_path / "out"),
    ):
        run(*words)
        told = capsys.readouterr()
        for text in (told.out, told.err):
            assert not set(text) & {"\x1b", "\x07", "\u202e", "\x9b"}, words
            assert text == "" or text.endswith("\n")
    assert plain_text("Müller 日本 50 %") == "Müller 日本 50 %"


def test_names_of_groups_are_no_markup():
    from evaluation_cohorts import cohort, phantoms

    from CardioDiTLib.evaluation import evaluate_synthesis
    from CardioDiTLib.evaluation.tables import to_markdown, to_text

    group = "a|b*c*<img src=x>[x](http://y)" + ESCAPE
    one, other = cohort(phantoms(2, 0), "x", [group] * 2), cohort(phantoms(2, 1), "y", [group] * 2)
    report = evaluate_synthesis(one, other, resamples=5)
    text = to_markdown(report)
    assert "\\<img" in text and "<img" not in text.replace("\\<img", "") and "](http" not in text.replace("\\](", "")
    rows = [line for line in text.splitlines() if line.startswith("|")]
    for row in rows:
        assert row.replace("\\|", "").count("|") in {10, 8, 7, 6, 9}, row
    assert "\x1b" not in to_text(report) and "\x1b" not in text
    assert markdown_text("5..95 % [1, 2] (a) x_y") == "5..95 % [1, 2] (a) x\\_y"


@pytest.mark.parametrize("named", [False, True])
def test_a_patients_name_gets_into_pages_and_tables_only_when_asked_for(tmp_path, named):
    pytest.importorskip("matplotlib")
    segmentation, _ = beating(frames=6, cycle_s=0.8)
    save_segmentation(segmentation, tmp_path / "Doe_Jane_1970.nii.gz")
    words = ("--names",) if named else ()
    assert run("function", tmp_path / "Doe_Jane_1970.nii.gz", "-o", tmp_path / "out", *words) == 0
    for path in (tmp_path / "out").iterdir():
        if path.suffix != ".json":
            assert ("Jane" in path.read_text(encoding="utf-8")) == named, path.name


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="signals of POSIX")
@pytest.mark.parametrize("ignored", [False, True])
def test_a_closed_terminal_ends_a_command_like_ctrl_c_unless_it_was_meant_to_go_on(tmp_path, ignored):
    code = (
        "import os, signal, sys\n"
        f"signal.signal(signal.SIGHUP, signal.SIG_{'IGN' if ignored else 'DFL'})\n"
        "from CardioDiTLib import cli\nfrom CardioDiTLib.io import output_set\n"
        "def write(path):\n    path.write_text('x')\n    os.kill(os.getpid(), signal.SIGHUP)\n"
        "def run(arguments):\n    output_set.write_outputs(sys.argv[1], {'a': write})\n    return 0\n"
        "cli.make_parser = lambda command: type('P', (), {'parse_args': lambda self, words: "
        "type('A', (), {'run': staticmethod(run)})()})()\n"
        "sys.exit(cli.main(['x']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "out")], capture_output=True, text=True, timeout=60
    )
    if ignored:
        assert done.returncode == 0 and [path.name for path in (tmp_path / "out").iterdir()] == ["a"]
    else:
        assert done.returncode == 1 and done.stderr.strip() == "Cancelled."
        assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="signals of POSIX")
def test_a_worker_whose_terminal_is_closed_ends(tmp_path):
    # Tests that run without a terminal of their own may ignore the signal, and hand that on.
    code = "import signal, runpy; signal.signal(signal.SIGHUP, signal.SIG_DFL); "
    words = [sys.executable, "-c", code + "runpy.run_module('CardioDiTLib.worker', run_name='__main__')"]
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path(__file__).parents[1])
    try:
        assert process.stdout is not None and b'"ready"' in process.stdout.readline()
        process.send_signal(signal.SIGHUP)
        began = time.monotonic()
        assert process.wait(timeout=20) == 0, "it ended itself, not by the signal"
        assert time.monotonic() - began < 15
    finally:
        process.kill()

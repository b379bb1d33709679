"""``cardiodit models``: what is available, added, downloaded, imported and removed."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import pytest
from misbehaving_server import MisbehavingServer, other_content, status
from tiny_bundle import write_tiny_bundle

from CardioDiTLib import cli
from CardioDiTLib.bundles import Licence, is_accepted, verify
from CardioDiTLib.bundles.registry import BUNDLES_VARIABLE, CACHE_VARIABLE
from CardioDiTLib.commands import models as model_transfers

TERMS = Licence("CC BY-NC 4.0", "No commercial use.", needs_acceptance=True)


@pytest.fixture(scope="module")
def originals(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("originals")
    write_tiny_bundle(folder / "free")
    write_tiny_bundle(folder / "strict", licence=TERMS)
    return folder


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.delenv(BUNDLES_VARIABLE, raising=False)
    return tmp_path / "cache" / "bundles"


@pytest.fixture()
def server(originals, tmp_path):
    with MisbehavingServer(Path(shutil.copytree(originals, tmp_path / "web"))) as server:
        yield server


def run(*words: object) -> int:
    return cli.main(["models", *map(str, words)])


def problem(capsys) -> str:
    """The last line on stderr, which says what is wrong."""
    lines = capsys.readouterr().err.strip().splitlines()
    assert lines[-1].startswith("cardiodit: ") and not any("Traceback" in line for line in lines), lines
    return lines[-1]


class Terminal(io.StringIO):
    """A user who types an answer."""

    def isatty(self) -> bool:
        return True


def test_from_adding_to_removing(server, place, capsys):
    assert run("available") == 0
    said = capsys.readouterr()
    assert said.out == "" and "catalogue is empty" in said.err
    assert run("available", "--json") == 0 and json.loads(capsys.readouterr().out) == []

    assert run("add", server.url("free")) == 0
    assert "free  1.2.3" in capsys.readouterr().out
    assert run("available") == 0
    line = capsys.readouterr().out
    assert "free  1.2.3" in line and "MB  Tiny; CC0" in line and server.url("free") in line and "is here" not in line
    assert run("available", "--json") == 0
    (values,) = json.loads(capsys.readouterr().out)
    assert (values["name"], values["added"], values["installed"], values["partial_bytes"]) == ("free", True, None, 0)
    assert values["licence"]["name"] == "CC0" and len(values["files"]) == 5 and values["class_names"] == ["NOR", "DCM"]

    assert run("download", "free") == 0
    said = capsys.readouterr()
    assert said.out.strip() == str(place / "free") and said.err.splitlines() == ["Terms of free 1.2.3: CC0. None."]
    assert verify("free") == []
    assert run("available") == 0 and "[1.2.3 is here]" in capsys.readouterr().out
    assert run("list") == 0 and "free  1.2.3  (user)" in capsys.readouterr().out
    assert run("verify", "free") == 0 and "whole and unchanged" in capsys.readouterr().out

    assert run("forget", "free") == 0 and "no longer" in capsys.readouterr().out
    assert (place / "free").is_dir(), "what was downloaded stays"
    assert run("remove", "free") == 0 and "free is removed (" in capsys.readouterr().out
    assert list(place.iterdir()) == []
    assert run("remove", "free") == 1 and "no bundle called 'free'" in problem(capsys)
    assert run("forget", "free") == 1 and "You added none" in problem(capsys)
    assert run("download", "free") == 1 and "'cardiodit models add" in problem(capsys)


def test_terms_that_ask_for_it_are_agreed_to_once(server, place, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    address = server.url("strict/")
    assert run("download", address) == 1
    shown = capsys.readouterr().err
    assert "Terms of strict 1.2.3: CC BY-NC 4.0. No commercial use." in shown and "--accept-licence" in shown
    assert "Do you accept" not in shown, "nobody is asked who cannot answer"
    for answer in ("n\n", "\n", "", "perhaps\n"):
        monkeypatch.setattr("sys.stdin", Terminal(answer))
        assert run("download", address) == 1
        shown = capsys.readouterr().err
        assert "Do you accept these terms? [y/N]" in shown and "have not been accepted" in shown
    assert not place.exists() and not is_accepted("strict", "1.2.3") and not server.requests("strict/dit.safetensors")

    monkeypatch.setattr("sys.stdin", Terminal("yes\n"))
    assert run("download", address) == 0 and is_accepted("strict", "1.2.3", TERMS)
    assert run("remove", "strict") == 0
    capsys.readouterr()
    monkeypatch.setattr("sys.stdin", io.StringIO())
    assert run("download", address) == 0 and "Do you accept" not in capsys.readouterr().err
    assert verify("strict") == []


def test_a_flag_agrees(server, place, capsys):
    assert run("add", server.url("strict")) == 0
    assert run("download", "strict", "--accept-licence") == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(place / "strict") and is_accepted("strict", "1.2.3", TERMS)


def test_what_a_broken_download_left_can_be_removed(server, place, capsys):
    assert run("add", server.url("free")) == 0
    server.always("free/dit.safetensors", status(404))
    assert run("download", "free") == 1 and "has no 'dit.safetensors'" in problem(capsys)
    assert [path.name for path in place.iterdir()] == [".free.download"]
    assert run("available", "--json") == 0 and json.loads(capsys.readouterr().out)[0]["partial_bytes"] > 0
    assert run("remove", "free") == 0 and "had left is removed" in capsys.readouterr().out
    assert list(place.iterdir()) == []


def test_importing(originals, place, tmp_path, capsys):
    assert run("import", originals / "strict") == 0
    said = capsys.readouterr()
    assert said.out.strip() == str(place / "strict") and "No commercial use." in said.err and verify("strict") == []
    assert run("import", originals / "strict") == 1 and "already" in problem(capsys)
    archive = shutil.make_archive(str(tmp_path / "strict"), "zip", originals / "strict")
    assert run("import", archive, "--overwrite") == 0 and verify("strict") == []
    assert run("import", tmp_path / "absent") == 1 and "There is no" in problem(capsys)
    assert [path.name for path in place.iterdir()] == ["strict"]


def test_embedded_bundles_are_not_removed(capsys):
    assert run("remove", "acdc-mini") == 1 and "comes with CardioDiT and is not removed" in problem(capsys)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("add", "http://example.org/x"), "only https"),
        (("add", "hf:nothing"), "owner/name@revision"),
        (("download", "http://example.org/x"), "only https"),
        (("download", "../x"), "to download"),
        (("remove", "../x"), "name"),
        (("import", "http://example.org/x.zip"), "only https"),
    ],
)
def test_problems_are_one_line(place, capsys, words, expected):
    assert run(*words) == 1 and expected in problem(capsys) and not place.exists()


def test_a_wrong_file_is_a_problem_in_one_line(server, place, capsys):
    size = (server.folder / "free" / "dit.safetensors").stat().st_size
    server.always("free/dit.safetensors", other_content(bytes(size)))
    assert run("download", server.url("free")) == 1 and "SHA-256 differs" in problem(capsys)
    assert [path.name for path in place.iterdir()] == [".free.download"]


@pytest.mark.parametrize(
    "words", [("add",), ("download",), ("download", "a", "b"), ("forget",), ("import",), ("remove",)]
)
def test_wrong_usage_is_code_2(words, capsys):
    with pytest.raises(SystemExit) as caught:
        run(*words)
    assert caught.value.code == 2 and "usage" in capsys.readouterr().err


def test_the_bar_counts_bytes_where_somebody_looks(server, place, capsys, monkeypatch):
    screen = Terminal()
    monkeypatch.setattr(model_transfers.sys, "stderr", screen)
    assert run("download", server.url("free")) == 0
    assert "100%" in screen.getvalue() and "B/s" in screen.getvalue()
    assert run("remove", "free") == 0
    screen.truncate(0)
    assert run("download", server.url("free"), "--quiet") == 0 and "%" not in screen.getvalue()


def test_an_audit_is_told_in_words(originals, tmp_path, capsys):
    path = tmp_path / "mine" / "bundle.json"
    shutil.copytree(originals / "free", path.parent)
    text = json.loads(path.read_text(encoding="utf-8"))
    copies = {"count": 6, "of": 40, "low": 0.0, "high": 0.4, "expected": 0.05, "fraction": 0.15}
    numbers = {"n_train_patients": 28, "n_calibration": 80, "false_alarm": 0.05}
    for audit, told in (
        (
            {"verdict": "none found", "copies": copies, **numbers},
            ("none found: 6 of 40 = 15.0 %", "28", "95.0 % of 80"),
        ),
        ({"by": "hand"}, ('{"by": "hand"}',)),
    ):
        path.write_text(json.dumps({**text, "audit": audit}), encoding="utf-8")
        assert run("info", path.parent) == 0
        line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("audit:"))
        assert all(part in line for part in told)

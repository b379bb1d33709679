"""OpenVINO as a backend: what is said where it is missing, the same bytes for a seed, and that it reports to nobody."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_bundle import write_tiny_bundle

from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.generation import GenerationRequest, Generator, openvino_backend
from CardioDiTLib.generation.backend import Backend

CPU = torch.device("cpu")
needs_openvino = pytest.mark.skipif(find_spec("openvino") is None, reason="the optional package openvino is missing")


@pytest.fixture(scope="module")
def bundle_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny").folder


def array(generator: Generator, **values) -> np.ndarray:
    (result,) = generator.generate(GenerationRequest(seed=4, pathology="DCM", guidance=1.5, steps=3, **values))
    return result.cine.array


@pytest.fixture
def missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino_backend, "has_openvino", lambda: False)
    openvino_backend.load_openvino.cache_clear()
    openvino_backend._core.cache_clear()


def test_without_the_package_torch_is_used_unless_it_is_asked_for(missing):
    assert Backend.choose("auto", "fp32", CPU) == Backend("torch", "fp32", torch.float32)
    with pytest.raises(CardioDiTError, match="not installed") as told:
        Backend.choose("openvino", "auto", CPU)
    assert "pip install" in str(told.value.hint)


def test_torch_is_what_is_used_if_nothing_is_said(bundle_folder):
    generator = Generator.from_bundle(bundle_folder, "cpu", "fp32")
    assert generator.backend.name == "torch" and generator.backend.facts() == {}
    (result,) = generator.generate(GenerationRequest(seed=4, steps=2))
    assert "backend" not in result.provenance


@pytest.mark.parametrize(
    ("name", "precision", "device", "word"),
    [
        ("onnx", "auto", CPU, "onnx"),
        ("torch", "int8", CPU, "int8"),
        ("openvino", "auto", torch.device("cuda", 0), "CPU"),
    ],
)
def test_what_a_backend_cannot_do_is_told(name, precision, device, word):
    with pytest.raises(CardioDiTError, match=word):
        Backend.choose(name, precision, device)


def test_importing_the_library_does_not_import_it():
    code = "import sys, CardioDiTLib.generation.generator; sys.exit('openvino' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@needs_openvino
@pytest.mark.parametrize("precision", openvino_backend.OPENVINO_PRECISIONS)
def test_a_seed_gives_the_same_bytes_and_nearly_those_of_torch(bundle_folder, precision):
    expected = array(Generator.from_bundle(bundle_folder, "cpu", "fp32"))
    generator = Generator.from_bundle(bundle_folder, "cpu", precision, "openvino")
    found = array(generator)
    assert np.array_equal(array(generator), found)
    assert np.array_equal(array(Generator.from_bundle(bundle_folder, "cpu", precision, "openvino")), found)
    off = np.abs(found.astype(float) - expected).mean()
    assert off < (0.1 if precision == "fp32" else 40.0)


@needs_openvino
def test_provenance_names_backend_version_and_precision(bundle_folder):
    request = GenerationRequest(seed=4, steps=2, backend="openvino", precision="fp32", bundle=str(bundle_folder))
    generator = Generator.for_request(request)
    (result,) = generator.generate(request)
    made = result.provenance
    assert (made["backend"], made["precision"]) == ("openvino", "fp32")
    assert made["backend_version"] == openvino_backend.openvino_version()
    with pytest.raises(CardioDiTError, match="torch"):
        generator.generate(GenerationRequest(seed=4, steps=2, backend="torch"))


@needs_openvino
def test_matrices_in_8_bits_are_near_to_what_they_were():
    torch.manual_seed(0)
    layer = torch.nn.Linear(256, 256).eval()
    x = torch.randn(4, 256)
    with torch.inference_mode():
        exact = layer(x)
        (found,) = openvino_backend.CompiledNetwork(layer, "int8")(x)
    assert 0 < float((found - exact).norm() / exact.norm()) < 0.03


@needs_openvino
def test_nothing_is_reported(tmp_path):
    """A telemetry package that tells of its import stands where OpenVINO would find its own."""
    (tmp_path / "openvino_telemetry.py").write_text("raise SystemExit('telemetry was imported')", encoding="utf-8")
    code = (
        "import sys, torch; sys.path.insert(0, sys.argv[1])\n"
        "from CardioDiTLib.generation.openvino_backend import CompiledNetwork\n"
        "CompiledNetwork(torch.nn.Linear(4, 4).eval(), 'fp32')(torch.zeros(1, 4))\n"
        "assert 'openvino' in sys.modules and 'openvino_telemetry' not in sys.modules\n"
    )
    ended = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr

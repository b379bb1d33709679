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
from CardioDiTLib.generation import GenerationRequest, Generator, openvino_backend, openvino_int8
from CardioDiTLib.generation.backend import Backend
from CardioDiTLib.models import VQGAN

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


@pytest.fixture
def codec() -> VQGAN:
    torch.manual_seed(0)
    return VQGAN(
        num_channels=[16, 32], num_res_channels=[16, 32], num_res_layers=1, num_embeddings=64, embedding_dim=4
    ).eval()


def test_latents_for_calibration_are_always_the_same_and_codes_that_training_used(codec):
    book = codec.quantizer.quantizer
    book.ema_cluster_size[:8] = 1.0
    found = openvino_int8.calibration_latents(codec, 3)
    assert found.shape == (8, 4, 8, 8, 3)
    assert torch.equal(found, openvino_int8.calibration_latents(codec, 3))
    codes = {tuple(code) for code in found.movedim(1, -1).reshape(-1, 4).tolist()}
    assert codes <= {tuple(code) for code in book.embedding.weight[:8].tolist()}


def test_ranges_are_of_all_convolutions_but_the_first_and_the_last(codec):
    latents = openvino_int8.calibration_latents(codec, 4)
    ranges = openvino_int8.input_ranges(codec.decoder, latents)
    names = [name for name, layer in codec.decoder.named_modules() if "conv" in type(layer).__name__.lower()]
    assert len(ranges) == 5 and set(ranges) < set(names)
    assert not any(name.startswith(("blocks.0.", "blocks.4.")) for name in ranges)
    assert all(low <= high for low, high in ranges.values())
    assert not any(layer._forward_pre_hooks for layer in codec.decoder.modules())


@needs_openvino
def test_convolutions_of_the_decoder_compute_in_8_bits_near_to_what_they_were(codec):
    z = openvino_int8.calibration_latents(codec, 4)[:1]
    with torch.inference_mode():
        exact = codec.decode(z)
        compiled = openvino_backend.CompiledCodec(codec, "int8")
        found = compiled.decode(z)
        assert torch.equal(openvino_backend.CompiledCodec(codec, "int8").decode(z), found)
    assert 0 < float((found - exact).norm() / exact.norm()) < 0.03
    (request,) = compiled._decoder._compiled.values()
    layers = [node.get_rt_info() for node in request.get_compiled_model().get_runtime_model().get_ops()]
    kinds = [facts["runtimePrecision"].value for facts in layers if "onvolution" in facts["layerType"].value]
    assert len(kinds) == 7 and sum(kind in ("u8", "i8") for kind in kinds) == 5


@needs_openvino
def test_beside_matrices_in_8_bits_is_float32_where_there_is_no_amx(monkeypatch):
    monkeypatch.setattr(openvino_backend, "cpu_has_amx", lambda: False)
    torch.manual_seed(0)
    layer = torch.nn.Linear(256, 256).eval()
    compiled = openvino_backend.CompiledNetwork(layer, "int8")
    compiled(torch.randn(4, 256))
    (request,) = compiled._compiled.values()
    assert str(request.get_compiled_model().get_property("INFERENCE_PRECISION_HINT")) == "<Type: 'float32'>"


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

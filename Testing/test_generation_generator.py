"""The generator: the right thing in the right place, the same every time, and stopped when asked."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from refusals import refused
from tiny_bundle import SHAPE, tiny_networks, write_tiny_bundle

from CardioDiTLib.bundles import LatentSpec, load_bundle
from CardioDiTLib.diffusion import Denoiser, dpmpp_2m, draw_noise, noise_levels, sample_generators
from CardioDiTLib.errors import Cancelled, CardioDiTError
from CardioDiTLib.generation import GenerationRequest, Generator
from CardioDiTLib.generation.precision import choose_precision


@pytest.fixture(scope="module")
def bundle_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny").folder


@pytest.fixture(scope="module")
def generator(bundle_folder: Path) -> Generator:
    return Generator.from_bundle(bundle_folder, device="cpu", precision="fp32")


def arrays(generator: Generator, **values) -> list[np.ndarray]:
    return [result.cine.array for result in generator.generate(GenerationRequest(**values))]


def mean_difference(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a.astype(np.float64) - b).mean())


def test_a_cine_has_the_geometry_time_and_range_of_the_manifest(generator):
    (result,) = generator.generate(GenerationRequest(seed=4, pathology="DCM"))
    cine = result.cine
    assert cine.shape == SHAPE and cine.array.dtype == np.int16
    assert 0 <= cine.array.min() < cine.array.max() <= 1000
    np.testing.assert_allclose(cine.spacing, (1.5, 1.5, 10.0))
    np.testing.assert_allclose(cine.frame_times, np.arange(16) * 0.05)
    assert cine.cycle_s == pytest.approx(0.8)
    assert result.seed == 4 and result.index == 0 and result.pathology == "DCM" and result.seconds > 0
    assert result.name == "tiny_seed4_000_DCM"


def test_provenance_says_how_to_make_it_again(generator, bundle_folder):
    (result,) = generator.generate(GenerationRequest(seed=4, pathology="DCM", guidance=1.5, steps=3))
    made = result.provenance
    assert made["synthetic"] is True and made["model"] == "tiny" and made["model_version"] == "1.2.3"
    assert made["model_sha256"] == load_bundle(bundle_folder).sha256
    assert (made["steps"], made["sampler"], made["spacing"], made["guidance"]) == (3, "dpmpp_2m", "wide_angle", 1.5)
    assert (made["device"], made["precision"], made["pathology"]) == ("cpu", "fp32", "DCM")
    assert made["torch_version"] == str(torch.__version__) and made["licence"]["name"] == "CC0"
    assert made["seconds"] > 0 and "seconds" not in result.cine.meta
    assert result.cine.meta == {key: value for key, value in made.items() if key != "seconds"}


def test_the_pipeline_is_noise_denoiser_sampler_scale_codec(generator):
    vqgan, dit, scale = tiny_networks()
    schedule = generator.bundle.schedule
    (result,) = generator.generate(
        GenerationRequest(seed=11, pathology="DCM", guidance=2.0, steps=5), keep_latents=True
    )
    with torch.inference_mode():
        noise = draw_noise(sample_generators(11, 1), (4, 3, 8, 8, 4))
        denoise = Denoiser(dit, schedule, labels=[1], guidance=2.0, null_label=2)
        latents = scale.restore(dpmpp_2m(denoise, noise, noise_levels(schedule, 5, "wide_angle")))
        np.testing.assert_allclose(result.latents, latents[0].numpy(), atol=1e-5)
        # the axes, spelt out voxel by voxel: (Z, H, W, T) of the codec is (T, Z, Y, X) of the cine
        expected = np.zeros(SHAPE)
        for z in range(3):
            image = vqgan.decode_latents(latents[:, :, z])[0, 0]
            for t in range(16):
                expected[t, z] = (image[:, :, t].clamp(-1, 1).numpy() + 1) * 500
    assert np.abs(result.cine.array - expected).max() <= 1.0


def test_unquantised_latents_are_decoded_as_they_are(tmp_path):
    spec = LatentSpec(4, quantised=False, modes=True, file="latents.safetensors")
    plain = Generator(write_tiny_bundle(tmp_path / "plain", latents=spec), device="cpu", precision="fp32")
    (result,) = plain.generate(GenerationRequest(seed=1), keep_latents=True)
    vqgan = tiny_networks()[0]
    with torch.inference_mode():
        image = vqgan.decode(torch.from_numpy(result.latents[:, 1])[None])[0, 0]
        snapped = vqgan.decode_latents(torch.from_numpy(result.latents[:, 1])[None])[0, 0]
    expected = (image.clamp(-1, 1).permute(2, 0, 1).numpy() + 1) * 500
    assert np.abs(result.cine.array[:, 1] - expected).max() <= 1.0
    assert float((image - snapped).abs().max()) > 0.01


@pytest.mark.parametrize("preset", ["draft", "standard", "high"])
def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(generator, bundle_folder, preset):
    first = arrays(generator, seed=7, preset=preset, pathology="NOR")[0]
    again = Generator.from_bundle(bundle_folder, device="cpu", precision="fp32")
    torch.manual_seed(1234)
    assert np.array_equal(first, arrays(again, seed=7, preset=preset, pathology="NOR")[0])
    assert mean_difference(first, arrays(generator, seed=8, preset=preset, pathology="NOR")[0]) > 1.0


def test_generation_leaves_the_random_numbers_of_others_alone(generator):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    generator.generate(GenerationRequest(seed=1, preset="high"))
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("sampler", ["dpmpp_2m", "ddpm"])
def test_a_sample_does_not_depend_on_its_batch(generator, sampler):
    values = {"seed": 3, "sampler": sampler, "pathology": "DCM"}
    together = generator.generate(GenerationRequest(count=5, batch_size=5, **values), keep_latents=True)
    in_twos = generator.generate(GenerationRequest(count=5, batch_size=2, **values), keep_latents=True)
    (third,) = generator.generate(GenerationRequest(first_index=3, **values), keep_latents=True)
    assert [result.index for result in in_twos] == [0, 1, 2, 3, 4] and third.index == 3
    for a, b in zip(together, in_twos):
        np.testing.assert_allclose(a.latents, b.latents, atol=1e-4)
    np.testing.assert_allclose(third.latents, together[3].latents, atol=1e-4)
    for i in range(1, 5):
        assert np.abs(together[i].latents - together[0].latents).max() > 0.1


def test_pathology_and_guidance_matter(generator):
    values = {"seed": 2, "steps": 4}
    none = arrays(generator, **values)[0]
    normal = arrays(generator, pathology="NOR", guidance=1.0, **values)[0]
    dilated = arrays(generator, pathology="DCM", guidance=1.0, **values)[0]
    guided = arrays(generator, pathology="DCM", guidance=3.0, **values)[0]
    for a, b in ((none, normal), (normal, dilated), (dilated, guided)):
        assert mean_difference(a, b) > 0.5
    unguided = generator.generate(GenerationRequest(pathology="DCM", guidance=0.0, **values), keep_latents=True)[0]
    free = generator.generate(GenerationRequest(**values), keep_latents=True)[0]
    np.testing.assert_allclose(unguided.latents, free.latents, atol=1e-4)


def test_a_list_of_pathologies_gives_each_sample_its_own(generator):
    values = {"seed": 2, "steps": 4, "guidance": 2.0}
    mixed = generator.generate(
        GenerationRequest(count=3, pathology=["NOR", "DCM", None], batch_size=2, **values), keep_latents=True
    )
    assert [result.pathology for result in mixed] == ["NOR", "DCM", None]
    (second,) = generator.generate(GenerationRequest(first_index=1, pathology="DCM", **values), keep_latents=True)
    np.testing.assert_allclose(mixed[1].latents, second.latents, atol=1e-4)
    # without a class there is nothing to guide towards: guidance does nothing
    (third,) = generator.generate(GenerationRequest(seed=2, steps=4, first_index=2), keep_latents=True)
    np.testing.assert_allclose(mixed[2].latents, third.latents, atol=1e-4)


def test_progress_rises_to_the_whole_and_previews_come_when_asked(generator):
    events = []
    generator.generate(GenerationRequest(count=3, batch_size=2, steps=4, preview_every=3), progress=events.append)
    steps = [event for event in events if event.stage == "denoise"]
    slices = [event for event in events if event.stage == "decode"]
    assert len(steps) == 2 * 4 and len(slices) == 3 * 3
    assert [event.step for event in steps] == [1, 2, 3, 4] * 2 and all(event.of == 4 for event in steps)
    assert [(event.step, event.of) for event in slices[:6]] == [(i, 6) for i in range(1, 7)]
    fractions = [event.fraction for event in events]
    assert fractions == sorted(fractions) and fractions[-1] == pytest.approx(1.0) and 0 < fractions[0] < 0.5
    assert all(event.eta_s >= 0 for event in events) and events[-1].eta_s == pytest.approx(0.0, abs=1e-6)
    assert [event.preview is not None for event in steps] == [False, False, True, True] * 2
    assert steps[2].preview.shape == (16, 32, 32) and steps[2].preview.dtype == np.int16
    assert all(event.preview is None for event in slices)
    assert steps[4].first == 2 and steps[4].batch == 1 and steps[4].to_dict()["count"] == 3


def test_the_last_preview_is_the_middle_slice_and_previews_change_nothing(generator):
    events = []
    (result,) = generator.generate(GenerationRequest(seed=6, steps=4, preview_every=1), progress=events.append)
    last = [event for event in events if event.stage == "denoise"][-1]
    assert np.array_equal(last.preview, result.cine.array[:, 1])
    assert np.array_equal(result.cine.array, arrays(generator, seed=6, steps=4)[0])


def test_cancel_works_before_between_steps_and_between_slices(generator):
    request = GenerationRequest(count=2, batch_size=2, steps=4)
    event = threading.Event()
    event.set()
    seen = []
    with pytest.raises(Cancelled):
        generator.generate(request, progress=seen.append, cancel=event)
    assert seen == []
    for limit in (1, 3, 5, 7):
        seen.clear()
        with pytest.raises(Cancelled):
            generator.generate(request, progress=seen.append, cancel=lambda limit=limit: len(seen) >= limit)
        assert len(seen) == limit
    assert seen[-1].stage == "decode"


def test_a_listener_may_stop_it_too(generator):
    def stop(event):
        raise Cancelled()

    with pytest.raises(Cancelled):
        generator.generate(GenerationRequest(), progress=stop)


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"pathology": "HCM"}, "HCM"),
        ({"preset": "best"}, "best"),
        ({"guidance": 2.0}, "pathology"),
        ({"precision": "bf16"}, "for_request"),
        ({"bundle": "absent"}, "absent"),
    ],
)
def test_requests_that_do_not_fit_fail_before_any_work(generator, values, word):
    seen = []
    with pytest.raises(CardioDiTError, match=word):
        generator.generate(GenerationRequest(**values), progress=seen.append)
    assert seen == []


def test_a_request_may_name_what_the_generator_is(generator, bundle_folder):
    request = GenerationRequest(bundle=str(bundle_folder), device="cpu", precision="fp32", steps=2)
    assert len(generator.generate(request)) == 1
    assert Generator.for_request(request).bundle.folder == bundle_folder


@pytest.mark.parametrize("name", ["cuda:99", "tpu", "gpu please", "xpu"])
def test_devices_that_are_not_there_are_named(bundle_folder, name):
    with pytest.raises(CardioDiTError) as caught:
        Generator.from_bundle(bundle_folder, device=name)
    assert "device" in str(caught.value).lower() and caught.value.hint


def test_bf16_is_near_and_quantises_in_full_precision(bundle_folder, generator):
    narrow = Generator.from_bundle(bundle_folder, device="cpu", precision="bf16")
    request = GenerationRequest(seed=5, steps=4)
    (a,) = generator.generate(request, keep_latents=True)
    (b,) = narrow.generate(request, keep_latents=True)
    assert b.provenance["precision"] == "bf16" and b.latents.dtype == np.float32
    relative = np.linalg.norm(a.latents - b.latents) / np.linalg.norm(a.latents)
    assert 1e-6 < relative < 0.1
    # the same latents, decoded in both: the codes are the same ones, only the decoder rounds
    latents = torch.from_numpy(a.latents)[None]
    difference = np.abs(narrow._decoder.decode(latents) - generator._decoder.decode(latents).astype(np.int32))
    assert difference.max() > 0 and difference.mean() < 3


def test_latents_that_are_not_finite_are_told(generator, monkeypatch):
    monkeypatch.setattr(generator._scale, "restore", lambda x: x * float("nan"))
    with pytest.raises(CardioDiTError, match="not finite"):
        generator.generate(GenerationRequest())


def test_running_out_of_memory_is_one_sentence(generator, monkeypatch):
    def no_memory(*arguments):
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")

    monkeypatch.setattr(generator._decoder, "decode_slice", no_memory)
    with refused("memory", "cpu"):
        generator.generate(GenerationRequest())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_starts_from_the_same_noise(bundle_folder, generator):
    there = Generator.from_bundle(bundle_folder, device="cuda", precision="fp32")
    request = GenerationRequest(seed=9, count=2, steps=4, pathology="DCM")
    for a, b in zip(generator.generate(request, keep_latents=True), there.generate(request, keep_latents=True)):
        np.testing.assert_allclose(a.latents, b.latents, atol=5e-2)
    assert choose_precision("auto", there.device) in (torch.bfloat16, torch.float32)

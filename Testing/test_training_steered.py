"""From ED/ES pairs to a bundle that is steered and names the tissues: morphs, refiner, export, generation."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from refusals import refused

from CardioDiTLib.bundles.bundle import load_bundle
from CardioDiTLib.data.cine_from_pair import PosedPair
from CardioDiTLib.data.packing import read_pairs, write_pairs
from CardioDiTLib.errors import Cancelled
from CardioDiTLib.generation.generator import Generator
from CardioDiTLib.generation.heart_quantities import heart_quantities
from CardioDiTLib.generation.request import GenerationRequest
from CardioDiTLib.training.config import read_config
from CardioDiTLib.training.export import export_bundle
from CardioDiTLib.training.latents import read_latents
from CardioDiTLib.training.run import TrainingRun

SETTINGS = """
name: steered
grid: {slices: 2, size: 32, frames: 8}
vqgan:
  loop: {steps: 2, warmup_steps: 1, validate_every: 2, log_every: 1}
  stage:
    model:
      num_channels: [8, 16]
      num_res_channels: [8, 16]
      num_res_layers: 1
      downsample_parameters: [[2, 4, 1, 1], [2, 4, 1, 1]]
      upsample_parameters: [[2, 4, 1, 1, 0], [2, 4, 1, 1, 0]]
      num_embeddings: 32
      embedding_dim: 4
      cyclic_time: true
    batch: 2
    crop: 32
    adversarial_start: 1.0
latents: {quantised: false, augmentation: {copies: 2, shift_px: 2, morphs: true}}
dit:
  loop: {steps: 4, warmup_steps: 1, validate_every: 2, log_every: 1}
  stage:
    model: {input_size: [2, 8, 8, 2], patch_size: [1, 2, 2, 1], in_channels: 4, hidden_size: 32, depth: 2, num_heads: 2,
            class_dropout_prob: 0.2, num_classes: 2, num_conditions: 4}
    batch: 2
    log_snr_mean: 0
    schedule: {name: cosine, num_train_timesteps: 300, prediction_type: v_prediction, continuous: true}
refiner:
  loop: {steps: 4, warmup_steps: 1, validate_every: 4, log_every: 1}
  stage:
    model: {latent_size: [2, 8, 8, 2], latent_channels: 4, image_size: [32, 32, 8], widths: [8, 8, 16],
            depths: [1, 1, 1]}
    data: {copies: 2, steps: 2}
    slices: 2
    adversarial_start: 0.4
    critic_channels: 4
    critic_frames: 2
"""


def pair(radius: float, es_radius: float, group: str) -> PosedPair:
    size = 44
    rows, columns = np.mgrid[0:size, 0:size] - (size - 1) / 2
    distance = np.hypot(rows, columns)
    images, labels = np.zeros((2, 2, size, size), np.uint8), np.zeros((2, 2, size, size), np.uint8)
    # What lies around tells patients apart.
    around = np.random.default_rng(int(10 * radius)).integers(0, 200, (size, size))
    for phase, inner in enumerate((radius, es_radius)):
        plane = np.zeros((size, size), np.uint8)
        plane[np.hypot(rows, columns + 13) < 5] = 1
        plane[distance < np.sqrt(inner**2 + 50)] = 2
        plane[distance < inner] = 3
        labels[phase] = plane
        images[phase] = np.choose(plane, [20, 180, 60, 150])
        images[phase, :, plane == 0] = around[plane == 0][:, None]
    motion = np.stack([rows, columns]) * 0.0
    return PosedPair(
        images,
        labels,
        np.repeat(motion[:, None], 2, axis=1).astype(np.float32),
        np.ones(2, bool),
        (1.5, 1.5, 10.0),
        0.0,
        np.eye(4),
        0.375,
        0.9,
        group,
    )


@pytest.fixture(scope="module")
def steered(tmp_path_factory):
    folder = tmp_path_factory.mktemp("steered")
    pairs = [pair(6 + index, 4 + index, "ab"[index % 2]) for index in range(4)] + [pair(7.5, 5, "a")]
    write_pairs(folder / "pairs.npz", pairs, [False] * 4 + [True], "made up")
    (folder / "settings.yaml").write_text(SETTINGS, encoding="utf-8")
    run = TrainingRun(read_config(folder / "settings.yaml"), folder / "pairs.npz", folder / "run")
    assert run.train_all()
    export_bundle(run.config, run.folder, folder / "bundle", storage="fp16")
    return folder, run


def test_pairs_come_back_from_a_pack(steered):
    folder, _ = steered
    found = read_pairs(folder / "pairs.npz")
    assert [one.group for one in found] == list("ababa")
    np.testing.assert_array_equal(found[2].labels, pair(8, 6, "a").labels)


def test_latents_carry_what_their_cines_measure(steered):
    _, run = steered
    latents = read_latents(run.folder / "latents")
    assert latents.quantities.shape == (5 + 4, 4) and bool(latents.quantities.isfinite().all())
    plain = heart_quantities(run.pack.labels[0][..., 6:-6, 6:-6], (1.5, 1.5, 10.0))
    np.testing.assert_allclose(latents.quantities[0], plain, rtol=1e-5)
    # Every further copy is another heart.
    assert latents.cine.tolist() == [0, 1, 2, 3, 4, 0, 1, 2, 3]
    assert bool((latents.quantities[5:, 0] != latents.quantities[:4, 0]).all())


def test_quantities_of_labels():
    labels = np.zeros((4, 2, 20, 20), np.uint8)
    labels[:, :, 5:15, 5:15] = 2
    labels[:, :, 7:13, 7:13] = 3
    labels[2, :, 7:13, 7:10] = 2
    edv, ef, mass, slices = heart_quantities(labels, (2.0, 2.0, 5.0))
    assert (edv, ef, slices) == (pytest.approx(2 * 36 * 0.02), pytest.approx(50.0), 2)
    assert mass == pytest.approx(2 * 64 * 0.02 * 1.05)
    labels[3] = 0  # a frame that nobody labelled has not emptied the heart
    assert heart_quantities(labels, (2.0, 2.0, 5.0)) == (edv, ef, mass, slices)
    labels[1:] = 0
    assert np.isnan(heart_quantities(labels, (2.0, 2.0, 5.0))).tolist() == [False, True, False, False]
    assert np.isnan(heart_quantities(None, (1, 1, 1))).all()
    assert np.isnan(heart_quantities(np.zeros_like(labels), (1, 1, 1))).all()


def test_a_heart_comes_with_its_labels_and_what_was_asked_for(steered):
    folder, _ = steered
    generator = Generator.from_bundle(folder / "bundle", device="cpu", precision="fp32")
    quantity = generator.bundle.manifest.quantities[0]
    middle = (quantity.low + quantity.high) / 2
    request = GenerationRequest(count=2, seed=3, steps=2, edv_ml=(middle, None), pathology="a", cycle_s=0.8)
    # Four steps of training teach nothing: weights that act take the place of those that begin with zeros.
    torch.manual_seed(4)
    torch.nn.init.normal_(generator.bundle.dit.c_embedder.mlp[2].weight)
    torch.nn.init.normal_(generator.bundle.dit.final_layer.adaLN_modulation[1].weight)
    torch.nn.init.normal_(generator.bundle.dit.final_layer.linear.weight)
    asked, free = generator.generate(request)
    assert asked.segmentation is not None
    assert asked.segmentation.array.shape == asked.cine.array.shape == (8, 2, 32, 32)
    np.testing.assert_array_equal(asked.segmentation.affine, asked.cine.affine)
    assert asked.provenance["asked"] == {"edv_ml": middle} and "asked" not in free.provenance
    np.testing.assert_allclose(np.diff(asked.cine.frame_times), 0.1)
    plain = generator.generate(GenerationRequest(count=2, seed=3, steps=2, pathology="a"))
    assert not np.array_equal(plain[0].cine.array, asked.cine.array)
    np.testing.assert_allclose(plain[1].cine.array, free.cine.array, atol=5)
    # Quantities alone can be guided towards, without a class.
    generator.generate(GenerationRequest(seed=3, steps=2, edv_ml=middle, guidance=2.0))


def test_a_heart_is_drawn_again_to_come_nearer_and_the_nearest_draw_is_kept(steered, monkeypatch):
    from CardioDiTLib.generation import aim as module

    generator = Generator.from_bundle(steered[0] / "bundle", device="cpu", precision="fp32")
    torch.manual_seed(4)
    torch.nn.init.normal_(generator.bundle.dit.c_embedder.mlp[2].weight)
    torch.nn.init.normal_(generator.bundle.dit.final_layer.adaLN_modulation[1].weight)
    torch.nn.init.normal_(generator.bundle.dit.final_layer.linear.weight)
    seen = []

    def measure(labels, spacing):
        seen.append((float(len(seen)), 50.0, 100.0, 2.0))
        return seen[-1]

    monkeypatch.setattr(module, "heart_quantities", measure)
    quantity = generator.bundle.manifest.quantities[0]
    asked = (quantity.low + quantity.high) / 2
    # Measured 0, 1, 2, 3: each draw is nearer to what is asked than the one before, the last one is kept.
    request = GenerationRequest(seed=4, steps=2, edv_ml=asked, adjust=3)
    last = generator.generate(request)[0]
    assert len(seen) == 4 and last.provenance["adjust"] == 3
    seen.clear()
    np.testing.assert_array_equal(generator.generate(request)[0].cine.array, last.cine.array)
    seen.clear()
    first = generator.generate(GenerationRequest(seed=4, steps=2, edv_ml=asked, adjust=0))[0]
    assert not seen and not np.array_equal(first.cine.array, last.cine.array)
    # Where each draw is farther away, the first one is kept.
    monkeypatch.setattr(
        module, "heart_quantities", lambda *_: (seen.append(1), (asked - len(seen), 50.0, 100.0, 2.0))[1]
    )
    np.testing.assert_array_equal(generator.generate(request)[0].cine.array, first.cine.array)
    # Without a question nothing is drawn twice.
    seen.clear()
    generator.generate(GenerationRequest(seed=4, steps=2))
    assert not seen


def loud(folder):
    """A generator whose four steps of training were turned into weights that act."""
    generator = Generator.from_bundle(folder / "bundle", device="cpu", precision="fp32")
    torch.manual_seed(4)
    for weights in (
        generator.bundle.dit.c_embedder.mlp[2].weight,
        generator.bundle.dit.final_layer.adaLN_modulation[1].weight,
        generator.bundle.dit.final_layer.linear.weight,
        generator.bundle.refiner.tissue.weight,
    ):
        torch.nn.init.normal_(weights)
    # Four outputs a tissue; the cavity is the last: there is one to be measured in every heart.
    generator.bundle.refiner.tissue.bias.data[-4:] = 1.0
    return generator


def test_redraws_are_those_of_one_sample_whatever_its_batch_and_leave_the_others_alone(steered, monkeypatch):
    from CardioDiTLib.generation import aim as module

    generator = loud(steered[0])
    quantity = generator.bundle.manifest.quantities[0]
    asked, seen = (quantity.low + quantity.high) / 2, []
    # Each draw is nearer than those before.
    monkeypatch.setattr(
        module, "heart_quantities", lambda *_: (seen.append(1), (asked - 100 + len(seen), 40.0, 100.0, 2.0))[1]
    )
    values = {"seed": 5, "steps": 3, "adjust": 2}
    three = generator.generate(
        GenerationRequest(count=3, edv_ml=(asked, None, asked), ef_percent=(None, None, 40.0), **values),
        keep_latents=True,
    )
    as_they_come = generator.generate(
        GenerationRequest(
            count=3, edv_ml=(asked, None, asked), ef_percent=(None, None, 40.0), **{**values, "adjust": 0}
        ),
        keep_latents=True,
    )
    (alone,) = generator.generate(
        GenerationRequest(first_index=2, edv_ml=asked, ef_percent=40.0, **values), keep_latents=True
    )
    np.testing.assert_allclose(three[2].latents, alone.latents, atol=1e-3)
    np.testing.assert_array_equal(three[1].cine.array, as_they_come[1].cine.array)
    assert not np.allclose(three[2].latents, as_they_come[2].latents, atol=1e-2)
    assert three[2].provenance["adjusted_by"] == "reshaping" and "adjusted_by" not in three[1].provenance
    assert "adjusted_by" not in as_they_come[2].provenance


def test_redraws_are_part_of_the_progress_and_can_be_cancelled(steered):
    generator = loud(steered[0])
    quantity = generator.bundle.manifest.quantities[0]
    request = GenerationRequest(seed=5, steps=3, adjust=2, edv_ml=(quantity.low + quantity.high) / 2)
    plain, seen = [], []
    generator.generate(GenerationRequest(seed=5, steps=3), progress=plain.append)
    generator.generate(request, progress=seen.append)
    fractions = [event.fraction for event in seen]
    assert len(seen) > len(plain) + 1 and fractions == sorted(fractions) and fractions[-1] == pytest.approx(1.0)
    assert fractions[len(plain) - 1] < 0.8
    assert all(0 < event.step <= event.of for event in seen)
    assert len(seen) <= len(plain) + 2 * (generator.redraws_of(request)[1] + 2)
    # In the first step of the first redraw.
    told = []
    with pytest.raises(Cancelled):
        generator.generate(request, progress=told.append, cancel=lambda: len(told) > len(plain))
    assert len(told) == len(plain) + 1


def test_what_was_never_seen_is_refused_and_the_edge_is_told(steered):
    folder, _ = steered
    generator = Generator.from_bundle(folder / "bundle", device="cpu", precision="fp32")
    quantity = generator.bundle.manifest.quantities[0]
    with refused("steered", f"{quantity.low:g} to {quantity.high:g} mL"):
        generator.generate(GenerationRequest(steps=1, edv_ml=10 * quantity.high))
    edge = generator.generate(GenerationRequest(steps=1, edv_ml=quantity.high))[0]
    assert any("near the edge" in warning for warning in edge.warnings)


def test_a_bundle_without_quantities_says_so(tmp_path):
    from tiny_bundle import write_tiny_bundle

    generator = Generator(write_tiny_bundle(tmp_path / "tiny"), device="cpu", precision="fp32")
    with refused("tiny", "edv_ml"):
        generator.generate(GenerationRequest(steps=1, edv_ml=100))


def test_a_manifest_whose_quantities_do_not_fit_its_transformer_is_refused(steered):
    folder, _ = steered
    manifest = load_bundle(folder / "bundle").manifest.to_dict()
    manifest["quantities"] = manifest["quantities"][:2]
    from CardioDiTLib.bundles.manifest import BundleManifest

    with refused("2 quantities", 4):
        BundleManifest.from_dict(json.loads(json.dumps(manifest)))


def test_a_transformer_without_quantities_goes_on_with_them(steered):
    """Its answers stay the same until the new part is trained."""
    from CardioDiTLib.models.dit import DiT4D
    from CardioDiTLib.training.dit_stage import DitStage

    _, run = steered
    settings = dict(run.config.dit.stage.model)
    torch.manual_seed(0)
    old = DiT4D(**{key: value for key, value in settings.items() if key != "num_conditions"}).eval()
    torch.nn.init.normal_(old.final_layer.linear.weight)
    stage = DitStage(run.config.dit.stage, read_latents(run.folder / "latents"))
    stage.begin_with(old)
    x = torch.randn(1, 4, 2, 8, 8, 2)
    asked = torch.tensor([[1.0, float("nan"), 3.0, 2.0]])
    torch.testing.assert_close(stage.average(x, torch.tensor([9.0]), conditions=asked), old(x, torch.tensor([9.0])))

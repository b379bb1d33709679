"""The whole way of an owner of data on the command line: a folder of cines, fine-tuning, a bundle, hearts."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from command_line import run
from refusals import names, refused
from tiny_bundle import CODEC, DIT, SHAPE, give_few_steps, tiny_manifest, tiny_networks, write_tiny_bundle
from tiny_encoder import tiny_encoder_folder

from CardioDiTLib.bundles.bundle import load_bundle, write_bundle
from CardioDiTLib.bundles.manifest_parts import NetworkSpec, Preset, SteeredQuantity
from CardioDiTLib.bundles.registry import BUNDLES_VARIABLE, CACHE_VARIABLE, verify
from CardioDiTLib.data.phantom import PhantomSpec, make_phantom
from CardioDiTLib.generation.heart_quantities import QUANTITIES, TITLES
from CardioDiTLib.io import load_cine, save_cine
from CardioDiTLib.models import DiT4D
from CardioDiTLib.models.refiner import CineRefiner
from CardioDiTLib.privacy.attach import attach_privacy
from CardioDiTLib.privacy.embedding_set import checked
from CardioDiTLib.privacy.encoder import load_encoder
from CardioDiTLib.privacy.reference_set import ReferenceSet
from CardioDiTLib.training.config import read_config
from CardioDiTLib.training.latent_augmentation import LatentAugmentation
from CardioDiTLib.training.latents import encode_pack
from CardioDiTLib.training.run import TrainingRun

LOOP = {"warmup_steps": 1, "validate_every": 2, "log_every": 1, "threads": 1}


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """A start bundle that carries training embeddings, settings, and a folder of cines."""
    folder = tmp_path_factory.mktemp("own")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(BUNDLES_VARIABLE, str(folder / "bundles"))
        patch.setenv(CACHE_VARIABLE, str(folder / "cache"))
        write_tiny_bundle(folder / "bundles" / "tiny", audit={"verdict": "none found"}, eval_metrics={"psnr": 1})
        (folder / "cines").mkdir()
        for seed in range(3):
            save_cine(make_phantom(PhantomSpec(seed=seed)).cine, folder / "cines" / f"heart{seed}.nii.gz")
        stage = {"model": dict(CODEC), "batch": 1, "crop": 32, "adversarial_start": 1.0}
        settings = {
            "name": "tiny",
            "grid": {"slices": 3, "size": 32, "frames": 16},
            "vqgan": {"loop": LOOP, "stage": stage},
            "decoder": {"loop": {**LOOP, "steps": 1}, "stage": {**stage, "decoder_only": True}},
            "latents": {"augmentation": {"copies": 1}},
            "dit": {
                "loop": {**LOOP, "steps": 2},
                "stage": {
                    "model": dict(DIT),
                    "modes": True,
                    "batch": 2,
                    "log_snr_mean": 0.0,
                    "schedule": tiny_manifest().schedule,
                },
            },
        }
        (folder / "settings.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
        pack = ("--size", 40, "--slices", 3, "--frames", 16, "--spacing", 3, 3, 20, "--keep-aside", 0.34)
        assert run("prepare", "cines", folder / "cines", folder / "own.npz", *pack) == 0
    return folder


@pytest.fixture(autouse=True)
def places(home, monkeypatch):
    monkeypatch.setenv(BUNDLES_VARIABLE, str(home / "bundles"))
    monkeypatch.setenv(CACHE_VARIABLE, str(home / "cache"))


def test_from_a_folder_of_cines_to_a_bundle_of_ones_own(home, tmp_path, capsys):
    common = ("--config", home / "settings.yaml", "--out", tmp_path / "run")
    assert run("train", "all", *common, "--data", home / "own.npz", "--start-from", "tiny") == 0
    assert capsys.readouterr().out.rstrip().endswith("Finished.")
    # no --start-from: the run remembers
    assert run("train", "bundle", *common, "--bundle", tmp_path / "mine") == 0
    assert run("train", "bundle", *common, "--bundle", tmp_path / "mine2", "--start-from", "tiny") == 0
    start, mine = load_bundle("tiny"), load_bundle(tmp_path / "mine")
    assert verify(tmp_path / "mine") == []
    manifest = mine.manifest
    assert manifest.class_names == ("NOR", "DCM") and manifest.class_titles == ("normal", "dilated")
    assert manifest.name == "mine" and manifest.licence == start.manifest.licence
    assert manifest.presets == start.manifest.presets
    assert manifest.grid.spacing_mm == (3.0, 3.0, 20.0)
    assert manifest.audit == {} and manifest.eval_metrics == {} and manifest.privacy is None
    assert manifest.provenance["started_from"] == {"name": "tiny", "version": "1.2.3", "sha256": start.sha256}
    changed = [
        name for name, value in start.dit.state_dict().items() if not torch.equal(value, mine.dit.state_dict()[name])
    ]
    assert changed

    # as in Slicer: imported from the folder, then chosen by name
    assert run("models", "import", tmp_path / "mine") == 0
    assert run("generate", "-m", "mine", "-p", "DCM", "--steps", 2, "-o", tmp_path / "out") == 0
    assert load_cine(tmp_path / "out" / "mine_seed0_000_DCM.nii.gz").shape == SHAPE


def test_groups_of_a_pack_are_put_in_the_order_of_the_bundle(home, tmp_path, capsys):
    (home / "cines" / "groups.csv").write_text(
        "file,group\nheart0.nii.gz,DCM\nheart1.nii.gz,NOR\nheart2.nii.gz,DCM\n", encoding="utf-8"
    )
    try:
        pack = ("--size", 40, "--slices", 3, "--frames", 16, "--spacing", 3, 3, 20, "--keep-aside", 0.34)
        assert run("prepare", "cines", home / "cines", tmp_path / "own.npz", *pack) == 0
    finally:
        (home / "cines" / "groups.csv").unlink()
    common = ("--config", home / "settings.yaml", "--out", tmp_path / "run")
    assert run("train", "all", *common, "--data", tmp_path / "own.npz", "--start-from", "tiny") == 0
    assert run("train", "bundle", *common, "--bundle", tmp_path / "mine") == 0
    assert load_bundle(tmp_path / "mine").manifest.class_names == ("NOR", "DCM")


def test_a_run_goes_on_only_from_the_bundle_that_it_began_from(home, tmp_path, capsys):
    common = ("--config", home / "settings.yaml", "--out", tmp_path / "run")
    assert run("train", "latents", *common, "--data", home / "own.npz", "--start-from", "tiny") == 0
    other = write_tiny_bundle(tmp_path / "other", version="3.0.0").folder
    assert run("train", "all", *common, "--data", home / "own.npz", "--start-from", other) == 1
    assert names(capsys.readouterr().err, "tiny 1.2.3")
    record = json.loads((tmp_path / "run" / "start.json").read_text(encoding="utf-8"))
    (tmp_path / "run" / "start.json").write_text(
        json.dumps({**record, "folder": str(tmp_path / "gone")}), encoding="utf-8"
    )
    assert run("train", "bundle", *common, "--bundle", tmp_path / "x") == 1
    assert "--start-from" in capsys.readouterr().err


def test_a_new_decoder_keeps_the_training_embeddings_and_loses_name_and_audit(home, tmp_path):
    folder = write_tiny_bundle(tmp_path / "first", audit={"verdict": "none found"}).folder
    encoder = load_encoder(tiny_encoder_folder(tmp_path / "encoder"))
    rows = encoder.embed([make_phantom(PhantomSpec(seed=seed)).cine for seed in range(3)])
    reference = ReferenceSet.build(checked(rows, "training", encoder_sha256=encoder.sha256), None)
    attach_privacy(folder, tmp_path / "encoder", reference)
    start = give_few_steps(folder)
    assert start.manifest.privacy is not None and start.manifest.few_steps is not None
    common = ("--config", home / "settings.yaml", "--out", tmp_path / "run", "--start-from", start.folder)
    assert run("train", "decoder", *common, "--data", home / "own.npz") == 0
    assert run("train", "bundle", *common, "--bundle", tmp_path / "second") == 0
    assert verify(tmp_path / "second") == []
    made = load_bundle(tmp_path / "second")
    assert (made.manifest.name, made.manifest.version) == ("second", "1.2.4")
    assert made.manifest.audit == {} and made.manifest.privacy == start.manifest.privacy
    assert made.manifest.few_steps == start.manifest.few_steps and made.few_step_dit is not None
    assert "decoder that was trained on for 1 steps" in made.model_card and "first 1.2.3" in made.model_card
    assert run("models", "import", tmp_path / "second") == 0


def test_a_manifest_that_names_files_which_are_not_there_is_never_written(tmp_path):
    from CardioDiTLib.bundles import PrivacySpec
    from CardioDiTLib.errors import CardioDiTError

    spec = PrivacySpec("privacy.safetensors", ("encoder.json",), "0" * 64, 3, 0, 8, "leave-one-out", {})
    with pytest.raises(CardioDiTError, match=r"encoder\.json, privacy\.safetensors"):
        write_tiny_bundle(tmp_path / "tiny", privacy=spec)
    assert list(tmp_path.iterdir()) == []


def test_texts_that_no_manifest_has_are_told(home, tmp_path, capsys):
    (tmp_path / "texts.json").write_text('{"licens": "CC0"}', encoding="utf-8")
    common = ("--config", home / "settings.yaml", "--out", tmp_path / "run", "--describe", tmp_path / "texts.json")
    assert run("train", "bundle", *common, "--bundle", tmp_path / "x") == 1
    assert "licens" in capsys.readouterr().err


def test_a_model_that_is_steered_and_names_tissues_goes_on_with_cines_without_labels(home, tmp_path):
    """As the embedded model does: it keeps its quantities with their ranges, and its refiner."""
    params = {**DIT, "num_conditions": 4}
    refined = {"latent_size": [3, 8, 8, 4], "latent_channels": 4, "image_size": [32, 32, 16]}
    refined |= {"widths": [4, 4, 8], "depths": [1, 1, 1]}
    vqgan, _, scale = tiny_networks()
    quantities = tuple(
        SteeredQuantity(name, *TITLES[name], low=10, high=90, usual_low=20, usual_high=80) for name in QUANTITIES
    )
    manifest = tiny_manifest(
        name="steered",
        dit=NetworkSpec("DiT4D", params, "dit.safetensors"),
        refiner=NetworkSpec("CineRefiner", refined, "refiner.safetensors"),
        quantities=quantities,
        presets={"draft": Preset(4, "few_steps", 2.0), "standard": Preset(4, "ddim", 1.5)},
    )
    write_bundle(
        tmp_path / "steered",
        manifest,
        vqgan,
        DiT4D(**params).eval(),
        scale,
        model_card="# Steered\n",
        refiner=CineRefiner(**refined).eval(),
    )
    settings = yaml.safe_load((home / "settings.yaml").read_text(encoding="utf-8"))
    settings["dit"]["stage"]["model"]["num_conditions"] = 4
    del settings["decoder"]
    (tmp_path / "settings.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    common = ("--config", tmp_path / "settings.yaml", "--out", tmp_path / "run", "--start-from", tmp_path / "steered")
    assert run("train", "all", *common, "--data", home / "own.npz") == 0
    assert run("train", "bundle", *common, "--bundle", tmp_path / "mine") == 0
    mine, start = load_bundle(tmp_path / "mine"), load_bundle(tmp_path / "steered")
    assert verify(tmp_path / "mine") == []
    assert mine.manifest.quantities == quantities and mine.manifest.refiner == start.manifest.refiner
    assert mine.refiner is not None and start.refiner is not None
    for name, value in start.refiner.state_dict().items():
        torch.testing.assert_close(mine.refiner.state_dict()[name], value, rtol=0, atol=2e-2)
    # few steps were taught to the transformer before
    assert mine.manifest.presets == {"draft": Preset(12, "dpmpp_2m", 2.0), "standard": Preset(4, "ddim", 1.5)}
    assert "refiner_steps" not in mine.manifest.provenance
    assert bool(mine.dit.c_embedder.mean.isfinite().all())


@pytest.mark.parametrize(("wanted", "named"), [(4, "labels"), (3, "num_conditions")])
def test_quantities_that_no_cine_can_teach_are_refused_before_training(home, tmp_path, wanted, named):
    config = read_config(home / "settings.yaml")
    config.dit.stage.model["num_conditions"] = wanted
    made = TrainingRun(config, home / "own.npz", tmp_path / "run", "tiny")
    encode_pack(made.codec(), made.pack, tmp_path / "run" / "latents", size=32, ranges=LatentAugmentation(copies=1))
    with refused(named):
        made.train("dit")


@pytest.mark.parametrize(
    ("name", "value", "named"),
    [
        ("modes", False, "modes"),
        ("coordinates", 4, "patch"),
        ("schedule", {"name": "flow_matching"}, "schedule"),
        ("schedule", {**tiny_manifest().schedule, "num_train_timesteps": 300}, "num_train_timesteps"),
    ],
)
def test_settings_in_which_the_bundle_would_mean_something_else_are_refused(home, tmp_path, name, value, named):
    config = read_config(home / "settings.yaml")
    stage = replace(config.dit.stage, **{name: value})
    with refused(named):
        TrainingRun(replace(config, dit=replace(config.dit, stage=stage)), "none.npz", tmp_path / "run", "tiny")
    kept = replace(config.dit.stage, schedule={**config.dit.stage.schedule, "log_snr_range": [-8.0, 5.0]})
    TrainingRun(replace(config, dit=replace(config.dit, stage=kept)), "none.npz", tmp_path / "run", "tiny")


def test_the_settings_that_the_documentation_names_go_on_from_the_embedded_model(tmp_path):
    text = (Path(__file__).parents[1] / "docs" / "own-data.md").read_text(encoding="utf-8")
    given = {Path(path).stem for path in re.findall(r"--config (\S+)", text)}
    assert len(given) == 1
    embedded = Path(__file__).parents[1] / "Resources" / "Bundles" / "acdc-mini"
    if not (embedded / "dit.safetensors").is_file():
        pytest.skip("the embedded model's weights are not here")
    config = read_config(given.pop())
    start = TrainingRun(config, "none.npz", tmp_path / "run", embedded).start
    assert start is not None and start.manifest.quantities and start.manifest.refiner is not None
    assert config.refiner is None and not config.latents.augmentation.morphs  # both need labels


def test_a_pack_that_is_all_kept_aside_teaches_a_transformer_nothing(home, tmp_path):
    made = TrainingRun(read_config(home / "settings.yaml"), home / "own.npz", tmp_path / "run", "tiny")
    pack = replace(made.pack, validation=np.ones(len(made.pack.images), bool))
    encode_pack(made.codec(), pack, tmp_path / "run" / "latents", size=32, ranges=LatentAugmentation(copies=1))
    with refused("aside"):
        made.train("dit")

"""Bundles: written whole or not at all, found by name, opened only when unchanged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from refusals import refused
from tiny_bundle import CODEC, DIT, tiny_manifest, tiny_networks, write_tiny_bundle

from CardioDiTLib.bundles import (
    BundleGrid,
    LatentSpec,
    NetworkSpec,
    find_bundle,
    list_bundles,
    load_bundle,
    verify,
    write_bundle,
)
from CardioDiTLib.bundles.registry import BUNDLES_VARIABLE, CACHE_VARIABLE, embedded_bundles_folder
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.models.latent_scale import LatentScale


@pytest.fixture()
def folder(tmp_path: Path) -> Path:
    return write_tiny_bundle(tmp_path / "tiny").folder


def test_networks_come_back_as_they_were_written(folder):
    bundle = load_bundle(folder)
    vqgan, dit, scale = tiny_networks()
    for written, read in ((vqgan, bundle.vqgan), (dit, bundle.dit), (scale, bundle.latent_scale)):
        assert all(torch.equal(value, read.state_dict()[name]) for name, value in written.state_dict().items())
    assert not bundle.vqgan.training and not bundle.dit.training
    assert bundle.latent_scale.modes and bundle.schedule.continuous
    assert bundle.model_card == "# Tiny\n" and len(bundle.sha256) == 64
    assert verify(folder) == []
    assert not [path for path in folder.parent.iterdir() if path != folder]


def test_each_network_may_have_its_own_storage(tmp_path):
    bundle = write_tiny_bundle(tmp_path / "tiny", storage={"codec": "fp16", "dit": "int8"})
    vqgan, dit, _ = tiny_networks()
    for name, written, read in (("codec", vqgan, bundle.vqgan), ("dit", dit, bundle.dit)):
        a = torch.cat([value.flatten().float() for value in written.state_dict().values()])
        b = torch.cat([value.flatten().float() for value in read.state_dict().values()])
        assert 0 < float((a - b).norm() / a.norm()) < {"codec": 3e-4, "dit": 6e-3}[name]
    with refused("codec", "dit"):
        write_tiny_bundle(tmp_path / "other", storage={"codec": "fp16"})


def test_a_changed_file_is_named_and_never_loaded(folder):
    path = folder / "dit.safetensors"
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(bytes(content))
    assert len(verify(folder)) == 1 and "dit.safetensors" in verify(folder)[0] and "SHA-256" in verify(folder)[0]
    bundle = load_bundle(folder)
    assert bundle.vqgan is not None
    with refused("dit.safetensors", "SHA-256"):
        _ = bundle.dit


def test_a_manifest_that_forgets_a_file_does_not_pass(folder):
    values = json.loads((folder / "bundle.json").read_text(encoding="utf-8"))
    del values["files"]["dit.safetensors"]
    (folder / "bundle.json").write_text(json.dumps(values), encoding="utf-8")
    assert "dit.safetensors is not in the manifest's list of files." in verify(folder)
    with refused("dit.safetensors", "manifest"):
        _ = load_bundle(folder).dit
    (folder / "bundle.json").write_text("{", encoding="utf-8")
    assert len(verify(folder)) == 1 and "cannot be read" in verify(folder)[0]


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"grid": BundleGrid(2, 32, 32, 16, (1.5, 1.5, 10), 0.8)}, "latents"),
        ({"grid": BundleGrid(3, 36, 32, 16, (1.5, 1.5, 10), 0.8)}, "latents"),
        ({"latents": LatentSpec(8, modes=True, file="latents.safetensors")}, "channels"),
        ({"latents": LatentSpec(4, file="latents.safetensors")}, "modes"),
        ({"codec": NetworkSpec("VQGAN", {**CODEC, "num_embeddings": 65}, "codec.safetensors")}, "codec.safetensors"),
        ({"dit": NetworkSpec("DiT4D", {**DIT, "hidden_sise": 1}, "dit.safetensors")}, "hidden_sise"),
        ({"schedule": {"name": "cosine", "colour": "red"}}, "colour"),
    ],
)
def test_parts_that_do_not_belong_together_leave_nothing_behind(tmp_path, changes, word):
    with pytest.raises(CardioDiTError, match=word):
        write_bundle(tmp_path / "tiny", tiny_manifest(**changes), *tiny_networks(), model_card="")
    assert list(tmp_path.iterdir()) == []


def test_latent_statistics_must_fit(tmp_path):
    vqgan, dit, _ = tiny_networks()
    wrong = LatentScale(torch.zeros(4, 3, 7, 8, 4), torch.ones(4, 1, 1, 1, 4), modes=True)
    with refused("statistics", (4, 3, 8, 8, 4)):
        write_bundle(tmp_path / "tiny", tiny_manifest(), vqgan, dit, wrong, model_card="")
    published = tiny_manifest(latents=LatentSpec(4, scale_factor=0.5))
    with refused(0.5, "manifest"):
        write_bundle(tmp_path / "tiny", published, vqgan, dit, LatentScale.published(0.6, 4), model_card="")
    bundle = write_bundle(tmp_path / "tiny", published, vqgan, dit, LatentScale.published(0.5, 4), model_card="")
    assert not (bundle.folder / "latents.safetensors").exists()
    assert torch.equal(bundle.latent_scale.std, torch.full((4, 1, 1, 1, 1), 2.0))


def test_bundles_are_found_by_name_in_order(tmp_path, monkeypatch):
    first, second, cache = tmp_path / "a", tmp_path / "b", tmp_path / "cache"
    monkeypatch.setenv(BUNDLES_VARIABLE, f"{first}:{second}".replace(":", __import__("os").pathsep))
    monkeypatch.setenv(CACHE_VARIABLE, str(cache))
    write_tiny_bundle(first / "one")
    write_tiny_bundle(second / "one", title="hidden by the first")
    write_tiny_bundle(second / "two")
    write_tiny_bundle(cache / "bundles" / "three")
    (second / "broken").mkdir()
    (second / "broken" / "bundle.json").write_text('{"schema_version": 9}', encoding="utf-8")
    (second / ".half.partial").mkdir()
    (second / ".half.partial" / "bundle.json").write_text("{}", encoding="utf-8")

    entries = {entry.name: entry for entry in list_bundles() if entry.origin != "embedded"}
    assert list(entries) == ["one", "broken", "two", "three"]
    assert entries["one"].folder == first / "one" and entries["one"].manifest.title == "Tiny"
    assert entries["three"].origin == "user" and entries["two"].origin == "environment"
    assert entries["broken"].manifest is None and "schema version 9" in entries["broken"].problem
    assert find_bundle("three") == cache / "bundles" / "three"
    with refused("four", "one", "two", "three"):
        find_bundle("four")
    with refused(tmp_path, "bundle.json"):
        find_bundle(tmp_path)


def test_a_name_is_not_a_folder_of_the_working_directory(folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    with refused("tiny", "./tiny"):
        find_bundle("tiny")
    assert find_bundle("./tiny").samefile(folder)


def test_embedded_bundles_lie_beside_the_package():
    assert embedded_bundles_folder() == Path(__file__).resolve().parents[1] / "Resources" / "Bundles"


def test_every_embedded_bundle_is_whole():
    problems = {entry.name: verify(entry.folder) for entry in list_bundles() if entry.origin == "embedded"}
    assert all(not found for found in problems.values()), problems


def test_a_manifest_tells_what_the_networks_would(folder):
    bundle = load_bundle(folder)
    assert bundle.manifest.null_class == bundle.dit.null_class
    assert bundle.manifest.names_tissues == (bundle.refiner is not None and bundle.refiner.classes > 0)

"""The contract of everything that is a model on disk, whatever it is for: a folder with a manifest and its files."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import tiny_bundle
import tiny_encoder
import tiny_landmarks
import tiny_segmentation
import torch
from refusals import refused

from CardioDiTLib.bundles import LatentSpec, NetworkSpec, load_bundle, verify, write_bundle
from CardioDiTLib.bundles.manifest import GENERATOR
from CardioDiTLib.bundles.manifest_parts import DetailSpec, SteeredQuantity
from CardioDiTLib.bundles.model_folder import ModelFolder, NetworkFolder
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.landmarks import model as landmarks
from CardioDiTLib.models.dit import DiT4D
from CardioDiTLib.models.latent_scale import LatentScale
from CardioDiTLib.models.refiner import CineRefiner
from CardioDiTLib.privacy import encoder as encoders
from CardioDiTLib.segmentation import model as segmentation

FACTS = {"measured": [1, 2.5, {"on": None}], "word": "µm"}


@dataclass(frozen=True)
class Kind:
    """How a test writes and opens a model of one kind.

    Args:
        name: What this test calls it.
        folder: The kind.
        write: Takes the folder to make and `overwrite`, with weights of a seed and a quality.
        open: Opens it and reads every file of it.
        keys: Entries of the manifest in their order.
    """

    name: str
    folder: ModelFolder[Any]
    write: Callable[..., Path]
    open: Callable[[Path], Any]
    keys: str


def small(manifest: Callable[..., Any], network: Callable[..., Any], write: Callable[..., Path]) -> Callable[..., Path]:
    def written(place: Path, overwrite: bool = False, seed: int = 0, quality: Any = FACTS) -> Path:
        made = network(seed=seed)
        return write(place, manifest(made, quality=quality), made, storage="fp32", overwrite=overwrite)

    return written


def published_network(seed: int = 0) -> Any:
    return tiny_landmarks.tiny_network(tiny_landmarks.TINY_PUBLISHED, seed)


REFINER: dict[str, Any] = {
    "latent_size": [3, 8, 8, 4],
    "latent_channels": 4,
    "image_size": [32, 32, 16],
    "widths": [8, 8, 16],
    "depths": [1, 1, 1],
}


def generator(
    steered: bool = False, named: bool = False, one_factor: bool = False, few_steps: bool = False
) -> Callable[..., Path]:
    """Writes a generator: with conditions, with a network that names tissues, scaled as published ones are, or taught
    to draw in few steps.
    """

    def written(place: Path, overwrite: bool = False, seed: int = 0, quality: Any = FACTS) -> Path:
        vqgan, dit, scale = tiny_bundle.tiny_networks()
        changes: dict[str, Any] = {"eval_metrics": quality, "affine": torch.eye(4).tolist()}
        refiner = None
        if steered:
            settings: dict[str, Any] = {**tiny_bundle.DIT, "num_conditions": 1}
            torch.manual_seed(seed)
            dit = DiT4D(**settings)
            changes["dit"] = NetworkSpec("DiT4D", settings, "dit.safetensors")
            changes["quantities"] = (SteeredQuantity("edv_ml", "volume", "mL", 50, 350, 80, 280),)
            changes["detail"] = DetailSpec(((0.0, 0.1, 0.0), (0.1, 0.6, 0.1), (0.0, 0.1, 0.0)), 2.0, 4)
        if named:
            torch.manual_seed(seed)
            refiner = CineRefiner(**REFINER)
            changes["refiner"] = NetworkSpec("CineRefiner", REFINER, "refiner.safetensors")
        if one_factor:
            scale = LatentScale.published(0.5, 4)
            changes["latents"] = LatentSpec(4, scale_factor=0.5)
        if seed:
            torch.nn.init.normal_(next(dit.parameters()))
        manifest = tiny_bundle.tiny_manifest(**changes)
        card = "# Tiny\n"
        parts = (vqgan, dit, scale)
        folder = write_bundle(
            place, manifest, *parts, model_card=card, storage="fp32", overwrite=overwrite, refiner=refiner
        ).folder
        if few_steps:
            tiny_bundle.give_few_steps(folder, seed)
        return folder

    return written


def opened_bundle(place: Path) -> None:
    bundle = load_bundle(place)
    GENERATOR.verify(place, bundle.manifest)  # opening it alone looks at a file only when it is needed
    bundle.check()


HEAD = "schema_version name version"
BUNDLE = (
    f"{HEAD} title description licence training_data grid codec dit latents schedule class_names class_titles presets "
    "intensity_range affine task authors copyright intended_use references eval_metrics audit provenance"
)
LANDMARKS = f"{HEAD} network licence training_data references intensity field_mm rule quality provenance files"

ALL = (
    Kind(
        "segmentation",
        segmentation.KIND,
        small(tiny_segmentation.tiny_manifest, tiny_segmentation.tiny_network, segmentation.write_model),
        segmentation.load_model,
        f"{HEAD} network licence training_data intensity field_mm labels quality provenance files",
    ),
    Kind(
        "landmarks",
        landmarks.KIND,
        small(tiny_landmarks.tiny_manifest, tiny_landmarks.tiny_network, landmarks.write_model),
        landmarks.load_model,
        LANDMARKS,
    ),
    Kind(
        "published landmarks",
        landmarks.KIND,
        small(tiny_landmarks.tiny_manifest, published_network, landmarks.write_model),
        landmarks.load_model,
        LANDMARKS,
    ),
    Kind(
        "encoder",
        encoders.KIND,
        small(tiny_encoder.tiny_manifest, tiny_encoder.tiny_embedding, encoders.write_encoder),
        encoders.load_encoder,
        f"{HEAD} network grid licence training_data quality provenance files",
    ),
    Kind("generator", GENERATOR, generator(), opened_bundle, f"{BUNDLE} files"),
    Kind("few-step generator", GENERATOR, generator(few_steps=True), opened_bundle, f"{BUNDLE} few_steps files"),
    Kind("steered generator", GENERATOR, generator(steered=True), opened_bundle, f"{BUNDLE} quantities detail files"),
    Kind("naming generator", GENERATOR, generator(named=True), opened_bundle, f"{BUNDLE} refiner files"),
    Kind("published generator", GENERATOR, generator(one_factor=True), opened_bundle, f"{BUNDLE} files"),
)
KINDS = {kind.name: kind for kind in ALL}
NETWORKS = [kind.name for kind in ALL if isinstance(kind.folder, NetworkFolder)]


@pytest.fixture(scope="module", params=KINDS)
def model(request, tmp_path_factory) -> tuple[Kind, Path]:
    """A kind, and a folder of it that nobody changes."""
    kind = KINDS[request.param]
    return kind, kind.write(tmp_path_factory.mktemp("models") / "model")


@pytest.fixture
def copy(model, tmp_path) -> tuple[Kind, Path]:
    """A kind, and a folder of it for one test."""
    return model[0], Path(shutil.copytree(model[1], tmp_path / "model"))


def opening_fails(kind: Kind, place: Path) -> str:
    with pytest.raises(CardioDiTError) as caught:
        kind.open(place)
    assert caught.value.message and caught.value.hint and "\n" not in str(caught.value)
    return str(caught.value)


def change(kind: Kind, place: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    path = place / kind.folder.manifest_name
    values = json.loads(path.read_text(encoding="utf-8"))
    edit(values)
    path.write_text(json.dumps(values), encoding="utf-8")


def test_what_is_read_is_what_was_written(model):
    kind, place = model
    kind.open(place)
    manifest = kind.folder.read(place)
    text = (place / kind.folder.manifest_name).read_text(encoding="utf-8")
    assert list(json.loads(text)) == kind.keys.split()
    assert manifest.to_json() == text and type(manifest).from_dict(manifest.to_dict()) == manifest
    assert set(manifest.files) == {path.name for path in place.iterdir()} - {kind.folder.manifest_name}
    assert set(manifest.needed_files) <= set(manifest.files) and kind.folder.problems(place, manifest) == []
    assert getattr(manifest, "quality", None) == FACTS or getattr(manifest, "eval_metrics", None) == FACTS
    assert [path.name for path in place.parent.iterdir()] == ["model"]


def test_the_same_model_gives_the_same_bytes(model, tmp_path):
    kind, place = model
    again = kind.write(tmp_path / "again")
    for path in place.iterdir():
        assert (again / path.name).read_bytes() == path.read_bytes(), path.name


def test_a_changed_cut_or_missing_file_is_named(copy):
    kind, place = copy
    for name in kind.folder.read(place).files:
        whole = (place / name).read_bytes()
        for bad, says in (
            (whole[:-1] + bytes([whole[-1] ^ 1]), "has been changed"),
            (whole[:-1], f"{len(whole) - 1} bytes instead of {len(whole)}"),
            (None, "is missing"),
        ):
            (place / name).unlink()
            if bad is not None:
                (place / name).write_bytes(bad)
            told = opening_fails(kind, place)
            assert name in told and says in told
            (place / name).write_bytes(whole)
        listed = json.loads((place / kind.folder.manifest_name).read_text(encoding="utf-8"))["files"][name]
        change(kind, place, lambda values, name=name: values["files"].pop(name))
        assert name in kind.folder.read(place).needed_files and name in opening_fails(kind, place)
        change(kind, place, lambda values, name=name, listed=listed: values["files"].update({name: listed}))
    kind.open(place)


WRONG: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "another version": (lambda m: m.update(schema_version=2), "schema version 2"),
    "a version that is none": (lambda m: m.update(schema_version=True), "schema version"),
    "no version": (lambda m: m.pop("schema_version"), "schema_version"),
    "unknown": (lambda m: m.update(colour="red"), "unknown colour"),
    "unknown inside": (lambda m: m["licence"].update(colour="red"), "unknown colour"),
    "no name": (lambda m: m.pop("name"), "lacks name"),
    "no licence": (lambda m: m.pop("licence"), "lacks licence"),
    "no data": (lambda m: m["training_data"].pop("data_source"), "lacks data_source"),
    "name of another type": (lambda m: m.update(name=3), "'name'"),
    "a way out": (lambda m: m["files"].update({"../x": {"sha256": "0" * 64, "bytes": 1}}), "../x"),
    "no fingerprint": (lambda m: m["files"].update({"x": {"sha256": "abc", "bytes": 1}}), "SHA-256"),
    "files of another type": (lambda m: m.update(files=[]), "files"),
    "NaN": (lambda m: m.update(provenance={"loss": float("nan")}), "cannot be read"),
    "infinite": (lambda m: m.update(provenance={"loss": float("inf")}), "cannot be read"),
    "depth without end": (lambda m: m.update(provenance=nested(200)), "cannot be read"),
    "an unknown network": (
        lambda m: m.get("network", m.get("dit", {}).get("params")).update(hidden_sise=1),
        "hidden_sise",
    ),
}


def nested(depth: int) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for _ in range(depth):
        values = {"in": values}
    return values


@pytest.mark.parametrize("fault", WRONG)
def test_a_manifest_that_is_wrong_is_refused_in_a_sentence(copy, fault):
    kind, place = copy
    edit, says = WRONG[fault]
    change(kind, place, edit)
    told = opening_fails(kind, place)
    assert says in told, told


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'"x"', b"\xff\xfe", None])
def test_what_is_no_manifest_is_refused(copy, content):
    kind, place = copy
    path = place / kind.folder.manifest_name
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    assert kind.folder.manifest_name in opening_fails(kind, place) or content in (b"[]", b'"x"')


@pytest.mark.parametrize("model", NETWORKS, indirect=True)
def test_entries_that_the_small_networks_always_had_may_not_be_absent(copy):
    """Without a fingerprint or a rule of grey values nothing is guessed."""
    kind, place = copy
    for name in kind.keys.split():
        before = (place / kind.folder.manifest_name).read_text(encoding="utf-8")
        change(kind, place, lambda values, name=name: values.pop(name))
        assert name in opening_fails(kind, place)
        (place / kind.folder.manifest_name).write_text(before, encoding="utf-8")


def test_nothing_is_replaced_unasked(copy, tmp_path):
    kind, place = copy
    before = {path.name: path.read_bytes() for path in place.iterdir()}
    with refused(place, "already") as caught:
        kind.write(place, seed=1)
    assert caught.value.hint and {path.name: path.read_bytes() for path in place.iterdir()} == before
    kind.write(place, overwrite=True, seed=1)
    kind.open(place)
    assert {path.name: path.read_bytes() for path in place.iterdir()} != before
    mine = tmp_path / "mine"
    mine.mkdir()
    kind.write(mine, seed=1)  # an empty folder is nobody's
    shutil.rmtree(mine)
    mine.mkdir()
    (mine / "thesis.txt").write_text("years of work", encoding="utf-8")
    with refused(mine, kind.folder.noun):
        kind.write(mine, overwrite=True)
    assert [path.name for path in mine.iterdir()] == ["thesis.txt"]
    (tmp_path / "file").write_text("a letter", encoding="utf-8")
    with refused(tmp_path / "file", kind.folder.noun):
        kind.write(tmp_path / "file", overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "mine", "model"]


def test_writing_is_whole_or_nothing(copy, tmp_path, monkeypatch):
    """Whatever fails, and wherever, an old model stays and nothing half-written is left."""
    kind, place = copy
    before = {path.name: path.read_bytes() for path in place.iterdir()}

    def stays() -> None:
        assert {path.name: path.read_bytes() for path in place.iterdir()} == before
        assert [path.name for path in tmp_path.iterdir()] == ["model"]

    for quality in ({"loss": float("nan")}, {"set": {1, 2}}):
        for target in (place, tmp_path / "new"):
            with refused("JSON"):
                kind.write(target, overwrite=True, quality=quality)
            stays()

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("CardioDiTLib.bundles.model_folder.record_of", full)
    with refused(place, "No space left on device") as caught:
        kind.write(place, overwrite=True, seed=1)
    assert "disk space" in caught.value.hint
    stays()
    monkeypatch.undo()

    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(ModelFolder, "describe", interrupted)
    with pytest.raises(KeyboardInterrupt):
        kind.write(place, overwrite=True, seed=1)
    stays()


def test_a_swap_that_fails_half_way_is_undone(copy, tmp_path, monkeypatch):
    import CardioDiTLib.files as files

    kind, place = copy
    before = {path.name: path.read_bytes() for path in place.iterdir()}
    rename, calls = files.os.replace, []

    def second_fails(source: Any, target: Any) -> None:
        calls.append(target)
        if len(calls) == 2:
            raise OSError(5, "Input/output error")
        rename(source, target)

    monkeypatch.setattr(files.os, "replace", second_fails)
    with pytest.raises(CardioDiTError, match="Input/output"):
        kind.write(place, overwrite=True, seed=1)
    assert len(calls) == 3 and {path.name: path.read_bytes() for path in place.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_weights_that_are_not_finite_or_of_another_network_are_not_kept(tmp_path):
    network = tiny_segmentation.tiny_network()
    with refused("network", "description"):
        other = tiny_segmentation.tiny_network(res_units=0)
        segmentation.write_model(tmp_path / "model", tiny_segmentation.tiny_manifest(other), network)
    name, weight = next(network.named_parameters())
    with torch.no_grad():
        weight.fill_(torch.nan)
    with refused(name, "finite"):
        segmentation.write_model(tmp_path / "model", tiny_segmentation.tiny_manifest(network), network)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["segmentation", "landmarks", "encoder"])
def test_where_there_is_no_model_one_is_told_what_to_do(name, tmp_path, monkeypatch):
    kind = KINDS[name]
    monkeypatch.setattr(NetworkFolder, "embedded", lambda self: tmp_path / "nothing")
    with refused(name.removesuffix("s"), "weights") as caught:
        kind.open(None)  # type: ignore[arg-type]
    assert "--weights" in caught.value.hint
    with refused(tmp_path / "absent", "folder"):
        kind.open(tmp_path / "absent")


@pytest.mark.parametrize("model", NETWORKS, indirect=True)
def test_settings_of_another_network_do_not_fit_its_weights(copy):
    kind, place = copy
    channels = {"published landmarks": [8, 8, 8], "encoder": [8, 24]}.get(kind.name, [4, 8, 16])
    change(kind, place, lambda m: m["network"].update(channels=channels))
    assert "does not fit" in opening_fails(kind, place)


def test_what_comes_with_the_software_is_written_as_it_was():
    """Manifests of all models in the tree, but for entries that came later."""
    resources = Path(__file__).resolve().parents[1] / "Resources"
    for kind, place in (
        (segmentation.KIND, resources / "Models" / "segmentation"),
        (landmarks.KIND, resources / "Models" / "landmarks"),
        (encoders.KIND, resources / "Models" / "encoder"),
        (GENERATOR, resources / "Bundles" / "acdc-mini"),
    ):
        text = (place / kind.manifest_name).read_text(encoding="utf-8")
        manifest = kind.read(place)
        written = manifest.to_dict()
        if '"neighbours"' in text and '"motion"' not in text.partition("licence")[0]:
            assert written["network"].pop("motion") is False
        assert json.dumps(written, indent=2, ensure_ascii=False) + "\n" == text
        assert kind.problems(place, manifest) == []


def test_a_folder_says_what_does_not_belong_to_a_bundle(tmp_path):
    place = KINDS["generator"].write(tmp_path / "tiny")
    (place / "extra.pkl").write_bytes(b"x")
    (place / "dit.safetensors").unlink()
    assert verify(place) == ["dit.safetensors is missing.", "extra.pkl does not belong to the bundle."]


def test_fingerprints_are_filled_in_by_the_folder(tmp_path):
    place = KINDS["encoder"].write(tmp_path / "encoder")
    manifest = encoders.KIND.read(place)
    assert replace(manifest, files={}) == tiny_encoder.tiny_manifest(tiny_encoder.tiny_embedding(), quality=FACTS)
    assert manifest.files[encoders.WEIGHTS_NAME].bytes == (place / encoders.WEIGHTS_NAME).stat().st_size

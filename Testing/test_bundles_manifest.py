"""``bundle.json``: what is written is read back, and nothing else is accepted."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from refusals import refused
from tiny_bundle import DIT, tiny_manifest

from CardioDiTLib.bundles import BundleManifest, FileRecord, NetworkSpec, Preset
from CardioDiTLib.bundles.manifest_parts import usual_presets
from CardioDiTLib.errors import CardioDiTError


def as_json(manifest: BundleManifest) -> dict:
    return json.loads(manifest.to_json())


def test_json_and_back_is_the_same_manifest():
    affine = [[-1.5, 0, 0, 10], [0, 1.5, 0, 20], [0, 0, 10, 30], [0, 0, 0, 1]]
    manifest = tiny_manifest(
        affine=affine, eval_metrics={"psnr_db": 28.1}, references=("arXiv 1",), files={"a.bin": FileRecord("0" * 64, 3)}
    )
    again = BundleManifest.from_dict(as_json(manifest))
    assert again == manifest
    assert again.affine[0] == (-1.5, 0.0, 0.0, 10.0) and again.grid.spacing_mm == (1.5, 1.5, 10.0)
    assert again.grid.shape == (16, 3, 32, 32)
    assert as_json(manifest)["codec"]["class"] == "VQGAN"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda m: m["grid"].pop("cycle_s"), ["grid", "lacks cycle_s"]),
        (lambda m: m["grid"].update(frames=0), ["frames", "0"]),
        (lambda m: m["grid"].update(frames=16.0), ["frames", "16.0"]),
        (lambda m: m["grid"].update(spacing_mm=[1, 1]), ["spacing_mm"]),
        (lambda m: m["grid"].update(spacing_mm=[1, 0, 1]), ["spacing_mm"]),
        (lambda m: m["grid"].update(cycle_s=float("nan")), ["cycle_s"]),
        (lambda m: m["codec"].update({"class": "DiT4D"}), ["codec"]),
        (lambda m: m["dit"].update({"class": "os.system"}), ["os.system"]),
        (lambda m: m["dit"].update(file="../../secret"), ["secret", "file name"]),
        (lambda m: m["dit"].update(file="/etc/passwd"), ["passwd", "file name"]),
        (lambda m: m["latents"].update(scale_factor=1.0), ["latents"]),
        (lambda m: m["latents"].update(file=None), ["latents"]),
        (lambda m: m["latents"].update(channels="4"), ["channels"]),
        (lambda m: m.update(class_names=["NOR"], class_titles=["x"]), ["names 1 classes", "has 2"]),
        (lambda m: m.update(class_names=["NOR", "nor"]), ["same name"]),
        (lambda m: m.update(class_titles=["one"]), ["class titles"]),
        (lambda m: m["presets"].pop("standard"), ["standard"]),
        (lambda m: m["presets"]["high"].update(steps=0), ["preset", "0"]),
        (lambda m: m.update(intensity_range=[1, -1]), ["intensity range"]),
        (lambda m: m.update(affine=[[1, 0], [0, 1]]), ["affine"]),
        (lambda m: m.update(name="a b"), ["a b"]),
        (lambda m: m.update(version="1"), ["version"]),
        (lambda m: m.update(title=3), ["title"]),
        (lambda m: m.update(schedule=[]), ["schedule"]),
        (lambda m: m.update(grid="big"), ["grid", "big"]),
        (lambda m: m["licence"].update(needs_acceptance="yes"), ["needs_acceptance"]),
    ],
)
def test_anything_else_is_refused_in_one_sentence(change, words):
    values = as_json(tiny_manifest())
    change(values)
    with pytest.raises(CardioDiTError) as caught:
        BundleManifest.from_dict(values)
    assert caught.value.hint and "\n" not in str(caught.value)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_entries_with_defaults_may_be_absent():
    values = as_json(tiny_manifest())
    for name in ("affine", "audit", "eval_metrics", "presets", "files"):
        del values[name]
    manifest = BundleManifest.from_dict(values)
    assert manifest.presets["standard"] == Preset(25, "dpmpp_2m", 1.0) and manifest.affine is None


@pytest.mark.parametrize(
    "kind, most, steps",
    [
        ("unsaid", None, [10, 25, 50]),
        ("trained", None, [12, 30, 60]),
        ("published", None, [15, 30, 100]),
        ("published", 20, [15, 20, 20]),
    ],
)
def test_presets_of_each_kind_of_model(kind, most, steps):
    presets = usual_presets(kind, most)
    assert list(presets) == ["draft", "standard", "high"]
    assert list(presets.values()) == [Preset(number, "dpmpp_2m", 1.0) for number in steps]


def test_class_names_are_found_whatever_their_case():
    manifest = tiny_manifest()
    assert manifest.label_of("dcm") == 1
    with refused("tiny", "HCM", "NOR, DCM"):
        manifest.label_of("HCM")
    params = {**DIT, "num_classes": 0}
    without = tiny_manifest(class_names=(), class_titles=(), dit=NetworkSpec("DiT4D", params, "d.safetensors"))
    with pytest.raises(CardioDiTError, match="no pathologies"):
        without.label_of("NOR")


def test_listing_bundles_needs_no_torch():
    code = (
        "import sys, CardioDiTLib.bundles as b\nb.list_bundles\nb.list_bundles()\nb.BundleManifest\nb.verify\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

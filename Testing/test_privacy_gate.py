"""Training embeddings in a bundle, and the gate that they make."""

from __future__ import annotations

import json
import os
from dataclasses import replace

import numpy as np
import pytest
from privacy_sets import DIMENSION, MeanEncoder, copies_of, noise_cine, normal, reference
from refusals import refused
from tiny_bundle import write_tiny_bundle
from tiny_encoder import tiny_encoder_folder

from CardioDiTLib.bundles import Bundle, BundleManifest, load_bundle, verify
from CardioDiTLib.bundles.manifest import parse_manifest
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.generation import GenerationRequest, Generator
from CardioDiTLib.io import load_cine, save_cine
from CardioDiTLib.privacy.attach import attach_privacy
from CardioDiTLib.privacy.audit import audit_memorization
from CardioDiTLib.privacy.embedding_io import embedded
from CardioDiTLib.privacy.embedding_set import checked
from CardioDiTLib.privacy.encoder import load_encoder
from CardioDiTLib.privacy.gate import Gate, Verdict, generate_gated, load_encoder_of, load_reference, redraw_seed
from CardioDiTLib.privacy.nearest import nearest_neighbours
from CardioDiTLib.privacy.reference_set import ReferenceSet


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """A tiny bundle, a tiny encoder, and a reference set of the cines that the bundle makes."""
    folder = tmp_path_factory.mktemp("gate")
    bundle = write_tiny_bundle(folder / "tiny")
    encoder_folder = tiny_encoder_folder(folder / "encoder")
    encoder = load_encoder(encoder_folder)
    cines = [r.cine for r in Generator(bundle).generate(GenerationRequest(count=34, seed=5, preset="draft"))]
    rows = embedded(encoder, cines, "all")
    trained = np.arange(len(cines)) < 10
    # random weights tell cines hardly apart: nothing but the very same one is a leak here
    made = ReferenceSet.build(
        rows.kept(trained),
        rows.kept(~trained),
        leak_correlation=1.0,
    )
    return folder, encoder_folder, made, cines


def attached(parts, place):
    """A copy of the bundle with everything in it."""
    write_tiny_bundle(place)
    attach_privacy(place, parts[1], parts[2], audit={"verdict": "none found"}, card="## Privacy\n\nNumbers.")
    return place


def test_quantised_embeddings_are_nearly_the_embeddings():
    x = normal(200, 0, 128)
    stored = ReferenceSet.build(checked(x, "training"), checked(normal(50, 1, 128), "validation"))
    found = nearest_neighbours(x, stored.values)
    assert (found.index[:, 0] == np.arange(200)).all() and found.similarity.min() > 0.9999
    assert stored.codes.dtype == np.int8 and np.abs(stored.codes).max() == 127
    exact = nearest_neighbours(normal(50, 1, 128), x).similarity[:, 0]
    np.testing.assert_allclose(stored.calibration.scores, np.sort(exact), atol=2e-3)


def test_reference_sets_come_back_from_disk(tmp_path):
    for stored in (reference("b" * 64), ReferenceSet.build(checked(normal(20, 0), "training"))):
        path = stored.save(tmp_path / "privacy.safetensors")
        first = path.read_bytes()
        again = ReferenceSet.load(path)
        np.testing.assert_array_equal(again.codes, stored.codes)
        np.testing.assert_allclose(again.calibration.scores, stored.calibration.scores)
        assert again.calibration.kind == stored.calibration.kind and again.encoder_sha256 == stored.encoder_sha256
        assert (again.n_train, again.n_validation) == (stored.n_train, stored.n_validation)
        assert again.save(path).read_bytes() == first
    assert reference().save(tmp_path / "small").stat().st_size < 60 * DIMENSION + 60 * 4 + 99 * 8 + 700


def test_a_damaged_reference_set_is_refused(tmp_path):
    path = reference().save(tmp_path / "p.safetensors")
    path.write_bytes(path.read_bytes()[:-50])
    with refused("p.safetensors", "damaged"):
        ReferenceSet.load(path)
    from safetensors.numpy import save_file

    save_file({"codes": np.zeros((2, 2), np.int8)}, path)
    with refused("p.safetensors", "damaged"):
        ReferenceSet.load(path)
    with refused("absent"):
        ReferenceSet.load(tmp_path / "absent")


def test_the_gate_judges_as_the_audit_does():
    stored = reference()
    y = normal(40, 5)
    y[:10] = copies_of(normal(60, 0), range(10))
    gate = Gate(stored)
    verdicts = [gate.judge(row) for row in y]
    report = audit_memorization(stored, None, y)
    assert [not one.passed for one in verdicts] == [one.copy for one in report.samples]
    for verdict, sample in zip(verdicts, report.samples):
        assert verdict.score == pytest.approx(sample.score, abs=1e-5)
        assert (verdict.p_value, verdict.nearest_hash) == (pytest.approx(sample.p_value), sample.nearest_hash)
    assert "nearest" not in json.dumps(verdicts[0].to_dict())


def test_a_gate_refuses_novel_cines_as_often_as_said():
    stopped = []
    for seed in range(100, 130):
        gate = Gate(reference(seed=seed * 10), false_alarm=0.1)
        stopped += [not gate.judge(row).passed for row in normal(20, seed * 10 + 5)]
    assert np.mean(stopped) == pytest.approx(0.1, abs=0.04)


def test_what_a_gate_cannot_do():
    with refused(99, 0.001, 999):
        Gate(reference(), false_alarm=0.001)
    gate = Gate(reference())
    with refused("no encoder"):
        gate.judge(noise_cine(0))
    with refused(DIMENSION, (1, 7)):
        gate.judge(normal(1, 0, 7))
    with refused("constant", "row 0"):
        gate.judge(np.zeros(DIMENSION))
    with refused("encoder", "gate"):
        Gate(reference("c" * 64), MeanEncoder())


def test_a_bundle_carries_everything(parts, tmp_path):
    before = BundleManifest.from_dict(
        json.loads((write_tiny_bundle(tmp_path / "b").folder / "bundle.json").read_text(encoding="utf-8"))
    )
    place = attached(parts, tmp_path / "a")
    bundle = load_bundle(place)
    assert verify(place) == []
    assert bundle.manifest.privacy.files == ("privacy.safetensors", "encoder.json", "encoder.safetensors")
    assert bundle.manifest.privacy.thresholds["0.1"] is not None and bundle.manifest.privacy.thresholds["0.01"] is None
    assert bundle.manifest.audit == {"verdict": "none found"} and bundle.model_card.endswith("## Privacy\n\nNumbers.\n")
    assert replace(bundle.manifest, privacy=None, audit={}, files={}) == replace(before, name="a", files={})
    assert not [path for path in tmp_path.iterdir() if path.is_dir() and path.name.startswith(".")]
    text = (place / "bundle.json").read_bytes()
    assert parse_manifest(text, "here").privacy == bundle.manifest.privacy
    gate = Gate.from_bundle(bundle, 0.1)
    assert not gate.judge(parts[3][2]).passed  # a training cine
    assert Bundle(place).dit is not None
    # once more: what was there is replaced, not doubled
    attach_privacy(place, parts[1], parts[2], card="## Privacy\n\nOther numbers.")
    assert Bundle(place).model_card == "# Tiny\n\n## Privacy\n\nOther numbers.\n"
    assert verify(place) == [] and Bundle(place).manifest.audit == {"verdict": "none found"}


def test_bundles_without_it_stay_as_they_are(tmp_path):
    bundle = write_tiny_bundle(tmp_path / "plain")
    assert "privacy" not in json.loads((bundle.folder / "bundle.json").read_text(encoding="utf-8"))
    with refused("plain", "training embeddings", "cardiodit audit --attach"):
        Gate.from_bundle(bundle)


@pytest.mark.parametrize("name", ["privacy.safetensors", "encoder.safetensors", "encoder.json"])
def test_a_tampered_file_is_refused(parts, tmp_path, name):
    place = attached(parts, tmp_path / "a")
    data = bytearray((place / name).read_bytes())
    data[-3] ^= 1
    (place / name).write_bytes(bytes(data))
    with refused(name, "changed", "SHA-256"):
        Gate.from_bundle(load_bundle(place), 0.1)
    assert verify(place) == [f"{name} has been changed: its SHA-256 differs from the manifest."]


def test_a_manifest_that_lies_is_refused(parts, tmp_path):
    place = attached(parts, tmp_path / "a")
    values = json.loads((place / "bundle.json").read_text(encoding="utf-8"))
    for key, value, *named in (
        ("n_train", 11, "training embeddings", "manifest"),
        ("encoder_sha256", "0" * 64, "training embeddings", "manifest"),
        ("dimension", 0, "dimension", 0),
        ("thresholds", {"0.1": "x"}, "thresholds", "x"),
        ("reference_file", "../x", "reference_file", "../x"),
        ("encoder_files", [], "encoder", "version"),
        ("encoder_files", "x", "encoder_files", "list"),
        ("calibration", "guess", "calibration", "guess", "leave-one-out"),
        ("more", 1, "more", "dimension"),
    ):
        changed = {**values, "privacy": {**values["privacy"], key: value}}
        (place / "bundle.json").write_text(json.dumps(changed), encoding="utf-8")
        with refused(*named):
            Gate.from_bundle(load_bundle(place), 0.1)
    del values["files"]["privacy.safetensors"]
    with refused("here", "privacy.safetensors"):
        parse_manifest(json.dumps(values).encode(), "here")


def test_attaching_fails_whole(parts, tmp_path, monkeypatch):
    place = write_tiny_bundle(tmp_path / "a").folder
    before = {path.name: path.read_bytes() for path in place.iterdir()}
    with refused("training embeddings", "encoder"):
        attach_privacy(place, parts[1], replace(parts[2], encoder_sha256="d" * 64))
    with refused("12", "encoder"):
        attach_privacy(place, parts[1], ReferenceSet.build(checked(normal(20, 0, 12), "training")))
    clash = tmp_path / "other"
    clash.mkdir()
    for path in parts[1].iterdir():
        (clash / path.name).write_bytes(path.read_bytes())
    (clash / "DIT.safetensors").write_bytes(b"x")
    with refused("dit.safetensors"):
        attach_privacy(place, clash, parts[2])
    real = os.replace

    def broken(source, target):
        if os.fspath(target) == os.fspath(place) and "import" in os.fspath(source):
            raise OSError(28, "No space left on device")
        real(source, target)

    monkeypatch.setattr(os, "replace", broken)
    with refused(place, "No space left on device"):
        attach_privacy(place, parts[1], parts[2])
    assert {path.name: path.read_bytes() for path in place.iterdir()} == before


class Script:
    """A gate that says what it is told to, and who remembers whom it judged."""

    def __init__(self, refuse: set[tuple[int, int]]) -> None:
        self.refuse, self.judged = refuse, []

    def judge(self, cine):
        key = (cine.meta["seed"], cine.meta["index"])
        self.judged.append(key)
        return Verdict(0.5, 0.4, 0.05, 0.01, key not in self.refuse, 3, "hash", "e" * 64)


def test_what_is_refused_is_drawn_again(parts):
    generator = Generator(load_bundle(parts[0] / "tiny"))
    request = GenerationRequest(count=3, seed=7, preset="draft", pathology=("NOR", "DCM", None), first_index=2)
    refuse = {(7, 3), (redraw_seed(7, 1), 3), (7, 4)}
    found = generate_gated(generator.generate, request, Script(refuse))
    assert (found.drawn, found.rejected) == (6, 3)
    assert [r.index for r in found.results] == [2, 3, 4]
    assert [r.pathology for r in found.results] == ["NOR", "DCM", None]
    assert [r.seed for r in found.results] == [7, redraw_seed(7, 2), redraw_seed(7, 1)]
    audit = found.results[1].provenance["audit"]
    assert (audit["drawn"], audit["requested_seed"], audit["passed"]) == (3, 7, True)
    assert audit["false_alarm"] == 0.05 and audit["encoder_sha256"] == "e" * 64 and "nearest_hash" not in audit
    assert found.results[1].cine.meta["audit"] == audit
    # the same request and gate give the same bytes, and without the gate the seed of the provenance does too
    again = generate_gated(generator.generate, request, Script(refuse))
    for one, other in zip(found.results, again.results):
        assert one.cine.array.tobytes() == other.cine.array.tobytes() and one.cine.meta == other.cine.meta
    (alone,) = generator.generate(replace(request, count=1, first_index=3, seed=redraw_seed(7, 2), pathology="DCM"))
    assert alone.cine.array.tobytes() == found.results[1].cine.array.tobytes()


def test_it_gives_up_with_a_sentence():
    class Never:
        def judge(self, cine):
            return Verdict(1.0, 0.4, 0.05, 0.01, False, 0, "hash")

    drawn = []

    def generate(request):
        from CardioDiTLib.generation.result import GenerationResult

        drawn.append(request.seed)
        return [GenerationResult(noise_cine(request.seed % 1000), request.seed, 0, None, {"model": "m"}, 0.0)]

    with pytest.raises(CardioDiTError, match="Sample 0 lay too near to a training patient in all of its 4 draws"):
        generate_gated(generate, GenerationRequest(seed=1), Never(), redraws=3)
    assert len(set(drawn)) == 4
    with refused("-1 redraws"):
        generate_gated(generate, GenerationRequest(seed=1), Never(), redraws=-1)


def test_the_audit_travels_with_the_cine(parts, tmp_path):
    generator = Generator(load_bundle(parts[0] / "tiny"))
    found = generate_gated(generator.generate, GenerationRequest(seed=1, preset="draft"), Script(set()))
    for name in ("a.nii.gz", "a.seq.nrrd"):
        save_cine(found.results[0].cine, tmp_path / name)
        assert load_cine(tmp_path / name).meta["audit"] == found.results[0].provenance["audit"]


def test_redraw_seeds_are_seeds():
    seeds = {redraw_seed(seed, attempt) for seed in (0, 1, 2**63 - 1) for attempt in range(1, 50)}
    assert len(seeds) == 147 and all(0 <= seed < 2**63 for seed in seeds)
    assert redraw_seed(7, 1) == 3742714928443552996  # cines that were made once have to stay within reach


def test_a_bundle_can_name_the_encoder_of_the_software_but_no_other(parts, tmp_path):
    place = attached(parts, tmp_path / "a")
    before = load_bundle(place)
    reference = load_reference(before)
    with refused("encoder", "software"):
        attach_privacy(place, place, reference, carry_encoder=False)
    reference = ReferenceSet.build(checked(normal(20, 0, 128), "training"))
    named = attach_privacy(place, None, reference, carry_encoder=False)
    spec = named.manifest.privacy
    assert spec is not None and spec.encoder_files == () and not (place / "encoder.safetensors").exists()
    assert load_encoder_of(named).sha256 == load_encoder(None).sha256 == spec.encoder_sha256

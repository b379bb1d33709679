"""Few steps: changes of low rank, the ways that teach them, the run in pieces, and the bundle that draws with them."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from refusals import refused
from tiny_bundle import DIT, give_few_steps, tiny_manifest, tiny_networks, write_tiny_bundle

from CardioDiTLib.bundles import Bundle, NetworkSpec, load_bundle, write_bundle
from CardioDiTLib.bundles.manifest_parts import FewStepSpec, Preset, SteeredQuantity
from CardioDiTLib.cli import main
from CardioDiTLib.diffusion import ddim
from CardioDiTLib.diffusion.levels import NoiseLevels
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.generation import GenerationRequest, Generator
from CardioDiTLib.generation.plan import make_plan
from CardioDiTLib.models import DiT4D
from CardioDiTLib.models.low_rank import apply_changes, changed_matrices, changes_of, make_changeable
from CardioDiTLib.training import few_step_run
from CardioDiTLib.training.few_step_run import FewStepRun
from CardioDiTLib.training.few_step_stage import FewStepConfig, FewStepStage, way_levels
from CardioDiTLib.training.noise_paths import NoisePaths, PathSettings, draw_paths, read_paths, taught_guidance

NULL = 2
SETTINGS = """
few-steps:
  loop: {steps: 6, seed: 0, warmup_steps: 1, validate_every: 3, log_every: 1, precision: fp32}
  stage:
    paths: {count: 8, file_size: 4, batch: 2, steps: 8, guidance: 2.0, seed: 3}
    ways: [[0, 2, 5], [0, 4]]
    rank: 2
    batch: 4
presets: {draft: 3}
"""


def changed_network(rank: int = 2, seed: int = 0) -> torch.nn.Module:
    """The tiny transformer with changes that are not zero."""
    dit = copy.deepcopy(tiny_networks()[1])
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(seed)
        for parameter in make_changeable(dit, rank):
            parameter.copy_(torch.randn_like(parameter) * 0.1)
    return dit


def test_changes_that_are_stored_make_the_network_that_was_trained():
    plain, changed = tiny_networks()[1], changed_network()
    x, t, y = torch.randn(2, 4, 3, 8, 8, 4), torch.tensor([3.0, 500.0]), torch.tensor([0, 1])
    before, wanted = plain(x, t, y), changed(x, t, y).detach()
    apply_changes(plain, changes_of(changed), "it")
    torch.testing.assert_close(plain(x, t, y), wanted, rtol=1e-4, atol=1e-5)
    assert float((before - wanted).abs().max()) > 1e-2


def test_at_first_nothing_is_changed_and_only_the_changes_are_trained():
    dit = copy.deepcopy(tiny_networks()[1])
    x, t = torch.randn(1, 4, 3, 8, 8, 4), torch.tensor([10.0])
    before = dit(x, t)
    trained = make_changeable(dit, 3)
    torch.testing.assert_close(dit(x, t), before)
    assert len(trained) == 2 * len(changed_matrices(dit))
    assert {id(p) for p in dit.parameters() if p.requires_grad} == {id(p) for p in trained}


@pytest.mark.parametrize("wrong", ["absent", "unknown", "shape", "nan", "nothing"])
def test_changes_of_another_network_are_refused_and_nothing_is_changed(wrong):
    plain, state = tiny_networks()[1], changes_of(changed_network())
    first = next(iter(sorted(state)))
    if wrong == "absent":
        del state[first]
    elif wrong == "unknown":
        state["pos_embed.up"] = state.pop(first)
    elif wrong == "shape":
        state[first] = state[first][:, :-1]
    elif wrong == "nan":
        state[first] = torch.full_like(state[first], float("nan"))
    else:
        state = {}
    before = copy.deepcopy(plain.state_dict())
    with pytest.raises(CardioDiTError) as caught:
        apply_changes(plain, state, "'few.safetensors'")
    assert "few.safetensors" in caught.value.message and caught.value.hint
    assert all(torch.equal(value, before[name]) for name, value in plain.state_dict().items())


@pytest.mark.parametrize("ways", [(), ([1, 3],), ([0, 3, 2],), ([0, 8],), ([0, 2, 4], [0, 4])])
def test_ways_that_lead_nowhere_or_cannot_be_told_apart_are_refused(ways):
    with pytest.raises(CardioDiTError):
        FewStepConfig(paths=PathSettings(steps=8), ways=ways)


def test_a_specification_names_each_number_of_steps_once():
    spec = FewStepSpec("few.safetensors", 1.5, ((-9.0, 0.0), (-8.0, -4.0, 1.0)))
    assert spec.way(2) == (-9.0, 0.0) and spec.way(None) == (-8.0, -4.0, 1.0) and spec.way(4) is None
    for ways in ((), ((),), ((0.0, -9.0),), ((-9.0, 0.0), (-8.0, 1.0))):
        with pytest.raises(CardioDiTError):
            FewStepSpec("few.safetensors", 1.5, ways)


FEW = {
    "few_steps": FewStepSpec("few_steps.safetensors", 2.0, ((-9.0, -3.0, 0.0), (-8.0, -1.0))),
    "presets": {"draft": Preset(3, "few_steps", 2.0), "standard": Preset(4, "dpmpp_2m", 2.0)},
}


@pytest.mark.parametrize(
    ("values", "steps", "sampler", "added"),
    [
        ({"preset": "draft", "pathology": "NOR"}, 3, "few_steps", 1.0),
        ({"preset": "draft", "pathology": "NOR", "guidance": 2.0}, 3, "few_steps", 1.0),
        ({"preset": "draft", "steps": 2}, 2, "few_steps", 1.0),
        ({"sampler": "few_steps"}, 3, "few_steps", 1.0),
        ({"preset": "draft", "steps": 7, "pathology": "NOR"}, 7, "dpmpp_2m", 2.0),
        ({"preset": "draft", "sampler": "ddim", "pathology": "NOR"}, 12, "ddim", 2.0),
        ({"preset": "draft", "pathology": "NOR", "guidance": 1.0}, 12, "dpmpp_2m", 1.0),
        ({"pathology": "NOR"}, 4, "dpmpp_2m", 2.0),
    ],
)
def test_few_steps_are_taken_where_they_were_taught(values, steps, sampler, added):
    plan = make_plan(GenerationRequest(**values), tiny_manifest(**FEW), NULL)
    assert (plan.steps, plan.sampler, plan.added_guidance) == (steps, sampler, added)
    assert plan.few_steps == (sampler == "few_steps") and len(plan.way) == (steps if plan.few_steps else 0)
    assert bool(plan.warnings) == (values.get("guidance") == 1.0)


@pytest.mark.parametrize("values", [{"steps": 9}, {"guidance": 1.0, "pathology": "NOR"}])
def test_the_sampler_asked_for_by_name_does_nothing_else(values):
    with pytest.raises(CardioDiTError) as caught:
        make_plan(GenerationRequest(sampler="few_steps", **values), tiny_manifest(**FEW), NULL)
    assert caught.value.hint
    with pytest.raises(CardioDiTError):
        make_plan(GenerationRequest(sampler="few_steps"), tiny_manifest(), NULL)


def test_a_task_that_begins_elsewhere_goes_the_whole_way():
    plan = make_plan(GenerationRequest(preset="draft", pathology="NOR"), tiny_manifest(**FEW), NULL, whole_way=True)
    assert (plan.sampler, plan.steps, plan.added_guidance, plan.warnings) == ("dpmpp_2m", 12, 2.0, ())


def test_each_step_is_asked_for_where_the_teacher_arrives(tmp_path):
    bundle = write_tiny_bundle(tmp_path / "tiny")
    paths = PathSettings(count=8, file_size=4, batch=4, steps=8, guidance=2.0)
    config = FewStepConfig(paths=paths, ways=([0, 2, 5], [0, 4]), rank=2, batch=4)
    assert draw_paths(bundle, tmp_path / "ways", paths, config.kept)
    data = read_paths(tmp_path / "ways", paths)
    assert data.seen.shape == (8, 5, 4, 3, 8, 8, 4) and config.kept == [0, 2, 4, 5, 8] and data.aside == 4
    stage = FewStepStage(config, bundle, data)
    assert stage.ways == way_levels(config, bundle) and stage.ways[1][0] == pytest.approx(stage.ways[0][0] + 1.0)
    # what is trained as a step is what the generator runs: DDIM between the levels of the way
    for way, log_snr in zip(stage.steps, stage.ways):
        levels = NoiseLevels.at(bundle.schedule, bundle.schedule.t_of_log_snr(np.array(log_snr)).tolist())
        x = noise = data.seen[:4, 0].double()
        said = [torch.randn_like(x) for _ in way]
        for step, clean in zip(way, said):
            x = step.arrived(x, clean)
        answers = iter(said)
        torch.testing.assert_close(ddim(lambda _x, _t, answers=answers: next(answers), noise, levels), x)
        assert [step.t for step in way] == pytest.approx(levels.t[:-1].tolist())
    # the folder belongs to what was drawn
    with pytest.raises(CardioDiTError):
        draw_paths(bundle, tmp_path / "ways", PathSettings(count=8, file_size=4, batch=4, steps=9), config.kept)


def tiny_of(folder: Path, quantities: tuple[SteeredQuantity, ...] = (), **params) -> Bundle:
    """A tiny bundle whose transformer has other parameters, and no classes where it takes none."""
    vqgan, _, scale = tiny_networks()
    with torch.random.fork_rng():
        torch.manual_seed(5)
        dit = DiT4D(**{**DIT, **params})
        for parameter in dit.parameters():
            if not bool(parameter.any()):
                torch.nn.init.normal_(parameter, std=0.3)
    named = {} if dit.num_classes else {"class_names": (), "class_titles": ()}
    spec = NetworkSpec("DiT4D", {**DIT, **params}, "dit.safetensors")
    manifest = tiny_manifest(name=folder.name, dit=spec, quantities=quantities, **named)
    return write_bundle(folder, manifest, vqgan, dit.eval(), scale, model_card="# Tiny\n", storage="fp32")


NO_CLASSES = {"num_classes": 0, "class_dropout_prob": 0.0}
VOLUME = SteeredQuantity("edv_ml", "volume", "mL", low=50, high=220, usual_low=60, usual_high=200)


def test_a_bundle_of_quantities_alone_is_taught_guidance_towards_them(tmp_path):
    bundle = tiny_of(tmp_path / "tiny", (VOLUME,), num_conditions=1, **NO_CLASSES)
    made = []
    for guidance in (1.0, 3.0):
        paths = PathSettings(
            count=4, file_size=2, batch=2, steps=4, guidance=guidance, asked_share=1.0, left_out_share=0.0
        )
        assert taught_guidance(bundle, paths) == guidance
        draw_paths(bundle, tmp_path / f"{guidance:g}", paths, [0, 4])
        made.append(read_paths(tmp_path / f"{guidance:g}", paths))
    assert torch.equal(made[0].conditions, made[1].conditions) and torch.equal(made[0].seen[:, 0], made[1].seen[:, 0])
    assert not torch.allclose(made[0].seen[:, 1].float(), made[1].seen[:, 1].float(), atol=0.1)


def test_without_classes_and_quantities_no_guidance_is_taught(tmp_path):
    bundle = tiny_of(tmp_path / "tiny", **NO_CLASSES)
    settings = tmp_path / "few.yaml"
    settings.write_text(SETTINGS, encoding="utf-8")
    assert FewStepRun(settings, bundle.folder, tmp_path / "run").spec.guidance == 1.0


def test_classes_without_one_for_none_are_drawn_as_they_are(tmp_path):
    bundle = tiny_of(tmp_path / "tiny", class_dropout_prob=0.0)
    paths = PathSettings(count=8, file_size=4, batch=4, steps=3)
    draw_paths(bundle, tmp_path / "ways", paths, [0, 3])
    assert set(read_paths(tmp_path / "ways", paths).labels.tolist()) == {0, 1}


@pytest.mark.parametrize(
    "schedule",
    [
        {"name": "flow_matching", "num_train_timesteps": 1000},
        {"name": "cosine", "num_train_timesteps": 300, "continuous": True, "zero_terminal_snr": True},
    ],
    ids=["flow", "zero"],
)
def test_a_schedule_that_begins_in_noise_alone_is_refused(tmp_path, schedule):
    bundle = write_tiny_bundle(tmp_path / "tiny", schedule=schedule)
    settings = tmp_path / "few.yaml"
    settings.write_text(SETTINGS, encoding="utf-8")
    with refused("noise alone"):
        FewStepRun(settings, bundle.folder, tmp_path / "run")


def test_a_student_is_asked_as_it_was_taught_without_estimates_of_its_own(tmp_path):
    bundle = tiny_of(tmp_path / "tiny", self_conditioning=True, qk_norm="rms")
    bundle = give_few_steps(bundle.folder)
    network, given = bundle.few_step_dit, []
    assert network is not None
    network.register_forward_pre_hook(lambda _m, _x, named: given.append(named.get("x_self_cond")), with_kwargs=True)
    Generator(bundle, device="cpu", precision="fp32").generate(GenerationRequest(sampler="few_steps", steps=2))
    assert given == [None, None]


def teach(folder: Path, minutes: str | None = None) -> Path:
    """The bundle of a folder, taught to the end."""
    bundle = write_tiny_bundle(folder / "tiny").folder
    settings = folder / "few.yaml"
    settings.write_text(SETTINGS, encoding="utf-8")
    words = ["train", "few-steps", "--bundle", bundle, "--config", settings, "--out", folder / "run"]
    words += [] if minutes is None else ["--minutes", minutes]
    for _ in range(40):
        assert main([str(word) for word in words]) == 0
        if load_bundle(bundle).manifest.few_steps is not None:
            return bundle
    raise AssertionError("it never ends")


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return teach(tmp_path_factory.mktemp("taught"))


def test_pieces_end_with_the_same_bytes(taught, tmp_path):
    pieces = teach(tmp_path, "0.0001")
    assert (pieces / "few_steps.safetensors").read_bytes() == (taught / "few_steps.safetensors").read_bytes()
    assert (pieces / "dit.safetensors").read_bytes() == (taught / "dit.safetensors").read_bytes()


def test_the_taught_bundle_draws_in_few_steps_and_says_so(taught, monkeypatch):
    bundle = load_bundle(taught)
    assert bundle.manifest.presets["draft"] == Preset(3, "few_steps", 2.0)
    assert bundle.manifest.provenance["few_steps"] == 6 and bundle.manifest.few_steps is not None
    generator = Generator(bundle, device="cpu", precision="fp32")
    calls: list[int] = []
    network = bundle.few_step_dit
    assert network is not None
    network.register_forward_pre_hook(lambda module, given: calls.append(len(given[0])))
    request = GenerationRequest(seed=5, preset="draft", pathology="DCM", count=2)
    first, second = generator.generate(request)
    assert calls == [2, 2, 2]  # no second half for guidance
    assert (first.provenance["sampler"], first.provenance["steps"]) == ("few_steps", 3)
    assert first.provenance["guidance"] == 2.0
    again = Generator(load_bundle(taught), device="cpu", precision="fp32").generate(request)
    assert np.array_equal(again[1].cine.array, second.cine.array)
    # all other requests are what they were
    plain = [generator.generate(GenerationRequest(seed=5, pathology="DCM"))[0].cine.array]
    manifest = json.loads((taught / "bundle.json").read_text(encoding="utf-8"))
    assert len(manifest["files"]) == 5 and not np.array_equal(plain[0], first.cine.array)


def test_teacher_and_student_are_on_the_device_of_the_settings(tmp_path, monkeypatch):
    bundle = write_tiny_bundle(tmp_path / "tiny")
    settings = tmp_path / "few.yaml"
    settings.write_text(SETTINGS.replace("precision: fp32", "precision: fp32, device: meta"), encoding="utf-8")
    seen: list[set[str]] = []

    def places(network: torch.nn.Module) -> set[str]:
        return {parameter.device.type for parameter in network.parameters()}

    def stopped(teacher: Bundle, *_: object, **__: object) -> bool:
        seen.append(places(teacher.dit))
        return False

    monkeypatch.setattr(few_step_run, "draw_paths", stopped)
    run = FewStepRun(settings, bundle.folder, tmp_path / "run")
    assert not run.train() and seen == [{"meta"}]
    data = NoisePaths(torch.zeros(8, 5, 4, 3, 8, 8, 4), torch.zeros(8, dtype=torch.int64), torch.zeros(8, 0), 4)
    assert places(FewStepStage(run.settings.stage, run.bundle, data).dit) == {"meta"}


def test_training_brings_the_student_nearer_to_the_teacher(tmp_path):
    bundle = write_tiny_bundle(tmp_path / "tiny")
    paths = PathSettings(count=48, file_size=16, batch=16, steps=6, guidance=1.0, asked_share=0.0)
    config = FewStepConfig(paths=paths, ways=([0, 3],), rank=8, batch=16, lr=5e-3, average_decay=0.9)
    draw_paths(bundle, tmp_path / "ways", paths, config.kept)
    stage = FewStepStage(config, bundle, read_paths(tmp_path / "ways", paths))
    from CardioDiTLib.training.loop import LoopConfig, Trainer

    loop = LoopConfig(steps=120, warmup_steps=5, validate_every=1000, save_every_s=1e9, device="cpu", precision="fp32")
    trainer = Trainer(stage, loop, tmp_path / "run")
    before = stage.validate(trainer._context(0, 0))["error_2"]
    after = trainer.run()["error_2"]
    assert after < 0.7 * before

"""Requests: what can be asked for, and what a bundle makes of it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from refusals import refused
from tiny_bundle import DIT, tiny_manifest

from CardioDiTLib.bundles import NetworkSpec
from CardioDiTLib.bundles.manifest_parts import SteeredQuantity
from CardioDiTLib.diffusion import SAMPLERS
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.generation import GenerationRequest
from CardioDiTLib.generation.memory import batch_sizes
from CardioDiTLib.generation.plan import make_plan
from CardioDiTLib.generation.request import SAMPLER_NAMES

NULL = 2


def test_json_and_back_is_the_same_request():
    request = GenerationRequest(count=2, seed=7, steps=5, pathology=["DCM", None], guidance=1.5, batch_size=3)
    again = GenerationRequest.from_dict(json.loads(json.dumps(request.to_dict())))
    assert again == request and again.pathology == ("DCM", None)
    assert GenerationRequest.from_dict({}) == GenerationRequest()


@pytest.mark.parametrize(
    "values",
    [
        {"count": 0},
        {"count": 1.0},
        {"count": True},
        {"seed": -1},
        {"seed": 2**63},
        {"steps": 0},
        {"steps": "25"},
        {"sampler": "leapfrog"},
        {"precision": "int4"},
        {"batch_size": 0},
        {"batch_size": "big"},
        {"memory_budget_gb": 0},
        {"guidance": float("nan")},
        {"preview_every": -1},
        {"pathology": 3},
        {"pathology": ["DCM"], "count": 2},
        {"pathology": [1, 2], "count": 2},
        {"preset": None},
        {"device": 0},
        {"colour": "red"},
    ],
)
def test_impossible_requests_are_refused_by_name(values):
    with pytest.raises(CardioDiTError) as caught:
        GenerationRequest.from_dict(values)
    assert next(iter(values)) in str(caught.value) and caught.value.hint


def test_sampler_names_are_those_of_the_samplers():
    assert set(SAMPLER_NAMES) == {*SAMPLERS, "few_steps"}


def test_a_request_needs_no_torch():
    code = "import sys, CardioDiTLib as cd\ncd.GenerationRequest(seed=3)\nassert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_preset_fills_what_the_request_leaves_open():
    plan = make_plan(GenerationRequest(pathology="dcm"), tiny_manifest(), NULL)
    assert (plan.steps, plan.sampler, plan.spacing, plan.guidance) == (4, "dpmpp_2m", "wide_angle", 2.0)
    assert plan.labels == (1,) and plan.pathologies == ("DCM",)
    plan = make_plan(
        GenerationRequest(preset="draft", steps=9, sampler="ddpm", guidance=0.5, pathology="NOR"), tiny_manifest(), NULL
    )
    assert (plan.steps, plan.sampler, plan.spacing, plan.guidance) == (9, "ddpm", "angle", 0.5)


def test_a_part_of_a_request_asks_of_each_sample_what_the_whole_asks():
    whole = GenerationRequest(
        count=4, seed=3, first_index=10, pathology=["NOR", None, "DCM", "NOR"], edv_ml=(80, 90, 100, 110), ef_percent=50
    )
    part = whole.part(1, 2)
    assert (part.count, part.first_index, part.seed, part.pathology) == (2, 11, 3, (None, "DCM"))
    assert [part.quantities(sample) for sample in range(2)] == [whole.quantities(sample) for sample in (1, 2)]
    assert whole.part(0, 4) == whole


def test_without_a_pathology_there_are_no_labels_and_no_guidance():
    plan = make_plan(GenerationRequest(count=2), tiny_manifest(), NULL)
    assert plan.labels is None and plan.guidance == 1.0 and plan.pathologies == (None, None)
    with refused(2, "pathology"):
        make_plan(GenerationRequest(guidance=2.0), tiny_manifest(), NULL)


def test_samples_may_differ_in_pathology():
    request = GenerationRequest(count=3, pathology=["NOR", None, "DCM"])
    plan = make_plan(request, tiny_manifest(), NULL)
    assert plan.labels == (0, NULL, 1) and plan.pathologies == ("NOR", None, "DCM")
    with refused("tiny", "pathology"):
        make_plan(request, tiny_manifest(), None)


@pytest.mark.parametrize(
    ("values", "word"),
    [({"pathology": "HCM"}, "NOR, DCM"), ({"preset": "best"}, "draft, standard, high")],
)
def test_what_the_bundle_has_not_is_said_with_what_it_has(values, word):
    with pytest.raises(CardioDiTError, match=word):
        make_plan(GenerationRequest(**values), tiny_manifest(), NULL)


def test_a_model_that_cannot_be_guided_is_not():
    assert make_plan(GenerationRequest(pathology="NOR"), tiny_manifest(), None).guidance == 1.0
    with refused("tiny", "guidance"):
        make_plan(GenerationRequest(pathology="NOR", guidance=2.0), tiny_manifest(), None)
    dit = NetworkSpec("DiT4D", {**DIT, "num_classes": 0}, "dit.safetensors")
    with refused("tiny", "pathologies"):
        make_plan(GenerationRequest(pathology="NOR"), tiny_manifest(dit=dit, class_names=(), class_titles=()), None)


def test_batches_keep_to_the_budget_and_add_up():
    assert batch_sizes(GenerationRequest(count=7, memory_budget_gb=1.0), 300_000_000) == [3, 3, 1]
    assert batch_sizes(GenerationRequest(count=2, memory_budget_gb=1e-6), 300_000_000) == [1, 1]
    assert batch_sizes(GenerationRequest(count=20, memory_budget_gb=100), 1) == [8, 8, 4]
    assert batch_sizes(GenerationRequest(count=20, batch_size=20), 10**12) == [20]


@pytest.mark.parametrize(
    ("null", "steered", "named"),
    [(None, True, "a quantity"), (NULL, True, "a pathology or a quantity"), (NULL, False, "a pathology")],
)
def test_guidance_without_anything_asked_for_says_what_could_be(null, steered, named):
    more = {}
    if steered:
        volume = SteeredQuantity("edv_ml", "volume", "mL", low=50, high=220, usual_low=60, usual_high=200)
        params = {**DIT, "num_conditions": 1}
        more = {"quantities": (volume,), "dit": NetworkSpec("DiT4D", params, "dit.safetensors")}
    with refused(named):
        make_plan(GenerationRequest(guidance=2.0), tiny_manifest(**more), null)

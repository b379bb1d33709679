"""The embedded model of public-domain images: whole, free, without classes and labels, and it draws a ventricle."""

from __future__ import annotations

import numpy as np
import pytest
from refusals import refused

import CardioDiTLib as cd
from CardioDiTLib import GenerationRequest, Generator
from CardioDiTLib.bundles import list_bundles, load_bundle, verify
from CardioDiTLib.generation.heart_quantities import QUANTITIES, heart_quantities
from CardioDiTLib.labels import LV

NAME = "open-mini"


@pytest.fixture(scope="module")
def results():
    return Generator.from_bundle(NAME, device="cpu", precision="fp32").generate(GenerationRequest(count=3, seed=21))


def test_it_is_whole_and_small():
    assert NAME in [entry.name for entry in list_bundles()]
    assert verify(NAME) == []
    folder = load_bundle(NAME).folder
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 12_000_000


def test_it_is_free_and_says_what_it_lacks():
    bundle = load_bundle(NAME)
    assert bundle.manifest.licence.name == "CC0 1.0" and not bundle.manifest.licence.needs_acceptance
    for said in ("Sunnybrook", "not recorded", "segmentation network", "CPU", "gives these hearts away"):
        assert said.lower() in bundle.model_card.lower(), said


def test_it_has_no_classes_and_no_labels_and_can_be_steered(results):
    bundle = load_bundle(NAME)
    assert bundle.manifest.class_names == () and bundle.manifest.refiner is None
    assert tuple(one.name for one in bundle.manifest.quantities) == QUANTITIES
    assert all(result.segmentation is None for result in results)
    with refused("pathology"):
        Generator(bundle, device="cpu").generate(GenerationRequest(pathology="DCM"))


def measured(results):
    """EDV, EF of each, and slices that show the cavity in every frame, by the segmentation network."""
    for result in results:
        labels = cd.segment(result.cine, mirrored=False, posed=False).array
        cavity = (labels == LV).any(axis=(2, 3)).sum(axis=1)
        yield *heart_quantities(labels, result.cine.spacing)[:2], int(cavity.min())


def test_the_segmentation_network_sees_a_ventricle_that_beats(results):
    for edv, ef, slices in measured(results):
        assert 40 < edv < 400 and 5 < ef < 90 and slices >= 4


def test_a_large_heart_that_is_asked_for_is_larger_than_a_small_one():
    generator = Generator.from_bundle(NAME, device="cpu", precision="fp32")
    small, large = (
        np.mean([edv for edv, _, _ in measured(generator.generate(GenerationRequest(count=2, seed=5, edv_ml=edv_ml)))])
        for edv_ml in (90, 260)
    )
    assert large > 1.2 * small

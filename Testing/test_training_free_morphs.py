"""Morphs without a class: of any size and beat, so that volume and ejection fraction vary apart from one another."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from test_data_morph import SIZE, pair

from CardioDiTLib.data.morph import blood_gain
from CardioDiTLib.data.packing import PackedCines
from CardioDiTLib.generation.heart_quantities import heart_quantities
from CardioDiTLib.training.dit_stage import DitStage
from CardioDiTLib.training.latent_augmentation import LatentAugmentation, morphed

FRAMES = 16
STILL_VIEW = {"turn_deg": 0.0, "scale": 0.0, "shift_px": 0.0, "gamma": 0.0}


@pytest.fixture(scope="module")
def pairs():
    return [pair(18, 13), pair(20, 14), pair(24, 21), pair(25, 22)]


@pytest.fixture(scope="module")
def pack(pairs):
    count = len(pairs)
    return PackedCines(
        images=np.stack([np.repeat(one.images[:1], FRAMES, axis=0) for one in pairs]),
        labels=np.stack([np.repeat(one.labels[:1], FRAMES, axis=0) for one in pairs]),
        slice_valid=np.ones((count, 4), bool),
        groups=np.array([0, 0, 1, 1]),
        group_names=("NOR", "DCM"),
        validation=np.zeros(count, bool),
        spacing=(1.5, 1.5, 10.0),
        cycle_s=np.full(count, 0.9),
        turn_deg=np.zeros(count),
        affine=None,
    )


def drawn(pack, pairs, ranges, count=12):
    made = [morphed(pack, pairs, 0, [1, 2, 3], SIZE, np.random.default_rng(seed), ranges) for seed in range(count)]
    measured = np.array([heart_quantities(labels, pack.spacing)[:2] for _, labels, _ in made])
    return measured, [group for _, _, group in made]


def test_a_morph_of_a_class_stays_in_its_class(pack, pairs):
    measured, groups = drawn(pack, pairs, LatentAugmentation(morphs=True, **STILL_VIEW))
    assert set(groups) == {0}
    own = [heart_quantities(np.stack([one.labels[0], one.labels[1]]), pack.spacing)[:2] for one in pairs[:2]]
    low, high = np.min(own, axis=0), np.max(own, axis=0)
    assert np.all(measured[:, 0] > 0.93 * low[0]) and np.all(measured[:, 0] < 1.07 * high[0])
    assert np.all(abs(measured[:, 1] - np.mean(own, axis=0)[1]) < 6)


def test_a_free_morph_has_no_class_and_another_size_and_beat(pack, pairs):
    ranges = LatentAugmentation(morphs=True, free_share=1.0, **STILL_VIEW)
    measured, groups = drawn(pack, pairs, ranges)
    assert set(groups) == {-1}
    bound, _ = drawn(pack, pairs, LatentAugmentation(morphs=True, **STILL_VIEW))
    assert np.all(measured.std(axis=0) > 2 * bound.std(axis=0))
    assert measured[:, 1].min() < 0.6 * bound[:, 1].min()


def test_a_share_of_them_is_free(pack, pairs):
    _, groups = drawn(pack, pairs, LatentAugmentation(morphs=True, free_share=0.5, **STILL_VIEW))
    assert 2 <= groups.count(-1) <= 10


def test_a_share_of_the_patients_has_the_ventricles_of_another(pack, pairs):
    """The donor's muscle is brighter: it shows in as many morphs as were asked for."""
    bright = replace(pairs[1], images=np.where(pairs[1].labels == 2, 100, pairs[1].images).astype(np.uint8))
    muscle = []
    for seed in range(10):
        ranges = LatentAugmentation(morphs=True, transplant_share=0.5, **STILL_VIEW)
        images, labels, _ = morphed(pack, [pairs[0], bright], 0, [1], SIZE, np.random.default_rng(seed), ranges)
        muscle.append(np.median((images[0][labels[0] == 2] + 1) * 127.5))
    low, high = blood_gain(pairs[0]) * 60, blood_gain(bright) * 100
    from_donor = [abs(grey - high) < abs(grey - low) for grey in muscle]
    assert 1 <= sum(from_donor) <= 9
    assert all(min(abs(grey - low), abs(grey - high)) < 5 for grey in muscle)


def asked_of(groups):
    data = SimpleNamespace(quantities=torch.ones(400, 4), groups=groups)
    config = SimpleNamespace(condition_dropout=1.0, quantity_dropout=0.0)
    stage = SimpleNamespace(data=data, buckets=[SimpleNamespace(data=data, train=np.arange(400))], config=config)
    return DitStage._asked(stage, np.arange(400), SimpleNamespace(rng=np.random.default_rng(0)))


def test_only_hearts_with_a_class_are_learned_with_nothing_asked():
    """What comes out when nothing is asked for must not be hearts that were made small and weak on purpose."""
    asked = asked_of(torch.arange(400) % 2 - 1)
    assert torch.isnan(asked[1::2]).all() and torch.isfinite(asked[::2]).all()


def test_where_no_heart_has_a_class_all_are_learned_with_nothing_asked():
    assert torch.isnan(asked_of(torch.full((400,), -1))).all()

"""Transplants: one patient's ventricles in another's surroundings, where the other's were."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from CardioDiTLib.data.cine_from_pair import PosedPair
from CardioDiTLib.data.morph import blood_gain, find_morph
from CardioDiTLib.data.transplant import transplant
from Testing.test_data_morph import SIZE, pair

AROUND, MUSCLE = 20, 60


@pytest.fixture
def host() -> PosedPair:
    return pair(18, 13)


@pytest.fixture
def donor() -> PosedPair:
    """A larger heart with brighter blood and muscle in brighter surroundings, with a dark papillary muscle."""
    other = pair(22, 16, blood=200.0)
    images = np.where(other.labels == 2, 90, other.images)
    images = np.where(other.labels == 0, 130, images).astype(np.uint8)
    return replace(other, images=images)


def test_ventricles_are_the_donors_and_surroundings_the_hosts(host, donor):
    made = transplant(host, donor)
    assert made is not None
    for phase in range(2):
        inside = made.labels[phase] == 2
        gain = blood_gain(donor) / blood_gain(host)
        assert np.median(made.images[phase][inside]) == pytest.approx(90 * gain, abs=4)
    # Beyond the soft edge nothing has changed.
    far = np.zeros((SIZE, SIZE), bool)
    far[:10], far[-10:] = True, True
    np.testing.assert_array_equal(made.images[..., far], host.images[..., far])
    assert (made.images[..., far] == AROUND).all()


def test_the_heart_lies_where_the_hosts_lay_and_keeps_its_blood_and_motion(host, donor):
    made = transplant(host, donor)
    assert made is not None
    for phase in range(2):
        for label in (1, 2, 3):
            one, other = made.labels[phase] == label, host.labels[phase] == label
            assert 2 * (one & other).sum() / (one.sum() + other.sum()) > 0.9
    assert blood_gain(made) == pytest.approx(blood_gain(host), rel=0.03)
    assert made.displacement is host.displacement and made.systole == host.systole
    # The host himself is left as he was.
    assert set(np.unique(host.images)) == {AROUND, MUSCLE, 180}


def test_a_slice_in_which_the_donor_has_no_ventricle_stays_the_hosts(host, donor):
    images, labels = donor.images.copy(), donor.labels.copy()
    images[:, -1], labels[:, -1] = 130, 0
    made = transplant(host, replace(donor, images=images, labels=labels))
    assert made is not None
    np.testing.assert_array_equal(made.images[:, -1], host.images[:, -1])
    np.testing.assert_array_equal(made.labels[:, -1], host.labels[:, -1])
    assert (made.images[:, 0] != host.images[:, 0]).any()


def test_a_donor_who_cannot_be_led_there_without_a_fold_gives_nothing(host, donor, monkeypatch):
    folded = replace(find_morph(donor, host), most=0.6)
    monkeypatch.setattr("CardioDiTLib.data.transplant.find_morph", lambda source, target: folded)
    assert transplant(host, donor) is None

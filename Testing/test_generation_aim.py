"""Steered hearts are drawn again to measure nearer to what was asked."""

from __future__ import annotations

import math

import numpy as np
import pytest

from CardioDiTLib.bundles.manifest_parts import SteeredQuantity
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.generation.aim import Aim
from CardioDiTLib.generation.request import GenerationRequest

QUANTITIES = (
    SteeredQuantity("edv_ml", "volume", "mL", low=50, high=350, usual_low=80, usual_high=280),
    SteeredQuantity("ef_percent", "EF", "%", low=5, high=78, usual_low=10, usual_high=70),
)


def test_a_network_that_answers_too_weakly_is_led_to_the_aim():
    """It gives 60 % of what it is asked beside the mean heart, as steered networks do."""
    aim = Aim.of((220.0, 30.0), QUANTITIES)
    middle, condition = np.array([140.0, 50.0]), np.array([220.0, 30.0])
    errors = []
    for _ in range(4):
        measured = middle + 0.6 * (condition - middle)
        errors.append(aim.error(measured))
        condition = aim.next(condition, measured)
    assert errors[0] > 0.1 and errors[2] < 0.4 * errors[0] and errors[3] < errors[2]
    assert aim.is_met((221.0, 30.2)) and not aim.is_met((200.0, 30.0))


def test_what_was_not_asked_stays_open():
    aim = Aim.of((math.nan, 30.0), QUANTITIES)
    assert aim.error((999.0, 30.0)) == 0
    changed = aim.next(np.array([math.nan, 30.0]), (999.0, 40.0))
    assert math.isnan(changed[0]) and changed[1] < 30
    assert Aim.of((math.nan, math.nan), QUANTITIES).is_open


def test_nothing_is_asked_far_beyond_what_was_seen_and_nothing_follows_from_no_measurement():
    aim = Aim.of((340.0, 75.0), QUANTITIES)
    condition = np.array([340.0, 75.0])
    for _ in range(20):
        condition = aim.next(condition, (100.0, 20.0))
    assert condition[0] <= 350 + 0.3 * 200 + 1e-9 and condition[1] <= 78 + 0.3 * 60 + 1e-9
    np.testing.assert_array_equal(aim.next(condition, (math.nan, math.nan)), condition)
    assert aim.error((math.nan, 20.0)) == math.inf


@pytest.mark.parametrize("value", [-1, 1.5, 21, True])
def test_impossible_numbers_of_draws_are_refused(value):
    with pytest.raises(CardioDiTError, match="adjust"):
        GenerationRequest(adjust=value)

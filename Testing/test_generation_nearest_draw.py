"""Hearts are drawn again until they measure what was asked, or often enough."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from CardioDiTLib.bundles.manifest_parts import SteeredQuantity
from CardioDiTLib.generation.aim import Aim
from CardioDiTLib.generation.heart_quantities import QUANTITIES as NAMES
from CardioDiTLib.generation.nearest_draw import Drawn, nearest_draw

QUANTITIES = tuple(SteeredQuantity(name, name, "", low=50, high=350, usual_low=80, usual_high=280) for name in NAMES)
SPACING = (1.0, 1.0, 10.0)


def heart(edv_ml: float) -> Drawn:
    """A cavity of so many mL at end-diastole, in a picture of its own."""
    labels = np.zeros((2, 1, 200, 200), np.uint8)
    labels[0].flat[: round(edv_ml * 100)] = 3
    labels[1].flat[:100] = 3
    return Drawn(torch.zeros(1), np.full((1, 1, 1, 1), round(edv_ml), np.int16), labels)


def drawn_for(asked: float, first: float, answers: list[float], *, from_measured: bool, most: int = 3):
    questions, spared, waiting = [], [], list(answers)

    def again(drawn, question):
        questions.append(float(question[0]))
        return heart(waiting.pop(0))

    best = nearest_draw(
        heart(first),
        Aim.of((asked, math.nan, math.nan, math.nan), QUANTITIES),
        again,
        SPACING,
        most,
        from_measured=from_measured,
        spared=spared.append,
    )
    return int(best.array.flat[0]), questions, spared


def test_a_heart_that_can_be_led_is_led_beyond_the_aim_and_then_for_the_rest():
    best, questions, spared = drawn_for(200, 120, [180, 199], from_measured=True)
    assert best == 199 and questions == pytest.approx([240, 210]) and spared == [1]


def test_a_network_that_is_asked_again_is_asked_for_more_at_once():
    best, questions, _ = drawn_for(200, 180, [190, 199], from_measured=False)
    assert best == 199 and questions == pytest.approx([216, 224])


def test_the_nearest_is_kept_of_equals_the_first_and_a_hit_is_not_drawn_again():
    assert drawn_for(200, 180, [160, 150, 140], from_measured=True)[0] == 180
    assert drawn_for(200, 180, [150, 190, 140], from_measured=True)[0] == 190
    assert drawn_for(200, 201, [], from_measured=True) == (201, [], [3])


def test_where_nothing_is_measured_nothing_follows():
    assert drawn_for(200, 0, [], from_measured=True) == (0, [], [3])


def test_a_bundle_that_knows_some_of_the_quantities_is_held_to_these():
    some = (QUANTITIES[1], QUANTITIES[0])  # in an order of its own
    aim = Aim.of((math.nan, 200.0), some)
    measured = aim.measured(heart(120).labels, SPACING)
    assert len(measured) == 2 and measured[1] == pytest.approx(120)
    best = nearest_draw(
        heart(120), aim, lambda drawn, question: heart(199), SPACING, 1, from_measured=True, spared=lambda count: None
    )
    assert int(best.array.flat[0]) == 199
    unknown = SteeredQuantity("atrium_ml", "atrium", "mL", low=1, high=9, usual_low=2, usual_high=8)
    assert math.isnan(Aim.of((5.0,), (unknown,)).measured(heart(120).labels, SPACING)[0])

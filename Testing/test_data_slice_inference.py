"""The square about a heart that networks look at: where it lies, how large it is, and what comes back from it."""

from __future__ import annotations

import math

import numpy as np
import pytest

from CardioDiTLib.data.in_plane import PlaneSampler
from CardioDiTLib.data.slice_inference import MARGIN_MM, Window
from CardioDiTLib.models.slice_unet import NetworkConfig

CONFIG = NetworkConfig(channels=(4, 8, 16), spacing_mm=1.5)


def bar(length_mm, angle, shape=(200, 220), middle=(90.0, 120.0), spacing=(1.0, 1.2)):
    """A straight bar 10 mm wide, its middle at a pixel (x, y)."""
    y, x = np.indices(shape)
    across, down = (x - middle[0]) * spacing[0], (y - middle[1]) * spacing[1]
    along = across * math.cos(angle) + down * math.sin(angle)
    beside = -across * math.sin(angle) + down * math.cos(angle)
    return ((abs(along) <= length_mm / 2) & (abs(beside) <= 5)).astype(np.uint8)


@pytest.mark.parametrize("angle", [0.0, 0.7, math.pi / 2, -2.5])
def test_a_window_lies_about_the_labels_with_a_margin_however_it_is_turned(angle):
    labels = bar(100, angle)
    window = Window.about(labels, (1.0, 1.2), CONFIG, least_mm=50, turn_rad=angle)
    np.testing.assert_allclose(window.middle, (90, 120), atol=1.0)
    assert window.side % CONFIG.multiple == 0
    assert 0 <= window.side * 1.5 - (100 + 2 * MARGIN_MM) < 1.5 * (CONFIG.multiple + 2)
    rows, columns = window.rows_and_columns(labels.shape, (1.0, 1.2), 1.5)
    inner = window.within(rows, columns)
    sampler = PlaneSampler(labels[rows, columns].shape, (1.0, 1.2), 1.5, inner.turn_rad, inner.middle, inner.side)
    there = sampler.to_network(labels[None, rows, columns])[0]
    assert there.shape == (window.side, window.side)
    # turned, the bar lies along the rows, in the middle
    y, x = np.argwhere(there > 0.5).mean(axis=0)
    assert abs(y - (window.side - 1) / 2) < 1 and abs(x - (window.side - 1) / 2) < 1
    assert np.ptp(np.argwhere(there > 0.5), axis=0)[1] == pytest.approx(100 / 1.5, abs=3)
    back = sampler.to_source(there[None])[0] > 0.5
    assert (back & (labels[rows, columns] > 0)).sum() > 0.9 * labels.sum()


def test_a_window_is_no_smaller_than_asked_and_no_larger_than_the_image():
    dot = bar(10, 0.0)
    assert Window.about(dot, (1.0, 1.2), CONFIG, least_mm=96).side == 64
    assert Window.about(dot, (1.0, 1.2), CONFIG, least_mm=999).side == round(200 * 1.2 / 1.5)
    assert Window.about(np.zeros((2, 3, 5, 5), np.uint8), (1.0, 1.0), CONFIG, least_mm=50) is None


def test_what_a_window_shows_stays_within_the_image():
    corner = Window((0.0, 199.0), 64, 0.5)
    rows, columns = corner.rows_and_columns((200, 220), (1.0, 1.2), 1.5)
    assert (columns.start, rows.stop) == (0, 200) and 0 < rows.start < rows.stop and columns.stop <= 220
    far = Window((-500.0, 900.0), 16)
    rows, columns = far.rows_and_columns((200, 220), (1.0, 1.2), 1.5)
    assert rows.stop > rows.start and columns.stop > columns.start


def test_nothing_comes_back_from_beyond_a_window():
    sampler = PlaneSampler((60, 60), (1.5, 1.5), 1.5, 0.0, (30.0, 30.0), 16)
    back = sampler.to_source(np.ones((1, 16, 16), np.float32))[0]
    assert back[30, 30] == 1 and back[5, 5] == 0 and back.sum() == pytest.approx(16 * 16, rel=0.15)

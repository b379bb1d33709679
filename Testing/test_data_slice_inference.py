"""Networks on slices: the square about a heart that they look at, mirror images, frames made ahead."""

from __future__ import annotations

import math
import threading

import numpy as np
import pytest
import torch

from CardioDiTLib.data.in_plane import PlaneSampler
from CardioDiTLib.data.slice_inference import FLIPS, MARGIN_MM, Window, one_ahead, predict_slices
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.models.slice_unet import NetworkConfig, SegmentationNetwork

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


def test_the_next_is_made_while_the_last_is_used():
    begun = []
    second = threading.Event()

    def work(item):
        begun.append(item)
        if item == 1:
            second.set()
        if item == 3:
            raise CardioDiTError("The third fails.", "Leave it out.")
        return 10 * item

    made = one_ahead(work, range(5))
    assert next(made) == 0 and second.wait(5)  # 1 is begun before it is asked for
    assert next(made) == 10 and next(made) == 20
    with pytest.raises(CardioDiTError, match="third"):
        next(made)
    assert begun[:4] == [0, 1, 2, 3]
    assert list(one_ahead(work, [])) == [] and list(one_ahead(work, [7])) == [70]


def test_nothing_is_begun_after_the_caller_stopped():
    begun = []
    made = one_ahead(lambda item: begun.append(item) or item, range(100))
    next(made)
    made.close()
    assert len(begun) <= 2


def test_mirror_images_in_one_go_are_as_one_after_the_other():
    torch.manual_seed(0)
    network = SegmentationNetwork(NetworkConfig(channels=(8, 16), res_units=1)).eval()
    stack = np.random.default_rng(0).uniform(-1, 1, (5, 24, 20)).astype(np.float32)

    def read(numbers, axes):
        return (numbers.flip(axes) if axes else numbers,)

    with torch.inference_mode():
        parts = predict_slices(network, stack, read, batch=2, flips=FLIPS)
        together = torch.cat([found for _, (found,) in parts])
        single = []
        for axes in FLIPS:
            turned = np.ascontiguousarray(np.flip(stack, axes)) if axes else stack
            found = torch.cat([part for _, (part,) in predict_slices(network, turned, lambda n, _: (n,), batch=5)])
            single.append(found.flip(axes) if axes else found)
    torch.testing.assert_close(together, torch.stack(single).mean(0), atol=1e-5, rtol=1e-4)

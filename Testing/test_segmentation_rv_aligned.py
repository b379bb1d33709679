"""Hearts are turned until the right ventricle lies on the left, and their labels back to where they were."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from CardioDiTLib.cine import Cine
from CardioDiTLib.data.canonical_view import CanonicalView
from CardioDiTLib.data.header_check import right_ventricle_direction
from CardioDiTLib.data.in_plane import PlaneSampler
from CardioDiTLib.segmentation.segment import slice_probabilities


def blobs(angle_deg: float, spacing=(1.5, 1.5), distance_mm: float = 30.0, shape=(80, 90)) -> np.ndarray:
    """One plane: a left cavity in the middle, a right one in a direction from it."""
    y, x = np.mgrid[: shape[0], : shape[1]].astype(float)
    x, y = (x - (shape[1] - 1) / 2) * spacing[0], (y - (shape[0] - 1) / 2) * spacing[1]
    angle = math.radians(angle_deg)
    plane = np.zeros(shape, np.uint8)
    plane[np.hypot(x - distance_mm * math.cos(angle), y - distance_mm * math.sin(angle)) < 12] = 1
    plane[np.hypot(x, y) < 14] = 3
    return plane


@pytest.mark.parametrize("spacing", [(1.5, 1.5), (1.2, 2.0)])
@pytest.mark.parametrize("angle", [-170, -90, 0, 35, 120])
def test_direction_is_measured_in_millimetres(angle, spacing):
    found = right_ventricle_direction(blobs(angle, spacing)[None, None], spacing)
    assert math.degrees(found) == pytest.approx(angle, abs=1.5)


def test_no_direction_where_nothing_or_slices_disagree():
    nothing = np.zeros((2, 3, 40, 40), np.uint8)
    assert right_ventricle_direction(nothing, (1.0, 1.0)) is None
    against = np.stack([blobs(0), blobs(180)])[None]
    assert right_ventricle_direction(against, (1.5, 1.5)) is None
    most = np.stack([blobs(10)] * 4 + [blobs(190)])[None]
    assert right_ventricle_direction(most, (1.5, 1.5)) == pytest.approx(math.radians(10), abs=0.03)


@pytest.mark.parametrize("angle", [-130, 20, 90])
def test_turned_planes_have_the_right_ventricle_on_the_left_and_go_back(angle):
    plane = blobs(angle)
    sampler = PlaneSampler(plane.shape, (1.5, 1.5), 1.5, turn_rad=math.radians(angle) - math.pi)
    there = sampler.to_network((plane == 1)[None].astype(np.float32))[0]
    assert there.shape == (90, 90)
    y, x = (np.argwhere(there > 0.5).mean(axis=0) - 44.5) * 1.5
    assert (x, y) == (pytest.approx(-30, abs=1), pytest.approx(0, abs=1))
    back = sampler.to_source(there[None])[0] > 0.5
    overlap = 2 * (back & (plane == 1)).sum() / (back.sum() + (plane == 1).sum())
    assert overlap > 0.95
    # a place goes back to where its brightness came from
    place = np.argwhere(there > 0.5).mean(axis=0)[::-1]
    truth = np.argwhere(plane == 1).mean(axis=0)[::-1]
    np.testing.assert_allclose(sampler.places_in_source(place), truth, atol=0.5)


def test_beyond_a_turned_plane_it_is_dark_and_nothing_comes_back():
    sampler = PlaneSampler((40, 80), (1.0, 1.0), 1.0, turn_rad=math.pi / 2)
    there = sampler.to_network(np.full((1, 40, 80), 7.0) + np.eye(40, 80))[0]
    assert there[40, 0] == 7.0 and there.min() == 7.0
    back = sampler.to_source(np.ones((1, 80, 80), np.float32))[0]
    assert back.min() == 1.0
    tall = PlaneSampler((100, 20), (1.0, 1.0), 1.0, turn_rad=math.pi / 4)
    assert tall.to_source(np.ones((1, 100, 100), np.float32))[0][0, 0] == 1.0
    corners = PlaneSampler((100, 100), (1.0, 1.0), 1.0, turn_rad=math.pi / 4)
    assert corners.to_source(np.ones((1, 100, 100), np.float32))[0][0, 0] == 0.0


class _LeftIsRight(torch.nn.Module):
    """Calls bright pixels a right ventricle on the left half of the picture only, middling ones a left cavity."""

    class config:
        spacing_mm = 1.5
        multiple = 4
        neighbours = 0
        motion = False

        @staticmethod
        def neighbour_step(_):
            return 1

    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(()))

    def forward(self, pictures):
        x = torch.linspace(-1, 1, pictures.shape[-1]).expand_as(pictures[:, 0])
        bright, middling = pictures[:, 0] > 0.5, (pictures[:, 0] > -0.5) & (pictures[:, 0] <= 0.5)
        logits = torch.zeros(len(pictures), 4, *pictures.shape[-2:])
        logits[:, 1] = 9.0 * (bright & (x < 0.1))
        logits[:, 3] = 9.0 * middling
        return logits * self.scale


def test_a_mirror_image_leaves_a_posed_heart_posed():
    stack = np.full((1, 40, 40), -1.0, np.float32)
    stack[0, 10:20, 5:15] = 1.0
    sure = slice_probabilities(_LeftIsRight(), stack, tta=True, rv_aligned=True)[0, 1, 15, 10]
    torn = slice_probabilities(_LeftIsRight(), stack, tta=True)[0, 1, 15, 10]
    assert sure > 0.99 and torn < 0.7


def test_segmentation_finds_a_heart_that_lies_the_other_way_round(monkeypatch):
    from CardioDiTLib.segmentation import segment as module

    angle = 60.0
    plane = blobs(angle, shape=(100, 100)).astype(np.float32)
    image = np.select([plane == 1, plane == 3], [100.0, 50.0])
    # at the middle's height so much of it lies in the left half that the direction is seen
    array = np.repeat(image[None, None], 4, axis=0).repeat(2, axis=1).astype(np.float32)
    cine = Cine(array, np.diag([1.5, 1.5, 10.0, 1.0]), np.arange(4) * 0.1)
    from tiny_segmentation import tiny_model

    model = tiny_model()
    network = _LeftIsRight()
    monkeypatch.setattr("CardioDiTLib.data.slice_inference.CanonicalView", _Unchanged)
    changed = type(model)(network, model.manifest)
    for posed in (False, True):
        found = module.segment(cine, weights=changed, posed=posed, mirrored=False, plausible=False).array
        seen = (found[0, 0] == 1)[plane == 1].mean()
        assert (seen > 0.9) if posed else (seen < 0.8), (posed, seen)


class _Unchanged(CanonicalView):
    """A view of a cine as it is stored."""

    @classmethod
    def of(cls, affine):
        return cls(False, False, False, False)

"""The published network, its targets, its loss, its grid and how it is read."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_landmarks import TINY_PUBLISHED, tiny_network

from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.landmarks.rvip_detector import (
    VARIANTS,
    RvipGrid,
    blobs,
    predict_rvip,
    rvip_label_map,
    rvip_targets,
)
from CardioDiTLib.models.rvip_network import RvipNetwork, RvipNetworkConfig
from CardioDiTLib.training.rvip_stage import (
    RvipAugmentation,
    bce_minus_dice,
    histogram_matched,
    rvip_augmented,
)


def test_it_has_the_published_number_of_weights():
    network = RvipNetwork()
    trained = sum(value.numel() for value in network.parameters())
    statistics = sum(value.numel() for name, value in network.named_buffers() if "num_batches" not in name)
    assert (trained + statistics, trained) == (8_641_730, 8_635_842), "as Keras counts them"


def test_its_layers_are_the_published_ones():
    network = RvipNetwork()
    assert not any(isinstance(module, torch.nn.ConvTranspose2d) for module in network.modules())
    kinds = [type(layer).__name__ for layer in network.down[1]]
    assert kinds == ["Conv2d", "ReLU", "BatchNorm2d", "Dropout", "Conv2d", "ReLU", "BatchNorm2d"]
    dropout = [module.p for module in network.modules() if isinstance(module, torch.nn.Dropout)]
    assert dropout == [0.3, 0.4, 0.4, 0.5, 0.5, 0.3, 0.4, 0.4, 0.5]  # down, lowest, and up from the top
    norms = [module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert {(norm.momentum, norm.eps) for norm in norms} == {(0.01, 1e-3)}
    weight = network.lowest[0].weight
    assert float(weight.detach().std()) == pytest.approx((2 / (256 * 9)) ** 0.5, rel=0.02)
    assert tiny_network(TINY_PUBLISHED)(torch.rand(2, 1, 48, 48)).shape == (2, 2, 48, 48)


@pytest.mark.parametrize(
    "wrong", [{"channels": (8,)}, {"dropout": (0.1,)}, {"size": 225}, {"spacing_mm": 0}, {"dropout": (1.0,) * 5}]
)
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(CardioDiTError):
        RvipNetworkConfig(**wrong)
    with pytest.raises(CardioDiTError):
        RvipNetworkConfig.from_dict({"channels": [4, 8]})


def test_blobs_lie_about_their_points():
    masks = blobs(np.array([[20.0, 8.0], [np.nan, np.nan]]), (32, 40), 2.5)
    assert masks[0].sum() == 21 and not masks[1].any()
    np.testing.assert_allclose(np.argwhere(masks[0]).mean(0), [8, 20])
    one = blobs(np.array([[3.4, 5.4], [60.0, 5.0]]), (32, 40), 0.1)
    assert one[0].sum() == 1 and one[0, 5, 3] and not one[1].any()


@pytest.mark.parametrize("variant, sigma", [("base", 0.0), ("var1", 0.0), ("var2", 2.0), ("var3", 4.0)])
def test_variants(variant, sigma):
    assert VARIANTS[variant].sigma_px == sigma and (VARIANTS[variant].histogram_share > 0) == (variant == "var1")


@pytest.mark.parametrize("sigma", [2.0, 4.0])
def test_stretching_both_channels_together_loses_the_smaller_blob_and_ours_does_not(sigma):
    masks = np.stack([blobs(np.array([[20.0, 20.0]] * 2), (48, 48), radius)[0] for radius in (4.0, 1.5)])
    joint = rvip_targets(masks, sigma, "joint")
    assert joint[0].max() == 1.0 and 0.1 < joint[1].max() < 0.5
    assert list(np.unique(rvip_label_map(joint[None]))) == [0, 1]  # the reference itself has lost a point
    each = rvip_targets(masks, sigma, "channel")
    assert each[0].max() == each[1].max() == 1.0
    labels = rvip_label_map(each[None])[0]
    np.testing.assert_allclose(np.argwhere(labels == 2).mean(0), [20, 20])
    np.testing.assert_array_equal(rvip_targets(masks, 0.0), masks)
    absent = rvip_targets(np.zeros((2, 48, 48), bool), sigma)
    assert np.isfinite(absent).all() and not absent.any()
    with pytest.raises(CardioDiTError, match="normalisation"):
        rvip_targets(masks, sigma, "both")


def by_hand(probabilities: np.ndarray, largest: bool) -> list[tuple[float, float] | None]:
    """Points (x, y) of one slice, written out: threshold, inferior over anterior, largest piece, mean."""
    labels = [[0] * probabilities.shape[2] for _ in range(probabilities.shape[1])]
    for kind in (0, 1):
        for y in range(probabilities.shape[1]):
            for x in range(probabilities.shape[2]):
                if probabilities[kind, y, x] > 0.5:
                    labels[y][x] = kind + 1
    points = []
    for kind in (1, 2):
        left = {(y, x) for y, row in enumerate(labels) for x, value in enumerate(row) if value == kind}
        pieces = []
        while left:
            piece, front = set(), [min(left)]
            while front:
                y, x = front.pop()
                if (y, x) in left:
                    left.discard((y, x))
                    piece.add((y, x))
                    front += [(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
            pieces.append(piece)
        chosen = max(pieces, key=len, default=set()) if largest else set().union(*pieces)
        points.append(
            (sum(x for _, x in chosen) / len(chosen), sum(y for y, _ in chosen) / len(chosen)) if chosen else None
        )
    return points


class Fixed(torch.nn.Module):
    """A "network" that always sees the same."""

    def __init__(self, logits: np.ndarray) -> None:
        super().__init__()
        self.config = TINY_PUBLISHED
        self.logits = torch.from_numpy(logits)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        return self.logits[: len(pictures)]


@pytest.mark.parametrize("largest", [False, True])
def test_reading_agrees_with_a_reference_written_by_hand(largest):
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:48, 0:48]
    logits = np.full((4, 2, 48, 48), -3.0, np.float32)
    for z, kind in np.ndindex(4, 2):
        for size in (3.5, 2.0):
            centre = rng.uniform(8, 40, 2)
            logits[z, kind][np.hypot(y - centre[0], x - centre[1]) <= size] = 2.0
    logits[1, 1] = logits[1, 0]  # the same place: inferior wins, no anterior point is left
    logits[2, 0] = -3.0
    found = predict_rvip(
        Fixed(logits), np.random.default_rng(1).uniform(0, 9, (4, 48, 48)), (3.0, 3.0), largest_component=largest
    )
    probabilities = 1 / (1 + np.exp(-logits.astype(np.float64)))
    for z in range(4):
        for kind, point in enumerate(by_hand(probabilities[z], largest)):
            if point is None:
                assert np.isnan(found.places[z, kind]).all() and found.presence[z, kind] == 0
            else:
                np.testing.assert_allclose(found.places[z, kind], point, atol=1e-9)
                assert found.certainty[z, kind] == pytest.approx(1 / (1 + np.exp(-2.0)), abs=1e-6)
    assert np.isnan(found.places[1, 0]).all() and np.isnan(found.places[2, 0]).all()


def test_a_blob_of_one_pixel_vanishes_on_coarser_pixels_but_its_coordinate_does_not():
    grid = RvipGrid((20, 24), (3.7, 3.7), 1.2, 96)
    lost = 0
    for column in range(30, 40):
        labels = np.zeros((1, 96, 96), np.uint8)
        labels[0, 48, column] = 1
        lost += not grid.labels_to_source(labels).any()
    assert 0 < lost < 10
    np.testing.assert_allclose(grid.places_in_grid(grid.places_in_source([35.0, 48.0])), [35.0, 48.0])


@pytest.mark.parametrize("shape", [(61, 40), (40, 61), (33, 32)])
def test_the_grid_pads_and_cuts_at_the_start_and_comes_back(shape):
    grid = RvipGrid(shape, (1.2, 1.2), 1.2, 48)
    picture = np.arange(shape[0] * shape[1], dtype=np.float32).reshape(shape)
    seen = grid.fit(grid.resample(picture))
    assert seen.shape == (48, 48)
    y, x = shape[0] // 2, shape[1] // 2
    column, row = grid.places_in_grid([x, y]).astype(int)
    assert seen[row, column] == picture[y, x]
    missing = 48 - shape[0]
    start = -(-abs(missing) // 2) * (1 if missing > 0 else -1)
    assert row - y == start  # the odd row is at the start
    labels = np.zeros((48, 48), np.uint8)
    labels[row, column] = 2
    back = grid.labels_to_source(labels)
    assert back.shape == shape and list(map(int, np.argwhere(back == 2)[0])) == [y, x]
    ready = grid.prepare(picture)
    assert ready.min() == 0 and ready.max() == 1


def test_the_loss_is_cross_entropy_less_dice():
    rng = np.random.default_rng(0)
    p, t = rng.uniform(0.01, 0.99, (2, 2, 5, 5)), (rng.random((2, 2, 5, 5)) > 0.7).astype(float)
    entropy = -np.mean(t * np.log(p + 1e-7) + (1 - t) * np.log(1 - p + 1e-7))
    dice = (2 * (p * t).sum() + 1) / (p.sum() + t.sum() + 1)
    loss = bce_minus_dice(torch.from_numpy(p), torch.from_numpy(t))
    assert float(loss) == pytest.approx(entropy - dice, abs=1e-12)
    right = bce_minus_dice(torch.from_numpy(t), torch.from_numpy(t))
    assert float(right) == pytest.approx(-1, abs=1e-4)


def test_augmentation_moves_blobs_with_the_picture_and_never_mirrors():
    masks = blobs(np.array([[18.0, 24.0], [34.0, 40.0]]), (64, 64), 4.0)
    picture = masks[0] * 1.0 + masks[1] * 0.5
    every = RvipAugmentation(chain_share=1.0, turn_share=1.0, shift_share=1.0, distort_share=1.0, distort=0.1)
    turns = set()
    for seed in range(12):
        moved, blobs_moved = rvip_augmented(picture.astype(np.float32), masks, every, np.random.default_rng(seed))
        assert moved[blobs_moved[0]].mean() > 0.8 and 0.3 < moved[blobs_moved[1]].mean() < 0.6
        centres = [np.argwhere(mask).mean(0) for mask in blobs_moved]
        assert np.linalg.norm(centres[0] - centres[1]) == pytest.approx(22.6, abs=6)
        turns.add(tuple(np.sign(centres[1] - centres[0]).astype(int)))
    assert len(turns) > 1
    still = rvip_augmented(
        picture.astype(np.float32), masks, RvipAugmentation(chain_share=0.0), np.random.default_rng(0)
    )
    np.testing.assert_array_equal(still[1], masks)
    with pytest.raises(CardioDiTError, match="shift_share"):
        RvipAugmentation(shift_share=2.0)


def test_a_matched_picture_has_the_other_ones_grey_values_in_its_own_order():
    rng = np.random.default_rng(0)
    picture, other = rng.random((20, 20)).astype(np.float32), (rng.random((30, 10)) ** 3).astype(np.float32)
    matched = histogram_matched(picture, other)
    np.testing.assert_allclose(np.quantile(matched, [0.1, 0.5, 0.9]), np.quantile(other, [0.1, 0.5, 0.9]), atol=0.02)
    assert (np.argsort(matched.ravel()) == np.argsort(picture.ravel())).mean() > 0.9

"""A drawn heart is led to other volumes by moving its picture."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from CardioDiTLib.generation.heart_quantities import heart_quantities
from CardioDiTLib.generation.reshaping import Reshaper
from CardioDiTLib.generation.ventricle_warp import VentricleWarp, wanted_volumes
from CardioDiTLib.models.latent_scale import LatentScale

SPACING = (1.5, 1.5, 10.0)
FRAMES, SLICES, SIZE = 8, 3, 64


def beating_heart() -> np.ndarray:
    """(T, Z, Y, X): oval cavities beside the middle in a wall that keeps its area, one slice without any."""
    y, x = np.mgrid[0:SIZE, 0:SIZE]
    labels = np.zeros((FRAMES, SLICES, SIZE, SIZE), np.uint8)
    for t in range(FRAMES):
        area = 110.0 - 30.0 * np.sin(np.pi * t / FRAMES)
        for z in range(SLICES - 1):
            far = ((y - 30 + 2 * z) / 1.15) ** 2 + ((x - 36) * 1.15) ** 2
            labels[t, z][far < area + 130] = 2
            labels[t, z][far < area] = 3
    return labels


def picture_of(labels: np.ndarray) -> torch.Tensor:
    """(Z, H, W, T) in [-1, 1], from which `labels_of` reads the same labels."""
    grey = np.choose(labels, [-1.0, -1.0, 0.0, 1.0])
    return torch.from_numpy(np.moveaxis(grey, 0, -1).astype(np.float32))


def labels_of(picture: torch.Tensor) -> np.ndarray:
    grey = np.moveaxis(picture.numpy(), -1, 0)
    return np.where(grey > 0.5, 3, np.where(grey > -0.5, 2, 0)).astype(np.uint8)


class ExactCodec:
    """A codec that loses nothing: its latents are the picture, two pixels of a row beside one another."""

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        return x[0, 0].unflatten(1, (-1, 2)).movedim(2, 0)[None]

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        return z.movedim(1, 4).flatten(3, 4)


def test_a_cavity_gets_the_area_that_is_wanted_and_its_wall_keeps_its_own():
    labels = beating_heart()
    cavity = np.linspace(0.6, 1.6, FRAMES)
    moved = labels_of(VentricleWarp.of(labels, cavity).moved(picture_of(labels)))
    inner = (moved == 3).sum((2, 3)) / np.maximum((labels == 3).sum((2, 3)), 1)
    np.testing.assert_allclose(inner[:, :2], np.repeat(cavity[:, None], 2, 1), rtol=0.08)
    wall = (moved == 2).sum((2, 3))[:, :2] / (labels == 2).sum((2, 3))[:, :2]
    np.testing.assert_allclose(wall, 1.0, atol=0.1)
    # Where there is no ventricle nothing moves, nor at the edge of the picture.
    away = VentricleWarp.of(labels, cavity).places - VentricleWarp.of(np.zeros_like(labels), cavity).places
    assert float(away[:, 2].abs().max()) < 1e-3 and float(away[:, :, 0].abs().max()) < 1e-3
    assert float(away[:, :2].abs().max()) > 0.02


def test_a_wall_can_get_another_area_and_the_cavity_stays():
    labels = beating_heart()
    moved = labels_of(VentricleWarp.of(labels, np.ones(FRAMES), wall=1.4).moved(picture_of(labels)))
    assert (moved == 2).sum() / (labels == 2).sum() == pytest.approx(1.4, abs=0.08)
    assert (moved == 3).sum() / (labels == 3).sum() == pytest.approx(1.0, abs=0.04)


def test_what_is_not_changed_is_not_moved():
    labels = beating_heart()
    picture = torch.rand(SLICES, SIZE, SIZE, FRAMES)
    torch.testing.assert_close(VentricleWarp.of(labels, np.ones(FRAMES)).moved(picture), picture, atol=2e-3, rtol=0)


def test_a_curve_gets_its_ends_and_keeps_its_pace():
    volumes = np.array([120.0, 100.0, 70.0, 55.0, 60.0, 85.0, 100.0, 115.0])
    wanted = wanted_volumes(volumes, 200.0, 30.0)
    assert wanted[0] == pytest.approx(200) and wanted.min() == pytest.approx(140)
    assert wanted.argmin() == volumes.argmin() and np.corrcoef(volumes, wanted)[0, 1] > 0.97
    # A heart that stands still cannot be told how to beat.
    np.testing.assert_allclose(wanted_volumes(np.full(8, 90.0), 90.0, 20.0), 72.0)


@pytest.mark.parametrize(("edv_share", "ef_percent", "mass_share"), [(1.4, 45, None), (0.75, 15, None), (1, 30, 1.3)])
def test_a_heart_measures_what_was_asked_after_it_was_reshaped(edv_share, ef_percent, mass_share):
    labels = beating_heart()
    edv, _, mass, _ = heart_quantities(labels, SPACING)
    asked = {"edv_ml": edv * edv_share, "ef_percent": float(ef_percent)}
    if mass_share:
        asked["lv_mass_g"] = mass * mass_share
    codec, scale = ExactCodec(), LatentScale(torch.randn(2, 1, 1, 1, 1), torch.rand(2, 1, 1, 1, 1) + 0.5)
    picture = picture_of(labels)
    latents = torch.stack([codec.encode(plane[None, None])[0] for plane in picture], 1)[None]
    told = []
    reshaper = Reshaper(codec, scale)  # type: ignore[arg-type]
    seen = reshaper.reshaped(latents, picture[None], labels, asked, SPACING, lambda: told.append(1))
    assert len(told) == SLICES
    made = heart_quantities(labels_of(codec.decode(scale.restore(seen))[0]), SPACING)
    assert made[0] == pytest.approx(asked["edv_ml"], rel=0.05) and made[1] == pytest.approx(ef_percent, abs=4)
    assert made[2] == pytest.approx(asked.get("lv_mass_g", mass), rel=0.1)


def test_a_picture_without_a_cavity_is_left_as_it_is():
    codec, scale = ExactCodec(), LatentScale(torch.zeros(2, 1, 1, 1, 1), torch.ones(2, 1, 1, 1, 1))
    latents = torch.randn(1, 2, SLICES, SIZE, SIZE // 2, FRAMES)
    nothing = np.zeros((FRAMES, SLICES, SIZE, SIZE), np.uint8)
    reshaper = Reshaper(codec, scale)  # type: ignore[arg-type]
    seen = reshaper.reshaped(latents, torch.zeros(1, SLICES, SIZE, SIZE, FRAMES), nothing, {"edv_ml": 99.0}, SPACING)
    torch.testing.assert_close(seen, latents)

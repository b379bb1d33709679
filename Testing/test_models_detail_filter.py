"""The last filter of decoded slices: what it raises, what it leaves, how it is fitted, kept and applied."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage
from tiny_bundle import tiny_manifest, write_tiny_bundle

from CardioDiTLib.bundles import BundleManifest
from CardioDiTLib.bundles.bundle import load_bundle
from CardioDiTLib.bundles.manifest_parts import DetailSpec
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.models.detail_filter import (
    DetailFilter,
    _matrix,
    _mean_matrix,
    find_period,
    fit_kernel,
    radial_spectrum,
)


@pytest.fixture(scope="module")
def planes():
    """Planes with the spectrum of pictures, and the same ones softened."""
    rng = np.random.default_rng(0)
    sharp = ndimage.gaussian_filter(rng.normal(size=(24, 128, 128)), (0, 0.8, 0.8)) * 200 + 500
    return sharp, ndimage.gaussian_filter(sharp, (0, 0.9, 0.9))


@pytest.fixture(scope="module")
def kernel(planes):
    return fit_kernel(planes[0], planes[1], cap=2.0)


def filtered(kernel, planes):
    image = torch.from_numpy(planes).float().permute(1, 2, 0)[None, None]
    return DetailFilter(kernel)(image)[0, 0].permute(2, 0, 1).numpy()


def test_it_is_the_convolution_that_its_kernel_says(planes, kernel):
    soft = planes[1]
    expected = ndimage.correlate(soft[0], kernel, mode="mirror")
    np.testing.assert_allclose(filtered(kernel, soft)[0], expected, atol=0.02 * np.std(expected))


def test_the_spectrum_comes_nearer_and_the_mean_stays(planes, kernel):
    sharp, soft = planes
    made = filtered(kernel, soft)
    assert made.mean() == pytest.approx(soft.mean(), abs=0.05)
    band = slice(16, 40)
    before, after = (np.log(radial_spectrum(x)[band] / radial_spectrum(sharp)[band]) for x in (soft, made))
    assert np.abs(after).mean() < 0.6 * np.abs(before).mean()


def test_nothing_is_amplified_beyond_the_cap_and_large_shapes_are_left(kernel):
    gain = np.abs(np.fft.fft2(np.pad(kernel, (0, 128 - len(kernel)))))
    assert gain.max() <= 2.0 * 1.1
    assert gain[0, :6] == pytest.approx(np.ones(6), abs=0.1)


def test_planes_that_are_as_sharp_already_are_left(planes):
    made = filtered(fit_kernel(planes[0], planes[0], cap=2.0), planes[0])
    np.testing.assert_allclose(made, planes[0], atol=0.02 * planes[0].std())


def test_it_does_not_mix_slices_or_frames(kernel):
    image = torch.zeros(1, 3, 32, 32, 4)
    image[0, 1, 16, 16, 2] = 1.0
    made = DetailFilter(kernel)(image)
    rest = made.clone()
    rest[0, 1, :, :, 2] = 0
    assert rest.abs().max() == 0 and made[0, 1, 16, 16, 2] > 1


def test_a_manifest_keeps_it_and_one_without_it_does_not_name_it(kernel):
    spec = DetailSpec(tuple(map(tuple, kernel.tolist())), 2.0)
    manifest = tiny_manifest(detail=spec)
    assert BundleManifest.from_dict(manifest.to_dict()).detail == spec
    assert "detail" not in tiny_manifest().to_dict()


@pytest.mark.parametrize(
    "rows",
    [
        [[1.0, 0.0], [0.0, 1.0]],
        [[0.5]],
        [[0.0, 0.2, 0.0], [0.0, 0.8, 0.0], [0.0, 0.0, 0.0]],
        [[float("nan")]],
        "sharp",
        [[1.0] * 33] * 33,
    ],
)
def test_what_is_no_kernel_is_refused(rows):
    with pytest.raises(CardioDiTError):
        DetailSpec.from_dict({"kernel": rows, "cap": 2.0})


def test_a_bundle_with_it_generates_the_same_heart_with_more_detail(tmp_path, kernel):
    from CardioDiTLib import GenerationRequest, Generator

    spec = DetailSpec(tuple(map(tuple, kernel.tolist())), 2.0)
    plain = write_tiny_bundle(tmp_path / "plain").folder
    raised = write_tiny_bundle(tmp_path / "raised", detail=spec).folder
    request = GenerationRequest(seed=3, steps=2)
    soft, crisp = (
        Generator(load_bundle(folder), precision="fp32").generate(request)[0].cine.array.astype(float)
        for folder in (plain, raised)
    )
    expected = ndimage.correlate(soft[0, 1], kernel, mode="mirror").clip(0, 1000)
    np.testing.assert_allclose(crisp[0, 1], expected, atol=0.03 * soft.std() + 2)
    assert np.abs(np.diff(crisp, axis=-1)).mean() > 1.1 * np.abs(np.diff(soft, axis=-1)).mean()


def test_a_pattern_on_the_grid_is_found_and_taken_away_and_the_picture_stays(planes):
    soft = planes[1]
    dots = np.zeros(128)
    dots[::4] = 1.0
    pattern = 40 * (dots[:, None] * dots - dots.mean() ** 2) * np.linspace(0.3, 1.0, 128)
    assert find_period(soft) == 0 and find_period(soft + pattern) == 4
    untouched = np.zeros((3, 3))
    untouched[1, 1] = 1.0

    def passed(planes):
        image = torch.from_numpy(planes).float().permute(1, 2, 0)[None, None]
        return DetailFilter(untouched, period=4)(image)[0, 0].permute(2, 0, 1).numpy()

    made, plain = passed(soft + pattern), passed(soft)
    assert (made - plain)[:, 8:-8, 8:-8].std() < 0.25 * pattern.std()
    assert (plain - soft).std() < 0.15 * soft.std() and made.mean() == pytest.approx(soft.mean(), abs=1.0)


def test_matrices_hold_no_numbers_below_the_normal_range():
    """Processors multiply subnormal numbers some forty times slower."""
    for period in (1, 4, 8):
        matrix = _mean_matrix(128, period).astype(np.float32)
        smallest = np.abs(matrix[matrix != 0]).min()
        assert smallest >= np.finfo(np.float32).tiny
        np.testing.assert_allclose(matrix.sum(axis=1), 1.0, atol=1e-6)


def test_stacks_of_matrices_agree_with_a_convolution_that_mirrors_edges():
    taps = tuple(np.random.default_rng(0).normal(size=11))
    for size in (1, 2, 7, 32):
        wanted = ndimage.correlate1d(np.eye(size), taps, axis=0, mode="mirror")
        np.testing.assert_allclose(_matrix(taps, size), wanted, atol=1e-12)

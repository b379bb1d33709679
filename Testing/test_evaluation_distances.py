"""Distances and shares whose right value is known."""

from __future__ import annotations

import numpy as np
import pytest
from refusals import refused

from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.evaluation import frechet_distance, overlap, wasserstein
from CardioDiTLib.evaluation.coherence import REASONS, Coherence
from CardioDiTLib.evaluation.features import distances
from CardioDiTLib.evaluation.manifold import diversity, duplicates, kernel_distance, polynomial_kernel, weighted_mmd2
from CardioDiTLib.evaluation.physiology import shrunk_covariance
from CardioDiTLib.evaluation.split_halves import draw_halves, wasserstein_beside_floor
from CardioDiTLib.evaluation.synthesis import COHERENCE


def test_wasserstein_of_shifted_and_of_wider_samples():
    grid = np.linspace(-4, 4, 4001)
    assert wasserstein(grid, grid + 3.0) == pytest.approx(3.0)
    # Between N(0, 1) and N(0, 2): E|Z| (2 - 1).
    from scipy import stats

    z = stats.norm.ppf((np.arange(20000) + 0.5) / 20000)
    assert wasserstein(z, 2 * z) == pytest.approx(np.sqrt(2 / np.pi), rel=1e-3)
    assert wasserstein([1, np.nan, 3], [1, 3, np.inf]) == 0.0
    assert np.isnan(wasserstein([np.nan], [1.0]))


def test_frechet_of_gaussians_is_that_of_the_formula():
    rng = np.random.default_rng(0)
    mix = np.array([[1.0, 0.0, 0.0], [0.6, 0.8, 0.0], [0.0, 0.3, 1.5]])
    other = np.diag([2.0, 0.5, 1.0])
    shift = np.array([1.0, -2.0, 0.5])
    x, y = rng.normal(size=(60000, 3)) @ mix.T, rng.normal(size=(60000, 3)) @ other.T + shift
    scale = np.diag(1 / np.sqrt(np.diag(mix @ mix.T)))
    a, b, gap = scale @ mix @ mix.T @ scale, scale @ other @ other.T @ scale, scale @ shift
    # trace of (a b)^1/2 from the eigenvalues of the product, another way than the library's
    cross = np.sqrt(np.linalg.eigvals(a @ b).real).sum()
    expected = gap @ gap + np.trace(a + b) - 2 * cross
    found = frechet_distance(x, y)
    assert found.value == pytest.approx(expected, rel=0.02)
    assert found.real_shrinkage < 0.01
    # Units do not matter, since vectors are standardised.
    assert frechet_distance(x * [10, 0.1, 7] + 5, y * [10, 0.1, 7] + 5).value == pytest.approx(found.value, rel=1e-6)


def test_frechet_of_small_cohorts_is_shrunk_and_finite():
    rng = np.random.default_rng(1)
    small = rng.normal(size=(6, 9))
    covariance, weight = shrunk_covariance(small)
    assert 0.3 < weight <= 1 and np.linalg.eigvalsh(covariance).min() > 0
    assert np.trace(covariance) == pytest.approx(np.trace(np.cov(small.T)))
    assert np.isfinite(frechet_distance(small, rng.normal(size=(5, 9))).value)
    assert frechet_distance(small, small).value == pytest.approx(0.0, abs=1e-6)
    assert np.isnan(frechet_distance(small, small[:1]).value)
    still = small.copy()
    still[:, 0] = 4.0
    assert frechet_distance(still, small).value == pytest.approx(frechet_distance(small[:, 1:], small[:, 1:]).value)


def test_kernel_distance_by_the_sums_of_its_definition():
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(7, 5)), rng.normal(size=(6, 5)) + 0.4

    def k(a, b):
        return (float(a @ b) / 5 + 1) ** 3

    own = sum(k(x[i], x[j]) for i in range(7) for j in range(7) if i != j) / 42
    other = sum(k(y[i], y[j]) for i in range(6) for j in range(6) if i != j) / 30
    cross = sum(k(a, b) for a in x for b in y) / 42
    assert kernel_distance(x, y, resamples=0).value == pytest.approx(own + other - 2 * cross)


def test_kernel_distance_of_equal_distributions_is_zero_on_average():
    rng = np.random.default_rng(3)
    values = np.array(
        [kernel_distance(rng.normal(size=(12, 6)), rng.normal(size=(9, 6)), resamples=0).value for _ in range(600)]
    )
    error = values.std() / np.sqrt(len(values))
    assert abs(values.mean()) < 3.5 * error
    assert (values < 0).mean() > 0.3  # a biased estimate would hardly be below zero
    moved = [
        kernel_distance(rng.normal(size=(12, 6)), rng.normal(size=(9, 6)) + 1, resamples=0).value for _ in range(50)
    ]
    assert np.mean(moved) > 20 * error


def test_the_bootstrap_of_the_kernel_distance_is_not_biased_by_copies():
    rng = np.random.default_rng(4)
    x, y = rng.normal(size=(40, 6)), rng.normal(size=(40, 6))
    kernels = polynomial_kernel(x, x), polynomial_kernel(y, y), polynomial_kernel(x, y)
    value = kernel_distance(x, y, resamples=0).value
    drawn = weighted_mmd2(
        *kernels,
        rng.multinomial(40, np.full(40, 1 / 40), 4000).astype(float),
        rng.multinomial(40, np.full(40, 1 / 40), 4000).astype(float),
    )
    assert drawn.mean() == pytest.approx(value, abs=4 * drawn.std() / np.sqrt(4000) + 0.01 * drawn.std())
    found = kernel_distance(x, y, seed=1)
    assert found.low < found.value < found.high and found == kernel_distance(x, y, seed=1)
    assert found.low != kernel_distance(x, y, seed=2).low


def test_overlap_of_hand_made_sets():
    real = np.array([[0.0], [1.0], [2.0], [10.0]])
    # Radii with one neighbour: real 1, 1, 1, 8.
    found = overlap(real, np.array([[0.5], [2.9], [30.0]]), neighbours=1)
    assert found.precision == pytest.approx(2 / 3)
    # 0.5 lies in the balls of 0 and 1; 2.9 in those of 2 and 10; 30 in none.
    assert found.density == pytest.approx(4 / 3)
    assert found.coverage == 1.0
    # Radii of the synthetic ones: 2.4, 2.4, 27.1: 0, 1 and 2 are near 0.5 or 2.9, 10 is within 27.1 of 30.
    assert found.recall == 1.0


def test_mode_collapse_and_mode_invention_are_told_apart():
    rng = np.random.default_rng(5)
    modes = np.array([[0.0, 0.0], [20.0, 0.0], [0.0, 20.0]])
    real = np.concatenate([m + rng.normal(size=(60, 2)) for m in modes])
    same = np.concatenate([m + rng.normal(size=(60, 2)) for m in modes])
    collapsed = modes[0] + rng.normal(size=(180, 2))
    invented = np.concatenate([same, np.array([50.0, 50.0]) + rng.normal(size=(180, 2))])
    good, lost, new = overlap(real, same), overlap(real, collapsed), overlap(real, invented)
    assert min(good.precision, good.recall, good.coverage) > 0.85 and 0.8 < good.density < 1.2
    assert lost.precision > 0.85 and lost.recall < 0.4 and lost.coverage < 0.4
    assert 0.4 < new.precision < 0.55 and new.density < 0.6 and new.recall > 0.85 and new.coverage > 0.85


def test_copies_of_one_cine_cover_nothing():
    rng = np.random.default_rng(6)
    real = rng.normal(size=(50, 3))
    copies = np.repeat(real[:1], 50, axis=0)
    found = overlap(real, copies)
    assert found.precision == 1.0 and found.recall == pytest.approx(1 / 50)
    assert diversity(copies) == (0.0, 0.0)
    assert len(duplicates(distances(copies, copies), np.nan)) == 50 * 49 // 2
    assert duplicates(distances(real, real), np.nan) == []


def test_too_small_sets_give_nan_and_wrong_ones_a_sentence():
    one, two = np.zeros((1, 3)), np.ones((2, 3))
    assert np.isnan(kernel_distance(one, two).value)
    assert np.isnan(overlap(two, two)).all() and np.isnan(diversity(one)).all()
    for bad, words in (
        (np.zeros(3), "shape"),
        (np.full((3, 3), np.nan), "not finite"),
        (np.zeros((3, 2)), "columns"),
    ):
        with pytest.raises(CardioDiTError, match=words):
            kernel_distance(two, bad)
    with refused(0, "neighbour"):
        overlap(two, two, neighbours=0)
    with refused(-1, "resamples"):
        kernel_distance(two, two, resamples=-1)


def test_every_number_of_coherence_is_compared_and_has_a_reason():
    assert tuple(q.field for q in COHERENCE) == Coherence._fields == tuple(REASONS)


def test_halves_are_disjoint_and_of_one_size():
    draws = draw_halves(11, 40, 20, 0, "x")
    assert draws.size == 5 and draws.synthetic.shape == (20, 5)
    for a, b, c in zip(*draws):
        assert len({*a, *b}) == 10 and max(*a, *b) < 11 and len(set(c)) == 5 and max(c) < 40
    assert draw_halves(11, 3, 20, 0, "x").size == 3
    assert draw_halves(3, 9, 20, 0, "x").size == 0
    assert not np.array_equal(draws.first, draw_halves(11, 40, 20, 1, "x").first)


def test_the_floor_holds_real_against_real_nine_times_in_ten():
    """Cohorts drawn from the real distribution lie within the floor about as often as they should."""
    rng = np.random.default_rng(7)
    within = []
    for _ in range(80):
        found = wasserstein_beside_floor(rng.normal(size=60), rng.normal(size=30), 100, 0, "q")
        within.append(found.within_floor)
    assert np.mean(within) > 0.85
    far = [
        wasserstein_beside_floor(rng.normal(size=60), rng.normal(size=30) + 1, 100, 0, "q").within_floor
        for _ in range(10)
    ]
    assert not any(far)

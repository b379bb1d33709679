"""The published rule, with its published numbers and its faults; and how often it is wrong by chance."""

from __future__ import annotations

import json

import numpy as np
import pytest
from privacy_sets import copies_of, normal
from refusals import refused
from scipy.spatial.distance import cdist

from CardioDiTLib.privacy.dar_rule import DarResult, apply_dar_rule, null_rate


@pytest.fixture(scope="module")
def oracle(test_data):
    return {
        name: json.loads((test_data / f"mem_{name}.json").read_text(encoding="utf-8"))
        for name in ("null_rate", "reference_numbers")
    }


def literally(x: np.ndarray, v: np.ndarray, y: np.ndarray) -> tuple[float, int, int]:
    """The rule as it is written down."""
    threshold = np.percentile((1 - cdist(x, v, "correlation")).max(axis=1), 95)
    near = 1 - cdist(x, y, "correlation")
    return threshold, int((near.max(axis=1) > threshold).sum()), int((near.max(axis=0) > threshold).sum())


@pytest.mark.parametrize("sizes", [(90, 22, 90), (50, 50, 20), (30, 60, 200)])
def test_it_is_the_rule(sizes):
    x, v, y = (normal(size, i, 32) for i, size in enumerate(sizes))
    y[:7] = copies_of(x, range(7))
    found = apply_dar_rule(x, v, y)
    threshold, memorized, copies = literally(x, v, y)
    assert found.threshold == pytest.approx(threshold, abs=1e-9)
    assert (found.n_memorized, found.n_copies) == (memorized, copies)
    assert found.memorized_percent == pytest.approx(100 * memorized / sizes[0])
    assert found.copies_percent == pytest.approx(100 * copies / sizes[0])
    assert DarResult.from_dict(json.loads(json.dumps(found.to_dict()))) == found


@pytest.mark.parametrize("model", ["medical_diffusion", "monai_ldm", "monai_ldm_older_run"])
def test_published_counts_are_published_percentages(oracle, model):
    """Cohorts with as many copies of as many patients as were published."""
    study = oracle["reference_numbers"]["mrnet_3d"]
    memorized, percent = study[model]["memorized_train"]
    copies, copies_percent = study[model]["copies_syn"]
    n, m, s = study["n_train"], study["n_val"], study["n_syn"]
    rng = np.random.default_rng(0)
    # memorized patients, the others with the validation set, and cines that are no copies lie far from each other
    sides = 6 * np.repeat(np.eye(3), 15, axis=1)
    x, v, y = (rng.standard_normal((count, 45)) for count in (n, m, s))
    x[:memorized] += sides[0]
    x[memorized:] += sides[1]
    v += sides[1]
    y += sides[2]
    y[:copies] = x[np.arange(copies) % memorized] * 2 + 1
    found = apply_dar_rule(x, v, y)
    assert (found.n_memorized, found.n_copies) == (memorized, copies)
    assert found.memorized_percent == pytest.approx(percent)
    assert found.copies_percent == pytest.approx(copies_percent)


def test_more_than_all_of_them_are_copies():
    """The share of synthetic samples is divided by the number of training samples."""
    x, v = normal(20, 0), normal(20, 1)
    found = apply_dar_rule(x, v, copies_of(x, np.arange(49) % 20, 0.01))
    assert found.copies_percent == pytest.approx(245.0) and found.memorized_percent == pytest.approx(100.0)


def test_a_leak_hides_all_copies():
    x = normal(40, 0)
    found = apply_dar_rule(x, x[::-1], x.copy())
    assert found.threshold == pytest.approx(1.0) and found.n_copies == found.n_memorized == 0


def test_one_patient_copied_twenty_times():
    x, v = normal(20, 0), normal(20, 1)
    found = apply_dar_rule(x, v, copies_of(x, np.zeros(20, int), 0.01))
    assert found.copies_percent == pytest.approx(100.0) and found.memorized_percent == pytest.approx(5.0)


def test_constant_embeddings_never_count():
    x, v, y = normal(30, 0), normal(30, 1), normal(30, 2)
    y[:3] = copies_of(x, [4, 5, 6], 0.01)
    before = apply_dar_rule(x, v, y)
    y[10], v[3] = 2.0, 5.0
    after = apply_dar_rule(x, v, y)
    assert after.n_copies >= 3 and after.n_copies <= before.n_copies + 3 and np.isfinite(after.threshold)
    y[:] = 1.0
    assert apply_dar_rule(x, v, y).n_copies == apply_dar_rule(x, v, y).n_memorized == 0
    x[:] = 1.0
    nothing = apply_dar_rule(x, v, y)
    assert np.isnan(nothing.threshold) and nothing.to_dict()["threshold"] is None


def test_empty_sets_are_refused():
    with refused("syn", (0, 24)):
        apply_dar_rule(normal(5, 0), normal(5, 1), np.zeros((0, 24)))


def test_null_rates_agree_with_the_simulation_on_file(oracle):
    """Its few repeats leave it a standard error of a point, twice that for 226 synthetic samples."""
    for case in oracle["null_rate"]["cases"]:
        sizes = case["n_train"], case["n_val"], case["n_syn"]
        formula, exact = (null_rate(*sizes, method=method) for method in ("formula", "exact"))
        assert formula.memorized == pytest.approx(case["approximation_memorized_1_minus_0.95_pow_nsyn_over_nval"])
        assert formula.copies == pytest.approx(case["approximation_copies_1_minus_0.95_pow_ntrain_over_nval"])
        assert exact.memorized == pytest.approx(case["simulated_memorized_fraction"], abs=0.015)
        assert exact.copies == pytest.approx(case["simulated_copy_fraction"], abs=0.035)


@pytest.mark.parametrize("sizes", [(254, 62, 254), (87, 13, 87), (200, 20, 50), (120, 120, 120)])
def test_null_rates_are_within_a_point_of_a_long_simulation(sizes):
    exact, simulated = null_rate(*sizes), null_rate(*sizes, method="simulated", repeats=150, seed=1)
    assert exact.memorized == pytest.approx(simulated.memorized, abs=0.01)
    assert exact.copies == pytest.approx(simulated.copies, abs=0.01)


def test_what_is_no_null_rate_is_said():
    with refused("n_validation", 0):
        null_rate(5, 0, 5)
    with refused("false-alarm", 5):
        null_rate(5, 5, 5, 5)
    with refused("guess", "exact", "simulated"):
        null_rate(5, 5, 5, method="guess")

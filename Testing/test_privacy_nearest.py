"""Nearest neighbours in blocks."""

from __future__ import annotations

import numpy as np
import pytest
from privacy_sets import normal
from refusals import refused

from CardioDiTLib.errors import Cancelled
from CardioDiTLib.privacy.nearest import block_shape, directions, exact_similarity, nearest_neighbours


def direct(a: np.ndarray, b: np.ndarray, metric: str) -> np.ndarray:
    """All similarities at once, in float64."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    if metric == "pearson":
        return np.corrcoef(a, b)[: len(a), len(a) :]
    return (a / np.linalg.norm(a, axis=1)[:, None]) @ (b / np.linalg.norm(b, axis=1)[:, None]).T


@pytest.mark.parametrize("metric", ["pearson", "cosine"])
@pytest.mark.parametrize("memory_mb", [0.001, 0.2, 64.0])
@pytest.mark.parametrize("k", [1, 4])
def test_blocks_give_what_one_product_gives(metric, memory_mb, k):
    a, b = normal(230, 1) + 0.5, normal(310, 2) + 0.5
    expected = direct(a, b, metric)
    found = nearest_neighbours(a, b, k=k, metric=metric, memory_mb=memory_mb)
    order = np.argsort(-expected, axis=1)[:, :k]
    np.testing.assert_allclose(found.similarity, np.take_along_axis(expected, order, 1), atol=2e-6)
    np.testing.assert_array_equal(found.index, order)


@pytest.mark.parametrize("k", [1, 3])
def test_a_group_is_no_neighbour_of_itself(k):
    a = normal(120, 3)
    groups = np.random.default_rng(0).integers(0, 30, 120)
    expected = direct(a, a, "pearson")
    expected[groups[:, None] == groups[None, :]] = -np.inf
    found = nearest_neighbours(a, a, k=k, query_groups=groups, reference_groups=groups, memory_mb=0.01)
    np.testing.assert_allclose(found.similarity, -np.sort(-expected, axis=1)[:, :k], atol=2e-6)
    assert not np.any(groups[found.index] == groups[:, None])


def test_where_nobody_is_left_there_is_no_neighbour():
    a = normal(4, 0)
    same = np.zeros(4, np.int64)
    found = nearest_neighbours(a, a, k=2, query_groups=same, reference_groups=same)
    assert (found.index == -1).all() and np.isneginf(found.similarity).all()
    more = nearest_neighbours(a, a[:1], k=3)
    assert (more.index[:, 0] == 0).all() and (more.index[:, 1:] == -1).all()


def test_constant_rows_have_no_direction():
    a, b = normal(5, 0), normal(6, 1)
    a[2], b[4] = 7.25, -3.1
    found = nearest_neighbours(a, b)
    assert found.index[2, 0] == -1 and 4 not in found.index
    exact = exact_similarity(a, b, found.index[:, 0])
    assert np.isnan(exact[2]) and np.isfinite(np.delete(exact, 2)).all()
    assert not directions(a)[2].any()


def test_scale_and_offset_do_not_matter_to_pearson():
    a = normal(20, 0)
    moved = a * np.linspace(0.1, 900, 20)[:, None] + 1e3
    np.testing.assert_allclose(nearest_neighbours(moved, a).similarity, 1.0, atol=1e-4)
    assert np.mean(nearest_neighbours(moved, a, metric="cosine").similarity < 0.99) > 0.5


def test_memory_is_what_was_asked_for():
    for n, m, memory_mb in ((100_000, 100_000, 64.0), (100_000, 100_000, 1.0), (3, 5, 64.0), (10, 10, 1e-9)):
        rows, columns = block_shape(n, m, memory_mb)
        assert 1 <= rows <= n and 1 <= columns <= m
        assert rows * columns * 4 <= max(memory_mb * 2**20, 4)


def test_it_can_be_cancelled_and_tells():
    told = []
    nearest_neighbours(normal(100, 0), normal(50, 1), memory_mb=0.002, progress=lambda *now: told.append(now))
    assert told[-1] == (100, 100) and len(told) > 3
    with pytest.raises(Cancelled):
        nearest_neighbours(normal(100, 0), normal(50, 1), cancel=lambda: True)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"k": 0}, ("neighbours", 0)),
        ({"memory_mb": 0}, ("0 MB",)),
        ({"metric": "euclid"}, ("euclid", "pearson", "cosine")),
        ({"references": np.zeros((3, 5))}, (3, 5)),
        ({"query_groups": np.zeros(2, int), "reference_groups": np.zeros(8, int)}, (2, 8, "groups")),
    ],
)
def test_what_cannot_be_done_is_said(change, named):
    values = {"queries": normal(7, 0), "references": normal(8, 1), **change}
    with refused(*named):
        nearest_neighbours(values.pop("queries"), values.pop("references"), **values)

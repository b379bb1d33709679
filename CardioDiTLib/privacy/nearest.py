"""Nearest neighbours by correlation among many embeddings, in blocks of bounded memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.progress import CancelSource as Cancel
from CardioDiTLib.progress import StepCallback as Progress
from CardioDiTLib.progress import Stop

METRICS = ("pearson", "cosine")
"""Pearson's correlation ignores scale and offset of an embedding, the cosine its scale alone."""

DEFAULT_MEMORY_MB = 64.0
"""Of the block of similarities that is held at a time; larger blocks are not faster."""

MIN_DIMENSION = 3
"""Of two numbers, Pearson's correlation is always 1 or -1."""

_MOST_COLUMNS = 4096  # a block of so many columns stays in the cache while its largest entries are looked for


@dataclass(frozen=True, eq=False)
class Neighbours:
    """The nearest references of each query, nearest first.

    Attributes:
        index: (n, k) number of the reference; -1 where there is none (all are excluded, or have no direction).
        similarity: (n, k) float32; -inf where there is none.
    """

    index: NDArray[np.int64]
    similarity: NDArray[np.float32]


def directions(values: NDArray[Any], metric: str = "pearson") -> NDArray[np.float32]:
    """Rows of length 1 whose products are the similarities; rows without a direction (constant) become zeros.

    Args:
        values: (n, d) embeddings.
        metric: One of :data:`METRICS`.

    Raises:
        CardioDiTError: Another metric.
    """
    if metric not in METRICS:
        raise CardioDiTError(f"The similarity {metric!r} is not known.", f"Choose one of {', '.join(METRICS)}.")
    result = np.empty(values.shape, np.float32)
    for start in range(0, len(values), 8192):  # float64 for a few rows at a time
        part = np.asarray(values[start : start + 8192], np.float64)
        size = np.linalg.norm(part, axis=1)
        if metric == "pearson":
            part = part - part.mean(axis=1, keepdims=True)
        length = np.linalg.norm(part, axis=1)
        flat = ~(length > 1e-9 * size)  # what is left of a constant row is rounding
        with np.errstate(invalid="ignore", divide="ignore"):
            part = part / length[:, None]
        part[flat] = 0.0
        result[start : start + 8192] = part
    return result


def nearest_neighbours(
    queries: NDArray[Any],
    references: NDArray[Any],
    *,
    k: int = 1,
    metric: str = "pearson",
    query_groups: NDArray[np.int64] | None = None,
    reference_groups: NDArray[np.int64] | None = None,
    memory_mb: float = DEFAULT_MEMORY_MB,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> Neighbours:
    """The k nearest references of each query.

    Products are float32 (BLAS, which uses the machine's threads), so similarities are right to about 1e-6; of
    references that are equally near within that, any may be named.

    Args:
        queries: (n, d) embeddings.
        references: (m, d) embeddings.
        k: How many; fewer are found where there are fewer.
        metric: One of :data:`METRICS`.
        query_groups: (n,) whole numbers; with `reference_groups`, references of a query's own group are passed over.
            To leave out each embedding itself, give ``arange(n)`` for both.
        reference_groups: (m,) whole numbers.
        memory_mb: MB (2^20 bytes) of similarities that are held at a time. The inputs come as float32 copies on top.
        progress: Told how many of how many queries are done.
        cancel: Asked after every block.

    Returns:
        The neighbours.

    Raises:
        Cancelled: The caller asked to stop.
        CardioDiTError: Shapes that do not fit, another metric, or no memory to work with.
    """
    if queries.ndim != 2 or references.ndim != 2 or queries.shape[1] != references.shape[1]:
        raise CardioDiTError(
            f"Embeddings of shapes {queries.shape} and {references.shape} cannot be compared.",
            "Give two tables with the same number of columns.",
        )
    if k < 1 or not memory_mb > 0:
        raise CardioDiTError(f"{k} neighbours in {memory_mb:g} MB cannot be found.", "Give positive numbers.")
    a, b = directions(queries, metric), directions(references, metric)
    return _nearest(a, b, k, _Exclusion.of(query_groups, reference_groups, len(a), len(b)), memory_mb, progress, cancel)


def exact_similarity(
    queries: NDArray[Any], references: NDArray[Any], index: NDArray[np.int64], metric: str = "pearson"
) -> NDArray[np.float64]:
    """Similarity of each query with one reference in float64; NaN where there is none or a row has no direction.

    Args:
        queries: (n, d).
        references: (m, d).
        index: (n,) number of the reference, -1 for none.
        metric: One of :data:`METRICS`.
    """
    result = np.full(len(queries), np.nan)
    for start in range(0, len(queries), 8192):
        rows = slice(start, start + 8192)
        a = np.asarray(queries[rows], np.float64)
        b = np.asarray(references[np.maximum(index[rows], 0)], np.float64)
        lengths = np.linalg.norm(a, axis=1), np.linalg.norm(b, axis=1)
        if metric == "pearson":
            a = a - a.mean(axis=1, keepdims=True)
            b = b - b.mean(axis=1, keepdims=True)
        left, right = np.linalg.norm(a, axis=1), np.linalg.norm(b, axis=1)
        fine = (index[rows] >= 0) & (left > 1e-9 * lengths[0]) & (right > 1e-9 * lengths[1])
        with np.errstate(invalid="ignore", divide="ignore"):
            values = np.einsum("ij,ij->i", a, b) / (left * right)
        result[rows] = np.where(fine, np.clip(values, -1.0, 1.0), np.nan)
    return result


def block_shape(n: int, m: int, memory_mb: float) -> tuple[int, int]:
    """(rows, columns) of a block of float32 similarities that fits the memory."""
    entries = max(1, int(memory_mb * 2**20 / 4))
    columns = max(1, min(m, _MOST_COLUMNS, entries))
    return max(1, min(n, entries // columns)), columns


def _nearest(
    a: NDArray[np.float32],
    b: NDArray[np.float32],
    k: int,
    exclusion: _Exclusion | None,
    memory_mb: float,
    progress: Progress | None,
    cancel: Cancel | None,
) -> Neighbours:
    n, m, stop = len(a), len(b), Stop(cancel)
    index = np.full((n, k), -1, np.int64)
    similarity = np.full((n, k), -np.inf, np.float32)
    rows, columns = block_shape(n, max(m, 1), memory_mb)
    block = np.empty((rows, columns), np.float32)
    without = np.flatnonzero(~b.any(axis=1))  # constant references have no direction and are never neighbours
    for top in range(0, n, rows):
        bottom = min(n, top + rows)
        excluded = None if exclusion is None else exclusion.pairs(top, bottom)
        for left in range(0, m, columns):
            stop.check()
            right = min(m, left + columns)
            # only whole rows of the buffer are contiguous, which BLAS wants
            whole = right - left == columns
            part = block[: bottom - top] if whole else np.empty((bottom - top, right - left), np.float32)
            np.matmul(a[top:bottom], b[left:right].T, out=part)
            part[:, without[(without >= left) & (without < right)] - left] = -np.inf
            if excluded is not None:
                inside = (excluded[1] >= left) & (excluded[1] < right)
                part[excluded[0][inside], excluded[1][inside] - left] = -np.inf
            _merge(part, left, index[top:bottom], similarity[top:bottom])
        if progress is not None:
            progress(bottom, n)
    nowhere = ~a.any(axis=1)
    similarity[nowhere] = -np.inf
    index[np.isneginf(similarity)] = -1
    return Neighbours(index, similarity)


def _merge(part: NDArray[np.float32], first: int, index: NDArray[np.int64], similarity: NDArray[np.float32]) -> None:
    """Put the largest entries of a block into the neighbours found so far, which are changed in place."""
    k = index.shape[1]
    rows = np.arange(len(part))
    if k == 1:
        best = part.argmax(axis=1)
        found = part[rows, best]
        better = found > similarity[:, 0]
        similarity[better, 0] = found[better]
        index[better, 0] = best[better] + first
        return
    if np.isneginf(similarity[:, -1]).any():  # the first blocks: nearly all entries are candidates
        some = min(k, part.shape[1])
        column = np.argpartition(part, part.shape[1] - some, axis=1)[:, part.shape[1] - some :].ravel()
        row = np.repeat(rows, some)
    else:
        row, column = np.nonzero(part > similarity[:, -1:])
    row = np.concatenate([np.repeat(rows, k), row])
    place = np.concatenate([index.ravel(), column + first])
    value = np.concatenate([similarity.ravel(), part[row[len(rows) * k :], column]])
    order = np.lexsort((-value, row))
    begin = np.searchsorted(row[order], rows)
    kept = order[(begin[:, None] + np.arange(k)).ravel()]
    similarity[:] = value[kept].reshape(-1, k)
    index[:] = place[kept].reshape(-1, k)


class _Exclusion:
    """Which references are passed over for which query: those of its group.

    Args:
        queries: (n,) group of each query.
        references: (m,) group of each reference.
    """

    def __init__(self, queries: NDArray[np.int64], references: NDArray[np.int64]) -> None:
        self._order = np.argsort(references, kind="stable")
        ordered = references[self._order]
        self._begin = np.searchsorted(ordered, queries, side="left")
        self._count = np.searchsorted(ordered, queries, side="right") - self._begin

    @classmethod
    def of(
        cls, queries: NDArray[np.int64] | None, references: NDArray[np.int64] | None, n: int, m: int
    ) -> _Exclusion | None:
        """None where nothing is excluded."""
        if queries is None or references is None:
            return None
        if queries.shape != (n,) or references.shape != (m,):
            raise CardioDiTError(
                f"There are {n} and {m} embeddings, but {len(queries)} and {len(references)} groups.",
                "Give one group an embedding.",
            )
        return cls(queries, references)

    def pairs(self, top: int, bottom: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(row below `top`, reference) of every excluded pair of some queries."""
        count = self._count[top:bottom]
        rows = np.repeat(np.arange(bottom - top), count)
        within = np.arange(len(rows)) - np.repeat(np.cumsum(count) - count, count)
        return rows, self._order[np.repeat(self._begin[top:bottom], count) + within]

"""The assignment of hands to tracks, against all that there are."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from hmr_core.inference.video.matching import cheapest_pairs


def best_of_all(costs: np.ndarray) -> tuple[int, float]:
    """How many pairs there can be, and the least sum of so many."""
    rows, columns = costs.shape
    best = (0, 0.0)
    for chosen in itertools.product([None, *range(columns)], repeat=rows):
        used = [column for column in chosen if column is not None]
        if len(set(used)) < len(used):
            continue
        total = sum(costs[row, column] for row, column in enumerate(chosen) if column is not None)
        if math.isfinite(total):
            best = max(best, (len(used), -total))
    return best[0], -best[1]


@pytest.mark.parametrize("shape", [(1, 1), (2, 2), (3, 3), (4, 2), (2, 5), (4, 4)])
def test_no_other_pairs_cost_less(shape: tuple[int, int]) -> None:
    generator = np.random.default_rng(0)
    for share in (0.0, 0.3, 0.7):
        for _ in range(10):
            costs = generator.uniform(0, 5, shape)
            costs[generator.uniform(size=shape) < share] = np.inf
            pairs = cheapest_pairs(costs)
            count, total = best_of_all(costs)
            assert len(pairs) == count
            assert sum(costs[pair] for pair in pairs) == pytest.approx(total)
            assert len({column for _, column in pairs}) == len({row for row, _ in pairs}) == count


def test_the_nearest_first_would_be_wrong() -> None:
    assert cheapest_pairs(np.array([[1.0, 2.0], [1.1, 9.0]])) == [(0, 1), (1, 0)]


@pytest.mark.parametrize("shape", [(0, 0), (0, 2), (3, 0)])
def test_without_hands_or_tracks_there_is_no_pair(shape: tuple[int, int]) -> None:
    assert cheapest_pairs(np.zeros(shape)) == []


def test_what_cannot_be_is_no_pair() -> None:
    assert cheapest_pairs(np.array([[np.inf, np.inf], [np.inf, 0.0]])) == [(1, 1)]

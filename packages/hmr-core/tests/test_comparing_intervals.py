"""Intervals of means over clusters: how often they hold the truth, and what they do with little or odd data."""

from __future__ import annotations

import numpy as np
import pytest
from numpy import ndarray

from hmr_core.evaluation.comparing.bootstrap import MOST_CLUSTERS, _student, cluster_sums, mean_intervals

DATA_SETS = 2000


def errors(generator: np.random.Generator, sizes: ndarray, between: float) -> tuple[ndarray, ndarray, float]:
    """Sums of skewed errors, (clusters, DATA_SETS), of clusters of these sizes, and the true mean.

    between: how much the clusters differ: the deviation of the logarithm of what their errors are multiplied with.
    """
    within = 0.5
    levels = np.exp(generator.normal(0, between, (len(sizes), DATA_SETS)))
    sums = np.stack([np.exp(generator.normal(0, within, (size, DATA_SETS))).sum(0) for size in sizes]) * levels
    return sums, sizes.astype(np.float64), float(np.exp((between**2 + within**2) / 2))


@pytest.mark.parametrize(
    ("clusters", "largest", "between"),
    [(200, 1, 0.0), (40, 1, 0.0), (60, 30, 0.4), (20, 30, 0.4), (10, 30, 0.4), (5, 30, 0.4)],
    ids=lambda value: str(value),
)
def test_intervals_hold_the_truth_in_95_of_100_cases(clusters: int, largest: int, between: float) -> None:
    generator = np.random.default_rng(7)
    sizes = (
        generator.integers(1, largest + 1, clusters) if largest == 1 else generator.integers(5, largest + 1, clusters)
    )
    sums, weights, truth = errors(generator, sizes, between)
    _, low, high = mean_intervals(sums, weights, seed=1, draws=1000).T
    assert 93 <= 100 * ((low <= truth) & (truth <= high)).mean() <= 97


def test_frames_taken_for_independent_give_intervals_that_are_too_narrow() -> None:
    """Why clusters are drawn: the same data, each frame by itself."""
    generator = np.random.default_rng(7)
    level = np.exp(generator.normal(0, 0.4, (20, 1, 200)))
    frames = (level * np.exp(generator.normal(0, 0.5, (20, 30, 200)))).reshape(600, 200)
    _, low, high = mean_intervals(frames, np.ones(600), seed=1, draws=500).T
    truth = np.exp((0.4**2 + 0.5**2) / 2)
    assert ((low <= truth) & (truth <= high)).mean() < 0.6


def test_a_mean_is_that_of_the_samples_and_the_same_seed_gives_the_same_interval() -> None:
    generator = np.random.default_rng(0)
    values, weights = generator.gamma(2, 5, (300, 2)), generator.integers(0, 3, 300).astype(float)
    values[weights == 0] = np.nan
    clusters = generator.integers(0, 12, 300)
    sums = cluster_sums(values, weights, clusters)
    found = mean_intervals(*sums, seed=5)
    known = weights > 0
    np.testing.assert_allclose(found[:, 0], np.average(values[known], axis=0, weights=weights[known]))
    assert (found[:, 1] < found[:, 0]).all()
    assert (found[:, 0] < found[:, 2]).all()
    np.testing.assert_array_equal(mean_intervals(*sums, seed=5), found)
    assert (mean_intervals(*sums, seed=6)[:, 1:] != found[:, 1:]).any()
    # a column does not depend on the others that are drawn with it
    np.testing.assert_allclose(mean_intervals(sums[0][:, 1:], sums[1], seed=5)[0], found[1])


def test_clusters_without_any_weight_are_none() -> None:
    sums, weights = cluster_sums(np.array([[1.0], [np.nan], [3.0]]), np.array([1.0, 0.0, 1.0]), np.array([4, 2, 0]))
    assert sums.ravel().tolist() == [3.0, 1.0]
    assert weights.tolist() == [1.0, 1.0]


def test_many_samples_are_put_together_and_their_interval_is_the_textbook_s() -> None:
    generator = np.random.default_rng(0)
    values = generator.normal(10, 2, (200_000, 1))
    ((mean, low, high),) = mean_intervals(values, np.ones(len(values)), seed=0)
    half = 1.96 * values.std() / len(values) ** 0.5
    assert mean == pytest.approx(values.mean())
    assert (mean - low, high - mean) == pytest.approx((half, half), rel=0.1)
    assert len(values) > 50 * MOST_CLUSTERS


def test_one_cluster_has_no_interval_and_two_have_student_s() -> None:
    ((mean, low, high),) = mean_intervals(np.array([[12.0]]), np.array([4.0]), seed=0)
    assert mean == 3
    assert np.isnan([low, high]).all()
    ((mean, low, high),) = mean_intervals(np.array([[1.0], [3.0]]), np.ones(2), seed=0)
    assert (mean, high - mean, mean - low) == pytest.approx((2, 12.7062, 12.7062), rel=1e-4)


def test_equal_samples_leave_nothing_open_and_a_single_other_one_does_not_leave_everything_open() -> None:
    assert mean_intervals(np.full((20, 1), 3.0), np.ones(20), seed=0).tolist() == [[3, 3, 3]]
    one = np.zeros((20, 1))
    one[7] = 1
    ((mean, low, high),) = mean_intervals(one, np.ones(20), seed=0)
    assert mean == pytest.approx(0.05)
    assert -0.1 < low < 0 < 0.1 < high < 1


def test_clusters_that_are_nearly_equal_have_no_end_far_away() -> None:
    """Most draws of these are of four that are alike to eight digits, with next to no spread."""
    means = np.array([47.28757, 47.28758, 47.28757, 47.28758, 47.29263, 47.29263])
    ((mean, low, high),) = mean_intervals(means[:, None], np.ones(6), seed=0)
    student = 2.5706 * means.std(ddof=1) / np.sqrt(6)
    assert student * 0.999 < mean - low < 2.001 * student
    assert student * 0.999 < high - mean < 2.001 * student


@pytest.mark.parametrize(("freedom", "quantile"), [(1, 12.706), (3, 3.182), (4, 2.776), (9, 2.262), (30, 2.042)])
def test_student_s_quantiles(freedom: int, quantile: float) -> None:
    assert _student(freedom) == pytest.approx(quantile, abs=1.5e-3)

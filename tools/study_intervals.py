"""How often intervals of `hmr compare` hold the truth, on made-up errors whose true mean is known.

Errors are log-normal: those of a cluster share a level, whose logarithm has the deviation "between", and vary around
it with a deviation of 0.5. Each row is 2000 data sets. "percentiles" are the plain bootstrap's, of the same draws.

python tools/study_intervals.py
"""

from __future__ import annotations

import numpy as np
from numpy import ndarray

from hmr_core.evaluation.comparing.bootstrap import mean_intervals

DATA_SETS, WITHIN, DRAWS = 2000, 0.5, 2000

CASES = (
    *((clusters, 1, 0.0) for clusters in (10, 20, 50, 200, 1000)),
    *((clusters, 40, 0.4) for clusters in (2, 3, 4, 5, 8, 13, 20, 50, 160)),
)
"""Clusters, the most samples in one (5 at least, or 1), and how much they differ."""


def errors(generator: np.random.Generator, sizes: ndarray, between: float) -> tuple[ndarray, float]:
    """The sums of the clusters' errors, (clusters, DATA_SETS), and the true mean."""
    levels = np.exp(generator.normal(0, between, (len(sizes), DATA_SETS)))
    sums = np.stack([np.exp(generator.normal(0, WITHIN, (size, DATA_SETS))).sum(0) for size in sizes]) * levels
    return sums, float(np.exp((between**2 + WITHIN**2) / 2))


def percentiles(generator: np.random.Generator, sums: ndarray, weights: ndarray) -> ndarray:
    """The ends of the plain bootstrap's intervals, (2, DATA_SETS)."""
    count = len(weights)
    drawn = generator.integers(0, count, (DRAWS, count)) + count * np.arange(DRAWS)[:, None]
    times = np.bincount(drawn.ravel(), minlength=DRAWS * count).reshape(DRAWS, count).astype(np.float64)
    ends: ndarray = np.quantile((times @ sums) / (times @ weights)[:, None], [0.025, 0.975], axis=0)
    return ends


def hard_and_large(generator: np.random.Generator, clusters: int) -> tuple[ndarray, ndarray]:
    """The sums and sizes of clusters of which the large ones are the hard ones."""
    sized = generator.normal(0, 1, clusters)
    sizes = np.maximum(1, np.exp(3 + 0.5 * sized).astype(int))
    levels = np.exp(0.3 * sized + generator.normal(0, 0.3, clusters))
    within = np.split(np.exp(generator.normal(0, WITHIN, sizes.sum())), np.cumsum(sizes)[:-1])
    return levels * [part.sum() for part in within], sizes.astype(np.float64)


def hard_and_large_share(clusters: int) -> float:
    """How many of 100 intervals of such data hold the truth."""
    generator = np.random.default_rng(clusters)
    sums, sizes = hard_and_large(generator, 200_000)
    truth, held = sums.sum() / sizes.sum(), 0
    for seed in range(DATA_SETS):
        sums, sizes = hard_and_large(generator, clusters)
        ((_, low, high),) = mean_intervals(sums[:, None], sizes, seed=seed, draws=1000)
        held += low <= truth <= high
    return 100 * held / DATA_SETS


def main() -> None:
    """Print a row for each case."""
    print("| clusters | samples in each | between | hold the truth | percentiles |")
    print("|---|---|---|---|---|")
    for clusters, largest, between in CASES:
        generator = np.random.default_rng(clusters)
        sizes = np.ones(clusters, int) if largest == 1 else generator.integers(5, largest + 1, clusters)
        sums, truth = errors(generator, sizes, between)
        weights = sizes.astype(np.float64)
        _, low, high = mean_intervals(sums, weights, seed=1, draws=DRAWS).T
        first, last = percentiles(generator, sums, weights)
        share, plain = (100 * ((a <= truth) & (truth <= b)).mean() for a, b in ((low, high), (first, last)))
        in_each = "1" if largest == 1 else f"5 to {largest}"
        print(f"| {clusters} | {in_each} | {between:g} | {share:.1f} % | {plain:.1f} % |", flush=True)
    for clusters in (5, 10, 20, 100):
        print(
            f"large clusters are the hard ones, {clusters} clusters: {hard_and_large_share(clusters):.1f} %", flush=True
        )


if __name__ == "__main__":
    main()

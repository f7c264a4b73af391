"""Which samples belong together, and the intervals of metrics when such clusters are drawn anew."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64
from numpy import ndarray

from hmr_core.evaluation.comparing.bootstrap import DRAWS, cluster_sums, mean_intervals
from hmr_core.evaluation.comparing.comparison import Interval
from hmr_core.evaluation.comparing.measures import Measure


@dataclass(frozen=True, eq=False)
class Resampling:
    """How intervals are made. clusters: of each sample the number of its cluster. name: what a cluster is; None: a
    sample.
    """

    clusters: Int64[ndarray, " samples"]
    name: str | None = None
    seed: int = 0
    draws: int = DRAWS

    @property
    def count(self) -> int:
        """How many clusters there are."""
        return len(np.unique(self.clusters))

    def intervals(
        self,
        measures: Sequence[Measure | None],
        chosen: Int64[ndarray, " chosen"] | slice = slice(None),
        *,
        least: float = -np.inf,
        most: float = np.inf,
    ) -> list[Interval]:
        """The means of measures of the same samples, drawn together, with their ends inside least..most.

        chosen: the samples that count. A measure that is not there, or that none of them has, has no value.
        """
        found = [Interval(value=None) for _ in measures]
        for columns in _alike(measures):
            weights = columns[0][1].weights[chosen]
            if not weights.any():
                continue
            values = np.stack([measure.values[chosen] for _, measure in columns], axis=1)
            sums, totals = cluster_sums(values, weights, self.clusters[chosen])
            ends = mean_intervals(sums, totals, seed=self.seed, draws=self.draws)
            for (place, _), (mean, low, high) in zip(columns, ends.tolist(), strict=True):
                there = not np.isnan(low)
                found[place] = Interval(
                    value=mean, low=max(low, least) if there else None, high=min(high, most) if there else None
                )
        return found


def _alike(measures: Sequence[Measure | None]) -> list[list[tuple[int, Measure]]]:
    """The measures that are there with their places, those of the same weights together."""
    groups: list[list[tuple[int, Measure]]] = []
    for place, measure in enumerate(measures):
        if measure is None:
            continue
        for group in groups:
            if np.array_equal(group[0][1].weights, measure.weights):
                group.append((place, measure))
                break
        else:
            groups.append([(place, measure)])
    return groups

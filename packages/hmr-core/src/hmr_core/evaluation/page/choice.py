"""Which samples the page has: those with pictures, and those that its table and its scatter list."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

from hmr_core.evaluation.comparing.comparison import Comparison
from hmr_core.evaluation.page.sample_errors import sample_errors

MOST_A_GROUP = 16
"""Samples with pictures: so many worst ones, best ones and ones that the evaluations differ most in."""

MOST_PICTURES = 480
"""Of all samples together, which take some 20 kB each: a page stays below 25 MB however many evaluations it has."""

MOST_LISTED = 10_000
"""Samples in the table and in the scatter."""


@dataclass(frozen=True, kw_only=True)
class Groups:
    """The samples with pictures, as places in the comparison, each list from its first to its last.

    worst, best: by the mean error of all evaluations. differing: by how far the evaluations' errors are apart, the
    farthest first; empty where there is one evaluation alone.
    """

    worst: list[int]
    best: list[int]
    differing: list[int]

    @property
    def samples(self) -> list[int]:
        """Each of them once, the worst first."""
        return list(dict.fromkeys([*self.worst, *self.differing, *self.best]))


def choose_groups(comparison: Comparison, panels: int) -> Groups:
    """Choose the samples with pictures. panels: the pictures of each sample."""
    count = max(1, min(MOST_A_GROUP, MOST_PICTURES // (3 * panels)))
    errors = _errors(comparison)
    known = np.flatnonzero(np.isfinite(errors).all(0))
    means = errors[:, known].mean(0)
    apart = np.ptp(errors[:, known], axis=0)
    ranked = known[np.argsort(-means, kind="stable")].tolist()
    split = known[np.argsort(-apart, kind="stable")].tolist() if len(errors) > 1 else []
    return Groups(worst=ranked[:count], best=ranked[::-1][:count], differing=split[:count])


def choose_listed(samples: int, pictured: Sequence[int]) -> list[int]:
    """Choose the samples of the table: all, or those with pictures and others at even distances, in their order."""
    if samples <= MOST_LISTED:
        return list(range(samples))
    spread = np.linspace(0, samples - 1, MOST_LISTED).round().astype(int).tolist()
    return sorted({*spread, *pictured})


def _errors(comparison: Comparison) -> Float64[ndarray, "evaluations samples"]:
    """The first metric's, nan where a sample has none."""
    values = next(iter(sample_errors(comparison).values()))
    return np.array(values, dtype=np.float64)

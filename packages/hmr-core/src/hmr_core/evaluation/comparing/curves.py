"""Curves of the share of joints that are off by at most so much."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Float
from torch import Tensor

from hmr_core.evaluation.comparing.comparison import Curve
from hmr_core.metrics import SampleErrors

THRESHOLDS_MM = np.arange(51.0)
"""A point for each millimetre of the range over which PCK-AUC is taken."""


def curves(errors: Sequence[SampleErrors]) -> Iterator[Curve]:
    """The PCK curves of evaluations; none for none."""
    if errors:
        shares = [_shares(1000 * one.joints) for one in errors]
        yield Curve(kind="pck", thresholds_mm=THRESHOLDS_MM.tolist(), shares=shares)


def _shares(errors_mm: Float[Tensor, "batch 21"]) -> list[float]:
    """At each threshold the mean over the joints of the share of samples within it, as PCK-AUC has it."""
    shares = []
    for errors in errors_mm.double().numpy().T:
        known = np.sort(errors[~np.isnan(errors)])
        if len(known):
            shares.append(np.searchsorted(known, THRESHOLDS_MM, side="right") / len(known))
    mean: list[float] = np.mean(shares, axis=0).tolist()
    return mean

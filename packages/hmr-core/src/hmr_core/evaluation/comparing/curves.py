"""Curves of the share of joints that are off by at most so much."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

from hmr_core.evaluation.comparing.aligned import Aligned
from hmr_core.evaluation.comparing.comparison import Curve
from hmr_core.metrics import SampleErrors

THRESHOLDS_MM = np.arange(51.0)
"""A point for each millimetre of the range over which PCK-AUC is taken."""


def curves(errors: Sequence[SampleErrors], aligned: Sequence[Aligned]) -> Iterator[Curve]:
    """The PCK curves of evaluations, as they are and aligned; none without errors."""
    if errors:
        as_they_are = [_shares(1000 * one.joints.double().numpy()) for one in errors]
        yield Curve(kind="pck", thresholds_mm=THRESHOLDS_MM.tolist(), shares=as_they_are)
        yield Curve(
            kind="pck_pa", thresholds_mm=THRESHOLDS_MM.tolist(), shares=[_shares(one.joints_mm) for one in aligned]
        )


def _shares(errors_mm: Float64[ndarray, "samples 21"]) -> list[float]:
    """At each threshold the mean over the joints of the share of samples within it, as PCK-AUC has it."""
    shares = []
    for errors in errors_mm.T:
        known = np.sort(errors[~np.isnan(errors)])
        if len(known):
            shares.append(np.searchsorted(known, THRESHOLDS_MM, side="right") / len(known))
    mean: list[float] = np.mean(shares, axis=0).tolist()
    return mean

"""Errors and metrics of predicted hands: pure functions, computed in float64.

`errors` gives the metrics of the published table; the other files of this folder have one kind of metric each. What a
program or a notebook calls takes numpy's arrays or torch's tensors, and gives the same kind.
"""

from hmr_core.metrics.published import (
    METRICS,
    PCK_THRESHOLDS_M,
    Errors,
    SampleErrors,
    concatenate,
    errors,
    known_mean,
    pck_auc,
    pck_curves,
    sample_errors,
    summarise,
    summarise_aligned,
)

__all__ = [
    "METRICS",
    "PCK_THRESHOLDS_M",
    "Errors",
    "SampleErrors",
    "concatenate",
    "errors",
    "known_mean",
    "pck_auc",
    "pck_curves",
    "sample_errors",
    "summarise",
    "summarise_aligned",
]

"""Errors and metrics of predicted hands: pure functions, computed in float64.

`errors` gives the metrics of the published table; the other files of this folder have one kind of metric each. What a
program or a notebook calls takes numpy's arrays or torch's tensors, and gives the same kind.
"""

from hmr_core.metrics.auc import auc
from hmr_core.metrics.f_scores import f_scores
from hmr_core.metrics.motion import acceleration_errors, jitters
from hmr_core.metrics.pixels import pck_px
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
    spread,
    summarise,
    summarise_aligned,
)
from hmr_core.metrics.scaled import scale_errors_mm, scale_root_errors_mm
from hmr_core.metrics.two_hands import mrrpe_mm

__all__ = [
    "METRICS",
    "PCK_THRESHOLDS_M",
    "Errors",
    "SampleErrors",
    "acceleration_errors",
    "auc",
    "concatenate",
    "errors",
    "f_scores",
    "jitters",
    "known_mean",
    "mrrpe_mm",
    "pck_auc",
    "pck_curves",
    "pck_px",
    "sample_errors",
    "scale_errors_mm",
    "scale_root_errors_mm",
    "spread",
    "summarise",
    "summarise_aligned",
]

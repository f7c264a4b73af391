"""The errors of samples from which a comparison's metrics are the means."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Float64
from numpy import ndarray
from torch import Tensor

from hmr_core.evaluation.comparing.aligned import Aligned
from hmr_core.evaluation.predictions import ERRORS, Predictions
from hmr_core.metrics import PCK_THRESHOLDS_M, SampleErrors
from hmr_core.metrics.f_scores import THRESHOLDS_MM


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A metric that is a mean over samples. Its key is that of report.json, with the alignment before it."""

    key: str
    title: str
    unit: Literal["mm", ""] = "mm"
    better: Literal["lower", "higher"] = "lower"

    @property
    def digits(self) -> int:
        """How many digits its values are shown with after the point."""
        return 2 if self.unit == "mm" else 3


METRICS = (
    Metric(key="mpjpe_mm", title="MPJPE"),
    Metric(key="pck_auc_0_50mm", title="PCK-AUC", unit="", better="higher"),
    Metric(key="mpvpe_mm", title="MPVPE"),
    Metric(key="pa_mpjpe_mm", title="PA-MPJPE"),
    Metric(key="pa_mpvpe_mm", title="PA-MPVPE"),
    Metric(key="wrist_mpjpe_mm", title="MPJPE, wrists aligned"),
    Metric(key="wrist_mpvpe_mm", title="MPVPE, wrists aligned"),
    Metric(key="pa_f_5mm", title="PA-F@5", unit="", better="higher"),
    Metric(key="pa_f_15mm", title="PA-F@15", unit="", better="higher"),
)
"""The five of the published table in its order, then what those without the given root are, then F-scores after
alignment.
"""

BY_KEY = {metric.key: metric for metric in METRICS}


@dataclass(frozen=True, eq=False)
class Measure:
    """A metric sample by sample: the metric is the mean of the values, weighted.

    values: nan where a sample has none; its weight is then 0. weights: 1 each where all joints are known.
    """

    values: Float64[ndarray, " samples"]
    weights: Float64[ndarray, " samples"]

    @property
    def mean(self) -> float:
        """The metric."""
        known = self.weights > 0
        return float(np.average(self.values[known], weights=self.weights[known]))


def sample_measures(errors: SampleErrors, aligned: Aligned | None = None) -> dict[str, Measure]:
    """The measures of samples whose errors are known joint by joint; their means are the report's metrics.

    aligned: for the F-scores, which are left out without it.
    """
    scores = {} if aligned is None or aligned.f is None else dict(zip(THRESHOLDS_MM, aligned.f.T, strict=True))
    found = {
        "mpjpe_mm": joint_measure(1000 * errors.joints),
        "pck_auc_0_50mm": joint_measure(pck_areas(errors.joints), each_joint_alike=True),
        "mpvpe_mm": _of_samples(errors.verts),
        "pa_mpjpe_mm": _of_samples(errors.pa_joints),
        "pa_mpvpe_mm": _of_samples(errors.pa_verts),
        "wrist_mpjpe_mm": joint_measure(1000 * errors.wrist_joints),
        "wrist_mpvpe_mm": _of_samples(errors.wrist_verts),
        **{f"pa_f_{threshold:g}mm": _measure(values) for threshold, values in scores.items()},
    }
    return {key: measure for key, measure in found.items() if measure is not None}


def stored_measures(predictions: Predictions) -> dict[str, Measure]:
    """The measures that a file of predictions itself has: the means of samples' own errors."""
    stored = {key: getattr(predictions, key) for key in ERRORS}
    return {key: _measure(array.astype(np.float64)) for key, array in stored.items() if array is not None}


def joint_measure(values: Float[Tensor, "batch joints"], *, each_joint_alike: bool = False) -> Measure:
    """Of values of single joints: the mean over all of them, or over the joints' means over samples.

    These differ where some joints are not known. Then a sample counts for as many as it has of them, and for more where
    few samples have that joint.
    """
    array = values.double().numpy()
    known = ~np.isnan(array)
    shares = np.where(known, 1 / array.shape[1], 0)
    if each_joint_alike:
        shares *= len(array) / np.maximum(known.sum(0), 1)
    weights = shares.sum(1)
    with np.errstate(invalid="ignore"):
        means = np.where(known, array * shares, 0).sum(1) / weights
    return Measure(means, weights)


def pck_areas(errors_m: Float[Tensor, "batch joints"]) -> Float[Tensor, "batch joints"]:
    """The area that each error by itself has under the PCK curve (0..1): the curve's is their mean. nan stays."""
    thresholds = PCK_THRESHOLDS_M.to(errors_m.device)
    within = (errors_m.double()[..., None] <= thresholds).double()
    areas: Tensor = torch.trapezoid(within, thresholds) / thresholds[-1]
    return areas.masked_fill(errors_m.isnan(), torch.nan)


def _of_samples(errors_m: Float[Tensor, " batch"] | None) -> Measure | None:
    return None if errors_m is None else _measure(1000 * errors_m.double().numpy())


def _measure(values: Float64[ndarray, " samples"]) -> Measure:
    """Of values of whole samples; nan for those that have none."""
    return Measure(values, (~np.isnan(values)).astype(np.float64))

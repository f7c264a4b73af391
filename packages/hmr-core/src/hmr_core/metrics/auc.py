"""The area under the PCK curve, over any range of thresholds."""

from __future__ import annotations

import torch

from hmr_core.errors import UsageError
from hmr_core.metrics.points import Array, as_tensors
from hmr_core.metrics.published import pck_auc


def auc(errors_mm: Array, *, low_mm: float = 0, high_mm: float = 50, steps: int = 100) -> float:
    """The area under the PCK curve of errors, 0..1: of each joint (or vertex) first, then averaged over the joints.

    errors_mm: (..., n) of n joints, in mm, nan where one is not known. The curve has `steps` thresholds from low_mm to
    high_mm, both included, counts an error that is as large as a threshold, and its area (by trapezoids) is divided by
    the range. FreiHAND, HO-3D and DexYCB score 100 steps from 0 to 50 mm; the published table of OakInk-HMR 20
    (metrics "pck_auc_0_50mm"); Zimmermann and Brox (2017) began 20 to 50 mm.
    Raises UsageError for a range or steps that make no curve, and for no errors.
    """
    if not 0 <= low_mm < high_mm or steps < 2:
        raise UsageError(
            f"{steps} thresholds from {low_mm:g} to {high_mm:g} mm. Valid: two or more, from 0 mm or more to more."
        )
    (errors,) = as_tensors(errors_mm=errors_mm)
    if errors.ndim < 1 or errors.numel() == 0:
        raise UsageError(f"errors_mm has the shape {tuple(errors.shape)}. Valid: (..., n), of one hand at least.")
    thresholds_m = torch.linspace(low_mm / 1000, high_mm / 1000, steps, dtype=torch.float64)
    return pck_auc(errors.reshape(-1, errors.shape[-1]) / 1000, thresholds_m)

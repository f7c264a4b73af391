"""The metrics of a report beside those of the published table: what other papers quote, of the same predictions.

Keys and meanings: docs/protocol.md. What a data set does not allow is not there; what needs a mesh is None without one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int64
from numpy import ndarray
from torch import Tensor

from hmr_core.data.pack.reader import Pack
from hmr_core.geometry.alignment import align
from hmr_core.geometry.camera import project
from hmr_core.metrics import auc, known_mean, pck_px, scale_errors_mm, scale_root_errors_mm
from hmr_core.metrics.f_scores import THRESHOLDS_MM, flat_f_scores
from hmr_core.metrics.pixels import BOX_SHARES
from hmr_core.metrics.published import pa_joint_errors


@dataclass(frozen=True, kw_only=True)
class FurtherErrors:
    """What further metrics are means of, sample by sample, float64; nan where a joint is not known.

    joints_mm, pa_joints_mm: of each joint as it is and after alignment (reflection allowed). scale_root_mm, scale_mm:
    as metrics.scaled has them. within: the share of the joints within each of BOX_SHARES of the box in the image.
    f, pa_f: F-scores of the mesh at each of THRESHOLDS_MM, as it is and aligned; None where there is no mesh.
    """

    joints_mm: Float[Tensor, "batch 21"]
    pa_joints_mm: Float[Tensor, "batch 21"]
    scale_root_mm: Float[Tensor, "batch 21"]
    scale_mm: Float[Tensor, "batch 21"]
    within: Float[Tensor, "batch shares"]
    f: Float[Tensor, "meshes thresholds"] | None = None
    pa_f: Float[Tensor, "meshes thresholds"] | None = None


def further_errors(
    pack: Pack,
    rows: Int64[ndarray, " n"],
    joints: Float32[ndarray, "n 21 3"],
    verts: Float32[ndarray, "n 778 3"] | None,
) -> FurtherErrors:
    """The further errors of rows of a pack whose points were found to be in order by metrics.sample_errors.

    verts: None where the pack or the prediction has no mesh.
    """
    pred, true = (torch.from_numpy(array).double() for array in (joints, pack.array("joints", rows)))
    known = torch.from_numpy(pack.joints_valid(rows))
    intrinsics = torch.from_numpy(pack.array("intrinsics", rows)).double()
    pred_px, true_px = project(pred, intrinsics), project(true, intrinsics)
    mesh = {}
    if verts is not None:
        meshed = pack.verts_valid(rows)
        pred_mesh, true_mesh = (
            torch.from_numpy(array[meshed]).double() for array in (verts, pack.array("verts", rows))
        )
        mesh = {
            "f": flat_f_scores(pred_mesh, true_mesh),
            "pa_f": flat_f_scores(align(pred_mesh, true_mesh), true_mesh),
        }
    return FurtherErrors(
        joints_mm=1000 * torch.linalg.vector_norm(pred - true, dim=-1).masked_fill(~known, torch.nan),
        pa_joints_mm=1000 * pa_joint_errors(pred, true, ~known),
        scale_root_mm=scale_root_errors_mm(pred, true, valid=known),
        scale_mm=scale_errors_mm(pred, true, valid=known),
        within=pck_px(pred_px, true_px, _longer_side(true_px, known), valid=known),
        **mesh,
    )


def further_metrics(errors: FurtherErrors) -> dict[str, float | None]:
    """The metrics that these errors sum up to, by their names in report.json."""
    metrics: dict[str, float | None] = {}
    for name, scores in (("f", errors.f), ("pa_f", errors.pa_f)):
        for i, threshold_mm in enumerate(THRESHOLDS_MM):
            metrics[f"{name}_{threshold_mm:g}mm"] = None if scores is None else _mean(scores[:, i])
    for name, errors_mm in (("auc", errors.joints_mm), ("pa_auc", errors.pa_joints_mm)):
        metrics[f"{name}_0_50mm"] = auc(errors_mm)
        metrics[f"{name}_20_50mm"] = auc(errors_mm, low_mm=20)
    metrics["scale_root_mpjpe_mm"] = _mean(errors.scale_root_mm)
    metrics["scale_mpjpe_mm"] = _mean(errors.scale_mm)
    for i, share in enumerate(BOX_SHARES):
        metrics[f"pck_box_{100 * share:g}"] = _mean(errors.within[:, i])
    return metrics


def joined(parts: list[FurtherErrors]) -> FurtherErrors:
    """The errors of several batches as one."""
    columns = {name: [getattr(part, name) for part in parts] for name in FurtherErrors.__dataclass_fields__}
    whole: Any = {name: None if column[0] is None else torch.cat(column) for name, column in columns.items()}
    return FurtherErrors(**whole)


def _longer_side(points_px: Float[Tensor, "batch n 2"], known: Bool[Tensor, "batch n"]) -> Float[Tensor, " batch"]:
    """The longer side of each hand's box around its known joints, in pixels."""
    highest = points_px.masked_fill(~known[..., None], -torch.inf).amax(1)
    lowest = points_px.masked_fill(~known[..., None], torch.inf).amin(1)
    return (highest - lowest).amax(1)


def _mean(values: Tensor) -> float | None:
    """The mean of those that there are; None where there is none, as where no scale can be taken from a bone."""
    mean = float(known_mean(values))
    return mean if np.isfinite(mean) else None

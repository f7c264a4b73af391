"""The errors of the published table, for each sample first, then summarised over a subset.

All are computed in float64. Predictions and ground truth are in metres, camera space; figures are in millimetres.
Source: the golden files `metrics`; for PA, orthogonal Procrustes with scale, reflections allowed as published.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from jaxtyping import Float
from torch import Tensor

from hmr_core.errors import HmrError
from hmr_core.geometry.alignment import align
from hmr_core.hand.joints import MIDDLE_MCP, WRIST

PCK_THRESHOLDS_M = torch.linspace(0, 0.05, 20, dtype=torch.float64)
"""The error thresholds of the PCK curve: 20 from 0 to 50 mm, both ends included."""

METRICS = ("mpjpe_mm", "pck_auc_0_50mm", "mpvpe_mm", "pa_mpjpe_mm", "pa_mpvpe_mm")
"""The five figures of the published table, in its order."""


@dataclass(frozen=True, kw_only=True)
class SampleErrors:
    """Errors in metres, sample by sample. What concerns vertices is None where no mesh was predicted.

    joints: of each joint. wrist, mcp: the same after moving prediction and truth so that joint 0, or 9, coincide.
    pa_joints: mean over the joints after alignment; *_rotation: with reflections excluded, scale still fitted.
    """

    joints: Float[Tensor, "batch 21"]
    wrist_joints: Float[Tensor, "batch 21"]
    mcp_joints: Float[Tensor, "batch 21"]
    pa_joints: Float[Tensor, " batch"]
    pa_joints_rotation: Float[Tensor, " batch"]
    verts: Float[Tensor, " batch"] | None = None
    wrist_verts: Float[Tensor, " batch"] | None = None
    mcp_verts: Float[Tensor, " batch"] | None = None
    pa_verts: Float[Tensor, " batch"] | None = None
    pa_verts_rotation: Float[Tensor, " batch"] | None = None


def sample_errors(
    pred_joints: Float[Tensor, "batch 21 3"],
    joints: Float[Tensor, "batch 21 3"],
    pred_verts: Float[Tensor, "batch n_verts 3"] | None = None,
    verts: Float[Tensor, "batch n_verts 3"] | None = None,
) -> SampleErrors:
    """The errors of each sample; HmrError when a prediction cannot be aligned (see geometry.alignment.align)."""
    pred_joints, joints = pred_joints.double(), joints.double()
    wrist_shift = (joints - pred_joints)[:, WRIST, None]
    mcp_shift = (joints - pred_joints)[:, MIDDLE_MCP, None]
    mesh: dict[str, Tensor] = {}
    if pred_verts is not None and verts is not None:
        pred_verts, verts = pred_verts.double(), verts.double()
        mesh = {
            "verts": _distances(pred_verts, verts).mean(1),
            "wrist_verts": _distances(pred_verts + wrist_shift, verts).mean(1),
            "mcp_verts": _distances(pred_verts + mcp_shift, verts).mean(1),
            "pa_verts": _distances(align(pred_verts, verts), verts).mean(1),
            "pa_verts_rotation": _distances(align(pred_verts, verts, reflection=False), verts).mean(1),
        }
    return SampleErrors(
        joints=_distances(pred_joints, joints),
        wrist_joints=_distances(pred_joints + wrist_shift, joints),
        mcp_joints=_distances(pred_joints + mcp_shift, joints),
        pa_joints=_distances(align(pred_joints, joints), joints).mean(1),
        pa_joints_rotation=_distances(align(pred_joints, joints, reflection=False), joints).mean(1),
        **mesh,
    )


def concatenate(parts: Sequence[SampleErrors]) -> SampleErrors:
    """The errors of several batches as one; HmrError when there is none, since zero samples have no mean."""
    if not parts:
        raise HmrError("no samples to score: the subset is empty")
    columns: dict[str, list[Tensor]] = {}
    for name in (f.name for f in fields(SampleErrors) if getattr(parts[0], f.name) is not None):
        columns[name] = [getattr(part, name) for part in parts]
    return SampleErrors(**{name: torch.cat(column) for name, column in columns.items()})


def pck_curves(joint_errors_m: Float[Tensor, "batch joints"]) -> Float[Tensor, "joints thresholds"]:
    """For each joint, the share of samples whose error is at most each of PCK_THRESHOLDS_M."""
    sorted_errors = joint_errors_m.double().T.contiguous().sort(dim=1).values
    thresholds = PCK_THRESHOLDS_M.to(sorted_errors.device).expand(len(sorted_errors), -1).contiguous()
    return torch.searchsorted(sorted_errors, thresholds, right=True).double() / joint_errors_m.shape[0]


def pck_auc(joint_errors_m: Float[Tensor, "batch joints"]) -> float:
    """The area under each joint's PCK curve (trapezoids, over 50 mm), averaged over the joints; 0..1."""
    thresholds = PCK_THRESHOLDS_M.to(joint_errors_m.device)
    areas = torch.trapezoid(pck_curves(joint_errors_m), thresholds) / thresholds[-1]
    return float(areas.mean())


def summarise(errors: SampleErrors) -> dict[str, float | None]:
    """The five figures of the published table; those of the mesh are None where there is none."""
    return {
        "mpjpe_mm": _mm(errors.joints),
        "pck_auc_0_50mm": pck_auc(errors.joints),
        "mpvpe_mm": _mm(errors.verts),
        "pa_mpjpe_mm": _mm(errors.pa_joints),
        "pa_mpvpe_mm": _mm(errors.pa_verts),
    }


def summarise_aligned(errors: SampleErrors) -> dict[str, dict[str, float | None]]:
    """The same figures without the given root depth (`wrist`, `mcp`), and PA without reflections."""

    def rooted(joints: Tensor, verts: Tensor | None) -> dict[str, float | None]:
        return {"mpjpe_mm": _mm(joints), "pck_auc_0_50mm": pck_auc(joints), "mpvpe_mm": _mm(verts)}

    return {
        "wrist": rooted(errors.wrist_joints, errors.wrist_verts),
        "mcp": rooted(errors.mcp_joints, errors.mcp_verts),
        "pa_rotation_only": {
            "pa_mpjpe_mm": _mm(errors.pa_joints_rotation),
            "pa_mpvpe_mm": _mm(errors.pa_verts_rotation),
        },
    }


def _distances(a: Float[Tensor, "batch n 3"], b: Float[Tensor, "batch n 3"]) -> Float[Tensor, "batch n"]:
    distances: Tensor = torch.linalg.vector_norm(a - b, dim=-1)
    return distances


def _mm(errors_m: Tensor | None) -> float | None:
    return None if errors_m is None else float(errors_m.mean()) * 1000

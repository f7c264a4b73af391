"""The errors of the published table, for each sample first, then summarised over a subset.

All are computed in float64. Predictions and ground truth are in metres, camera space; metrics are in millimetres.
`errors` is for programs and notebooks; evaluation uses the steps below it.
Source: the golden files `metrics`; for PA, orthogonal Procrustes with scale, reflections allowed as published.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Generic

import torch
from jaxtyping import Bool, Float
from numpy import ndarray
from torch import Tensor

from hmr_core.errors import HmrError, UsageError
from hmr_core.geometry.alignment import DegeneratePointsError, align
from hmr_core.hand.joints import MIDDLE_MCP, WRIST
from hmr_core.metrics.points import Array, in_kind_of

PCK_THRESHOLDS_M = torch.linspace(0, 0.05, 20, dtype=torch.float64)
"""The error thresholds of the PCK curve: 20 from 0 to 50 mm, both ends included."""

METRICS = ("mpjpe_mm", "pck_auc_0_50mm", "mpvpe_mm", "pa_mpjpe_mm", "pa_mpvpe_mm")
"""The five metrics of the published table, in its order."""


@dataclass(frozen=True, kw_only=True)
class Errors(Generic[Array]):
    """The errors of hands in millimetres, float64, as arrays of the kind that was given.

    Shapes are those before the last two dimensions of the joints: (batch,) for joints of (batch, 21, 3), and a single
    number for one hand. Errors of vertices are None where no mesh was given.

    joints_mm: (..., 21) the distance of each joint from its true place. mpjpe_mm: its mean over the joints.
    wrist_mpjpe_mm: the same after both hands were moved so that their wrists coincide.
    pa_mpjpe_mm: the same after the similarity (rotation, scale, shift, reflection allowed) that brings the prediction
    closest to the truth. mpvpe_mm, wrist_mpvpe_mm, pa_mpvpe_mm: the same of the vertices.
    metrics: the five metrics of the published table over all hands, PCK-AUC included (METRICS; None without a mesh).
    """

    joints_mm: Array
    mpjpe_mm: Array
    wrist_mpjpe_mm: Array
    pa_mpjpe_mm: Array
    mpvpe_mm: Array | None
    wrist_mpvpe_mm: Array | None
    pa_mpvpe_mm: Array | None
    metrics: dict[str, float | None]


def errors(
    joints: Array,
    true_joints: Array,
    verts: Array | None = None,
    true_verts: Array | None = None,
    *,
    joints_valid: Array | None = None,
) -> Errors[Array]:
    """The errors of predicted hands: MPJPE, PA-MPJPE and their relatives, of each hand and over all of them.

    joints, true_joints: (..., 21, 3), metres, camera space, the same order of joints. verts, true_verts: (..., n, 3).
    joints_valid: (..., 21), true where a joint is known; None where all are. The others count for nothing, and their
    joints_mm is nan. The wrist must be known.
    All are numpy arrays or all are torch tensors, of any type of numbers. The results are of the same kind, without
    gradients.
    Raises UsageError for other shapes, and HmrError for points that cannot be aligned: not finite, or all in one place.
    """
    points = _checked(joints, true_joints, verts, true_verts)
    known = None if joints_valid is None else _checked_mask(joints_valid, joints)
    with torch.no_grad():
        found = sample_errors(*points, known=known)

    return Errors(
        joints_mm=_in_mm(found.joints, joints),
        mpjpe_mm=_in_mm(known_mean(found.joints, 1), joints),
        wrist_mpjpe_mm=_in_mm(known_mean(found.wrist_joints, 1), joints),
        pa_mpjpe_mm=_in_mm(found.pa_joints, joints),
        mpvpe_mm=_in_mm(found.verts, joints),
        wrist_mpvpe_mm=_in_mm(found.wrist_verts, joints),
        pa_mpvpe_mm=_in_mm(found.pa_verts, joints),
        metrics=summarise(found),
    )


def _in_mm(errors_m: Tensor | None, like: Any) -> Any:
    """Errors of a flat batch in millimetres, in the kind and the batch shape of the given points."""
    if errors_m is None:
        return None
    return in_kind_of((errors_m * 1000).reshape((*like.shape[:-2], *errors_m.shape[1:])), like)


def _checked(joints: Array, true_joints: Array, verts: Array | None, true_verts: Array | None) -> list[Tensor]:
    """The points as tensors (batch, n, 3); UsageError where they are no points of hands that go together."""
    named = {"joints": joints, "true_joints": true_joints, "verts": verts, "true_verts": true_verts}
    if (verts is None) != (true_verts is None):
        raise UsageError("verts and true_verts go together. Give both, or neither.")
    points: dict[str, Any] = {name: array for name, array in named.items() if array is not None}
    if not any(all(isinstance(array, kind) for array in points.values()) for kind in (ndarray, Tensor)):
        given = ", ".join(f"{name} a {type(array).__name__}" for name, array in points.items())
        raise UsageError(f"{given}. Give numpy arrays alone, or torch tensors alone.")
    if tuple(joints.shape[-2:]) != (21, 3) or 0 in joints.shape:
        raise UsageError(f"joints has the shape {tuple(joints.shape)}. Valid: (..., 21, 3), of one hand at least.")
    if verts is not None and (verts.shape[:-2] != joints.shape[:-2] or verts.shape[-1] != 3 or verts.ndim < 2):
        valid = (*joints.shape[:-2], "n", 3)
        raise UsageError(f"verts has the shape {tuple(verts.shape)}. Valid beside these joints: {valid}.")
    for name, like in (("true_joints", "joints"), ("true_verts", "verts")):
        if name in points and points[name].shape != points[like].shape:
            shapes = f"{tuple(points[name].shape)}, and {like} {tuple(points[like].shape)}"
            raise UsageError(f"{name} has the shape {shapes}. Both must be the same.")
    return [torch.as_tensor(array).reshape(-1, *array.shape[-2:]).double() for array in points.values()]


def _checked_mask(joints_valid: Any, joints: Any) -> Bool[Tensor, "batch 21"]:
    """Which joints are known, of a flat batch; UsageError for a mask that is not of these joints."""
    if isinstance(joints_valid, Tensor) != isinstance(joints, Tensor) or joints_valid.shape != joints.shape[:-1]:
        raise UsageError(
            f"joints_valid is a {type(joints_valid).__name__} of the shape {tuple(joints_valid.shape)}. Valid beside "
            f"these joints: a {type(joints).__name__} of the shape {tuple(joints.shape[:-1])}."
        )
    return torch.as_tensor(joints_valid).reshape(-1, 21).bool()


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
    *,
    known: Bool[Tensor, "batch 21"] | None = None,
    verts_known: Bool[Tensor, " batch"] | None = None,
) -> SampleErrors:
    """The errors of each sample; HmrError when a prediction cannot be aligned (see geometry.alignment.align).

    known: which joints are; None where all are. The errors of the others are nan, and they align nothing; where the
    wrist or the middle knuckle is not known, so are all errors that need it. verts_known: of which samples the mesh is;
    None where of all.
    """
    pred_joints, joints = pred_joints.double(), joints.double()
    unknown = torch.zeros_like(joints[..., 0], dtype=torch.bool) if known is None else ~known
    shift = (joints - pred_joints).masked_fill(unknown[..., None], torch.nan)
    wrist_shift, mcp_shift = shift[:, WRIST, None], shift[:, MIDDLE_MCP, None]
    mesh: dict[str, Tensor] = {}
    if pred_verts is not None and verts is not None:
        pred_verts, verts = pred_verts.double(), verts.double()
        if verts_known is None or bool(verts_known.all()):
            mesh = _mesh_errors(pred_verts, verts, wrist_shift, mcp_shift)
        else:
            mesh = _known_mesh_errors(pred_verts, verts, wrist_shift, mcp_shift, verts_known)
    return SampleErrors(
        joints=_distances(pred_joints, joints).masked_fill(unknown, torch.nan),
        wrist_joints=_distances(pred_joints + wrist_shift, joints).masked_fill(unknown, torch.nan),
        mcp_joints=_distances(pred_joints + mcp_shift, joints).masked_fill(unknown, torch.nan),
        pa_joints=_pa_joints(pred_joints, joints, unknown, reflection=True),
        pa_joints_rotation=_pa_joints(pred_joints, joints, unknown, reflection=False),
        **mesh,
    )


def _mesh_errors(
    pred_verts: Float[Tensor, "batch n_verts 3"],
    verts: Float[Tensor, "batch n_verts 3"],
    wrist_shift: Float[Tensor, "batch 1 3"],
    mcp_shift: Float[Tensor, "batch 1 3"],
) -> dict[str, Tensor]:
    """The errors of meshes, by the names of SampleErrors."""
    return {
        "verts": _distances(pred_verts, verts).mean(1),
        "wrist_verts": _distances(pred_verts + wrist_shift, verts).mean(1),
        "mcp_verts": _distances(pred_verts + mcp_shift, verts).mean(1),
        "pa_verts": _distances(align(pred_verts, verts), verts).mean(1),
        "pa_verts_rotation": _distances(align(pred_verts, verts, reflection=False), verts).mean(1),
    }


def _known_mesh_errors(
    pred_verts: Float[Tensor, "batch n_verts 3"],
    verts: Float[Tensor, "batch n_verts 3"],
    wrist_shift: Float[Tensor, "batch 1 3"],
    mcp_shift: Float[Tensor, "batch 1 3"],
    known: Bool[Tensor, " batch"],
) -> dict[str, Tensor]:
    """The same where some meshes are not known: their errors are nan."""
    try:
        errors = _mesh_errors(*(array[known] for array in (pred_verts, verts, wrist_shift, mcp_shift)))
    except DegeneratePointsError as error:
        raise DegeneratePointsError(int(known.nonzero()[error.index, 0]), error.reason) from error
    return {name: torch.full_like(verts[:, 0, 0], torch.nan).masked_scatter(known, of) for name, of in errors.items()}


def pa_joint_errors(
    pred_joints: Float[Tensor, "batch 21 3"],
    joints: Float[Tensor, "batch 21 3"],
    unknown: Bool[Tensor, "batch 21"],
    *,
    reflection: bool = True,
) -> Float[Tensor, "batch 21"]:
    """The error of each joint in metres, float64, after each sample's known joints were aligned; nan where not known.

    Raises DegeneratePointsError as geometry.alignment.align has it.
    """
    if not bool(unknown.any()):
        return _distances(align(pred_joints, joints, reflection=reflection), joints)
    errors = torch.full_like(pred_joints[..., 0], torch.nan)
    for index, hidden in enumerate(unknown):
        source, target = pred_joints[index, ~hidden][None], joints[index, ~hidden][None]
        try:
            errors[index, ~hidden] = _distances(align(source, target, reflection=reflection), target)[0]
        except DegeneratePointsError as error:
            raise DegeneratePointsError(index, error.reason) from error
    return errors


def _pa_joints(
    pred_joints: Float[Tensor, "batch 21 3"],
    joints: Float[Tensor, "batch 21 3"],
    unknown: Bool[Tensor, "batch 21"],
    *,
    reflection: bool,
) -> Float[Tensor, " batch"]:
    """The mean error of each sample's known joints after these were aligned."""
    errors = pa_joint_errors(pred_joints, joints, unknown, reflection=reflection)
    if not bool(unknown.any()):
        return errors.mean(1)
    return torch.stack([own[~hidden].mean() for own, hidden in zip(errors, unknown, strict=True)])


def known_mean(errors: Tensor, dim: int | None = None) -> Tensor:
    """The mean of errors, over a dimension or all of them, without those of joints that are not known (nan)."""
    if not bool(errors.isnan().any()):  # the same to the last bit as without joints that are not known
        return errors.mean() if dim is None else errors.mean(dim)
    return torch.nanmean(errors) if dim is None else torch.nanmean(errors, dim)


def concatenate(parts: Sequence[SampleErrors]) -> SampleErrors:
    """The errors of several batches as one; HmrError when there is none, since zero samples have no mean."""
    if not parts:
        raise HmrError("no samples to score: the subset is empty")
    columns: dict[str, list[Tensor]] = {}
    for name in (f.name for f in fields(SampleErrors) if getattr(parts[0], f.name) is not None):
        columns[name] = [getattr(part, name) for part in parts]
    return SampleErrors(**{name: torch.cat(column) for name, column in columns.items()})


def spread(errors: SampleErrors, known: Bool[Tensor, " batch"]) -> SampleErrors:
    """The errors of a batch of whose samples these are the known ones, in its order: those of the others are nan."""
    columns: dict[str, Tensor] = {}
    for name in (f.name for f in fields(SampleErrors) if getattr(errors, f.name) is not None):
        own = getattr(errors, name)
        columns[name] = own.new_full((len(known), *own.shape[1:]), torch.nan)
        columns[name][known] = own
    return SampleErrors(**columns)


def pck_curves(
    joint_errors_m: Float[Tensor, "batch joints"], thresholds_m: Float[Tensor, " thresholds"] = PCK_THRESHOLDS_M
) -> Float[Tensor, "joints thresholds"]:
    """For each joint, the share of samples whose error is at most each of the thresholds; nan where none is known."""
    errors = joint_errors_m.double().T.contiguous()
    known = (~errors.isnan()).sum(1, keepdim=True)
    # Beyond every threshold: a search among nan, which is below nothing, would count some of them as hits.
    sorted_errors = errors.masked_fill(errors.isnan(), torch.inf).sort(dim=1).values
    thresholds = thresholds_m.to(sorted_errors.device).expand(len(sorted_errors), -1).contiguous()
    return torch.searchsorted(sorted_errors, thresholds, right=True).double() / known


def pck_auc(
    joint_errors_m: Float[Tensor, "batch joints"], thresholds_m: Float[Tensor, " thresholds"] = PCK_THRESHOLDS_M
) -> float:
    """The area under each joint's PCK curve (trapezoids, over the thresholds' range), averaged over the joints; 0..1.

    Joints that are known of no sample count for nothing; nan where no joint is known of any.
    """
    thresholds = thresholds_m.to(joint_errors_m.device)
    areas = torch.trapezoid(pck_curves(joint_errors_m, thresholds), thresholds) / (thresholds[-1] - thresholds[0])
    return float(known_mean(areas))


def summarise(errors: SampleErrors) -> dict[str, float | None]:
    """The five metrics of the published table; None where there is nothing that they could be of, such as a mesh."""
    return {
        "mpjpe_mm": _mm(errors.joints),
        "pck_auc_0_50mm": _there(pck_auc(errors.joints)),
        "mpvpe_mm": _mm(errors.verts),
        "pa_mpjpe_mm": _mm(errors.pa_joints),
        "pa_mpvpe_mm": _mm(errors.pa_verts),
    }


def summarise_aligned(errors: SampleErrors) -> dict[str, dict[str, float | None]]:
    """The same metrics without the given root depth (`wrist`, `mcp`), and PA without reflections."""

    def rooted(joints: Tensor, verts: Tensor | None) -> dict[str, float | None]:
        return {"mpjpe_mm": _mm(joints), "pck_auc_0_50mm": _there(pck_auc(joints)), "mpvpe_mm": _mm(verts)}

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
    return None if errors_m is None else _there(float(known_mean(errors_m)) * 1000)


def _there(metric: float) -> float | None:
    """A metric, or None where nothing is known that it could be of."""
    return None if math.isnan(metric) else metric

"""Errors of joints whose size is not held against them: the scale is fitted, or taken from a bone."""

from __future__ import annotations

import torch
from torch import Tensor

from hmr_core.hand.joints import MIDDLE_MCP, WRIST
from hmr_core.metrics.points import Array, checked_mask, checked_pair, in_kind_of


def scale_root_errors_mm(joints: Array, true_joints: Array, *, valid: Array | None = None) -> Array:
    """The error of each joint, (..., 21) in mm, after root and scale were taken from the truth (HO-3D's Sc-Tr).

    joints, true_joints: (..., 21, 3), metres, OpenPose order. valid: (..., 21), true where a joint is known; None where
    all are. The prediction is scaled so that its bone from the wrist to the middle knuckle is as long as the true one,
    and moved so that the wrists coincide.
    nan for joints that are not known, and for all of a hand whose knuckle is not, or is predicted at its wrist.
    Raises UsageError for arrays of other shapes. Source: HO-3D's evaluation (Hampali et al. 2020), its mode
    "scale and translation".
    """
    pred, true, known = _given(joints, true_joints, valid)
    arms = [hand[..., MIDDLE_MCP, :] - hand[..., WRIST, :] for hand in (pred, true)]
    length, true_length = (torch.linalg.vector_norm(arm, dim=-1) for arm in arms)
    scale = torch.where(length > 0, true_length / length, torch.nan)
    scale = torch.where(known[..., MIDDLE_MCP] & known[..., WRIST], scale, torch.nan)
    return in_kind_of(_scaled_errors_mm(pred, true, scale, known), joints)  # type: ignore[no-any-return]


def scale_errors_mm(joints: Array, true_joints: Array, *, root: int = WRIST, valid: Array | None = None) -> Array:
    """The error of each joint, (..., 21) in mm, after the roots coincide and the scale was fitted (n-MPJPE).

    joints, true_joints: (..., 21, 3), metres. root: the joint that is moved to its true place. valid: as above. The
    scale is the one of the least squares over the known joints, s = <P, G> / <P, P> of joints relative to the root; it
    may be negative, as the formula has it.
    nan for joints that are not known, and for all of a hand whose root is not, or whose joints are all predicted at it.
    Raises UsageError for arrays of other shapes. Source: Rhodin et al. (2018), Normalized MPJPE.
    """
    pred, true, known = _given(joints, true_joints, valid)
    p, g = ((hand - hand[..., root, None, :]).masked_fill(~known[..., None], 0) for hand in (pred, true))
    size = (p * p).sum((-2, -1))
    scale = torch.where(size > 0, (p * g).sum((-2, -1)) / size, torch.nan)
    scale = torch.where(known[..., root], scale, torch.nan)
    return in_kind_of(_scaled_errors_mm(pred, true, scale, known, root), joints)  # type: ignore[no-any-return]


def _given(joints: Array, true_joints: Array, valid: Array | None) -> tuple[Tensor, Tensor, Tensor]:
    pred, true = checked_pair(joints=joints, true_joints=true_joints)
    return pred, true, checked_mask(valid, joints, tuple(pred.shape[:-1]))


def _scaled_errors_mm(pred: Tensor, true: Tensor, scale: Tensor, known: Tensor, root: int = WRIST) -> Tensor:
    """Errors of the prediction, scaled about its root, with the roots together."""
    placed = (pred - pred[..., root, None, :]) * scale[..., None, None] + true[..., root, None, :]
    errors_mm: Tensor = 1000 * torch.linalg.vector_norm(placed - true, dim=-1)
    return errors_mm.masked_fill(~known, torch.nan)

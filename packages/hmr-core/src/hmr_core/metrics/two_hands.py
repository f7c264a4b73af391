"""Where two hands are relative to each other."""

from __future__ import annotations

import torch

from hmr_core.errors import UsageError
from hmr_core.metrics.points import Array, as_tensors, in_kind_of


def mrrpe_mm(right_root: Array, left_root: Array, true_right_root: Array, true_left_root: Array) -> Array:
    """The mean relative-root position error of pairs of hands, pair by pair, (...) in mm; their mean is the MRRPE.

    All: (..., 3), metres, camera space: the wrists of the right and the left hand of each pair. The error is the
    distance between the predicted way from the right wrist to the left one and the true way.
    Raises UsageError for other shapes. Source: Moon et al., InterHand2.6M (2020).
    """
    given = as_tensors(
        right_root=right_root, left_root=left_root, true_right_root=true_right_root, true_left_root=true_left_root
    )
    right, left, true_right, true_left = given
    if any(root.shape != right.shape for root in given) or right.ndim < 1 or right.shape[-1] != 3:
        shapes = ", ".join(str(tuple(root.shape)) for root in given)
        raise UsageError(f"the roots have the shapes {shapes}. Valid: the same shape (..., 3).")
    errors_mm = 1000 * torch.linalg.vector_norm((left - right) - (true_left - true_right), dim=-1)
    return in_kind_of(errors_mm, right_root)  # type: ignore[no-any-return]

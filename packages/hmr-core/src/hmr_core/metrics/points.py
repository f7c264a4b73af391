"""Points and masks as they are given, numpy's or torch's, as tensors; and results in the kind that was given."""

from __future__ import annotations

from typing import Any, TypeVar

import torch
from numpy import ndarray
from numpy.typing import NDArray
from torch import Tensor

from hmr_core.errors import UsageError

Array = TypeVar("Array", NDArray[Any], Tensor)
"""What a caller works with: numpy's arrays or torch's tensors."""


def as_tensors(**given: Any) -> list[Tensor]:
    """The given arrays as tensors without gradients, float64 but for masks, in their order.

    UsageError, which names them, unless all are numpy arrays or all are tensors.
    """
    if not any(all(isinstance(array, kind) for array in given.values()) for kind in (ndarray, Tensor)):
        kinds = ", ".join(f"{name} a {type(array).__name__}" for name, array in given.items())
        raise UsageError(f"{kinds}. Give numpy arrays alone, or torch tensors alone.")
    tensors = [torch.as_tensor(array).detach() for array in given.values()]
    return [tensor if tensor.dtype == torch.bool else tensor.double() for tensor in tensors]


def checked_pair(**given: Any) -> list[Tensor]:
    """Predicted and true points, (..., n, d); UsageError, which names both, for arrays that are not of one shape."""
    points, true = as_tensors(**given)
    if points.shape != true.shape or points.ndim < 2 or 0 in points.shape:
        shapes = ", and ".join(f"{name} has the shape {tuple(array.shape)}" for name, array in given.items())
        raise UsageError(f"{shapes}. Valid: the same shape (..., n, d), of one point at least.")
    return [points, true]


def checked_mask(valid: Any, points: Any, shape: tuple[int, ...]) -> Tensor:
    """Which points are known: all of them for None. UsageError for a mask of another shape than the points have."""
    if valid is None:
        device = points.device if isinstance(points, Tensor) else None
        return torch.ones(shape, dtype=torch.bool, device=device)
    if isinstance(valid, Tensor) != isinstance(points, Tensor) or tuple(valid.shape) != shape:
        kind, wanted = type(valid).__name__, type(points).__name__
        raise UsageError(
            f"valid is a {kind} of the shape {tuple(valid.shape)}. Valid beside these points: a {wanted} of the shape "
            f"{shape}."
        )
    return torch.as_tensor(valid).bool()


def in_kind_of(result: Tensor, like: Any) -> Any:
    """A result in the kind of what was given."""
    return result if isinstance(like, Tensor) else result.numpy()

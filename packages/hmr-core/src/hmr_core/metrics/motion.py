"""How points move from frame to frame: against the truth, and by themselves."""

from __future__ import annotations

import torch

from hmr_core.errors import UsageError
from hmr_core.metrics.points import Array, as_tensors, checked_pair, in_kind_of


def acceleration_errors(points: Array, true_points: Array, *, fps: float | None = None) -> Array:
    """How far each point's acceleration is from the true one, (frames - 2, n).

    points, true_points: (frames, n, 3), metres, of consecutive frames. In mm per frame squared; with the frames per
    second, in m/s^2. Acceleration of frame t is x(t-1) - 2 x(t) + x(t+1); with fewer than three frames there is none.
    Raises UsageError for other shapes. Source: Kanazawa et al., Human Motion Dynamics (2019), per frame; Fan et al.,
    ARCTIC (2023), in m/s^2.
    """
    pred, true = checked_pair(points=points, true_points=true_points)
    _check_frames(pred)
    errors = torch.linalg.vector_norm(_differences(pred - true, 2), dim=-1)
    return in_kind_of(errors * (1000 if fps is None else fps**2), points)  # type: ignore[no-any-return]


def jitters(points: Array, *, fps: float | None = None) -> Array:
    """How restless each point is, (frames - 3, n): the size of the third difference of its places.

    points: (frames, n, 3), metres, of consecutive frames. In mm per frame cubed; with the frames per second, in m/s^3.
    With fewer than four frames there is none. It says nothing of the truth, whose own jitter is to be read beside it.
    Raises UsageError for another shape. Source: Flash and Hogan (1985); as a metric Yi et al., TransPose (2021).
    """
    (places,) = as_tensors(points=points)
    _check_frames(places)
    sizes = torch.linalg.vector_norm(_differences(places, 3), dim=-1)
    return in_kind_of(sizes * (1000 if fps is None else fps**3), points)  # type: ignore[no-any-return]


def _check_frames(points: torch.Tensor) -> None:
    if points.ndim != 3 or points.shape[-1] != 3:
        raise UsageError(f"points has the shape {tuple(points.shape)}. Valid: (frames, n, 3).")


def _differences(points: torch.Tensor, order: int) -> torch.Tensor:
    """The differences of an order from frame to frame; none where there are too few frames."""
    return points[:0] if len(points) <= order else torch.diff(points, n=order, dim=0)

"""The mirrored view: the image flipped left to right, and what is in it seen by the flipped camera.

A left hand in the mirrored view is a right one. Mirroring twice gives the view again.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor


def mirror_points(points: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3"]:
    """Points in camera space (x right) in the mirrored view: x changes its sign."""
    return points * points.new_tensor([-1, 1, 1])


def mirror_rotations(rotations: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3"]:
    """Axis-angle vectors in the mirrored view: R becomes M R M, M = diag(-1, 1, 1): y and z change their sign."""
    return rotations * rotations.new_tensor([1, -1, -1])


def mirror_boxes(boxes: Float[Tensor, "*batch 4"], width_px: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch 4"]:
    """Boxes (x, y, width, height, pixels) in the mirrored view of images of these widths: see mirror_intrinsics."""
    mirrored = boxes.clone()
    mirrored[..., 0] = width_px - 1 - (boxes[..., 0] + boxes[..., 2])
    return mirrored


def mirror_intrinsics(
    intrinsics: Float[Tensor, "*batch 3 3"], width_px: Float[Tensor, "*batch"]
) -> Float[Tensor, "*batch 3 3"]:
    """The camera of the mirrored view of images of these widths, whose first pixel's centre is at 0.

    The pixel u becomes width - 1 - u: so does the principal point's, and the skew changes its sign.
    """
    mirrored = intrinsics.clone()
    mirrored[..., 0, 1] = 0 - intrinsics[..., 0, 1]  # no -0
    mirrored[..., 0, 2] = width_px - 1 - intrinsics[..., 0, 2]
    return mirrored

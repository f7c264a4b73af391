"""A fit that starts from the hand model's mean pose, laid on the palm: it needs nothing but the joints.

Joints alone do not tell how far a finger is turned about its own bones, and with noise they tell little of a bend
sideways. So the fit is told what a hand can do: a finger's joints are hinges, which bend by much and turn about other
axes by little; its base also moves sideways; a thumb's joints are less of hinges.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from hmr_core.geometry.rotations import matrix_to_axis_angle
from hmr_core.hand.fit.chain import HandChain
from hmr_core.hand.fit.least_squares import FittedHands, begin, minimise
from hmr_core.hand.fit.outliers import Anatomy
from hmr_core.hand.model import HandModel
from hmr_core.hand.pose_space import add_mean_pose
from hmr_core.hand.poses import FINGER_ORDER, bend_axes

STEPS = 16
"""The most iterations, unless told otherwise: from the mean pose to a fist is a long way."""

ERROR = 0.5
"""Radians by which a finger's joint is bent more or less than in the mean pose: s."""

WRIST_ERROR, BASE_ERROR, HINGE_ERROR, THUMB_ERROR = 0.3, 0.2, 0.1, 0.2
"""Radians about other axes: of the wrist's turn as the palm shows it, and of rotations about a finger's bone and
sideways, at its base, at its other two joints, and at all joints of a thumb.
"""


class MeanPose:
    """The mean pose of a hand model, and how readily each of its joints leaves it."""

    def __init__(self, model: HandModel, dtype: torch.dtype, device: torch.device | str = "cpu") -> None:
        rest = torch.zeros(1, 16, 3, dtype=torch.float64)
        self.rotations = add_mean_pose(model.to(torch.float64), rest)[0].to(device=device, dtype=dtype)
        self.stiffness = stiffness(model).to(device=device, dtype=dtype)

    def laid_on(self, turns: Float[Tensor, "batch 3 3"]) -> Float[Tensor, "batch 16 3"]:
        """The pose as axis-angle rotations, the wrist turned as given."""
        rotations = self.rotations.repeat(len(turns), 1, 1)
        rotations[:, 0] = matrix_to_axis_angle(turns)
        return rotations


def stiffness(model: HandModel) -> Float[Tensor, "16 3 3"]:
    """The matrix A of each joint (see least_squares.py), in units of 1 / ERROR^2; float64."""
    flexion, _ = bend_axes(model.to(torch.float64))
    identity = torch.eye(3, dtype=torch.float64)
    across = torch.tensor([BASE_ERROR, HINGE_ERROR, HINGE_ERROR], dtype=torch.float64).repeat(len(FINGER_ORDER), 1)
    across[FINGER_ORDER.index("thumb")] = THUMB_ERROR
    # Squares of small angles weigh 1 about the axis of flexion and (ERROR / across)^2 about all others; a matrix with
    # these eigenvalues is H, of which A = trace(H) 1 - 2 H.
    along = flexion[:, :, None] * flexion[:, None]
    weights = (ERROR / across.reshape(15, 1, 1)) ** 2 * (identity - along) + along
    wrist = (ERROR / WRIST_ERROR) ** 2 * identity
    matrices = torch.cat([wrist[None], weights])
    return matrices.diagonal(dim1=1, dim2=2).sum(1)[:, None, None] * identity - 2 * matrices


def fit_from_mean_pose(
    chain: HandChain,
    anatomy: Anatomy,
    mean_pose: MeanPose,
    joints: Float[Tensor, "batch 21 3"],
    *,
    noise: float,
    steps: int = STEPS,
) -> FittedHands:
    """The most probable hands for measured joints (metres, camera space). noise: the expected error of a joint, metres.

    A wildly wrong joint is replaced by a guess while the palm's turn is found.
    """
    wrong, which = anatomy.wrong_joint(joints, noise)
    seen = torch.where(wrong[:, None, None], anatomy.guess(joints, which), joints)
    rotations = mean_pose.laid_on(anatomy.palm_turn(seen))
    start = begin(chain, joints, rotations, noise=noise, start_error=ERROR, stiffness=mean_pose.stiffness)
    return minimise(*start, steps).hands

"""Linear blend skinning: a hand model, rotations and shape to a mesh and its joints.

The equations are those of SMPL (Loper et al., 2015, equations 2 to 10) as used by MANO (Romero et al., 2017). Rotations
are relative to the flat hand: the identity everywhere gives the template.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from hmr_core.hand.joints import MANO_TO_OPENPOSE, TIP_VERTICES
from hmr_core.hand.model import HandModel


def skin(
    model: HandModel, rotations: Float[Tensor, "batch 16 3 3"], betas: Float[Tensor, "batch 10"]
) -> tuple[Float[Tensor, "batch 778 3"], Float[Tensor, "batch 21 3"], Float[Tensor, "batch 16 4 4"]]:
    """Pose and shape a hand: vertices, joints and the joints' transforms; differentiable, float32 or float64.

    rotations: of MANO's 16 joints, each relative to its parent's; the wrist's turns the whole hand about the wrist.
    Returns the vertices and the 21 joints (OpenPose order; the tips are vertices) in metres, not centred (the wrist
    stays where the shaped template has it), and the global transforms of the 16 joints in MANO's order, whose last
    column is the joint's place.
    """
    model = model.to(rotations.dtype, rotations.device)
    betas = betas.to(rotations)
    shaped = model.template + torch.einsum("vck,bk->bvc", model.shape_dirs, betas)
    rest = torch.einsum("jv,bvc->bjc", model.joint_regressor, shaped)
    identity = torch.eye(3, dtype=rotations.dtype, device=rotations.device)
    feature = (rotations[:, 1:] - identity).reshape(-1, 135)
    posed = shaped + torch.einsum("vck,bk->bvc", model.pose_dirs, feature)

    transforms = _chain(model.parents, rotations, rest)
    # Each joint's transform, taken to act on the template: first move the rest joint to the origin.
    turn = transforms[..., :3, :3]
    shift = transforms[..., :3, 3] - torch.einsum("bjxy,bjy->bjx", turn, rest)
    blended_turn = torch.einsum("vj,bjxy->bvxy", model.skin_weights, turn)
    blended_shift = torch.einsum("vj,bjx->bvx", model.skin_weights, shift)
    verts = torch.einsum("bvxy,bvy->bvx", blended_turn, posed) + blended_shift
    return verts, to_openpose(transforms[..., :3, 3], verts), transforms


def to_openpose(
    joints: Float[Tensor, "batch 16 3"], verts: Float[Tensor, "batch 778 3"]
) -> Float[Tensor, "batch 21 3"]:
    """The 21 joints in OpenPose order of MANO's 16 joints and the mesh, whose five tip vertices are joints."""
    return torch.cat([joints, verts[:, list(TIP_VERTICES)]], dim=1)[:, list(MANO_TO_OPENPOSE)]


def _chain(
    parents: tuple[int, ...], rotations: Float[Tensor, "batch 16 3 3"], rest: Float[Tensor, "batch 16 3"]
) -> Float[Tensor, "batch 16 4 4"]:
    """The joints' global transforms: each turns about its own place in its parent's frame."""
    turns, places = [rotations[:, 0]], [rest[:, 0]]
    for joint, parent in enumerate(parents[1:], start=1):
        bone = (rest[:, joint] - rest[:, parent])[..., None]
        places.append(places[parent] + (turns[parent] @ bone)[..., 0])
        turns.append(turns[parent] @ rotations[:, joint])
    top = torch.cat([torch.stack(turns, 1), torch.stack(places, 1)[..., None]], dim=-1)
    bottom = torch.zeros_like(top[:, :, :1])
    bottom[..., 3] = 1
    return torch.cat([top, bottom], dim=-2)

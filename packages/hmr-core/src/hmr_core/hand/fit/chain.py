"""The 21 joints of a posed hand and their derivatives, written out for the fits, which need nothing of the mesh.

The equations are those of hmr_core.hand.layer, and its joints are what this is tested against. The batch is the last
axis of every array here: the tree has few joints and the matrices are 3x3, so that all the speed is in running along
the batch. Points are kept by finger, (5 fingers in MANO's order, 4 points from palm to tip), relative to the wrist at
rest, which cancels out of everything a fit compares.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from hmr_core.hand.fit.matrices import times, times_transposed, times_vector, transposed_times, transposed_times_vector
from hmr_core.hand.joints import MANO_PARENTS, TIP_VERTICES
from hmr_core.hand.model import HandModel

FINGERS_OF_OPENPOSE = (1, 2, 4, 3, 0)
"""MANO's finger order (index, middle, little, ring, thumb) as fingers of OpenPose's."""

POINTS_IN_OPENPOSE = tuple(1 + 4 * finger + point for finger in FINGERS_OF_OPENPOSE for point in range(4))
"""The OpenPose joint of each of the 20 points by finger; the wrist is joint 0."""

MIDDLE_FINGER = 1
"""In MANO's finger order; its first point is joint 9."""


@dataclass(frozen=True, kw_only=True)
class PosedChain:
    """A posed chain and what its derivatives need.

    local, turns: the joints' rotations relative to their parents and to the world. bones: to each finger joint from its
    parent, in the parent's frame. rest: the joints at rest. places: the joints. points: the fingers' joints and tips.
    blended: the tips' skinning rotations. posed: the tips before skinning.
    """

    local: Float[Tensor, "16 3 3 batch"]
    turns: Float[Tensor, "16 3 3 batch"]
    bones: Float[Tensor, "5 3 3 batch"]
    rest: Float[Tensor, "16 3 batch"]
    places: Float[Tensor, "16 3 batch"]
    points: Float[Tensor, "5 4 3 batch"]
    blended: Float[Tensor, "5 3 3 batch"]
    posed: Float[Tensor, "5 3 batch"]


class HandChain:
    """A hand model's joints as a function of local rotations and betas, and that function's derivatives."""

    def __init__(self, model: HandModel, dtype: torch.dtype, device: torch.device | str = "cpu") -> None:
        model = model.to(torch.float64)
        tips = [TIP_VERTICES[finger] for finger in FINGERS_OF_OPENPOSE]
        rest = model.joint_regressor @ model.template
        rest_dirs = torch.einsum("jv,vck->jck", model.joint_regressor, model.shape_dirs)
        tip_dirs = model.shape_dirs[tips] - rest_dirs[0]
        parents = list(MANO_PARENTS[1:])
        pose_dirs = model.pose_dirs[tips].reshape(15, 135)
        identity = torch.eye(3, dtype=torch.float64).expand(15, 3, 3).reshape(135)
        # What betas move: the bones, the joints at rest and the tips, in one product.
        dirs = [rest_dirs[1:] - rest_dirs[parents], rest_dirs - rest_dirs[0], tip_dirs]
        at_rest = [rest[1:] - rest[parents], rest - rest[0], model.template[tips] - rest[0]]
        at_rest[2] = at_rest[2] - (pose_dirs @ identity).reshape(5, 3)

        def constant(array: Tensor) -> Tensor:
            return array.to(device=device, dtype=dtype).contiguous()

        self.dtype, self.device = dtype, torch.device(device)
        self.shape_dirs = constant(torch.cat([d.reshape(-1, 10) for d in dirs]))
        self.at_rest = constant(torch.cat([r.reshape(-1) for r in at_rest])[:, None])
        self.pose_dirs = constant(pose_dirs)
        self.weights = constant(model.skin_weights[tips])
        # Their transposes, for the way back.
        self.shape_dirs_t, self.pose_dirs_t = constant(self.shape_dirs.T), constant(self.pose_dirs.T)
        self.weights_t = constant(self.weights.T)

    def pose(self, local: Float[Tensor, "16 3 3 batch"], betas: Float[Tensor, "10 batch"]) -> PosedChain:
        """Pose and shape hands; metres, relative to the wrist at rest."""
        batch = local.shape[-1]
        shaped = torch.addmm(self.at_rest, self.shape_dirs, betas)
        bones, rest = shaped[:45].view(5, 3, 3, batch), shaped[45:93].view(16, 3, batch)
        posed = torch.addmm(shaped[93:], self.pose_dirs, local[1:].reshape(135, batch)).view(5, 3, batch)
        turns = local.new_empty(16, 3, 3, batch)
        places = local.new_empty(16, 3, batch)
        points = local.new_empty(5, 4, 3, batch)
        turns[0].copy_(local[0])
        places[0].zero_()
        own_turns, own_places = turns[1:].view(5, 3, 3, 3, batch), places[1:].view(5, 3, 3, batch)
        own_local = local[1:].reshape(5, 3, 3, 3, batch)
        turn, place = local[0].expand(5, 3, 3, batch), places[0].expand(5, 3, batch)
        for step in range(3):
            place = place + times_vector(turn, bones[:, step])
            times(turn, own_local[:, step], out=own_turns[:, step])
            turn = own_turns[:, step]
            points[:, step] = place
        own_places.copy_(points[:, :3])
        shift = places - times_vector(turns, rest)
        blended = (self.weights @ turns.reshape(16, 9 * batch)).view(5, 3, 3, batch)
        points[:, 3] = times_vector(blended, posed)
        points[:, 3] += (self.weights @ shift.reshape(16, 3 * batch)).view(5, 3, batch)
        return PosedChain(
            local=local, turns=turns, bones=bones, rest=rest, places=places, points=points, blended=blended, posed=posed
        )

    def pull_back(
        self, posed: PosedChain, gradient: Float[Tensor, "5 4 3 batch"]
    ) -> tuple[Float[Tensor, "16 3 3 batch"], Float[Tensor, "10 batch"]]:
        """The gradient of a scalar by the local rotations' entries and the betas, from that by the fingers' points.

        The wrist's joint does not move relative to itself, so that its gradient is not asked for.
        """
        batch = gradient.shape[-1]
        tips = gradient[:, 3]
        carried = (self.weights_t @ tips.reshape(5, 3 * batch)).view(16, 3, batch)
        by_blended = tips[:, :, None] * posed.posed[:, None]
        by_turns = (self.weights_t @ by_blended.reshape(5, 9 * batch)).view(16, 3, 3, batch)
        by_turns.addcmul_(carried[:, :, None], posed.rest[:, None], value=-1)
        by_posed = transposed_times_vector(posed.blended, tips)
        by_shaped = gradient.new_empty(108, batch)
        by_shaped[93:] = by_posed.reshape(15, batch)
        by_shaped[45:93] = transposed_times_vector(posed.turns, carried).reshape(48, batch).neg_()
        by_bones = by_shaped[:45].view(5, 3, 3, batch)
        by_local = gradient.new_empty(16, 3, 3, batch)
        own_by_local = by_local[1:].view(5, 3, 3, 3, batch)
        own_by_turns = by_turns[1:].view(5, 3, 3, 3, batch)
        own_carried = carried[1:].view(5, 3, 3, batch)
        own_turns = posed.turns[1:].reshape(5, 3, 3, 3, batch)
        own_local = posed.local[1:].reshape(5, 3, 3, 3, batch)
        by_place = torch.zeros_like(tips)
        root = posed.turns[0].expand(5, 3, 3, batch)
        by_root = by_turns[0]
        for step in (2, 1, 0):
            parent = own_turns[:, step - 1] if step else root
            by_place = by_place + gradient[:, step] + own_carried[:, step]
            by_turn = own_by_turns[:, step]
            transposed_times(parent, by_turn, out=own_by_local[:, step])
            by_bones[:, step] = transposed_times_vector(parent, by_place)
            by_parent = times_transposed(by_turn, own_local[:, step])
            by_parent.addcmul_(by_place[:, :, None], posed.bones[:, step, None])
            if step:
                own_by_turns[:, step - 1] += by_parent
            else:
                by_root = by_root + by_parent.sum(0)
        by_local[0] = by_root
        by_local[1:].view(135, batch).addmm_(self.pose_dirs_t, by_posed.reshape(15, batch))
        return by_local, self.shape_dirs_t @ by_shaped


def to_chain(joints: Float[Tensor, "batch 21 3"]) -> Float[Tensor, "5 4 3 batch"]:
    """The fingers' points of joints in OpenPose order."""
    return joints[:, list(POINTS_IN_OPENPOSE)].permute(1, 2, 0).contiguous().view(5, 4, 3, len(joints))

"""The hand layer: rotations and shape to a mesh and its joints, by linear blend skinning.

The equations are those of SMPL (Loper et al., 2015, equations 2 to 10) as used by MANO (Romero et al., 2017). Rotations
are relative to the flat hand: the identity everywhere gives the template.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from hmr_core.geometry.rotations import axis_angle_to_matrix, quaternion_to_matrix
from hmr_core.hand.joints import MANO_PARENTS, MANO_TO_OPENPOSE, TIP_VERTICES
from hmr_core.hand.model import HandModel
from hmr_core.hand.source import find_hand_model


@dataclass(frozen=True, kw_only=True)
class PosedHand:
    """Posed hands, metres: the mesh, the 21 joints (OpenPose order; the tips are vertices), and the global transforms
    of MANO's 16 joints, whose last column is the joint's place.
    """

    verts: Float[Tensor, "batch 778 3"]
    joints: Float[Tensor, "batch 21 3"]
    transforms: Float[Tensor, "batch 16 4 4"]


class HandLayer(nn.Module):
    """A hand model as a differentiable function of rotations and betas, in the type and on the device of its buffers.

    Rotations are of MANO's 16 joints, each relative to its parent's; the wrist's turns the whole hand about the wrist.
    They are axis-angle vectors (batch, 16, 3), quaternions, w first, (batch, 16, 4), or matrices (batch, 16, 3, 3).
    centre: a joint in OpenPose order that all points are relative to; None leaves the wrist where the shaped template
    has it.
    """

    template: Tensor
    shape_dirs: Tensor
    pose_dirs: Tensor
    skin_weights: Tensor
    faces: Tensor
    rest: Tensor
    rest_dirs: Tensor

    def __init__(self, model: HandModel, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.model = model
        arrays = {
            "template": model.template,
            "shape_dirs": model.shape_dirs,
            "pose_dirs": model.pose_dirs,
            "skin_weights": model.skin_weights,
            # The joints are linear in the mesh, so theirs need no mesh.
            "rest": model.joint_regressor @ model.template,
            "rest_dirs": torch.einsum("jv,vck->jck", model.joint_regressor, model.shape_dirs),
        }
        for name, array in arrays.items():
            self.register_buffer(name, array.to(dtype), persistent=False)
        self.register_buffer("faces", model.faces, persistent=False)

    @classmethod
    def load(cls, path: Path | str | None = None) -> HandLayer:
        """The layer of a hand model's file, float32 on the CPU.

        Without a path it is the file that the variable HMR_HAND_MODEL names; without either, the synthetic hand.
        Raises HmrError, naming the file, when there is no hand model in it.
        """
        return cls(find_hand_model(None if path is None else Path(path)).model)

    def forward(self, rotations: Tensor, betas: Float[Tensor, "batch 10"], *, centre: int | None = None) -> PosedHand:
        """Pose and shape hands: mesh, joints and transforms."""
        turns, places, rest, feature = self._chain(rotations, betas)
        verts = self._skin(slice(None), turns, places, rest, feature, betas)
        joints = to_openpose(places, verts[:, list(TIP_VERTICES)])
        if centre is not None:
            origin = joints[:, centre : centre + 1]
            verts, joints, places = verts - origin, joints - origin, places - origin
        top = torch.cat([turns, places[..., None]], dim=-1)
        bottom = torch.zeros_like(top[:, :, :1])
        bottom[..., 3] = 1
        return PosedHand(verts=verts, joints=joints, transforms=torch.cat([top, bottom], dim=-2))

    def joints(
        self, rotations: Tensor, betas: Float[Tensor, "batch 10"], *, centre: int | None = None
    ) -> Float[Tensor, "batch 21 3"]:
        """Compute the 21 joints alone; of the mesh only the five tips are computed."""
        joints, _ = self.part(rotations, betas, [])
        return joints if centre is None else joints - joints[:, centre : centre + 1]

    def part(
        self, rotations: Tensor, betas: Float[Tensor, "batch 10"], chosen: list[int]
    ) -> tuple[Float[Tensor, "batch 21 3"], Float[Tensor, "batch chosen 3"]]:
        """Compute the 21 joints and the chosen vertices alone, not centred."""
        turns, places, rest, feature = self._chain(rotations, betas)
        index = torch.tensor(
            [*TIP_VERTICES, *chosen], device=self.template.device
        )  # quicker than a list, used four times
        verts = self._skin(index, turns, places, rest, feature, betas)
        return to_openpose(places, verts[:, : len(TIP_VERTICES)]), verts[:, len(TIP_VERTICES) :]

    def _chain(self, rotations: Tensor, betas: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Down the tree: the joints' global rotations and places, their places at rest, and the pose feature."""
        local = as_matrices(rotations)
        batch = len(local)
        rest = self.rest + torch.einsum("jck,bk->bjc", self.rest_dirs, betas)
        feature = (local[:, 1:] - torch.eye(3, dtype=local.dtype, device=local.device)).reshape(batch, 135)
        # MANO's tree is a wrist with five chains of three, so three steps over all fingers at once go down it.
        fingers = local[:, 1:].reshape(batch, 5, 3, 3, 3)
        bones = (rest[:, 1:] - rest[:, list(MANO_PARENTS[1:])]).reshape(batch, 5, 3, 3, 1)
        turn, place = local[:, None, 0].expand(batch, 5, 3, 3), rest[:, None, 0].expand(batch, 5, 3)
        turns, places = [], []
        for step in range(3):
            place = place + (turn @ bones[:, :, step])[..., 0]
            turn = turn @ fingers[:, :, step]
            turns.append(turn)
            places.append(place)
        all_turns = torch.cat([local[:, :1], torch.stack(turns, 2).reshape(batch, 15, 3, 3)], dim=1)
        all_places = torch.cat([rest[:, :1], torch.stack(places, 2).reshape(batch, 15, 3)], dim=1)
        return all_turns, all_places, rest, feature

    def _skin(
        self,
        verts: slice | Int64[Tensor, " chosen"],
        turns: Tensor,
        places: Tensor,
        rest: Tensor,
        feature: Tensor,
        betas: Tensor,
    ) -> Float[Tensor, "batch chosen 3"]:
        """The chosen vertices of the mesh."""
        shaped = self.template[verts] + torch.einsum("vck,bk->bvc", self.shape_dirs[verts], betas)
        posed = shaped + torch.einsum("vck,bk->bvc", self.pose_dirs[verts], feature)
        # Each joint's transform, taken to act on the template: first move the rest joint to the origin.
        shift = places - (turns @ rest[..., None])[..., 0]
        weights = self.skin_weights[verts]
        blended_turn = torch.einsum("vj,bjxy->bvxy", weights, turns)
        blended_shift = torch.einsum("vj,bjx->bvx", weights, shift)
        return (blended_turn @ posed[..., None])[..., 0] + blended_shift


def as_matrices(rotations: Tensor) -> Float[Tensor, "batch 16 3 3"]:
    """Make matrices of the rotations of 16 joints; their shape says their kind (see HandLayer), else ValueError."""
    if rotations.shape[1:] == (16, 3):
        return axis_angle_to_matrix(rotations)
    if rotations.shape[1:] == (16, 4):
        return quaternion_to_matrix(rotations)
    if rotations.shape[1:] == (16, 3, 3):
        return rotations
    raise ValueError(
        f"rotations of shape {tuple(rotations.shape)}; valid: (batch, 16, 3) axis-angle, (batch, 16, 4) quaternions, "
        "(batch, 16, 3, 3) matrices"
    )


def to_openpose(joints: Float[Tensor, "batch 16 3"], tips: Float[Tensor, "batch 5 3"]) -> Float[Tensor, "batch 21 3"]:
    """Put MANO's 16 joints and the five tips (thumb to little finger) into OpenPose order: 21 joints."""
    return torch.cat([joints, tips], dim=1)[:, list(MANO_TO_OPENPOSE)]

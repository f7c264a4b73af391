"""From joints to a mesh: what a solver takes and gives, and what all solvers share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from hmr_core.errors import HmrError
from hmr_core.hand.joints import MIDDLE_MCP, WRIST

SHORTEST_BONE_M, LONGEST_BONE_M = 1e-6, 1.0


@dataclass(frozen=True, kw_only=True)
class HandFit:
    """Fitted hands: rotations of MANO's 16 joints (axis-angle, relative to the flat hand), betas, and the 21 joints and
    the mesh in metres, camera space.
    """

    rotations: Float[Tensor, "batch 16 3"]
    betas: Float[Tensor, "batch 10"]
    joints: Float[Tensor, "batch 21 3"]
    verts: Float[Tensor, "batch 778 3"]


def ignore_progress(hands: int) -> None:
    """The observer of a solver that nobody watches."""


@runtime_checkable
class Solver(Protocol):
    """A way from joints to a mesh."""

    def solve(
        self, joints: Float[Tensor, "batch 21 3"], *, on_batch: Callable[[int], None] = ignore_progress
    ) -> HandFit:
        """Fit a hand to each sample's joints.

        joints: a whole subset in its order, metres, camera space, OpenPose order, on the CPU. The solver cuts it into
        chunks as it likes; no result depends on them but for rounding. on_batch: told how many hands were
        done since the last call. Returns float32 on the CPU. Raises UnsolvableJointsError for joints that are no hand's
        (see check_joints).
        """
        ...


def solve_in_chunks(
    joints: Float[Tensor, "batch 21 3"],
    size: int,
    solve: Callable[[Float[Tensor, "chunk 21 3"]], HandFit],
    *,
    device: torch.device,
    on_batch: Callable[[int], None],
) -> HandFit:
    """Do what every solver does around its fit: check joints, solve so many at once on a device, tell the progress.

    solve: gets float32 joints on the device. Returns the chunks' hands together, on the CPU. Raises
    UnsolvableJointsError as check_joints does.
    """
    check_joints(joints)
    parts = []
    for chunk in torch.split(joints.float(), size):
        parts.append(solve(chunk.to(device)))
        on_batch(len(chunk))
    names = ("rotations", "betas", "joints", "verts")
    return HandFit(**{name: torch.cat([getattr(part, name).cpu() for part in parts]) for name in names})


class UnsolvableJointsError(HmrError):
    """Joints that no hand can be fitted to. index: of the first such sample; reason: what they are like."""

    def __init__(self, index: int, reason: str) -> None:
        super().__init__(f"no mesh for sample {index}: {reason}.")
        self.index, self.reason = index, reason


def check_joints(joints: Float[Tensor, "batch 21 3"]) -> None:
    """Refuse joints (metres, OpenPose order) whose size and place cannot be told.

    Raises UnsolvableJointsError, naming the first such sample, for values that are not finite, for joints that are all
    in one place, and for a bone 0-9 (wrist to middle knuckle) without length or longer than a metre. A tiny hand is a
    hand: what an untrained model predicts is collapsed, and must be scored.
    """
    finite = torch.isfinite(joints).all(2).all(1)
    spread = (joints - joints[:, :1]).abs().amax((1, 2))
    bone = measured_bone(joints)
    for index in (~finite | (bone <= SHORTEST_BONE_M) | (bone > LONGEST_BONE_M)).nonzero()[:1, 0].tolist():
        if not bool(finite[index]):
            reason = "its joints are not all finite numbers"
        elif float(spread[index]) <= SHORTEST_BONE_M:
            reason = "its joints are all in one place"
        elif float(bone[index]) <= SHORTEST_BONE_M:
            reason = "its wrist and its middle knuckle (joints 0 and 9) are in one place"
        else:
            reason = (
                f"its bone from the wrist to the middle knuckle (joints 0 and 9) is {float(bone[index]):.4g} m long, "
                "and a hand's is about 0.1 m; are these millimetres? Joints are taken in metres"
            )
        raise UnsolvableJointsError(index, reason)


def measured_bone(joints: Float[Tensor, "batch 21 3"]) -> Float[Tensor, "batch"]:
    """The length of bone 0-9, from the wrist to the middle knuckle, in the joints' unit."""
    length: Tensor = torch.linalg.vector_norm(joints[:, MIDDLE_MCP] - joints[:, WRIST], dim=-1)
    return length


def scale_and_place(
    joints: Float[Tensor, "batch 21 3"], verts: Float[Tensor, "batch 778 3"], measured: Float[Tensor, "batch 21 3"]
) -> tuple[Float[Tensor, "batch 21 3"], Float[Tensor, "batch 778 3"]]:
    """A hand layer's joints and mesh where and as large as measured joints say; the published rule.

    They are centred on their joint 9, divided by their own bone 0-9, times the measured bone, plus the measured joint
    9: of the measured joints these two alone count. Metres; measured in camera space, and so is the result.
    Source: the golden file iknet_fit.
    """
    origin = joints[:, MIDDLE_MCP : MIDDLE_MCP + 1]
    scale = (measured_bone(measured) / measured_bone(joints))[:, None, None]
    target = measured[:, MIDDLE_MCP : MIDDLE_MCP + 1]
    return (joints - origin) * scale + target, (verts - origin) * scale + target

"""What goes into a model, what comes out of it, what it is held against, and the class that every model extends.

Ground truth is not in Inputs, so that a model cannot see it, by accident or otherwise.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, TypeVar, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from hmr_core.hand.model import HandModel

T = TypeVar("T", bound="TensorRecord")


class TensorRecord:
    """A record of tensors, and of such records, that moves as one: the base of dataclasses."""

    def to(self: T, device: torch.device | str) -> T:
        """The record with every tensor on the device."""
        # Towards the CPU nobody would wait for the copy, and PyTorch's MPS does not keep what is copied until it was.
        ahead = torch.device(device).type not in ("cpu", "mps")
        return self._map(lambda tensor: tensor.to(device, non_blocking=ahead))

    def pin_memory(self: T) -> T:
        """The record with every tensor in page-locked memory."""
        return self._map(Tensor.pin_memory)

    def tensors(self) -> Iterator[Tensor]:
        """The record's tensors, those of records in it included."""
        for value in self._values().values():
            if isinstance(value, Tensor):
                yield value
            elif isinstance(value, TensorRecord):
                yield from value.tensors()

    def _map(self: T, function: Callable[[Tensor], Tensor]) -> T:
        changed = {
            name: function(value) if isinstance(value, Tensor) else value._map(function)
            for name, value in self._values().items()
            if isinstance(value, Tensor | TensorRecord)
        }
        return cast("T", replace(cast("Any", self), **changed))

    def _values(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in fields(cast("Any", self))}


@dataclass(frozen=True, kw_only=True)
class Inputs(TensorRecord):
    """What a model sees.

    image: RGB crops, 0..1 minus 0.5, channels_last in memory (reshape or flatten what comes of them, do not view); for
    models that consume images.
    intrinsics: of the crop's camera, in the crop's pixels; for models that consume images.
    joints: metres, camera space, OpenPose order; for models that consume joints.
    """

    image: Float[Tensor, "batch 3 size size"] | None = None
    intrinsics: Float[Tensor, "batch 3 3"] | None = None
    joints: Float[Tensor, "batch 21 3"] | None = None


@dataclass(frozen=True, kw_only=True)
class Targets(TensorRecord):
    """The ground truth of a batch, in the frame of the (rotated) crop.

    joints_uvd, verts_uvd: u, v in 0..1 across the crop, depth in 0..1 around the root joint.
    joints_vis, verts_vis: 1 where a point counts, 0 where it does not.
    joints, verts: metres, camera space. rotations: of MANO's 16 joints, axis-angle, flat hand; the wrist's in camera
    space. betas: the shape; augmentation of joints by a scale factor leaves it as it is. root: the root joint, metres.
    intrinsics: of the crop's camera, in the crop's pixels, for a loss that projects.
    joints_known, verts_known, pose_known: 1 where the annotations have a joint, the verts, the rotations and betas,
    seen or not; else 0, and what stands there is nothing to learn from.
    """

    joints_uvd: Float[Tensor, "batch 21 3"]
    joints_vis: Float[Tensor, "batch 21"]
    verts_uvd: Float[Tensor, "batch 778 3"]
    verts_vis: Float[Tensor, "batch 778"]
    joints: Float[Tensor, "batch 21 3"]
    verts: Float[Tensor, "batch 778 3"]
    rotations: Float[Tensor, "batch 16 3"]
    betas: Float[Tensor, "batch 10"]
    joints_known: Float[Tensor, "batch 21"]
    verts_known: Float[Tensor, " batch"]
    pose_known: Float[Tensor, " batch"]
    root: Float[Tensor, "batch 3"]
    intrinsics: Float[Tensor, "batch 3 3"]


@dataclass(frozen=True, kw_only=True)
class Prediction(TensorRecord):
    """What a model says. `hmr_core.nn.decode` makes points in camera space of it.

    A model of images gives joints_uvd and, if it predicts a mesh, verts_uvd. If its spec needs the hand, it may give
    rotations and betas instead, or as well: its points are then those of the posed hand. A model of joints gives
    rotations and betas.

    joints_uvd, verts_uvd: u, v in 0..1 across the crop, depth in 0..1 around the root joint.
    joint_regressor: with verts_uvd, the joints as sums over the vertices; the joints in camera space are then those of
    the mesh there, and joints_uvd is for the model's own use. confidence: 0..1 for each joint.
    rotations: axis-angle of MANO's 16 joints, flat hand. betas: the shape.
    joints, verts: the model leaves them out. Before the loss is asked for, the hand layer makes them of rotations and
    betas: metres, camera space, the root joint where the truth has it. extras: what the model's own loss needs besides.
    """

    joints_uvd: Float[Tensor, "batch 21 3"] | None = None
    verts_uvd: Float[Tensor, "batch 778 3"] | None = None
    joint_regressor: Float[Tensor, "21 778"] | None = None
    confidence: Float[Tensor, "batch 21"] | None = None
    rotations: Float[Tensor, "batch 16 3"] | None = None
    betas: Float[Tensor, "batch 10"] | None = None
    joints: Float[Tensor, "batch 21 3"] | None = None
    verts: Float[Tensor, "batch 778 3"] | None = None
    extras: Mapping[str, Tensor] = field(default_factory=dict)


class PoseModel(nn.Module, ABC):
    """A model to train and evaluate. Subclasses give forward and loss; both must treat samples independently."""

    @abstractmethod
    def forward(self, inputs: Inputs) -> Prediction:
        """The prediction for a batch."""

    @abstractmethod
    def loss(self, prediction: Prediction, targets: Targets) -> dict[str, Tensor]:
        """Named scalar terms, weights included; the trainer minimises their sum."""

    def use_hand(self, hand: HandModel) -> None:  # optional: most models of images need no hand
        """Take what forward and loss need of the annotations' hand model: its faces, its joints' regressor.

        Called before anything else when the spec needs the hand. Keep it out of the state dict (register_buffer(...,
        persistent=False)): a licensed file must not travel with a checkpoint.
        """

    def pretrain(self) -> None:  # optional: a model without pretrained parts leaves it as it is
        """Load what a fresh run starts from, such as an ImageNet backbone. Not called for a checkpoint or a resume."""

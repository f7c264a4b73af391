"""A batch: what a model is given and what it is held against; and what gives batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

from jaxtyping import Float, UInt8
from torch import Tensor

from hmr_core.data.pack.reader import Pack
from hmr_core.nn.model import Inputs, Targets, TensorRecord


class Key(NamedTuple):
    """A sample of an epoch, which its augmentation depends on.

    row: of the pack. source: of several packs, the number of the one. epoch: where samples are drawn by turns
    (`mixture.Draw`), the turn.
    """

    epoch: int
    row: int
    source: int = 0


@dataclass(frozen=True, kw_only=True)
class Batch(TensorRecord):
    """Samples ready for a model.

    ids: of the samples, in the batch's order. image: RGB crops as bytes, and intrinsics: of the crops' cameras, for a
    model of images. joints: the given ones, metres, camera space, for a model of joints. targets: the ground truth.
    """

    ids: list[str]
    targets: Targets
    image: UInt8[Tensor, "batch size size 3"] | None = None
    intrinsics: Float[Tensor, "batch 3 3"] | None = None
    joints: Float[Tensor, "batch 21 3"] | None = None

    def inputs(self) -> Inputs:
        """What a model may see."""
        image = None if self.image is None else as_input(self.image)
        return Inputs(image=image, intrinsics=self.intrinsics, joints=self.joints)


@runtime_checkable
class BatchSource(Protocol):
    """The samples of a pack, or of several, as batches.

    root_joint: the joint that the depths of UVD are relative to.
    """

    root_joint: int

    @property
    def packs(self) -> tuple[Pack, ...]:
        """The packs, by the numbers that keys have for their sources."""
        ...

    def batch(self, keys: Sequence[Key]) -> Batch:
        """The samples of the keys in their order; of one pack, they are all of one epoch."""
        ...


def as_input(image: UInt8[Tensor, "batch size size 3"]) -> Float[Tensor, "batch 3 size size"]:
    """RGB crops as a model takes them: 0..1 minus 0.5.

    In memory they stay pixel by pixel, as they came (PyTorch's channels_last), which is quicker on a CPU.
    """
    return image.permute(0, 3, 1, 2).float() / 255 - 0.5

"""One annotated hand in one image, as a reader gives it, and what a reader is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float32
from numpy import ndarray

Side = Literal["right", "left"]

LABELS = ("sequence", "subject", "object", "view", "intent", "image")
"""What a sample may be said to belong to: the recording, the person, the object in the hand, the camera, what is done
with the object, and the picture, which two hands of it share.
"""

LABEL_LENGTH = 64
"""No label is longer than so many characters."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One hand in one image. Lengths in metres, camera space (x right, y down, z away), OpenPose joint order.

    What a data set lacks stays None; a reader gives the same arrays, masks and labels for every sample. Where a mask
    says that something is not known, any numbers will do.

    id: printable ASCII, unique in the data set.
    frame_size: (width, height) of the image in pixels.
    intrinsics: of the image's camera, in pixels; the first pixel's centre is at 0, 0.
    side: which hand it is. A left hand is given as it is, not mirrored.
    joints_valid: which joints are known; None where all are. The wrist and the middle knuckle (joints 0 and 9) must be
    known: models take one of them as the root. Where there is a box_px, the wrist is enough.
    verts: in MANO's vertex order. verts_valid: whether this sample's are known; None where all samples' are.
    rotations: axis-angle of MANO's 16 joints, the wrist's in camera space; relative to the flat hand.
    betas: MANO's shape. pose_valid: whether this sample's rotations and betas are known; None where all samples' are.
    object_pose: object to camera space; all zeros where it is not known.
    box_px: the annotated box of the hand: x, y, width and height in the image. Crops are made of the joints' box, and
    of this one where the middle knuckle is not known.
    labels: what the sample belongs to, by names of LABELS; printable ASCII, "" where it is not known.
    frame_number: of the image in its sequence as this view has it, for speeds.
    joints_px: the joints in the image as they were annotated there, nan where they were not. They are compared with
    the projected joints, and not packed.
    """

    id: str
    image_path: Path
    frame_size: tuple[int, int]
    intrinsics: Float32[ndarray, "3 3"]
    side: Side
    joints: Float32[ndarray, "21 3"]
    joints_valid: Bool[ndarray, "21"] | None = None
    verts: Float32[ndarray, "778 3"] | None = None
    verts_valid: bool | None = None
    rotations: Float32[ndarray, "16 3"] | None = None
    betas: Float32[ndarray, "10"] | None = None
    pose_valid: bool | None = None
    object_pose: Float32[ndarray, "4 4"] | None = None
    box_px: Float32[ndarray, "4"] | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    frame_number: int | None = None
    joints_px: Float32[ndarray, "21 2"] | None = None


class Missing(NamedTuple):
    """Files that listed samples lack.

    where: the folder that lacks them. names: of the files. total: how many there should be. remedy: what to do.
    """

    where: str
    names: Sequence[str]
    total: int
    remedy: str


@runtime_checkable
class DatasetReader(Protocol):
    """What `hmr pack` needs of a data set. It is sent to worker processes, so it must be cheap to pickle.

    A reader may have `notes`, too: see `reader_notes`.
    """

    @property
    def name(self) -> str:
        """The name of the data set's DatasetSpec: what follows `hmr pack`."""

    @property
    def release(self) -> str:
        """The data set's name and version in words, written into the pack."""

    @property
    def aliases(self) -> Mapping[str, str]:
        """Other names of splits -> the names, such as the release's own; empty where there are none."""

    def splits(self) -> Mapping[str, Sequence[str]]:
        """The data set's splits, each with its subsets, in the order in which they are listed.

        Training takes the subsets `train`, `val` and `train+val`, evaluation `test` unless told otherwise; a split may
        lack any of them and have others. `all` is every sample, those of no other subset too.
        """

    def split_ids(self, split: str, subset: str) -> Sequence[str]:
        """The ids of a subset in the data set's order; HmrError when its list cannot be read, or why there is none."""

    def read(self, sample_id: str) -> Sample:
        """The annotations of a sample; HmrError naming the sample and the file when one is missing or unreadable."""

    def read_image(self, sample: Sample) -> np.ndarray:
        """The sample's frame, (height, width, 3) uint8 RGB; HmrError naming the sample and the file."""


def reader_notes(reader: DatasetReader) -> list[str]:
    """What a reader has to say of its data set: the texts of its `notes`, if it has any.

    Such as how many frames were left out because they have no annotation, or what the tree lacks. They are asked for
    when the lists were read, and shown where the data set is packed or examined.
    """
    return [str(note) for note in getattr(reader, "notes", ())]

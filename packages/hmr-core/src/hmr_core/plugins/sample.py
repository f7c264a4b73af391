"""One annotated hand in one image, as a reader gives it, and what a reader is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float32
from numpy import ndarray

Side = Literal["right", "left"]


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One hand in one image. Lengths in metres, camera space (x right, y down, z away), OpenPose joint order.

    What a data set lacks stays None; a reader gives the same arrays for every sample.

    id: printable ASCII, unique in the data set.
    frame_size: (width, height) of the image in pixels.
    intrinsics: of the image's camera, in pixels; the first pixel's centre is at 0, 0.
    side: which hand it is. A left hand is given as it is, not mirrored.
    joints_valid: which joints are known; None where all are. What the others' entries hold does not matter. The wrist
    and the middle knuckle (joints 0 and 9) must be known: models take one of them as the root.
    verts: in MANO's vertex order.
    rotations: axis-angle of MANO's 16 joints, the wrist's in camera space; relative to the flat hand.
    betas: MANO's shape.
    object_pose: object to camera space.
    """

    id: str
    image_path: Path
    frame_size: tuple[int, int]
    intrinsics: Float32[ndarray, "3 3"]
    side: Side
    joints: Float32[ndarray, "21 3"]
    joints_valid: Bool[ndarray, "21"] | None = None
    verts: Float32[ndarray, "778 3"] | None = None
    rotations: Float32[ndarray, "16 3"] | None = None
    betas: Float32[ndarray, "10"] | None = None
    object_pose: Float32[ndarray, "4 4"] | None = None


@runtime_checkable
class DatasetReader(Protocol):
    """What `hmr pack` needs of a data set. It is sent to worker processes, so it must be cheap to pickle."""

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
        """The ids of a subset in the data set's order; HmrError when its list cannot be read."""

    def read(self, sample_id: str) -> Sample:
        """The annotations of a sample; HmrError naming the sample and the file when one is missing or unreadable."""

    def read_image(self, sample: Sample) -> np.ndarray:
        """The sample's frame, (height, width, 3) uint8 RGB; HmrError naming the sample and the file."""

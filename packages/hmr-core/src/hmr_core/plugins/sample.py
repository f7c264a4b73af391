"""One annotated hand in one image, as a reader gives it, and what a reader is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32
from numpy import ndarray


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One hand in one image. Lengths in metres, camera space (x right, y down, z away), OpenPose joint order.

    id: `seq__timestamp__subject__frame__camera`.
    rotations: axis-angle of MANO's 16 joints, the wrist's in camera space; relative to the flat hand.
    object_pose: object to camera space.
    status: the sequence's status in the release (`seq_status.json`).
    """

    id: str
    image_path: Path
    intrinsics: Float32[ndarray, "3 3"]
    joints: Float32[ndarray, "21 3"]
    verts: Float32[ndarray, "778 3"]
    rotations: Float32[ndarray, "16 3"]
    betas: Float32[ndarray, "10"]
    object_pose: Float32[ndarray, "4 4"]
    status: int


@runtime_checkable
class DatasetReader(Protocol):
    """What `hmr pack` needs of a data set."""

    release: str
    """The data set's name and version, written into the pack."""
    frame_size: tuple[int, int]
    """(width, height) in pixels of every image."""

    def split_ids(self, split: str, subset: str) -> Sequence[str]:
        """The ids of a subset in the release's order; HmrError for one that the release does not have."""

    def read(self, sample_id: str) -> Sample:
        """The annotations of a sample; HmrError naming the sample and the file when one is missing or unreadable."""

    def read_image(self, sample: Sample) -> np.ndarray:
        """The sample's frame, (height, width, 3) uint8 RGB; HmrError naming the sample and the file."""

    def splits(self) -> Mapping[str, Sequence[str]]:
        """The splits that this tree has, each with its subsets."""

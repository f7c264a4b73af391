"""A made-up data set unlike OakInk: its own splits, frames of two sizes, left hands, joints alone, some not known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import cv2
import numpy as np
import torch

from hmr_core.geometry.rotations import matrix_to_axis_angle
from hmr_core.hand.layer import HandLayer
from hmr_core.hand.poses import random_poses, random_shapes
from hmr_core.hand.synthetic import load_synthetic_hand
from hmr_core.pictures import read_picture
from hmr_core.plugins import DatasetSpec
from hmr_core.plugins.sample import Sample
from hmr_core.viz.skeleton import draw_skeleton

SIZES = ((320, 240), (256, 256))
COUNT = 24
"""Pictures; of each there is a right hand, and the same mirrored: a left one."""


def make_snapshots(root: Path) -> Path:
    """Write the data set: a picture and a file of annotations for each sample."""
    root.mkdir(parents=True)
    generator = np.random.default_rng(0)
    model = load_synthetic_hand()
    rotations = matrix_to_axis_angle(random_poses(model, COUNT, generator))
    with torch.no_grad():
        hands = HandLayer(model, torch.float64)(rotations, random_shapes(COUNT, generator), centre=9).joints.numpy()
    for i, hand in enumerate(hands):
        width, height = SIZES[i % 2]
        camera = np.array([[300.0, 0, width / 2 - 7], [0, 310, height / 2 + 5], [0, 0, 1]])
        joints = hand + generator.uniform((-0.04, -0.04, 0.4), (0.04, 0.04, 0.5))
        frame = generator.integers(0, 90, (height, width, 3), dtype=np.uint8)
        pixels = joints @ camera.T
        draw_skeleton(frame, pixels[:, :2] / pixels[:, 2:])
        known = np.ones(21, dtype=bool)
        if i % 3 == 0:
            known[[4, 8, 20]] = False
            joints[~known] = np.nan
        mirrored = camera.copy()
        mirrored[0, 2] = width - 1 - camera[0, 2]
        for side, image, matrix, points in (
            ("right", frame, camera, joints),
            ("left", frame[:, ::-1], mirrored, joints * [-1, 1, 1]),
        ):
            name = f"{i:02d}-{side}"
            cv2.imwrite(str(root / f"{name}.png"), np.ascontiguousarray(image[..., ::-1]))
            np.savez(root / f"{name}.npz", camera=matrix, joints=points, known=known, size=(width, height))
    return root


class Snapshots:
    """Its reader. `studio` is trained on, `wild` is a test alone, `pairs` has every hand and its mirror image."""

    name, release = "snapshots", "synthetic snapshots"
    aliases: Mapping[str, str] = MappingProxyType({"indoor": "studio"})

    def __init__(self, root: Path) -> None:
        self.root = root

    def __reduce__(self) -> tuple[type[Snapshots], tuple[Path]]:
        return type(self), (self.root,)

    def splits(self) -> Mapping[str, Sequence[str]]:
        return {"studio": ["train", "test"], "wild": ["test"], "pairs": ["right", "left"]}

    def split_ids(self, split: str, subset: str) -> list[str]:
        right, left = ([f"{i:02d}-{side}" for i in range(COUNT)] for side in ("right", "left"))
        mixed = [(left if i % 3 == 1 else right)[i] for i in range(COUNT)]
        lists = {
            "studio": {"train": mixed[:12], "test": mixed[12:18]},
            "wild": {"test": mixed[18:]},
            "pairs": {"right": right, "left": left},
        }
        return lists[split][subset]

    def read(self, sample_id: str) -> Sample:
        with np.load(self.root / f"{sample_id}.npz") as file:
            width, height = file["size"].tolist()
            return Sample(
                id=sample_id,
                image_path=self.root / f"{sample_id}.png",
                frame_size=(width, height),
                intrinsics=file["camera"].astype(np.float32),
                side="left" if sample_id.endswith("left") else "right",
                joints=file["joints"].astype(np.float32),
                joints_valid=file["known"],
            )

    def read_image(self, sample: Sample) -> np.ndarray:
        return read_picture(sample.image_path)


SPEC = DatasetSpec(name="snapshots", summary="made-up pictures", open=Snapshots)

"""The torch data set: crops and their ground truth, read from a pack.

What concerns annotations is computed for a whole batch at once; only decoding and warping go image by image. Images
stay uint8 until they are on the device.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, SupportsIndex

import numpy as np
import torch
from jaxtyping import Float64, Int64, UInt8
from numpy import ndarray
from torch import Tensor

from hmr_core.data.augment import Augmentation, draw, identity
from hmr_core.data.batch import Batch, Key
from hmr_core.data.crops import PUBLISHED_CROP, Boxes, Crops, make_crops, warp
from hmr_core.data.pack.reader import Pack
from hmr_core.data.sides import mirror_window
from hmr_core.data.targets import LEARNT, make_targets, read_hands, visibility
from hmr_core.errors import HmrError, Option, UsageError
from hmr_core.plugins.recipes import AugmentConfig, DataConfig
from hmr_core.shell import command_line


class ImageDataset(torch.utils.data.Dataset[dict[str, Any]]):
    """A pack's samples as crops with ground truth: an ordinary map-style data set of torch.

    `data[0]` is a sample, a dict of an id and of tensors, which `DataLoader(data, batch_size=4)` stacks:

    - "id": the sample's, a string
    - "image": (image_size, image_size, 3), RGB, uint8
    - "intrinsics": (3, 3), of the crop's camera, in the crop's pixels
    - "joints" (21, 3) and "verts" (778, 3): metres, camera space of the crop; joints in OpenPose order
    - "joints_uvd" (21, 3) and "verts_uvd" (778, 3): u, v in 0..1 across the crop, depth in 0..1 around the root joint
    - "joints_vis" (21,) and "verts_vis" (778,): 1 where a point counts, else 0; a joint that is not known never counts
    - "joints_known" (21,), "verts_known", "pose_known" (rotations and betas): 1 where the annotations have it, else 0
    - "rotations" (16, 3): axis-angle of MANO's joints, flat hand; "betas" (10,): the shape
    - "root": (3,), the root joint, metres

    What the data set lacks (a mesh, rotations, betas) is not there. Left hands are seen in the mirrored view, where
    they are right ones.

    pack: a pack, or its path. split, subset: which samples; without a split all of the pack, in its order.
    image_size: the side of the crops, pixels. root_joint: the joint (OpenPose order) that depths are relative to.
    data: how large the crop is around the hand. augment: None for validation and evaluation, where every point counts
    as visible, as published. seed: of the augmentation. verify: compare the checksums of images and annotations as
    they are read.
    The attribute `epoch` is the one whose augmentation samples have: set it before a DataLoader begins an epoch.
    Raises HmrError when the augmentation could reach beyond the windows that the pack stores, UsageError for an unknown
    split, subset or joint and for sizes that no picture has, and what Pack raises for a file.
    """

    def __init__(
        self,
        pack: Pack | Path | str,
        *,
        split: str | None = None,
        subset: str = "train",
        image_size: int = 224,
        root_joint: int = 0,
        data: DataConfig = PUBLISHED_CROP,
        augment: AugmentConfig | None = None,
        seed: int = 0,
        verify: bool = False,
    ) -> None:
        if not (isinstance(image_size, SupportsIndex) and image_size >= 1):
            raise UsageError(f"an image_size of {image_size!r}; valid: a whole number of pixels, 1 or more.")
        if root_joint not in range(21):
            raise UsageError(f"a root_joint of {root_joint!r}; valid: 0 to 20, a joint's number in OpenPose order.")
        self.pack = pack if isinstance(pack, Pack) else Pack(pack)
        _check_margin(self.pack, data, augment)
        self.rows = np.arange(len(self.pack)) if split is None else self.pack.indices(split, subset)
        self._lacks = {name for name in LEARNT if name not in self.pack.info.arrays}
        self.image_size, self.root_joint, self.data = image_size, root_joint, data
        self.augment, self.seed, self.verify, self.epoch = augment, seed, verify, 0

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: SupportsIndex) -> dict[str, Any]:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[SupportsIndex]) -> list[dict[str, Any]]:
        """The samples of the indices: what a DataLoader asks for, so that a batch is read at once."""
        batch = self.batch([Key(self.epoch, int(self.rows[index])) for index in indices])
        assert batch.image is not None
        there = {
            name: array for name, array in vars(batch.targets).items() if name.partition("_")[0] not in self._lacks
        }
        arrays = {"image": batch.image, **there}
        return [
            {"id": sample_id, **{name: array[i] for name, array in arrays.items()}}
            for i, sample_id in enumerate(batch.ids)
        ]

    @property
    def packs(self) -> tuple[Pack, ...]:
        """The one pack."""
        return (self.pack,)

    def batch(self, keys: Sequence[Key]) -> Batch:
        """The samples of the given rows of the pack, augmented for the given epoch: what training takes."""
        first, rows = keys[0], np.array([key.row for key in keys], dtype=np.int64)
        ids = self.pack.ids(rows)
        if self.verify:
            self.pack.verify_annotations(rows)
        augmentation = identity(len(ids))
        if self.augment is not None:
            augmentation = draw(self.augment, self.seed, first.epoch, ids, first.source)
        hands = read_hands(self.pack, rows)
        crops = self.crops(hands.boxes(), hands.intrinsics, augmentation)
        targets = make_targets(hands, crops, root_joint=self.root_joint, image_size=self.image_size)
        if self.augment is not None:
            frame_px = torch.from_numpy(self.pack.array("frame_px", rows)).double()
            joints_vis, verts_vis = visibility(targets, hands, frame_px)
            targets = replace(targets, joints_vis=joints_vis, verts_vis=verts_vis)
        image = torch.from_numpy(self._images(rows, crops, augmentation))
        return Batch(ids=ids, image=image, intrinsics=targets.intrinsics, targets=targets)

    def crops(self, boxes: Boxes, intrinsics: Float64[Tensor, "batch 3 3"], augmentation: Augmentation) -> Crops:
        """The crops around boxes of frames whose cameras have these intrinsics."""
        return make_crops(
            boxes, intrinsics, augmentation, bbox_expand=self.data.bbox_expand, image_size=self.image_size
        )

    def _images(
        self, rows: Int64[ndarray, " batch"], crops: Crops, augmentation: Augmentation
    ) -> UInt8[ndarray, "batch size size 3"]:
        images = np.empty((len(rows), self.image_size, self.image_size, 3), dtype=np.uint8)
        affine = crops.affine[:, :2].numpy()
        corner_px = (crops.centre_px - crops.side_px[:, None] / 2).numpy()
        side_px = crops.side_px.numpy()
        mirrored, frame_px = self.pack.left(rows), self.pack.array("frame_px", rows)
        for i, stored in enumerate(self.pack.windows(rows, verify=self.verify)):
            window = mirror_window(stored, int(frame_px[i, 0])) if mirrored[i] else stored
            origin = np.array([window.x_px, window.y_px], dtype=np.float64)
            occlusion = augmentation.occlusion[i]
            if occlusion is not None:
                left, top = (corner_px[i] - origin).tolist()
                occlusion.paint(window.image, (left, top, float(side_px[i])))
            from_window = affine[i].copy()
            from_window[:, 2] += from_window[:, :2] @ origin
            warp(window.image, from_window, augmentation.color[i], images[i])
        return images


def stored_crop(pack: Pack) -> DataConfig:
    """The published crop or, where a pack's windows are smaller, as much of it as they hold: for pictures."""
    return DataConfig(bbox_expand=min(PUBLISHED_CROP.bbox_expand, pack.info.margin))


def _check_margin(pack: Pack, data: DataConfig, augment: AugmentConfig | None) -> None:
    scale = 1 + (0 if augment is None else augment.scale)
    diagonal = 1 if augment is None or augment.rotation_deg == 0 else 2**0.5
    needed = data.bbox_expand * scale * diagonal
    if needed > pack.info.margin + 1e-9:
        margin = f"{math.ceil(1000 * needed) / 1000:.3f}"
        options = Option("root", "DIR"), Option("margin", margin), Option("out", "FILE")
        raise HmrError(
            f"{pack.path} stores windows of {pack.info.margin:.3f} times the joints' box, but this recipe's crops "
            f"reach to {needed:.3f} times (data.bbox_expand {data.bbox_expand}, augment.scale {scale - 1:.4g}, "
            f"rotation {'on' if diagonal > 1 else 'off'}).",
            f"Pack again with `{command_line('hmr pack', pack.info.dataset, *options)}`, or lower them.",
        )

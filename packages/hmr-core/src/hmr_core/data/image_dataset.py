"""The torch data set: crops and their ground truth, read from a pack in batches.

What concerns annotations is computed for a whole batch at once; only decoding and warping go image by image. Images
stay uint8 until they are on the device. An item's key is (epoch, row), so that augmentation needs no state in workers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from jaxtyping import Float64, Int64, UInt8
from numpy import ndarray
from torch import Tensor

from hmr_core.data.augment import Augmentation, draw, identity
from hmr_core.data.pack.reader import Pack
from hmr_core.data.targets import CropGeometry, crop_hands, make_targets, read_hands, visibility
from hmr_core.errors import HmrError
from hmr_core.nn.model import Inputs, Targets
from hmr_core.plugins.recipes import AugmentConfig, DataConfig
from hmr_core.shell import command_line

Key = tuple[int, int]
"""(epoch, row of the pack)."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Samples ready for a model of images. image: uint8 RGB crops; ids: of the samples, in the batch's order."""

    ids: list[str]
    image: UInt8[Tensor, "batch size size 3"]
    targets: Targets

    def to(self, device: torch.device | str) -> Batch:
        """The batch with every tensor on the device."""
        return replace(self, image=self.image.to(device, non_blocking=True), targets=self.targets.to(device))

    def pin_memory(self) -> Batch:
        """The batch in page-locked memory (called by the DataLoader)."""
        return replace(self, image=self.image.pin_memory(), targets=self.targets.pin_memory())

    def inputs(self) -> Inputs:
        """What a model may see: images as 0..1 minus 0.5.

        In memory they stay pixel by pixel, as they came (PyTorch's channels_last), which is quicker on a CPU.
        """
        return Inputs(image=self.image.permute(0, 3, 1, 2).float() / 255 - 0.5)


class ImageDataset(torch.utils.data.Dataset[Batch]):
    """The samples of a pack as crops with ground truth; batches come from `__getitems__`.

    verify: compare the checksums of images and annotations as they are read.
    augment: None for validation and evaluation, where every point counts as visible, as published.
    Raises HmrError when the augmentation could reach beyond the windows that the pack stores.
    """

    def __init__(
        self,
        pack: Pack,
        *,
        image_size: int,
        root_joint: int,
        data: DataConfig,
        augment: AugmentConfig | None = None,
        seed: int = 0,
        verify: bool = False,
    ) -> None:
        _check_margin(pack, data, augment)
        self.pack, self.image_size, self.root_joint = pack, image_size, root_joint
        self.data, self.augment, self.seed, self.verify = data, augment, seed, verify

    def __len__(self) -> int:
        return int(self.pack.info.samples)

    def __getitem__(self, key: Key) -> Batch:
        return self.__getitems__([key])

    def __getitems__(self, keys: Sequence[Key]) -> Batch:
        """One batch: the samples of the given rows, augmented for the given epoch."""
        epoch, rows = keys[0][0], np.array([row for _, row in keys], dtype=np.int64)
        ids = self.pack.ids(rows)
        if self.verify:
            self.pack.verify_annotations(rows)
        augmentation = identity(len(ids)) if self.augment is None else draw(self.augment, self.seed, epoch, ids)
        hands = read_hands(self.pack, rows)
        crop = self.crops(hands.joints, hands.intrinsics, augmentation)
        targets = make_targets(hands, crop, root_joint=self.root_joint, image_size=self.image_size)
        if self.augment is not None:
            frame_px = torch.from_numpy(self.pack.array("frame_px", rows)).double()
            joints_vis, verts_vis = visibility(targets, crop, frame_px)
            targets = replace(targets, joints_vis=joints_vis, verts_vis=verts_vis)
        return Batch(ids=ids, image=torch.from_numpy(self._images(rows, crop, augmentation)), targets=targets)

    def crops(
        self,
        joints: Float64[Tensor, "batch 21 3"],
        intrinsics: Float64[Tensor, "batch 3 3"],
        augmentation: Augmentation,
    ) -> CropGeometry:
        """The crops of a batch from its joints (metres, camera space) and cameras."""
        return crop_hands(
            joints, intrinsics, augmentation, bbox_expand=self.data.bbox_expand, image_size=self.image_size
        )

    def _images(
        self, rows: Int64[ndarray, " batch"], geometry: CropGeometry, augmentation: Augmentation
    ) -> UInt8[ndarray, "batch size size 3"]:
        images = np.empty((len(rows), self.image_size, self.image_size, 3), dtype=np.uint8)
        affine = geometry.affine[:, :2].numpy()
        corner_px = (geometry.centre_px - geometry.side_px[:, None] / 2).numpy()
        side_px = geometry.side_px.numpy()
        for i, window in enumerate(self.pack.windows(rows, verify=self.verify)):
            origin = np.array([window.x_px, window.y_px], dtype=np.float64)
            occlusion = augmentation.occlusion[i]
            if occlusion is not None:
                left, top = (corner_px[i] - origin).tolist()
                occlusion.paint(window.image, (left, top, float(side_px[i])))
            from_window = affine[i].copy()
            from_window[:, 2] += from_window[:, :2] @ origin
            warp(window.image, from_window, augmentation.color[i], images[i])
        return images


def warp(
    image: UInt8[ndarray, "height width 3"],
    affine: Float64[ndarray, "2 3"],
    color: Float64[ndarray, "3"],
    crop: UInt8[ndarray, "size size 3"],
) -> None:
    """Fill the crop under an affine map of pixels: bilinear, black outside; channels times their factors, truncated."""
    # OpenCV warps four channels in less than half the time that it takes for three.
    four = cv2.warpAffine(cv2.cvtColor(image, cv2.COLOR_RGB2RGBA), affine, crop.shape[:2], flags=cv2.INTER_LINEAR)
    cv2.cvtColor(four, cv2.COLOR_RGBA2RGB, dst=crop)
    if (color != 1).any():
        # Half a grey level less, as OpenCV rounds; a little more, so that whole numbers stay what they are.
        cv2.transform(crop, np.column_stack([np.diag(color), np.full(3, -0.5 + 1e-4)]).astype(np.float32), dst=crop)


def _check_margin(pack: Pack, data: DataConfig, augment: AugmentConfig | None) -> None:
    scale = 1 + (0 if augment is None else augment.scale)
    diagonal = 1 if augment is None or augment.rotation_deg == 0 else 2**0.5
    needed = data.bbox_expand * scale * diagonal
    if needed > pack.info.margin + 1e-9:
        margin = f"{math.ceil(1000 * needed) / 1000:.3f}"
        again = command_line("hmr pack oakink --root OakInk --margin", margin, "--out", "FILE")
        raise HmrError(
            f"{pack.path} stores windows of {pack.info.margin:.3f} times the joints' box, but this recipe's crops "
            f"reach to {needed:.3f} times (data.bbox_expand {data.bbox_expand}, augment.scale {scale - 1:.4g}, "
            f"rotation {'on' if diagonal > 1 else 'off'}). Pack again with `{again}`, or lower them."
        )

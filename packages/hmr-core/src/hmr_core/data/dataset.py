"""The torch data set: crops and their ground truth, read from a pack in batches.

What concerns annotations is computed for a whole batch at once; only decoding and warping go image by image. Images
stay uint8 until they are on the device. An item's key is (epoch, row), so that augmentation needs no state in workers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from jaxtyping import Float64, UInt8
from numpy import ndarray
from torch import Tensor

from hmr_core.config import AugmentConfig, DataConfig
from hmr_core.data.augment import Augmentation, draw, identity
from hmr_core.data.pack.reader import Pack
from hmr_core.errors import HmrError
from hmr_core.geometry.camera import PUBLISHED_DEPTH_EPSILON_M, pixels_to_uvd, project
from hmr_core.geometry.crop import crop_affine, crop_intrinsics, joint_box, rotation_about_z, transform_px
from hmr_core.nn.model import Inputs, Targets

Key = tuple[int, int]
"""(epoch, row of the pack)."""

VISIBLE_SHARE = 0.3
"""A training sample with a smaller share of its points inside the frame, or the crop, has none that count."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Samples ready for a model. image: uint8 RGB crops; ids: of the samples, in the batch's order."""

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
        """What a model may see: images as 0..1 minus 0.5."""
        image = self.image.permute(0, 3, 1, 2).float() / 255 - 0.5
        return Inputs(image=image.contiguous())


@dataclass(frozen=True, kw_only=True)
class CropGeometry:
    """The crops of a batch: joints, box centre and side in frame pixels, the map from frame to crop, its camera."""

    joints_px: Float64[Tensor, "batch 21 2"]
    centre_px: Float64[Tensor, "batch 2"]
    side_px: Float64[Tensor, " batch"]
    affine: Float64[Tensor, "batch 3 3"]
    intrinsics: Float64[Tensor, "batch 3 3"]
    rotation: Float64[Tensor, "batch 3 3"]


class HandDataset(torch.utils.data.Dataset[Batch]):
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
        annotations = {
            name: torch.from_numpy(self.pack.array(name, rows)) for name in ("joints", "verts", "intrinsics")
        }
        geometry, targets = self.targets(
            **annotations, augmentation=augmentation, frame_px=self.pack.array("frame_px", rows)
        )
        images = np.stack([self._crop(int(row), i, geometry, augmentation) for i, row in enumerate(rows)])
        return Batch(ids=ids, image=torch.from_numpy(images), targets=targets)

    def targets(
        self, *, joints: Tensor, verts: Tensor, intrinsics: Tensor, augmentation: Augmentation, frame_px: ndarray
    ) -> tuple[CropGeometry, Targets]:
        """Crops and ground truth of a batch from its annotations (metres, camera space), in float64 until the end."""
        joints, verts, intrinsics = joints.double(), verts.double(), intrinsics.double()
        crop = self.crops(joints, intrinsics, augmentation)
        root = joints[:, self.root_joint]
        verts_px = project(verts, intrinsics, depth_epsilon_m=PUBLISHED_DEPTH_EPSILON_M)
        joints_uvd = pixels_to_uvd(transform_px(crop.affine, crop.joints_px), joints[..., 2], root, self.image_size)
        verts_uvd = pixels_to_uvd(transform_px(crop.affine, verts_px), verts[..., 2], root, self.image_size)
        joints_vis, verts_vis = _inside(joints_uvd), _inside(verts_uvd)
        if self.augment is None:
            joints_vis, verts_vis = torch.ones_like(joints_vis), torch.ones_like(verts_vis)
        else:
            in_frame = ((crop.joints_px >= 0) & (crop.joints_px < torch.from_numpy(frame_px)[:, None])).all(-1).double()
            joints_vis = joints_vis * _enough(in_frame) * _enough(joints_vis)
            verts_vis = verts_vis * _enough(verts_vis)
        targets = Targets(
            joints_uvd=joints_uvd.float(),
            joints_vis=joints_vis.float(),
            verts_uvd=verts_uvd.float(),
            verts_vis=verts_vis.float(),
            joints=(joints @ crop.rotation.mT).float(),
            verts=(verts @ crop.rotation.mT).float(),
            root=(crop.rotation @ root[..., None]).squeeze(-1).float(),
            intrinsics=crop.intrinsics.float(),
        )
        return crop, targets

    def crops(
        self,
        joints: Float64[Tensor, "batch 21 3"],
        intrinsics: Float64[Tensor, "batch 3 3"],
        augmentation: Augmentation,
    ) -> CropGeometry:
        """The crops of a batch from its joints (metres, camera space) and cameras."""
        angle = torch.from_numpy(augmentation.angle)
        joints_px = project(joints, intrinsics, depth_epsilon_m=PUBLISHED_DEPTH_EPSILON_M)
        centre, span = joint_box(joints_px)
        side = span * self.data.bbox_expand * torch.from_numpy(augmentation.scale)
        return CropGeometry(
            joints_px=joints_px,
            centre_px=centre,
            side_px=side,
            affine=crop_affine(centre, side, angle, self.image_size),
            intrinsics=crop_intrinsics(centre, side, angle, intrinsics, self.image_size),
            rotation=rotation_about_z(angle),
        )

    def _crop(
        self, row: int, i: int, geometry: CropGeometry, augmentation: Augmentation
    ) -> UInt8[ndarray, "size size 3"]:
        window = self.pack.window(row, verify=self.verify)
        image, origin = window.image, np.array([window.x_px, window.y_px], dtype=np.float64)
        occlusion = augmentation.occlusion[i]
        if occlusion is not None:
            image = image.copy()
            side = float(geometry.side_px[i])
            left, top = geometry.centre_px[i].numpy() - origin - side / 2
            occlusion.paint(image, (float(left), float(top), side))
        affine = geometry.affine[i, :2].numpy().copy()
        affine[:, 2] += affine[:, :2] @ origin
        return warp(image, affine, self.image_size, augmentation.color[i])


def warp(
    image: UInt8[ndarray, "height width 3"],
    affine: Float64[ndarray, "2 3"],
    image_size: int,
    color: Float64[ndarray, "3"],
) -> UInt8[ndarray, "size size 3"]:
    """The crop under an affine map of pixels, bilinear, black outside, each channel times its factor (truncated)."""
    crop = cv2.warpAffine(image, affine, (image_size, image_size), flags=cv2.INTER_LINEAR)
    if np.any(color != 1):
        table = np.clip(np.arange(256)[:, None] * color, 0, 255).astype(np.uint8)
        crop = cv2.LUT(crop, table[None])
    return np.asarray(crop, dtype=np.uint8)


def _inside(uvd: Tensor) -> Tensor:
    return ((uvd[..., :2] >= 0) & (uvd[..., :2] < 1)).all(-1).double()


def _enough(visible: Tensor) -> Tensor:
    """1 for samples of which at least VISIBLE_SHARE of the points are visible, else 0."""
    return (visible.mean(-1, keepdim=True) >= VISIBLE_SHARE).double()


def _check_margin(pack: Pack, data: DataConfig, augment: AugmentConfig | None) -> None:
    scale = 1 + (0 if augment is None else augment.scale)
    diagonal = 1 if augment is None or augment.rotation_deg == 0 else 2**0.5
    needed = data.bbox_expand * scale * diagonal
    if needed > pack.info.margin + 1e-9:
        raise HmrError(
            f"{pack.path} stores windows of {pack.info.margin:.3f} times the joints' box, but this recipe's crops "
            f"reach to {needed:.3f} times (data.bbox_expand {data.bbox_expand}, augment.scale {scale - 1}, rotation "
            f"{'on' if diagonal > 1 else 'off'}). Pack again with `hmr pack ... --margin {needed:.3f}`, or lower them."
        )

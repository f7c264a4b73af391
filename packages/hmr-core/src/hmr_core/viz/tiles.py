"""The parts of a picture of many samples: a sample's crop with joints or a mesh over it, and lines of text."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from jaxtyping import Float, Float32, Int, UInt8
from numpy import ndarray

from hmr_core.data.batch import Key
from hmr_core.data.image_dataset import ImageDataset
from hmr_core.geometry.camera import pixel_scaling, project
from hmr_core.geometry.mirror import mirror_intrinsics, mirror_points
from hmr_core.viz.mesh_overlay import draw_mesh
from hmr_core.viz.skeleton import draw_skeleton

TILE_PX = 192
"""The side of a crop in a sheet."""

_HEADER_PX, _CAPTION_PX, _NEXT_LINE_PX, _LEFT_PX = 26, 18, 14, 6
_FONT, _BANNER_SIZE, _CAPTION_SIZE = cv2.FONT_HERSHEY_SIMPLEX, 0.5, 0.36
_BACKGROUND, _TEXT = (24, 24, 28), (230, 230, 230)


@dataclass(frozen=True, kw_only=True)
class Tile:
    """A sample's crop, a square: its RGB pixels, its camera, and where its joints are (metres; nan: not known)."""

    image: UInt8[ndarray, "size size 3"]
    intrinsics: Float[ndarray, "3 3"]
    true_joints: Float32[ndarray, "21 3"]

    @classmethod
    def of(cls, dataset: ImageDataset, row: int, side_px: int = TILE_PX) -> Tile:
        """The tile of a row of the data set's pack, left hands as they are in the image. side_px: of the square."""
        batch = dataset.batch([Key(0, row)])
        assert batch.image is not None
        scale = side_px / dataset.image_size
        image = cv2.resize(batch.image[0].numpy(), (side_px, side_px), interpolation=cv2.INTER_AREA)
        camera = torch.from_numpy(pixel_scaling(scale)) @ batch.targets.intrinsics[0].double()
        known = batch.targets.joints_known[0].bool()
        joints = batch.targets.joints[0].masked_fill(~known[:, None], torch.nan)
        if dataset.pack.left([row])[0]:  # the data set has it in the mirrored view
            image, joints = np.ascontiguousarray(image[:, ::-1]), mirror_points(joints)
            camera = mirror_intrinsics(camera, camera.new_tensor(side_px))
        return cls(image=image, intrinsics=camera.numpy(), true_joints=joints.numpy())

    def with_joints(self, joints_m: Float32[ndarray, "21 3"]) -> UInt8[ndarray, "size size 3"]:
        """The crop with joints (camera space) and their bones."""
        picture = self.image.copy()
        pixels = project(torch.from_numpy(joints_m).double(), torch.from_numpy(self.intrinsics))
        draw_skeleton(picture, pixels.numpy())
        return picture

    def with_mesh(self, verts_m: Float32[ndarray, "v 3"], faces: Int[ndarray, "f 3"]) -> UInt8[ndarray, "size size 3"]:
        """The crop with a mesh (camera space), shaded."""
        return draw_mesh(self.image, verts_m, faces, self.intrinsics)


def banner(text: str, width: int) -> UInt8[ndarray, "height width 3"]:
    """A line of text above a row of tiles."""
    return _strip([text], _HEADER_PX, width, _BANNER_SIZE)


def caption(text: str, width: int, *, lines: int = 1) -> UInt8[ndarray, "height width 3"]:
    """Small text below a tile, with room for at least so many lines."""
    written = text.split("\n")
    return _strip(written + [""] * (lines - len(written)), _CAPTION_PX, width, _CAPTION_SIZE)


def wrapped(text: str, width: int) -> str:
    """A caption's text in lines that fit into a width, each broken after an underscore if it has any, as ids do."""
    lines = []
    while text:
        fitting = max(1, sum(_caption_width(text[: i + 1]) <= width - _LEFT_PX for i in range(len(text))))
        end = fitting if fitting == len(text) else text.rfind("_", 0, fitting) + 1 or fitting
        lines.append(text[:end])
        text = text[end:]
    return "\n".join(lines)


def _caption_width(text: str) -> int:
    (width, _), _ = cv2.getTextSize(text, _FONT, _CAPTION_SIZE, 1)
    return int(width)


def _strip(lines: list[str], height: int, width: int, size: float) -> UInt8[ndarray, "height width 3"]:
    """Lines of text, the first of the given height."""
    strip = np.full((height + _NEXT_LINE_PX * (len(lines) - 1), width, 3), _BACKGROUND, np.uint8)
    for i, line in enumerate(lines):
        cv2.putText(strip, line, (_LEFT_PX, height - 6 + i * _NEXT_LINE_PX), _FONT, size, _TEXT, 1, cv2.LINE_AA)
    return strip

"""The parts of a picture of many samples: a sample's crop with joints or a mesh over it, and lines of text."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from jaxtyping import Float, Float32, Int, UInt8
from numpy import ndarray

from hmr_core.data.dataset import HandDataset
from hmr_core.geometry.camera import project
from hmr_core.viz.mesh_overlay import draw_mesh
from hmr_core.viz.skeleton import draw_skeleton

TILE_PX = 192
"""The side of a crop in a picture."""

_HEADER_PX, _CAPTION_PX = 26, 18
_BACKGROUND, _TEXT = (24, 24, 28), (230, 230, 230)


@dataclass(frozen=True, kw_only=True)
class Tile:
    """A sample's crop, TILE_PX wide and high: its RGB pixels, its camera, and where its joints are (metres)."""

    image: UInt8[ndarray, "size size 3"]
    intrinsics: Float[ndarray, "3 3"]
    true_joints: Float32[ndarray, "21 3"]

    @classmethod
    def of(cls, dataset: HandDataset, row: int) -> Tile:
        """The tile of a row of the data set's pack."""
        batch = dataset[(0, row)]
        scale = TILE_PX / dataset.image_size
        return cls(
            image=cv2.resize(batch.image[0].numpy(), (TILE_PX, TILE_PX), interpolation=cv2.INTER_AREA),
            intrinsics=np.diag([scale, scale, 1.0]) @ batch.targets.intrinsics[0].double().numpy(),
            true_joints=batch.targets.joints[0].numpy(),
        )

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
    return _line(text, _HEADER_PX, width, 0.5)


def caption(text: str, width: int) -> UInt8[ndarray, "height width 3"]:
    """A line of small text below a tile."""
    return _line(text, _CAPTION_PX, width, 0.36)


def _line(text: str, height: int, width: int, size: float) -> UInt8[ndarray, "height width 3"]:
    strip = np.full((height, width, 3), _BACKGROUND, np.uint8)
    cv2.putText(strip, text, (6, height - 6), cv2.FONT_HERSHEY_SIMPLEX, size, _TEXT, 1, cv2.LINE_AA)
    return strip

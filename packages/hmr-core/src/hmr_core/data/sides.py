"""Left hands: models know right ones, so a left hand is seen in the mirrored view, where it is a right one.

What is read of a pack for a model is mirrored here, and what a model says of it is mirrored back: packs and predictions
hold left hands as they are in the image.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from numpy import ndarray
from torch import Tensor

from hmr_core.data.pack.reader import Pack, Window
from hmr_core.geometry.mirror import mirror_boxes, mirror_intrinsics, mirror_points, mirror_rotations

MIRRORED = {"joints": mirror_points, "verts": mirror_points, "rotations": mirror_rotations}
"""The arrays that change in the mirrored view whatever the frame's width, and how."""

MIRRORED_BY_WIDTH = {"intrinsics": mirror_intrinsics, "box_px": mirror_boxes}
"""Those that change with the frame's width, and how."""


def mirror_left(pack: Pack, rows: Int64[ndarray, " n"], arrays: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Arrays of the rows' hands, by the names of a pack's, in the views in which all are right hands.

    It is its own inverse: what is predicted in these views becomes what is in the images.
    """
    left = torch.from_numpy(pack.left(rows))
    if not bool(left.any()):
        return dict(arrays)
    mirrored = {name: function(arrays[name]) for name, function in MIRRORED.items() if name in arrays}
    for name in MIRRORED_BY_WIDTH.keys() & arrays.keys():
        width_px = torch.from_numpy(pack.array("frame_px", rows)[:, 0]).to(arrays[name].dtype)
        mirrored[name] = MIRRORED_BY_WIDTH[name](arrays[name], width_px)
    return {
        name: torch.where(left.view(-1, *[1] * (array.ndim - 1)), mirrored[name], array) if name in mirrored else array
        for name, array in arrays.items()
    }


def mirror_left_arrays(pack: Pack, rows: Int64[ndarray, " n"], arrays: Mapping[str, ndarray | None]) -> dict[str, Any]:
    """`mirror_left` of numpy's arrays, some of which there may not be."""
    there = {name: torch.from_numpy(array) for name, array in arrays.items() if array is not None}
    mirrored = mirror_left(pack, rows, there)
    return {name: None if array is None else mirrored[name].numpy() for name, array in arrays.items()}


def mirror_window(window: Window, frame_width_px: int) -> Window:
    """A window of the mirrored frame."""
    width = window.image.shape[1]
    flipped: UInt8[ndarray, "height width 3"] = np.ascontiguousarray(window.image[:, ::-1])
    return Window(flipped, frame_width_px - window.x_px - width, window.y_px)

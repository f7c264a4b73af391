"""A contact sheet of a data set's own tree: what its pictures look like around the hands, and where the joints are."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from hmr_core.plugins.sample import DatasetReader, Sample
from hmr_core.viz.skeleton import draw_skeleton
from hmr_core.viz.tiles import TILE_PX, banner

PER_ROW, PLAIN_ROWS = 6, 2

_ROOM = 1.7
"""A tile's side against the hand's."""

_BEGINS = 0.37
"""Where in each of the equal parts of the list the sample is taken from: not where sequences begin."""


def tree_sheet(reader: DatasetReader) -> UInt8[ndarray, "height width 3"]:
    """An RGB picture of samples from all over what the first split trains on: two rows of plain crops around the hand,
    and the second of these again with the true joints.
    """
    split, subsets = next(iter(reader.splits().items()))
    subset = next(name for name in ("train+val", "train", *subsets) if name in subsets)
    ids = reader.split_ids(split, subset)
    count = min(PER_ROW * PLAIN_ROWS, len(ids))
    rows: list[list[ndarray]] = [[] for _ in range(PLAIN_ROWS + 1)]
    for k in range(count):
        sample = reader.read(ids[int((k + _BEGINS) * len(ids) / count)])
        image, joints_px = _crop(reader.read_image(sample), sample)
        row = k // PER_ROW
        rows[row].append(image)
        if row == PLAIN_ROWS - 1:
            marked = image.copy()
            draw_skeleton(marked, joints_px)
            rows[-1].append(marked)
    width = PER_ROW * TILE_PX
    strips = [banner(f"{reader.release}: {len(ids)} samples, {subset} of {split}; below, with the true joints", width)]
    for tiles in rows:
        strip = np.zeros((TILE_PX, width, 3), np.uint8)
        for k, tile in enumerate(tiles):
            strip[:, k * TILE_PX : (k + 1) * TILE_PX] = tile
        strips.append(strip)
    return np.concatenate(strips)


def _crop(frame: UInt8[ndarray, "h w 3"], sample: Sample) -> tuple[UInt8[ndarray, "size size 3"], ndarray]:
    """A tile around the hand, and its joints in the tile's pixels."""
    projected = sample.joints.astype(np.float64) @ sample.intrinsics.astype(np.float64).T
    joints_px = projected[:, :2] / projected[:, 2:]
    low, high = joints_px.min(0), joints_px.max(0)
    side = _ROOM * float((high - low).max())
    scale = TILE_PX / side
    corner = (low + high - side) / 2
    # Pixel centres are at integers: the tile's first pixel begins where the crop does.
    move = np.array([[scale, 0, -scale * corner[0]], [0, scale, -scale * corner[1]]])
    tile = cv2.warpAffine(
        cv2.GaussianBlur(frame, (0, 0), 0.5 / scale) if scale < 1 else frame, move, (TILE_PX, TILE_PX)
    )
    return np.asarray(tile, dtype=np.uint8), (joints_px - corner) * scale

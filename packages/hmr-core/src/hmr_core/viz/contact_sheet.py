"""A contact sheet of predictions: the best, median and worst samples, prediction beside ground truth."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float32, Int, Int64, UInt8
from numpy import ndarray

from hmr_core.data.image_dataset import ImageDataset
from hmr_core.viz.tiles import TILE_PX, Tile, banner, caption

PER_ROW = {2: 6, 3: 4}
"""Samples in a row, by the pictures that each of them has."""


def contact_sheet(
    dataset: ImageDataset,
    rows: Int64[ndarray, " n"],
    *,
    title: str,
    joints: Float32[ndarray, "n 21 3"],
    errors_mm: Float[ndarray, " n"],
    verts: Float32[ndarray, "n v 3"] | None = None,
    faces: Int[ndarray, "f 3"] | None = None,
) -> UInt8[ndarray, "height width 3"]:
    """An RGB picture with three rows: the samples with the smallest, the middle and the largest errors.

    rows: of the data set's pack. joints, verts: predicted for these rows, metres, camera space. errors_mm: one for each
    sample, by which the samples are ordered; nan where there is none, and where there is none at all, the picture has
    one row, with samples from first to last. Each sample has the true joints beside the predicted ones and, where there
    are vertices and faces to draw them with, the predicted mesh.
    """
    mesh = None if verts is None or faces is None else (verts, faces)
    pictures = 2 if mesh is None else 3
    order = np.argsort(errors_mm, kind="stable")[: np.count_nonzero(~np.isnan(errors_mm))]
    count = min(PER_ROW[pictures], len(order) or len(rows))
    middle = (len(order) - count) // 2
    picked = [("best", order[:count]), ("median", order[middle : middle + count]), ("worst", order[-count:])]
    if len(order) == 0:
        picked = [("no truth to order them by", np.linspace(0, len(rows) - 1, count).astype(np.int64))]
    shown = "truth left, prediction right" if mesh is None else "truth, prediction, its mesh"
    width = count * pictures * TILE_PX
    ids = dataset.pack.ids(rows)
    strips = [banner(f"{title}: {shown}", width)]
    for name, samples in picked:
        errors = f": {errors_mm[samples[0]]:.1f} to {errors_mm[samples[-1]]:.1f} mm" if len(order) else ""
        strips.append(banner(f"{name}{errors}", width))
        tiles = []
        for i in samples:
            tile = Tile.of(dataset, int(rows[i]))
            parts = [tile.with_joints(tile.true_joints), tile.with_joints(joints[i])]
            if mesh is not None:
                parts.append(tile.with_mesh(mesh[0][i], mesh[1]))
            error = f"{errors_mm[i]:.1f} mm  " if len(order) else ""
            below = caption(f"{error}{ids[i]}", len(parts) * TILE_PX)
            tiles.append(np.concatenate([np.concatenate(parts, axis=1), below]))
        strips.append(np.concatenate(tiles, axis=1))
    return np.concatenate(strips)

"""A picture of several predictions of the same samples, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64, Int, Int64, UInt8
from numpy import ndarray

from hmr_core.data.image_dataset import ImageDataset
from hmr_core.viz.tiles import TILE_PX, Tile, banner, caption, wrapped

SAMPLES = 6
"""Rows of the picture: from one of the easiest samples to one of the hardest."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """What one column of the picture shows: predicted joints and, if there is one, a mesh (metres, camera space)."""

    title: str
    joints: Float32[ndarray, "n 21 3"]
    verts: Float32[ndarray, "n v 3"] | None = None


def comparison_sheet(
    columns: Sequence[Column], dataset: ImageDataset, rows: Int64[ndarray, " n"], faces: Int[ndarray, "f 3"]
) -> UInt8[ndarray, "height width 3"]:
    """An RGB picture: a row for each of some samples, with the true joints, and each column's joints and mesh.

    rows: of the data set's pack, which the columns are of. faces: of the meshes; a column without a mesh has its joints
    alone. The samples are spread evenly over the order of the columns' mean error.
    """
    known = dataset.pack.joints_valid(rows)[..., None]
    true_joints = np.where(known, dataset.pack.array("joints", rows), np.nan)
    errors_mm = np.stack([_errors_mm(column.joints, true_joints) for column in columns])
    order = np.argsort(errors_mm.mean(0), kind="stable")
    places = np.linspace(0.05, 0.95, min(SAMPLES, len(order))) * (len(order) - 1)
    ids = dataset.pack.ids(rows)
    truth = "truth (synthetic)" if dataset.pack.info.synthetic else "truth"
    heads = [banner(truth, TILE_PX)]
    heads += [banner(column.title, TILE_PX * (1 if column.verts is None else 2)) for column in columns]
    strips = [np.concatenate(heads, axis=1)]
    for sample in order[places.round().astype(int)]:
        tile = Tile.of(dataset, int(rows[sample]))
        name = wrapped(ids[sample], TILE_PX)
        lines = name.count("\n") + 1
        parts = [np.concatenate([tile.with_joints(tile.true_joints), caption(name, TILE_PX)])]
        for column, errors in zip(columns, errors_mm, strict=True):
            pictures = [tile.with_joints(column.joints[sample])]
            if column.verts is not None:
                pictures.append(tile.with_mesh(column.verts[sample], faces))
            below = caption(f"{errors[sample]:.1f} mm", len(pictures) * TILE_PX, lines=lines)
            parts.append(np.concatenate([np.concatenate(pictures, axis=1), below]))
        strips.append(np.concatenate(parts, axis=1))
    return np.concatenate(strips)


def _errors_mm(joints: Float32[ndarray, "n 21 3"], true_joints: Float32[ndarray, "n 21 3"]) -> Float64[ndarray, " n"]:
    """The mean over the joints that are known."""
    distances_m = np.linalg.norm(joints.astype(np.float64) - true_joints, axis=-1)
    return np.asarray(np.nanmean(distances_m, axis=-1) * 1000)

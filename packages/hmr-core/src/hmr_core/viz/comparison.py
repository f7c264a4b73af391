"""A picture of several evaluations of the same samples, side by side."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64, Int, UInt8
from numpy import ndarray

from hmr_core.data.image_dataset import ImageDataset
from hmr_core.data.pack.reader import Pack
from hmr_core.errors import HmrError
from hmr_core.evaluation.predictions import Predictions, read_predictions
from hmr_core.evaluation.report import evaluation_name
from hmr_core.files import read_bytes
from hmr_core.plugins.recipes import DataConfig
from hmr_core.viz.tiles import TILE_PX, Tile, banner, caption, wrapped

SAMPLES = 6
"""Rows of the picture: from one of the easiest samples to one of the hardest."""


@dataclass(frozen=True, kw_only=True)
class Evaluated:
    """What an evaluation left in its folder."""

    report: Mapping[str, Any]
    predictions: Predictions


def read_evaluations(folders: Sequence[Path]) -> list[Evaluated]:
    """What `hmr eval` left in these folders; HmrError unless all are of the same samples of one pack."""
    found = []
    for folder in folders:
        try:
            report = json.loads(read_bytes(folder / "report.json"))
        except (OSError, ValueError) as error:
            raise HmrError(f"{folder} holds no evaluation: {error}. `hmr eval` leaves one in its --out.") from error
        found.append(Evaluated(report=report, predictions=read_predictions(folder / "predictions.h5")))
    for folder, one in zip(folders, found, strict=True):
        if one.predictions.pack != found[0].predictions.pack or one.predictions.ids != found[0].predictions.ids:
            raise HmrError(f"{folder} and {folders[0]} are not of the same samples, so there is nothing to compare.")
    return found


def comparison_sheet(
    evaluations: Sequence[Evaluated], pack: Pack, faces: Int[ndarray, "f 3"]
) -> UInt8[ndarray, "height width 3"]:
    """An RGB picture: a row for each of some samples, with the true joints, and each model's joints and mesh.

    The samples are spread evenly over the order of the models' mean error. faces: of the meshes; a model without a
    mesh has its joints alone. HmrError for a pack that the evaluations are not of.
    """
    first = evaluations[0].predictions
    if pack.info.digest != first.pack:
        raise HmrError(f"the evaluations are not of {pack.path} (its digest is another): give theirs with --data.")
    rows = pack.indices(first.split, first.subset)
    crop = DataConfig(bbox_expand=min(DataConfig().bbox_expand, pack.info.margin))
    dataset = ImageDataset(pack, image_size=TILE_PX, root_joint=0, data=crop, verify=True)
    errors_mm = np.stack([_errors_mm(one.predictions, pack, rows) for one in evaluations])
    order = np.argsort(errors_mm.mean(0), kind="stable")
    places = np.linspace(0.05, 0.95, min(SAMPLES, len(order))) * (len(order) - 1)
    strips = [_heads(evaluations, synthetic=pack.info.synthetic)]
    for sample in order[places.round().astype(int)]:
        tile = Tile.of(dataset, int(rows[sample]))
        name = wrapped(first.ids[sample], TILE_PX)
        lines = name.count("\n") + 1
        columns = [np.concatenate([tile.with_joints(tile.true_joints), caption(name, TILE_PX)])]
        for one, errors in zip(evaluations, errors_mm, strict=True):
            parts = [tile.with_joints(one.predictions.joints[sample])]
            if one.predictions.verts is not None:
                parts.append(tile.with_mesh(one.predictions.verts[sample], faces))
            below = caption(f"{errors[sample]:.1f} mm", len(parts) * TILE_PX, lines=lines)
            columns.append(np.concatenate([np.concatenate(parts, axis=1), below]))
        strips.append(np.concatenate(columns, axis=1))
    return np.concatenate(strips)


def _errors_mm(predictions: Predictions, pack: Pack, rows: ndarray) -> Float64[ndarray, " n"]:
    gap = predictions.joints.astype(np.float64) - pack.array("joints", rows)
    return np.asarray(np.linalg.norm(gap, axis=-1).mean(-1) * 1000)


def _heads(evaluations: Sequence[Evaluated], *, synthetic: bool) -> UInt8[ndarray, "height width 3"]:
    parts = [banner("truth" + (" (synthetic)" if synthetic else ""), TILE_PX)]
    for one in evaluations:
        width = TILE_PX * (1 if one.predictions.verts is None else 2)
        figure = f"MPJPE {one.report['metrics']['mpjpe_mm']:.2f} mm"
        parts.append(banner(f"{evaluation_name(one.report)}: {figure}", width))
    return np.concatenate(parts, axis=1)

"""A contact sheet of an evaluation: the best, median and worst samples, prediction beside ground truth."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Int, UInt8
from numpy import ndarray

from hmr_core.evaluation.evaluate import Evaluation
from hmr_core.viz.tiles import TILE_PX, Tile, banner, caption

PER_ROW = {2: 6, 3: 4}
"""Samples in a row, by the pictures that each of them has."""


def contact_sheet(evaluation: Evaluation, faces: Int[ndarray, "f 3"] | None = None) -> UInt8[ndarray, "height width 3"]:
    """An RGB picture with three rows: best, median and worst samples by MPJPE.

    Each sample has the true joints beside the predicted ones and, if there are a mesh and faces to draw it with, the
    predicted mesh.
    """
    pictures = 2 if faces is None or evaluation.predictions.verts is None else 3
    errors_mm = evaluation.scores.errors.joints.mean(1).numpy() * 1000
    order = np.argsort(errors_mm, kind="stable")
    count = min(PER_ROW[pictures], len(order))
    middle = (len(order) - count) // 2
    rows = (("best", order[:count]), ("median", order[middle : middle + count]), ("worst", order[-count:]))
    width = count * pictures * TILE_PX
    strips = [banner(_title(evaluation.report, pictures), width)]
    for name, picks in rows:
        strips.append(banner(f"{name}: {errors_mm[picks[0]]:.1f} to {errors_mm[picks[-1]]:.1f} mm", width))
        strips.append(np.concatenate([_tile(evaluation, int(i), float(errors_mm[i]), faces) for i in picks], axis=1))
    return np.concatenate(strips)


def _title(report: Mapping[str, Any], pictures: int) -> str:
    by = f" + {report['solver']['name']}" if report.get("solver") else ""
    by += " from given joints" if report.get("consumes") == "joints" else ""
    figures = f"MPJPE {report['metrics']['mpjpe_mm']:.2f} mm"
    if report["metrics"].get("mpvpe_mm") is not None:
        figures += f", MPVPE {report['metrics']['mpvpe_mm']:.2f} mm"
    synthetic = " (synthetic data)" if report["synthetic"] else ""
    shown = "truth left, prediction right" if pictures == 2 else "truth, prediction, its mesh"
    return f"{report['model']}{by}, {report['split']} {report['subset']}, {figures}{synthetic}: {shown}"


def _tile(
    evaluation: Evaluation, i: int, error_mm: float, faces: Int[ndarray, "f 3"] | None
) -> UInt8[ndarray, "height width 3"]:
    tile = Tile.of(evaluation.dataset, int(evaluation.rows[i]))
    parts = [tile.with_joints(tile.true_joints), tile.with_joints(evaluation.predictions.joints[i])]
    verts = evaluation.predictions.verts
    if faces is not None and verts is not None:
        parts.append(tile.with_mesh(verts[i], faces))
    text = f"{error_mm:.1f} mm  {evaluation.predictions.ids[i]}"
    return np.concatenate([np.concatenate(parts, axis=1), caption(text, len(parts) * TILE_PX)])

"""A contact sheet of an evaluation: the best, median and worst samples, prediction beside ground truth."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from numpy import ndarray

from hmr_core.engine.evaluate import Evaluation
from hmr_core.errors import HmrError
from hmr_core.geometry.camera import project
from hmr_core.viz.mesh_overlay import draw_mesh
from hmr_core.viz.skeleton import draw_skeleton

TILE_PX = 192
PER_ROW = {2: 6, 3: 4}
"""Samples in a row, by the pictures that each of them has."""

_HEADER_PX, _CAPTION_PX = 26, 18
_BACKGROUND, _TEXT = (24, 24, 28), (230, 230, 230)


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
    strips = [_banner(_title(evaluation.report, pictures), width)]
    for name, picks in rows:
        strips.append(_banner(f"{name}: {errors_mm[picks[0]]:.1f} to {errors_mm[picks[-1]]:.1f} mm", width))
        strips.append(np.concatenate([_tile(evaluation, int(i), float(errors_mm[i]), faces) for i in picks], axis=1))
    return np.concatenate(strips)


def write_png(path: Path, image: UInt8[ndarray, "height width 3"]) -> None:
    """Write an RGB picture; HmrError when it cannot be written."""
    if not cv2.imwrite(str(path), image[..., ::-1]):
        raise HmrError(f"the picture {path} could not be written")


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
    batch = evaluation.dataset[(0, int(evaluation.rows[i]))]
    crop = cv2.resize(batch.image[0].numpy(), (TILE_PX, TILE_PX), interpolation=cv2.INTER_AREA)
    scale = TILE_PX / evaluation.dataset.image_size
    intrinsics = batch.targets.intrinsics[0].double()
    parts = []
    for joints in (batch.targets.joints[0], torch.from_numpy(evaluation.predictions.joints[i])):
        part = crop.copy()
        draw_skeleton(part, _to_tile(joints, intrinsics, scale))
        parts.append(part)
    verts = evaluation.predictions.verts
    if faces is not None and verts is not None:
        tile_camera = np.diag([scale, scale, 1.0]) @ intrinsics.numpy()
        parts.append(draw_mesh(crop, verts[i], faces, tile_camera))
    caption = np.full((_CAPTION_PX, len(parts) * TILE_PX, 3), _BACKGROUND, np.uint8)
    _write(caption, f"{error_mm:.1f} mm  {evaluation.predictions.ids[i]}", 0.36)
    return np.concatenate([np.concatenate(parts, axis=1), caption])


def _to_tile(joints_m: Float[torch.Tensor, "21 3"], intrinsics: Float[torch.Tensor, "3 3"], scale: float) -> ndarray:
    return (project(joints_m.double(), intrinsics) * scale).numpy()


def _banner(text: str, width: int) -> UInt8[ndarray, "height width 3"]:
    strip = np.full((_HEADER_PX, width, 3), _BACKGROUND, np.uint8)
    _write(strip, text, 0.5)
    return strip


def _write(strip: UInt8[ndarray, "height width 3"], text: str, size: float) -> None:
    cv2.putText(strip, text, (6, strip.shape[0] - 6), cv2.FONT_HERSHEY_SIMPLEX, size, _TEXT, 1, cv2.LINE_AA)

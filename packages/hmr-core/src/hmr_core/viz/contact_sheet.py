"""A contact sheet of an evaluation: the best, median and worst samples, prediction beside ground truth."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy import ndarray

from hmr_core.engine.evaluate import Evaluation
from hmr_core.errors import HmrError
from hmr_core.geometry.camera import project
from hmr_core.viz.skeleton import draw_skeleton

TILE_PX, PER_ROW = 192, 6
_HEADER_PX, _CAPTION_PX = 26, 18
_BACKGROUND, _TEXT = (24, 24, 28), (230, 230, 230)


def contact_sheet(evaluation: Evaluation) -> UInt8[ndarray, "height width 3"]:
    """An RGB picture with three rows (best, median, worst by MPJPE), in each tile the truth beside the prediction."""
    errors_mm = evaluation.scores.errors.joints.mean(1).numpy() * 1000
    order = np.argsort(errors_mm, kind="stable")
    count = min(PER_ROW, len(order))
    middle = (len(order) - count) // 2
    rows = (("best", order[:count]), ("median", order[middle : middle + count]), ("worst", order[-count:]))
    report = evaluation.report
    title = f"{report['model']}, {report['split']} {report['subset']}, MPJPE {report['metrics']['mpjpe_mm']:.2f} mm"
    strips = [
        _banner(f"{title}{' (synthetic data)' if report['synthetic'] else ''}: truth left, prediction right", count)
    ]
    for name, picks in rows:
        strips.append(_banner(f"{name}: {errors_mm[picks[0]]:.1f} to {errors_mm[picks[-1]]:.1f} mm", count))
        strips.append(np.concatenate([_tile(evaluation, int(i), float(errors_mm[i])) for i in picks], axis=1))
    return np.concatenate(strips)


def write_png(path: Path, image: UInt8[ndarray, "height width 3"]) -> None:
    """Write an RGB picture; HmrError when it cannot be written."""
    if not cv2.imwrite(str(path), image[..., ::-1]):
        raise HmrError(f"the picture {path} could not be written")


def _tile(evaluation: Evaluation, i: int, error_mm: float) -> UInt8[ndarray, "height width 3"]:
    batch = evaluation.dataset[(0, int(evaluation.rows[i]))]
    crop = cv2.resize(batch.image[0].numpy(), (TILE_PX, TILE_PX), interpolation=cv2.INTER_AREA)
    scale = TILE_PX / evaluation.dataset.image_size
    intrinsics = batch.targets.intrinsics[0].double()
    halves = []
    for joints in (batch.targets.joints[0], torch.from_numpy(evaluation.predictions.joints[i])):
        half = crop.copy()
        draw_skeleton(half, _to_tile(joints, intrinsics, scale))
        halves.append(half)
    caption = np.full((_CAPTION_PX, 2 * TILE_PX, 3), _BACKGROUND, np.uint8)
    _write(caption, f"{error_mm:.1f} mm  {evaluation.predictions.ids[i]}", 0.36)
    return np.concatenate([np.concatenate(halves, axis=1), caption])


def _to_tile(joints_m: Float[torch.Tensor, "21 3"], intrinsics: Float[torch.Tensor, "3 3"], scale: float) -> ndarray:
    return (project(joints_m.double(), intrinsics) * scale).numpy()


def _banner(text: str, tiles: int) -> UInt8[ndarray, "height width 3"]:
    strip = np.full((_HEADER_PX, tiles * 2 * TILE_PX, 3), _BACKGROUND, np.uint8)
    _write(strip, text, 0.5)
    return strip


def _write(strip: UInt8[ndarray, "height width 3"], text: str, size: float) -> None:
    cv2.putText(strip, text, (6, strip.shape[0] - 6), cv2.FONT_HERSHEY_SIMPLEX, size, _TEXT, 1, cv2.LINE_AA)

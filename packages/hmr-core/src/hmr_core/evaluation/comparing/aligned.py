"""What an evaluation's points are like once they are aligned with the true ones: each joint's error, and F-scores."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32, Float64
from numpy import ndarray

from hmr_core.data.known import has_truth
from hmr_core.evaluation.comparing.groups import Annotated
from hmr_core.geometry.alignment import align
from hmr_core.metrics.f_scores import THRESHOLDS_MM, flat_f_scores
from hmr_core.metrics.published import pa_joint_errors

_CHUNK = 512


@dataclass(frozen=True, eq=False)
class Aligned:
    """After the similarity (reflection allowed, as published) that brings a prediction closest to the truth.

    joints_mm: each joint's error; nan where it is not known. f: the F-scores of the mesh at each of THRESHOLDS_MM; None
    where there is none, and nan for samples whose mesh is not known.
    """

    joints_mm: Float64[ndarray, "samples 21"]
    f: Float64[ndarray, "samples thresholds"] | None


def aligned_errors(
    samples: Annotated,
    joints: Float32[ndarray, "samples 21 3"],
    verts: Float32[ndarray, "samples 778 3"] | None,
    on_aligned: Callable[[int], None] = lambda samples: None,
) -> Aligned:
    """The errors of predictions that were scored, so that they are known to be aligned.

    on_aligned is told how many samples were done.
    """
    pack, rows = samples.pack, samples.rows
    joints_mm = np.full((len(rows), 21), np.nan)
    meshed = pack.verts_valid(rows)
    f = None if verts is None or not meshed.any() else np.full((len(rows), len(THRESHOLDS_MM)), np.nan)
    for start in range(0, len(rows), _CHUNK):
        part = np.arange(start, min(start + _CHUNK, len(rows)))
        scored = part[has_truth(pack, rows[part])]
        pred, true = _doubles(joints[scored], pack.array("joints", rows[scored]))
        unknown = torch.from_numpy(~pack.joints_valid(rows[scored]))
        joints_mm[scored] = 1000 * pa_joint_errors(pred, true, unknown).numpy()
        if f is not None and verts is not None:
            there = part[meshed[part]]
            pred, true = _doubles(verts[there], pack.array("verts", rows[there]))
            f[there] = flat_f_scores(align(pred, true), true).numpy()
        on_aligned(len(part))
    return Aligned(joints_mm, f)


def _doubles(*arrays: ndarray) -> list[torch.Tensor]:
    return [torch.from_numpy(array).double() for array in arrays]

"""HO-3D's own scoring: its eval.py (Hampali et al., CVPR 2020), of version 2 and of version 3."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy import ndarray

from hmr_core.hand.joints import MANO_TO_OPENPOSE
from hmr_core.plugins.official import OfficialRules, SubmissionForm, SubmittedPoints, Truth
from hmr_datasets.orders import inverse
from hmr_datasets.pred_json import FILES, read_pred_json, write_pred_json
from hmr_datasets.scoring import aligned, area, distances, mean_of_means, mesh_metrics

_TURN = np.array([1, -1, -1], dtype=np.float32)
"""From OpenGL's camera space, as in the files, to ours, and back."""


def score(truth: Truth, joints: ndarray, verts: ndarray | None) -> dict[str, float | None]:
    """The metrics of eval.py by its names; means are in cm."""
    from hmr_core.metrics import scale_root_errors_mm

    errors = {
        "xyz": distances(joints, truth.joints),
        "xyz_procrustes_al": distances(aligned(joints, truth.joints), truth.joints),
        "xyz_scale_trans_al": scale_root_errors_mm(joints.astype(np.float64), truth.joints.astype(np.float64)) / 1000,
    }
    metrics: dict[str, float | None] = {}
    for name, of_joints in errors.items():
        whole = not np.isnan(of_joints).any()  # the scorer has no result if a single hand has no scale
        mean = mean_of_means(of_joints) if whole else None
        metrics[f"{name}_mean3d"] = None if mean is None else 100 * mean
        metrics[f"{name}_auc3d"] = area(of_joints) if whole else None
    return metrics | mesh_metrics(verts, truth.verts)


def write(folder: Path, split: str, ids: Sequence[str], joints: ndarray, verts: ndarray | None) -> None:
    """pred.json and pred.zip in OpenGL's camera space and MANO's joint order."""
    theirs = (joints * _TURN)[:, list(inverse(MANO_TO_OPENPOSE))]
    write_pred_json(folder, split, ids, theirs, None if verts is None else verts * _TURN)


def read(path: Path, split: str, ids: Sequence[str]) -> SubmittedPoints:
    """The points of such a file as ours."""
    found = read_pred_json(path, split, ids)
    return replace(
        found,
        joints=found.joints[:, list(MANO_TO_OPENPOSE)] * _TURN,
        verts=None if found.verts is None else found.verts * _TURN,
    )


RULES = OfficialRules(
    name="HO-3D's eval.py",
    rules=(
        "points: the 21 joints and the 778 vertices as they are predicted, in camera space",
        "xyz and mesh: no root and no alignment; procrustes_al and al: after a similarity, reflections allowed, the "
        "mesh by its own vertices",
        "scale_trans_al: scaled by the bone from the wrist to the middle finger's base, the wrists together",
        "mean3d: cm, of each point over the samples, then over the points",
        "auc3d: under the PCK curve from 0 to 50 mm with 100 thresholds, of each point, then the mean",
        "f_score: of the mesh at 5 and 15 mm, the mean over the samples",
    ),
    score=score,
    submission=SubmissionForm(files=FILES, subset="test", needs_mesh=True, write=write, read=read),
)
"""HO-3D's."""

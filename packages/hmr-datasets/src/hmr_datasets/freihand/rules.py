"""FreiHAND's own scoring: its eval.py (Zimmermann et al., ICCV 2019)."""

from __future__ import annotations

from numpy import ndarray

from hmr_core.plugins.official import OfficialRules, SubmissionForm, Truth
from hmr_datasets.pred_json import FILES, read_pred_json, write_pred_json
from hmr_datasets.scoring import aligned, area, distances, mean_of_means, mesh_metrics


def score(truth: Truth, joints: ndarray, verts: ndarray | None) -> dict[str, float | None]:
    """The metrics of eval.py by its names; means are in cm."""
    metrics: dict[str, float | None] = {}
    for name, points in (("xyz", joints), ("xyz_al", aligned(joints, truth.joints))):
        errors = distances(points, truth.joints)
        mean = mean_of_means(errors)
        metrics[f"{name}_mean3d"] = None if mean is None else 100 * mean
        metrics[f"{name}_auc3d"] = area(errors)
    return metrics | mesh_metrics(verts, truth.verts)


RULES = OfficialRules(
    name="FreiHAND's eval.py",
    rules=(
        "points: the 21 joints and the 778 vertices as they are predicted, in camera space",
        "xyz and mesh: no root and no alignment; al: after a similarity, reflections allowed, the mesh by its own "
        "vertices",
        "mean3d: cm, of each point over the samples, then over the points",
        "auc3d: under the PCK curve from 0 to 50 mm with 100 thresholds, of each point, then the mean",
        "f_score: of the mesh at 5 and 15 mm, the mean over the samples",
    ),
    score=score,
    submission=SubmissionForm(files=FILES, subset="test", needs_mesh=True, write=write_pred_json, read=read_pred_json),
)
"""FreiHAND's."""

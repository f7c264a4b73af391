"""The figures of the published table against recorded outputs, loops and invariances."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from hmr_core import metrics
from hmr_core.errors import HmrError
from hmr_core.geometry.rotations import axis_angle_to_matrix

GOLDEN = Path(__file__).parent / "data/golden"


@pytest.fixture(scope="module")
def golden() -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(array) for name, array in np.load(GOLDEN / "metrics.npz").items()}


@pytest.fixture(scope="module")
def errors(golden: dict[str, torch.Tensor]) -> metrics.SampleErrors:
    return metrics.sample_errors(*(golden[k] for k in ("pred_joints", "gt_joints", "pred_verts", "gt_verts")))


def test_the_five_figures_match_the_recorded_ones(errors: metrics.SampleErrors) -> None:
    recorded = json.loads((GOLDEN / "metrics.json").read_text())
    figures = metrics.summarise(errors)
    assert set(figures) == set(recorded) == set(metrics.METRICS)
    for name, value in recorded.items():
        assert figures[name] == pytest.approx(value, abs=1e-6 if name == "pck_auc_0_50mm" else 1e-3), name


def test_pck_curves_match_the_recorded_ones(errors: metrics.SampleErrors, golden: dict[str, torch.Tensor]) -> None:
    torch.testing.assert_close(metrics.PCK_THRESHOLDS_M, golden["thresholds"])
    torch.testing.assert_close(metrics.pck_curves(errors.joints), golden["pck_curve_per_joint"], atol=1e-6, rtol=0)
    torch.testing.assert_close(errors.joints.mean(0), golden["epe_per_joint"].double(), atol=1e-7, rtol=1e-5)


def test_pck_counts_an_error_on_a_threshold_as_within_it() -> None:
    threshold = metrics.PCK_THRESHOLDS_M[7]
    curve = metrics.pck_curves(threshold.expand(3, 21))
    assert curve[:, 6].eq(0).all()
    assert curve[:, 7].eq(1).all()


def test_auc_is_one_for_no_error_and_zero_beyond_the_range() -> None:
    assert metrics.pck_auc(torch.zeros(4, 21)) == pytest.approx(1)
    assert metrics.pck_auc(torch.full((4, 21), 0.051)) == 0


def test_pa_errors_are_zero_under_any_similarity_and_the_others_are_not(golden: dict[str, torch.Tensor]) -> None:
    joints, verts = golden["gt_joints"].double(), golden["gt_verts"].double()
    turn = axis_angle_to_matrix(torch.tensor([0.3, -1.0, 0.5], dtype=torch.float64))
    moved = [1.3 * points @ turn.T + 0.02 for points in (joints, verts)]
    errors = metrics.sample_errors(moved[0], joints, moved[1], verts)
    figures = metrics.summarise(errors)
    assert figures["pa_mpjpe_mm"] == pytest.approx(0, abs=1e-9)
    assert figures["pa_mpvpe_mm"] == pytest.approx(0, abs=1e-9)
    assert figures["mpjpe_mm"] is not None
    assert figures["mpjpe_mm"] > 50
    mirrored = torch.tensor([-1.0, 1, 1], dtype=torch.float64)
    aligned = metrics.summarise_aligned(metrics.sample_errors(joints * mirrored, joints, verts * mirrored, verts))
    rotation_only = aligned["pa_rotation_only"]["pa_mpjpe_mm"]
    assert rotation_only is not None
    assert rotation_only > 5
    assert aligned["pa_rotation_only"]["pa_mpvpe_mm"] is not None
    assert aligned["pa_rotation_only"]["pa_mpvpe_mm"] > 5


def test_aligned_figures_ignore_a_shift_of_the_whole_hand_and_count_everything_else(
    golden: dict[str, torch.Tensor],
) -> None:
    joints, verts = golden["gt_joints"].double(), golden["gt_verts"].double()
    shifted = metrics.sample_errors(joints + 0.1, joints, verts + 0.1, verts)
    aligned = metrics.summarise_aligned(shifted)
    for root in ("wrist", "mcp"):
        assert aligned[root]["mpjpe_mm"] == pytest.approx(0, abs=1e-9)
        assert aligned[root]["mpvpe_mm"] == pytest.approx(0, abs=1e-9)
        auc = aligned[root]["pck_auc_0_50mm"]
        assert auc is not None
        assert auc > 0.999  # not 1: rounding leaves some errors above the threshold 0
    moved = joints.clone()
    moved[:, 0, 0] += 0.021  # the wrist alone: with the wrists together, the twenty others are off by that much
    aligned = metrics.summarise_aligned(metrics.sample_errors(moved, joints))
    assert aligned["wrist"]["mpjpe_mm"] == pytest.approx(20.0)
    assert aligned["mcp"]["mpjpe_mm"] == pytest.approx(1.0)
    assert aligned["mcp"]["mpvpe_mm"] is None
    aligned = metrics.summarise_aligned(metrics.sample_errors(moved, joints, verts, verts))
    assert aligned["wrist"]["mpvpe_mm"] == pytest.approx(21.0)
    assert aligned["mcp"]["mpvpe_mm"] == pytest.approx(0, abs=1e-9)


def test_figures_of_parts_put_together_are_those_of_the_whole(
    errors: metrics.SampleErrors, golden: dict[str, torch.Tensor]
) -> None:
    names = ("pred_joints", "gt_joints", "pred_verts", "gt_verts")
    parts = [metrics.sample_errors(*(golden[k][s] for k in names)) for s in (slice(0, 5), slice(5, 37))]
    assert metrics.summarise(metrics.concatenate(parts)) == pytest.approx(metrics.summarise(errors))


def test_no_samples_have_no_figures() -> None:
    with pytest.raises(HmrError, match="no samples to score: the subset is empty"):
        metrics.concatenate([])


def test_without_a_mesh_the_mesh_figures_are_none(golden: dict[str, torch.Tensor]) -> None:
    figures = metrics.summarise(metrics.sample_errors(golden["pred_joints"], golden["gt_joints"]))
    assert [name for name, value in figures.items() if value is None] == ["mpvpe_mm", "pa_mpvpe_mm"]

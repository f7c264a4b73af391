"""The figures of the published table against recorded outputs, loops and invariances."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hmr_core import metrics
from hmr_core.errors import HmrError, UsageError
from hmr_core.geometry.rotations import axis_angle_to_matrix
from hmr_core.testing.golden import load_golden

GOLDEN = Path(__file__).parent / "data/golden"


@pytest.fixture(scope="module")
def golden() -> dict[str, torch.Tensor]:
    return load_golden(GOLDEN / "metrics.npz")


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


def test_errors_of_arrays_are_those_of_evaluation(
    golden: dict[str, torch.Tensor], errors: metrics.SampleErrors
) -> None:
    names = ("pred_joints", "gt_joints", "pred_verts", "gt_verts")
    given = [golden[name].numpy() for name in names]
    found = metrics.errors(*given)
    assert isinstance(found.mpjpe_mm, np.ndarray)
    assert found.metrics == metrics.summarise(errors)
    assert found.joints_mm.shape == (37, 21)
    for name, errors_m in (
        ("joints_mm", errors.joints),
        ("mpjpe_mm", errors.joints.mean(1)),
        ("wrist_mpjpe_mm", errors.wrist_joints.mean(1)),
        ("pa_mpjpe_mm", errors.pa_joints),
        ("mpvpe_mm", errors.verts),
        ("wrist_mpvpe_mm", errors.wrist_verts),
        ("pa_mpvpe_mm", errors.pa_verts),
    ):
        assert errors_m is not None
        np.testing.assert_allclose(getattr(found, name), errors_m.numpy() * 1000, rtol=1e-12, err_msg=name)
    assert found.mpjpe_mm.mean() == pytest.approx(found.metrics["mpjpe_mm"])
    assert np.array_equal(given[0], golden["pred_joints"].numpy())  # what is given stays as it is


def test_errors_of_tensors_are_tensors_without_gradients(golden: dict[str, torch.Tensor]) -> None:
    joints = golden["pred_joints"].clone().requires_grad_()
    found = metrics.errors(joints, golden["gt_joints"])
    assert found.mpvpe_mm is found.wrist_mpvpe_mm is found.pa_mpvpe_mm is None
    assert isinstance(found.pa_mpjpe_mm, torch.Tensor)
    assert not found.pa_mpjpe_mm.requires_grad
    assert found.metrics["mpjpe_mm"] == pytest.approx(float(found.mpjpe_mm.mean()))


def test_errors_keep_the_shape_of_the_batch(golden: dict[str, torch.Tensor]) -> None:
    joints, true = golden["pred_joints"][:6].numpy(), golden["gt_joints"][:6].numpy()
    flat = metrics.errors(joints, true)
    nested = metrics.errors(joints.reshape(2, 3, 21, 3), true.reshape(2, 3, 21, 3))
    assert nested.joints_mm.shape == (2, 3, 21)
    assert nested.pa_mpjpe_mm.reshape(6) == pytest.approx(flat.pa_mpjpe_mm)
    one = metrics.errors(joints[0], true[0])
    assert (one.mpjpe_mm.shape, one.joints_mm.shape) == ((), (21,))
    assert float(one.mpjpe_mm) == pytest.approx(flat.mpjpe_mm[0])


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_pck_counts_the_known_joints_alone(share: float) -> None:
    generator = torch.Generator().manual_seed(0)
    errors_m = 0.06 * torch.rand(40, 21, generator=generator, dtype=torch.float64)
    errors_m[1:][torch.rand(39, 21, generator=generator) > share] = torch.nan
    for joint, curve in enumerate(metrics.pck_curves(errors_m)):
        known = errors_m[:, joint][~errors_m[:, joint].isnan()]
        assert curve.tolist() == [float((known <= threshold).double().mean()) for threshold in metrics.PCK_THRESHOLDS_M]


def test_joints_that_are_not_known_count_for_nothing(golden: dict[str, torch.Tensor]) -> None:
    joints, true = golden["pred_joints"].numpy().copy(), golden["gt_joints"].numpy().copy()
    valid = np.ones((37, 21), dtype=bool)
    valid[3, [4, 8]] = False
    before = metrics.errors(joints, true)
    true[3, [4, 8]] = np.nan
    found = metrics.errors(joints, true, joints_valid=valid)
    assert np.isnan(found.joints_mm[3, [4, 8]]).all()
    assert found.mpjpe_mm[3] == pytest.approx(before.joints_mm[3, valid[3]].mean())
    assert found.mpjpe_mm[:3] == pytest.approx(before.mpjpe_mm[:3])
    assert found.pa_mpjpe_mm[3] <= found.mpjpe_mm[3]
    assert found.metrics["mpjpe_mm"] == pytest.approx(before.joints_mm[valid].mean())
    one = metrics.errors(joints[3], true[3], joints_valid=valid[3])
    assert float(one.pa_mpjpe_mm) == pytest.approx(found.pa_mpjpe_mm[3])
    with pytest.raises(
        UsageError, match=r"a ndarray of the shape \(37, 20\)\. Valid .*: a ndarray of the shape \(37, 21"
    ):
        metrics.errors(joints, true, joints_valid=valid[:, :20])
    with pytest.raises(UsageError, match="joints_valid is a Tensor of"):
        metrics.errors(joints, true, joints_valid=torch.from_numpy(valid))  # type: ignore[type-var]


JOINTS = np.random.default_rng(0).normal(size=(2, 21, 3))


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (
            (JOINTS[:, :20], JOINTS[:, :20]),
            "joints has the shape (2, 20, 3). Valid: (..., 21, 3), of one hand at least.",
        ),
        ((JOINTS[:0], JOINTS[:0]), "joints has the shape (0, 21, 3). Valid: (..., 21, 3), of one hand at least."),
        ((JOINTS, JOINTS[0]), "true_joints has the shape (21, 3), and joints (2, 21, 3). Both must be the same."),
        ((JOINTS, JOINTS, JOINTS), "verts and true_verts go together. Give both, or neither."),
        (
            (JOINTS, JOINTS, JOINTS[0], JOINTS[0]),
            "verts has the shape (21, 3). Valid beside these joints: (2, 'n', 3).",
        ),
        ((JOINTS, JOINTS, JOINTS, JOINTS[:, 1:]), "true_verts has the shape (2, 20, 3), and verts (2, 21, 3). Both "),
        (
            (JOINTS, torch.from_numpy(JOINTS)),
            "joints a ndarray, true_joints a Tensor. Give numpy arrays alone, or torch tensors alone.",
        ),
    ],
)
def test_what_are_no_hands_is_refused(given: tuple[Any, ...], text: str) -> None:
    with pytest.raises(UsageError) as raised:
        metrics.errors(*given)
    assert str(raised.value).startswith(text)


def test_errors_of_points_that_cannot_be_aligned_name_the_sample() -> None:
    broken = JOINTS.copy()
    broken[1, 3, 0] = np.nan
    with pytest.raises(HmrError, match="PA error of sample 1: the points of the prediction are not finite"):
        metrics.errors(broken, JOINTS)

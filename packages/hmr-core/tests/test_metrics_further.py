"""The metrics beside the published table's, each against loops in float64 that are written otherwise, invariances,
degenerate input and masks.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch

from hmr_core import metrics
from hmr_core.errors import HmrError, UsageError
from hmr_core.geometry.rotations import axis_angle_to_matrix

RANDOM = np.random.default_rng(3)
TRUE = RANDOM.normal(scale=0.04, size=(5, 21, 3)) + np.array([0.05, -0.02, 0.6])
JOINTS = TRUE + RANDOM.normal(scale=0.008, size=TRUE.shape)
MESH = RANDOM.normal(scale=0.03, size=(4, 90, 3)) + np.array([0, 0, 0.5])
PRED_MESH = MESH + RANDOM.normal(scale=0.006, size=MESH.shape)
TURN = axis_angle_to_matrix(torch.tensor([0.3, -1.0, 0.5], dtype=torch.float64)).numpy()


def distance(a: Any, b: Any) -> float:
    return math.sqrt(sum((float(x) - float(y)) ** 2 for x, y in zip(a, b, strict=True)))


def f_by_loops(pred: Any, true: Any, threshold_m: float) -> float:
    hit = sum(min(distance(p, t) for t in true) < threshold_m for p in pred) / len(pred)
    found = sum(min(distance(t, p) for p in pred) < threshold_m for t in true) / len(true)
    return 0.0 if hit + found == 0 else 2 * hit * found / (hit + found)


def test_f_scores_are_those_of_loops() -> None:
    pred, true = PRED_MESH[:2, :60], MESH[:2]  # of other numbers of points
    found = metrics.f_scores(pred, true, thresholds_mm=(5, 8, 15))
    expected = [[f_by_loops(p, t, limit) for limit in (0.005, 0.008, 0.015)] for p, t in zip(pred, true, strict=True)]
    np.testing.assert_allclose(found, expected, atol=1e-12)
    assert 0 < found[:, 0].min() < found[:, 1].min() < found[:, 2].min()


def test_f_scores_of_a_kind_and_shape() -> None:
    nested = metrics.f_scores(
        torch.from_numpy(PRED_MESH).reshape(2, 2, 90, 3), torch.from_numpy(MESH).reshape(2, 2, 90, 3)
    )
    assert nested.shape == (2, 2, 2)
    np.testing.assert_allclose(nested.reshape(4, 2).numpy(), metrics.f_scores(PRED_MESH, MESH))
    assert metrics.f_scores(PRED_MESH[0], MESH[0]).shape == (2,)


def test_f_scores_ignore_the_order_of_points_and_who_is_who() -> None:
    plain = metrics.f_scores(PRED_MESH, MESH)
    np.testing.assert_allclose(metrics.f_scores(PRED_MESH[:, ::-1].copy(), MESH), plain)
    np.testing.assert_allclose(metrics.f_scores(MESH, PRED_MESH), plain)
    moved, true = PRED_MESH @ TURN.T + 3, MESH @ TURN.T + 3  # rounding does not grow with where the hands are
    np.testing.assert_allclose(metrics.f_scores(moved, true), plain, atol=1e-12)


def test_f_scores_count_what_is_closer_than_a_threshold_and_not_what_is_as_far() -> None:
    true = np.zeros((1, 1, 3))
    pred = np.array([[[0.0, 0.0, 2.0**-8]]])  # 3.90625 mm, exactly
    found = metrics.f_scores(pred, true, thresholds_mm=(3.90625, 3.90626))
    assert found.tolist() == [[0, 1]]
    two = np.array([[[0.0, 0.0, 2.0**-8], [0.0, 0.0, -(2.0**-9)]]])  # one as far as the threshold, one closer
    for given in ((true, two), (two, true)):
        assert metrics.f_scores(*given, thresholds_mm=(3.90625,)).item() == pytest.approx(2 / 3)
    assert metrics.f_scores(pred + 1, true).tolist() == [[0, 0]]


def test_f_scores_are_sure_where_float32_is_not() -> None:
    """Distances are taken in float32 first, which at the size of a hand cannot tell a nanometre near 5 mm."""
    true = np.tile(np.arange(20)[:, None] * [0.01, 0, 0], (2, 1, 1))
    pred = true + np.array([[[0, 0.005 - 1e-9, 0]], [[0, 0.005 + 1e-9, 0]]])
    np.testing.assert_array_equal(metrics.f_scores(pred, true, thresholds_mm=(5,)), [[1], [0]])
    far = 1e22 * true  # whose squares are no numbers of float32
    np.testing.assert_array_equal(metrics.f_scores(far, far, thresholds_mm=(5,)), [[1], [1]])


def test_f_scores_of_many_meshes_are_those_of_each_alone_and_leave_the_threads_alone() -> None:
    pred, true = (np.tile(points, (12, 1, 1)) for points in (PRED_MESH, MESH))
    threads = torch.get_num_threads()
    found = metrics.f_scores(pred, true)
    np.testing.assert_array_equal(found, np.tile(np.concatenate([
        metrics.f_scores(p[None], t[None]) for p, t in zip(PRED_MESH, MESH, strict=True)
    ]), (12, 1)))  # fmt: skip
    assert torch.get_num_threads() == threads


def test_aligned_f_scores_ignore_a_similarity() -> None:
    found = metrics.f_scores(1.2 * MESH @ TURN.T + 0.1, MESH, aligned=True)
    np.testing.assert_array_equal(found, 1)
    assert metrics.f_scores(1.2 * MESH @ TURN.T + 0.1, MESH).max() < 0.9
    assert (metrics.f_scores(PRED_MESH + 0.1, MESH, aligned=True) >= metrics.f_scores(PRED_MESH, MESH) - 0.05).all()


def test_what_has_no_f_score_is_refused() -> None:
    with pytest.raises(
        UsageError, match=r"points has the shape \(4, 80, 3\), and true_points \(4, 90, 3\)\. Valid: .* aligned"
    ):
        metrics.f_scores(PRED_MESH[:, :80], MESH, aligned=True)
    with pytest.raises(UsageError, match=r"points has the shape \(4, 0, 3\)"):
        metrics.f_scores(PRED_MESH[:, :0], MESH)
    with pytest.raises(UsageError, match=r"points a ndarray, true_points a Tensor\. Give numpy arrays alone"):
        metrics.f_scores(PRED_MESH, torch.from_numpy(MESH))  # type: ignore[type-var]
    broken = PRED_MESH.copy()
    broken[1, 2, 0] = np.nan
    with pytest.raises(HmrError, match="points has numbers that are not finite"):
        metrics.f_scores(broken, MESH)
    with pytest.raises(HmrError, match="PA error of sample 0: the points of the prediction are all in one place"):
        metrics.f_scores(np.zeros_like(MESH), MESH, aligned=True)


def auc_by_loops(errors_mm: Any, low: float, high: float, steps: int) -> float:
    """Zimmermann's: for each joint the shares at the thresholds, then trapezoids over the range."""
    limits = [low + (high - low) * i / (steps - 1) for i in range(steps)]
    areas = []
    for joint in range(errors_mm.shape[1]):
        known = [e for e in errors_mm[:, joint] if not math.isnan(e)]
        shares = [sum(e <= limit for e in known) / len(known) for limit in limits]
        area = sum((limits[i + 1] - limits[i]) * (shares[i + 1] + shares[i]) / 2 for i in range(steps - 1))
        areas.append(area / (high - low))
    return sum(areas) / len(areas)


@pytest.mark.parametrize(("low", "high", "steps"), [(0, 50, 100), (0, 50, 20), (20, 50, 100), (0, 30, 31)])
def test_auc_is_that_of_loops(low: float, high: float, steps: int) -> None:
    errors_mm = RANDOM.gamma(2, 12, size=(40, 21))
    errors_mm[RANDOM.random(errors_mm.shape) < 0.2] = np.nan
    found = metrics.auc(errors_mm, low_mm=low, high_mm=high, steps=steps)
    assert found == pytest.approx(auc_by_loops(errors_mm, low, high, steps), abs=1e-12)


def test_auc_of_the_published_thresholds_is_the_published_auc() -> None:
    errors_m = torch.from_numpy(RANDOM.gamma(2, 0.012, size=(40, 21)))
    assert metrics.auc(1000 * errors_m, steps=20) == pytest.approx(metrics.pck_auc(errors_m), abs=1e-12)


def test_a_range_that_is_none_has_no_auc() -> None:
    errors_mm = np.ones((2, 21))
    for options in ({"low_mm": 50}, {"steps": 1}, {"low_mm": -1}):
        with pytest.raises(UsageError, match="Valid: two or more, from 0 mm or more to more"):
            metrics.auc(errors_mm, **options)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"errors_mm has the shape \(0, 21\)"):
        metrics.auc(errors_mm[:0])


def test_scale_and_root_are_taken_from_the_truth() -> None:
    """HO-3D's Sc-Tr, by loops, in OpenPose's order: the middle knuckle is joint 9, which is MANO's 4."""
    found = metrics.scale_root_errors_mm(JOINTS, TRUE)
    for hand, true, errors in zip(JOINTS, TRUE, found, strict=True):
        ratio = distance(true[9], true[0]) / distance(hand[9], hand[0])
        placed = [[(p[k] - hand[0][k]) * ratio + true[0][k] for k in range(3)] for p in hand]
        np.testing.assert_allclose(errors, [1000 * distance(p, t) for p, t in zip(placed, true, strict=True)])
    np.testing.assert_allclose(metrics.scale_root_errors_mm(0.3 * JOINTS - 2, TRUE), found, atol=1e-9)
    assert np.abs(metrics.scale_root_errors_mm(JOINTS @ TURN.T, TRUE) - found).max() > 1  # a rotation counts


def test_the_fitted_scale_is_the_best_one() -> None:
    found = metrics.scale_errors_mm(JOINTS, TRUE)
    p, g = JOINTS - JOINTS[:, :1], TRUE - TRUE[:, :1]

    def off(scales: Any) -> Any:
        return ((scales[:, None, None] * p - g) ** 2).sum((1, 2))

    squared = (found**2).sum(1) / 1e6
    for step in (-1e-3, 1e-3):
        best = np.array(
            [np.linalg.lstsq(a.reshape(-1, 1), b.reshape(-1), rcond=None)[0][0] for a, b in zip(p, g, strict=True)]
        )
        np.testing.assert_allclose(squared, off(best), rtol=1e-9)
        assert (off(best + step) > squared).all()
    np.testing.assert_allclose(metrics.scale_errors_mm(3 * JOINTS + 1, TRUE), found, atol=1e-9)
    at_knuckle = metrics.scale_errors_mm(JOINTS, TRUE, root=9)
    np.testing.assert_allclose(at_knuckle[:, 9], 0, atol=1e-9)
    assert at_knuckle[:, 0].min() > 0.1


def test_joints_that_are_not_known_scale_nothing() -> None:
    valid = np.ones((5, 21), dtype=bool)
    valid[1, [3, 4]], valid[2, 9], valid[3, 0] = False, False, False
    moved = JOINTS.copy()
    moved[1, [3, 4]] += 7
    for function in (metrics.scale_errors_mm, metrics.scale_root_errors_mm):
        found = function(moved, TRUE, valid=valid)
        assert np.isnan(found[1, [3, 4]]).all()
        assert np.isfinite(found[1, valid[1]]).all()
        assert np.isnan(found[3]).all()  # without its wrist there is no root
        np.testing.assert_allclose(found[[0, 4]], function(JOINTS, TRUE)[[0, 4]])
        with pytest.raises(UsageError, match=r"valid is a ndarray of the shape \(5, 20\)\. Valid .* \(5, 21\)"):
            function(JOINTS, TRUE, valid=valid[:, :20])
    assert np.isnan(metrics.scale_root_errors_mm(JOINTS, TRUE, valid=valid)[2]).all()
    kept = np.delete(np.arange(21), [3, 4])
    few = metrics.scale_errors_mm(JOINTS[1:2, kept], TRUE[1:2, kept])
    np.testing.assert_allclose(metrics.scale_errors_mm(moved, TRUE, valid=valid)[1, kept], few[0])


def test_hands_without_size_have_no_scale() -> None:
    assert np.isnan(metrics.scale_root_errors_mm(np.zeros_like(TRUE), TRUE)).all()
    assert np.isnan(metrics.scale_errors_mm(np.zeros_like(TRUE), TRUE)).all()


def test_mrrpe_is_that_of_loops() -> None:
    roots = RANDOM.normal(size=(4, 6, 3))
    found = metrics.mrrpe_mm(*roots)
    for i, error in enumerate(found):
        right, left, true_right, true_left = (root[i] for root in roots)
        gap = [(left[k] - right[k]) - (true_left[k] - true_right[k]) for k in range(3)]
        assert error == pytest.approx(1000 * math.hypot(*gap))
    np.testing.assert_allclose(metrics.mrrpe_mm(roots[0] + 1, roots[1] + 1, *roots[2:]), found)  # both moved alike
    assert isinstance(metrics.mrrpe_mm(*torch.from_numpy(roots)), torch.Tensor)
    with pytest.raises(UsageError, match=r"the roots have the shapes \(6, 3\), \(6, 2\)"):
        metrics.mrrpe_mm(roots[0], roots[1, :, :2], *roots[2:])


def test_pck_by_box_is_that_of_loops() -> None:
    true_px = RANDOM.uniform(0, 200, size=(6, 21, 2))
    pred_px, box_px = true_px + RANDOM.normal(scale=9, size=true_px.shape), RANDOM.uniform(60, 200, size=6)
    valid = RANDOM.random((6, 21)) < 0.8
    valid[5] = False
    found = metrics.pck_px(pred_px, true_px, box_px, valid=valid)
    for i, j in itertools.product(range(5), range(3)):
        limit = (0.05, 0.1, 0.15)[j] * box_px[i]
        within = [distance(pred_px[i, k], true_px[i, k]) <= limit for k in range(21) if valid[i, k]]
        assert found[i, j] == pytest.approx(sum(within) / len(within))
    assert np.isnan(found[5]).all()
    np.testing.assert_allclose(
        metrics.pck_px(3 * pred_px, 3 * true_px, 3 * box_px), metrics.pck_px(pred_px, true_px, box_px)
    )
    exact = metrics.pck_px(np.full((1, 1, 2), [8.0, 0]), np.zeros((1, 1, 2)), np.full(1, 64.0), shares=(0.125, 0.12))
    assert exact.tolist() == [[1, 0]]
    with pytest.raises(UsageError, match=r"box_px has the shape \(5,\)\. Valid beside these points: \(6,\)"):
        metrics.pck_px(pred_px, true_px, box_px[:5])


def test_accelerations_and_jitter_are_those_of_loops() -> None:
    frames = np.cumsum(RANDOM.normal(scale=0.01, size=(7, 4, 3)), axis=0)
    true = np.cumsum(RANDOM.normal(scale=0.01, size=(7, 4, 3)), axis=0)
    found = metrics.acceleration_errors(frames, true)
    assert found.shape == (5, 4)
    for t, point in itertools.product(range(5), range(4)):
        own, others = (
            [x[t, point, k] - 2 * x[t + 1, point, k] + x[t + 2, point, k] for k in range(3)] for x in (frames, true)
        )
        assert found[t, point] == pytest.approx(1000 * distance(own, others))
    restless = metrics.jitters(frames)
    assert restless.shape == (4, 4)
    for t, point in itertools.product(range(4), range(4)):
        third = [
            frames[t + 3, point, k] - 3 * frames[t + 2, point, k] + 3 * frames[t + 1, point, k] - frames[t, point, k]
            for k in range(3)
        ]
        assert restless[t, point] == pytest.approx(1000 * math.hypot(*third))
    # A second has fps frames: the squares and cubes of it, in metres.
    np.testing.assert_allclose(metrics.acceleration_errors(frames, true, fps=30), found / 1000 * 900)
    np.testing.assert_allclose(metrics.jitters(frames, fps=30), restless / 1000 * 27000)


def test_steady_motion_has_no_acceleration_error_and_few_frames_have_none() -> None:
    time = np.arange(6.0)[:, None, None]
    way = 0.1 * RANDOM.normal(size=(6, 21, 3))
    np.testing.assert_allclose(metrics.acceleration_errors(way + 0.02 * time + 5, way), 0, atol=1e-9)
    np.testing.assert_allclose(metrics.jitters(np.ones((6, 21, 3)) * time**2), 0, atol=1e-9)  # steady acceleration
    assert metrics.acceleration_errors(way[:2], way[:2]).shape == (0, 21)
    assert metrics.jitters(way[:3]).shape == (0, 21)
    with pytest.raises(UsageError, match=r"points has the shape \(21, 3\)\. Valid: \(frames, n, 3\)"):
        metrics.jitters(way[0])
    with pytest.raises(
        UsageError, match=r"points has the shape \(6, 21, 3\), and true_points has the shape \(5, 21, 3\)"
    ):
        metrics.acceleration_errors(way, way[1:])

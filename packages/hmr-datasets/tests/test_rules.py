"""The data sets' own scorers, each against a scorer in float64 written otherwise; all-zero predictions among others."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from numpy import ndarray

from hmr_core.hand.joints import MANO_TO_OPENPOSE
from hmr_core.plugins.official import Truth
from hmr_datasets.dexycb import rules as dexycb
from hmr_datasets.freihand import rules as freihand
from hmr_datasets.ho3d import rules as ho3d
from hmr_datasets.interhand import rules as interhand

RANDOM = np.random.default_rng(7)
N, V = 6, 778
PLACE = np.array([0.03, -0.05, 0.7])
JOINTS = (RANDOM.normal(scale=0.04, size=(N, 21, 3)) + PLACE).astype(np.float32)
VERTS = (RANDOM.normal(scale=0.03, size=(N, V, 3)) + PLACE).astype(np.float32)


def truth(**changes: Any) -> Truth:
    given: dict[str, Any] = {
        "joints": JOINTS,
        "joints_valid": np.ones((N, 21), dtype=bool),
        "verts": VERTS,
        "left": np.zeros(N, dtype=bool),
    }
    return Truth(**{**given, **changes})


def predicted(kind: str) -> tuple[ndarray, ndarray]:
    """Zeros, or points near the true ones, some of them mirrored."""
    if kind == "zero":
        return np.zeros_like(JOINTS), np.zeros_like(VERTS)
    joints = JOINTS + RANDOM.normal(scale=0.01, size=JOINTS.shape).astype(np.float32)
    verts = VERTS + RANDOM.normal(scale=0.01, size=VERTS.shape).astype(np.float32)
    joints[0], verts[0] = joints[0] * [-1, 1, 1], verts[0] * [-1, 1, 1]
    return joints, verts


def oracle_align(true: ndarray, points: ndarray) -> ndarray:
    """By the polar decomposition of the correlation, without an SVD: R = M (M^T M)^(-1/2), s = trace((M^T M)^(1/2))."""
    a, b = points - points.mean(0), true - true.mean(0)
    norms = [math.sqrt((x**2).sum()) + 1e-8 for x in (a, b)]
    a, b = a / norms[0], b / norms[1]
    correlation = a.T @ b
    if not a.any():
        return np.tile(true.mean(0), (len(points), 1))
    values, vectors = np.linalg.eigh(correlation.T @ correlation)
    root = vectors @ np.diag(np.sqrt(values)) @ vectors.T
    turn = correlation @ np.linalg.inv(root)
    return a @ turn * np.trace(root) * norms[1] + true.mean(0)


def oracle_mean_auc(pairs: list[tuple[ndarray, ndarray]]) -> tuple[float, float]:
    """The mean of the points' means, in metres, and of the areas, threshold by threshold."""
    errors = np.array([[math.dist(p, t) for p, t in zip(pred, true, strict=True)] for pred, true in pairs])
    limits = np.linspace(0, 0.05, 100)
    shares = np.array([(errors <= limit).mean(0) for limit in limits])  # thresholds, points
    areas = ((shares[1:] + shares[:-1]) / 2).sum(0) / 99
    return float(errors.mean(0).mean()), float(areas.mean())


def oracle_f(pred: ndarray, true: ndarray, limit: float) -> float:
    far = np.sqrt(((pred[:, None] - true[None]) ** 2).sum(-1))
    p, r = (far.min(1) < limit).mean(), (far.min(0) < limit).mean()
    return 0.0 if p + r == 0 else 2 * p * r / (p + r)


def oracle_mesh(verts: ndarray) -> dict[str, float]:
    wide, true = verts.astype(np.float64), VERTS.astype(np.float64)
    placed = [oracle_align(t, p) for t, p in zip(true, wide, strict=True)]
    found = {}
    for name, points in (("mesh", wide), ("mesh_al", placed)):
        mean, auc = oracle_mean_auc(list(zip(points, true, strict=True)))
        found |= {f"{name}_mean3d": 100 * mean, f"{name}_auc3d": auc}
    for limit in (5, 15):
        for name, points in (("f_score", wide), ("f_al_score", placed)):
            scores = [oracle_f(p, t, limit / 1000) for p, t in zip(points, true, strict=True)]
            found[f"{name}_{limit}"] = sum(scores) / N
    return found


def close(found: dict[str, float | None], expected: dict[str, float]) -> None:
    assert set(found) == set(expected)
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=1e-9), name


@pytest.mark.parametrize("kind", ["zero", "near"])
def test_freihand_is_scored_as_eval_py_does(kind: str) -> None:
    joints, verts = predicted(kind)
    wide, true = joints.astype(np.float64), JOINTS.astype(np.float64)
    pairs = list(zip(wide, true, strict=True))
    mean, auc = oracle_mean_auc(pairs)
    al_mean, al_auc = oracle_mean_auc([(oracle_align(t, p), t) for p, t in pairs])
    expected = {
        "xyz_mean3d": 100 * mean, "xyz_auc3d": auc, "xyz_al_mean3d": 100 * al_mean, "xyz_al_auc3d": al_auc,
        **oracle_mesh(verts),
    }  # fmt: skip
    close(freihand.RULES.score(truth(), joints, verts), expected)
    if kind == "zero":  # what the page of constants has for the real data has this form
        assert expected["xyz_mean3d"] == pytest.approx(100 * np.linalg.norm(true, axis=-1).mean())
        assert expected["f_al_score_15"] > expected["f_score_15"] == 0


@pytest.mark.parametrize("kind", ["zero", "near"])
def test_ho3d_is_scored_as_eval_py_does(kind: str) -> None:
    joints, verts = predicted(kind)
    # In its own frame and order, where its formulas stand.
    order = [MANO_TO_OPENPOSE.index(i) for i in range(21)]
    wide, true = (hands[:, order].astype(np.float64) * [1, -1, -1] for hands in (joints, JOINTS))
    pairs = list(zip(wide, true, strict=True))
    found = ho3d.RULES.score(truth(), joints, verts)
    expected = oracle_mesh(verts)
    kinds = {"xyz": pairs, "xyz_procrustes_al": [(oracle_align(t, p), t) for p, t in pairs]}
    if kind == "near":
        kinds["xyz_scale_trans_al"] = [
            ((p - p[0]) / math.dist(p[4], p[0]) * math.dist(t[4], t[0]) + t[0], t) for p, t in pairs
        ]
    else:  # hands without size
        assert (found.pop("xyz_scale_trans_al_mean3d"), found.pop("xyz_scale_trans_al_auc3d")) == (None, None)
    for name, placed in kinds.items():
        mean, auc = oracle_mean_auc(placed)
        expected |= {f"{name}_mean3d": 100 * mean, f"{name}_auc3d": auc}
    close(found, expected)


def test_a_single_hand_without_a_scale_leaves_ho3d_s_sc_tr_out() -> None:
    joints, verts = predicted("near")
    joints[3, 9] = joints[3, 0]  # its middle knuckle is at its wrist
    found = ho3d.RULES.score(truth(), joints, verts)
    assert [name for name, value in found.items() if value is None] == [
        "xyz_scale_trans_al_mean3d", "xyz_scale_trans_al_auc3d",
    ]  # fmt: skip


@pytest.mark.parametrize("kind", ["zero", "near"])
def test_dexycb_is_scored_as_its_toolkit_does(kind: str) -> None:
    joints, verts = predicted(kind)
    wide, true = joints.astype(np.float64), JOINTS.astype(np.float64)
    pairs = list(zip(wide, true, strict=True))
    kinds = {
        "absolute": pairs,
        "root_relative": [(p - p[0], t - t[0]) for p, t in pairs],
        "procrustes": [(oracle_align(t, p), t) for p, t in pairs],
    }
    expected = {}
    for name, placed in kinds.items():
        mean, auc = oracle_mean_auc(placed)
        expected |= {f"{name}_mpjpe_mm": 1000 * mean, f"{name}_auc": auc}
    close(dexycb.RULES.score(truth(left=np.arange(N) % 2 == 0), joints, verts), expected)


LEFT = np.array([False, True, False, True, False, True])
INTENTS = ["interacting", "interacting", "single", "single", "interacting", "interacting"]
IMAGES = ["a", "a", "b", "c", "d", "d"]


@pytest.mark.parametrize("kind", ["zero", "near"])
def test_interhand_is_scored_as_its_evaluate_does(kind: str) -> None:
    joints, _ = predicted(kind)
    wide, true = joints.astype(np.float64), JOINTS.astype(np.float64)
    valid = RANDOM.random((N, 21)) < 0.8
    valid[:, 0] = True
    valid[4, 0] = False  # its wrist: nothing of it is scored
    lists: dict[str, list[list[float]]] = {name: [[] for _ in range(42)] for name in ("all", "single", "interacting")}
    for i in range(N):
        for j in range(21):
            if valid[i, j] and valid[i, 0]:
                off = 1000 * math.dist(wide[i, j] - wide[i, 0], true[i, j] - true[i, 0])
                for name in ("all", INTENTS[i]):
                    lists[name][j + 21 * int(LEFT[i])].append(off)
    means = {
        name: float(np.mean([np.mean(of_joint) for of_joint in joints_ if of_joint])) for name, joints_ in lists.items()
    }
    expected: dict[str, Any] = {
        "mpjpe_mm": means["all"], "mpjpe_single_mm": means["single"], "mpjpe_interacting_mm": means["interacting"],
    }  # fmt: skip
    gap = (wide[1, 0] - wide[0, 0]) - (true[1, 0] - true[0, 0])  # of d, a wrist is not known
    labels = {"intent": INTENTS, "image": IMAGES}
    annotated = truth(joints_valid=valid, left=LEFT, labels=labels, root_given=False)
    close(interhand.RULES.score(annotated, joints, None), {**expected, "mrrpe_mm": 1000 * float(np.linalg.norm(gap))})
    given = interhand.RULES.score(truth(joints_valid=valid, left=LEFT, labels=labels), joints, None)
    assert given["mrrpe_mm"] is None
    alone = truth(joints_valid=valid, left=LEFT, labels={**labels, "image": list("abcdef")}, root_given=False)
    assert interhand.RULES.score(alone, joints, None)["mrrpe_mm"] is None


@pytest.mark.parametrize("rules", [freihand.RULES, ho3d.RULES])
def test_without_a_mesh_its_metrics_are_none(rules: Any) -> None:
    joints, verts = predicted("near")
    for found in (rules.score(truth(), joints, None), rules.score(truth(verts=None), joints, verts)):
        without = {name for name, value in found.items() if value is None}
        assert without == {name for name in found if name.startswith(("mesh", "f_"))}
        assert len(without) == 8

"""The losses and the lixel head by their definitions, in plain loops."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from hmr_core.nn.backbones.backbone import FeatureMap
from hmr_i2l.config import HeadConfig
from hmr_i2l.lixel import LixelHead, soft_argmax
from hmr_i2l.losses import edge_loss, normal_loss, point_loss

FACES = torch.tensor([[0, 1, 2], [2, 1, 3], [0, 4, 1]])


@dataclass
class Case:
    predicted: Tensor
    truth: Tensor
    visible: Tensor


@pytest.fixture
def case() -> Case:
    generator = torch.Generator().manual_seed(0)
    predicted, truth = (10 * torch.rand(2, 5, 3, dtype=torch.float64, generator=generator) for _ in range(2))
    visible = torch.ones(2, 5, dtype=torch.float64)
    visible[0, 3] = visible[1, 4] = 0
    return Case(predicted, truth, visible)


def minus(a: Any, b: Any) -> list[float]:
    return [float(p - q) for p, q in zip(a, b, strict=True)]


def length(v: list[float]) -> float:
    return math.sqrt(sum(c * c for c in v))


def unit(v: list[float]) -> list[float]:
    return [c / length(v) for c in v]


def test_the_point_loss_is_the_mean_over_all_coordinates(case: Case) -> None:
    total = 0.0
    for sample in range(2):
        for point in range(5):
            for axis in range(3):
                off = float(case.predicted[sample, point, axis] - case.truth[sample, point, axis])
                total += abs(off) * float(case.visible[sample, point])
    assert point_loss(case.predicted, case.truth, case.visible).item() == pytest.approx(total / 30)


def test_the_normal_loss_is_the_mean_over_all_faces_and_edges(case: Case) -> None:
    total = 0.0
    for sample in range(2):
        p, t = case.predicted[sample], case.truth[sample]
        for a, b, c in FACES.tolist():
            u, v = unit(minus(t[b], t[a])), unit(minus(t[c], t[a]))
            normal = unit([u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0]])
            seen = float(case.visible[sample, [a, b, c]].prod())
            for start, end in ((a, b), (a, c), (b, c)):
                edge = unit(minus(p[end], p[start]))
                total += seen * abs(sum(x * y for x, y in zip(edge, normal, strict=True)))
    found = normal_loss(case.predicted, case.truth, case.visible, FACES)
    assert found.item() == pytest.approx(total / (2 * 3 * 3))


def test_the_edge_loss_is_the_mean_over_all_faces_and_edges(case: Case) -> None:
    total = 0.0
    for sample in range(2):
        p, t = case.predicted[sample], case.truth[sample]
        for a, b, c in FACES.tolist():
            for start, end in ((a, b), (a, c), (b, c)):
                seen = float(case.visible[sample, start] * case.visible[sample, end])
                total += seen * abs(length(minus(p[end], p[start])) - length(minus(t[end], t[start])))
    assert edge_loss(case.predicted, case.truth, case.visible, FACES).item() == pytest.approx(total / (2 * 3 * 3))


def test_the_true_mesh_has_no_loss_but_rounding(case: Case) -> None:
    for loss in (normal_loss, edge_loss):
        assert loss(case.truth, case.truth, case.visible, FACES).item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_edges_of_no_length_leave_finite_losses_and_small_gradients(case: Case, dtype: torch.dtype) -> None:
    predicted = case.predicted.to(dtype)
    predicted[:, 1:3] = predicted[:, :1]
    truth = case.truth.to(dtype)
    truth[:, 4] = truth[:, 0]  # a face without a normal
    predicted.requires_grad_()
    visible = case.visible.to(dtype)
    total = normal_loss(predicted, truth, visible, FACES) + edge_loss(predicted, truth, visible, FACES)
    torch.autograd.backward(total)
    assert total.isfinite()
    assert predicted.grad is not None
    assert float(predicted.grad.abs().max()) < 1e5


def test_soft_argmax_is_the_expectation_of_the_index(case: Case) -> None:
    logits = case.predicted
    found = soft_argmax(logits)
    for sample in range(2):
        for point in range(5):
            weights = [math.exp(value) for value in logits[sample, point].tolist()]
            expected = sum(i * w for i, w in enumerate(weights)) / sum(weights)
            assert found[sample, point].item() == pytest.approx(expected)
    assert soft_argmax(logits.bfloat16()).dtype == torch.float32
    assert found.dtype == torch.float64


def test_each_axis_is_read_off_its_own_line_of_the_map() -> None:
    """With hand-made layers: x from the mean over the height, y from that over the width, z from the pooled feature."""
    head = LixelHead(FeatureMap(2, 32), 1, HeadConfig(channels=1, depth=3), init_std=0.1).eval().double()
    head.deconv = torch.nn.Sequential()  # the map itself, of one channel below
    for line in (head.conv_x, head.conv_y, head.conv_z_2):
        torch.nn.init.ones_(line[0].weight)
        torch.nn.init.zeros_(line[0].bias)
    plane = torch.tensor([[0.0, 3.0, 0.0], [0.0, 9.0, 6.0]], dtype=torch.float64)
    rows, columns = plane.mean(1), plane.mean(0)
    features = plane[None, None]
    head.conv_z_1 = torch.nn.Sequential(torch.nn.Conv1d(1, 3, 1, bias=False)).double()
    head.conv_z_1[0].weight.data = torch.tensor([[[1.0]], [[0.5]], [[2.0]]], dtype=torch.float64)
    with torch.no_grad():
        found = head(features)[0, 0]
    for axis, line in enumerate((columns, rows, plane.mean() * torch.tensor([1, 0.5, 2.0], dtype=torch.float64))):
        assert found[axis].item() == pytest.approx(soft_argmax(line[None, None]).item())

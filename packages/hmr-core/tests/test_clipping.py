"""Clipping of gradients: each tensor by itself, as published, and all of them together."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from hmr_core.plugins import ModelSpec
from hmr_core.plugins.recipes import TrainConfig, load_recipe
from hmr_core.training.clipping import clip, clip_each, clip_together, gradient_norms


@pytest.fixture
def network() -> torch.nn.Module:
    """Three tensors, the gradients of two of them: norms 3 and 4; one parameter has none."""
    made = torch.nn.ParameterDict({name: torch.nn.Parameter(torch.ones(1, 4)) for name in ("a", "b", "c")})
    made["a"].grad = torch.tensor([[3.0, 0, 0, 0]])
    made["b"].grad = torch.tensor([[0, 2.0, 2, 2]])
    made["b"].grad[0, 0] = 2
    return made


def norms(network: torch.nn.Module) -> dict[str, float]:
    return {name: float(norm) for name, norm in gradient_norms(network).items()}


def test_each_parameter_tensor_is_clipped_by_itself(small_spec: ModelSpec) -> None:
    model = small_spec.build(load_recipe(small_spec, "tiny").model)
    weight, bias = model.parameters()
    weight.grad, bias.grad = torch.full_like(weight, 3.0), torch.full_like(bias, 1e-3)
    clip_each(model, norms(model), 0.1)
    assert weight.grad.norm() == pytest.approx(0.1, rel=1e-4)
    assert torch.equal(bias.grad, torch.full_like(bias, 1e-3))  # its norm is below the limit


def test_clipping_each_is_the_published_code_s(network: torch.nn.Module) -> None:
    expected = {name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None}
    for gradient in expected.values():
        parameter = torch.nn.Parameter(torch.ones(1, 4))
        parameter.grad = gradient
        torch.nn.utils.clip_grad_norm_([parameter], 3.3)  # the first one is below it
    clip_each(network, norms(network), 3.3)
    for name, parameter in network.named_parameters():
        assert parameter.grad is None if name not in expected else torch.equal(parameter.grad, expected[name]), name


def test_all_gradients_are_clipped_by_one_factor(network: torch.nn.Module) -> None:
    clip_together(network, norms(network), 1.0)
    assert norms(network) == pytest.approx({"a": 0.6, "b": 0.8}, rel=1e-5)
    clip_together(network, norms(network), 2.0)  # they are below it
    assert norms(network) == pytest.approx({"a": 0.6, "b": 0.8}, rel=1e-5)


def test_clipping_together_is_pytorch_s(network: torch.nn.Module) -> None:
    expected = [parameter.grad.clone() for parameter in network.parameters() if parameter.grad is not None]
    parameters = [torch.nn.Parameter(torch.ones(1, 4)) for _ in expected]
    for parameter, gradient in zip(parameters, expected, strict=True):
        parameter.grad = gradient
    torch.nn.utils.clip_grad_norm_(parameters, 0.7)
    clip_together(network, norms(network), 0.7)
    ours = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
    assert all(torch.equal(a, b) for a, b in zip(ours, expected, strict=True))


@pytest.mark.parametrize(
    ("options", "left"),
    [
        ({}, {"a": 3, "b": 4}),
        ({"clip_norm": 1.0}, {"a": 1, "b": 1}),
        ({"clip_global_norm": 1.0}, {"a": 0.6, "b": 0.8}),
    ],
)
def test_a_recipe_says_how_gradients_are_clipped(
    network: torch.nn.Module, options: dict[str, Any], left: dict[str, float]
) -> None:
    clip(network, norms(network), TrainConfig(epochs=1, batch_size=1, **options))
    assert norms(network) == pytest.approx(left, rel=1e-5)

"""The optimizer: PyTorch's own to the bit, without the import of PyTorch's compiler."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable

import pytest
import torch
from torch import nn

from hmr_core.plugins.recipes import TrainConfig
from hmr_core.training.optimizer import Adam, AdamW, make_optimizer

OPTIONS = {"lr": 0.01, "weight_decay": 0.1, "fused": True}


def steps(make: Callable[..., torch.optim.Optimizer]) -> tuple[list[torch.Tensor], dict[str, object]]:
    """Six steps, the optimizer's state saved and loaded after the third."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))
    optimizer = make(network.parameters(), **OPTIONS)
    for number in range(6):
        if number == 3:
            state = optimizer.state_dict()
            optimizer = make(network.parameters(), **OPTIONS)
            optimizer.load_state_dict(state)
        optimizer.zero_grad(set_to_none=True)
        network(torch.randn(16, 4)).square().sum().backward()
        optimizer.step()
        assert torch.is_grad_enabled()
    return [parameter.detach() for parameter in network.parameters()], optimizer.state_dict()


@pytest.mark.parametrize(("own", "pytorchs"), [(Adam, torch.optim.Adam), (AdamW, torch.optim.AdamW)])
def test_steps_are_those_of_pytorch_to_the_bit(
    own: Callable[..., torch.optim.Optimizer], pytorchs: Callable[..., torch.optim.Optimizer]
) -> None:
    (ours, state), (theirs, expected) = steps(own), steps(pytorchs)
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
    assert str(state) == str(expected)


def test_weight_decay_is_decoupled_in_adamw_alone() -> None:
    """Without a gradient AdamW still shrinks a weight, by rate times decay; Adam takes the penalty for a gradient."""
    for name, left in (("adamw", 1 - 0.1 * 0.5), ("adam", 1 - 0.1)):
        network = nn.ParameterList([torch.ones(3)])
        config = TrainConfig(epochs=1, batch_size=1, optimizer=name, learning_rate=0.1, weight_decay=0.5)
        optimizer = make_optimizer(network, config)
        network[0].grad = torch.zeros(3)
        optimizer.step()
        assert network[0].tolist() == pytest.approx([left] * 3, rel=1e-5)


@pytest.mark.parametrize("kind", ["adam", "adamw"])
def test_weights_laid_out_pixel_by_pixel_take_the_same_steps_after_a_resume(kind: str) -> None:
    """The state comes from a file, row by row; the fused step reads parameter and state by their places in memory."""
    config = TrainConfig(epochs=1, batch_size=1, optimizer=kind, learning_rate=0.1, weight_decay=0.1)
    network = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
    torch.manual_seed(0)
    gradients = [[torch.randn_like(parameter) for parameter in network.parameters()] for _ in range(4)]

    def trained(*, resumed: bool) -> list[torch.Tensor]:
        torch.manual_seed(1)
        network = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
        optimizer = make_optimizer(network, config)
        for number, given in enumerate(gradients):
            if number == 2 and resumed:
                state = optimizer.state_dict()
                state["state"] = {
                    index: {key: value.contiguous() for key, value in values.items()}
                    for index, values in state["state"].items()
                }
                optimizer = make_optimizer(network, config)
                optimizer.load_state_dict(state)
            for parameter, gradient in zip(network.parameters(), given, strict=True):
                parameter.grad = gradient.clone()
            optimizer.step()
        return [parameter.detach() for parameter in network.parameters()]

    whole, resumed = trained(resumed=False), trained(resumed=True)
    assert all(torch.equal(a, b) for a, b in zip(whole, resumed, strict=True))


def test_steps_need_no_compiler() -> None:
    code = """
        import sys
        import torch
        from hmr_core.training.optimizer import Adam, AdamW

        for kind in (Adam, AdamW):
            weight = torch.nn.Parameter(torch.ones(3))
            optimizer = kind([weight], lr=0.1, fused=True)
            for _ in range(2):
                optimizer.zero_grad()
                weight.sum().backward()
                optimizer.step()
                optimizer.load_state_dict(optimizer.state_dict())
            print(weight.tolist() != [1, 1, 1], [name for name in ("torch._dynamo", "sympy") if name in sys.modules])
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "True []\nTrue []\n"

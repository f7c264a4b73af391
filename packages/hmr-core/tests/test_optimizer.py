"""The optimizer: PyTorch's own to the bit, without the import of PyTorch's compiler."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import torch

from hmr_core.training.optimizer import Adam

OPTIONS = {"lr": 0.01, "weight_decay": 0.1, "fused": True}


def steps(make: type[torch.optim.Adam]) -> tuple[list[torch.Tensor], dict[str, object]]:
    """Six steps, the optimizer's state saved and loaded after the third."""
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 2))
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


def test_steps_are_those_of_pytorch_to_the_bit() -> None:
    (ours, state), (theirs, expected) = steps(Adam), steps(torch.optim.Adam)
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
    assert str(state) == str(expected)


def test_steps_need_no_compiler() -> None:
    code = """
        import sys
        import torch
        from hmr_core.training.optimizer import Adam

        weight = torch.nn.Parameter(torch.ones(3))
        optimizer = Adam([weight], lr=0.1, fused=True)
        for _ in range(2):
            optimizer.zero_grad()
            weight.sum().backward()
            optimizer.step()
            optimizer.load_state_dict(optimizer.state_dict())
        print(weight.tolist() != [1, 1, 1], [name for name in ("torch._dynamo", "sympy") if name in sys.modules])
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "True []\n"

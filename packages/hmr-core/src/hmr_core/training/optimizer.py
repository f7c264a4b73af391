"""The optimizer: PyTorch's Adam, fused.

PyTorch wraps an optimizer's methods so that torch.compile leaves them alone, and their first call imports the whole
compiler (torch._dynamo, sympy): some seconds, half of a short run. Nothing is compiled here, so the methods are taken
as they are inside; what they compute is the same to the bit.
"""

from __future__ import annotations

import inspect

import torch


class Adam(torch.optim.Adam):
    """PyTorch's Adam (Kingma and Ba, 2015) without the wrappers of its methods."""

    add_param_group = inspect.unwrap(torch.optim.Optimizer.add_param_group)
    zero_grad = inspect.unwrap(torch.optim.Optimizer.zero_grad)
    state_dict = inspect.unwrap(torch.optim.Optimizer.state_dict)
    load_state_dict = inspect.unwrap(torch.optim.Optimizer.load_state_dict)
    step = torch.no_grad()(inspect.unwrap(torch.optim.Adam.step))

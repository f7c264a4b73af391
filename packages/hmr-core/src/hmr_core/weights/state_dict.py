"""Load weights (names to tensors) into a model, key by key and shape by shape."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from hmr_core.errors import HmrError
from hmr_core.shell import command_line


class Uninitialised(TorchFunctionMode):
    """Leave parameters uninitialised while it lasts, for a model whose weights are all loaded next.

    Random numbers would take time and then be overwritten. Nothing may be computed from parameters meanwhile.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = kwargs or {}
        if func in (Tensor.normal_, Tensor.uniform_) or getattr(func, "__module__", "") == "torch.nn.init":
            tensor = args[0] if args else given.get("tensor")
            if isinstance(tensor, nn.Parameter):  # buffers may not be in the state dict
                return tensor
        return func(*args, **given)


class Differences(NamedTuple):
    """How weights differ from a model's: names that are missing, unknown, of another shape, integers for floats."""

    missing: list[str]
    unknown: list[str]
    wrong: list[str]
    mixed: list[str]

    def __bool__(self) -> bool:
        return any(self)


def compare(own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> Differences:
    """Compare a state dict with a model's own."""
    shared = [key for key in own if key in state]
    return Differences(
        missing=[key for key in own if key not in state],
        unknown=[key for key in state if key not in own],
        wrong=[key for key in shared if own[key].shape != state[key].shape],
        # torch would copy integers into floats without a word
        mixed=[key for key in shared if own[key].is_floating_point() != state[key].is_floating_point()],
    )


def first_not_finite(own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> str | None:
    """Find the first tensor of a model that a fitting state dict would give NaN or an infinity; None for none."""
    for name, value in own.items():
        if value.is_floating_point() and value.numel():
            # The extremes pass NaN on; a mask of a large tensor would take memory.
            extremes = torch.stack(torch.aminmax(state[name].to(value.dtype)))
            if not extremes.isfinite().all():
                return name
    return None


def load_weights(model: nn.Module, state: Mapping[str, Tensor], *, source: str, model_name: str) -> None:
    """Copy a state dict into a model; HmrError names the first key that does not fit. source: the file's path."""
    own = model.state_dict()
    differences = compare(own, state)
    unfit = f'{source} does not fit the model "{model_name}":'
    show = f"`{command_line('hmr ckpt show', Path(source))}` says what it is."
    if differences.missing or differences.unknown:
        listed = "; ".join(
            f"{what} {keys[0]}" + (f" and {len(keys) - 1} more" if len(keys) > 1 else "")
            for what, keys in (("it lacks", differences.missing), ("it has the unknown", differences.unknown))
            if keys
        )
        raise HmrError(f"{unfit} {listed}. Is it a checkpoint of another model or recipe? {show}")
    if differences.wrong:
        key = differences.wrong[0]
        raise HmrError(
            f"{unfit} {key} has shape {tuple(state[key].shape)}, and the model wants {tuple(own[key].shape)}. "
            f"Is it a checkpoint of another recipe? {show}"
        )
    if differences.mixed:
        key = differences.mixed[0]
        given, wanted = (str(tensor.dtype).removeprefix("torch.") for tensor in (state[key], own[key]))
        raise HmrError(f"{unfit} {key} holds {given}, and the model wants {wanted}.")
    model.load_state_dict(dict(state))

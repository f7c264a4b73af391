"""Weights as files hold them, names to tensors, and how they get into a model: key by key and shape by shape."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from hmr_core.errors import HmrError

ZIP_MAGIC = b"PK\x03\x04"
"""How the files begin that torch has written since 1.6; those of before cannot be mapped into memory."""


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file; HmrError when it is damaged."""
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise HmrError(f"{path} cannot be read as safetensors: {error}") from error


def read_state_dict(path: Path, *, option: str = "--ckpt") -> dict[str, Tensor]:
    """The state dict of a file of torch's, by itself or under "model".

    Read by torch's weights_only unpickler: what names anything but tensors and plain containers is refused, and nothing
    in it runs. The tensors are the file's own pages where its format allows, so use them up before the file changes.
    option: what the path was given by, for the HmrError that says why there are none.
    """
    try:
        with path.open("rb") as file:
            begin = file.read(len(ZIP_MAGIC))
    except OSError as error:
        raise HmrError(f"{path} cannot be read: {error.strerror}.") from error
    try:
        held = torch.load(path, map_location="cpu", weights_only=True, mmap=begin == ZIP_MAGIC)
    except Exception as error:  # torch raises many types for a file that is not its own, or that wants to run code
        raise HmrError(
            f"{path} cannot be loaded as weights alone: {_reason(begin, error)}. {option} takes a run's folder, a "
            "checkpoint's folder, a model.safetensors, or a released file."
        ) from error
    state = held["model"] if isinstance(held, Mapping) and held.keys() == {"model"} else held  # as IKNet's file is
    if problem := _no_state_dict(state):
        raise HmrError(
            f'{path} does not hold a state dict (names to tensors), by itself or under "model", as released files do: '
            f"{problem}."
        )
    return dict(state)


class Uninitialised(TorchFunctionMode):
    """While it lasts, parameters are not initialised: for a model whose weights are all loaded next.

    Half the time of loading a large model would go into random numbers that are then overwritten.
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
    """In what names and shapes differ from a model's: missing and unknown names, and names of another shape."""

    missing: list[str]
    unknown: list[str]
    wrong: list[str]

    def __bool__(self) -> bool:
        return any(self)


def compare(own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> Differences:
    """How a state dict differs from a model's own."""
    return Differences(
        missing=[key for key in own if key not in state],
        unknown=[key for key in state if key not in own],
        wrong=[key for key in own if key in state and own[key].shape != state[key].shape],
    )


def load_weights(model: nn.Module, state: Mapping[str, Tensor], *, source: str, model_name: str) -> None:
    """Copy a state dict into a model; HmrError names the first key that is missing, unknown or of another shape."""
    own = model.state_dict()
    differences = compare(own, state)
    unfit = f'{source} does not fit the model "{model_name}":'
    show = f"`hmr ckpt show {source}` says what it is."
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
    for key, value in own.items():  # torch would copy integers into floats without a word
        if value.is_floating_point() != state[key].is_floating_point():
            given, wanted = (str(tensor.dtype).removeprefix("torch.") for tensor in (state[key], value))
            raise HmrError(f"{unfit} {key} holds {given}, and the model wants {wanted}.")
    model.load_state_dict(dict(state))


def _reason(begin: bytes, error: Exception) -> str:
    """Why torch could not load a file, in words. begin: its first bytes."""
    if named := re.search(r"GLOBAL (\S+)", str(error)):
        return f"it names {named[1]}, which is no tensor"
    if not begin:
        return "it is empty"
    return "it is a damaged or cut off file of torch's" if begin == ZIP_MAGIC else "it is no file of torch's"


def _no_state_dict(state: object) -> str:
    """Why something that a file holds is no state dict; empty if it is one."""
    if not isinstance(state, Mapping):
        return f"it holds a {type(state).__name__}"
    if not state:
        return "it is empty"
    for key, value in state.items():
        if not isinstance(key, str):
            return f"it has a {type(key).__name__} for a name"
        if not isinstance(value, Tensor):
            return f'its "{key}" is a {type(value).__name__}'
        if value.layout is not torch.strided or value.is_quantized or value.device.type != "cpu":
            return f'its "{key}" is a tensor without plain numbers'
    if all(key.startswith("module.") for key in state):
        return 'all its names begin with "module.", as torch.nn.DataParallel has them; save its .module.state_dict()'
    return ""

"""How a run computes: in which precision, in which layout, compiled or not; and what a device cannot."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from os import environ

import torch
from torch import nn

from hmr_core.errors import UsageError
from hmr_core.nn.float32 import float32_arithmetic
from hmr_core.plugins.recipes import TrainConfig

_DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}


@contextmanager
def network_precision(config: TrainConfig, device: torch.device) -> Iterator[None]:
    """Run the network within the block as train.precision says; what comes after it belongs outside."""
    dtype = _DTYPES.get(config.precision)
    with torch.autocast(device.type, dtype or torch.bfloat16, enabled=dtype is not None):
        yield


@contextmanager
def step_arithmetic(config: TrainConfig) -> Iterator[None]:
    """Do what is left in float32 as train.precision says, for a whole step, backward included."""
    with float32_arithmetic(tf32=config.precision == "tf32"):
        yield


def lay_out(model: nn.Module, config: TrainConfig) -> None:
    """Keep the weights of convolutions pixel by pixel in memory, where train.channels_last says so."""
    if config.channels_last:
        for parameter in model.parameters():
            if parameter.ndim == 4:
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)


def arithmetic_text(config: TrainConfig, processes: int = 1) -> str:
    """How a run computes, in a line: "float32, fused Adam, channels_last off, not compiled"."""
    said = [
        config.precision,
        {"adam": "fused Adam", "adamw": "fused AdamW"}[config.optimizer],
        f"channels_last {'on' if config.channels_last else 'off'}",
        "compiled" if config.compile else "not compiled",
    ]
    if processes > 1:
        said.append(f"batch norm {'over all processes' if config.sync_batch_norm else 'of each process by itself'}")
    return ", ".join(said)


def check_arithmetic(config: TrainConfig, device: torch.device, processes: int = 1) -> None:
    """UsageError for what a recipe asks for and the device cannot, with what it can instead."""
    lacks = _lacks(config.precision, device)
    if lacks:
        raise UsageError(
            f"train.precision={config.precision} cannot be used on {device}: {lacks}. Valid here: "
            f"{', '.join(one for one in ('float32', 'tf32', 'bfloat16', 'float16') if not _lacks(one, device))}."
        )
    if config.compile and (lacks := _compiler_lacks(device)):
        raise UsageError(f"train.compile=true cannot be used on {device}: {lacks}. Set train.compile=false.")
    if config.sync_batch_norm and processes > 1 and device.type != "cuda":
        raise UsageError(
            f"train.sync_batch_norm=true cannot be used on {device}: PyTorch gathers batch norm's statistics on GPUs "
            "alone. Set train.sync_batch_norm=false, or train by one process."
        )


def _lacks(precision: str, device: torch.device) -> str:
    """Why a device cannot compute in a precision; empty where it can."""
    if precision == "tf32" and not (device.type == "cuda" and _is_ampere(device)):
        return "TensorFloat-32 needs an NVIDIA GPU of the Ampere generation or a later one"
    if precision == "bfloat16" and device.type == "cuda" and not _is_ampere(device):
        return "it computes bfloat16 by way of float32, which is slower than float32 itself"
    if device.type == "mps":
        if precision == "bfloat16" and not torch.backends.mps.is_macos_or_newer(14, 0):
            return "bfloat16 needs macOS 14"
        if precision == "float16":
            return "PyTorch does not scale losses there"
    return ""


def _is_ampere(device: torch.device) -> bool:
    return torch.cuda.get_device_capability(device) >= (8, 0)


def _compiler_lacks(device: torch.device) -> str:
    """What torch.compile needs and does not find; empty where it finds all."""
    if device.type == "mps":
        return "PyTorch's compiler is not ready for it"
    if device.type == "cuda":
        return "" if find_spec("triton") else "Triton is not installed"
    compilers = [environ["CXX"]] if environ.get("CXX") else ["g++", "clang++"]
    return "" if any(map(shutil.which, compilers)) else f"there is no C++ compiler ({' or '.join(compilers)})"

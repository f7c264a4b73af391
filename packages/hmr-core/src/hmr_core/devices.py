"""Which device to run on."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from hmr_core.errors import Option, UsageError
from hmr_core.system import usable_cpus

if TYPE_CHECKING:
    import torch


def check_device_name(name: str | None) -> None:
    """UsageError for a name that no device has anywhere."""
    if name is not None and not re.fullmatch(r"cpu|cuda(:\d+)?|mps", str(name)):
        raise UsageError(f'unknown device "{name}". Valid: cpu, cuda, cuda:N, mps.')


def choose_device(name: str | None) -> torch.device:
    """Choose the named device, or the best: CUDA, then Apple's MPS, then the CPU; UsageError if it is not there."""
    check_device_name(name)
    import torch

    if name is None:
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0].split(". ")[0].rstrip(".")  # PyTorch may go on for pages
        raise UsageError(
            f'device "{name}" cannot be used here: {reason}.', Option("device", "cpu"), " always can."
        ) from error
    return device


def choose_workers(workers: int | None, device: torch.device) -> int:
    """Choose how many processes load data: as asked for, else up to 8 for an accelerator, and none on a busy CPU."""
    if workers is not None:
        return workers
    return 0 if device.type == "cpu" else min(8, usable_cpus())

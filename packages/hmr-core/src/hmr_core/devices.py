"""Which device to run on."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from hmr_core.errors import Option, UsageError
from hmr_core.processes import Place, place
from hmr_core.system import usable_cpus
from hmr_core.wording import counted

if TYPE_CHECKING:
    import torch


def check_device_name(name: str | None, where: Place | None = None) -> None:
    """UsageError for a name that no device has anywhere, or that one of several processes cannot be given.

    where: the process; by default this one.
    """
    if name is not None and not re.fullmatch(r"cpu|cuda(:\d+)?|mps", str(name)):
        raise UsageError(f'unknown device "{name}". Valid: cpu, cuda, cuda:N, mps.')
    where = where or place()
    if where.count > 1 and name not in (None, "cpu", "cuda"):
        why = "mps is one device" if name == "mps" else "each process gets a GPU of its own"
        raise UsageError(f'device "{name}" for {where.count} processes: {why}. Valid: cuda, cpu.')


def check_gpus(where: Place) -> None:
    """UsageError when there are fewer GPUs than processes on this machine."""
    import torch

    there = torch.cuda.device_count()
    if where.local_count > there:
        fewer = f" at most {there} of them, or" if there else ""
        raise UsageError(
            f"{counted(where.local_count, 'process')} on a machine with {counted(there, 'GPU')}: each needs a GPU of "
            f"its own. Valid:{fewer}",
            Option("device", "cpu"),
            " to run them on the CPU.",
        )


def choose_device(name: str | None, where: Place | None = None) -> torch.device:
    """Choose the named device, or the best: CUDA, then Apple's MPS, then the CPU; UsageError if it is not there.

    where: the process; by default this one. Of several, each gets the GPU of its number on its machine.
    """
    check_device_name(name, where)
    import torch

    where = where or place()
    if where.count > 1 and (name == "cuda" or (name is None and torch.cuda.is_available())):
        check_gpus(where)
        name = f"cuda:{where.local}"
    elif where.count > 1:
        return torch.device("cpu")
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


def choose_workers(workers: int | None, device: torch.device, where: Place | None = None) -> int:
    """Choose how many processes load data: as asked for, else up to 8 for an accelerator, and none on a busy CPU.

    where: the process that they load for; by default this one. Those of a machine share its CPUs.
    """
    if workers is not None:
        return workers
    where = where or place()
    return 0 if device.type == "cpu" else max(1, min(8, usable_cpus() // where.local_count))

"""`--gpus N`: the same command by N processes of this machine, as torchrun would start them."""

from __future__ import annotations

from hmr_core.cli.main import current_arguments
from hmr_core.devices import check_device_name, check_gpus
from hmr_core.errors import UsageError
from hmr_core.launcher import launch, launched
from hmr_core.processes import Place, place


def to_launch(gpus: int | None, max_restarts: int | None) -> Place | None:
    """The first place of those that are to be started; None where this process is to do the work."""
    if gpus is None:
        if max_restarts is not None:
            raise UsageError("--max-restarts is of the processes that --gpus starts, and there is no --gpus.")
        return None
    if launched():
        return None
    if (where := place()) != Place():
        raise UsageError(
            f"--gpus starts processes, and this is one of {where.count} already that torchrun started. Leave it out."
        )
    return Place(count=gpus, local_count=gpus)


def run_on_gpus(where: Place, device: str | None, max_restarts: int) -> None:
    """Start the processes for the command line of this one, and wait for their end.

    where: the first place. Raises UsageError where there are fewer GPUs, and the error of the process that failed.
    """
    check_device_name(device, where)
    if device != "cpu":
        check_gpus(where)
    launch(where.count, current_arguments(), max_restarts=max_restarts)

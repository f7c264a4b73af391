"""A process among those that were started together: its number, and what they say to each other.

torchrun starts N processes and tells each its place by the environment. They work on one task: the first of them alone
writes and speaks. What goes wrong in one of them is told to all (`Group.failure`), so that each ends by that error.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar, cast

from hmr_core.errors import HmrError, UsageError

if TYPE_CHECKING:
    import torch

T = TypeVar("T")

TIMEOUT_S = 600.0
"""How long processes wait for one that does not come, before they give up."""

_LAST_WORDS_S = 5.0
"""How long a process that lost another waits for what went wrong there."""

_FAILED, _STEP = "hmr/failed", "hmr/step/"
"""What the processes' common store keeps: what went wrong first, and how far each has come."""


@dataclass(frozen=True)
class Place:
    """The place of a process among `count` ones. local: among those of its machine. restarts: how often all of them
    were started again. launch: of all that one command started, the same after a restart; empty for a single process.
    """

    rank: int = 0
    count: int = 1
    local: int = 0
    local_count: int = 1
    restarts: int = 0
    launch: str = ""

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and speaks."""
        return self.rank == 0


def place() -> Place:
    """The place that torchrun's environment says; a single process where there is none. Needs no torch."""
    values = os.environ
    if int(values.get("WORLD_SIZE", "1")) == 1 and "TORCHELASTIC_RUN_ID" not in values:
        return Place()
    launch = values.get("TORCHELASTIC_RUN_ID", "none")
    return Place(
        rank=int(values.get("RANK", "0")),
        count=int(values.get("WORLD_SIZE", "1")),
        local=int(values.get("LOCAL_RANK", "0")),
        local_count=int(values.get("LOCAL_WORLD_SIZE", "1")),
        restarts=int(values.get("TORCHELASTIC_RESTART_COUNT", "0")),
        # torchrun calls every launch "none" unless it is told otherwise; its own process tells them apart.
        launch=f"{os.uname().nodename}-{os.getppid()}" if launch == "none" else launch,
    )


class PeerError(HmrError):
    """Another process failed: its error, or that it is gone or does not answer."""


class Group:
    """The processes of one task. A single one needs nobody: nothing is sent."""

    def __init__(self, place: Place = Place()) -> None:  # it is frozen
        self.place = place
        self._step = 0

    @property
    def rank(self) -> int:
        """The number of this process, from 0."""
        return self.place.rank

    @property
    def count(self) -> int:
        """How many processes there are."""
        return self.place.count

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and speaks."""
        return self.place.first

    def come(self, step: int) -> None:
        """Say how far this process is, for the error of those that wait for it in vain."""
        self._step = step
        if self.count > 1:
            _store().set(f"{_STEP}{self.rank}", str(step))

    def mean(self, values: torch.Tensor) -> torch.Tensor:
        """The mean over the processes of a tensor that each has, in place; on the device that it is on."""
        if self.count > 1:
            import torch.distributed

            torch.distributed.all_reduce(values)
            values /= self.count
        return values

    def most(self, value: int) -> int:
        """The largest of the numbers that the processes have."""
        if self.count == 1:
            return value
        import torch
        import torch.distributed

        tensor = torch.tensor([value])
        torch.distributed.all_reduce(tensor, torch.distributed.ReduceOp.MAX)
        return int(tensor)

    def gather(self, value: T) -> list[T]:
        """What each process has, in their order, on the first process; nothing on the others."""
        if self.count == 1:
            return [value]
        import torch.distributed

        values: list[Any] | None = [None] * self.count if self.first else None
        torch.distributed.gather_object(value, values)
        return cast("list[T]", values or [])

    def share(self, value: T) -> T:
        """What the first process has, on all of them."""
        if self.count == 1:
            return value
        import torch.distributed

        box: list[Any] = [value if self.first else None]
        torch.distributed.broadcast_object_list(box)
        return cast("T", box[0])

    def failure(self, error: Exception) -> HmrError | None:
        """The error that this process is to end by, where it is another than its own: what went wrong first.

        The first process to call it tells the others its own error, and is given None.
        """
        if self.count == 1:
            return None
        lost = _lost_peer(error)
        text = None if lost else f"{self.rank} {error}"
        try:
            found = _first_failure(text)
        except Exception:  # the store is gone with the process that kept it
            found = None
        if found is None:
            return PeerError(f"{lost} {self._missing()}") if lost else None
        rank, _, said = found.partition(" ")
        return None if int(rank) == self.rank else PeerError(f"process {rank}: {said}")

    def told(self) -> PeerError | None:
        """The error that another process has told of, or tells of within some seconds."""
        if self.count == 1:
            return None
        try:
            found = _first_failure(None)
        except Exception:  # the store is gone with the process that kept it
            return None
        rank, _, said = (found or "").partition(" ")
        return PeerError(f"process {rank}: {said}") if said and int(rank) != self.rank else None

    def _missing(self) -> str:
        """Which processes have not come as far as this one, as far as is known."""
        try:
            store = _store()
            steps = {
                rank: int(store.get(f"{_STEP}{rank}")) if store.check([f"{_STEP}{rank}"]) else 0
                for rank in range(self.count)
                if rank != self.rank
            }
        except Exception:
            return "The machine that the processes met on does not answer any more."
        behind = [f"process {rank} (last seen at step {step})" for rank, step in steps.items() if step < self._step]
        return (
            f"Not come to step {self._step}: {', '.join(behind)}." if behind else "None of them is known to be behind."
        )


@contextmanager
def joined(where: Place, device: torch.device, timeout_s: float = TIMEOUT_S) -> Iterator[Group]:
    """Meet the other processes, and part from them at the end; a single process meets nobody.

    NCCL carries what is on GPUs, gloo the rest. timeout_s: how long to wait for a process that does not come.
    An error in the block is told to the others, and raised as the one that came first (PeerError where that was
    another process's).
    """
    group = Group(where)
    if group.count == 1:
        yield group
        return
    import torch
    import torch.distributed

    if device.type == "cuda":
        torch.cuda.set_device(device)
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    torch.distributed.init_process_group(backend, timeout=timedelta(seconds=timeout_s))
    try:
        yield group
    except Exception as error:
        other = group.failure(error)
        if other is None:
            raise
        raise other from error
    finally:
        torch.distributed.destroy_process_group()


def check_shares(total: int, count: int, what: str) -> None:
    """UsageError where processes cannot have equal shares of something, with the numbers of processes that can."""
    if total % count:
        valid = ", ".join(str(number) for number in range(1, total + 1) if total % number == 0)
        raise UsageError(f"{what} of {total} cannot be shared by {count} processes equally. Valid: {valid}.")


def _store() -> Any:
    from torch.distributed import distributed_c10d

    return distributed_c10d._get_default_store()  # the one that torchrun's agent keeps


def _first_failure(text: str | None) -> str | None:
    """Tell the others of a failure, or without a text wait for theirs; the first that was told, None if none was."""
    store = _store()
    if text is not None:
        return cast("str", store.compare_set(_FAILED, "", text).decode("utf-8", "replace"))
    until = time.monotonic() + _LAST_WORDS_S
    while time.monotonic() < until:
        if store.check([_FAILED]):
            return cast("str", store.get(_FAILED).decode("utf-8", "replace"))
        time.sleep(0.1)
    return None


def _lost_peer(error: Exception) -> str | None:
    """What an error of gloo's or NCCL's says of another process; None for any other error."""
    for cause in _causes(error):
        name, text = type(cause).__name__, str(cause)
        if name not in ("RuntimeError", "DistBackendError", "DistNetworkError", "DistStoreError"):
            continue
        if re.search(r"[Tt]imed? ?out", text):
            return "another process did not come within the time that was allowed."
        if name != "RuntimeError" or re.search(r"gloo|Connection (closed|reset)|Broken pipe", text):
            return "another process ended, or was killed."
    return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    found: BaseException | None = error
    while found is not None:
        yield found
        found = found.__cause__

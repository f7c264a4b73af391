"""A process among those that were started together: its number, and what they say to each other.

torchrun starts N processes and tells each its place by the environment. They work on one task: the first of them alone
writes and speaks. What goes wrong in one of them is told to all (`Group.failure`), so that each ends by that error.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar, cast

from hmr_core.errors import HmrError, Option, UsageError

if TYPE_CHECKING:
    import torch

T = TypeVar("T")

TIMEOUT_S = 600.0
"""How long processes wait for one that does not come, before they give up."""

PATIENCE_S = 24 * 3600.0
"""How long those that predict wait for the slowest when they are done with their own shares, which may take hours."""

_LAST_WORDS_S = 5.0
"""How long a process that lost another waits for what went wrong there."""

_HERE, _FAILED, _STEP, _MISSES = "here/", "failed", "step/", "misses/"
"""What the processes' common store keeps: who is there, what went wrong first, how far each has come, and who misses
another one."""

_ASKS, _ANSWER, _HEARD = "hmr/asks/", "hmr/answer/", "hmr/heard/"
"""What it keeps before: who asks for the word of the meeting, the first process's answers, and who has heard it."""

_POLL_S = 0.05
"""How long the first process waits before it looks again who has come."""

_met: list[Any] = []
"""The stores of this process's meetings. A script may meet the others again, and must not find what was said before."""


@dataclass(frozen=True)
class Place:
    """The place of a process among `count` ones. local: among those of its machine. launch: of all that one command
    started, the same after a restart; empty for a single process, and on several machines where torchrun was given no
    name for it.
    """

    rank: int = 0
    count: int = 1
    local: int = 0
    local_count: int = 1
    launch: str = ""

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and speaks."""
        return self.rank == 0

    def share_of(self, work: Sequence[T]) -> Sequence[T]:
        """The pieces of work that are this process's, as many as any other's, or one more or less."""
        return work[self.rank :: self.count]


ALONE = Place()
"""The place of a single process."""


def place() -> Place:
    """The place that torchrun's environment says; a single process where there is none. Needs no torch."""
    values = os.environ
    count, local_count = int(values.get("WORLD_SIZE", "1")), int(values.get("LOCAL_WORLD_SIZE", "1"))
    if count == 1 and "TORCHELASTIC_RUN_ID" not in values:
        return ALONE
    launch = values.get("TORCHELASTIC_RUN_ID", "none")
    if launch == "none":  # as torchrun calls every one that it was given no name for
        # Its own process tells them apart; on several machines there are several, and nothing does.
        launch = f"{os.uname().nodename}-{os.getppid()}" if local_count == count else ""
    return Place(
        rank=int(values.get("RANK", "0")),
        count=count,
        local=int(values.get("LOCAL_RANK", "0")),
        local_count=local_count,
        launch=launch,
    )


class PeerError(HmrError):
    """Another process failed: its error, with the exit status that goes with it; or it is gone, or does not answer."""

    def __init__(self, message: str, *remedy: str | Option, exit_code: int = 1) -> None:
        super().__init__(message, *remedy)
        self.exit_code = exit_code


class Group:
    """The processes of one task; `joined` makes those of several. A single one needs nobody: nothing is sent."""

    def __init__(self, place: Place = ALONE, store: Any = None) -> None:
        self.place = place
        self._store = store  # torch's; what one sets, all can get

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
        if self.count > 1:
            self._store.set(f"{_STEP}{self.rank}", str(step))

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

    def copy_first(self, tensors: Iterable[torch.Tensor]) -> None:
        """Give the tensors of all processes, in place, what the first process's hold."""
        if self.count > 1:
            import torch.distributed

            for tensor in tensors:
                torch.distributed.broadcast(tensor, 0)

    def failure(self, error: Exception) -> HmrError | None:
        """The error that this process is to end by, where it is another than its own: what went wrong first.

        The first process to call it tells the others its own error, and is given None.
        """
        if self.count == 1:
            return None
        lost = _lost_peer(error)
        if not lost:
            with suppress(Exception):  # the store is gone with the process that kept it
                told = self._tell(error)
                # What all of them have found together, in the same words, is no other's error.
                return None if told["message"] == _message(error) else self._another_s(told)
            return None
        with suppress(Exception):  # as above
            self._store.set(f"{_MISSES}{self.rank}", "")
        return self.told() or PeerError(f"{lost}{self._missing()}.")  # meanwhile the others have missed it, too

    def told(self) -> PeerError | None:
        """The error that another process has told of, or tells of within some seconds."""
        if self.count == 1:
            return None
        until = time.monotonic() + _LAST_WORDS_S
        with suppress(Exception):  # as above
            while time.monotonic() < until:
                if self._store.check([_FAILED]):
                    return self._another_s(json.loads(self._store.get(_FAILED)))
                time.sleep(0.1)
        return None

    def _tell(self, error: Exception) -> dict[str, Any]:
        """Tell the others of an error, unless another was told before; gives the one that was told first."""
        remedy, exit_code = (error.remedy, error.exit_code) if isinstance(error, HmrError) else ((), 1)
        values = {
            "rank": self.rank,
            "message": _message(error),
            "remedy": [part if isinstance(part, str) else (part.name, _plain(part.value)) for part in remedy],
            "exit_code": exit_code,
        }
        told: dict[str, Any] = json.loads(self._store.compare_set(_FAILED, "", json.dumps(values)))
        return told

    def _another_s(self, told: dict[str, Any]) -> PeerError | None:
        """What was told, as this process's own error; None where it told that itself."""
        if told["rank"] == self.rank:
            return None
        remedy = [part if isinstance(part, str) else Option(*part) for part in told["remedy"]]
        return PeerError(f"process {told['rank']}: {told['message']}", *remedy, exit_code=told["exit_code"])

    def _missing(self) -> str:
        """Which processes are missed: those that do not miss another one themselves; with a colon before."""
        found = []
        with suppress(Exception):  # the store is gone with the process that kept it
            for rank in range(self.count):
                if not self._store.check([f"{_MISSES}{rank}"]):
                    key = f"{_STEP}{rank}"
                    step = int(self._store.get(key)) if self._store.check([key]) else None
                    seen = "" if step is None else f" (last seen at step {step})"
                    found.append(f"process {rank} of {self.count}{seen}")
        return f": {', '.join(found)}" if found else ""


@contextmanager
def joined(where: Place, device: torch.device, timeout_s: float = TIMEOUT_S) -> Iterator[Group]:
    """Meet the other processes, and part from them at the end; a single process meets nobody.

    NCCL carries what is on GPUs, gloo the rest. timeout_s: how long to wait for a process, at the meeting (no longer
    than TIMEOUT_S there) and wherever they exchange something. One that ends is missed at once.
    An error in the block is told to the others, and raised as the one that came first (PeerError where that was
    another process's). Raises HmrError where they do not meet.
    """
    if where.count == 1:
        yield Group(where)
        return
    import torch
    import torch.distributed
    from torch.distributed.distributed_c10d import PrefixStore

    if device.type == "cuda":
        torch.cuda.set_device(device)
    group, done = Group(where, _meet(where, min(timeout_s, TIMEOUT_S))), False
    try:
        torch.distributed.init_process_group(
            "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo",
            store=PrefixStore("torch", group._store),
            rank=where.rank,
            world_size=where.count,
            timeout=timedelta(seconds=timeout_s),
        )
        group.most(0)  # nobody goes on, and perhaps fails, while another one still connects, which would not notice
        yield group
        done = True
    except Exception as error:
        other = group.failure(error)
        if other is None:
            raise
        raise other from error
    finally:
        # NCCL parts from all together, and others may wait on their GPUs for what this process was to give. After an
        # error that is left to its end, at which PyTorch waits for nobody.
        if done or device.type != "cuda":
            with suppress(Exception):  # what it says of others that are gone must not hide the error
                torch.distributed.destroy_process_group()


def _meet(where: Place, timeout_s: float) -> Any:
    """A store that is of this meeting alone, once all processes are there; HmrError when they do not come."""
    from torch.distributed.distributed_c10d import PrefixStore
    from torch.distributed.rendezvous import rendezvous

    timeout, until = timedelta(seconds=timeout_s), time.monotonic() + timeout_s
    try:
        if not _met:
            (found,) = islice(rendezvous("env://", where.rank, where.count, timeout=timeout), 1)
            _met.append(PrefixStore(_word(found[0], where, until), found[0]))
        store = PrefixStore(f"hmr/{len(_met)}", _met[0])
        _met.append(store)
        store.set(f"{_HERE}{where.rank}", "")
        everybody = [f"{_HERE}{rank}" for rank in range(where.count)]
    except (RuntimeError, ValueError) as error:
        raise HmrError(
            f"process {where.rank} of {where.count} found no place to meet the others: {str(error).splitlines()[0]}. "
            "torchrun names one to all the processes that it starts."
        ) from error
    try:
        store.wait(everybody, timedelta(seconds=max(_POLL_S, until - time.monotonic())))
    except RuntimeError as error:
        with suppress(RuntimeError):
            missing = [rank for rank, here in enumerate(everybody) if not store.check([here])]
            raise HmrError(
                f"{where.count} processes were to meet, and after {timeout_s:g} s there is none with the number "
                f"{', '.join(map(str, missing))}."
            ) from error
        raise HmrError("the machine that the processes meet on does not answer any more.") from error
    return store


def _word(store: Any, where: Place, until: float) -> str:
    """A word that only these processes have, as the first of them says it.

    What had been started before, by the same launch, may have met in the same store, and nobody clears that. So each
    process asks under a name of its own, and the first answers until all have its word, whoever had asked before.
    """
    own = secrets.token_hex(8)
    if not where.first:
        store.set(f"{_ASKS}{where.rank}", own)
        with suppress(RuntimeError):  # the first process is not there, which is told of by whoever waits for it next
            store.wait([f"{_ANSWER}{own}"], timedelta(seconds=max(_POLL_S, until - time.monotonic())))
            word = cast("bytes", store.get(f"{_ANSWER}{own}")).decode()
            store.set(f"{_HEARD}{word}/{where.rank}", "")
            return word
        return own
    waiting = set(range(1, where.count))
    while waiting and time.monotonic() < until:
        for rank in tuple(waiting):
            if store.check([f"{_ASKS}{rank}"]):
                store.set(f"{_ANSWER}{store.get(f'{_ASKS}{rank}').decode()}", own)
            if store.check([f"{_HEARD}{own}/{rank}"]):
                waiting.remove(rank)
        time.sleep(_POLL_S)
    return own


def check_shares(total: int, count: int, what: str) -> None:
    """UsageError where processes cannot have equal shares of something, with the numbers of processes that can."""
    if total % count:
        valid = ", ".join(str(number) for number in range(1, total + 1) if total % number == 0)
        raise UsageError(f"{what} of {total} cannot be shared by {count} processes equally. Valid: {valid}.")


def _message(error: Exception) -> str:
    """What an error says, but for its remedy."""
    return error.message if isinstance(error, HmrError) else f"{type(error).__name__}: {error}"


def _plain(value: object) -> object:
    return value if value is None or value is True else str(value)


_OF_OTHERS = re.compile(r"remote|abort|time(d )?out|connection|peer", re.IGNORECASE)
"""What an error of NCCL's says where it is not this process's own, such as want of memory."""


_GLOO = r"\bgloo\b|timeout caused pair closure"
"""What gloo's errors say; the last one has no name where an earlier wait has given up on the same process."""


def _lost_peer(error: Exception) -> str | None:
    """What an error of gloo's or NCCL's says of another process; None for any other error."""
    for cause in _causes(error):
        name, text = type(cause).__name__, str(cause)
        of_torch = name in ("DistNetworkError", "DistStoreError") or (
            name == "DistBackendError" and _OF_OTHERS.search(text)
        )
        if of_torch or (name == "RuntimeError" and re.search(_GLOO, text, re.IGNORECASE)):
            late = re.search(r"time(d )?out", text, re.IGNORECASE)
            return f"another process {'did not come in time' if late else 'ended, or was killed'}"
    return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    found: BaseException | None = error
    while found is not None:
        yield found
        found = found.__cause__

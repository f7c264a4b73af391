"""Batches in a given order, by any number of worker processes."""

from __future__ import annotations

import multiprocessing
import signal
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from multiprocessing.process import BaseProcess
from typing import Any

import cv2
import numpy as np
import torch
from jaxtyping import Int64
from numpy import ndarray

from hmr_core.data.batch import Batch, BatchSource, Key
from hmr_core.data.mixture import Draw
from hmr_core.errors import HmrError, Option, out_of_memory
from hmr_core.interrupts import interrupts_held
from hmr_core.shared_memory import PLACE, clear_unfinished, shared_memory
from hmr_core.shell import command_line

_Wanted = tuple[int, list[Key]]
"""The place of a data set among those that are loaded, and the keys of a batch of it."""


def epoch_order(rows: Int64[ndarray, " n"], seed: int, epoch: int) -> Int64[ndarray, " n"]:
    """The rows in the order in which an epoch visits them: a function of its arguments alone."""
    return np.random.default_rng([seed, epoch]).permutation(rows)


def split_batches(rows: Int64[ndarray, " n"], batch_size: int, *, epoch: int = 0) -> list[list[Key]]:
    """The keys of consecutive batches."""
    return [[Key(epoch, int(row)) for row in rows[i : i + batch_size]] for i in range(0, len(rows), batch_size)]


def split_steps(
    rows: Int64[ndarray, " n"], batch_size: int, *, epoch: int, rank: int = 0, count: int = 1, parts: int = 1
) -> list[list[list[Key]]]:
    """The keys of one process's parts of consecutive batches; a last partial batch is dropped.

    rank, count: the process and how many share each batch. parts: that each share is cut into.
    """
    return split_keys([Key(epoch, row) for row in rows.tolist()], batch_size, rank=rank, count=count, parts=parts)


def draw_keys(draw: Draw) -> list[Key]:
    """The keys of samples that were drawn of several packs."""
    return [Key(*each) for each in zip(draw.turn.tolist(), draw.row.tolist(), draw.source.tolist(), strict=True)]


def split_keys(
    keys: Sequence[Key], batch_size: int, *, rank: int = 0, count: int = 1, parts: int = 1
) -> list[list[list[Key]]]:
    """One process's parts of consecutive batches of keys, as `split_steps` has them of rows."""
    size = batch_size // (count * parts)
    whole = [list(keys[i : i + size]) for i in range(0, len(keys) - len(keys) % batch_size, size)]
    steps = [whole[i : i + count * parts] for i in range(0, len(whole), count * parts)]
    return [step[rank * parts : (rank + 1) * parts] for step in steps]


class Loader:
    """Loads batches of a data set in a given order, always by the same worker processes.

    Workers start when they are first needed and end with the loader. workers: their number; 0 loads in this process.
    """

    def __init__(self, dataset: BatchSource, *, workers: int, device: torch.device) -> None:
        self.dataset, self.device = dataset, device
        self._team = _Team(workers, device)
        self._place = self._team.take_in(dataset)

    def beside(self, dataset: BatchSource) -> Loader:
        """A loader of another data set by the same processes; to be made before either loads. They load by turns."""
        other = copy(self)
        other.dataset, other._place = dataset, self._team.take_in(dataset)
        return other

    def load(self, batches: Sequence[list[Key]]) -> Iterator[Batch]:
        """The batches in order, on the device.

        Raises HmrError when samples cannot be read, whichever process read them, when shared memory is too small for
        the workers' batches, and when a worker died.
        """
        for batch in self._team.load([(self._place, keys) for keys in batches]):
            if isinstance(batch, HmrError):
                raise batch
            yield batch.to(self.device)


class _Team:
    """The processes that load, by torch's DataLoader; each has all of the data sets."""

    def __init__(self, workers: int, device: torch.device) -> None:
        self._datasets: list[BatchSource] = []
        self._batches: list[Any] = []
        self._processes: set[BaseProcess] = set()
        with _workers_uncounted():
            self._loader: torch.utils.data.DataLoader[Any] = torch.utils.data.DataLoader(
                _Reporting(self._datasets),
                batch_sampler=self._batches,
                collate_fn=_as_it_is,
                num_workers=workers,
                pin_memory=device.type == "cuda",
                worker_init_fn=_one_thread,
                persistent_workers=workers > 0,  # starting them takes seconds where they are not forked
                generator=torch.Generator(),  # its own: starting workers must not draw from the one that dropout uses
            )

    def take_in(self, dataset: BatchSource) -> int:
        """The place of a further data set among those that are loaded."""
        assert not self._processes, "workers that have started know no further data set"
        self._datasets.append(dataset)
        return len(self._datasets) - 1

    def load(self, batches: Sequence[_Wanted]) -> Iterator[Any]:
        """The batches, or the errors in their places."""
        self._batches[:] = batches
        with self._deaths_told():
            loaded = iter(self._loader) if self._processes else self._start()
        while True:
            with self._deaths_told():
                batch = next(loaded, None)
            if batch is None:
                return
            yield batch

    def _start(self) -> Iterator[Any]:
        """Begin to load for the first time: this is where workers are started."""
        others, handler = set(multiprocessing.active_children()), signal.getsignal(signal.SIGCHLD)
        with interrupts_held(), _workers_uncounted():
            _check_start(self._loader.num_workers)
            loaded = iter(self._loader)
        self._processes = set(multiprocessing.active_children()) - others
        if signal.getsignal(signal.SIGCHLD) is not handler:
            # By torch's own handler a worker's death raises wherever this process just is, in the middle of a step or
            # of writing a checkpoint. Without it, the death is seen, some seconds later, where the batch is missed.
            signal.signal(signal.SIGCHLD, handler or signal.SIG_DFL)
        return loaded

    @contextmanager
    def _deaths_told(self) -> Iterator[None]:
        """Whatever fails because a worker died is an HmrError."""
        try:
            yield
        except Exception as error:
            dead = [process for process in self._processes if not process.is_alive()]
            if not dead:
                raise
            again = command_line("hmr train", Option("resume", "RUN"))
            raise HmrError(
                f"a loading worker died ({_how(dead[0].exitcode or 0)}).",
                "If memory ran out, or shared memory (/dev/shm, small in containers), use fewer ",
                Option("workers"),
                "; with ",
                Option("workers", 0),
                f" a sample's fault shows itself. A training is saved as it was before, and goes on with `{again}`.",
            ) from error


class _Reporting(torch.utils.data.Dataset[Any]):
    """Data sets whose errors are values. A worker process would hand over their tracebacks as text instead."""

    def __init__(self, datasets: Sequence[BatchSource]) -> None:
        self._datasets = datasets

    def __getitems__(self, wanted: _Wanted) -> Batch | HmrError:
        place, keys = wanted
        dataset = self._datasets[place]
        try:
            return _shared(dataset.batch(keys))
        except HmrError as error:
            return error
        except Exception as error:
            if out_of_memory(error):
                return HmrError(
                    f"memory ran out while a batch of {len(keys)} samples was loaded ({error}).",
                    "Use a smaller ",
                    Option("batch_size"),
                    " or image_size (",
                    Option("set"),
                    "), or fewer ",
                    Option("workers"),
                    ".",
                )
            places = _places(dataset, keys)
            told = HmrError(
                f"samples of {' and '.join(places)} could not be loaded ({type(error).__name__}: {error}); they are "
                f"in the rows {' and '.join(places.values())}. The traceback: HMR_DEBUG=1."
            )
            told.add_note(traceback.format_exc())  # it gets through to another process, as a cause does not
            return told


def _places(dataset: BatchSource, keys: Sequence[Key]) -> dict[str, str]:
    """The rows of samples in words, by their packs' paths; of several packs, each with its path."""
    rows: dict[str, list[str]] = {}
    for key in keys:
        rows.setdefault(str(dataset.packs[key.source].path), []).append(str(key.row))
    return {path: ", ".join(own) + (f" of {path}" if len(rows) > 1 else "") for path, own in rows.items()}


_MORE_ROOM = (
    "Use fewer ",
    Option("workers"),
    " or a smaller ",
    Option("batch_size"),
    "; ",
    Option("workers", 0),
    f" needs no shared memory. A container is given more with `{command_line('docker run', Option('shm_size', '8g'))}` "
    f"or `{command_line('docker run', Option('ipc', 'host'))}`.",
)


@contextmanager
def _workers_uncounted() -> Iterator[None]:
    """Without torch's warning of more workers than cores: the command line says it in a line of its own."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "This DataLoader will create", UserWarning)
        yield


def _check_start(workers: int) -> None:
    """HmrError when there is no room for the queues of so many workers, which torch fails at untidily."""
    try:
        queues: list[Any] = [multiprocessing.Queue() for _ in range(workers + 3 if workers else 0)]
    except OSError as error:
        raise HmrError(f"{workers} loading workers cannot be started: {error}.", *_MORE_ROOM) from error
    del queues


def _shared(batch: Batch) -> Batch:
    """The batch, its tensors in shared memory already where a worker hands it over; HmrError when they have no room.

    The queue would do it, in a thread whose failure nobody hears of: the batch would be waited for for ever.
    """
    if torch.utils.data.get_worker_info() is not None:
        try:
            for tensor in batch.tensors():
                tensor.share_memory_()  # type: ignore[no-untyped-call]  # torch gives it no types
        except (RuntimeError, OSError) as error:
            clear_unfinished()
            room = shared_memory()
            there = "" if room is None else f" ({PLACE}: {room.size / 1e6:.1f} MB, {room.free / 1e6:.1f} MB of it free)"
            raise HmrError(
                f"shared memory{there} has no room for the batch of a loading worker: {error}.", *_MORE_ROOM
            ) from error
    return batch


def _how(exitcode: int) -> str:
    return f"killed by {signal.Signals(-exitcode).name}" if exitcode < 0 else f"with exit status {exitcode}"


def _as_it_is(batch: Any) -> Any:
    # The data set makes whole batches itself; the DataLoader has nothing to put together.
    return batch


def _one_thread(_: int) -> None:
    # One process a core: OpenCV's own threads would only compete with them.
    cv2.setNumThreads(0)

"""Encodes samples by several processes and gives them in order.

A worker gets ids through a pipe and answers each by itself, in their order. So the sample that a worker was at when it
died is the first that it has not answered; and a worker whose parent is gone, however that ended, reads the end of its
pipe and ends too.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections import deque
from collections.abc import Generator, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from multiprocessing.reduction import ForkingPickler

from hmr_core.data.pack.encode import Encoder
from hmr_core.data.pack.journal import EncodedSample
from hmr_core.data.pack.selection import reader_name
from hmr_core.errors import HmrError, Option
from hmr_core.interrupts import interrupts_held

SAMPLES_AHEAD = 8
"""How many samples a worker is given at a time, so that it never waits for the next."""

SAMPLES_HELD = 3 * SAMPLES_AHEAD
"""For each worker, how far the last sample given may be ahead of the first that is missing: bounds the memory."""


def encode_all(encoder: Encoder, ids: Sequence[str], workers: int) -> Generator[EncodedSample, None, None]:
    """The encoded samples in order, by this process or several.

    Raises HmrError naming the first sample, in the order of ids, that could not be encoded, after all before it were
    given; at once when a worker died, naming the sample that it was at; and when no workers can be started.
    """
    workers = min(workers, -(-len(ids) // SAMPLES_AHEAD))
    if workers <= 1:
        yield from map(encoder.encode, ids)
        return
    _check_picklable(encoder)
    team: list[_Worker] = []
    try:
        with interrupts_held():
            for _ in range(workers):
                try:
                    team.append(_Worker(encoder))
                except OSError as error:
                    raise HmrError(
                        f"could not start {workers} packing workers: {error}.", "Use fewer ", Option("workers"), "."
                    ) from error
        yield from _in_order(team, ids)
    finally:
        with interrupts_held():
            for worker in team:
                worker.stop()


def _check_picklable(encoder: Encoder) -> None:
    try:
        ForkingPickler.dumps(encoder)
    except Exception as error:  # pickling raises whatever the reader's parts do
        raise HmrError(
            f"the data set's reader {reader_name(encoder.reader)} cannot be sent to packing workers "
            f"({type(error).__name__}: {error}).",
            "A reader must be picklable; ",
            Option("workers", 1),
            " packs without.",
        ) from error


def _in_order(team: list[_Worker], ids: Sequence[str]) -> Generator[EncodedSample, None, None]:
    given = stored = 0
    results: dict[int, EncodedSample | HmrError] = {}
    while stored < len(ids):
        while given < min(len(ids), stored + SAMPLES_HELD * len(team)):
            freest = min(team, key=lambda worker: len(worker.rows))
            if len(freest.rows) == SAMPLES_AHEAD:
                break
            freest.give(given, ids)
            given += 1
        busy = {worker.connection: worker for worker in team if worker.rows}
        for connection in wait(list(busy)):
            assert isinstance(connection, Connection)
            row, result = busy[connection].take(ids)
            results[row] = result
        while stored in results:
            result = results.pop(stored)
            if isinstance(result, HmrError):
                raise result
            yield result
            stored += 1


class _Worker:
    """A process that encodes. rows: those of the ids that it was given and has not answered yet."""

    def __init__(self, encoder: Encoder) -> None:
        context = multiprocessing.get_context("spawn")  # not fork: the caller may run threads
        self.connection, theirs = context.Pipe()
        self.rows: deque[int] = deque()
        self._process: BaseProcess = context.Process(target=_work, args=(theirs, encoder), daemon=True)
        self._process.start()
        theirs.close()  # theirs alone: then its end is seen when it dies

    def give(self, row: int, ids: Sequence[str]) -> None:
        self.rows.append(row)
        try:
            self.connection.send(ids[row])
        except OSError as error:
            raise self._died(ids) from error

    def take(self, ids: Sequence[str]) -> tuple[int, EncodedSample | HmrError]:
        try:
            result = self.connection.recv()
        except (EOFError, OSError) as error:
            raise self._died(ids) from error
        return self.rows.popleft(), result

    def stop(self) -> None:
        self._process.terminate()  # it reads and computes: there is nothing to be lost
        self._process.join()
        self.connection.close()

    def _died(self, ids: Sequence[str]) -> HmrError:
        self._process.join()
        code = self._process.exitcode or 0
        how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"with exit status {code}"
        return HmrError(
            f"a packing worker died at sample {ids[self.rows[0]]} ({how}).",
            "If memory ran out, use fewer ",
            Option("workers"),
            "; with ",
            Option("workers", 1),
            " a fault of the sample shows itself.",
        )


def _work(connection: Connection, encoder: Encoder) -> None:
    import cv2
    import torch

    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    try:
        while True:
            sample_id = connection.recv()
            try:
                connection.send(encoder.encode(sample_id))
            except HmrError as error:
                connection.send(HmrError(error.message, *error.remedy))
    except (EOFError, OSError):
        return  # nobody is listening any more

"""Draws the frames of a synthetic data set, here or in several processes, which end with the one that wants them."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Generator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.synchronize import Event

import cv2
import torch

from hmr_core.data.synthetic.frames import Frames, write_frames
from hmr_core.errors import HmrError, Option
from hmr_core.interrupts import interrupts_held


def write_all(tasks: Sequence[Frames], workers: int) -> Generator[int]:
    """Write the frames of all tasks here or in worker processes; yields the images written by each as it ends.

    When it is closed, no process writes any more. Raises HmrError when one died.
    """
    if workers == 1:
        yield from map(write_frames, tasks)
        return
    context = multiprocessing.get_context("spawn")  # fork would copy the locks of torch's threads
    count = min(workers, len(tasks))
    try:
        stop = context.Event()
        executor = ProcessPoolExecutor(count, mp_context=context, initializer=_start_worker, initargs=(stop,))
    except OSError as error:  # their locks and queues are in shared memory, not where the data set goes
        raise HmrError(
            f"{count} worker processes cannot be started: {error}.", Option("workers", 1), " needs none."
        ) from error
    with executor as pool:
        try:
            with interrupts_held():  # the first task starts the processes: Ctrl-C is for this one to answer
                futures = [pool.submit(_write_wanted, task) for task in tasks]
            for future in as_completed(futures):
                yield future.result()
        except BrokenProcessPool as error:
            raise HmrError(
                "a worker process died, perhaps for want of memory. Try again with fewer workers."
            ) from error
        finally:
            # A second Ctrl-C would leave the pool's thread behind, and with it processes that wait for ever.
            with interrupts_held():
                stop.set()
                pool.shutdown(wait=True, cancel_futures=True)


_stop: Event | None = None
"""In a worker process: that its task is not wanted any more."""


def _start_worker(stop: Event) -> None:
    """One thread for each process, and none without the process that gives it tasks."""
    global _stop
    _stop = stop
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Wait for the parent's end, which a process that waits for tasks would not notice."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _write_wanted(task: Frames) -> int:
    """In a worker process: write a task's frames until it is told to stop."""
    return write_frames(task, wanted=lambda: _stop is None or not _stop.is_set())

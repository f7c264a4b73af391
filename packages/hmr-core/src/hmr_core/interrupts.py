"""Signals that ask a process to stop: held back while worker processes start, and heeded where work can be left."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from types import FrameType

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
"""Ctrl-C; what schedulers and shells end a process by; what Slurm can warn of a job's end by."""


class Stopped(KeyboardInterrupt):
    """Work was left in order, because of a signal. number: the signal's. told: whether the user was told already."""

    def __init__(self, number: int, *, told: bool = False) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.number, self.told = number, told


class StopRequest:
    """Whether a signal has asked to stop. number: the first one's; 0 where none has."""

    def __init__(self) -> None:
        self.number = 0

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Note a signal; the second one interrupts at once, wherever the process is."""
        if self.number:
            raise KeyboardInterrupt
        self.number = number


@contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Note signals that ask to stop, in place of what they would do. In a thread, which none reach, nothing changes."""
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {number: signal.signal(number, request) for number in STOPPING if _stops(signal.getsignal(number))}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _stops(handler: object) -> bool:
    """Whether a handler can be put back later, and does not ignore the signal: nohup's children ignore some."""
    return handler is not None and handler is not signal.SIG_IGN


@contextmanager
def interrupts_held() -> Iterator[None]:
    """Hold Ctrl-C back for a moment. Processes that start meanwhile never see one: this process handles it."""
    resource_tracker.ensure_running()  # started with the first process, it would let Ctrl-C through to the others
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

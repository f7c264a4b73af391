"""Ctrl-C while worker processes start."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker


@contextmanager
def interrupts_held() -> Iterator[None]:
    """Hold Ctrl-C back for a moment. Processes that start meanwhile never see one: this process handles it."""
    resource_tracker.ensure_running()  # started with the first process, it would let Ctrl-C through to the others
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

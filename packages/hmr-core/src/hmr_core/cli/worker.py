"""A command as one of several processes: the first alone speaks, and each leaves its error to what started them."""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from types import FrameType
from typing import NoReturn

from hmr_core.interrupts import Stopped
from hmr_core.launcher import WorkersFailedError, launched
from hmr_core.processes import PeerError, Place
from hmr_core.worker_error import WorkerError


@contextmanager
def as_worker(where: Place) -> Iterator[None]:
    """Run a command as the process of its place: only the first is heard, and SIGTERM ends it in order.

    Nothing changes for a single process.
    """
    if where.count == 1:
        yield
        return
    # Before torch is imported: what it warns of is no user's concern.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    with _sigterm_heeded(), warnings.catch_warnings():
        # Of images whose channels come last, gradients of 1 x 1 convolutions come otherwise than DDP keeps them.
        warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides", UserWarning)
        if where.first:
            yield
            return
        with (
            Path(os.devnull).open("w", encoding="utf-8") as nowhere,
            redirect_stdout(nowhere),
            redirect_stderr(nowhere),
        ):
            yield


def tell_error(text: str, status: int, error: Exception | None = None, *, trace: bool = False) -> None:
    """Say on stderr what went wrong, after its traceback if wanted, and leave it to what started this process.

    Where hmr itself started it with others, that says it, once for all of them.
    """
    shown = ""
    if trace and error is not None:
        theirs = error.trace if isinstance(error, WorkersFailedError) else ""
        shown = theirs or "".join(traceback.format_exception(error))
    WorkerError(text=text, status=status, trace=shown, of_another=isinstance(error, PeerError)).leave()
    if not launched():
        print(f"{shown}error: {text}", file=sys.stderr, flush=True)


@contextmanager
def _sigterm_heeded() -> Iterator[None]:
    """Let SIGTERM, by which processes are stopped when another one failed, clear up as Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    raise Stopped(number)

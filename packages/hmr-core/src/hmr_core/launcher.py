"""Several processes of one command on this machine, started by torch's own elastic engine, as torchrun starts them."""

from __future__ import annotations

import logging
import math
import os
import signal
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from hmr_core.errors import HmrError
from hmr_core.interrupts import STOPPING, Stopped
from hmr_core.system import usable_cpus
from hmr_core.worker_error import WorkerError, read_worker_error

if TYPE_CHECKING:
    from torch.distributed.elastic.multiprocessing.errors import ProcessFailure

LAUNCHED = "HMR_LAUNCHED"
"""The environment variable by which a process knows that hmr itself started it, with others."""

GRACE_S = 60
"""How long processes that are asked to stop have, to write a checkpoint, before they are killed."""

_PASSED_ON = (*STOPPING, signal.SIGHUP, signal.SIGQUIT)

_BY_US = (-signal.SIGTERM, 128 + signal.SIGTERM)
"""How processes end that are stopped because another one failed."""


class WorkersFailedError(HmrError):
    """One of the processes failed: its error, which it did not tell itself. trace: the traceback, if it left one."""

    def __init__(self, error: WorkerError) -> None:
        super().__init__(error.text)
        self.exit_code, self.trace = error.status, error.trace


def launched() -> bool:
    """Whether hmr itself started this process, with others."""
    return os.environ.get(LAUNCHED) == "1"


def launch(count: int, arguments: Sequence[str], *, max_restarts: int = 0) -> None:
    """Run the command line in so many processes of this machine, to its end.

    arguments: what comes after `hmr`. The first process speaks; the others are not heard. max_restarts: how often all
    are started again when one fails.
    Ctrl-C and SIGTERM are passed on, and Stopped is raised when the processes have ended. Raises WorkersFailedError
    with the error of the process that failed first, and HmrError for one that was killed.
    """
    with tempfile.TemporaryDirectory(prefix="hmr-") as folder, _environment(_settings(count)), _quiet():
        from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException, Std
        from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
        from torch.distributed.launcher.api import LaunchConfig, elastic_launch

        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=count,
            max_restarts=max_restarts,
            rdzv_backend="c10d",
            rdzv_endpoint="localhost:0",  # a free port
            run_id=Path(folder).name,
            local_addr="localhost",
            logs_specs=DefaultLogsSpecs(
                log_dir=folder,
                redirects=dict.fromkeys(range(1, count), Std.ALL),
            ),
        )
        # Not those that this process ignores: nohup's children outlive their terminal.
        heeded = [name.name for name in _PASSED_ON if signal.getsignal(name) is not signal.SIG_IGN]
        config.signals_to_handle = ",".join(heeded)
        before = {name: signal.getsignal(name) for name in _PASSED_ON}

        def stop(number: int, frame: FrameType | None) -> NoReturn:
            raise SignalException(f"stopped by {signal.Signals(number).name}", signal.Signals(number))

        try:
            for signal_name in heeded:  # torch does so, too, but later, and older versions with fewer
                signal.signal(signal.Signals[signal_name], stop)
            elastic_launch(config, sys.executable)(*_safe_path(), "-m", "hmr_core", *arguments)
        except SignalException as stopped:
            if error := _first_error(Path(folder)):
                raise WorkersFailedError(error) from None
            raise Stopped(stopped.sigval) from None
        except ChildFailedError as failed:
            raise _told(failed.failures, Path(folder)) from None
        finally:
            for name, handler in before.items():  # torch's engine leaves its own
                signal.signal(name, handler)


def _settings(count: int) -> dict[str, str]:
    """The environment of the processes, where it is not set otherwise."""
    return {
        "OMP_NUM_THREADS": str(max(1, usable_cpus() // count)),
        "TORCH_CPP_LOG_LEVEL": "ERROR",
        "TORCH_ELASTIC_SHUTDOWN_TIMEOUT": str(GRACE_S),
    }


@contextmanager
def _environment(defaults: Mapping[str, str]) -> Iterator[None]:
    """The environment with defaults, and with the sign of who started the processes, for a while."""
    before = dict(os.environ)
    os.environ.update({**defaults, **before, LAUNCHED: "1"})
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the lines that torch's engine logs: whatever matters of them is told as an error."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)


def _safe_path() -> list[str]:
    """The option that keeps this folder's files from being imported, unless this process imports them, too."""
    return [] if {"", str(Path.cwd())} & set(sys.path) else ["-P"]


def _first_error(folder: Path) -> WorkerError | None:
    """An error that one of the processes left since they were last started, and that is its own."""
    attempts = sorted(folder.glob("*/attempt_*"), key=lambda attempt: int(attempt.name.partition("_")[2]))
    found = (read_worker_error(path) for path in sorted(attempts[-1].glob("*/error.json"))) if attempts else ()
    return next((error for error in found if error is not None and not error.of_another), None)


def _told(failures: Mapping[int, ProcessFailure], folder: Path) -> HmrError:
    """The error of the process that failed first, and not because of another one."""
    left = {rank: read_worker_error(Path(failure.error_file)) for rank, failure in failures.items()}

    told = [failures[rank].timestamp for rank, error in left.items() if error is not None]

    def blame(rank: int) -> tuple[bool, bool, bool, int]:
        error, failure = left[rank], failures[rank]
        # One that hangs is killed for that, when the others have given it up and it did not end when it was asked to.
        given_up = failure.exitcode == -signal.SIGKILL and min(told, default=math.inf) < failure.timestamp
        of_another = error is not None and error.of_another
        return given_up, of_another, failure.exitcode in _BY_US, failure.timestamp

    rank = min(failures, key=blame)
    error, failure = left[rank], failures[rank]
    if error is not None:
        return WorkersFailedError(error)
    said = _last_line(folder, rank)
    if failure.exitcode < 0:
        name = failure.signal_name()
        memory = " (out of memory?)" if name == "SIGKILL" else ""
        return HmrError(f"process {rank} was killed by {name}{memory}.{said}")
    return HmrError(f"process {rank} ended with exit status {failure.exitcode}.{said}")


def _last_line(folder: Path, rank: int) -> str:
    """What a process that is not heard said last on stderr, with a space before."""
    files = sorted(folder.glob(f"*/attempt_*/{rank}/stderr.log"))
    lines = files[-1].read_text(encoding="utf-8", errors="replace").split("\n") if files else []
    return next((f" It said last: {line.strip()}" for line in reversed(lines) if line.strip()), "")

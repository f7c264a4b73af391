"""The folder of a sweep: where the runs of its trials are, and which of them a process works on.

SWEEP/trial-0007/    the run of trial 7
SWEEP/study.db       Optuna's study, unless the sweep names another storage
SWEEP/sweep.csv      the table of trials
SWEEP/.locks/        what processes know each other by: a trial whose lock is free is nobody's
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hmr_core.errors import HmrError, Option
from hmr_core.own_locks import close_lock, open_to_lock

STUDY, TABLE = "study.db", "sweep.csv"
_LOCKS = ".locks"
_ANOTHER = ("Choose another folder with ", Option("out"), ".")


class SweepFolder:
    """A sweep's folder, shared by all processes that work on the sweep."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def study(self) -> Path:
        """The file of the study."""
        return self.path / STUDY

    @property
    def table(self) -> Path:
        """The table of trials."""
        return self.path / TABLE

    def trial(self, number: int) -> Path:
        """The folder of a trial's run."""
        return self.path / f"trial-{number:04d}"

    def make(self) -> None:
        """Make the folder, where it is not there; HmrError where it cannot be made."""
        try:
            (self.path / _LOCKS).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise HmrError(f"the sweep's folder {self.path} cannot be made: {error.strerror}.", *_ANOTHER) from error

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep the choice of trials to this process for as long as the block lasts, and wait until that can be had."""
        lock = self._take(self.path / _LOCKS / "study", wait=True)
        assert lock is not None
        with lock:
            yield

    def take_trial(self, number: int) -> Lock | None:
        """Keep a trial to this process; None while another process has it, or looks whether one has."""
        return self._take(self._lock_path(number), wait=False)

    def is_taken(self, number: int) -> bool:
        """Whether a process works on a trial; True where that cannot be known."""
        try:
            with self._lock_path(number).open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except OSError:
            return True
        return False

    def _lock_path(self, number: int) -> Path:
        return self.path / _LOCKS / self.trial(number).name

    def _take(self, path: Path, *, wait: bool) -> Lock | None:
        try:
            file = open_to_lock(path)
        except OSError as error:
            raise HmrError(f"{path} cannot be written to: {error.strerror}.", *_ANOTHER) from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            close_lock(file)
            return None
        except OSError as error:
            close_lock(file)
            raise HmrError(
                f"{self.path} is on a file system without locks ({error.strerror}), by which the processes of a sweep "
                "know each other.",
                *_ANOTHER,
            ) from error
        except BaseException:  # Ctrl-C while it waited
            close_lock(file)
            raise
        return Lock(file)


class Lock:
    """A lock that this process has. It ends with the process, whatever ends that. file: its descriptor."""

    def __init__(self, file: int) -> None:
        self._file = file

    def free(self) -> None:
        """Let others have it."""
        close_lock(self._file)

    def __enter__(self) -> None: ...

    def __exit__(self, *raised: object) -> None:
        self.free()

"""A training run on disk.

RUN/config.json      the model, the whole recipe, the data, versions, and how the run was started
RUN/metrics.jsonl    what was measured, a line each
RUN/train.log        what was said; locked by the process that trains
RUN/checkpoints/     a folder for each checkpoint that is kept (weights/checkpoint_folders)
"""

from __future__ import annotations

import fcntl
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import count, takewhile
from pathlib import Path
from typing import BinaryIO

from hmr_core.errors import HmrError, Option
from hmr_core.files import open_regular
from hmr_core.own_locks import close_lock, open_to_lock
from hmr_core.plugins.recipes import TrainConfig
from hmr_core.plugins.run import CONFIG, LOG, Run
from hmr_core.processes import place
from hmr_core.shell import command_line, flag
from hmr_core.training.run_metrics import check_usable, is_reported
from hmr_core.training.stopping import stopped_early
from hmr_core.weights.checkpoint_folders import ends_epoch, epoch_of, newest_checkpoint, run_checkpoints
from hmr_core.weights.run_record import write_run
from hmr_core.wording import counted

_LOOK_S = 0.5
"""Longer than anybody takes to look whether a run is being trained."""

_ANOTHER = ("Choose another with ", Option("out"), ".")


@contextmanager
def new_run(run: Run) -> Iterator[None]:
    """Make the run's folder, and keep it to this process; after an error before anything was said, it is gone again.

    A run that ended before its first checkpoint does not keep its folder from a new one; its log goes on.
    Raises HmrError when there is a run with a checkpoint, or anything else, and while another process trains it.
    """
    made = not run.folder.exists()
    check_free(run.folder, run.model)
    try:
        run.checkpoints.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise HmrError(f"the run's folder {run.folder} cannot be made: {error}.", *_ANOTHER) from error
    with locked(run):
        _check_untrained(run.folder, run.model)  # again: another process may have trained it to an end meanwhile
        try:
            write_run(run)
            yield
        except BaseException:
            with suppress(OSError):  # of a folder that was moved away meanwhile, or a disk that is gone
                if made and run.log.stat().st_size == 0:
                    shutil.rmtree(run.folder)
            raise


def check_batch(split: str, config: TrainConfig, samples: int, *, limited: bool = False) -> None:
    """HmrError when a subset, or what a run takes of it (limited), has fewer samples than a batch."""
    if samples < config.batch_size:
        has = "is limited to" if limited else "has"
        raise HmrError(
            f"{split} {config.subset} {has} {counted(samples, 'sample')}, fewer than a batch of {config.batch_size}.",
            "Use a smaller ",
            Option("batch_size"),
            ".",
        )


def check_free(folder: Path, model: str) -> None:
    """HmrError when a new run of a model cannot have this folder."""
    if folder.exists() and not folder.is_dir():
        raise HmrError(f"{folder} is a file, so it cannot be a run's folder.", *_ANOTHER)
    if _is_run(folder):
        if is_being_trained(folder):
            raise HmrError(
                f"{folder} is being trained by another process.",
                "Wait for it, stop it, or choose another folder with ",
                Option("out"),
                ".",
            )
        _check_untrained(folder, model)
    elif folder.exists() and any(folder.iterdir()):
        raise HmrError(f"{folder} exists, is not empty and is no run.", *_ANOTHER)


def _check_untrained(folder: Path, model: str) -> None:
    if run_checkpoints(folder):
        raise HmrError(
            f"{folder} is a run already.",
            f"Go on with it by `{_resume(model, folder)}`, delete it, or choose another folder with ",
            Option("out"),
            ".",
        )


def resume_command(run: Run, *more: Option) -> str:
    """The command that goes on with a run, in as many processes. more: what it is to be given besides."""
    where = place()
    if where.local_count < where.count:  # of several machines
        return f"torchrun, as it was started, with -m hmr_core train {flag(Option('resume', run.folder))}"
    several = [] if run.processes == 1 else [Option("gpus", run.processes)]
    return _resume(run.model, run.folder, *several, *more)


def _resume(model: str, folder: Path, *more: Option) -> str:
    return command_line("hmr train", model, Option("resume", folder), *more)


def is_finished(run: Run) -> bool:
    """Whether the last of a run's epochs has its checkpoint and its figures; a run may stop before all are done."""
    newest = newest_checkpoint(run.checkpoints)
    if newest is None or not ends_epoch(newest) or not is_reported(run, epoch_of(newest)):
        return False
    return epoch_of(newest) == run.recipe["train"]["epochs"] or stopped_early(run) is not None


def run_name(model: str, split: str, recipe: str, limits: Mapping[str, int]) -> str:
    """What a run is called where nobody says: integral-sp0-tiny, or integral-sp0-tiny-overfit-8."""
    return "-".join([model, split, recipe, *(f"{name}-{number}" for name, number in limits.items())])


def default_folder(name: str, parent: Path = Path("runs")) -> Path:
    """A folder under runs/ that is not taken: runs/NAME, then ...-2, ...-3.

    A run that ended before its first checkpoint does not take its name.
    """
    return next(folder for folder in _folders(name, parent) if not folder.exists() or _may_be_taken(folder))


def taken_folders(name: str, parent: Path = Path("runs")) -> list[Path]:
    """The folders under runs/ of runs that are called so, oldest first."""
    return list(takewhile(Path.exists, _folders(name, parent)))


def _folders(name: str, parent: Path) -> Iterator[Path]:
    return (parent / (name if number == 1 else f"{name}-{number}") for number in count(1))


def _may_be_taken(folder: Path) -> bool:
    """Whether there is a run that ended before its first checkpoint."""
    return _is_run(folder) and not run_checkpoints(folder) and not is_being_trained(folder)


def is_being_trained(folder: Path) -> bool:
    """Whether a process trains the run in a folder: whether it holds the log's lock."""
    try:
        with open_regular(folder / LOG) as file:
            return not _lock(file, fcntl.LOCK_SH)  # shared: several may look at once, and without leave to write
    except OSError:  # it is not there, or cannot be read
        return False


def _is_run(folder: Path) -> bool:
    return (folder / CONFIG).is_file()


@contextmanager
def locked(run: Run, wait_s: float = 0.0) -> Iterator[None]:
    """Keep a run to this process; HmrError while another one trains it. The lock ends with the process.

    wait_s: how long to wait for the other one to end.
    """
    path = run.log
    check_usable(path)
    try:
        descriptor = open_to_lock(path)
    except OSError as error:
        raise HmrError(f"{path} cannot be written to: {error.strerror}. Copy the run to where it can.") from error
    try:
        until = time.monotonic() + max(wait_s, _LOOK_S)
        while not _lock(descriptor):
            if time.monotonic() >= until:
                raise HmrError(f"{run.folder} is being trained by another process. Wait for it, or stop it.")
            time.sleep(0.1)
        yield
    finally:
        close_lock(descriptor)


def _lock(file: BinaryIO | int, kind: int = fcntl.LOCK_EX) -> bool:
    """Lock a run's log for as long as it is open; False when another process has it."""
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass  # a file system without locks
    return True

"""A training run on disk.

RUN/config.json      the model, the whole recipe, the data, versions, and how the run was started
RUN/metrics.jsonl    what was measured, a line each
RUN/train.log        what was said; locked by the process that trains
RUN/checkpoints/epoch-0007/    one folder for each checkpoint that is kept
"""

from __future__ import annotations

import fcntl
import json
import math
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from hmr_core.errors import HmrError
from hmr_core.files import check_regular, read_bytes
from hmr_core.plugins.recipes import TrainConfig
from hmr_core.plugins.run import Run
from hmr_core.shell import command_line
from hmr_core.staging import write_text
from hmr_core.weights.checkpoint_folders import saved_checkpoints
from hmr_core.weights.run_record import write_run
from hmr_core.wording import counted


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
        raise HmrError(f"the run's folder {run.folder} cannot be made: {error}. Choose another with --out.") from error
    with locked(run):
        _check_untrained(run.folder, run.model)  # again: another process may have trained it to an end meanwhile
        try:
            write_run(run)
            yield
        except BaseException:
            if made and run.log.stat().st_size == 0:
                shutil.rmtree(run.folder)
            raise


def check_batch(split: str, config: TrainConfig, samples: int) -> None:
    """HmrError when a subset has fewer samples than a batch."""
    if samples < config.batch_size:
        raise HmrError(
            f"{split} {config.subset} has {counted(samples, 'sample')}, fewer than a batch of "
            f"{config.batch_size}. Use a smaller --batch-size."
        )


def check_free(folder: Path, model: str) -> None:
    """HmrError when a new run of a model cannot have this folder."""
    if folder.exists() and not folder.is_dir():
        raise HmrError(f"{folder} is a file, so it cannot be a run's folder. Choose another with --out.")
    if _is_run(folder):
        if _being_trained(folder):
            raise HmrError(
                f"{folder} is being trained by another process. Wait for it, stop it, or choose another folder with "
                "--out."
            )
        _check_untrained(folder, model)
    elif folder.exists() and any(folder.iterdir()):
        raise HmrError(f"{folder} exists, is not empty and is no run. Choose another folder with --out.")


def _check_untrained(folder: Path, model: str) -> None:
    if saved_checkpoints(folder / "checkpoints"):
        again = command_line("hmr train", model, "--resume", folder)
        raise HmrError(
            f"{folder} is a run already. Go on with it by `{again}`, delete it, or choose another folder with --out."
        )


def resume_command(run: Run) -> str:
    """The command that goes on with a run."""
    return command_line("hmr train", run.model, "--resume", run.folder)


def default_folder(model: str, split: str, recipe: str, parent: Path = Path("runs")) -> Path:
    """A folder under runs/ that is not taken: runs/integral-sp0-tiny, then ...-2, ...-3.

    A run that ended before its first checkpoint does not take its name.
    """
    name, number = f"{model}-{split}-{recipe}", 1
    while (folder := parent / (name if number == 1 else f"{name}-{number}")).exists() and not _may_be_taken(folder):
        number += 1
    return folder


def _may_be_taken(folder: Path) -> bool:
    """Whether there is a run that ended before its first checkpoint."""
    return _is_run(folder) and not saved_checkpoints(folder / "checkpoints") and not _being_trained(folder)


def _being_trained(folder: Path) -> bool:
    try:
        check_regular(folder / "train.log")
        with (folder / "train.log").open("ab") as file:
            return not _lock(file)
    except OSError:  # it is not there, or cannot be written to
        return False


def _is_run(folder: Path) -> bool:
    return (folder / "config.json").is_file()


def drop_later_metrics(run: Run, epoch: int) -> None:
    """Forget the lines of metrics.jsonl after an epoch: a resumed run measures them again."""
    path = run.folder / "metrics.jsonl"
    if path.exists():
        _check_readable(path)
        # What is no UTF-8 is a damaged line, which is dropped as one that was cut off.
        text = read_bytes(path).decode("utf-8", "replace")
        lines = [line for line in text.splitlines() if "\ufffd" not in line and _epoch_of(line) <= epoch]
        write_text(path, "".join(line + "\n" for line in lines))


@contextmanager
def locked(run: Run) -> Iterator[None]:
    """Keep a run to this process; HmrError while another one trains it. The lock ends with the process."""
    path = run.log
    _check_readable(path)
    try:
        file = path.open("ab")
    except OSError as error:
        raise HmrError(f"{path} cannot be written to: {error.strerror}. Copy the run to where it can.") from error
    with file:
        if not _lock(file):
            raise HmrError(f"{run.folder} is being trained by another process. Wait for it, or stop it.")
        yield


def _lock(file: BinaryIO) -> bool:
    """Lock a run's log for as long as it is open; False when another process has it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass  # a file system without locks
    return True


def _check_readable(path: Path) -> None:
    """HmrError for what is there and no file."""
    try:
        check_regular(path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise HmrError(f"{path} cannot be used: {error.strerror}. Move it away, and go on.") from error


def _epoch_of(line: str) -> float:
    """The epoch of a line of metrics; infinity for one that was cut off, which is then dropped."""
    try:
        return float(json.loads(line)["epoch"])
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return math.inf

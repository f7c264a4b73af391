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
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from hmr_core.config import TrainConfig
from hmr_core.errors import HmrError
from hmr_core.files import check_regular, read_bytes
from hmr_core.shell import command_line
from hmr_core.staging import write_text
from hmr_core.wording import counted

FORMAT = "hmr-run/1"

_KINDS: Mapping[str, tuple[Any, str]] = {
    "model": (str, "text"),
    "split": (str, "text"),
    "recipe_name": (str, "text"),
    "recipe": (dict, "an object"),
    "data": (str, "text"),
    "data_digest": (str, "text"),
    "hand_model": (dict | None, "an object or null"),
    "versions": (dict, "an object"),
    "tensorboard": (bool, "true or false"),
    "verify": (bool, "true or false"),
    "started": (dict, "an object"),
}
"""What the values in config.json are."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run's folder and what it was asked to do.

    recipe: as plain values. data: path of the pack. data_digest: the pack's own. hand_model: path and blake2b of the
    hand model that the model trains with, both None for the hand in the package; None for a model that uses no hand.
    tensorboard: whether to write for it. verify: whether to compare checksums while reading the pack.
    started: by what command, where and when (see `provenance`); config.json keeps how it was first.
    scratch: where watchers of the run's events keep what they need between events, each under its own name.
    """

    folder: Path
    model: str
    split: str
    recipe_name: str
    recipe: Mapping[str, Any]
    data: Path
    data_digest: str
    versions: Mapping[str, str]
    started: Mapping[str, Any]
    hand_model: Mapping[str, str | None] | None = None
    tensorboard: bool = False
    verify: bool = False
    scratch: dict[str, Any] = field(default_factory=dict, compare=False)

    @property
    def checkpoints(self) -> Path:
        """The folder of checkpoints."""
        return self.folder / "checkpoints"

    @property
    def log(self) -> Path:
        """The file of what was said."""
        return self.folder / "train.log"

    def identity(self) -> dict[str, Any]:
        """What makes the run the one it is, wherever its files are; its checkpoints say the same. As values of JSON."""
        return {
            "model": self.model,
            "split": self.split,
            "recipe_name": self.recipe_name,
            "recipe": dict(self.recipe),
            "data_digest": self.data_digest,
            "hand_model": None if self.hand_model is None else {"blake2b": self.hand_model["blake2b"]},
        }


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
            _write_config(run)
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


def _write_config(run: Run) -> None:
    values = {
        "format": FORMAT,
        **run.identity(),
        "data": str(run.data.resolve()),
        "hand_model": None if run.hand_model is None else dict(run.hand_model),
        "versions": dict(run.versions),
        "tensorboard": run.tensorboard,
        "verify": run.verify,
        "started": dict(run.started),
    }
    write_text(run.folder / "config.json", json.dumps(values, indent=2) + "\n")


def open_run(folder: Path) -> Run:
    """An existing run; HmrError if the folder is not one."""
    path = folder / "config.json"
    try:
        values = json.loads(read_bytes(path))
    except OSError as error:
        checkpoint = " It is a checkpoint, which has no run." if (folder / "model.json").is_file() else ""
        raise HmrError(
            f"{folder} is not a run: {path} cannot be read ({error.strerror}).{checkpoint} "
            "Runs are made by `hmr train`."
        ) from error
    except ValueError as error:  # neither JSON nor UTF-8
        raise HmrError(f"{path} is not valid JSON ({error}); the run cannot be resumed.") from error
    found = values.pop("format", None) if isinstance(values, dict) else None
    if found != FORMAT:
        raise HmrError(f"{path} has format {found!r}; this version of hmr reads {FORMAT!r}.")
    for key, (kind, wanted) in _KINDS.items():
        if key in values and not isinstance(values[key], kind):
            raise HmrError(
                f'{path} was altered or damaged: "{key}" is a {type(values[key]).__name__}, and should be {wanted}. '
                "Put back the file that it was, or start a new run."
            )
    try:
        return Run(**{**values, "folder": folder, "data": Path(values["data"])})
    except (TypeError, KeyError) as error:
        raise HmrError(f"{path} is not as `hmr train` writes it ({error}); the run cannot be resumed.") from error


def resume_command(run: Run) -> str:
    """The command that goes on with a run."""
    return command_line("hmr train", run.model, "--resume", run.folder)


def saved_checkpoints(folder: Path) -> list[Path]:
    """The checkpoints in a run's folder of checkpoints, oldest first."""
    paths = [path for path in folder.glob("epoch-*") if re.fullmatch(r"epoch-\d+", path.name)]
    return sorted(paths, key=lambda path: int(path.name.removeprefix("epoch-")))


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

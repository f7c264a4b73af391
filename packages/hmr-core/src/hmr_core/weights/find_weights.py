"""Where the weights are that a path names: a run's, a checkpoint's, or a file's own.

torch is imported only when there is a file to look into, so that a path that is wrong is told at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from hmr_core.errors import HmrError, Option
from hmr_core.files import is_there
from hmr_core.plugins.run import CONFIG
from hmr_core.weights.checkpoint_folders import is_checkpoint_folder, run_checkpoints, saved_checkpoints
from hmr_core.weights.checkpoint_record import RECORD, WEIGHTS, best_on_val, read_record
from hmr_core.weights.damage import readable_records
from hmr_core.weights.run_record import FORMAT as RUN_FORMAT

CKPT = Option("ckpt")
"""What a path to weights is given by, where nothing else is said."""

SHOWN_RUNS = 3
"""How many runs are named of a folder that holds runs."""


BEST, LAST = "best", "last"
"""What may stand behind a run's folder and a colon: which of its checkpoints is meant."""


class BetterCheckpoint(NamedTuple):
    """A checkpoint that was better on val than another one of its run.

    epoch, mpjpe_mm: of the better one. own_mpjpe_mm: of the other one.
    """

    epoch: int
    mpjpe_mm: float
    own_mpjpe_mm: float


def without_choice(path: Path) -> Path:
    """The path without the `:best` or `:last` that chooses one of a run's checkpoints."""
    return _chosen(path)[0]


def _chosen(path: Path) -> tuple[Path, str | None]:
    """A path and which of the run's checkpoints it chooses. A file or folder that has this very name wins."""
    for choice in (BEST, LAST):
        if str(path).endswith(f":{choice}") and not is_there(path):
            return Path(str(path).removesuffix(f":{choice}")), choice
    return path, None


def better_on_val(weights: Path) -> BetterCheckpoint | None:
    """The best on val of a run's other checkpoints, if it was better than the one that has these weights."""
    folder = weights.parent
    kept = readable_records(_with_weights(saved_checkpoints(folder.parent)))
    best = best_on_val(kept)
    if folder not in kept or best is None or best == folder:
        return None
    epoch, best_mm, own_mm = kept[best].epoch, kept[best].mpjpe_on_val, kept[folder].mpjpe_on_val
    if epoch is None or best_mm is None or own_mm is None or best_mm >= own_mm:
        return None
    return BetterCheckpoint(epoch=epoch, mpjpe_mm=best_mm, own_mpjpe_mm=own_mm)


def find_weights(path: Path, *, option: Option | str = CKPT) -> Path:
    """Find the weights file that a path names: of a run, of a checkpoint's folder, or the file itself.

    Of a run it is the last checkpoint's; RUN:best names the one with the lowest MPJPE on val, RUN:last the last one.
    option: what the path was given by, for the HmrError that says why there are no weights; a text where it is no
    option, such as the name of an argument.
    """
    path, choice = _chosen(path)
    if choice is not None and is_there(path) and not run_checkpoints(path):
        raise HmrError(
            f"{path}:{choice} means the {choice} checkpoint of a run, and {path} has no checkpoints of one.",
            "Give ",
            option,
            f" a run's folder, or leave :{choice} out.",
        )
    if not is_there(path):
        run, _, chosen = str(path).rpartition(":")
        if chosen and Path(run).is_dir() and run_checkpoints(Path(run)):
            raise HmrError(f"no such checkpoint: {path}.", f"Give {run}:{BEST} (the best on val) or {run}:{LAST}.")
        raise HmrError(
            f"no such checkpoint: {path}.", option, " takes a run's folder, a checkpoint's folder, or a weights file."
        )
    if not (path.is_file() or path.is_dir()):
        raise HmrError(
            f"{path} is not a regular file.",
            option,
            " takes a run's folder, a checkpoint's folder, or a weights file.",
        )
    if path.is_file():
        if is_optimizer_state(path):
            raise HmrError(f"{path} is the optimizer's state, not the model: give {model_beside(path)}.")
        return path
    if (path / WEIGHTS).is_file():
        return path / WEIGHTS
    saved = run_checkpoints(path) or saved_checkpoints(path)
    if choice == BEST:
        kept = readable_records(_with_weights(saved))
        best = best_on_val(kept)
        if best is None and not kept:
            for one in saved:
                read_record(one / WEIGHTS)  # it says what is wrong
        if best is None:
            raise HmrError(
                f"{path}:{BEST} means the checkpoint that was best on val, and none of {path} was scored on val.",
                "Give ",
                option,
                f" {path}, whose last checkpoint is then used.",
            )
        return best / WEIGHTS
    if saved and (saved[-1] / WEIGHTS).is_file():
        return saved[-1] / WEIGHTS
    if saved or is_checkpoint_folder(path):
        raise _emptied(saved[-1] if saved else path, option)
    if runs := sorted(run for run in path.iterdir() if run_checkpoints(run)):
        more = f" and {len(runs) - SHOWN_RUNS} more" if len(runs) > SHOWN_RUNS else ""
        held = f"{'the runs' if len(runs) > 1 else 'the run'} {', '.join(map(str, runs[:SHOWN_RUNS]))}{more}"
        raise HmrError(f"{path} has no checkpoint in it: it holds {held}.", "Give ", option, " one run.")
    kind = "a run without a checkpoint yet" if (path / CONFIG).is_file() else f"no run ({RUN_FORMAT})"
    raise HmrError(
        f"{path} has no checkpoint in it: it is {kind}.", "Train with `hmr train`, or give another ", option, "."
    )


def _emptied(folder: Path, option: Option | str) -> HmrError:
    """The error for the folder of a checkpoint whose weights are not there."""
    others = [str(one) for one in _with_weights(saved_checkpoints(folder.parent))]
    remedy: tuple[str | Option, ...] = ("The run has no other.",)
    if others:
        remedy = ("Give ", option, f" another of the run's: {', '.join(others)}.")
    return HmrError(f"{folder} is the folder of a checkpoint, and its {WEIGHTS} is not there.", *remedy)


def _with_weights(folders: Sequence[Path]) -> list[Path]:
    return [folder for folder in folders if (folder / WEIGHTS).is_file()]


def is_ours(path: Path, weights: Path) -> bool:
    """Whether the weights found at a path are a checkpoint's, by their first bytes; a folder's always are.

    Of a file whose first bytes say nothing it is so if model.json is beside.
    """
    if path.is_dir():
        return True

    from hmr_core.nn.files import file_format

    found = file_format(weights)
    info = weights.with_name(RECORD)
    return found == "safetensors" or (found == "unknown" and info.is_file() and weights != info)


def is_optimizer_state(path: Path) -> bool:
    """Whether a file is what a checkpoint keeps for a resumed run; HmrError for a damaged safetensors file."""
    from hmr_core.nn.files import file_format, read_shapes

    if file_format(path) != "safetensors":
        return False
    names = list(read_shapes(path))
    return bool(names) and all("/" in name for name in names)  # as _optimizer_tensors has it


def model_beside(optimizer: Path) -> str:
    """The weights that an optimizer's state belongs to, as a path or, where they are not beside it, in words."""
    model = optimizer.with_name(WEIGHTS)
    return str(model) if model.is_file() else f"the {WEIGHTS} of its checkpoint"

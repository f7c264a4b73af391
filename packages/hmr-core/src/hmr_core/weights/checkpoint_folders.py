"""The folders of a run's checkpoints: where they are, what they are called."""

from __future__ import annotations

import re
from pathlib import Path

from hmr_core.plugins.run import CHECKPOINTS

_NAME = re.compile(r"epoch-(\d+)(?:-step-(\d+))?")


def checkpoint_folder(folder: Path, epoch: int, step: int | None = None) -> Path:
    """Where a checkpoint is: after so many epochs and, in the middle of the next one, after so many steps of the run.

    folder: of the run's checkpoints.
    """
    return folder / (f"epoch-{epoch:04d}" if step is None else f"epoch-{epoch:04d}-step-{step:08d}")


def is_checkpoint_folder(path: Path) -> bool:
    """Whether a path has the name of a checkpoint's folder."""
    return _NAME.fullmatch(path.name) is not None


def ends_epoch(path: Path) -> bool:
    """Whether a checkpoint was written at the end of an epoch, from its folder's name."""
    return _place(path)[1] == 0


def epoch_of(path: Path) -> int:
    """How many epochs were done when a checkpoint was written, from its folder's name."""
    return _place(path)[0]


def _place(path: Path) -> tuple[int, int]:
    """The epochs that were done, and the step; 0 for the end of an epoch."""
    found = _NAME.fullmatch(path.name)
    assert found is not None, path
    return int(found[1]), int(found[2] or 0)


def saved_checkpoints(folder: Path) -> list[Path]:
    """The checkpoints in a run's folder of checkpoints, oldest first."""
    return sorted(filter(is_checkpoint_folder, folder.glob("epoch-*")), key=_place)


def newest_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint in a run's folder of checkpoints; None where there is none yet."""
    return next(reversed(saved_checkpoints(folder)), None)


def run_checkpoints(run: Path) -> list[Path]:
    """The checkpoints of the run in a folder, oldest first."""
    return saved_checkpoints(run / CHECKPOINTS)


def unfinished_checkpoints(folder: Path) -> list[Path]:
    """What processes that were killed while they wrote a checkpoint left in a run's folder of checkpoints."""
    return sorted(folder.glob(".epoch-*"))

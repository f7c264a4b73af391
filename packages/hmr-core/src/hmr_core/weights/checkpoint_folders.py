"""The folders of a run's checkpoints: where they are, what they are called."""

from __future__ import annotations

import re
from pathlib import Path

from hmr_core.plugins.run import CHECKPOINTS


def checkpoint_folder(folder: Path, epoch: int) -> Path:
    """Where the checkpoint of an epoch is. folder: of the run's checkpoints."""
    return folder / f"epoch-{epoch:04d}"


def is_checkpoint_folder(path: Path) -> bool:
    """Whether a path has the name of a checkpoint's folder."""
    return re.fullmatch(r"epoch-\d+", path.name) is not None


def epoch_of(path: Path) -> int:
    """The epoch of a checkpoint, from its folder's name."""
    return int(path.name.removeprefix("epoch-"))


def saved_checkpoints(folder: Path) -> list[Path]:
    """The checkpoints in a run's folder of checkpoints, oldest first."""
    return sorted(filter(is_checkpoint_folder, folder.glob("epoch-*")), key=epoch_of)


def newest_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint in a run's folder of checkpoints; None where there is none yet."""
    return next(reversed(saved_checkpoints(folder)), None)


def run_checkpoints(run: Path) -> list[Path]:
    """The checkpoints of the run in a folder, oldest first."""
    return saved_checkpoints(run / CHECKPOINTS)


def unfinished_checkpoints(folder: Path) -> list[Path]:
    """What processes that were killed while they wrote a checkpoint left in a run's folder of checkpoints."""
    return sorted(folder.glob(".epoch-*"))

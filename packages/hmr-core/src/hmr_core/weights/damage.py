"""Checkpoints of a run that are not whole: how they are found, and set aside, so that the ones before them serve."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hmr_core.errors import HmrError
from hmr_core.weights.checkpoint_folders import checkpoint_folder, saved_checkpoints
from hmr_core.weights.checkpoint_record import OPTIMIZER, RECORD, WEIGHTS, CheckpointRecord, check_file, read_record


def readable_records(folders: Sequence[Path]) -> dict[Path, CheckpointRecord]:
    """The records of checkpoints by their folders, in their order, without those that cannot be read."""
    found = {}
    for folder in folders:
        try:
            found[folder] = read_record(folder / WEIGHTS)
        except HmrError:
            continue
    return found


def find_damage(folder: Path) -> str:
    """What is wrong with a checkpoint that a run is to go on from, in a sentence; empty where it is whole.

    Every file is read, and compared with its digest in the record. So is the name, by which the newest one is known.
    """
    try:
        record = read_record(folder / WEIGHTS)
        if record.epoch is not None and folder not in _names(folder.parent, record.epoch, record.step):
            return f"{folder} is not what its name says: it is of epoch {record.epoch}, step {record.step}."
        needed = {WEIGHTS, *record.digests, *([] if record.epoch is None else [OPTIMIZER])} - {RECORD}
        for name in sorted(needed):
            if not (folder / name).exists():
                return f"{folder / name} is not there."
            check_file(folder / name, record, name)
    except HmrError as error:
        return error.message
    except OSError as error:
        return f"{folder} cannot be read: {error.strerror}."
    return ""


def _names(folder: Path, epoch: int, step: int | None) -> list[Path]:
    """Where a checkpoint is that was written at the end of an epoch, or at a step after it."""
    return [checkpoint_folder(folder, epoch), checkpoint_folder(folder, epoch, step)]


def newest_whole(folder: Path) -> tuple[Path | None, dict[Path, str]]:
    """The newest checkpoint of a run that is whole, and what is wrong with each newer one, the newest first.

    folder: of the run's checkpoints. None where there is no checkpoint at all; HmrError where there are, and none is
    whole.
    """
    damaged: dict[Path, str] = {}
    for checkpoint in reversed(saved_checkpoints(folder)):
        damage = find_damage(checkpoint)
        if not damage:
            return checkpoint, damaged
        damaged[checkpoint] = damage
    if damaged:
        raise HmrError(
            f"no checkpoint of {folder.parent} is whole, so the run cannot go on. {' '.join(damaged.values())}",
            "Copy one again from where it is whole, or start a new run.",
        )
    return None, {}


def set_aside(checkpoint: Path) -> Path:
    """Give a damaged checkpoint's folder a name that is no checkpoint's, `damaged-epoch-0007`, and give that path."""
    number, free = 1, checkpoint.with_name(f"damaged-{checkpoint.name}")
    while free.exists():
        number += 1
        free = checkpoint.with_name(f"damaged-{checkpoint.name}-{number}")
    try:
        checkpoint.rename(free)
    except OSError as error:
        raise HmrError(f"the damaged checkpoint {checkpoint} cannot be set aside: {error.strerror}.") from error
    return free

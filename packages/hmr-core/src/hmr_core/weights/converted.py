"""The folder of a converted checkpoint: whether it may be written. This needs no torch."""

from __future__ import annotations

from pathlib import Path

from hmr_core.errors import HmrError, Option
from hmr_core.staging import check_folder_writable, clear_leftovers
from hmr_core.weights.checkpoint_record import RECORD, WEIGHTS, read_record

OUT = Option("out")


def refuse_taken(folder: Path, force: bool) -> None:
    """Raise HmrError when a folder is there, unless it is a converted checkpoint that may be replaced."""
    clear_leftovers(folder.resolve())  # which may bring a checkpoint back
    if not folder.exists():
        check_folder_writable(folder)
        return
    if not force:
        raise HmrError(
            f"{folder} exists.", "Give another ", OUT, ", or ", Option("force"), " to replace a converted checkpoint."
        )
    if not folder.is_dir() or {path.name for path in folder.iterdir()} - {WEIGHTS, RECORD} or not _converted(folder):
        raise HmrError(f"{folder} is no converted checkpoint, so it is left alone.", "Give another ", OUT, ".")
    check_folder_writable(folder)


def _converted(folder: Path) -> bool:
    return not any(folder.iterdir()) or read_record(folder / WEIGHTS).released is not None

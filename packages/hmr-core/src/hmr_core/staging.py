"""Files and folders that are either whole or not there: written beside, brought to the disk, renamed at the end."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hmr_core.errors import HmrError


@contextmanager
def staged_folder(target: Path) -> Iterator[Path]:
    """An empty folder that takes the target's place when the block ends; after an error or Ctrl-C nothing is left.

    A folder that was at the target is replaced; it is as it was if the block, or the replacement, fails. Raises
    HmrError before the block when nothing can be written there.
    """
    target = target.resolve()
    part, old = (target.with_name(f".{target.name}.{os.getpid()}.{kind}") for kind in ("part", "old"))
    try:
        if target.exists() and not target.is_dir():
            raise NotADirectoryError(f"{target} is a file")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir()
    except OSError as error:
        raise HmrError(f"the folder {target} cannot be written: {error}. Choose another.") from error
    try:
        yield part
        for path in part.rglob("*"):
            _sync(path)
        _sync(part)
        _replace(part, target, old)
    finally:
        shutil.rmtree(part, ignore_errors=True)


@contextmanager
def staged_file(target: Path) -> Iterator[Path]:
    """A path to write to, which becomes the target when the block ends; after an error or Ctrl-C nothing is left.

    A file that was at the target is replaced, or is as it was after an error. Raises HmrError before the block when
    nothing can be written there.
    """
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        if target.is_dir():
            raise IsADirectoryError(f"{target} is a folder")
        target.parent.mkdir(parents=True, exist_ok=True)
        part.touch()
    except OSError as error:
        raise HmrError(f"the file {target} cannot be written: {error}. Choose another.") from error
    try:
        yield part
        _sync(part)
        part.replace(target)
        _sync(target.parent)
    finally:
        part.unlink(missing_ok=True)


def write_text(target: Path, text: str) -> None:
    """Write a file whole: a reader sees the old text or the new, never a part."""
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    part.write_text(text)
    _sync(part)
    part.replace(target)


def _replace(part: Path, target: Path, old: Path) -> None:
    if not target.exists():
        part.rename(target)
    else:
        target.rename(old)
        try:
            part.rename(target)
        except BaseException:
            old.rename(target)
            raise
        shutil.rmtree(old, ignore_errors=True)
    _sync(target.parent)


def _sync(path: Path) -> None:
    """Wait until a file or folder is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

"""Files and folders that are either whole or not there: written beside, renamed at the end."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def staged_folder(target: Path) -> Iterator[Path]:
    """An empty folder that takes the target's place when the block ends; after an error or Ctrl-C nothing is left.

    A folder that was at the target is replaced, and is still there if the block fails.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    try:
        yield part
        old = target.with_name(f".{target.name}.{os.getpid()}.old")
        if target.exists():
            target.rename(old)
        part.rename(target)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def write_text(target: Path, text: str) -> None:
    """Write a file whole: a reader sees the old text or the new, never a part."""
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    part.write_text(text)
    part.replace(target)

"""Which files folders lack, found by their listings alone."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from hmr_core.plugins.sample import Missing


def missing_files(root: Path, paths: Iterable[Path], remedy: str) -> Iterator[Missing]:
    """Tell, folder by folder, which of the files below root are not there; each folder is listed once.

    remedy: what to do about it, a sentence.
    """
    by_folder: dict[Path, dict[str, None]] = {}
    for path in paths:
        by_folder.setdefault(path.parent, {})[path.name] = None
    for folder, names in by_folder.items():
        there = _names(folder)
        if lacking := [name for name in names if name not in there]:
            yield Missing(str(folder.relative_to(root)), lacking, len(names), remedy)


def _names(folder: Path) -> set[str]:
    """The names of the files in a folder, links among them; none where there is no such folder."""
    try:
        with os.scandir(folder) as entries:
            return {entry.name for entry in entries if entry.is_symlink() or entry.is_file()}
    except (FileNotFoundError, NotADirectoryError):
        return set()

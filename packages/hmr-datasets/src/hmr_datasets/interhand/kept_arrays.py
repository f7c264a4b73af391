"""Keeps arrays that were made of large files, so that each process maps them instead of reading the files again.

They are in the user's cache directory, under a name that changes with the files' sizes and times. Nothing is lost with
them: what is missing or damaged there is made again.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy import ndarray

from hmr_core.errors import HmrError
from hmr_core.staging import staged_folder


def kept_arrays(name: str, sources: Sequence[Path], make: Callable[[], Mapping[str, ndarray]]) -> Mapping[str, ndarray]:
    """The arrays that `make` makes of the source files, mapped read-only from the cache where they are kept.

    name: of what is kept, with the version of its form. Where nothing can be kept, they are made for this process.
    Raises HmrError when a source file cannot be looked at, and what `make` raises.
    """
    folder = _cache() / f"{name}-{_digest(sources)}"
    found = _mapped(folder)
    if found is not None:
        return found
    arrays = make()
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with staged_folder(folder) as part:
            for key, array in arrays.items():
                np.save(part / f"{key}.npy", array, allow_pickle=False)
            (part / "whole").touch()
    except (HmrError, OSError):  # no home directory, no room: it costs time, and changes nothing
        return arrays
    return _mapped(folder) or arrays


def _mapped(folder: Path) -> dict[str, ndarray] | None:
    """The arrays in a folder; None where they are not there, or not whole."""
    try:
        if not (folder / "whole").exists():
            return None
        return {path.stem: np.load(path, mmap_mode="r", allow_pickle=False) for path in folder.glob("*.npy")}
    except (OSError, EOFError, ValueError):
        return None


def _digest(sources: Sequence[Path]) -> str:
    digest = hashlib.blake2b(digest_size=12)
    for path in sources:
        try:
            there = path.stat()
        except OSError as error:
            raise HmrError(f"cannot read {path}: {error.strerror}.") from error
        digest.update(f"{path.resolve()}\0{there.st_size}\0{there.st_mtime_ns}\0".encode(errors="surrogateescape"))
    return digest.hexdigest()


def _cache() -> Path:
    """The folder in the user's cache directory."""
    if sys.platform == "darwin":
        return Path.home() / "Library/Caches/hmr/datasets"
    cache = os.environ.get("XDG_CACHE_HOME", "")
    # A relative one is to be ignored: XDG Base Directory Specification.
    return (Path(cache) if Path(cache).is_absolute() else Path.home() / ".cache") / "hmr/datasets"

"""Keeps arrays that were made of large files, so that each process maps them instead of reading the files again.

One process makes them, and the others wait for it. They are in the user's cache directory, under a name that changes
with the files' sizes and times. Nothing is lost with them: what is missing or damaged there is made again.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy import ndarray

from hmr_core.errors import HmrError
from hmr_core.own_locks import close_lock, open_to_lock
from hmr_core.staging import staged_folder

LARGE_BYTES = 50_000_000
"""Files of more take so long that it is told: a minute for each half a gigabyte or so."""


def kept_arrays(name: str, sources: Sequence[Path], make: Callable[[], Mapping[str, ndarray]]) -> Mapping[str, ndarray]:
    """The arrays that `make` makes of the source files, mapped read-only from the cache where they are kept.

    name: of what is kept, with the version of its form. Where nothing can be kept, they are made for this process.
    Raises HmrError when a source file cannot be looked at, and what `make` raises.
    """
    folder = _cache() / f"{name}-{_digest(sources)}"
    found = _mapped(folder)
    if found is not None:
        return found
    with _alone(folder):
        return _mapped(folder) or _made(folder, sources, make)


def _made(folder: Path, sources: Sequence[Path], make: Callable[[], Mapping[str, ndarray]]) -> Mapping[str, ndarray]:
    """The arrays as they are made now, and kept in a folder if that can be."""
    size = sum(path.stat().st_size for path in sources)
    if size > LARGE_BYTES:
        what = sources[0] if len(sources) == 1 else sources[0].parent
        print(f"reading {size / 1e6:,.0f} MB of annotations in {what}, once", file=sys.stderr, flush=True)
    arrays = make()
    try:
        with staged_folder(folder) as part:
            for key, array in arrays.items():
                np.save(part / f"{key}.npy", array, allow_pickle=False)
            (part / "whole").touch()
    except (HmrError, OSError):  # no home directory, no room: it costs time, and changes nothing
        return arrays
    return _mapped(folder) or arrays


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep others from making what goes into a folder, and wait while another process does."""
    descriptor = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        descriptor = open_to_lock(folder.with_name(f".{folder.name}.lock"))
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError:  # no home directory, or one without locks: it is made more than once
        pass
    try:
        yield
    finally:
        if descriptor is not None:
            close_lock(descriptor)


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

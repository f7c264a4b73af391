"""Opens files to read that somebody names, or that lie in a data set: regular files, and nothing that never ends.

To open a pipe waits for whoever writes to it, to read a device such as /dev/zero never ends, and a socket cannot be
opened at all. So whatever is read here is looked at first.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader, FileIO
from pathlib import Path

KINDS = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
"""What a path may name that is neither a file nor a folder."""


class NotAFileError(OSError):
    """What is to be read is a pipe, a socket or a device. Its `strerror` says which."""


def as_path(given: str | Path | None) -> Path | None:
    """The path that was given as one or as a string, if any was."""
    return None if given is None else Path(given)


def is_there(path: Path) -> bool:
    """Whether there is something at a path; False, not an OSError, for a name that no file can have."""
    return os.path.exists(path)  # noqa: PTH110  # Path.exists raises for a name that is too long


def check_regular(path: Path) -> None:
    """OSError unless path names a regular file: for libraries that open files by their names."""
    _check(path, path.stat().st_mode)


def open_regular(path: Path) -> BufferedReader:
    """Open the file at path to be read as bytes.

    Raises OSError as `open` does, and NotAFileError, at once, for what is no regular file.
    """
    return os.fdopen(open_descriptor(path), "rb")


def open_descriptor(path: Path) -> int:
    """Open the file at path as a descriptor, which the caller reads from and closes; errors as of `open_regular`."""
    check_regular(path)  # before it is opened: to open a device may do something
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a pipe may have taken its place meanwhile
    try:
        _check(path, os.fstat(descriptor).st_mode)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


@contextmanager
def utf8_name(path: Path) -> Iterator[Path]:
    """Give a UTF-8 name of the regular file at path, for libraries that take no others.

    A file whose own name is no UTF-8 has another name as long as the block lasts. Errors as of `open_regular`.
    """
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError:
        descriptor = open_descriptor(path)
        try:
            yield Path(f"/dev/fd/{descriptor}")
        finally:
            os.close(descriptor)
    else:
        check_regular(path)
        yield path


def read_bytes(path: Path) -> bytes:
    """Read all that the file at path holds; errors as of `open_regular`."""
    with FileIO(open_descriptor(path)) as file:
        return file.readall()


def _check(path: Path, mode: int) -> None:
    if stat.S_ISREG(mode):
        return
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    kind = KINDS.get(stat.S_IFMT(mode), "something else")
    raise NotAFileError(errno.EINVAL, f"it is {kind}, not a file", str(path))

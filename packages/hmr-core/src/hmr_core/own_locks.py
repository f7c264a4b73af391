"""Files that are open for their locks, which are to be this process's alone.

What is forked from it, to load, has all its open files, too, and with them their locks; and it may outlive it.
"""

from __future__ import annotations

import os
from pathlib import Path

_held: set[int] = set()


def open_to_lock(path: Path) -> int:
    """Open a file to lock it, made where it is not there, as a descriptor that no forked process has; OSError as of
    `open`.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
    _held.add(descriptor)
    return descriptor


def close_lock(descriptor: int) -> None:
    """Close a file that was opened to lock it, which ends its lock; nothing in a forked process, which has it not."""
    if descriptor in _held:
        _held.remove(descriptor)
        os.close(descriptor)


def _leave_locks() -> None:
    while _held:
        os.close(_held.pop())


os.register_at_fork(after_in_child=_leave_locks)

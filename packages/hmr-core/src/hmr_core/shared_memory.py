"""The room that processes have to share memory in: loading workers hand over batches by it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

PLACE = Path("/dev/shm")
"""Where Linux has it. Elsewhere shared memory has no place, and no size of its own."""


class Room(NamedTuple):
    """A size and what is free of it, in bytes."""

    size: int
    free: int


def shared_memory() -> Room | None:
    """The shared memory of this machine or container; None where it has no size of its own."""
    try:
        found = os.statvfs(PLACE)
    except OSError:
        return None
    return Room(found.f_frsize * found.f_blocks, found.f_frsize * found.f_bavail)


def clear_unfinished() -> None:
    """Remove what torch could not make whole for this process, and leaves there; what it made has no name any more."""
    for path in PLACE.glob(f"torch_{os.getpid()}_*"):
        path.unlink(missing_ok=True)

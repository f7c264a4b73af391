"""The shared memory of a machine or container, by which loading workers hand over batches."""

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
    """Measure the shared memory of this machine or container; None where it has no size of its own."""
    try:
        found = os.statvfs(PLACE)
    except OSError:
        return None
    return Room(found.f_frsize * found.f_blocks, found.f_frsize * found.f_bavail)


def clear_unfinished() -> None:
    """Remove the unfinished files that torch left there for this process; finished ones have no name any more."""
    for path in PLACE.glob(f"torch_{os.getpid()}_*"):
        path.unlink(missing_ok=True)

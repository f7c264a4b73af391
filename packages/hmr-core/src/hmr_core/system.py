"""Calls that not every operating system has, and what is done without them.

Linux has all of it. macOS lacks some calls, and does without what they are good for. Windows lacks what hmr cannot do
without: reads at a place (pread), by which a pack is read, and locks (flock), which keep a run to one process.
"""

from __future__ import annotations

import os

PLATFORM = os.name
"""posix, or nt on Windows."""


def refusal() -> str:
    """Say why hmr cannot run on this operating system, and what to do; empty where it can."""
    if PLATFORM != "nt":
        return ""
    return (
        "hmr does not run on Windows, which lacks calls by which it reads packs and locks runs. Valid: Linux and "
        "macOS. Windows has a Linux of its own, in which hmr runs: `wsl --install`, then install hmr-core there."
    )


def usable_cpus() -> int:
    """Count the CPUs that this process may run on: fewer than the machine's under taskset and in many containers.

    Without that call (macOS), the machine's.
    """
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def reserve(descriptor: int, size: int) -> None:
    """Make an empty file that many bytes long, for which the disk has room; OSError when it has none.

    Without that call (macOS), the bytes are written.
    """
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)
        return
    position = 0
    while position < size:
        position += os.pwrite(descriptor, bytes(size - position), position)


def will_read(descriptor: int, offset: int, size: int) -> None:
    """Let the disk fetch a stretch of a file meanwhile. Without that call (macOS), it is fetched when it is read."""
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(descriptor, offset, size, os.POSIX_FADV_WILLNEED)


def read_at(descriptor: int, buffer: memoryview, offset: int) -> int:
    """Read into the buffer what the file has at offset, at most its size; how many bytes there were, 0 at its end."""
    if hasattr(os, "preadv"):
        return os.preadv(descriptor, [buffer], offset)
    data = os.pread(descriptor, len(buffer), offset)  # macOS before 11
    buffer[: len(data)] = data
    return len(data)

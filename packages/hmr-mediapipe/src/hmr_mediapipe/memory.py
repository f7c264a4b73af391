"""Keeps memory that was freed in the process, where glibc would hand it back to the system."""

from __future__ import annotations

import torch

BYTES = 31 << 20
"""glibc's own limit is 32 MiB."""


def keep_freed_memory() -> None:
    """Let the process keep up to 62 MiB of freed memory for what comes next.

    The networks make and drop a tensor of a megabyte or so at each of their steps. glibc gives such blocks back to the
    system, and the system clears each page that is asked for again: measured on one core of a virtual machine, a third
    of the palm network's time. glibc raises the limit from which it does so to the size of a block that is freed, up to
    32 MiB: mallopt(3), M_MMAP_THRESHOLD. So one is made and freed. It takes no memory, since nothing is written to it.
    Other allocators do not change.
    """
    torch.empty(BYTES, dtype=torch.uint8)

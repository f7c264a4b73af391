"""How many CPUs there are to use."""

from __future__ import annotations

import os


def usable_cpus() -> int:
    """The CPUs that this process may run on: fewer than the machine's under taskset and in many containers."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

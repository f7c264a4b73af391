"""What hmr computes on and writes to: cores, memory, accelerators, free disk."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from hmr_core.doctor.finding import Finding
from hmr_core.errors import Option
from hmr_core.shared_memory import PLACE, shared_memory
from hmr_core.shell import command_line, flag
from hmr_core.system import usable_cpus
from hmr_core.wording import counted

SECTION = "machine"

NO_WORKERS = flag(Option("workers", 0))

SHARE = command_line("docker run", Option("shm_size", "8g"))

FREE_BYTES = 2_000_000_000
"""Less free space than this is worth a warning: a run with a ResNet-50 keeps checkpoints of half of it."""

SHARED_BYTES = 1_000_000_000
"""Less free shared memory than this is worth a warning: eight workers with two batches of 64 crops each take half."""


def devices() -> Iterator[Finding]:
    """Cores, memory, torch's threads, and every accelerator by name and memory."""
    cores = counted(usable_cpus(), "CPU core")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    yield Finding(section=SECTION, level="ok", text=f"{cores}, {memory / 2**30:.1f} GiB of memory")

    import torch

    from hmr_core.devices import choose_device

    yield Finding(section=SECTION, level="ok", text=f"torch computes with {counted(torch.get_num_threads(), 'thread')}")
    if torch.cuda.is_available():
        for i in range(torch.cuda.device_count()):
            free, total = torch.cuda.mem_get_info(i)
            name = torch.cuda.get_device_name(i)
            text = f"cuda:{i} is {name}, {total / 2**30:.1f} GiB, {free / 2**30:.1f} GiB of it free"
            yield Finding(section=SECTION, level="ok", text=text)
    elif torch.version.cuda:
        yield Finding(
            section=SECTION,
            level="note",
            text=f"torch {torch.__version__} is built for CUDA {torch.version.cuda}, but finds no GPU",
            remedy="nvidia-smi tells whether the driver sees one",
        )
    yield Finding(
        section=SECTION, level="ok", text=f"hmr runs on {choose_device(None)}, the best there is, where none is named"
    )


def shared() -> Iterator[Finding]:
    """The shared memory by which loading workers hand over batches; nothing where it has no size of its own."""
    room = shared_memory()
    if room is None:
        return
    free, size = (f"{value / 1e6:,.1f} MB" for value in (room.free, room.size))
    text = f"{free} of {size} free in {PLACE}, by which workers hand over batches"
    if not os.access(PLACE, os.W_OK):
        text = f"{PLACE}, by which workers hand over batches, cannot be written to"
        yield Finding(
            section=SECTION,
            level="warning",
            text=text,
            remedy=f"Train and evaluate with {NO_WORKERS}, or mend its mount.",
        )
    elif room.free >= SHARED_BYTES:
        yield Finding(section=SECTION, level="ok", text=text)
    else:
        yield Finding(
            section=SECTION,
            level="warning",
            text=text,
            remedy=f"Start the container with more shared memory ({SHARE}), or train and evaluate with {NO_WORKERS}.",
        )


def disk(places: Sequence[tuple[str, Path]]) -> Iterator[Finding]:
    """Free space, and leave to write, where things go: what goes there, and the folder, which need not exist yet."""
    for what, folder in places:
        there = folder.absolute()
        while not there.is_dir() and there != there.parent:
            there = there.parent
        free = shutil.disk_usage(there).free
        if not os.access(there, os.W_OK):
            yield Finding(
                section=SECTION,
                level="warning",
                text=f"{there}, where {what} go, cannot be written to",
                remedy=f"Name another place with {flag(Option('out'))}, or run hmr in another folder.",
            )
        elif free < FREE_BYTES:
            yield Finding(
                section=SECTION,
                level="warning",
                text=f"{free / 1e9:.1f} GB free in {there}, where {what} go",
                remedy=f"Make room, or name another place with {flag(Option('out'))}.",
            )
        else:
            yield Finding(section=SECTION, level="ok", text=f"{free / 1e9:.1f} GB free in {there}, where {what} go")

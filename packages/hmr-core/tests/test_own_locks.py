"""Locks that a process has to itself, and what is forked from it has not."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import NoReturn

import pytest

from hmr_core.plugins.run import Run
from hmr_core.sweep.folder import SweepFolder
from hmr_core.training.run_folder import is_being_trained, locked


def killed_while_it_holds(take: Callable[[], object]) -> int:
    """Take a lock in a process that forks another, as loading workers are, and is killed; gives the other one."""
    reading, writing = os.pipe()

    def die() -> NoReturn:
        held = take()
        worker = os.fork()
        if worker == 0:
            time.sleep(60)
            os._exit(0)
        os.write(writing, str(worker).encode())
        assert held is not None
        os.kill(os.getpid(), signal.SIGKILL)
        os._exit(1)

    process = os.fork()
    if process == 0:
        die()
    os.waitpid(process, 0)
    os.close(writing)
    worker = int(os.read(reading, 100) or 0)
    os.close(reading)
    assert worker
    return worker


@pytest.fixture
def folder(tmp_path: Path) -> SweepFolder:
    folder = SweepFolder(tmp_path)
    folder.make()
    return folder


def test_a_trial_is_nobody_s_when_its_process_was_killed_whatever_is_left_of_its_workers(folder: SweepFolder) -> None:
    worker = killed_while_it_holds(lambda: folder.take_trial(0))
    try:
        assert not folder.is_taken(0)
        lock = folder.take_trial(0)
        assert lock is not None
        assert folder.is_taken(0)
        lock.free()
        assert not folder.is_taken(0)
    finally:
        os.kill(worker, signal.SIGKILL)


def test_so_is_a_run(run: Run) -> None:
    def take() -> ExitStack:
        held = ExitStack()
        held.enter_context(locked(run))
        return held

    worker = killed_while_it_holds(take)
    try:
        assert not is_being_trained(run.folder)
    finally:
        os.kill(worker, signal.SIGKILL)

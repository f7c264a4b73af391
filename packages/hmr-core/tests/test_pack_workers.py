"""The processes that encode: what is said when they cannot start or die, and that they end with their packer."""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from hmr_core.data.oakink import OakInkReader, open_oakink
from hmr_core.data.pack.codecs import codec_named
from hmr_core.data.pack.journal import kept_samples
from hmr_core.data.pack.writer import write_pack
from hmr_core.errors import HmrError
from hmr_core.plugins.sample import Sample

pytestmark = pytest.mark.slow

OAKINK = Path(__file__).parent / "data" / "oakink_mini" / "OakInk"
PNG, JPEG = codec_named("png"), codec_named("jpeg:50")


@pytest.fixture(scope="module")
def reader() -> OakInkReader:
    return open_oakink(OAKINK)


def test_a_reader_that_cannot_be_sent_to_workers_is_named(tmp_path: Path) -> None:
    class Local(OakInkReader):
        pass

    with pytest.raises(HmrError) as error:
        write_pack(Local(OAKINK), tmp_path / "x.h5", codec=JPEG, workers=2)
    assert re.fullmatch(
        r"the data set's reader \S+Local cannot be sent to packing workers \(.*Can't pickle local object.*\)\. "
        r"A reader must be picklable; workers=1 packs without\.",
        str(error.value),
    )
    assert not list(tmp_path.iterdir())


def test_workers_that_cannot_be_started_are_told_of(
    reader: OakInkReader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[BaseProcess] = []
    start = BaseProcess.start

    def failing(self: BaseProcess) -> None:
        if started:
            raise OSError(24, "Too many open files")
        start(self)
        started.append(self)

    monkeypatch.setattr(BaseProcess, "start", failing)
    with pytest.raises(HmrError) as error:
        write_pack(reader, tmp_path / "x.h5", codec=JPEG, workers=3)
    assert str(error.value) == ("could not start 3 packing workers: [Errno 24] Too many open files. Use fewer workers.")
    assert not started[0].is_alive()
    assert not list(tmp_path.iterdir())


KILL = "kill -9 $PPID"
OAKINK_SAMPLE = "A01001_0001_0000__2021-09-26-19-59-58__0__12__0"


@dataclass
class ShellReader:
    """In a worker process, a reader that runs the sample's id in a shell; there is nothing to be packed."""

    ids: Sequence[str]
    name, release, aliases = "shell", "none", MappingProxyType({})

    def __reduce__(self) -> Any:
        return SimpleNamespace, (), {"read": os.system}

    def splits(self) -> Mapping[str, Sequence[str]]:
        return {"sp0": ["train"]}

    def split_ids(self, split: str, subset: str) -> Sequence[str]:
        return self.ids

    def read(self, sample_id: str) -> Sample:
        """In the parent process, which asks for what a sample has."""
        return open_oakink(OAKINK).read(OAKINK_SAMPLE)

    def read_image(self, sample: Sample) -> np.ndarray:
        raise AssertionError("read in the parent process")


def test_a_worker_that_dies_is_reported_with_the_sample_that_it_was_at(tmp_path: Path) -> None:
    ids = [f"sleep {i}.0 # {i}" if i % 2 == 0 else f"{KILL} # {i}" for i in range(20)]  # the second worker's die
    ids[0] = "sleep 20"
    with pytest.raises(HmrError) as error:
        write_pack(ShellReader(ids), tmp_path / "x.h5", codec=PNG, workers=2)
    assert str(error.value) == (
        f"a packing worker died at sample {KILL} # 1 (killed by SIGKILL). If memory ran out, use fewer workers; with "
        "workers=1 a fault of the sample shows itself."
    )
    assert not list(tmp_path.iterdir())


def test_packing_goes_on_after_a_worker_died(reader: OakInkReader, whole: bytes, out: Path) -> None:
    others = set(multiprocessing.active_children())

    def kill_one(done: int, _total: int) -> None:
        if done == 20:
            victim = min((set(multiprocessing.active_children()) - others), key=lambda process: process.pid or 0)
            victim.kill()

    with pytest.raises(HmrError, match=r"^a packing worker died at sample (\S+) \(killed by SIGKILL\)\.") as error:
        write_pack(reader, out, codec=JPEG, workers=2, on_progress=kill_one)
    sample_id = str(error.value).split()[6]
    kept = kept_samples(out)
    assert str(error.value).endswith(f"is kept ({kept} of 96 samples): the same command goes on from there.")
    assert 20 <= kept <= reader.split_ids("sp0", "all").index(sample_id)
    write_pack(reader, out, codec=JPEG, workers=1)
    assert out.read_bytes() == whole


@pytest.fixture
def packer(out: Path, start_hmr: Callable[..., subprocess.Popen[str]]) -> subprocess.Popen[str]:
    """A process that packs with two workers and has packed some samples."""
    options = ["--workers", "2", "--codec", "webp"]  # slow: there is much left to be done when it is stopped
    command = ["pack", "oakink", "--root", str(OAKINK), "--out", str(out), *options]
    return start_hmr(*command, until=lambda: kept_samples(out) >= 5)


def test_workers_end_when_the_packer_is_killed(packer: subprocess.Popen[str]) -> None:
    workers = children(packer.pid)
    assert len(workers) >= 2
    packer.kill()
    packer.communicate()
    deadline = time.monotonic() + 60
    while any(Path(f"/proc/{worker}").exists() for worker in workers):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def children(process: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def test_ctrl_c_reaches_no_worker(packer: subprocess.Popen[str], out: Path) -> None:
    """A terminal sends it to all; the workers would print tracebacks."""
    os.killpg(packer.pid, signal.SIGINT)
    _, said = packer.communicate(timeout=60)
    assert packer.returncode == 130
    lines = [line for line in said.splitlines() if line and not line.startswith("packing ")]
    assert lines == [
        f"{kept_samples(out)} of 96 samples are kept beside {out}: to go on, run the same command again",
        "interrupted",
    ]

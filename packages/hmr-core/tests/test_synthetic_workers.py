"""The processes that draw a synthetic data set end when they are told to, and with the one that started them."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from hmr_core.data.synthetic import frames
from hmr_core.data.synthetic.writer import write_synthetic
from hmr_core.errors import HmrError

pytestmark = pytest.mark.slow


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def process(out: Path, start_hmr: Callable[..., subprocess.Popen[str]]) -> subprocess.Popen[str]:
    """A process that draws with two others and has written a picture."""
    return start_hmr("synth", str(out), "--workers", "2", until=lambda: any(out.rglob("*.png")))


def members(group: int) -> list[int]:
    """The processes of a group."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, own = stat.read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue
        if int(own) == group and state != "Z":
            found.append(int(stat.parent.name))
    return found


def wait_until_none_is_left(group: int, seconds: float) -> None:
    """AssertionError when processes of a group go on for so long."""
    deadline = time.monotonic() + seconds
    while left := members(group):
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


def test_ctrl_c_again_and_again_ends_it_and_leaves_nothing(process: subprocess.Popen[str], out: Path) -> None:
    for _ in range(3):
        os.killpg(process.pid, signal.SIGINT)
        time.sleep(0.1)
    _, said = process.communicate(timeout=90)
    assert process.returncode == 130
    assert said.splitlines()[-1] == "interrupted"
    assert "Traceback" not in said
    assert not out.exists()
    wait_until_none_is_left(process.pid, 5)  # one that has closed its files has not ended yet


def test_another_process_is_not_let_in(process: subprocess.Popen[str], out: Path) -> None:
    with pytest.raises(HmrError, match=r"another process is writing .*OakInk\.part\. Wait for it, or choose"):
        write_synthetic(out, sequences=5, frames=1)
    assert process.poll() is None
    assert (out / "OakInk.part" / "image").is_dir()
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    write_synthetic(out, sequences=5, frames=1)
    assert len(list(out.rglob("*.png"))) == 20


def test_a_full_disk_is_said_and_leaves_nothing(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> bytes:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(frames, "encode", full)
    with pytest.raises(HmrError, match=r"could not write .*out: No space left on device\. .* Make room, about 13 MB"):
        write_synthetic(out, sequences=5, frames=1)
    assert not out.exists()


def test_no_process_outlives_the_one_that_started_it(process: subprocess.Popen[str]) -> None:
    assert len(members(process.pid)) >= 3
    process.kill()
    process.communicate()
    wait_until_none_is_left(process.pid, 60)

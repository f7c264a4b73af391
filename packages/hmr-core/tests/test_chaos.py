"""What machines do to a run: it then goes on to the very same weights, and a line has said what happened.

A file system of a test's own (a full one, one that cannot be written to) is mounted by a forked process for itself.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import multiprocessing
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hmr_core import processes
from hmr_core.data.image_dataset import ImageDataset
from hmr_core.data.pack.reader import Pack
from hmr_core.errors import HmrError
from hmr_core.nn.model import PoseModel
from hmr_core.plugins import ModelSpec
from hmr_core.plugins.events import StepDone
from hmr_core.plugins.run import Run
from hmr_core.processes import PeerError, Place
from hmr_core.weights.checkpoint_folders import saved_checkpoints

pytestmark = pytest.mark.slow

Together = Callable[..., list[Any]]

NEW_MOUNTS, NEW_USER = 0x00020000, 0x10000000
READ_ONLY, REMOUNT, BIND, BELOW, PRIVATE, DETACH = 1, 32, 1 << 12, 1 << 14, 1 << 18, 2
"""Numbers of Linux, by which unshare and mount take what they are to do."""


class Mounts:
    """File systems that a process mounts for itself alone."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        user, group = os.getuid(), os.getgid()
        self._done(self._libc.unshare(NEW_MOUNTS | (NEW_USER if user else 0)))
        if user:
            for name, text in (("setgroups", "deny"), ("uid_map", f"0 {user} 1"), ("gid_map", f"0 {group} 1")):
                Path(f"/proc/self/{name}").write_text(text, encoding="ascii")
        self._done(self._libc.mount(b"none", b"/", None, BELOW | PRIVATE, None))

    def memory(self, folder: Path, size: str) -> None:
        """Mount a file system of a size, in memory."""
        folder.mkdir(exist_ok=True)
        self._done(self._libc.mount(b"tmpfs", os.fsencode(folder), b"tmpfs", 0, f"size={size}".encode()))

    def read_only(self, folder: Path) -> None:
        """Let nothing in a folder be written to, by its path."""
        path = os.fsencode(folder)
        self._done(self._libc.mount(path, path, None, BIND, None))
        self._done(self._libc.mount(b"none", path, None, REMOUNT | BIND | READ_ONLY, None))

    def unmount(self, folder: Path) -> None:
        """Take the topmost file system from a folder."""
        self._done(self._libc.umount2(os.fsencode(folder), DETACH))

    @staticmethod
    def _done(result: int) -> None:
        if result:
            raise PermissionError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


@pytest.fixture(autouse=True)
def no_workers_left() -> Iterator[None]:
    """Ends the loading workers that the errors of a test have kept."""
    yield
    gc.collect()


@pytest.fixture
def mounting(together: Together) -> Callable[[Callable[[Mounts], Any]], Any]:
    """Does something in a process that may mount; skips where none may."""

    def do(work: Callable[[Mounts], Any]) -> Any:
        def with_mounts(place: Place) -> Any:
            try:
                mounts = Mounts()
            except OSError as error:
                return pytest.skip.Exception(f"this machine lets nobody mount a file system for a process: {error}")
            return work(mounts)

        (found,) = together(with_mounts, 1)
        if isinstance(found, BaseException):
            raise found
        return found

    return do


@pytest.fixture
def weights(run: Run) -> bytes:
    """Those that a run without trouble ends with."""
    return last_weights(run.folder)


def last_weights(folder: Path) -> bytes:
    return (saved_checkpoints(folder / "checkpoints")[-1] / "model.safetensors").read_bytes()


def at_step(trainer: Any, step: int, happens: Callable[[], Any]) -> None:
    """Let something happen after a step."""

    def watch(event: Any) -> None:
        if isinstance(event, StepDone) and event.step == step:
            happens()

    trainer.on_event = watch


def fill(folder: Path) -> None:
    """Take all the room that a file system has left, that in the last pages of a run's files, too."""
    for path in (folder / "run/metrics.jsonl", folder / "run/train.log"):
        with path.open("a", encoding="utf-8") as file:
            file.write("\n" * (-path.stat().st_size % 4096))
    with (folder / "filler").open("wb", buffering=0) as file:
        for size in (1 << 16, 1 << 10, 1):
            try:
                while file.write(b"\0" * size) == size:
                    pass
            except OSError:
                continue


def failing(trainer: Any, folder: Path, **options: Any) -> str:
    """The one line by which a run ends."""
    with pytest.raises(HmrError) as caught:
        trainer(folder, **options)
    trainer.on_event = lambda event: None
    assert "\n" not in str(caught.value)
    return str(caught.value)


def names(folder: Path) -> list[str]:
    return [path.name for path in saved_checkpoints(folder / "checkpoints")]


def test_a_full_disk(
    trainer: Any, tmp_path: Path, weights: bytes, mounting: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    disk = tmp_path / "disk"

    def work(mounts: Mounts) -> Any:
        mounts.memory(disk, "1m")
        at_step(trainer, 8, lambda: fill(disk))
        text = failing(trainer, disk / "run")
        kept = names(disk / "run")
        (disk / "filler").unlink()
        trainer(disk / "run")
        return text, kept, last_weights(disk / "run")

    text, kept, ended = mounting(work)
    assert text.startswith(
        f"{disk}/run/checkpoints/epoch-0002 could not be written: No space left on device. Make room"
    )
    assert text.endswith(f"the run goes on after epoch-0001 by: hmr train small --resume {disk}/run")
    assert kept == ["epoch-0001"]
    assert ended == weights
    warnings = [line for line in capfd.readouterr().err.splitlines() if line.startswith("warning: ")]
    assert warnings == [
        f"warning: {disk}/run/metrics.jsonl could not be written to: No space left on device. Make room there; "
        "training goes on"
    ]


def test_a_disk_that_is_full_for_a_while(trainer: Any, tmp_path: Path, weights: bytes, mounting: Any) -> None:
    """What could be written before and after is not spoilt by what could not."""
    disk = tmp_path / "disk"

    def work(mounts: Mounts) -> Any:
        mounts.memory(disk, "1m")

        def room(event: Any) -> None:
            if isinstance(event, StepDone) and event.step == 13:
                fill(disk)
            elif isinstance(event, StepDone) and event.step == 14:  # its numbers are written before it is told here
                (disk / "filler").unlink()

        trainer.on_event = room
        run = trainer(disk / "run")
        lines = [json.loads(line) for line in (disk / "run/metrics.jsonl").read_text().splitlines() if line]
        return [line["step"] for line in lines], last_weights(run.folder)

    steps, ended = mounting(work)
    assert steps == [1, 7, 7, 14, 20, 21, 21]  # of the 14th step, what it came to as an epoch
    assert ended == weights


def test_a_folder_that_cannot_be_written_to_any_more(
    trainer: Any, tmp_path: Path, weights: bytes, mounting: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    disk = tmp_path / "disk"

    def work(mounts: Mounts) -> Any:
        mounts.memory(disk, "1m")
        at_step(trainer, 10, lambda: mounts.read_only(disk / "run"))
        text = failing(trainer, disk / "run")
        again = failing(trainer, disk / "run")
        mounts.unmount(disk / "run")
        trainer(disk / "run")
        return text, again, last_weights(disk / "run")

    text, again, ended = mounting(work)
    assert text.startswith(f"the folder {disk}/run/checkpoints/epoch-0002 cannot be written: Read-only file")
    assert text.endswith(f"the run goes on after epoch-0001 by: hmr train small --resume {disk}/run")
    assert again == f"{disk}/run/train.log cannot be written to: Read-only file system. Copy the run to where it can."
    assert ended == weights
    assert capfd.readouterr().err.count("could not be written to: Read-only file system") == 1


def test_shared_memory_that_fills_up(trainer: Any, tmp_path: Path, weights: bytes, mounting: Any) -> None:
    def work(mounts: Mounts) -> Any:
        mounts.memory(Path("/dev/shm"), "64m")
        Path("/dev/shm/others").write_bytes(bytes((64 << 20) - 100_000))  # a batch is larger than what is left
        text = failing(trainer, tmp_path / "run", workers=1)
        trainer(tmp_path / "run")  # by no worker, which needs none of it
        return text, last_weights(tmp_path / "run")

    text, ended = mounting(work)
    assert text.startswith("shared memory (/dev/shm: 67.1 MB, 0.")
    assert "has no room for the batch of a loading worker" in text
    assert ended == weights


def test_a_loading_worker_that_is_killed(trainer: Any, tmp_path: Path, weights: bytes) -> None:
    others = set(multiprocessing.active_children())

    def kill() -> None:
        for worker in set(multiprocessing.active_children()) - others:
            worker.kill()
            worker.join()

    at_step(trainer, 10, kill)
    text = failing(trainer, tmp_path / "run", workers=1)
    assert text.startswith("a loading worker died (killed by SIGKILL). If memory ran out, or shared memory")
    assert text.endswith("A training is saved as it was before, and goes on with `hmr train --resume RUN`.")
    (newest,) = names(tmp_path / "run")[-1:]
    assert newest.startswith("epoch-0001-step-")  # the last step whose batch was there
    trainer.on_event = lambda event: None
    assert last_weights(trainer(tmp_path / "run").folder) == weights


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "model.json"])
def test_a_checkpoint_that_is_cut_off(
    trainer: Any, tmp_path: Path, weights: bytes, name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(KeyboardInterrupt):
        trainer(tmp_path / "run", stop_after=15)
    newest = saved_checkpoints(tmp_path / "run/checkpoints")[-1]
    os.truncate(newest / name, (newest / name).stat().st_size // 2)
    assert last_weights(trainer(tmp_path / "run").folder) == weights
    assert trainer.events[0].first_step == 8
    assert sum(line.startswith("warning: ") for line in capfd.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("how", ["unlink", "rename"])
def test_a_pack_that_is_moved_or_removed_is_trained_on_to_the_end(
    small_spec: ModelSpec,
    make_trainer: Any,
    mini_pack_path: Path,
    tmp_path: Path,
    weights: bytes,
    workers: int,
    how: str,
) -> None:
    """It is open; only a run that goes on has to find it again."""
    pack = Path(shutil.copy(mini_pack_path, tmp_path / "pack.h5"))
    trainer = make_trainer(small_spec, Pack(pack))
    at_step(trainer, 10, pack.unlink if how == "unlink" else lambda: pack.rename(tmp_path / "moved.h5"))
    assert last_weights(trainer(tmp_path / "run", workers=workers).folder) == weights


@pytest.mark.parametrize("workers", [0, 1])
def test_a_pack_that_is_cut_off(
    small_spec: ModelSpec, make_trainer: Any, mini_pack_path: Path, tmp_path: Path, weights: bytes, workers: int
) -> None:
    pack = Path(shutil.copy(mini_pack_path, tmp_path / "pack.h5"))
    trainer = make_trainer(small_spec, Pack(pack))
    at_step(trainer, 10, lambda: os.truncate(pack, 20_000))
    assert failing(trainer, tmp_path / "run", workers=workers).startswith(f"{pack} was ")
    assert names(tmp_path / "run")[-1].startswith("epoch-0001-step-")
    shutil.copy(mini_pack_path, pack)
    trainer = make_trainer(small_spec, Pack(pack))
    assert last_weights(trainer(tmp_path / "run").folder) == weights


def test_a_run_whose_folder_is_removed(
    trainer: Any, tmp_path: Path, weights: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    """What it has learnt is written where the folder was, and can be gone on with."""
    run = tmp_path / "run"

    def stop(event: Any) -> None:
        if isinstance(event, StepDone) and event.step == 10:
            shutil.rmtree(run)
        elif isinstance(event, StepDone) and event.step == 15:
            raise KeyboardInterrupt

    trainer.on_event = stop
    with pytest.raises(KeyboardInterrupt):
        trainer(run)
    told = [line for line in capfd.readouterr().err.splitlines() if line.startswith("warning: ")]
    assert told == [
        f"warning: {run}/metrics.jsonl could not be written to: its folder was removed, or moved away; training goes on"
    ]
    assert names(run) == ["epoch-0002"]
    trainer.on_event = lambda event: None
    assert last_weights(trainer(run).folder) == weights


@pytest.fixture(scope="module")
def distributed() -> None:
    """What DistributedDataParallel imports at its first use, in seconds: once, and not in each forked process."""
    importlib.import_module("torch._dynamo")


def in_process_1(spec: ModelSpec, step: int, happens: Callable[[], Any]) -> ModelSpec:
    """The small model, to which something happens in process 1 before a step."""

    def build(config: Any) -> PoseModel:
        model = spec.build(config)
        steps = iter(range(1, 1000))

        def look(*_: object) -> None:
            if model.training and next(steps) == step and os.environ.get("RANK") == "1":
                happens()

        model.body.register_forward_pre_hook(look)
        return model

    return replace(spec, build=build)


@pytest.mark.usefixtures("distributed")
def test_a_process_of_two_that_is_killed(
    small_spec: ModelSpec, make_trainer: Any, mini_pack: Pack, tmp_path: Path, together: Together
) -> None:
    spec = in_process_1(small_spec, 5, lambda: os.kill(os.getpid(), signal.SIGKILL))
    began = time.monotonic()
    first, killed = together(lambda place: make_trainer(spec, mini_pack)(tmp_path / "run", checkpoint_every="3"), 2)
    assert time.monotonic() - began < 60
    assert killed == -signal.SIGKILL
    assert type(first) is PeerError
    assert str(first) == "another process ended, or was killed: process 1 of 2 (last seen at step 5)."
    assert names(tmp_path / "run") == ["epoch-0000-step-00000003"]
    make_trainer(small_spec, mini_pack)(tmp_path / "run")
    assert names(tmp_path / "run")[-1] == "epoch-0003"


@pytest.mark.usefixtures("distributed")
def test_a_process_of_two_that_hangs(
    small_spec: ModelSpec,
    make_trainer: Any,
    mini_pack: Pack,
    tmp_path: Path,
    together: Together,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(processes, "_LAST_WORDS_S", 1.0)
    given_up = tmp_path / "given_up"

    def hang() -> None:
        while not given_up.exists():
            time.sleep(0.1)

    spec = in_process_1(small_spec, 5, hang)

    def work(place: Place) -> Any:
        try:
            return make_trainer(spec, mini_pack)(tmp_path / "run", checkpoint_every="3", timeout_s=4.0)
        except HmrError as error:
            given_up.touch()
            return str(error)

    text, _ = together(work, 2)
    assert text == "another process did not come in time: process 1 of 2 (last seen at step 5)."
    assert names(tmp_path / "run") == ["epoch-0000-step-00000003"]


@pytest.mark.usefixtures("distributed")
def test_a_process_of_two_that_fails(
    trainer: Any, tmp_path: Path, together: Together, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch, read = ImageDataset.batch, []

    def failing(self: ImageDataset, keys: Any) -> Any:
        read.append(keys)
        if len(read) == 5 and os.environ.get("RANK") == "1":
            raise HmrError("the image of a sample is unreadable.")
        return batch(self, keys)

    monkeypatch.setattr(ImageDataset, "batch", failing)
    first, second = together(lambda place: trainer(tmp_path / "run"), 2)
    assert (type(second), str(second)) == (HmrError, "the image of a sample is unreadable.")
    assert (type(first), str(first)) == (PeerError, "process 1: the image of a sample is unreadable.")
    assert names(tmp_path / "run") == ["epoch-0000-step-00000004"]

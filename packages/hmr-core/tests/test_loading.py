"""Batches by worker processes: started once, by any method, holding no more memory from epoch to epoch."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch

from hmr_core.data.batch import Batch, Key
from hmr_core.data.image_dataset import ImageDataset
from hmr_core.data.loading import Loader, epoch_order, split_batches
from hmr_core.data.pack.reader import Pack
from hmr_core.errors import HmrError
from hmr_core.plugins.recipes import AugmentConfig, DataConfig
from hmr_core.shared_memory import Room
from hmr_core.shell import flag

CPU = torch.device("cpu")
MORE_KIB = 6 * 1024
"""What a process's memory may grow by over epochs; a copy of every window would be four times as much in each."""


class Tells(ImageDataset):
    """A data set whose batches say which process made them, and of which rows."""

    def batch(self, keys: Sequence[Key]) -> Batch:
        return replace(super().batch(keys), ids=[f"{os.getpid()} {key.row}" for key in keys])


def telling(pack: Pack, workers: int) -> Loader:
    data = Tells(pack, image_size=8, root_joint=9, data=DataConfig())
    return Loader(data, workers=workers, device=CPU)


def told(loader: Loader, rows: int) -> list[tuple[int, int]]:
    """Process and row of each sample."""
    loaded = loader.load(split_batches(np.arange(rows), 2))
    pairs = [sample_id.split() for batch in loaded for sample_id in batch.ids]
    return [(int(process), int(row)) for process, row in pairs]


def hands(pack: Pack) -> ImageDataset:
    return ImageDataset(pack, image_size=64, root_joint=9, data=DataConfig(), augment=AugmentConfig(), seed=5)


def test_workers_are_started_once(mini_pack: Pack) -> None:
    loader = telling(mini_pack, workers=2)
    first, second = told(loader, 8), told(loader, 6)
    processes = {process for process, _ in first}
    assert len(processes) == 2
    assert os.getpid() not in processes
    assert {process for process, _ in second} == processes
    assert [row for _, row in second] == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("workers", [0, 2])
def test_two_data_sets_are_loaded_by_the_same_workers(mini_pack: Pack, workers: int) -> None:
    training = Loader(hands(mini_pack), workers=workers, device=CPU)
    plain = ImageDataset(mini_pack, image_size=64, root_joint=9, data=DataConfig())
    validation = training.beside(plain)
    assert validation.dataset is plain
    others = set(multiprocessing.active_children())
    batches = split_batches(np.arange(8), 4, epoch=1)
    for _ in range(2):
        for loader in (training, validation):
            loaded = list(loader.load(batches))
            alone = [loader.dataset.batch(keys) for keys in batches]
            assert [batch.ids for batch in loaded] == [batch.ids for batch in alone]
            for a, b in zip(loaded, alone, strict=True):
                assert torch.equal(cast(Any, a).image, cast(Any, b).image)
            assert len(set(multiprocessing.active_children()) - others) == workers
    assert not torch.equal(
        cast(Any, next(training.load(batches))).image, cast(Any, next(validation.load(batches))).image
    )


def test_workers_end_with_the_loader(mini_pack: Pack) -> None:
    before = set(multiprocessing.active_children())
    loader = telling(mini_pack, workers=1)
    told(loader, 4)
    started = set(multiprocessing.active_children()) - before
    assert len(started) == 1
    del loader
    for process in started:
        process.join(timeout=20)
        assert not process.is_alive()


@pytest.mark.parametrize("workers", [0, 1])
def test_batches_that_were_not_taken_are_not_given_later(mini_pack: Pack, workers: int) -> None:
    loader = telling(mini_pack, workers)
    loaded = loader.load(split_batches(np.arange(40), 2))
    assert [sample_id.split()[1] for sample_id in next(loaded).ids] == ["0", "1"]
    del loaded
    assert [row for _, row in told(loader, 4)] == [0, 1, 2, 3]


@pytest.mark.parametrize("workers", [0, 1])
def test_loading_draws_nothing_from_the_generator_of_models(mini_pack: Pack, workers: int) -> None:
    before = torch.get_rng_state()
    told(telling(mini_pack, workers), 4)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.fixture(params=["fork", "spawn", "forkserver"])
def started_by(request: pytest.FixtureRequest) -> Iterator[str]:
    """The way in which processes are started, which differs from one version of Python to the next."""
    before = multiprocessing.get_start_method()
    multiprocessing.set_start_method(request.param, force=True)
    yield request.param
    multiprocessing.set_start_method(before, force=True)


def test_workers_may_be_started_in_any_way(mini_pack: Pack, started_by: str) -> None:
    data = hands(mini_pack)
    batches = split_batches(mini_pack.indices("sp0", "val"), 4, epoch=3)
    here = list(Loader(data, workers=0, device=CPU).load(batches))  # the file is open before workers are started
    there = list(Loader(data, workers=2, device=CPU).load(batches))
    assert [batch.ids for batch in there] == [batch.ids for batch in here]
    for a, b in zip(here, there, strict=True):
        assert torch.equal(cast(Any, a).image, cast(Any, b).image)
        assert torch.equal(a.targets.verts, b.targets.verts)


def test_ctrl_c_does_not_end_workers_in_any_way_of_starting_them(mini_pack: Pack, started_by: str) -> None:
    before = set(multiprocessing.active_children())
    loader = Loader(hands(mini_pack), workers=1, device=CPU)
    loaded = loader.load(split_batches(np.arange(8), 2))
    next(loaded)
    (worker,) = set(multiprocessing.active_children()) - before
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGINT)  # a terminal sends it to every process
    assert len(list(loaded)) == 3
    assert len(list(loader.load(split_batches(np.arange(4), 2)))) == 2


def test_a_worker_that_dies_is_told_where_its_batch_is_missed(mini_pack: Pack) -> None:
    before = set(multiprocessing.active_children())
    loader = telling(mini_pack, workers=1)
    loaded = loader.load(split_batches(np.arange(96), 2))
    next(loaded)
    (worker,) = set(multiprocessing.active_children()) - before
    worker.kill()
    worker.join()  # nothing is raised here, where no batch is asked for
    with pytest.raises(HmrError) as caught:
        list(loaded)
    text = str(caught.value)
    assert text.startswith("a loading worker died (killed by SIGKILL). If memory ran out, or shared memory (/dev/shm, ")
    assert "use fewer workers; with workers=0 a sample's fault shows itself." in text
    assert "use fewer --workers; with --workers 0 a" in caught.value.worded(flag), "as the command line has it"
    assert text.endswith("A training is saved as it was before, and goes on with `hmr train --resume RUN`.")


def test_a_worker_that_died_between_epochs_is_told_when_the_next_begins(mini_pack: Pack) -> None:
    before = set(multiprocessing.active_children())
    loader = telling(mini_pack, workers=1)
    told(loader, 4)
    (worker,) = set(multiprocessing.active_children()) - before
    worker.kill()
    worker.join()
    with pytest.raises(HmrError, match=r"^a loading worker died \(killed by SIGKILL\)\."):
        told(loader, 4)


class Fails(ImageDataset):
    """A data set with a fault that is no HmrError."""

    def batch(self, keys: Sequence[Key]) -> Batch:
        raise ZeroDivisionError("too much")


@pytest.mark.parametrize("workers", [0, 1])
def test_a_fault_that_nobody_expected_names_the_rows_and_keeps_its_traceback(mini_pack: Pack, workers: int) -> None:
    loader = Loader(Fails(mini_pack, image_size=8, root_joint=9, data=DataConfig()), workers=workers, device=CPU)
    with pytest.raises(HmrError) as caught:
        list(loader.load([[Key(0, 3), Key(0, 5)]]))
    assert str(caught.value) == (
        f"samples of {mini_pack.path} could not be loaded (ZeroDivisionError: too much); they are in the rows 3, 5. "
        "The traceback: HMR_DEBUG=1."
    )
    assert 'raise ZeroDivisionError("too much")' in caught.value.__notes__[0]


FULL = "unable to allocate shared memory(shm) for file </torch_1>: No space left on device (28)"


@pytest.mark.parametrize("workers", [0, 1])
def test_memory_that_runs_out_is_told_with_what_takes_it(
    mini_pack: Pack, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    def fail(*_: object) -> None:
        raise MemoryError("Unable to allocate 894. GiB")

    monkeypatch.setattr(ImageDataset, "_images", fail)
    with pytest.raises(HmrError) as caught:
        list(Loader(hands(mini_pack), workers=workers, device=CPU).load(split_batches(np.arange(8), 4)))
    assert str(caught.value) == (
        "memory ran out while a batch of 4 samples was loaded (Unable to allocate 894. GiB). Use a smaller "
        "batch_size or image_size (set), or fewer workers."
    )


@pytest.mark.parametrize("workers", [0, 1])
def test_shared_memory_that_is_full_is_an_error_of_the_batch(
    mini_pack: Pack, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    def full(*arguments: Any) -> None:
        raise RuntimeError(FULL)

    monkeypatch.setattr(torch.UntypedStorage, "_share_fd_cpu_", full)
    monkeypatch.setattr(torch.UntypedStorage, "_share_filename_cpu_", full)
    monkeypatch.setattr("hmr_core.data.loading.shared_memory", lambda: Room(size=64_000_000, free=1_250_000))
    loaded = telling(mini_pack, workers).load(split_batches(np.arange(8), 2))
    if workers == 0:
        assert len(list(loaded)) == 4  # nothing is shared
        return
    signal.signal(signal.SIGALRM, lambda *_: pytest.fail("it was waited for"))
    signal.alarm(60)
    try:
        with pytest.raises(HmrError) as caught:
            next(loaded)
    finally:
        signal.alarm(0)
    assert str(caught.value) == (
        f"shared memory (/dev/shm: 64.0 MB, 1.2 MB of it free) has no room for the batch of a loading worker: {FULL}. "
        "Use fewer workers or a smaller batch_size; workers=0 needs no shared memory. A container is given more "
        "with `docker run --shm-size 8g` or `docker run --ipc host`."
    )


LOADS = """
    import os, sys
    import numpy as np, torch
    from hmr_core.plugins.recipes import DataConfig
    from hmr_core.data.image_dataset import ImageDataset
    from hmr_core.data.loading import Loader, split_batches
    from hmr_core.data.pack.reader import Pack
    from hmr_core.errors import HmrError

    data = ImageDataset(Pack(sys.argv[1]), image_size=256, root_joint=9, data=DataConfig())
    try:
        for _ in Loader(data, workers=2, device=torch.device("cpu")).load(split_batches(np.arange(64), 32)):
            pass
    except HmrError as error:
        print(error)
    print([name for name in os.listdir("/dev/shm") if name.startswith("torch_")])
"""


@pytest.mark.parametrize(
    ("size", "text"),
    [("1m", "shared memory (/dev/shm: 1.0 MB, "), ("4k", "2 loading workers cannot be started: [Errno 28] No space")],
)
def test_small_shared_memory_is_told_in_a_line_and_ends_the_loading(mini_pack: Pack, size: str, text: str) -> None:
    own = ["unshare", "--mount", *([] if os.getuid() == 0 else ["--user", "--map-root-user"])]
    mount = f'mount -t tmpfs -o size={size} tmpfs /dev/shm && exec "$@"'
    inside = [*own, "sh", "-c", mount, "sh"]
    if (
        shutil.which("unshare") is None
        or subprocess.run([*inside, "true"], capture_output=True, check=False).returncode
    ):
        pytest.skip("this machine lets nobody mount a file system for a process alone")
    command = [*inside, sys.executable, "-c", textwrap.dedent(LOADS), str(mini_pack.path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.startswith(text)
    assert (done.stdout.splitlines()[1:], done.stderr) == (["[]"], "")


@pytest.mark.parametrize("workers", [1, 2])
def test_torch_does_not_warn_of_workers(mini_pack: Pack, monkeypatch: pytest.MonkeyPatch, workers: int) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0}, raising=False)
    assert len(told(telling(mini_pack, workers), 4)) == 4  # a warning would be an error


def anonymous_kib(process: int | None) -> int:
    """The memory of a process that is no file's."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("RssAnon")).split()[1])


@pytest.mark.parametrize("workers", [0, 1])
def test_memory_does_not_grow_over_epochs(mini_pack: Pack, workers: int) -> None:
    rows = np.arange(len(mini_pack))
    others = set(multiprocessing.active_children())
    loader = Loader(hands(mini_pack), workers=workers, device=CPU)
    found: list[int] = []
    for epoch in range(5):
        for _ in loader.load(split_batches(epoch_order(rows, 0, epoch), 16, epoch=epoch)):
            pass
        processes = [p.pid for p in set(multiprocessing.active_children()) - others] or [os.getpid()]
        found.append(max(anonymous_kib(process) for process in processes))
    assert max(found[2:]) < found[1] + MORE_KIB, found

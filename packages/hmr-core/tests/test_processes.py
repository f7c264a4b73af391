"""Processes that work together: their places, what they exchange, and how the failure of one ends all."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.distributed import HashStore

from hmr_core import processes
from hmr_core.errors import HmrError, Option, UsageError
from hmr_core.processes import ALONE, Group, PeerError, Place, check_shares, joined, place
from hmr_core.shell import flag

CPU = torch.device("cpu")

Together = Callable[..., list[Any]]

TORCHRUN = (
    *("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"),
    "TORCHELASTIC_RUN_ID",
)


@pytest.fixture(autouse=True)
def no_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in TORCHRUN:
        monkeypatch.delenv(name, raising=False)


def test_a_process_that_nobody_started_with_others_is_alone() -> None:
    assert place() == ALONE == Place(rank=0, count=1)
    assert place().first


def test_the_place_is_as_torchrun_says(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in zip(TORCHRUN, ("5", "8", "1", "4", "a-run"), strict=True):
        monkeypatch.setenv(name, value)
    assert place() == Place(rank=5, count=8, local=1, local_count=4, launch="a-run")
    assert not place().first


def test_launches_that_were_not_named_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    assert place().launch == f"{os.uname().nodename}-{os.getppid()}"
    for name, value in {"RANK": "2", "WORLD_SIZE": "4", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    assert place().launch == ""  # nothing that the machines have in common does


def test_shares_are_of_all_the_work_and_of_one_size() -> None:
    for count in (1, 2, 3, 8):
        shares = [Place(rank=rank, count=count).share_of(range(7)) for rank in range(count)]
        assert sorted(piece for share in shares for piece in share) == list(range(7))
        assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_a_batch_that_cannot_be_shared_equally_is_refused() -> None:
    check_shares(12, 3, "a batch")
    with pytest.raises(
        UsageError, match=r"^a batch of 12 cannot be shared by 5 processes equally\. Valid: 1, 2, 3, 4,"
    ):
        check_shares(12, 5, "a batch")


def test_a_single_process_needs_nobody() -> None:
    with joined(ALONE, CPU) as group:
        group.come(3)
        assert (group.rank, group.count, group.first) == (0, 1, True)
        assert (group.gather("it"), group.share("it"), group.most(2)) == (["it"], "it", 2)
        assert group.mean(torch.tensor([2.0])).tolist() == [2.0]
    assert Group().failure(HmrError("wrong")) is None


def test_what_processes_exchange(together: Together) -> None:
    def work(where: Place) -> Any:
        found: list[Any] = []
        for _ in range(2):  # they may meet again
            with joined(where, CPU) as group:
                mean = group.mean(torch.tensor([float(group.rank)])).tolist()
                found.append(
                    [
                        group.gather(group.rank * 10),
                        group.share({"of": group.rank}),
                        mean,
                        group.most(group.rank),
                    ]
                )
        return found

    first, *others = together(work)
    assert first == [[[0, 10, 20], {"of": 0}, [1.0], 2]] * 2
    assert others == [[[[], {"of": 0}, [1.0], 2]] * 2] * 2


def test_processes_that_are_started_again_hear_nothing_of_before(
    together: Together, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "_LAST_WORDS_S", 0.3)

    def work(where: Place) -> Any:
        with suppress(HmrError), joined(where, CPU) as group:
            if group.rank == 1:
                raise HmrError("wrong.")
            group.gather(0)
        processes._met.clear()  # as in a process that is new
        with joined(where, CPU, timeout_s=5.0) as group:
            return group.told(), group.share(3)

    assert together(work, 2) == [(None, 3)] * 2


def test_an_error_of_one_ends_all(together: Together, tmp_path: Path) -> None:
    def work(where: Place) -> Any:
        try:
            with joined(where, CPU) as group:
                if group.rank == 1:
                    raise UsageError("no such split.", "Give ", Option("split", tmp_path), ".")
                group.gather(0)
        except HmrError as error:
            return type(error), error.worded(flag), error.exit_code

    first, second, third = together(work)
    text = f"no such split. Give --split {tmp_path}."
    assert second == (UsageError, text, 2)
    assert first == third == (PeerError, f"process 1: {text}", 2)


@pytest.mark.parametrize("error", [HmrError("memory ran out"), KeyboardInterrupt()])
def test_on_gpus_a_process_that_fails_does_not_wait_for_the_others(
    monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    """They may be waiting on their GPUs for this one's part of a sum, which never comes."""
    parted: list[str] = []
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)
    monkeypatch.setattr(processes, "_meet", lambda where, timeout_s: HashStore())
    monkeypatch.setattr(torch.distributed, "init_process_group", lambda *given, **options: None)
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda *given: None)
    monkeypatch.setattr(torch.distributed, "destroy_process_group", lambda: parted.append("parted"))
    where = Place(rank=1, count=2, local=1, local_count=2)
    with pytest.raises(type(error)), joined(where, torch.device("cuda", 1)):
        raise error
    assert parted == []
    with joined(where, torch.device("cuda", 1)):
        pass
    assert parted == ["parted"]


@pytest.mark.parametrize(
    ("text", "lost"),
    [
        ("NCCL error in: NCCLUtils.cpp:94, invalid usage, ncclInvalidUsage: Duplicate GPU detected", False),
        ("NCCL error in: NCCLUtils.cpp:94, unhandled cuda error: 'out of memory'", False),
        ("ncclRemoteError: a network error or a remote process exiting prematurely", True),
        ("[0] is setting up NCCL communicator, but store->get('0') got error: wait timeout after 600000ms", True),
        ("NCCL communicator was aborted on rank 1", True),
    ],
)
def test_an_error_of_nccl_is_another_process_s_where_it_says_so(
    monkeypatch: pytest.MonkeyPatch, text: str, lost: bool
) -> None:
    monkeypatch.setattr(processes, "_LAST_WORDS_S", 0.0)
    error = torch.distributed.DistBackendError(text)
    found = Group(Place(rank=1, count=2), HashStore()).failure(error)
    assert isinstance(found, PeerError) if lost else found is None


def test_an_error_that_is_no_error_of_hmr_is_told_too(together: Together) -> None:
    def work(where: Place) -> Any:
        with joined(where, CPU) as group:
            if group.rank == 0:
                raise ZeroDivisionError("by zero")
            group.share(0)

    first, *others = together(work)
    assert isinstance(first, ZeroDivisionError)
    assert [str(error) for error in others] == ["process 0: ZeroDivisionError: by zero"] * 2


def test_a_process_that_is_killed_is_missed_at_once(together: Together, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_LAST_WORDS_S", 0.5)

    def work(where: Place) -> Any:
        with joined(where, CPU) as group:
            group.come(7 if group.rank == 1 else 8)
            if group.rank == 1:
                time.sleep(0.2)
                os.kill(os.getpid(), signal.SIGKILL)
            group.gather(0)

    began = time.monotonic()
    first, killed, last = together(work)
    assert time.monotonic() - began < 30
    assert killed == -signal.SIGKILL
    behind = "another process ended, or was killed: process 1 of 3 (last seen at step 7)."
    assert [type(error) for error in (first, last)] == [PeerError] * 2
    assert str(first) == str(last) == behind


def test_a_process_that_does_not_come_is_waited_for_in_vain(
    together: Together, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "_LAST_WORDS_S", 0.5)

    def work(where: Place) -> Any:
        with joined(where, CPU, timeout_s=2.0) as group:
            group.come(2 if group.rank else 1)
            if group.rank == 0:
                time.sleep(4)
                return "slept"
            return group.most(1)

    first, *others = together(work)
    assert first == "slept"
    for error in others:
        assert str(error) == "another process did not come in time: process 0 of 3 (last seen at step 1)."


def test_a_process_that_never_meets_the_others_is_named(together: Together) -> None:
    def work(where: Place) -> Any:
        if where.rank > 0:
            time.sleep(2.5)
            return None
        with joined(where, CPU, timeout_s=1.0):
            return "met"

    first, *_ = together(work)
    assert str(first) == "3 processes were to meet, and after 1 s there is none with the number 1, 2."


def test_without_a_place_to_meet_processes_are_told_of_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    with (
        pytest.raises(
            HmrError, match=r"^process 1 of 2 found no place to meet the others: .*MASTER_\w+.* torchrun names"
        ),
        joined(Place(rank=1, count=2), CPU),
    ):
        pass


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("the loader timed out"),
        RuntimeError("Connection closed by peer"),
        HmrError("the model failed"),
        TimeoutError("gloo"),
    ],
)
def test_a_process_s_own_errors_are_not_taken_for_those_of_others(error: Exception) -> None:
    assert processes._lost_peer(error) is None
    told = HmrError("the model failed")
    told.__cause__ = RuntimeError("[third_party/gloo/gloo/transport/tcp/pair.cc:553] Connection closed by peer")
    assert processes._lost_peer(told) == "another process ended, or was killed"
    late = RuntimeError("Application timeout caused pair closure")
    assert processes._lost_peer(late) == "another process did not come in time"


def test_processes_that_are_started_again_do_not_take_what_was_said_before_for_theirs() -> None:
    """All launches of one torchrun have one store. The first process comes last, as it may."""
    from torch.distributed import HashStore

    store, words = HashStore(), []
    for _ in range(2):
        until = time.monotonic() + 20
        with ThreadPoolExecutor() as pool:
            others = [pool.submit(processes._word, store, Place(rank=rank, count=3), until) for rank in (2, 1)]
            time.sleep(0.2)
            words.append(processes._word(store, Place(rank=0, count=3), until))
        assert [other.result() for other in others] == [words[-1], words[-1]]
    assert words[0] != words[1]

"""Devices, and the processes that load for them."""

from __future__ import annotations

import pytest
import torch

from hmr_core.devices import check_device_name, choose_device, choose_workers
from hmr_core.errors import UsageError
from hmr_core.processes import ALONE, Place

CPU = torch.device("cpu")


def test_workers_are_as_asked_for_and_else_fit_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = torch.device("cuda")
    monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(6)))  # as under taskset
    assert [choose_workers(given, CPU) for given in (None, 0, 3)] == [0, 0, 3]
    assert [choose_workers(given, cuda) for given in (None, 0, 3)] == [6, 0, 3]
    monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(64)))
    assert choose_workers(None, cuda) == 8


@pytest.fixture
def three_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 3)
    monkeypatch.setattr("torch.zeros", lambda *size, device: None)


def test_each_process_has_a_gpu_of_its_own(three_gpus: None) -> None:
    places = [Place(rank=3 + local, count=6, local=local, local_count=3) for local in range(3)]
    for name in (None, "cuda"):
        assert [str(choose_device(name, where)) for where in places] == ["cuda:0", "cuda:1", "cuda:2"]
        assert str(choose_device(name, ALONE)) == "cuda"
    assert {str(choose_device("cpu", where)) for where in places} == {"cpu"}


def test_the_place_is_this_process_s_where_none_is_given(three_gpus: None, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    assert str(choose_device(None)) == "cuda:1"
    monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(6)))
    assert choose_workers(None, torch.device("cuda")) == 3


def test_processes_are_no_more_than_the_gpus(three_gpus: None) -> None:
    text = (
        r"^4 processes on a machine with 3 GPUs: each needs a GPU of its own\. Valid: at most 3 of them, or "
        r"device=cpu to run them on the CPU\.$"
    )
    with pytest.raises(UsageError, match=text):
        choose_device(None, Place(count=4, local_count=4))


def test_processes_without_a_gpu_are_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: True)
    assert str(choose_device(None, ALONE)) == "mps"
    assert str(choose_device(None, Place(rank=1, count=2, local=1, local_count=2))) == "cpu"
    with pytest.raises(UsageError, match=r"^2 processes on a machine with 0 GPUs: .* Valid: device=cpu to run"):
        choose_device("cuda", Place(rank=1, count=2, local=1, local_count=2))


def test_several_processes_cannot_be_given_one_device() -> None:
    for name, why in (("cuda:1", "each process gets a GPU of its own"), ("mps", "mps is one device")):
        check_device_name(name, ALONE)
        with pytest.raises(UsageError, match=rf'^device "{name}" for 2 processes: {why}\. Valid: cuda, cpu\.$'):
            check_device_name(name, Place(count=2))

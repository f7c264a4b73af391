"""Devices, and the processes that load for them."""

from __future__ import annotations

import pytest
import torch

from hmr_core.devices import choose_workers

CPU = torch.device("cpu")


def test_workers_are_as_asked_for_and_else_fit_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = torch.device("cuda")
    monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(6)))  # as under taskset
    assert [choose_workers(given, CPU) for given in (None, 0, 3)] == [0, 0, 3]
    assert [choose_workers(given, cuda) for given in (None, 0, 3)] == [6, 0, 3]
    monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(64)))
    assert choose_workers(None, cuda) == 8

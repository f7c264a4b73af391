"""A machine that is taken away: the others go on from the last checkpoint."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from hmr_core.training.run_folder import is_finished
from hmr_core.weights.run_record import open_run

pytestmark = pytest.mark.slow

SOON = "join_timeout=60,last_call_timeout=1,keep_alive_interval=1,keep_alive_max_attempt=2"
"""How long torchrun waits for machines, in seconds: as short as a test may."""


def wait(until: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def steps(run: Path) -> int:
    """How many steps were measured."""
    lines = (run / "metrics.jsonl").read_text().splitlines() if (run / "metrics.jsonl").exists() else []
    return max((json.loads(line)["step"] for line in lines), default=0)


def children(process: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def test_two_machines_of_three_go_on_when_one_is_taken_away(
    small_site: Path, mini_pack_path: Path, tmp_path: Path
) -> None:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    torchrun = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nnodes",
        "2:3",
        "--nproc-per-node",
        "1",
        "--max-restarts",
        "3",
    ]
    rendezvous = [
        "--rdzv-backend",
        "c10d",
        "--rdzv-endpoint",
        f"localhost:{port}",
        "--rdzv-id",
        "job",
        "--local-addr",
        "localhost",
    ]
    given = ["train", "small", "--split", "sp0", "--recipe", "tiny", "--data", str(mini_pack_path), "--device", "cpu"]
    run = tmp_path / "run"
    command = ["-m", "hmr_core", *given, "--epochs", "8", "--checkpoint-every", "3", "--out", str(run)]
    environment = {**os.environ, "PYTHONPATH": str(small_site), "OMP_NUM_THREADS": "1", "SMALL_STEP_S": "0.1"}
    machines = []
    for number in range(3):
        conf = f"{SOON},is_host={int(number == 0)}"
        with (tmp_path / f"{number}.err").open("w") as said:
            machine = subprocess.Popen(
                [*torchrun, *rendezvous, "--rdzv-conf", conf, *command],
                env=environment, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=said,
            )  # fmt: skip
        machines.append(machine)
    try:
        wait(lambda: steps(run) >= 8)
        for process in [*children(machines[2].pid), machines[2].pid]:
            os.kill(process, signal.SIGKILL)
        wait(lambda: all(machine.poll() is not None for machine in machines))
        texts = [(tmp_path / f"{number}.err").read_text() for number in range(2)]
        assert [machine.returncode for machine in machines] == [0, 0, -signal.SIGKILL], texts
    finally:
        for machine in machines:
            if machine.poll() is None:
                machine.terminate()
                machine.wait(60)
    done = open_run(run)
    assert is_finished(done)
    assert done.processes == 3  # as it began
    log = (run / "train.log").read_text()
    assert "note: 2 processes now, 3 before: from here on the steps are the same but for rounding" in log
    assert "resumed after epoch" in log
    assert log.count("command: ") == log.count(f"command: hmr {' '.join(command[2:])}") >= 2
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines if line["kind"] == "epoch"] == list(range(1, 9))

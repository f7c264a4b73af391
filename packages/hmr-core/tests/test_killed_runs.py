"""Runs that are stopped by signals or killed, by the real command in processes of its own, end as undisturbed ones."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hmr_core.weights.checkpoint_folders import run_checkpoints
from hmr_core.weights.checkpoint_record import read_record

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
TIMES = ("seconds", "samples_per_second", "data_wait")


@pytest.fixture
def command(small_site: Path, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a program with the model `small` there."""

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *arguments],
            env={**os.environ, "PYTHONPATH": str(small_site), "OMP_NUM_THREADS": "1", **environment},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )

    return run


def figures(run: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key not in TIMES} for line in lines]


def test_signals_save_the_step_and_leave_the_command_that_goes_on(
    command: Callable[..., subprocess.CompletedProcess[str]], mini_pack_path: Path, tmp_path: Path
) -> None:
    given = ("--split", "sp0", "--recipe", "tiny", "--data", str(mini_pack_path), "--set", "dropout=true")
    train = ("-m", "hmr_core", "train")
    assert command(*train, "small", *given, "--out", "whole").returncode == 0
    arguments = ("small", *given, "--out", "run")
    for name, step, saved in (("SIGTERM", 3, "epoch-0000-step-00000003"), ("SIGUSR1", 6, "epoch-0001-step-00000006")):
        done = command(*train, *arguments, SMALL_STOP_AT=str(step), SMALL_SIGNAL=name)
        assert done.returncode == 128 + signal.Signals[name], done.stderr
        assert "Traceback" not in done.stderr
        goes_on = f"to go on after {saved}: hmr train small --resume run"
        assert f"interrupted (stopped by {name}) after epoch" in done.stderr
        assert any(line.startswith(goes_on) for line in done.stderr.splitlines())
        assert done.stderr.splitlines()[-1].startswith("to go on after ")
        assert goes_on in (tmp_path / "run/train.log").read_text()
        assert run_checkpoints(tmp_path / "run")[-1].name == saved
        arguments = ("--resume", "run")
    done = command(*train, *arguments)
    assert done.returncode == 0, done.stderr
    for file in ("model.safetensors", "optimizer.safetensors"):
        one, two = (run_checkpoints(tmp_path / run)[-1] / file for run in ("whole", "run"))
        assert one.read_bytes() == two.read_bytes()
    assert figures(tmp_path / "whole") == figures(tmp_path / "run")


def test_torchrun_passes_on_the_signals_that_the_job_script_of_the_docs_names(
    command: Callable[..., subprocess.CompletedProcess[str]], mini_pack_path: Path, tmp_path: Path
) -> None:
    page = (Path(__file__).parents[3] / "docs/training.md").read_text(encoding="utf-8")
    (signals,) = re.findall(r"--signals-to-handle (\S+)", page)
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--signals-to-handle", signals)
    given = ("--split", "sp0", "--recipe", "tiny", "--data", str(mini_pack_path), "--device", "cpu", "--epochs", "100")
    stop = {"SMALL_WHOM": "parent", "SMALL_SIGNAL": "SIGUSR1", "SMALL_STOP_AT": "5", "SMALL_STEP_S": "0.1"}
    done = command(*torchrun, "-m", "hmr_core", "train", "small", *given, "--out", "run", **stop)
    assert done.returncode != 0
    assert "interrupted (stopped by SIGUSR1) after epoch" in done.stderr
    step = read_record(run_checkpoints(tmp_path / "run")[-1] / "model.safetensors").step
    assert step is not None
    assert 5 <= step < 400  # that at which it was stopped


@pytest.mark.parametrize(("processes", "kills"), [(1, 2), (2, 1)])
def test_a_run_that_is_killed_again_and_again_ends_as_one_that_is_not(
    command: Callable[..., subprocess.CompletedProcess[str]], mini_pack_path: Path, processes: int, kills: int
) -> None:
    """tools/chaos_resume.py kills more often; here it is shown that it can."""
    sets = [
        f"--set={value}" for value in ("train.grad_accum=2", "train.ema_decay=0.9", "dropout=true", "batch_norm=true")
    ]
    given = ["small", "--split", "sp0", "--recipe", "tiny", "--data", str(mini_pack_path), "--epochs", "6", *sets]
    options = ["--kills", str(kills), "--processes", str(processes), "--seed", "1"]
    done = command(str(ROOT / "tools/chaos_resume.py"), *options, *given, SMALL_STEP_S="0.03")
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.match(rf"{processes} process\(es\), 24 steps, killed [1-{kills}] times", done.stdout)
    assert "the same weights, optimizer state and figures" in done.stdout

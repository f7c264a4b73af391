"""`--gpus N` and torchrun: the same command by several processes, and what is told when one of them fails."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from hmr_core import launcher
from hmr_core.cli.main import main
from hmr_core.interrupts import Stopped
from hmr_core.launcher import launch
from hmr_core.plugins.run import Run
from hmr_core.worker_error import WorkerError

pytestmark = pytest.mark.slow

PLUGIN = """
import os, signal, time
from pathlib import Path
import torch
from torch import nn
from hmr_core.config import ModelConfig
from hmr_core.nn.model import PoseModel, Prediction
from hmr_core.plugins import ModelSpec, hookimpl

class Config(ModelConfig):
    broken_after: int = -1

class Model(PoseModel):
    def __init__(self, config):
        super().__init__()
        self.body = nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(48, 63))

    def forward(self, inputs):
        what = os.environ.get("SMALL_" + os.environ.get("RANK", ""))
        if what == "fail":
            raise ValueError("the small model is unwell")
        if what == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if what == "sleep":
            Path(os.environ["SMALL_SLEEPS"]).mkdir()
            time.sleep(60)
        return Prediction(joints_uvd=torch.sigmoid(self.body(inputs.image)).view(-1, 21, 3))

    def loss(self, prediction, targets):
        return {"uvd": (prediction.joints_uvd - targets.joints_uvd).abs().mean()}

@hookimpl
def hmr_models():
    recipe = Path(__file__).with_suffix(".toml")
    recipe.write_text("[model]\\nimage_size = 32\\n")
    recipes = {"tiny": recipe}
    return [ModelSpec(name="small", summary="small", config=Config, recipes=recipes, root_joint=9, build=Model)]
"""

UNWELL = (
    "the model Model failed in the batch that begins with {first}: ValueError: the small model is unwell (set "
    "HMR_DEBUG=1 for the traceback). `hmr plugins` says which package it is from."
)


@pytest.fixture(scope="module")
def site(fakes_module: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of packages with the model of the finished run, which does in each process what SMALL_<RANK> says."""
    site = tmp_path_factory.mktemp("site")
    fakes_module.install(site, "small", PLUGIN)
    return site


@pytest.fixture(scope="module")
def fakes_module(request: pytest.FixtureRequest) -> Any:
    return next(plugin for plugin in request.config.pluginmanager.get_plugins() if hasattr(plugin, "FakeEntryPoint"))


@pytest.fixture
def command(finished_run: Run, site: Path, mini_pack_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What evaluates the finished run in four batches; processes that it starts know its model."""
    monkeypatch.syspath_prepend(str(site))
    for name, value in {"PYTHONPATH": str(site), "HMR_DATA": str(mini_pack_path), "OMP_NUM_THREADS": "1"}.items():
        monkeypatch.setenv(name, value)
    return ["eval", "small", "--ckpt", str(finished_run.folder), "--batch-size", "7", "--device", "cpu"]


@pytest.fixture
def hmr(command: list[str], capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    def run(*arguments: str) -> tuple[int, str, str]:
        capfd.readouterr()
        status = main([*command, *arguments])
        return (status, *capfd.readouterr())

    return run


@pytest.fixture
def start(command: list[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs the command by a module in a process of its own: torchrun's, or hmr's."""

    def run(module: tuple[str, ...], *arguments: str) -> tuple[int, str, str]:
        words = [sys.executable, "-m", *module, *command, *arguments]
        done = subprocess.run(words, capture_output=True, text=True, timeout=150, check=False)
        return done.returncode, done.stdout, done.stderr

    return run


HMR = ("hmr_core",)
TORCHRUN = ("torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "hmr_core")


def results(folder: Path) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The figures and the arrays of an evaluation."""
    report = json.loads((folder / "report.json").read_text())
    with h5py.File(folder / "predictions.h5") as file:
        arrays = {name: np.asarray(file[name]).tobytes() for name in file}
    return {name: report[name] for name in ("metrics", "aligned", "baseline", "errors")}, arrays


def test_more_processes_give_the_same_and_one_speaks(
    hmr: Callable[..., tuple[int, str, str]], start: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    one, two, also_two = (tmp_path / name for name in ("one", "two", "also-two"))
    status, said, _ = hmr("--out", str(one))
    assert status == 0
    status, out, err = start(HMR, "--out", str(two), "--gpus", "2")
    assert (status, out) == (0, said.replace(str(one), str(two)))
    predicted, scored = err.splitlines()  # torch's engine is not heard
    assert predicted.startswith("small on sp0 test (share 1 of 2): 14/14 images in ")
    assert scored.startswith("scoring: 24/24 samples in ")
    status, out, err = start(TORCHRUN, "--out", str(also_two))
    assert (status, out) == (0, said.replace(str(one), str(also_two)))
    assert err.splitlines()[-2].startswith("small on sp0 test (share 1 of 2): 14/14 images in ")
    assert results(two) == results(also_two) == results(one)
    report = json.loads((two / "report.json").read_text())
    assert report["processes"] == 2
    assert report["started"]["command"].endswith(f"--out {two} --gpus 2")


@pytest.mark.parametrize("module", [HMR, TORCHRUN], ids=["hmr", "torchrun"])
def test_the_error_of_a_process_is_told(
    module: tuple[str, ...],
    start: Callable[..., tuple[int, str, str]],
    monkeypatch: pytest.MonkeyPatch,
    mini_pack: Any,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("SMALL_1", "fail")
    error = UNWELL.format(first=mini_pack.ids(mini_pack.indices("sp0", "test"))[7])
    gpus = ["--gpus", "2"] if module == HMR else []
    status, out, err = start(module, "--out", str(tmp_path / "results/out"), *gpus)
    assert (status, out) == (1, "")
    assert list((tmp_path / "results").iterdir()) == []
    if module == TORCHRUN:
        assert f"  traceback : {error}" in err.splitlines()
        return
    assert err.splitlines()[-1] == f"error: {error}"
    assert err.count("unwell") == 1
    assert "Traceback" not in err


def test_a_process_that_was_killed_is_named(
    start: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SMALL_1", "kill")
    status, _, err = start(HMR, "--out", str(tmp_path / "results/out"), "--gpus", "2")
    assert status == 1
    assert err.splitlines()[-1] == "error: process 1 was killed by SIGKILL (out of memory?)."
    assert list((tmp_path / "results").iterdir()) == []


@pytest.mark.parametrize(
    ("killed_at", "text"),
    [
        (1000, "process 1 was killed by SIGKILL (out of memory?)."),  # which the others noticed after it
        (1066, "another process did not come in time: process 1 of 2"),  # by hmr, after the others had given it up
    ],
)
def test_a_process_that_hangs_is_not_taken_for_one_that_was_killed(tmp_path: Path, killed_at: int, text: str) -> None:
    from torch.distributed.elastic.multiprocessing.errors import ProcessFailure

    waited = WorkerError(text="another process did not come in time: process 1 of 2", status=1, of_another=True)
    told = {"message": waited.text, "extraInfo": {"timestamp": "1005"}}
    (tmp_path / "0").write_text(json.dumps({"message": told, "hmr": asdict(waited)}))
    failures = {
        rank: ProcessFailure(local_rank=rank, pid=0, exitcode=code, error_file=str(tmp_path / str(rank)))
        for rank, code in ((0, 1), (1, -signal.SIGKILL))
    }
    failures[1].timestamp = killed_at
    assert launcher._told(failures, tmp_path).message == text


def test_a_signal_is_passed_on(
    command: list[str], start_hmr: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    sleeps = tmp_path / "sleeps"
    monkeypatch.setenv("SMALL_1", "sleep")
    monkeypatch.setenv("SMALL_SLEEPS", str(sleeps))
    process = start_hmr(*command, "--out", str(tmp_path / "results/out"), "--gpus", "2", until=sleeps.exists)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 128 + signal.SIGTERM
    assert err.splitlines()[-1] == "interrupted"
    assert list((tmp_path / "results").iterdir()) == []


def test_a_signal_that_torch_does_not_heed_is_passed_on_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the signals that Slurm may warn by, older versions of torch's engine know none."""

    class Engine:
        def __init__(self, *given: object) -> None: ...

        def __call__(self, *arguments: str) -> None:
            os.kill(os.getpid(), signal.SIGUSR1)
            time.sleep(1)

    monkeypatch.setattr("torch.distributed.launcher.api.elastic_launch", Engine)
    before = signal.signal(signal.SIGUSR1, own := lambda number, frame: None)
    try:
        with pytest.raises(Stopped) as caught:
            launch(2, ["eval"])
        assert caught.value.number == signal.SIGUSR1
        assert signal.getsignal(signal.SIGUSR1) is own
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_a_mistake_is_told_before_anything_is_started(
    hmr: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hmr_core.cli.gpus.launch", lambda *given, **options: pytest.fail("it was started"))
    for options, text in (
        (["--gpus", "2", "--subset", "tests"], 'has no subset "tests" of sp0.'),
        (["--gpus", "2", "--device", "cuda:1"], 'device "cuda:1" for 2 processes: each process gets a GPU of its own.'),
        (["--gpus", "64", "--device", "cuda"], "64 processes on a machine with "),
        (["--gpus", "0"], "0 is not in the range x>=1."),
        (["--max-restarts", "1"], "--max-restarts is of the processes that --gpus starts, and there is no --gpus."),
    ):
        status, out, err = hmr(*options)
        assert (status, out) == (2, "")
        assert text in err
    monkeypatch.setenv("WORLD_SIZE", "2")
    status, _, err = hmr("--gpus", "2")
    assert status == 2
    assert "--gpus starts processes, and this is one of 2 already that torchrun started. Leave it out." in err


def test_a_single_process_starts_no_other(
    hmr: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("hmr_core.cli.gpus.launch", lambda *given, **options: pytest.fail("it was started"))
    monkeypatch.setattr("torch.distributed.init_process_group", lambda *given, **options: pytest.fail("they met"))
    assert hmr("--out", str(tmp_path / "out"))[0] == 0
    assert json.loads((tmp_path / "out/report.json").read_text())["processes"] == 1

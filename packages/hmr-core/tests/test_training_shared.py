"""Several processes share a training: as one process would train, and nothing is lost."""

from __future__ import annotations

import json
import subprocess
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from hmr_core.cli.worker import as_worker
from hmr_core.data.batch import Key
from hmr_core.data.loading import split_batches, split_steps
from hmr_core.errors import UsageError
from hmr_core.plugins.events import EpochDone, Event
from hmr_core.plugins.run import CHECKPOINTS, CONFIG, LOG, METRICS, Run
from hmr_core.processes import Place, check_shares, joined
from hmr_core.training.state import agreed_checkpoint
from hmr_core.training.step import seed_step
from hmr_core.training.watchers import StopRun
from hmr_core.weights.checkpoint_folders import saved_checkpoints

pytestmark = pytest.mark.slow

Several = Callable[..., subprocess.CompletedProcess[str]]
Together = Callable[..., list[Any]]


@pytest.fixture
def train(run_several: Several, mini_pack_path: Path, tmp_path: Path) -> Callable[..., Path]:
    """Trains the small model in so many processes, and gives the run's folder."""

    def trained(name: str, count: int, *options: str) -> Path:
        folder = tmp_path / name
        given = ["--split", "sp0", "--recipe", "tiny", "--data", str(mini_pack_path), "--device", "cpu"]
        done = run_several(count, "train", "small", *given, "--out", str(folder), *options)
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[0] == f"run: {folder}"
        assert len(done.stdout.splitlines()) == 2  # the first process alone speaks
        return folder

    return trained


def lines(folder: Path, kind: str) -> list[dict[str, Any]]:
    """What a run measured at its steps, or of its epochs."""
    found = [json.loads(line) for line in (folder / METRICS).read_text().splitlines()]
    return [line for line in found if line["kind"] == kind]


def last(folder: Path, file: str = "model.safetensors") -> Path:
    """A file of a run's last checkpoint."""
    return saved_checkpoints(folder / CHECKPOINTS)[-1] / file


def test_two_processes_train_as_one_does_and_so_do_two_parts(train: Callable[..., Path]) -> None:
    long = ("--epochs", "5")  # 20 steps
    one, two, parts = train("one", 1, *long), train("two", 2, *long), train("parts", 1, *long, "--grad-accum", "2")
    for other in (two, parts):
        for kind in ("step", "epoch"):
            for own, its in zip(lines(one, kind), lines(other, kind), strict=True):
                assert its["losses"] == pytest.approx(own["losses"], rel=1e-6)
        weights = load_file(last(other))
        for name, value in load_file(last(one)).items():
            assert weights[name].numpy() == pytest.approx(value.numpy(), rel=1e-4, abs=1e-6), name
    figures = lines(one, "epoch")[-1]["val"]
    for name, value in lines(two, "epoch")[-1]["val"].items():
        assert value is None if figures[name] is None else value == pytest.approx(figures[name], rel=1e-5), name
    assert json.loads((two / CONFIG).read_text())["processes"] == 2


def test_two_processes_that_were_stopped_go_on_to_the_very_same(
    train: Callable[..., Path], run_several: Several, monkeypatch: pytest.MonkeyPatch, mini_pack_path: Path
) -> None:
    """With batch norm's own statistics in each, dropout, and parts of a batch."""
    options = [f"--set={key}" for key in ("batch_norm=true", "dropout=true", "train.grad_accum=3")]
    whole = train("whole", 2, *options)
    stopped = whole.with_name("stopped")
    given = [
        "--split",
        "sp0",
        "--recipe",
        "tiny",
        "--data",
        str(mini_pack_path),
        "--device",
        "cpu",
        "--out",
        str(stopped),
    ]
    done = run_several(2, "train", "small", *given, *options, SMALL_STOP_AT="6")  # of 4 steps an epoch
    assert done.returncode != 0
    assert last(stopped).parent.name == "epoch-0001-step-00000006"
    done = run_several(2, "train", "small", "--resume", str(stopped), "--device", "cpu")
    assert done.returncode == 0, done.stderr
    for file in ("model.safetensors", "optimizer.safetensors"):
        assert last(stopped, file).read_bytes() == last(whole, file).read_bytes()


def test_all_go_on_from_the_checkpoint_that_the_first_one_finds(together: Together, run: Run, tmp_path: Path) -> None:
    """Folders of the same name on several machines need not hold the same, and shared ones may be seen late."""
    found = {0: ["epoch-0001"], 1: ["epoch-0001", "epoch-0002"], 2: []}
    for rank, names in found.items():
        for name in names:
            (tmp_path / str(rank) / CHECKPOINTS / name).mkdir(parents=True)

    def work(where: Place) -> Any:
        with joined(where, torch.device("cpu")) as group:
            return agreed_checkpoint(replace(run, folder=tmp_path / str(where.rank)), group)

    assert together(work) == [tmp_path / str(rank) / CHECKPOINTS / "epoch-0001" for rank in found]


def test_an_observer_of_the_first_process_stops_all(together: Together, trainer: Any, tmp_path: Path) -> None:
    def prune(event: Event) -> None:
        if isinstance(event, EpochDone):
            raise StopRun("pruned")

    trainer.on_event = prune
    for error in together(lambda where: trainer(tmp_path / "run"), 2):
        assert isinstance(error, StopRun), error
        assert error.reason == "pruned"
    assert "pruned after epoch 1, " in (tmp_path / "run" / LOG).read_text()


def test_processes_validate_what_the_first_of_them_saves(
    train: Callable[..., Path], run_several: Several, mini_pack_path: Path
) -> None:
    """With batch norm's own statistics in each, averaged weights, and a part that is frozen at first."""
    options = ["batch_norm=true", "train.ema_decay=0.7", 'train.freeze=["body.3.bias"]', "train.freeze_epochs=1"]
    run = train("run", 2, *(f"--set={key}" for key in options))
    told = json.loads(last(run, "model.json").read_text())["val"]
    out = run.with_name("eval")
    given = [
        "--split",
        "sp0",
        "--subset",
        "val",
        "--data",
        str(mini_pack_path),
        "--device",
        "cpu",
        "--batch-size",
        "12",
        "--out",
        str(out),
    ]
    done = run_several(1, "eval", "small", "--ckpt", str(run), *given)
    assert done.returncode == 0, done.stderr
    assert json.loads((out / "report.json").read_text())["metrics"] == told
    saved = [load_file(folder / "optimizer.safetensors") for folder in saved_checkpoints(run / CHECKPOINTS)]
    steps = [{name: int(state[f"step/body.3.{name}"]) for name in ("weight", "bias")} for state in saved]
    assert steps[-1] == {"weight": 12, "bias": 8}  # 4 steps are an epoch


def test_each_process_has_its_part_of_every_batch() -> None:
    import numpy as np

    rows = np.arange(26)
    whole = split_batches(rows[:24], 12, epoch=4)
    for count, parts in ((1, 1), (2, 1), (1, 3), (2, 3), (3, 2)):
        shares = [split_steps(rows, 12, epoch=4, rank=rank, count=count, parts=parts) for rank in range(count)]
        assert all(len(share) == 2 and {len(step) for step in share} == {parts} for share in shares)
        for number, batch in enumerate(whole):
            keys: list[Key] = [key for share in shares for part in share[number] for key in part]
            assert keys == batch


def test_a_number_of_processes_that_does_not_divide_the_batch_is_refused_with_those_that_do() -> None:
    check_shares(12, 3, "a batch")
    with pytest.raises(
        UsageError, match=r"^a batch of 12 cannot be shared by 5 processes equally\. .*1, 2, 3, 4, 6, 12"
    ):
        check_shares(12, 5, "a batch")


def test_what_a_model_draws_differs_between_processes_and_steps() -> None:
    import torch

    drawn = []
    with torch.random.fork_rng():
        for seed, step, rank in ((3, 1, 0), (3, 1, 1), (3, 2, 0), (4, 1, 0), (3, 1, 0)):
            seed_step(seed, step, rank, torch.device("cpu"))
            drawn.append(torch.rand(4))
        torch.manual_seed(torch.initial_seed())
        assert torch.equal(drawn[-1], torch.rand(4))  # PyTorch's own way of seeding gives the same
    assert torch.equal(drawn[0], drawn[-1])
    assert not any(torch.equal(drawn[0], other) for other in drawn[1:-1])


def test_how_gradients_lie_in_memory_is_no_users_concern(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_CPP_LOG_LEVEL", "ERROR")
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        with as_worker(Place(rank=0, count=2)):  # oneDNN chooses the layout, so DDP warns on some machines alone
            warnings.warn("Grad strides do not match bucket view strides. This may indicate", stacklevel=1)
            warnings.warn("another", stacklevel=1)
    assert [str(warning.message) for warning in warned] == ["another"]

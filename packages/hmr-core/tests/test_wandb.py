"""What W&B is given of a run, and that nothing leaves the machine unless that is asked for."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hmr_core.errors import HmrError
from hmr_core.plugins.events import EpochDone, RunEnded, RunStarted, StepDone
from hmr_core.plugins.run import Run
from hmr_core.training.asked_data import asked_packs
from hmr_core.training.request import TrainingRequest
from hmr_core.training.resume import go_on
from hmr_core.training.session import start
from hmr_core.training.wandb import WandB


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WANDB_MODE", "WANDB_PROJECT", "WANDB_ERROR_REPORTING"):
        monkeypatch.setenv(name, "")  # so that it is as it was afterwards
        monkeypatch.delenv(name)


@pytest.fixture
def ask(trainer: Any, fakes: Any, tmp_path: Path) -> Callable[..., Run]:
    """Trains the small model with W&B, given observers, and what takes notes."""
    plugins = fakes.registry(fakes.plugin("small", hmr_models=lambda: [trainer.spec]))
    folder = tmp_path / "run"
    asked = {
        "model": "small",
        "split": "sp0",
        "recipe": "tiny",
        "data": asked_packs(trainer.pack.path),
        "device": "cpu",
    }
    request = TrainingRequest(**asked, workers=0, out=folder, wandb=True)

    def train(*given: Any) -> Run:
        return go_on(folder, plugins, *given, device="cpu", workers=0) if folder.exists() else start(
            request, plugins, *given
        )  # fmt: skip

    return train


def test_a_run_is_written_offline_and_a_resumed_one_goes_on_with_it(ask: Callable[..., Run], tmp_path: Path) -> None:
    pytest.importorskip("wandb")

    def stop(run: Run, event: object) -> None:
        if isinstance(event, StepDone) and event.step == 9:
            raise KeyboardInterrupt

    told: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        ask([stop], told.append)
    ask([], told.append)
    assert told == []

    identity = (tmp_path / "run/wandb/id").read_text().strip()
    parts = sorted((tmp_path / "run/wandb").glob(f"offline-run-*-{identity}/run-{identity}.wandb"))
    assert len(parts) == 2
    first, second = (part.read_bytes() for part in parts)
    for name in ("loss/uvd", "learning_rate", "gradient_norm", "samples_per_second", "data_wait", "val/mpjpe_mm"):
        assert first.count(name.encode()) > 0
        assert second.count(name.encode()) > first.count(name.encode())  # two epochs, where the first part has one


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What a W&B of the test's own is begun with, given and ended with."""
    calls: list[dict[str, Any]] = []
    drawn = types.SimpleNamespace(
        define_metric=lambda *names, **options: None,
        log=calls.append,
        finish=lambda **options: calls.append(options),
    )

    def init(**options: Any) -> Any:
        calls.append(options)
        return drawn

    fake = types.ModuleType("wandb")
    monkeypatch.setattr(fake, "init", init, raising=False)
    monkeypatch.setattr(fake, "Settings", dict, raising=False)
    monkeypatch.setitem(sys.modules, "wandb", fake)
    monkeypatch.setattr("hmr_core.optional_packages.find_spec", lambda name: object())
    return calls


def watch(run: Run, reason: str = "finished") -> None:
    """A run of one step, as W&B sees it."""
    watcher = WandB()
    sizes: dict[str, Any] = {"steps_per_epoch": 1, "train_samples": 8, "val_samples": 9, "parameters": 1}
    where: dict[str, Any] = {"device": "cuda", "processes": 1, "arithmetic": "float32"}
    watcher(run, RunStarted(first_epoch=1, first_step=1, epochs=1, notes=(), **sizes, **where))
    measured: dict[str, Any] = {"learning_rate": 0.1, "gradient_norm": 2.0, "samples_per_second": 8.0, "data_wait": 0.5}
    watcher(run, StepDone(epoch=1, step=1, losses={"total": 3.0}, device_memory_mb=7.0, **measured))
    watcher(
        run, EpochDone(epoch=1, step=1, losses={"total": 3.0}, val={"mpjpe_mm": 4.0, "mpvpe_mm": None}, seconds=1.0)
    )
    watcher(run, RunEnded(epoch=1, seconds=1.0, reason=reason))


def test_what_w_and_b_is_given(run: Run, given: list[dict[str, Any]]) -> None:
    watch(run)
    begun, step, epoch, ended = given
    assert (begun["project"], begun["name"], begun["mode"], begun["resume"]) == ("hmr", "finished", "offline", None)
    assert begun["config"]["train"] == run.recipe["train"]
    assert begun["dir"] == str(run.folder)
    assert step == {
        "loss/total": 3.0, "learning_rate": 0.1, "gradient_norm": 2.0, "samples_per_second": 8.0, "data_wait": 0.5,
        "device_memory_mb": 7.0, "step": 1, "epoch": 1,
    }  # fmt: skip
    assert epoch == {"epoch_loss/total": 3.0, "val/mpjpe_mm": 4.0, "step": 1, "epoch": 1}
    assert ended == {"exit_code": 0}


def test_the_environment_says_whether_and_where_it_is_sent(
    run: Run, given: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    watch(run)
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("WANDB_PROJECT", "hands")
    watch(run, reason="stopped by an error")
    first, second = given[0], given[4]
    assert (second["project"], second["mode"], second["resume"]) == ("hands", "online", "allow")
    assert second["id"] == first["id"]
    assert given[-1] == {"exit_code": 1}
    watch(run, reason="finished early (MPJPE on val was lowest at epoch 1, 4.000 mm)")
    assert given[-1] == {"exit_code": 0}
    (run.folder / "wandb/id").write_text("../..")
    watch(run)
    assert given[12]["id"] not in ("../..", first["id"])


def test_w_and_b_that_is_not_installed_is_an_error_before_the_run(
    ask: Callable[..., Run], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("hmr_core.optional_packages.find_spec", lambda name: None)
    with pytest.raises(HmrError, match=r'W&B is not installed\. Run: pip install "hmr-core\[wandb\]"'):
        ask()
    assert list(tmp_path.iterdir()) == []

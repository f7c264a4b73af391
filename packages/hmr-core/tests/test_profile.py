"""A profile of some of a run's steps: what is written, what is told, and that training does not notice."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from hmr_core.errors import UsageError
from hmr_core.plugins.run import Run
from hmr_core.training.asked_data import asked_packs
from hmr_core.training.profile import Profile
from hmr_core.training.request import TrainingRequest
from hmr_core.training.resume import go_on
from hmr_core.training.session import start


@pytest.fixture
def train(trainer: Any, fakes: Any) -> Callable[..., Run]:
    """Trains the small model into a folder for some epochs of seven steps, with observers, or goes on with it."""
    plugins = fakes.registry(fakes.plugin("small", hmr_models=lambda: [trainer.spec]))
    asked = {
        "model": "small",
        "split": "sp0",
        "recipe": "tiny",
        "data": asked_packs(trainer.pack.path),
        "device": "cpu",
    }

    def trained(folder: Path, *observers: Any, epochs: int = 1) -> Run:
        if folder.exists():
            return go_on(folder, plugins, observers, device="cpu", workers=0)
        return start(TrainingRequest(**asked, workers=0, out=folder, epochs=epochs), plugins, observers)

    return trained


def test_some_steps_are_recorded_and_training_does_not_notice(
    train: Callable[..., Run], trainer: Any, tmp_path: Path
) -> None:
    told: list[str] = []
    plain, profiled = train(tmp_path / "plain"), train(tmp_path / "profiled", Profile(3, told.append))
    for name, weights in trainer.weights(plain).items():
        assert torch.equal(weights, trainer.weights(profiled)[name])
    folder = profiled.folder / "profile"
    assert {file.name for file in folder.iterdir()} == {"steps-3-5.json", "operators.txt"}
    (line,) = told
    assert line.startswith(f"profile of steps 3 to 5: {folder / 'steps-3-5.json'}")
    events = json.loads((folder / "steps-3-5.json").read_text())["traceEvents"]
    steps = {event["name"] for event in events if event["name"].startswith("ProfilerStep#")}
    assert len(steps) == 3
    assert any(event["name"] == "aten::addmm" for event in events)
    rows = [line for line in (folder / "operators.txt").read_text().splitlines() if re.search(r"\d+\.\d\d%", line)]
    assert 0 < len(rows) <= 10


def test_a_profile_ends_with_its_run(
    train: Callable[..., Run], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    told: list[str] = []
    run = train(tmp_path / "run", Profile(100, told.append))
    assert "profiler_st" not in capfd.readouterr().err  # lines of the profiler's own, with its source files
    assert [file.name for file in (run.folder / "profile").glob("*.json")] == ["steps-3-7.json"]
    assert len(told) == 1


def test_of_a_run_that_is_too_short_there_is_none(
    train: Callable[..., Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr("hmr_core.training.profile.WARM_UP", 7)
    run = train(tmp_path / "run", Profile(1, told.append))
    assert told == ["note: no profile: it begins after 7 steps, and there were no more"]
    assert not (run.folder / "profile").exists()


def test_a_profile_of_a_resumed_run_is_of_the_steps_that_are_taken(train: Callable[..., Run], tmp_path: Path) -> None:
    def stop(run: Run, event: object) -> None:
        if type(event).__name__ == "CheckpointSaved":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "run", stop, epochs=2)
    run = train(tmp_path / "run", Profile(2, lambda line: None))
    assert [file.name for file in (run.folder / "profile").glob("*.json")] == ["steps-10-11.json"]


def test_a_profile_of_nothing_is_refused() -> None:
    with pytest.raises(UsageError, match="a profile of 0 steps"):
        Profile(0)

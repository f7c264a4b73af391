"""An observer may end the run that it watches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hmr_core.plugins.events import EpochDone, Event, RunEnded, RunStarted
from hmr_core.plugins.registry import Registry
from hmr_core.plugins.run import Run
from hmr_core.training.watchers import StopRun, Watchers
from hmr_core.weights.checkpoint_folders import saved_checkpoints


def test_an_observer_stops_a_run_which_may_be_resumed(trainer: Any, tmp_path: Path) -> None:
    def stop(event: Event) -> None:
        if isinstance(event, EpochDone) and event.epoch == 2:
            raise StopRun("pruned")

    trainer.on_event = stop
    with pytest.raises(StopRun):
        trainer(tmp_path / "run")
    assert isinstance(trainer.events[-1], RunEnded)
    assert (trainer.events[-1].reason, trainer.events[-1].epoch) == ("pruned", 2)
    assert "pruned after epoch 2" in (tmp_path / "run/train.log").read_text()
    assert saved_checkpoints(tmp_path / "run/checkpoints")[-1].name == "epoch-0002"
    trainer.on_event = lambda event: None
    trainer(tmp_path / "run")
    assert isinstance(trainer.events[0], RunStarted)
    assert trainer.events[0].first_epoch == 3
    assert trainer.events[-1].reason == "finished"


def test_all_are_told_of_an_event_before_the_run_stops(run: Run, fakes: Any) -> None:
    told: list[str] = []

    def stop(run: Run, event: Event) -> None:
        told.append("stops")
        raise StopRun("pruned")

    registry: Registry = fakes.registry(fakes.plugin("watch", hmr_on_event=lambda run, event: told.append("plugin")))
    watchers = Watchers(run, [stop, lambda run, event: told.append("watches")], registry, told.append)
    with pytest.raises(StopRun, match="pruned"):
        watchers(run, EpochDone(epoch=3, step=21, losses={"total": 1.0}, val={}, seconds=1.0))
    assert told == ["stops", "watches", "plugin"]
    watchers(run, RunEnded(epoch=3, seconds=1.0, reason="finished"))  # nothing is left to stop

"""Early stopping, as the records of a run's checkpoints decide."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hmr_core.errors import HmrError
from hmr_core.plugins.events import EpochDone, StepDone
from hmr_core.plugins.recipes import TrainConfig
from hmr_core.training.run_folder import is_finished
from hmr_core.training.run_overview import look_at
from hmr_core.training.stopping import check_patience, patience_note, reason_to_stop
from hmr_core.weights.checkpoint_record import CheckpointRecord


def kept(*mpjpe_mm: float | None) -> dict[Path, CheckpointRecord]:
    """The records of checkpoints of the epochs from 1 on, by their MPJPE on val."""
    records = {}
    for epoch, value in enumerate(mpjpe_mm, start=1):
        val = {} if value is None else {"mpjpe_mm": value}
        records[Path(f"epoch-{epoch:04d}")] = CheckpointRecord(model="x", recipe={}, epoch=epoch, val=val)
    return records


def config_of(patience: int | None, subset: str = "train") -> TrainConfig:
    return TrainConfig.model_validate({"epochs": 9, "batch_size": 1, "patience": patience, "subset": subset})


def test_a_run_stops_after_so_many_epochs_without_a_lower_error() -> None:
    assert reason_to_stop(config_of(2), kept(30.0, 20.0, 25.0)) is None
    assert reason_to_stop(config_of(2), kept(30.0, 20.0, 25.0, 21.0)) == (
        "MPJPE on val was lowest at epoch 2, 20.000 mm"
    )
    assert reason_to_stop(config_of(1), kept(20.0, 20.0)) == ("MPJPE on val was lowest at epoch 1, 20.000 mm")
    assert reason_to_stop(config_of(2), kept(30.0, 20.0, 25.0, 19.0)) is None


def test_what_is_not_scored_decides_nothing() -> None:
    assert reason_to_stop(config_of(1), {}) is None
    assert reason_to_stop(config_of(1), kept(None, None)) is None
    assert reason_to_stop(config_of(1), kept(20.0, None)) is None


def test_a_run_without_patience_never_stops_and_one_that_trains_on_val_neither() -> None:
    figures = kept(20.0, 25.0, 26.0)
    assert reason_to_stop(config_of(None), figures) is None
    assert reason_to_stop(config_of(1, "train+val"), figures) is None


def test_a_run_stops_early_is_finished_then_and_so_does_a_resumed_one(
    trainer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = iter([30.0, 20.0, 25.0, 26.0, 26.0])
    monkeypatch.setattr("hmr_core.training.loop.validate", lambda *given, **options: {"mpjpe_mm": next(figures)})
    sets = ("train.epochs=9", "train.patience=2")
    run = trainer(tmp_path / "run", *sets)
    assert trainer.events[-1].reason == "finished early (MPJPE on val was lowest at epoch 2, 20.000 mm)"
    assert trainer.events[-1].epoch == 4
    assert is_finished(run)
    overview = look_at(run.folder)
    assert (overview.state, overview.epochs_done, overview.epochs) == ("finished", 4, 9)
    assert trainer(tmp_path / "run").folder == run.folder
    assert trainer.events == []  # there was nothing to do
    assert "is finished: it stopped early (MPJPE on val was lowest at epoch 2, 20.000 mm); to train" in (
        capsys.readouterr().err
    )

    figures = iter([30.0, 20.0, 25.0, 26.0, 26.0])
    with pytest.raises(KeyboardInterrupt):
        trainer(tmp_path / "resumed", *sets, stop_after=24, checkpoint_every="1")  # in the fourth epoch
    trainer(tmp_path / "resumed")
    assert trainer.events[-1].epoch == 4


def test_an_old_checkpoint_that_is_damaged_does_not_end_a_run_that_may_stop_early(
    trainer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures = iter([20.0, 25.0, 26.0, 26.0, 26.0])
    monkeypatch.setattr("hmr_core.training.loop.validate", lambda *given, **options: {"mpjpe_mm": next(figures)})
    with pytest.raises(KeyboardInterrupt):
        trainer(tmp_path / "run", "train.epochs=5", "train.patience=4", stop_after=24)  # in the fourth epoch
    best = tmp_path / "run/checkpoints/epoch-0001/model.json"
    best.write_text(best.read_text()[:-7])
    run = trainer(tmp_path / "run")
    assert trainer.events[-1].reason == "finished"
    assert trainer.events[-1].epoch == 5
    assert is_finished(run)


def test_a_run_killed_when_it_was_to_stop_stops(trainer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hmr_core.training.loop.validate", lambda *given, **options: {"mpjpe_mm": 20.0})

    def killed(event: Any) -> None:
        if isinstance(event, EpochDone) and event.epoch == 2:
            raise KeyboardInterrupt

    trainer.on_event = killed
    with pytest.raises(KeyboardInterrupt):
        trainer(tmp_path / "run", "train.epochs=9", "train.patience=1")
    trainer.on_event = lambda event: None
    trainer(tmp_path / "run")
    assert not [event for event in trainer.events if isinstance(event, StepDone)]


def test_a_run_that_trains_on_val_says_that_patience_has_no_effect() -> None:
    assert patience_note(config_of(1, "train+val")) == (
        "train.patience has no effect: on samples that are trained on, the error falls as long as training goes on"
    )
    assert patience_note(config_of(1)) is None


def test_patience_needs_val() -> None:
    with pytest.raises(HmrError, match=r"^train\.patience waits for a lower MPJPE on val, and there is no val\. Set"):
        check_patience(config_of(2), 0)
    check_patience(config_of(2), 1)
    check_patience(config_of(None), 0)

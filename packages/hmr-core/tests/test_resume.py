"""A run that was stopped goes on as if it had not been."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from hmr_core.data.pack.reader import Pack
from hmr_core.errors import HmrError
from hmr_core.nn.model import PoseModel
from hmr_core.plugins import ModelSpec
from hmr_core.plugins.events import RunEnded, RunStarted
from hmr_core.plugins.run import Run
from hmr_core.weights import checkpoints
from hmr_core.weights.checkpoint_folders import saved_checkpoints


def test_a_stopped_run_goes_on_to_the_very_same_weights(trainer: Any, tmp_path: Path) -> None:
    whole = trainer(tmp_path / "whole", "augment.occlusion_probability=1")
    with pytest.raises(KeyboardInterrupt):
        trainer(tmp_path / "stopped", "augment.occlusion_probability=1", stop_after=10)  # in its second epoch
    assert isinstance(trainer.events[-1], RunEnded)
    assert trainer.events[-1].reason == "interrupted"
    assert trainer.events[-1].epoch == 1  # the last that was finished
    again = trainer(tmp_path / "stopped", "augment.occlusion_probability=1")
    assert isinstance(trainer.events[0], RunStarted)
    assert trainer.events[0].first_epoch == 2
    for name, value in trainer.weights(whole).items():
        assert torch.equal(value, trainer.weights(again)[name]), name

    def figures(run: Run) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
        return [
            {k: v for k, v in line.items() if k not in ("seconds", "samples_per_second", "data_wait")} for line in lines
        ]

    assert figures(whole) == figures(again)


def test_a_run_resumed_with_workers_is_the_same(trainer: Any, tmp_path: Path, run: Run) -> None:
    with pytest.raises(KeyboardInterrupt):
        trainer(tmp_path / "stopped", workers=1, stop_after=10)
    again = trainer(tmp_path / "stopped", workers=2)
    assert all(torch.equal(value, trainer.weights(again)[name]) for name, value in trainer.weights(run).items())


def test_a_model_with_dropout_is_the_same_after_a_resume(
    small_spec: ModelSpec, make_trainer: Any, mini_pack: Pack, tmp_path: Path
) -> None:
    def build(config: Any) -> PoseModel:
        model = small_spec.build(config)
        model.body.insert(0, torch.nn.Dropout(0.5))
        return model

    trainer = make_trainer(replace(small_spec, build=build), mini_pack)
    whole = trainer(tmp_path / "whole", "train.epochs=2")
    with pytest.raises(KeyboardInterrupt):
        trainer(tmp_path / "stopped", "train.epochs=2", stop_after=7)
    again = trainer(tmp_path / "stopped", "train.epochs=2")
    assert all(torch.equal(value, trainer.weights(again)[name]) for name, value in trainer.weights(whole).items())


def test_tied_weights_are_saved_and_resumed(
    small_spec: ModelSpec, make_trainer: Any, mini_pack: Pack, tmp_path: Path
) -> None:
    def build(config: Any) -> PoseModel:
        model = small_spec.build(config)
        model.again = model.body[2]
        return model

    trainer = make_trainer(replace(small_spec, build=build), mini_pack)
    whole = trainer(tmp_path / "whole", "train.epochs=2")
    assert torch.equal(trainer.weights(whole)["body.2.weight"], trainer.weights(whole)["again.weight"])
    with pytest.raises(KeyboardInterrupt):
        trainer(tmp_path / "stopped", "train.epochs=2", stop_after=10)
    again = trainer(tmp_path / "stopped", "train.epochs=2")
    assert all(torch.equal(value, trainer.weights(again)[name]) for name, value in trainer.weights(whole).items())
    model = checkpoints.load_checkpoint(again.folder, trainer.spec).model
    assert model.again.weight is model.body[2].weight


def test_a_fresh_run_begins_with_pretrained_parts_and_a_resumed_one_does_not(
    trainer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[PoseModel] = []
    monkeypatch.setattr(PoseModel, "pretrain", lambda self: loaded.append(self))
    with pytest.raises(KeyboardInterrupt):
        trainer(tmp_path / "run", stop_after=10)
    assert len(loaded) == 1
    assert trainer(tmp_path / "run").folder == tmp_path / "run"
    assert isinstance(trainer.events[-1], RunEnded)
    assert len(loaded) == 1


def test_optimizer_state_survives(run: Run, small_spec: ModelSpec) -> None:
    folder = saved_checkpoints(run.checkpoints)[-1]
    checkpoint = checkpoints.load_checkpoint(folder, small_spec)
    model = checkpoint.model
    optimizer = torch.optim.Adam(model.parameters())
    checkpoints.load_optimizer(checkpoint, model, optimizer)
    state = optimizer.state[next(model.parameters())]
    assert state["step"] == 21
    assert state["exp_avg_sq"].abs().sum() > 0


@pytest.mark.parametrize("how", ["flipped", "gone"])
def test_an_altered_optimizers_state_is_refused(trainer: Any, run: Run, tmp_path: Path, how: str) -> None:
    with pytest.raises(KeyboardInterrupt):
        trainer(tmp_path / "stopped", stop_after=10)
    file = tmp_path / "stopped/checkpoints/epoch-0001/optimizer.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    if how == "flipped":
        file.write_bytes(data)
    else:
        file.unlink()
    text = {"flipped": "was altered or damaged, or model.json belongs to", "gone": "is not there."}
    with pytest.raises(HmrError, match=rf"so the run cannot go on\. {file} {text[how]}"):
        trainer(tmp_path / "stopped")

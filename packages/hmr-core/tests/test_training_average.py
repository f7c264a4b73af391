"""Runs whose weights are averaged: the average is validated and saved as the model, and goes on to the bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from hmr_core.data.pack.reader import Pack
from hmr_core.plugins import ModelSpec
from hmr_core.plugins.events import EpochDone, StepDone
from hmr_core.plugins.run import Run
from hmr_core.weights.checkpoint_folders import saved_checkpoints
from hmr_core.weights.checkpoints import load_checkpoint

EVERYTHING = (
    *("train.ema_decay=0.9", "train.optimizer=adamw", "train.weight_decay=0.1", "train.warmup_steps=5"),
    *("train.schedule=cosine", "train.final_learning_rate=1e-4", "train.clip_global_norm=0.5", "train.grad_accum=2"),
    *("train.channels_last=true", 'train.freeze=["body.2.bias"]', "train.freeze_epochs=1", "train.patience=3"),
)
"""All that training can do besides the published way on a CPU, and in the same bits each time."""


def newest(run: Run) -> Path:
    return saved_checkpoints(run.checkpoints)[-1]


def bits(run: Run) -> list[bytes]:
    return [(newest(run) / name).read_bytes() for name in ("model.safetensors", "optimizer.safetensors")]


def losses(trainer: Any) -> list[float]:
    return [event.losses["total"] for event in trainer.events if isinstance(event, StepDone)]


def test_averaging_changes_no_step_and_the_model_is_the_average_of_its_weights(
    trainer: Any, tmp_path: Path, run: Run
) -> None:
    averaged = trainer(tmp_path / "averaged", "train.ema_decay=0.5")
    taken = losses(trainer)
    trainer(tmp_path / "plain")
    assert taken == losses(trainer)
    model, rest = (load_file(newest(averaged) / name) for name in ("model.safetensors", "optimizer.safetensors"))
    plain = load_file(newest(run) / "model.safetensors")
    assert {name for name in rest if name.startswith("weights/")} == {f"weights/{name}" for name in model}
    assert all(torch.equal(rest[f"weights/{name}"], tensor) for name, tensor in plain.items())
    assert all(not torch.equal(model[name], tensor) for name, tensor in plain.items())


def test_the_figures_on_val_are_those_of_the_average(
    trainer: Any, tmp_path: Path, small_spec: ModelSpec, evaluate_on: Any, mini_pack: Pack
) -> None:
    run = trainer(tmp_path / "run", "train.ema_decay=0.9", "train.epochs=2")
    told = [event.val for event in trainer.events if isinstance(event, EpochDone)][-1]
    options = {"split": "sp0", "subset": "val", "device": torch.device("cpu"), "batch_size": 8, "workers": 0}
    checkpoint = load_checkpoint(run.folder, small_spec)
    assert evaluate_on(small_spec, checkpoint, mini_pack, **options).report["metrics"] == told


@pytest.mark.parametrize("step", [3, 7, 9])
def test_a_run_with_all_of_it_on_goes_on_to_the_bit_from_any_step(trainer: Any, tmp_path: Path, step: int) -> None:
    sets = ("train.epochs=2", *EVERYTHING)
    whole = trainer(tmp_path / "whole", *sets)
    with pytest.raises(KeyboardInterrupt):
        trainer(tmp_path / "resumed", *sets, stop_after=step, checkpoint_every="1")
    again = trainer(tmp_path / "resumed")
    assert bits(again) == bits(whole)
    assert trainer.events[0].first_step == step + 1

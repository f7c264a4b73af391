"""Runs that compute in another way than the published one, and what they say of it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from hmr_core.data.pack.reader import Pack
from hmr_core.errors import HmrError, UsageError
from hmr_core.nn.model import Inputs, PoseModel, Prediction
from hmr_core.plugins import ModelSpec
from hmr_core.plugins.events import StepDone
from hmr_core.plugins.run import Run
from hmr_core.weights.checkpoint_folders import saved_checkpoints


def files(run: Run) -> list[bytes]:
    newest = saved_checkpoints(run.checkpoints)[-1]
    return [(newest / name).read_bytes() for name in ("model.safetensors", "optimizer.safetensors")]


def norms(trainer: Any) -> list[float | None]:
    return [event.gradient_norm for event in trainer.events if isinstance(event, StepDone)]


def bursting(spec: ModelSpec, steps: set[int]) -> ModelSpec:
    """The small model, whose gradients are too large for float16 in the given steps of a process; its loss is not."""

    def build(config: Any) -> PoseModel:
        model, taken = spec.build(config), iter(range(1, 1000))
        loss = model.loss

        def burst(prediction: Any, targets: Any) -> dict[str, torch.Tensor]:
            (term,) = loss(prediction, targets).values()
            if next(taken) in steps:
                term.register_hook(lambda gradient: gradient * float("inf"))
            return {"uvd": term * 1.0}

        model.loss = burst
        return model

    return replace(spec, build=build)


def test_a_run_says_how_it_computes(trainer: Any, tmp_path: Path) -> None:
    run = trainer(tmp_path / "run", "train.epochs=1", "train.optimizer=adamw", "train.precision=bfloat16")
    assert "arithmetic: bfloat16, fused AdamW, channels_last off, not compiled" in run.log.read_text()


def test_what_the_device_cannot_is_refused_before_there_is_a_folder(trainer: Any, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"^train\.precision=tf32 cannot be used on cpu: TensorFloat-32 needs"):
        trainer(tmp_path / "run", "train.precision=tf32")
    assert not (tmp_path / "run").exists()


def test_a_step_that_overflows_in_float16_is_skipped_and_a_resumed_run_has_the_same_scale(
    small_spec: ModelSpec, make_trainer: Any, mini_pack: Pack, tmp_path: Path
) -> None:
    sets = ("train.epochs=2", "train.precision=float16")
    trainer = make_trainer(bursting(small_spec, {3, 5}), mini_pack)
    whole = trainer(tmp_path / "whole", *sets)
    assert [number for number, norm in enumerate(norms(trainer), start=1) if norm is None] == [3, 5]
    lines = [json.loads(line) for line in whole.metrics.read_text().splitlines()]
    assert all(line["gradient_norm"] is not None for line in lines if line["kind"] == "step")
    state = load_file(saved_checkpoints(whole.checkpoints)[-1] / "optimizer.safetensors")
    assert float(state["scaler/scale"]) == 2.0**14
    assert int(state["scaler/growth_tracker"]) == 9
    assert float(state["step/body.2.weight"]) == 12  # of 14
    with pytest.raises(KeyboardInterrupt):
        trainer(tmp_path / "resumed", *sets, stop_after=9, checkpoint_every="1")
    again = make_trainer(small_spec, mini_pack)
    assert files(again(tmp_path / "resumed")) == files(whole)


def test_gradients_that_always_overflow_stop_a_run(
    small_spec: ModelSpec, make_trainer: Any, mini_pack: Pack, tmp_path: Path
) -> None:
    trainer = make_trainer(bursting(small_spec, set(range(1, 1000))), mini_pack)
    with pytest.raises(
        HmrError, match=r"^gradients do not fit into float16 at step 17 \(epoch 3\): the loss was scaled"
    ):
        trainer(tmp_path / "run", "train.precision=float16")


def test_weights_pixel_by_pixel_are_saved_row_by_row_and_go_on_to_the_bit(
    small_spec: ModelSpec, make_trainer: Any, mini_pack: Pack, tmp_path: Path
) -> None:
    layouts = []

    def build(config: Any) -> PoseModel:
        model = small_spec.build(config)
        model.body = torch.nn.Sequential(
            torch.nn.Conv2d(3, 6, 3, stride=8), torch.nn.Flatten(), torch.nn.Linear(96, 63)
        )
        model.body.register_forward_hook(lambda body, *_: layouts.append(body[0].weight.stride()))
        return model

    trainer = make_trainer(replace(small_spec, build=build), mini_pack)
    sets = ("train.epochs=2", "train.channels_last=true")
    whole = trainer(tmp_path / "whole", *sets)
    assert set(layouts) == {(27, 1, 9, 3)}
    with pytest.raises(KeyboardInterrupt):
        trainer(tmp_path / "resumed", *sets, stop_after=4, checkpoint_every="1")
    assert files(trainer(tmp_path / "resumed")) == files(whole)


def test_a_network_is_compiled_for_training_and_not_for_validation(
    trainer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PyTorch's compiler itself cannot go through the checks of shapes that tests put into every function."""
    calls = []

    def compiler(model: PoseModel) -> Any:
        def compiled(inputs: Inputs) -> Prediction:
            calls.append(model.training)
            prediction: Prediction = model(inputs)
            return prediction

        return compiled

    monkeypatch.setattr(torch, "compile", compiler)
    plain, compiled = (trainer(tmp_path / value, f"train.compile={value}") for value in ("false", "true"))
    assert calls == [True] * 21
    assert files(plain)[0] == files(compiled)[0]
    assert "channels_last off, compiled" in compiled.log.read_text()

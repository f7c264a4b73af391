"""Numbers that are not finite stop a run before they are in its weights."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from hmr_core.data.loading import epoch_order
from hmr_core.data.pack.reader import Pack
from hmr_core.errors import HmrError
from hmr_core.nn.model import PoseModel
from hmr_core.plugins import ModelSpec
from hmr_core.weights.checkpoint_folders import saved_checkpoints


def test_a_non_finite_loss_stops_before_the_optimizer_and_names_step_and_samples(
    trainer: Any, tmp_path: Path, mini_pack: Pack
) -> None:
    with pytest.raises(HmrError) as caught:
        trainer(tmp_path / "run", "broken_after=9")
    text = str(caught.value)
    saved = tmp_path / "run/checkpoints/epoch-0001"
    assert "the loss is not finite at step 10 (epoch 2): uvd nan, total nan. The optimizer was not run." in text
    assert f"The last checkpoint, {saved}, is untouched; a resumed run would take the same steps, so remove" in text
    named = [i for i in mini_pack.ids(mini_pack.indices("sp0", "train")) if i in text]
    assert len(named) == 8
    assert saved_checkpoints(tmp_path / "run/checkpoints") == [saved]


class Broken(torch.autograd.Function):
    """Passes values on, and another gradient back."""

    @staticmethod
    def forward(ctx: Any, values: torch.Tensor, factor: float) -> torch.Tensor:
        ctx.factor = factor
        return values.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        return gradients[0] * ctx.factor, None


def breaking(spec: ModelSpec, *, step: int, factor: float) -> ModelSpec:
    """The small model, whose loss is always finite, and whose gradients are multiplied by the factor in one step."""

    def build(config: Any) -> PoseModel:
        model = spec.build(config)
        loss, steps = model.loss, iter(range(1, 1000))

        def broken(prediction: Any, targets: Any) -> dict[str, torch.Tensor]:
            terms: dict[str, torch.Tensor] = loss(prediction, targets)
            return {"uvd": Broken.apply(terms["uvd"], factor if next(steps) == step else 1.0)}

        model.loss = broken
        return model

    return replace(spec, build=build)


@pytest.mark.parametrize("clip", ["null", "0.1"])
@pytest.mark.parametrize("factor", [math.nan, math.inf, 1e30])  # the last: finite, but for its square
@pytest.mark.parametrize("step", [9, 14])  # in an epoch, and the last of one
def test_a_gradient_that_is_not_finite_stops_before_the_optimizer_too(
    small_spec: ModelSpec, make_trainer: Any, mini_pack: Pack, tmp_path: Path, step: int, factor: float, clip: str
) -> None:
    trainer = make_trainer(breaking(small_spec, step=step, factor=factor), mini_pack)
    with pytest.raises(HmrError) as caught:
        trainer(tmp_path / "run", f"train.clip_norm={clip}")
    text = str(caught.value)
    norm = "inf" if factor == 1e30 else "nan"
    start = "the gradient of body.2.weight and of 1 more parameter is not finite"
    assert text.startswith(f"{start} at step {step} (epoch 2): its norm is {norm}. The loss is finite: uvd 0.")
    rows = mini_pack.indices("sp0", "train")
    batch = epoch_order(rows, 3, 2)[8 * (step - 8) : 8 * (step - 7)]
    assert {i for i in mini_pack.ids(rows) if i in text} == set(mini_pack.ids(batch))
    assert f"hmr doctor --data {mini_pack.path}" in text
    saved = saved_checkpoints(tmp_path / "run/checkpoints")
    assert [path.name for path in saved] == ["epoch-0001"]
    assert all(bool(value.isfinite().all()) for value in load_file(saved[0] / "model.safetensors").values())


def test_weights_that_have_grown_are_blamed_on_the_learning_rate_and_not_on_samples(
    trainer: Any, tmp_path: Path, mini_pack: Pack
) -> None:
    with pytest.raises(HmrError) as caught:
        trainer(tmp_path / "run", "train.learning_rate=1e39", "train.precision=bfloat16")
    text = str(caught.value)
    assert "The weights have grown to" in text
    assert "use a smaller train.learning_rate (here 1e+39), or set train.clip_norm." in text
    assert "No checkpoint was written yet; a resumed run would take the same steps" in text
    assert not [i for i in mini_pack.ids(mini_pack.indices("sp0", "train")) if i in text]


def test_a_checkpoint_that_is_not_finite_is_not_written(
    small_spec: ModelSpec, make_trainer: Any, mini_pack: Pack, tmp_path: Path
) -> None:
    """Losses and gradients are finite: a buffer, such as batch norm's running variance, is not."""

    def build(config: Any) -> PoseModel:
        model = small_spec.build(config)
        model.register_buffer("seen", torch.zeros(1))

        def overflow(*_: object) -> None:
            model.seen += torch.finfo(torch.float32).max / 10  # 7 steps an epoch

        model.body.register_forward_pre_hook(overflow)
        return model

    run = tmp_path / "run"
    with pytest.raises(HmrError) as caught:
        make_trainer(replace(small_spec, build=build), mini_pack)(run)
    assert str(caught.value) == (
        f"the checkpoint {run}/checkpoints/epoch-0002 was not written: seen in its model.safetensors would hold "
        f"numbers that are not finite. The last checkpoint, {run}/checkpoints/epoch-0001, is untouched; a resumed run "
        "would take the same steps, so remove the cause and start a new run."
    )
    assert [path.name for path in saved_checkpoints(run / "checkpoints")] == ["epoch-0001"]

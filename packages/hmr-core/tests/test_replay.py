"""A step whose numbers were not finite is kept, and can be taken again."""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from hmr_core.data.loading import epoch_order
from hmr_core.data.pack.reader import Pack
from hmr_core.errors import HmrError
from hmr_core.nn.model import PoseModel, Prediction, Targets
from hmr_core.plugins import ModelSpec
from hmr_core.plugins.registry import Registry
from hmr_core.testing import Replay, replay
from hmr_core.training.failed_step import read_failed_step
from hmr_core.weights.checkpoint_folders import saved_checkpoints

STEP = 3


def with_odd_term(spec: ModelSpec, odd: Callable[[Prediction, Targets], torch.Tensor]) -> ModelSpec:
    """The small model, with dropout, and with one more term of the loss."""

    def build(config: Any) -> PoseModel:
        model = spec.build(config)
        model.body.append(torch.nn.Dropout(0.2))
        loss = model.loss
        model.loss = lambda prediction, targets: {**loss(prediction, targets), "odd": odd(prediction, targets)}
        return model

    return replace(spec, build=build)


@pytest.fixture
def distance(mini_pack: Pack) -> float:
    """How far the root of one sample of the step STEP is from the camera, in metres, as that of no other sample.

    It is in the second half of the batch.
    """
    rows = epoch_order(mini_pack.indices("sp0", "train"), 3, 1)
    found = torch.from_numpy(mini_pack.array("joints", rows))[:, 9].norm(dim=1)
    others = [(found - found[i]).abs().sort().values[1] for i in range(8 * (STEP - 1), 8 * STEP)]
    best = max(range(4, 8), key=lambda i: float(others[i]))
    assert others[best] > 1e-4
    return float(found[8 * (STEP - 1) + best])


@pytest.fixture(scope="module")
def distributed() -> None:
    """What DistributedDataParallel imports at its first use, in seconds: once, and not in each forked process."""
    importlib.import_module("torch._dynamo")


def root_off(prediction: Prediction, targets: Targets, distance: float) -> torch.Tensor:
    """A gradient that is not finite, of a finite loss: that of a root of nothing (infinite) times nothing."""
    assert prediction.joints_uvd is not None
    others = (targets.root.norm(dim=1) - distance).abs() > 1e-5
    return torch.sqrt(prediction.joints_uvd.square().sum((1, 2)) * others).mean()


def log_of(prediction: Prediction, targets: Targets, distance: float) -> torch.Tensor:
    """A loss that is not a number for the sample."""
    return torch.log((targets.root.norm(dim=1) - distance).abs() - 1e-5).mean()


def stopped(trainer: Any, run: Path, *overrides: str) -> str:
    with pytest.raises(HmrError) as caught:
        trainer(run, *overrides)
    return str(caught.value)


def registry_of(fakes: ModuleType, spec: ModelSpec) -> Registry:
    registry: Registry = fakes.registry(fakes.plugin("small", hmr_models=lambda: [spec]))
    return registry


@pytest.mark.parametrize("overrides", [(), ("train.grad_accum=2",)])
def test_a_loss_that_is_not_finite_is_reproduced_to_the_bit(
    small_spec: ModelSpec,
    make_trainer: Any,
    mini_pack: Pack,
    fakes: ModuleType,
    tmp_path: Path,
    distance: float,
    overrides: tuple[str, ...],
) -> None:
    spec = with_odd_term(small_spec, lambda prediction, targets: log_of(prediction, targets, distance))
    text = stopped(make_trainer(spec, mini_pack), tmp_path / "run", *overrides)
    folder = tmp_path / "run/failed/step-00000003"
    assert "the loss is not finite at step 3 (epoch 1): uvd 0." in text
    failed, parts, _ = read_failed_step(folder)
    assert (failed.epoch, failed.step, failed.rank, failed.processes) == (1, STEP, 0, 1)
    rows = epoch_order(mini_pack.indices("sp0", "train"), 3, 1)[8 * (STEP - 1) : 8 * STEP]
    assert [i for part in parts for i in part.ids] == mini_pack.ids(rows)
    torch.manual_seed(7)
    drawn, again = torch.rand(1), torch.manual_seed(7)
    found = replay(folder, registry_of(fakes, spec), detect_anomaly=True)
    assert torch.equal(torch.rand(1), drawn)  # nothing of the caller's was changed
    assert again is not None
    assert found.terms["uvd"] == failed.losses["uvd"]  # with dropout, and augmentation
    assert (
        (str(found.terms["odd"]), str(found.total)) == ("nan", "nan") == (failed.losses["odd"], failed.losses["total"])
    )
    assert "losses: uvd 0." in str(found)
    assert json.loads((folder / "step.json").read_text(encoding="utf-8"))["model"] == "small"  # without NaN


def test_an_operation_whose_gradient_is_not_finite_is_named(
    small_spec: ModelSpec, make_trainer: Any, mini_pack: Pack, fakes: ModuleType, tmp_path: Path, distance: float
) -> None:
    spec = with_odd_term(small_spec, lambda prediction, targets: root_off(prediction, targets, distance))
    text = stopped(make_trainer(spec, mini_pack), tmp_path / "run")
    assert text.startswith("the gradient of body.2.weight and of 1 more parameter is not finite at step 3 (epoch 1)")
    folder = tmp_path / "run/failed/step-00000003"
    found = replay(str(folder), registry_of(fakes, spec))
    assert found.gradients == ("body.2.weight", "body.2.bias")
    assert {**found.terms, "total": found.total} == found.failed.losses
    assert (found.module, found.operation) == (None, None)  # nobody has looked
    looked = replay(folder, registry_of(fakes, spec), detect_anomaly=True)
    assert isinstance(looked, Replay)
    assert looked.module is None
    assert looked.operation is not None
    assert looked.operation.startswith("Function 'MulBackward0' returned nan values in its 0th output; it stands at ")
    assert __file__ in looked.operation
    assert looked.operation.endswith("return torch.sqrt(prediction.joints_uvd.square().sum((1, 2)) * others).mean()")
    assert str(looked).splitlines()[0].startswith("small, step 3 (epoch 1): 8 samples of sp0, learning rate 0.01")
    assert "gradients that are not finite: body.2.weight, body.2.bias" in str(looked)


def test_what_was_frozen_is_frozen_again(
    small_spec: ModelSpec, make_trainer: Any, mini_pack: Pack, fakes: ModuleType, tmp_path: Path, distance: float
) -> None:
    spec = with_odd_term(small_spec, lambda prediction, targets: root_off(prediction, targets, distance))
    overrides = ('train.freeze=["body.2.bias"]', "train.freeze_epochs=1", "train.compile=true")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "compile", lambda model: model)
        stopped(make_trainer(spec, mini_pack), tmp_path / "run", *overrides)
    found = replay(tmp_path / "run/failed/step-00000003", registry_of(fakes, spec))
    assert found.gradients == ("body.2.weight",)


def test_a_module_whose_output_is_not_finite_is_named(
    small_spec: ModelSpec, make_trainer: Any, mini_pack: Pack, fakes: ModuleType, tmp_path: Path
) -> None:
    class Reciprocal(torch.nn.Module):
        def forward(self, values: torch.Tensor) -> torch.Tensor:
            return (values - values) / (values - values)

    def build(config: Any) -> PoseModel:
        model = small_spec.build(config)
        model.body.append(Reciprocal())
        return model

    spec = replace(small_spec, build=build)
    text = stopped(make_trainer(spec, mini_pack), tmp_path / "run")
    assert "the loss is not finite at step 1 (epoch 1)" in text
    found = replay(tmp_path / "run/failed/step-00000001", registry_of(fakes, spec), detect_anomaly=True)
    assert found.module == "body.3 (Reciprocal)"


def test_the_weights_are_those_before_the_step_and_one_step_alone_is_kept(
    small_spec: ModelSpec, make_trainer: Any, mini_pack: Pack, tmp_path: Path, distance: float
) -> None:
    def broken(prediction: Prediction, targets: Targets) -> torch.Tensor:
        return log_of(prediction, targets, distance) * 0  # nan for the sample, nothing for any other

    trainer = make_trainer(with_odd_term(small_spec, broken), mini_pack)
    run = tmp_path / "run"
    stopped(trainer, run)
    assert [path.name for path in (run / "failed").iterdir()] == ["step-00000003"]
    older = run / "failed/step-00000001"
    older.mkdir()
    text = stopped(trainer, run)  # it goes on from where it stopped, to stop there again
    assert [path.name for path in (run / "failed").iterdir()] == ["step-00000003"]
    assert f'replay("{run}/failed/step-00000003", detect_anomaly=True)' in text

    fine = make_trainer(with_odd_term(small_spec, lambda *given: broken(*given).nan_to_num()), mini_pack)
    with pytest.raises(KeyboardInterrupt):
        fine(tmp_path / "fine", stop_after=STEP, checkpoint_every=f"{STEP - 1}")
    before = load_file(saved_checkpoints(tmp_path / "fine/checkpoints")[0] / "model.safetensors")
    kept = load_file(run / "failed/step-00000003/model.safetensors")
    assert before.keys() == kept.keys()
    assert all(torch.equal(before[name], kept[name]) for name in before)


def test_a_batch_that_cannot_be_kept_does_not_hide_what_was_wrong(
    small_spec: ModelSpec, make_trainer: Any, mini_pack: Pack, tmp_path: Path, distance: float
) -> None:
    def in_the_way(event: Any) -> None:
        (tmp_path / "run/failed").write_text("a file")

    trainer = make_trainer(with_odd_term(small_spec, lambda *given: log_of(*given, distance)), mini_pack)
    trainer.on_event = in_the_way
    text = stopped(trainer, tmp_path / "run")
    assert text.startswith("the loss is not finite at step 3")
    assert f"The batch could not be kept: the folder {tmp_path}/run/failed/step-00000003 cannot be written" in text


def test_the_call_in_the_error_can_be_pasted(
    small_spec: ModelSpec, make_trainer: Any, mini_pack: Pack, tmp_path: Path, distance: float
) -> None:
    trainer = make_trainer(with_odd_term(small_spec, lambda *given: log_of(*given, distance)), mini_pack)
    text = stopped(trainer, tmp_path / 'a run\'s "folder"')
    command = text.partition("takes the step again: ")[2]
    assert command.startswith("python -c ")
    done = subprocess.run(
        ["sh", "-c", command.replace("python", sys.executable, 1)], capture_output=True, text=True, check=False
    )
    # The step was read; the model is of these tests alone.
    assert re.search(r'UsageError: unknown model "small"', done.stderr), done.stderr


@pytest.mark.usefixtures("distributed")
@pytest.mark.parametrize("broken", [log_of, root_off])
def test_the_process_whose_numbers_are_not_finite_is_named_by_all(
    small_spec: ModelSpec,
    make_trainer: Any,
    mini_pack: Pack,
    fakes: ModuleType,
    tmp_path: Path,
    distance: float,
    together: Callable[..., list[Any]],
    broken: Callable[..., torch.Tensor],
) -> None:
    spec = with_odd_term(small_spec, lambda *given: broken(*given, distance))
    errors = together(lambda place: make_trainer(spec, mini_pack)(tmp_path / "run", "train.epochs=1"), 2)
    assert [type(error) for error in errors] == [HmrError, HmrError]
    text = str(errors[0])
    assert text == str(errors[1])
    what = "the gradient of body.2.weight and of 1 more parameter" if broken is root_off else "the loss"
    assert text.startswith(f"{what} is not finite at step 3 (epoch 1) in process 1 of 2: ")
    rows = epoch_order(mini_pack.indices("sp0", "train"), 3, 1)[8 * STEP - 4 : 8 * STEP]
    assert f"The samples of that batch in process 1: {', '.join(mini_pack.ids(rows))}. The batch and" in text
    found = replay(tmp_path / "run/failed/step-00000003", registry_of(fakes, spec))
    assert (found.failed.rank, found.failed.processes, found.failed.ids) == (1, 2, [mini_pack.ids(rows)])
    assert {name: str(value) for name, value in {**found.terms, "total": found.total}.items()} == {
        name: str(value) for name, value in found.failed.losses.items()
    }
    assert (
        list(found.gradients)
        == list(found.failed.gradients)
        == (["body.2.weight", "body.2.bias"] if broken is root_off else [])
    )


def test_what_is_no_failed_step_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HmrError, match=r"is no failed step that was kept \(step\.json: "):
        replay(tmp_path)
    (tmp_path / "step.json").write_text("{}", encoding="utf-8")
    with pytest.raises(HmrError, match="is not the JSON file of a failed step of format 'hmr-failed-step/1'"):
        replay(tmp_path)

"""Training, checkpoints, evaluation and scoring, with a small model on the made-up data set."""

from __future__ import annotations

import contextlib
import errno
import json
import math
import multiprocessing
import os
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from hmr_core.data.image_dataset import ImageDataset
from hmr_core.data.loading import epoch_order
from hmr_core.data.oakink import open_oakink
from hmr_core.data.pack.codecs import codec_named
from hmr_core.data.pack.reader import Pack
from hmr_core.data.pack.writer import write_pack
from hmr_core.devices import choose_workers
from hmr_core.errors import HmrError
from hmr_core.evaluation.baseline import baseline_joints, mean_pose_uvd
from hmr_core.evaluation.evaluate import Evaluation, evaluate, write_evaluation
from hmr_core.evaluation.predictions import read_predictions
from hmr_core.evaluation.report import NO_MESH
from hmr_core.evaluation.request import EvaluationRequest
from hmr_core.evaluation.scoring import rescore, score
from hmr_core.geometry.camera import to_uvd
from hmr_core.nn.model import PoseModel
from hmr_core.plugins import ModelSpec
from hmr_core.plugins.events import CheckpointSaved, EpochDone, Event, RunEnded, RunStarted, StepDone
from hmr_core.plugins.recipes import TrainConfig, load_recipe, override
from hmr_core.plugins.run import Run
from hmr_core.training import loop as train_module
from hmr_core.training.divergence import gradient_norms
from hmr_core.training.loop import clip_each, learning_rate, train
from hmr_core.training.optimizer import Adam
from hmr_core.training.run import check_free, default_folder, drop_later_metrics, locked, new_run
from hmr_core.training.run_log import write_jsonl
from hmr_core.versions import versions
from hmr_core.weights import checkpoints
from hmr_core.weights.checkpoint_folders import saved_checkpoints
from hmr_core.weights.checkpoint_record import check_run, read_info, record_validation, write_info
from hmr_core.weights.run_record import open_run

CPU = torch.device("cpu")


class Trainer:
    """Trains the small model into a folder and keeps the events."""

    def __init__(self, spec: ModelSpec, pack: Pack) -> None:
        self.spec, self.pack = spec, pack
        self.events: list[Event] = []

    def __call__(self, folder: Path, *overrides: str, stop_after: int | None = None, workers: int = 0) -> Run:
        recipe = load_recipe(self.spec, "tiny", overrides)
        run = Run(
            folder=folder,
            model="small",
            split="sp0",
            recipe_name="tiny",
            recipe=recipe.model_dump(mode="json"),
            data=self.pack.path,
            data_digest=self.pack.info.digest,
            versions=versions(),
            started={},
        )
        if not folder.exists():
            with new_run(run):
                pass
        self.events = []

        def notify(run: Run, event: Event) -> None:
            self.events.append(event)
            write_jsonl(run, event)
            if isinstance(event, StepDone) and stop_after is not None and event.step > stop_after:
                raise KeyboardInterrupt

        train(run, self.spec, recipe, self.pack, device=CPU, workers=workers, notify=notify)
        return run


@pytest.fixture
def trainer(small_spec: ModelSpec, mini_pack: Pack) -> Trainer:
    return Trainer(small_spec, mini_pack)


@pytest.fixture(scope="module")
def trained(small_spec: ModelSpec, mini_pack_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return Trainer(small_spec, Pack(mini_pack_path))(tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture
def run(trained: Run, tmp_path: Path) -> Run:
    """A finished run of three epochs, each test's own copy of it."""
    return replace(trained, folder=Path(shutil.copytree(trained.folder, tmp_path / "finished")))


def weights(run: Run) -> dict[str, torch.Tensor]:
    return load_file(saved_checkpoints(run.checkpoints)[-1] / "model.safetensors")


def test_training_lowers_the_loss_and_tells_of_every_step(trainer: Trainer, tmp_path: Path) -> None:
    run = trainer(tmp_path / "run", "train.epochs=8", "augment.rotation_deg=0", "train.learning_rate=0.03")
    epochs = [event for event in trainer.events if isinstance(event, EpochDone)]
    steps = [event for event in trainer.events if isinstance(event, StepDone)]
    assert [event.step for event in steps] == list(range(1, 57))  # 57 training samples: 7 whole batches of 8
    assert isinstance(trainer.events[0], RunStarted)
    assert trainer.events[0].train_samples == 57
    assert trainer.events[0].val_samples == 15
    assert isinstance(trainer.events[-1], RunEnded)
    assert trainer.events[-1].reason == "finished"
    assert epochs[-1].losses["total"] < 0.8 * epochs[0].losses["total"]
    assert all(event.val["mpjpe_mm"] is not None for event in epochs)
    lines = [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
    written = [line["step"] for line in lines if line["kind"] == "step"]
    assert written == [1, 7, 14, 20, 21, 28, 35, 40, 42, 49, 56]  # the first, each twentieth, the last of each epoch
    assert [line["epoch"] for line in lines if line["kind"] == "epoch"] == list(range(1, 9))


def test_a_stopped_run_goes_on_to_the_very_same_weights(trainer: Trainer, tmp_path: Path) -> None:
    whole = trainer(tmp_path / "whole", "augment.occlusion_probability=1")
    with pytest.raises(KeyboardInterrupt):
        trainer(tmp_path / "stopped", "augment.occlusion_probability=1", stop_after=10)  # in its second epoch
    assert isinstance(trainer.events[-1], RunEnded)
    assert trainer.events[-1].reason == "interrupted"
    assert trainer.events[-1].epoch == 1  # the last that was finished
    again = trainer(tmp_path / "stopped", "augment.occlusion_probability=1")
    assert isinstance(trainer.events[0], RunStarted)
    assert trainer.events[0].first_epoch == 2
    for name, value in weights(whole).items():
        assert torch.equal(value, weights(again)[name]), name

    def figures(run: Run) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
        return [{k: v for k, v in line.items() if k not in ("seconds", "samples_per_second")} for line in lines]

    assert figures(whole) == figures(again)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (HmrError("a text that is printed anyway"), "stopped by an error"),
        (MemoryError(), "stopped by an error (MemoryError)"),
    ],
)
def test_a_run_that_fails_says_how_it_ended(
    trainer: Trainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, reason: str
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("hmr_core.training.loop._save", fail)
    with pytest.raises(type(error)):
        trainer(tmp_path / "run")
    assert isinstance(trainer.events[-1], RunEnded)
    assert (trainer.events[-1].reason, trainer.events[-1].epoch) == (reason, 0)


def test_workers_do_not_change_a_run(trainer: Trainer, tmp_path: Path, run: Run) -> None:
    other = trainer(tmp_path / "other", workers=2)
    assert all(torch.equal(value, weights(other)[name]) for name, value in weights(run).items())


def test_a_run_keeps_as_many_workers_as_it_was_given(
    trainer: Trainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    others, counts = set(multiprocessing.active_children()), []
    recorded = record_validation

    def counting(*given: Any) -> None:
        counts.append(len(set(multiprocessing.active_children()) - others))
        recorded(*given)

    monkeypatch.setattr("hmr_core.training.loop.record_validation", counting)  # training and validation were loaded
    trainer(tmp_path / "run", "train.epochs=2", workers=2)
    assert counts == [2, 2]


def test_a_run_resumed_with_workers_is_the_same(trainer: Trainer, tmp_path: Path, run: Run) -> None:
    with pytest.raises(KeyboardInterrupt):
        trainer(tmp_path / "stopped", workers=1, stop_after=10)
    again = trainer(tmp_path / "stopped", workers=2)
    assert all(torch.equal(value, weights(again)[name]) for name, value in weights(run).items())


def test_another_seed_is_another_run(trainer: Trainer, tmp_path: Path, run: Run) -> None:
    other = trainer(tmp_path / "other", "train.seed=4")
    assert any(not torch.equal(value, weights(other)[name]) for name, value in weights(run).items())


def test_a_non_finite_loss_stops_before_the_optimizer_and_names_step_and_samples(
    trainer: Trainer, tmp_path: Path, mini_pack: Pack
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


@pytest.mark.parametrize("workers", [0, 1])
def test_a_pack_that_another_is_written_into_stops_the_run(
    small_spec: ModelSpec,
    mini_pack_path: Path,
    synthetic_pack_path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    workers: int,
) -> None:
    """As `rsync --inplace` does: the run neither learns from the other, nor takes it for its own."""
    copy = Path(shutil.copy(mini_pack_path, tmp_path / "pack.h5"))

    written = write_jsonl

    def overwriting(run: Run, event: Event) -> None:
        written(run, event)
        if isinstance(event, StepDone) and event.step == 8:  # the first of the second epoch
            copy.write_bytes(synthetic_pack_path.read_bytes())

    monkeypatch.setattr(sys.modules[__name__], "write_jsonl", overwriting)
    trainer = Trainer(small_spec, Pack(copy))
    with pytest.raises(HmrError, match=rf"^{copy} was altered while it was in use"):
        trainer(tmp_path / "run", workers=workers)
    assert [path.name for path in saved_checkpoints(tmp_path / "run/checkpoints")] == ["epoch-0001"]
    assert trainer.events[-1].epoch == 1


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
    small_spec: ModelSpec, mini_pack: Pack, tmp_path: Path, step: int, factor: float, clip: str
) -> None:
    trainer = Trainer(breaking(small_spec, step=step, factor=factor), mini_pack)
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
    trainer: Trainer, tmp_path: Path, mini_pack: Pack
) -> None:
    with pytest.raises(HmrError) as caught:
        trainer(tmp_path / "run", "train.learning_rate=1e39", "train.precision=bfloat16")
    text = str(caught.value)
    assert "The weights have grown to" in text
    assert "use a smaller train.learning_rate (here 1e+39), or set train.clip_norm." in text
    assert "No checkpoint was written yet; a resumed run would take the same steps" in text
    assert not [i for i in mini_pack.ids(mini_pack.indices("sp0", "train")) if i in text]


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (
            MemoryError("1 GiB"),
            'memory ran out on cpu: the model "small" at step 3 (epoch 1), with a batch of 8: 1 GiB. '
            "Use a smaller --batch-size, or a smaller model or image_size (--set).",
        ),
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp:125] DefaultCPUAllocator: can't allocate memory: 1.\nmore"),
            'memory ran out on cpu: the model "small" at step 3 (epoch 1), with a batch of 8: [enforce fail at '
            "alloc_cpu.cpp:125] DefaultCPUAllocator: can't allocate memory: 1. Use a smaller",
        ),
        (torch.OutOfMemoryError("CUDA out of memory."), 'memory ran out on cpu: the model "small" at step 3'),
        (
            RuntimeError("mat1 and mat2 shapes cannot be multiplied (8x48 and 12x63)"),
            'the model "small" failed at step 3 (epoch 1): RuntimeError: mat1 and mat2 shapes cannot be multiplied '
            "(8x48 and 12x63) (set HMR_DEBUG=1 for the traceback). `hmr plugins` says which package it is from.",
        ),
        (KeyError(), 'the model "small" failed at step 3 (epoch 1): KeyError: KeyError (set'),
    ],
)
def test_what_a_model_raises_is_told_with_the_model_and_the_step(
    small_spec: ModelSpec, mini_pack: Pack, tmp_path: Path, error: Exception, text: str
) -> None:
    def build(config: Any) -> PoseModel:
        model, steps = small_spec.build(config), iter(range(1, 1000))

        def fail(*_: object) -> None:
            if next(steps) == 3:
                raise error

        model.body.register_forward_pre_hook(fail)
        return model

    with pytest.raises(HmrError) as caught:
        Trainer(replace(small_spec, build=build), mini_pack)(tmp_path / "run")
    assert str(caught.value).startswith(text)
    assert caught.value.__cause__ is error


def test_a_batch_norm_with_one_value_says_what_to_do(small_spec: ModelSpec, mini_pack: Pack, tmp_path: Path) -> None:
    def build(config: Any) -> PoseModel:
        model = small_spec.build(config)
        model.body.append(torch.nn.BatchNorm1d(63))
        return model

    with pytest.raises(HmrError) as caught:
        Trainer(replace(small_spec, build=build), mini_pack)(tmp_path / "run", "train.batch_size=1")
    assert str(caught.value) == (
        'the batch norm of the model "small" has one value a channel at step 1 (epoch 1), on which it cannot train: '
        "train with --batch-size 2 or more."
    )


def test_what_goes_wrong_in_validation_does_not_cost_the_epoch(
    trainer: Trainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any) -> None:
        raise HmrError("the image of sample X is unreadable")

    with monkeypatch.context() as patch:
        patch.setattr(train_module, "_validate", fail)
        with pytest.raises(HmrError, match="the image of sample X"):
            trainer(tmp_path / "run")
    assert [path.name for path in saved_checkpoints(tmp_path / "run/checkpoints")] == ["epoch-0001"]
    trainer(tmp_path / "run")
    assert isinstance(trainer.events[0], RunStarted)
    assert trainer.events[0].first_epoch == 2


def test_a_pack_without_val_trains_without_val_figures(small_spec: ModelSpec, mini_tree: Path, tmp_path: Path) -> None:
    codec = codec_named("jpeg")
    write_pack(open_oakink(mini_tree), tmp_path / "train.h5", splits=["sp0"], subset="train", codec=codec)
    trainer = Trainer(small_spec, Pack(tmp_path / "train.h5"))
    run = trainer(tmp_path / "run", "train.epochs=2")
    started, ended = trainer.events[0], [event for event in trainer.events if isinstance(event, EpochDone)]
    assert isinstance(started, RunStarted)
    assert started.val_samples == 0
    assert "no val figures: " in started.notes[0]
    assert [event.val for event in ended] == [{}, {}]
    assert [path.name for path in saved_checkpoints(run.checkpoints)] == ["epoch-0002"]


def test_two_processes_do_not_train_one_run(run: Run) -> None:
    with locked(run), pytest.raises(HmrError, match=r"is being trained by another process\. Wait for it, or stop it"), \
            locked(run):  # fmt: skip
        pass
    with locked(run):
        pass


def test_a_line_of_metrics_that_was_cut_off_is_dropped(run: Run) -> None:
    path = run.folder / "metrics.jsonl"
    whole = path.read_text()
    path.write_text(whole + '{"kind": "step", "epo')
    drop_later_metrics(run, 3)
    assert path.read_text() == whole
    drop_later_metrics(run, 1)
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [1, 7, 7]


def test_too_few_samples_for_a_batch_is_an_error(trainer: Trainer, tmp_path: Path) -> None:
    with pytest.raises(
        HmrError, match=r"sp0 train has 57 samples, fewer than a batch of 58\. Use a smaller --batch-size"
    ):
        trainer(tmp_path / "run", "train.batch_size=58")


def test_training_on_train_and_val_says_that_val_is_seen(trainer: Trainer, tmp_path: Path) -> None:
    trainer(tmp_path / "run", "train.subset=train+val", "train.epochs=1")
    started = trainer.events[0]
    assert isinstance(started, RunStarted)
    assert started.train_samples == 72
    assert started.notes == ("trains on train+val, as published: the val figures are of samples seen in training",)


@pytest.mark.parametrize("first", [1, 9997])  # numbers of four digits, and on to five
def test_the_newest_and_the_best_checkpoint_are_kept(tmp_path: Path, first: int) -> None:
    for epoch, mpjpe in enumerate([30.0, 10.0, 20.0, 25.0], start=first):
        folder = tmp_path / f"epoch-{epoch:04d}"
        folder.mkdir()
        write_info(folder, {"model": "small", "recipe": {}, "val": {"mpjpe_mm": mpjpe}})
    checkpoints.prune_checkpoints(tmp_path)
    kept = [path.name for path in saved_checkpoints(tmp_path)]
    assert kept == [f"epoch-{first + 1:04d}", f"epoch-{first + 3:04d}"]


def test_rates_follow_the_schedule() -> None:
    steps = TrainConfig(epochs=100, batch_size=1, learning_rate=1e-3, milestones=(30, 60))
    assert [learning_rate(steps, epoch, 1, 10) for epoch in (1, 30, 31, 60, 61)] == pytest.approx(
        [1e-3, 1e-3, 1e-4, 1e-4, 1e-5]
    )
    cosine = TrainConfig(epochs=10, batch_size=1, learning_rate=1e-3, schedule="cosine")
    assert learning_rate(cosine, 1, 1, 10) == 1e-3
    assert learning_rate(cosine, 6, 51, 10) == pytest.approx(5e-4)
    assert 0 < learning_rate(cosine, 10, 100, 10) < 1e-6


def test_each_parameter_tensor_is_clipped_by_itself(small_spec: ModelSpec) -> None:
    model = small_spec.build(load_recipe(small_spec, "tiny").model)
    weight, bias = model.parameters()
    weight.grad, bias.grad = torch.full_like(weight, 3.0), torch.full_like(bias, 1e-3)
    clip_each(model, gradient_norms(model), 0.1)
    assert weight.grad.norm() == pytest.approx(0.1, rel=1e-4)
    assert torch.equal(bias.grad, torch.full_like(bias, 1e-3))  # its norm is below the limit


def test_optimizer_state_survives(run: Run, small_spec: ModelSpec) -> None:
    folder = saved_checkpoints(run.checkpoints)[-1]
    checkpoint = checkpoints.load_checkpoint(folder, small_spec)
    model = checkpoint.model
    optimizer = torch.optim.Adam(model.parameters())
    checkpoints.load_optimizer(checkpoint, model, optimizer)
    state = optimizer.state[next(model.parameters())]
    assert state["step"] == 21
    assert state["exp_avg_sq"].abs().sum() > 0


def test_state_of_any_adam_goes_on_in_the_fused_one(run: Run, small_spec: ModelSpec) -> None:
    """Checkpoints hold no optimizer's options, so those of runs before it was fused go on."""
    folder = saved_checkpoints(run.checkpoints)[-1]
    stepped = []
    for fused in (False, True):
        checkpoint = checkpoints.load_checkpoint(folder, small_spec)
        model = checkpoint.model
        optimizer = torch.optim.Adam(model.parameters(), fused=fused)
        checkpoints.load_optimizer(checkpoint, model, optimizer)
        assert optimizer.param_groups[0]["fused"] is fused
        for parameter in model.parameters():
            parameter.grad = torch.ones_like(parameter)
        optimizer.step()
        stepped.append([parameter.detach() for parameter in model.parameters()])
    torch.testing.assert_close(stepped[0], stepped[1])


def test_a_checkpoint_that_is_not_finite_is_not_written(small_spec: ModelSpec, mini_pack: Pack, tmp_path: Path) -> None:
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
        Trainer(replace(small_spec, build=build), mini_pack)(run)
    assert str(caught.value) == (
        f"the checkpoint {run}/checkpoints/epoch-0002 was not written: seen in its model.safetensors would hold "
        f"numbers that are not finite. The last checkpoint, {run}/checkpoints/epoch-0001, is untouched; a resumed run "
        "would take the same steps, so remove the cause and start a new run."
    )
    assert [path.name for path in saved_checkpoints(run / "checkpoints")] == ["epoch-0001"]


def test_a_full_disk_at_a_checkpoint_says_what_is_left(
    trainer: Trainer, tmp_path: Path, files_up_to: Callable[[int], Any]
) -> None:
    run = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        trainer(run, stop_after=10)
    with files_up_to(5000), pytest.raises(HmrError) as caught:
        trainer(run)
    assert str(caught.value) == (
        f"{run}/checkpoints/epoch-0002 could not be written: File too large. Make room there, or choose another place. "
        "Nothing of it was left behind. What epoch 2 learnt is lost; the run goes on after epoch-0001 by: "
        f"hmr train small --resume {run}"
    )
    assert [path.name for path in saved_checkpoints(run / "checkpoints")] == ["epoch-0001"]
    trainer(run)
    assert [path.name for path in saved_checkpoints(run / "checkpoints")][-1] == "epoch-0003"


def test_tied_weights_are_saved_and_resumed(small_spec: ModelSpec, mini_pack: Pack, tmp_path: Path) -> None:
    def build(config: Any) -> PoseModel:
        model = small_spec.build(config)
        model.again = model.body[2]
        return model

    trainer = Trainer(replace(small_spec, build=build), mini_pack)
    whole = trainer(tmp_path / "whole", "train.epochs=2")
    assert torch.equal(weights(whole)["body.2.weight"], weights(whole)["again.weight"])
    with pytest.raises(KeyboardInterrupt):
        trainer(tmp_path / "stopped", "train.epochs=2", stop_after=10)
    again = trainer(tmp_path / "stopped", "train.epochs=2")
    assert all(torch.equal(value, weights(again)[name]) for name, value in weights(whole).items())
    model = checkpoints.load_checkpoint(again.folder, trainer.spec).model
    assert model.again.weight is model.body[2].weight


@pytest.mark.parametrize("how", ["flipped", "gone"])
def test_an_altered_optimizers_state_is_refused(trainer: Trainer, run: Run, tmp_path: Path, how: str) -> None:
    with pytest.raises(KeyboardInterrupt):
        trainer(tmp_path / "stopped", stop_after=10)
    file = tmp_path / "stopped/checkpoints/epoch-0001/optimizer.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    if how == "flipped":
        file.write_bytes(data)
    else:
        file.unlink()
    text = {"flipped": "was altered or damaged, or model.json belongs to", "gone": "is not there, without which no run"}
    with pytest.raises(HmrError, match=rf"^{file} {text[how]}"):
        trainer(tmp_path / "stopped")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (
            {"split": "sp1"},
            'says that split is "sp1", the checkpoint {saved} that it is "sp0": one of them was altered',
        ),
        (
            {"recipe": {"train": {"learning_rate": 1.0, "epochs": 9}}},
            "says that recipe.train.epochs is 9, the checkpoint {saved} that it is 3 (and 1 more: "
            "recipe.train.learning_rate): one",
        ),
        ({"data_digest": "0" * 64}, 'says that data_digest is "0000'),
    ],
)
def test_a_run_whose_config_is_not_its_checkpoints_is_neither_resumed_nor_evaluated(
    run: Run, small_spec: ModelSpec, change: dict[str, Any], text: str
) -> None:
    path, saved = run.folder / "config.json", saved_checkpoints(run.checkpoints)[-1]
    config = json.loads(path.read_text())
    if "recipe" in change:
        config["recipe"]["train"].update(change["recipe"]["train"])
    else:
        config.update(change)
    path.write_text(json.dumps(config))
    for refused in (
        lambda: check_run(open_run(run.folder), saved / "model.safetensors"),  # as a resume does
        lambda: checkpoints.load_checkpoint(run.folder, small_spec),
    ):
        with pytest.raises(HmrError, match=f"^{re.escape(f'{path} {text.format(saved=saved)}')}"):
            refused()
    assert checkpoints.load_checkpoint(saved, small_spec).info["split"] == "sp0"


def test_an_edited_record_is_refused(run: Run, small_spec: ModelSpec) -> None:
    path = saved_checkpoints(run.checkpoints)[-1] / "model.json"
    path.write_text(path.read_text().replace('"bbox_expand": 1.7', '"bbox_expand": 1.2'))
    with pytest.raises(HmrError, match=r"model\.json was altered or damaged: its own digest is not the one that it"):
        checkpoints.load_checkpoint(run.folder, small_spec)


# Checkpoints that do not fit.


def test_a_missing_checkpoint_says_what_to_give(tmp_path: Path, small_spec: ModelSpec) -> None:
    with pytest.raises(HmrError, match=r"no such checkpoint: .*nowhere\. --ckpt takes a run's folder, a checkpoint"):
        checkpoints.load_checkpoint(tmp_path / "nowhere", small_spec)
    with pytest.raises(HmrError, match=r"has no checkpoint in it"):
        checkpoints.load_checkpoint(tmp_path, small_spec)


def test_a_file_that_is_no_checkpoint_says_what_to_give(run: Run, small_spec: ModelSpec, mini_pack: Pack) -> None:
    reasons = {
        mini_pack.path: r"it is a pack or another HDF5 file; a pack goes to --data",
        run.folder / "config.json": r"it is no file of torch's",
    }
    for path, reason in reasons.items():
        with pytest.raises(HmrError, match=rf"weights alone: {reason}\. --ckpt takes a run's folder, a"):
            checkpoints.load_checkpoint(path, small_spec)
    newest = saved_checkpoints(run.checkpoints)[-1]
    with pytest.raises(HmrError, match=r"is the optimizer's state, not the model: give .*model\.safetensors"):
        checkpoints.load_checkpoint(newest / "optimizer.safetensors", small_spec)
    assert checkpoints.load_checkpoint(run.checkpoints, small_spec).path == newest / "model.safetensors"


def test_a_checkpoint_of_another_model_is_refused_by_name(run: Run, small_spec: ModelSpec) -> None:
    with pytest.raises(
        HmrError, match=r'is a checkpoint of the model "small", not of "other"\. Give --ckpt one of other, or'
    ):
        checkpoints.load_checkpoint(run.folder, replace(small_spec, name="other"))


def test_an_altered_checkpoint_is_refused(run: Run, small_spec: ModelSpec) -> None:
    path = saved_checkpoints(run.checkpoints)[-1] / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(HmrError, match=r"model\.safetensors was altered or damaged"):
        checkpoints.load_checkpoint(run.folder, small_spec)
    path.write_bytes(data[:40])
    with pytest.raises(HmrError, match=r"cannot be read as safetensors"):
        checkpoints.load_checkpoint(run.folder, small_spec)


def released(path: Path, change: Callable[[dict[str, Any]], Any]) -> Path:
    state = {"body.2.weight": torch.zeros(63, 48), "body.2.bias": torch.zeros(63)}
    torch.save(change(state) or state, path)
    return path


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda s: {"body.2.weight": s["body.2.weight"]}, r'the model "small": it lacks body\.2\.bias\. Is it'),
        (lambda s: s.update(extra=torch.zeros(1)), r"it has the unknown extra\. Is it a checkpoint of another model"),
        (
            lambda s: s.update({"body.2.bias": torch.zeros(60)}),
            r"body\.2\.bias has shape \(60,\), and the model wants \(63,\)\. Is it a checkpoint of another recipe",
        ),
        (lambda s: [1, 2], r"does not hold a state dict \(names to tensors\), by itself or under \"model\""),
        (lambda s: {"model": [1, 2]}, r"does not hold a state dict \(names to tensors\)"),
        (lambda s: {"model": s, "epoch": torch.zeros(1)}, r"does not hold a state dict \(names to tensors\)"),
        (lambda s: s.update(extra=Path("x")), r"cannot be loaded as weights alone: it names pathlib\.\w+, which is no"),
    ],
    ids=["missing", "unknown", "shape", "no state dict", "none inside", "more beside", "pickled object"],
)
def test_released_files_that_do_not_fit_are_refused(
    tmp_path: Path, small_spec: ModelSpec, change: Callable[[dict[str, Any]], Any], text: str
) -> None:
    with pytest.raises(HmrError, match=text):
        checkpoints.load_checkpoint(released(tmp_path / "x.pth.tar", change), small_spec)


@pytest.mark.parametrize("change", [lambda s: None, lambda s: {"model": s}], ids=["plain", "under model"])
def test_a_released_file_loads_as_the_published_recipe(
    tmp_path: Path, small_spec: ModelSpec, change: Callable[[dict[str, Any]], Any]
) -> None:
    checkpoint = checkpoints.load_checkpoint(released(tmp_path / "x.pth.tar", change), small_spec)
    assert checkpoint.recipe == load_recipe(small_spec, "published")
    assert all(not value.any() for value in checkpoint.model.state_dict().values())


# Runs.


def test_a_run_is_not_started_over_another(run: Run) -> None:
    refused = {
        run.folder: r"is a run already\. Go on with it by `hmr train small --resume",
        run.checkpoints: r"checkpoints exists, is not empty and is no run\. Choose another folder with",
        run.folder / "metrics.jsonl/inside": r"the run's folder .* cannot be made: .*\. Choose another with --out",
    }
    for folder, text in refused.items():
        with pytest.raises(HmrError, match=text), new_run(replace(run, folder=folder)):
            pytest.fail("it was begun")
    assert open_run(run.folder) == run


def begin(run: Run, said: str = "") -> None:
    """A run that ends by an error before its first checkpoint."""
    with contextlib.suppress(ZeroDivisionError), new_run(run):
        run.log.write_text(said)
        raise ZeroDivisionError


def test_a_run_that_ended_before_its_first_checkpoint_is_in_nobody_s_way(run: Run, tmp_path: Path) -> None:
    first, second = (replace(run, folder=tmp_path / "new", split=split) for split in ("sp0", "sp1"))
    begin(first)
    assert not first.folder.exists()  # nothing was said
    begin(first, said="that it started\n")
    with new_run(second):
        assert open_run(second.folder).split == "sp1"
        assert second.log.read_text() == "that it started\n"
        with pytest.raises(HmrError, match="is being trained by another process"), new_run(first):
            pytest.fail("it was begun")
    assert open_run(second.folder).split == "sp1"


def test_where_nothing_can_be_locked_runs_are_not_held(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(descriptor: int, operation: int) -> None:
        raise OSError("no locks available")

    monkeypatch.setattr("fcntl.flock", flock)
    with locked(run), locked(run):
        pass


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HmrError, match=r"is not a run: .*config\.json cannot be read"):
        open_run(tmp_path)
    (tmp_path / "config.json").write_text('{"format": "hmr-run/9"}')
    with pytest.raises(HmrError, match=r"has format 'hmr-run/9'; this version of hmr reads 'hmr-run/1'"):
        open_run(tmp_path)
    (tmp_path / "config.json").write_text('{"format": "hmr-run/1", "data": "x", "new": 1}')
    with pytest.raises(HmrError, match=r"is not as `hmr train` writes it .*; the run cannot be resumed"):
        open_run(tmp_path)


def test_default_folders_are_numbered(run: Run, tmp_path: Path) -> None:
    def name() -> str:
        return default_folder("integral", "sp0", "tiny", tmp_path).name

    assert name() == "integral-sp0-tiny"
    begun = replace(run, folder=tmp_path / "integral-sp0-tiny")
    with new_run(begun):
        assert name() == "integral-sp0-tiny-2"  # it is being trained
    assert name() == "integral-sp0-tiny"  # it has no checkpoint
    (begun.checkpoints / "epoch-0001").mkdir()
    assert name() == "integral-sp0-tiny-2"
    (tmp_path / "integral-sp0-tiny-2").mkdir()
    assert name() == "integral-sp0-tiny-3"


@pytest.mark.parametrize(
    ("key", "value", "how"),
    [
        ("recipe", [], '"recipe" is a list, and should be an object'),
        ("hand_model", "x", '"hand_model" is a str, and should be an object or null'),
        ("versions", [], '"versions" is a list, and should be an object'),
        ("tensorboard", "no", '"tensorboard" is a str, and should be true or false'),
        ("started", None, '"started" is a NoneType, and should be an object'),
    ],
)
def test_a_run_whose_config_is_damaged_is_refused(run: Run, key: str, value: object, how: str) -> None:
    path = run.folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    with pytest.raises(HmrError, match=f"^{path} was altered or damaged: {how}. Put back the file"):
        open_run(run.folder)


@pytest.mark.parametrize(
    "line",
    [b'{"k\xefnd": "epoch", "epoch": 1}', b'{"epoch": "two"}', b'{"epoch": 1' + b"0" * 400 + b"}", b"[" * 100_000],
    ids=["bytes", "text", "large", "deep"],
)
def test_a_damaged_line_of_metrics_is_dropped(run: Run, line: bytes) -> None:
    path = run.folder / "metrics.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole + line + b"\n")
    drop_later_metrics(run, 3)
    assert path.read_bytes() == whole


@pytest.mark.parametrize("name", ["train.log", "metrics.jsonl"])
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_is_no_file_in_a_run_is_told(run: Run, name: str, make: Callable[[Path], None]) -> None:
    path = run.folder / name
    path.unlink(missing_ok=True)
    make(path)
    use = {"train.log": locked(run).__enter__, "metrics.jsonl": lambda: drop_later_metrics(run, 3)}[name]
    with pytest.raises(HmrError, match=rf"^{path} cannot be used: .*\. Move it away, and go on\.$"):
        use()


def test_a_run_that_cannot_be_written_to_says_so(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(HmrError, match=rf"^{run.log} cannot be written to: Read-only file system\. Copy"), locked(run):
        pass
    with pytest.raises(HmrError, match="is a run already"):
        check_free(run.folder, "small")


def test_a_disk_that_is_full_when_a_run_begins_leaves_nothing(
    trainer: Trainer, tmp_path: Path, files_up_to: Callable[[int], Any]
) -> None:
    with files_up_to(100), pytest.raises(HmrError, match=r"config\.json could not be written: File too large"):
        trainer(tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_an_altered_checkpoint_names_the_others_of_its_run(run: Run, small_spec: ModelSpec) -> None:
    newest = saved_checkpoints(run.checkpoints)[-1]
    older = run.checkpoints / "epoch-0001"
    shutil.copytree(newest, older)
    (newest / "model.safetensors").write_bytes((newest / "model.safetensors").read_bytes()[:-1] + b"x")
    with pytest.raises(
        HmrError, match=rf"Copy it again .*, or use another checkpoint of the run: {older} \(a resumed run"
    ):
        checkpoints.load_checkpoint(newest, small_spec)


def test_what_was_left_of_figures_on_val_is_cleared_away(run: Run) -> None:
    newest = saved_checkpoints(run.checkpoints)[-1]
    (newest / ".model.json.0123abcd.part").mkdir()
    checkpoints.prune_checkpoints(run.checkpoints)
    assert {path.name for path in newest.iterdir()} == {"model.safetensors", "model.json", "optimizer.safetensors"}


# Evaluation.


def evaluate_on(
    spec: ModelSpec, checkpoint: checkpoints.Checkpoint, pack: Pack, *, split: str, subset: str, **options: Any
) -> Evaluation:
    """The evaluation of a model that needs no hand."""
    request = EvaluationRequest(spec=spec, checkpoint=checkpoint, pack=pack, split=split, subset=subset)
    return evaluate(request, **options)


@pytest.fixture
def evaluation(run: Run, small_spec: ModelSpec, mini_pack: Pack) -> Any:
    checkpoint = checkpoints.load_checkpoint(run.folder, small_spec)
    options: dict[str, Any] = {"split": "sp0", "subset": "test", "device": CPU, "batch_size": 7, "workers": 0}
    return evaluate_on(small_spec, checkpoint, mini_pack, **options)


def test_a_report_has_what_its_readers_rely_on(evaluation: Any, run: Run, mini_pack: Pack) -> None:
    report = evaluation.report
    assert (report["model"], report["split"], report["subset"], report["samples"]) == ("small", "sp0", "test", 24)
    assert report["protocol"] == "published"
    assert list(report["metrics"]) == ["mpjpe_mm", "pck_auc_0_50mm", "mpvpe_mm", "pa_mpjpe_mm", "pa_mpvpe_mm"]
    assert report["metrics"]["mpvpe_mm"] is None
    assert report["missing"] == [NO_MESH]
    assert set(report["aligned"]) == {"wrist", "mcp", "pa_rotation_only"}
    assert report["published"]["mpjpe_mm"] == 1.0
    assert report["baseline"]["subset"] == "train"
    assert report["checkpoint"]["epoch"] == 3
    assert report["pack"]["blake2b"] == mini_pack.info.digest
    assert report["versions"]["torch"] == torch.__version__
    assert report["synthetic"] is False
    assert json.loads(json.dumps(report)) == report


def test_the_published_figures_stand_beside_the_test_subset_only(
    run: Run, small_spec: ModelSpec, mini_pack: Pack
) -> None:
    checkpoint = checkpoints.load_checkpoint(run.folder, small_spec)
    options: dict[str, Any] = {"split": "sp0", "device": CPU, "batch_size": 8, "workers": 0}
    assert evaluate_on(small_spec, checkpoint, mini_pack, subset="val", **options).report["published"] == {}


def test_a_model_other_than_the_published_one_says_so_beside_the_published_figures(
    run: Run, small_spec: ModelSpec, mini_pack: Pack
) -> None:
    checkpoint = checkpoints.load_checkpoint(run.folder, small_spec)
    other = override(small_spec, checkpoint.recipe, ["data.bbox_expand=1.2", "train.epochs=7"])
    options: dict[str, Any] = {"split": "sp0", "device": CPU, "batch_size": 24, "workers": 0}

    def notes(subset: str) -> list[str]:
        changed = replace(checkpoint, recipe=other)
        return list(evaluate_on(small_spec, changed, mini_pack, subset=subset, **options).report["notes"])

    assert notes("test") == [
        "the published figures are of the recipe published, and this model has data.bbox_expand=1.2"
    ]
    assert notes("val") == []  # where no published figures are shown


def test_figures_of_another_split_than_the_trained_one_say_so(run: Run, small_spec: ModelSpec, mini_pack: Pack) -> None:
    checkpoint = checkpoints.load_checkpoint(run.folder, small_spec)

    def notes(split: str, subset: str) -> list[str]:
        options: dict[str, Any] = {"device": CPU, "batch_size": 24, "workers": 0}
        report = evaluate_on(small_spec, checkpoint, mini_pack, split=split, subset=subset, **options).report
        assert report["checkpoint"]["trained_on"] == {"split": "sp0", "subset": "train"}
        return list(report["notes"])

    assert notes("sp0", "test") == notes("sp0", "val") == []
    assert notes("sp1", "test") == [
        "the checkpoint was trained on sp0: samples of sp1 test may be among its training ones"
    ]
    assert (
        notes("sp0", "train+val")
        == notes("sp0", "all")
        == ["the checkpoint was trained on train: these figures are of samples seen in training"]
    )


def test_batch_size_changes_no_prediction(evaluation: Any, run: Run, small_spec: ModelSpec, mini_pack: Pack) -> None:
    checkpoint = checkpoints.load_checkpoint(run.folder, small_spec)
    options: dict[str, Any] = {"split": "sp0", "subset": "test", "device": CPU, "workers": 1}
    other = evaluate_on(small_spec, checkpoint, mini_pack, batch_size=24, **options)
    np.testing.assert_allclose(other.predictions.joints, evaluation.predictions.joints, atol=1e-6)


def test_scoring_the_file_again_gives_the_same_figures(evaluation: Any, tmp_path: Path, mini_pack: Pack) -> None:
    write_evaluation(tmp_path, evaluation)
    predictions = read_predictions(tmp_path / "predictions.h5")
    assert rescore(tmp_path, mini_pack, predictions).metrics == evaluation.report["metrics"]
    order = np.random.default_rng(0).permutation(24)  # the order of the file does not matter
    shuffled = replace(
        predictions, ids=[predictions.ids[i] for i in order], joints=np.ascontiguousarray(predictions.joints[order])
    )
    figures = rescore(tmp_path, mini_pack, shuffled).metrics
    assert figures["mpjpe_mm"] == pytest.approx(evaluation.report["metrics"]["mpjpe_mm"], rel=1e-12)
    with h5py.File(tmp_path / "predictions.h5") as file:
        assert file.attrs["units"] == "metres"
        assert file["joints"].shape == (24, 21, 3)
        assert 1000 * file["joints_error_m"][:].mean() == pytest.approx(evaluation.report["metrics"]["mpjpe_mm"])
        assert "verts" not in file


def test_predictions_of_other_samples_are_refused(evaluation: Any, tmp_path: Path, mini_pack: Pack) -> None:
    predictions = replace(evaluation.predictions, joints_error_m=None)
    path = tmp_path / "predictions.h5"
    with pytest.raises(HmrError, match=r"does not cover sp0 test of .*: it lacks .* \(1 missing, 0 unknown\)"):
        rescore(path, mini_pack, replace(predictions, ids=predictions.ids[1:], joints=predictions.joints[1:]))
    with pytest.raises(HmrError, match=r"it has nobody, which is not in it"):
        rescore(
            path,
            mini_pack,
            replace(predictions, ids=[*predictions.ids, "nobody"], joints=np.tile(predictions.joints[:1], (25, 1, 1))),
        )
    with pytest.raises(HmrError, match=r"has 1 samples twice; each of sp0 test must be there once"):
        rescore(path, mini_pack, replace(predictions, ids=[*predictions.ids[:-1], predictions.ids[0]]))


def test_a_file_that_holds_no_predictions_is_refused(tmp_path: Path, mini_pack: Pack) -> None:
    with pytest.raises(HmrError, match=r"no such file of predictions"):
        read_predictions(tmp_path / "predictions.h5")
    with pytest.raises(HmrError, match=r"is not a file of predictions of format 'hmr-predictions/1'"):
        read_predictions(mini_pack.path)
    cut = tmp_path / "cut.h5"
    cut.write_bytes(b"\x89HDF\r\n\x1a\n")
    with pytest.raises(HmrError, match=r"cannot be read as predictions"):
        read_predictions(cut)


def test_the_baseline_is_the_mean_pose_of_the_training_subset(evaluation: Any, mini_pack: Pack) -> None:
    """By a loop over samples, from the definitions."""
    dataset, rows = evaluation.dataset, mini_pack.indices("sp0", "train")
    total = sum(dataset[(0, int(row))].targets.joints_uvd[0].double() for row in rows)
    mean = mean_pose_uvd(dataset, rows)
    torch.testing.assert_close(mean, total / len(rows), atol=1e-6, rtol=0)
    test = mini_pack.indices("sp0", "test")[:3]
    joints = torch.from_numpy(baseline_joints(dataset, test, mean))
    targets = dataset.__getitems__([(0, int(row)) for row in test]).targets
    again = to_uvd(joints, targets.root, targets.intrinsics, dataset.image_size)
    torch.testing.assert_close(again, mean.float().expand(3, -1, -1), atol=1e-5, rtol=0)
    assert math.isfinite(evaluation.report["baseline"]["metrics"]["mpjpe_mm"])


def test_a_pack_without_the_training_subset_has_no_baseline_and_says_why(
    run: Run, small_spec: ModelSpec, mini_tree: Path, tmp_path: Path
) -> None:
    write_pack(open_oakink(mini_tree), tmp_path / "test.h5", splits=["sp0"], subset="test", codec=codec_named("jpeg"))
    checkpoint = checkpoints.load_checkpoint(run.folder, small_spec)
    options: dict[str, Any] = {"split": "sp0", "subset": "test", "device": CPU, "batch_size": 24, "workers": 0}
    report = evaluate_on(small_spec, checkpoint, Pack(tmp_path / "test.h5"), **options).report
    assert report["baseline"]["metrics"] is None
    assert "does not hold all of subset train of sp0" in report["baseline"]["reason"]


def test_a_prediction_that_is_not_finite_names_the_sample(run: Run, small_spec: ModelSpec, mini_pack: Pack) -> None:
    folder = saved_checkpoints(run.checkpoints)[-1]
    checkpoint = checkpoints.load_checkpoint(folder, small_spec)
    torch.nn.init.constant_(next(checkpoint.model.parameters()), float("nan"))
    options: dict[str, Any] = {"split": "sp0", "subset": "test", "device": CPU, "batch_size": 24, "workers": 0}
    first = mini_pack.ids(mini_pack.indices("sp0", "test")[:1])[0]
    with pytest.raises(HmrError, match=rf"prediction is not finite for {first} \(24 in its batch\)"):
        evaluate_on(small_spec, checkpoint, mini_pack, **options)


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("what", ["image", "annotations"])
def test_a_damaged_sample_stops_an_evaluation_with_its_name(
    run: Run, small_spec: ModelSpec, mini_pack: Pack, tmp_path: Path, what: str, workers: int
) -> None:
    shutil.copy(mini_pack.path, tmp_path / "bad.h5")
    row = int(mini_pack.indices("sp0", "test")[5])
    with h5py.File(tmp_path / "bad.h5", "r+", locking=False) as file:
        if what == "image":
            file["images/bytes"][int(file["images/offsets"][row]) + 100] ^= 1
        else:
            file["samples/joints"][row, 3, 1] += 1e-4
    checkpoint = checkpoints.load_checkpoint(run.folder, small_spec)
    options: dict[str, Any] = {"split": "sp0", "subset": "test", "device": CPU, "batch_size": 24, "workers": workers}
    name = mini_pack.ids([row])[0]
    with pytest.raises(HmrError, match=rf"^the {what} of sample {name} in .*bad\.h5 (is unreadable|are damaged)"):
        evaluate_on(small_spec, checkpoint, Pack(tmp_path / "bad.h5"), **options)


def test_points_that_cannot_be_aligned_name_the_sample(evaluation: Any, tmp_path: Path, mini_pack: Pack) -> None:
    joints = evaluation.predictions.joints.copy()
    joints[7] = 0.25
    name = evaluation.predictions.ids[7]
    with pytest.raises(
        HmrError, match=rf"PA error of sample {name}: the points of the prediction are all in one place"
    ):
        rescore(tmp_path, mini_pack, replace(evaluation.predictions, joints=joints))


def test_weights_of_another_recipe_under_the_right_name_are_refused(run: Run, small_spec: ModelSpec) -> None:
    folder = saved_checkpoints(run.checkpoints)[-1]
    save_file({"body.2.weight": torch.zeros(63, 12), "body.2.bias": torch.zeros(63)}, folder / "model.safetensors")
    write_info(folder, read_info(folder / "model.safetensors"))
    with pytest.raises(HmrError, match=r"body\.2\.weight has shape \(63, 12\), and the model wants \(63, 48\)"):
        checkpoints.load_checkpoint(run.folder, small_spec)


# What a run does, seen from inside.


def test_training_samples_are_augmented_anew_in_each_epoch_and_those_of_val_never(
    trainer: Trainer, tmp_path: Path, mini_pack: Pack, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[tuple[ImageDataset, list[tuple[int, int]]]] = []
    getitems = ImageDataset.__getitems__

    def recording(self: ImageDataset, keys: Any) -> Any:
        read.append((self, list(keys)))
        return getitems(self, keys)

    monkeypatch.setattr(ImageDataset, "__getitems__", recording)
    trainer(tmp_path / "run", "train.epochs=2", "augment.color=0.2")
    augment = load_recipe(trainer.spec, "tiny", ["augment.color=0.2"]).augment
    train_rows, val_rows = (mini_pack.indices("sp0", name) for name in ("train", "val"))
    for epoch, batches in ((1, read[:9]), (2, read[9:])):
        training = [key for dataset, keys in batches[:7] for key in keys]
        assert training == [(epoch, int(row)) for row in epoch_order(train_rows, 3, epoch)[:56]]
        assert all((dataset.augment, dataset.seed) == (augment, 3) for dataset, _ in batches[:7])
        assert [row for _, keys in batches[7:] for _, row in keys] == val_rows.tolist()
        assert all(dataset.augment is None for dataset, _ in batches[7:])


def test_the_optimizer_steps_as_the_recipe_says(
    trainer: Trainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[tuple[float, float, list[float]]] = []

    class Spy(Adam):
        def step(self, closure: Any = None) -> Any:
            group = self.param_groups[0]
            norms = [float(parameter.grad.norm()) for parameter in group["params"]]
            steps.append((group["lr"], group["weight_decay"], norms))
            return super().step(closure)

    monkeypatch.setattr("hmr_core.training.loop.Adam", Spy)
    sets = ["train.milestones=[1]", "train.weight_decay=0.25", "train.clip_norm=1e-4"]
    trainer(tmp_path / "run", "train.epochs=2", *sets)
    assert [rate for rate, _, _ in steps] == pytest.approx([1e-2] * 7 + [1e-3] * 7)
    assert [event.learning_rate for event in trainer.events if isinstance(event, StepDone)] == [s[0] for s in steps]
    assert {decay for _, decay, _ in steps} == {0.25}
    for _, _, norms in steps:
        assert norms == pytest.approx([1e-4, 1e-4], rel=0.01)  # each tensor by itself


def test_an_epoch_tells_its_mean_losses_and_the_figures_of_its_checkpoint(
    trainer: Trainer, tmp_path: Path, small_spec: ModelSpec, mini_pack: Pack
) -> None:
    run = trainer(tmp_path / "run", "train.epochs=2")
    steps = [event for event in trainer.events if isinstance(event, StepDone)]
    epochs = [event for event in trainer.events if isinstance(event, EpochDone)]
    saved = [event for event in trainer.events if isinstance(event, CheckpointSaved)]
    assert [(event.epoch, event.step) for event in epochs] == [(1, 7), (2, 14)]
    for epoch in epochs:
        losses = [step.losses for step in steps if step.epoch == epoch.epoch]
        assert epoch.losses == pytest.approx({name: sum(part[name] for part in losses) / 7 for name in losses[0]})
    assert [event.path.name for event in saved] == ["epoch-0001", "epoch-0002"]
    checkpoint = checkpoints.load_checkpoint(run.folder, small_spec)
    assert checkpoint.info["val"] == epochs[-1].val
    options: dict[str, Any] = {"split": "sp0", "subset": "val", "device": CPU, "batch_size": 8, "workers": 0}
    assert evaluate_on(small_spec, checkpoint, mini_pack, **options).report["metrics"] == epochs[-1].val


def test_the_first_weights_are_the_seed_s_and_the_caller_s_random_state_is_left_alone(
    trainer: Trainer, tmp_path: Path
) -> None:
    found = []
    for i, seed in enumerate((3, 3, 4)):
        torch.manual_seed(i)
        before = torch.get_rng_state()
        sets = ("train.epochs=1", "train.learning_rate=1e-12", f"train.seed={seed}")
        found.append(weights(trainer(tmp_path / str(i), *sets))["body.2.weight"])
        assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(found[0], found[1])
    assert (found[0] - found[2]).abs().max() > 1e-3


def test_a_model_with_dropout_is_the_same_after_a_resume(
    small_spec: ModelSpec, mini_pack: Pack, tmp_path: Path
) -> None:
    def build(config: Any) -> PoseModel:
        model = small_spec.build(config)
        model.body.insert(0, torch.nn.Dropout(0.5))
        return model

    trainer = Trainer(replace(small_spec, build=build), mini_pack)
    whole = trainer(tmp_path / "whole", "train.epochs=2")
    with pytest.raises(KeyboardInterrupt):
        trainer(tmp_path / "stopped", "train.epochs=2", stop_after=7)
    again = trainer(tmp_path / "stopped", "train.epochs=2")
    assert all(torch.equal(value, weights(again)[name]) for name, value in weights(whole).items())


def test_a_fresh_run_begins_with_pretrained_parts_and_a_resumed_one_does_not(
    trainer: Trainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[PoseModel] = []
    monkeypatch.setattr(PoseModel, "pretrain", lambda self: loaded.append(self))
    trainer(tmp_path / "run", "train.epochs=1")
    assert len(loaded) == 1
    trainer(tmp_path / "run", "train.epochs=2")
    assert len(loaded) == 1


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_precision_concerns_training_alone(
    small_spec: ModelSpec, mini_pack: Pack, tmp_path: Path, precision: str
) -> None:
    seen: set[tuple[bool, torch.dtype]] = set()

    def build(config: Any) -> PoseModel:
        model = small_spec.build(config)
        model.body.register_forward_hook(lambda body, _, output: seen.add((body.training, output.dtype)))
        return model

    trainer = Trainer(replace(small_spec, build=build), mini_pack)
    trainer(tmp_path / "run", "train.epochs=1", f"train.precision={precision}")
    assert seen == {(True, getattr(torch, precision)), (False, torch.float32)}


def test_a_run_stands_for_its_newest_checkpoint(run: Run, small_spec: ModelSpec) -> None:
    newest = run.checkpoints / "epoch-0012"
    shutil.copytree(saved_checkpoints(run.checkpoints)[-1], newest)
    assert checkpoints.load_checkpoint(run.folder, small_spec).path == newest / "model.safetensors"


def test_unfinished_checkpoints_of_a_killed_process_are_removed(run: Run) -> None:
    kept = saved_checkpoints(run.checkpoints)
    (run.checkpoints / ".epoch-0004.123.part").mkdir()
    (run.checkpoints / ".epoch-0004.123.part/model.safetensors").write_bytes(b"half")
    checkpoints.prune_checkpoints(run.checkpoints)
    assert sorted(run.checkpoints.iterdir()) == kept


def test_workers_are_as_asked_for_and_else_fit_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = torch.device("cuda")
    monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(6)))  # as under taskset
    assert [choose_workers(given, CPU) for given in (None, 0, 3)] == [0, 0, 3]
    assert [choose_workers(given, cuda) for given in (None, 0, 3)] == [6, 0, 3]
    monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(64)))
    assert choose_workers(None, cuda) == 8


def test_the_report_s_baseline_has_not_seen_the_scored_samples(evaluation: Any, mini_pack: Pack) -> None:
    mean = mean_pose_uvd(evaluation.dataset, mini_pack.indices("sp0", "train"))
    joints = baseline_joints(evaluation.dataset, evaluation.rows, mean)
    assert evaluation.report["baseline"]["metrics"] == score(mini_pack, evaluation.rows, joints, None).metrics


def test_an_evaluation_tells_of_each_batch_of_synthetic_data_and_of_another_pack(
    run: Run, small_spec: ModelSpec, mini_pack: Pack, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = checkpoints.load_checkpoint(run.folder, small_spec)
    other = replace(checkpoint, info={**checkpoint.info, "data_digest": "of another pack"})
    monkeypatch.setattr(mini_pack, "info", replace(mini_pack.info, release="synthetic 1"))
    done: list[int] = []
    options: dict[str, Any] = {"split": "sp0", "subset": "test", "device": CPU, "batch_size": 9, "workers": 0}
    report = evaluate_on(small_spec, other, mini_pack, on_batch=done.append, **options).report
    assert done == [9, 9, 6]
    assert report["synthetic"] is True
    assert report["notes"] == [f"the checkpoint was trained on another pack than this one, {mini_pack.path}"]


def test_evaluation_crops_are_those_of_the_checkpoint_s_recipe(
    small_spec: ModelSpec, mini_pack: Pack, run: Run
) -> None:
    checkpoint = checkpoints.load_checkpoint(run.folder, small_spec)
    tight = replace(checkpoint, recipe=load_recipe(small_spec, "tiny", ["data.bbox_expand=1.2"]))
    options: dict[str, Any] = {"split": "sp0", "subset": "test", "device": CPU, "batch_size": 24, "workers": 0}
    evaluation = evaluate_on(small_spec, tight, mini_pack, **options)
    assert evaluation.dataset.data.bbox_expand == 1.2
    assert evaluation.report["recipe"]["data"]["bbox_expand"] == 1.2


def test_an_evaluation_compares_checksums_and_does_not_rely_on_decoding(
    run: Run, small_spec: ModelSpec, mini_pack: Pack, tmp_path: Path
) -> None:
    shutil.copy(mini_pack.path, tmp_path / "bad.h5")
    with h5py.File(tmp_path / "bad.h5", "r+", locking=False) as file:
        row = int(mini_pack.indices("sp0", "test")[5])
        file["images/bytes"][int(file["images/offsets"][row]) + 100] ^= 1
    checkpoint = checkpoints.load_checkpoint(run.folder, small_spec)
    options: dict[str, Any] = {"split": "sp0", "subset": "test", "device": CPU, "batch_size": 24, "workers": 0}
    with pytest.raises(HmrError, match="its bytes do not have the recorded checksum"):
        evaluate_on(small_spec, checkpoint, Pack(tmp_path / "bad.h5"), **options)


def test_damaged_annotations_are_not_scored(evaluation: Any, mini_pack: Pack, tmp_path: Path) -> None:
    row = int(mini_pack.indices("sp0", "test")[5])
    shutil.copy(mini_pack.path, tmp_path / "bad.h5")
    with h5py.File(tmp_path / "bad.h5", "r+", locking=False) as file:
        file["samples/joints"][row, 3, 1] += 1e-4
    with pytest.raises(HmrError, match=rf"^the annotations of sample {mini_pack.ids([row])[0]} in .*bad\.h5"):
        rescore(tmp_path, Pack(tmp_path / "bad.h5"), evaluation.predictions)


def test_versions_name_what_a_result_depends_on() -> None:
    assert {"python", "torch", "numpy", "h5py", "hmr-core", "hmr-integral"} <= set(versions())

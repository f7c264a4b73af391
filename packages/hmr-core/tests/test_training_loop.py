"""The training loop: its steps, what it tells of them, what they depend on."""

from __future__ import annotations

import json
import multiprocessing
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from hmr_core.data.batch import Key
from hmr_core.data.image_dataset import ImageDataset
from hmr_core.data.loading import epoch_order
from hmr_core.data.oakink import open_oakink
from hmr_core.data.pack.codecs import codec_named
from hmr_core.data.pack.reader import Pack
from hmr_core.data.pack.writer import write_pack
from hmr_core.errors import HmrError
from hmr_core.nn.model import PoseModel
from hmr_core.plugins import ModelSpec
from hmr_core.plugins.events import CheckpointSaved, EpochDone, RunEnded, RunStarted, StepDone
from hmr_core.plugins.recipes import load_recipe
from hmr_core.plugins.run import Run
from hmr_core.training.optimizer import Adam
from hmr_core.training.state import TrainingState, save
from hmr_core.weights import checkpoints
from hmr_core.weights.checkpoint_folders import saved_checkpoints
from hmr_core.weights.checkpoint_record import record_validation

CPU = torch.device("cpu")


def test_training_lowers_the_loss_and_tells_of_every_step(trainer: Any, tmp_path: Path) -> None:
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


def test_workers_do_not_change_a_run(trainer: Any, tmp_path: Path, run: Run) -> None:
    other = trainer(tmp_path / "other", workers=2)
    assert all(torch.equal(value, trainer.weights(other)[name]) for name, value in trainer.weights(run).items())


def test_a_run_keeps_as_many_workers_as_it_was_given(
    trainer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    others, counts = set(multiprocessing.active_children()), []
    recorded = record_validation

    def counting(*given: Any) -> None:
        counts.append(len(set(multiprocessing.active_children()) - others))
        recorded(*given)

    monkeypatch.setattr("hmr_core.training.loop.record_validation", counting)  # training and validation were loaded
    trainer(tmp_path / "run", "train.epochs=2", workers=2)
    assert counts == [2, 2]


def test_another_seed_is_another_run(trainer: Any, tmp_path: Path, run: Run) -> None:
    other = trainer(tmp_path / "other", "train.seed=4")
    assert any(not torch.equal(value, trainer.weights(other)[name]) for name, value in trainer.weights(run).items())


def test_a_pack_without_val_trains_without_val_figures(
    small_spec: ModelSpec, make_trainer: Any, mini_tree: Path, tmp_path: Path
) -> None:
    codec = codec_named("jpeg")
    write_pack(open_oakink(mini_tree), tmp_path / "train.h5", splits=["sp0"], subset="train", codec=codec)
    trainer = make_trainer(small_spec, Pack(tmp_path / "train.h5"))
    run = trainer(tmp_path / "run", "train.epochs=2")
    started, ended = trainer.events[0], [event for event in trainer.events if isinstance(event, EpochDone)]
    assert isinstance(started, RunStarted)
    assert started.val_samples == 0
    assert "no val metrics: " in started.notes[0]
    assert [event.val for event in ended] == [{}, {}]
    assert [path.name for path in saved_checkpoints(run.checkpoints)] == ["epoch-0001", "epoch-0002"]


def test_too_few_samples_for_a_batch_is_an_error(trainer: Any, tmp_path: Path) -> None:
    with pytest.raises(
        HmrError, match=r"sp0 train has 57 samples, fewer than a batch of 58\. Use a smaller batch_size"
    ):
        trainer(tmp_path / "run", "train.batch_size=58")


def test_training_on_train_and_val_says_that_val_is_seen(trainer: Any, tmp_path: Path) -> None:
    trainer(tmp_path / "run", "train.subset=train+val", "train.epochs=1")
    started = trainer.events[0]
    assert isinstance(started, RunStarted)
    assert started.train_samples == 72
    assert started.notes == ("trains on train+val, as published: the val metrics are of samples seen in training",)


def test_training_samples_are_augmented_anew_in_each_epoch_and_those_of_val_never(
    trainer: Any, tmp_path: Path, mini_pack: Pack, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[tuple[ImageDataset, list[Key]]] = []
    batch = ImageDataset.batch

    def recording(self: ImageDataset, keys: Any) -> Any:
        read.append((self, list(keys)))
        return batch(self, keys)

    monkeypatch.setattr(ImageDataset, "batch", recording)
    trainer(tmp_path / "run", "train.epochs=2", "augment.color=0.2")
    augment = load_recipe(trainer.spec, "tiny", ["augment.color=0.2"]).augment
    train_rows, val_rows = (mini_pack.indices("sp0", name) for name in ("train", "val"))
    for epoch, batches in ((1, read[:9]), (2, read[9:])):
        training = [key for dataset, keys in batches[:7] for key in keys]
        assert training == [Key(epoch, int(row)) for row in epoch_order(train_rows, 3, epoch)[:56]]
        assert all((dataset.augment, dataset.seed) == (augment, 3) for dataset, _ in batches[:7])
        assert [key.row for _, keys in batches[7:] for key in keys] == val_rows.tolist()
        assert all(dataset.augment is None for dataset, _ in batches[7:])


def test_the_optimizer_steps_as_the_recipe_says(trainer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[tuple[float, float, list[float]]] = []

    class Spy(Adam):
        def step(self, closure: Any = None) -> Any:
            group = self.param_groups[0]
            norms = [float(parameter.grad.norm()) for parameter in group["params"]]
            steps.append((group["lr"], group["weight_decay"], norms))
            return super().step(closure)

    monkeypatch.setattr("hmr_core.training.optimizer.Adam", Spy)
    sets = ["train.milestones=[1]", "train.weight_decay=0.25", "train.clip_norm=1e-4"]
    trainer(tmp_path / "run", "train.epochs=2", *sets)
    assert [rate for rate, _, _ in steps] == pytest.approx([1e-2] * 7 + [1e-3] * 7)
    assert [event.learning_rate for event in trainer.events if isinstance(event, StepDone)] == [s[0] for s in steps]
    assert {decay for _, decay, _ in steps} == {0.25}
    for _, _, norms in steps:
        assert norms == pytest.approx([1e-4, 1e-4], rel=0.01)  # each tensor by itself


def test_what_is_done_between_two_steps_is_no_wait_for_data(
    trainer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slowly(run: Run, state: TrainingState) -> Path:
        time.sleep(0.5)
        return save(run, state)

    def watch(event: Any) -> None:
        if isinstance(event, StepDone) and event.step == 3:
            time.sleep(0.5)

    monkeypatch.setattr("hmr_core.training.loop.save", slowly)
    trainer.on_event = watch
    run = trainer(tmp_path / "run", "train.epochs=1", checkpoint_every="4")
    batch = run.recipe["train"]["batch_size"]
    took = [batch / event.samples_per_second for event in trainer.events if isinstance(event, StepDone)]
    waited = [event.data_wait for event in trainer.events if isinstance(event, StepDone)]
    for step in (4, 5):  # after a watcher, and after a checkpoint
        assert took[step - 1] > 0.5
        assert took[step - 1] * (1 - waited[step - 1]) > 0.5


def test_an_epoch_tells_its_mean_losses_and_the_figures_of_its_checkpoint(
    trainer: Any, tmp_path: Path, small_spec: ModelSpec, evaluate_on: Any, mini_pack: Pack
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
    assert checkpoint.record is not None
    assert checkpoint.record.val == epochs[-1].val
    options: dict[str, Any] = {"split": "sp0", "subset": "val", "device": CPU, "batch_size": 8, "workers": 0}
    assert evaluate_on(small_spec, checkpoint, mini_pack, **options).report["metrics"] == epochs[-1].val


def test_the_first_weights_are_the_seed_s_and_the_caller_s_random_state_is_left_alone(
    trainer: Any, tmp_path: Path
) -> None:
    found = []
    for i, seed in enumerate((3, 3, 4)):
        torch.manual_seed(i)
        before = torch.get_rng_state()
        sets = ("train.epochs=1", "train.learning_rate=1e-12", f"train.seed={seed}")
        found.append(trainer.weights(trainer(tmp_path / str(i), *sets))["body.2.weight"])
        assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(found[0], found[1])
    assert (found[0] - found[2]).abs().max() > 1e-3


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_precision_concerns_training_alone(
    small_spec: ModelSpec, make_trainer: Any, mini_pack: Pack, tmp_path: Path, precision: str
) -> None:
    seen: set[tuple[bool, torch.dtype]] = set()

    def build(config: Any) -> PoseModel:
        model = small_spec.build(config)
        model.body.register_forward_hook(lambda body, _, output: seen.add((body.training, output.dtype)))
        return model

    trainer = make_trainer(replace(small_spec, build=build), mini_pack)
    trainer(tmp_path / "run", "train.epochs=1", f"train.precision={precision}")
    assert seen == {(True, getattr(torch, precision)), (False, torch.float32)}

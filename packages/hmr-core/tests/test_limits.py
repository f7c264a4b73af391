"""Runs on a few samples, for checking an idea fast."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hmr_core.data.image_dataset import ImageDataset
from hmr_core.data.pack.reader import Pack
from hmr_core.errors import HmrError, UsageError
from hmr_core.plugins import ModelSpec
from hmr_core.plugins.events import EpochDone, RunStarted
from hmr_core.plugins.recipes import load_recipe
from hmr_core.training.limits import make_limits, training_rows, validation_rows
from hmr_core.training.run_folder import run_name
from hmr_core.weights.checkpoint_folders import saved_checkpoints
from hmr_core.weights.checkpoints import load_checkpoint
from hmr_core.weights.run_record import open_run


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[tuple[bool, set[int]]]:
    """Of each batch that is loaded: whether it is augmented, and its rows."""
    batch, found = ImageDataset.batch, list[tuple[bool, set[int]]]()

    def noted(self: ImageDataset, keys: Any) -> Any:
        found.append((self.augment is not None, {key.row for key in keys}))
        return batch(self, keys)

    monkeypatch.setattr(ImageDataset, "batch", noted)
    return found


def test_samples_are_drawn_from_all_over_a_subset_and_are_the_same_for_every_run(
    small_spec: ModelSpec, mini_pack: Pack
) -> None:
    whole = mini_pack.indices("sp0", "train")
    config = load_recipe(small_spec, "tiny").train
    other = load_recipe(small_spec, "tiny", ["train.seed=9"]).train
    assert np.array_equal(training_rows(mini_pack, "sp0", config, {}), whole)
    before: set[int] = set()
    for count in (1, 10, 20, len(whole)):
        rows = training_rows(mini_pack, "sp0", config, {"train": count})
        assert len(rows) == count
        assert set(rows.tolist()) <= set(whole.tolist())
        assert np.array_equal(rows, np.sort(rows))
        assert np.array_equal(rows, training_rows(mini_pack, "sp0", other, {"train": count}))
        assert before <= set(rows.tolist())
        before = set(rows.tolist())
    spread = training_rows(mini_pack, "sp0", config, {"train": 10})
    assert spread.max() > whole[len(whole) // 2] > spread.min()


def test_limits_train_and_validate_on_so_many(
    trainer: Any, tmp_path: Path, mini_pack: Pack, seen: list[tuple[bool, set[int]]]
) -> None:
    run = trainer(tmp_path / "run", "train.epochs=1", limit_train=16, limit_val=3)
    started = trainer.events[0]
    assert (started.train_samples, started.val_samples, started.steps_per_epoch) == (16, 3, 2)
    assert started.notes == ("trains on 16 samples of sp0 train alone", "validates on 3 samples of sp0 val alone")
    trained = set().union(*(rows for augmented, rows in seen if augmented))
    validated = set().union(*(rows for augmented, rows in seen if not augmented))
    assert (len(trained), len(validated)) == (16, 3)
    assert validated <= set(mini_pack.indices("sp0", "val").tolist())
    assert open_run(run.folder).limits == {"train": 16, "val": 3}


def test_overfitting_trains_and_validates_on_the_same_without_augmentation(
    trainer: Any, tmp_path: Path, small_spec: ModelSpec, seen: list[tuple[bool, set[int]]]
) -> None:
    run = trainer(tmp_path / "run", "train.epochs=40", overfit=4)
    started = trainer.events[0]
    assert (started.train_samples, started.val_samples, started.steps_per_epoch) == (4, 4, 1)
    assert started.notes == ("overfits 4 samples of sp0 train, unaugmented: the val metrics are of the same",)
    assert {augmented for augmented, _ in seen} == {False}
    assert len(set().union(*(rows for _, rows in seen))) == 4
    assert open_run(run.folder).recipe["train"]["batch_size"] == 4
    losses = [event.losses["total"] for event in trainer.events if isinstance(event, EpochDone)]
    assert losses[-1] < losses[0] / 2
    record = load_checkpoint(run.folder, small_spec).record
    assert record is not None
    assert record.limits == {"overfit": 4}


def test_a_limited_run_goes_on_alike(trainer: Any, tmp_path: Path) -> None:
    whole = trainer(tmp_path / "whole", overfit=16)
    with pytest.raises(KeyboardInterrupt):
        trainer(tmp_path / "run", overfit=16, stop_after=3, checkpoint_every="1")
    again = trainer(tmp_path / "run")
    assert isinstance(trainer.events[0], RunStarted)
    assert (trainer.events[0].first_step, trainer.events[0].train_samples) == (4, 16)
    one, two = (
        (saved_checkpoints(run.checkpoints)[-1] / "optimizer.safetensors").read_bytes() for run in (whole, again)
    )
    assert one == two


def test_a_batch_is_no_larger_than_what_it_is_of(trainer: Any, tmp_path: Path) -> None:
    with pytest.raises(HmrError, match=r"sp0 train is limited to 5 samples, fewer than a batch of 8\."):
        trainer(tmp_path / "run", limit_train=5)
    trainer(tmp_path / "run", "train.epochs=1", overfit=20)
    assert trainer.events[0].steps_per_epoch == 2  # of 8


@pytest.mark.parametrize(
    ("limits", "text"),
    [
        ({"limit_train": 58}, "sp0 train has 57 samples, of which a run cannot take 58. limit_train takes 1 to 57."),
        ({"overfit": 0}, "sp0 train has 57 samples, of which a run cannot take 0. overfit takes 1 to 57."),
        ({"limit_val": 1000}, "of which a run cannot take 1000. limit_val takes 1 to "),
        (
            {"overfit": 8, "limit_val": 3},
            "a run that overfits some samples validates on the same ones. Leave out limit_train and limit_val, or "
            "overfit.",
        ),
    ],
)
def test_limits_that_cannot_be_are_refused(trainer: Any, tmp_path: Path, limits: dict[str, int], text: str) -> None:
    with pytest.raises(UsageError) as caught:
        trainer(tmp_path / "run", **limits)
    assert text in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_without_a_val_subset_there_is_nothing_to_limit(
    small_spec: ModelSpec, mini_pack: Pack, monkeypatch: pytest.MonkeyPatch
) -> None:
    indices = Pack.indices

    def without(self: Pack, split: str, subset: str) -> Any:
        if subset == "val":
            raise HmrError("there is no val.")
        return indices(self, split, subset)

    monkeypatch.setattr(Pack, "indices", without)
    config = load_recipe(small_spec, "tiny").train
    rows, notes = validation_rows(mini_pack, "sp0", config, {"train": 4})
    assert (len(rows), notes) == (0, ("trains on 4 samples of sp0 train alone", "no val metrics: there is no val."))
    with pytest.raises(HmrError, match=r"^there is no val\.$"):
        validation_rows(mini_pack, "sp0", config, {"val": 4})


def test_a_limited_run_s_folder_says_so() -> None:
    assert run_name("integral", "sp0", "published", {}) == "integral-sp0-published"
    limits = make_limits(train=100, val=20, overfit=None)
    assert run_name("integral", "sp0", "published", limits) == "integral-sp0-published-train-100-val-20"


@pytest.mark.parametrize(
    ("limits", "note"),
    [
        ({"overfit": 16}, "16 samples of sp0 train, without augmentation, to see whether the model can learn them"),
        ({"limit_train": 16}, "16 samples of sp0 train"),
    ],
)
def test_an_evaluation_says_on_how_few_samples_a_model_was_trained(
    trainer: Any,
    tmp_path: Path,
    small_spec: ModelSpec,
    mini_pack: Pack,
    evaluate_on: Callable[..., Any],
    limits: dict[str, int],
    note: str,
) -> None:
    import torch

    run = trainer(tmp_path / "run", "train.epochs=1", **limits)
    checkpoint = load_checkpoint(run.folder, small_spec)
    options: dict[str, Any] = {"device": torch.device("cpu"), "batch_size": 7, "workers": 0}
    report = evaluate_on(small_spec, checkpoint, mini_pack, split="sp0", subset="test", **options).report
    assert f"the checkpoint was trained on {note}" in report["notes"]

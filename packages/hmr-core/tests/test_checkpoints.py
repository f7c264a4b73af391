"""Checkpoints: what is kept, what is refused."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from hmr_core.data.pack.reader import Pack
from hmr_core.errors import HmrError
from hmr_core.plugins import ModelSpec
from hmr_core.plugins.recipes import load_recipe
from hmr_core.plugins.run import Run
from hmr_core.weights import checkpoints
from hmr_core.weights.checkpoint_folders import saved_checkpoints
from hmr_core.weights.checkpoint_record import CheckpointRecord, check_run, read_record, write_record
from hmr_core.weights.run_record import open_run


@pytest.mark.parametrize("first", [1, 9997])  # numbers of four digits, and on to five
def test_the_newest_checkpoints_and_the_best_are_kept(tmp_path: Path, first: int) -> None:
    for epoch, mpjpe in enumerate([30.0, 10.0, 20.0, 25.0], start=first):
        folder = tmp_path / f"epoch-{epoch:04d}"
        folder.mkdir()
        write_record(folder, CheckpointRecord(model="small", recipe={}, val={"mpjpe_mm": mpjpe}))
    checkpoints.prune_checkpoints(tmp_path)
    kept = [path.name for path in saved_checkpoints(tmp_path)]
    assert kept == [f"epoch-{first + 1:04d}", f"epoch-{first + 2:04d}", f"epoch-{first + 3:04d}"]
    checkpoints.prune_checkpoints(tmp_path, keep_last=1)
    kept = [path.name for path in saved_checkpoints(tmp_path)]
    assert kept == [f"epoch-{first + 1:04d}", f"epoch-{first + 3:04d}"]


def test_unfinished_checkpoints_of_a_killed_process_are_removed(run: Run) -> None:
    kept = saved_checkpoints(run.checkpoints)
    (run.checkpoints / ".epoch-0004.123.part").mkdir()
    (run.checkpoints / ".epoch-0004.123.part/model.safetensors").write_bytes(b"half")
    checkpoints.prune_checkpoints(run.checkpoints)
    assert sorted(run.checkpoints.iterdir()) == kept


def test_a_checkpoint_that_cannot_be_removed_at_once_does_not_end_a_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On network file systems a folder is not empty while somebody reads a file that was in it."""
    for epoch in (1, 2, 3):
        folder = tmp_path / f"epoch-{epoch:04d}"
        folder.mkdir()
        write_record(folder, CheckpointRecord(model="small", recipe={}))

    def busy(*given: object, **options: object) -> None:
        raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY))

    with monkeypatch.context() as patch:
        patch.setattr(os, "rmdir", busy)
        for _ in range(2):  # what is left is tried again, in vain as well
            checkpoints.prune_checkpoints(tmp_path)
            assert [path.name for path in saved_checkpoints(tmp_path)] == ["epoch-0002", "epoch-0003"]
    checkpoints.prune_checkpoints(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["epoch-0002", "epoch-0003"]


def test_what_was_left_of_metrics_on_val_is_cleared_away(run: Run) -> None:
    newest = saved_checkpoints(run.checkpoints)[-1]
    (newest / ".model.json.0123abcd.part").mkdir()
    checkpoints.prune_checkpoints(run.checkpoints)
    assert {path.name for path in newest.iterdir()} == {"model.safetensors", "model.json", "optimizer.safetensors"}


def test_a_run_stands_for_its_newest_checkpoint(run: Run, small_spec: ModelSpec) -> None:
    newest = run.checkpoints / "epoch-0012"
    shutil.copytree(saved_checkpoints(run.checkpoints)[-1], newest)
    assert checkpoints.load_checkpoint(run.folder, small_spec).path == newest / "model.safetensors"


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
        ({"data": [{"path": "x.h5", "blake2b": "0" * 32}]}, 'says that data is [{{"blake2b": "0000'),
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
    record = checkpoints.load_checkpoint(saved, small_spec).record
    assert record is not None
    assert record.split == "sp0"


def test_an_edited_record_is_refused(run: Run, small_spec: ModelSpec) -> None:
    path = saved_checkpoints(run.checkpoints)[-1] / "model.json"
    path.write_text(path.read_text().replace('"bbox_expand": 1.7', '"bbox_expand": 1.2'))
    with pytest.raises(HmrError, match=r"model\.json was altered or damaged: its own digest is not the one that it"):
        checkpoints.load_checkpoint(run.folder, small_spec)


def test_a_missing_checkpoint_says_what_to_give(tmp_path: Path, small_spec: ModelSpec) -> None:
    with pytest.raises(HmrError, match=r"no such checkpoint: .*nowhere\. ckpt takes a run's folder, a checkpoint"):
        checkpoints.load_checkpoint(tmp_path / "nowhere", small_spec)
    with pytest.raises(HmrError, match=r"has no checkpoint in it"):
        checkpoints.load_checkpoint(tmp_path, small_spec)


def test_a_file_that_is_no_checkpoint_says_what_to_give(run: Run, small_spec: ModelSpec, mini_pack: Pack) -> None:
    reasons = {
        mini_pack.path: r"it is a pack or another HDF5 file\. A pack goes to data",
        run.folder / "config.json": r"it is no file of torch's",
    }
    for path, reason in reasons.items():
        with pytest.raises(HmrError, match=rf"weights alone: {reason}\. ckpt takes a run's folder, a"):
            checkpoints.load_checkpoint(path, small_spec)
    newest = saved_checkpoints(run.checkpoints)[-1]
    with pytest.raises(HmrError, match=r"is the optimizer's state, not the model: give .*model\.safetensors"):
        checkpoints.load_checkpoint(newest / "optimizer.safetensors", small_spec)
    assert checkpoints.load_checkpoint(run.checkpoints, small_spec).path == newest / "model.safetensors"


def test_a_checkpoint_of_another_model_is_refused_by_name(run: Run, small_spec: ModelSpec) -> None:
    with pytest.raises(
        HmrError, match=r'is a checkpoint of the model "small", not of "other"\. Give ckpt one of other, or'
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


def test_an_altered_checkpoint_names_the_others_of_its_run(run: Run, small_spec: ModelSpec) -> None:
    newest = saved_checkpoints(run.checkpoints)[-1]
    older = saved_checkpoints(run.checkpoints)[0]
    (newest / "model.safetensors").write_bytes((newest / "model.safetensors").read_bytes()[:-1] + b"x")
    with pytest.raises(
        HmrError, match=rf"Copy it again .*, or use another checkpoint of the run: {older} \(a resumed run"
    ):
        checkpoints.load_checkpoint(newest, small_spec)


def test_weights_of_another_recipe_under_the_right_name_are_refused(run: Run, small_spec: ModelSpec) -> None:
    folder = saved_checkpoints(run.checkpoints)[-1]
    save_file({"body.2.weight": torch.zeros(63, 12), "body.2.bias": torch.zeros(63)}, folder / "model.safetensors")
    write_record(folder, read_record(folder / "model.safetensors"))
    with pytest.raises(HmrError, match=r"body\.2\.weight has shape \(63, 12\), and the model wants \(63, 48\)"):
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

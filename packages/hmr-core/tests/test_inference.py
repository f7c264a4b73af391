"""From a pack's samples to predicted points: what is read, what is refused."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from hmr_core.data.pack.reader import Pack
from hmr_core.errors import HmrError
from hmr_core.plugins import ModelSpec
from hmr_core.plugins.recipes import load_recipe
from hmr_core.plugins.run import Run
from hmr_core.weights import checkpoints
from hmr_core.weights.checkpoint_folders import saved_checkpoints

CPU = torch.device("cpu")


def test_batch_size_changes_no_prediction(
    evaluation: Any, run: Run, small_spec: ModelSpec, evaluate_on: Any, mini_pack: Pack
) -> None:
    checkpoint = checkpoints.load_checkpoint(run.folder, small_spec)
    options: dict[str, Any] = {"split": "sp0", "subset": "test", "device": CPU, "workers": 1}
    other = evaluate_on(small_spec, checkpoint, mini_pack, batch_size=24, **options)
    np.testing.assert_allclose(other.predictions.joints, evaluation.predictions.joints, atol=1e-6)


def test_evaluation_crops_are_those_of_the_checkpoint_s_recipe(
    small_spec: ModelSpec, evaluate_on: Any, mini_pack: Pack, run: Run
) -> None:
    checkpoint = checkpoints.load_checkpoint(run.folder, small_spec)
    tight = replace(checkpoint, recipe=load_recipe(small_spec, "tiny", ["data.bbox_expand=1.2"]))
    options: dict[str, Any] = {"split": "sp0", "subset": "test", "device": CPU, "batch_size": 24, "workers": 0}
    evaluation = evaluate_on(small_spec, tight, mini_pack, **options)
    assert evaluation.dataset.data.bbox_expand == 1.2
    assert evaluation.report["recipe"]["data"]["bbox_expand"] == 1.2


def test_a_prediction_that_is_not_finite_names_the_sample(
    run: Run, small_spec: ModelSpec, evaluate_on: Any, mini_pack: Pack
) -> None:
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
    run: Run, small_spec: ModelSpec, evaluate_on: Any, mini_pack: Pack, tmp_path: Path, what: str, workers: int
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


def test_an_evaluation_compares_checksums_and_does_not_rely_on_decoding(
    run: Run, small_spec: ModelSpec, evaluate_on: Any, mini_pack: Pack, tmp_path: Path
) -> None:
    shutil.copy(mini_pack.path, tmp_path / "bad.h5")
    with h5py.File(tmp_path / "bad.h5", "r+", locking=False) as file:
        row = int(mini_pack.indices("sp0", "test")[5])
        file["images/bytes"][int(file["images/offsets"][row]) + 100] ^= 1
    checkpoint = checkpoints.load_checkpoint(run.folder, small_spec)
    options: dict[str, Any] = {"split": "sp0", "subset": "test", "device": CPU, "batch_size": 24, "workers": 0}
    with pytest.raises(HmrError, match="its bytes do not have the recorded checksum"):
        evaluate_on(small_spec, checkpoint, Pack(tmp_path / "bad.h5"), **options)

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
from torch import Tensor

from hmr_core.data.batch import Batch, Key
from hmr_core.data.image_dataset import ImageDataset
from hmr_core.data.loading import Loader
from hmr_core.data.pack.reader import Pack
from hmr_core.errors import HmrError
from hmr_core.geometry.camera import from_uvd
from hmr_core.inference.predict import RootSource, SamplePoints, annotated_roots, gather, predict
from hmr_core.nn.float32 import float32_arithmetic
from hmr_core.nn.model import Inputs, PoseModel, Prediction, Targets
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


# What a model that says what it was made with becomes.


@pytest.fixture
def posed_prediction() -> Prediction:
    generator = torch.Generator().manual_seed(1)
    return Prediction(
        joints_uvd=torch.rand(4, 21, 3, generator=generator),
        rotations=0.3 * torch.randn(4, 16, 3, generator=generator),
        betas=torch.randn(4, 10, generator=generator),
    )


class Says(PoseModel):
    """A model that says what it was made with."""

    def __init__(self, prediction: Prediction) -> None:
        super().__init__()
        self.prediction = prediction

    def forward(self, inputs: Inputs) -> Prediction:
        return self.prediction

    def loss(self, prediction: Prediction, targets: Targets) -> dict[str, Tensor]:
        return {}


def predicted(model: PoseModel, pack: Pack, roots: RootSource = annotated_roots) -> SamplePoints:
    """The points of four samples."""
    loader = Loader(ImageDataset(pack, image_size=64), workers=0, device=CPU)
    return gather(predict(model, loader, pack.indices("sp0", "test")[:4], roots=roots, batch_size=4))


def test_predicting_leaves_cudnn_on_without_tensorfloat_32(mini_pack: Pack, posed_prediction: Prediction) -> None:
    seen: list[tuple[bool, bool, bool, str]] = []
    cudnn = torch.backends.cudnn

    class Looks(Says):
        def forward(self, inputs: Inputs) -> Prediction:
            precision = torch.get_float32_matmul_precision()
            seen.append((cudnn.enabled, cudnn.benchmark, cudnn.allow_tf32, precision))
            return replace(self.prediction, rotations=None, betas=None)

    with cudnn.flags(enabled=True, benchmark=True, allow_tf32=True), float32_arithmetic(tf32=True):
        predicted(Looks(posed_prediction), mini_pack)
        assert (cudnn.enabled, cudnn.benchmark, cudnn.allow_tf32) == (True, True, True)
        assert torch.get_float32_matmul_precision() == "high"
    assert seen == [(True, True, False, "highest")]


def test_rotations_without_a_hand_say_what_the_spec_lacks(mini_pack: Pack, posed_prediction: Prediction) -> None:
    with pytest.raises(HmrError, match="no hand to pose: its spec must say needs_hand=True"):
        predicted(Says(posed_prediction), mini_pack)


def test_points_have_ids_and_roots_come_from_where_they_are_asked(
    mini_pack: Pack, posed_prediction: Prediction
) -> None:
    said = replace(posed_prediction, rotations=None, betas=None)
    asked: list[tuple[Inputs, Batch]] = []

    def farther(prediction: Prediction, inputs: Inputs, batch: Batch) -> Tensor:
        asked.append((inputs, batch))
        return annotated_roots(prediction, inputs, batch) + torch.tensor([0.0, 0.0, 0.1])

    near, far = predicted(Says(said), mini_pack), predicted(Says(said), mini_pack, farther)
    rows = mini_pack.indices("sp0", "test")[:4]
    assert near.ids == far.ids == mini_pack.ids(rows)
    targets = ImageDataset(mini_pack, image_size=64).batch([Key(0, int(row)) for row in rows]).targets
    assert said.joints_uvd is not None
    expected = from_uvd(said.joints_uvd, targets.root, targets.intrinsics, 64)
    assert torch.equal(near.joints, expected)
    torch.testing.assert_close(far.joints[..., 2], near.joints[..., 2] + 0.1)
    ((inputs, batch),) = asked
    assert inputs.image is not None
    assert inputs.intrinsics is not None
    assert torch.equal(inputs.intrinsics, targets.intrinsics)
    assert batch.image is None  # it stays where the model is

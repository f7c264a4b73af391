"""Models of images that work with the annotations' hand model: joints of their mesh, rotations that are posed."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from hmr_core.hand.layer import HandLayer
from hmr_core.hand.model import HandModel as Hand
from hmr_core.hand.model import load_hand_model
from hmr_core.hand.regressor import joint_regressor_21
from hmr_core.nn.model import Inputs, PoseModel, Prediction, Targets
from hmr_core.plugins import ModelSpec
from hmr_core.testing import check_spec

CPU = torch.device("cpu")


class Meshed(PoseModel):
    """A mesh by a linear map of a shrunken image; its joints are those of the hand model's regressor."""

    joint_regressor: Tensor

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.register_buffer("joint_regressor", torch.zeros(21, 778), persistent=False)
        self.features = nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten())
        self.body = nn.Linear(48, 799 * 3)

    def use_hand(self, hand: Hand) -> None:
        self.joint_regressor.copy_(joint_regressor_21(hand))

    def forward(self, inputs: Inputs) -> Prediction:
        assert inputs.image is not None
        points = self.body(self.features(inputs.image)).view(-1, 799, 3).sigmoid()
        return Prediction(
            joints_uvd=points[:, :21], verts_uvd=points[:, 21:], joint_regressor=self.joint_regressor.clone()
        )

    def loss(self, prediction: Prediction, targets: Targets) -> dict[str, Tensor]:
        assert prediction.verts_uvd is not None
        assert prediction.joints_uvd is not None
        assert bool((self.joint_regressor.sum(1) - 1).abs().max() < 1e-4), "the hand was not given"
        both = torch.cat([prediction.joints_uvd, prediction.verts_uvd], 1)
        truth = torch.cat([targets.joints_uvd, targets.verts_uvd], 1)
        visible = torch.cat([targets.joints_vis, targets.verts_vis], 1)[..., None]
        return {"points": ((both - truth) * visible).square().mean()}


class Posed(Meshed):
    """Rotations and betas besides: those of its hand are its points."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.parameters_of_hand = nn.Linear(48, 58)

    def forward(self, inputs: Inputs) -> Prediction:
        prediction = super().forward(inputs)
        assert inputs.image is not None
        numbers = self.parameters_of_hand(self.features(inputs.image))
        return replace(prediction, rotations=numbers[:, :48].view(-1, 16, 3), betas=numbers[:, 48:])

    def loss(self, prediction: Prediction, targets: Targets) -> dict[str, Tensor]:
        assert prediction.joints is not None
        assert prediction.verts is not None
        # The trainer puts the root joint where the truth has it.
        torch.testing.assert_close(prediction.joints[:, 9], targets.root, atol=1e-5, rtol=0)
        return {
            **super().loss(prediction, targets),
            "hand": 10 * (prediction.verts - targets.verts).norm(dim=-1).mean(),
        }


def make_spec(small_spec: ModelSpec, model: type[PoseModel], **changes: Any) -> ModelSpec:
    return replace(small_spec, name="handy", build=model, needs_hand=True, **changes)


# On the command line.

Run = Callable[[str], tuple[int, str, str]]


@pytest.fixture
def hmr(
    small_spec: ModelSpec,
    mini_pack_path: Path,
    mini_hand_path: Path,
    fakes: Any,
    monkeypatch: pytest.MonkeyPatch,
    command_line: Any,
) -> Run:
    """Runs a command line in an empty folder, with the two models and the made-up data set: (status, out, err)."""
    monkeypatch.setenv("HMR_DATA", str(mini_pack_path))
    monkeypatch.setenv("HMR_HAND_MODEL", str(mini_hand_path))
    specs = [make_spec(small_spec, Meshed), replace(make_spec(small_spec, Posed), name="posed")]
    command_line.plugins.append(fakes.plugin("handy", hmr_models=lambda: specs))
    return lambda line: command_line(*shlex.split(line))


def test_a_mesh_model_trains_resumes_and_is_scored_with_the_annotations_hand(
    hmr: Run, mini_hand_path: Path, more_epochs: Callable[[Path], None]
) -> None:
    status, _, err = hmr("train handy --split sp0 --recipe tiny --epochs 2 --out run")
    assert status == 0, err
    config = json.loads(Path("run/config.json").read_text())
    assert config["hand_model"]["path"] == str(mini_hand_path.resolve())
    weights = sorted(Path("run/checkpoints").glob("*/model.safetensors"))
    assert {name for path in weights for name in load_file(path)} == {"body.weight", "body.bias"}
    more_epochs(Path("run"))
    status, _, err = hmr("train handy --resume run")
    assert status == 0, err
    status, out, err = hmr("eval handy --ckpt run --split sp0 --out out")
    assert status == 0, err
    report = json.loads(Path("out/report.json").read_text())
    assert report["hand_model"]["path"] == str(mini_hand_path)
    assert report["missing"] == []
    assert report["metrics"]["mpvpe_mm"] is not None
    assert f"mesh: hand model {mini_hand_path}" in out
    with h5py.File("out/predictions.h5") as file:
        assert "rotations" not in file
        joints = joint_regressor_21(load_hand_model(mini_hand_path)).numpy() @ file["verts"][:]
        np.testing.assert_allclose(file["joints"][:], joints, atol=1e-6)


def test_a_resumed_run_says_where_its_hand_model_is_now(
    hmr: Run, mini_hand_path: Path, more_epochs: Callable[[Path], None]
) -> None:
    shutil.copy(mini_hand_path, "hand.npz")
    status, _, err = hmr("train handy --split sp0 --recipe tiny --epochs 1 --out run --hand-model hand.npz")
    assert status == 0, err
    Path("hand.npz").rename("moved.npz")
    for _ in range(2):  # what it was resumed with does not make it another run
        more_epochs(Path("run"))
        status, out, err = hmr("train handy --resume run --hand-model moved.npz")
        assert status == 0, err
        assert f"hand model: {Path('moved.npz').resolve()}" in err.splitlines()
        assert out.splitlines()[-1].endswith(f"--hand-model {Path('moved.npz').resolve()}")


def test_posed_rotations_are_kept_with_the_predictions(hmr: Run, mini_hand_path: Path) -> None:
    status, _, err = hmr("train posed --split sp0 --recipe tiny --epochs 1 --out run")
    assert status == 0, err
    status, _, err = hmr("eval posed --ckpt run --split sp0 --out out")
    assert status == 0, err
    layer = HandLayer(load_hand_model(mini_hand_path))
    with h5py.File("out/predictions.h5") as file:
        posed = layer(torch.from_numpy(file["rotations"][:]), torch.from_numpy(file["betas"][:]), centre=9)
        np.testing.assert_allclose(file["verts"][:] - file["joints"][:, 9:10], posed.verts.numpy(), atol=1e-5)


def test_another_hand_than_the_annotations_is_refused(hmr: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HMR_HAND_MODEL")  # leaves the synthetic one
    status, _, err = hmr("train handy --split sp0 --recipe tiny --epochs 1 --out run")
    assert status == 1
    assert "is not the one that the annotations of" in err
    assert not Path("run").exists()


def test_a_solver_has_nothing_to_do_for_a_mesh_model(hmr: Run) -> None:
    status, _, err = hmr("eval handy --ckpt run --split sp0 --solver-set a=b")
    assert status == 2
    assert "there are options of a solver, and no solver. Leave out --solver-set. If the model predicts joints" in err


# The contract.


def test_a_good_model_with_a_hand_passes(small_spec: ModelSpec) -> None:
    check_spec(make_spec(small_spec, Meshed))
    check_spec(make_spec(small_spec, Posed))
    check_spec(make_spec(small_spec, PosedAlone))


class PosedAlone(PoseModel):
    """Rotations and betas, and no UVD."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(48, 58))

    def forward(self, inputs: Inputs) -> Prediction:
        assert inputs.image is not None
        numbers = self.body(inputs.image)
        return Prediction(rotations=numbers[:, :48].view(-1, 16, 3), betas=numbers[:, 48:])

    def loss(self, prediction: Prediction, targets: Targets) -> dict[str, Tensor]:
        assert prediction.verts is not None
        return {"hand": 10 * (prediction.verts - targets.verts).norm(dim=-1).mean()}


class NoHand(Meshed):
    """Does not take the hand."""

    def use_hand(self, hand: Hand) -> None:
        pass

    def loss(self, prediction: Prediction, targets: Targets) -> dict[str, Tensor]:
        assert prediction.joints_uvd is not None
        return {"points": prediction.joints_uvd.square().mean()}


class NoMesh(Meshed):
    """A regressor, and no mesh for it."""

    def forward(self, inputs: Inputs) -> Prediction:
        return replace(super().forward(inputs), verts_uvd=None)


class WrongRegressor(Meshed):
    """A regressor of the 16 joints alone."""

    def forward(self, inputs: Inputs) -> Prediction:
        prediction = super().forward(inputs)
        object.__setattr__(prediction, "joint_regressor", self.joint_regressor[:16])
        return prediction


@pytest.mark.parametrize(
    ("model", "text"),
    [
        (NoHand, r"rows of Prediction\.joint_regressor do not sum to 1 \(off by 1\).*Does use_hand fill it"),
        (NoMesh, r"joint_regressor makes joints of a mesh, and there is no verts_uvd"),
        (WrongRegressor, r"joint_regressor has shape \(16, 778\), not \(21, 778\)"),
    ],
)
def test_a_regressor_that_makes_no_joints_is_named(small_spec: ModelSpec, model: type[PoseModel], text: str) -> None:
    with pytest.raises(AssertionError, match=text):
        check_spec(make_spec(small_spec, model))


def test_rotations_of_a_model_that_does_not_ask_for_the_hand_are_named(small_spec: ModelSpec) -> None:
    with pytest.raises(AssertionError, match="its spec does not say needs_hand=True: nothing poses them"):
        check_spec(replace(make_spec(small_spec, Rotating), needs_hand=False))


class Rotating(PoseModel):
    """Rotations, and nothing of the hand."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.numbers = nn.Parameter(torch.zeros(121))

    def forward(self, inputs: Inputs) -> Prediction:
        assert inputs.image is not None
        numbers = self.numbers.expand(len(inputs.image), -1)
        return Prediction(
            joints_uvd=numbers[:, :63].reshape(-1, 21, 3),
            rotations=numbers[:, 63:111].reshape(-1, 16, 3),
            betas=numbers[:, 111:],
        )

    def loss(self, prediction: Prediction, targets: Targets) -> dict[str, Tensor]:
        return {"numbers": self.numbers.square().sum()}


class RotatingAlone(Rotating):
    """Rotations without betas."""

    def forward(self, inputs: Inputs) -> Prediction:
        return replace(super().forward(inputs), betas=None)


def test_rotations_without_betas_are_named(small_spec: ModelSpec) -> None:
    with pytest.raises(AssertionError, match="it gives rotations alone, and a hand is posed by rotations and betas"):
        check_spec(make_spec(small_spec, RotatingAlone))

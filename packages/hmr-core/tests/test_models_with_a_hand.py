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

from hmr_core import builtin
from hmr_core.cli.main import cli, main
from hmr_core.data.image_dataset import ImageDataset
from hmr_core.data.loading import Loader
from hmr_core.data.pack.reader import Pack
from hmr_core.errors import HmrError
from hmr_core.geometry.camera import from_uvd
from hmr_core.hand.layer import HandLayer
from hmr_core.hand.model import HandModel as Hand
from hmr_core.hand.model import load_hand_model
from hmr_core.hand.regressor import joint_regressor_21
from hmr_core.inference.predict import gather, predict, to_camera
from hmr_core.nn.decode import pose
from hmr_core.nn.model import Inputs, PoseModel, Prediction, Targets
from hmr_core.plugins import ModelSpec
from hmr_core.plugins.recipes import DataConfig
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


# What is made of a prediction.


def test_joints_by_a_regressor_are_those_of_the_lifted_mesh(mini_hand: Hand, mini_pack: Pack) -> None:
    rows = mini_pack.indices("sp0", "test")[:4]
    dataset = ImageDataset(mini_pack, image_size=64, root_joint=9, data=DataConfig())
    batch = dataset.__getitems__([(0, int(row)) for row in rows])
    generator = torch.Generator().manual_seed(0)
    prediction = Prediction(
        joints_uvd=torch.rand(4, 21, 3, generator=generator),
        verts_uvd=torch.rand(4, 778, 3, generator=generator),
        joint_regressor=joint_regressor_21(mini_hand).float(),
    )
    joints, verts = to_camera(prediction, batch.targets, 64)
    assert verts is not None
    assert prediction.verts_uvd is not None
    assert prediction.joint_regressor is not None
    torch.testing.assert_close(verts, from_uvd(prediction.verts_uvd, batch.targets.root, batch.targets.intrinsics, 64))
    torch.testing.assert_close(joints, prediction.joint_regressor @ verts)
    in_uvd = from_uvd(
        prediction.joint_regressor @ prediction.verts_uvd, batch.targets.root, batch.targets.intrinsics, 64
    )
    assert float((joints - in_uvd).abs().max()) > 1e-4  # lifting is not linear


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


def test_rotations_are_posed_at_the_predicted_root_joint(
    mini_hand: Hand, mini_pack: Pack, posed_prediction: Prediction
) -> None:
    layer = HandLayer(mini_hand)
    rows = mini_pack.indices("sp0", "test")[:4]
    dataset = ImageDataset(mini_pack, image_size=64, root_joint=0, data=DataConfig())
    model = Says(posed_prediction)
    points = gather(predict(model, Loader(dataset, workers=0, device=CPU), rows, layer=layer, batch_size=4))
    targets = dataset.__getitems__([(0, int(row)) for row in rows]).targets
    root = to_camera(posed_prediction, targets, 64)[0][:, 0]
    expected = pose(layer, posed_prediction, root, root_joint=0)
    assert points.verts is not None
    assert expected.joints is not None
    assert expected.verts is not None
    torch.testing.assert_close(points.joints, expected.joints)
    torch.testing.assert_close(points.verts, expected.verts)
    torch.testing.assert_close(points.joints[:, 0], root)
    assert points.rotations is not None
    assert posed_prediction.rotations is not None
    assert torch.equal(points.rotations, posed_prediction.rotations)


def test_the_root_joint_of_a_posed_hand_is_the_mesh_s_where_the_joints_are(
    mini_hand: Hand, mini_pack: Pack, posed_prediction: Prediction
) -> None:
    meshed = replace(
        posed_prediction,
        verts_uvd=torch.rand(4, 778, 3, generator=torch.Generator().manual_seed(2)),
        joint_regressor=joint_regressor_21(mini_hand).float(),
    )
    rows = mini_pack.indices("sp0", "test")[:4]
    dataset = ImageDataset(mini_pack, image_size=64, root_joint=0, data=DataConfig())
    layer = HandLayer(mini_hand)
    points = gather(predict(Says(meshed), Loader(dataset, workers=0, device=CPU), rows, layer=layer, batch_size=4))
    targets = dataset.__getitems__([(0, int(row)) for row in rows]).targets
    of_mesh, own = (to_camera(prediction, targets, 64)[0][:, 0] for prediction in (meshed, posed_prediction))
    torch.testing.assert_close(points.joints[:, 0], of_mesh)
    assert float((of_mesh - own).norm(dim=-1).min()) > 1e-3


def test_predicting_leaves_cudnn_on_without_tensorfloat_32(mini_pack: Pack, posed_prediction: Prediction) -> None:
    seen: list[tuple[bool, bool, bool]] = []
    cudnn = torch.backends.cudnn

    class Looks(Says):
        def forward(self, inputs: Inputs) -> Prediction:
            seen.append((cudnn.enabled, cudnn.benchmark, cudnn.allow_tf32))
            return replace(self.prediction, rotations=None, betas=None)

    dataset = ImageDataset(mini_pack, image_size=64, root_joint=0, data=DataConfig())
    rows = mini_pack.indices("sp0", "test")[:4]
    with cudnn.flags(enabled=True, benchmark=True, allow_tf32=True):
        gather(predict(Looks(posed_prediction), Loader(dataset, workers=0, device=CPU), rows, batch_size=4))
        assert (cudnn.enabled, cudnn.benchmark, cudnn.allow_tf32) == (True, True, True)
    assert seen == [(True, True, False)]


def test_rotations_without_a_hand_say_what_the_spec_lacks(mini_pack: Pack, posed_prediction: Prediction) -> None:
    dataset = ImageDataset(mini_pack, image_size=64, root_joint=0, data=DataConfig())
    rows = mini_pack.indices("sp0", "test")[:4]
    with pytest.raises(HmrError, match="no hand to pose: its spec must say needs_hand=True"):
        gather(predict(Says(posed_prediction), Loader(dataset, workers=0, device=CPU), rows, batch_size=4))


def test_copies_towards_the_cpu_are_waited_for(posed_prediction: Prediction, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []
    monkeypatch.setattr(Tensor, "to", lambda tensor, device, *, non_blocking: asked.append(non_blocking) or tensor)
    posed_prediction.to("cpu")
    assert asked == [False] * 3
    posed_prediction.to(torch.device("cuda", 1))
    assert asked[3:] == [True] * 3


# On the command line.

Run = Callable[[str], tuple[int, str, str]]


@pytest.fixture
def hmr(
    small_spec: ModelSpec,
    mini_pack_path: Path,
    mini_hand_path: Path,
    fakes: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> Run:
    """Runs a command line in an empty folder, with the two models and the made-up data set: (status, out, err)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HMR_DATA", str(mini_pack_path))
    monkeypatch.setenv("HMR_HAND_MODEL", str(mini_hand_path))
    specs = [make_spec(small_spec, Meshed), replace(make_spec(small_spec, Posed), name="posed")]
    core = fakes.FakeEntryPoint("core", lambda: builtin, fakes.FakeDist("hmr-core"))
    models = fakes.plugin("handy", hmr_models=lambda: specs)
    make_context = cli.make_context
    monkeypatch.setattr(
        cli, "make_context", lambda *args, **options: make_context(*args, obj=fakes.registry(core, models), **options)
    )

    def run(line: str) -> tuple[int, str, str]:
        capfd.readouterr()
        status = main(shlex.split(line))
        out, err = capfd.readouterr()
        return status, out, err

    return run


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
    assert "--solver-set: of no use without a solver" in err


# The contract.


def test_a_good_model_with_a_hand_passes(small_spec: ModelSpec) -> None:
    check_spec(make_spec(small_spec, Meshed))
    check_spec(make_spec(small_spec, Posed))


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
        check_spec(replace(make_spec(small_spec, Says), build=lambda config: Rotating(config), needs_hand=False))


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

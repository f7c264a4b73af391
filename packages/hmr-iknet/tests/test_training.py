"""IKNet as a model: the plugin contract, its loss, training from joints on the command line."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from hmr_core.cli.main import main
from hmr_core.data.oakink import open_oakink
from hmr_core.data.pack.codecs import codec_named
from hmr_core.data.pack.writer import write_pack
from hmr_core.data.synthetic.writer import write_synthetic
from hmr_core.digests import file_digest
from hmr_core.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from hmr_core.hand.layer import HandLayer
from hmr_core.hand.mirror import mirrored
from hmr_core.hand.model import HandModel, save_hand_model
from hmr_core.hand.synthetic import load_synthetic_hand
from hmr_core.nn.decode import pose_for_loss
from hmr_core.nn.model import Inputs, Prediction, Targets
from hmr_core.testing import check_model
from hmr_iknet.config import IKNetConfig
from hmr_iknet.model import IKNet

TINY = ("--split", "sp0", "--recipe", "tiny", "--batch-size", "16", "--set", "widths=[32, 32]")


def test_contract() -> None:
    check_model("iknet")


@pytest.fixture(scope="module")
def truth() -> Targets:
    """Four random hands half a metre away."""
    layer, generator = HandLayer(load_synthetic_hand()), torch.Generator().manual_seed(0)
    rotations, betas = 0.4 * torch.randn(4, 16, 3, generator=generator), torch.randn(4, 10, generator=generator)
    hand, root = layer(rotations, betas, centre=9), torch.tensor([[0.0, 0.0, 0.5]]).expand(4, 3)
    return Targets(
        joints_uvd=torch.zeros(4, 21, 3),
        joints_vis=torch.ones(4, 21),
        verts_uvd=torch.zeros(4, 778, 3),
        verts_vis=torch.ones(4, 778),
        joints=hand.joints + root[:, None],
        verts=hand.verts + root[:, None],
        rotations=rotations,
        betas=betas,
        joints_known=torch.ones(4, 21),
        verts_known=torch.ones(4),
        pose_known=torch.ones(4),
        root=root,
        intrinsics=torch.eye(3).expand(4, 3, 3),
    )


def losses(truth: Targets, rotations: Tensor, betas: Tensor, **weights: float) -> dict[str, float]:
    prediction = Prediction(rotations=rotations, betas=betas)
    layer = HandLayer(load_synthetic_hand())
    prediction = pose_for_loss(prediction, truth.root, root_joint=9, layer=layer)
    model = IKNet(IKNetConfig.model_validate({"widths": [8], "loss": weights}))
    return {name: float(value) for name, value in model.loss(prediction, truth).items()}


def test_the_truth_costs_nothing_however_its_rotations_are_written(truth: Targets) -> None:
    length = truth.rotations.norm(dim=-1, keepdim=True)
    other_way_round = truth.rotations * (1 - 2 * torch.pi / length)
    torch.testing.assert_close(
        axis_angle_to_matrix(other_way_round), axis_angle_to_matrix(truth.rotations), atol=1e-5, rtol=0
    )
    for rotations in (truth.rotations, other_way_round):
        assert max(losses(truth, rotations, truth.betas).values()) < 1e-5


def test_losses_are_what_they_say(truth: Targets) -> None:
    turn = axis_angle_to_matrix(torch.tensor([0.0, 0.0, 0.3]))
    wrist = matrix_to_axis_angle(turn @ axis_angle_to_matrix(truth.rotations[:, 0]))
    turned = torch.cat([wrist[:, None], truth.rotations[:, 1:]], 1)
    found = losses(truth, turned, truth.betas)
    a, b = axis_angle_to_matrix(turned), axis_angle_to_matrix(truth.rotations)
    assert found["rotation"] == pytest.approx(float((a - b).abs().mean()), rel=1e-5)
    bone = (truth.joints[:, 9] - truth.joints[:, 0]).norm(dim=-1)[:, None, None]
    for name, points in (("joint", truth.joints), ("vertex", truth.verts)):
        relative = (points - truth.joints[:, 9:10]) / bone
        assert found[name] == pytest.approx(float((relative @ turn.T - relative).abs().mean()), rel=1e-3)
    weighted = losses(truth, turned, truth.betas, rotation=2, joint=3, vertex=0.5)
    assert weighted == pytest.approx(
        {"rotation": 2 * found["rotation"], "joint": 3 * found["joint"], "vertex": 0.5 * found["vertex"]}
    )


def test_a_hand_of_another_size_costs_nothing_in_points(truth: Targets) -> None:
    larger = replace(truth, joints=2 * truth.joints, verts=2 * truth.verts)
    assert max(losses(larger, truth.rotations, truth.betas).values()) < 1e-5


def test_joints_are_needed() -> None:
    with pytest.raises(ValueError, match=r"IKNet consumes joints; inputs\.joints is None"):
        IKNet(IKNetConfig())(Inputs())


def test_autocast_leaves_the_rotations_exact() -> None:
    torch.manual_seed(0)
    model, joints = IKNet(IKNetConfig(widths=(32,))).eval(), torch.randn(4, 21, 3)
    exact = model(Inputs(joints=joints)).rotations
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(model(Inputs(joints=joints)).rotations, exact)


@pytest.fixture
def data(mini_pack_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HMR_DATA", str(mini_pack_path))
    monkeypatch.delenv("HMR_HAND_MODEL", raising=False)


@pytest.mark.usefixtures("data")
def test_train_stop_and_go_on(
    mini_hand: HandModel, mini_hand_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    hand = ("--hand-model", str(mini_hand_path))
    assert main(["train", "iknet", *TINY, *hand, "--epochs", "2", "--out", "whole"]) == 0
    config = json.loads(Path("whole/config.json").read_text())
    assert config["hand_model"] == {"path": str(mini_hand_path.resolve()), "blake2b": file_digest(mini_hand_path)}
    assert f"--hand-model {mini_hand_path.resolve()}\n" in capfd.readouterr().out
    assert "mpvpe_mm" in (lines := Path("whole/metrics.jsonl").read_text())
    assert '"mpvpe_mm": null' not in lines

    # Stopped after the first epoch and gone on with, it takes the very same steps.
    with monkeypatch.context() as patch:
        patch.setattr("hmr_core.training.loop.validate", _stop)
        assert main(["train", "iknet", *TINY, *hand, "--epochs", "2", "--out", "halves"]) == 130
    assert [path.name for path in Path("halves/checkpoints").iterdir()] == ["epoch-0001"]

    # Neither the environment nor a slightly other hand gets in; a copy of the same file does.
    larger = replace(mini_hand, template=mini_hand.template * 1.01)
    save_hand_model(larger, Path("larger.npz"))
    monkeypatch.setenv("HMR_HAND_MODEL", "larger.npz")
    assert main(["train", "iknet", "--resume", "halves", "--hand-model", "larger.npz"]) == 1
    error = capfd.readouterr().err
    assert "is not the hand model that halves was trained with (its digest differs). Give that of " in error
    Path("copy.npz").write_bytes(mini_hand_path.read_bytes())
    assert main(["train", "iknet", "--resume", "halves", "--hand-model", "copy.npz"]) == 0
    first, second = (Path(run, "checkpoints/epoch-0002/model.safetensors").read_bytes() for run in ("whole", "halves"))
    assert first == second


def _stop(*_: object, **options: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.usefixtures("data")
def test_a_run_on_the_synthetic_hand_goes_on_with_it(
    tmp_path: Path, mini_hand_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    tree = write_synthetic(tmp_path / "tree", sequences=5, frames=1, seed=0)
    write_pack(open_oakink(tree.root), tmp_path / "pack.h5", codec=codec_named("jpeg"))
    data = ("--data", str(tmp_path / "pack.h5"), "--batch-size", "4")
    with monkeypatch.context() as patch:
        patch.setattr("hmr_core.training.loop.validate", _stop)
        assert main(["train", "iknet", *TINY, *data, "--epochs", "2", "--out", "run"]) == 130
    assert json.loads(Path("run/config.json").read_text())["hand_model"] == {"path": None, "blake2b": None}
    assert main(["train", "iknet", "--resume", "run", "--hand-model", str(mini_hand_path)]) == 1
    assert "(its digest differs). It was the synthetic hand of hmr itself: give none." in capfd.readouterr().err
    monkeypatch.setenv("HMR_HAND_MODEL", str(mini_hand_path))
    assert main(["train", "iknet", "--resume", "run"]) == 0
    assert "--hand-model" not in capfd.readouterr().out


@pytest.mark.usefixtures("data")
def test_a_hand_model_of_other_annotations_is_refused(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "iknet", *TINY]) == 1
    error = capfd.readouterr().err
    assert "is not the one that the annotations of" in error
    assert "mm apart on average, and beyond 10 mm they are of different hands. Give theirs with" in error
    assert not Path("runs").exists()


@pytest.mark.usefixtures("data")
def test_a_hand_model_that_is_a_little_off_is_told_of(mini_hand: HandModel, capfd: pytest.CaptureFixture[str]) -> None:
    save_hand_model(replace(mini_hand, template=mini_hand.template * 1.06), Path("larger.npz"))
    assert main(["train", "iknet", *TINY, "--epochs", "1", "--hand-model", "larger.npz"]) == 0
    assert "note: the hand model and the annotations do not quite agree" in capfd.readouterr().err


@pytest.mark.usefixtures("data")
def test_a_left_hand_is_refused(mini_hand: HandModel, capfd: pytest.CaptureFixture[str]) -> None:
    save_hand_model(mirrored(mini_hand), Path("left.npz"))
    assert main(["train", "iknet", *TINY, "--hand-model", "left.npz"]) == 1
    assert "needs a right hand, and the hand model left.npz" in capfd.readouterr().err

"""I2L-MeshNet against the recorded outputs of the published code, by definitions, and as a plugin."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import Tensor

from hmr_core.config import load_recipe
from hmr_core.engine.inference import to_camera
from hmr_core.geometry.camera import project
from hmr_core.hand.model import HandModel
from hmr_core.nn.model import Inputs, Targets
from hmr_core.plugins import ModelSpec
from hmr_i2l.model import I2LMeshNet
from hmr_i2l.plugin import RELEASED, hmr_models

GOLDEN = Path(__file__).parent / "data/golden"
SPEC: ModelSpec = hmr_models()[0]
RECORD = json.loads((GOLDEN / "i2l_resnet50.json").read_text())


@pytest.fixture(scope="module")
def golden() -> dict[str, Tensor]:
    return {name: torch.from_numpy(array) for name, array in np.load(GOLDEN / "i2l_resnet50.npz").items()}


@pytest.fixture(scope="module")
def recorded_state(rule: ModuleType) -> dict[str, Tensor]:
    """What the released file holds, with the rule's values."""
    state: dict[str, Tensor] = rule.state_dict(RECORD)
    return state


@pytest.fixture(scope="module")
def model(recorded_state: dict[str, Tensor], mini_hand: HandModel) -> I2LMeshNet:
    """The published network with the recorded weights: large, so that it is made once, and no test may change it."""
    with torch.device("meta"):
        model = SPEC.build(load_recipe(SPEC, "published", RELEASED.overrides).model)
    assert isinstance(model, I2LMeshNet)
    model.to_empty(device="cpu")
    used = {name: value for name, value in recorded_state.items() if not name.startswith(tuple(RELEASED.ignored))}
    model.load_state_dict(used)  # strict: the released names, but for those that are said to be ignored
    model.use_hand(mini_hand)
    return model


def targets(golden: dict[str, Tensor], dtype: torch.dtype) -> Targets:
    given = {name: golden[f"in_target_{name}"].to(dtype) for name in ("joints_uvd", "joints_vis", "verts_vis")}
    return Targets(
        **given,
        verts_uvd=torch.zeros(2, 778, 3, dtype=dtype),
        joints=golden["in_target_joints_3d"].to(dtype),
        verts=golden["in_target_verts_3d"].to(dtype),
        rotations=torch.zeros(2, 16, 3, dtype=dtype),
        betas=torch.zeros(2, 10, dtype=dtype),
        root=golden["in_target_root_joint"].to(dtype),
        intrinsics=golden["in_target_cam_intr"].to(dtype),
    )


def close(actual: Tensor, recorded: Tensor, tolerance: float) -> None:
    torch.testing.assert_close(actual, recorded, rtol=0, atol=tolerance * float(recorded.abs().max()))


def test_eval_outputs_match_the_recorded_ones(model: I2LMeshNet, golden: dict[str, Tensor], rule: ModuleType) -> None:
    with torch.no_grad():
        prediction = model.eval()(Inputs(image=rule.image(RECORD)))
    assert prediction.joints_uvd is not None
    assert prediction.verts_uvd is not None
    close(prediction.joints_uvd, golden["out_2d_uvd"], 1e-4)
    close(prediction.joints_uvd * 64, golden["out_joint_coord_img"], 1e-4)
    close(prediction.verts_uvd * 64, golden["out_mesh_coord_img"], 1e-4)
    close(prediction.joint_regressor @ prediction.verts_uvd * 64, golden["out_joint_img_from_mesh"], 1e-4)
    truth = targets(golden, torch.float32)
    joints, verts = to_camera(prediction, truth, 256)
    assert verts is not None
    close(joints, golden["out_joints_3d"], 1e-4)
    close(verts, golden["out_verts_3d"], 1e-4)
    close(project(joints, truth.intrinsics), golden["out_joints_2d"], 1e-4)


def test_training_outputs_losses_and_gradients_match_the_recorded_ones(
    model: I2LMeshNet, golden: dict[str, Tensor], rule: ModuleType
) -> None:
    model = deepcopy(model).double().train()
    prediction = model(Inputs(image=rule.image(RECORD).double()))
    assert prediction.joints_uvd is not None
    assert prediction.verts_uvd is not None
    close(prediction.joints_uvd * 64, golden["out_train_joint_coord_img"], 1e-6)
    close(prediction.verts_uvd * 64, golden["out_train_mesh_coord_img"], 1e-6)
    losses = model.loss(prediction, targets(golden, torch.float64))
    recorded = {
        name: RECORD["losses"][f"{other}"] * weight
        for name, other, weight in (
            ("joint", "joint_fit", 1),
            ("mesh", "mesh_fit", 1),
            ("mesh_joint", "mesh_joint_fit", 1),
            ("normal", "mesh_normal", 0.1),
            ("edge", "mesh_edge", 1),
        )
    }
    assert {name: value.item() for name, value in losses.items()} == pytest.approx(recorded, rel=1e-6)
    total = torch.stack(list(losses.values())).sum()
    assert total.item() == pytest.approx(RECORD["losses"]["total"], rel=1e-6)
    torch.autograd.backward(total)
    norms = {name: p.grad.norm().item() for name, p in model.named_parameters() if p.grad is not None}
    assert {name: norms[name] for name in RECORD["grad_norms"]} == pytest.approx(RECORD["grad_norms"], rel=1e-6)

"""The hand layer against recorded outputs of the published one, on a made-up hand in MANO's own file format."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from hmr_core.geometry.rotations import axis_angle_to_matrix
from hmr_core.hand.layer import HandLayer
from hmr_core.hand.mano_file import read_mano_file
from hmr_core.hand.model import HandModel
from hmr_core.hand.pose_space import add_mean_pose, from_components
from hmr_core.testing.golden import load_golden

DATA = Path(__file__).parent / "data"
CASES = ("axisang_flat", "axisang_mean", "center9", "pca15", "quat")


@pytest.fixture(scope="module")
def model() -> HandModel:
    return read_mano_file(DATA / "mano_v1_2/models/MANO_RIGHT.pkl")


@pytest.fixture(scope="module")
def golden() -> dict[str, torch.Tensor]:
    return load_golden(DATA / "golden/hand_layer.npz")


def rotations_of(model: HandModel, case: str, pose: torch.Tensor) -> torch.Tensor:
    if case == "quat":
        return pose.view(-1, 16, 4)
    if case == "pca15":
        return add_mean_pose(model, from_components(model, pose[:, :3], pose[:, 3:]))
    vectors = pose.view(-1, 16, 3)
    return add_mean_pose(model, vectors) if case == "axisang_mean" else vectors


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("case", CASES)
def test_points_and_transforms(
    model: HandModel, golden: dict[str, torch.Tensor], case: str, dtype: torch.dtype
) -> None:
    layer = HandLayer(model, dtype)
    rotations = rotations_of(model, case, golden[f"{case}_pose"].to(dtype))
    posed = layer(rotations, golden["betas"].to(dtype), centre=9 if case == "center9" else None)
    for name in ("verts", "joints", "transforms"):
        found, expected = getattr(posed, name), golden[f"{case}_{name}"]
        assert (found - expected).abs().max() < 1e-6, name
    # Rotations agree where axis-angle vectors may differ by full turns.
    full = axis_angle_to_matrix(golden[f"{case}_full_poses"].view(-1, 16, 3))
    if case == "quat":
        again = layer(full.to(dtype), golden["betas"].to(dtype)).verts
        assert (again - posed.verts).abs().max() < 1e-6
    else:
        assert (axis_angle_to_matrix(rotations) - full).abs().max() < 1e-6


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradients(model: HandModel, golden: dict[str, torch.Tensor], dtype: torch.dtype) -> None:
    pose = golden["axisang_flat_pose"].clone().to(dtype).requires_grad_()
    betas = golden["betas"].clone().to(dtype).requires_grad_()
    posed = HandLayer(model, dtype)(pose.view(-1, 16, 3), betas)
    ((posed.verts**2).sum() + posed.joints.sum()).backward()  # type: ignore[no-untyped-call]
    for found, name in ((pose.grad, "grad_pose"), (betas.grad, "grad_betas")):
        assert found is not None
        assert (found - golden[name]).abs().max() < 1e-4 * golden[name].abs().max(), name


def test_components_leave_the_wrist_and_span_the_fingers(model: HandModel) -> None:
    generator = torch.Generator().manual_seed(0)
    wrist, coefficients = torch.randn(2, 3, generator=generator), torch.randn(2, 45, generator=generator)
    rotations = from_components(model, wrist, coefficients)
    assert torch.equal(rotations[:, 0], wrist)
    expected = torch.zeros(2, 45)
    for k in range(45):
        expected += coefficients[:, k, None] * model.pose_components[k].float()
    torch.testing.assert_close(rotations[:, 1:].reshape(2, 45), expected)
    few = torch.cat([coefficients[:, :7], torch.zeros(2, 38)], dim=1)
    torch.testing.assert_close(from_components(model, wrist, coefficients[:, :7]), from_components(model, wrist, few))


def test_more_components_than_there_are(model: HandModel) -> None:
    with pytest.raises(ValueError, match="46 pose coefficients; a hand model has 45 components"):
        from_components(model, torch.zeros(1, 3), torch.zeros(1, 46))

"""IKNet's network against the recorded outputs of the published code."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from hmr_core.geometry.rotations import axis_angle_to_matrix, quaternion_to_matrix
from hmr_iknet.config import IKNetConfig
from hmr_iknet.network import IKNet, normalise_joints, rotation_vectors

GOLDEN = Path(__file__).parent / "data/golden"


@pytest.fixture(scope="module")
def recorded() -> dict[str, Tensor]:
    with np.load(GOLDEN / "iknet_fit.npz") as file:
        return {name: torch.from_numpy(file[name]) for name in file.files}


def published_network() -> IKNet:
    spec = importlib.util.spec_from_file_location("rule", GOLDEN / "rule.py")
    assert spec is not None
    assert spec.loader is not None
    rule = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(rule)
    network = IKNet(IKNetConfig())
    network.load_state_dict(rule.state_dict(json.loads((GOLDEN / "iknet.json").read_text())))
    return network.eval()


def test_names_and_shapes_are_the_released_ones() -> None:
    released = json.loads((GOLDEN / "iknet.json").read_text())["state_dict"]
    assert {name: list(value.shape) for name, value in IKNet(IKNetConfig()).state_dict().items()} == released


def test_golden(recorded: dict[str, Tensor]) -> None:
    with torch.no_grad():
        quaternions = published_network()(recorded["joints"])
    torch.testing.assert_close(quaternions, recorded["iknet_quat"], atol=1e-5, rtol=0)
    torch.testing.assert_close(rotation_vectors(quaternions).flatten(1), recorded["iknet_so3"], atol=1e-5, rtol=0)


def test_place_and_size_do_not_matter(recorded: dict[str, Tensor]) -> None:
    joints = recorded["joints"].double()
    torch.testing.assert_close(normalise_joints(1000 * joints + 7), normalise_joints(joints))


def test_rotation_vectors_are_the_same_rotations_with_angles_of_at_most_pi() -> None:
    generator = torch.Generator().manual_seed(0)
    quaternions = torch.nn.functional.normalize(
        torch.randn(50, 16, 4, dtype=torch.float64, generator=generator), dim=-1
    )
    vectors = rotation_vectors(quaternions)
    assert float(torch.linalg.vector_norm(vectors, dim=-1).max()) <= torch.pi
    torch.testing.assert_close(axis_angle_to_matrix(vectors), quaternion_to_matrix(quaternions))


@pytest.mark.parametrize("w", [1.0, -1.0])
def test_no_rotation_is_zero(w: float) -> None:
    quaternions = torch.tensor([w, 0, 0, 0]).expand(1, 16, 4)
    assert torch.equal(rotation_vectors(quaternions), torch.zeros(1, 16, 3))


def test_a_narrower_network() -> None:
    network = IKNet(IKNetConfig(widths=(8, 9))).eval()
    assert [tuple(p.shape) for n, p in network.named_parameters() if n.endswith("6.weight")] == [(64, 9)]
    assert network(torch.arange(126.0).sin().reshape(2, 21, 3)).shape == (2, 16, 4)

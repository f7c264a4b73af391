"""IKNet's network against the recorded outputs of the published code."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor

from hmr_core.nn.model import Inputs
from hmr_iknet.config import IKNetConfig
from hmr_iknet.model import IKNet, normalise_joints

GOLDEN = Path(__file__).parent / "data/golden"


def published_network(rule: ModuleType) -> IKNet:
    network = IKNet(IKNetConfig())
    network.load_state_dict(rule.state_dict(json.loads((GOLDEN / "iknet.json").read_text())))
    return network.eval()


def test_names_and_shapes_are_the_released_ones() -> None:
    released = json.loads((GOLDEN / "iknet.json").read_text())["state_dict"]
    assert {name: list(value.shape) for name, value in IKNet(IKNetConfig()).state_dict().items()} == released


def test_golden(recorded: dict[str, Tensor], rule: ModuleType) -> None:
    network = published_network(rule)
    with torch.no_grad():
        quaternions = network.quaternions(recorded["joints"])
        prediction = network(Inputs(joints=recorded["joints"]))
    torch.testing.assert_close(quaternions, recorded["iknet_quat"], atol=1e-5, rtol=0)
    torch.testing.assert_close(prediction.rotations.flatten(1), recorded["iknet_so3"], atol=1e-5, rtol=0)
    assert torch.equal(prediction.betas, torch.zeros(16, 10))


def test_place_and_size_do_not_matter(recorded: dict[str, Tensor]) -> None:
    joints = recorded["joints"].double()
    torch.testing.assert_close(normalise_joints(1000 * joints + 7), normalise_joints(joints))


def test_a_narrower_network() -> None:
    network = IKNet(IKNetConfig(widths=(8, 9))).eval()
    assert [tuple(p.shape) for n, p in network.named_parameters() if n.endswith("6.weight")] == [(64, 9)]
    assert network.quaternions(torch.arange(126.0).sin().reshape(2, 21, 3)).shape == (2, 16, 4)

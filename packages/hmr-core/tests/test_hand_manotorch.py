"""manotorch behind the hand layer's interface, held by a stand-in that follows manotorch's own."""

from __future__ import annotations

import pickle
import sys
from collections import namedtuple
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from hmr_core.errors import HmrError, UsageError
from hmr_core.geometry.rotations import axis_angle_to_matrix, axis_angle_to_quaternion, quaternion_to_matrix
from hmr_core.hand.back_ends import make_layer
from hmr_core.hand.layer import HandLayer
from hmr_core.hand.layer_names import HAND_LAYERS
from hmr_core.hand.mano_file import read_mano_file
from hmr_core.hand.manotorch_layer import ManotorchLayer
from hmr_core.hand.mirror import mirrored

MANO = Path(__file__).parent / "data/mano_v1_2/models/MANO_RIGHT.pkl"
Output = namedtuple("Output", "verts joints transforms_abs")
PARENTS = [0, 0, 1, 2, 0, 4, 5, 0, 7, 8, 0, 10, 11, 0, 13, 14]


class Sparse:
    """As much of scipy's sparse matrix as a file needs."""

    def __init__(self, dense: np.ndarray) -> None:
        self.rows, self.columns = np.nonzero(dense)
        self.data, self.shape = dense[self.rows, self.columns], dense.shape

    def toarray(self) -> np.ndarray:
        dense = np.zeros(self.shape)
        dense[self.rows, self.columns] = self.data
        return dense


class ManoLayer(torch.nn.Module):
    """Takes and gives what manotorch's ManoLayer does; its skinning is homogeneous matrices in a loop over joints."""

    folder = ""

    def __init__(
        self,
        rot_mode: str,
        side: str,
        center_idx: int | None,
        mano_assets_root: str,
        use_pca: bool,
        flat_hand_mean: bool,
    ) -> None:
        super().__init__()
        assert (rot_mode, center_idx, use_pca, flat_hand_mean) == ("quat", None, False, True)
        type(self).folder = mano_assets_root
        files = [Path(mano_assets_root) / place / f"MANO_{side.upper()}.pkl" for place in ("", "models")]
        first, second = (pickle.loads(file.read_bytes(), encoding="latin1") for file in files)
        assert list(first) == list(second)
        assert (first["bs_style"], first["bs_type"]) == ("lbs", "lrotmin")
        assert first["kintree_table"][0].tolist() == [2**32 - 1, *PARENTS[1:]]
        assert first["kintree_table"][1].tolist() == list(range(16))
        assert first["f"].shape == (1538, 3)
        self.data = {
            key: torch.tensor(value.toarray() if key == "J_regressor" else value, dtype=torch.float32)
            for key, value in first.items()
            if key in ("v_template", "shapedirs", "posedirs", "weights", "J_regressor")
        }

    def forward(self, pose_coeffs: torch.Tensor, betas: torch.Tensor) -> Output:
        d, batch = self.data, len(pose_coeffs)
        assert pose_coeffs.shape == (batch, 64)
        turns = quaternion_to_matrix(pose_coeffs.view(batch, 16, 4))
        shaped = d["v_template"] + (d["shapedirs"] @ betas.T).permute(2, 0, 1)
        rest = d["J_regressor"] @ shaped
        posed = shaped + (d["posedirs"] @ (turns[:, 1:] - torch.eye(3)).reshape(batch, 135).T).permute(2, 0, 1)
        world: list[torch.Tensor] = []
        moved = torch.zeros(batch, 778, 4)
        for joint, parent in enumerate(PARENTS):
            local = torch.eye(4).repeat(batch, 1, 1)
            local[:, :3, :3] = turns[:, joint]
            local[:, :3, 3] = rest[:, joint] if joint == 0 else rest[:, joint] - rest[:, parent]
            world.append(local if joint == 0 else world[parent] @ local)
            from_joint = torch.cat([posed - rest[:, joint, None], torch.ones(batch, 778, 1)], -1)
            moved = moved + d["weights"][:, joint, None] * (from_joint @ world[joint].mT)
        joints = torch.full((batch, 21, 3), torch.nan)  # manotorch's, which are not taken
        return Output(verts=moved[..., :3], joints=joints, transforms_abs=torch.stack(world, 1))


@pytest.fixture
def manotorch(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, content in (
        ("manotorch", {}),
        ("manotorch.manolayer", {"ManoLayer": ManoLayer}),
        ("scipy", {}),
        ("scipy.sparse", {"csc_matrix": Sparse}),
    ):
        module = ModuleType(name)
        module.__dict__.update(content)
        monkeypatch.setitem(sys.modules, name, module)


def hands() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return 0.6 * torch.randn(3, 16, 3, generator=generator), torch.randn(3, 10, generator=generator)


@pytest.mark.usefixtures("manotorch")
@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("centre", [None, 9])
@pytest.mark.parametrize("kind", ["axis-angle", "quaternions", "matrices"])
def test_it_equals_our_own_layer(side: str, centre: int | None, kind: str) -> None:
    model = read_mano_file(MANO)
    model = model if side == "right" else mirrored(model)
    layer, own = make_layer(model, "manotorch"), make_layer(model)
    assert isinstance(layer, ManotorchLayer)
    assert layer.model is model
    assert torch.equal(layer.faces, own.faces)
    vectors, betas = hands()
    rotations = {
        "axis-angle": vectors,
        "quaternions": -2 * axis_angle_to_quaternion(vectors),
        "matrices": axis_angle_to_matrix(vectors),
    }[kind]
    found, expected = layer(rotations, betas, centre=centre), own(rotations, betas, centre=centre)
    for name in ("verts", "joints", "transforms"):
        assert (getattr(found, name) - getattr(expected, name)).abs().max() < 1e-6, name
    torch.testing.assert_close(layer.joints(rotations, betas, centre=centre), found.joints, atol=0, rtol=0)


@pytest.mark.usefixtures("manotorch")
def test_gradients_go_through_it() -> None:
    model = read_mano_file(MANO)
    gradients = []
    for kind in HAND_LAYERS:
        vectors, betas = (value.requires_grad_() for value in hands())
        make_layer(model, kind)(vectors, betas).verts.square().sum().backward()
        gradients.append((vectors.grad, betas.grad))
    for own, found in zip(*gradients, strict=True):
        assert (own - found).abs().max() < 1e-4 * own.abs().max()


@pytest.mark.usefixtures("manotorch")
def test_its_file_is_gone_afterwards() -> None:
    make_layer(read_mano_file(MANO), "manotorch")
    assert ManoLayer.folder
    assert not Path(ManoLayer.folder).exists()


def test_where_it_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "manotorch", None)  # an import of it fails
    with pytest.raises(HmrError) as error:
        make_layer(read_mano_file(MANO), "manotorch")
    shown = str(error.value)
    assert shown.startswith(
        "the hand layer manotorch needs the package manotorch, which cannot be imported here (ModuleNotFoundError"
    )
    assert shown.endswith(
        "It is not on PyPI: pip install git+https://github.com/lixiny/manotorch, which asks for chumpy and for MANO's "
        "own code. Or leave hand_layer out: hmr's own layer gives the same metrics."
    )


def test_where_what_it_needs_does_not_work(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(ModuleType):
        def __getattr__(self, name: str) -> Any:
            raise TypeError("chumpy does not know this numpy") if name == "ManoLayer" else AttributeError(name)

    monkeypatch.setitem(sys.modules, "manotorch", ModuleType("manotorch"))
    monkeypatch.setitem(sys.modules, "manotorch.manolayer", Broken("manotorch.manolayer"))
    with pytest.raises(HmrError, match=r"imported here \(TypeError: chumpy does not know this numpy\)\. It is not"):
        make_layer(read_mano_file(MANO), "manotorch")


def test_another_kind_is_refused() -> None:
    text = r'unknown hand layer "manotorc"\. Did you mean "manotorch"\? Valid: manotorch, own\.'
    with pytest.raises(UsageError, match=text):
        make_layer(read_mano_file(MANO), "manotorc")
    assert type(make_layer(read_mano_file(MANO))) is HandLayer

"""The record of a hand that was found in a picture."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from hmr_core.errors import HmrError
from hmr_core.geometry.camera import project
from hmr_core.hand.hand import Hand
from hmr_core.hand.layer import HandLayer
from hmr_core.hand.mirror import mirrored
from hmr_core.hand.synthetic import load_synthetic_hand

WIDTH = 640
CAMERA = np.array([[600.0, 3, 300], [0, 610, 200], [0, 0, 1]])


@pytest.fixture(scope="module")
def hand() -> Hand:
    """A bent right hand before a camera with skew."""
    model = load_synthetic_hand()
    rotations = 0.3 * torch.randn(1, 16, 3, generator=torch.Generator().manual_seed(0))
    betas = torch.randn(1, 10, generator=torch.Generator().manual_seed(1))
    posed = HandLayer(model)(rotations, betas, centre=0)
    at = torch.tensor([0.05, -0.02, 0.6])
    joints = (posed.joints + at)[0].numpy()
    return Hand(
        side="right",
        score=1.0,
        box=(10.0, 20.0, 100.0, 120.0),
        joints=joints,
        joints_px=pixels(joints, CAMERA),
        verts=(posed.verts + at)[0].numpy(),
        faces=model.faces.numpy(),
        rotations=rotations[0].numpy(),
        betas=betas[0].numpy(),
        intrinsics=CAMERA,
        intrinsics_from="given",
        depth_from="hand size",
    )


def pixels(joints: np.ndarray, camera: np.ndarray) -> np.ndarray:
    return project(torch.from_numpy(joints).double(), torch.from_numpy(camera)).float().numpy()


def test_a_mirrored_hand_is_the_other_hand_s_model_in_the_mirrored_picture(hand: Hand) -> None:
    other = hand.mirrored(WIDTH)
    assert other.side == "left"
    assert other.box == (WIDTH - 110.0, 20.0, 100.0, 120.0)
    assert other.rotations is not None
    assert other.betas is not None
    assert other.verts is not None
    left = mirrored(load_synthetic_hand())
    posed = HandLayer(left)(torch.from_numpy(other.rotations)[None], torch.from_numpy(other.betas)[None], centre=0)
    at = torch.from_numpy(other.joints[0])
    np.testing.assert_allclose(other.joints, (posed.joints[0] + at).numpy(), atol=1e-6)
    np.testing.assert_allclose(other.verts, (posed.verts[0] + at).numpy(), atol=1e-6)
    np.testing.assert_array_equal(other.faces, left.faces.numpy())
    np.testing.assert_allclose(other.joints_px, pixels(other.joints, other.intrinsics), atol=1e-3)
    np.testing.assert_allclose(other.joints_px[:, 0], WIDTH - 1 - hand.joints_px[:, 0])


def test_a_hand_that_is_mirrored_twice_is_itself(hand: Hand) -> None:
    again = hand.mirrored(WIDTH).mirrored(WIDTH)
    for name, value in vars(hand).items():
        if isinstance(value, np.ndarray):
            np.testing.assert_allclose(getattr(again, name), value, atol=1e-4, err_msg=name)
        else:
            assert getattr(again, name) == value, name


def test_json_has_the_attributes_by_name_and_null_for_what_there_is_not(hand: Hand) -> None:
    bare = replace(hand, verts=None, faces=None, rotations=None, betas=None)
    values = json.loads(json.dumps(bare.as_json()))
    assert {*values, "verts", "faces"} == {*vars(hand)}
    assert [name for name, value in values.items() if value is None] == ["rotations", "betas", "confidence"]
    np.testing.assert_allclose(values["joints"], hand.joints, atol=1e-6)
    assert values["intrinsics"] == CAMERA.tolist()
    assert values["box"] == [10, 20, 100, 120]


def test_a_hand_is_saved_by_the_ending_and_not_without_a_mesh(hand: Hand, tmp_path: Path) -> None:
    for name in ("a.obj", "a.ply", "a.glb"):
        hand.save(str(tmp_path / name))
    beginnings = [(tmp_path / f"a{ending}").read_bytes()[:4] for ending in (".obj", ".ply", ".glb")]
    assert beginnings == [b"# me", b"ply\n", b"glTF"]
    with pytest.raises(HmrError, match="joints alone and no mesh"):
        replace(hand, verts=None).save(tmp_path / "none.obj")
    assert not (tmp_path / "none.obj").exists()

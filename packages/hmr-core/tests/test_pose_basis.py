"""Poses in MANO's own pose space become relative to the flat hand, where a hand model of MANO's is at hand."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from hmr_core.cli.pack import _packing_command
from hmr_core.data.open_tree import open_tree
from hmr_core.errors import HmrError, UsageError
from hmr_core.hand.mano_file import read_mano_file
from hmr_core.hand.mirror import mirrored
from hmr_core.hand.model import load_hand_model, save_hand_model
from hmr_core.hand.pose_basis import PoseBases, find_pose_bases
from hmr_core.hand.pose_space import add_mean_pose, from_components
from hmr_core.hand.synthetic import load_synthetic_hand
from hmr_core.plugins import DatasetSpec

MANO = Path(__file__).parent / "data/mano_v1_2/models/MANO_RIGHT.pkl"


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HMR_HAND_MODEL", raising=False)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("hands")
    model = read_mano_file(MANO)
    models = {
        "right": model,
        "left": replace(mirrored(model), source="MANO_LEFT.pkl, sha256 12"),
        "again": model,
        "synthetic": load_synthetic_hand(),
    }
    for name, hand in models.items():
        save_hand_model(hand, folder / f"{name}.npz")
    return {name: folder / f"{name}.npz" for name in models}


@pytest.mark.parametrize("side", ["right", "left"])
def test_poses_become_those_of_the_layers_own_formulas(files: dict[str, Path], side: str) -> None:
    basis, model = find_pose_bases([files[side]])[side], load_hand_model(files[side])
    pose = np.random.default_rng(1).normal(0, 0.6, 48)
    turns, coefficients = torch.from_numpy(pose[None]).reshape(1, 16, 3), torch.from_numpy(pose[None, 3:])
    expected = add_mean_pose(model, turns)[0].numpy()
    np.testing.assert_allclose(basis.of_mean_pose(pose), expected, atol=1e-15)
    for count in (45, 15):
        rotations = from_components(model, turns[:, 0], coefficients[:, :count])
        expected = add_mean_pose(model, rotations)[0].numpy()
        np.testing.assert_allclose(basis.of_components(pose[: 3 + count]), expected, atol=1e-12)
    assert np.abs(basis.of_mean_pose(pose) - pose.reshape(16, 3)).max() > 0.1, "the mean pose is not the flat hand"
    with pytest.raises(ValueError, match="46 coefficients of 45 components"):
        basis.of_components(np.zeros(49))


def test_hand_models_are_told_by_their_sides(files: dict[str, Path]) -> None:
    bases = find_pose_bases([files["left"], files["right"]])
    assert {side: basis.side for side, basis in bases.items()} == {"left": "left", "right": "right"}
    assert bases["left"].source == "MANO_LEFT.pkl, sha256 12"
    assert len(pickle.dumps(bases)) < 64_000, "packing processes are sent it"


def test_the_environment_names_one_unless_one_is_given(files: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_pose_bases() == {}
    monkeypatch.setenv("HMR_HAND_MODEL", str(files["left"]))
    assert list(find_pose_bases()) == ["left"]
    assert list(find_pose_bases([files["right"]])) == ["right"]


def test_no_data_set_is_in_the_synthetic_hands_pose_space(
    files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(
        HmrError, match=r"synthetic\.npz is the synthetic hand, and the poses of data sets are in MANO's"
    ):
        find_pose_bases([files["synthetic"]])
    monkeypatch.setenv("HMR_HAND_MODEL", str(files["synthetic"]))
    assert find_pose_bases() == {}


def test_files_that_are_none_are_named(files: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    both = (
        rf"{files['right']} and {files['again']} are both of a right hand\. Give hand_model once for each side at most"
    )
    with pytest.raises(HmrError, match=both):
        find_pose_bases([files["right"], files["again"]])
    with pytest.raises(HmrError, match=r"no hand model at none\.npz\. `hmr mano import"):
        find_pose_bases([Path("none.npz")])
    monkeypatch.setenv("HMR_HAND_MODEL", "gone.npz")
    with pytest.raises(HmrError, match=r"HMR_HAND_MODEL is gone\.npz: no hand model at gone\.npz"):
        find_pose_bases()


def _spec(**changes: Any) -> DatasetSpec:
    openers: dict[str, Callable[..., Any]] = {"open": lambda root: ("plain", root)}
    return DatasetSpec(name="odd", summary="an odd one", **{**openers, **changes})


def _posed(root: Path, bases: PoseBases) -> Any:
    return sorted(bases), root


def test_a_tree_is_opened_with_the_hand_models_at_hand(files: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    root, posed = Path("tree"), _spec(open_posed=_posed)
    assert open_tree(posed, root) == ("plain", root)
    assert open_tree(posed, root, [files["right"]]) == (["right"], root)
    monkeypatch.setenv("HMR_HAND_MODEL", str(files["left"]))
    assert open_tree(posed, root) == (["left"], root)
    assert open_tree(_spec(), root) == ("plain", root), "the environment's is for those that need one"
    with pytest.raises(UsageError, match=rf"reading odd takes no hand model, and {files['right']} was given\."):
        open_tree(_spec(), root, [files["right"]])


def test_only_data_sets_in_that_pose_space_have_the_option() -> None:
    shown = {
        given: CliRunner().invoke(_packing_command(spec), ["--help"]).output
        for given, spec in {"posed": _spec(open_posed=_posed), "plain": _spec()}.items()
    }
    assert "--hand-model FILE" in shown["posed"]
    assert "--hand-model" not in shown["plain"]

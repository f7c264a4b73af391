"""I2L-MeshNet and IKNet train on packs whose meshes were made of MANO's parameters, and on mixtures of such packs."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hmr_core.cli.main import main
from hmr_core.data.pack.reader import Pack

sys.path.append(str(Path(__file__).parents[1] / "packages/hmr-datasets/tests"))
hands: Any = import_module("made_hand_models")
ho3d: Any = import_module("ho3d_look_alike")
interhand: Any = import_module("interhand_look_alike")
python2_pickle: Any = import_module("python2_pickle")

Hmr = Callable[..., tuple[int, str]]


@pytest.fixture
def hmr(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Hmr:
    """The command in a folder of its own: its status, and what it says on stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("HMR_DATA", "HMR_HAND_MODEL", "HMR_PLUGINS"):
        monkeypatch.delenv(name, raising=False)

    def run(*words: str) -> tuple[int, str]:
        status = main(list(words))
        return status, capfd.readouterr().err

    return run


@pytest.fixture
def packs(hmr: Hmr, tmp_path: Path) -> Path:
    """HO-3D in both versions, of the first with meshes, one of which is not known; InterHand2.6M with meshes."""
    right, left = hands.mano_models((interhand.MEAN_POSE, np.eye(45)))
    for model in (right, left):
        hands.saved(model, tmp_path)
    older = ho3d.make_ho3d(tmp_path / "v2", 2)
    moved = ho3d.training(older.hands["train/ND2/0000"])
    moved["handTrans"] = moved["handTrans"] + [0, 0.01, 0]
    (tmp_path / "v2/train/ND2/meta/0000.pkl").write_bytes(python2_pickle.dump(moved))
    ho3d.make_ho3d(tmp_path / "v3", 3)
    interhand.make_interhand(tmp_path / "interhand")
    right_hand, both = ["--hand-model", "right.npz"], ["--hand-model", "right.npz", "--hand-model", "left.npz"]
    for name, tree, options in (
        ("ho3d", "v2", right_hand), ("ho3d", "v3", []), ("interhand", "interhand", both)
    ):  # fmt: skip
        status, said = hmr("pack", name, "--root", tree, "--out", f"{tree}.h5", "--codec", "jpeg", *options)
        assert status == 0, said
    return tmp_path


def train(hmr: Hmr, model: str, *options: str) -> tuple[int, str]:
    """A few steps of a run in the folder `run`."""
    hand = () if "--hand-model" in options else ("--hand-model", "right.npz")
    short = ("--recipe", "tiny", "--epochs", "2", "--batch-size", "4", "--device", "cpu", "--out", "run")
    return hmr("train", model, *short, *hand, *options)


def losses(run: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [line["losses"] for line in lines if line["kind"] == "epoch"]


def test_i2l_trains_on_meshes_that_were_made_of_parameters(packs: Path, hmr: Hmr) -> None:
    pack = Pack(packs / "v2.h5")
    rows = pack.indices("ho3d-v2", "train")
    assert pack.verts_valid(rows).sum() == len(rows) - 1
    status, said = train(hmr, "i2l", "--data", "v2.h5")
    assert status == 0, said
    assert "do not quite agree" not in said, "the hand model is that of the meshes"
    first, second = losses(packs / "run")
    assert first.keys() == second.keys() >= {"mesh", "mesh_joint", "normal", "edge"}
    assert all(value > 0 for value in (*first.values(), *second.values()))
    scoring = ("--hand-model", "right.npz", "--device", "cpu", "--out", "scored")
    status, said = hmr("eval", "i2l", "--ckpt", "run", *scoring)
    assert status == 0, said
    assert json.loads((packs / "scored/report.json").read_text())["metrics"]["mpvpe_mm"] > 0


@pytest.mark.parametrize("model", ["i2l", "iknet"])
def test_a_pack_without_meshes_is_refused_before_the_run(packs: Path, hmr: Hmr, model: str) -> None:
    status, said = train(hmr, model, "--data", "v2.h5", "--data", "v3.h5")
    assert status == 1
    assert f"training {model} needs verts, which no sample of ho3d-v3 train in v3.h5 has." in said
    assert "Some data sets get them by --hand-model of `hmr pack`." in said
    assert not (packs / "run").exists()


def test_i2l_trains_on_a_mixture_in_which_some_joints_and_meshes_are_not_known(packs: Path, hmr: Hmr) -> None:
    """Left hands of one of the packs are seen mirrored."""
    assert not Pack(packs / "interhand.h5").joints_valid(range(5)).all()
    status, said = train(hmr, "i2l", "--data", "v2.h5", "--data", "interhand.h5=0.5")
    assert status == 0, said
    assert all(np.isfinite(value) for epoch in losses(packs / "run") for value in epoch.values())
    data = json.loads((packs / "run/config.json").read_text())["data"]
    assert [(each["name"], each["share"]) for each in data] == [("ho3d", 0.5), ("interhand", 0.5)]


def test_iknet_trains_on_a_mixture_whose_joints_are_all_known(packs: Path, hmr: Hmr) -> None:
    status, said = train(hmr, "iknet", "--data", "v2.h5", "--data", "interhand.h5")
    assert status == 1
    assert "training iknet needs every joint, and some of interhand train in interhand.h5 are not known." in said
    status, said = hmr(
        "pack", "ho3d", "--root", "v3", "--out", "v3m.h5", "--codec", "jpeg", "--hand-model", "right.npz"
    )
    assert status == 0, said
    status, said = train(hmr, "iknet", "--data", "v2.h5", "--data", "v3m.h5=0.4")
    assert status == 0, said
    assert all(np.isfinite(value) for epoch in losses(packs / "run") for value in epoch.values())

"""From image to mesh with the packages together, as a user runs it, against the published pipeline's figures."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from hmr_core.cli.main import main

PACKAGES = Path(__file__).parents[1] / "packages"
INTEGRAL = PACKAGES / "hmr-integral/tests/data/golden"
IKNET = PACKAGES / "hmr-iknet/tests/data/golden"


def released_weights(record: Path) -> Any:
    """What a released file holds, by the rule that the recorded run's weights were made by."""
    found = importlib.util.spec_from_file_location("rule", record.with_name("rule.py"))
    assert found is not None
    assert found.loader is not None
    rule = importlib.util.module_from_spec(found)
    found.loader.exec_module(rule)
    return rule.state_dict(json.loads(record.read_text()))


@pytest.fixture
def folder(tmp_path: Path, mini_pack_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder but for the two released files, with the made-up data set as the default data."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HMR_DATA", str(mini_pack_path))
    monkeypatch.delenv("HMR_HAND_MODEL", raising=False)
    monkeypatch.delenv("HMR_PLUGINS", raising=False)
    torch.save(released_weights(INTEGRAL / "integral_resnet50.json"), tmp_path / "IntegralPose.pth.tar")
    torch.save({"model": released_weights(IKNET / "iknet.json")}, tmp_path / "iknet.pt")
    return tmp_path


def test_integral_pose_with_iknet_gives_the_published_pipeline_s_five_figures(
    folder: Path, mini_hand_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The predicted hands are collapsed (bone 0-9 is 0.3 mm in one case), and are scored all the same."""
    evaluation = ["eval", "integral", "--ckpt", "IntegralPose.pth.tar", "--split", "sp0", "--device", "cpu"]
    solver = ["--solver", "iknet", "--solver-ckpt", "iknet.pt", "--solver-set", "prior_group=8"]
    status = main([*evaluation, *solver, "--hand-model", str(mini_hand_path), "--out", "out"])
    out, err = capfd.readouterr()
    assert status == 0, err
    report = json.loads((folder / "out/report.json").read_text())
    recorded = json.loads((INTEGRAL / "e2e.json").read_text())["integral"]
    assert report["samples"] == recorded["samples"] == 24
    tolerance = {"mpjpe_mm": 0.05, "pck_auc_0_50mm": 0.001, "pa_mpjpe_mm": 0.05, "mpvpe_mm": 1.5, "pa_mpvpe_mm": 1.5}
    for name, allowed in tolerance.items():
        assert report["metrics"][name] == pytest.approx(recorded[name], abs=allowed), name
    assert (report["protocol"], report["missing"], report["notes"]) == ("published, but prior_group=8", [], [])
    assert report["solver"]["config"]["fit"] == "published"
    assert report["hand_model"]["mismatch_mm"] < 0.01
    assert "protocol published, but prior_group=8; hand model" in out
    with h5py.File(folder / "out/predictions.h5") as file:
        bones_m = np.linalg.norm(file["joints"][:, 9] - file["joints"][:, 0], axis=1)
        assert file["verts"].shape == (24, 778, 3)
    assert bones_m.min() < 0.5e-3
    status = main(["score", "out", "--json"])
    assert status == 0
    assert json.loads(capfd.readouterr().out)["metrics"] == report["metrics"]

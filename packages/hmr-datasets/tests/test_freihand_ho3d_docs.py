"""docs/datasets.md is right on FreiHAND and HO-3D: its commands run, its counts and vertices are the code's."""

from __future__ import annotations

import csv
import re
import shlex
import shutil
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from hmr_core.cli.main import main
from hmr_core.data.pack.reader import Pack
from hmr_datasets.freihand import layout as freihand
from hmr_datasets.ho3d import layout as ho3d

sys.path.append(str(Path(__file__).parent))
freihand_look_alike: Any = import_module("freihand_look_alike")
ho3d_look_alike: Any = import_module("ho3d_look_alike")

REPOSITORY = Path(__file__).parents[3]
PAGE = (REPOSITORY / "docs/datasets.md").read_text(encoding="utf-8")
MANO = REPOSITORY / "packages/hmr-core/tests/data/mano_v1_2/models/MANO_RIGHT.pkl"


def test_its_commands_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HMR_HAND_MODEL", raising=False)
    freihand_look_alike.make_freihand(tmp_path / "FreiHAND_pub_v2")
    ho3d_look_alike.make_ho3d(tmp_path / "HO3D_v3", 3, truth=False)
    shutil.copy(MANO, tmp_path)
    commands = re.findall(r"^hmr ((?:pack (?:freihand|ho3d) |mano import MANO_RIGHT).*)$", PAGE, flags=re.MULTILINE)
    assert len(commands) == 7
    said = {}
    for command in commands:
        assert main(shlex.split(command)) == 0, capfd.readouterr().err
        said[command.split()[-1]] = capfd.readouterr().err
    assert Pack(tmp_path / "freihand-hom.h5").info.counts == {
        "freihand-hom": {"train": 1, "val": 1, "train+val": 2, "test": 1}
    }
    assert "note: rotations are left out: FreiHAND's are relative to MANO's mean pose" in said["freihand.h5"]
    assert "rotations" not in Pack(tmp_path / "freihand.h5").info.arrays
    assert "rotations" not in said["freihand-posed.h5"]
    assert "rotations" in Pack(tmp_path / "freihand-posed.h5").info.arrays
    assert "note: 1 of 11 frames of train have no annotation: left out (train/MC1/0001)" in said["ho3d.h5"]
    assert "note: test has the wrist and a box of each hand alone" in said["ho3d.h5"]
    assert "note: train and val have no meshes: HO-3D gives MANO's parameters, of which a hand model" in said["ho3d.h5"]
    assert "note: verts of 12 of 12 samples are not known" in said["ho3d-meshes.h5"], (
        "look-alikes are no hands of MANO's"
    )


def test_its_counts_are_the_documented_ones() -> None:
    for split, counts in {**freihand.DOCUMENTED, **ho3d.DOCUMENTED}.items():
        (row,) = re.findall(rf"^\| `{split}`.*$", PAGE, flags=re.MULTILINE)
        assert [cell.strip() for cell in row.split("|")[-3:-1]] == [
            f"{counts[subset]:,}" for subset in ("train+val", "test")
        ]
    assert (freihand.VAL_EVERY, ho3d.VAL_EVERY) == (32, 8)
    assert "every 32nd photo is in `val`" in PAGE
    assert "every eighth, the first being one, is in `val`" in PAGE


def test_an_evaluation_without_annotations_is_told_by_the_command(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    freihand_look_alike.make_freihand(tmp_path / "tree")
    (tmp_path / "tree/evaluation_xyz.json").unlink()
    command = ["pack", "freihand", "--root", str(tmp_path / "tree"), "--out", str(tmp_path / "out.h5")]
    assert main([*command, "--subset", "test"]) == 1
    assert "lacks evaluation_xyz.json, without which the evaluation photos have no" in capfd.readouterr().err
    assert main(command) == 0
    said = capfd.readouterr().err
    assert "note: there is no test: " in said
    assert 'They are public now: see "Update" in the README of https://github.com/lmb-freiburg/freihand' in said


def test_its_figures_are_the_measured_ones() -> None:
    with (REPOSITORY / "results/datasets.csv").open(encoding="utf-8") as file:
        *rows, opening = csv.DictReader(file)
    columns = ("what", "tree_ms", "pack_ms", "ratio", "reading_ms", "packing_ms")
    for row in rows:
        assert f"| {' | '.join(row[column] for column in columns)} |" in PAGE
    assert f"take {float(opening['tree_ms']) / 1000:.0f} s to parse" in PAGE
    assert f"a pack opens in {float(opening['pack_ms']):.0f} ms" in PAGE

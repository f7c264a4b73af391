"""`hmr doctor` on trees of FreiHAND and HO-3D: what they are, what they lack, and what is wrong with their hands."""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hmr_core.cli.main import main
from hmr_core.data.known import subset_gaps
from hmr_core.data.pack.codecs import codec_named
from hmr_core.data.pack.reader import Pack
from hmr_core.data.pack.writer import write_pack
from hmr_core.doctor.examine import Subject, examine
from hmr_core.doctor.find_tree import looks_like
from hmr_core.plugins.registry import discover
from hmr_datasets.freihand.reader import FreiHANDReader

sys.path.append(str(Path(__file__).parent))
freihand: Any = import_module("freihand_look_alike")
ho3d: Any = import_module("ho3d_look_alike")
interhand: Any = import_module("interhand_look_alike")
dexycb: Any = import_module("dexycb_look_alike")
python2_pickle: Any = import_module("python2_pickle")


def found(root: Path, data: Path | None = None, section: str = "root") -> list[tuple[str, str]]:
    """Level and text of what is said of a tree, without what is of no tree."""
    subject = Subject(
        root=root, data=data or root / "none.h5", data_named=data is not None, hand_model=None, hand_model_named=False
    )
    return [(line.level, line.text) for line in examine(subject, discover()) if line.section == section]


def test_each_data_set_knows_its_trees_and_says_what_it_looks_for(tmp_path: Path) -> None:
    specs = discover().datasets()
    made: dict[str, Any] = {
        "freihand": freihand.make_freihand,
        "ho3d": lambda root: ho3d.make_ho3d(root, 3),
        "interhand": interhand.make_interhand,
        "dexycb": dexycb.make_dexycb,
    }
    for name, make in made.items():
        make(tmp_path / name)
        assert [other for other, spec in specs.items() if looks_like(tmp_path / name, spec)] == [name]
    empty = tmp_path / "none"
    empty.mkdir()
    (wrong, *notes) = found(empty)
    assert wrong == ("wrong", f"{empty} is a tree of no data set that is known here; tried: {', '.join(specs)}")
    assert notes == [("note", f"{name} looks for {' or '.join(spec.marks)}") for name, spec in specs.items()]
    assert ("note", "freihand looks for training_K.json or evaluation_K.json") in notes


def test_what_is_advised_is_of_the_data_set_that_was_found(tmp_path: Path) -> None:
    root = tmp_path / "tree"
    freihand.make_freihand(root)
    subject = Subject(root=root, data=tmp_path / "no.h5", data_named=False, hand_model=None, hand_model_named=False)
    lines = list(examine(subject, discover()))
    (pack,) = [line for line in lines if line.section == "data"]
    assert pack.remedy == f"`hmr pack freihand --root {root} --out data/freihand.h5`"
    again = "Unpack FreiHAND_pub_v2.zip again. training_K.json and evaluation_K.json list the photos, of which rgb has"
    assert [line.remedy.startswith(again) for line in lines if line.level == "warning"] == [True] * 5
    (root / "training_verts.json").unlink()
    said = found(root)
    assert len(said) == 1
    assert said[0][1].startswith(f"{root} is FreiHAND before version 2: it has no training_verts.json.")


def test_a_data_set_without_documented_counts_says_why(tmp_path: Path) -> None:
    interhand.make_interhand(tmp_path)
    (why,) = [text for level, text in found(tmp_path) if level == "note" and "documented" in text]
    assert why.startswith("the release's authors count frames (at 5 a second 1,361,062 of train, 380,125 of val and")
    page = (Path(__file__).parents[3] / "docs/datasets.md").read_text(encoding="utf-8")
    assert "1,361,062, 380,125 and 849,160 at 5 a second" in page


def test_a_tree_of_freihand(tmp_path: Path) -> None:
    root = tmp_path / "tree"
    freihand.make_freihand(root)
    said = found(root)
    assert said[0] == ("ok", f"{root} is a tree of FreiHAND v2")
    assert not [text for level, text in said if level == "wrong"]
    texts = " ".join(text for _, text in said)
    assert "rotations are left out: FreiHAND's are relative to MANO's mean pose" in texts
    assert (
        "freihand: train 4, val 4, train+val 8, test 1 (documented: train 126,168, val 4,072, train+val 130,240, "
        "test 3,960); train, val, train+val, test differ"
    ) in texts
    assert "the 9 listed samples have all of their files" in texts
    (root / "training/rgb/00000002.jpg").unlink()
    assert ("wrong", "training/rgb lacks 1 of 8 files: 00000002.jpg") in found(root)


def test_what_each_subset_lacks_is_said_of_a_pack(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    freihand.make_freihand(tmp_path / "freihand")
    interhand.make_interhand(tmp_path / "interhand")
    made = {
        "freihand": ["every subset: without rotations"],
        "interhand": ["every subset: without mesh; without rotations"],
    }
    for truth in (True, False):
        ho3d.make_ho3d(tmp_path / f"ho3d{truth:d}", 3, truth=truth)
    made["ho3d1"] = ["train, val, train+val of ho3d-v3: without mesh", "test of ho3d-v3: without rotations"]
    unscored = "without truth: can be predicted for a submission, not scored"
    made["ho3d0"] = [
        "train, val, train+val of ho3d-v3: without mesh",
        f"test of ho3d-v3: without mesh; without rotations; {unscored}",
    ]
    for name, gaps in made.items():
        out = tmp_path / f"{name}.h5"
        write_pack(discover().dataset(name.rstrip("01")).open(tmp_path / name), out, codec=codec_named("jpeg"))
        assert subset_gaps(Pack(out)) == gaps
        assert main(["pack", "info", str(out)]) == 0
        assert "\n".join(gaps) in capsys.readouterr().out
        assert main(["pack", "info", str(out), "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["lacking"] == gaps
        assert [
            text for level, text in found(tmp_path / name, out, "data") if level == "note" and "without" in text
        ] == gaps


def test_a_pack_with_rotations_is_of_its_tree(tmp_path: Path) -> None:
    root, out = tmp_path / "tree", tmp_path / "pack.h5"
    freihand.make_freihand(root)
    write_pack(FreiHANDReader(root, freihand.BASIS), out, codec=codec_named("jpeg"))
    said = found(root, out, "root and data")
    assert ("ok", "annotations of 9 samples are the tree's") in said
    note = "the pack's rotations were made with a hand model, and are not compared with the tree"
    assert ("note", note) in said
    assert not [text for level, text in said if level == "wrong"]


def test_a_tree_of_ho3d(tmp_path: Path) -> None:
    root = ho3d.make_ho3d(tmp_path / "tree", 2).root
    said = found(root)
    assert said[0] == ("ok", f"{root} is a tree of HO-3D v2")
    assert ("note", "1 of 11 frames of train have no annotation: left out (train/MC1/0001)") in said
    assert not [text for level, text in said if level == "wrong"]
    (root / "train/BB12/meta/0000.pkl").unlink()
    wrong = [text for level, text in found(root) if level == "wrong"]
    assert wrong[0] == "train/BB12/meta lacks 1 of 1 files: 0000.pkl"
    assert wrong[1].startswith(
        "1 of 12 samples looked at cannot be read (train/BB12/0000); the first: sample train/BB12"
    )


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (
            lambda joints: joints[list(ho3d.OURS_TO_MANO)],
            "the joints look like MANO's order (16 joints, then the tips)",
        ),
        (lambda joints: joints * [1, -1, -1], "the camera seems to look along -z, as in OpenGL"),
    ],
)
def test_another_order_and_another_frame_are_seen_in_a_tree_without_meshes(
    tmp_path: Path, change: Any, text: str
) -> None:
    """As if the reader forgot to change the order, or the axes: the files have the change made twice."""
    look_alike = ho3d.make_ho3d(tmp_path / "tree", 2, truth=False)
    for name, hand in look_alike.hands.items():
        if name.startswith("train"):
            meta = ho3d.training(hand)
            meta["handJoints3D"] = np.asarray(change(meta["handJoints3D"]))
            part, sequence, frame = name.split("/")
            (look_alike.root / part / sequence / "meta" / f"{frame}.pkl").write_bytes(python2_pickle.dump(meta))
    wrong = [said for level, said in found(look_alike.root) if level == "wrong"]
    assert any(text in said for said in wrong)

"""pred.json of FreiHAND and HO-3D: written in their frame and order, read back, and refused with a reason."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hmr_core.errors import HmrError
from hmr_core.hand.joints import MANO_TO_OPENPOSE
from hmr_datasets.freihand.rules import RULES as FREIHAND
from hmr_datasets.ho3d.rules import RULES as HO3D

IDS = [f"evaluation/{i:08d}" for i in range(3)]
RANDOM = np.random.default_rng(5)
JOINTS = RANDOM.normal((0.02, -0.03, 0.6), 0.03, (3, 21, 3)).astype(np.float32)
VERTS = RANDOM.normal((0.02, -0.03, 0.6), 0.03, (3, 778, 3)).astype(np.float32)


@pytest.mark.parametrize("rules", [FREIHAND, HO3D])
@pytest.mark.parametrize("name", ["pred.json", "pred.zip"])
def test_what_is_written_is_read_again(rules: Any, name: str, tmp_path: Path) -> None:
    rules.submission.write(tmp_path, "split", IDS, JOINTS, VERTS)
    assert {path.name for path in tmp_path.iterdir()} == set(rules.submission.files)
    found = rules.submission.read(tmp_path / name, "split", IDS)
    np.testing.assert_allclose(found.joints, JOINTS, atol=1e-7)
    np.testing.assert_allclose(found.verts, VERTS, atol=1e-7)


def test_the_files_are_in_their_frame_and_order(tmp_path: Path) -> None:
    assert FREIHAND.submission is not None
    assert HO3D.submission is not None
    FREIHAND.submission.write(tmp_path, "freihand", IDS, JOINTS, VERTS)
    joints, verts = json.loads((tmp_path / "pred.json").read_text())
    np.testing.assert_allclose(joints, JOINTS, atol=1e-7)
    np.testing.assert_allclose(verts, VERTS, atol=1e-7)
    HO3D.submission.write(tmp_path, "ho3d-v2", IDS, JOINTS, VERTS)
    joints, verts = json.loads((tmp_path / "pred.json").read_text())
    assert (np.array(joints)[..., 2] < 0).all()  # OpenGL's camera looks along -z
    for ours, theirs in enumerate(MANO_TO_OPENPOSE):
        np.testing.assert_allclose(np.array(joints)[:, theirs], JOINTS[:, ours] * [1, -1, -1], atol=1e-7)
    np.testing.assert_allclose(verts, VERTS * [1, -1, -1], atol=1e-7)
    with zipfile.ZipFile(tmp_path / "pred.zip") as archive:
        assert archive.namelist() == ["pred.json"]
        assert archive.read("pred.json") == (tmp_path / "pred.json").read_bytes()


def test_the_same_predictions_make_the_same_archive(tmp_path: Path) -> None:
    assert FREIHAND.submission is not None
    archives = []
    for _ in range(2):
        FREIHAND.submission.write(tmp_path, "freihand", IDS, JOINTS, VERTS)
        archives.append((tmp_path / "pred.zip").read_bytes())
    assert archives[0] == archives[1]


def test_a_file_without_meshes_is_one_of_joints(tmp_path: Path) -> None:
    assert FREIHAND.submission is not None
    (tmp_path / "mine.json").write_text(json.dumps([JOINTS.tolist(), []]))
    assert FREIHAND.submission.read(tmp_path / "mine.json", "freihand", IDS).verts is None


AGAIN = "Write it or copy it again; an evaluation writes one with submission=DIR."

NOT_TWO = "valid is a list of two lists, the joints and the vertices of all hands."


def _with(change: Callable[[list[Any]], Any]) -> str:
    content: list[Any] = [JOINTS.astype(float).round(6).tolist(), VERTS.astype(float).round(6).tolist()]
    changed = change(content)
    return json.dumps(content if changed is None else changed)


def _nan(content: list[Any]) -> None:
    content[1][2][77][1] = float("nan")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            _with(lambda content: [*content, []]),
            "{path} is no submission: NOT_TWO AGAIN",
        ),
        (
            _with(lambda content: [content[0][:2], content[1]]),
            "{path} has 2 hands with joints and 3 with vertices, and test of freihand has 3 samples. All of them must "
            "be there. If it is of another data set, version or split, name its pack with data.",
        ),
        (
            _with(lambda content: [content[0], content[1][:2]]),
            "{path} has 3 hands with joints and 2 with vertices, and test of freihand has 3 samples. All of them must "
            "be there. If it is of another data set, version or split, name its pack with data.",
        ),
        (
            _with(_nan),
            "{path}: the vertices of evaluation/00000002 are not finite (1 of 3 samples).",
        ),
        (
            _with(lambda content: [[*content[0][:1], content[0][1][:20], content[0][2]], content[1]]),
            "{path}: the joints of evaluation/00000001 are not 21 points of 3 numbers.",
        ),
        (
            _with(lambda content: [[*content[0][:2], "hand"], content[1]]),
            "{path}: the joints of evaluation/00000002 are not 21 points of 3 numbers.",
        ),
        (
            '{"joints": []}',
            "{path} is no submission: NOT_TWO AGAIN",
        ),
    ],
)
def test_what_is_no_submission_is_refused(text: str, problem: str, tmp_path: Path) -> None:
    assert FREIHAND.submission is not None
    path = tmp_path / "pred.json"
    path.write_text(text)
    with pytest.raises(HmrError) as raised:
        FREIHAND.submission.read(path, "freihand", IDS)
    assert str(raised.value) == problem.format(path=path).replace("NOT_TWO", NOT_TWO).replace("AGAIN", AGAIN)


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    assert FREIHAND.submission is not None
    (tmp_path / "pred.json").write_text("[[[1, 2")
    with pytest.raises(HmrError, match=r"pred\.json is cut off or damaged: as JSON, .*\. Write it or copy it again"):
        FREIHAND.submission.read(tmp_path / "pred.json", "freihand", IDS)
    FREIHAND.submission.write(tmp_path, "freihand", IDS, JOINTS, VERTS)
    whole = (tmp_path / "pred.zip").read_bytes()
    middle = len(whole) // 2
    for damaged in (whole[:-40], whole[:middle] + bytes(50) + whole[middle + 50 :]):
        (tmp_path / "pred.zip").write_bytes(damaged)
        with pytest.raises(HmrError, match=r"pred\.zip is cut off, damaged or under a password: as a zip file, .*subm"):
            FREIHAND.submission.read(tmp_path / "pred.zip", "freihand", IDS)
    with zipfile.ZipFile(tmp_path / "two.zip", "w") as archive:
        archive.writestr("a.json", "[]")
        archive.writestr("b.json", "[]")
    with pytest.raises(HmrError, match=r"two\.zip has 2 \.json files; valid: pred\.json alone"):
        FREIHAND.submission.read(tmp_path / "two.zip", "freihand", IDS)

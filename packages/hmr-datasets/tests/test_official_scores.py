"""From trees in the data sets' layouts to what their own scorers say of files in their own form."""

from __future__ import annotations

import importlib.util
import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hmr_core.cli.main import main
from hmr_core.data.pack.codecs import codec_named
from hmr_core.data.pack.reader import Pack
from hmr_core.data.pack.writer import write_pack
from hmr_core.errors import HmrError
from hmr_core.evaluation.official import official_rules, score_officially
from hmr_core.evaluation.rescoring import score_predictions
from hmr_core.evaluation.submissions import is_submission, read_submission
from hmr_core.plugins.registry import discover

sys.path.append(str(Path(__file__).parent))
make_freihand = import_module("freihand_look_alike").make_freihand
make_ho3d = import_module("ho3d_look_alike").make_ho3d
make_interhand = import_module("interhand_look_alike").make_interhand

ROOT = Path(__file__).parents[3]


def packed(name: str, root: Path, split: str) -> Pack:
    path = root.with_name(f"{name}.h5")
    write_pack(discover().dataset(name).open(root), path, splits=[split], codec=codec_named("jpeg"))
    return Pack(path)


@pytest.fixture(scope="module")
def freihand(tmp_path_factory: pytest.TempPathFactory) -> Pack:
    root = tmp_path_factory.mktemp("freihand") / "tree"
    make_freihand(root, tested=3)
    return packed("freihand", root, "freihand")


def scored(path: Path, pack: Pack, split: str) -> Any:
    registry = discover()
    assert is_submission(path)
    found = read_submission(path, pack, split, registry)
    return score_predictions(path, found, pack, official_rules(pack, split, "test", registry))


@pytest.mark.parametrize("version", [2, 3])
def test_ho3d_s_public_annotations_as_a_submission_have_no_error(version: int, tmp_path: Path) -> None:
    """The authors' own files are in the form, the frame and the order of a submission."""
    make_ho3d(tmp_path / "tree", version)
    pack = packed("ho3d", tmp_path / "tree", f"ho3d-v{version}")
    lists = [json.loads((tmp_path / f"tree/evaluation_{name}.json").read_text()) for name in ("xyz", "verts")]
    (tmp_path / "pred.json").write_text(json.dumps(lists))
    report = scored(tmp_path / "pred.json", pack, f"ho3d-v{version}")
    official = report["official"]["metrics"]
    assert report["official"]["scorer"] == "HO-3D's eval.py"
    for name, value in official.items():
        expected = 0.0 if name.endswith("mean3d") else 1.0
        # An area counts no error of 1e-8 m at the threshold 0, as the authors' program does not.
        assert value == pytest.approx(expected, abs=0.006 if name.endswith("auc3d") else 1e-4), name
    assert report["metrics"]["mpvpe_mm"] == pytest.approx(0, abs=1e-3)


@pytest.fixture
def sent(freihand: Pack, tmp_path: Path) -> Path:
    """A submission of FreiHAND's that is right but for a centimetre."""
    rows = freihand.indices("freihand", "test")
    form = discover().dataset("freihand").rules
    assert form is not None
    assert form.submission is not None
    joints, verts = (freihand.array(name, rows) + np.float32(0.01) for name in ("joints", "verts"))
    (tmp_path / "sent").mkdir()
    form.submission.write(tmp_path / "sent", "freihand", freihand.ids(rows), joints, verts)
    return tmp_path / "sent"


@pytest.mark.parametrize("given", ["", "pred.json", "pred.zip"])
def test_the_command_scores_a_submission_by_its_authors_rules(
    given: str, freihand: Pack, sent: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["score", str(sent / given), "--data", str(freihand.path), "--protocol", "official"]
    assert main([*command, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["official"]["scorer"] == "FreiHAND's eval.py"
    assert report["official"]["metrics"]["xyz_mean3d"] == pytest.approx(3**0.5, rel=1e-4)
    assert report["metrics"]["mpjpe_mm"] == pytest.approx(10 * 3**0.5, rel=1e-4)
    assert main(command) == 0
    out = capsys.readouterr().out
    assert "FreiHAND's eval.py" in out
    assert "xyz_mean3d" in out
    assert main(command[:-2]) == 0
    assert "eval.py" not in capsys.readouterr().out


def test_a_submission_of_another_data_set_is_told_to_be_one(
    freihand: Pack, sent: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_interhand(tmp_path / "interhand")
    others = packed("interhand", tmp_path / "interhand", "interhand")
    assert main(["score", str(sent / "pred.zip"), "--data", str(others.path)]) == 1
    assert capsys.readouterr().err == (
        f"error: {sent / 'pred.zip'} is a .zip file, as the authors of freihand (pred.json or pred.zip), ho3d "
        f"(pred.json or pred.zip) take, and {others.path} is of interhand, whose authors take no such files. Name the "
        "pack that it is of with --data; predictions of any data set can be written as docs/predictions.md says.\n"
    )
    (tmp_path / "dexycb.csv").write_text(",".join(["7", *["0"] * 63]))
    assert main(["score", str(tmp_path / "dexycb.csv"), "--data", str(freihand.path)]) == 1
    assert "of dexycb (dexycb.csv) take, and " in (said := capsys.readouterr().err)
    assert "is of freihand, whose authors take pred.json or pred.zip. Name the pack" in said
    make_ho3d(tmp_path / "ho3d", 3)
    hands = packed("ho3d", tmp_path / "ho3d", "ho3d-v3")
    assert main(["score", str(sent), "--data", str(hands.path)]) == 1
    assert "of ho3d-v3 has 2 samples. All of them must be there. If it is of another data set, version or split" in (
        capsys.readouterr().err
    )


def test_a_split_is_asked_for_only_where_it_matters(tmp_path: Path, sent: Path) -> None:
    """All splits of FreiHAND are tested on the same photos."""
    make_freihand(tmp_path / "tree", tested=3)
    write_pack(discover().dataset("freihand").open(tmp_path / "tree"), tmp_path / "all.h5", codec=codec_named("jpeg"))
    pack = Pack(tmp_path / "all.h5")
    assert len(pack.info.counts) == 5
    read = read_submission(sent / "pred.json", pack, None, discover())
    assert (read.split, read.ids) == ("freihand", pack.ids(pack.indices("freihand-hom", "test")))


def test_a_submission_in_millimetres_is_refused(freihand: Pack, tmp_path: Path) -> None:
    rows = freihand.indices("freihand", "test")
    points = [(1000 * freihand.array(name, rows)).tolist() for name in ("joints", "verts")]
    (tmp_path / "pred.json").write_text(json.dumps(points))
    with pytest.raises(HmrError, match=r"pred\.json: its joints look like millimetres: .* Write them in the unit that"):
        scored(tmp_path / "pred.json", freihand, "freihand")


def test_hands_off_by_a_centimetre_are_off_by_one_in_the_official_figures(freihand: Pack, tmp_path: Path) -> None:
    rows = freihand.indices("freihand", "test")
    form = discover().dataset("freihand").rules
    assert form is not None
    assert form.submission is not None
    shift = np.float32([0.006, 0.0, 0.008])
    points = [freihand.array(name, rows) + shift for name in ("joints", "verts")]
    form.submission.write(tmp_path, "freihand", freihand.ids(rows), points[0], points[1])
    for name in form.submission.files:
        report = scored(tmp_path / name, freihand, "freihand")
        official = report["official"]["metrics"]
        assert official["xyz_mean3d"] == pytest.approx(1.0, abs=1e-4)
        assert official["mesh_mean3d"] == pytest.approx(1.0, abs=1e-4)
        assert official["xyz_al_mean3d"] == pytest.approx(0, abs=1e-4)
        assert official["f_al_score_5"] == 1
        assert report["metrics"]["mpjpe_mm"] == pytest.approx(10, abs=1e-3)


def test_points_relative_to_the_wrist_are_scored_after_alignment(freihand: Pack, tmp_path: Path) -> None:
    rows = freihand.indices("freihand", "test")
    joints, verts = (freihand.array(name, rows) for name in ("joints", "verts"))
    lists = [(joints - joints[:, :1]).tolist(), (verts - joints[:, :1]).tolist()]
    (tmp_path / "relative.json").write_text(json.dumps(lists))
    report = scored(tmp_path / "relative.json", freihand, "freihand")
    assert (
        "the joints are relative to one of them, so that only metrics after alignment mean something" in report["notes"]
    )
    assert report["official"]["metrics"]["xyz_al_mean3d"] == pytest.approx(0, abs=1e-4)


def test_interhand_s_hands_are_scored_alone_and_together(tmp_path: Path) -> None:
    make_interhand(tmp_path / "tree")
    pack = packed("interhand", tmp_path / "tree", "interhand")
    rows = pack.indices("interhand", "test")
    rules = official_rules(pack, "interhand", "test", discover())
    true = pack.array("joints", rows)
    moved = true + np.where(pack.left(rows)[:, None, None], np.float32(0.03), 0)  # the wrists go with their hands
    found = score_officially(rules, pack, rows, moved, None, root_given=False)["metrics"]
    intents = pack.labels("intent", rows)
    assert {"single", "interacting"} == set(intents)
    for name in ("mpjpe_mm", "mpjpe_single_mm", "mpjpe_interacting_mm"):
        assert found[name] == pytest.approx(0, abs=1e-3)
    assert found["mrrpe_mm"] == pytest.approx(30 * 3**0.5, rel=1e-4)
    assert score_officially(rules, pack, rows, moved, None, root_given=True)["metrics"]["mrrpe_mm"] is None


def test_without_the_public_annotations_ho3d_is_not_scored(tmp_path: Path) -> None:
    make_ho3d(tmp_path / "tree", truth=False)
    pack = packed("ho3d", tmp_path / "tree", "ho3d-v2")
    with pytest.raises(
        HmrError, match=r"ho3d-v2 test of .* has no truth: of each hand, its wrist and box alone are known"
    ):
        official_rules(pack, "ho3d-v2", "test", discover())


def test_the_figures_for_zeros_are_computed_from_a_pack(freihand: Pack, capsys: pytest.CaptureFixture[str]) -> None:
    spec = importlib.util.spec_from_file_location("check_official", ROOT / "tools/check_official.py")
    assert spec is not None
    assert spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    found = tool.zero_metrics(freihand, "freihand")
    rows = freihand.indices("freihand", "test")
    joints, verts = (freihand.array(name, rows).astype(float) for name in ("joints", "verts"))
    for name, points in (("xyz", joints), ("mesh", verts)):
        assert found[f"{name}_mean3d"] == pytest.approx(100 * np.linalg.norm(points, axis=-1).mean())
        centred = points - points.mean(1, keepdims=True)
        assert found[f"{name}_al_mean3d"] == pytest.approx(100 * np.linalg.norm(centred, axis=-1).mean())
    assert set(tool.KNOWN["freihand"]) <= set(found)
    assert tool.show("xyz_mean3d", 70.7949, (70.79, 0.005)) is False
    assert tool.show("xyz_mean3d", 70.81, (70.79, 0.005)) is True
    assert [line.split()[-1] for line in capsys.readouterr().out.splitlines()] == ["known", "WRONG"]

"""Scoring by a data set's own rules, its own files of predictions, and samples without truth, of a made-up data set."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy import ndarray

from hmr_core import metrics
from hmr_core.data.pack.codecs import codec_named
from hmr_core.data.pack.reader import Pack
from hmr_core.data.pack.writer import write_pack
from hmr_core.errors import HmrError, UsageError
from hmr_core.evaluation.comparing.reading import open_evaluations
from hmr_core.evaluation.predictions import Predictions, read_predictions, write_predictions
from hmr_core.evaluation.report import report_text
from hmr_core.evaluation.rescoring import score_predictions
from hmr_core.evaluation.scoring import NO_TRUTH, score
from hmr_core.evaluation.session import evaluate
from hmr_core.evaluation.submissions import is_submission, read_submission
from hmr_core.evaluation.together import consecutive
from hmr_core.pictures import read_picture
from hmr_core.plugins import DatasetSpec
from hmr_core.plugins.official import OfficialRules, SubmissionForm, SubmittedPoints, Truth
from hmr_core.plugins.sample import Sample

sys.path.append(str(Path(__file__).parent))  # packing workers import it, too
snapshots = import_module("snapshots")


class Recorded(snapshots.Snapshots):  # type: ignore[misc]  # imported by its name
    """Each picture has two hands. They are recordings of six frames, of which the second lacks one. The last six
    pictures are known by a wrist and a box alone; of every third, the mesh is known.
    """

    def split_ids(self, split: str, subset: str) -> list[str]:
        return (
            super().split_ids(split, subset)
            if subset != "test" or split != "studio"
            else [
                *super().split_ids("studio", "test"),
                *super().split_ids("wild", "test")[:2],
            ]
        )

    def read(self, sample_id: str) -> Sample:
        sample = super().read(sample_id)
        number = int(sample_id[:2])
        known = np.asarray(sample.joints_valid).copy()
        if number >= 18:
            known[1:] = False
        frame = number % 6 + int(number > 8)
        return replace(
            sample,
            joints_valid=known,
            verts=np.float32(np.random.default_rng(number).normal(sample.joints[0], 0.02, (778, 3))),
            verts_valid=number % 3 == 0,
            box_px=np.float32([60, 50, 90, 80]),
            labels={"sequence": f"s{number // 6}", "image": f"{number:02d}"},
            frame_number=frame,
        )


def shares(truth: Truth, joints: ndarray, verts: ndarray | None) -> dict[str, float | None]:
    """A made-up scorer: the mean error of the known joints in metres, and how many samples there were."""
    errors = np.linalg.norm(joints - truth.joints, axis=-1)[truth.joints_valid]
    return {"mean": float(errors.mean()), "hands": float(len(joints)), "mesh": None}


def write_lines(folder: Path, split: str, ids: Sequence[str], joints: ndarray, verts: ndarray | None) -> None:
    lines = [
        f"{i},{name},{' '.join(map(str, hand.ravel()))}" for i, (name, hand) in enumerate(zip(ids, joints, strict=True))
    ]
    (folder / "own.csv").write_text("\n".join(lines) + "\n")


def read_lines(path: Path, split: str, ids: Sequence[str]) -> SubmittedPoints:
    rows = [line.split(",") for line in path.read_text().splitlines()]
    assert [row[1] for row in rows] == list(ids)
    joints = np.array([[float(value) for value in row[2].split()] for row in rows], dtype=np.float32)
    return SubmittedPoints(joints=joints.reshape(-1, 21, 3))


FORM = SubmissionForm(files=("own.csv",), subset="test", needs_mesh=False, write=write_lines, read=read_lines)
RULES = OfficialRules(name="the authors' script", rules=("points: the known joints",), score=shares, submission=FORM)


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Pack:
    root = snapshots.make_snapshots(tmp_path_factory.mktemp("recorded") / "data")
    write_pack(Recorded(root), root.parent / "pack.h5", codec=codec_named("png"))
    return Pack(root.parent / "pack.h5")


@pytest.fixture
def plugins(fakes: Any, small_spec: Any) -> Any:
    """The registry with the data set, its rules, and a small model."""
    return registry_of(fakes, small_spec, rules=RULES)


def registry_of(fakes: Any, small_spec: Any, **changes: Any) -> Any:
    spec = DatasetSpec(name="snapshots", summary="made-up pictures", open=Recorded, **changes)
    return fakes.registry(
        fakes.plugin("small", hmr_models=lambda: [small_spec]), fakes.plugin("shots", hmr_datasets=lambda: [spec])
    )


def near(pack: Pack, rows: ndarray) -> ndarray:
    """Predictions that are off by a centimetre on each axis, and some more."""
    true: ndarray = pack.array("joints", rows)
    off: ndarray = np.random.default_rng(0).normal(0.01, 0.004, true.shape).astype(np.float32)
    return true + off


def test_samples_without_truth_count_for_nothing(pack: Pack) -> None:
    rows = pack.indices("studio", "test")
    scores = score(pack, rows, near(pack, rows), None, further=True)
    assert scores.there.tolist() == [True] * 6 + [False] * 2
    known = score(pack, rows[:6], near(pack, rows)[:6], None, further=True)
    assert (scores.metrics, scores.aligned, scores.more) == (known.metrics, known.aligned, known.more)
    report = scores.as_report()
    assert (report["samples"], report["scored"]) == (8, 6)
    assert report["errors"]["mpjpe_mm"][6:] == report["errors"]["pa_mpjpe_mm"][6:] == [None, None]
    assert report["errors"]["mpjpe_mm"][:6] == known.as_report()["errors"]["mpjpe_mm"]
    assert scores.truth_notes() == ["6 of 8 samples have truth: the metrics are of these alone"]
    assert known.truth_notes() == []


def test_without_truth_there_are_no_metrics(pack: Pack) -> None:
    rows = pack.indices("wild", "test")
    scores = score(pack, rows, near(pack, rows), None, further=True)
    assert set(scores.metrics.values()) == {None}
    assert {value for group in scores.aligned.values() for value in group.values()} == {None}
    assert (scores.more, scores.missing("no mesh")) == ({}, [NO_TRUTH])
    report_text({**scores.as_report(), "model": "x"})
    json.dumps(scores.as_report(), allow_nan=False)


def test_meshes_are_scored_where_they_are_known(pack: Pack) -> None:
    rows = pack.indices("studio", "train")
    meshed = pack.verts_valid(rows)
    assert 0 < meshed.sum() < len(rows)
    true = pack.array("verts", rows)
    verts = true + np.random.default_rng(1).normal(scale=0.005, size=true.shape).astype(np.float32)
    joints = near(pack, rows)
    scores = score(pack, rows, joints, verts, further=True)
    alone = score(pack, rows[meshed], joints[meshed], verts[meshed], further=True)
    for name in ("mpvpe_mm", "pa_mpvpe_mm"):
        assert scores.metrics[name] == pytest.approx(alone.metrics[name])
    for name in ("f_5mm", "pa_f_5mm"):
        assert scores.more[name] == pytest.approx(alone.more[name])
    assert scores.aligned["wrist"]["mpvpe_mm"] == pytest.approx(alone.aligned["wrist"]["mpvpe_mm"])
    errors = scores.as_report()["errors"]["mpvpe_mm"]
    assert errors is not None
    assert [error is None for error in errors] == (~meshed).tolist()
    same = np.flatnonzero(meshed)[1]
    verts[same] = 0.3
    with pytest.raises(
        HmrError, match=rf"PA error of sample {pack.ids(rows)[same]}: the points of the prediction are all"
    ):
        score(pack, rows, joints, verts)
    unmeshed = score(pack, rows[~meshed], joints[~meshed], verts[~meshed], further=True)
    assert unmeshed.metrics["mpvpe_mm"] is unmeshed.more["f_5mm"] is None
    assert unmeshed.missing(None) == ["the data set has no meshes of these samples, so there is no mesh metric"]


def test_errors_that_need_an_unknown_knuckle_are_nan(pack: Pack) -> None:
    import torch

    rows = pack.indices("studio", "train")[1:3]
    true = torch.from_numpy(pack.array("joints", rows))
    known = torch.ones(2, 21, dtype=torch.bool)
    known[0, 9] = False
    errors = metrics.sample_errors(true + 0.01, true, known=known)
    assert bool(errors.mcp_joints[0].isnan().all())
    assert bool(errors.mcp_joints[1].isfinite().all())
    assert bool(errors.wrist_joints[0].isfinite().sum() == 20)


def test_hands_of_a_picture_and_frames_of_a_recording_are_found(pack: Pack) -> None:
    rows = np.arange(len(pack))
    known = rows[np.array([int(name[:2]) < 18 for name in pack.ids(rows)])]
    joints = near(pack, known)
    more = score(pack, known, joints, None, further=True, root_given=False).more
    ids, true = pack.ids(known), pack.array("joints", known)
    place = {name: i for i, name in enumerate(ids)}
    gaps = []
    for number in range(18):
        right, left = place[f"{number:02d}-right"], place[f"{number:02d}-left"]
        gaps.append(np.linalg.norm((joints[left, 0] - joints[right, 0]) - (true[left, 0] - true[right, 0])))
    assert (more["mrrpe_pairs"], more["mrrpe_mm"]) == (18, pytest.approx(1000 * np.mean(gaps), rel=1e-5))
    assert more["cs_mpjpe_mm"] == score(pack, known, joints, None).metrics["mpjpe_mm"]
    runs = sorted([[ids[i] for i in run] for run in consecutive(pack, known)])
    assert [len(run) for run in runs] == [6, 6, 3, 3, 3, 3, 6, 6]  # the second recording lacks a frame
    assert runs[0] == [f"{number:02d}-left" for number in range(6)]
    errors: list[float] = []
    restless: list[float] = []
    valid = pack.joints_valid(known)
    for run in runs:
        if len(run) < 4:
            continue
        rows_of = [place[name] for name in run]
        moved, right_one = (points[rows_of].astype(float) - points[rows_of][:, :1] for points in (joints, true))
        for t in range(1, len(run) - 1):
            for joint in range(21):
                if valid[rows_of[t - 1 : t + 2], joint].all():
                    second = [p[t - 1, joint] - 2 * p[t, joint] + p[t + 1, joint] for p in (moved, right_one)]
                    errors.append(1000 * float(np.linalg.norm(second[0] - second[1])))
        for t in range(3, len(run)):
            for joint in range(21):
                if valid[rows_of[t - 3 : t + 1], joint].all():
                    third = moved[t, joint] - 3 * moved[t - 1, joint] + 3 * moved[t - 2, joint] - moved[t - 3, joint]
                    restless.append(1000 * float(np.linalg.norm(third)))
    assert more["acceleration_mm"] == pytest.approx(np.mean(errors))
    assert more["jitter_mm"] == pytest.approx(np.mean(restless))
    assert more["true_jitter_mm"] is not None


def test_what_nobody_predicted_is_not_called_camera_space(pack: Pack) -> None:
    rows = pack.indices("studio", "train")
    more = score(pack, rows, near(pack, rows), None, further=True).more
    assert not {"cs_mpjpe_mm", "cs_mpvpe_mm", "mrrpe_mm"} & more.keys()


def predicted(pack: Pack, split: str, subset: str, **changes: Any) -> Predictions:
    rows = pack.indices(split, subset)
    given: dict[str, Any] = {
        "model": "mine", "split": split, "subset": subset, "pack": pack.info.digest, "ids": pack.ids(rows),
        "joints": near(pack, rows),
    }  # fmt: skip
    return Predictions(**{**given, **changes})


def test_a_file_says_where_its_depth_is_from(pack: Pack, tmp_path: Path) -> None:
    for depth_from, there in (("", False), ("annotations", False), ("predicted", True)):
        write_predictions(tmp_path / "p.h5", predicted(pack, "studio", "train", depth_from=depth_from))
        again = read_predictions(tmp_path / "p.h5")
        assert again.depth_from == depth_from
        assert ("cs_mpjpe_mm" in score_predictions(tmp_path / "p.h5", again, pack)["more"]) == there
    write_predictions(tmp_path / "p.h5", predicted(pack, "studio", "train", depth_from="guessed"))
    with pytest.raises(HmrError, match='depth_from is "guessed"; valid: "annotations" or "predicted"'):
        read_predictions(tmp_path / "p.h5")


def test_official_metrics_stand_beside_the_others(
    pack: Pack, plugins: Any, trainer: Any, tmp_path: Path, hmr: Any
) -> None:
    run = trainer(tmp_path / "run", "train.epochs=1")
    options: dict[str, Any] = {"split": "studio", "data": pack.path, "device": "cpu", "registry": plugins}
    report = evaluate(run.folder, protocol="official", out=tmp_path / "eval", submission=tmp_path / "sent", **options)
    assert (report["protocol"], report["scored"], report["samples"]) == ("official", 6, 8)
    official = report["official"]
    assert (official["scorer"], official["rules"]) == ("the authors' script", ["points: the known joints"])
    assert official["metrics"]["hands"] == 6
    assert official["metrics"]["mean"] == pytest.approx(report["metrics"]["mpjpe_mm"] / 1000, rel=1e-5)
    assert any(note.startswith("the annotations' depth of the root joint placed") for note in report["notes"])
    assert "6 of 8 samples have truth: the metrics are of these alone" in report["notes"]
    assert "official" not in evaluate(run.folder, **options)
    saved = read_predictions(tmp_path / "eval/predictions.h5")
    assert saved.mpjpe_mm is not None
    assert np.isnan(saved.mpjpe_mm).tolist() == [False] * 6 + [True] * 2
    again = score_predictions(tmp_path / "eval", saved, pack, RULES)
    assert (again["official"], again["metrics"]) == (official, report["metrics"])
    # What the authors take holds the same joints, and is scored as they are.
    sent = tmp_path / "sent/own.csv"
    assert is_submission(sent)
    assert not is_submission(tmp_path / "eval/predictions.h5")
    read = read_submission(sent, pack, "studio", plugins)
    np.testing.assert_array_equal(read.joints, saved.joints)
    assert score_predictions(sent, read, pack, RULES)["official"] == official
    (tmp_path / "sent/thesis.tex").write_text("")
    with pytest.raises(HmrError, match="holds something other than a submission, so it is left alone"):
        evaluate(run.folder, submission=tmp_path / "sent", **options)


def test_a_subset_without_truth_is_predicted_for_its_authors(
    pack: Pack, plugins: Any, trainer: Any, tmp_path: Path
) -> None:
    run = trainer(tmp_path / "run", "train.epochs=1")
    options: dict[str, Any] = {"split": "wild", "data": pack.path, "device": "cpu", "registry": plugins}
    with pytest.raises(HmrError) as raised:
        evaluate(run.folder, protocol="official", **options)
    assert str(raised.value) == (
        f"wild test of {pack.path} has no truth: of each hand, its wrist and box alone are known. So it cannot be "
        "scored here. Pack the data set with the annotations of these samples, if they are public, or leave the "
        "protocol out and write what its authors score with submission=DIR."
    )
    report = evaluate(run.folder, out=tmp_path / "eval", submission=tmp_path / "sent", **options)
    assert (report["samples"], report["scored"], report["missing"]) == (6, 0, [NO_TRUTH])
    assert set(report["metrics"].values()) == {None}
    assert json.loads((tmp_path / "eval/report.json").read_text())["errors"]["mpjpe_mm"] == [None] * 6
    assert len((tmp_path / "sent/own.csv").read_text().splitlines()) == 6
    assert read_picture(tmp_path / "eval/contact_sheet.png").shape[0] < 300  # one row of pictures


def test_a_submission_s_place_is_looked_at_before_the_model(
    pack: Pack, plugins: Any, trainer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = trainer(tmp_path / "run", "train.epochs=1")
    monkeypatch.setattr("hmr_core.evaluation.session._loaded", lambda *given: pytest.fail("the model was loaded"))
    options: dict[str, Any] = {"split": "studio", "data": pack.path, "device": "cpu", "registry": plugins}
    (tmp_path / "file").write_text("")
    for place in ("file", "file/inside"):
        with pytest.raises(
            HmrError, match=rf"the folder {tmp_path}/{place} cannot be written: .* is a file\. Choose an"
        ):
            evaluate(run.folder, submission=tmp_path / place, **options)
    for out, place in (("eval", "eval"), ("eval", "eval/sent"), ("sent/eval", "sent")):
        with pytest.raises(
            UsageError, match=r"each of which replaces what is there\. Give submission a folder beside it"
        ):
            evaluate(run.folder, out=tmp_path / out, submission=tmp_path / place, **options)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "run"]


def test_a_submission_is_compared_as_it_is(pack: Pack, plugins: Any, trainer: Any, tmp_path: Path) -> None:
    run = trainer(tmp_path / "run", "train.epochs=1")
    options: dict[str, Any] = {"split": "studio", "data": pack.path, "device": "cpu", "registry": plugins}
    report = evaluate(run.folder, out=tmp_path / "eval", submission=tmp_path / "sent", **options)
    sent = tmp_path / "sent/own.csv"
    for given in (sent, sent.parent):
        own, theirs = open_evaluations([tmp_path / "eval", given], pack.path, plugins)[0]
        assert theirs.report["metrics"] == own.report["metrics"] == report["metrics"]
    assert (theirs.predictions.model, theirs.predictions.split) == ("own", "studio")
    with pytest.raises(UsageError, match=r"own\.csv does not say which split .* Compare it with an evaluation, whose"):
        open_evaluations([sent], pack.path, plugins)
    report_file = tmp_path / "eval/report.json"
    report_file.write_text(report_file.read_text().replace(str(pack.path), "gone.h5"))
    with pytest.raises(HmrError, match=r"own\.csv has predictions alone, and the pack .* was not found\. Name it with"):
        open_evaluations([tmp_path / "eval", sent], None, plugins)


def test_data_sets_without_rules_say_so(pack: Pack, fakes: Any, small_spec: Any, trainer: Any, tmp_path: Path) -> None:
    run = trainer(tmp_path / "run", "train.epochs=1")
    options: dict[str, Any] = {"split": "studio", "data": pack.path, "device": "cpu"}
    bare = registry_of(fakes, small_spec)
    with pytest.raises(HmrError) as raised:
        evaluate(run.folder, protocol="official", registry=bare, **options)
    assert str(raised.value) == (
        f"{pack.path} is of the data set snapshots, which has no scoring of its own. Data sets that have: none. Leave "
        "protocol=official out."
    )
    with pytest.raises(
        HmrError, match=r"whose authors take no predictions\. Those of these do: none\. Leave submission out"
    ):
        evaluate(run.folder, submission=tmp_path / "sent", registry=bare, **options)
    ruled = registry_of(fakes, small_spec, rules=RULES)
    with pytest.raises(
        UsageError, match=r"a submission is of test, and these are the samples of train of studio\. Give subset=test"
    ):
        evaluate(run.folder, subset="train", submission=tmp_path / "sent", registry=ruled, **options)
    with pytest.raises(UsageError, match=r"does not say which split .* has studio, wild\. Give split\."):
        read_submission(tmp_path / "pred.json", pack, None, ruled)
    meshed = registry_of(fakes, small_spec, rules=replace(RULES, submission=replace(FORM, needs_mesh=True)))
    with pytest.raises(HmrError, match=r"own\.csv has a mesh of each hand, and these predictions have joints alone"):
        evaluate(run.folder, submission=tmp_path / "sent", registry=meshed, **options)
    assert not (tmp_path / "sent").exists()

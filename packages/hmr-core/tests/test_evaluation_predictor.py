"""Predictors of photos on a pack: what they are given, that every hand counts, and what the report says."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from numpy import ndarray
from pydantic import Field

from hmr_core import builtin
from hmr_core.config import Section
from hmr_core.data.pack.reader import Pack
from hmr_core.errors import HmrError, UsageError
from hmr_core.evaluation.baseline import baseline_joints, mean_pose_uvd
from hmr_core.evaluation.comparing.reading import open_evaluations
from hmr_core.evaluation.predictions import read_predictions
from hmr_core.evaluation.request import EvaluationRequest
from hmr_core.evaluation.results import RESULTS
from hmr_core.evaluation.saved import draw_comparison
from hmr_core.evaluation.scoring import score
from hmr_core.evaluation.session import evaluate, run
from hmr_core.hand.joints import SIDES
from hmr_core.hand.layer import HandLayer
from hmr_core.hand.synthetic import load_synthetic_hand
from hmr_core.plugins import ModelSpec, PredictorSpec
from hmr_core.plugins.official import OfficialRules, SubmissionForm, Truth
from hmr_core.plugins.photo_hands import Detection, FoundHand, InBox, Sought
from hmr_core.processes import Place

SEEN_M = 1.3
"""How many times as far away, and as large, the predictor takes hands to be."""


class Options(Section):
    """Of the knowing predictor."""

    misses: int = Field(default=0, ge=0, description="every so manyth hand is not found; 0: all are")
    mesh: bool = Field(default=True, description="give a mesh, too")
    off_mm: float = Field(default=0.0, description="how far to the right joints are moved")


class Knowing:
    """Knows a pack's annotations: it gives those whose joints are where the box is that it is asked about."""

    root_joint = 9

    def __init__(self, options: Options, pack: Path) -> None:
        self.options, self.pack = options, Pack(pack)
        rows = np.arange(len(self.pack))
        self.joints, self.verts = self.pack.array("joints", rows), self.pack.array("verts", rows)
        self.rotations, self.betas = self.pack.array("rotations", rows), self.pack.array("betas", rows)
        self.seen: list[tuple[tuple[int, ...], Sought]] = []

    def detect(self, image: ndarray) -> list[Detection]:
        raise AssertionError("boxes are given")

    def predict(self, image: ndarray, intrinsics: ndarray, sought: Sequence[Sought]) -> list[FoundHand | None]:
        (place,) = sought
        assert isinstance(place, InBox)
        self.seen.append((image.shape, place))
        projected = self.joints.astype(np.float64) @ intrinsics.T
        pixels = projected[..., :2] / projected[..., 2:]
        low, high = pixels.min(1), pixels.max(1)
        boxes = np.concatenate([low, high - low + 1], axis=1)
        row = int(np.abs(boxes - place.box).max(1).argmin())
        np.testing.assert_allclose(boxes[row], place.box, atol=1e-2)
        x, _, width, _ = place.box
        assert -1 <= x <= x + width <= image.shape[1] + 1, "the hand is in the picture"
        assert place.side == SIDES[int(self.pack.left([row])[0])]
        if self.options.misses and row % self.options.misses == 0:
            return [None]
        off_m = np.array([self.options.off_mm / 1000, 0, 0], np.float32)
        hand = FoundHand(side=str(place.side), score=0.9, joints=np.float32(SEEN_M) * (self.joints[row] + off_m))
        if not self.options.mesh:
            return [hand]
        return [
            replace(
                hand,
                verts=np.float32(SEEN_M) * (self.verts[row] + off_m),
                rotations=self.rotations[row],
                betas=self.betas[row],
            )
        ]


@pytest.fixture
def made() -> list[Knowing]:
    """The predictors that were made, in their order."""
    return []


@pytest.fixture
def plugins(fakes: Any, small_spec: ModelSpec, synthetic_pack_path: Path, made: list[Knowing]) -> Any:
    """Core, a small model, and a predictor that knows the synthetic data set."""

    def build(options: Any, layer: HandLayer, device: torch.device) -> Knowing:
        made.append(Knowing(options, synthetic_pack_path))
        return made[-1]

    spec = PredictorSpec(name="knowing", summary="knows", config=Options, build=build)
    return fakes.registry(
        fakes.FakeEntryPoint("core", lambda: builtin, fakes.FakeDist("hmr-core")),
        fakes.plugin("knowing", hmr_models=lambda: [small_spec], hmr_predictors=lambda: [spec]),
    )


@pytest.fixture
def scored(plugins: Any, synthetic_pack_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Evaluates it on the synthetic data set."""
    monkeypatch.delenv("HMR_HAND_MODEL", raising=False)

    def evaluate_it(**options: Any) -> Any:
        given = {"split": "sp0", "data": synthetic_pack_path, "device": "cpu", **options}
        return evaluate("knowing", registry=plugins, **given)

    return evaluate_it


def test_a_predictor_is_scored_by_the_data_set_s_own_rules_from_the_command_line(
    plugins: Any, command_line: Any, fakes: Any, synthetic_pack_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Truth and predictions reach the rules in metres, camera space; the files that the authors take are written."""

    def rule(truth: Truth, joints: ndarray, verts: ndarray | None) -> dict[str, float | None]:
        assert truth.root_given
        assert verts is not None
        errors = np.linalg.norm(joints - truth.joints, axis=-1)
        return {"mean_mm": float(1000 * errors.mean()), "hands": float(len(verts))}

    def write(folder: Path, split: str, ids: Sequence[str], joints: ndarray, verts: ndarray | None) -> None:
        (folder / "own.csv").write_text("".join(f"{i},{name}\n" for i, name in enumerate(ids)))

    form = SubmissionForm(files=("own.csv",), subset="test", needs_mesh=True, write=write, read=lambda *_: None)  # type: ignore[arg-type, return-value]
    rules = OfficialRules(name="the authors' script", rules=("points: all",), score=rule, submission=form)
    oakink = replace(builtin.hmr_datasets()[0], rules=rules)
    knowing = PredictorSpec(
        name="knowing", summary="knows", config=Options, build=lambda options, *_: Knowing(options, synthetic_pack_path)
    )
    command_line.plugins[:] = [
        fakes.plugin("core", hmr_datasets=lambda: [oakink]),
        fakes.plugin("knowing", hmr_predictors=lambda: [knowing]),
    ]
    monkeypatch.delenv("HMR_HAND_MODEL", raising=False)
    command = ["eval", "knowing", "--split", "sp0", "--data", str(synthetic_pack_path), "--device", "cpu"]
    options = ["--set", "off_mm=3", "--protocol", "official", "--submission", "sent"]
    status, out, err = command_line(*command, *options)
    assert status == 0, err
    report = json.loads(Path("eval/knowing-sp0-test-official/report.json").read_text())
    official = report["official"]
    assert (report["protocol"], official["scorer"]) == ("official", "the authors' script")
    assert official["metrics"]["hands"] == report["samples"]
    assert official["metrics"]["mean_mm"] == pytest.approx(report["metrics"]["mpjpe_mm"], rel=1e-4)
    assert any(note.startswith("the annotations' depth of the root joint placed") for note in report["notes"])
    assert "the authors' script" in out
    assert "mean_mm" in out
    assert len(Path("sent/own.csv").read_text().splitlines()) == report["samples"]
    status, out, err = command_line(
        "score",
        "eval/knowing-sp0-test-official",
        "--data",
        str(synthetic_pack_path),
        "--protocol",
        "official",
        "--json",
    )
    assert (status, json.loads(out)["official"]) == (0, official), err


def test_a_predictor_that_knows_all_scores_nothing_but_rounding(scored: Any, made: list[Knowing]) -> None:
    """It takes hands to be larger and farther away; the depth that is given undoes it, as pixels stay."""
    report = scored()
    assert (report["model"], report["split"], report["subset"]) == ("knowing", "sp0", "test")
    assert report["samples"] == len(made[0].seen) > 3
    assert all(value < 1e-3 for name, value in report["metrics"].items() if name.endswith("_mm"))
    assert report["metrics"]["pck_auc_0_50mm"] > 0.98
    assert report["found"] == {
        "hands": report["samples"],
        "share": 1.0,
        "otherwise": None,
        "metrics": report["metrics"],
    }
    assert report["trained_on"] == "nothing of this data set"
    assert report["predictor"] == {"name": "knowing", "options": {"misses": 0, "mesh": True, "off_mm": 0.0}}
    assert (report["checkpoint"], report["recipe"], report["published"], report["solver"]) == (None, None, {}, None)
    assert report["hand_model"]["mismatch_mm"] < 1
    assert report["notes"][:2] == ["knowing was trained on nothing of this data set", "all hands were found"]
    assert report["baseline"]["metrics"]["mpjpe_mm"] > 10
    for shape, place in made[0].seen:
        assert isinstance(place, InBox)
        assert place.box_of == "joints"
        assert shape[0] < 480, "it is given the stored part of the frame"


def test_the_depth_is_given_and_the_rest_is_not(scored: Any) -> None:
    report = scored(set={"off_mm": 5})
    assert report["metrics"]["mpjpe_mm"] == pytest.approx(5, abs=1e-3)
    assert report["metrics"]["pa_mpjpe_mm"] == pytest.approx(0, abs=1e-3)
    assert report["aligned"]["wrist"]["mpjpe_mm"] == pytest.approx(0, abs=1e-3)


def test_hands_that_were_not_found_count_with_the_mean_hand(
    scored: Any, plugins: Any, synthetic_pack_path: Path
) -> None:
    report = scored(set={"misses": 2})
    pack = Pack(synthetic_pack_path)
    rows = pack.indices("sp0", "test")
    lost = rows % 2 == 0
    assert 0 < lost.sum() < len(rows)
    request = EvaluationRequest(
        ckpt=None, model="knowing", split="sp0", data=synthetic_pack_path, sets=("misses=2",), device="cpu"
    )
    evaluation = run(request, plugins)
    assert evaluation is not None
    mean = mean_pose_uvd(evaluation.dataset, pack.indices("sp0", "train"))
    expected = baseline_joints(evaluation.dataset, rows, mean)
    given = evaluation.predictions
    np.testing.assert_array_equal(given.joints[lost], expected[lost])
    np.testing.assert_allclose(given.joints[~lost], pack.array("joints", rows[~lost]), atol=1e-6)
    assert given.mpjpe_mm is not None
    errors = score(pack, rows[lost], expected[lost], None).errors_mm()["mpjpe_mm"]
    np.testing.assert_allclose(given.mpjpe_mm[lost], errors, rtol=1e-5)
    assert report["metrics"]["mpjpe_mm"] == pytest.approx(errors.sum() / len(rows), rel=1e-4)
    count = int((~lost).sum())
    assert (report["found"]["hands"], report["found"]["share"]) == (count, pytest.approx(count / len(rows), abs=1e-6))
    assert report["found"]["metrics"]["mpjpe_mm"] < 1e-3
    text = "the mean hand of train, in each one's own crop, at its given root depth; its mesh is fitted to its joints"
    assert report["found"]["otherwise"] == text
    percent = 100 * lost.sum() / len(rows)
    assert (
        f"{lost.sum()} hands of {len(rows)} ({percent:.1f} %) were not found; in their place count {text}"
        in report["notes"]
    )
    # Their meshes are hands where the joints are.
    assert given.verts is not None
    assert given.rotations is not None
    assert given.betas is not None
    gap = np.linalg.norm(given.verts.mean(1) - given.joints.mean(1), axis=-1)
    assert gap.max() < 0.05
    layer = HandLayer(load_synthetic_hand())
    right = lost & ~pack.left(rows)
    posed = layer(torch.from_numpy(given.rotations[right]), torch.from_numpy(given.betas[right]), centre=9)
    verts = torch.from_numpy(given.verts[right])
    torch.testing.assert_close(
        posed.verts - posed.verts.mean(1, keepdim=True), verts - verts.mean(1, keepdim=True), atol=1e-5, rtol=0
    )


def test_where_no_hand_is_found_the_metrics_are_the_mean_pose_s(scored: Any) -> None:
    report = scored(set={"misses": 1})
    assert (report["found"]["hands"], report["found"]["share"], report["found"]["metrics"]) == (0, 0.0, None)
    assert report["metrics"]["mpjpe_mm"] == pytest.approx(report["baseline"]["metrics"]["mpjpe_mm"], abs=1e-4)
    assert report["metrics"]["mpvpe_mm"] is None
    assert report["missing"] == ["the predictor gives no mesh, so there is no mesh metric"]


def test_without_a_mesh_the_joints_alone_are_scored(scored: Any, tmp_path: Path) -> None:
    report = scored(set={"mesh": False, "misses": 2}, out=tmp_path / "out")
    assert report["metrics"]["mpvpe_mm"] is report["metrics"]["pa_mpvpe_mm"] is None
    assert report["missing"] == ["the predictor gives no mesh, so there is no mesh metric"]
    assert read_predictions(tmp_path / "out/predictions.h5").verts is None


def test_a_mesh_of_another_hand_is_scored_nowhere(
    plugins: Any, mini_pack_path: Path, mini_hand_path: Path, made: list[Knowing], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The made-up data set has another hand than the synthetic one."""
    monkeypatch.delenv("HMR_HAND_MODEL", raising=False)
    monkeypatch.setattr(Knowing, "__init__", _knowing(mini_pack_path))
    options: dict[str, Any] = {"split": "sp0", "data": mini_pack_path, "device": "cpu", "registry": plugins}
    report = evaluate("knowing", **options)
    assert report["metrics"]["mpvpe_mm"] is None
    assert report["metrics"]["mpjpe_mm"] < 1e-3
    assert report["missing"][0].startswith("the predicted meshes are of the synthetic hand and the annotated ones of")
    assert "`hmr eval" in report["missing"][0]
    theirs = evaluate("knowing", hand_model=mini_hand_path, **options)
    assert theirs["missing"] == []
    assert theirs["metrics"]["mpvpe_mm"] < 1e-3


def test_a_hand_model_that_was_given_and_is_another_is_refused(
    plugins: Any, synthetic_pack_path: Path, mini_hand_path: Path
) -> None:
    with pytest.raises(HmrError, match="is not the one that the annotations of"):
        evaluate(
            "knowing",
            split="sp0",
            data=synthetic_pack_path,
            hand_model=mini_hand_path,
            device="cpu",
            registry=plugins,
        )


def _knowing(pack: Path) -> Any:
    made = Knowing.__init__

    def init(self: Knowing, options: Options, _: Path) -> None:
        made(self, options, pack)

    return init


def test_any_number_of_processes_gives_the_same_figures(scored: Any, tmp_path: Path, together: Any) -> None:
    for count in (1, 2, 3):
        out = tmp_path / f"by-{count}"

        def work(where: Place, out: Path = out) -> bool:
            return scored(set={"misses": 3, "off_mm": 2}, out=out) == {}

        assert together(work, count) == [False, True, True][:count]
        assert {path.name for path in out.iterdir()} == set(RESULTS)
    one, *others = (tmp_path / f"by-{count}" for count in (1, 2, 3))
    for other in others:
        assert figures(other) == figures(one)
        assert arrays(other) == arrays(one)
    assert json.loads((others[-1] / "report.json").read_text())["processes"] == 3


def figures(folder: Path) -> dict[str, Any]:
    report = json.loads((folder / "report.json").read_text())
    return {name: value for name, value in report.items() if name not in ("seconds", "started", "processes")}


def arrays(folder: Path) -> dict[str, bytes]:
    with h5py.File(folder / "predictions.h5") as file:
        return {name: np.asarray(file[name]).tobytes() for name in file}


def test_its_results_are_compared_and_replace_themselves_alone(
    scored: Any, synthetic_pack_path: Path, tmp_path: Path
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for _ in range(2):
        scored(out=first)
    scored(out=second, set={"off_mm": 5})
    with pytest.raises(HmrError, match=r"holds another evaluation \(sp0 test; differing in: predictor options\)"):
        scored(out=first, set={"off_mm": 5})
    saved, _ = open_evaluations([first, second])
    sheet = draw_comparison(saved, Pack(synthetic_pack_path), load_synthetic_hand().faces.numpy())
    assert sheet.ndim == 3
    kept = saved[1].predictions.labels
    assert kept["trained_on"] == "nothing of this data set"
    assert kept["found"] == {"hands": saved[1].report["samples"], "share": 1.0, "otherwise": None}


def test_a_failing_predictor_is_told_with_the_sample_and_nothing_is_written(
    scored: Any, synthetic_pack_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*args: Any) -> Any:
        raise KeyError("palm")

    monkeypatch.setattr(Knowing, "predict", fails)
    pack = Pack(synthetic_pack_path)
    sample = pack.ids(pack.indices("sp0", "test")[:1])[0]
    with pytest.raises(HmrError, match=f"^sample {sample}: .*knowing.*KeyError"):
        scored(out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"split": None}, r'the predictor "knowing" was trained on no split that could be taken\. Give .*split'),
        ({"split": "sp7"}, 'has no split "sp7"'),
        ({"subset": "tests"}, 'has no subset "tests"'),
        ({"solver": "lm"}, r"makes its meshes by itself, .* Leave .*solver.* out"),
        ({"protocol": "best"}, "makes its meshes by itself"),
        ({"hand_layer": "manotorch"}, "makes its meshes by itself"),
        ({"set": {"mises": 2}}, 'unknown option "mises". Did you mean "misses"'),
        ({"model": "knowing"}, '"knowing" is a predictor, which was not trained here. Leave .*ckpt.* out'),
    ],
)
def test_what_goes_with_models_alone_is_refused(scored: Any, options: dict[str, Any], text: str) -> None:
    with pytest.raises(UsageError, match=text):
        scored(**options)


def test_the_command_shows_it_beside_what_it_is_not_trained_on(
    command_line: Any, fakes: Any, synthetic_pack_path: Path, monkeypatch: pytest.MonkeyPatch, small_spec: ModelSpec
) -> None:
    monkeypatch.delenv("HMR_HAND_MODEL", raising=False)
    spec = PredictorSpec(
        name="knowing",
        summary="knows",
        config=Options,
        build=lambda options, layer, device: Knowing(options, synthetic_pack_path),
    )
    command_line.plugins += [fakes.plugin("knowing", hmr_models=lambda: [small_spec], hmr_predictors=lambda: [spec])]
    data = ("--split", "sp0", "--data", str(synthetic_pack_path), "--device", "cpu")
    status, out, err = command_line("eval", "knowing", "--set", "misses=2", *data)
    assert status == 0, err
    lines = out.splitlines()
    assert lines[0].endswith("synthetic data, not trained on this data set")
    assert any(line.startswith("the ") and " % found " in line for line in lines)
    assert any("were not found; in their place count the mean hand of train" in line for line in lines)
    again = command_line("score", "eval/knowing-sp0-test", "--data", str(synthetic_pack_path))[1].splitlines()
    assert again[0] == lines[0]
    assert any("were not found; in their place count" in line for line in again)
    assert command_line("eval", "knowing", "--ckpt", "run", *data) == (
        2,
        "",
        'error: "knowing" is a predictor, which was not trained here. Leave --ckpt run out.\n',
    )
    assert command_line("eval", "small", *data) == (
        2,
        "",
        'error: the model "small" needs its weights. Give --ckpt FILE: a run, a checkpoint, or a released file.\n',
    )

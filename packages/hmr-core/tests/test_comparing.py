"""Comparisons of evaluations: their metrics, differences and notes."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from hmr_core.data.pack.reader import Pack
from hmr_core.errors import HmrError
from hmr_core.evaluation.comparing.compare import NO_PACK, compare
from hmr_core.evaluation.comparing.measures import METRICS
from hmr_core.evaluation.predictions import Predictions
from hmr_core.evaluation.saved import SavedEvaluation
from hmr_core.evaluation.scoring import score

Evaluated = Callable[..., SavedEvaluation]


@pytest.fixture
def evaluated(mini_pack: Pack) -> Evaluated:
    """An evaluation by name, whose joints and mesh are the true ones and normal noise of so many mm."""

    def make(name: str, noise_mm: float, *, mesh: bool = True, seed: int = 0) -> SavedEvaluation:
        rows = mini_pack.indices("sp0", "test")
        generator = np.random.default_rng(seed)
        arrays = {}
        for array in ("joints", "verts") if mesh else ("joints",):
            true = mini_pack.array(array, rows).astype(np.float32)
            arrays[array] = true + generator.normal(0, noise_mm * 1e-3, true.shape).astype(np.float32)
        scores = score(mini_pack, rows, arrays["joints"], arrays.get("verts"))
        errors = {key: None if e is None else e.astype(np.float32) for key, e in scores.errors_mm().items()}
        predictions = Predictions(
            model=name,
            split="sp0",
            subset="test",
            pack=mini_pack.info.digest,
            ids=mini_pack.ids(rows),
            **arrays,
            **errors,
        )
        report = {
            "model": name, "split": "sp0", "subset": "test", "samples": len(rows), "synthetic": False, "solver": None,
            "protocol": "published", "metrics": scores.metrics, "aligned": scores.aligned, "missing": [],
            "notes": ["all say this", f"{name} says this"], "published": {"mpjpe_mm": 8.14},
            "baseline": {"subset": "train", "metrics": {"mpjpe_mm": 30.0}},
        }  # fmt: skip
        return SavedEvaluation(folder=Path("eval") / name, report=report, predictions=predictions)

    return make


def test_metrics_are_the_reports_and_lie_inside_their_intervals(mini_pack: Pack, evaluated: Evaluated) -> None:
    evaluations = [evaluated("a", 3.0), evaluated("b", 6.0)]
    comparison = compare(evaluations, mini_pack)
    assert [row.metric for row in comparison.metrics] == [metric.key for metric in METRICS]
    for row in comparison.metrics:
        for interval, one in zip(row.values, evaluations, strict=True):
            metrics = one.report["aligned"]["wrist"] if row.metric.startswith("wrist_") else one.report["metrics"]
            assert interval.value == pytest.approx(metrics[row.metric.removeprefix("wrist_")], rel=1e-9)
            assert interval.low is not None
            assert interval.high is not None
            assert interval.low < interval.value < interval.high
        assert row.best == 0
    assert (comparison.samples, comparison.confidence, comparison.synthetic) == (24, 0.95, False)
    json.dumps(asdict(comparison), allow_nan=False)


def test_without_the_pack_there_is_what_the_predictions_have(mini_pack: Pack, evaluated: Evaluated) -> None:
    evaluations = [evaluated("a", 3.0), evaluated("b", 6.0, mesh=False)]
    whole, alone = compare(evaluations, mini_pack), compare(evaluations, None)
    assert NO_PACK in alone.notes
    assert NO_PACK not in whole.notes
    for key in ("mpjpe_mm", "pa_mpjpe_mm"):
        for one, other in zip(alone.row(key).values, whole.row(key).values, strict=True):
            assert (one.value, one.low, one.high) == pytest.approx((other.value, other.low, other.high), rel=1e-5)
    for key in ("pck_auc_0_50mm", "wrist_mpjpe_mm"):
        values = alone.row(key).values
        assert [one.value for one in values] == pytest.approx([one.value for one in whole.row(key).values])
        assert [one.low for one in values] == [None, None]
    assert [one.value is None for one in alone.row("mpvpe_mm").values] == [False, True]
    assert alone.row("mpvpe_mm").best is None
    assert {pair.metric for pair in alone.pairs} == {"mpjpe_mm", "pa_mpjpe_mm"}


def test_differences_are_paired_and_say_what_they_mean(mini_pack: Pack, evaluated: Evaluated) -> None:
    worse, better, like = evaluated("worse", 6.0), evaluated("better", 3.0), evaluated("like", 3.0, seed=1)
    comparison = compare([worse, better, like], mini_pack)
    pairs = {(pair.a, pair.b): pair for pair in comparison.pairs if pair.metric == "mpjpe_mm"}
    assert set(pairs) == {("worse", "better"), ("worse", "like"), ("better", "like")}
    one = pairs["worse", "better"].difference
    assert one.value is not None
    assert one.low is not None
    assert one.high is not None
    assert one.low < one.value < one.high < 0
    sentence = f"better is better by {-one.value:.2f} mm, 95 % interval {-one.high:.2f} to {-one.low:.2f}"
    assert pairs["worse", "better"].sentence == sentence
    sentence = pairs["better", "like"].sentence
    assert sentence.startswith("no difference that these samples could show: like - better is ")
    # The noise of `better` is half of that of `worse`, sample by sample: a paired difference varies less than either.
    (apart,) = (row for row in comparison.metrics if row.metric == "mpjpe_mm")
    widths = [value.high - value.low for value in apart.values if value.high is not None and value.low is not None]
    assert one.high - one.low < 0.7 * (widths[0] + widths[1])
    areas = {(pair.a, pair.b): pair.sentence for pair in comparison.pairs if pair.metric == "pck_auc_0_50mm"}
    assert areas["worse", "better"].startswith("better is better by 0.")


def test_one_evaluation_and_two_that_are_equal(mini_pack: Pack, evaluated: Evaluated) -> None:
    alone = compare([evaluated("a", 3.0)], mini_pack)
    assert alone.pairs == []
    assert {row.best for row in alone.metrics} == {None}
    twice = compare([evaluated("a", 3.0), replace(evaluated("a", 3.0), folder=Path("again"))], mini_pack)
    assert twice.names == ["a (eval/a)", "a (again)"]
    assert {row.best for row in twice.metrics} == {None}
    assert {pair.sentence for pair in twice.pairs} == {
        "no difference: a (eval/a) and a (again) are equal on every sample"
    }


def test_notes_and_references_keep_their_evaluation_s_name(mini_pack: Pack, evaluated: Evaluated) -> None:
    comparison = compare([evaluated("a", 3.0), evaluated("b", 4.0)], mini_pack)
    assert comparison.notes[-3:] == ["all say this", "a: a says this", "b: b says this"]
    assert [(one.of, one.label, one.values["mpjpe_mm"]) for one in comparison.references] == [
        ("a", "mean pose of train", 30.0), ("a", "published, on OakInk-Image", 8.14),
        ("b", "mean pose of train", 30.0), ("b", "published, on OakInk-Image", 8.14),
    ]  # fmt: skip


def test_the_errors_of_samples_are_there_in_their_order(mini_pack: Pack, evaluated: Evaluated) -> None:
    one = evaluated("a", 3.0)
    comparison = compare([one], mini_pack)
    assert comparison.ids == one.predictions.ids
    errors = comparison.errors_mm["mpjpe_mm"]["a"]
    np.testing.assert_allclose(np.array(errors, dtype=float), one.predictions.mpjpe_mm, atol=1e-3)


def test_joints_that_are_not_known_count_for_nothing(
    mini_pack: Pack, evaluated: Evaluated, monkeypatch: pytest.MonkeyPatch
) -> None:
    def some(pack: Pack, rows: np.ndarray) -> np.ndarray:
        known = np.random.default_rng(0).random((len(rows), 21)) < 0.6
        known[:, [0, 9]] = True
        return known

    monkeypatch.setattr(Pack, "joints_valid", some)
    one = evaluated("a", 20.0)
    for row in compare([one], mini_pack).metrics:
        metrics = one.report["aligned"]["wrist"] if row.metric.startswith("wrist_") else one.report["metrics"]
        assert row.values[0].value == pytest.approx(metrics[row.metric.removeprefix("wrist_")], rel=1e-9)


def test_another_pack_is_refused(mini_pack: Pack, evaluated: Evaluated) -> None:
    one = evaluated("a", 3.0)
    other = replace(one, predictions=replace(one.predictions, pack="another"))
    with pytest.raises(HmrError, match=r"are not of .*mini\.h5 \(its digest is another\)\. Give theirs with data"):
        compare([other], mini_pack)

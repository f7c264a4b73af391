"""Comparisons of evaluations: their metrics, differences and notes."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from hmr_core.data.pack.reader import Pack
from hmr_core.errors import HmrError, UsageError
from hmr_core.evaluation.comparing import groups
from hmr_core.evaluation.comparing.compare import NO_PACK, compare
from hmr_core.evaluation.comparing.groups import Annotated, grouping
from hmr_core.evaluation.comparing.measures import METRICS
from hmr_core.evaluation.saved import SavedEvaluation
from hmr_core.evaluation.scoring import score
from hmr_core.geometry.alignment import align
from hmr_core.hand.joints import JOINT_NAMES

Evaluated = Callable[..., SavedEvaluation]


def reported(one: SavedEvaluation, key: str) -> float | None:
    """A metric as the report of an evaluation has it."""
    if key.startswith("wrist_"):
        return one.report["aligned"]["wrist"][key.removeprefix("wrist_")]
    return {**one.report["metrics"], **one.report["more"]}[key]


def test_metrics_are_the_reports_and_lie_inside_their_intervals(mini_pack: Pack, evaluated: Evaluated) -> None:
    evaluations = [evaluated("a", 8.0), evaluated("b", 16.0)]
    comparison = compare(evaluations, mini_pack)
    assert [row.metric for row in comparison.metrics] == [metric.key for metric in METRICS]
    for row in comparison.metrics:
        for interval, one in zip(row.values, evaluations, strict=True):
            assert interval.value == pytest.approx(reported(one, row.metric), rel=1e-9)
            assert interval.low is not None
            assert interval.high is not None
            assert interval.low < interval.value < interval.high
        assert row.best == 0
    assert (comparison.samples, comparison.confidence, comparison.synthetic) == (24, 0.95, False)
    json.dumps(asdict(comparison), allow_nan=False)


def test_without_the_pack_there_is_what_the_predictions_have(mini_pack: Pack, evaluated: Evaluated) -> None:
    evaluations = [evaluated("a", 3.0), evaluated("b", 6.0, mesh=False)]
    whole, alone = compare(evaluations, mini_pack), compare(evaluations, None)
    frames = compare(evaluations, mini_pack, cluster="sample")
    assert NO_PACK in alone.notes
    assert NO_PACK not in whole.notes
    for key in ("mpjpe_mm", "pa_mpjpe_mm"):
        for one, other in zip(alone.row(key).values, frames.row(key).values, strict=True):
            assert (one.value, one.low, one.high) == pytest.approx((other.value, other.low, other.high), rel=1e-5)
    assert (alone.cluster, whole.cluster) == (None, "sequence")
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
    sentence = f"better is better than worse by {-one.value:.2f} mm, 95 % interval {-one.high:.2f} to {-one.low:.2f}"
    assert pairs["worse", "better"].sentence == sentence
    sentence = pairs["better", "like"].sentence
    assert sentence.startswith("no difference that these samples could show: like - better is ")
    # The noise of `better` is half of that of `worse`, sample by sample: a paired difference varies less than either.
    (apart,) = (row for row in comparison.metrics if row.metric == "mpjpe_mm")
    widths = [value.high - value.low for value in apart.values if value.high is not None and value.low is not None]
    assert one.high - one.low < 0.7 * (widths[0] + widths[1])
    areas = {(pair.a, pair.b): pair.sentence for pair in comparison.pairs if pair.metric == "pck_auc_0_50mm"}
    assert areas["worse", "better"].startswith("better is better than worse by 0.")


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
        ("a", "mean pose of train", 30.0), ("a", "a as published, on OakInk-Image", 8.14),
        ("b", "mean pose of train", 30.0), ("b", "b as published, on OakInk-Image", 8.14),
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
        assert row.values[0].value == pytest.approx(reported(one, row.metric), rel=1e-9)


def test_sequences_are_drawn_whole(mini_pack: Pack, evaluated: Evaluated) -> None:
    rows = mini_pack.indices("sp0", "test")
    sequences = np.array(mini_pack.labels("sequence", rows))
    one = evaluated("a", 3.0)
    level = {name: 1 + 3 * place for place, name in enumerate(np.unique(sequences))}
    noise = one.predictions.joints - mini_pack.array("joints", rows)
    joints = mini_pack.array("joints", rows) + noise * np.array([level[name] for name in sequences])[:, None, None]
    one = replace(one, predictions=replace(one.predictions, joints=joints.astype(np.float32)))
    by_sequence, by_sample, by_object = (compare([one], mini_pack, cluster=name) for name in (None, "sample", "object"))
    assert (by_sequence.cluster, by_sequence.clusters) == ("sequence", len(level))
    assert (by_sample.cluster, by_sample.clusters) == (None, 24)
    assert by_object.cluster == "object"
    widths = []
    for comparison in (by_sequence, by_sample):
        (value,) = comparison.row("mpjpe_mm").values
        assert value.low is not None
        assert value.high is not None
        widths.append(value.high - value.low)
    assert widths[0] > 1.5 * widths[1]
    assert f"over {len(level)} sequences" in " ".join(by_sequence.notes)
    with pytest.raises(UsageError, match=r'no label "sequenc" in .*mini\.h5 to draw .*Valid: sequence, .*, sample'):
        compare([one], mini_pack, cluster="sequenc")


def test_breakdowns_are_the_metrics_of_their_groups(mini_pack: Pack, evaluated: Evaluated) -> None:
    rows = mini_pack.indices("sp0", "test")
    one, other = evaluated("a", 3.0), evaluated("b", 6.0, mesh=False)
    comparison = compare([one, other], mini_pack)
    found = {(breakdown.by, breakdown.metric): breakdown.groups for breakdown in comparison.breakdowns}
    assert {by for by, _ in found} == {"joint", "finger", "subject", "object", "view", "intent", "sequence", "size"}
    errors = score(mini_pack, rows, one.predictions.joints, None).errors.joints.numpy() * 1000
    joints = {group.name: group.values[0].value for group in found["joint", "mpjpe_mm"]}
    assert list(joints) == list(JOINT_NAMES)
    np.testing.assert_allclose(list(joints.values()), errors.mean(0))
    fingers = {group.name: group.values[0].value for group in found["finger", "mpjpe_mm"]}
    assert fingers["thumb"] == pytest.approx(errors[:, 1:5].mean())
    assert fingers["little"] == pytest.approx(errors[:, 17:].mean())
    assert fingers["wrist"] == pytest.approx(errors[:, 0].mean())
    for by in ("subject", "object", "view", "intent", "sequence"):
        labels = np.array(mini_pack.labels(by, rows))
        groups = found[by, "pa_mpjpe_mm"]
        assert [group.name for group in groups] == sorted(set(labels))
        for group in groups:
            assert group.samples == (labels == group.name).sum()
            assert one.predictions.pa_mpjpe_mm is not None
            mean = one.predictions.pa_mpjpe_mm[labels == group.name].mean()
            assert group.values[0].value == pytest.approx(mean, rel=1e-4)
    assert found["view", "mpvpe_mm"][0].values[1].value is None
    assert found["sequence", "mpjpe_mm"][0].values[0].low is None  # a single sequence has no interval
    assert sum(group.samples for group in found["size", "mpjpe_mm"]) == 24
    assert [breakdown.by for breakdown in compare([one], mini_pack, by=["finger"]).breakdowns] == ["finger"]


def test_hands_of_few_pixels_and_hands_that_leave_the_picture_are_told_apart(mini_pack: Pack) -> None:
    samples = Annotated(mini_pack, mini_pack.indices("sp0", "all"))
    visible, side = (grouping(samples, by) for by in ("visibility", "side"))
    assert visible is not None
    assert visible.names == ["all joints in the picture"]
    assert side is not None
    assert side.names == ["right"]
    size = grouping(samples, "size")
    assert size is not None
    sides_px = [float(name.split()[0]) for name in size.names]
    assert sides_px == sorted(sides_px)
    assert np.ptp(np.bincount(size.of)) <= 1


def test_visible_shares_are_counted_over_the_known_joints(mini_pack: Pack, monkeypatch: pytest.MonkeyPatch) -> None:
    known = np.ones((3, 21), dtype=bool)
    known[2, 10:] = False
    points_px = np.full((3, 21, 2), 5.0)
    points_px[1, :6] = -1  # 15 of 21 inside: less than 3 of 4
    points_px[2, 10:] = -1  # none of which is known
    monkeypatch.setattr(groups, "_joints_px", lambda samples: (points_px, known))
    found = grouping(Annotated(mini_pack, np.arange(3)), "visibility")
    assert found is not None
    assert [found.names[group] for group in found.of] == [
        "all joints in the picture", "from 50 %", "all joints in the picture",
    ]  # fmt: skip


def test_what_samples_cannot_be_broken_down_by_is_told(
    mini_pack: Pack, evaluated: Evaluated, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = evaluated("a", 3.0)
    with pytest.raises(UsageError, match=r'no breakdown by "fingers"\. Did you mean "finger"\? Valid: joint, finger, '):
        compare([one], mini_pack, by=["fingers"])
    known = groups.by_label
    monkeypatch.setattr("hmr_core.evaluation.comparing.compare.score", lambda *given, **named: pytest.fail("scored"))
    monkeypatch.setattr(groups, "by_label", lambda samples, label: None if label == "intent" else known(samples, label))
    with pytest.raises(
        UsageError, match=r"mini\.h5 does not say of these samples which intent they are of\. Valid: jo"
    ):
        compare([one], mini_pack, by=["intent"])
    with pytest.raises(HmrError, match="a breakdown needs the pack"):
        compare([one], None, by=["finger"])


def test_the_curve_is_the_share_of_joints_within_each_millimetre(mini_pack: Pack, evaluated: Evaluated) -> None:
    one = evaluated("a", 5.0)
    errors = score(mini_pack, mini_pack.indices("sp0", "test"), one.predictions.joints, None).errors.joints.numpy()
    curve, aligned = compare([one, evaluated("b", 9.0)], mini_pack).curves
    assert (curve.kind, curve.thresholds_mm[:2], curve.thresholds_mm[-1]) == ("pck", [0, 1], 50)
    assert curve.shares[0][8] == pytest.approx((errors <= 0.008).mean())
    assert curve.shares[0][8] > curve.shares[1][8]
    assert aligned.kind == "pck_pa"
    rows = mini_pack.indices("sp0", "test")
    points, true = torch.from_numpy(one.predictions.joints), torch.from_numpy(mini_pack.array("joints", rows))
    distances = torch.linalg.vector_norm(align(points.double(), true.double()) - true, dim=-1)
    assert aligned.shares[0][5] == pytest.approx(float((distances <= 0.005).double().mean()))


def test_another_pack_is_refused(mini_pack: Pack, evaluated: Evaluated) -> None:
    one = evaluated("a", 3.0)
    other = replace(one, predictions=replace(one.predictions, pack="another"))
    with pytest.raises(HmrError, match=r"are not of .*mini\.h5 \(its digest is another\)\. Give theirs with data"):
        compare([other], mini_pack)

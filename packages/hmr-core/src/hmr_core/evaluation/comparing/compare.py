"""Compare evaluations of the same samples."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from hmr_core.data.pack.reader import Pack
from hmr_core.errors import HmrError, Option
from hmr_core.evaluation.comparing.aligned import aligned_errors
from hmr_core.evaluation.comparing.bootstrap import CONFIDENCE, DRAWS
from hmr_core.evaluation.comparing.breakdowns import breakdowns, check_by
from hmr_core.evaluation.comparing.clusters import clusters_of
from hmr_core.evaluation.comparing.comparison import Breakdown, Comparison, Interval, MetricRow, Pair, Reference
from hmr_core.evaluation.comparing.curves import curves
from hmr_core.evaluation.comparing.groups import Annotated
from hmr_core.evaluation.comparing.measures import METRICS, Measure, Metric, sample_measures, stored_measures
from hmr_core.evaluation.comparing.names import unique_names
from hmr_core.evaluation.comparing.resampling import Resampling
from hmr_core.evaluation.comparing.sentences import difference_sentence
from hmr_core.evaluation.predictions import Predictions
from hmr_core.evaluation.report_keys import Report
from hmr_core.evaluation.saved import SavedEvaluation
from hmr_core.evaluation.scoring import score
from hmr_core.wording import counted

FEW_CLUSTERS = 10
"""With fewer, a comparison says that its intervals are rough."""

NO_PACK = "without the pack there are no breakdowns, no curves, and intervals of samples' own errors alone"


def compare(
    evaluations: Sequence[SavedEvaluation],
    pack: Pack | None,
    *,
    by: Sequence[str] | None = None,
    cluster: str | None = None,
    seed: int = 0,
    draws: int = DRAWS,
    on_scored: Callable[[int], None] = lambda samples: None,
) -> Comparison:
    """Hold evaluations of the same samples, in the same order, against each other.

    pack: theirs; without it there is what the predictions have by themselves, and a note. by: what to break metrics
    down by; None for all that the pack allows. cluster: what is drawn for the intervals, as `clusters_of` has it.
    seed, draws: of the intervals; the same ones give the same comparison. on_scored is told how many samples of an
    evaluation were done.
    HmrError for a pack that is not theirs, and UsageError for what it cannot tell apart.
    """
    reports = [one.report for one in evaluations]
    names = unique_names(reports, [one.folder for one in evaluations])
    first = evaluations[0].predictions
    annotated = None if pack is None else _annotated(first, pack)
    check_by(by or (), annotated)
    label, clusters = clusters_of(annotated, len(first.ids), cluster)
    resampling = Resampling(clusters, label, seed, draws)
    errors, aligned = [], []
    measured = [stored_measures(one.predictions) for one in evaluations] if annotated is None else []
    if annotated is not None:
        for points in [(one.predictions.joints, one.predictions.verts) for one in evaluations]:
            errors.append(score(annotated.pack, annotated.rows, *points, further=False).errors)
            aligned.append(aligned_errors(annotated, *points, on_scored))
            measured.append(sample_measures(errors[-1], aligned[-1]))
    rows = [
        row
        for metric in METRICS
        if (row := _row(metric, [one.get(metric.key) for one in measured], evaluations, resampling)) is not None
    ]
    groups = [] if annotated is None else [*breakdowns(annotated, errors, measured, resampling, by)]
    notes = [*_own_notes(pack, resampling), *_alone_notes(groups), *_mesh_notes(names, reports)]
    return Comparison(
        names=names,
        split=first.split,
        subset=first.subset,
        samples=len(first.ids),
        cluster=label,
        clusters=resampling.count,
        confidence=CONFIDENCE,
        seed=seed,
        draws=draws,
        ids=first.ids,
        metrics=rows,
        pairs=_pairs(names, measured, resampling),
        breakdowns=groups,
        curves=[*curves(errors, aligned)],
        references=[one for name, saved in zip(names, evaluations, strict=True) for one in _references(name, saved)],
        errors_mm=_errors_mm(names, measured),
        notes=[*notes, *_report_notes(names, reports)],
        synthetic=evaluations[0].report["synthetic"],
    )


def _annotated(predictions: Predictions, pack: Pack) -> Annotated:
    """The predictions' samples in their pack; HmrError for a pack that they are not of."""
    if pack.info.digest != predictions.pack:
        raise HmrError(
            f"the evaluations are not of {pack.path} (its digest is another).", "Give theirs with ", Option("data"), "."
        )
    return Annotated.of(predictions, pack)


def _row(
    metric: Metric,
    measures: Sequence[Measure | None],
    evaluations: Sequence[SavedEvaluation],
    resampling: Resampling,
) -> MetricRow | None:
    """A metric of all evaluations; None where none of them has it."""
    values = resampling.intervals(measures, least=0.0, most=np.inf if metric.unit else 1.0)
    for place, one in enumerate(evaluations):
        if values[place].value is None:
            values[place] = Interval(value=_reported(one.report, metric.key))
    if all(interval.value is None for interval in values):
        return None
    return MetricRow(
        metric=metric.key,
        title=metric.title,
        unit=metric.unit,
        better=metric.better,
        values=values,
        best=_best(metric, values),
    )


def _reported(report: Report, key: str) -> float | None:
    """A metric as the report has it, for what the predictions alone do not say."""
    if key.startswith("wrist_"):
        return report.get("aligned", {}).get("wrist", {}).get(key.removeprefix("wrist_"))
    return {**report.get("more", {}), **report["metrics"]}.get(key)


def _best(metric: Metric, values: Sequence[Interval]) -> int | None:
    """The index of the evaluation that is better than all others by its value; None where there is none."""
    found = [(interval.value, place) for place, interval in enumerate(values) if interval.value is not None]
    if len(found) < 2:
        return None
    found.sort(reverse=metric.better == "higher")
    return None if found[0][0] == found[1][0] else found[0][1]


def _pairs(names: Sequence[str], measured: Sequence[dict[str, Measure]], resampling: Resampling) -> list[Pair]:
    """The differences of every two evaluations, in every metric that both have sample by sample."""
    found = []
    for metric in METRICS:
        both = [
            (a, b)
            for b in range(len(names))
            for a in range(b)
            if metric.key in measured[a] and metric.key in measured[b]
        ]
        differences = [_difference(measured[a][metric.key], measured[b][metric.key]) for a, b in both]
        for (a, b), interval in zip(both, resampling.intervals(differences), strict=True):
            sentence = difference_sentence(names[a], names[b], metric, interval, resampling.name)
            found.append(Pair(a=names[a], b=names[b], metric=metric.key, difference=interval, sentence=sentence))
    return found


def _difference(a: Measure, b: Measure) -> Measure:
    """b - a on the samples that both have."""
    return Measure(b.values - a.values, np.where(b.weights > 0, a.weights, 0))


def _references(name: str, saved: SavedEvaluation) -> list[Reference]:
    """What a report has to hold its metrics against."""
    report, found = saved.report, []
    hands, baseline, published = report.get("found"), report.get("baseline"), report.get("published")
    if hands and hands["otherwise"] is not None and hands.get("metrics"):
        label = f"the {100 * hands['share']:.1f} % that {name} found"
        found.append(Reference(of=name, label=label, values=dict(hands["metrics"] or {})))
    if baseline and baseline["metrics"]:
        label = f"mean pose of {baseline['subset']}"
        found.append(Reference(of=name, label=label, values=dict(baseline["metrics"])))
    if published:
        found.append(
            Reference(of=name, label=f"{report['model']} as published, on OakInk-Image", values=dict(published))
        )
    return found


def _errors_mm(
    names: Sequence[str], measured: Sequence[dict[str, Measure]]
) -> dict[str, dict[str, list[float | None]]]:
    """The values of each sample, by metric and evaluation, to 0.1 micrometres."""
    return {
        metric.key: {
            name: [None if np.isnan(value) else round(value, 4) for value in one[metric.key].values.tolist()]
            for name, one in zip(names, measured, strict=True)
            if metric.key in one
        }
        for metric in METRICS
        if any(metric.key in one for one in measured)
    }


def _own_notes(pack: Pack | None, resampling: Resampling) -> list[str]:
    """What a reader of the intervals has to know."""
    notes = [NO_PACK] if pack is None else []
    if resampling.name is None:
        notes.append(
            "nothing says which samples belong together, so the intervals take each for independent: they are too "
            "narrow if the samples are frames of videos"
        )
    if resampling.count < FEW_CLUSTERS:
        what = counted(resampling.count, resampling.name or "sample")
        notes.append(f"the intervals are rough: they are over {what}, and should be over {FEW_CLUSTERS} at least")
    return notes


def _alone_notes(groups: Sequence[Breakdown]) -> list[str]:
    """Which breakdowns have a single group, so that they say what the metrics of all samples say."""
    alone = {one.by: one.groups[0].name for one in groups if len(one.groups) == 1}
    return [f'by {by}, there is one group alone, "{name}", which has all samples' for by, name in alone.items()]


def _mesh_notes(names: Sequence[str], reports: Sequence[Report]) -> list[str]:
    """What made the meshes of models that predict joints."""
    by: dict[str, list[str]] = {}
    for name, report in zip(names, reports, strict=True):
        if solver := report.get("solver"):
            by.setdefault(solver["name"], []).append(name)
    return [f"{solver} made the meshes of {' and '.join(made)}" for solver, made in by.items()]


def _report_notes(names: Sequence[str], reports: Sequence[Report]) -> list[str]:
    """What the reports say of their metrics: once where all say it, else with the evaluation's name."""
    told = [[*report.get("missing", []), *report.get("notes", [])] for report in reports]
    common = [note for note in told[0] if all(note in one for one in told)]
    return common + [
        f"{name}: {note}" for name, one in zip(names, told, strict=True) for note in one if note not in common
    ]

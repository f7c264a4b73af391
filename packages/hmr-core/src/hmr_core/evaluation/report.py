"""The report of an evaluation: its metrics, and all that a reader needs to know of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import cast

from jaxtyping import Int64
from numpy import ndarray

from hmr_core.data.hand_model_check import mismatch_note
from hmr_core.data.image_dataset import ImageDataset
from hmr_core.errors import HmrError, Option
from hmr_core.evaluation.baseline import baseline_joints, mean_pose_uvd
from hmr_core.evaluation.report_keys import Baseline, Report
from hmr_core.evaluation.scoring import Scores, score
from hmr_core.evaluation.subject import EvaluationSubject, LoadedHand, Subject
from hmr_core.plugins.recipes import JointRecipe, Recipe, changed_options, load_recipe
from hmr_core.plugins.run import OVERFIT, TRAIN
from hmr_core.shell import command_line
from hmr_core.versions import versions
from hmr_core.weights.checkpoints import Checkpoint
from hmr_core.wording import counted

_CHANGES = 4
"""How many options are told of a model that is another than the published one."""

NO_MESH = (
    "this model predicts joints only and no solver was given, so there is no mesh metric: "
    f"`{command_line('hmr eval', Option('solver', 'lm'))}` makes one"
)


def report_text(report: Report) -> str:
    """Write a report as JSON: indented, but each interval, and each of the long lists of errors, in a line of its own,
    at the end.
    """
    whole, lined = dict(report), ("intervals", "errors")
    parts = {name: cast("Mapping[str, object]", whole.pop(name)) for name in lined if name in whole}
    text = json.dumps(whole, indent=2)[: -len("\n}")]
    for part, entries in parts.items():
        lines = ",\n".join(f"    {json.dumps(name)}: {json.dumps(values)}" for name, values in entries.items())
        text += f",\n  {json.dumps(part)}: {{\n{lines}\n  }}"
    return text + "\n}\n"


def sheet_title(report: Report) -> str:
    """Title an evaluation's contact sheet: what was evaluated on what, and its first metrics."""
    solver = report.get("solver")
    by = f" + {solver['name']}" if solver else ""
    by += " from given joints" if report.get("consumes") == "joints" else ""
    mpjpe_mm = report["metrics"]["mpjpe_mm"]
    metrics = "not scored" if mpjpe_mm is None else f"MPJPE {mpjpe_mm:.2f} mm"
    if report["metrics"].get("mpvpe_mm") is not None:
        metrics += f", MPVPE {report['metrics']['mpvpe_mm']:.2f} mm"
    synthetic = " (synthetic data)" if report["synthetic"] else ""
    return f"{report['model']}{by}, {report['split']} {report['subset']}, {metrics}{synthetic}"


def make_report(
    subject: Subject,
    scores: Scores,
    *,
    notes: Sequence[str],
    missing: Sequence[str],
    baseline: Baseline,
    mismatch_mm: float | None,
    device: str,
    processes: int,
) -> Report:
    """Make the report, but for what its caller knows: how long it took, and how it was started.

    notes: of this kind of subject. missing: which metrics there are not, and why. mismatch_mm: of the hand model;
    processes: how many predicted.
    """
    report = subject.as_report()
    if report["hand_model"] is not None:
        report["hand_model"]["mismatch_mm"] = None if mismatch_mm is None else round(mismatch_mm, 4)
    return {
        **report,
        **scores.as_report(),
        "missing": list(missing),
        "notes": [*subject.notes, *notes],
        "baseline": baseline,
        "versions": versions(),
        "device": device,
        "processes": processes,
    }


def model_notes(subject: EvaluationSubject, mismatch_mm: float | None) -> list[str]:
    """What a reader of a model's metrics has to know."""
    return [
        *_released_notes(subject.checkpoint, subject.split),
        *_recipe_notes(subject),
        *_training_notes(subject),
        *_given_joints(subject.checkpoint.recipe),
        *hand_notes(subject.hand, mismatch_mm),
    ]


def _released_notes(checkpoint: Checkpoint, split: str) -> list[str]:
    """What was made of a released file, if something was left out of it or set apart; and what it does not say."""
    if checkpoint.released is None:
        return []
    unknown = (
        f"a released file does not say which split it was trained on; if it was not {split}, samples of {split} may be "
        "among its training ones"
    )
    return [*([note] if (note := checkpoint.released.note()) else []), unknown]


def _recipe_notes(subject: EvaluationSubject) -> list[str]:
    """What parts the model from the one of the published metrics, where these are shown."""
    spec, recipe = subject.spec, subject.checkpoint.recipe
    shown = subject.subset == "test" and subject.split in spec.published and not subject.pack.info.synthetic
    if not shown or "published" not in spec.recipes:
        return []
    known = spec.released.overrides if spec.released is not None else ()
    changed = [text for text in changed_options(spec, recipe, load_recipe(spec, "published")) if text not in known]
    if not changed:
        return []
    rest = f" and {len(changed) - _CHANGES} more" if len(changed) > _CHANGES else ""
    listed = ", ".join(changed[:_CHANGES])
    return [f"the published metrics are of the recipe published, and this model has {listed}{rest}"]


def _training_notes(subject: EvaluationSubject) -> list[str]:
    """What makes the metrics something else than they seem; empty where the training is unknown."""
    checkpoint, digest, split, subset = subject.checkpoint, subject.pack.info.digest, subject.split, subject.subset
    record, notes = checkpoint.record, []
    if record is None:
        return []
    splits, trained_subset = record.splits_of(digest), checkpoint.recipe.train.subset
    if splits and splits != [split]:
        notes.append(
            f"the checkpoint was trained on {' and '.join(splits)}: samples of {split} {subset} may be among its "
            "training ones"
        )
    elif splits and subset != "test" and set(subset.split("+")) & {*trained_subset.split("+"), "all"}:
        notes.append(f"the checkpoint was trained on {trained_subset}: these metrics are of samples seen in training")
    trained = f"{record.split} {trained_subset}" if not record.mixture else f"{trained_subset} of each of its packs"
    if OVERFIT in record.limits:
        notes.append(
            f"the checkpoint was trained on {counted(record.limits[OVERFIT], 'sample')} of {trained}, "
            "without augmentation, to see whether the model can learn them"
        )
    elif TRAIN in record.limits:
        notes.append(f"the checkpoint was trained on {counted(record.limits[TRAIN], 'sample')} of {trained}")
    packs = {pack["blake2b"] for pack in record.data}
    if packs and digest not in packs:
        another = "other packs" if record.mixture else "another pack"
        notes.append(f"the checkpoint was trained on {another} than this one, {subject.pack.path}")
    return notes


def _given_joints(recipe: Recipe) -> list[str]:
    """What a model of joints was given, without which its metrics would be taken for those of a model of images."""
    if not isinstance(recipe, JointRecipe):
        return []
    noise = f", with normal noise of {recipe.data.noise_mm:g} mm on each axis" if recipe.data.noise_mm else ""
    return [f"the model was given the annotated joints{noise}, and saw no image"]


def hand_notes(hand: LoadedHand | None, mismatch_mm: float | None) -> list[str]:
    """Whose mesh it is, and how far the hand model is from the annotations."""
    if hand is None:
        return []
    notes = [f"the mesh is that of {hand.source.label}"] if hand.source.path is None else []
    if mismatch_mm is None:
        return [
            *notes,
            "the data set has no meshes with rotations and betas, so the hand model was not compared with it",
        ]
    return [*notes, *([text] if (text := mismatch_note(mismatch_mm)) else [])]


def model_baseline(subject: EvaluationSubject, pictures: ImageDataset, rows: Int64[ndarray, " n"]) -> Baseline:
    """The metrics of the mean pose of what a model was trained on, or the reason why there are none."""
    subset = subject.checkpoint.recipe.train.subset
    if subject.spec.consumes == "joints":
        reason = "the model was given joints, of which the mean pose knows nothing"
        return {"subset": subset, "metrics": None, "reason": reason}
    return mean_pose_baseline(subject, subset, pictures, rows)


def mean_pose_baseline(subject: Subject, subset: str, pictures: ImageDataset, rows: Int64[ndarray, " n"]) -> Baseline:
    """The metrics of the mean pose of a subset, or the reason why there are none. pictures: the samples as crops."""
    try:
        mean_rows = subject.pack.indices(subject.split, subset)
    except HmrError as error:
        return {"subset": subset, "metrics": None, "reason": str(error)}
    joints = baseline_joints(pictures, rows, mean_pose_uvd(pictures, mean_rows))
    return {"subset": subset, "metrics": score(subject.pack, rows, joints, None).metrics}

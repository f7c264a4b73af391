"""Evaluate a checkpoint on a subset and write what it leaves: report.json and predictions.h5."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int, Int64
from numpy import ndarray

from hmr_core.config import DataConfig, ImageRecipe, JointRecipe, Recipe
from hmr_core.data.dataset import HandDataset
from hmr_core.data.pack.reader import Pack
from hmr_core.engine.baseline import baseline_joints, mean_pose_uvd
from hmr_core.engine.checkpoints import Checkpoint
from hmr_core.engine.datasets import open_dataset
from hmr_core.engine.hand_model_check import check_hand_model, mismatch_note
from hmr_core.engine.inference import Points, gather, predict
from hmr_core.engine.predictions import Predictions, write_predictions
from hmr_core.engine.scoring import Scores, score
from hmr_core.engine.solving import LoadedSolver, solve
from hmr_core.errors import HmrError, UsageError
from hmr_core.hand.layer import HandLayer
from hmr_core.hand.solver import HandFit
from hmr_core.hand.source import HandModelSource
from hmr_core.plugins.specs import ModelSpec
from hmr_core.versions import versions

NO_MESH = (
    "this model predicts joints only and no solver was given, so there is no mesh figure: add --solver iknet "
    "--solver-ckpt FILE"
)

JOINTS_ALONE = "Or leave --solver out: then the joints alone are scored."

PICTURE_PX = 192
"""The side of the crops that pictures of an evaluation show."""


@dataclass(frozen=True, kw_only=True)
class Hand:
    """The hand model that an evaluation's meshes are of. kind: what poses it, own or manotorch; layer: on the CPU."""

    source: HandModelSource
    kind: str
    layer: HandLayer


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """A whole evaluation: the predictions, their scores, the report, and the crops and faces for pictures of it.

    faces: of the hand model that was posed; None where none was.
    """

    predictions: Predictions
    scores: Scores
    report: dict[str, Any]
    dataset: HandDataset
    rows: Int64[ndarray, " n"]
    faces: Int[ndarray, "f 3"] | None = None


def evaluate(
    spec: ModelSpec,
    checkpoint: Checkpoint,
    pack: Pack,
    *,
    split: str,
    subset: str,
    hand: Hand | None = None,
    solver: LoadedSolver | None = None,
    notes: Sequence[str] = (),
    device: torch.device,
    batch_size: int,
    workers: int,
    on_batch: Callable[[int], None] = lambda samples: None,
    on_solved: Callable[[int], None] = lambda hands: None,
) -> Evaluation:
    """Score every sample of a subset by the published protocol (root depth given; PA with reflections).

    A model of images gives joints, and a mesh of its own or by the solver; the joints that are scored are the model's.
    A model of joints gives both by way of the hand. hand: needed by a solver and by a model of joints.
    notes: what the report is to say besides.
    on_batch is told how many samples were done; then on_solved how many hands, first of all 0 when solving begins.

    Raises UsageError for a solver and a model that has a mesh already; HmrError, before anything is predicted, for
    another hand model than the annotations'; and when a sample cannot be read, its
    prediction is not finite, or it has no mesh.
    """
    started = time.monotonic()
    rows = pack.indices(split, subset)
    recipe = checkpoint.recipe
    posed = hand if solver is not None or spec.consumes == "joints" else None
    assert solver is None or posed is not None, "a solver poses a hand model"
    if solver is not None and spec.consumes == "joints":
        raise mesh_already(spec)
    mismatch_mm = 0.0
    if posed is not None:
        joints_alone = "" if solver is None else JOINTS_ALONE
        mismatch_mm = check_hand_model(posed.source, posed.layer, pack, rows, otherwise=joints_alone)
    dataset = open_dataset(spec, recipe, pack, layer=None if posed is None else posed.layer, verify=True)
    pictures = HandDataset(
        pack,
        image_size=PICTURE_PX,
        root_joint=spec.root_joint,
        data=recipe.data if isinstance(recipe, ImageRecipe) else DataConfig(),
        verify=True,
    )
    parts = predict(
        checkpoint.model.to(device),
        dataset,
        rows,
        device=device,
        batch_size=batch_size,
        workers=workers,
        on_batch=on_batch,
    )
    points = gather(parts if solver is None else _joints_only(parts, spec))
    predictions = Predictions(
        model=spec.name,
        split=split,
        subset=subset,
        pack=pack.info.digest,
        ids=points.ids,
        joints=points.joints.numpy(),
        **_mesh(points if solver is None else solve(solver, points.ids, points.joints, on_solved)),
    )
    scores = score(pack, rows, predictions.joints, predictions.verts)
    report = {
        "model": spec.name,
        "consumes": spec.consumes,
        "split": split,
        "subset": subset,
        "protocol": "published" if solver is None else solver.protocol,
        **scores.as_report(),
        "missing": [] if predictions.verts is not None else [NO_MESH],
        "notes": [
            *notes,
            *_notes(checkpoint, pack, split, subset),
            *_given_joints(recipe),
            *([] if posed is None else _hand_notes(posed, mismatch_mm)),
        ],
        "baseline": _baseline(spec, pictures, rows, split, recipe.train.subset),
        "published": dict(spec.published.get(split, {})) if subset == "test" else {},
        "synthetic": pack.info.synthetic,
        "solver": None if solver is None else solver.as_report(),
        "hand_model": None if posed is None else {**posed.source.as_report(), "mismatch_mm": round(mismatch_mm, 4)},
        "hand_layer": None if posed is None else posed.kind,
        "recipe": recipe.model_dump(mode="json"),
        "checkpoint": {
            "path": str(checkpoint.path),
            "blake2b": checkpoint.digest,
            "epoch": checkpoint.info.get("epoch"),
            "trained_on": {"split": checkpoint.info.get("split"), "subset": recipe.train.subset},
        },
        "pack": {"path": str(pack.path), "blake2b": pack.info.digest, "release": pack.info.release},
        "versions": versions(),
        "device": str(device),
        "seconds": round(time.monotonic() - started, 2),
    }
    return Evaluation(
        predictions=predictions,
        scores=scores,
        report=report,
        dataset=pictures,
        rows=rows,
        faces=None if posed is None else posed.source.model.faces.numpy(),
    )


def mesh_already(spec: ModelSpec) -> UsageError:
    """The error for a solver that is to make a mesh for a model that has one."""
    return UsageError(f'the model "{spec.name}" gives a mesh of its own, so a solver has nothing to do: omit --solver.')


def _joints_only(parts: Iterable[Points], spec: ModelSpec) -> Iterator[Points]:
    """The parts; UsageError at the first that has a mesh already."""
    for part in parts:
        if part.verts is not None:
            raise mesh_already(spec)
        yield part


def _mesh(found: Points | HandFit) -> dict[str, Any]:
    """The arrays of predictions that concern the mesh."""
    arrays = {"verts": found.verts, "pose": found.rotations, "betas": found.betas}
    return {name: None if array is None else array.detach().numpy() for name, array in arrays.items()}


def _given_joints(recipe: Recipe) -> list[str]:
    """What a model of joints was given, without which its figures would be taken for those of a model of images."""
    if not isinstance(recipe, JointRecipe):
        return []
    noise = f", with normal noise of {recipe.data.noise_mm:g} mm on each axis" if recipe.data.noise_mm else ""
    return [f"the model was given the annotated joints{noise}, and saw no image"]


def _hand_notes(hand: Hand, mismatch_mm: float) -> list[str]:
    notes = [f"the mesh is that of {hand.source.label}"] if hand.source.path is None else []
    return [*notes, *([text] if (text := mismatch_note(mismatch_mm)) else [])]


def _notes(checkpoint: Checkpoint, pack: Pack, split: str, subset: str) -> list[str]:
    """What makes the figures something else than they seem; empty for a released file, whose training is unknown."""
    notes = []
    trained, trained_subset = checkpoint.info.get("split"), checkpoint.recipe.train.subset
    if trained is not None and trained != split:
        notes.append(
            f"the checkpoint was trained on {trained}: samples of {split} {subset} may be among its training ones"
        )
    elif trained is not None and subset != "test" and set(subset.split("+")) & {*trained_subset.split("+"), "all"}:
        notes.append(f"the checkpoint was trained on {trained_subset}: these figures are of samples seen in training")
    if checkpoint.info.get("data_digest", pack.info.digest) != pack.info.digest:
        notes.append("the checkpoint was trained on another pack than this one")
    return notes


def write_evaluation(folder: Path, evaluation: Evaluation) -> None:
    """Write report.json and predictions.h5 into an existing folder."""
    write_predictions(folder / "predictions.h5", evaluation.predictions)
    (folder / "report.json").write_text(json.dumps(evaluation.report, indent=2) + "\n")


def identity(report: Mapping[str, Any]) -> dict[str, Any]:
    """What makes an evaluation the one it is, of its report: another one of the same identity may replace it."""
    solver, hand_model = report.get("solver"), report.get("hand_model")
    return {
        "split": report["split"],
        "subset": report["subset"],
        "checkpoint": report["checkpoint"]["blake2b"],
        "pack": report["pack"]["blake2b"],
        "data options": report["recipe"]["data"],
        "protocol": report["protocol"],
        "solver": solver and solver["name"],
        "solver checkpoint": solver and solver["checkpoint"]["blake2b"],
        "solver options": solver and solver["config"],
        "hand model": hand_model and (hand_model["name"], hand_model["blake2b"]),
        "hand layer": report.get("hand_layer"),
    }


def evaluated(folder: Path) -> dict[str, Any] | None:
    """The identity of the evaluation that a folder holds; None if it holds none."""
    try:
        return identity(json.loads((folder / "report.json").read_text()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def rescore(path: Path, pack: Pack, predictions: Predictions) -> Scores:
    """The figures of a file of predictions, again; HmrError when its ids are not exactly its subset's."""
    rows = pack.indices(predictions.split, predictions.subset)
    by_id = dict(zip(pack.ids(rows), rows.tolist(), strict=True))
    given = set(predictions.ids)
    subset = f"{predictions.split} {predictions.subset}"
    if len(given) != len(predictions.ids):
        raise HmrError(
            f"{path} has {len(predictions.ids) - len(given)} samples twice; each of {subset} must be there once."
        )
    missing, unknown = by_id.keys() - given, given - by_id.keys()
    if missing or unknown:
        what = f"lacks {min(missing)}" if missing else f"has {min(unknown)}, which is not in it"
        raise HmrError(
            f"{path} does not cover {subset} of {pack.path}: it {what} "
            f"({len(missing)} missing, {len(unknown)} unknown). Is it another --data that it was made on?"
        )
    order = np.array([by_id[i] for i in predictions.ids], dtype=np.int64)
    return score(pack, order, predictions.joints, predictions.verts)


def _baseline(
    spec: ModelSpec, dataset: HandDataset, rows: Int64[ndarray, " n"], split: str, train_subset: str
) -> dict[str, Any]:
    """The mean-pose baseline's figures, or the reason why there is none."""
    if spec.consumes == "joints":
        reason = "the model was given joints, of which the mean pose knows nothing"
        return {"subset": train_subset, "metrics": None, "reason": reason}
    try:
        train_rows = dataset.pack.indices(split, train_subset)
    except HmrError as error:
        return {"subset": train_subset, "metrics": None, "reason": str(error)}
    joints = baseline_joints(dataset, rows, mean_pose_uvd(dataset, train_rows))
    return {"subset": train_subset, "metrics": score(dataset.pack, rows, joints, None).metrics}

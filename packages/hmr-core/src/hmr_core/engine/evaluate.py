"""Evaluate a checkpoint on a subset and write what it leaves: report.json and predictions.h5."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64
from numpy import ndarray

from hmr_core.data.dataset import HandDataset
from hmr_core.data.pack.reader import Pack
from hmr_core.engine.baseline import baseline_joints, mean_pose_uvd
from hmr_core.engine.checkpoints import Checkpoint
from hmr_core.engine.datasets import open_dataset
from hmr_core.engine.inference import gather, predict
from hmr_core.engine.predictions import Predictions, write_predictions
from hmr_core.engine.scoring import Scores, score
from hmr_core.errors import HmrError
from hmr_core.plugins.specs import ModelSpec
from hmr_core.versions import versions

NO_MESH = "this model predicts joints only and no solver was given, so there is no mesh figure"


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """A whole evaluation: the predictions, their scores, the report, and the data set for pictures of it."""

    predictions: Predictions
    scores: Scores
    report: dict[str, Any]
    dataset: HandDataset
    rows: Int64[ndarray, " n"]


def evaluate(
    spec: ModelSpec,
    checkpoint: Checkpoint,
    pack: Pack,
    *,
    split: str,
    subset: str,
    device: torch.device,
    batch_size: int,
    workers: int,
    on_batch: Callable[[int], None] = lambda samples: None,
) -> Evaluation:
    """Score every sample of a subset by the published protocol (root depth given; PA with reflections).

    on_batch is told how many samples were done. HmrError when a sample cannot be read or its prediction is not finite.
    """
    started = time.monotonic()
    rows = pack.indices(split, subset)
    recipe = checkpoint.recipe
    dataset = open_dataset(spec, recipe, pack, layer=None, verify=True)
    assert isinstance(dataset, HandDataset)
    model = checkpoint.model.to(device)
    points = gather(
        predict(model, dataset, rows, device=device, batch_size=batch_size, workers=workers, on_batch=on_batch)
    )
    predictions = Predictions(
        model=spec.name,
        split=split,
        subset=subset,
        pack=pack.info.digest,
        ids=points.ids,
        joints=points.joints.numpy(),
        verts=None if points.verts is None else points.verts.numpy(),
    )
    scores = score(pack, rows, predictions.joints, predictions.verts)
    report = {
        "model": spec.name,
        "split": split,
        "subset": subset,
        "protocol": "published",
        **scores.as_report(),
        "missing": [] if predictions.verts is not None else [NO_MESH],
        "notes": _notes(checkpoint, pack, split, subset),
        "baseline": _baseline(dataset, rows, split, recipe.train.subset),
        "published": dict(spec.published.get(split, {})) if subset == "test" else {},
        "synthetic": pack.info.synthetic,
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
    return Evaluation(predictions=predictions, scores=scores, report=report, dataset=dataset, rows=rows)


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


def evaluated(folder: Path) -> dict[str, Any] | None:
    """What a folder holds the evaluation of: split, subset, digests of checkpoint and pack; None if it holds none."""
    try:
        report = json.loads((folder / "report.json").read_text())
        digests = {name: report[name]["blake2b"] for name in ("checkpoint", "pack")}
        return {"split": report["split"], "subset": report["subset"], **digests}
    except (OSError, ValueError, KeyError, TypeError):
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


def _baseline(dataset: HandDataset, rows: Int64[ndarray, " n"], split: str, train_subset: str) -> dict[str, Any]:
    """The mean-pose baseline's figures, or the reason why there is none."""
    try:
        train_rows = dataset.pack.indices(split, train_subset)
    except HmrError as error:
        return {"subset": train_subset, "metrics": None, "reason": str(error)}
    joints = baseline_joints(dataset, rows, mean_pose_uvd(dataset, train_rows))
    return {"subset": train_subset, "metrics": score(dataset.pack, rows, joints, None).metrics}

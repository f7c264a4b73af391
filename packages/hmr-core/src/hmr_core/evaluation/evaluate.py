"""Evaluate a checkpoint on a subset and write what it leaves: report.json and predictions.h5."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int, Int64, UInt8
from numpy import ndarray

from hmr_core.data.hand_model_check import check_hand_model
from hmr_core.data.image_dataset import ImageDataset
from hmr_core.data.loading import Loader
from hmr_core.data.open_dataset import open_dataset
from hmr_core.data.pack.entry import check_pack
from hmr_core.evaluation.predictions import Predictions, labels, write_predictions
from hmr_core.evaluation.report import make_report, report_text, sheet_title
from hmr_core.evaluation.request import EvaluationRequest
from hmr_core.evaluation.scoring import Scores, score
from hmr_core.hand.solver import HandFit
from hmr_core.inference.predict import SamplePoints, annotated_roots, gather, predict
from hmr_core.inference.solving import mesh_already, solve
from hmr_core.plugins.recipes import DataConfig, ImageRecipe
from hmr_core.plugins.specs import ModelSpec
from hmr_core.viz.contact_sheet import contact_sheet

JOINTS_ALONE = "Or leave --solver out: then the joints alone are scored."

PICTURE_PX = 192
"""The side of the crops that pictures of an evaluation show."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """A whole evaluation: the predictions, their scores, the report, and the crops and faces for pictures of it.

    faces: of the hand model that was posed; None where none was.
    """

    predictions: Predictions
    scores: Scores
    report: dict[str, Any]
    dataset: ImageDataset
    rows: Int64[ndarray, " n"]
    faces: Int[ndarray, "f 3"] | None = None


def evaluate(
    request: EvaluationRequest,
    *,
    device: torch.device,
    batch_size: int,
    workers: int,
    on_batch: Callable[[int], None] = lambda samples: None,
    on_solved: Callable[[int], None] = lambda hands: None,
) -> Evaluation:
    """Score every sample of a subset by the published protocol (root depth given; PA with reflections).

    A model of images gives joints, and a mesh of its own or by the solver; the joints that are scored are the model's.
    A model of joints gives both by way of the hand.
    on_batch is told how many samples were done; then on_solved how many hands, first of all 0 when solving begins.

    Raises UsageError for a solver and a model that has a mesh already; HmrError, before anything is predicted, for a
    pack of which every figure would be wrong, and for another hand model than the annotations'; and when a sample
    cannot be read, its prediction is not finite, or it has no mesh.
    """
    started = time.monotonic()
    rows = request.pack.indices(request.split, request.subset)
    warnings = check_pack(request.pack, request.split, request.subset)
    request = replace(request, notes=[*request.notes, *warnings])
    mismatch_mm = _mismatch_mm(request, rows)
    pictures = _pictures(request)
    points, mesh = _compute(
        request, rows, device=device, batch_size=batch_size, workers=workers, on_batch=on_batch, on_solved=on_solved
    )
    arrays: dict[str, Any] = {
        "joints": points.joints.numpy(),
        "confidence": None if points.confidence is None else points.confidence.numpy(),
        **_mesh_arrays(mesh),
    }
    scores = score(request.pack, rows, arrays["joints"], arrays["verts"])
    arrays |= {name: None if e is None else e.astype(np.float32) for name, e in scores.errors_mm().items()}
    report = make_report(
        request,
        scores,
        pictures=pictures,
        rows=rows,
        mismatch_mm=mismatch_mm,
        device=str(device),
    )
    report["seconds"] = round(time.monotonic() - started, 2)
    report["errors"] = scores.errors_as_report()  # last, since they are long
    return Evaluation(
        predictions=Predictions(
            model=request.spec.name,
            split=request.split,
            subset=request.subset,
            pack=request.pack.info.digest,
            labels=labels(report),
            ids=points.ids,
            **arrays,
        ),
        scores=scores,
        report=report,
        dataset=pictures,
        rows=rows,
        faces=None if request.hand is None else request.hand.source.model.faces.numpy(),
    )


def write_evaluation(folder: Path, evaluation: Evaluation) -> None:
    """Write report.json and predictions.h5 into an existing folder."""
    write_predictions(folder / "predictions.h5", evaluation.predictions)
    (folder / "report.json").write_text(report_text(evaluation.report), encoding="utf-8")


def draw_contact_sheet(
    evaluation: Evaluation, faces: Int[ndarray, "f 3"] | None = None
) -> UInt8[ndarray, "height width 3"]:
    """Draw the best, median and worst samples by MPJPE. faces: to draw a mesh with, if there is one."""
    return contact_sheet(
        evaluation.dataset,
        evaluation.rows,
        title=sheet_title(evaluation.report),
        joints=evaluation.predictions.joints,
        errors_mm=evaluation.scores.errors_mm()["mpjpe_mm"],
        verts=evaluation.predictions.verts,
        faces=faces,
    )


def _mismatch_mm(request: EvaluationRequest, rows: Int64[ndarray, " n"]) -> float:
    """How far the hand model that is to be posed is from the annotations; HmrError for another hand."""
    if request.hand is None:
        return 0.0
    otherwise = "" if request.solver is None else JOINTS_ALONE
    return check_hand_model(request.hand.source, request.hand.layer, request.pack, rows, otherwise=otherwise)


def _pictures(request: EvaluationRequest) -> ImageDataset:
    """The samples as crops to be looked at: those that the model sees, or as much of the published one as is stored."""
    recipe, pack = request.checkpoint.recipe, request.pack
    stored = DataConfig(bbox_expand=min(DataConfig().bbox_expand, pack.info.margin))
    return ImageDataset(
        pack,
        image_size=PICTURE_PX,
        root_joint=request.spec.root_joint,
        data=recipe.data if isinstance(recipe, ImageRecipe) else stored,
        verify=True,
    )


def _compute(
    request: EvaluationRequest,
    rows: Int64[ndarray, " n"],
    *,
    device: torch.device,
    batch_size: int,
    workers: int,
    on_batch: Callable[[int], None],
    on_solved: Callable[[int], None],
) -> tuple[SamplePoints, SamplePoints | HandFit]:
    """The points that the model predicts, and what has their mesh: the solver's hands, or again the points."""
    spec, recipe, solver = request.spec, request.checkpoint.recipe, request.solver
    model, layer = request.checkpoint.model, None if request.hand is None else request.hand.layer
    if layer is not None and spec.needs_hand:
        model.use_hand(layer.model)
    parts = predict(
        model.to(device),
        Loader(open_dataset(spec, recipe, request.pack, layer=layer, verify=True), workers=workers, device=device),
        rows,
        roots=annotated_roots,
        layer=layer,
        batch_size=batch_size,
        on_batch=on_batch,
    )
    if solver is None:
        points = gather(parts)
        return points, points
    points = gather(_joints_only(parts, spec))
    return points, solve(solver, points.ids, points.joints, on_solved)


def _joints_only(parts: Iterable[SamplePoints], spec: ModelSpec) -> Iterator[SamplePoints]:
    """The parts; UsageError at the first that has a mesh already."""
    for part in parts:
        if part.verts is not None:
            raise mesh_already(spec)
        yield part


def _mesh_arrays(mesh: SamplePoints | HandFit) -> dict[str, Any]:
    """The arrays of predictions that concern the mesh."""
    arrays = {"verts": mesh.verts, "rotations": mesh.rotations, "betas": mesh.betas}
    return {name: None if array is None else array.detach().numpy() for name, array in arrays.items()}

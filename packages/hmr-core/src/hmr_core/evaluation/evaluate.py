"""Evaluate a checkpoint on a subset and write what it leaves: report.json and predictions.h5."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int, Int64, UInt8
from numpy import ndarray

from hmr_core.data.hand_model_check import check_hand_model, comparable
from hmr_core.data.image_dataset import ImageDataset
from hmr_core.data.loading import Loader
from hmr_core.data.open_dataset import open_dataset
from hmr_core.data.pack.entry import check_pack
from hmr_core.data.sides import mirror_left_arrays
from hmr_core.evaluation.comparing.groups import Annotated
from hmr_core.evaluation.comparing.report_intervals import report_intervals
from hmr_core.evaluation.official import ROOT_GIVEN, check_mesh, score_officially
from hmr_core.evaluation.predictions import GIVEN, Predictions, labels, write_predictions
from hmr_core.evaluation.report import NO_MESH, make_report, model_baseline, model_notes, report_text, sheet_title
from hmr_core.evaluation.report_keys import Report
from hmr_core.evaluation.results import PREDICTIONS, REPORT
from hmr_core.evaluation.scoring import Scores, score
from hmr_core.evaluation.subject import EvaluationSubject, Subject
from hmr_core.hand.solver import HandFit
from hmr_core.inference.predict import SamplePoints, annotated_roots
from hmr_core.inference.shared import predict_shared
from hmr_core.inference.solving import solve
from hmr_core.plugins.official import SubmissionForm
from hmr_core.plugins.solver_presets import mesh_already
from hmr_core.processes import ALONE, PATIENCE_S, Place, joined
from hmr_core.viz.contact_sheet import contact_sheet

PICTURE_PX = 192
"""The side of the crops that pictures of an evaluation show."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """A whole evaluation: the predictions, their scores, the report, and the crops and faces for pictures of it.

    faces: of the hand model that was posed; None where none was. folder: where the results were written; None if they
    were not.
    """

    predictions: Predictions
    scores: Scores
    report: Report
    dataset: ImageDataset
    rows: Int64[ndarray, " n"]
    faces: Int[ndarray, "f 3"] | None = None
    folder: Path | None = None


def evaluate(
    subject: EvaluationSubject,
    *,
    device: torch.device,
    batch_size: int,
    workers: int,
    on_batch: Callable[[int], None] = lambda samples: None,
    on_solved: Callable[[int], None] = lambda hands: None,
    on_scored: Callable[[int], None] = lambda samples: None,
) -> Evaluation:
    """Score every sample of a subset by the published protocol (root depth given; PA with reflections), in one process.

    A model of images gives joints, and a mesh of its own or by the solver; the joints that are scored are the model's.
    A model of joints gives both, posed with the hand model.
    on_batch is told how many samples were done; then on_solved how many hands, first of all 0 when solving begins; then
    on_scored how many samples, first of all 0.

    Raises UsageError for a solver and a model that has a mesh already; HmrError, before anything is predicted, for a
    pack of which every metric would be wrong, and for another hand model than the annotations'; and when a sample
    cannot be read, its prediction is not finite, or it has no mesh.
    """
    evaluation = evaluate_shared(
        subject,
        ALONE,
        device=device,
        batch_size=batch_size,
        workers=workers,
        on_batch=on_batch,
        on_solved=on_solved,
        on_scored=on_scored,
    )
    assert evaluation is not None  # a single process is the first
    return evaluation


def evaluate_shared(
    subject: EvaluationSubject,
    where: Place,
    *,
    device: torch.device,
    batch_size: int,
    workers: int,
    on_batch: Callable[[int], None] = lambda samples: None,
    on_solved: Callable[[int], None] = lambda hands: None,
    on_scored: Callable[[int], None] = lambda samples: None,
) -> Evaluation | None:
    """As `evaluate`, by several processes that predict together. The first of them solves and scores; None on the
    others, which are done when they have predicted. on_batch is told of this process's own samples.
    """
    started = time.monotonic()
    rows = subject.pack.indices(subject.split, subject.subset)
    warnings = check_pack(subject.pack, subject.split, subject.subset)
    subject = replace(subject, notes=[*subject.notes, *warnings])
    mismatch_mm = _mismatch_mm(subject, rows)
    pictures = pictures_of(subject)
    points = _predict(subject, rows, where, device=device, batch_size=batch_size, workers=workers, on_batch=on_batch)
    if points is None:
        return None
    solver = subject.solver
    # All hands at once, whoever predicted them: the published fit shares a prior among consecutive samples.
    mesh = points if solver is None else solve(solver, points.ids, points.joints, on_solved)
    arrays: dict[str, Any] = {
        "joints": points.joints.numpy(),
        "confidence": None if points.confidence is None else points.confidence.numpy(),
        **_mesh_arrays(mesh),
    }
    arrays = mirror_left_arrays(subject.pack, rows, arrays)
    on_scored(0)
    scores = score(subject.pack, rows, arrays["joints"], arrays["verts"], further=True, on_scored=on_scored)
    report = make_report(
        subject,
        scores,
        notes=[*scores.truth_notes(), *model_notes(subject, mismatch_mm)],
        missing=scores.missing(NO_MESH if arrays["verts"] is None else None),
        baseline=model_baseline(subject, pictures, rows),
        mismatch_mm=mismatch_mm,
        device=device.type if where.count > 1 else str(device),
        processes=where.count,
    )
    report["intervals"] = report_intervals(Annotated(subject.pack, rows), scores.errors)
    report["seconds"] = round(time.monotonic() - started, 2)
    return make_evaluation(subject, report, scores, arrays, rows=rows, pictures=pictures)


def make_evaluation(
    subject: Subject,
    report: Report,
    scores: Scores,
    arrays: Mapping[str, Any],
    *,
    rows: Int64[ndarray, " n"],
    pictures: ImageDataset,
) -> Evaluation:
    """What an evaluation leaves. arrays: of the predictions, by the names of SHAPES; None for those there are not."""
    if subject.own.rules is not None:
        report["official"] = score_officially(
            subject.own.rules, subject.pack, rows, arrays["joints"], arrays["verts"], root_given=True
        )
        report["notes"].append(ROOT_GIVEN)
    errors = {name: None if e is None else e.astype(np.float32) for name, e in scores.errors_mm().items()}
    columns: dict[str, Any] = {**arrays, **errors}
    return Evaluation(
        predictions=Predictions(
            model=subject.name,
            split=subject.split,
            subset=subject.subset,
            pack=subject.pack.info.digest,
            depth_from=GIVEN,
            labels=labels(report),
            ids=scores.ids,
            **columns,
        ),
        scores=scores,
        report=report,
        dataset=pictures,
        rows=rows,
        faces=None if subject.hand is None else subject.hand.source.model.faces.numpy(),
    )


def write_evaluation(folder: Path, evaluation: Evaluation) -> None:
    """Write report.json and predictions.h5 into an existing folder."""
    write_predictions(folder / PREDICTIONS, evaluation.predictions)
    (folder / REPORT).write_text(report_text(evaluation.report), encoding="utf-8")


def write_submission(folder: Path, form: SubmissionForm, evaluation: Evaluation) -> None:
    """Write the predictions in the form of the data set's authors into an existing folder; HmrError without the mesh
    that it needs.
    """
    found = evaluation.predictions
    check_mesh(form, found.verts is not None)
    form.write(folder, found.split, found.ids, found.joints, found.verts)


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


def _mismatch_mm(subject: EvaluationSubject, rows: Int64[ndarray, " n"]) -> float | None:
    """How far the hand model that is to be posed is from the annotations; HmrError for another hand.

    None where there is no hand model, or no sample has a mesh with rotations and betas to compare it with.
    """
    if subject.hand is None or not len(comparable(subject.pack, rows)):
        return None
    otherwise = () if subject.solver is None else ("Or do without a solver: then the joints alone are scored.",)
    return check_hand_model(subject.hand.source, subject.hand.layer, subject.pack, rows, otherwise=otherwise)


def pictures_of(subject: Subject) -> ImageDataset:
    """The samples as crops to be looked at."""
    return ImageDataset(
        subject.pack, image_size=PICTURE_PX, root_joint=subject.root_joint, data=subject.crop, verify=True
    )


def _predict(
    subject: EvaluationSubject,
    rows: Int64[ndarray, " n"],
    where: Place,
    *,
    device: torch.device,
    batch_size: int,
    workers: int,
    on_batch: Callable[[int], None],
) -> SamplePoints | None:
    """The points that the model predicts, on the first process; UsageError where a solver would make a second mesh."""
    spec, recipe = subject.spec, subject.checkpoint.recipe
    model, layer = subject.checkpoint.model, None if subject.hand is None else subject.hand.layer
    if layer is not None and spec.needs_hand:
        model.use_hand(layer.model)
    loader = Loader(open_dataset(spec, recipe, subject.pack, layer=layer, verify=True), workers=workers, device=device)

    def check_meshes(part: SamplePoints) -> None:
        if part.verts is not None and subject.solver is not None:
            raise mesh_already(spec)
        if subject.own.form is not None:
            check_mesh(subject.own.form, part.verts is not None or subject.solver is not None)

    with joined(where, device, PATIENCE_S) as group:
        return predict_shared(
            group,
            model.to(device),
            loader,
            rows,
            roots=annotated_roots,
            layer=layer,
            batch_size=batch_size,
            check=check_meshes,
            on_batch=on_batch,
        )


def _mesh_arrays(mesh: SamplePoints | HandFit) -> dict[str, Any]:
    """The arrays of predictions that concern the mesh."""
    arrays = {"verts": mesh.verts, "rotations": mesh.rotations, "betas": mesh.betas}
    return {name: None if array is None else array.detach().numpy() for name, array in arrays.items()}

"""Evaluate a predictor of photos on a subset: the hands that it finds, and what stands for those that it does not.

No hand is left out: a mean over the hands that were easy to find would flatter. The ones that were not found have the
mean hand of the training subset, which knows nothing of the image, in their place.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Int64
from numpy import ndarray

from hmr_core.data.hand_model_check import ANOTHER_HAND_MM, check_hand_model, comparable, hand_model_mismatch_mm
from hmr_core.data.image_dataset import ImageDataset
from hmr_core.data.pack.entry import check_pack
from hmr_core.data.pack.reader import Pack
from hmr_core.data.sides import mirror_left, mirror_left_arrays
from hmr_core.errors import HmrError, Option
from hmr_core.evaluation.baseline import baseline_joints, mean_pose_uvd
from hmr_core.evaluation.comparing.groups import Annotated
from hmr_core.evaluation.comparing.report_intervals import report_intervals
from hmr_core.evaluation.evaluate import Evaluation, make_evaluation, pictures_of
from hmr_core.evaluation.predictor_subject import TRAINED_ON, PredictorSubject
from hmr_core.evaluation.report import hand_notes, make_report, mean_pose_baseline
from hmr_core.evaluation.report_keys import Found
from hmr_core.evaluation.scoring import score
from hmr_core.hand.fit.lm import fit_hands
from hmr_core.hand.solver import UnsolvableJointsError
from hmr_core.inference.pack_hands import found_of, predict_hands_shared
from hmr_core.processes import PATIENCE_S, Place, joined
from hmr_core.shell import command_line
from hmr_core.wording import counted

MEAN_OF = "train"
"""The subset whose mean hand stands for those that were not found, where the split has it."""

_MESH = ("verts", "rotations", "betas")

NO_MESH = "the predictor gives no mesh, so there is no mesh metric"


def evaluate_predictor(
    subject: PredictorSubject,
    where: Place,
    *,
    device: torch.device,
    on_sample: Callable[[int], None] = lambda samples: None,
    on_scored: Callable[[int], None] = lambda samples: None,
) -> Evaluation | None:
    """Score every sample of a subset, by several processes that predict together; None on all but the first.

    The root joint's depth is given, as under the published protocol; all points of a hand are scaled to it. The mesh is
    scored where the hand model that was asked for is the annotations', and not where it is the synthetic one by default
    and theirs is another; the report says so. on_sample is told how many samples were done; then on_scored how many
    were scored, first of all 0.
    HmrError, before anything is predicted, for a pack of which every metric would be wrong and for another hand model
    than the annotations', if one was asked for; and when a sample cannot be read, or the predictor fails on it.
    """
    started = time.monotonic()
    pack = subject.pack
    rows = pack.indices(subject.split, subject.subset)
    subject = replace(subject, notes=[*subject.notes, *check_pack(pack, subject.split, subject.subset)])
    mismatch_mm, no_mesh = _compare_hand(subject, rows)
    pictures = pictures_of(subject)
    with joined(where, device, PATIENCE_S) as group:
        points = predict_hands_shared(group, subject.predictor, pack, rows, on_sample=on_sample)
    if points is None:
        return None
    found, points = found_of(points)
    there = found.numpy()
    arrays: dict[str, Any] = {
        name: None if (array := getattr(points, name)) is None else array.numpy()
        for name in ("joints", "confidence", *_MESH)
    }
    if arrays["verts"] is None and no_mesh is None:
        no_mesh = NO_MESH
    if no_mesh is not None:
        arrays |= dict.fromkeys(_MESH)
    stand_in = _stand_in(subject)
    _fill(arrays, subject, stand_in, ~there, pictures, rows)
    on_scored(0)
    scores = score(pack, rows, arrays["joints"], arrays["verts"], further=True, on_scored=on_scored)
    found_alone = _found(pack, rows, arrays, there, stand_in)
    report = make_report(
        subject,
        scores,
        notes=[
            *scores.truth_notes(),
            f"{subject.name} was trained on {TRAINED_ON}",
            *_found_notes(found_alone, len(rows)),
            *hand_notes(subject.hand, mismatch_mm),
        ],
        missing=scores.missing(no_mesh),
        baseline=mean_pose_baseline(subject, MEAN_OF, pictures, rows),
        mismatch_mm=mismatch_mm,
        device=device.type if where.count > 1 else str(device),
        processes=where.count,
    )
    report["found"] = found_alone
    report["intervals"] = report_intervals(Annotated(pack, rows), scores.errors)
    report["seconds"] = round(time.monotonic() - started, 2)
    return make_evaluation(subject, report, scores, arrays, rows=rows, pictures=pictures)


@dataclass(frozen=True, kw_only=True)
class _StandIn:
    """What stands for hands that were not found: the mean hand of these rows. text: what that is."""

    rows: Int64[ndarray, " m"]
    text: str


def _stand_in(subject: PredictorSubject) -> _StandIn:
    """The mean hand of MEAN_OF or, where the split has none, of what is scored itself."""
    text = "the mean hand of {}, in each one's own crop, at its given root depth"
    try:
        return _StandIn(rows=subject.pack.indices(subject.split, MEAN_OF), text=text.format(MEAN_OF))
    except HmrError:
        own = text.format(f"{subject.subset} itself (the pack has no {MEAN_OF} of {subject.split})")
        return _StandIn(rows=subject.pack.indices(subject.split, subject.subset), text=own)


def _fill(
    arrays: dict[str, Any],
    subject: PredictorSubject,
    stand_in: _StandIn,
    lost: Bool[ndarray, " n"],
    pictures: ImageDataset,
    rows: Int64[ndarray, " n"],
) -> None:
    """Put the mean hand where none was found, and as its mesh the one that is fitted to its joints."""
    if not lost.any():
        return
    pack, lost_rows = subject.pack, rows[lost]
    joints = baseline_joints(pictures, lost_rows, mean_pose_uvd(pictures, stand_in.rows))
    arrays["joints"][lost] = joints
    if arrays["confidence"] is not None:
        arrays["confidence"][lost] = 0
    if any(arrays[name] is not None for name in _MESH):
        right = mirror_left(pack, lost_rows, {"joints": torch.from_numpy(joints)})["joints"]
        try:
            fit = fit_hands(subject.hand.layer, right.float())
        except UnsolvableJointsError as error:
            raise HmrError(f"there is no mesh of {stand_in.text}: {error.reason}.") from error
        mesh = mirror_left_arrays(pack, lost_rows, {name: getattr(fit, name).numpy() for name in _MESH})
        for name in _MESH:
            if arrays[name] is not None:
                arrays[name][lost] = mesh[name]


def _found(
    pack: Pack, rows: Int64[ndarray, " n"], arrays: dict[str, Any], there: Bool[ndarray, " n"], stand_in: _StandIn
) -> Found:
    """How many hands were found, and the metrics of these alone."""
    count = int(there.sum())
    metrics = None
    if count:
        verts = None if arrays["verts"] is None else arrays["verts"][there]
        metrics = score(pack, rows[there], arrays["joints"][there], verts).metrics
    mesh = "" if arrays["verts"] is None else "; its mesh is fitted to its joints"
    return {
        "hands": count,
        "share": round(count / len(rows), 6),
        "otherwise": None if count == len(rows) else stand_in.text + mesh,
        "metrics": metrics,
    }


def _found_notes(found: Found, samples: int) -> list[str]:
    if found["otherwise"] is None:
        return ["all hands were found"]
    lost = samples - found["hands"]
    return [
        f"{counted(lost, 'hand')} of {samples} ({100 * lost / samples:.1f} %) {'was' if lost == 1 else 'were'} not "
        f"found; in their place count {found['otherwise']}"
    ]


def _compare_hand(subject: PredictorSubject, rows: Int64[ndarray, " n"]) -> tuple[float | None, str | None]:
    """How far the hand model is from the annotations, None where that is not known; and why no mesh is scored."""
    if not len(comparable(subject.pack, rows)):
        return None, None
    source = subject.hand.source
    if source.path is not None:
        return check_hand_model(source, subject.hand.layer, subject.pack, rows), None
    mismatch_mm = hand_model_mismatch_mm(subject.hand.layer, subject.pack, rows)
    if mismatch_mm <= ANOTHER_HAND_MM:
        return mismatch_mm, None
    theirs = command_line("hmr eval", Option("hand_model", "hand.npz"))
    return mismatch_mm, (
        f"the predicted meshes are of the synthetic hand and the annotated ones of another ({mismatch_mm:.1f} mm "
        f"apart), so there is no mesh metric: `{theirs}` takes theirs"
    )

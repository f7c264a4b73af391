"""A data set's own scoring, and its own files of predictions, as its plugin offers them. Nothing here imports torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from jaxtyping import Bool, Float32
from numpy import ndarray


@dataclass(frozen=True, kw_only=True)
class Truth:
    """What a data set's own scorer is given of samples: metres, camera space, OpenPose joint order.

    joints_valid: which joints are known. verts: None unless all samples have them. left: which are left hands. labels:
    what each sample belongs to, by names of plugins.sample.LABELS, for those that the pack has. root_given: whether the
    predictions were placed by the annotated depth of the hand's root.
    """

    joints: Float32[ndarray, "n 21 3"]
    joints_valid: Bool[ndarray, "n 21"]
    verts: Float32[ndarray, "n 778 3"] | None
    left: Bool[ndarray, " n"]
    labels: Mapping[str, Sequence[str]] = field(default_factory=dict)
    root_given: bool = True


@dataclass(frozen=True, kw_only=True)
class SubmittedPoints:
    """The hands of a file of predictions in a data set's own form, in our units, frame and joint order, in the order of
    the ids that it was read for. verts: None where it has none.
    """

    joints: Float32[ndarray, "n 21 3"]
    verts: Float32[ndarray, "n 778 3"] | None = None


@dataclass(frozen=True, kw_only=True)
class SubmissionForm:
    """The form in which a data set's authors take predictions of a subset.

    files: the names of those that are written. subset: the one that it is of. needs_mesh: whether a prediction of
    joints alone is no submission.
    write: makes the files in an existing folder, of the subset's ids in the data set's order, with joints and verts in
    metres, camera space and OpenPose order. Takes the folder, the split, the ids, the joints, and the verts or None.
    read: takes such a file, the split and the subset's ids; HmrError for a file that is damaged, of another length, or
    of numbers that are not finite.
    """

    files: tuple[str, ...]
    subset: str
    needs_mesh: bool
    write: Callable[[Path, str, Sequence[str], ndarray, ndarray | None], None]
    read: Callable[[Path, str, Sequence[str]], SubmittedPoints]


@dataclass(frozen=True, kw_only=True)
class OfficialRules:
    """How a data set's authors score predictions.

    name: of the scorer, as a report names it. rules: what it does, one sentence each: which points, which root, which
    alignment, means over what, in which units.
    score: the metrics by the names that the scorer has for them, None for those that the predictions or the truth do
    not allow. Takes the truth, predicted joints and predicted verts or None, in metres, camera space, OpenPose order.
    submission: the form of predictions that the authors take; None where they take none.
    """

    name: str
    rules: tuple[str, ...]
    score: Callable[[Truth, ndarray, ndarray | None], dict[str, float | None]]
    submission: SubmissionForm | None = None

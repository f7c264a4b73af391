"""Scoring by a data set's own rules, and files of predictions in its own form, as its plugin has them."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float32, Int64
from numpy import ndarray

from hmr_core.data.known import has_truth
from hmr_core.data.pack.reader import Pack
from hmr_core.errors import HmrError, Option, UsageError
from hmr_core.evaluation.protocols import OFFICIAL
from hmr_core.evaluation.report_keys import OfficialRecord
from hmr_core.plugins.official import OfficialRules, SubmissionForm, Truth
from hmr_core.plugins.registry import Registry
from hmr_core.plugins.specs import DatasetSpec

ROOT_GIVEN = (
    "the annotations' depth of the root joint placed the predictions: official metrics without an alignment are not "
    "those of a submission that is made without it"
)


@dataclass(frozen=True, kw_only=True)
class OwnForms:
    """What of a data set's own an evaluation is asked for: its rules, its form of predictions; None where not."""

    rules: OfficialRules | None = None
    form: SubmissionForm | None = None


NOTHING_OWN = OwnForms()


def own_forms(pack: Pack, split: str, subset: str, registry: Registry, *, official: bool, submitted: bool) -> OwnForms:
    """Those that are asked for, looked up and checked as official_rules and submission_form have it."""
    return OwnForms(
        rules=official_rules(pack, split, subset, registry) if official else None,
        form=submission_form(pack, split, subset, registry) if submitted else None,
    )


def official_rules(pack: Pack, split: str, subset: str, registry: Registry) -> OfficialRules:
    """The rules of a pack's data set, where a subset of it can be scored by them.

    Raises UsageError for a data set that is not installed, HmrError for one without rules, and for a subset without
    truth.
    """
    found = spec_of(pack, registry)
    if found.rules is None:
        those = ", ".join(sorted(name for name, spec in registry.datasets().items() if spec.rules)) or "none"
        raise HmrError(
            f"{pack.path} is of the data set {found.name}, which has no scoring of its own. Data sets that have: "
            f"{those}.",
            "Leave ",
            Option("protocol", OFFICIAL),
            " out.",
        )
    if not has_truth(pack, pack.indices(split, subset)).any():
        remedy: tuple[str | Option, ...] = (
            "Pack the data set with the annotations of these samples, if they are public",
        )
        if found.rules.submission is not None:
            instead = ", or leave the protocol out and write what its authors score with "
            remedy = (*remedy, instead, Option("submission", "DIR"))
        raise HmrError(
            f"{split} {subset} of {pack.path} has no truth: of each hand, its wrist and box alone are known. So it "
            "cannot be scored here.",
            *remedy,
            ".",
        )
    return found.rules


def submission_form(pack: Pack, split: str, subset: str, registry: Registry) -> SubmissionForm:
    """The form in which the authors of a pack's data set take predictions of a subset.

    Raises UsageError for a data set that is not installed and for another subset; HmrError for a data set without any.
    """
    rules = spec_of(pack, registry).rules
    form = None if rules is None else rules.submission
    if form is None:
        those = ", ".join(
            sorted(n for n, spec in registry.datasets().items() if spec.rules is not None and spec.rules.submission)
        )
        raise HmrError(
            f"{pack.path} is of the data set {pack.info.dataset}, whose authors take no predictions. Those of these "
            f"do: {those or 'none'}.",
            "Leave ",
            Option("submission"),
            " out.",
        )
    if subset != form.subset:
        raise UsageError(
            f"a submission is of {form.subset}, and these are the samples of {subset} of {split}.",
            "Give ",
            Option("subset", form.subset),
            ".",
        )
    return form


def spec_of(pack: Pack, registry: Registry) -> DatasetSpec:
    """The data set that a pack is of; UsageError where its plugin is not installed."""
    return registry.dataset(pack.info.dataset)


def score_officially(
    rules: OfficialRules,
    pack: Pack,
    rows: Int64[ndarray, " n"],
    joints: Float32[ndarray, "n 21 3"],
    verts: Float32[ndarray, "n 778 3"] | None,
    *,
    root_given: bool,
) -> OfficialRecord:
    """What the data set's own scorer says of predictions (metres, camera space) of a pack's rows that have truth."""
    there = has_truth(pack, rows)
    scored = rows[there]
    meshed = bool(pack.verts_valid(scored).all())
    truth = Truth(
        joints=pack.array("joints", scored),
        joints_valid=pack.joints_valid(scored),
        verts=pack.array("verts", scored) if meshed else None,
        left=pack.left(scored),
        labels={name: pack.labels(name, scored) for name in pack.info.labels},
        root_given=root_given,
    )
    metrics = rules.score(truth, joints[there], None if verts is None else verts[there])
    return {"scorer": rules.name, "rules": list(rules.rules), "metrics": metrics}


def check_mesh(form: SubmissionForm, meshed: bool) -> None:
    """HmrError where a submission needs a mesh and there is none."""
    if form.needs_mesh and not meshed:
        raise HmrError(
            f"{form.files[0]} has a mesh of each hand, and these predictions have joints alone.",
            "Add ",
            Option("solver", "lm"),
            ", which makes one of the joints.",
        )

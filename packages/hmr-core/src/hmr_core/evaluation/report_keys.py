"""What report.json holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NotRequired, TypedDict

if TYPE_CHECKING:
    from hmr_core.hand.source import HandModelRecord
    from hmr_core.inference.solving import SolverRecord
    from hmr_core.plugins.run import Digest

Metrics = dict[str, float | None]
"""Metrics by name; None where there is no mesh that they could be of."""


class TrainedOn(TypedDict):
    """What a checkpoint was trained on. split: None where it does not say; of a mixture, the names of its packs.

    mixture: of a mixture alone, its packs.
    """

    split: str | None
    subset: str
    mixture: NotRequired[list[Digest]]


class CheckpointRecord(TypedDict):
    """The checkpoint that was evaluated. epoch: None where it was not trained here. released: None where it was.

    init: the weights that its run started from; None where these were the recipe's own.
    """

    path: str
    blake2b: str
    epoch: int | None
    released: dict[str, Any] | None
    init: dict[str, Any] | None
    trained_on: TrainedOn


class PackRecord(TypedDict):
    """The pack that it was evaluated on."""

    path: str
    blake2b: str
    release: str


class Baseline(TypedDict):
    """The mean pose of a subset: its metrics, or the reason why there are none."""

    subset: str
    metrics: Metrics | None
    reason: NotRequired[str]


class PredictorRecord(TypedDict):
    """The predictor that was evaluated, and its options."""

    name: str
    options: dict[str, Any]


class Found(TypedDict):
    """How many of the hands a predictor found, and their share of all.

    otherwise: what the others were given, with which they count in all other metrics; None where all were found.
    metrics: of those that were found alone, None where none was; absent from what predictions keep of a report.
    """

    hands: int
    share: float
    otherwise: str | None
    metrics: NotRequired[Metrics | None]


class OfficialRecord(TypedDict):
    """What a data set's own scorer says: which scorer, its rules in words, and its metrics by its own names."""

    scorer: str
    rules: list[str]
    metrics: Metrics


class IntervalRecord(TypedDict):
    """A metric's 95 % interval; its ends are None where a single cluster says nothing of others.

    cluster: what was drawn anew, whole, such as sequence; None for single samples. clusters: how many there are.
    """

    low: float | None
    high: float | None
    cluster: str | None
    clusters: int


class SampleErrors(TypedDict):
    """The errors of each sample in mm, in the order of the ids; None for samples without truth, and for those of a mesh
    where there is none.
    """

    id: list[str]
    mpjpe_mm: list[float | None]
    mpvpe_mm: list[float | None] | None
    pa_mpjpe_mm: list[float | None]
    pa_mpvpe_mm: list[float | None] | None


class Report(TypedDict, total=False):
    """A report. That of `hmr eval` has every key; that of `hmr score` has what the predictions file keeps.

    consumes: what the model was given. protocol: of the mesh, with what differs from it. hand_model, hand_layer: None
    where no hand was posed. published: the literature's metrics. scored: how many samples have truth. intervals: of
    those of `metrics` that there are. aligned: metrics after an alignment. more: metrics that other papers quote.
    official: the data set's own metrics, under that protocol. missing: which metrics there are not, and why. notes:
    what a reader of the metrics has to know. processes: how many predicted. started: by what command, where and of
    which code.
    recipe, checkpoint: None for a predictor, which has predictor, trained_on and found in their place.
    """

    model: str
    consumes: str
    split: str
    subset: str
    synthetic: bool
    protocol: str
    solver: SolverRecord | None
    hand_model: HandModelRecord | None
    hand_layer: str | None
    published: dict[str, float]
    recipe: dict[str, Any] | None
    checkpoint: CheckpointRecord | None
    predictor: PredictorRecord
    trained_on: str
    found: Found
    pack: PackRecord
    samples: int
    scored: int
    metrics: Metrics
    intervals: dict[str, IntervalRecord]
    aligned: dict[str, Metrics]
    more: Metrics
    official: OfficialRecord
    missing: list[str]
    notes: list[str]
    baseline: Baseline
    versions: dict[str, str]
    device: str
    processes: int
    seconds: float
    started: dict[str, Any]
    errors: SampleErrors

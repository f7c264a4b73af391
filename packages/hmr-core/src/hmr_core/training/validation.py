"""How a run is validated after each epoch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from jaxtyping import Int64
from numpy import ndarray

from hmr_core.data.loading import Loader
from hmr_core.data.pack.reader import Pack
from hmr_core.data.sides import mirror_left_arrays
from hmr_core.evaluation.scoring import score
from hmr_core.hand.layer import HandLayer
from hmr_core.inference.predict import SamplePoints, annotated_roots
from hmr_core.inference.shared import predict_shared
from hmr_core.nn.model import PoseModel
from hmr_core.processes import Group

Metrics = dict[str, float | None]


@dataclass(frozen=True, kw_only=True)
class Validated:
    """Samples to validate on: rows of the loader's pack. name: of the pack in a mixture; empty where it is alone."""

    name: str
    loader: Loader
    rows: Int64[ndarray, " n"]


def validate(
    group: Group,
    model: PoseModel,
    validated: Sequence[Validated],
    *,
    layer: HandLayer | None,
    batch_size: int,
    on_batch: Callable[[int], None] = lambda samples: None,
) -> Metrics:
    """The metrics of a model with the annotated roots; none where there are no rows.

    Of several packs each has its metrics, as NAME/mpjpe_mm; those without a name are their means, in which each pack
    counts the same, however many samples it has.
    group: the processes that predict, each its share; all are given the metrics. layer: the hand layer, on the CPU, of
    a model that uses the hand. on_batch: is told how many samples of this process's share were done.
    """
    found: dict[str, Metrics] = {}
    for one in validated:
        if len(one.rows):
            points = predict_shared(
                group, model, one.loader, one.rows, roots=annotated_roots, layer=layer, batch_size=batch_size,
                on_batch=on_batch,
            )  # fmt: skip
            (pack,) = one.loader.dataset.packs
            found[one.name] = group.share({} if points is None else _metrics(pack, one.rows, points))
    return found[""] if "" in found else {**_means(found), **_named(found)}


def _means(found: Mapping[str, Metrics]) -> Metrics:
    """The mean of each metric over the packs that have it."""
    means: Metrics = {}
    for metric in next(iter(found.values()), {}):
        values = [value for metrics in found.values() if (value := metrics[metric]) is not None]
        means[metric] = sum(values) / len(values) if values else None
    return means


def _named(found: Mapping[str, Metrics]) -> Metrics:
    return {f"{name}/{metric}": value for name, metrics in found.items() for metric, value in metrics.items()}


def _metrics(pack: Pack, rows: Int64[ndarray, " n"], points: SamplePoints) -> Metrics:
    verts = None if points.verts is None else points.verts.numpy()
    arrays = mirror_left_arrays(pack, rows, {"joints": points.joints.numpy(), "verts": verts})
    return score(pack, rows, arrays["joints"], arrays["verts"]).metrics

"""How a run is validated after each epoch."""

from __future__ import annotations

from collections.abc import Callable

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


def validate(
    group: Group,
    model: PoseModel,
    loader: Loader,
    rows: Int64[ndarray, " n"],
    *,
    layer: HandLayer | None,
    batch_size: int,
    on_batch: Callable[[int], None] = lambda samples: None,
) -> dict[str, float | None]:
    """The metrics of a model on the rows of the loader's pack, with the annotated roots; none where there are no rows.

    group: the processes that predict, each its share; all are given the metrics. layer: the hand layer, on the CPU, of
    a model that uses the hand. on_batch: is told how many samples of this process's share were done.
    """
    if len(rows) == 0:
        return {}
    points = predict_shared(
        group, model, loader, rows, roots=annotated_roots, layer=layer, batch_size=batch_size, on_batch=on_batch
    )
    return group.share({} if points is None else _metrics(loader.dataset.pack, rows, points))


def _metrics(pack: Pack, rows: Int64[ndarray, " n"], points: SamplePoints) -> dict[str, float | None]:
    verts = None if points.verts is None else points.verts.numpy()
    arrays = mirror_left_arrays(pack, rows, {"joints": points.joints.numpy(), "verts": verts})
    return score(pack, rows, arrays["joints"], arrays["verts"]).metrics

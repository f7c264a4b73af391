"""What a run is validated on after each epoch, and how."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int64
from numpy import ndarray

from hmr_core.data.loading import Loader
from hmr_core.data.pack.reader import Pack
from hmr_core.data.sides import mirror_left_arrays
from hmr_core.errors import HmrError
from hmr_core.evaluation.scoring import score
from hmr_core.hand.layer import HandLayer
from hmr_core.inference.predict import annotated_roots, gather, predict
from hmr_core.nn.model import PoseModel
from hmr_core.plugins.recipes import TrainConfig


def validation_rows(pack: Pack, split: str, config: TrainConfig) -> tuple[Int64[ndarray, " n"], tuple[str, ...]]:
    """The rows to validate on, none where the pack has none, and what the user should know about them."""
    try:
        rows = pack.indices(split, "val")
    except HmrError as error:
        return np.zeros(0, dtype=np.int64), (f"no val metrics: {error}",)
    if config.subset == "train+val":
        return rows, ("trains on train+val, as published: the val metrics are of samples seen in training",)
    return rows, ()


def validate(
    model: PoseModel, loader: Loader, rows: Int64[ndarray, " n"], *, layer: HandLayer | None, batch_size: int
) -> dict[str, float | None]:
    """The metrics of a model on the rows of the loader's pack, with the annotated roots; none where there are no rows.

    layer: the hand layer, on the CPU, of a model that uses the hand.
    """
    if len(rows) == 0:
        return {}
    points = gather(predict(model, loader, rows, roots=annotated_roots, layer=layer, batch_size=batch_size))
    pack, verts = loader.dataset.pack, None if points.verts is None else points.verts.numpy()
    arrays = mirror_left_arrays(pack, rows, {"joints": points.joints.numpy(), "verts": verts})
    return score(pack, rows, arrays["joints"], arrays["verts"]).metrics

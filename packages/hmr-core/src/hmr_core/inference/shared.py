"""One prediction by several processes: each predicts a share of the batches, and the first puts them together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Int64
from numpy import ndarray

from hmr_core.data.loading import Loader, split_batches
from hmr_core.errors import HmrError
from hmr_core.hand.layer import HandLayer
from hmr_core.inference.predict import RootSource, SamplePoints, gather, predict
from hmr_core.nn.model import PoseModel
from hmr_core.processes import Group, Place
from hmr_core.wording import listed


def share_size(rows: Int64[ndarray, " n"], batch_size: int, where: Place) -> int:
    """How many of the rows a process predicts."""
    return sum(len(batch) for batch in where.share_of(split_batches(rows, batch_size)))


def predict_shared(
    group: Group,
    model: PoseModel,
    loader: Loader,
    rows: Int64[ndarray, " n"],
    *,
    roots: RootSource,
    layer: HandLayer | None = None,
    batch_size: int,
    check: Callable[[SamplePoints], None] = lambda part: None,
    on_batch: Callable[[int], None] = lambda samples: None,
) -> SamplePoints | None:
    """The points of a model for the given rows of the pack, in order, on the first process; None on the others.

    The batches are those of one process, so the points are the same for any number of processes. check: is given the
    points of each batch, and raises what is wrong with them. on_batch is told how many samples of this process's
    own share were done. The rest is as in `predict`.
    Raises HmrError when the processes did not predict each sample exactly once, besides the errors of `predict`.
    """
    parts = []
    for part in predict(
        model, loader, rows, roots=roots, layer=layer, batch_size=batch_size, on_batch=on_batch, where=group.place
    ):
        check(part)
        parts.append(part)
    if group.count == 1:
        return gather(parts)
    # As one part: a batch's tensors may be views, which would be sent with all that they are views of.
    shares = group.gather([gather(parts)] if parts else [])
    (pack,) = loader.dataset.packs
    return in_order([part for share in shares for part in share], pack.ids(rows)) if group.first else None


def in_order(parts: Sequence[SamplePoints], ids: Sequence[str]) -> SamplePoints:
    """The points of all parts, in the order of the given ids; HmrError unless each id is there exactly once."""
    counts = Counter(name for part in parts for name in part.ids)
    wanted = set(ids)
    wrong = {
        "of no process": [name for name in ids if not counts[name]],
        "of several": [name for name, count in counts.items() if count > 1],
        "not asked for": [name for name in counts if name not in wanted],
    }
    found = [f"{len(names)} {what} ({listed(names)})" for what, names in wrong.items() if names]
    if found:
        raise HmrError(
            f"the processes did not predict each of the {len(ids)} samples exactly once: {'; '.join(found)}. On "
            "several machines, each must have the same pack and the same version of hmr."
        )
    points = gather(parts)
    place = {name: i for i, name in enumerate(points.ids)}
    order = torch.tensor([place[name] for name in ids])
    arrays = {name: array[order] for name, array in vars(points).items() if isinstance(array, torch.Tensor)}
    return SamplePoints(**{**vars(points), **arrays, "ids": list(ids)})

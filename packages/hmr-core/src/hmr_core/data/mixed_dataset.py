"""Samples of several packs in one batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

from hmr_core.data.batch import Batch, BatchSource, Key
from hmr_core.nn.model import TensorRecord

T = TypeVar("T", bound=TensorRecord)


class MixedDataset:
    """The samples of several data sets, which are of one kind: a key's source is the number of the one.

    What a pack lacks is 0 in a batch, and does not count, as in batches of that pack alone.
    """

    def __init__(self, datasets: Sequence[BatchSource]) -> None:
        self._datasets = datasets
        self.packs = tuple(pack for dataset in datasets for pack in dataset.packs)
        self.root_joint = datasets[0].root_joint

    def batch(self, keys: Sequence[Key]) -> Batch:
        """The samples of the keys in their order, each augmented for its own epoch."""
        places: dict[tuple[int, int], list[int]] = {}
        for place, key in enumerate(keys):
            places.setdefault((key.source, key.epoch), []).append(place)
        parts = [self._datasets[source].batch([keys[i] for i in own]) for (source, _), own in places.items()]
        batch = _put_together(parts, [torch.tensor(own) for own in places.values()])
        ids = {
            i: name
            for part, own in zip(parts, places.values(), strict=True)
            for i, name in zip(own, part.ids, strict=True)
        }
        return replace(batch, ids=[ids[i] for i in range(len(keys))])


def _put_together(parts: Sequence[T], places: Sequence[Tensor]) -> T:
    """The tensors of records as those of one; places: of each record's samples in it."""
    first: Any = parts[0]
    together: dict[str, object] = {}
    for field in fields(first):
        values = [getattr(part, field.name) for part in parts]
        if isinstance(values[0], TensorRecord):
            together[field.name] = _put_together(values, places)
        elif isinstance(values[0], Tensor):
            whole = values[0].new_empty(sum(map(len, values)), *values[0].shape[1:])
            for value, place in zip(values, places, strict=True):
                whole[place] = value
            together[field.name] = whole
    return cast("T", replace(first, **together))

"""What goes into a pack: which samples, in which order, and which lists of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hmr_core.data.pack import format as fmt
from hmr_core.data.splits import SUBSETS, split_name, subset_name
from hmr_core.errors import HmrError
from hmr_core.plugins.sample import DatasetReader

ROW_ORDER = ("all", "train+val", "test", "train", "val")
"""The subsets in the order in which their lists give the rows their order."""


def reader_name(reader: DatasetReader) -> str:
    """What a data set's reader is called where it is at fault: its class, with its module."""
    return f"{type(reader).__module__}.{type(reader).__qualname__}"


@dataclass(frozen=True)
class Selection:
    """What goes into a pack: the ids in the order of its rows, and the rows of each split's subsets."""

    ids: list[str]
    rows: dict[str, dict[str, np.ndarray]]

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        """Samples by split and subset."""
        return {split: {name: len(rows) for name, rows in lists.items()} for split, lists in self.rows.items()}

    def digest(self) -> str:
        """BLAKE2b (128 bits, hex) of the ids and of every list with its name."""
        lists = [
            part
            for split, subsets in self.rows.items()
            for name, rows in subsets.items()
            for part in (f"\n{split}/{name} {len(rows)}\n".encode(), rows.tobytes())
        ]
        return fmt.item_checksum("\n".join(self.ids).encode(), *lists).hex()


def select(reader: DatasetReader, splits: Sequence[str] | None, subset: str | None) -> Selection:
    """The samples to pack, in the order in which the lists first name them, and the lists that are then complete.

    With neither splits nor subset, everything that the reader lists. Splits without a subset: their train, val,
    train+val and test. Every list of these splits whose samples are all packed is stored, so that train+val brings
    train and val with it.
    """
    there = reader.splits()
    chosen = list(there) if splits is None else list(dict.fromkeys(split_name(split) for split in splits))
    missing = [split for split in chosen if split not in there]
    if missing or not chosen:
        raise HmrError(
            f"the data set has no lists for split {', '.join(missing) or 'any'}; it has {', '.join(there) or 'none'}. "
            "Unpack the release's image/anno/split and split_train_val, or name other splits with --split."
        )
    wanted = {subset_name(subset)} if subset else set(SUBSETS) if splits is None else set(SUBSETS) - {"all"}
    unlisted = [split for split in chosen if subset and subset not in there[split]]
    if unlisted:
        raise HmrError(
            f"the data set has no list of subset {subset} of {', '.join(unlisted)}; "
            f"of {unlisted[0]} it has {', '.join(there[unlisted[0]])}. Unpack the release's annotations again."
        )
    lists = {split: {name: reader.split_ids(split, name) for name in there[split]} for split in chosen}
    asked = [lists[split][name] for name in ROW_ORDER if name in wanted for split in chosen if name in lists[split]]
    ids = list(dict.fromkeys(sample_id for names in asked for sample_id in names))
    if not ids:
        raise HmrError(
            f"no samples to pack: {subset or 'every subset'} of {', '.join(chosen)} is empty in this data set. "
            "Name another --subset or --split."
        )
    for sample_id in ids:
        if not (isinstance(sample_id, str) and sample_id and sample_id.isascii() and sample_id.isprintable()):
            raise HmrError(
                f"the data set's reader ({reader_name(reader)}) lists a sample with the id {sample_id!a}. An id is of "
                "printable ASCII characters, one at least; give the sample another."
            )
    row = {sample_id: i for i, sample_id in enumerate(ids)}
    rows = {
        split: {
            name: np.array([row[sample_id] for sample_id in names], dtype=fmt.INDEX_DTYPE)
            for name, names in subsets.items()
            if all(sample_id in row for sample_id in names)
        }
        for split, subsets in lists.items()
    }
    return Selection(ids, rows)

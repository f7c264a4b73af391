"""What goes into a pack: which samples, in which order, and which lists of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hmr_core.data.pack import format as fmt
from hmr_core.data.splits import WHOLE, find_split, find_subset, is_name
from hmr_core.errors import HmrError, Option, UsageError
from hmr_core.plugins.sample import DatasetReader

ROW_ORDER = (WHOLE, "train+val", "test", "train", "val")
"""The subsets in the order in which their lists give the rows their order; others come last, as they are listed."""


def reader_name(reader: DatasetReader) -> str:
    """What a data set's reader is called where it is at fault: its class, with its module."""
    return f"{type(reader).__module__}.{type(reader).__qualname__}"


@dataclass(frozen=True)
class Selection:
    """What goes into a pack: the ids in the order of its rows, the rows of each split's subsets, and the splits' other
    names.
    """

    ids: list[str]
    rows: dict[str, dict[str, np.ndarray]]
    aliases: dict[str, str]

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

    With neither splits nor subset, everything that the reader lists. Splits without a subset: all of theirs but `all`,
    whose samples need not be theirs. Every list of these splits whose samples are all packed is stored, so that
    train+val brings train and val with it.
    Raises UsageError for a split or subset that the data set does not have, HmrError for a reader with bad names, and
    whatever HmrError the reader has for a list that there should be.
    """
    there, aliases = reader.splits(), dict(reader.aliases)
    _check_names(reader, there)
    where = f"the data set {reader.release}"
    chosen = list(dict.fromkeys(there if splits is None else (find_split(s, there, aliases, where) for s in splits)))
    if not chosen:
        raise HmrError(f"{where} has no lists of samples, so there is nothing to pack.")
    if subset is not None:
        for split in chosen:
            try:
                find_subset(subset, split, there[split], where)
            except UsageError as error:
                raise _explained(error, reader, split, subset) from error
    lists = {split: {name: reader.split_ids(split, name) for name in there[split]} for split in chosen}

    def wanted(name: str) -> bool:
        return name == subset if subset is not None else splits is None or name != WHOLE

    named = dict.fromkeys(name for split in chosen for name in lists[split] if wanted(name))
    order = [*(name for name in ROW_ORDER if name in named), *(name for name in named if name not in ROW_ORDER)]
    asked = [lists[split][name] for name in order for split in chosen if name in lists[split]]
    ids = list(dict.fromkeys(sample_id for names in asked for sample_id in names))
    if not ids:
        raise HmrError(
            f"no samples to pack: {subset or 'every subset'} of {', '.join(chosen)} is empty in this data set.",
            "Name another ",
            Option("subset"),
            " or ",
            Option("split"),
            ".",
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
    return Selection(ids, rows, {alias: split for alias, split in aliases.items() if split in rows})


def _explained(error: UsageError, reader: DatasetReader, split: str, subset: str) -> HmrError:
    """The error of a list that is not there, with why, if the reader can say so, such as annotations that lack."""
    try:
        reader.split_ids(split, subset)
    except UsageError:
        return error
    except HmrError as reason:
        return HmrError(f"{error.message} The reason: {reason.message}", *reason.remedy)
    except Exception:  # a plugin's reader may raise anything
        return error
    return error


def _check_names(reader: DatasetReader, splits: Mapping[str, Sequence[str]]) -> None:
    """HmrError for names of splits or subsets that cannot stand in a path or a command."""
    for name in (*splits, *(subset for subsets in splits.values() for subset in subsets), *reader.aliases):
        if not is_name(name):
            raise HmrError(
                f"the data set's reader ({reader_name(reader)}) names a split or subset {name!a}. A name is of ASCII "
                "letters, digits, dots, dashes, underscores and plus signs, and begins with a letter or digit."
            )

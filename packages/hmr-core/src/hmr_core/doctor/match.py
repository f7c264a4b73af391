"""Whether a pack is of a tree: the same lists, the same annotations, the same frames."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np

from hmr_core.data.pack import format as fmt
from hmr_core.data.pack.encode import stored_annotations
from hmr_core.data.pack.reader import Pack
from hmr_core.doctor.choose import chosen
from hmr_core.doctor.finding import Finding
from hmr_core.doctor.tree import Lists
from hmr_core.errors import HmrError
from hmr_core.files import read_bytes
from hmr_core.plugins.sample import DatasetReader, Sample
from hmr_core.wording import listed

SECTION = "root and data"

SAMPLES = 64
"""How many samples are compared."""


POSED = frozenset({"rotations", "pose_valid"})
"""What a data set whose poses need a hand model of MANO's has with one alone."""


def match(
    root: Path, reader: DatasetReader, there: Lists, pack: Pack, rng: np.random.Generator, *, posed: bool = False
) -> Iterator[Finding]:
    """Whether the pack holds what the tree at root does. there: the tree's lists.

    posed: whether the data set's rotations need a hand model, which the reader was not given: where the pack has them,
    they are not compared.
    """
    this_one = fmt.pack_command(reader.name, root=root)
    again = f"Give the tree that was packed, or pack this one: {this_one}"
    if pack.info.release != reader.release:
        text = f'the pack is of "{pack.info.release}", the tree is "{reader.release}"'
        yield Finding(section=SECTION, level="wrong", text=text, remedy=again)
    yield from _lists(there, pack, again)
    known = {name for subsets in there.values() for ids in subsets.values() for name in ids}
    rows = chosen(len(pack), SAMPLES, rng)
    rows = rows[[name in known for name in pack.ids(rows)]]
    if not len(rows):
        text = "none of the pack's samples that were looked at is in the tree's lists"
        yield Finding(section=SECTION, level="wrong", text=text, remedy=again)
        return
    samples = dict(_readable(reader, pack, rows))
    if len(samples) < len(rows):
        text = f"{len(rows) - len(samples)} of {len(rows)} samples of the pack cannot be read in the tree"
        yield Finding(section=SECTION, level="wrong", text=text, remedy="See what is said of root above.")
    if samples:
        yield from _annotations(samples, pack, again, left_out=POSED if posed else frozenset())
        yield from _frames(samples, pack, again)


def _readable(reader: DatasetReader, pack: Pack, rows: np.ndarray) -> Iterator[tuple[int, Sample]]:
    """The samples of the rows as the tree has them, but for those that it has not."""
    for row, name in zip(rows.tolist(), pack.ids(rows), strict=True):
        with suppress(HmrError):
            yield row, reader.read(name)


def _lists(there: Lists, pack: Pack, again: str) -> Iterator[Finding]:
    same, others = 0, []
    for split, by_subset in pack.info.counts.items():
        for subset, count in by_subset.items():
            packed = pack.ids(pack.indices(split, subset)) if count else []
            tree = there.get(split, {}).get(subset)
            if tree is not None and packed == [*tree]:
                same += 1
            elif tree is None:
                others.append(f"{subset} of {split} (the tree has no such list)")
            elif len(packed) != len(tree):
                others.append(f"{subset} of {split} ({count:,} samples, the tree {len(tree):,})")
            else:
                differ = len(set(packed) ^ set(tree)) // 2
                others.append(f"{subset} of {split} ({f'{differ:,} samples differ' if differ else 'another order'})")
    if others:
        text = f"{len(others)} of {same + len(others)} lists of the pack are not the tree's: {listed(others)}"
        yield Finding(section=SECTION, level="wrong", text=text, remedy=again)
    else:
        text = f"the {same} lists of the pack are the tree's, sample by sample"
        yield Finding(section=SECTION, level="ok", text=text)


def _annotations(there: Mapping[int, Sample], pack: Pack, again: str, *, left_out: frozenset[str]) -> Iterator[Finding]:
    compared = [name for name in pack.info.arrays if name not in (*fmt.PLACES, *left_out)]
    arrays = {name: pack.array(name, list(there)) for name in compared}
    differ = [
        sample.id
        for i, sample in enumerate(there.values())
        if not _is_as_packed({name: array[i] for name, array in arrays.items()}, sample)
    ]
    if differ:
        text = f"annotations of {len(differ)} of {len(there)} samples are not the tree's: {listed(differ)}"
        yield Finding(section=SECTION, level="wrong", text=text, remedy=again)
    else:
        yield Finding(section=SECTION, level="ok", text=f"annotations of {len(there)} samples are the tree's")
    if left_out & set(pack.info.arrays):
        text = "the pack's rotations were made with a hand model, and are not compared with the tree"
        yield Finding(section=SECTION, level="note", text=text)


def _is_as_packed(packed: Mapping[str, np.ndarray], sample: Sample) -> bool:
    """Whether a sample has what a pack has of it."""
    try:
        stored = stored_annotations(sample)
    except HmrError:
        return False
    return packed.keys() == stored.keys() and all(np.array_equal(packed[name], stored[name]) for name in packed)


def _frames(there: Mapping[int, Sample], pack: Pack, again: str) -> Iterator[Finding]:
    recorded = pack.frame_checksums(list(there))
    differ = [
        sample.id
        for checksum, sample in zip(recorded, there.values(), strict=True)
        if not _is_of(sample.image_path, checksum.tobytes())
    ]
    if differ:
        text = f"frames of {len(differ)} of {len(there)} samples are gone, or others than were packed: {listed(differ)}"
        yield Finding(section=SECTION, level="wrong", text=text, remedy=again)
    else:
        text = f"frames of {len(there)} samples are, byte for byte, those that were packed"
        yield Finding(section=SECTION, level="ok", text=text)


def _is_of(frame: Path, checksum: bytes) -> bool:
    try:
        return fmt.item_checksum(read_bytes(frame)) == checksum
    except OSError:
        return False

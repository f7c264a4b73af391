"""Whether a pack is of a tree: the same lists, the same annotations, the same frames."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np

from hmr_core.data.pack import format as fmt
from hmr_core.data.pack.encode import MASKS, stored_annotations
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


def match(
    root: Path, reader: DatasetReader, there: Lists, pack: Pack, rng: np.random.Generator, *, posed: bool = False
) -> Iterator[Finding]:
    """Whether the pack holds what the tree at root does. there: the tree's lists.

    posed: whether the data set has more with a hand model, which the reader was not given: where the pack has what the
    tree does not know, it is not compared.
    """
    this_one = fmt.pack_command(reader.name, root=root)
    again = f"Give the tree that was packed, or pack this one: {this_one}"
    with_hand = posed and pack.info.release.startswith(f"{reader.release}, ")  # which names the hand model then
    if pack.info.release != reader.release and not with_hand:
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
        yield from _annotations(samples, pack, again, posed=posed)
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


def _annotations(there: Mapping[int, Sample], pack: Pack, again: str, *, posed: bool) -> Iterator[Finding]:
    compared = [name for name in pack.info.arrays if name not in fmt.PLACES]
    arrays = {name: pack.array(name, list(there)) for name in compared}
    differ, made = [], set[str]()
    for i, sample in enumerate(there.values()):
        packed = {name: array[i] for name, array in arrays.items()}
        by_hand = _made_by_hand(packed, sample) if posed else frozenset()
        made |= by_hand - MASKS.keys()
        if not _is_as_packed(packed, sample, by_hand):
            differ.append(sample.id)
    if differ:
        text = f"annotations of {len(differ)} of {len(there)} samples are not the tree's: {listed(differ)}"
        yield Finding(section=SECTION, level="wrong", text=text, remedy=again)
    else:
        yield Finding(section=SECTION, level="ok", text=f"annotations of {len(there)} samples are the tree's")
    if made:
        names = " and ".join(name for name in compared if name in made)
        text = f"the pack's {names} were made with a hand model, and are not compared with the tree"
        yield Finding(section=SECTION, level="note", text=text)


def _made_by_hand(packed: Mapping[str, np.ndarray], sample: Sample) -> frozenset[str]:
    """The arrays and masks that a pack has of a sample by a hand model: the tree alone does not know them."""
    stored = _stored(sample)
    made: set[str] = set()
    for mask, names in MASKS.items():
        if packed.get(mask, True):
            unknown = [name for name in names if name in packed and not (name in stored and stored.get(mask, True))]
            made |= {mask, *unknown} if unknown else set()
        elif not all(name in stored for name in names):  # the tree does not speak of them at all
            made |= {mask, *(name for name in names if name not in stored)}
    return frozenset(made)


def _stored(sample: Sample) -> Mapping[str, np.ndarray]:
    """What a pack would have of a sample; nothing of one that could not be packed."""
    try:
        return stored_annotations(sample)
    except HmrError:
        return {}


def _is_as_packed(packed: Mapping[str, np.ndarray], sample: Sample, left_out: frozenset[str]) -> bool:
    """Whether a sample has what a pack has of it, but for some arrays."""
    stored = _stored(sample)
    names = packed.keys() - left_out
    return names == stored.keys() - left_out and all(np.array_equal(packed[name], stored[name]) for name in names)


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

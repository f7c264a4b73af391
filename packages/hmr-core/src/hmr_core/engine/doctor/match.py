"""Whether a pack is of a tree: the same lists, the same annotations, the same frames."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import h5py
import numpy as np

from hmr_core.data.oakink.reader import OakInkReader
from hmr_core.data.pack import format as fmt
from hmr_core.data.pack.reader import Pack
from hmr_core.engine.doctor.choose import chosen
from hmr_core.engine.doctor.finding import Finding, listed

SECTION = "root and data"

SAMPLES = 64
"""How many samples are compared."""

COMPARED = ("joints", "verts", "intrinsics", "mano_pose", "mano_shape", "object_pose")


def match(
    reader: OakInkReader, there: Mapping[str, Mapping[str, list[str]]], pack: Pack, rng: np.random.Generator
) -> Iterator[Finding]:
    """Whether the pack holds what the tree does. there: the tree's lists."""
    again = (
        f"Give the tree that was packed as --root, or pack this one: hmr pack oakink --root {reader.root} --out FILE"
    )
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
    yield from _annotations(reader, pack, rows, again)
    yield from _frames(reader, pack, rows, again)


def _lists(there: Mapping[str, Mapping[str, list[str]]], pack: Pack, again: str) -> Iterator[Finding]:
    same, others = 0, []
    for split, by_subset in pack.info.counts.items():
        for subset, count in by_subset.items():
            packed = pack.ids(pack.indices(split, subset)) if count else []
            tree = there.get(split, {}).get(subset)
            if packed == tree:
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


def _annotations(reader: OakInkReader, pack: Pack, rows: np.ndarray, again: str) -> Iterator[Finding]:
    arrays = {name: pack.array(name, rows) for name in COMPARED}
    differ = []
    for i, name in enumerate(pack.ids(rows)):
        sample = reader.read(name)
        if not all(np.array_equal(array[i], getattr(sample, key)) for key, array in arrays.items()):
            differ.append(name)
    if differ:
        text = f"annotations of {len(differ)} of {len(rows)} samples are not the tree's: {listed(differ)}"
        yield Finding(section=SECTION, level="wrong", text=text, remedy=again)
    else:
        yield Finding(section=SECTION, level="ok", text=f"annotations of {len(rows)} samples are the tree's")


def _frames(reader: OakInkReader, pack: Pack, rows: np.ndarray, again: str) -> Iterator[Finding]:
    with h5py.File(pack.path, "r") as file:
        recorded = file[fmt.SOURCE][rows] if fmt.SOURCE in file else None
    if recorded is None:
        text = "the pack does not record which frames it was made of (an earlier version wrote it)"
        yield Finding(section=SECTION, level="note", text=text, remedy=again)
        return
    differ = [
        name
        for checksum, name in zip(recorded, pack.ids(rows), strict=True)
        if fmt.item_checksum(reader.read(name).image_path.read_bytes()) != checksum.tobytes()
    ]
    if differ:
        text = f"frames of {len(differ)} of {len(rows)} samples have changed since they were packed: {listed(differ)}"
        yield Finding(section=SECTION, level="wrong", text=text, remedy=again)
    else:
        text = f"frames of {len(rows)} samples are, byte for byte, those that were packed"
        yield Finding(section=SECTION, level="ok", text=text)

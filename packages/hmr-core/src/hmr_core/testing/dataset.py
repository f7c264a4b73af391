"""The contract of a data set's reader as a test: `check_dataset("name", root)` in a plugin's own test suite.

Each rule is a function below, in the order in which they are checked; a reader that breaks one fails with an
AssertionError that says what is broken and why it matters.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from hmr_core.data.pack import format as fmt
from hmr_core.data.pack.encode import checked_frame_size, stored_annotations
from hmr_core.data.pack.entry import read_hands
from hmr_core.data.plausibility import plausibility
from hmr_core.data.remarks import misleading
from hmr_core.data.splits import WHOLE, is_name
from hmr_core.errors import HmrError
from hmr_core.plugins.registry import discover
from hmr_core.plugins.sample import DatasetReader, Sample
from hmr_core.plugins.specs import DatasetSpec
from hmr_core.testing.imports import check_import

SAMPLES = 64
"""How many samples are read, evenly spread over each list."""

IN_FRAME = 0.5
"""The share of the known joints that must be in the frame, over all samples that are read."""

LARGEST_PICKLE_BYTES = 1 << 20
"""A reader is sent to each packing process."""


def check_dataset(dataset: str | DatasetSpec, root: Path | str) -> None:
    """Check a data set's reader against the whole contract; AssertionError says what it breaks and why it matters.

    dataset: the name of an installed data set, or its spec. root: the folder of a data set, such as a small made-up one
    in the data set's own layout.
    """
    if isinstance(dataset, str):
        name, registry = dataset, discover()
        try:
            dataset = registry.dataset(name)
        except HmrError as error:
            raise AssertionError(f"{error}") from error
        check_import("dataset", name, registry)
    try:
        reader = dataset.open(Path(root))
    except Exception as error:
        _fail(f"opening {root} raised {type(error).__name__}: {error}")
    _check_names(reader, dataset)
    lists = _check_lists(reader)
    _check_pickles(reader)
    samples = _check_samples(reader, lists)
    _check_images(reader, samples)
    _check_hands(samples)


def _fail(problem: str) -> NoReturn:
    raise AssertionError(problem)


def _check_names(reader: Any, spec: DatasetSpec) -> None:
    """The reader says what it is, and its splits can be named in commands and paths."""
    if not isinstance(reader, DatasetReader):
        members = ("name", "release", "aliases", "splits", "split_ids", "read", "read_image")
        lacking = [name for name in members if not hasattr(reader, name)]
        _fail(f"the reader has no {', '.join(lacking)}: see hmr_core.plugins.sample.DatasetReader")
    if reader.name != spec.name:
        _fail(f'the reader is of "{reader.name}", its spec of "{spec.name}": a pack would name another data set')
    if not (isinstance(reader.release, str) and reader.release.strip()):
        _fail("the reader's release is empty: nobody could tell which data a pack is of")
    splits = reader.splits()
    if not splits or not any(splits.values()):
        _fail("the reader lists no split with a subset: there is nothing to pack")
    names = [*splits, *(subset for subsets in splits.values() for subset in subsets), *reader.aliases]
    if bad := [name for name in names if not is_name(name)]:
        _fail(f"{bad[0]!a} is no name of a split or subset: it becomes part of paths and commands")
    if gone := [alias for alias, split in reader.aliases.items() if split not in splits]:
        _fail(f'the alias "{gone[0]}" is of the split "{reader.aliases[gone[0]]}", which the reader does not list')


def _check_lists(reader: DatasetReader) -> dict[str, dict[str, list[str]]]:
    """Ids are texts that are listed once, test is apart from what is trained on, and lists do not change."""
    lists: dict[str, dict[str, list[str]]] = {}
    for split, subsets in reader.splits().items():
        lists[split] = {subset: list(reader.split_ids(split, subset)) for subset in subsets}
        for subset, ids in lists[split].items():
            if ids != list(reader.split_ids(split, subset)):
                _fail(f"{subset} of {split} is another list when it is asked for again: a pack could not be repeated")
            if bad := [name for name in ids if not (isinstance(name, str) and name.isascii() and name.isprintable())]:
                _fail(f"{subset} of {split} lists the id {bad[0]!a}: an id is of printable ASCII characters")
            if "" in ids:
                _fail(f"{subset} of {split} lists an empty id")
            if len(set(ids)) < len(ids):
                twice = next(name for name in ids if ids.count(name) > 1)
                _fail(f"{subset} of {split} lists {twice} twice: it would count twice in every metric")
        trained = {name for part in ("train", "val", "train+val") for name in lists[split].get(part, [])}
        if shared := trained & set(lists[split].get("test", [])):
            _fail(f"{min(shared)} is in test of {split} and in what is trained on: every metric would be too good")
        if shared := set(lists[split].get("train", [])) & set(lists[split].get("val", [])):
            _fail(f"{min(shared)} is in train and in val of {split}: val would not tell what is learnt")
    if not any(ids for by_subset in lists.values() for ids in by_subset.values()):
        _fail("every list is empty: there is nothing to pack")
    return lists


def _check_pickles(reader: DatasetReader) -> None:
    """The reader can be sent to the packing processes, at once."""
    try:
        data = pickle.dumps(reader)
        pickle.loads(data)
    except Exception as error:
        _fail(f"the reader cannot be pickled ({type(error).__name__}: {error}): packing processes could not have it")
    if len(data) > LARGEST_PICKLE_BYTES:
        _fail(f"the reader is pickled into {len(data):,} bytes, for each packing process: read files when asked")


def _check_samples(reader: DatasetReader, lists: Mapping[str, Mapping[str, Sequence[str]]]) -> list[Sample]:
    """Samples are what was asked for, of the right types, and all have the same arrays; a copy reads the same."""
    copied: DatasetReader = pickle.loads(pickle.dumps(reader))
    chosen: dict[str, None] = {}
    for by_subset in lists.values():
        for subset, ids in by_subset.items():
            if ids and subset != WHOLE:
                places = np.linspace(0, len(ids) - 1, min(len(ids), SAMPLES)).astype(int)
                chosen.update(dict.fromkeys(ids[place] for place in places))
    samples = []
    arrays: dict[str, Any] | None = None
    for sample_id in chosen or {next(ids[0] for lists in lists.values() for ids in lists.values() if ids): None}:
        try:
            sample, again = reader.read(sample_id), copied.read(sample_id)
            stored, other = stored_annotations(sample), stored_annotations(again)
            checked_frame_size(sample)
        except Exception as error:
            _fail(f"reading {sample_id} raised {type(error).__name__}: {error}")
        if sample.id != sample_id:
            _fail(f"read({sample_id!r}) gave the sample {sample.id!r}")
        _check_types(sample)
        if arrays is not None and stored.keys() != arrays.keys():
            differ = ", ".join(sorted(stored.keys() ^ arrays.keys()))
            _fail(f"{sample_id} and the first sample differ in having {differ}: all have the same arrays, or lack them")
        arrays = stored
        if stored.keys() != other.keys() or any(not np.array_equal(stored[name], other[name]) for name in stored):
            _fail(f"a pickled copy of the reader reads {sample_id} otherwise: packs would depend on the processes")
        samples.append(sample)
    return samples


def _check_types(sample: Sample) -> None:
    """Annotations are float32 arrays: a pack stores no other."""
    for name, spec in fmt.ARRAYS.items():
        value = getattr(sample, name, None) if spec.dtype == "<f4" else None
        if value is not None and not (isinstance(value, np.ndarray) and value.dtype == np.float32):
            kind = value.dtype if isinstance(value, np.ndarray) else type(value).__name__
            _fail(f"{name} of {sample.id} are {kind}; valid: a numpy array of float32 {spec.shape}")


def _check_images(reader: DatasetReader, samples: Sequence[Sample]) -> None:
    """An image is RGB of the size that its sample says, and its file is there."""
    for sample in samples:
        try:
            image = reader.read_image(sample)
        except Exception as error:
            _fail(f"reading the image of {sample.id} raised {type(error).__name__}: {error}")
        width, height = sample.frame_size
        if not (isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.shape == (height, width, 3)):
            what = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
            _fail(f"the image of {sample.id} is {what}; its frame_size says uint8 {(height, width, 3)}")
        if not Path(sample.image_path).is_file():
            _fail(f"image_path of {sample.id} is no file: {sample.image_path}; a pack records its checksum")


def _check_hands(samples: Sequence[Sample]) -> None:
    """Annotations are hands in metres, before the camera, in OpenPose order, and mostly in the frame."""
    hands = read_hands(samples)
    if problem := misleading(plausibility(hands)):
        _fail(problem)
    known = hands.joints_valid
    projected = hands.joints @ hands.intrinsics.swapaxes(-1, -2)
    with np.errstate(all="ignore"):
        pixels = projected[..., :2] / projected[..., 2:]
    inside = ((pixels >= 0) & (pixels < hands.frame_px[:, None])).all(-1)
    share = float(inside[known].mean())
    if share < IN_FRAME:
        _fail(f"{100 * share:.0f} % of the joints are in the frame: intrinsics of another image size or camera")

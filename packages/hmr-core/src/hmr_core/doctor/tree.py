"""A data set's tree: its lists, whether every listed sample has its files, whether a selection can be read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from hmr_core.data.lists import list_remarks
from hmr_core.data.pack.entry import read_hands
from hmr_core.data.plausibility import plausibility
from hmr_core.data.projection import projection_remarks
from hmr_core.data.splits import WHOLE
from hmr_core.doctor.choose import chosen
from hmr_core.doctor.counts import counts, not_compared
from hmr_core.doctor.finding import Finding, findings
from hmr_core.errors import HmrError, Option
from hmr_core.plugins.sample import DatasetReader, Sample, reader_notes
from hmr_core.plugins.specs import DatasetSpec
from hmr_core.shell import command_line, flag
from hmr_core.wording import listed

SECTION = "root"

SAMPLES = 32
"""How many samples are read whole."""

Lists = Mapping[str, Mapping[str, Sequence[str]]]
"""The ids of a data set by split and subset."""


def read_lists(reader: DatasetReader) -> dict[str, dict[str, Sequence[str]]]:
    """The ids of every list that the tree has, by split and subset; HmrError for a damaged one."""
    there: dict[str, dict[str, Sequence[str]]] = {}
    everything: Sequence[str] | None = None
    for split, subsets in reader.splits().items():
        there[split] = {subset: reader.split_ids(split, subset) for subset in subsets if subset != WHOLE}
        if WHOLE in subsets:  # the same list for every split, and the longest
            everything = there[split][WHOLE] = everything or reader.split_ids(split, WHOLE)
    return there


def contents(root: Path, spec: DatasetSpec, reader: DatasetReader, there: Lists) -> Iterator[Finding]:
    """What the tree is, its counts beside the documented ones, and whether its lists fit together."""
    yield Finding(section=SECTION, level="ok", text=f"{root} is a tree of {reader.release}")
    if not there:
        text = "the tree has no list of any split"
        yield Finding(section=SECTION, level="wrong", text=text, remedy=spec.again)
        return
    yield from (Finding(section=SECTION, level="note", text=note) for note in reader_notes(reader))
    yield from not_compared(SECTION, spec, reader.release, "the tree")
    found = {split: {subset: len(ids) for subset, ids in subsets.items()} for split, subsets in there.items()}
    yield from counts(SECTION, spec, reader.release, found, spec.again)
    yield from _gaps(there, spec, reader.release)
    wrong = False
    for split, subsets in there.items():
        names = list(dict.fromkeys(name for ids in subsets.values() for name in ids))
        number = {name: i for i, name in enumerate(names)}
        numbers = {subset: np.array([number[name] for name in ids], dtype=np.int64) for subset, ids in subsets.items()}
        remarks = list_remarks(split, numbers, partial(_named, names))
        for finding in findings(SECTION, remarks, spec.again):
            wrong |= finding.level == "wrong"
            yield finding
    if not wrong and any(subsets.get("test") for subsets in there.values()):
        yield Finding(section=SECTION, level="ok", text="no sample of a test subset is in what is trained on")


def files(spec: DatasetSpec, reader: DatasetReader, ids: Sequence[str]) -> Iterator[Finding]:
    """Whether each sample has its files, where the data set says how that is found without opening them."""
    if spec.missing is None:
        return
    wrong = False
    for missing in spec.missing(reader, ids):
        wrong = True
        text = f"{missing.where} lacks {len(missing.names):,} of {missing.total:,} files: {listed(missing.names)}"
        yield Finding(section=SECTION, level="wrong", text=text, remedy=missing.remedy)
    if not wrong:
        yield Finding(section=SECTION, level="ok", text=f"the {len(ids):,} listed samples have all of their files")


def samples(
    root: Path, spec: DatasetSpec, reader: DatasetReader, ids: Sequence[str], rng: np.random.Generator
) -> Iterator[Finding]:
    """Whether a selection of samples can be read, and its annotations are hands."""
    read: list[Sample] = []
    failed: dict[str, str] = {}
    names = [ids[i] for i in chosen(len(ids), SAMPLES, rng)]
    for name in names:
        try:
            sample = reader.read(name)
            reader.read_image(sample)
            read.append(sample)
        except HmrError as error:
            failed[name] = error.worded(flag)
    if failed:
        count = f"{len(failed)} of {len(names)} samples looked at cannot be read ({listed(list(failed))})"
        text = f"{count}; the first: {next(iter(failed.values()))}"
        yield Finding(section=SECTION, level="wrong", text=text, remedy="Unpack again what the error names.")
    else:
        sizes = sorted({sample.frame_size for sample in read})
        shown = " and ".join(f"{width}x{height}" for width, height in sizes[:3]) + (" and others" * (len(sizes) > 3))
        text = f"{len(read)} samples were read: annotations, and frames of {shown} pixels"
        every_one = command_line("hmr pack", spec.name, Option("root", root))
        yield Finding(section=SECTION, level="ok", text=f"{text} (every one is, by `{every_one}`)")
    if read:
        remedy = "Use the annotations as released, and unpack them again if they are."
        remarks = [*plausibility(read_hands(read)), *projection_remarks(read)]
        yield from findings(SECTION, remarks, remedy)


def _named(names: Sequence[str], numbers: Sequence[int]) -> list[str]:
    return [names[number] for number in numbers]


def every_id(there: Lists) -> list[str]:
    """The samples that any list names, once each, in the order in which they are first named."""
    return list(dict.fromkeys(name for subsets in there.values() for ids in subsets.values() for name in ids))


def _gaps(there: Lists, spec: DatasetSpec, release: str) -> Iterator[Finding]:
    """The documented lists that a split lacks, and those that are empty."""
    documented = spec.expected(release)
    for split, subsets in there.items():
        for what, names in (
            ("the tree has no list of", [subset for subset in documented.get(split, {}) if subset not in subsets]),
            ("nothing is listed in", [subset for subset, ids in subsets.items() if not ids]),
        ):
            if names:
                text = f"{split}: {what} {', '.join(names)}"
                yield Finding(section=SECTION, level="warning", text=text, remedy=spec.again)

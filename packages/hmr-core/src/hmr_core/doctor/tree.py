"""The release's tree: its lists, whether every listed sample has its files, whether a selection can be read."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from hmr_core.data.lists import list_remarks
from hmr_core.data.oakink.layout import ANNOTATIONS, FRAMES, NAME, RELEASE, SUBSETS, SampleKey
from hmr_core.data.oakink.reader import OakInkReader
from hmr_core.data.pack.entry import read_hands
from hmr_core.data.plausibility import plausibility
from hmr_core.doctor.choose import chosen
from hmr_core.doctor.counts import counts
from hmr_core.doctor.finding import Finding, findings
from hmr_core.errors import HmrError, Option
from hmr_core.plugins.sample import Sample
from hmr_core.shell import command_line, flag
from hmr_core.wording import listed

SECTION = "root"

SAMPLES = 32
"""How many samples are read whole."""

AGAIN = "Unpack the release's annotations again (image/anno/split, split_train_val, seq_all.json)."


def read_lists(reader: OakInkReader) -> dict[str, dict[str, list[str]]]:
    """The ids of every list that the tree has, by split and subset; HmrError for a damaged one."""
    there: dict[str, dict[str, list[str]]] = {}
    everything: list[str] | None = None
    for split, subsets in reader.splits().items():
        there[split] = {subset: reader.split_ids(split, subset) for subset in subsets if subset != "all"}
        if "all" in subsets:  # the same list for every split, and the longest
            everything = there[split]["all"] = everything or reader.split_ids(split, "all")
    return there


def contents(reader: OakInkReader, there: Mapping[str, Mapping[str, list[str]]]) -> Iterator[Finding]:
    """What the tree is, its counts beside the documented ones, and whether its lists fit together."""
    yield Finding(section=SECTION, level="ok", text=f"{reader.root} is a tree of {reader.release}")
    if not there:
        text = "the tree has no list of any split"
        yield Finding(section=SECTION, level="wrong", text=text, remedy=AGAIN)
        return
    if reader.release != RELEASE:
        text = "the tree is not the release, so that its counts are not compared with documented ones"
        yield Finding(section=SECTION, level="note", text=text)
    found = {split: {subset: len(ids) for subset, ids in subsets.items()} for split, subsets in there.items()}
    yield from counts(SECTION, reader.release, found, AGAIN)
    yield from _gaps(there)
    wrong = False
    for split, subsets in there.items():
        names = list(dict.fromkeys(name for ids in subsets.values() for name in ids))
        number = {name: i for i, name in enumerate(names)}
        numbers = {subset: np.array([number[name] for name in ids], dtype=np.int64) for subset, ids in subsets.items()}
        remarks = list_remarks(split, numbers, partial(_named, names))
        for finding in findings(SECTION, remarks, AGAIN):
            wrong |= finding.level == "wrong"
            yield finding
    if not wrong and any(subsets.get("test") for subsets in there.values()):
        yield Finding(section=SECTION, level="ok", text="no sample of a test subset is in what is trained on")


def files(reader: OakInkReader, ids: Sequence[str]) -> Iterator[Finding]:
    """Whether each sample has its annotation files and its frame; every folder is listed once, and no file opened."""
    image = reader.root / "image"
    wrong = False
    for folder in ANNOTATIONS:
        names = _names(image / "anno" / folder)
        missing = [f"{sample_id}.pkl" for sample_id in ids if f"{sample_id}.pkl" not in names]
        if missing:
            wrong = True
            remedy = f"Unpack image/anno/{folder} again."
            yield _missing(f"image/anno/{folder}", missing, len(ids), remedy)
    by_folder: dict[str, set[str]] = {}
    for sample_id in ids:
        key = SampleKey.from_id(sample_id)
        by_folder.setdefault(key.sequence, set()).add(key.image_name)
    frames = sum(len(names) for names in by_folder.values())
    absent: list[str] = []
    for sequence, expected in sorted(by_folder.items()):
        found = _names(image / FRAMES / sequence)
        absent += sorted(name for name in expected if name.rpartition("/")[2] not in found)
    if absent:
        wrong = True
        remedy = f"Unpack image/{FRAMES} again: it is an archive in several parts, all of which are needed."
        yield _missing(f"image/{FRAMES}", absent, frames, remedy)
    if not wrong:
        text = f"the {len(ids):,} listed samples have {len(ANNOTATIONS)} annotation files each, and {frames:,} frames"
        yield Finding(section=SECTION, level="ok", text=text)


def samples(reader: OakInkReader, ids: Sequence[str], rng: np.random.Generator) -> Iterator[Finding]:
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
        remedy = "Check the archives by the release's scripts/verify_checksum.py, and unpack them again."
        yield Finding(section=SECTION, level="wrong", text=text, remedy=remedy)
    else:
        width, height = read[0].frame_size
        text = f"{len(read)} samples were read: annotations, and frames of {width}x{height} pixels"
        every_one = command_line("hmr pack", NAME, Option("root", reader.root))
        yield Finding(section=SECTION, level="ok", text=f"{text} (every one is, by `{every_one}`)")
    if read:
        remedy = "Use the annotations as released, and unpack them again if they are."
        yield from findings(SECTION, plausibility(read_hands(read)), remedy)


def _named(names: Sequence[str], numbers: Sequence[int]) -> list[str]:
    return [names[number] for number in numbers]


def every_id(there: Mapping[str, Mapping[str, list[str]]]) -> list[str]:
    """The samples that any list names, once each, in the order in which they are first named."""
    return list(dict.fromkeys(name for subsets in there.values() for ids in subsets.values() for name in ids))


def _gaps(there: Mapping[str, Mapping[str, list[str]]]) -> Iterator[Finding]:
    """The lists that a split lacks, or that are empty."""
    for split, subsets in there.items():
        for what, names in (
            ("the tree has no list of", [subset for subset in SUBSETS if subset not in subsets]),
            ("nothing is listed in", [subset for subset, ids in subsets.items() if not ids]),
        ):
            if names:
                text = f"{split}: {what} {', '.join(names)}"
                yield Finding(section=SECTION, level="warning", text=text, remedy=AGAIN)


def _names(folder: Path) -> set[str]:
    """The names of the files in a folder, links among them; none where there is no such folder."""
    try:
        with os.scandir(folder) as entries:  # which kind an entry is comes with its name; a link's would be asked for
            return {entry.name for entry in entries if entry.is_symlink() or entry.is_file()}
    except (FileNotFoundError, NotADirectoryError):
        return set()


def _missing(where: str, names: Sequence[str], total: int, remedy: str) -> Finding:
    text = f"{where} lacks {len(names):,} of {total:,} files: {listed(names)}"
    return Finding(section=SECTION, level="wrong", text=text, remedy=remedy)

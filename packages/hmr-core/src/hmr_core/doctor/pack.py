"""A pack: whether it opens, what it holds, whether a selection of its samples is undamaged and makes sense."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from hmr_core.data.lists import list_remarks
from hmr_core.data.pack.entry import packed_hands
from hmr_core.data.pack.reader import Pack
from hmr_core.data.plausibility import plausibility
from hmr_core.doctor.choose import chosen
from hmr_core.doctor.counts import RELEASE, counts
from hmr_core.doctor.finding import Finding, findings
from hmr_core.errors import HmrError
from hmr_core.shell import command_line
from hmr_core.wording import listed

SECTION = "data"

IMAGES, ANNOTATIONS = 64, 512
"""How many samples are read whole, and how many's annotations are measured."""


def contents(pack: Pack) -> Iterator[Finding]:
    """What the pack says of itself, and its counts beside the documented ones."""
    info = pack.info
    size = f"{info.size_bytes / 1e9:.2f} GB" if info.size_bytes >= 1e8 else f"{info.size_bytes / 1e6:.1f} MB"
    yield Finding(
        section=SECTION,
        level="ok",
        text=f"{pack.path} opens: {info.release}; {info.samples:,} samples, {info.codec}, {size}, by {info.tool}",
    )
    if info.synthetic:
        text = "the data set is synthetic: its counts are its own, and results on it are labelled synthetic"
        yield Finding(section=SECTION, level="note", text=text, remedy="hmr pack oakink --root OakInk, for the release")
    elif info.release != RELEASE:
        text = f"the data set is not {RELEASE}, so that its counts are not compared with documented ones"
        yield Finding(section=SECTION, level="note", text=text)
    again = (
        "If the pack should hold the whole release, `hmr doctor --root OakInk` tells whether the tree does; then "
        f"`{command_line('hmr pack oakink --root OakInk --out', pack.path, '--force')}`."
    )
    yield from counts(SECTION, info.release, info.counts, again)


def split_lists(pack: Pack) -> Iterator[Finding]:
    """Whether the lists of each split fit together."""
    lists_right = "`hmr doctor --root OakInk` tells whether its own lists are right"
    remedy = f"Pack the data set again; {lists_right}. {_verify(pack)}"
    wrong = False
    for split, by_subset in pack.info.counts.items():
        rows = {subset: pack.indices(split, subset) for subset, count in by_subset.items() if count}
        for finding in findings(SECTION, list_remarks(split, rows, pack.ids), remedy):
            wrong = True
            yield finding
    if not wrong:
        yield Finding(section=SECTION, level="ok", text="no sample of a test subset is in what is trained on")


def integrity(pack: Pack, rng: np.random.Generator) -> Iterator[Finding]:
    """The checksums of a selection of samples."""
    damaged: dict[str, str] = {}
    rows = chosen(len(pack), IMAGES, rng)
    for row in rows.tolist():
        try:
            pack.verify_annotations([row])
            pack.window(row, verify=True)
        except HmrError as error:
            damaged.setdefault(pack.ids([row])[0], str(error))
    if damaged:
        count = f"{len(damaged)} of {len(rows)} samples looked at are damaged ({listed(list(damaged))})"
        text = f"{count}; the first: {next(iter(damaged.values()))}"
        yield Finding(section=SECTION, level="wrong", text=text, remedy=_verify(pack))
        return
    text = f"images and annotations of {len(rows)} samples have their checksums"
    yield Finding(section=SECTION, level="ok", text=f"{text} (every byte: `{_verification(pack)}`)")


def measured(pack: Pack, rng: np.random.Generator) -> Iterator[Finding]:
    """Whether the annotations of a selection of samples are hands."""
    rows = chosen(len(pack), ANNOTATIONS, rng)
    hands = packed_hands(pack, rows)
    remedy = "Look at the tree that was packed: `hmr doctor --root OakInk`. If it is whole, pack it again."
    yield from findings(SECTION, plausibility(hands), remedy)


def _verify(pack: Pack) -> str:
    return f"`{_verification(pack)}` names all that is damaged; copy the file again, or pack the data set again."


def _verification(pack: Pack) -> str:
    return command_line("hmr pack verify", pack.path)

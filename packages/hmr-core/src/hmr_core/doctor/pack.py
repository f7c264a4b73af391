"""A pack: whether it opens, what it holds, whether a selection of its samples is undamaged and makes sense."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from hmr_core.data.known import subset_gaps
from hmr_core.data.lists import list_remarks
from hmr_core.data.pack import format as fmt
from hmr_core.data.pack.entry import packed_hands
from hmr_core.data.pack.reader import Pack
from hmr_core.data.plausibility import plausibility
from hmr_core.doctor.choose import chosen
from hmr_core.doctor.counts import counts, not_compared
from hmr_core.doctor.finding import Finding, findings
from hmr_core.errors import HmrError, Option
from hmr_core.plugins.specs import DatasetSpec
from hmr_core.shell import command_line, flag
from hmr_core.wording import listed

SECTION = "data"

TREE = "FOLDER"
_DOCTOR_TREE = command_line("hmr doctor", Option("root", TREE))

IMAGES, ANNOTATIONS = 64, 512
"""How many samples are read whole, and how many's annotations are measured."""


def contents(pack: Pack, spec: DatasetSpec | None) -> Iterator[Finding]:
    """What the pack says of itself, and its counts beside the documented ones.

    spec: of the pack's data set; None where its plugin is not installed.
    """
    info = pack.info
    size = f"{info.size_bytes / 1e9:.2f} GB" if info.size_bytes >= 1e8 else f"{info.size_bytes / 1e6:.1f} MB"
    yield Finding(
        section=SECTION,
        level="ok",
        text=f"{pack.path} opens: {info.release}; {info.samples:,} samples, {info.codec}, {size}, by {info.tool}",
    )
    if info.synthetic:
        text = "the data set is synthetic: its counts are its own, and results on it are labelled synthetic"
        remedy = f"{command_line('hmr pack', info.dataset, Option('root', TREE))}, for the release"
        yield Finding(section=SECTION, level="note", text=text, remedy=remedy)
    else:
        yield from not_compared(SECTION, spec, info.release, "the data set")
    yield from _annotated(pack)
    yield from (Finding(section=SECTION, level="note", text=gap) for gap in subset_gaps(pack))
    again = (
        f"If the pack should hold the whole release, `{_DOCTOR_TREE}` tells whether the tree does; then "
        f"`{fmt.pack_command(info.dataset, root=TREE, out=pack.path)} {flag(Option('force'))}`."
    )
    yield from counts(SECTION, spec, info.release, info.counts, again)


def _annotated(pack: Pack) -> Iterator[Finding]:
    """What the pack has of optional annotations, where that is not all; left hands and frames of several sizes."""
    rows = np.arange(len(pack))
    absent = [name for name in ("verts", "rotations", "betas") if name not in pack.info.arrays]
    left, sizes = int(pack.left(rows).sum()), pack.frame_sizes()
    parts = [f"no {', '.join(absent)}"] if absent else []
    if "joints_valid" in pack.info.arrays:
        parts.append(f"{100 * float(pack.joints_valid(rows).mean()):.1f} % of the joints are known")
    if left:
        parts.append(f"{left:,} left hands")
    if len(sizes) > 1:
        parts.append(f"frames of {len(sizes)} sizes")
    if parts:
        yield Finding(section=SECTION, level="note" if absent else "ok", text=f"annotations: {'; '.join(parts)}")


def split_lists(pack: Pack) -> Iterator[Finding]:
    """Whether the lists of each split fit together."""
    lists_right = f"`{_DOCTOR_TREE}` tells whether its own lists are right"
    remedy = f"Pack the data set again; {lists_right}. {_verify(pack)}"
    wrong = False
    for split, by_subset in pack.info.counts.items():
        rows = {subset: pack.indices(split, subset) for subset, count in by_subset.items() if count}
        for finding in findings(SECTION, list_remarks(split, rows, pack.ids), remedy):
            wrong |= finding.level == "wrong"
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
            damaged.setdefault(pack.ids([row])[0], error.worded(flag))
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
    remedy = f"Look at the tree that was packed: `{_DOCTOR_TREE}`. If it is whole, pack it again."
    yield from findings(SECTION, plausibility(hands), remedy)


def _verify(pack: Pack) -> str:
    return f"`{_verification(pack)}` names all that is damaged; copy the file again, or pack the data set again."


def _verification(pack: Pack) -> str:
    return command_line("hmr pack verify", pack.path)

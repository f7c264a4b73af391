"""How many samples each split has, beside the documented counts, and whether its lists fit together."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from hmr_core.data.sample import SUBSETS
from hmr_core.engine.doctor.finding import Finding, listed

RELEASE = "OakInk-Image v2.1"
"""The release whose counts are documented; a tree or pack that is something else says so."""

DOCUMENTED: Mapping[str, Mapping[str, int]] = {
    "sp0": {"train": 216_579, "val": 15_470, "train+val": 232_049, "test": 77_330, "all": 314_404},
    "sp1": {"train": 177_490, "val": 6_151, "train+val": 192_532, "test": 83_503, "all": 314_404},
    "sp2": {"train": 214_630, "val": 16_202, "train+val": 230_832, "test": 78_547, "all": 314_404},
}
"""The samples of the release by split, as its documentation has them; sp0-ho has no count of its own there."""

OVERLAPPING = ("sp1",)
"""Where train and val are less than train+val: frames of two hands whose subjects are on both sides are dropped."""


def counts(section: str, release: str, there: Mapping[str, Mapping[str, int]], remedy: str) -> Iterator[Finding]:
    """A line for each split: its counts by subset, and what the release's documentation says.

    Only what calls itself the release is expected to have its counts. remedy: what to do where they differ.
    """
    for split, by_subset in there.items():
        shown = ", ".join(f"{subset} {by_subset[subset]:,}" for subset in SUBSETS if subset in by_subset)
        documented = DOCUMENTED.get(split)
        text = f"{split}: {shown or 'no subset is complete'}"
        if documented is None or release != RELEASE:
            yield Finding(section=section, level="ok", text=text)
            continue
        expected = ", ".join(f"{subset} {count:,}" for subset, count in documented.items())
        differ = [subset for subset, count in documented.items() if by_subset.get(subset, count) != count]
        yield Finding(
            section=section,
            level="warning" if differ else "ok",
            text=f"{text} (documented: {expected})" + (f"; {', '.join(differ)} differ" if differ else ""),
            remedy=remedy if differ else "",
        )


def lists(section: str, split: str, there: Mapping[str, Collection[str]], remedy: str) -> Iterator[Finding]:
    """Whether lists name each sample once, train and val make train+val, and test is apart from what is trained on."""
    sets = {subset: set(names) for subset, names in there.items()}
    problems = []
    for subset, names in sets.items():
        twice = len(there[subset]) - len(names)
        if twice:
            problems.append(f"{subset} lists {twice:,} samples twice")
    training = [subset for subset in ("train+val", "train", "val") if subset in sets]
    leaked = sorted({name for subset in training for name in sets[subset] & sets.get("test", set())})
    if leaked:
        problems.append(f"{len(leaked):,} samples of test are trained on, too ({listed(leaked)})")
    if {"train", "val"} <= sets.keys() and (both := sorted(sets["train"] & sets["val"])):
        problems.append(f"{len(both):,} samples are in train and in val ({listed(both)})")
    if {"train", "val", "train+val"} <= sets.keys():
        parts, whole = sets["train"] | sets["val"], sets["train+val"]
        if more := sorted(parts - whole):
            problems.append(f"{len(more):,} samples of train and val are not in train+val ({listed(more)})")
        if split not in OVERLAPPING and (less := sorted(whole - parts)):
            problems.append(f"{len(less):,} samples of train+val are in neither train nor val ({listed(less)})")
    for problem in problems:
        yield Finding(section=section, level="wrong", text=f"{split}: {problem}", remedy=remedy)

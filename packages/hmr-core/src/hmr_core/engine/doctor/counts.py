"""How many samples each split has, beside the documented counts, and whether its lists fit together."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from hmr_core.data.sample import SUBSETS
from hmr_core.engine.doctor.finding import Finding, listed

RELEASE = "OakInk-Image v2.1"
"""The release whose counts are documented; a tree or pack that is something else says so."""

DOCUMENTED: Mapping[str, Mapping[str, int]] = {
    "sp0": {"train+val": 232_049, "test": 77_330},
    "sp1": {"train+val": 192_532, "test": 83_503},
    "sp2": {"train+val": 230_832, "test": 78_547},
}
"""The samples of the release by split, as published; sp0-ho has no published count."""


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
            text=f"{text} (documented: {expected})" + (f"; {' and '.join(differ)} differ" if differ else ""),
            remedy=remedy if differ else "",
        )


def lists(section: str, split: str, there: Mapping[str, Collection[str]], remedy: str) -> Iterator[Finding]:
    """Whether a split's lists name each sample once, train and val make train+val, and test shares none with it."""
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
        odd = sorted((sets["train"] | sets["val"]) ^ sets["train+val"])
        if odd:
            problems.append(f"train and val together are not train+val: {len(odd):,} samples ({listed(odd)})")
    for problem in problems:
        yield Finding(section=section, level="wrong", text=f"{split}: {problem}", remedy=remedy)

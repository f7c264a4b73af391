"""How many samples each split has, beside the documented counts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from hmr_core.data.splits import SUBSETS
from hmr_core.doctor.finding import Finding

RELEASE = "OakInk-Image v2.1"
"""The release whose counts are documented; a tree or pack that is something else says so."""

DOCUMENTED: Mapping[str, Mapping[str, int]] = {
    "sp0": {"train": 216_579, "val": 15_470, "train+val": 232_049, "test": 77_330, "all": 314_404},
    "sp1": {"train": 177_490, "val": 6_151, "train+val": 192_532, "test": 83_503, "all": 314_404},
    "sp2": {"train": 214_630, "val": 16_202, "train+val": 230_832, "test": 78_547, "all": 314_404},
}
"""The samples of the release by split, as its documentation has them; sp0-ho has no count of its own there."""


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

"""How many samples each split has, beside the documented counts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from hmr_core.data.oakink.documented import DOCUMENTED
from hmr_core.data.oakink.layout import RELEASE
from hmr_core.doctor.finding import Finding


def counts(section: str, release: str, there: Mapping[str, Mapping[str, int]], remedy: str) -> Iterator[Finding]:
    """A line for each split: its counts by subset, and what the release's documentation says.

    Only what calls itself OakInk's release is expected to have its counts. remedy: what to do where they differ.
    """
    for split, by_subset in there.items():
        shown = ", ".join(f"{subset} {count:,}" for subset, count in by_subset.items())
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

"""How many samples each split has, beside the documented counts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from hmr_core.doctor.finding import Finding
from hmr_core.plugins.specs import DatasetSpec


def counts(
    section: str, spec: DatasetSpec | None, release: str, there: Mapping[str, Mapping[str, int]], remedy: str
) -> Iterator[Finding]:
    """A line for each split: its counts by subset, and what the documentation of its release says.

    spec: the data set's; None where its plugin is not installed. remedy: what to do where they differ.
    """
    expected_of = {} if spec is None else spec.expected(release)
    for split, by_subset in there.items():
        shown = ", ".join(f"{subset} {count:,}" for subset, count in by_subset.items())
        documented = expected_of.get(split)
        text = f"{split}: {shown or 'no subset is complete'}"
        if documented is None:
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


def not_compared(section: str, spec: DatasetSpec | None, release: str, what: str) -> Iterator[Finding]:
    """A note where a data set has no documented counts, and where they are of another release than this one.

    what: the subject of the sentence, the tree or the data set.
    """
    if spec is None or spec.expected(release):
        return
    text = spec.undocumented
    if spec.documented:
        text = f"{what} is not {spec.documented_release}, so that its counts are not compared with documented ones"
    if text:
        yield Finding(section=section, level="note", text=text)

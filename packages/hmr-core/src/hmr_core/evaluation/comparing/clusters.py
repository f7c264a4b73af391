"""Which samples are drawn together."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int64
from numpy import ndarray

from hmr_core.errors import UsageError
from hmr_core.evaluation.comparing.groups import UNKNOWN, Annotated, by_label

SAMPLE = "sample"
"""What names that each sample is drawn by itself."""

PREFERRED = ("sequence", "subject")
"""The labels that are drawn by, where nothing else was asked for: the first that the pack has."""


def clusters_of(
    samples: Annotated | None, count: int, name: str | None = None
) -> tuple[str | None, Int64[ndarray, " samples"]]:
    """What a cluster is, None for a sample, and the number of each sample's cluster.

    samples: None without a pack. count: how many there are. name: a label of the pack, or SAMPLE; None for the first of
    PREFERRED that the pack knows. A sample without that label is a cluster of its own. UsageError for a label that the
    pack does not have.
    """
    alone = np.arange(count)
    if name == SAMPLE:
        return None, alone
    for label in PREFERRED if name is None else (name,):
        found = None if samples is None else by_label(samples, label)
        if found is None:
            continue
        of = found.of.copy()
        if UNKNOWN in found.names:
            unknown = of == found.names.index(UNKNOWN)
            of[unknown] = len(found.names) + alone[unknown]
        return label, np.unique(of, return_inverse=True)[1].astype(np.int64)
    if name is None:
        return None, alone
    there = () if samples is None else samples.pack.info.labels
    where = "without the pack" if samples is None else f"in {samples.pack.path}"
    raise UsageError(f'there is no label "{name}" {where} to draw samples by. Valid: {", ".join([*there, SAMPLE])}.')

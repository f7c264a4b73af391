"""Whether the lists of a split fit together: samples named once, test apart from what is trained on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np
from jaxtyping import Bool, Integer
from numpy import ndarray

from hmr_core.data.remarks import Level, Remark
from hmr_core.wording import listed


def list_remarks(
    split: str, lists: Mapping[str, Integer[ndarray, " n"]], ids: Callable[[list[int]], list[str]]
) -> Iterator[Remark]:
    """What is wrong with the lists of a split: each names a sample once, train and val are in train+val and share none,
    and test is apart from what is trained on. Samples of train+val that are in neither part are a note: data sets drop
    some on purpose.

    lists: by subset, the samples' numbers; empty ones, and others, may be among them. ids: what samples are called.
    """
    samples = max((int(rows.max()) + 1 for rows in lists.values() if len(rows)), default=0)
    times = {subset: np.bincount(rows, minlength=samples) for subset, rows in lists.items()}
    named = {subset: count > 0 for subset, count in times.items()}
    nothing = np.zeros(samples, dtype=bool)

    def told(
        which: Bool[ndarray, " samples"], text: str, *, level: Level = "wrong", misleads: bool = False
    ) -> Iterator[Remark]:
        if found := np.flatnonzero(which).tolist():
            shown = listed(sorted(ids(found)))
            yield Remark(level=level, text=f"{split}: {len(found):,} {text} ({shown})", misleads=misleads)

    for subset, count in times.items():
        if twice := np.flatnonzero(count > 1).tolist():
            text = f"{split}: {subset} lists {len(twice):,} samples twice ({listed(sorted(ids(twice)))})"
            yield Remark(level="wrong", text=text, misleads=True)
    train, val, both = (named.get(subset) for subset in ("train", "val", "train+val"))
    trained = nothing.copy()
    for part in (train, val, both):
        trained |= nothing if part is None else part
    yield from told(trained & named.get("test", nothing), "samples of test are trained on, too", misleads=True)
    if train is not None and val is not None:
        yield from told(train & val, "samples are in train and in val")
        if both is not None:
            yield from told((train | val) & ~both, "samples of train and val are not in train+val")
            dropped = both & ~(train | val)
            yield from told(dropped, "samples of train+val are in neither train nor val", level="note")

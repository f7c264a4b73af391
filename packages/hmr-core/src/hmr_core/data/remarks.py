"""What a check says of a data set."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "note", "warning", "wrong"]
"""note: nothing is amiss, but something is not there. warning: works, and is not as it should be."""


@dataclass(frozen=True, kw_only=True)
class Remark:
    """A sentence on a data set. misleads: every metric of it would be wrong, so it is neither packed nor used."""

    level: Level
    text: str
    misleads: bool = False


def misleading(remarks: Iterable[Remark]) -> str:
    """What makes a data set mislead, in one sentence; empty where nothing does."""
    return "; ".join(remark.text for remark in remarks if remark.misleads)

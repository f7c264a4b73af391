"""How often a run is saved in the middle of an epoch: each so many steps, or after so much time."""

from __future__ import annotations

import re
from dataclasses import dataclass

from hmr_core.errors import Option, UsageError

_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True, kw_only=True)
class Every:
    """A number of steps, or seconds; neither for the ends of epochs alone."""

    steps: int | None = None
    seconds: float | None = None

    def due(self, step: int, seconds: float) -> bool:
        """Whether a checkpoint is due. step: how many are done. seconds: since the last checkpoint."""
        if self.steps is not None:
            return step % self.steps == 0
        return self.seconds is not None and seconds >= self.seconds


def parse_every(text: str | int | None) -> Every:
    """Read a number of steps ("500") or a time ("90s", "10m", "2h"); UsageError for anything else."""
    if text is None:
        return Every()
    found = re.fullmatch(r"([1-9]\d{0,8})([smh]?)", str(text))
    if found is None:
        raise UsageError(
            f'"{text}" says not how often to save.',
            Option("checkpoint_every"),
            " takes a number of steps, such as 500, or a time, such as 90s, 10m or 2h.",
        )
    number, unit = int(found[1]), found[2]
    return Every(seconds=number * _SECONDS[unit]) if unit else Every(steps=number)

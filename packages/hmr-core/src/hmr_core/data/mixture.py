"""Which samples of several packs an epoch draws, and in which order.

Each pack is a source, with a share of the samples that every epoch draws. A source is gone through in passes: a pass
visits each of its samples once, in an order of its own, and an epoch goes on where the one before it stopped. So no
sample is drawn twice before all of its source were drawn once, however small or large a share is. All of it is a
function of sizes, shares, seed and epoch: a resumed run draws what it would have drawn, in any number of processes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64
from numpy import ndarray

from hmr_core.errors import UsageError
from hmr_core.wording import listed

_ROUNDING = 1e-9
"""By how much the sum of shares may miss 1: decimal fractions do not add up exactly."""


@dataclass(frozen=True)
class Draw:
    """The samples of an epoch in the order in which they are visited.

    source: the number of each sample's source. turn: the pass over the source in which it is drawn; the first is 1.
    row: of the source's pack.
    """

    source: Int64[ndarray, " n"]
    turn: Int64[ndarray, " n"]
    row: Int64[ndarray, " n"]


def fill_shares(names: Sequence[str], sizes: Sequence[int], given: Sequence[float | None]) -> list[float]:
    """Each source's share of an epoch, 1 in all: as given, or of what is left in proportion to its size.

    names: of the sources, for errors. sizes: how many samples each has. given: None for a source without a share.
    Raises UsageError for a share that is none, and for shares that leave too little or too much.
    """
    for name, share in zip(names, given, strict=True):
        if share is not None and not 0 < share <= 1:
            raise UsageError(f"a share of {share:g} for {name}: a share is above 0, and 1 at most.")
    told = " + ".join(f"{share:g}" for share in given if share is not None)
    rest = 1 - math.fsum(share for share in given if share is not None)
    left = [name for name, share in zip(names, given, strict=True) if share is None]
    if rest < -_ROUNDING:
        raise UsageError(f"the shares {told} are {1 - rest:g} in all: of the samples of an epoch, 1 is all there is.")
    if left and rest < _ROUNDING:
        raise UsageError(f"the shares {told} leave nothing for {listed(left)}: give less than 1 in all.")
    if not left and rest > _ROUNDING:
        raise UsageError(
            f"the shares {told} are {1 - rest:g} in all, and no pack is left to take the rest: make them 1, or give "
            "one pack without a share."
        )
    total = sum(size for size, share in zip(sizes, given, strict=True) if share is None)
    return [rest * size / total if share is None else float(share) for size, share in zip(sizes, given, strict=True)]


def share_counts(shares: Sequence[float], samples: int) -> list[int]:
    """How many of an epoch's samples each source gives: whole numbers, less than 1 off its share, all of them in all.

    shares: 1 in all. By the method of the largest remainder; of equal ones the earlier source is first.
    """
    exact = [share * samples for share in shares]
    counts = [math.floor(count) for count in exact]
    by_remainder = sorted(range(len(exact)), key=lambda i: counts[i] - exact[i])
    for i in by_remainder[: samples - sum(counts)]:
        counts[i] += 1
    return counts


def draw_epoch(rows: Sequence[Int64[ndarray, " _"]], counts: Sequence[int], seed: int, epoch: int) -> Draw:
    """The samples of an epoch: a function of its arguments alone.

    rows: each source's samples. counts: how many of them every epoch draws. epoch: the first is 1.
    """
    source = np.random.default_rng([seed, epoch]).permutation(np.repeat(np.arange(len(rows)), counts))
    turn, row = np.empty_like(source), np.empty_like(source)
    for number, (own, count) in enumerate(zip(rows, counts, strict=True)):
        # In the order of its turns, wherever the others come between.
        turn[source == number], row[source == number] = _in_turns(own, count, (epoch - 1) * count, seed, number)
    return Draw(source, turn, row)


def _in_turns(
    rows: Int64[ndarray, " m"], count: int, start: int, seed: int, number: int
) -> tuple[Int64[ndarray, " n"], Int64[ndarray, " n"]]:
    """The turns and the rows of so many draws of a source, after `start` earlier ones. number: the source's."""
    turn, place = np.divmod(start + np.arange(count), len(rows))
    row = np.empty(count, dtype=np.int64)
    for each in np.unique(turn).tolist():
        # No other source and no epoch's order has these three numbers for a seed.
        order = np.random.default_rng([seed, 1 + each, 1 + number]).permutation(rows)
        row[turn == each] = order[place[turn == each]]
    return 1 + turn, row

"""How numbers and lists are put into a sentence."""

from __future__ import annotations

from collections.abc import Sequence

NAMED = 3
"""How many samples a sentence names."""


def counted(number: int, noun: str) -> str:
    """Word a number and what it counts: `1 epoch`, `2 epochs`, `3 processes`. noun: one that takes an s, or es."""
    ending = "" if number == 1 else "es" if noun.endswith("s") else "s"
    return f"{number} {noun}{ending}"


def listed(names: Sequence[str]) -> str:
    """Name the first of a list, and say how many more there are."""
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more:,} more" if more > 0 else "")

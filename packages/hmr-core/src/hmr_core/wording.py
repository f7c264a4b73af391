"""How numbers stand in a sentence."""

from __future__ import annotations

from collections.abc import Sequence

NAMED = 3
"""How many samples a sentence names."""


def counted(number: int, noun: str) -> str:
    """A number and what it counts: `1 epoch`, `2 epochs`. noun: one that takes an s."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def listed(names: Sequence[str]) -> str:
    """The first names of a list, and how many more there are."""
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more:,} more" if more > 0 else "")

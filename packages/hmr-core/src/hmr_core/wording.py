"""How numbers stand in a sentence."""

from __future__ import annotations


def counted(number: int, noun: str) -> str:
    """A number and what it counts: `1 epoch`, `2 epochs`. noun: one that takes an s."""
    return f"{number} {noun}{'' if number == 1 else 's'}"

"""The names of the hand layers that can be chosen."""

from __future__ import annotations

OWN, MANOTORCH = HAND_LAYERS = ("own", "manotorch")
"""The names, our own layer's first."""

"""The names of the hand layers that a command can choose from."""

from __future__ import annotations

OWN, MANOTORCH = HAND_LAYERS = ("own", "manotorch")
"""The names, our own layer's first."""

"""The state of a video's work as text, so that it can go on later: numbers to the bit, and hands with them."""

from __future__ import annotations

import base64
import json
from dataclasses import fields
from typing import Any

import numpy as np
from numpy import ndarray

from hmr_core.plugins.photo_hands import FoundHand

_ARRAY, _HAND = "array", "found hand"


def state_text(state: dict[str, Any]) -> str:
    """A state of plain values, arrays and found hands as JSON."""
    return json.dumps(state, default=_plain)


def read_state(text: str) -> dict[str, Any]:
    """The state in a text; ValueError, KeyError or TypeError where there is none."""
    state: dict[str, Any] = json.loads(text, object_hook=_value)
    return state


def _plain(value: object) -> dict[str, Any]:
    if isinstance(value, ndarray):
        content = base64.b64encode(np.ascontiguousarray(value).tobytes()).decode("ascii")
        return {_ARRAY: content, "type": value.dtype.str, "shape": list(value.shape)}
    if isinstance(value, FoundHand):
        return {_HAND: {part.name: getattr(value, part.name) for part in fields(value)}}
    raise TypeError(f"no state: {type(value).__name__}")


def _value(values: dict[str, Any]) -> Any:
    if _ARRAY in values:
        content = np.frombuffer(base64.b64decode(values[_ARRAY]), values["type"])
        return content.reshape(values["shape"]).copy()
    if _HAND in values:
        hand = values[_HAND]
        return FoundHand(**{**hand, "remarks": tuple(hand["remarks"])})
    return values

"""Numbers as users give them: Python's, an array's or a tensor's."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

from hmr_core.errors import UsageError

Number = float | int
Numbers = Sequence[float | int] | ndarray


def as_numbers(given: object) -> Float64[ndarray, "..."] | None:
    """Numbers as an array; None for what holds none, such as text."""
    try:
        array = np.asarray(given)
        return array.astype(np.float64) if array.dtype.kind in "biuf" else None
    except (TypeError, ValueError, RuntimeError):  # ragged lists; tensors of a GPU, or with a gradient
        return None


def number_between(given: object, low: Number, high: Number, *, name: str, valid: str) -> float:
    """One number of a range; UsageError, which says what it is and what is valid, for anything else.

    name: "a depth of {} m", with the place of what was given.
    """
    values = as_numbers(given)
    if values is None or values.ndim != 0:
        raise UsageError(f"{name.format(repr(given))}; valid: {valid}")
    value = float(values)
    if not low <= value <= high:
        raise UsageError(f"{name.format(f'{value:g}')}; valid: {valid}")
    return value

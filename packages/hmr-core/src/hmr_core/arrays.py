"""Make arrays of our own types from the numbers of a file or a plugin; nothing else is taken for a number.

numpy itself makes a number of "12", of true and, with a warning, of a complex number.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy import ndarray

MOST = 100_000
"""How many numbers and lists a value may hold; the largest, a hand's vertices, has 3113."""

NO_NUMBERS = {"b": "true or false", "c": "complex numbers", "S": "text", "U": "text", "M": "dates", "m": "durations"}
"""What is in an array, by its kind, that is no real number; in any other there are objects."""


def real_array(value: Any, dtype: str) -> ndarray:
    """Make an array of a type of numpy's arrays and numbers, tensors, plain numbers, or nested lists of these.

    Numbers that are not finite stay so. Raises ValueError, saying why, for values that are no real numbers (text, even
    of digits, complex numbers, true and false, objects), for numbers that the type does not hold (fractions and too
    large ones as whole numbers, too large ones as floats), for lists of unequal lengths, and for too many numbers
    (MOST).
    """
    _check_leaves(value)
    given = np.asarray(value)
    _check_kind(given)
    with np.errstate(over="ignore", invalid="ignore"):
        array = given.astype(dtype)
    if array.dtype.kind in "iu" and not np.array_equal(array, given):
        raise ValueError(f"it holds numbers that are not whole ones of {8 * array.dtype.itemsize} bits")
    if array.dtype.kind == "f" and not np.array_equal(np.isfinite(array), np.isfinite(given)):
        raise ValueError(f"it holds numbers too large for {8 * array.dtype.itemsize} bits")
    return array


def _check_leaves(value: Any) -> None:
    """ValueError for what is in nested lists and no number, and for too many: lists that share lists make any number of
    them in a small file.
    """
    pending, seen = [value], 0
    while pending:
        item = pending.pop()
        if isinstance(item, list | tuple):
            pending.extend(item)
            seen += 1
        elif type(item) in (int, float):
            seen += 1
        else:
            leaf = np.asarray(item)
            _check_kind(leaf)
            seen += leaf.size
        if seen + len(pending) > MOST:
            raise ValueError(f"it holds more than {MOST} numbers")


def _check_kind(array: ndarray) -> None:
    if array.dtype.kind not in "fiu":
        raise ValueError(f"it holds {NO_NUMBERS.get(array.dtype.kind, 'objects')}")

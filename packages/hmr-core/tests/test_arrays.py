"""Numbers are taken from files and plugins as they are, and nothing is taken for a number that is none."""

from __future__ import annotations

import datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
import torch

from hmr_core.arrays import MOST, real_array


@pytest.mark.parametrize(
    "value",
    [
        np.array([[1, 2.5], [3, 4]]),
        np.array([[1, 2.5], [3, 4]], dtype=">f4"),
        np.array([[1, 2.5], [3, 4]], dtype=np.float16),
        torch.tensor([[1, 2.5], [3, 4]]),
        [[1, 2.5], [3, 4]],
        ((1, np.float64(2.5)), [np.int8(3), np.array(4)]),
        [np.array([1, 2.5]), torch.tensor([3, 4])],
    ],
)
def test_numbers_of_every_kind(value: Any) -> None:
    array = real_array(value, "<f4")
    assert array.dtype == np.float32
    assert array.tolist() == [[1, 2.5], [3, 4]]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("12", "text"),
        (["1", "2"], "text"),
        ([1, "2"], "text"),
        (b"12", "text"),
        (np.array(["1", "2"]), "text"),
        (np.array([b"1"]), "text"),
        (1j, "complex numbers"),
        (np.array([1 + 0j]), "complex numbers"),
        ([1.0, [complex(2, 0)]], "complex numbers"),
        (True, "true or false"),
        ([1.5, False], "true or false"),
        ([1.5, np.bool_(False)], "true or false"),
        (np.array([True]), "true or false"),
        (torch.tensor([True]), "true or false"),
        (None, "objects"),
        ([1.0, None], "objects"),
        ({"a": 1}, "objects"),
        (np.array([1.0, 2.0], dtype=object), "objects"),
        ([Decimal("1.5")], "objects"),
        (np.array([(1, 2)], dtype="i4,i4"), "objects"),
        ([10**40], "objects"),
        (np.array(["2021-09-26"], dtype="M8[D]"), "dates"),
        (np.array([1], dtype="m8[s]"), "durations"),
        ([datetime.date(2021, 9, 26)], "objects"),
    ],
)
def test_what_is_no_number(value: Any, reason: str) -> None:
    for dtype in ("<f4", "<i4"):
        with pytest.raises(ValueError, match=f"^it holds {reason}$"):
            real_array(value, dtype)


def test_numbers_that_a_type_does_not_hold() -> None:
    assert real_array([3.0, -4], "<i4").tolist() == [3, -4]
    for value in (0.5, 2**31, -(2**31) - 1, np.uint64(2**63), np.nan, np.inf):
        with pytest.raises(ValueError, match=r"^it holds numbers that are not whole ones of 32 bits$"):
            real_array(value, "<i4")
    with pytest.raises(ValueError, match=r"^it holds numbers too large for 32 bits$"):
        real_array([1e300, 0], "<f4")
    assert np.isnan(real_array(float("nan"), "<f4"))  # whether that is right its user says, and names the entry


def test_lists_of_unequal_lengths_and_too_many_numbers() -> None:
    with pytest.raises(ValueError, match="inhomogeneous"):
        real_array([[1, 2], [3]], "<f4")
    shared: Any = 0.0
    for _ in range(40):
        shared = [shared, shared]
    for value in (shared, np.zeros(MOST + 1)):
        with pytest.raises(ValueError, match=f"^it holds more than {MOST} numbers$"):
            real_array(value, "<f4")

"""What is said of the lists of a split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from hmr_core.data.lists import list_remarks
from hmr_core.data.remarks import misleading

GOOD = {"train": [4, 0, 1], "val": [2], "train+val": [0, 1, 2, 4], "test": [5, 3], "all": [0, 1, 2, 3, 4, 5]}


def said(split: str, lists: Mapping[str, Sequence[int]]) -> tuple[list[str], str]:
    """What is wrong, and what of it misleads."""
    rows = {subset: np.array(numbers, dtype=np.int32) for subset, numbers in lists.items()}
    remarks = list(list_remarks(split, rows, lambda numbers: [f"s{number}" for number in numbers]))
    assert {remark.level for remark in remarks} <= {"wrong", "note"}
    assert all((remark.level == "note") == ("neither" in remark.text) for remark in remarks)
    return [remark.text for remark in remarks], misleading(remarks)


def test_lists_that_fit_together() -> None:
    for lists in (GOOD, {"test": [1]}, {"train": [], "test": []}, {}, {name: GOOD[name] for name in ("train", "test")}):
        assert said("sp0", lists) == ([], "")


@pytest.mark.parametrize("subset", GOOD)
def test_a_sample_that_is_listed_twice(subset: str) -> None:
    twice = GOOD[subset][0]
    text = f"sp0: {subset} lists 1 samples twice (s{twice})"
    assert said("sp0", GOOD | {subset: [*GOOD[subset], twice]}) == ([text], text)


@pytest.mark.parametrize("subset", ["train", "val", "train+val"])
def test_a_sample_of_test_that_is_trained_on(subset: str) -> None:
    texts, misleads = said("sp0", GOOD | {subset: [*GOOD[subset], 3]})
    assert texts[0] == misleads == "sp0: 1 samples of test are trained on, too (s3)"


def test_train_and_val_that_are_not_train_and_val_together() -> None:
    shared = said("sp0", GOOD | {"val": [2, 4, 1]})
    assert shared == (["sp0: 2 samples are in train and in val (s1, s4)"], "")
    missing = said("sp0", GOOD | {"train+val": [0, 1, 4]})
    assert missing == (["sp0: 1 samples of train and val are not in train+val (s2)"], "")
    less = GOOD | {"train": [0]}
    assert said("sp0", less) == (["sp0: 2 samples of train+val are in neither train nor val (s1, s4)"], "")

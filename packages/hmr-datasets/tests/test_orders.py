"""The orders of joints, against what the data sets' own documentation says of single joints."""

import numpy as np
import pytest

from hmr_core.hand.joints import MANO_TO_OPENPOSE
from hmr_datasets.orders import TIP_FIRST, inverse


@pytest.mark.parametrize("order", [MANO_TO_OPENPOSE, TIP_FIRST])
def test_an_order_and_its_inverse_are_the_same_joints(order: tuple[int, ...]) -> None:
    assert sorted(order) == list(range(21))
    joints = np.random.default_rng(0).normal(size=(21, 3))
    assert (joints[list(order)][list(inverse(order))] == joints).all()


def test_mano_lists_the_tips_last_and_the_thumb_after_the_fingers() -> None:
    theirs = [
        "wrist",
        *(f"{finger}{i}" for finger in "IMPRT" for i in (1, 2, 3)),
        *(f"{finger}4" for finger in "TIMRP"),
    ]
    ours = ["wrist", *(f"{finger}{i}" for finger in "TIMRP" for i in (1, 2, 3, 4))]
    assert [theirs[i] for i in MANO_TO_OPENPOSE] == ours


def test_interhand_lists_each_finger_from_its_tip() -> None:
    theirs = [*(f"{finger}{i}" for finger in "TIMRP" for i in (4, 3, 2, 1)), "wrist"]
    ours = ["wrist", *(f"{finger}{i}" for finger in "TIMRP" for i in (1, 2, 3, 4))]
    assert [theirs[i] for i in TIP_FIRST] == ours

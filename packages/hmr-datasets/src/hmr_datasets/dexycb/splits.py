"""Which samples are in which list: the rules of DexYCB's toolkit, s0 to s3.

Each person's sequences are numbered in the order of their names; the number tells the object, five sequences each, and
the place among those five.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from hmr_datasets.dexycb.layout import SEQUENCES, SERIALS, SUBJECTS

EVERY_SUBJECT, EVERY_SERIAL = tuple(range(len(SUBJECTS))), tuple(range(len(SERIALS)))

TEST_OBJECTS, VAL_OBJECTS = (7, 11, 15), (3, 19)
"""The objects of s3's test and val, as they are grasped by each person: the first is 0."""


@dataclass(frozen=True)
class Rule:
    """The subjects, cameras and sequences of a list, by their numbers."""

    subjects: tuple[int, ...]
    serials: tuple[int, ...]
    sequences: tuple[int, ...]


def _chosen(rule: Callable[[int], bool]) -> tuple[int, ...]:
    return tuple(number for number in range(SEQUENCES) if rule(number))


_EVERY_SEQUENCE = _chosen(lambda number: True)
_FIFTH, _OTHERS = _chosen(lambda number: number % 5 == 4), _chosen(lambda number: number % 5 != 4)


def _of_objects(objects: Iterable[int]) -> tuple[int, ...]:
    objects = set(objects)
    return _chosen(lambda number: number // 5 in objects)


RULES = {
    "s0": {
        "train": Rule(EVERY_SUBJECT, EVERY_SERIAL, _OTHERS),
        "val": Rule((0, 1), EVERY_SERIAL, _FIFTH),
        "test": Rule((2, 3, 4, 5, 6, 7, 8, 9), EVERY_SERIAL, _FIFTH),
    },
    "s1": {
        "train": Rule((0, 1, 2, 3, 4, 5, 9), EVERY_SERIAL, _EVERY_SEQUENCE),
        "val": Rule((6,), EVERY_SERIAL, _EVERY_SEQUENCE),
        "test": Rule((7, 8), EVERY_SERIAL, _EVERY_SEQUENCE),
    },
    "s2": {
        "train": Rule(EVERY_SUBJECT, (0, 1, 2, 3, 4, 5), _EVERY_SEQUENCE),
        "val": Rule(EVERY_SUBJECT, (6,), _EVERY_SEQUENCE),
        "test": Rule(EVERY_SUBJECT, (7,), _EVERY_SEQUENCE),
    },
    "s3": {
        "train": Rule(
            EVERY_SUBJECT,
            EVERY_SERIAL,
            _of_objects(set(range(SEQUENCES // 5)) - {*TEST_OBJECTS, *VAL_OBJECTS}),
        ),
        "val": Rule(EVERY_SUBJECT, EVERY_SERIAL, _of_objects(VAL_OBJECTS)),
        "test": Rule(EVERY_SUBJECT, EVERY_SERIAL, _of_objects(TEST_OBJECTS)),
    },
}
"""The toolkit's lists by split: people, cameras and objects that are known; new people; new cameras; new objects."""

SUBSETS = {
    "train": (("train",), None),
    "val": (("val",), None),
    "train+val": (("train", "val"), None),
    "test": (("test",), None),
    "test-right": (("test",), "right"),
    "test-left": (("test",), "left"),
}
"""The toolkit's lists that each subset is made of, and the only side in it: many papers score right hands alone."""

DOCUMENTED = {"s0": {"train": 406_888}}
"""The samples with a hand, as those count them who train on them (HaMeR's list of data sets); the release has frames
alone.
"""


def rules(split: str, subset: str) -> list[Rule]:
    """The rules of the lists that a subset is made of."""
    return [RULES[split][name] for name in SUBSETS[subset][0]]

"""`check_dataset` passes the readers that keep the contract, and says what each broken one breaks."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hmr_core.plugins.sample import Sample
from hmr_core.testing import check_dataset

sys.path.append(str(Path(__file__).parent))
snapshots = import_module("snapshots")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made: Path = snapshots.make_snapshots(tmp_path_factory.mktemp("snapshots") / "data")
    return made


def test_readers_that_keep_it(root: Path, mini_tree: Path) -> None:
    check_dataset(snapshots.SPEC, root)
    check_dataset("oakink", mini_tree)


class Broken(snapshots.Snapshots):  # type: ignore[misc, name-defined]  # loaded by path
    """Its samples, lists and images are what it is told to make of the data set's."""

    of_sample: Callable[[Sample], Sample] = staticmethod(lambda sample: sample)
    of_list: Callable[[str, list[str]], list[str]] = staticmethod(lambda name, ids: ids)
    of_image: Callable[[np.ndarray], Any] = staticmethod(lambda image: image)

    def __reduce__(self) -> Any:
        return _again, (self.root,)

    def read(self, sample_id: str) -> Sample:
        return type(self).of_sample(super().read(sample_id))

    def split_ids(self, split: str, subset: str) -> list[str]:
        return type(self).of_list(f"{split} {subset}", super().split_ids(split, subset))

    def read_image(self, sample: Sample) -> Any:
        return type(self).of_image(super().read_image(sample))


KINDS: dict[str, Broken] = {}


def _again(root: Path) -> Broken:
    return KINDS[str(root)]


def unpicklable(self: Broken) -> Any:
    raise TypeError("it holds a lock")


def scaled(sample: Sample) -> Sample:
    return replace(sample, joints=sample.joints * np.float32(1000))


BROKEN: dict[str, tuple[dict[str, Any], str]] = {
    "another name": ({"name": "other"}, r'the reader is of "other", its spec of "snapshots"'),
    "no release": ({"release": " "}, "the reader's release is empty"),
    "a bad split": ({"splits": lambda self: {"a/b": ["test"]}}, "'a/b' is no name of a split or subset"),
    "an alias of nothing": ({"aliases": {"x": "y"}}, 'the alias "x" is of the split "y", which the reader does not'),
    "no splits": ({"splits": lambda self: {}, "aliases": {}}, "the reader lists no split with a subset"),
    "twice": ({"of_list": lambda name, ids: [*ids, ids[0]]}, "train of studio lists 00-right twice"),
    "test that is trained on": (
        {"of_list": lambda name, ids: [*ids, "00-right"] if name == "studio test" else ids},
        "00-right is in test of studio and in what is trained on",
    ),
    "an id that is no text": ({"of_list": lambda name, ids: ["Größe"]}, r"lists the id 'Gr\\xf6\\xdfe'"),
    "empty lists": ({"of_list": lambda name, ids: []}, "every list is empty"),
    "no pickle": ({"__reduce__": unpicklable}, r"the reader cannot be pickled \(TypeError: it holds a lock\)"),
    "another sample": ({"of_sample": lambda sample: replace(sample, id="x")}, "gave the sample 'x'"),
    "float64": (
        {"of_sample": lambda sample: given(sample, "joints", sample.joints.astype(np.float64))},
        "joints of 00-right are float64; valid: a numpy array of float32",
    ),
    "a side of its own": ({"of_sample": lambda sample: given(sample, "side", "Right")}, "gave the side 'Right'"),
    "a root that is not known": (
        {"of_sample": lambda sample: replace(sample, joints_valid=np.zeros(21, bool))},
        r"joint 0 \(wrist\) is not known, and models take it as the root",
    ),
    "not finite": (
        {"of_sample": lambda sample: replace(sample, joints_valid=np.ones(21, bool))},
        "gave joints with numbers that are not finite",
    ),
    "masks of some": (
        {"of_sample": lambda sample: replace(sample, joints_valid=None) if sample.id == "02-right" else sample},
        "02-right and the first sample differ in having joints_valid",
    ),
    "another frame": (
        {"of_image": lambda image: image[1:]},
        r"the image of 00-right is uint8 \(239, 320, 3\); its frame_size says uint8 \(240, 320, 3\)",
    ),
    "grey": ({"of_image": lambda image: image[..., 0]}, r"is uint8 \(240, 320\); its frame_size says"),
    "no file": ({"of_sample": lambda sample: replace(sample, image_path=Path("x"))}, "the image of 00-right raised"),
    "millimetres": ({"of_sample": scaled}, "joints look like millimetres"),
    "behind the camera": (
        {"of_sample": lambda sample: replace(sample, joints=sample.joints * np.float32([1, -1, -1]))},
        "joints are behind the camera",
    ),
    "another camera": (
        {
            "of_sample": lambda sample: replace(
                sample, intrinsics=sample.intrinsics + np.float32([[0, 0, 900]] * 2 + [[0] * 3])
            )
        },
        "no joint is in the frame|% of the joints are in the frame",
    ),
}


def given(sample: Sample, name: str, value: object) -> Sample:
    object.__setattr__(sample, name, value)  # past the check of types, which only tests make
    return sample


@pytest.mark.parametrize("name", BROKEN)
def test_readers_that_break_it(root: Path, name: str) -> None:
    changes, text = BROKEN[name]
    members = {key: staticmethod(value) if key.startswith("of_") else value for key, value in changes.items()}
    kind = type("Kind", (Broken,), members)

    def opened(folder: Path) -> Broken:
        KINDS[str(folder)] = kind(folder)
        return KINDS[str(folder)]

    with pytest.raises(AssertionError, match=text):
        check_dataset(replace(snapshots.SPEC, open=opened), root)

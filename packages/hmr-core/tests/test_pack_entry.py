"""Data of which every figure would be wrong are not packed, trained or scored on; a few odd samples are named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hmr_core.data.oakink import OakInkReader
from hmr_core.data.pack import writer
from hmr_core.data.pack.codecs import codec_named
from hmr_core.data.pack.entry import SAMPLES, check_pack
from hmr_core.data.pack.reader import Pack
from hmr_core.data.pack.writer import PackSummary, write_pack
from hmr_core.errors import HmrError
from hmr_core.plugins.sample import Sample

JPEG = codec_named("jpeg:50")


class Changed(OakInkReader):
    """Its samples and lists are what it is told to make of the tree's."""

    of_sample: Callable[[Sample], Sample] = staticmethod(lambda sample: sample)
    of_list: Callable[[str, list[str]], list[str]] = staticmethod(lambda name, ids: ids)
    reads = 0

    def read(self, sample_id: str) -> Sample:
        self.reads += 1
        return type(self).of_sample(super().read(sample_id))

    def split_ids(self, split: str, subset: str) -> list[str]:
        return type(self).of_list(f"{split} {subset}", super().split_ids(split, subset))


def changed(tree: Path, **changes: Callable[..., Any]) -> Changed:
    kind = type("Kind", (Changed,), {name: staticmethod(change) for name, change in changes.items()})
    made: Changed = kind(tree)
    return made


def scaled(sample: Sample, factor: float) -> Sample:
    return replace(sample, joints=sample.joints * np.float32(factor), verts=sample.verts * np.float32(factor))


def skewed(sample: Sample) -> Sample:
    matrix = sample.intrinsics.copy()
    matrix[0, 1] = 30
    return replace(sample, intrinsics=matrix)


def pack(reader: OakInkReader, folder: Path, **options: Any) -> PackSummary:
    return write_pack(reader, folder / "x.h5", codec=JPEG, splits=["sp0"], workers=1, **options)


MISLEADING: dict[str, tuple[dict[str, Callable[..., Any]], str]] = {
    "millimetres": ({"of_sample": lambda sample: scaled(sample, 1000)}, "joints look like millimetres: "),
    "centimetres": ({"of_sample": lambda sample: scaled(sample, 100)}, "joints look like centimetres: "),
    "another order": (
        {"of_sample": lambda sample: replace(sample, joints=sample.joints[::-1].copy())},
        "the tips are in another order: ",
    ),
    "no camera": (
        {"of_sample": lambda sample: replace(sample, intrinsics=sample.intrinsics + np.float32([[0], [0], [0.1]]))},
        "intrinsics are no camera's matrix in ",
    ),
    "trained on": (
        {"of_list": lambda name, ids: [*ids, TEST_ID] if name == "sp0 train+val" else ids},
        "sp0: 1 samples of test are trained on, too (",
    ),
    "twice": (
        {"of_list": lambda name, ids: [*ids, ids[0]] if name == "sp0 test" else ids},
        "sp0: test lists 1 samples twice (",
    ),
}
TEST_ID = "A01001_0001_0000__2021-09-26-19-59-58__0__12__0"


@pytest.fixture(scope="module")
def misleading_packs(mini_tree: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Pack]:
    """Packs as another tool may have made them."""
    assert TEST_ID in OakInkReader(mini_tree).split_ids("sp0", "test")
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writer, "check_data_set", lambda *given: [])
        for name, (changes, _) in MISLEADING.items():
            folder = tmp_path_factory.mktemp("misleading")
            pack(changed(mini_tree, **changes), folder)
            found[name] = Pack(folder / "x.h5")
    return found


@pytest.mark.parametrize("name", MISLEADING)
def test_such_a_data_set_is_not_packed(mini_tree: Path, tmp_path: Path, name: str) -> None:
    changes, text = MISLEADING[name]
    reader = changed(mini_tree, **changes)
    with pytest.raises(HmrError) as error:
        pack(reader, tmp_path)
    start = "this data set is not packed, since every metric of it would be wrong: "
    assert str(error.value).startswith(start + text)
    assert str(error.value).endswith(f"Mend the data set, or its reader ({Changed.__module__}.Kind).")
    assert reader.reads <= SAMPLES + 1  # before any work
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", MISLEADING)
def test_such_a_pack_is_not_used(misleading_packs: dict[str, Pack], name: str) -> None:
    pack = misleading_packs[name]
    for subset in ("train", "test"):
        with pytest.raises(HmrError) as error:
            check_pack(pack, "sp0", subset)
        start = f"{pack.path} is neither trained nor scored on, since every metric of it would be wrong: "
        assert str(error.value).startswith(start + MISLEADING[name][1])
        assert f"`hmr doctor --data {pack.path}` says more" in str(error.value)


def test_a_whole_data_set_is_packed_and_used(mini_tree: Path, mini_pack: Pack, tmp_path: Path) -> None:
    summary = pack(OakInkReader(mini_tree), tmp_path)
    assert (summary.odd, summary.notes) == ([], [])
    for split, counts in mini_pack.info.counts.items():
        for subset in counts:
            assert check_pack(mini_pack, split, subset) == []


def test_a_few_odd_samples_are_packed_and_named(mini_tree: Path, tmp_path: Path) -> None:
    ids = OakInkReader(mini_tree).split_ids("sp0", "train")
    factors = {ids[0]: 1000.0, ids[20]: 0.1}
    reader = changed(mini_tree, of_sample=lambda sample: scaled(sample, factors.get(sample.id, 1.0)))
    summary = pack(reader, tmp_path)
    assert sorted(summary.odd) == sorted(factors)
    packed = Pack(summary.path)
    (warning,) = check_pack(packed, "sp0", "train")
    start = "2 of 57 hands of sp0 train are of no hand's size, or more than 5 m away: "
    assert warning.startswith(f"{start}{', '.join(sorted(factors, key=ids.index))}. Metrics over all samples are off")
    assert check_pack(packed, "sp0", "test") == []


def test_skew_is_told_of(mini_tree: Path, tmp_path: Path) -> None:
    (note,) = pack(changed(mini_tree, of_sample=skewed), tmp_path).notes
    assert note.startswith("cameras have skew, of up to 30 pixels, in 32 of 32 samples (")


def test_samples_that_cannot_be_read_are_named_when_they_are_packed(mini_tree: Path, tmp_path: Path) -> None:
    """What came before them is kept."""
    last = OakInkReader(mini_tree).split_ids("sp0", "test")[-1]

    def fail(sample: Sample) -> Sample:
        if sample.id == last:
            raise RuntimeError("broken")
        return sample

    with pytest.raises(HmrError, match=f"sample {last}: RuntimeError: broken.*What was packed is kept"):
        pack(changed(mini_tree, of_sample=fail), tmp_path)

"""A reader says what is to be said of its data set, and why it lacks a list that there should be."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import pytest

from hmr_core.data.pack.codecs import codec_named
from hmr_core.data.pack.writer import write_pack
from hmr_core.errors import HmrError, UsageError

sys.path.append(str(Path(__file__).parent))
snapshots = import_module("snapshots")


class Lacking(snapshots.Snapshots):  # type: ignore[misc, name-defined]  # loaded by path
    """Two frames were left out, and the annotations of `wild` are not there."""

    notes = ("2 frames have no annotation: left out",)

    def splits(self) -> dict[str, Sequence[str]]:
        return {"studio": ["train", "test"], "wild": []}

    def split_ids(self, split: str, subset: str) -> list[str]:
        if (split, subset) == ("wild", "test"):
            raise HmrError("wild has no annotations.", "Ask for them.")
        ids: list[str] = super().split_ids(split, subset)
        return ids


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made: Path = snapshots.make_snapshots(tmp_path_factory.mktemp("snapshots") / "data")
    return made


def test_notes_are_told_with_what_was_packed(root: Path, tmp_path: Path) -> None:
    packed = {"splits": ["studio"], "subset": "test", "codec": codec_named("jpeg")}
    assert write_pack(Lacking(root), tmp_path / "pack.h5", **packed).notes == list(Lacking.notes)
    assert write_pack(snapshots.Snapshots(root), tmp_path / "other.h5", **packed).notes == []


def test_a_list_that_is_not_there_is_explained(root: Path, tmp_path: Path) -> None:
    with pytest.raises(HmrError, match=r"has no subset") as raised:
        write_pack(Lacking(root), tmp_path / "pack.h5", splits=["wild"], subset="test", codec=codec_named("jpeg"))

    assert str(raised.value) == (
        'the data set synthetic snapshots has no subset "test" of wild. It has: none. The reason: wild has no '
        "annotations. Ask for them."
    )


def test_a_list_that_never_was_is_not(root: Path, tmp_path: Path) -> None:
    """Snapshots raises KeyError for it."""
    with pytest.raises(UsageError, match=r'has no subset "val" of studio\. It has: train, test'):
        write_pack(Lacking(root), tmp_path / "pack.h5", splits=["studio"], subset="val", codec=codec_named("jpeg"))

"""What the doctor says of a pack."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from hmr_core import builtin
from hmr_core.data.oakink import OakInkReader
from hmr_core.data.pack import writer
from hmr_core.data.pack.codecs import codec_named
from hmr_core.data.pack.reader import Pack
from hmr_core.data.pack.writer import write_pack
from hmr_core.doctor import pack as doctor
from hmr_core.doctor.finding import Finding
from hmr_core.plugins.sample import Sample

OAKINK = builtin.hmr_datasets()[0]


class Millimetres(OakInkReader):
    """As data sets are that were exported from millimetres."""

    def read(self, sample_id: str) -> Sample:
        sample = super().read(sample_id)
        return replace(sample, joints=sample.joints * np.float32(1000), verts=sample.verts * np.float32(1000))


class Leaking(OakInkReader):
    """Its lists train on a sample of test."""

    def split_ids(self, split: str, subset: str) -> list[str]:
        ids = super().split_ids(split, subset)
        return [*ids, super().split_ids("sp0", "test")[0]] if (split, subset) == ("sp0", "train+val") else ids


def packed(reader: OakInkReader, folder: Path, splits: Sequence[str] = ("sp0",)) -> Pack:
    """A pack, whatever `hmr pack` itself would say of the data set."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writer, "check_data_set", lambda *given: [])
        write_pack(reader, folder / "pack.h5", splits=splits, codec=codec_named("jpeg:50"))
    return Pack(folder / "pack.h5")


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def shown(findings: Sequence[Finding]) -> list[tuple[str, str]]:
    return [(finding.level, finding.text) for finding in findings]


def test_a_pack_with_other_counts_than_the_release(mini_pack: Pack) -> None:
    found = list(doctor.contents(mini_pack, OAKINK))
    assert found[0].level == "ok"
    assert found[0].text.startswith(f"{mini_pack.path} opens: OakInk-Image v2.1; 96 samples, png, ")
    assert [finding.level for finding in found[1:]] == ["warning", "warning", "warning", "ok"]
    assert found[2].text == (
        "sp1: train 38, val 10, train+val 48, test 48, all 96 (documented: train 177,490, val 6,151, "
        "train+val 192,532, test 83,503, all 314,404); train, val, train+val, test, all differ"
    )
    assert found[2].remedy == (
        "If the pack should hold the whole release, `hmr doctor --root FOLDER` tells whether the tree does; then "
        f"`hmr pack oakink --root FOLDER --out {mini_pack.path} --force`."
    )


def test_a_synthetic_pack_is_called_so(synthetic_pack_path: Path) -> None:
    found = list(doctor.contents(Pack(synthetic_pack_path), OAKINK))
    assert {finding.level for finding in found} == {"ok", "note"}
    (note,) = [finding for finding in found if finding.level == "note"]
    assert note.text == "the data set is synthetic: its counts are its own, and results on it are labelled synthetic"
    assert note.remedy == "hmr pack oakink --root FOLDER, for the release"
    assert not any("documented" in finding.text for finding in found if finding is not note)


def test_a_pack_of_another_data_set(mini_tree: Path, tmp_path: Path) -> None:
    reader = OakInkReader(mini_tree)
    reader.release = "mine"
    _, note, counts = doctor.contents(packed(reader, tmp_path), OAKINK)
    text = "the data set is not OakInk-Image v2.1, so that its counts are not compared with documented ones"
    assert shown([note]) == [("note", text)]
    assert "documented" not in counts.text


def test_lists_that_fit(mini_pack: Pack) -> None:
    text = "no sample of a test subset is in what is trained on"
    assert shown(list(doctor.split_lists(mini_pack))) == [("ok", text)]


def test_lists_that_train_on_test(mini_tree: Path, tmp_path: Path) -> None:
    found = list(doctor.split_lists(packed(Leaking(mini_tree), tmp_path)))
    assert [finding.level for finding in found] == ["wrong", "note"]
    assert found[0].text.startswith("sp0: 1 samples of test are trained on, too (")
    assert found[0].remedy.startswith("Pack the data set again; `hmr doctor --root FOLDER` tells whether")


def test_a_whole_pack(mini_pack: Pack) -> None:
    text = f"images and annotations of 64 samples have their checksums (every byte: `hmr pack verify {mini_pack.path}`)"
    assert shown(list(doctor.integrity(mini_pack, rng()))) == [("ok", text)]


@pytest.mark.parametrize(
    ("array", "text"),
    [
        ("images/bytes", "of sample {} in {} is unreadable: its bytes do not have the recorded checksum."),
        ("samples/verts", "the annotations of sample {} in {} are damaged: they do not have the recorded checksum."),
    ],
)
def test_a_damaged_pack(mini_pack_path: Path, tmp_path: Path, array: str, text: str) -> None:
    path = Path(shutil.copy(mini_pack_path, tmp_path / "damaged.h5"))
    with h5py.File(path) as file:
        place = file[array].id.get_offset()
        size = file[array].size * file[array].dtype.itemsize
    content = bytearray(path.read_bytes())
    for i in range(place, place + size, size // 500):  # in every sample, whichever are looked at
        content[i] ^= 1
    path.write_bytes(content)
    pack = Pack(path)
    (only,) = doctor.integrity(pack, rng())
    first = only.text.split("(")[1].split(",")[0]
    assert only.level == "wrong"
    assert only.text.startswith("64 of 64 samples looked at are damaged (")
    assert text.format(first, path) in only.text
    assert only.remedy.startswith(f"`hmr pack verify {path}` names all that is damaged;")


def test_the_selection_is_always_the_same(mini_pack: Pack) -> None:
    chosen = [doctor.chosen(1000, 64, rng()).tolist() for _ in range(2)]
    assert chosen[0] == chosen[1] == sorted(set(chosen[0]))
    assert doctor.chosen(3, 64, rng()).tolist() == [0, 1, 2]


def test_annotations_that_are_hands(mini_pack: Pack) -> None:
    found = list(doctor.measured(mini_pack, rng()))
    assert [finding.level for finding in found] == ["ok"] * 4
    assert found[0].text.startswith("the finger tips of 96 samples are at vertices 745, 317, 444, 556, 673, 0.000 mm")


def test_annotations_in_millimetres(mini_tree: Path, tmp_path: Path) -> None:
    found = list(doctor.measured(packed(Millimetres(mini_tree), tmp_path), rng()))
    assert found[0].level == "wrong"
    assert found[0].text.startswith("joints look like millimetres: ")
    assert found[0].remedy == (
        "Look at the tree that was packed: `hmr doctor --root FOLDER`. If it is whole, pack it again."
    )
    assert found[1].text.startswith("verts look like millimetres: ")

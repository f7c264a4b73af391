from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np
import pytest

from hmr_core.data.oakink import OakInkReader, open_oakink
from hmr_core.data.oakink.layout import SUBSETS
from hmr_core.data.pack.codecs import codec_named
from hmr_core.data.pack.reader import Pack
from hmr_core.data.pack.writer import write_pack
from hmr_core.errors import HmrError, UsageError
from hmr_core.plugins.sample import Sample

OAKINK = Path(__file__).parent / "data" / "oakink_mini" / "OakInk"
PNG, JPEG = codec_named("png"), codec_named("jpeg:50")


@pytest.fixture(scope="module")
def reader() -> OakInkReader:
    return open_oakink(OAKINK)


def test_everything_is_packed(reader: OakInkReader, tmp_path: Path) -> None:
    out = tmp_path / "new" / "all.h5"
    seen: list[tuple[int, int]] = []
    summary = write_pack(reader, out, codec=PNG, on_progress=lambda done, total: seen.append((done, total)))
    expected = {
        "sp0": (57, 15, 72, 24, 96),
        "sp1": (38, 10, 48, 48, 96),
        "sp2": (38, 10, 48, 48, 96),
        "sp0-ho": (28, 8, 36, 12, 96),
    }
    counts = {split: dict(zip(SUBSETS, numbers, strict=True)) for split, numbers in expected.items()}
    assert summary.counts == counts
    assert (summary.samples, summary.size_bytes) == (96, out.stat().st_size)
    assert seen[0] == (0, 96)
    assert seen[-1] == (96, 96)
    assert [path.name for path in out.parent.iterdir()] == ["all.h5"]
    pack = Pack(out)
    assert pack.info.counts == counts
    for split, subsets in counts.items():
        for subset in subsets:
            assert pack.ids(pack.indices(split, subset)) == reader.split_ids(split, subset)
    everything = np.arange(96)
    samples = [reader.read(sample_id) for sample_id in pack.ids(everything)]
    for name in ("joints", "verts", "intrinsics", "rotations", "betas", "object_pose"):
        np.testing.assert_array_equal(pack.array(name, everything), np.stack([getattr(s, name) for s in samples]))
    np.testing.assert_array_equal(pack.array("frame_px", everything), np.tile([848, 480], (96, 1)))
    assert pack.array("side", everything).tolist() == [0] * 96
    assert "joints_valid" not in pack.info.arrays
    for row, sample in enumerate(samples):
        window = pack.window(row, verify=True)
        height, width = window.image.shape[:2]
        frame = reader.read_image(sample)[window.y_px : window.y_px + height, window.x_px : window.x_px + width]
        np.testing.assert_array_equal(window.image, frame)
        assert pack.array("window_px", [row]).tolist() == [[window.x_px, window.y_px, width, height]]


def test_the_file_is_the_same_for_one_worker_and_several_and_at_any_time(reader: OakInkReader, tmp_path: Path) -> None:
    files = []
    for workers in (1, 2):
        path = tmp_path / f"{workers}.h5"
        write_pack(reader, path, codec=JPEG, workers=workers)
        files.append(path.read_bytes())
        time.sleep(1.1)  # a time stamp, in seconds, would differ
    assert files[0] == files[1]


@pytest.mark.parametrize(
    ("splits", "subset", "samples", "counts"),
    [
        (["sp0"], None, 96, {"sp0": {"train": 57, "val": 15, "train+val": 72, "test": 24, "all": 96}}),
        (["default"], "train+val", 72, {"sp0": {"train": 57, "val": 15, "train+val": 72}}),
        (["handobject", "sp0-ho"], None, 48, {"sp0-ho": {"train": 28, "val": 8, "train+val": 36, "test": 12}}),
        (["sp0", "sp1"], "test", 24 + 48 - 12, {"sp0": {"test": 24}, "sp1": {"test": 48}}),
        (["sp2"], "val", 10, {"sp2": {"val": 10}}),
    ],
)
def test_a_part_is_packed(
    reader: OakInkReader,
    tmp_path: Path,
    splits: Sequence[str],
    subset: str | None,
    samples: int,
    counts: Mapping[str, Mapping[str, int]],
) -> None:
    summary = write_pack(reader, tmp_path / "part.h5", splits=splits, subset=subset, codec=JPEG)
    assert (summary.counts, summary.samples) == (counts, samples)
    pack = Pack(tmp_path / "part.h5")
    for split, subsets in counts.items():
        for name in subsets:
            assert pack.ids(pack.indices(split, name)) == reader.split_ids(split, name)


@pytest.fixture
def broken(tmp_path: Path) -> tuple[OakInkReader, str]:
    """A reader of a tree in which one annotation is missing, and that sample's id."""
    tree = Path(shutil.copytree(OAKINK, tmp_path / "OakInk", copy_function=os.symlink))
    sample_id = "C12001_0001_0007__2021-10-04-15-20-09__0__19__1"
    (tree / "image" / "anno" / "hand_v" / f"{sample_id}.pkl").unlink()
    return open_oakink(tree), sample_id


def test_an_existing_file_is_kept(reader: OakInkReader, broken: tuple[OakInkReader, str], tmp_path: Path) -> None:
    out = tmp_path / "x.h5"
    out.write_bytes(b"mine")
    with pytest.raises(HmrError, match=rf"{out} exists\. Give another out, or force to replace it\."):
        write_pack(reader, out, codec=JPEG)
    with pytest.raises(HmrError, match="cannot read"):
        write_pack(broken[0], out, codec=JPEG, force=True)
    assert out.read_bytes() == b"mine"
    for path in tmp_path.glob("x.h5.part*"):  # what was packed of another data set
        path.unlink()
    write_pack(reader, out, splits=["sp0"], subset="val", codec=JPEG, force=True)
    assert Pack(out).info.samples == 15


def test_two_packers_at_once_on_one_file_are_refused(reader: OakInkReader, tmp_path: Path) -> None:
    out = tmp_path / "x.h5"
    errors = []

    def again(_done: int, _total: int) -> None:
        if not errors:
            with pytest.raises(HmrError, match=rf"another process is packing {out}\.") as error:
                write_pack(reader, out, codec=JPEG)
            errors.append(error)

    write_pack(reader, out, splits=["sp0"], subset="val", codec=JPEG, on_progress=again)
    assert errors
    assert Pack(out).info.samples == 15


@pytest.mark.parametrize("force", [False, True])
def test_a_file_that_another_packer_made_meanwhile_is_kept(reader: OakInkReader, tmp_path: Path, force: bool) -> None:
    out = tmp_path / "x.h5"

    class Slow(OakInkReader):
        def split_ids(self, split: str, subset: str) -> list[str]:
            if not out.exists():
                write_pack(reader, out, splits=["sp0"], subset="val", codec=JPEG)
            return super().split_ids(split, subset)

    options = {"splits": ["sp0"], "subset": "test", "codec": JPEG, "force": force}
    if force:
        assert write_pack(Slow(OAKINK), out, **options).samples == 24  # type: ignore[arg-type]
    else:
        with pytest.raises(HmrError, match=rf"^{out} exists\. Give another out, or force to replace it\.$"):
            write_pack(Slow(OAKINK), out, **options)  # type: ignore[arg-type]
    assert Pack(out).info.counts == {"sp0": {"test": 24} if force else {"val": 15}}
    assert [path.name for path in tmp_path.iterdir()] == ["x.h5"]


def test_a_link_stays_and_what_it_names_is_written(reader: OakInkReader, tmp_path: Path) -> None:
    link, target = tmp_path / "link.h5", tmp_path / "elsewhere" / "x.h5"
    target.parent.mkdir()
    link.symlink_to(target)
    options = {"splits": ["sp0"], "subset": "val", "codec": JPEG}
    for force in (False, True):
        write_pack(reader, link, force=force, **options)  # type: ignore[arg-type]
        assert link.readlink() == target
        assert Pack(target).info.samples == 15
        assert [path.name for path in target.parent.iterdir()] == ["x.h5"]
    with pytest.raises(HmrError, match=rf"^{target} exists"):
        write_pack(reader, link, **options)  # type: ignore[arg-type]


def test_what_is_no_regular_file_is_not_replaced(reader: OakInkReader, tmp_path: Path) -> None:
    pipe, link = tmp_path / "pipe", tmp_path / "link"
    os.mkfifo(pipe)
    link.symlink_to("/dev/null")
    for out, named in ((pipe, pipe), (link, Path("/dev/null"))):
        with pytest.raises(UsageError, match=rf"^{named} is no regular file\. Give another out\.$"):
            write_pack(reader, out, codec=JPEG, force=True)
    assert pipe.is_fifo()


def test_a_journal_without_its_images_is_not_left(reader: OakInkReader, tmp_path: Path) -> None:
    images = tmp_path / "x.h5.part-images"
    images.mkdir()
    with pytest.raises(
        HmrError, match=r"^could not write .*Is a directory \(.*x\.h5\.part-images\)\. Choose another out\.$"
    ):
        write_pack(reader, tmp_path / "x.h5", codec=JPEG)
    assert list(tmp_path.iterdir()) == [images]


@pytest.mark.parametrize("bad", ["Größe", "", "a\nb", "a\0"])
def test_an_id_that_cannot_be_stored_is_named(tmp_path: Path, bad: str) -> None:
    class Strange(OakInkReader):
        def split_ids(self, split: str, subset: str) -> list[str]:
            return [*super().split_ids(split, subset), bad]

    with pytest.raises(HmrError) as error:
        write_pack(Strange(OAKINK), tmp_path / "x.h5", codec=JPEG)
    assert str(error.value).startswith("the data set's reader (")
    assert f"Strange) lists a sample with the id {bad!a}. An id is of printable ASCII characters" in str(error.value)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written(reader: OakInkReader, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for folder, text in ((tmp_path / "file", "File exists"), (Path("/proc"), "No such file or directory")):
        with pytest.raises(HmrError, match=rf"^could not write {folder}/x\.h5: .*{text}"):
            write_pack(reader, folder / "x.h5", codec=JPEG)
    with pytest.raises(UsageError, match=rf"^{tmp_path} is a folder\. Give the file to write: out={tmp_path}/pack\.h5"):
        write_pack(reader, tmp_path, codec=JPEG, force=True)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_bad_options(reader: OakInkReader, tmp_path: Path) -> None:
    out = tmp_path / "x.h5"
    for options, text in (
        ({"margin": 0.5}, "margin 0.5: the window's side over the joint box's is a number from 1 to 100."),
        ({"margin": float("nan")}, "margin nan: "),
        ({"workers": 0}, "workers 0: at least 1."),
        ({"splits": ["sp7"]}, 'the data set OakInk-Image v2.1 has no split "sp7".'),
        ({"subset": "tests"}, 'the data set OakInk-Image v2.1 has no subset "tests" of sp0. Did you mean "test"?'),
    ):
        with pytest.raises(UsageError) as error:
            write_pack(reader, out, codec=JPEG, **options)  # type: ignore[arg-type]
        assert str(error.value).startswith(text)
    assert not list(tmp_path.iterdir())


def test_lists_that_are_not_there_or_empty(tmp_path: Path) -> None:
    tree = Path(shutil.copytree(OAKINK, tmp_path / "OakInk", copy_function=os.symlink))
    anno = tree / "image" / "anno"
    (anno / "split" / "split0" / "seq_test.json").unlink()
    shutil.rmtree(anno / "split" / "split1")
    shutil.rmtree(anno / "split_train_val" / "split1")
    val = anno / "split_train_val" / "split0" / "example_split_val.json"
    val.unlink()
    val.write_text("[]")
    reader = open_oakink(tree)
    with pytest.raises(UsageError, match=r'has no split "subject"\. .*It has: sp0 \(default\), sp2 \(object\), sp0-ho'):
        write_pack(reader, tmp_path / "x.h5", splits=["sp0", "subject"], codec=JPEG)
    with pytest.raises(HmrError, match=r"cannot read .*seq_test\.json: No such file or directory\. Unpack"):
        write_pack(reader, tmp_path / "x.h5", splits=["sp0"], subset="test", codec=JPEG)
    with pytest.raises(HmrError, match=r"no samples to pack: val of sp0 is empty in this data set\."):
        write_pack(reader, tmp_path / "x.h5", splits=["sp0"], subset="val", codec=JPEG)
    assert not list(tmp_path.glob("x.h5*"))


def test_a_sample_of_another_shape_is_named(reader: OakInkReader, tmp_path: Path) -> None:
    class Short(OakInkReader):
        def read(self, sample_id: str) -> Sample:
            sample = super().read(sample_id)
            object.__setattr__(sample, "betas", [1, 2])  # past the check of types, which only tests make
            return sample

    with pytest.raises(HmrError, match=r"^sample A\S+: the reader gave betas of shape \(2,\), not \(10,\)\.$"):
        write_pack(Short(OAKINK), tmp_path / "x.h5", codec=JPEG)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"side": "Right"}, "the side 'Right'; valid: right or left."),
        ({"side": 1}, "the side 1; valid: right or left."),
        ({"frame_size": (848, 480.5)}, "a frame_size that is none (it holds numbers that are not whole ones of 32"),
        ({"frame_size": (848,)}, "the frame_size (848,); valid: (width, height) in pixels."),
        ({"frame_size": (480, 848)}, "a frame of 848x480 pixels, and the frame_size 480x848."),
        ({"joints_valid": np.ones(21)}, "joints_valid of float64 (21,), not of bool (21,)."),
        ({"joints_valid": np.ones(16, bool)}, "joints_valid of bool (16,), not of bool (21,)."),
        ({"joints": np.ones((21, 3), complex)}, "joints that are no numbers to store (it holds complex numbers)."),
        ({"betas": ["1"] * 10}, "betas that are no numbers to store (it holds text)."),
        ({"joints": None}, "joints that are no numbers to store (it holds objects)."),
        ({"verts": np.full((778, 3), np.nan)}, "verts with numbers that are not finite."),
        ({"frame": np.zeros((480, 848, 3), np.float32)}, "a frame of float32 (480, 848, 3), not of uint8 (height,"),
        ({"frame": np.zeros((480, 848), np.uint8)}, "a frame of uint8 (480, 848), not of uint8 (height, width, 3)."),
        ({"frame": np.zeros((0, 848, 3), np.uint8)}, "a frame of uint8 (0, 848, 3), not of uint8 (height, width, 3)."),
        ({"frame": [[[0, 0, 0]]]}, "a frame that is a list, not an array."),
    ],
)
def test_what_a_reader_gives_that_is_no_sample_is_named(tmp_path: Path, change: dict[str, Any], text: str) -> None:
    class Odd(OakInkReader):
        def read(self, sample_id: str) -> Sample:
            sample = super().read(sample_id)
            for name, value in change.items():
                object.__setattr__(sample, name, value)  # past the check of types, which only tests make
            return sample

        def read_image(self, sample: Sample) -> Any:
            return change.get("frame", np.zeros((480, 848, 3), np.uint8))

    with pytest.raises(HmrError) as error:
        write_pack(Odd(OAKINK), tmp_path / "x.h5", codec=JPEG)
    assert f": the reader gave {text}" in str(error.value)
    assert not list(tmp_path.iterdir())


def test_the_file_is_plain_hdf5(reader: OakInkReader, tmp_path: Path) -> None:
    out = tmp_path / "x.h5"
    write_pack(reader, out, splits=["sp0"], subset="val", codec=JPEG)
    assert Pack(out).info.versions == {
        "opencv": cv2.__version__,
        "h5py": f"{h5py.__version__} (HDF5 {h5py.version.hdf5_version})",
    }
    with out.open("rb") as file:
        line = file.readline()
    assert line.startswith(b'{"format": "hmr-pack/1", "size": %d, "blake2b": "' % out.stat().st_size)
    first = reader.split_ids("sp0", "val")[0]
    with h5py.File(out) as opened:
        assert opened["samples/id"][0].decode() == first
        assert opened.attrs["units"] == "metres"
        assert opened.userblock_size == 4096
        assert all(item.chunks is None for item in opened["samples"].values())
        assert opened["images/bytes"].chunks is None
        assert opened["splits/sp0/val"][:].tolist() == list(range(15))


def test_it_records_what_it_was_made_of(reader: OakInkReader, tmp_path: Path) -> None:
    first, second = tmp_path / "a.h5", tmp_path / "b.h5"
    write_pack(reader, first, splits=["sp0"], subset="val", codec=JPEG)
    write_pack(reader, second, splits=["sp0"], subset="val", codec=PNG)
    source = Pack(first).info.source
    assert source == Pack(second).info.source
    assert list(source) == ["frames", "annotations", "sp0/val"]
    frames = [reader.read(sample_id).image_path for sample_id in reader.split_ids("sp0", "val")]
    with h5py.File(first) as opened:
        for stored, path in zip(opened["images/source"], frames, strict=True):
            assert stored.tobytes() == hashlib.blake2b(path.read_bytes(), digest_size=16).digest()
        assert opened["images/source"].attrs["blake2b"] == source["frames"]

from __future__ import annotations

import multiprocessing
import os
import pickle
import shutil
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from hmr_core.data.oakink import open_oakink
from hmr_core.data.pack.codecs import codec_named
from hmr_core.data.pack.format import ARRAYS, Header
from hmr_core.data.pack.layout import read_layout, stretches, structure_digest
from hmr_core.data.pack.reader import Pack
from hmr_core.data.pack.writer import write_pack
from hmr_core.errors import HmrError, UsageError

OAKINK = Path(__file__).parent / "data" / "oakink_mini" / "OakInk"


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pack of train+val of sp0: 72 samples."""
    path = tmp_path_factory.mktemp("pack") / "sp0.h5"
    write_pack(open_oakink(OAKINK), path, splits=["sp0"], subset="train+val", codec=codec_named("png"))
    return path


@pytest.fixture
def copy(file: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copy(file, tmp_path / "copy.h5"))


def test_what_it_says_of_itself(file: Path) -> None:
    info = Pack(file).info
    assert (info.format, info.release, info.codec, info.lossless) == ("hmr-pack/1", "OakInk-Image v2.1", "png", True)
    assert (info.samples, info.size_bytes) == (72, file.stat().st_size)
    assert info.margin == pytest.approx(1.7 * 1.125 * 2**0.5)
    assert Pack(file).frame_sizes() == {(848, 480): 72}
    assert (info.dataset, info.aliases) == ("oakink", {"default": "sp0"})
    assert set(ARRAYS) - set(info.arrays) == {"joints_valid", "verts_valid", "pose_valid", "box_px"}
    assert info.arrays == tuple(name for name in ARRAYS if name in info.arrays)
    assert info.units == "metres"
    assert info.joint_order[:2] == ("wrist", "thumb_cmc")
    assert info.counts == {"sp0": {"train": 57, "val": 15, "train+val": 72}}


def test_arrays_in_any_order(file: Path) -> None:
    pack = Pack(file)
    everything = pack.array("verts", np.arange(72))
    rows = np.array([5, 6, 7, 3, 3, 71, 0, 1])
    np.testing.assert_array_equal(pack.array("verts", rows), everything[rows])
    assert pack.ids(rows) == [pack.ids([int(row)])[0] for row in rows]
    assert pack.array("joints", []).shape == (0, 21, 3)
    with h5py.File(file) as opened:
        np.testing.assert_array_equal(everything, opened["samples/verts"][:])
    everything[:] = 0  # the caller's own
    for rows_outside in ([72], [-1]):
        with pytest.raises(IndexError):
            pack.array("joints", rows_outside)


def test_unknown_and_missing_subsets(file: Path) -> None:
    pack = Pack(file)
    assert pack.indices("default", "val").dtype == np.int64
    with pytest.raises(UsageError, match=r'has no split "sp9"\. .*It has: sp0 \(default\)\.'):
        pack.indices("sp9", "val")
    with pytest.raises(UsageError, match=r'has no subset "vall" of sp0\. Did you mean "val"\?'):
        pack.indices("sp0", "vall")
    with pytest.raises(UsageError) as error:
        pack.indices("sp1", "val")
    assert str(error.value) == (
        f'{file} has no split "sp1". Did you mean "sp0"? It has: sp0 (default). '
        "If the data set has it, pack it: `hmr pack oakink --root FOLDER --split sp1 --out FILE`"
    )
    with pytest.raises(UsageError) as error:
        pack.indices("sp0", "test")
    assert str(error.value) == (
        f'{file} has no subset "test" of sp0. It has: train, val, train+val. '
        "If the data set has it, pack it: `hmr pack oakink --root FOLDER --split sp0 --out FILE`"
    )


def test_an_array_that_it_lacks(file: Path) -> None:
    with pytest.raises(HmrError) as error:
        Pack(file).require("verts", "joints_valid", by="The model hands")
    assert str(error.value) == (
        f"The model hands needs joints_valid, which {file} (OakInk-Image v2.1) lacks; it has joints, verts, "
        "intrinsics, rotations, betas, object_pose, side, frame_number. Use another model, or a data set that has them."
    )
    with pytest.raises(HmrError, match=r"^What was asked for needs joints_valid, which "):
        Pack(file).array("joints_valid", [0])


def test_a_subset_without_samples(tmp_path: Path) -> None:
    tree = Path(shutil.copytree(OAKINK, tmp_path / "OakInk", copy_function=os.symlink))
    lists = tree / "image" / "anno"
    for path in (lists / "split/split0/seq_test.json", lists / "split_train_val/split0/example_split_train.json"):
        path.unlink()
        path.write_text("[]")
    out = tmp_path / "x.h5"
    write_pack(open_oakink(tree), out, splits=["sp0"], codec=codec_named("jpeg:50"))
    with pytest.raises(HmrError) as error:
        Pack(out).indices("sp0", "test")
    assert str(error.value) == (
        f"subset test of sp0 has no samples in {out}. Subsets of sp0 with samples: val (15), train+val (72)."
    )


def test_no_file(tmp_path: Path) -> None:
    path = tmp_path / "oakink.h5"
    with pytest.raises(HmrError) as error:
        Pack(path)
    assert str(error.value) == (
        f"there is no data file {path}. Make one: `hmr pack NAME --root FOLDER --out {path}` (`hmr datasets` lists the "
        f"names); without any data, `hmr synth demo`, then `hmr pack oakink --root demo/OakInk --out {path}`"
    )


def test_files_that_are_no_pack(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as other:
        other["joints"] = np.zeros(3)
    with pytest.raises(
        HmrError, match="is an HDF5 file, but not a pack: it does not begin with the header of hmr-pack/1"
    ):
        Pack(path)
    for content in (b"", b"text\n", b"[1]\n", b'{"format": "other/1", "size": 1, "blake2b": ""}\n', bytes(1000)):
        path.write_bytes(content)
        with pytest.raises(
            HmrError, match=rf"{path} is not a pack: .* Data files are made by: `hmr pack NAME --root FOLDER"
        ):
            Pack(path)
    with pytest.raises(
        HmrError, match=r"is a folder, not a pack\. If it is a data set, pack it: `hmr pack NAME --root"
    ):
        Pack(tmp_path)


def test_a_pipe_is_refused_without_waiting_for_what_it_brings(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    held = os.open(pipe, os.O_RDWR | os.O_NONBLOCK)  # so that a reader that does wait fails instead
    try:
        with pytest.raises(HmrError, match=r"is no pack: it is a pipe, not a file, .* made by: `hmr pack NAME --root"):
            Pack(pipe)
    finally:
        os.close(held)


def test_a_pack_of_another_format(copy: Path) -> None:
    with copy.open("r+b") as file:
        header = Header("hmr-pack/2", copy.stat().st_size, "", "", [])
        file.seek(0)
        file.write(header.block())
    with pytest.raises(HmrError) as error:
        Pack(copy)
    assert str(error.value) == (
        f"{copy} has the format hmr-pack/2, this version of hmr reads hmr-pack/1. Use the version of hmr-core that "
        "wrote it, or pack the data set again: `hmr pack NAME --root FOLDER --out FILE`"
    )


def test_a_truncated_pack(copy: Path) -> None:
    size = copy.stat().st_size
    os.truncate(copy, size - 1)
    with pytest.raises(HmrError) as error:
        Pack(copy)
    assert str(error.value) == (
        f"{copy} is truncated: its header records {size} bytes, the file has {size - 1}. "
        "Copy it again from its source, or pack the data set again."
    )
    os.truncate(copy, size + 1)
    with pytest.raises(HmrError, match="is altered: its header records"):
        Pack(copy)


def test_a_pack_that_is_cut_while_in_use(copy: Path) -> None:
    pack = Pack(copy)
    pack.window(71)
    os.truncate(copy, read_layout(copy)[1]["images/bytes"].offset + 10)
    with pytest.raises(HmrError, match=rf"{copy} was cut while it was in use"):
        pack.window(71)


def test_a_damaged_structure(copy: Path) -> None:
    content = bytearray(copy.read_bytes())
    content[4096:4104] = bytes(8)
    copy.write_bytes(content)
    with pytest.raises(HmrError, match=rf"{copy}: its HDF5 structure is damaged .* Copy it again from its source"):
        Pack(copy)


def test_an_attribute_of_another_type(copy: Path) -> None:
    """By a tool that makes its header and its digests right."""
    places = read_layout(copy)[1].values()
    with h5py.File(copy, "r+") as file:
        del file.attrs["margin"]
        file.attrs["margin"] = "wide"
    size = copy.stat().st_size
    gaps = list(stretches(places, size))
    with copy.open("r+b") as raw:
        raw.write(Header("hmr-pack/1", size, "", structure_digest(raw.fileno(), gaps), gaps).block())
    with pytest.raises(HmrError, match="its attribute margin is 'wide'"):
        Pack(copy)


def flip(path: Path, position: int, mask: int = 0x10) -> None:
    with path.open("r+b") as file:
        file.seek(position)
        byte = file.read(1)[0]
        file.seek(position)
        file.write(bytes([byte ^ mask]))


def test_an_unreadable_image_names_the_sample(copy: Path) -> None:
    pack = Pack(copy)
    start = read_layout(copy)[1]["images/bytes"].offset
    offset_of_40 = read_layout(copy)[1]["images/offsets"].offset + 8 * 40
    sample_id = pack.ids([0])[0]
    flip(copy, start + 3)  # the signature of the first PNG
    for verify, reason in ((False, "its bytes are no image"), (True, "its bytes do not have the recorded checksum")):
        with pytest.raises(HmrError) as error:
            pack.window(0, verify=verify)
        assert str(error.value) == (
            f"the image of sample {sample_id} in {copy} is unreadable: {reason}. "
            f"Find all that is damaged: hmr pack verify {copy}"
        )
    flip(copy, offset_of_40 + 6)
    with pytest.raises(HmrError, match=rf"sample {pack.ids([40])[0]} .*its place in the file is damaged"):
        pack.window(40)
    place = read_layout(copy)[1]["samples/window_px"]
    flip(copy, place.offset + 16 * 20 + 8)
    with pytest.raises(HmrError, match=rf"sample {pack.ids([20])[0]} .*it is \d+x\d+ pixels, not \d+x\d+"):
        pack.window(20)


def test_an_id_that_is_no_text_names_its_row(copy: Path) -> None:
    pack = Pack(copy)
    sample_id = pack.ids([40])[0]
    place = read_layout(copy)[1]["samples/id"]
    flip(copy, place.offset + 40 * place.row_bytes + 2, 0x80)
    shown = f"{sample_id[:2]}\\x{ord(sample_id[2]) | 0x80:02x}{sample_id[3:]}"
    expected = f'the id of row 40 in {copy} is damaged: "{shown}". Find all that is damaged: hmr pack verify {copy}'
    for ask in (lambda: pack.ids([3, 40]), lambda: pack.verify_annotations([3, 40])):
        with pytest.raises(HmrError) as error:
            ask()
        assert str(error.value) == expected
    assert len(pack.ids([39, 41])) == 2


def test_a_place_that_is_damaged_takes_no_memory(copy: Path) -> None:
    """The end of an image moves, by one bit, as far as the file allows: hundreds of images are not read into memory."""
    pack = Pack(copy)
    place = read_layout(copy)[1]["images/offsets"]
    with copy.open("r+b") as file:
        file.seek(place.offset + 8)
        end = int.from_bytes(file.read(8), "little")
        bit = max(bit for bit in range(64) if not end & 1 << bit and end | 1 << bit <= pack.info.image_bytes)
        file.seek(place.offset + 8)
        file.write((end | 1 << bit).to_bytes(8, "little"))
    before = 3 * pack.window(70).image.size
    tracemalloc.start()
    with pytest.raises(HmrError, match=rf"sample {pack.ids([0])[0]} .*its place in the file or its window is damaged"):
        pack.window(0)
    assert tracemalloc.get_traced_memory()[1] < before < 1 << bit
    tracemalloc.stop()


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_it_is_read_by_other_processes(file: Path, method: str) -> None:
    pack = Pack(file)
    expected = pack.window(7).image  # the file is open before the fork
    with multiprocessing.get_context(method).Pool(1) as pool:
        found = pool.apply(pack.window, (7,)).image
        np.testing.assert_array_equal(pool.apply(pack.array, ("joints", [1, 0])), pack.array("joints", [1, 0]))
    np.testing.assert_array_equal(found, expected)


def test_a_copy_refuses_a_file_that_was_replaced(copy: Path) -> None:
    data = pickle.dumps(Pack(copy))
    assert len(data) < 1000
    assert pickle.loads(data).ids([0]) == Pack(copy).ids([0])
    write_pack(open_oakink(OAKINK), copy, splits=["sp0"], subset="val", codec=codec_named("jpeg"), force=True)
    with pytest.raises(HmrError, match=r"was replaced while it was in use\. Start again\."):
        pickle.loads(data)


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """Another pack: val of sp0, 15 samples."""
    path = tmp_path / "other.h5"
    write_pack(open_oakink(OAKINK), path, splits=["sp0"], subset="val", codec=codec_named("jpeg:50"))
    return path


def test_a_file_that_is_replaced_while_it_is_opened_is_refused(
    copy: Path, other: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def replaced(path: Path, *arguments: Any, **options: Any) -> Any:
        if other.exists():
            other.replace(copy)  # its header has been read, its structure has not
        return read_layout(path, *arguments, **options)

    monkeypatch.setattr("hmr_core.data.pack.layout.read_layout", replaced)
    with pytest.raises(HmrError, match=rf"^{copy} was replaced while it was opened\. Start again\.$"):
        Pack(copy)
    assert len(Pack(copy)) == 15


ALTERED = (
    r"was altered while it was in use: another file was written into it\. .* write the new one beside it and rename"
)


def reads(pack: Pack) -> Iterator[Callable[[], object]]:
    """Every way to read of a pack."""
    yield lambda: pack.ids([0])
    yield lambda: pack.array("joints", [1, 0])
    yield lambda: pack.indices("sp0", "val")
    yield lambda: pack.frame_checksums([0])
    yield lambda: pack.verify_annotations([0])
    yield lambda: pack.verify_arrays("joints")
    yield lambda: pack.window(0)
    yield lambda: list(pack.windows([0, 1]))


def test_a_file_that_another_is_written_into(copy: Path, other: Path) -> None:
    """As `cat other.h5 > pack.h5` and `rsync --inplace` do; at once, so that times may not tell."""
    content = copy.read_bytes()
    for written in (other.read_bytes(), other.read_bytes().ljust(len(content), b"\0"), b"", content[:5000]):
        for number in range(len(list(reads(Pack(copy))))):
            pack = Pack(copy)
            with copy.open("r+b") as file:
                file.write(written)
                file.truncate(len(written))
            with pytest.raises(HmrError, match=ALTERED if written != content[:5000] else f"{ALTERED}|was cut while"):
                list(reads(pack))[number]()
            with copy.open("r+b") as file:
                file.write(content)


def test_a_file_that_is_being_written_into(copy: Path, other: Path) -> None:
    """What was written first is the header; the sample is still there."""
    pack = Pack(copy)
    with copy.open("r+b") as file:
        file.write(other.read_bytes()[:8192])
    for read in reads(pack):
        with pytest.raises(HmrError, match=ALTERED):
            read()


def test_a_structure_that_is_written_into(copy: Path) -> None:
    pack = Pack(copy)
    os.utime(copy, ns=(1, 1))  # so that the times differ however quick the disk is
    flip(copy, 4200)
    with pytest.raises(HmrError, match=ALTERED):
        pack.ids([0])


def test_a_file_that_is_only_touched_is_read_on(copy: Path, file: Path) -> None:
    pack, expected = Pack(copy), Pack(file).window(3).image
    for _ in range(2):
        copy.touch()
        copy.chmod(0o400)
        os.link(copy, copy.with_name("link.h5"))
        np.testing.assert_array_equal(pack.window(3).image, expected)
        copy.with_name("link.h5").unlink()
        copy.chmod(0o600)
        copy.write_bytes(file.read_bytes())  # the same again
        np.testing.assert_array_equal(pack.window(3).image, expected)


HELD: dict[str, Pack] = {}
"""The pack that a worker process was started with."""


def _hold(pack: Pack) -> None:
    HELD["pack"] = pack


def _held_ids() -> list[str]:
    return HELD["pack"].ids([0])


def test_other_processes_notice_too(copy: Path, other: Path) -> None:
    """Forked ones; where they are spawned, they open the file themselves, and refuse another one."""
    pack = Pack(copy)
    with multiprocessing.get_context("fork").Pool(1, initializer=_hold, initargs=(pack,)) as pool:
        assert pool.apply(_held_ids) == pack.ids([0])
        copy.write_bytes(other.read_bytes())
        with pytest.raises(HmrError, match=ALTERED):
            pool.apply(_held_ids)


def test_what_is_open_is_read_though_its_file_is_replaced(copy: Path, other: Path, file: Path) -> None:
    pack, before = Pack(copy), Pack(file)
    other.replace(copy)
    np.testing.assert_array_equal(pack.window(71, verify=True).image, before.window(71).image)
    np.testing.assert_array_equal(pack.array("joints", [71]), before.array("joints", [71]))
    assert pack.ids([71]) == before.ids([71])


def test_threads_share_one_pack(file: Path) -> None:
    pack = Pack(file)
    expected = [pack.window(row).image.sum() for row in range(24)]
    wrong: list[int] = []

    def read() -> None:
        fresh = [pack.window(row).image.sum() for row in range(24)]
        wrong.extend(row for row in range(24) if fresh[row] != expected[row])

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_read_only_file_and_folder(copy: Path) -> None:
    before = copy.read_bytes()
    copy.chmod(0o444)
    copy.parent.chmod(0o555)
    try:
        assert Pack(copy).window(3, verify=True).image.ndim == 3
        assert [path.name for path in copy.parent.iterdir()] == ["copy.h5"]
    finally:
        copy.parent.chmod(0o755)
    assert copy.read_bytes() == before


def open_descriptors(path: Path) -> int:
    """How many of this process's descriptors are of this file; a copy's, that other tests' packs cannot be of."""
    return sum(link.exists() and link.samefile(path) for link in Path("/proc/self/fd").iterdir())


def test_the_file_is_closed_with_the_pack(copy: Path) -> None:
    pack = Pack(copy)
    pack.ids([0])
    assert open_descriptors(copy) == 1
    del pack
    assert open_descriptors(copy) == 0


def test_the_file_is_closed_when_it_cannot_be_read(copy: Path) -> None:
    flip(copy, 4200)
    for _ in range(3):
        with pytest.raises(HmrError, match="its HDF5 structure is damaged"):
            Pack(copy)
    os.truncate(copy, 5000)
    with pytest.raises(HmrError, match="is truncated"):
        Pack(copy)
    assert open_descriptors(copy) == 0

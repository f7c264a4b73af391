from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from hmr_core.data.oakink import open_oakink
from hmr_core.data.pack.codecs import codec_named
from hmr_core.data.pack.format import USER_BLOCK_BYTES, Header, arrays_with
from hmr_core.data.pack.layout import ArrayLocation, read_layout
from hmr_core.data.pack.reader import Pack
from hmr_core.data.pack.verify import verify_pack
from hmr_core.data.pack.writer import write_pack
from hmr_core.errors import HmrError

OAKINK = Path(__file__).parent / "data" / "oakink_mini" / "OakInk"
CHANGED = "the file's digest is not the recorded one: at least one byte of it was changed"


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pack of val of sp0: 15 samples."""
    path = tmp_path_factory.mktemp("pack") / "sp0.h5"
    write_pack(open_oakink(OAKINK), path, splits=["sp0"], subset="val", codec=codec_named("jpeg:50"))
    return path


@pytest.fixture
def copy(file: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(file, tmp_path / "copy.h5"))


@pytest.fixture(scope="module")
def places(file: Path) -> dict[str, ArrayLocation]:
    return read_layout(file)[1]


def flip(path: Path, position: int, bit: int = 0) -> None:
    with path.open("r+b") as file:
        file.seek(position)
        byte = file.read(1)[0]
        file.seek(position)
        file.write(bytes([byte ^ (1 << bit)]))


def named(path: Path, row: int) -> str:
    return f"sample {Pack(path).ids([row])[0]} (row {row})"


def test_a_whole_pack(file: Path) -> None:
    seen: list[tuple[int, int]] = []
    assert verify_pack(file, lambda done, total: seen.append((done, total))) == []
    assert seen[0][0] == 0
    assert 0.9 < seen[-1][0] / seen[-1][1] <= 1


def test_a_byte_of_an_image(copy: Path, places: dict[str, ArrayLocation]) -> None:
    row = 7
    with copy.open("rb") as raw:
        raw.seek(places["images/offsets"].offset + 8 * row)
        offset = int.from_bytes(raw.read(8), "little")
    name = named(copy, row)
    flip(copy, places["images/bytes"].offset + offset + 100)
    assert verify_pack(copy) == [
        CHANGED,
        f"{name}: its image is damaged",
        "/images/bytes: its digest is not the recorded one",
    ]


@pytest.mark.parametrize("array", ["id", *arrays_with(["verts", "rotations", "betas", "object_pose"])])
def test_a_byte_of_an_annotation(copy: Path, places: dict[str, ArrayLocation], array: str) -> None:
    place, row = places[f"samples/{array}"], 11
    flip(copy, place.offset + row * place.row_bytes + place.row_bytes // 2)
    name = named(copy, row)
    assert verify_pack(copy) == [
        CHANGED,
        f"/samples/{array}: its digest is not the recorded one",
        f"{name}: its annotations are damaged",
    ]


@pytest.mark.parametrize("array", ["images/checksum", "samples/checksum", "images/offsets"])
def test_a_byte_of_what_guards_the_samples(copy: Path, places: dict[str, ArrayLocation], array: str) -> None:
    place = places[array]
    flip(copy, place.offset + 4 * place.row_bytes)
    problems = verify_pack(copy)
    assert problems[:2] == [CHANGED, f"/{array}: its digest is not the recorded one"]
    assert any(problem.startswith(named(copy, 4)) for problem in problems[2:])


def test_offsets_that_fall(copy: Path, places: dict[str, ArrayLocation]) -> None:
    flip(copy, places["images/offsets"].offset + 8 * 4 + 7, bit=7)
    assert any(f"{named(copy, 4)}: the place of its image is damaged (-" in problem for problem in verify_pack(copy))
    flip(copy, places["images/offsets"].offset + 8 * 15)
    assert "/images/offsets: the images do not fill /images/bytes" in verify_pack(copy)


def test_a_list_of_rows(copy: Path, places: dict[str, ArrayLocation]) -> None:
    flip(copy, places["splits/sp0/val"].offset + 2)
    assert verify_pack(copy) == [
        CHANGED,
        "/splits/sp0/val: its digest is not the recorded one",
        "/splits/sp0/val: lists rows that are not there (15 samples)",
    ]


def test_a_cut_file(copy: Path) -> None:
    size = copy.stat().st_size
    os.truncate(copy, size // 2)
    problems = verify_pack(copy)
    assert len(problems) == 1
    assert problems[0].startswith(f"{copy} is truncated: its header records {size} bytes, the file has {size // 2}.")


@pytest.mark.parametrize("size", [22, 150, 4095, 4096])
def test_a_file_cut_inside_its_header(copy: Path, size: int) -> None:
    os.truncate(copy, size)
    (problem,) = verify_pack(copy)
    assert problem.startswith(f"{copy} is ")
    assert problem.endswith("Copy it again from its source, or pack the data set again.")


@pytest.mark.parametrize("position", [*range(26), 40, 150, 300, 4095])
def test_a_byte_of_the_header(copy: Path, position: int) -> None:
    for bit in (0, 7):
        flip(copy, position, bit)
        (problem,) = verify_pack(copy)
        assert problem.startswith(f"{copy} is damaged: its header ")
        assert problem.endswith("Copy it again from its source, or pack the data set again.")
        flip(copy, position, bit)


def test_what_is_no_pack_is_not_called_damaged(copy: Path, tmp_path: Path) -> None:
    with pytest.raises(HmrError, match=f"^there is no data file {tmp_path / 'none.h5'}"):
        verify_pack(tmp_path / "none.h5")
    (tmp_path / "text").write_text("text")
    with pytest.raises(HmrError, match="text is not a pack: it does not begin with the header of hmr-pack/1"):
        verify_pack(tmp_path / "text")
    with pytest.raises(HmrError, match="is a folder, not a pack"):
        verify_pack(tmp_path)
    content = bytearray(copy.read_bytes())
    content[:USER_BLOCK_BYTES] = b"MATLAB 7.3 MAT-file".ljust(USER_BLOCK_BYTES)  # HDF5 with a block of theirs
    copy.write_bytes(content)
    with pytest.raises(HmrError, match="is an HDF5 file, but not a pack"):
        verify_pack(copy)
    content[:USER_BLOCK_BYTES] = Header("hmr-pack/2", len(content), "", "", []).block()
    copy.write_bytes(content)
    with pytest.raises(HmrError, match="has the format hmr-pack/2, this version of hmr reads hmr-pack/1"):
        verify_pack(copy)


def test_any_byte_anywhere(copy: Path, places: dict[str, ArrayLocation]) -> None:
    """Half of the bytes are drawn from the HDF5 structure, which an array's checksum does not cover."""
    generator = np.random.default_rng(0)
    covered = np.zeros(copy.stat().st_size, dtype=bool)
    for place in places.values():
        covered[place.offset : place.offset + place.size] = True
    structure = np.flatnonzero(~covered)
    assert len(structure) > 512
    positions = [*generator.choice(structure, 40).tolist(), *generator.integers(0, len(covered), 40).tolist()]
    for position in positions:
        bit = int(generator.integers(8))
        flip(copy, position, bit)
        assert verify_pack(copy), position
        flip(copy, position, bit)
    assert verify_pack(copy) == []

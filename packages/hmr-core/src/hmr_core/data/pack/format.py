"""The format `hmr-pack/1`: names, types, the header block, checksums. docs/data.md says the same in words.

A pack is an HDF5 file with a user block of 4096 bytes. The block holds one line of JSON: the format's name, the size of
the whole file, the BLAKE2b digest of all that follows the block, that of the structure, and where the structure lies.
The line is followed by zero bytes; the block's last 16 bytes are the checksum of those before.

Digests form a tree: the block's checksum covers the structure's digest, the structure holds the digest of each array.
What opening a pack reads is therefore checked whenever it is opened, however large the file is, and before an HDF5
library sees it, which a damaged file can crash.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from hmr_core.errors import HmrError, Option
from hmr_core.file_kinds import HDF5
from hmr_core.files import NotAFileError, open_descriptor
from hmr_core.plugins.sample import LABEL_LENGTH, LABELS
from hmr_core.shell import command_line

FORMAT = "hmr-pack/1"
_START = b'{"format": "hmr-pack/'
USER_BLOCK_BYTES = 4096
"""HDF5 looks for the file's beginning there, too."""

ARRAY_DIGEST_BYTES, ITEM_DIGEST_BYTES = 32, 16
"""Sizes of the BLAKE2b digests of an array or file, and of one image or one sample's annotations."""

_ANEW = "Copy it again from its source, or pack the data set again."

READ_BYTES = 8 << 20
"""How much of a file is read at once."""

DEFAULT_MARGIN = 1.7 * 1.125 * 2**0.5
"""Window side over joint-box side: the published crop, its largest scale, and any rotation (the square's diagonal)."""


@dataclass(frozen=True)
class ArraySpec:
    """An array of `/samples`: its little-endian type, the shape of one sample's entry, and what it is.

    optional: whether it is absent from the packs of data sets that lack it.
    """

    dtype: str
    shape: tuple[int, ...]
    meaning: str
    optional: bool = False


ARRAYS: Mapping[str, ArraySpec] = {
    "joints": ArraySpec("<f4", (21, 3), "metres, camera space, OpenPose joint order"),
    "joints_valid": ArraySpec("|u1", (21,), "1 where a joint is known, else 0, and its entry 0 0 0", optional=True),
    "verts": ArraySpec("<f4", (778, 3), "metres, camera space, MANO vertex order", optional=True),
    "verts_valid": ArraySpec("|u1", (), "1 where verts are known, else 0, and they are 0", optional=True),
    "intrinsics": ArraySpec("<f4", (3, 3), "of the frame's camera, pixels"),
    "rotations": ArraySpec(
        "<f4", (16, 3), "axis-angle, MANO joint order, wrist in camera space, relative to flat hand", optional=True
    ),
    "betas": ArraySpec("<f4", (10,), "MANO's betas", optional=True),
    "pose_valid": ArraySpec("|u1", (), "1 where rotations and betas are known, else 0, and they are 0", optional=True),
    "object_pose": ArraySpec("<f4", (4, 4), "object to camera space, metres", optional=True),
    "side": ArraySpec("|u1", (), "0 a right hand, 1 a left one, as it is in the image"),
    "box_px": ArraySpec("<f4", (4,), "the annotated box in the frame: x, y, width, height", optional=True),
    "frame_number": ArraySpec("<i4", (), "of the frame in its sequence, as its view has it", optional=True),
    **{
        f"label_{name}": ArraySpec(f"|S{LABEL_LENGTH}", (), f"the {name} that the sample belongs to", optional=True)
        for name in LABELS
    },
    "window_px": ArraySpec("<i4", (4,), "the stored window in the frame: x, y, width, height"),
    "frame_px": ArraySpec("<i4", (2,), "the frame's width, height"),
}
"""The arrays of `/samples` besides `id` and `checksum`.

A sample's checksum covers its id and those of these that its pack has, in this order.
"""

PLACES = ("window_px", "frame_px")
"""Those that packing itself makes; the others are annotations."""

ATTRIBUTES: Mapping[str, type] = {
    "format": str, "release": str, "samples": int, "units": str, "frame": str, "joint_order": str, "image_order": str,
    "dataset": str, "splits": str, "aliases": str, "codec": str, "lossless": bool, "margin": float, "tool": str,
    "opencv": str, "h5py": str,
}  # fmt: skip
"""The attributes of the root, and their types when read. splits: JSON, each split with its subsets, in the data set's
order; aliases: JSON, other names of splits."""

VERSIONS = ("opencv", "h5py")
"""Attributes with the versions of what made the file, besides `tool`."""

OFFSETS_DTYPE, INDEX_DTYPE = "<i8", "<i4"
BYTES, OFFSETS, IMAGE_CHECKSUM = "images/bytes", "images/offsets", "images/checksum"
IDS, SAMPLE_CHECKSUM = "samples/id", "samples/checksum"
SOURCE = "images/source"
"""Checksums of the frames' files as they were when packed."""


def arrays_with(optional: Iterable[str]) -> dict[str, ArraySpec]:
    """The arrays of a pack that has these of the optional ones, in their order."""
    there = set(optional)
    return {name: spec for name, spec in ARRAYS.items() if not spec.optional or name in there}


def split_dataset(split: str, subset: str) -> str:
    """The path in the file of a subset's list of rows."""
    return f"splits/{split}/{subset}"


@dataclass(frozen=True)
class Header:
    """What the user block says: format, size of the whole file in bytes, and two digests (hex).

    blake2b: of all that follows the block. structure: of that part of it which is in no array, in the file's order;
    stretches: where that is, (offset, size) in bytes.
    """

    format: str
    size: int
    blake2b: str
    structure: str
    stretches: Sequence[tuple[int, int]]

    def block(self) -> bytes:
        """The user block: one JSON line, zeros, and their checksum."""
        line = (json.dumps(asdict(self)) + "\n").encode("ascii").ljust(USER_BLOCK_BYTES - ITEM_DIGEST_BYTES, b"\0")
        assert len(line) == USER_BLOCK_BYTES - ITEM_DIGEST_BYTES, "the structure is in more pieces than the block holds"
        return line + item_checksum(line)


def pack_command(name: str = "NAME", *options: Option, root: object = "FOLDER", out: object = "FILE") -> str:
    """The command that packs a data set of this name."""
    return command_line("hmr pack", name, Option("root", root), *options, Option("out", out))


_MADE_BY = f"Data files are made by: `{pack_command()}`"


class DamagedPackError(HmrError):
    """A pack whose header is damaged, or not of a file of this size."""


def open_pack(path: Path) -> tuple[int, Header]:
    """The descriptor of the pack at path, for the caller to read from and to close, and its header.

    Raises HmrError when there is no file, or when it is no pack or one of another format, and DamagedPackError when the
    header is damaged or the file's size is not the recorded one.
    """
    with _explained(path):
        descriptor = open_descriptor(path)
    try:
        with _explained(path):
            start = os.pread(descriptor, USER_BLOCK_BYTES + len(HDF5), 0)
            size = os.fstat(descriptor).st_size
        return descriptor, _header(path, start, size)
    except BaseException:
        os.close(descriptor)
        raise


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """HmrError for a file that cannot be opened or read."""
    try:
        yield
    except FileNotFoundError:
        synthetic = command_line("hmr pack oakink", Option("root", "demo/OakInk"), Option("out", path))
        raise HmrError(
            f"there is no data file {path}.",
            f"Make one: `{pack_command(out=path)}` (`hmr datasets` lists the names); without any data, "
            f"`hmr synth demo`, then `{synthetic}`",
        ) from None
    except IsADirectoryError:
        raise HmrError(
            f"{path} is a folder, not a pack.", f"If it is a data set, pack it: `{pack_command(root=path)}`"
        ) from None
    except NotAFileError as error:
        raise HmrError(f"{path} is no pack: {error.strerror}, and a pack is read at any place.", _MADE_BY) from None
    except OSError as error:
        raise HmrError(f"cannot read {path}: {error.strerror}.") from error


def _header(path: Path, start: bytes, size: int) -> Header:
    """The header that a file of so many bytes starts with; HmrError when it is not a pack's, or not this file's."""
    block, magic = start[:USER_BLOCK_BYTES], start[USER_BLOCK_BYTES:]
    header = _parse(block)
    if header is None and magic in (HDF5, b"") and _nearly_starts(block):
        raise DamagedPackError(f"{path} is damaged: its header cannot be read. {_ANEW}")
    if header is None:
        what = "an HDF5 file, but not a pack" if HDF5 in (block[:8], magic) else "not a pack"
        raise HmrError(f"{path} is {what}: it does not begin with the header of {FORMAT}.", _MADE_BY)
    recorded = block[-ITEM_DIGEST_BYTES:]
    # Another format with the checksum of ours is damage to its name alone.
    ours = recorded == replace(header, format=FORMAT).block()[-ITEM_DIGEST_BYTES:]
    if header.format != FORMAT and not ours:
        raise HmrError(
            f"{path} has the format {header.format}, this version of hmr reads {FORMAT}.",
            f"Use the version of hmr-core that wrote it, or pack the data set again: `{pack_command()}`",
        )
    if recorded != item_checksum(block[:-ITEM_DIGEST_BYTES]):
        raise DamagedPackError(f"{path} is damaged: its header does not have the recorded checksum. {_ANEW}")
    if header.size != size:
        kind = "truncated" if size < header.size else "altered"
        raise DamagedPackError(
            f"{path} is {kind}: its header records {header.size} bytes, the file has {size}. {_ANEW}"
        )
    return header


def _nearly_starts(block: bytes) -> bool:
    """Whether a block begins as a pack's, but for five bytes at most: other files share fewer with it."""
    return sum(a == b for a, b in zip(block, _START, strict=False)) >= len(_START) - 5


def _parse(block: bytes) -> Header | None:
    line, newline, _ = block.partition(b"\n")
    try:
        values = json.loads(line)
        stretches = [(offset, size) for offset, size in values["stretches"]]
        header = Header(values["format"], values["size"], values["blake2b"], values["structure"], stretches)
    except (ValueError, KeyError, TypeError):
        return None
    types = (type(header.format), type(header.size), type(header.blake2b), type(header.structure))
    whole = all(type(number) is int and number >= 0 for stretch in stretches for number in stretch)
    is_pack = types == (str, int, str, str) and header.format.startswith("hmr-pack/") and newline == b"\n" and whole
    return header if is_pack else None


def array_digest(start: bytes = b"") -> hashlib.blake2b:
    """The digest of an array's raw bytes (C order, little-endian), or of a file; start: the first of them."""
    return hashlib.blake2b(start, digest_size=ARRAY_DIGEST_BYTES)


def item_digest() -> hashlib.blake2b:
    """The digest whose bytes are the checksum of one image, or of one sample's rows one after the other."""
    return hashlib.blake2b(digest_size=ITEM_DIGEST_BYTES)


def item_checksum(*parts: bytes | bytearray) -> bytes:
    """The checksum of one image's bytes, or of one sample's rows one after the other."""
    digest = item_digest()
    for part in parts:
        digest.update(part)
    return digest.digest()

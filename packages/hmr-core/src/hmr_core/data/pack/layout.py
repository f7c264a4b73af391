"""Where each array of a pack lies in the file, so that it can be read without an HDF5 library.

Every array of a pack is contiguous. Once its place and type are known, reading is a plain `pread`: no handle that could
not cross a fork, no lock, no cache that grows, and a cut file is an error rather than a crash.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from jaxtyping import Int64, Shaped
from numpy import ndarray

from hmr_core.data.pack import format as fmt
from hmr_core.errors import HmrError
from hmr_core.system import read_at


@dataclass(frozen=True)
class ArrayLocation:
    """An array in the file: its first byte, type, shape (the first axis is the rows'), and recorded digest."""

    offset: int
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    blake2b: str

    @property
    def row_bytes(self) -> int:
        """The size of one row."""
        return int(np.prod(self.shape[1:], dtype=np.int64)) * self.dtype.itemsize

    @property
    def size(self) -> int:
        """The size of the array in bytes."""
        return self.shape[0] * self.row_bytes


def verified_layout(path: Path, descriptor: int, header: fmt.Header) -> tuple[dict[str, Any], dict[str, ArrayLocation]]:
    """The root's attributes and the place of every array of the pack that is open and has this header.

    HDF5's library sees the file only when all that it will read is known to be undamaged. Raises HmrError when it is
    not, or is not as the format has it, and when path is not that file any more.
    """
    problem = structure_problem(descriptor, header)
    if problem:
        raise _damaged(path, problem)
    attributes, places = read_layout(path, opened=descriptor)
    if list(stretches(places.values(), header.size)) != list(header.stretches):
        raise _damaged(path, "its arrays lie elsewhere than its header says")
    return attributes, places


def structure_problem(descriptor: int, header: fmt.Header) -> str:
    """What is wrong with a pack's structure by its digest, read without an HDF5 library; empty for nothing."""
    if sum(size for _, size in header.stretches) > fmt.READ_BYTES:
        return "most of the file belongs to no array"
    if structure_digest(descriptor, header.stretches) != header.structure:
        return "it does not have the recorded digest"
    return ""


def read_layout(path: Path, *, opened: int | None = None) -> tuple[dict[str, Any], dict[str, ArrayLocation]]:
    """The root's attributes and the place of every array, by the HDF5 library, which a damaged file can crash.

    opened: the descriptor that what is found will be used with, if there is one. HmrError when the structure cannot be
    read or is not the format's, and when path is not that file any more.
    """
    places: dict[str, ArrayLocation] = {}

    def note(name: str, item: h5py.Group | h5py.Dataset) -> None:
        if isinstance(item, h5py.Dataset):
            offset = item.id.get_offset()  # counted from the file's beginning; None when nothing is stored
            if offset is None and item.size:
                raise ValueError(f"/{name} is not stored contiguously")
            places[name] = ArrayLocation(offset or 0, item.dtype, item.shape, str(item.attrs.get("blake2b", "")))

    try:
        with h5py.File(path, "r", driver="sec2") as file:  # a driver that tells its descriptor
            descriptor = int(file.id.get_vfd_handle())
            if opened is not None and not os.path.samestat(os.fstat(descriptor), os.fstat(opened)):
                raise _ReplacedError
            file.visititems(note)
            attributes = {name: _plain(value) for name, value in file.attrs.items()}
            _check(attributes, places, os.fstat(descriptor).st_size)
            return attributes, places
    except _ReplacedError:
        raise HmrError(f"{path} was replaced while it was opened. Start again.") from None
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, AttributeError, UnicodeError) as error:
        raise _damaged(path, str(error)) from error


def _damaged(path: Path, reason: str) -> HmrError:
    return HmrError(
        f"{path}: its HDF5 structure is damaged ({reason}). Copy it again from its source, or pack the data set again."
    )


class _ReplacedError(Exception):
    """The path names another file than before."""


def stretches(places: Iterable[ArrayLocation], size: int) -> Iterator[tuple[int, int]]:
    """The parts (offset, size) of a file of that many bytes that follow the header and belong to no array, in order."""
    start = fmt.USER_BLOCK_BYTES
    for offset, place in sorted((place.offset, place.size) for place in places if place.size):
        if offset > start:
            yield start, offset - start
        start = max(start, offset + place)
    if size > start:
        yield start, size - start


def structure_digest(descriptor: int, stretches: Iterable[tuple[int, int]]) -> str:
    """The BLAKE2b-256 digest (hex) of stretches of a file, one after the other.

    Of all that belongs to no array that is where each array lies, its type, its shape, its own digest, and the
    attributes: some kilobytes, however many samples there are.
    """
    digest = fmt.array_digest()
    for offset, size in stretches:
        digest.update(os.pread(descriptor, size, offset))
    return digest.hexdigest()


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value


def _check(attributes: dict[str, Any], places: dict[str, ArrayLocation], size: int) -> None:
    """Raise ValueError for a structure that is not the format's, in a file of size bytes."""
    for name, kind in fmt.ATTRIBUTES.items():
        if type(attributes[name]) is not kind:  # true is an int
            raise ValueError(f"its attribute {name} is {attributes[name]!r:.100}")
    samples = attributes["samples"]
    there = fmt.arrays_with(name.removeprefix("samples/") for name in places)
    expected = {name: (spec.dtype, (samples, *spec.shape)) for name, spec in there.items()}
    shapes = {f"samples/{name}": value for name, value in expected.items()} | {
        fmt.SAMPLE_CHECKSUM: ("u1", (samples, fmt.ITEM_DIGEST_BYTES)),
        fmt.IMAGE_CHECKSUM: ("u1", (samples, fmt.ITEM_DIGEST_BYTES)),
        fmt.SOURCE: ("u1", (samples, fmt.ITEM_DIGEST_BYTES)),
        fmt.OFFSETS: (fmt.OFFSETS_DTYPE, (samples + 1,)),
    }
    for name, (dtype, shape) in shapes.items():
        place = places[name]
        if (place.dtype, place.shape) != (np.dtype(dtype), shape):
            raise ValueError(f"/{name} is {place.dtype} {place.shape}, not {dtype} {shape}")
    if places[fmt.IDS].dtype.kind != "S" or places[fmt.IDS].shape != (samples,):
        raise ValueError(f"/{fmt.IDS} is not one text for each sample")
    if places[fmt.BYTES].dtype != np.uint8 or len(places[fmt.BYTES].shape) != 1:
        raise ValueError(f"/{fmt.BYTES} is not a flat array of bytes")
    listed = {
        fmt.split_dataset(split, subset)
        for split, subsets in json.loads(attributes["splits"]).items()
        for subset in subsets
    }
    if listed != {name for name in places if name.startswith("splits/")}:
        raise ValueError("its attribute splits does not list its splits")
    if not isinstance(json.loads(attributes["aliases"]), dict):
        raise ValueError("its attribute aliases does not name splits")
    for name, place in places.items():
        if place.offset + place.size > size:
            raise ValueError(f"/{name} reaches beyond the file's end")
        if name.startswith("splits/") and (place.dtype != np.dtype(fmt.INDEX_DTYPE) or len(place.shape) != 1):
            raise ValueError(f"/{name} is not a list of rows")


def read_rows(descriptor: int, place: ArrayLocation, rows: Int64[ndarray, "rows"]) -> Shaped[ndarray, "rows ..."]:
    """The given rows of an array, in their order; neighbouring ones are read at once.

    Raises IndexError for a row that is not there, EOFError when the file ends too early.
    """
    if len(rows) and (rows.min() < 0 or rows.max() >= place.shape[0]):
        raise IndexError(f"rows {rows.min()}..{rows.max()} of an array of {place.shape[0]}")
    result = np.empty((len(rows), *place.shape[1:]), dtype=place.dtype)
    if result.nbytes == 0:
        return result
    buffer = result.reshape(-1).view(np.uint8).data
    size = place.row_bytes
    for start, stop in _runs(rows):
        read_into(descriptor, buffer[start * size : stop * size], place.offset + int(rows[start]) * size)
    return result


def _runs(rows: Int64[ndarray, "rows"]) -> Iterator[tuple[int, int]]:
    """Stretches (start, stop) of consecutive rows."""
    breaks = np.flatnonzero(np.diff(rows) != 1) + 1
    bounds = [0, *breaks.tolist(), len(rows)]
    yield from pairwise(bounds)


def read_into(descriptor: int, buffer: memoryview, offset: int) -> None:
    """Fill the buffer from the file at offset; EOFError when the file ends before."""
    while len(buffer):
        count = read_at(descriptor, buffer, offset)
        if count == 0:
            raise EOFError(f"the file ends at or before byte {offset}")
        buffer, offset = buffer[count:], offset + count

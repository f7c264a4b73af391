"""Checks every byte of a pack against its checksums, and names the samples that are damaged."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Int64
from numpy import ndarray

from hmr_core.data.pack import format as fmt
from hmr_core.data.pack.layout import Place, read_into, read_layout, read_rows, structure_digest
from hmr_core.errors import HmrError

ROWS_AT_ONCE = 512


def verify_pack(path: Path, on_progress: Callable[[int, int], None] | None = None) -> list[str]:
    """Everything that is wrong with a pack, as texts that name arrays and samples; empty when it is whole.

    Checks the header to its last byte, the file's size and digest, the structure, the digest of every array, the
    checksum of every image and of every sample's annotations, that offsets rise and split lists name rows.
    on_progress: called with bytes done and their total. Damage never raises; it is what is returned.
    """
    try:
        header = fmt.read_header(path)
        with path.open("rb") as file:
            block = file.read(fmt.USER_BLOCK_BYTES)
        check = _Check(path, 2 * header.size, on_progress)
        check.advance(0)
        if block != header.block():
            check.problems.append("the header block is damaged")
        if check.file_digest() != header.blake2b:
            check.problems.append("the file's digest is not the recorded one: at least one byte of it was changed")
    except (HmrError, OSError) as error:
        return [str(error)]
    try:
        check.contents()
    except (HmrError, OSError, EOFError, ValueError) as error:
        check.problems.append(str(error))
    return check.problems


@dataclass
class _Check:
    path: Path
    total: int
    on_progress: Callable[[int, int], None] | None
    problems: list[str] = field(default_factory=list)
    done: int = 0

    def advance(self, count: int) -> None:
        self.done = min(self.done + count, self.total)
        if self.on_progress is not None:
            self.on_progress(self.done, self.total)

    def file_digest(self) -> str:
        digest = fmt.array_digest()
        with self.path.open("rb") as file:
            file.seek(fmt.USER_BLOCK_BYTES)
            while block := file.read(fmt.READ_BYTES):
                digest.update(block)
                self.advance(len(block))
        return digest.hexdigest()

    def contents(self) -> None:
        attributes, places = read_layout(self.path)
        self.structure(places)
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            self.arrays(descriptor, places)
            samples = int(attributes["samples"])
            ids = self.ids(descriptor, places[fmt.IDS])
            self.annotations(descriptor, places, ids)
            self.images(descriptor, places, ids)
            for name, place in places.items():
                if name.startswith("splits/"):
                    rows = read_rows(descriptor, place, np.arange(place.shape[0]))
                    if len(rows) and (rows.min() < 0 or rows.max() >= samples):
                        self.problems.append(f"/{name}: lists rows that are not there ({samples} samples)")
        finally:
            os.close(descriptor)

    def structure(self, places: dict[str, Place]) -> None:
        """What lies between the arrays, against its digest where there is one."""
        recorded = fmt.read_header(self.path).structure
        if recorded is not None and structure_digest(self.path, places.values()) != recorded:
            self.problems.append("the HDF5 structure (attributes, places of arrays) is damaged")

    def arrays(self, descriptor: int, places: dict[str, Place]) -> None:
        """Every array but the images against its digest."""
        for name, place in places.items():
            if name == fmt.BYTES:
                continue
            digest = fmt.array_digest()
            for block in _blocks(descriptor, place.offset, place.size):
                digest.update(block)
                self.advance(len(block))
            if digest.hexdigest() != place.blake2b:
                self.problems.append(f"/{name}: its digest is not the recorded one")

    def ids(self, descriptor: int, place: Place) -> list[bytes]:
        raw = read_rows(descriptor, place, np.arange(place.shape[0]))
        size = place.dtype.itemsize
        data = raw.tobytes()
        return [data[i * size : (i + 1) * size] for i in range(len(raw))]

    def annotations(self, descriptor: int, places: dict[str, Place], ids: list[bytes]) -> None:
        """Every sample's rows against its checksum."""
        for start in range(0, len(ids), ROWS_AT_ONCE):
            rows = np.arange(start, min(start + ROWS_AT_ONCE, len(ids)))
            arrays = [read_rows(descriptor, places[f"samples/{name}"], rows) for name in fmt.ARRAYS]
            recorded = read_rows(descriptor, places[fmt.SAMPLE_CHECKSUM], rows)
            for i, row in enumerate(rows):
                checksum = fmt.item_checksum(ids[row], *(array[i].tobytes() for array in arrays))
                if checksum != recorded[i].tobytes():
                    self.problems.append(f"sample {_text(ids[row])} (row {row}): its annotations are damaged")

    def images(self, descriptor: int, places: dict[str, Place], ids: list[bytes]) -> None:
        """Every image against its checksum, and all of them against the array's digest."""
        offsets: Int64[ndarray, " bounds"] = read_rows(descriptor, places[fmt.OFFSETS], np.arange(len(ids) + 1))
        recorded = read_rows(descriptor, places[fmt.IMAGE_CHECKSUM], np.arange(len(ids)))
        place = places[fmt.BYTES]
        if offsets[0] != 0 or offsets[-1] != place.size:
            self.problems.append(f"/{fmt.OFFSETS}: the images do not fill /{fmt.BYTES}")
        for row, (start, stop) in enumerate(zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True)):
            name = f"sample {_text(ids[row])} (row {row})"
            if not 0 <= start < stop <= place.size:
                self.problems.append(
                    f"{name}: the place of its image is damaged ({start}..{stop} of {place.size} bytes)"
                )
                continue
            data = b"".join(_blocks(descriptor, place.offset + start, stop - start))
            if fmt.item_checksum(data) != recorded[row].tobytes():
                self.problems.append(f"{name}: its image is damaged")
        digest = fmt.array_digest()
        for block in _blocks(descriptor, place.offset, place.size):
            digest.update(block)
            self.advance(len(block))
        if digest.hexdigest() != place.blake2b:
            self.problems.append(f"/{fmt.BYTES}: its digest is not the recorded one")


def _blocks(descriptor: int, offset: int, size: int) -> Iterator[bytes]:
    for start in range(0, size, fmt.READ_BYTES):
        buffer = bytearray(min(fmt.READ_BYTES, size - start))
        read_into(descriptor, memoryview(buffer), offset + start)
        yield bytes(buffer)


def _text(sample_id: bytes) -> str:
    return sample_id.rstrip(b"\0").decode("ascii", errors="backslashreplace")

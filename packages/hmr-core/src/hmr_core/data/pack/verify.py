"""Checks every byte of a pack against its checksums, and names the samples that are damaged."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path

import numpy as np

from hmr_core.data.pack import format as fmt
from hmr_core.data.pack.checks import blocks, damaged_annotations, stretch_digest
from hmr_core.data.pack.layout import ArrayLocation, read_rows, structure_problem, verified_layout
from hmr_core.errors import HmrError

ROWS_AT_ONCE = 512


def verify_pack(path: Path, on_progress: Callable[[int, int], None] | None = None) -> list[str]:
    """Everything that is wrong with a pack, as texts that name arrays and samples; empty when it is whole.

    Checks the header to its last byte, the file's size and digest, the structure, the digest of every array, the
    checksum of every image and of every sample's annotations, that offsets rise and split lists name rows.
    on_progress: called with bytes done and their total. Damage never raises; it is what is returned.
    Raises HmrError when there is no file, and when it cannot be read, is no pack or one of another format.
    """
    try:
        descriptor, header = fmt.open_pack(path)
    except fmt.DamagedPackError as error:
        return [str(error)]
    with closing(FileIO(descriptor)):
        check = _Check(path, descriptor, header, on_progress)
        try:
            check.file()
            check.contents()
        except (HmrError, OSError, EOFError, ValueError) as error:
            check.problems.append(str(error))
        return check.problems


@dataclass
class _Check:
    path: Path
    descriptor: int
    header: fmt.Header
    on_progress: Callable[[int, int], None] | None
    problems: list[str] = field(default_factory=list)
    done: int = 0

    def advance(self, count: int) -> None:
        total = 2 * self.header.size
        self.done = min(self.done + count, total)
        if self.on_progress is not None:
            self.on_progress(self.done, total)

    def file(self) -> None:
        """The header block, and all that follows it against its digest."""
        self.advance(0)
        if os.pread(self.descriptor, fmt.USER_BLOCK_BYTES, 0) != self.header.block():
            self.problems.append("the header block is damaged")
        start = fmt.USER_BLOCK_BYTES
        if stretch_digest(self.descriptor, start, self.header.size - start, self.advance) != self.header.blake2b:
            self.problems.append("the file's digest is not the recorded one: at least one byte of it was changed")

    def contents(self) -> None:
        if structure_problem(self.descriptor, self.header):  # nothing in it is to be relied on, by no library
            self.problems.append(
                "the HDF5 structure (attributes, places of arrays) is damaged, so that the arrays cannot be looked at"
            )
            return
        attributes, places = verified_layout(self.path, self.descriptor, self.header)
        self.arrays(places)
        samples = int(attributes["samples"])
        names = self.names(places[fmt.IDS])
        self.annotations(places, names)
        self.images(places, names)
        for name, place in places.items():
            if name.startswith("splits/"):
                rows = read_rows(self.descriptor, place, np.arange(place.shape[0]))
                if len(rows) and (rows.min() < 0 or rows.max() >= samples):
                    self.problems.append(f"/{name}: lists rows that are not there ({samples} samples)")

    def arrays(self, places: dict[str, ArrayLocation]) -> None:
        """Every array but the images against its digest."""
        for name, place in places.items():
            if name != fmt.BYTES:
                digest = stretch_digest(self.descriptor, place.offset, place.size, self.advance)
                self.compare(name, place, digest)

    def compare(self, name: str, place: ArrayLocation, digest: str) -> None:
        if digest != place.blake2b:
            self.problems.append(f"/{name}: its digest is not the recorded one")

    def names(self, place: ArrayLocation) -> list[str]:
        """What each sample is called in a problem: by its id, as far as that is text, and its row."""
        ids = read_rows(self.descriptor, place, np.arange(place.shape[0])).tolist()
        texts = (sample_id.decode("ascii", errors="backslashreplace") for sample_id in ids)
        return [f"sample {text} (row {row})" for row, text in enumerate(texts)]

    def annotations(self, places: dict[str, ArrayLocation], names: list[str]) -> None:
        """Every sample's rows against its checksum."""
        for start in range(0, len(names), ROWS_AT_ONCE):
            rows = np.arange(start, min(start + ROWS_AT_ONCE, len(names)))
            for row in damaged_annotations(self.descriptor, places, rows):
                self.problems.append(f"{names[row]}: its annotations are damaged")

    def images(self, places: dict[str, ArrayLocation], names: list[str]) -> None:
        """Every image against its checksum, and all of them against the array's digest, read once for both."""
        offsets = read_rows(self.descriptor, places[fmt.OFFSETS], np.arange(len(names) + 1)).tolist()
        recorded = read_rows(self.descriptor, places[fmt.IMAGE_CHECKSUM], np.arange(len(names)))
        place = places[fmt.BYTES]
        if offsets[0] != 0 or offsets[-1] != place.size:
            self.problems.append(f"/{fmt.OFFSETS}: the images do not fill /{fmt.BYTES}")
        together = _Together(self.descriptor, place, self.advance)
        for row, name in enumerate(names):
            start, stop = offsets[row : row + 2]
            if not 0 <= start < stop <= place.size:
                self.problems.append(
                    f"{name}: the place of its image is damaged ({start}..{stop} of {place.size} bytes)"
                )
            elif together.checksum(start, stop) != recorded[row].tobytes():
                self.problems.append(f"{name}: its image is damaged")
        together.read_to(place.size)
        self.compare(fmt.BYTES, place, together.digest.hexdigest())


class _Together:
    """The digest of an array, taken while stretches of it are read: in order, unless their places are damaged."""

    def __init__(self, descriptor: int, place: ArrayLocation, on_read: Callable[[int], None]) -> None:
        self._descriptor, self._offset, self._on_read = descriptor, place.offset, on_read
        self.digest = fmt.array_digest()
        self._done = 0

    def checksum(self, start: int, stop: int) -> bytes:
        """The checksum of a stretch of the array."""
        self.read_to(start)
        item, position = fmt.item_digest(), start
        for block in blocks(self._descriptor, self._offset + start, stop - start):
            item.update(block)
            self._take(block[max(self._done - position, 0) :])
            position += len(block)
        return item.digest()

    def read_to(self, position: int) -> None:
        """Read up to a position what no stretch has brought."""
        for block in blocks(self._descriptor, self._offset + self._done, position - self._done):
            self._take(block)

    def _take(self, block: bytes) -> None:
        self.digest.update(block)
        self._done += len(block)
        self._on_read(len(block))

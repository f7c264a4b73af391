"""Read a FlatBuffers file, with every offset checked against the file's size.

FlatBuffers, in short: all numbers are little-endian. A table begins with the signed distance back to its vtable; the
vtable holds its own size, the table's size, and for each field its place within the table, 0 where the field is absent.
Vectors, strings and tables are referred to by the unsigned distance forwards; a vector begins with its length.
Source: the page "FlatBuffer Internals" of the FlatBuffers documentation.

Nothing is copied, and nothing here follows offsets by itself: whoever reads goes as deep as its own schema does, so
that a file whose tables contain one another cannot keep a reader busy.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Shaped
from numpy import ndarray


class FlatbufferError(ValueError):
    """The bytes are not what a FlatBuffers file has at that place."""


@dataclass(frozen=True)
class Table:
    """A table of a file: `data` is the whole file, `position` where the table begins.

    Fields go by their number in the schema. An absent field has the default of the schema, or is empty.
    """

    data: bytes
    position: int
    fields: tuple[int, ...]
    size: int

    def integer(self, field: int, kind: str, default: int = 0) -> int:
        """Read a number of a kind as `struct` names it: b, B, i, I (int8, uint8, int32, uint32)."""
        place = self._place(field, struct.calcsize(f"<{kind}"))
        return default if place is None else _number(self.data, place, kind)

    def boolean(self, field: int) -> bool:
        """Read a bool; False is every schema's default here."""
        return self.integer(field, "B") != 0

    def table(self, field: int) -> Table | None:
        """Find a table, if there is one."""
        place = self._place(field, 4)
        return None if place is None else table_at(self.data, place + _number(self.data, place, "I"))

    def tables(self, field: int, most: int) -> Iterator[Table]:
        """Go through a vector of tables, of which there may be so many at most."""
        start, count = self._vector(field, 4)
        if count > most:
            raise FlatbufferError(f"it lists {count} tables at byte {start}; {most} is the most")
        for place in range(start, start + 4 * count, 4):
            yield table_at(self.data, place + _number(self.data, place, "I"))

    def numbers(self, field: int, dtype: str) -> Shaped[ndarray, " count"]:
        """Find a vector of numbers of a NumPy dtype: a view of the file, which cannot be written to."""
        kind = np.dtype(dtype).newbyteorder("<")
        start, count = self._vector(field, kind.itemsize)
        return np.frombuffer(self.data, kind, count, start) if count else np.empty(0, kind)

    def text(self, field: int, longest: int) -> str:
        """Read a string of so many bytes at most; empty where there is none."""
        start, count = self._vector(field, 1)
        if count > longest:
            raise FlatbufferError(f"it has a text of {count} bytes at byte {start}; {longest} is the most")
        try:
            return self.data[start : start + count].decode("utf-8")
        except UnicodeDecodeError as error:
            raise FlatbufferError(f"the text at byte {start} is not UTF-8") from error

    def _place(self, field: int, size: int) -> int | None:
        """Where a field of so many bytes stands in the file; None where it is absent."""
        within = self.fields[field] if field < len(self.fields) else 0
        if within == 0:
            return None
        if within < 4 or within + size > self.size:
            raise FlatbufferError(f"field {field} of the table at byte {self.position} lies outside of it")
        return self.position + within

    def _vector(self, field: int, item: int) -> tuple[int, int]:
        """Where the items of a vector begin, and how many there are; all of them are in the file."""
        place = self._place(field, 4)
        if place is None:
            return 0, 0
        begin = place + _number(self.data, place, "I")
        count = _number(self.data, begin, "I")
        if begin + 4 + item * count > len(self.data):
            raise FlatbufferError(f"the vector at byte {begin} ends behind the file's end")
        return begin + 4, count


def root_table(data: bytes, identifier: bytes) -> Table:
    """Find the outermost table of a file.

    data: the whole file. identifier: the four bytes by which files of this schema are told, at place 4.
    Raises FlatbufferError when the bytes do not begin as such a file does.
    """
    if data[4:8] != identifier:
        raise FlatbufferError(f'it does not have "{identifier.decode()}" at byte 4')
    return table_at(data, _number(data, 0, "I"))


def table_at(data: bytes, position: int) -> Table:
    """Find the table that begins at a place; FlatbufferError where none can."""
    vtable = position - _number(data, position, "i")
    size_of_vtable, size = _number(data, vtable, "H"), _number(data, vtable + 2, "H")
    if size_of_vtable < 4 or size_of_vtable % 2 or vtable + size_of_vtable > len(data):
        raise FlatbufferError(f"the table at byte {position} has no vtable")
    if size < 4 or position + size > len(data):
        raise FlatbufferError(f"the table at byte {position} ends behind the file's end")
    return Table(data, position, struct.unpack_from(f"<{(size_of_vtable - 4) // 2}H", data, vtable + 4), size)


def _number(data: bytes, place: int, kind: str) -> int:
    if place < 0 or place + struct.calcsize(f"<{kind}") > len(data):
        raise FlatbufferError(f"it refers to byte {place}, and has {len(data)} bytes")
    (value,) = struct.unpack_from(f"<{kind}", data, place)
    return int(value)

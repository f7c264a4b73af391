"""Read JSON files that hold a list of equal arrays, such as a mesh for each sample, without holding them as objects.

A million and more nested lists of Python's take ten times the memory of their numbers. So the text is decoded entry by
entry, while it is read, and of each entry only its numbers are kept.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from hmr_core.errors import HmrError
from hmr_core.files import open_regular
from hmr_datasets.kept_arrays import kept_arrays

CHUNK = 1 << 24
"""How many bytes are read at a time."""

LONGEST = 1 << 20
"""How many characters an entry may have; the longest, a mesh of 778 vertices, has some 60,000."""

KEPT_BYTES = 1_000_000
"""Of a file of more, the numbers are kept: it takes a tenth of a second to read, in each process."""

KEPT = "rows-1"
"""What the kept arrays are called; the number is that of their form."""

BLANK = " \t\r\n"

_DECODER = json.JSONDecoder()


class _DamagedError(Exception):
    """What is wrong with a file, in words."""


def kept_rows(path: Path, shape: tuple[int, ...], *, again: str) -> Float32[ndarray, "..."]:
    """As `read_rows`; of a large file the numbers are kept for other processes, and mapped (see kept_arrays)."""
    try:
        large = path.stat().st_size > KEPT_BYTES
    except OSError:
        large = False  # which is told where it is read
    if not large:
        return read_rows(path, shape, again=again)
    name = f"{KEPT}-{path.stem}-{'x'.join(map(str, shape))}"
    return kept_arrays(name, [path], lambda: {"rows": read_rows(path, shape, again=again)})["rows"]


def read_rows(path: Path, shape: tuple[int, ...], *, again: str) -> Float32[ndarray, "..."]:
    """Read a list of arrays of numbers: (entries, *shape), float32.

    Lists of one element count as the element, as FreiHAND's [[...]] of one hand's parameters. again: what the user does
    to get a good file, the last sentence of every error.
    Raises HmrError naming the file when it is missing or damaged, naming the entry that has another shape, or numbers
    that are not finite.
    """
    numbers, count = bytearray(), 0
    try:
        with open_regular(path) as file:
            for entry in _entries(file):
                numbers += _row(entry, count, shape).tobytes()
                count += 1
    except OSError as error:
        raise HmrError(f"cannot read {path}: {error.strerror}. {again}") from error
    except (_DamagedError, UnicodeDecodeError) as error:
        what = str(error) if isinstance(error, _DamagedError) else "it is no text of numbers"
        raise HmrError(f"{path} is damaged: {what}. {again}") from error
    return np.frombuffer(numbers, dtype="<f4").reshape(count, *shape) if count else np.zeros((0, *shape), np.float32)


def _row(entry: Any, number: int, shape: tuple[int, ...]) -> Float32[ndarray, "..."]:
    try:
        array = np.squeeze(np.array(entry))
    except ValueError:  # lists of unequal lengths
        raise _DamagedError(f"entry {number} is no array of numbers") from None
    if array.dtype.kind not in "fiu":
        raise _DamagedError(f"entry {number} is no array of numbers")
    if array.shape != shape:
        raise _DamagedError(f"entry {number} has shape {array.shape}, not {shape}")
    if not np.isfinite(array).all():
        raise _DamagedError(f"entry {number} has numbers that are not finite")
    return array.astype("<f4")


def _entries(file: BufferedReader) -> Iterator[Any]:
    """The entries of the list in a file, each as soon as it is read whole."""
    text, ended = "", False
    place, wanted = 0, "["  # what comes next, where an entry does not
    while wanted:
        start = _skip_blank(text, place)
        if text[start : start + 1] and text[start] in wanted:
            wanted = {"[": "]", "]": ""}[text[start]]
            place = start + 1
        elif wanted != "[" and (found := _next_entry(text, start)) is not None:
            entry, place = found
            yield entry
            wanted = "" if text[place - 1] == "]" else " "
        elif ended or len(text) - place > LONGEST:
            raise _DamagedError("it is no list" if wanted == "[" else "it is cut short, or no JSON")
        else:
            more = file.read(CHUNK).decode("ascii")
            text, place, ended = text[place:] + more, 0, not more
    if text[place:].strip(BLANK) or file.read().strip():
        raise _DamagedError("something follows the list")


def _next_entry(text: str, start: int) -> tuple[Any, int] | None:
    """The entry that starts at a place, and the place after the comma or bracket behind it; None if it is not whole."""
    try:
        entry, end = _DECODER.raw_decode(text, start)
    except (ValueError, RecursionError):
        return None
    end = _skip_blank(text, end)
    return (entry, end + 1) if text[end : end + 1] in (",", "]") else None


def _skip_blank(text: str, place: int) -> int:
    while place < len(text) and text[place] in BLANK:
        place += 1
    return place

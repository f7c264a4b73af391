"""Reads stretches of a pack's file to compare their digests: by `Pack` of what it uses, by `verify_pack` of all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np
from jaxtyping import Integer
from numpy import ndarray

from hmr_core.data.pack import format as fmt
from hmr_core.data.pack.layout import ArrayLocation, read_into, read_rows


def blocks(descriptor: int, offset: int, size: int) -> Iterator[bytes]:
    """A stretch of the file in blocks of at most READ_BYTES; EOFError when the file ends before."""
    for start in range(0, size, fmt.READ_BYTES):
        buffer = bytearray(min(fmt.READ_BYTES, size - start))
        read_into(descriptor, memoryview(buffer), offset + start)
        yield bytes(buffer)


def stretch_digest(descriptor: int, offset: int, size: int, on_read: Callable[[int], None] = lambda count: None) -> str:
    """The digest (hex) of a stretch of the file, such as an array; on_read is called with the sizes of its blocks."""
    digest = fmt.array_digest()
    for block in blocks(descriptor, offset, size):
        digest.update(block)
        on_read(len(block))
    return digest.hexdigest()


def damaged_annotations(
    descriptor: int, places: Mapping[str, ArrayLocation], rows: Integer[ndarray, " rows"]
) -> Iterator[int]:
    """Those of the rows whose annotations do not have the recorded checksum, in their order."""
    chosen = rows.astype(np.int64)
    names = (fmt.IDS, *(name for name in (f"samples/{array}" for array in fmt.ARRAYS) if name in places))
    arrays = [read_rows(descriptor, places[name], chosen) for name in names]
    recorded = read_rows(descriptor, places[fmt.SAMPLE_CHECKSUM], chosen)
    for i, row in enumerate(chosen.tolist()):
        if fmt.item_checksum(*(array[i : i + 1].tobytes() for array in arrays)) != recorded[i].tobytes():
            yield row

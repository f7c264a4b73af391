"""Builds the HDF5 file of a pack from the samples that its journal keeps."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from importlib.metadata import version
from io import FileIO
from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np

from hmr_core.data.pack import format as fmt
from hmr_core.data.pack.checks import stretch_digest
from hmr_core.data.pack.encode import Encoder
from hmr_core.data.pack.journal import Journal, write_at
from hmr_core.data.pack.layout import ArrayLocation, read_layout, stretches, structure_digest
from hmr_core.data.pack.selection import Selection
from hmr_core.hand.joints import JOINT_NAMES
from hmr_core.system import reserve

STRUCTURE_BYTES = 1 << 20
"""More than the structure of any pack takes."""


def assemble(
    part: Path, encoder: Encoder, selection: Selection, journal: Journal, on_progress: Callable[[int, int], None]
) -> fmt.Header:
    """Write the whole pack to part and bring it to the disk; its header. The journal has every sample.

    on_progress: called with the bytes written and then hashed, and their total, about. OSError when it cannot be
    written, as on a full disk.
    """
    ids = np.array([sample_id.encode("ascii") for sample_id in selection.ids], dtype=f"S{encoder.id_bytes}")
    small = {fmt.IDS: ids} | {
        fmt.split_dataset(split, subset): rows
        for split, lists in selection.rows.items()
        for subset, rows in lists.items()
    }
    _write_structure(part, encoder, selection, small, journal)
    _, places = read_layout(part)
    with FileIO(part, "r+") as file:
        for name, values in small.items():
            write_at(file, values.tobytes(), places[name].offset)
        _write_records(file, places, journal)
        position = places[fmt.BYTES].offset
        total = 2 * part.stat().st_size
        for block in journal.images():
            write_at(file, block, position)
            position += len(block)
            on_progress(position, total)
    return _seal(part, places, lambda done: on_progress(total // 2 + done, total))


def _write_structure(
    part: Path, encoder: Encoder, selection: Selection, small: Mapping[str, np.ndarray], journal: Journal
) -> None:
    """The file without the arrays' contents: HDF5's library writes some kilobytes, and leaves room for the rest.

    What is large is written without it, because it cannot close a file for which the disk has no room. Whether there is
    room for the structure is asked first, in the same way: HDF5's library begins the file anew.
    """
    with FileIO(part, "w") as file:
        reserve(file.fileno(), STRUCTURE_BYTES)
    # The oldest file format has no time stamps in groups: the same input gives the same bytes.
    with h5py.File(part, "w", userblock_size=fmt.USER_BLOCK_BYTES, libver=("earliest", "v108")) as file:
        _describe(file, encoder, selection, journal.done)
        for name, values in small.items():
            _declare(file, name, values.shape, values.dtype, fmt.array_digest(values.tobytes()))
        for name in encoder.arrays:
            spec = fmt.ARRAYS[name]
            dataset = _declare(
                file, f"samples/{name}", (journal.done, *spec.shape), spec.dtype, journal.digests[f"samples/{name}"]
            )
            dataset.attrs["meaning"] = spec.meaning
        for name in (fmt.SAMPLE_CHECKSUM, fmt.IMAGE_CHECKSUM, fmt.SOURCE):
            _declare(file, name, (journal.done, fmt.ITEM_DIGEST_BYTES), "u1", journal.digests[name])
        _declare(file, fmt.OFFSETS, (journal.done + 1,), fmt.OFFSETS_DTYPE, journal.digests[fmt.OFFSETS])
        _declare(file, fmt.BYTES, (journal.image_bytes,), "u1", journal.digests[fmt.BYTES])


def _declare(file: h5py.File, name: str, shape: tuple[int, ...], dtype: Any, digest: hashlib.blake2b) -> h5py.Dataset:
    """An array with its place in the file, and nothing in it yet."""
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    properties.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    dataset = file.create_dataset(name, shape, dtype, dcpl=properties)
    dataset.attrs["blake2b"] = digest.hexdigest()
    return dataset


def _write_records(file: FileIO, places: Mapping[str, ArrayLocation], journal: Journal) -> None:
    """Everything that the journal's records hold."""
    positions = {name: places[name].offset for name in journal.fields}
    ends, position = np.zeros(1, dtype=fmt.OFFSETS_DTYPE), places[fmt.OFFSETS].offset
    write_at(file, ends.tobytes(), position)
    for records in journal.records():
        for name, field in journal.fields.items():
            rows = records[field].tobytes()
            write_at(file, rows, positions[name])
            positions[name] += len(rows)
        position += len(ends) * ends.itemsize
        ends = ends[-1] + np.cumsum(records["image_bytes"], dtype=fmt.OFFSETS_DTYPE)
        write_at(file, ends.tobytes(), position)


def _describe(file: h5py.File, encoder: Encoder, selection: Selection, samples: int) -> None:
    """The root's attributes: what the file says of itself."""
    file.attrs["format"] = fmt.FORMAT
    file.attrs["dataset"] = encoder.reader.name
    file.attrs["release"] = encoder.reader.release
    file.attrs["samples"] = samples
    file.attrs["units"] = "metres"
    file.attrs["frame"] = "camera space: x right, y down, z away from the camera"
    file.attrs["joint_order"] = ",".join(JOINT_NAMES)
    file.attrs["image_order"] = "RGB when decoded"
    file.attrs["splits"] = json.dumps({split: list(lists) for split, lists in selection.rows.items()})
    file.attrs["aliases"] = json.dumps(selection.aliases)
    file.attrs["codec"] = encoder.codec.name
    file.attrs["lossless"] = encoder.codec.lossless
    file.attrs["margin"] = encoder.margin
    file.attrs["tool"] = f"hmr-core {version('hmr-core')}"
    file.attrs["opencv"] = cv2.__version__
    file.attrs["h5py"] = f"{h5py.version.version} (HDF5 {h5py.version.hdf5_version})"


def _seal(part: Path, places: Mapping[str, ArrayLocation], on_hashed: Callable[[int], None]) -> fmt.Header:
    """Write the header block, once everything else is on the disk. on_hashed: called with the bytes hashed so far."""
    _sync(part)
    with FileIO(part, "r+") as file:
        descriptor, size = file.fileno(), part.stat().st_size
        done = fmt.USER_BLOCK_BYTES

        def hashed(count: int) -> None:
            nonlocal done
            done += count
            on_hashed(done)

        digest = stretch_digest(descriptor, fmt.USER_BLOCK_BYTES, size - fmt.USER_BLOCK_BYTES, hashed)
        gaps = list(stretches(places.values(), size))
        header = fmt.Header(fmt.FORMAT, size, digest, structure_digest(descriptor, gaps), gaps)
        write_at(file, header.block(), 0)
    _sync(part)
    return header


def _sync(path: Path) -> None:
    with path.open("r+b") as file:
        os.fsync(file.fileno())

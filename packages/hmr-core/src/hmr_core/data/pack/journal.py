"""What has been packed so far, kept beside the file that it will be in, so that packing can stop and go on at any time.

OUT.part-images holds the compressed windows one after the other. OUT.part-journal begins with a line of JSON that says
what is being packed and how; then comes one record of fixed size for each sample, in the order of the rows, with
everything but its image. A record is written after its image and ends with its own checksum. Whatever a crash left,
what counts is therefore the records up to the first that is cut or untrue, or whose image is; nothing needs to be
brought to the disk meanwhile.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy import ndarray

from hmr_core.data.pack import format as fmt
from hmr_core.data.pack.differences import differences
from hmr_core.errors import HmrError, Option
from hmr_core.files import open_descriptor
from hmr_core.shell import command_line

FORMAT = "hmr-pack-journal/1"

_DIGEST = ("u1", (fmt.ITEM_DIGEST_BYTES,))

RECORDS_AT_ONCE = 256
_LONGEST_HEAD_BYTES = 1 << 16


@cache
def record_type(arrays: tuple[str, ...]) -> np.dtype[Any]:
    """The type of a record: a sample's entries of these arrays, the size of its compressed window, and the checksums
    that the pack will hold; then the record's own.
    """
    return np.dtype(
        [
            *((name, fmt.ARRAYS[name].dtype, fmt.ARRAYS[name].shape) for name in arrays),
            ("image_bytes", "<i8"),
            ("image_checksum", *_DIGEST),
            ("source", *_DIGEST),
            ("sample_checksum", *_DIGEST),
            ("record_checksum", *_DIGEST),
        ]
    )


def record_fields(arrays: tuple[str, ...]) -> dict[str, str]:
    """The arrays of the pack that are made of fields of the records, and these."""
    return {
        **{f"samples/{name}": name for name in arrays},
        fmt.SAMPLE_CHECKSUM: "sample_checksum",
        fmt.IMAGE_CHECKSUM: "image_checksum",
        fmt.SOURCE: "source",
    }


@dataclass(frozen=True)
class EncodedSample:
    """A sample ready to be stored: its record, of `record_type` and no axes, and its compressed window."""

    record: ndarray
    image: bytes


def record_checksum(record: bytes) -> bytes:
    """The checksum that a record ends with."""
    return fmt.item_checksum(record[: -fmt.ITEM_DIGEST_BYTES])


@contextmanager
def open_journal(
    out: Path, head: Mapping[str, Any], samples: int, on_read: Callable[[int, int], None]
) -> Iterator[Journal]:
    """The journal of the pack at out, as far as it got; a new one where there is none.

    head: what is being packed and how, in JSON's types; its "arrays" are those of the pack, in the format's order.
    samples: in the whole pack. on_read: called with the bytes of images that were gone through, and their total, where
    samples were kept.
    Afterwards its files stay where samples were kept, and the pack was not finished. Raises HmrError while another
    process has it, when it is of another packing, and when it is damaged.
    """
    with _locked(_journal_path(out), "a+b") as records, _opened_images(out, records) as images:
        journal = Journal(out, records, images, head, samples, on_read)
        try:
            yield journal
        finally:
            if journal.done == 0:
                journal.remove()


def discard_finished(out: Path) -> bytes | None:
    """Remove the journal of the pack that is at out, if its packer was stopped just before it did so.

    The journal's first line then (see `head_line`): what was packed and how. None where there is nothing to remove.
    """
    path = _journal_path(out)
    try:
        with _locked(path, "rb") as records, FileIO(open_descriptor(out)) as file:
            size = max(os.fstat(records.fileno()).st_size - fmt.USER_BLOCK_BYTES, 0)
            if os.pread(records.fileno(), fmt.USER_BLOCK_BYTES, size) != file.read(fmt.USER_BLOCK_BYTES):
                return None
            line, newline, _ = os.pread(records.fileno(), _LONGEST_HEAD_BYTES, 0).partition(b"\n")
            _remove(_images_path(out), path)
            return line + newline
    except (FileNotFoundError, NotADirectoryError):  # of either
        return None


def kept_samples(out: Path) -> int:
    """How many samples a packing that was stopped keeps beside out."""
    try:
        with FileIO(open_descriptor(_journal_path(out))) as records:
            line, newline, _ = os.pread(records.fileno(), _LONGEST_HEAD_BYTES, 0).partition(b"\n")
            size = os.fstat(records.fileno()).st_size - len(line + newline)
            return size // record_type(tuple(json.loads(line)["arrays"])).itemsize
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError):
        return 0


def head_line(head: Mapping[str, Any]) -> bytes:
    """The first line of the journal of a packing."""
    return (json.dumps({"format": FORMAT, **head}) + "\n").encode("ascii")


class Journal:
    """The samples packed so far: made by `open_journal`, appended to, read back for the pack.

    out: where the pack will be. done: how many samples there are. image_bytes: the size of their compressed windows.
    type: of its records; fields: the arrays of the pack that are made of these. digests: by the arrays of the pack, of
    what the samples so far are to it.
    """

    def __init__(
        self,
        out: Path,
        records: FileIO,
        images: FileIO,
        head: Mapping[str, Any],
        samples: int,
        on_read: Callable[[int, int], None],
    ) -> None:
        self.out, self._records, self._images, self._samples = out, records, images, samples
        self.done = self.image_bytes = 0
        self.type, self.fields = record_type(tuple(head["arrays"])), record_fields(tuple(head["arrays"]))
        self.digests = {name: fmt.array_digest() for name in (*self.fields, fmt.BYTES)}
        self.digests[fmt.OFFSETS] = fmt.array_digest(_offset(0))
        line = head_line(head)
        self._start = len(line)
        if self._begun(line):
            self._go_through(on_read)
        else:
            self._begin(line)
        records.truncate(self._start + self.done * self.type.itemsize)
        images.truncate(self.image_bytes)

    def append(self, sample: EncodedSample) -> None:
        """Keep the next sample; OSError when it cannot be written."""
        _write(self._images, sample.image)
        _write(self._records, sample.record.tobytes())
        self._count(sample.record, sample.image)

    def record(self, row: int) -> np.void:
        """The record of a sample."""
        found: np.void = self._read(row, row + 1)[0]
        return found

    def records(self) -> Iterator[ndarray]:
        """The records in order, as arrays of some hundred each."""
        for start in range(0, self.done, RECORDS_AT_ONCE):
            yield self._read(start, min(start + RECORDS_AT_ONCE, self.done))

    def images(self) -> Iterator[bytes]:
        """The compressed windows, all of them one after the other, in large blocks."""
        position = 0
        while block := os.pread(self._images.fileno(), fmt.READ_BYTES, position):
            yield block
            position += len(block)

    def finish(self, header: fmt.Header) -> None:
        """Note that the pack with this header is whole and about to get its name (see `discard_finished`)."""
        _write(self._records, header.block())

    def remove(self) -> None:
        """Remove its files: the pack is finished, or there is nothing to keep."""
        _remove(_images_path(self.out), _journal_path(self.out))

    @property
    def removal(self) -> str:
        """The command that removes its files."""
        return command_line("rm", _journal_path(self.out), _images_path(self.out))

    def _begin(self, line: bytes) -> None:
        try:
            self._records.truncate(0)
            _write(self._records, line)
            os.fsync(self._records.fileno())  # then a line that cannot be read is damaged, not unfinished
        except OSError:
            self.remove()
            raise

    def _begun(self, line: bytes) -> bool:
        """Whether there are records to go on from; HmrError when they are of another packing, or none can tell."""
        start = os.pread(self._records.fileno(), _LONGEST_HEAD_BYTES, 0)
        found, newline, _ = start.partition(b"\n")
        size = os.fstat(self._records.fileno()).st_size
        if (not newline and size < _LONGEST_HEAD_BYTES) or size <= len(found) + 1:
            return False  # stopped before its first record
        anew = f"begin anew: {self.removal}"
        try:
            differing = differences(json.loads(found), json.loads(line))
        except (ValueError, TypeError, AttributeError):
            raise HmrError(
                f"{_journal_path(self.out)}, which keeps what was packed so far, is damaged.", f"To {anew}"
            ) from None
        kept = kept_samples(self.out)
        if kept and differing:
            raise HmrError(
                f"the packing of {self.out} was begun otherwise ({'; '.join(differing)}), and {kept} samples of it are "
                "kept.",
                "Go on with the options and the data set that it was begun with, give another ",
                Option("out"),
                f", or {anew}",
            )
        return kept > 0

    def _go_through(self, on_read: Callable[[int, int], None]) -> None:
        """Count the records that are whole and true, up to the first that is not, or whose image is not."""
        total = os.fstat(self._images.fileno()).st_size
        stop = min((os.fstat(self._records.fileno()).st_size - self._start) // self.type.itemsize, self._samples)
        while self.done < stop:
            for record in self._read(self.done, min(self.done + RECORDS_AT_ONCE, stop)):
                if record_checksum(record.tobytes()) != record["record_checksum"].tobytes():
                    return
                image = _read(self._images, int(record["image_bytes"]), self.image_bytes)
                if fmt.item_checksum(image) != record["image_checksum"].tobytes():
                    return
                self._count(record, image)
                on_read(self.image_bytes, total)

    def _count(self, record: ndarray | np.void, image: bytes) -> None:
        self.done += 1
        self.image_bytes += len(image)
        whole = np.asarray(record)  # an entry of a void is text without the zeros that fill it up
        for name, field in self.fields.items():
            self.digests[name].update(whole[field].tobytes())
        self.digests[fmt.OFFSETS].update(_offset(self.image_bytes))
        self.digests[fmt.BYTES].update(image)

    def _read(self, start: int, stop: int) -> ndarray:
        size = self.type.itemsize
        return np.frombuffer(_read(self._records, (stop - start) * size, self._start + start * size), dtype=self.type)


def _journal_path(out: Path) -> Path:
    return out.with_name(out.name + ".part-journal")


def _images_path(out: Path) -> Path:
    return out.with_name(out.name + ".part-images")


def _opened_images(out: Path, records: FileIO) -> FileIO:
    """The file of images. Where it cannot be opened, the journal does not stay if it was made just now."""
    try:
        return FileIO(_images_path(out), "a+b")
    except OSError:
        if os.fstat(records.fileno()).st_size == 0:
            _remove(_journal_path(out))
        raise


@contextmanager
def _locked(path: Path, mode: str) -> Iterator[FileIO]:
    """The journal at path, opened in that mode, for this process alone; HmrError while another packer has it."""
    while True:
        with FileIO(path, mode) if "a" in mode else FileIO(open_descriptor(path)) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                out = path.with_name(path.name.removesuffix(".part-journal"))
                raise HmrError(
                    f"another process is packing {out}.", "Wait for it, or give another ", Option("out"), "."
                ) from None
            if path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat()):
                yield file
                return
            # The other packer finished, and removed the file, between our opening and locking it.


def _write(file: FileIO, data: bytes) -> None:
    view = memoryview(data)
    while len(view):
        view = view[file.write(view) :]


def write_at(file: FileIO, data: bytes, position: int) -> None:
    """Write all of the data at a position; OSError when it cannot be."""
    view = memoryview(data)
    while len(view):
        count = os.pwrite(file.fileno(), view, position)
        view, position = view[count:], position + count


def _read(file: FileIO, size: int, position: int) -> bytes:
    """That part of a file, or as much of it as there is."""
    parts = []
    while size > 0 and (part := os.pread(file.fileno(), size, position)):
        parts.append(part)
        size, position = size - len(part), position + len(part)
    return b"".join(parts)


def _remove(*paths: Path) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


def _offset(value: int) -> bytes:
    return np.array(value, dtype=fmt.OFFSETS_DTYPE).tobytes()

"""Writes a pack: samples are encoded by worker processes and kept in a journal, of which the file is made at the end.

Packing may stop at any moment, and goes on from what the journal holds. OUT.part is the file while it is assembled,
always anew; OUT itself is not touched before that is whole and on the disk.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cv2

from hmr_core.data.pack import format as fmt
from hmr_core.data.pack.assemble import assemble
from hmr_core.data.pack.codecs import Codec
from hmr_core.data.pack.encode import Encoder
from hmr_core.data.pack.journal import RECORD, Journal, discard_finished, open_journal
from hmr_core.data.pack.selection import Selection, select
from hmr_core.data.pack.workers import encode_all
from hmr_core.data.sample import DatasetReader
from hmr_core.errors import HmrError, UsageError

SAMPLES_PER_WORKER = 500
"""Fewer are packed sooner than another process has started."""


@dataclass(frozen=True)
class PackSummary:
    """What was written. counts: samples by split and subset. seconds: of wall time, since packing last began."""

    path: Path
    samples: int
    size_bytes: int
    image_bytes: int
    counts: Mapping[str, Mapping[str, int]]
    seconds: float


def write_pack(
    reader: DatasetReader,
    out: Path,
    *,
    splits: Sequence[str] | None = None,
    subset: str | None = None,
    codec: Codec,
    margin: float = fmt.DEFAULT_MARGIN,
    workers: int | None = None,
    force: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> PackSummary:
    """Pack a data set into one file, or go on with a packing of it that was stopped.

    splits: None for all that the reader has. subset: None for all of them (see `select`). margin: window side over
    joint-box side. workers: processes, by default one for each CPU as far as there is work for them; the file is the
    same, byte for byte, for any number, and however often packing was stopped. force: replace out. on_progress: called
    with the samples done and their total, first with those that were done before.
    Raises UsageError for bad options, and HmrError for bad input (naming the sample), a disk that is full, a worker
    that died, a packing that was begun otherwise. Then out does not exist, or is what it was, and the samples that were
    done are kept.
    """
    started = time.monotonic()
    if not 1 <= margin <= 100:
        raise UsageError(f"margin {margin}: the window's side over the joint box's is a number from 1 to 100.")
    if workers is not None and workers < 1:
        raise UsageError(f"workers {workers}: at least 1.")
    if out.is_dir():
        raise UsageError(f"{out} is a folder. Give the file to write: --out {out / 'pack.h5'}")
    with _described(out):
        discard_finished(out)
    if out.exists() and not force:
        raise HmrError(f"{out} exists. Give another --out, or --force to replace it.")
    selection = select(reader, splits, subset)
    encoder = Encoder(reader, codec, margin, max(len(sample_id.encode("ascii")) for sample_id in selection.ids))
    with _described(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        with open_journal(out, _head(encoder, selection), len(selection.ids)) as journal:
            with _keeping(journal, len(selection.ids)):
                _check_first(journal, encoder, selection.ids[0])
                processes = workers or min(os.cpu_count() or 1, 1 + len(selection.ids) // SAMPLES_PER_WORKER)
                _encode_rest(journal, encoder, selection.ids, processes, on_progress)
                header = _finish(out, journal, encoder, selection)
            summary = PackSummary(
                out,
                len(selection.ids),
                header.size,
                journal.image_bytes,
                selection.counts,
                time.monotonic() - started,
            )
            journal.remove()
    return summary


def _head(encoder: Encoder, selection: Selection) -> dict[str, Any]:
    """What is being packed and how: a packing that was begun with another head cannot go on with this one."""
    return {
        "pack": fmt.FORMAT,
        "release": encoder.reader.release,
        "frame size": list(encoder.reader.frame_size),
        "lists": selection.counts,
        "digest of the lists": selection.digest(),
        "codec": encoder.codec.name,
        "codec parameters": list(encoder.codec.parameters),
        "margin": encoder.margin,
        "hmr-core": version("hmr-core"),
        "OpenCV": cv2.__version__,
    }


def _check_first(journal: Journal, encoder: Encoder, sample_id: str) -> None:
    """HmrError when what is kept is of another data set with the same ids."""
    for records in journal.records():
        if (encoder.encode(sample_id).record["sample_checksum"] != records[0]["sample_checksum"]).any():
            raise HmrError(
                f"the annotations of sample {sample_id} are not those that packing began with. If it is another data "
                f"set now, give another --out, or begin anew: {journal.removal}."
            )
        return


def _encode_rest(
    journal: Journal,
    encoder: Encoder,
    ids: Sequence[str],
    workers: int,
    on_progress: Callable[[int, int], None] | None,
) -> None:
    """Encode the samples that the journal does not have yet."""
    if on_progress is not None:
        on_progress(journal.done, len(ids))
    with closing(encode_all(encoder, ids[journal.done :], workers)) as samples:  # stops the workers, whatever happens
        for sample in samples:
            journal.append(sample)
            if on_progress is not None:
                on_progress(journal.done, len(ids))


def _finish(out: Path, journal: Journal, encoder: Encoder, selection: Selection) -> fmt.Header:
    """Make the file, and give it its name."""
    part = out.with_name(out.name + ".part")
    try:
        header = assemble(part, encoder, selection, journal)
        journal.finish(header)
        part.replace(out)
    except (OSError, RuntimeError) as error:  # h5py raises the latter when it cannot write what it holds
        size = f"{part.name} takes about {(journal.image_bytes + RECORD.itemsize * journal.done) / 1e6:.0f} MB there"
        raise HmrError(f"could not write {out}: {error}. {size} besides what is kept.") from error
    finally:
        part.unlink(missing_ok=True)
    _sync_folder(out.parent)
    return header


@contextmanager
def _described(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise HmrError(f"could not write {out}: {error}.") from error


@contextmanager
def _keeping(journal: Journal, samples: int) -> Iterator[None]:
    """Say in every error that the samples packed so far are kept."""
    try:
        yield
    except (HmrError, OSError) as error:
        if journal.done == 0:
            raise
        text = str(error) if isinstance(error, HmrError) else f"could not write {journal.out}: {error}."
        kept = f"What was packed is kept ({journal.done} of {samples} samples): the same command goes on from there."
        raise HmrError(f"{text} {kept}") from error


def _sync_folder(path: Path) -> None:
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)

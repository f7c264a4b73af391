"""Writes a pack: samples are encoded by worker processes and kept in a journal, of which the file is made at the end.

Packing may stop at any moment, and goes on from what the journal holds. OUT.part is the file while it is assembled,
always anew; OUT itself is not touched before that is whole and on the disk.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from hmr_core.data.pack import format as fmt
from hmr_core.data.pack.assemble import assemble
from hmr_core.data.pack.codecs import Codec
from hmr_core.data.pack.encode import MASKS, Encoder, failures_named, stored_annotations, stored_arrays
from hmr_core.data.pack.entry import check_data_set, odd_hands
from hmr_core.data.pack.journal import Journal, discard_finished, head_line, kept_samples, open_journal
from hmr_core.data.pack.reader import Pack
from hmr_core.data.pack.selection import Selection, select
from hmr_core.data.pack.workers import encode_all
from hmr_core.errors import HmrError, Option, UsageError
from hmr_core.plugins.sample import DatasetReader, reader_notes
from hmr_core.system import usable_cpus
from hmr_core.wording import counted

SAMPLES_PER_WORKER = 500
"""Fewer are packed sooner than another process has started."""

READING, ASSEMBLING = "reading back", "assembling"
"""What is done before samples are packed, where some are kept, and after."""

_ANOTHER = ("Give another ", Option("out"), ".")

COMPARED = {
    "sample_checksum": "other annotations",
    "source": "another frame",
    "image_checksum": "another compressed window",
}
"""Fields of a record by which another data set is known, and what it has then."""


@dataclass(frozen=True)
class PackSummary:
    """What was written. counts: samples by split and subset. seconds: of wall time, since packing last began.

    was_finished: the packing that was stopped had finished the file; nothing remained to be done. odd: the samples
    whose hands are of no hand's size, or too far away (`odd_hands`), which are packed as they are. notes: on the data
    set.
    """

    path: Path
    samples: int
    size_bytes: int
    image_bytes: int
    counts: Mapping[str, Mapping[str, int]]
    seconds: float
    was_finished: bool = False
    odd: Sequence[str] = ()
    notes: Sequence[str] = ()


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
    on_progress: Callable[[int, int], None] = lambda done, total: None,
    on_bytes: Callable[[str, int, int], None] = lambda phase, done, total: None,
) -> PackSummary:
    """Pack a data set into one file, or go on with a packing of it that was stopped.

    splits: None for all that the reader has. subset: None for all of them (see `select`). margin: window side over
    joint-box side. workers: processes, by default one for each CPU as far as there is work for them; the file is the
    same, byte for byte, for any number, and however often packing was stopped. force: replace out; where out is a link,
    what it names. on_progress: called with the samples done and their total, first with those that were done before.
    on_bytes: called with what is being done before and after that (READING, ASSEMBLING), the bytes done, and their
    total.
    Raises UsageError for bad options, and HmrError for a data set of which every metric would be wrong, for bad input
    (naming the sample), a disk that is full, a worker that died, a packing that was begun otherwise. Then out does not
    exist, or is what it was, and the samples that were done are kept.
    """
    started = time.monotonic()
    out = followed(out)
    if not 1 <= margin <= 100:
        raise UsageError(f"margin {margin}: the window's side over the joint box's is a number from 1 to 100.")
    if workers is not None and workers < 1:
        raise UsageError(f"workers {workers}: at least 1.")
    with _described(out):
        if out.is_dir():
            raise UsageError(f"{out} is a folder.", "Give the file to write: ", Option("out", out / "pack.h5"))
        if out.exists() and not out.is_file():
            raise UsageError(f"{out} is no regular file.", *_ANOTHER)
        finished = discard_finished(out)
    if finished is None:
        _check_free(out, force)
    selection = select(reader, splits, subset)
    id_bytes = max(len(sample_id.encode("ascii")) for sample_id in selection.ids)
    encoder = Encoder(reader, codec, margin, id_bytes, _arrays(reader, selection.ids[0]))
    head, samples = _head(encoder, selection), len(selection.ids)
    if finished == head_line(head):
        info = Pack(out).info
        seconds = time.monotonic() - started
        return PackSummary(out, samples, info.size_bytes, info.image_bytes, info.counts, seconds, was_finished=True)
    notes = [*reader_notes(reader), *check_data_set(reader, selection)]
    with _described(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        with open_journal(out, head, samples, partial(on_bytes, READING)) as journal:
            _check_free(out, force)  # again: while the samples were listed, another packer may have finished
            with _keeping(journal, samples):
                _check_kept(journal, encoder, selection.ids)
                processes = workers or min(usable_cpus(), 1 + samples // SAMPLES_PER_WORKER)
                _encode_rest(journal, encoder, selection.ids, processes, on_progress)
                odd, unknown = _looked_over(journal, selection.ids)
                header = _finish(out, journal, encoder, selection, partial(on_bytes, ASSEMBLING))
            _clear_away(out, journal)
            seconds = time.monotonic() - started
            size, images = header.size, journal.image_bytes
            return PackSummary(out, samples, size, images, selection.counts, seconds, odd=odd, notes=[*notes, *unknown])


def followed(out: Path) -> Path:
    """The file that out names, if it is a link, which then stays one."""
    return Path(os.path.realpath(out)) if out.is_symlink() else out


def after_interrupt(out: Path, samples: int) -> str:
    """What to tell of a packing to out that was interrupted; empty for nothing. samples: in all, 0 if not known yet."""
    if discard_finished(followed(out)) is not None:
        return f"{out} is whole: packing had finished"
    kept = kept_samples(followed(out))
    found = f"{kept} of {samples}" if samples else f"{kept}"
    return f"{found} samples are kept beside {out}: to go on, run the same command again" if kept else ""


def _check_free(out: Path, force: bool) -> None:
    if out.exists() and not force:
        raise HmrError(f"{out} exists.", "Give another ", Option("out"), ", or ", Option("force"), " to replace it.")


def _arrays(reader: DatasetReader, sample_id: str) -> tuple[str, ...]:
    """The arrays that the pack will have: those that the reader gives of a sample. HmrError naming it."""
    with failures_named(sample_id):
        return stored_arrays(stored_annotations(reader.read(sample_id)))


def _head(encoder: Encoder, selection: Selection) -> dict[str, Any]:
    """What is being packed and how: a packing that was begun with another head cannot go on with this one."""
    return {
        "pack": fmt.FORMAT,
        "data set": encoder.reader.name,
        "release": encoder.reader.release,
        "arrays": encoder.arrays,
        "aliases": selection.aliases,
        "lists": selection.counts,
        "digest of the lists": selection.digest(),
        "codec": encoder.codec.name,
        "codec parameters": list(encoder.codec.parameters),
        "margin": encoder.margin,
        "hmr-core": version("hmr-core"),
        "OpenCV": cv2.__version__,
    }


def _check_kept(journal: Journal, encoder: Encoder, ids: Sequence[str]) -> None:
    """HmrError when what is kept is of another data set with the same ids: by its first sample, and by its last."""
    for row in sorted({0, journal.done - 1} if journal.done else ()):
        then, now = journal.record(row), encoder.encode(ids[row]).record
        for field, what in COMPARED.items():
            if (then[field] != now[field]).any():
                raise HmrError(
                    f"sample {ids[row]} has {what} than when it was packed.",
                    "If it is another data set now, give another ",
                    Option("out"),
                    f", or begin anew: {journal.removal}.",
                )


def _encode_rest(
    journal: Journal,
    encoder: Encoder,
    ids: Sequence[str],
    workers: int,
    on_progress: Callable[[int, int], None],
) -> None:
    """Encode the samples that the journal does not have yet."""
    on_progress(journal.done, len(ids))
    with closing(encode_all(encoder, ids[journal.done :], workers)) as samples:  # stops the workers, whatever happens
        for sample in samples:
            journal.append(sample)
            on_progress(journal.done, len(ids))


def _looked_over(journal: Journal, ids: Sequence[str]) -> tuple[list[str], list[str]]:
    """The samples whose hands cannot be what they should be, a few being no reason to stop, and what is not known."""
    odd, unknown = [], Counter[str]()
    for records in journal.records():
        fields = records.dtype.names or ()
        masked = "joints_valid" in fields
        known = records["joints_valid"].astype(bool) if masked else np.ones((len(records), 21), dtype=bool)
        odd.append(odd_hands(records["joints"], known))
        unknown.update({mask: int((records[mask] == 0).sum()) for mask in MASKS if mask in fields})
    which = np.concatenate(odd)
    notes = [
        f"{' and '.join(names)} of {unknown[mask]:,} of {counted(len(ids), 'sample')} are not known"
        for mask, names in MASKS.items()
        if unknown[mask]
    ]
    return [ids[row] for row in np.flatnonzero(which).tolist()], notes


def _finish(
    out: Path, journal: Journal, encoder: Encoder, selection: Selection, on_progress: Callable[[int, int], None]
) -> fmt.Header:
    """Make the file, and give it its name."""
    part = out.with_name(out.name + ".part")
    try:
        header = assemble(part, encoder, selection, journal, on_progress)
        journal.finish(header)
        part.replace(out)
    except (OSError, RuntimeError) as error:  # h5py raises the latter when it cannot write what it holds
        megabytes = (journal.image_bytes + journal.type.itemsize * journal.done) / 1e6
        size = f"{part.name} takes about {megabytes:.0f} MB there besides what is kept."
        raise HmrError(f"could not write {out}: {error}. {size}") from error
    finally:
        part.unlink(missing_ok=True)
    return header


def _clear_away(out: Path, journal: Journal) -> None:
    """Bring the name that out now has to the disk, and remove the journal; HmrError saying that out is whole."""
    try:
        _sync_folder(out.parent)
        journal.remove()
    except OSError as error:
        raise HmrError(f"{out} is whole, but what was made beside it could not be cleared away: {error}.") from error


@contextmanager
def _described(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        message = f"could not write {out}: {error.strerror or error}{where}."
        raise HmrError(message, "Choose another ", Option("out"), ".") from error


@contextmanager
def _keeping(journal: Journal, samples: int) -> Iterator[None]:
    """Say in every error that the samples packed so far are kept."""
    try:
        yield
    except (HmrError, OSError) as error:
        if journal.done == 0:
            raise
        kept = f"What was packed is kept ({journal.done} of {samples} samples): the same command goes on from there."
        if isinstance(error, HmrError):
            message, remedy = error.message, (*error.remedy, " ") if error.remedy else ()
        else:
            message, remedy = f"could not write {journal.out}: {error}.", ()
        raise HmrError(message, *remedy, kept) from error


def _sync_folder(path: Path) -> None:
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)

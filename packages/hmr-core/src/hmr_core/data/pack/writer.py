"""Writes a pack: samples are encoded by worker processes, stored in order, and the file is renamed when it is whole.

While it is made, OUT.part is the HDF5 file and OUT.part-images holds the compressed windows, whose total size an HDF5
file must know before it can store them contiguously. Whatever happens, neither is left behind, and OUT is not touched
before the end.
"""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, BinaryIO

import h5py
import numpy as np

from hmr_core.data.pack import format as fmt
from hmr_core.data.pack.codecs import Codec
from hmr_core.data.pack.encode import EncodedSamples, Encoder
from hmr_core.data.sample import SUBSETS, DatasetReader
from hmr_core.data.splits import split_name, subset_name
from hmr_core.errors import HmrError, UsageError
from hmr_core.hand.joints import JOINT_NAMES
from hmr_core.interrupts import interrupts_held

SAMPLES_PER_TASK = 16
TASKS_PER_WORKER = 3
"""How many tasks a worker may be ahead of what has been stored: bounds the memory."""

SAMPLES_PER_WORKER = 500
"""Fewer are packed sooner than another process has started."""

ROW_ORDER = ("all", "train+val", "test", "train", "val")
"""The subsets in the order in which their lists give the rows their order."""


@dataclass(frozen=True)
class PackSummary:
    """What was written. counts: samples by split and subset. seconds: of wall time."""

    path: Path
    samples: int
    size_bytes: int
    image_bytes: int
    counts: Mapping[str, Mapping[str, int]]
    seconds: float


@dataclass(frozen=True)
class Selection:
    """What goes into a pack: the ids in the order of its rows, and the rows of each split's subsets."""

    ids: list[str]
    rows: dict[str, dict[str, np.ndarray]]


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
    """Pack a data set into one file.

    splits: None for all that the reader has. subset: None for all of them (see `select`). margin: window side over
    joint-box side. workers: processes, by default one for each CPU as far as there is work for them; the file is the
    same, byte for byte, for any number. force: replace out. on_progress: called with the samples done and their total.
    Raises UsageError for bad options and HmrError, naming the sample, for bad input; out then does not exist, or is
    what it was.
    """
    started = time.monotonic()
    if not 1 <= margin <= 100:
        raise UsageError(f"margin {margin}: the window's side over the joint box's is a number from 1 to 100.")
    if workers is not None and workers < 1:
        raise UsageError(f"workers {workers}: at least 1.")
    if out.exists() and not force:
        raise HmrError(f"{out} exists. Give another --out, or --force to replace it.")
    selection = select(reader, splits, subset)
    id_bytes = max(len(sample_id.encode("ascii")) for sample_id in selection.ids)
    encoder = Encoder(reader, codec, margin, id_bytes)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with _part_files(out) as (part, images_part):
            processes = workers or min(os.cpu_count() or 1, 1 + len(selection.ids) // SAMPLES_PER_WORKER)
            image_bytes = _write(part, images_part, encoder, selection, processes, on_progress)
            header = _seal(part)
            part.replace(out)
            _sync_folder(out.parent)
    except OSError as error:
        raise HmrError(f"could not write {out}: {error}. Nothing was left behind.") from error
    counts = {split: {name: len(rows) for name, rows in lists.items()} for split, lists in selection.rows.items()}
    return PackSummary(out, len(selection.ids), header.size, image_bytes, counts, time.monotonic() - started)


def select(reader: DatasetReader, splits: Sequence[str] | None, subset: str | None) -> Selection:
    """The samples to pack, in the order in which the lists first name them, and the lists that are then complete.

    With neither splits nor subset, everything that the reader lists. Splits without a subset: their train, val,
    train+val and test. Every list of these splits whose samples are all packed is stored, so that train+val brings
    train and val with it.
    """
    there = reader.splits()
    chosen = list(there) if splits is None else list(dict.fromkeys(split_name(split) for split in splits))
    missing = [split for split in chosen if split not in there]
    if missing or not chosen:
        raise HmrError(
            f"the data set has no lists for split {', '.join(missing) or 'any'}; it has {', '.join(there) or 'none'}. "
            "Unpack the release's image/anno/split and split_train_val, or name other splits with --split."
        )
    wanted = {subset_name(subset)} if subset else set(SUBSETS) if splits is None else set(SUBSETS) - {"all"}
    unlisted = [split for split in chosen if subset and subset not in there[split]]
    if unlisted:
        raise HmrError(
            f"the data set has no list of subset {subset} of {', '.join(unlisted)}; "
            f"of {unlisted[0]} it has {', '.join(there[unlisted[0]])}. Unpack the release's annotations again."
        )
    lists = {split: {name: reader.split_ids(split, name) for name in there[split]} for split in chosen}
    asked = [lists[split][name] for name in ROW_ORDER if name in wanted for split in chosen if name in lists[split]]
    ids = list(dict.fromkeys(sample_id for names in asked for sample_id in names))
    if not ids:
        raise HmrError(
            f"no samples to pack: {subset or 'every subset'} of {', '.join(chosen)} is empty in this data set. "
            "Name another --subset or --split."
        )
    row = {sample_id: i for i, sample_id in enumerate(ids)}
    rows = {
        split: {
            name: np.array([row[sample_id] for sample_id in names], dtype=fmt.INDEX_DTYPE)
            for name, names in subsets.items()
            if all(sample_id in row for sample_id in names)
        }
        for split, subsets in lists.items()
    }
    return Selection(ids, rows)


def _write(
    part: Path,
    images_part: BinaryIO,
    encoder: Encoder,
    selection: Selection,
    workers: int,
    on_progress: Callable[[int, int], None] | None,
) -> int:
    """Write everything but the header; returns the size of the compressed windows in bytes."""
    ids = selection.ids
    lengths = np.zeros(len(ids) + 1, dtype=fmt.OFFSETS_DTYPE)
    image_checksums, sample_checksums = (np.zeros((len(ids), fmt.ITEM_DIGEST_BYTES), dtype="u1") for _ in range(2))
    # The oldest file format has no time stamps in groups: the same input gives the same bytes.
    with h5py.File(part, "w", userblock_size=fmt.USER_BLOCK_BYTES, libver=("earliest", "v108")) as file:
        _describe(file, encoder, len(ids))
        _store(file, fmt.IDS, np.array([sample_id.encode("ascii") for sample_id in ids], dtype=f"S{encoder.id_bytes}"))
        samples = {
            name: file.create_dataset(f"samples/{name}", (len(ids), *spec.shape), spec.dtype)
            for name, spec in fmt.ARRAYS.items()
        }
        digests = {name: fmt.array_digest() for name in samples}
        start = 0
        if on_progress is not None:
            on_progress(0, len(ids))
        with closing(_encoded(encoder, ids, workers)) as results:  # whatever happens, the workers are stopped here
            for encoded in results:
                stop = start + len(encoded.images)
                for name, rows in encoded.arrays.items():
                    samples[name][start:stop] = rows
                    digests[name].update(rows.tobytes())
                for i, (image, checksum) in enumerate(zip(encoded.images, encoded.image_checksums, strict=True), start):
                    images_part.write(image)
                    lengths[i + 1] = len(image)
                    image_checksums[i] = np.frombuffer(checksum, dtype="u1")
                    sample_checksums[i] = np.frombuffer(encoded.sample_checksums[i - start], dtype="u1")
                start = stop
                if on_progress is not None:
                    on_progress(stop, len(ids))
        for name, spec in fmt.ARRAYS.items():
            samples[name].attrs["blake2b"] = digests[name].hexdigest()
            samples[name].attrs["meaning"] = spec.meaning
        offsets = np.cumsum(lengths, dtype=fmt.OFFSETS_DTYPE)
        _store(file, fmt.SAMPLE_CHECKSUM, sample_checksums)
        _store(file, fmt.OFFSETS, offsets)
        _store(file, fmt.IMAGE_CHECKSUM, image_checksums)
        for split, lists in selection.rows.items():
            for subset, indices in lists.items():
                _store(file, fmt.split_dataset(split, subset), indices)
        _copy_images(file, images_part, int(offsets[-1]))
    return int(offsets[-1])


def _describe(file: h5py.File, encoder: Encoder, samples: int) -> None:
    """The root's attributes: what the file says of itself."""
    file.attrs["format"] = fmt.FORMAT
    file.attrs["release"] = encoder.reader.release
    file.attrs["samples"] = samples
    file.attrs["units"] = "metres"
    file.attrs["frame"] = "camera space: x right, y down, z away from the camera"
    file.attrs["joint_order"] = ",".join(JOINT_NAMES)
    file.attrs["image_order"] = "RGB when decoded"
    file.attrs["frame_size_px"] = np.array(encoder.reader.frame_size, dtype="<i4")
    file.attrs["codec"] = encoder.codec.name
    file.attrs["lossless"] = encoder.codec.lossless
    file.attrs["margin"] = encoder.margin
    file.attrs["tool"] = f"hmr-core {version('hmr-core')}"


def _store(file: h5py.File, name: str, values: np.ndarray) -> None:
    dataset = file.create_dataset(name, data=values)
    dataset.attrs["blake2b"] = _digest_of(values)


def _digest_of(values: np.ndarray) -> str:
    digest = fmt.array_digest()
    digest.update(values.tobytes())
    return digest.hexdigest()


def _copy_images(file: h5py.File, images_part: BinaryIO, size: int) -> None:
    dataset = file.create_dataset(fmt.BYTES, (size,), "u1")
    digest = fmt.array_digest()
    images_part.seek(0)
    position = 0
    while block := images_part.read(fmt.READ_BYTES):
        dataset[position : position + len(block)] = np.frombuffer(block, dtype="u1")
        digest.update(block)
        position += len(block)
    dataset.attrs["blake2b"] = digest.hexdigest()


def _encoded(encoder: Encoder, ids: Sequence[str], workers: int) -> Generator[EncodedSamples, None, None]:
    """The encoded samples in order, by this process or several."""
    tasks = [ids[start : start + SAMPLES_PER_TASK] for start in range(0, len(ids), SAMPLES_PER_TASK)]
    workers = min(workers, len(tasks))
    if workers == 1:
        yield from map(encoder.encode, tasks)
        return
    # spawn, not fork: the caller may run threads. Tasks are sent as they are needed and their results taken in order.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker)
    waiting: deque[tuple[Sequence[str], Future[EncodedSamples]]] = deque()
    others = set(multiprocessing.active_children())
    try:
        for task in tasks:
            with interrupts_held():  # the first tasks start the processes
                waiting.append((task, pool.submit(encoder.encode, task)))
            if len(waiting) > TASKS_PER_WORKER * workers:
                yield _result(*waiting.popleft())
        while waiting:
            yield _result(*waiting.popleft())
    except BaseException:
        for process in set(multiprocessing.active_children()) - others:  # not to wait for what nobody will use
            process.terminate()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _result(task: Sequence[str], future: Future[EncodedSamples]) -> EncodedSamples:
    try:
        return future.result()
    except BrokenProcessPool as error:
        raise HmrError(
            f"a packing worker died (killed, or out of memory) at or after sample {task[0]}. "
            "Run it again with fewer --workers; with --workers 1 the fault shows itself."
        ) from error


def _start_worker() -> None:
    import cv2
    import torch

    cv2.setNumThreads(1)
    torch.set_num_threads(1)


@contextmanager
def _part_files(out: Path) -> Iterator[tuple[Path, BinaryIO]]:
    """The two files beside out, removed at the end if they are still there; refused while another packer has them."""
    part, images = (out.with_name(out.name + suffix) for suffix in (".part", ".part-images"))
    with ExitStack() as stack:
        file = stack.enter_context(images.open("a+b"))
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise HmrError(f"another process is packing {out}. Wait for it, or give another --out.") from None
        stack.callback(_remove, part, images)
        file.truncate(0)
        yield part, file


def _remove(*paths: Path) -> None:
    for path in paths:
        with suppress(FileNotFoundError):
            path.unlink()


def _seal(part: Path) -> fmt.Header:
    """Write the header block, once everything else is on the disk."""
    _sync(part)
    header = fmt.Header(fmt.FORMAT, part.stat().st_size, fmt.file_digest(part))
    with part.open("r+b") as file:
        file.write(header.block())
    _sync(part)
    return header


def _sync(path: Path) -> None:
    with path.open("r+b") as file:
        os.fsync(file.fileno())


def _sync_folder(path: Path) -> None:
    folder: Any = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)

"""Reads a pack: annotations as arrays, images as windows of their frames."""

from __future__ import annotations

import json
import operator
import os
import weakref
from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, SupportsIndex

import numpy as np
from jaxtyping import Bool, Int64, Integer, Shaped, UInt8
from numpy import ndarray

from hmr_core.data.pack import format as fmt
from hmr_core.data.pack.checks import damaged_annotations, stretch_digest
from hmr_core.data.pack.layout import ArrayLocation, read_into, read_rows, structure_problem, verified_layout
from hmr_core.data.splits import find_split, find_subset
from hmr_core.errors import HmrError, Option, UsageError
from hmr_core.pictures import decode
from hmr_core.plugins.sample import LABELS
from hmr_core.shell import command_line
from hmr_core.system import will_read

SPARE_BYTES = 1 << 16
"""What a compressed image may take besides twice its pixels' bytes. More is damage, and is not read into memory."""


@dataclass(frozen=True, kw_only=True)
class PackInfo:
    """What a pack says of itself.

    dataset: the name by which `hmr pack` knows the data set. arrays: of `/samples`, in the format's order.
    margin: window side over joint-box side. digest: BLAKE2b of the file without its header, hex.
    counts: samples by split and subset, for those that are packed, in the data set's order. aliases: other names of
    splits.
    versions: of what made the file. source: digests (hex) of what it was made of: of the frames' files, of the
    annotations with their windows, and of each list, such as "sp0/test"; those of two packs can be compared whatever
    their codecs.
    """

    format: str
    dataset: str
    release: str
    samples: int
    arrays: tuple[str, ...]
    codec: str
    lossless: bool
    margin: float
    units: str
    frame: str
    joint_order: tuple[str, ...]
    tool: str
    versions: Mapping[str, str]
    source: Mapping[str, str]
    size_bytes: int
    image_bytes: int
    digest: str
    counts: Mapping[str, Mapping[str, int]]
    aliases: Mapping[str, str]

    @property
    def labels(self) -> tuple[str, ...]:
        """What is known that the samples belong to, of plugins.sample.LABELS."""
        return tuple(name for name in LABELS if f"label_{name}" in self.arrays)

    @property
    def synthetic(self) -> bool:
        """Whether the data set was made by `hmr synth`: results on it are labelled so wherever they are shown."""
        return self.release.startswith("synthetic")


@dataclass(frozen=True)
class Window:
    """A part of a frame: RGB pixels, and where its first pixel is in the frame."""

    image: UInt8[ndarray, "height width 3"]
    x_px: int
    y_px: int


class Pack:
    """A pack, open for reading.

    Opening reads its structure alone, whatever its size, and keeps the file open: what another file of that name holds
    does not matter to it. It may be used by several threads, in forked processes, and be pickled: a copy opens the file
    again, and refuses one that has been replaced meanwhile. A file that is written to while it is open is noticed
    after every read, in whichever process, before what was read is handed out (`_check_unaltered`).
    Raises HmrError, when made, for no file, no pack, another format, a cut file, a damaged structure.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._descriptor, header = fmt.open_pack(self.path)
        weakref.finalize(self, os.close, self._descriptor)
        self._stamp, self._header = _stamp(self._descriptor), header
        self._block = os.pread(self._descriptor, fmt.USER_BLOCK_BYTES, 0)
        attributes, self._places = verified_layout(self.path, self._descriptor, header)
        self.info = _info(header, attributes, self._places)

    def __getstate__(self) -> dict[str, object]:
        return {"path": self.path, "digest": self.info.digest}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["path"])  # type: ignore[misc]  # a copy is made as the original was
        if self.info.digest != state["digest"]:
            raise HmrError(f"{self.path} was replaced while it was in use. Start again.")

    def __len__(self) -> int:
        return self.info.samples

    def split_name(self, given: str) -> str:
        """The name of a split of this pack, given by it or by an alias; UsageError listing those that it has."""
        try:
            return find_split(given, self.info.counts, self.info.aliases, str(self.path))
        except UsageError as error:
            raise UsageError(error.message, *self._if_it_has(given)) from None

    def subset_name(self, split: str, given: str) -> str:
        """The name of a subset of a split of this pack, checked; UsageError listing those that it has."""
        try:
            return find_subset(given, split, self.info.counts[split], str(self.path))
        except UsageError as error:
            raise UsageError(error.message, *self._if_it_has(split)) from None

    def indices(self, split: str, subset: str) -> Int64[ndarray, " samples"]:
        """The rows of a subset in the data set's order.

        Raises UsageError for a name that is not in this pack, HmrError for a subset without samples or a damaged list.
        """
        split = self.split_name(split)
        subset = self.subset_name(split, subset)
        there = self.info.counts
        if there[split][subset] == 0:
            filled = ", ".join(f"{name} ({count})" for name, count in there[split].items() if count) or "none"
            raise HmrError(
                f"subset {subset} of {split} has no samples in {self.path}. Subsets of {split} with samples: {filled}."
            )
        name = fmt.split_dataset(split, subset)
        self._verify_array(name)  # it takes no time, and a damaged list may name rows that are there
        place = self._places[name]
        return self._read(place, np.arange(place.shape[0])).astype(np.int64)

    def ids(self, rows: Sequence[int] | Integer[ndarray, " rows"]) -> list[str]:
        """The ids of the samples in the given rows; HmrError names a row whose id is damaged so that it is no text."""
        chosen = np.asarray(rows, dtype=np.int64)
        values: list[bytes] = self._read(self._places[fmt.IDS], chosen).tolist()
        for row, value in zip(chosen.tolist(), values, strict=True):
            if not value.isascii():
                shown = value.decode("ascii", errors="backslashreplace")
                raise HmrError(f'the id of row {row} in {self.path} is damaged: "{shown}". {self._find_all}')
        return [value.decode("ascii") for value in values]

    def array(self, name: str, rows: Sequence[int] | Integer[ndarray, " rows"]) -> Shaped[ndarray, "rows ..."]:
        """An array's entries for the given rows, in any order, repeated or not; a new array.

        Names, units and shapes: `format.ARRAYS`. HmrError for one that the data set lacks.
        """
        self.require(name, by="What was asked for")
        return self._read(self._places[f"samples/{name}"], np.asarray(rows, dtype=np.int64))

    def joints_valid(self, rows: Sequence[int] | Integer[ndarray, " rows"]) -> Bool[ndarray, "rows 21"]:
        """Which joints of the given rows are known: all of them where the pack has no mask."""
        if "joints_valid" in self.info.arrays:
            return self.array("joints_valid", rows).astype(bool)
        return np.ones((len(rows), 21), dtype=bool)

    def verts_valid(self, rows: Sequence[int] | Integer[ndarray, " rows"]) -> Bool[ndarray, " rows"]:
        """Of which of the given rows the mesh is known: all where the pack has no mask, none where it has no verts."""
        return self._valid("verts_valid", "verts", rows)

    def pose_valid(self, rows: Sequence[int] | Integer[ndarray, " rows"]) -> Bool[ndarray, " rows"]:
        """The same of rotations and betas."""
        return self._valid("pose_valid", "rotations", rows)

    def labels(self, name: str, rows: Sequence[int] | Integer[ndarray, " rows"]) -> list[str]:
        """What the samples in the given rows belong to (plugins.sample.LABELS): "" where it is not known.

        HmrError for a label that the data set lacks.
        """
        return [value.decode("ascii", errors="replace") for value in self.array(f"label_{name}", rows).tolist()]

    def _valid(self, mask: str, name: str, rows: Sequence[int] | Integer[ndarray, " rows"]) -> Bool[ndarray, " rows"]:
        if mask in self.info.arrays:
            return self.array(mask, rows).astype(bool)
        return np.full(len(rows), name in self.info.arrays)

    def left(self, rows: Sequence[int] | Integer[ndarray, " rows"]) -> Bool[ndarray, " rows"]:
        """Which of the given rows are left hands."""
        left: ndarray = self.array("side", rows).astype(bool)
        return left

    def require(self, *names: str, by: str) -> None:
        """HmrError unless the pack has these arrays. by: what needs them, as the subject of a sentence."""
        lacking = [name for name in names if name not in self.info.arrays]
        if lacking:
            there = [name for name in self.info.arrays if name not in fmt.PLACES and not name.startswith("label_")]
            raise HmrError(
                f"{by} needs {' and '.join(lacking)}, which {self.path} ({self.info.release}) lacks; it has "
                f"{', '.join(there)}. Use another model, or a data set that has them.",
                *made_by_packing(lacking),
            )

    def frame_sizes(self) -> dict[tuple[int, int], int]:
        """How many samples have a frame of each (width, height) in pixels; the most frequent first."""
        sizes, counts = np.unique(self.array("frame_px", np.arange(len(self))), axis=0, return_counts=True)
        order = np.argsort(-counts, kind="stable")
        return {(int(sizes[i, 0]), int(sizes[i, 1])): int(counts[i]) for i in order}

    def frame_checksums(self, rows: Sequence[int] | Integer[ndarray, " rows"]) -> UInt8[ndarray, "rows 16"]:
        """The checksums (`format.item_checksum`) of the files of the rows' frames, as packed."""
        return self._read(self._places[fmt.SOURCE], np.asarray(rows, dtype=np.int64))

    def verify_arrays(self, *names: str) -> None:
        """Compare the digests of whole arrays (`format.ARRAYS`), quickly; HmrError names one that is damaged."""
        for name in names:
            self._verify_array(f"samples/{name}")

    def _verify_array(self, name: str) -> None:
        place = self._places[name]
        with self._reading() as descriptor:
            digest = stretch_digest(descriptor, place.offset, place.size)
        if digest != place.blake2b:
            raise HmrError(f"/{name} in {self.path} is damaged: it does not have the recorded digest. {self._find_all}")

    def verify_annotations(self, rows: Sequence[int] | Integer[ndarray, " rows"]) -> None:
        """Compare the checksums of the samples in the given rows; HmrError names the first that is damaged."""
        with self._reading() as descriptor:
            for row in damaged_annotations(descriptor, self._places, np.asarray(rows, dtype=np.int64)):
                raise HmrError(
                    f"the annotations of sample {self.ids([row])[0]} in {self.path} are damaged: they do not have the "
                    f"recorded checksum. {self._find_all}"
                )

    def window(self, row: SupportsIndex, *, verify: bool = False) -> Window:
        """The stored part of a sample's frame: `windows` of one row."""
        return next(self.windows([operator.index(row)], verify=verify))

    def windows(
        self, rows: Sequence[int] | Integer[ndarray, " rows"], *, verify: bool = False
    ) -> Generator[Window, None, None]:
        """The stored parts of some samples' frames, decoded one after the other as they are asked for.

        verify: compare the checksums before decoding. Raises HmrError naming the sample that is not readable.
        """
        chosen = np.asarray(rows, dtype=np.int64)
        offsets = self._read(self._places[fmt.OFFSETS], np.stack([chosen, chosen + 1], axis=-1).ravel())
        stretches = offsets.reshape(-1, 2).tolist()
        places_px = self.array("window_px", chosen).tolist()
        recorded = self._read(self._places[fmt.IMAGE_CHECKSUM], chosen) if verify else None
        for row, (start, stop), (_, _, width, height) in zip(chosen.tolist(), stretches, places_px, strict=True):
            if not 0 <= start <= stop <= self.info.image_bytes:
                raise self._unreadable(row, "its place in the file is damaged")
            if stop - start > 2 * (3 * width * height) + SPARE_BYTES:
                sizes = f"{stop - start} bytes for {width}x{height} pixels"
                raise self._unreadable(row, f"its place in the file or its window is damaged ({sizes})")
        buffer = np.empty(max((stop - start for start, stop in stretches), default=0), dtype=np.uint8)
        first = self._places[fmt.BYTES].offset
        with self._reading() as descriptor:
            for start, stop in stretches:  # the disk may fetch the batch while its first windows are decoded
                will_read(descriptor, first + start, stop - start)
            for i, ((start, stop), (x, y, width, height)) in enumerate(zip(stretches, places_px, strict=True)):
                row = int(chosen[i])
                data = buffer[: stop - start]
                read_into(descriptor, data.data, first + start)
                self._check_unaltered()  # here: who takes one window does not come to the end
                if recorded is not None and fmt.item_checksum(data.tobytes()) != recorded[i].tobytes():
                    raise self._unreadable(row, "its bytes do not have the recorded checksum")
                image = decode(data)
                if image is None:
                    raise self._unreadable(row, "its bytes are no image")
                if image.shape[:2] != (height, width):
                    sizes = f"{image.shape[1]}x{image.shape[0]} pixels, not {width}x{height}"
                    raise self._unreadable(row, f"it is {sizes}")
                yield Window(image, x, y)

    def _if_it_has(self, split: str) -> tuple[str, ...]:
        """What to do about a split or subset that the pack does not have."""
        command = fmt.pack_command(self.info.dataset, Option("split", split))
        return (f"If the data set has it, pack it: `{command}`",)

    @property
    def _find_all(self) -> str:
        return f"Find all that is damaged: {command_line('hmr pack verify', self.path)}"

    def _unreadable(self, row: int, reason: str) -> HmrError:
        return HmrError(
            f"the image of sample {self.ids([row])[0]} in {self.path} is unreadable: {reason}. {self._find_all}"
        )

    def _read(self, place: ArrayLocation, rows: Int64[ndarray, " rows"]) -> Shaped[ndarray, "rows ..."]:
        with self._reading() as descriptor:
            return read_rows(descriptor, place, rows)

    @contextmanager
    def _reading(self) -> Iterator[int]:
        """The file's descriptor; failures become errors that name the file, and so does what was written to it."""
        try:
            yield self._descriptor
            self._check_unaltered()
        except EOFError as error:
            self._check_unaltered()  # which says more, where another file is being written in its place
            raise HmrError(
                f"{self.path} was cut while it was in use ({error}). Copy it again from its source."
            ) from error
        except OSError as error:
            raise HmrError(f"cannot read {self.path}: {error.strerror}.") from error

    def _check_unaltered(self) -> None:
        """HmrError when the file was written to since it was opened, as `cat other.h5 > pack.h5` does.

        Its header is compared each time, since times are too coarse to tell of two writes in a moment: another pack has
        another one, and gets it first. Where its times differ, its structure is compared too; where that is as it was,
        the file was only touched.
        """
        stamp = _stamp(self._descriptor)
        same = os.pread(self._descriptor, fmt.USER_BLOCK_BYTES, 0) == self._block
        if same and stamp != self._stamp:
            same = not structure_problem(self._descriptor, self._header)
        if not same:
            raise HmrError(
                f"{self.path} was altered while it was in use: another file was written into it. Nothing of what was "
                "read since was used. Put back the file that it was, or start again with the one that it is. To "
                "replace a pack that is in use, write the new one beside it and rename it, as mv does."
            )
        self._stamp = stamp


def open_pack(path: Path | str) -> Pack:
    """Open a pack for reading; HmrError for no file, no pack, another format, a cut file, a damaged structure."""
    return Pack(path)


def _stamp(descriptor: int) -> tuple[int, int, int]:
    """What changes of a file when it is written to: its size and its times."""
    status = os.fstat(descriptor)
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _info(header: fmt.Header, attributes: dict[str, Any], places: dict[str, ArrayLocation]) -> PackInfo:
    counts = {
        split: {subset: places[fmt.split_dataset(split, subset)].shape[0] for subset in subsets}
        for split, subsets in json.loads(attributes["splits"]).items()
    }
    return PackInfo(
        format=header.format,
        dataset=attributes["dataset"],
        release=attributes["release"],
        samples=attributes["samples"],
        arrays=tuple(name for name in fmt.ARRAYS if f"samples/{name}" in places),
        codec=attributes["codec"],
        lossless=attributes["lossless"],
        margin=attributes["margin"],
        units=attributes["units"],
        frame=attributes["frame"],
        joint_order=tuple(attributes["joint_order"].split(",")),
        tool=attributes["tool"],
        versions={name: attributes[name] for name in fmt.VERSIONS},
        source=_source(places),
        size_bytes=header.size,
        image_bytes=places[fmt.BYTES].shape[0],
        digest=header.blake2b,
        counts=counts,
        aliases=json.loads(attributes["aliases"]),
    )


def made_by_packing(lacking: Collection[str]) -> tuple[str | Option, ...]:
    """What to say, after a sentence, of arrays that a pack lacks: some may be there when it is packed otherwise."""
    if not {"verts", "rotations"} & set(lacking):
        return ()
    return ("Some data sets get them by ", Option("hand_model"), " of `hmr pack`.")


def _source(places: dict[str, ArrayLocation]) -> dict[str, str]:
    arrays = {"frames": fmt.SOURCE, "annotations": fmt.SAMPLE_CHECKSUM}
    arrays |= {name.removeprefix("splits/"): name for name in places if name.startswith("splits/")}
    return {name: places[array].blake2b for name, array in arrays.items()}

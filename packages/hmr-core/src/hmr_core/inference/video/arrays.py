"""hands.npz: the hands of a video as arrays by frame and track, made of its lines.

Nothing is in memory that grows with the video: the lines are gone through once, the numbers of their hands are put into
files beside, and each array is written piece by piece.
"""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy import ndarray

from hmr_core.hand.joints import WRIST
from hmr_core.inference.video.lines import line_array, read_lines
from hmr_core.staging import staged_file

FORMAT = "hmr-video-hands/1"

SHAPES: Mapping[str, tuple[int, ...]] = {
    "score": (),
    "box": (4,),
    "joints": (21, 3),
    "joints_px": (21, 2),
    "place": (3,),
    "rotations": (16, 3),
    "confidence": (21,),
}
"""The arrays by frame and track, but for the mesh, and the shape of one hand's."""

_ROW = np.dtype([("frame", "<i8"), ("track", "<i8"), *((name, "<f4", shape) for name, shape in SHAPES.items())])
_MESH = np.dtype([("frame", "<i8"), ("track", "<i8"), ("verts", "<f4", (778, 3))])
_PIECE_BYTES = 1 << 23


@dataclass
class TrackSummary:
    """A track: its number, its side, its first and its last frame, in how many it is seen, its shape."""

    track: int
    side: str
    first: int
    last: int
    frames: int = 0
    betas: ndarray | None = None

    def as_json(self) -> dict[str, Any]:
        """What video.json has of it."""
        return {"track": self.track, "side": self.side, "first": self.first, "last": self.last, "frames": self.frames}


@dataclass
class Summary:
    """How many frames a file of lines has, its tracks by number, and which arrays its hands have."""

    frames: int = 0
    tracks: dict[int, TrackSummary] = field(default_factory=dict)
    arrays: set[str] = field(default_factory=set)


def write_arrays(lines: Path, target: Path, *, intrinsics: ndarray, fps: float) -> Summary:
    """Write hands.npz of a file of lines, whole or not at all.

    By frame (F,): time_s. By track (T,): track, side, betas (T, 10). By frame and track (F, T, ...): present, and those
    of SHAPES, of which place is the wrist; NaN where a hand is not present. Besides: intrinsics (3, 3), fps, format. An
    array that no hand of the video has is left out. verts are there only where hands have a mesh and no rotations.
    """
    with staged_file(target) as part, ExitStack() as beside:
        rows, meshes, times = (beside.enter_context(tempfile.TemporaryFile(dir=part.parent)) for _ in range(3))
        summary = _gather(lines, rows, meshes, times)
        tracks = [summary.tracks[number] for number in sorted(summary.tracks)]
        columns = {track.track: column for column, track in enumerate(tracks)}
        with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
            _write(file, "format", np.array(FORMAT))
            _write(file, "fps", np.array(fps))
            _write(file, "intrinsics", intrinsics)
            _write(file, "track", np.array([track.track for track in tracks], np.int64))
            _write(file, "side", np.array([track.side for track in tracks], "U5"))
            if "betas" in summary.arrays:
                none = np.full(10, np.nan, np.float32)
                _write(file, "betas", np.array([none if t.betas is None else t.betas for t in tracks], np.float32))
            seconds = _contents(times, np.dtype("<f8"))
            _write_pieces(file, "time_s", seconds.dtype, seconds.shape, _slices(seconds, _PIECE_BYTES // 8))
            for name in ("present", *(name for name in (*SHAPES, "verts") if name in summary.arrays)):
                content = _contents(meshes, _MESH) if name == "verts" else _contents(rows, _ROW)
                _write_by_track(file, name, content, summary.frames, columns)
    return summary


def _gather(lines: Path, rows: IO[bytes], meshes: IO[bytes], times: IO[bytes]) -> Summary:
    """Go through the lines: each frame becomes a time, each hand a row."""
    summary = Summary()
    for line in read_lines(lines):
        frame = line["frame"]
        times.write(np.array(line["time_s"], "<f8").tobytes())
        summary.frames += 1
        for hand in line["hands"]:
            number = hand["track"]
            track = summary.tracks.setdefault(number, TrackSummary(number, hand["side"], frame, frame))
            track.last, track.frames = frame, track.frames + 1
            arrays = {
                name: array for name in ("betas", "verts", *SHAPES) if (array := line_array(hand, name)) is not None
            }
            arrays["place"] = arrays["joints"][WRIST]
            summary.arrays |= arrays.keys()
            track.betas = arrays.get("betas", track.betas)
            rows.write(_row(_ROW, frame, number, arrays))
            if "verts" in arrays:
                meshes.write(_row(_MESH, frame, number, arrays))
    return summary


def _row(kind: np.dtype[Any], frame: int, track: int, arrays: Mapping[str, ndarray]) -> bytes:
    row = np.zeros((), kind)
    row["frame"], row["track"] = frame, track
    for name in kind.names[2:] if kind.names else ():
        row[name] = arrays.get(name, np.nan)
    return row.tobytes()


def _contents(file: IO[bytes], kind: np.dtype[Any]) -> ndarray:
    """What is in a file beside, on the disk still."""
    file.flush()
    if file.seek(0, 2) == 0:
        return np.zeros(0, kind)
    return np.memmap(file, kind, mode="r")


def _write_by_track(file: zipfile.ZipFile, name: str, rows: ndarray, frames: int, columns: Mapping[int, int]) -> None:
    """Write the array of a name by frame and track."""
    present = name == "present"
    kind = np.dtype(bool if present else "<f4")
    shape = () if present else rows.dtype[name].shape
    length = max(1, _PIECE_BYTES // (kind.itemsize * max(1, len(columns)) * max(1, int(np.prod(shape)))))

    def pieces() -> Iterator[ndarray]:
        begin = 0
        for first in range(0, frames, length):
            count = min(length, frames - first)
            end = begin + int(np.searchsorted(rows["frame"][begin:], first + count))
            some = rows[begin:end]
            piece = np.full((count, len(columns), *shape), False if present else np.nan, kind)
            where = some["frame"] - first, np.array([columns[track] for track in some["track"].tolist()], np.int64)
            piece[where] = True if present else some[name]
            begin = end
            yield piece

    _write_pieces(file, name, kind, (frames, len(columns), *shape), pieces())


def _write(file: zipfile.ZipFile, name: str, array: ndarray) -> None:
    _write_pieces(file, name, array.dtype, array.shape, [array])


def _write_pieces(
    archive: zipfile.ZipFile, name: str, kind: np.dtype[Any], shape: tuple[int, ...], pieces: Iterable[ndarray]
) -> None:
    """Write an array, as np.load reads it, of its pieces; the same array gives the same bytes."""
    info = zipfile.ZipInfo(f"{name}.npy")  # of a fixed date
    info.compress_type = zipfile.ZIP_DEFLATED
    header = {"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False, "shape": shape}
    with archive.open(info, "w", force_zip64=True) as member:
        np.lib.format.write_array_header_2_0(member, header)
        for piece in pieces:
            member.write(np.ascontiguousarray(piece).tobytes())


def _slices(array: ndarray, length: int) -> Iterator[ndarray]:
    for first in range(0, len(array), length):
        yield array[first : first + length]

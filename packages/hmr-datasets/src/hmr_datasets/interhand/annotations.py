"""Reads the annotations of a part of InterHand2.6M into arrays.

The files are large: those of the frames have 2.6 million entries. They are decoded entry by entry, of which only the
numbers are kept, and the arrays are kept for other processes (see kept_arrays).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int32, UInt8
from numpy import ndarray

from hmr_core.errors import HmrError
from hmr_core.files import read_bytes
from hmr_datasets.interhand.layout import AGAIN, ANNOTATIONS, FITS, annotation_file
from hmr_datasets.kept_arrays import kept_arrays

SIDES = ("right", "left")
"""The order of the two hands in arrays of both."""

HAND_TYPES = ("right", "left", "interacting")

KEPT = "interhand-2"
"""What the kept arrays are called; the number is that of their form."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """The annotations of one part of the release, in the order of its annotations; mm, and the world's frame.

    image: the file of each frame, without its ending; by_image: their places in the order of names. hand_type: places
    in HAND_TYPES. valid: which joints are annotated and in the frame, the right hand's 21, then the left's. place: of
    its hands in `world` and in the fits; camera: of its camera. The fits have both hands, in the order of SIDES, with
    what is added to the posed hand model in metres; None where the tree has none.
    """

    image: ndarray
    by_image: Int32[ndarray, " n"]
    sequence: ndarray
    view: ndarray
    subject: Int32[ndarray, " n"]
    frame: Int32[ndarray, " n"]
    size: Int32[ndarray, "n 2"]
    hand_type: UInt8[ndarray, " n"]
    valid: Bool[ndarray, "n 42"]
    place: Int32[ndarray, " n"]
    camera: Int32[ndarray, " n"]
    world: Float32[ndarray, "places 42 3"]
    rotation: Float64[ndarray, "cameras 3 3"]
    position: Float64[ndarray, "cameras 3"]
    focal: Float64[ndarray, "cameras 2"]
    principal: Float64[ndarray, "cameras 2"]
    fitted: Bool[ndarray, "places 2"] | None = None
    pose: Float32[ndarray, "places 2 48"] | None = None
    betas: Float32[ndarray, "places 2 10"] | None = None
    trans: Float32[ndarray, "places 2 3"] | None = None

    def row(self, image: str) -> int | None:
        """The row of a frame; None if there is none of that name."""
        name = np.array(image.encode(), dtype=np.bytes_)
        at = int(np.searchsorted(self.image, name, sorter=self.by_image))
        if at == len(self.by_image) or self.image[row := int(self.by_image[at])] != name:
            return None
        return row


def read_part(root: Path, part: str) -> Part:
    """The annotations of a part; HmrError naming the file that is missing or damaged."""
    files = {name: annotation_file(root, part, name) for name in ANNOTATIONS}
    if (fits := annotation_file(root, part, FITS)).exists():
        files[FITS] = fits
    arrays = kept_arrays(f"{KEPT}-{part}", list(files.values()), lambda: _read(files))
    return Part(**cast("Any", arrays))


def _read(files: Mapping[str, Path]) -> dict[str, ndarray]:
    cameras, places = _Cameras(files["camera"]), _Places(files["joint_3d"])
    arrays = {**_frames(files["data"], cameras, places), **cameras.arrays(), "world": places.world}
    return arrays | (_fits(files[FITS], places) if FITS in files else {})


class _DamagedError(Exception):
    """What is wrong with a file, in words."""


def _json(path: Path, hook: Callable[[dict[str, Any]], Any] | None = None) -> Any:
    """What a JSON file holds, its objects as `hook` makes them; HmrError naming a file that is damaged."""
    try:
        return json.loads(read_bytes(path), object_hook=hook)
    except OSError as error:
        raise HmrError(f"cannot read {path}: {error.strerror}. {AGAIN}") from error
    except (_DamagedError, ValueError, RecursionError) as error:
        what = str(error) if isinstance(error, _DamagedError) else f"not JSON ({error})"
        raise HmrError(f"{path} is damaged: {what}. {AGAIN}") from error


def _numbers(
    entry: Mapping[str, Any], name: str, shape: tuple[int, ...], *, finite: bool = True
) -> Float64[ndarray, "..."]:
    """The numbers of an entry, in a shape; _DamagedError where there are others."""
    try:
        array = np.asarray(entry[name], dtype=np.float64)
    except (KeyError, TypeError, ValueError):
        array = np.zeros(0)
    if array.size != np.prod(shape) or (finite and not np.isfinite(array).all()):
        raise _DamagedError(f"a {name} is not {'x'.join(map(str, shape))} numbers")
    return array.reshape(shape)


class _Cameras:
    """The cameras, numbered as they are met: those of one name stand elsewhere in another capture."""

    def __init__(self, path: Path) -> None:
        self._path, self._captures = path, _json(path)
        self._number: dict[tuple[str, str], int] = {}
        self._read: list[dict[str, ndarray]] = []

    def number(self, capture: str, name: str) -> int:
        """The number of a camera; HmrError naming it if the file lacks it."""
        key = (capture, name)
        if key not in self._number:
            self._number[key] = len(self._read)
            self._read.append(self._camera(*key))
        return self._number[key]

    def _camera(self, capture: str, name: str) -> dict[str, ndarray]:
        try:
            given = {kind: self._captures[capture][kind][name] for kind in ("camrot", "campos", "focal", "princpt")}
            return {
                "rotation": _numbers(given, "camrot", (3, 3)),
                "position": _numbers(given, "campos", (3,)),
                "focal": _numbers(given, "focal", (2,)),
                "principal": _numbers(given, "princpt", (2,)),
            }
        except (KeyError, TypeError) as error:
            raise HmrError(f"{self._path} is damaged: it has no camera {name} of capture {capture}. {AGAIN}") from error
        except _DamagedError as error:
            raise HmrError(f"{self._path} is damaged: camera {name} of capture {capture}: {error}. {AGAIN}") from error

    def arrays(self) -> dict[str, ndarray]:
        names = ("rotation", "position", "focal", "principal")
        return {name: np.array([camera[name] for camera in self._read]) for name in names}


class _Places:
    """Where the joints are in the world, moment by moment: all cameras of a capture see the same."""

    def __init__(self, path: Path) -> None:
        self._path = path

        def keep(entry: dict[str, Any]) -> Any:
            if "world_coord" not in entry:
                return entry
            points = _numbers(entry, "world_coord", (42, 3), finite=False)  # those that nobody knows may be nan
            return points.astype(np.float32)

        found = _json(path, keep)
        self._number: dict[tuple[str, str], int] = {}
        world: list[ndarray] = []
        for capture, moments in _items(found, path):
            for moment, points in _items(moments, path):
                if not isinstance(points, ndarray):
                    raise HmrError(f"{path} is damaged: frame {moment} of capture {capture} has no points. {AGAIN}")
                self._number[capture, moment] = len(world)
                world.append(points)
        self.world = np.array(world, dtype=np.float32).reshape(-1, 42, 3)

    def number(self, capture: str, moment: str) -> int | None:
        """The place of a moment in `world`; None if the file lacks it."""
        return self._number.get((capture, moment))

    def required(self, capture: str, moment: str) -> int:
        """The place of a moment in `world`; HmrError naming it if the file lacks it."""
        number = self.number(capture, moment)
        if number is None:
            raise HmrError(f"{self._path} is damaged: it has no frame {moment} of capture {capture}. {AGAIN}")
        return number


def _items(found: Any, path: Path) -> Any:
    if not isinstance(found, dict):
        raise HmrError(f"{path} is damaged: it holds no captures with their frames. {AGAIN}")
    return found.items()


def _frames(path: Path, cameras: _Cameras, places: _Places) -> dict[str, ndarray]:
    """The frames' own annotations, and the numbers of their cameras and moments."""
    content = _json(path, _frame_entry)
    if not isinstance(content, dict) or not all(isinstance(content.get(k), list) for k in ("images", "annotations")):
        raise HmrError(f"{path} is damaged: it has no lists of images and annotations. {AGAIN}")
    images = {image[0]: image[1:] for image in content["images"] if isinstance(image, tuple)}
    rows, valid = [], bytearray()
    for entry in content["annotations"]:
        if not isinstance(entry, tuple) or entry[0] not in images:
            raise HmrError(f"{path} is damaged: an annotation is of no image. {AGAIN}")
        number, hand_type, known = entry
        rows.append((hand_type, *images[number]))
        valid += known
    names = ("hand_type", "image", "sequence", "view", "subject", "frame", "size", "capture")
    columns = dict(zip(names, zip(*rows, strict=True) if rows else [()] * len(names), strict=True))
    moments = [(str(capture), str(frame)) for capture, frame in zip(columns["capture"], columns["frame"], strict=True)]
    image = np.array(columns["image"], dtype=np.bytes_)
    captures = [capture for capture, _ in moments]
    return {
        "image": image,
        "by_image": np.argsort(image, kind="stable").astype(np.int32),
        "sequence": np.array(columns["sequence"], dtype=np.bytes_),
        "view": np.array(columns["view"], dtype=np.bytes_),
        "subject": np.array(columns["subject"], dtype=np.int32),
        "frame": np.array(columns["frame"], dtype=np.int32),
        "size": np.array(columns["size"], dtype=np.int32).reshape(-1, 2),
        "hand_type": np.array(columns["hand_type"], dtype=np.uint8),
        "valid": np.frombuffer(bytes(valid), dtype=np.bool_).reshape(-1, 42),
        "place": np.array([places.required(*moment) for moment in moments], dtype=np.int32),
        "camera": np.array(
            [cameras.number(capture, view) for capture, view in zip(captures, columns["view"], strict=True)],
            dtype=np.int32,
        ),
    }


def _frame_entry(entry: dict[str, Any]) -> Any:
    """An image or an annotation as a tuple; anything else as it is."""
    try:
        if "file_name" in entry:
            return (
                _whole(entry["id"]),
                _ascii(entry["file_name"].removesuffix(".jpg")),
                _ascii(f"Capture{_whole(entry['capture'])}/{entry['seq_name']}"),
                _ascii(entry["camera"]),
                _whole(entry["subject"]),
                _whole(entry["frame_idx"]),
                (_whole(entry["width"]), _whole(entry["height"])),
                _whole(entry["capture"]),
            )
        if "joint_valid" in entry:
            known = _numbers(entry, "joint_valid", (42,)) != 0
            return _whole(entry["image_id"]), HAND_TYPES.index(entry["hand_type"]), known.tobytes()
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _DamagedError(f"entry {entry.get('id')} is no image or annotation ({error})") from error
    return entry


def _whole(number: Any) -> int:
    if type(number) is not int or not 0 <= number < 2**31:
        raise ValueError(f"{number!r:.80} is no whole number from 0")
    return number


def _ascii(text: Any) -> str:
    if not (isinstance(text, str) and text.isascii() and text.isprintable()):
        raise ValueError(f"{text!r:.80} is no name")
    return text


def _fits(path: Path, places: _Places) -> dict[str, ndarray]:
    """MANO's parameters of both hands at each place; of moments that no joints are known of, none are kept."""
    count = len(places.world)
    fitted = np.zeros((count, 2), dtype=np.bool_)
    pose, betas, trans = (np.zeros((count, 2, size), np.float32) for size in (48, 10, 3))

    def keep(entry: dict[str, Any]) -> Any:
        if "pose" not in entry:
            return entry
        return _numbers(entry, "pose", (48,)), _numbers(entry, "shape", (10,)), _numbers(entry, "trans", (3,))

    for capture, moments in _items(_json(path, keep), path):
        for moment, hands in _items(moments, path):
            place = places.number(capture, moment)
            if place is None or not isinstance(hands, dict):
                continue
            for number, side in enumerate(SIDES):
                if isinstance(fit := hands.get(side), tuple):
                    fitted[place, number] = True
                    pose[place, number], betas[place, number], trans[place, number] = fit
    return {"fitted": fitted, "pose": pose, "betas": betas, "trans": trans}

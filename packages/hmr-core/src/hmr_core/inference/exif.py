"""What a photograph's EXIF says of its orientation and its lens (CIPA DC-008, Exif 2.32; TIFF 6.0).

OpenCV reads the orientation of some formats alone and gives the rest to nobody. EXIF is a TIFF file within the
picture's: in a JPEG's APP1 segment, in a PNG's eXIf chunk, in a WebP's EXIF chunk, or the picture's own where it is a
TIFF.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

_ORIENTATION, _EXIF_TAGS = 0x0112, 0x8769
_FOCAL_LENGTH, _FOCAL_LENGTH_35MM = 0x920A, 0xA405
_WIDTH, _HEIGHT = 0xA002, 0xA003
_RESOLUTION_X, _RESOLUTION_Y, _RESOLUTION_UNIT = 0xA20E, 0xA20F, 0xA210

_UNIT_MM = {2: 25.4, 3: 10.0, 4: 1.0, 5: 0.001}
"""Inch, centimetre, and two that some cameras write: millimetre, micrometre."""

_MOST_TAGS = 1000
_TIFF = (b"II*\0", b"MM\0*")


class Lens(NamedTuple):
    """The focal length in pixels of the picture as its sensor took it, along the sensor's rows and its columns."""

    x_px: float
    y_px: float


@dataclass(frozen=True)
class Exif:
    """The tags that matter here, 0 or 1 where there are none.

    orientation: 1 to 8, by which the stored picture is to be turned. width, height: of the picture that the tags were
    written for, pixels. focal_mm, focal_35mm: the lens, and what it would be on a frame of 36 by 24 mm.
    resolution: pixels for a millimetre of the sensor, along its rows and its columns.
    """

    orientation: int = 1
    width: float = 0.0
    height: float = 0.0
    focal_mm: float = 0.0
    focal_35mm: float = 0.0
    resolution: tuple[float, float] = (0.0, 0.0)

    def lens(self, width: int, height: int) -> Lens | None:
        """The focal length in pixels of a picture, stored as width by height; None where the tags do not tell it.

        A picture that was made smaller after it was taken is taken into account. One that was cropped (its shape is
        another than the tags') has a centre that nobody knows, so None.
        """
        if self.width > 0 and self.height > 0 and abs(width * self.height / (height * self.width) - 1) > 0.02:
            return None
        if self.focal_35mm > 0:
            # CIPA DC-008: the equivalent has the same angle of view along the diagonal.
            focal = self.focal_35mm * (width**2 + height**2) ** 0.5 / (36**2 + 24**2) ** 0.5
            return _plausible(Lens(focal, focal), width, height)
        if self.focal_mm > 0 and min(self.resolution) > 0:
            smaller = width / self.width if self.width > 0 else 1.0
            x_px, y_px = (self.focal_mm * per_mm * smaller for per_mm in self.resolution)
            return _plausible(Lens(x_px, y_px), width, height)
        return None


def _plausible(lens: Lens, width: int, height: int) -> Lens | None:
    """The focal length, unless no lens that takes hands has it: an angle of view of over 150 degrees, or under 3."""
    longer = max(width, height)
    return lens if all(0.13 * longer < focal < 20 * longer for focal in lens) else None


def read_exif(data: bytes) -> Exif:
    """The EXIF of a picture's bytes; what is not there or damaged has its default."""
    try:
        tags = _tags(_block(data))
    except (struct.error, IndexError, ValueError):
        return Exif()
    per_unit = _UNIT_MM.get(int(tags.get(_RESOLUTION_UNIT, 2)), 0.0)
    resolution = [tags.get(tag, 0.0) / per_unit if per_unit else 0.0 for tag in (_RESOLUTION_X, _RESOLUTION_Y)]
    orientation = int(tags.get(_ORIENTATION, 1))
    return Exif(
        orientation=orientation if 1 <= orientation <= 8 else 1,
        width=tags.get(_WIDTH, 0.0),
        height=tags.get(_HEIGHT, 0.0),
        focal_mm=tags.get(_FOCAL_LENGTH, 0.0),
        focal_35mm=tags.get(_FOCAL_LENGTH_35MM, 0.0),
        resolution=(resolution[0], resolution[1]),
    )


def without_orientation(data: bytes) -> bytes:
    """A TIFF as it is stored, its orientation put to 1; other pictures as they are.

    OpenCV turns TIFFs even where it is asked not to, and those of 16 bits wrongly (5.0).
    """
    order = _byte_order(data) if data[:4] in _TIFF else None
    if order is None:
        return data
    try:
        (first,) = struct.unpack_from(f"{order}I", data, 4)
        tags = {struct.unpack_from(f"{order}H", data, entry)[0]: entry for entry in _entries(data, order, first)}
    except struct.error:
        return data
    if _ORIENTATION not in tags:
        return data
    stored = bytearray(data)
    struct.pack_into(f"{order}H", stored, tags[_ORIENTATION] + 8, 1)
    return bytes(stored)


def _block(data: bytes) -> bytes:
    """The TIFF block with the tags; empty where there is none."""
    if data[:2] == b"\xff\xd8":
        return _of_jpeg(data)
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return _of_chunks(data, 8, ">I4s", b"eXIf", after=4, even=False)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _of_chunks(data, 12, "<4sI", b"EXIF", after=0, even=True)
    return data if data[:4] in _TIFF else b""


def _of_jpeg(data: bytes) -> bytes:
    at = 2
    while data[at] == 0xFF:
        marker = data[at + 1]
        if marker in (0xD9, 0xDA):  # the end, or the pixels begin
            break
        if marker == 0xFF:  # padding
            at += 1
            continue
        (length,) = struct.unpack_from(">H", data, at + 2)
        segment = data[at + 4 : at + 2 + length]
        if marker == 0xE1 and segment.startswith(b"Exif\0\0"):
            return segment[6:]
        at += 2 + length
    return b""


def _of_chunks(data: bytes, at: int, header: str, wanted: bytes, *, after: int, even: bool) -> bytes:
    while at + 8 <= len(data):
        first, second = struct.unpack_from(header, data, at)
        name, length = (first, second) if isinstance(first, bytes) else (second, first)
        if name == wanted:
            return data[at + 8 : at + 8 + length].removeprefix(b"Exif\0\0")
        at += 8 + length + after + (length % 2 if even else 0)
    return b""


def _tags(block: bytes) -> Mapping[int, float]:
    """The numbers of the first folder of tags and of EXIF's own, by tag."""
    order = _byte_order(block)
    if order is None:
        return {}
    (first,) = struct.unpack_from(f"{order}I", block, 4)
    tags = _folder(block, order, first)
    if _EXIF_TAGS in tags:
        tags |= _folder(block, order, int(tags[_EXIF_TAGS]))
    return tags


def _folder(block: bytes, order: str, at: int) -> dict[int, float]:
    """The first number of each tag of a folder that has one."""
    tags = {}
    for entry in _entries(block, order, at):
        tag, kind = struct.unpack_from(f"{order}HH", block, entry)
        if (value := _number(block, order, kind, entry + 8)) is not None:
            tags[tag] = value
    return tags


def _entries(block: bytes, order: str, at: int) -> list[int]:
    """Where the entries of a folder are, of twelve bytes each."""
    (count,) = struct.unpack_from(f"{order}H", block, at)
    places = range(at + 2, at + 2 + 12 * min(count, _MOST_TAGS), 12)
    return [entry for entry in places if entry + 12 <= len(block)]


def _byte_order(block: bytes) -> str | None:
    return {b"II": "<", b"MM": ">"}.get(block[:2])


def _number(block: bytes, order: str, kind: int, at: int) -> float | None:
    """A tag's number; None for one that is text, or lies outside of the block."""
    if kind in (3, 4):  # a short, a long
        return float(struct.unpack_from(f"{order}{'H' if kind == 3 else 'I'}", block, at)[0])
    if kind in (5, 10):  # a fraction, without and with a sign
        (place,) = struct.unpack_from(f"{order}I", block, at)
        if place + 8 > len(block):
            return None
        above, below = struct.unpack_from(f"{order}{'II' if kind == 5 else 'ii'}", block, place)
        return above / below if below else None
    return None

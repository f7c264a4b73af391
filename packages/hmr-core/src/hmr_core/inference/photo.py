"""Reads a photograph as people see it: upright, RGB, eight bits."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from hmr_core.errors import HmrError
from hmr_core.file_kinds import BEGINNING, file_kind
from hmr_core.files import read_bytes
from hmr_core.inference.exif import Lens, read_exif, without_orientation

ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".jp2", ".ppm", ".pgm")
"""The files of a folder that are taken for photos."""

VIDEO_ENDINGS = (".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv", ".mts")

_BY_ORIENTATION: dict[int, tuple[int | None, int | None]] = {
    1: (None, None),
    2: (None, 1),
    3: (cv2.ROTATE_180, None),
    4: (None, 0),
    5: (cv2.ROTATE_90_CLOCKWISE, 1),
    6: (cv2.ROTATE_90_CLOCKWISE, None),
    7: (cv2.ROTATE_90_COUNTERCLOCKWISE, 1),
    8: (cv2.ROTATE_90_COUNTERCLOCKWISE, None),
}
"""By EXIF's orientation: how the stored picture is turned, and then mirrored (1 left to right, 0 upside down)."""


@dataclass(frozen=True, eq=False)
class Photo:
    """A picture, upright, and its lens where EXIF tells it: the focal length in pixels along x and y."""

    image: UInt8[ndarray, "height width 3"]
    lens: Lens | None = None

    @property
    def width(self) -> int:
        """The width in pixels."""
        return int(self.image.shape[1])

    @property
    def height(self) -> int:
        """The height in pixels."""
        return int(self.image.shape[0])


def read_photo(path: Path) -> Photo:
    """The photograph in a file, turned as its EXIF says.

    Grey pictures get three equal channels, those of 16 bits are brought to 8, and transparent ones are laid over
    white. Raises HmrError naming the file when it cannot be read or is no picture; a video is told as one.
    """
    try:
        data = read_bytes(path)
    except OSError as error:
        raise HmrError(f"the photo {path} cannot be read: {error.strerror or error}.") from error
    try:
        pixels = np.frombuffer(without_orientation(data), np.uint8)
        stored = cv2.imdecode(pixels, cv2.IMREAD_UNCHANGED) if data else None
    except cv2.error as error:  # larger than it allows, for instance
        raise HmrError(f"the photo {path} cannot be decoded: {' '.join(str(error).split())}.") from error
    if stored is None:
        raise HmrError(f"{path} is not a photo that can be read{_instead(path, data)}.")
    if stored.dtype not in (np.uint8, np.uint16):
        raise HmrError(f"{path} has pixels of type {stored.dtype}; valid: 8 or 16 bits. Save it as a PNG or a JPEG.")
    exif = read_exif(data)
    lens = exif.lens(stored.shape[1], stored.shape[0])
    if lens is not None and exif.orientation >= 5:
        lens = Lens(lens.y_px, lens.x_px)
    return Photo(image=_upright(_rgb(stored), exif.orientation), lens=lens)


def _rgb(stored: ndarray) -> UInt8[ndarray, "height width 3"]:
    """OpenCV's pixels as RGB of eight bits, over white."""
    if stored.dtype == np.uint16:
        stored = np.round(stored / 257).astype(np.uint8)
    channels = 1 if stored.ndim == 2 else stored.shape[2]
    if channels in (1, 2):
        grey, alpha = stored.reshape(*stored.shape[:2], channels)[..., 0], stored[..., 1:] if channels == 2 else None
        colours = np.repeat(grey[..., None], 3, axis=2)
    else:
        colours, alpha = stored[..., 2::-1], stored[..., 3:] if channels == 4 else None
    if alpha is not None:
        share = alpha.astype(np.float32) / 255
        colours = np.round(colours * share + 255 * (1 - share)).astype(np.uint8)
    return np.ascontiguousarray(colours, dtype=np.uint8)


def _upright(image: UInt8[ndarray, "h w 3"], orientation: int) -> UInt8[ndarray, "height width 3"]:
    turn, flip = _BY_ORIENTATION[orientation]
    if turn is not None:
        image = np.asarray(cv2.rotate(image, turn), dtype=np.uint8)
    return image if flip is None else np.asarray(cv2.flip(image, flip), dtype=np.uint8)


def _instead(path: Path, data: bytes) -> str:
    """What the file is instead of a photo, and what to do, behind "it is not a photo"."""
    if is_video(path, data):
        return ": it is a video. Predict videos by themselves, without photos"
    if data[4:12] in (b"ftypheic", b"ftypheix", b"ftypmif1", b"ftypavif"):
        return ": it is in a format (HEIC or AVIF) that is not read here. Save it as a JPEG or a PNG"
    kind = file_kind(data[:BEGINNING])
    if kind.startswith("a picture"):
        return f": it is damaged, though it begins as {kind}. Get it again"
    return f": it is {kind}" if kind else ""


def is_video(path: Path, data: bytes = b"") -> bool:
    """Whether a file is a video, by its first bytes or, where they do not say it, by its name."""
    if data[:4] == b"\x1aE\xdf\xa3" or (data[:4] == b"RIFF" and data[8:11] == b"AVI"):
        return True
    if data[4:8] == b"ftyp":
        return data[8:12] not in (b"heic", b"heix", b"mif1", b"avif")
    return path.suffix.lower() in VIDEO_ENDINGS

"""Pictures as bytes and as files. OpenCV sees bytes alone: it opens no path that is not UTF-8, and dies of some."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from hmr_core.errors import HmrError
from hmr_core.files import read_bytes
from hmr_core.staging import staged_file

_COLOR: int = getattr(cv2, "IMREAD_COLOR_RGB", cv2.IMREAD_COLOR)
"""Decode straight to RGB; OpenCV before 4.11 gives BGR alone."""


def encode(extension: str, image: UInt8[ndarray, "height width 3"], parameters: Sequence[int] = ()) -> bytes:
    """An RGB picture in the format of an extension, such as ".png"; HmrError when OpenCV cannot make it.

    parameters: OpenCV's, key and value in turn.
    """
    done, data = cv2.imencode(extension, cv2.cvtColor(image, cv2.COLOR_RGB2BGR), parameters)
    if not done:
        raise HmrError(f"OpenCV could not encode a picture of {image.shape[1]}x{image.shape[0]} pixels as {extension}.")
    return data.tobytes()


def decode(data: bytes | UInt8[ndarray, " size"]) -> UInt8[ndarray, "height width 3"] | None:
    """Decode compressed bytes of any format to an RGB picture, not turned as EXIF says; None if they hold none."""
    if len(data) == 0:
        return None
    image = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), _COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if image is None or _COLOR != cv2.IMREAD_COLOR:
        return image
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=image), dtype=np.uint8)


def read_picture(path: Path) -> UInt8[ndarray, "height width 3"]:
    """Read the RGB picture in a file; HmrError naming the file when it cannot be read, or holds none."""
    try:
        image = decode(read_bytes(path))
    except OSError as error:
        raise HmrError(f"the picture {path} cannot be read: {error.strerror}.") from error
    if image is None:
        raise HmrError(f"{path} is not a readable picture.")
    return image


def write_png(path: Path, image: UInt8[ndarray, "height width 3"]) -> None:
    """Write an RGB picture, whole or not at all; HmrError naming the file when it cannot be written."""
    data = encode(".png", image)
    try:
        with staged_file(path) as part:
            part.write_bytes(data)
    except OSError as error:
        raise HmrError(f"the picture {path} cannot be written: {error.strerror}.") from error

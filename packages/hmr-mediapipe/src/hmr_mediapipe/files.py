"""The files of MediaPipe's hand networks: which they are, where they lie, and whether they are whole.

They come from one wheel of the package mediapipe, byte for byte. Newer wheels, from 0.10.30 on, do not hold them.
"""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path
from typing import NamedTuple

from hmr_core.errors import HmrError
from hmr_core.file_kinds import file_kind
from hmr_core.files import is_there, read_bytes

VERSION = "0.10.21"
WHEEL = f"mediapipe-{VERSION}-cp311-cp311-manylinux_2_28_x86_64.whl"
WHEEL_SHA256 = "05dc4a9e593655a79558d05d6227d31018c2537a4bd3362b51e230cf22aecfe3"
PAGE = f"https://pypi.org/project/mediapipe/{VERSION}/#files"

VARIABLE = "HMR_MEDIAPIPE"
"""The environment variable that names another folder."""

FETCH = "hmr mediapipe fetch"


class Stored(NamedTuple):
    """A file: where it is in the wheel, its size in bytes, its SHA-256."""

    member: str
    size: int
    sha256: str


PALM = {False: "palm_detection_full.tflite", True: "palm_detection_lite.tflite"}
HAND = {False: "hand_landmark_full.tflite", True: "hand_landmark_lite.tflite"}
"""By whether the small network is meant."""

_MODULES = "mediapipe/modules"

FILES = {
    "palm_detection_full.tflite": Stored(
        f"{_MODULES}/palm_detection/palm_detection_full.tflite",
        2_339_846,
        "1b14e9422c6ad006cde6581a46c8b90dd573c07ab7f3934b5589e7cea3f89a54",
    ),
    "palm_detection_lite.tflite": Stored(
        f"{_MODULES}/palm_detection/palm_detection_lite.tflite",
        1_985_440,
        "e9a4aaddf90dda56a87235303cf00e4c2d3fb28725f68fd88772997dac905c18",
    ),
    "hand_landmark_full.tflite": Stored(
        f"{_MODULES}/hand_landmark/hand_landmark_full.tflite",
        5_478_917,
        "11c272b891e1a99ab034208e23937a8008388cf11ed2a9d776ed3d01d0ba00e3",
    ),
    "hand_landmark_lite.tflite": Stored(
        f"{_MODULES}/hand_landmark/hand_landmark_lite.tflite",
        2_071_597,
        "048edd3645c9bf7397d19a9f6e3a42957d6e414c9bea6598030a2e9b624156e6",
    ),
    "LICENSE": Stored(
        f"mediapipe-{VERSION}.dist-info/LICENSE",
        12_331,
        "8707eef0533987efc5b155d64761eeb6e20793f50b9bd1a68dad1cf4719d0ed8",
    ),
}
"""By their names in the folder."""


def networks_folder() -> Path:
    """Find the folder of the networks: HMR_MEDIAPIPE, else one in the user's cache directory.

    The folder need not be there. Raises HmrError where the user has no home directory to have a cache in.
    """
    if named := os.environ.get(VARIABLE):
        return Path(named)
    if sys.platform == "darwin":
        return _home() / "Library/Caches/hmr/mediapipe"
    cache = os.environ.get("XDG_CACHE_HOME", "")
    # A relative one is to be ignored: XDG Base Directory Specification.
    return (Path(cache) if Path(cache).is_absolute() else _home() / ".cache") / "hmr/mediapipe"


def fault(folder: Path, name: str) -> str:
    """Say what is wrong with a file in a folder; empty where it is there and whole."""
    path = folder / name
    if not is_there(path):
        return "is not there"
    try:
        data = read_bytes(path)
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return difference(name, data)


def difference(name: str, data: bytes) -> str:
    """Say how the bytes of a file differ from those that it should have; empty where they do not."""
    found, meant = hashlib.sha256(data).hexdigest(), FILES[name].sha256
    if found == meant:
        return ""
    kind = file_kind(data)
    return f"is not the file of mediapipe {VERSION}: its SHA-256 begins {found[:8]}, not {meant[:8]}" + (
        f"; it is {kind}" if kind else ""
    )


def network_file(name: str) -> Path:
    """Find the file of a network.

    Raises HmrError, which says what to run, when it is not there or is not the one that it should be.
    """
    folder = networks_folder()
    if not (wrong := fault(folder, name)):
        return folder / name
    if is_there(folder / name):
        raise HmrError(f"{folder / name} {wrong}. Run: {FETCH}")
    set_by = f" {VARIABLE} names that folder." if os.environ.get(VARIABLE) else ""
    raise HmrError(f"MediaPipe's networks are not on this machine: no {name} in {folder}.{set_by} Run: {FETCH}")


def _home() -> Path:
    try:
        return Path.home()
    except RuntimeError as error:
        raise HmrError(
            f"there is no home directory to keep MediaPipe's networks in. Name a folder: export {VARIABLE}=FOLDER"
        ) from error

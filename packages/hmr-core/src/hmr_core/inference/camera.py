"""The camera of a photograph: as it was given, as its EXIF has it, or as most cameras are."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

from hmr_core.errors import UsageError
from hmr_core.hand.hand import ASSUMED, EXIF, GIVEN
from hmr_core.inference.numbers import Number, Numbers, as_numbers, number_between
from hmr_core.inference.photo import Photo

ASSUMED_FOV_DEG = 60.0
"""The angle of view along the longer side of a picture of which nothing is known.

Phones' main cameras have 64 to 70 degrees (24 to 28 mm on 36 mm film, 4:3), webcams 50 to 70, lenses of 50 mm 40.
"""


class PhotoCamera(NamedTuple):
    """Intrinsics of the upright picture, pixels (pixel centres at integers), and where they come from."""

    intrinsics: Float64[ndarray, "3 3"]
    intrinsics_from: str


def photo_camera(photo: Photo, *, intrinsics: Numbers | None = None, fov: Number | None = None) -> PhotoCamera:
    """The camera of a photo: the intrinsics or the field of view that were given, else EXIF's lens, else the assumed.

    intrinsics: fx, fy, cx, cy, or a matrix. fov: the angle of view along the picture's longer side, degrees. Where the
    principal point is not given it is the picture's middle. Raises UsageError for numbers that no camera has.
    """
    if intrinsics is not None:
        return PhotoCamera(given_intrinsics(intrinsics), GIVEN)
    if fov is not None:
        return PhotoCamera(_centred(photo, *_focal_of(photo, given_fov(fov))), GIVEN)
    if photo.lens is not None:
        return PhotoCamera(_centred(photo, *photo.lens), EXIF)
    return PhotoCamera(_centred(photo, *_focal_of(photo, ASSUMED_FOV_DEG)), ASSUMED)


def given_fov(fov_deg: Number) -> float:
    """A field of view in degrees; UsageError for one that no camera has."""
    return number_between(
        fov_deg, 1, 170, name="a field of view of {} degrees", valid="1 to 170, along the picture's longer side."
    )


def given_intrinsics(values: Numbers) -> Float64[ndarray, "3 3"]:
    """The matrix of intrinsics: of fx, fy, cx and cy, or of itself. UsageError for what is none."""
    given = as_numbers(values)
    if given is None:
        raise UsageError(f"intrinsics of {values!r}; valid: fx, fy, cx, cy, or a matrix of 3 by 3.")
    if given.shape == (4,):
        fx, fy, cx, cy = given.tolist()
        given = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
    if given.shape != (3, 3):
        raise UsageError(f"intrinsics of shape {given.shape}; valid: fx, fy, cx, cy, or a matrix of 3 by 3.")
    focal = given[[0, 1], [0, 1]]
    if not (np.isfinite(given).all() and (focal > 0).all() and (given[2] == [0, 0, 1]).all() and given[1, 0] == 0):
        raise UsageError(
            f"intrinsics {given.tolist()} are no camera's. Valid: focal lengths fx and fy above 0 and the principal "
            "point cx, cy, in pixels of the upright picture; in a matrix [[fx, 0, cx], [0, fy, cy], [0, 0, 1]]."
        )
    return given


def _focal_of(photo: Photo, fov_deg: float) -> tuple[float, float]:
    focal = max(photo.width, photo.height) / 2 / math.tan(math.radians(fov_deg) / 2)
    return focal, focal


def _centred(photo: Photo, fx: float, fy: float) -> Float64[ndarray, "3 3"]:
    return np.array([[fx, 0, (photo.width - 1) / 2], [0, fy, (photo.height - 1) / 2], [0, 0, 1]])

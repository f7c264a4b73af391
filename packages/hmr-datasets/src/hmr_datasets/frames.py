"""Read the frame of a sample, as its annotations say it is."""

from __future__ import annotations

from jaxtyping import UInt8
from numpy import ndarray

from hmr_core.errors import HmrError
from hmr_core.files import read_bytes
from hmr_core.pictures import decode
from hmr_core.plugins.sample import Sample


def read_frame(sample: Sample, *, again: str) -> UInt8[ndarray, "height width 3"]:
    """The frame at a sample's image_path, RGB.

    again: what the user does to get a good file, the last sentence of an error on it.
    Raises HmrError naming the sample and the file when it is missing, damaged, or of another size than frame_size.
    """
    path = sample.image_path
    try:
        image = decode(read_bytes(path))
    except OSError as error:
        raise HmrError(f"sample {sample.id}: cannot read {path}: {error.strerror}. {again}") from error
    if image is None:
        raise HmrError(f"sample {sample.id}: {path} is not a readable image. {again}")
    height, width = image.shape[:2]
    if (width, height) != sample.frame_size:
        raise HmrError(
            f"sample {sample.id}: {path} is {width}x{height} pixels, but its annotations are for "
            f"{sample.frame_size[0]}x{sample.frame_size[1]}. Use the frames as released, not resized ones."
        )
    return image

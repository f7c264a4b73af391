"""How a pack's windows are compressed, and why so by default.

The default is PNG at level 1 with the filter "up" on every line and run-length matching. Measured with
tools/bench_codecs.py (table in docs/data.md, figures in results/codecs.csv): of the lossless settings that compress at
all and that others can read it decodes photographs nearly soonest, which training does a hundred times as often as
packing. WebP makes files 10 % (noisy photographs) to 40 % (clean ones) smaller and decodes them as fast or somewhat
slower, but takes twenty times as long to compress: for the 314,000 windows of OakInk-Image half a day of one core
instead of half an hour, besides reading and decoding their frames. Other PNG settings (Paeth, best filter by line, real
string matching) gain little in size and decode slower. TIFF with LZW decodes in two thirds of PNG's time, for files 10
to 25 % larger, which is not worth a codec more.

Not compressed at all (raw, a binary PPM) a window decodes in a fortieth of PNG's time and is twice as large: for the
whole release as much as its frames take. What loading costs with each: tools/bench_loader.py, docs/speed.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
from jaxtyping import UInt8
from numpy import ndarray

from hmr_core.errors import UsageError, did_you_mean
from hmr_core.pictures import encode

CODEC_NAMES = ("png", "webp", "raw", "jpeg")
DEFAULT_JPEG_QUALITY = 95


@dataclass(frozen=True)
class Codec:
    """A way to compress windows. name: as users give it. parameters: OpenCV's, key and value in turn."""

    name: str
    extension: str
    parameters: tuple[int, ...]
    lossless: bool

    def encode(self, image: UInt8[ndarray, "height width 3"]) -> bytes:
        """The compressed bytes of an RGB image; HmrError when OpenCV cannot make them."""
        return encode(self.extension, image, self.parameters)


def codec_named(text: str) -> Codec:
    """The codec of a name: png, webp, raw (lossless all three), jpeg, or jpeg:QUALITY; UsageError for anything else."""
    kind, colon, option = text.partition(":")
    if kind not in CODEC_NAMES:
        listed = "png, webp, raw, jpeg, jpeg:QUALITY"
        raise UsageError(f'unknown codec "{text}".{did_you_mean(kind, CODEC_NAMES)} Valid: {listed}.')
    if kind != "jpeg" and colon:
        raise UsageError(
            f'codec "{text}": {kind} is lossless and takes no quality. Valid: png, webp, raw, jpeg:QUALITY.'
        )
    if kind == "png":
        return Codec("png", ".png", PNG_PARAMETERS, lossless=True)
    if kind == "webp":
        return Codec("webp", ".webp", (cv2.IMWRITE_WEBP_QUALITY, 101), lossless=True)  # above 100 is lossless
    if kind == "raw":
        return Codec("raw", ".ppm", (), lossless=True)
    quality = option if colon else str(DEFAULT_JPEG_QUALITY)
    if not quality.isdecimal() or not 1 <= int(quality) <= 100:
        raise UsageError(f'codec "{text}": the quality of jpeg is a whole number from 1 to 100, as in jpeg:95.')
    return Codec(f"jpeg:{int(quality)}", ".jpg", (cv2.IMWRITE_JPEG_QUALITY, int(quality)), lossless=False)


def _png_parameters() -> tuple[int, ...]:
    level_and_strategy = (cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE)
    if not hasattr(cv2, "IMWRITE_PNG_FILTER"):  # before OpenCV 4.12: its own choice of filter, files somewhat larger
        return level_and_strategy
    return (*level_and_strategy, cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP)


PNG_PARAMETERS = _png_parameters()

from __future__ import annotations

import cv2
import numpy as np
import pytest

from hmr_core.data.pack.codecs import codec_named
from hmr_core.errors import UsageError
from hmr_core.pictures import decode


def picture() -> np.ndarray:
    generator = np.random.default_rng(1)
    smooth = cv2.GaussianBlur(generator.uniform(0, 255, (61, 83, 3)).astype(np.float32), (0, 0), 8)
    smooth = (smooth - smooth.min()) / np.ptp(smooth) * 250
    return np.asarray(np.clip(smooth + generator.normal(0, 1.5, smooth.shape), 0, 255), dtype=np.uint8)


@pytest.mark.parametrize("name", ["png", "webp", "raw"])
def test_lossless_codecs_keep_every_pixel(name: str) -> None:
    image = picture()
    codec = codec_named(name)
    data = codec.encode(image)
    assert (codec.name, codec.lossless) == (name, True)
    assert (len(data) < image.nbytes) == (name != "raw")
    np.testing.assert_array_equal(decode(data), image)
    tiny = image[:1, :1]
    np.testing.assert_array_equal(decode(codec.encode(np.ascontiguousarray(tiny))), tiny)


def test_jpeg_is_close_and_smaller_at_lower_quality() -> None:
    image = picture()
    sizes = []
    for name in ("jpeg:100", "jpeg", "jpeg:50"):
        codec = codec_named(name)
        assert not codec.lossless
        data = codec.encode(image)
        back = decode(data)
        assert back is not None
        assert np.abs(back.astype(int) - image).mean() < 4
        sizes.append(len(data))
    assert sizes == sorted(sizes, reverse=True)
    assert codec_named("jpeg").name == "jpeg:95"


def test_what_is_no_image() -> None:
    assert decode(b"") is None
    assert decode(b"no image") is None


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ("jpg", 'unknown codec "jpg". Did you mean "jpeg"? Valid: png, webp, raw, jpeg, jpeg:QUALITY.'),
        ("", 'unknown codec "". Valid: png, webp, raw, jpeg, jpeg:QUALITY.'),
        ("png:9", 'codec "png:9": png is lossless and takes no quality. Valid: png, webp, raw, jpeg:QUALITY.'),
        ("jpeg:0", 'codec "jpeg:0": the quality of jpeg is a whole number from 1 to 100, as in jpeg:95.'),
        ("jpeg:", 'codec "jpeg:": the quality of jpeg is a whole number from 1 to 100, as in jpeg:95.'),
        ("jpeg:9.5", 'codec "jpeg:9.5": the quality of jpeg is a whole number from 1 to 100, as in jpeg:95.'),
    ],
)
def test_codecs_that_are_none(given: str, text: str) -> None:
    with pytest.raises(UsageError) as error:
        codec_named(given)
    assert str(error.value) == text

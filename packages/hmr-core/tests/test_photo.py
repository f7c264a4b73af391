"""Photographs as people see them, and the cameras that took them."""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from hmr_core.errors import HmrError, UsageError
from hmr_core.inference.camera import ASSUMED_FOV_DEG, photo_camera
from hmr_core.inference.exif import read_exif
from hmr_core.inference.photo import Photo, read_photo

WIDTH, HEIGHT = 48, 32
SHORT, LONG, FRACTION = 3, 4, 5


def picture() -> np.ndarray:
    """A smooth picture, no two of whose sides are alike (BGR)."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return np.stack([x * 5, y * 7, 255 - x * 2 - y * 3], axis=2).astype(np.uint8)


def tiff(main: dict[int, tuple[int, Any]], exif: dict[int, tuple[int, Any]], order: str = "<") -> bytes:
    """A block of EXIF: two folders of tags."""
    entries_at = 8
    sub_at = entries_at + 2 + 12 * (len(main) + 1) + 4
    data_at = sub_at + 2 + 12 * len(exif) + 4
    data = b""

    def folder(tags: dict[int, tuple[int, Any]]) -> bytes:
        nonlocal data
        content = struct.pack(f"{order}H", len(tags))
        for tag, (kind, value) in sorted(tags.items()):
            if kind == FRACTION:
                packed = struct.pack(f"{order}I", data_at + len(data))
                data += struct.pack(f"{order}II", *value)
            else:
                packed = struct.pack(f"{order}HH", value, 0) if kind == SHORT else struct.pack(f"{order}I", value)
            content += struct.pack(f"{order}HHI", tag, kind, 1) + packed
        return content + struct.pack(f"{order}I", 0)

    first = folder({**main, 0x8769: (LONG, sub_at)})
    second = folder(exif)
    return (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 8) + first + second + data


def in_jpeg(block: bytes, image: np.ndarray) -> bytes:
    jpeg = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 100])[1].tobytes()
    segment = b"Exif\0\0" + block
    before = b"\xff\xe0" + struct.pack(">H", 10) + b"MADEUP\0\0"  # another segment before it
    return jpeg[:2] + before + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + jpeg[2:]


def in_png(block: bytes, image: np.ndarray) -> bytes:
    import zlib

    png = cv2.imencode(".png", image)[1].tobytes()
    after_header = 8 + 25
    chunk = b"eXIf" + block
    made = struct.pack(">I", len(block)) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return png[:after_header] + made + png[after_header:]


def in_webp(block: bytes, image: np.ndarray) -> bytes:
    """An extended WebP file: OpenCV's own chunk of pixels behind a header, and the tags at its end."""
    pixels = cv2.imencode(".webp", image, [cv2.IMWRITE_WEBP_QUALITY, 101])[1].tobytes()[12:]
    size = (WIDTH - 1).to_bytes(3, "little") + (HEIGHT - 1).to_bytes(3, "little")
    header = b"VP8X" + struct.pack("<I", 10) + bytes([0x08, 0, 0, 0]) + size
    tags = b"EXIF" + struct.pack("<I", len(block)) + block + b"\0" * (len(block) % 2)
    content = b"WEBP" + header + pixels + tags
    return b"RIFF" + struct.pack("<I", len(content)) + content


def saved(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photo_is_turned_upright_as_opencv_does_it(orientation: int, tmp_path: Path) -> None:
    for order in "<>":
        data = in_jpeg(tiff({0x0112: (SHORT, orientation)}, {}, order), picture())
        wanted = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
        assert wanted.shape[:2] == ((HEIGHT, WIDTH) if orientation < 5 else (WIDTH, HEIGHT))
        np.testing.assert_array_equal(read_photo(saved(tmp_path / "x.jpg", data)).image, wanted)


def in_tiff(orientation: int, image: np.ndarray) -> bytes:
    """A TIFF with its orientation: OpenCV's own file, and at its end the folder of tags with one more."""
    data = cv2.imencode(".tiff", image)[1].tobytes()
    (at,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, at)
    entries = [data[at + 2 + 12 * i : at + 14 + 12 * i] for i in range(count)]
    entries.append(struct.pack("<HHIHH", 0x0112, SHORT, 1, orientation, 0))
    data += b"\0" * (len(data) % 2)
    folder = struct.pack("<H", len(entries)) + b"".join(sorted(entries)) + struct.pack("<I", 0)
    return data[:4] + struct.pack("<I", len(data)) + data[8:] + folder


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("bits", [8, 16])
def test_a_tiff_is_turned_once(bits: int, orientation: int, tmp_path: Path) -> None:
    jpeg = in_jpeg(tiff({0x0112: (SHORT, orientation)}, {}), np.repeat(picture()[..., :1], 3, axis=2))
    wanted = read_photo(saved(tmp_path / "x.jpg", jpeg)).image
    stored = picture() if bits == 8 else picture().astype(np.uint16) * 257
    image = read_photo(saved(tmp_path / "x.tif", in_tiff(orientation, stored))).image
    np.testing.assert_allclose(image[..., 2], wanted[..., 0], atol=2)  # the blue


@pytest.mark.parametrize("packed", [in_png, in_webp])
def test_png_and_webp_are_turned_too(packed: Any, tmp_path: Path) -> None:
    data = packed(tiff({0x0112: (SHORT, 6)}, {0xA405: (SHORT, 28)}), picture())
    photo = read_photo(saved(tmp_path / "x", data))
    np.testing.assert_array_equal(photo.image, np.rot90(picture(), -1)[..., ::-1])
    assert photo.lens is not None


def test_grey_sixteen_bits_and_transparency(tmp_path: Path) -> None:
    grey = picture()[..., 0]

    def read(name: str, stored: np.ndarray) -> np.ndarray:
        return read_photo(saved(tmp_path / name, cv2.imencode(Path(name).suffix, stored)[1].tobytes())).image

    np.testing.assert_array_equal(read("grey.png", grey), np.repeat(grey[..., None], 3, axis=2))
    np.testing.assert_array_equal(read("deep.png", picture().astype(np.uint16) * 257), picture()[..., ::-1])
    np.testing.assert_array_equal(read("deep.tif", grey.astype(np.uint16) * 257)[..., 0], grey)
    clear = np.dstack([picture(), np.full((HEIGHT, WIDTH), 255, np.uint8)])
    clear[:10, :, 3] = 0
    clear[10:20, :, 3] = 51  # a fifth
    image = read("clear.png", clear)
    assert (image[:10] == 255).all()
    half = picture()[10:20, :, ::-1] * 0.2 + 255 * 0.8
    np.testing.assert_allclose(image[10:20], half, atol=0.51)
    np.testing.assert_array_equal(image[20:], picture()[20:, :, ::-1])
    deep = np.dstack([picture(), np.full((HEIGHT, WIDTH), 255, np.uint8)]).astype(np.uint16) * 257
    np.testing.assert_array_equal(read("both.png", deep), picture()[..., ::-1])


@pytest.mark.parametrize(
    ("name", "data", "text"),
    [
        ("a.jpg", b"", "is not a photo that can be read: it is empty"),
        ("a.jpg", b"hello", r"a\.jpg is not a photo that can be read\."),
        ("a.jpg", b"\xff\xd8\xff\xe0 and no more", "it is damaged, though it begins as a picture"),
        ("a.mp4", b"hello", "it is a video. Predict videos by themselves, without photos"),
        ("a.bin", b"\0\0\0\x20ftypisom", "it is a video"),
        ("a.bin", b"\x1aE\xdf\xa3", "it is a video"),
        ("a.heic", b"\0\0\0\x20ftypheic", r"HEIC or AVIF\) that is not read here\. Save it as a JPEG"),
        ("a.png", b"%PDF-1.7", "it is a PDF document"),
    ],
)
def test_what_is_no_photo_is_told(name: str, data: bytes, text: str, tmp_path: Path) -> None:
    with pytest.raises(HmrError, match=text):
        read_photo(saved(tmp_path / name, data))


def test_a_file_that_is_not_there_a_folder_and_pixels_of_floats_are_told(tmp_path: Path) -> None:
    with pytest.raises(HmrError, match=r"none\.jpg cannot be read: No such file"):
        read_photo(tmp_path / "none.jpg")
    with pytest.raises(HmrError, match="cannot be read: Is a directory"):
        read_photo(tmp_path)
    floats = cv2.imencode(".tiff", picture().astype(np.float32))[1].tobytes()
    with pytest.raises(HmrError, match="pixels of type float32; valid: 8 or 16 bits"):
        read_photo(saved(tmp_path / "x.tiff", floats))


def lens_of(tags: dict[int, tuple[int, Any]], width: int = 4000, height: int = 3000) -> Any:
    return read_exif(in_jpeg(tiff({}, tags), picture())).lens(width, height)


def test_the_lens_is_read_from_the_equivalent_focal_length() -> None:
    lens = lens_of({0xA405: (SHORT, 26)})
    diagonal_deg = 2 * math.degrees(math.atan(2500 / lens.x_px))
    assert diagonal_deg == pytest.approx(2 * math.degrees(math.atan(math.hypot(36, 24) / 2 / 26)))
    assert lens.x_px == lens.y_px == pytest.approx(3004.6, abs=1)
    assert lens_of({0xA405: (SHORT, 0)}) is None  # unknown, as EXIF says it
    assert lens_of({0xA405: (SHORT, 9000)}) is None  # no lens that takes hands


def test_the_lens_is_read_from_the_sensor_s_resolution() -> None:
    # 4.2 mm before a sensor of 5.6 by 4.2 mm with 4000 by 3000 pixels, in each unit.
    for unit, number in ((2, 18142.857), (3, 7142.857), (4, 714.2857)):
        tags = {
            0x920A: (FRACTION, (42, 10)),
            0xA002: (LONG, 4000),
            0xA003: (LONG, 3000),
            0xA20E: (FRACTION, (round(number * 1000), 1000)),
            0xA20F: (FRACTION, (round(number * 1000), 1000)),
            0xA210: (SHORT, unit),
        }
        assert lens_of(tags) == pytest.approx((3000, 3000), rel=1e-3)
        assert lens_of(tags, 2000, 1500) == pytest.approx((1500, 1500), rel=1e-3)  # made smaller since
        assert lens_of(tags, 3000, 3000) is None  # cropped since
    assert lens_of({0x920A: (FRACTION, (42, 10))}) is None  # the sensor's size is not known
    assert lens_of({0x920A: (FRACTION, (42, 0)), 0xA405: (SHORT, 26)}) is not None


def test_a_sensor_with_two_resolutions_is_turned_with_its_picture(tmp_path: Path) -> None:
    tags = {
        0x920A: (FRACTION, (4, 1)),
        0xA20E: (FRACTION, (100, 1)),
        0xA20F: (FRACTION, (200, 1)),
        0xA210: (SHORT, 3),
    }
    for orientation, wanted in ((1, (40, 80)), (6, (80, 40))):
        data = in_jpeg(tiff({0x0112: (SHORT, orientation)}, tags), picture())
        assert read_photo(saved(tmp_path / "x.jpg", data)).lens == pytest.approx(wanted)


def test_damaged_exif_is_none() -> None:
    block = tiff({0x0112: (SHORT, 6)}, {0x920A: (FRACTION, (42, 10)), 0xA405: (SHORT, 26)})
    data = in_jpeg(block, picture())
    start = data.index(block)
    for length in range(start + len(block)):
        read_exif(data[:length])
    generator = np.random.default_rng(0)
    for _ in range(300):
        noisy = bytearray(data)
        for at in generator.integers(start, start + len(block), 3):
            noisy[at] = int(generator.integers(256))
        assert 1 <= read_exif(bytes(noisy)).orientation <= 8
    assert read_exif(b"") == read_exif(b"\xff\xd8") == read_exif(b"nothing") == read_exif(data[:12])


def test_the_camera_is_the_given_one_else_exif_s_else_the_assumed() -> None:
    from hmr_core.inference.exif import Lens

    image = np.zeros((300, 400, 3), np.uint8)
    given = photo_camera(Photo(image, Lens(350.0, 360.0)), intrinsics=(500, 510, 190, 160))
    assert (given.intrinsics_from, given.intrinsics.tolist()) == ("given", [[500, 0, 190], [0, 510, 160], [0, 0, 1]])
    np.testing.assert_array_equal(photo_camera(Photo(image), intrinsics=given.intrinsics).intrinsics, given.intrinsics)
    wide = photo_camera(Photo(image, Lens(350.0, 360.0)), fov=90)
    assert wide.intrinsics_from == "given"
    np.testing.assert_allclose(wide.intrinsics, [[200, 0, 199.5], [0, 200, 149.5], [0, 0, 1]])
    exif = photo_camera(Photo(image, Lens(350.0, 360.0)))
    assert (exif.intrinsics_from, exif.intrinsics.tolist()) == ("exif", [[350, 0, 199.5], [0, 360, 149.5], [0, 0, 1]])
    assumed = photo_camera(Photo(image.transpose(1, 0, 2)))
    assert assumed.intrinsics_from == "assumed"
    assert 2 * math.degrees(math.atan(200 / assumed.intrinsics[0, 0])) == pytest.approx(ASSUMED_FOV_DEG)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"intrinsics": (500, 500, 200)}, r"shape \(3,\); valid: fx, fy, cx, cy"),
        ({"intrinsics": (0, 500, 200, 100)}, "are no camera's"),
        ({"intrinsics": (500, math.nan, 200, 100)}, "are no camera's"),
        ({"intrinsics": np.ones((3, 3))}, "are no camera's"),
        ({"fov": 180}, "a field of view of 180 degrees; valid: 1 to 170"),
        ({"fov": math.nan}, "valid: 1 to 170"),
    ],
)
def test_what_is_no_camera_is_told(given: Any, text: str) -> None:
    with pytest.raises(UsageError, match=text):
        photo_camera(Photo(np.zeros((300, 400, 3), np.uint8)), **given)

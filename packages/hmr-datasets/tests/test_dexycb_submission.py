"""DexYCB's CSV: written with the official numbers, read back, and refused with a reason."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hmr_core.errors import HmrError
from hmr_datasets.dexycb.image_ids import image_ids
from hmr_datasets.dexycb.layout import SERIALS, SUBJECTS, SampleKey
from hmr_datasets.dexycb.rules import FILE, read, write

IDS = [
    SampleKey(subject, f"20200709_{sequence:06d}", SERIALS[sequence % 8], 1, 3).id
    for subject in SUBJECTS[2:]
    for sequence in range(4, 100, 5)
]
"""A frame of each sequence of s0's test."""

JOINTS = np.random.default_rng(9).normal((0.1, 0.05, 0.9), 0.04, (len(IDS), 21, 3)).astype(np.float32)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    write(tmp_path, "s0", IDS, JOINTS, None)
    return tmp_path / FILE


def test_each_line_has_a_frame_s_number_and_its_joints_in_mm(file: Path) -> None:
    lines = [line.split(",") for line in file.read_text().splitlines()]
    assert {len(line) for line in lines} == {64}
    numbers = [int(line[0]) for line in lines]
    assert numbers == sorted(image_ids(IDS, "s0"))
    by_number = dict(zip(image_ids(IDS, "s0"), JOINTS, strict=True))
    for line in lines:
        points_mm = np.array(line[1:], dtype=np.float64).reshape(21, 3)
        np.testing.assert_allclose(points_mm, 1000 * by_number[int(line[0])], atol=1e-4)


def test_it_is_read_in_any_order_and_with_frames_that_have_no_hand(file: Path) -> None:
    lines = file.read_text().splitlines()
    absent = ",".join(["0", *["-1000"] * 63])  # of the first sequence's first frame
    assert 0 not in image_ids(IDS, "s0")
    file.write_text("\n".join([*lines[::-1], absent]) + "\n")
    np.testing.assert_allclose(read(file, "s0", IDS).joints, JOINTS, atol=2e-7)


def test_what_is_no_submission_is_refused(file: Path) -> None:
    lines = file.read_text().splitlines()
    number = lines[3].split(",")[0]
    ids = dict(zip(image_ids(IDS, "s0"), IDS, strict=True))
    broken = {
        "short": (
            [*lines[:3], lines[3].rsplit(",", 1)[0], *lines[4:]],
            f"{file}, line 4: it has 63 columns; valid: 64 of",
        ),
        "words": (
            [*lines[:3], lines[3].replace(",", ",x", 1), *lines[4:]],
            f"{file}, line 4: could not convert string",
        ),
        "twice": ([*lines, lines[3]], f"{file}, line {len(lines) + 1}: frame {number} is there twice."),
        "lacks": (
            lines[:3] + lines[5:],
            f"{file} lacks 2 of the 160 samples of test of s0, such as {ids[int(number)]}.",
        ),
        "nan": (
            [*lines[:3], ",".join([number, "nan", *lines[3].split(",")[2:]]), *lines[4:]],
            f"{file}: the joints of {ids[int(number)]} are not finite (1 of 160 samples).",
        ),
    }
    for changed, told in broken.values():
        file.write_text("\n".join(changed) + "\n")
        with pytest.raises(HmrError) as raised:
            read(file, "s0", IDS)
        assert str(raised.value).startswith(told)


def test_a_part_of_the_list_has_no_official_numbers(tmp_path: Path) -> None:
    with pytest.raises(HmrError, match="these are samples of 100 sequences, and test of s0 has 160"):
        write(tmp_path, "s0", IDS[:100], JOINTS[:100], None)

"""A disk that is full, at any moment of packing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hmr_core.data.oakink import OakInkReader, open_oakink
from hmr_core.data.pack.codecs import codec_named
from hmr_core.data.pack.writer import write_pack
from hmr_core.errors import HmrError

OAKINK = Path(__file__).parent / "data" / "oakink_mini" / "OakInk"
JPEG = codec_named("jpeg:50")
SAMPLES = 96


@pytest.fixture(scope="module")
def reader() -> OakInkReader:
    return open_oakink(OAKINK)


@pytest.mark.parametrize("limit", [100, 5_000, 300_000, 1_100_000, 1_400_000])
def test_a_full_disk_leaves_no_half_file_and_packing_goes_on(
    reader: OakInkReader, whole: bytes, out: Path, files_up_to: Callable[[int], Any], limit: int
) -> None:
    with files_up_to(limit), pytest.raises(HmrError, match=rf"^could not write {out}: .*File too large") as error:
        write_pack(reader, out, codec=JPEG, workers=1)
    done = {100: 0, 5_000: 0, 300_000: 28}.get(limit, SAMPLES)
    kept_files = {"x.h5.part-journal", "x.h5.part-images"} if done else set()
    assert {path.name for path in out.parent.iterdir()} == kept_files
    kept = f"is kept ({done} of 96 samples): the same command goes on from there."
    assert str(error.value).endswith(kept) == (done > 0)
    assert ("x.h5.part takes about 2 MB there besides what is kept." in str(error.value)) == (done == SAMPLES)
    write_pack(reader, out, codec=JPEG)
    assert out.read_bytes() == whole

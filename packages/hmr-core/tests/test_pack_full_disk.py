"""A disk that is full, at any moment of packing."""

from __future__ import annotations

import resource
import signal
from pathlib import Path

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
    reader: OakInkReader, whole: bytes, out: Path, limit: int
) -> None:
    """The size that a file may have is limited instead, which fails in the same places."""
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        with pytest.raises(HmrError, match=rf"^could not write {out}: .*File too large") as error:
            write_pack(reader, out, codec=JPEG, workers=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        signal.signal(signal.SIGXFSZ, before)
    done = {100: 0, 5_000: 0, 300_000: 29}.get(limit, SAMPLES)
    kept_files = {"x.h5.part-journal", "x.h5.part-images"} if done else set()
    assert {path.name for path in out.parent.iterdir()} == kept_files
    kept = f"is kept ({done} of 96 samples): the same command goes on from there."
    assert str(error.value).endswith(kept) == (done > 0)
    assert ("x.h5.part takes about 2 MB there besides what is kept." in str(error.value)) == (done == SAMPLES)
    write_pack(reader, out, codec=JPEG)
    assert out.read_bytes() == whole

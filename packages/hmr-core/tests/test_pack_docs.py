"""docs/data.md is right: its programs run as they stand, and its table names every array."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import h5py
import pytest

from hmr_core.data.oakink import open_oakink
from hmr_core.data.pack.codecs import codec_named
from hmr_core.data.pack.format import ARRAYS, ATTRIBUTES, VERSIONS
from hmr_core.data.pack.writer import write_pack

OAKINK = Path(__file__).parent / "data" / "oakink_mini" / "OakInk"
REPOSITORY = Path(__file__).parents[3]
PAGE = (REPOSITORY / "docs" / "data.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with data/oakink.h5."""
    folder = tmp_path_factory.mktemp("docs")
    write_pack(open_oakink(OAKINK), folder / "data" / "oakink.h5", splits=["sp0"], codec=codec_named("png"))
    return folder


def test_its_programs_run(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(folder)
    first = open_oakink(OAKINK).split_ids("sp0", "test")[0]
    programs = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    assert len(programs) == 2
    for program in programs:
        exec(compile(program, "docs/data.md", "exec"), {})
        printed = capsys.readouterr().out
        assert first in printed
        height, width = re.findall(r"\((\d+), (\d+), 3\)", printed)[-1]
        assert 50 < int(height) < 480
        assert 50 < int(width) < 848


def test_its_table_names_every_array_and_attribute(folder: Path) -> None:
    with h5py.File(folder / "data" / "oakink.h5") as pack:
        stored = {f"/{group}/{name}" for group in ("images", "samples") for name in pack[group]}
        stored |= {f"/samples/{name}" for name in ARRAYS}
        assert set(pack.attrs) == {*ATTRIBUTES, *VERSIONS}
    listed = dict(re.findall(r"^\| `(/[a-z]+/[a-z_]+)`( \*)?", PAGE, flags=re.MULTILINE))
    assert set(listed) == stored
    optional = {f"/samples/{name}" for name, spec in ARRAYS.items() if spec.optional}
    assert {name for name, star in listed.items() if star} == optional
    for name in (*ATTRIBUTES, *VERSIONS):
        assert f"`{name}`" in PAGE


def test_its_figures_are_the_recorded_ones() -> None:
    with (REPOSITORY / "results" / "codecs.csv").open(encoding="utf-8") as file:
        recorded = {(row["corpus"], row["codec"]): row for row in csv.DictReader(file)}
    codecs = {
        "**`png`** (level 1, filter up, run lengths)": "png (offered)",
        "`webp` (lossless)": "webp (offered)",
        "`raw` (not compressed)": "raw (offered)",
        "`jpeg:95`": "jpeg:95 (offered)",
        "`jpeg:90`": "jpeg:90 (offered)",
        "png, OpenCV's usual choice (level 1, filter sub, run lengths)": "png level 1, rle, filter sub",
        "png, best filter by line, level 1, run lengths": "png level 1, rle, filter all",
        "png, best filter by line, level 6": "png level 6, lz77, filter all",
        "png, level 0 (not compressed)": "png level 0, lz77, filter none",
        "tiff, LZW of differences along lines": "tiff, lzw, differences along lines",
    }
    noisy = "photograph, noise 2.5"
    columns = [
        (corpus, "size_of_raw")
        for corpus in ("tests' data set", "photograph, noise 0.0", "photograph, noise 1.0", noisy)
    ]
    columns += [(noisy, "decode_ratio"), (noisy, "encode_ratio")]
    lines = [line.strip("| ").split(" | ") for line in PAGE.splitlines() if line.startswith("| ")]
    table = {cells[0]: cells[1:] for cells in lines if cells[0] in codecs}
    assert table.keys() == {shown for shown, codec in codecs.items() if (noisy, codec) in recorded}
    for name, cells in table.items():
        for cell, (corpus, figure) in zip(cells, columns, strict=True):
            shown = cell.split(" ")[0]
            decimals = len(shown.partition(".")[2])
            assert float(shown) == round(float(recorded[corpus, codecs[name]][figure]), decimals), (
                name,
                corpus,
                figure,
            )

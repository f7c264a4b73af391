"""Size, packing time and decoding time of the codecs that a pack could use, on windows of hands.

Run: python tools/bench_codecs.py [--root OakInk] [--csv results/codecs.csv]. All codecs are measured in turn, several
rounds in one process, and each keeps its best round: compare ratios, not milliseconds of different runs. The rows of
docs/data.md's table are printed last.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import cv2
import numpy as np
from photographs import expose, make_scene
from provenance import REPOSITORY, write_rows

from hmr_core.data.oakink import open_oakink
from hmr_core.data.pack.codecs import codec_named
from hmr_core.data.pack.format import DEFAULT_MARGIN
from hmr_core.data.pack.window import crop_window, joints_box

FIXTURE = Path("packages/hmr-core/tests/data/oakink_mini/OakInk")
DECODE_ROUNDS = 5
WINDOW_PX = 300


CORPORA = ("tests' data set", "photograph, noise 0.0", "photograph, noise 1.0", "photograph, noise 2.5")
SHOWN = {
    "png (offered)": "**`png`** (level 1, filter up, run lengths)",
    "webp (offered)": "`webp` (lossless)",
    "raw (offered)": "`raw` (not compressed)",
    "jpeg:95 (offered)": "`jpeg:95`",
    "jpeg:90 (offered)": "`jpeg:90`",
    "png level 1, rle, filter sub": "png, OpenCV's usual choice (level 1, filter sub, run lengths)",
    "png level 1, rle, filter all": "png, best filter by line, level 1, run lengths",
    "png level 6, lz77, filter all": "png, best filter by line, level 6",
    "png level 0, lz77, filter none": "png, level 0 (not compressed)",
    "tiff, lzw, differences along lines": "tiff, LZW of differences along lines",
}
"""The rows of docs/data.md's table."""


@dataclass
class Setting:
    """A codec's setting and what was measured: bytes, seconds for all windows (best round)."""

    name: str
    extension: str
    parameters: tuple[int, ...]
    size: int = 0
    encode_s: float = float("inf")
    decode_s: float = float("inf")
    lossless: bool = True
    data: list[np.ndarray] = field(default_factory=list)


def settings() -> list[Setting]:
    """What is compared: the codecs that a pack offers first, then alternatives to them."""
    png = (cv2.IMWRITE_PNG_COMPRESSION, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_FILTER)
    filters = {
        "none": cv2.IMWRITE_PNG_FILTER_NONE, "sub": cv2.IMWRITE_PNG_FILTER_SUB, "up": cv2.IMWRITE_PNG_FILTER_UP,
        "average": cv2.IMWRITE_PNG_FILTER_AVG, "paeth": cv2.IMWRITE_PNG_FILTER_PAETH,
        "fast": cv2.IMWRITE_PNG_FAST_FILTERS, "all": cv2.IMWRITE_PNG_ALL_FILTERS,
    }  # fmt: skip
    strategies = {"rle": cv2.IMWRITE_PNG_STRATEGY_RLE, "lz77": cv2.IMWRITE_PNG_STRATEGY_DEFAULT}
    chosen = [codec_named(name) for name in ("png", "webp", "raw", "jpeg:95", "jpeg:90")]
    result = [Setting(f"{codec.name} (offered)", codec.extension, codec.parameters) for codec in chosen]
    lzw = (
        cv2.IMWRITE_TIFF_COMPRESSION, cv2.IMWRITE_TIFF_COMPRESSION_LZW,
        cv2.IMWRITE_TIFF_PREDICTOR, cv2.IMWRITE_TIFF_PREDICTOR_HORIZONTAL,
    )  # fmt: skip
    result.append(Setting("tiff, lzw, differences along lines", ".tiff", lzw))
    combinations = [(1, "rle", f) for f in filters] + [(1, "lz77", f) for f in ("sub", "average", "all")]
    combinations += [(level, "lz77", "all") for level in (3, 6, 9)] + [(0, "lz77", "none")]
    for level, strategy, chosen_filter in combinations:
        values = (level, strategies[strategy], filters[chosen_filter])
        pairs = tuple(x for pair in zip(png, values, strict=True) for x in pair)
        result.append(Setting(f"png level {level}, {strategy}, filter {chosen_filter}", ".png", pairs))
    return result


def tree_windows(root: Path, count: int) -> list[np.ndarray]:
    """Windows of a tree in the release's layout, evenly spread over its samples."""
    reader = open_oakink(root)
    ids = reader.split_ids("sp0", "all")
    windows = []
    for sample_id in ids[:: max(1, len(ids) // count)][:count]:
        sample = reader.read(sample_id)
        frame = reader.read_image(sample)
        x, y, width, height = crop_window(
            joints_box(sample.joints, sample.intrinsics), sample.frame_size, DEFAULT_MARGIN
        )
        windows.append(np.ascontiguousarray(frame[y : y + height, x : x + width]))
    return windows


def measure(windows: Sequence[np.ndarray], candidates: list[Setting]) -> None:
    """Fill in the settings' measurements for these windows, all settings in turn in every round."""
    for setting in candidates:
        start = time.perf_counter()
        setting.data = [cv2.imencode(setting.extension, window, setting.parameters)[1] for window in windows]
        setting.encode_s = time.perf_counter() - start
        setting.size = sum(data.size for data in setting.data)
    for _ in range(DECODE_ROUNDS):
        for setting in candidates:
            start = time.perf_counter()
            images = [cv2.imdecode(data, cv2.IMREAD_COLOR) for data in setting.data]
            setting.decode_s = min(setting.decode_s, time.perf_counter() - start)
            setting.lossless = all(bool(np.all(a == b)) for a, b in zip(images, windows, strict=True))


def show(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print the rows of docs/data.md's table."""
    measured = {(row["corpus"], row["codec"]): row for row in rows}
    noisy, lines = CORPORA[-1], []
    for name, shown in SHOWN.items():
        sizes = [f"{float(measured[corpus, name]['size_of_raw']):.2f}" for corpus in CORPORA]
        times = []
        for kind in ("decode", "encode"):
            row = measured[noisy, name]
            milliseconds = f" ({float(row[f'{kind}_ms']):.1f} ms)" if name == "png (offered)" else ""
            ratio = float(row[f"{kind}_ratio"])
            times.append(f"{ratio:.0f}{milliseconds}" if ratio >= 10 else f"{ratio:#.2g}{milliseconds}")
        lines.append(f"| {shown} | {' | '.join([*sizes, *times])} |")
    click.echo("\n" + "\n".join(lines))


@click.command()
@click.option("--root", type=click.Path(path_type=Path), multiple=True, help="A further tree in the release's layout.")
@click.option("--count", default=24, show_default=True, help="Windows of each kind.")
@click.option("--csv", "csv_path", type=click.Path(path_type=Path), default=REPOSITORY / "results" / "codecs.csv")
def main(root: tuple[Path, ...], count: int, csv_path: Path) -> None:
    """Compare codecs on windows of the tests' data set, of made-up photographs, and of further trees."""
    cv2.setNumThreads(1)
    generator = np.random.default_rng(0)
    corpora = {"tests' data set": tree_windows(REPOSITORY / FIXTURE, count)}
    corpora |= {
        f"photograph, noise {noise}": [
            expose(make_scene(WINDOW_PX, WINDOW_PX, generator), noise, generator) for _ in range(count)
        ]
        for noise in (0.0, 1.0, 2.5)
    }
    corpora |= {path.name if path.name != "OakInk" else path.parent.name: tree_windows(path, count) for path in root}
    rows = []
    for corpus, windows in corpora.items():
        candidates = settings()
        measure(windows, candidates)
        raw, reference = sum(window.nbytes for window in windows), candidates[0]
        pixels = sum(window.shape[0] * window.shape[1] for window in windows)
        click.echo(f"\n{corpus}: {len(windows)} windows of {(pixels / len(windows)) ** 0.5:.0f} pixels on average")
        click.echo(f"{'':36}{'of raw size':>12}{'decoding, ms':>14}{'ratio':>8}{'encoding, ms':>14}{'ratio':>8}")
        for s in candidates:
            decode_ms, encode_ms = 1e3 * s.decode_s / len(windows), 1e3 * s.encode_s / len(windows)
            decode_ratio, encode_ratio = s.decode_s / reference.decode_s, s.encode_s / reference.encode_s
            times = f"{decode_ms:14.2f}{decode_ratio:8.2f}{encode_ms:14.2f}{encode_ratio:8.2f}"
            click.echo(f"{s.name:36}{s.size / raw:12.3f}{times}")
            measured = {
                "corpus": corpus, "windows": len(windows), "codec": s.name, "lossless": s.lossless,
                "size_of_raw": f"{s.size / raw:.4f}", "decode_ms": f"{decode_ms:.3f}", "encode_ms": f"{encode_ms:.3f}",
                "decode_ratio": f"{decode_ratio:.3f}", "encode_ratio": f"{encode_ratio:.3f}",
            }  # fmt: skip
            rows.append(measured | {"opencv": cv2.__version__})
    write_rows(csv_path, rows)
    show(rows)


if __name__ == "__main__":
    main()

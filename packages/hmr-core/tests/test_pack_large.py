"""A pack of a million samples opens at once and needs no memory in proportion."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from hmr_core.data.oakink import open_oakink
from hmr_core.data.pack import format as fmt
from hmr_core.data.pack.codecs import codec_named
from hmr_core.data.pack.layout import read_layout, stretches, structure_digest
from hmr_core.data.pack.writer import write_pack

SAMPLES = 1_000_000
LISTED = 1000
IMAGE_BYTES = 40_000

OPEN_AND_READ = """
import json, resource, sys, time
import numpy as np
from hmr_core.data.pack.reader import Pack

def read(path):
    pack = Pack(path)
    rows = pack.indices("sp0", "val")
    return len(pack), len(rows), pack.array("verts", rows[:5]).shape, len(pack.ids(rows))

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

read(sys.argv[1])
before = peak()
found = read(sys.argv[2])
grown = peak() - before

def seconds(path):
    started = time.perf_counter()
    read(path)
    return time.perf_counter() - started

times = [(seconds(sys.argv[1]), seconds(sys.argv[2])) for _ in range(5)]
small, large = map(min, zip(*times))
print(json.dumps({"found": found, "bytes": grown, "ratio": large / small}))
"""


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A valid pack of a million samples, all holes: places without content, but for one short list."""
    path = tmp_path / "large.h5"
    rows = np.arange(0, SAMPLES, SAMPLES // LISTED, dtype=fmt.INDEX_DTYPE)
    shapes = {f"samples/{name}": ((SAMPLES, *spec.shape), spec.dtype) for name, spec in fmt.ARRAYS.items()} | {
        fmt.IDS: ((SAMPLES,), "S60"),
        fmt.SAMPLE_CHECKSUM: ((SAMPLES, 16), "u1"),
        fmt.IMAGE_CHECKSUM: ((SAMPLES, 16), "u1"),
        fmt.SOURCE: ((SAMPLES, 16), "u1"),
        fmt.OFFSETS: ((SAMPLES + 1,), fmt.OFFSETS_DTYPE),
        fmt.BYTES: ((SAMPLES * IMAGE_BYTES,), "u1"),
        "splits/sp0/train": ((SAMPLES - LISTED,), fmt.INDEX_DTYPE),
    }
    early = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    early.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    early.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    attributes = {str: "none", int: SAMPLES, bool: True, float: 2.7}
    listed_as = {"splits": json.dumps({"sp0": ["train", "val"]}), "aliases": "{}"}
    with h5py.File(path, "w", userblock_size=fmt.USER_BLOCK_BYTES, libver=("earliest", "v108")) as file:
        for name, kind in fmt.ATTRIBUTES.items():
            file.attrs[name] = listed_as.get(name, attributes[kind])
        for name, (shape, dtype) in shapes.items():
            file.create_dataset(name, shape, dtype, dcpl=early)
        listed = file.create_dataset("splits/sp0/val", data=rows)
        listed.attrs["blake2b"] = fmt.array_digest(rows.tobytes()).hexdigest()
    with path.open("r+b") as raw:
        size = path.stat().st_size
        gaps = list(stretches(read_layout(path)[1].values(), size))
        structure = structure_digest(raw.fileno(), gaps)
        raw.write(fmt.Header(fmt.FORMAT, size, "0" * 64, structure, gaps).block())
    return path


def test_a_million_samples_open_without_memory_in_proportion(large: Path, mini_tree: Path, tmp_path: Path) -> None:
    assert large.stat().st_size > SAMPLES * IMAGE_BYTES
    assert large.stat().st_blocks * 512 < 10_000_000  # it is made of holes
    small = tmp_path / "small.h5"
    write_pack(open_oakink(mini_tree), small, splits=["sp0"], subset="train+val", codec=codec_named("jpeg:50"))
    result = subprocess.run(
        [sys.executable, "-c", OPEN_AND_READ, str(small), str(large)], capture_output=True, text=True, check=True
    )
    found = json.loads(result.stdout)
    assert found["found"] == [SAMPLES, LISTED, [5, 778, 3], LISTED]
    assert found["bytes"] < 32e6
    assert found["ratio"] < 10, "opening takes longer the more samples there are"  # here 14,000 times as many

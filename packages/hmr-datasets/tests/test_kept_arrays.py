"""Large lists of numbers are parsed by one process, and mapped by the others: packs are the same."""

from __future__ import annotations

import multiprocessing
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy import ndarray

from hmr_core.data.pack.codecs import codec_named
from hmr_core.data.pack.reader import Pack
from hmr_core.data.pack.writer import write_pack
from hmr_core.errors import HmrError
from hmr_datasets import number_lists
from hmr_datasets.freihand.reader import FreiHANDReader
from hmr_datasets.ho3d.reader import HO3DReader
from hmr_datasets.kept_arrays import kept_arrays

sys.path.append(str(Path(__file__).parent))
freihand: Any = import_module("freihand_look_alike")
ho3d: Any = import_module("ho3d_look_alike")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path / "cache"))
    return tmp_path / "cache/hmr/datasets"


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that this process parsed, where every one is large."""
    read: list[str] = []
    real = number_lists.read_rows

    def counted(path: Path, shape: tuple[int, ...], *, again: str) -> ndarray:
        read.append(path.name)
        return real(path, shape, again=again)

    monkeypatch.setattr(number_lists, "KEPT_BYTES", 0)
    monkeypatch.setattr(number_lists, "read_rows", counted)
    return read


def test_each_list_is_parsed_once_for_all_readers(tmp_path: Path, cache: Path, parsed: list[str]) -> None:
    root = tmp_path / "tree"
    freihand.make_freihand(root)
    names = [f"training_{name}.json" for name in ("K", "mano", "verts", "xyz")]
    first = FreiHANDReader(root).read("training/00000001-gs")
    assert set(names) <= set(parsed)
    again = FreiHANDReader(root).read("training/00000001-gs")
    assert len(parsed) == len(set(parsed)), "kept"
    for name in ("joints", "verts", "betas", "intrinsics"):
        np.testing.assert_array_equal(getattr(again, name), getattr(first, name))
    changed = root / "training_xyz.json"
    changed.write_text(changed.read_text() + " ")
    FreiHANDReader(root).read("training/00000001-gs")
    assert parsed.count("training_xyz.json") == 2, "another file"
    for path in cache.glob("*xyz*/rows.npy"):
        path.write_bytes(b"damaged")
    FreiHANDReader(root).read("training/00000001-gs")
    assert parsed.count("training_xyz.json") == 3


def test_a_small_list_is_not_kept(tmp_path: Path, cache: Path) -> None:
    freihand.make_freihand(tmp_path / "tree")
    FreiHANDReader(tmp_path / "tree").read("training/00000001-gs")
    assert not cache.exists()


def test_a_damaged_list_is_named_and_not_kept(tmp_path: Path, cache: Path, parsed: list[str]) -> None:
    freihand.make_freihand(tmp_path / "tree")
    (tmp_path / "tree/training_xyz.json").write_text("[[1")
    for _ in range(2):
        with pytest.raises(HmrError, match=r"training_xyz\.json is damaged: it is cut short, or no JSON\. Unpack"):
            FreiHANDReader(tmp_path / "tree").read("training/00000001-gs")
    assert not list(cache.glob("rows-*xyz*"))
    (tmp_path / "tree/training_xyz.json").unlink()
    with pytest.raises(HmrError, match=r"lacks training_xyz\.json"):
        FreiHANDReader(tmp_path / "tree").read("training/00000001-gs")


@pytest.mark.parametrize("make", [freihand.make_freihand, lambda root: ho3d.make_ho3d(root, 3)])
def test_packs_are_the_same_with_what_was_kept_and_with_any_number_of_workers(
    make: Callable[[Path], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "tree"
    make(root)
    kind: Any = FreiHANDReader if make is freihand.make_freihand else HO3DReader
    packs: list[Path] = []
    for kept, workers in ((10**9, 1), (0, 1), (0, 3), (0, 2)):
        monkeypatch.setattr(number_lists, "KEPT_BYTES", kept)
        packs.append(tmp_path / f"{len(packs)}.h5")
        write_pack(kind(root), packs[-1], codec=codec_named("png"), workers=workers)
    assert {path.read_bytes() == packs[0].read_bytes() for path in packs} == {True}


def test_packing_workers_map_what_was_kept(tmp_path: Path, cache: Path) -> None:
    """They are other processes, and not of this one's making: what is kept is changed, and they have the change."""
    root = tmp_path / "tree"
    freihand.make_freihand(root, photos=32)
    options: dict[str, Any] = {"splits": ["freihand-gs"], "subset": "train+val", "codec": codec_named("jpeg")}
    write_pack(FreiHANDReader(root), tmp_path / "true.h5", workers=2, **options)
    (kept,) = cache.glob("rows-*-training_verts-778x3-*/rows.npy")
    rows = np.load(kept)
    np.save(kept, rows + np.float32(0.001))
    write_pack(FreiHANDReader(root), tmp_path / "moved.h5", workers=3, **options)
    true, moved = (Pack(tmp_path / f"{name}.h5") for name in ("true", "moved"))
    every = np.arange(len(true))
    np.testing.assert_array_equal(true.array("verts", every), rows)
    np.testing.assert_allclose(moved.array("verts", every), rows + np.float32(0.001), atol=1e-6)


def _make_slowly(counted: Path, source: Path) -> None:
    def make() -> dict[str, ndarray]:
        with counted.open("a") as file:
            file.write("made\n")
        time.sleep(1)
        return {"rows": np.arange(5)}

    assert kept_arrays("slow", [source], make)["rows"].tolist() == [0, 1, 2, 3, 4]


def test_processes_that_begin_at_once_wait_for_the_first(tmp_path: Path) -> None:
    source, counted = tmp_path / "source.json", tmp_path / "made"
    source.touch()
    processes = [multiprocessing.Process(target=_make_slowly, args=(counted, source)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert counted.read_text() == "made\n"

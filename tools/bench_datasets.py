"""What a training sample of other data sets costs, from their trees as their own loaders read them and from packs.

Run: python tools/bench_datasets.py. Trees in the layouts of FreiHAND, HO-3D v2 and v3, DexYCB and InterHand2.6M are
made of invented annotations (those of the readers' tests) and made-up photographs of the data sets' sizes and formats.
From a tree a sample is read as the data set's own loader does: the whole frame, its annotations (of a file for each
frame, or of lists that were parsed once), and a crop of 224 pixels by one warp. From a pack of JPEGs a batch of 64 is
read as `hmr train` does, with the ground truth that a model is held against.

One core, files in the page cache. The ways take turns, and each keeps its best round: compare ratios, not milliseconds
of different runs. "packing" is what a sample costs when one process packs it, "reading alone" what hmr's own reader
takes for its frame and annotations. The last row is what a loading process needs before its first sample of FreiHAND:
the lists of its whole training set parsed (some are, and the rest takes as long each), or a pack opened.
Writes results/datasets.csv and prints the table of docs/datasets.md.
"""

from __future__ import annotations

import json
import pickle
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import click
import cv2
import numpy as np
import torch
from numpy import ndarray
from photographs import expose, make_scene
from provenance import REPOSITORY, write_rows

from hmr_core.data.batch import Key
from hmr_core.data.image_dataset import ImageDataset
from hmr_core.data.pack.codecs import codec_named
from hmr_core.data.pack.reader import Pack
from hmr_core.data.pack.writer import write_pack
from hmr_core.pictures import encode, read_picture
from hmr_core.plugins.sample import DatasetReader, Sample
from hmr_datasets.plugin import hmr_datasets

sys.path.append(str(REPOSITORY / "packages/hmr-datasets/tests"))
dexycb_look_alike: Any = import_module("dexycb_look_alike")
freihand_look_alike: Any = import_module("freihand_look_alike")
ho3d_look_alike: Any = import_module("ho3d_look_alike")
interhand_look_alike: Any = import_module("interhand_look_alike")

IMAGE_PX, BATCH, EXPAND, SCENES = 224, 64, 1.7, 8
PHOTOS = 32_560
"""Of FreiHAND's training set, whose lists are parsed whole before the first sample."""

PARSED = 2_000
"""How many of them are parsed here; the rest takes as long each."""

Raw = Callable[[Sample], tuple[ndarray, ndarray]]
"""Reads a sample's annotations as the data set's own loader does: the joints, in any unit, and the camera's matrix."""


@dataclass(frozen=True)
class Subject:
    """A data set: its tree, how its own loader reads annotations. split, subset: the samples that are read."""

    title: str
    name: str
    root: Path
    split: str
    subset: str
    raw: Raw


@click.command()
@click.option("--rounds", default=9, show_default=True, help="How often the ways take turns.")
@click.option("--out", type=click.Path(path_type=Path), default=REPOSITORY / "results/datasets.csv", show_default=True)
def main(rounds: int, out: Path) -> None:
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    with tempfile.TemporaryDirectory() as folder:
        rows = [measure(subject, Path(folder), rounds) for subject in subjects(Path(folder))]
        rows.append(opening(Path(folder), rounds))
    print("| data set | tree, ms | pack, ms | ratio | reading alone, ms | packing, ms |\n|---|---|---|---|---|---|")
    for row in rows:
        print("| " + " | ".join(str(value) for value in row.values()) + " |")
    write_rows(out, rows)


def subjects(folder: Path) -> Iterator[Subject]:
    """The data sets, each with a tree in a folder of its own, in which the frames are photographs."""
    freihand_look_alike.make_freihand(folder / "freihand", photos=16)
    yield Subject("FreiHAND", "freihand", folder / "freihand", "freihand", "train", freihand(folder / "freihand"))
    for version in (2, 3):
        root = folder / f"ho3d{version}"
        ho3d_look_alike.make_ho3d(root, version)
        yield Subject(f"HO-3D v{version}", "ho3d", root, f"ho3d-v{version}", "train+val", ho3d)
    dexycb_look_alike.make_dexycb(folder / "dexycb")
    yield Subject("DexYCB", "dexycb", folder / "dexycb", "s0", "train", dexycb)
    interhand_look_alike.make_interhand(folder / "interhand")
    yield Subject("InterHand2.6M", "interhand", folder / "interhand", "interhand", "train", interhand(folder))


def freihand(root: Path) -> Raw:
    """The lists are parsed once; of a photo their entries become arrays."""
    lists = {name: parsed(root / f"training_{name}.json") for name in ("K", "xyz", "verts", "mano")}

    def raw(sample: Sample) -> tuple[ndarray, ndarray]:
        number = int(sample.id.split("/")[1][:8])
        arrays = {name: np.array(entries[number]) for name, entries in lists.items()}
        return arrays["xyz"], arrays["K"]

    return raw


def ho3d(sample: Sample) -> tuple[ndarray, ndarray]:
    """One pickle for each frame, in OpenGL's camera space."""
    path = sample.image_path.parent.parent / "meta" / f"{sample.image_path.stem}.pkl"
    with path.open("rb") as file:
        meta = pickle.load(file, encoding="latin1")
    return meta["handJoints3D"] * np.array([1, -1, -1]), meta["camMat"]


def dexycb(sample: Sample) -> tuple[ndarray, ndarray]:
    """One archive for each frame, with the frame's segments and the object's poses."""
    path = sample.image_path.with_name(sample.image_path.name.replace("color_", "labels_")).with_suffix(".npz")
    with np.load(path) as file:
        label = {name: file[name] for name in file.files}
    return label["joint_3d"][0], dexycb_look_alike.CAMERA


def interhand(folder: Path) -> Raw:
    """The lists are parsed once; joints of the world go to the camera."""
    files = folder / "interhand/annotations/train"
    camera, moments = (parsed(files / f"InterHand2.6M_train_{name}.json")["0"] for name in ("camera", "joint_3d"))

    def raw(sample: Sample) -> tuple[ndarray, ndarray]:
        number, view = sample.image_path.stem.removeprefix("image"), interhand_look_alike.VIEW
        world = np.array(moments[number]["world_coord"], dtype=np.float32)
        rotation, place = (np.array(camera[name][view], dtype=np.float32) for name in ("camrot", "campos"))
        focal, principal = (camera[name][view] for name in ("focal", "princpt"))
        joints = (world - place) @ rotation.T
        matrix = np.array([[focal[0], 0, principal[0]], [0, focal[1], principal[1]], [0, 0, 1]])
        return (joints[21:] if sample.side == "left" else joints[:21]), matrix

    return raw


def parsed(path: Path) -> Any:
    return json.loads(path.read_bytes())


def measure(subject: Subject, folder: Path, rounds: int) -> dict[str, Any]:
    """What a sample costs by each way, in milliseconds."""
    spec = next(spec for spec in hmr_datasets() if spec.name == subject.name)
    reader = spec.open(subject.root)
    ids = list(reader.split_ids(subject.split, subject.subset))
    samples = [reader.read(sample_id) for sample_id in ids]
    take_photographs({sample.image_path: sample.frame_size for sample in samples})
    many = [samples[i % len(samples)] for i in range(BATCH)]

    packed = folder / f"{subject.root.name}.h5"
    write = partial(
        write_pack,
        reader,
        packed,
        codec=codec_named("jpeg"),
        workers=1,
        force=True,
        splits=[subject.split],
        subset=subject.subset,
    )
    packing_s, reading_s = [], []
    for _ in range(3):
        reading_s.append(seconds(lambda: read_all(reader, ids)) / len(ids))
        packing_s.append(seconds(write) / len(ids))
    pack = Pack(packed)
    data = ImageDataset(pack, image_size=IMAGE_PX)
    rows = pack.indices(subject.split, subject.subset)
    keys = [Key(0, int(rows[i % len(rows)])) for i in range(BATCH)]

    tree_s, pack_s = [], []
    for _ in range(rounds):
        tree_s.append(seconds(lambda: [own_crop(sample, subject.raw) for sample in many]) / BATCH)
        pack_s.append(seconds(lambda: data.batch(keys)) / BATCH)
    return row(subject.title, tree_s, pack_s, reading_s, packing_s)


def row(title: str, tree_s: Sequence[float], pack_s: Sequence[float], *others: Sequence[float]) -> dict[str, Any]:
    reading, packing = (f"{1000 * min(times):.2f}" for times in others) if others else ("", "")
    return {
        "what": title,
        "tree_ms": f"{1000 * min(tree_s):.2f}",
        "pack_ms": f"{1000 * min(pack_s):.2f}",
        "ratio": f"{min(tree_s) / min(pack_s):.1f}",
        "reading_ms": reading,
        "packing_ms": packing,
    }


def opening(folder: Path, rounds: int) -> dict[str, Any]:
    """What a loading process needs before its first sample of FreiHAND: all lists parsed, or the pack opened."""
    lists = {name: parsed(folder / f"freihand/training_{name}.json") for name in ("K", "xyz", "verts", "mano")}
    for name, entries in lists.items():
        (folder / f"{name}.json").write_text(
            json.dumps([entries[i % len(entries)] for i in range(PARSED)]), encoding="ascii"
        )
    tree_s, pack_s = [], []
    for _ in range(min(rounds, 3)):
        parse_s = seconds(lambda: [parsed(folder / f"{name}.json") for name in lists])
        tree_s.append(parse_s * PHOTOS / PARSED)
        pack_s.append(seconds(lambda: Pack(folder / "freihand.h5")))
    return row(f"FreiHAND's lists of {PHOTOS:,} photos, or a pack, opened", tree_s, pack_s)


def take_photographs(frames: Mapping[Path, tuple[int, int]]) -> None:
    """Replace frames by photographs of the same sizes: what a picture shows decides how long it takes to decode."""
    generator = np.random.default_rng(0)
    size = next(iter(frames.values()))
    photographs = [expose(make_scene(*size, generator), 1.5, generator) for _ in range(SCENES)]
    for i, path in enumerate(frames):
        path.write_bytes(encode(path.suffix, photographs[i % SCENES]))


def read_all(reader: DatasetReader, ids: Sequence[str]) -> None:
    for sample_id in ids:
        reader.read_image(reader.read(sample_id))


def own_crop(sample: Sample, raw: Raw) -> ndarray:
    """A sample as the data set's own loader reads it, and its crop about the joints."""
    frame = read_picture(sample.image_path)
    joints, camera = raw(sample)
    pixels = joints @ camera.T
    pixels = pixels[:, :2] / pixels[:, 2:]
    low, high = np.nanmin(pixels, 0), np.nanmax(pixels, 0)
    scale = IMAGE_PX / (EXPAND * (high - low).max())
    shift = IMAGE_PX / 2 - scale * (low + high) / 2
    affine = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
    return cv2.warpAffine(frame, affine, (IMAGE_PX, IMAGE_PX))


def seconds(what: Callable[[], object]) -> float:
    started = time.perf_counter()
    what()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()

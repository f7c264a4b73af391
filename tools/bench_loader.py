"""What loading a training batch costs, from the release's tree as the published code reads it and from packs.

Run: python tools/bench_loader.py [--root OakInk]. Without --root it makes a tree in the release's layout of synthetic
annotations and made-up photographs, written as PNG with libpng's usual choices (the best filter for each line, zlib's
level 6). From the tree a sample is read as the published code does: the whole frame, five pickles, then its crop and
ground truth by themselves; batches are put together by torch. From packs, as `hmr train` reads them. Both make the
same crops under the same augmentation (checked before anything is measured), as bytes, in batches of 64.

All ways take turns, several rounds in one process, the files in the page cache, and each keeps its best round: compare
ratios, not milliseconds of different runs. A time runs from the moment when each worker's first batches are there to
the last batch. "Per process" divides by the number of processes that load: the workers, or with none the one there is.
Writes results/loader.csv and prints the table of docs/speed.md.
"""

from __future__ import annotations

import math
import os
import pickle
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import click
import cv2
import numpy as np
import torch
from photographs import expose, make_scene
from provenance import REPOSITORY, write_rows

from hmr_core.data.augment import draw
from hmr_core.data.batch import Batch, Key
from hmr_core.data.image_dataset import ImageDataset
from hmr_core.data.loading import Loader, epoch_order, split_batches
from hmr_core.data.oakink import open_oakink
from hmr_core.data.oakink.layout import FRAME_SIZE, FRAMES, SampleKey
from hmr_core.data.oakink.reader import OakInkReader
from hmr_core.data.pack.codecs import codec_named
from hmr_core.data.pack.reader import Pack
from hmr_core.data.pack.writer import write_pack
from hmr_core.data.synthetic.scene import Spread
from hmr_core.data.synthetic.writer import write_synthetic
from hmr_core.pictures import read_picture
from hmr_core.plugins.recipes import AugmentConfig, DataConfig

CODECS = ("png", "webp", "raw", "jpeg:95", "jpeg:90")
SAMPLES, BATCH, IMAGE_PX, ROOT_JOINT, EPSILON_M, DEPTH_M = 256, 64, 256, 9, 1e-6, 0.4
EPOCH = 232_049
"""The training samples of SP0."""

SCENES, NOISE = 8, 1.5
LIBPNG = (
    cv2.IMWRITE_PNG_COMPRESSION, 6,
    cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_DEFAULT,
    cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_ALL_FILTERS,
)  # fmt: skip
FARTHER = Spread(distance_m=(0.57, 0.75))
"""Cameras so far from the hands that a window is about 350 pixels wide."""

CPU = torch.device("cpu")


class Part(OakInkReader):
    """Some samples of a tree, as the training subset of SP0."""

    def __init__(self, root: Path, ids: list[str]) -> None:
        super().__init__(root)
        self.ids = ids

    def splits(self) -> Mapping[str, Sequence[str]]:
        """The one split and subset."""
        return {"sp0": ["train"]}

    def split_ids(self, split: str, subset: str) -> list[str]:
        """The ids."""
        return self.ids


class Tree(torch.utils.data.Dataset[dict[str, Any]]):
    """The release's tree as the published code reads it: sample by sample. Keys as ImageDataset's."""

    def __init__(self, root: Path, ids: Sequence[str], augment: AugmentConfig, seed: int) -> None:
        self.root, self.ids, self.augment, self.seed = root / "image", ids, augment, seed

    def frame_path(self, sample_id: str) -> Path:
        """The file of a sample's frame."""
        return self.root / FRAMES / SampleKey.from_id(sample_id).image_name

    def __getitem__(self, key: Key) -> dict[str, Any]:
        epoch, index, _ = key
        sample_id = self.ids[index]
        read = {
            name: pickle.loads((self.root / "anno" / name / f"{sample_id}.pkl").read_bytes())
            for name in ("cam_intr", "hand_j", "hand_v", "obj_transf", "general_info")
        }
        camera, joints, verts = (np.asarray(read[name], np.float32) for name in ("cam_intr", "hand_j", "hand_v"))
        hand = read["general_info"]["hand_anno"]
        frame = read_picture(self.frame_path(sample_id))

        joints_px, verts_px = project(joints, camera), project(verts, camera)
        low, high = joints_px.min(0), joints_px.max(0)
        drawn = draw(self.augment, self.seed, epoch, [sample_id])
        centre, angle = np.trunc((low + high) / 2), float(drawn.angle[0])
        side = float((high - low).max() * 1.7 * drawn.scale[0])
        if (occlusion := drawn.occlusion[0]) is not None:
            left, top = centre - side / 2
            occlusion.paint(frame, (float(left), float(top), side))
        turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
        affine = to_crop(turn[:2, :2] @ centre, side) @ turn
        principal = camera[:2, 2]
        image = cv2.warpAffine(frame, affine[:2], (IMAGE_PX, IMAGE_PX), flags=cv2.INTER_LINEAR)
        image = np.clip(image * drawn.color[0].astype(np.float32), 0, 255).astype(np.uint8)

        root = joints[ROOT_JOINT]
        joints_uvd, verts_uvd = uvd(joints_px, joints, affine, root), uvd(verts_px, verts, affine, root)
        joints_in, verts_in = inside(joints_uvd), inside(verts_uvd)
        height, width = frame.shape[:2]
        in_frame = ((joints_px >= 0) & (joints_px < (width, height))).all(1)
        return {
            "id": sample_id,
            "image": image,
            "joints_uvd": joints_uvd,
            "verts_uvd": verts_uvd,
            "joints_vis": joints_in * np.float32(min(in_frame.mean(), joints_in.mean()) >= 0.3),
            "verts_vis": verts_in * np.float32(verts_in.mean() >= 0.3),
            "joints": (joints @ turn.T).astype(np.float32),
            "verts": (verts @ turn.T).astype(np.float32),
            "root": (turn @ root).astype(np.float32),
            "intrinsics": (to_crop(turn[:2, :2] @ (centre - principal) + principal, side) @ camera).astype(np.float32),
            "pose": hand["hand_pose"],
            "shape": hand["hand_shape"],
            "object_pose": np.asarray(read["obj_transf"], np.float32),
        }


def project(points: np.ndarray, camera: np.ndarray) -> np.ndarray:
    """Pixels of points in camera space."""
    homogeneous = points @ camera.T
    return np.asarray(homogeneous[:, :2] / (homogeneous[:, 2:] + EPSILON_M))


def to_crop(centre: np.ndarray, side: float) -> np.ndarray:
    """The map from a square of the frame to the crop."""
    scale = IMAGE_PX / side
    x, y = IMAGE_PX / 2 - scale * centre
    return np.array([[scale, 0, x], [0, scale, y], [0, 0, 1]])


def uvd(points_px: np.ndarray, points: np.ndarray, affine: np.ndarray, root: np.ndarray) -> np.ndarray:
    """UVD of points in the crop."""
    uv = (points_px @ affine[:2, :2].T + affine[:2, 2]) / IMAGE_PX
    return np.column_stack([uv, (points[:, 2] - root[2]) / DEPTH_M + 0.5]).astype(np.float32)


def inside(points_uvd: np.ndarray) -> np.ndarray:
    """1 for points in the crop, else 0."""
    within: np.ndarray = (points_uvd[:, :2] >= 0) & (points_uvd[:, :2] < 1)
    return np.asarray(within.all(1), dtype=np.float32)


def make_tree(folder: Path) -> Path:
    """A tree of SAMPLES samples or a few more, whose frames are made-up photographs."""
    root = write_synthetic(folder, sequences=5, frames=math.ceil(SAMPLES / 20), workers=1, spread=FARTHER).root
    generator = np.random.default_rng(0)
    width, height = FRAME_SIZE
    scenes = [make_scene(width, height, generator) for _ in range(SCENES)]
    for i, path in enumerate(sorted((root / "image" / "stream_release_v2").rglob("*.png"))):
        shift = tuple(int(n) for n in generator.integers(0, (height, width)))
        frame = expose(np.roll(scenes[i % SCENES], shift, (0, 1)), NOISE, generator)
        path.write_bytes(cv2.imencode(".png", frame, LIBPNG)[1].tobytes())
    return root


def tree_batches(tree: Tree, batches: Sequence[list[Key]], workers: int) -> Iterator[dict[str, Any]]:
    """The batches of a tree, as torch's DataLoader makes them."""
    loader: torch.utils.data.DataLoader[dict[str, Any]] = torch.utils.data.DataLoader(
        tree, batch_sampler=batches, num_workers=workers, worker_init_fn=_one_thread
    )
    return iter(loader)


def _one_thread(_: int) -> None:
    cv2.setNumThreads(1)


def compare(batch: Batch, published: Mapping[str, Any]) -> None:
    """Refuse to measure what is not the same."""
    assert batch.ids == published["id"]
    for name in ("joints_uvd", "verts_uvd", "joints_vis", "verts_vis", "joints", "verts", "root", "intrinsics"):
        torch.testing.assert_close(getattr(batch.targets, name), published[name], rtol=1e-4, atol=5e-4)
    assert batch.image is not None
    difference = (batch.image.int() - published["image"].int()).abs()
    assert difference.max() <= 3, f"crops differ by {difference.max()} grey levels"


def seconds_per_sample(load: Callable[[Sequence[list[Key]], int], Iterator[Any]], workers: int) -> float:
    """Seconds per sample, once each worker's first two batches (the first, without workers) are there."""
    skipped, counted = max(1, 2 * workers), max(3, 4 * workers)
    rows = np.arange(SAMPLES)
    batches: list[list[Key]] = []
    while len(batches) < skipped + counted:
        epoch = len(batches)
        batches += split_batches(epoch_order(rows, 0, epoch), BATCH, epoch=epoch)
    begun = 0.0
    for done, _ in enumerate(load(batches[: skipped + counted], workers), 1):
        if done == skipped:
            begun = time.perf_counter()
    return (time.perf_counter() - begun) / (counted * BATCH)


def measure(root: Path, folder: Path, rounds: int, workers: Sequence[int]) -> list[dict[str, Any]]:
    """A row for each way and number of workers."""
    ids = evenly(open_oakink(root).split_ids("sp0", "all"))
    tree = Tree(root, ids, AugmentConfig(), seed=0)
    ways: dict[str, Callable[[Sequence[list[Key]], int], Iterator[Any]]] = {
        "release tree": lambda batches, processes: tree_batches(tree, batches, processes)
    }
    packs: dict[str, dict[str, Any]] = {}
    for name in CODECS:
        packed = write_pack(Part(root, ids), folder / f"{name}.h5", codec=codec_named(name), workers=1, force=True)
        pack = Pack(packed.path)
        sides = pack.array("window_px", np.arange(len(pack)))[:, 2:]
        packs[name] = {
            "bytes_per_sample": round(packed.image_bytes / len(ids)),
            "size_of_raw": f"{packed.image_bytes / (3.0 * sides.prod(1).sum()):.4f}",
            "packed_per_s": f"{len(ids) / packed.seconds:.1f}",
            "window_px": f"{np.sqrt(sides.prod(1).mean()):.0f}",
        }
        data = ImageDataset(pack, image_size=IMAGE_PX, root_joint=ROOT_JOINT, data=DataConfig(), augment=tree.augment)
        ways[name] = partial(loaded, data)
        if pack.info.lossless:
            keys = split_batches(np.arange(BATCH), BATCH)
            compare(next(ways[name](keys, 0)), next(ways["release tree"](keys, 0)))
    frames = {tree.frame_path(sample_id) for sample_id in ids}
    packs["release tree"] = {"bytes_per_sample": round(sum(path.stat().st_size for path in frames) / len(frames))}

    best: dict[tuple[str, int], float] = {}
    for _ in range(rounds):
        for way, load in ways.items():
            for processes in workers:
                best[way, processes] = min(best.get((way, processes), 1e9), seconds_per_sample(load, processes))
    return [
        {
            "source": way,
            "workers": processes,
            "ms_per_sample": f"{1e3 * seconds:.3f}",
            "samples_per_s": f"{1 / seconds:.1f}",
            "samples_per_s_per_process": f"{1 / seconds / max(1, processes):.1f}",
            "ratio": f"{best['release tree', processes] / seconds:.2f}",
            "epoch_minutes": f"{EPOCH * seconds / 60:.1f}",
            **{name: packs[way].get(name, "") for name in packs["png"]},
        }
        for (way, processes), seconds in best.items()
    ]


def loaded(data: ImageDataset, batches: Sequence[list[Key]], workers: int) -> Iterator[Any]:
    """The batches of a pack, as training loads them."""
    return Loader(data, workers=workers, device=CPU).load(batches)


def evenly(ids: Sequence[str]) -> list[str]:
    """SAMPLES of them, evenly spread."""
    if len(ids) < SAMPLES:
        raise click.UsageError(f"the tree has {len(ids)} samples, fewer than {SAMPLES}.")
    return [ids[i * len(ids) // SAMPLES] for i in range(SAMPLES)]


def show(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print the table of docs/speed.md."""
    counts = sorted({int(row["workers"]) for row in rows})
    heads = [f"{n} worker{'s' * (n != 1)}: ms a sample, ratio, epoch" for n in counts]
    click.echo("\n| | " + " | ".join(heads) + " | kB a sample | packed a second |")
    click.echo("|---" * (len(counts) + 3) + "|")
    for way in dict.fromkeys(row["source"] for row in rows):
        own = {int(row["workers"]): row for row in rows if row["source"] == way}
        cells = [
            f"{float(row['ms_per_sample']):.2f}, {float(row['ratio']):.1f}, {float(row['epoch_minutes']):.0f} min"
            for row in (own[n] for n in counts)
        ]
        size, rate = (own[counts[0]][name] for name in ("bytes_per_sample", "packed_per_s"))
        cells += [f"{int(size) / 1000:.0f}", f"{float(rate):.0f}" if rate else ""]
        click.echo(f"| {way if way == 'release tree' else f'`{way}`'} | " + " | ".join(cells) + " |")


@click.command()
@click.option(
    "--root", type=click.Path(path_type=Path), help="A tree in the release's layout, instead of a made-up one."
)
@click.option("--rounds", default=3, show_default=True)
@click.option("--workers", default="0,1,2", show_default=True, help="Numbers of worker processes.")
@click.option("--csv", "csv_path", type=click.Path(path_type=Path), default=REPOSITORY / "results" / "loader.csv")
def main(root: Path | None, rounds: int, workers: str, csv_path: Path) -> None:
    """Measure every way of loading, write the rows, print the table."""
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        data = "made-up photographs" if root is None else root.name
        tree = make_tree(Path(folder)) if root is None else root
        rows = measure(tree, Path(folder), rounds, [int(n) for n in workers.split(",")])
    own = {
        "data": data, "samples": SAMPLES, "batch": BATCH, "image_px": IMAGE_PX, "rounds": rounds,
        "cpus": os.cpu_count(), "opencv": cv2.__version__, "torch": torch.__version__,
    }  # fmt: skip
    show(rows)
    write_rows(csv_path, [{**row, **own} for row in rows])


if __name__ == "__main__":
    main()

"""Milliseconds that a picture of the synthetic data set costs, by step: writes results/render.csv.

Run: python tools/bench_render.py [--csv results/render.csv].

First each step alone, in one process and one thread. It is repeated and every round measured on its own, in processor
time; the fastest counts, as other work only adds. What is made once for many pictures is shared out among them: a
sequence's desk and noise (desk), the hands' poses and grasps at a moment (hands), and, as a part of rendering, the
light and the shadows of a moment.

Then whole sequences, everything but PNG, by one process and by two at once, in the time that passes: two cores share
caches, memory and sometimes more, so that two processes need not draw twice what one does.

python tools/bench_render.py --overlays measures what hmr.draw takes instead, of hands of several sizes in photos and
video frames, in the fastest round's processor time, and writes results/overlay.csv.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import click
import cv2
import numpy as np
import torch
from provenance import REPOSITORY, write_rows

import hmr_core as hmr
from hmr_core.data.synthetic.frames import PNG_PARAMETERS
from hmr_core.data.synthetic.picture import Painter, Scene
from hmr_core.data.synthetic.scene import Camera, Moment, Sequence, Spread, make_moment, make_sequence
from hmr_core.data.synthetic.sizes import CAMERAS, SIZES
from hmr_core.geometry.camera import project
from hmr_core.geometry.rotations import axis_angle_to_matrix
from hmr_core.hand.hand import Hand
from hmr_core.hand.layer import HandLayer
from hmr_core.hand.model import HandModel
from hmr_core.hand.poses import random_poses
from hmr_core.hand.synthetic import load_synthetic_hand

SEQUENCES = (0, 1, 2, 3, 4, 5)
"""Of the demo: all its objects, and one handover in six, as it has."""

MOMENTS = (3, 9, 16, 22)
"""In half of them the object is held, as in half of a data set's."""

FRAMES = SIZES["demo"].frames

OVERLAYS = (
    (640, 480, 200),
    (640, 480, 400),
    (1920, 1080, 300),
    (4000, 3000, 200),
    (2000, 1500, 1600),
    (2000, 1500, 3200),
    (4000, 3000, 3000),
)
"""Width and height of a picture, and a hand's longer side in it, in pixels: video frames, photos, hands beyond them."""


def fastest_s(work: Callable[[], object], rounds: int) -> float:
    """The processor time of the fastest round."""
    times = []
    for _ in range(rounds):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times)


def new_painter(model: HandModel, sequence: Sequence) -> Painter:
    """A painter of a sequence."""
    return Painter(model, sequence, np.random.default_rng(sequence.number))


def new_scene(painter: Painter, moment: Moment) -> Scene:
    """A moment's scene."""
    return painter.scene(moment, np.random.default_rng(0))


def picture(painter: Painter, scene: Scene, camera: Camera) -> np.ndarray:
    """A camera's picture."""
    return painter.paint(scene, camera, np.random.default_rng(1))


def start_process() -> None:
    """One thread for each process."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)


def draw_sequence(number: int) -> int:
    """All pictures of a sequence, drawn as `hmr synth` draws them but not written; how many."""
    model = load_synthetic_hand()
    sequence = make_sequence(number, 0, Spread())
    painter = new_painter(model, sequence)
    for index in range(FRAMES):
        scene = new_scene(painter, make_moment(model, sequence, index, FRAMES, 0, Spread()))
        for camera in sequence.cameras:
            picture(painter, scene, camera)
    return FRAMES * len(sequence.cameras)


def at_once_ms(processes: int, rounds: int) -> float:
    """The time that passes for a picture when so many processes draw the data set, in the fastest round."""
    sequences = range(SIZES["demo"].sequences)
    times = []
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn"), initializer=start_process) as pool:
        list(pool.map(draw_sequence, range(processes)))  # the processes start, and make what they keep
        for _ in range(rounds):
            start = time.perf_counter()
            count = sum(pool.map(draw_sequence, sequences))
            times.append((time.perf_counter() - start) / count)
    return 1000 * min(times)


def posed_hand(width: int, height: int, long_px: int) -> Hand:
    """An open hand in the middle of a picture, half a metre away, its longer side of so many pixels."""
    model = load_synthetic_hand()
    turns = random_poses(model, 1, np.random.default_rng(3)).float()
    turns[:, 0] = axis_angle_to_matrix(torch.tensor([1.3, 0.2, 0.3]))
    posed = HandLayer(model)(turns, torch.zeros(1, 10))
    middle = posed.verts[0].mean(0) - torch.tensor([0, 0, 0.5])
    verts, joints = (points[0] - middle for points in (posed.verts, posed.joints))
    seen = verts[:, :2] / verts[:, 2:]
    most, least = seen.max(0).values, seen.min(0).values
    focal = long_px / float((most - least).max())
    cx, cy = (torch.tensor([width, height]) / 2 - focal * (most + least) / 2).tolist()
    camera = torch.tensor([[focal, 0, cx], [0, focal, cy], [0, 0, 1]], dtype=torch.float64)
    joints_px = project(joints.double(), camera).float()
    left, top = joints_px.min(0).values.tolist()
    right, bottom = joints_px.max(0).values.tolist()
    return Hand(
        side="right",
        score=1.0,
        box=(left, top, right - left, bottom - top),
        joints=joints.numpy(),
        joints_px=joints_px.numpy(),
        verts=verts.numpy(),
        faces=model.faces.numpy(),
        intrinsics=camera.numpy(),
        intrinsics_from="given",
        depth_from="given",
    )


def measure_overlays(csv_path: Path, rounds: int) -> None:
    """What drawing a hand over a picture takes, and copying the picture, which is a part of it."""
    rows = []
    for width, height, long_px in OVERLAYS:
        image = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
        draw = partial(hmr.draw, image, [posed_hand(width, height, long_px)])
        cost, copied = (1000 * fastest_s(work, rounds) for work in (draw, image.copy))
        row = {"picture": f"{width}x{height}", "hand_px": long_px, "ms": f"{cost:.1f}", "copy_ms": f"{copied:.1f}"}
        rows.append(row)
        print("  ".join(f"{value:>12}" for value in row.values()))
    write_rows(csv_path, rows)


@click.command(help=__doc__)
@click.option("--csv", "csv_path", type=click.Path(path_type=Path))
@click.option("--rounds", default=7, show_default=True)
@click.option("--overlays", is_flag=True, help="hands over photos and video frames instead")
def main(csv_path: Path | None, rounds: int, overlays: bool) -> None:
    """Measure and write."""
    start_process()
    if overlays:
        measure_overlays(csv_path or REPOSITORY / "results/overlay.csv", rounds)
    else:
        measure_pictures(csv_path or REPOSITORY / "results/render.csv", rounds)


def measure_pictures(csv_path: Path, rounds: int) -> None:
    """What a picture of the synthetic data set takes, by step."""
    model = load_synthetic_hand()
    ms = dict.fromkeys(("desk", "hands", "rendering", "png"), 0.0)
    size = 0
    per_moment = 1000 / len(SEQUENCES) / len(MOMENTS) / len(CAMERAS)
    for number in SEQUENCES:
        sequence = make_sequence(number, 0, Spread())
        prepare = partial(new_painter, model, sequence)
        ms["desk"] += 1000 * fastest_s(prepare, rounds) / len(SEQUENCES) / (FRAMES * len(CAMERAS))
        painter = prepare()
        for index in MOMENTS:
            make = partial(make_moment, model, sequence, index, FRAMES, 0, Spread())
            show = partial(new_scene, painter, make())
            ms["hands"] += per_moment * fastest_s(make, rounds)
            ms["rendering"] += per_moment * fastest_s(show, rounds)
            for camera in sequence.cameras:
                paint = partial(picture, painter, show(), camera)
                encode = partial(cv2.imencode, ".png", paint()[..., ::-1], PNG_PARAMETERS)
                ms["rendering"] += per_moment * fastest_s(paint, rounds)
                ms["png"] += per_moment * fastest_s(encode, rounds)
                size += len(encode()[1])
    count = len(SEQUENCES) * len(MOMENTS) * len(CAMERAS)
    steps = [*ms.items(), ("all but png", sum(ms.values()) - ms["png"]), ("all", sum(ms.values()))]
    costs = [(step, 1, cost) for step, cost in steps]
    costs += [("sequences but png", n, at_once_ms(n, rounds)) for n in (1, 2)]
    rows = [
        {"step": step, "processes": n, "ms_per_picture": f"{cost:.2f}", "pictures_per_s": f"{1000 / cost:.1f}"}
        for step, n, cost in costs
    ]
    for row in rows:
        print("  ".join(f"{value:>17}" for value in row.values()))
    print(f"{size / count / 1000:.0f} kB of PNG a picture")
    write_rows(csv_path, rows)


if __name__ == "__main__":
    main()

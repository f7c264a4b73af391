"""Milliseconds that hands of photos and videos cost, by step: writes results/photos_speed.csv.

Run: python tools/bench_photos.py [--csv results/photos_speed.csv] [--threads 1]. It needs `hmr mediapipe fetch`.

The pictures are synthetic views: what a step costs does not depend on what a hand looks like. Every step is repeated,
the steps taking turns, and the fastest round counts, in the time that passes. Rows with several hands are
milliseconds a hand. "ratio" is to the palm network of the same run: compare ratios, not milliseconds of two machines.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import click
import cv2
import numpy as np
import torch
from numpy import ndarray
from provenance import REPOSITORY, write_rows

import hmr_core as hmr
from hmr_core.data.synthetic.picture import Painter
from hmr_core.data.synthetic.scene import Spread, make_moment, make_sequence
from hmr_core.data.synthetic.sizes import SIZES
from hmr_core.geometry.camera import project
from hmr_core.hand.fit.image_and_joints import ImageFitter
from hmr_core.hand.fit.lm import fit_hands
from hmr_core.hand.hand import Hand
from hmr_core.hand.layer import HandLayer
from hmr_core.hand.synthetic import load_synthetic_hand
from hmr_core.inference.plugin_predictor import PluginPredictor
from hmr_core.inference.predictor import Predictor
from hmr_core.inference.request import PhotoRequest
from hmr_mediapipe.networks import HAND_SIZE, PALM_SIZE, load_networks

BATCHES = (1, 8, 64)
LARGE_PX, PHOTO_PX = 1600, (2000, 1500)
"""A hand that fills so much of a photo of this size."""

FRAMES = 40
"""Of the video: a view that is moved to and fro, so that the hand is followed and not lost."""

REQUEST = PhotoRequest()


def synthetic_view() -> ndarray:
    """A view of the synthetic data set, RGB, 848x480: a hand that holds nothing yet."""
    model, spread = load_synthetic_hand(), Spread()
    sequence = make_sequence(1, 0, spread)
    painter = Painter(model, sequence, np.random.default_rng(1))
    moment = make_moment(model, sequence, 3, SIZES["demo"].frames, 0, spread)
    scene = painter.scene(moment, np.random.default_rng(0))
    picture: ndarray = painter.paint(scene, sequence.cameras[0], np.random.default_rng(1))
    return picture


def moved(image: ndarray, frame: int) -> ndarray:
    """The view some pixels to the side and below."""
    turn = 2 * np.pi * frame / FRAMES
    shift = np.array([[1, 0, 25 * np.sin(turn)], [0, 1, 12 * np.sin(2 * turn)]])
    return cv2.warpAffine(image, shift, image.shape[1::-1], borderMode=cv2.BORDER_REPLICATE)


def fastest_ms(steps: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """The fastest of some rounds of each step, the steps taking turns; milliseconds."""
    best = dict.fromkeys(steps, float("inf"))
    for _ in range(rounds + 1):  # one to warm up
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            best[name] = min(best[name], 1000 * (time.perf_counter() - start))
    return best


def large_hand(hand: Hand) -> tuple[ndarray, Hand]:
    """A photo with a hand that fills most of it, and that hand."""
    width, height = PHOTO_PX
    scale = LARGE_PX / max(hand.box[2:])
    x, y, w, h = hand.box
    camera = np.array(
        [[scale, 0, width / 2 - scale * (x + w / 2)], [0, scale, height / 2 - scale * (y + h / 2)], [0, 0, 1]]
    )
    intrinsics = camera @ hand.intrinsics
    return np.full((height, width, 3), 128, np.uint8), replace(hand, intrinsics=intrinsics)


def hands_of(layer: HandLayer, count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Points of pictures, joints in space and cameras of bent hands, with noise as networks have it."""
    generator = torch.Generator().manual_seed(0)
    rotations = 0.3 * torch.randn(count, 16, 3, generator=generator)
    joints = layer(rotations, torch.zeros(count, 10)).joints
    place = torch.tensor([0.0, 0.0, 0.5]) + 0.05 * torch.randn(count, 1, 3, generator=generator)
    intrinsics = torch.tensor([[600.0, 0, 320], [0, 600, 240], [0, 0, 1]]).expand(count, 3, 3)
    points = project((joints + place).double(), intrinsics.double()).float()
    return (
        points + 2 * torch.randn(count, 21, 2, generator=generator),
        joints + 0.008 * torch.randn(count, 21, 3, generator=generator),
        intrinsics,
    )


def video(predictor: Predictor, image: ndarray) -> Callable[[], None]:
    """Follow the hand through the frames of a video."""
    frames = [moved(image, frame) for frame in range(FRAMES)]

    def follow() -> None:
        tracker, seen = hmr.Tracker(predictor, hands=1), 0
        for frame, picture in enumerate(frames):
            seen += len(tracker.step(picture, frame / 30))
        assert seen == FRAMES, f"the hand was seen in {seen} of {FRAMES} frames"

    return follow


@click.command()
@click.option("--csv", "csv_path", type=click.Path(path_type=Path), default=REPOSITORY / "results/photos_speed.csv")
@click.option("--rounds", default=12, show_default=True)
@click.option("--threads", default=1, show_default=True)
def main(csv_path: Path, rounds: int, threads: int) -> None:
    """Measure all steps, and write them down."""
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    predictor = hmr.load("mediapipe", device="cpu")
    assert isinstance(predictor, PluginPredictor)
    image = synthetic_view()
    hands = predictor(image)
    assert hands, "no hand was found in the synthetic view"
    networks, layer = load_networks(False, torch.device("cpu")), predictor.layer
    fitter = ImageFitter(layer)
    palm_input = torch.rand(1, PALM_SIZE, PALM_SIZE, 3)
    photo, large = large_hand(hands[0])
    sought, camera = predictor.detect(image), hands[0].intrinsics
    steps: dict[str, tuple[int, Callable[[], object]]] = {
        "palm network": (1, lambda: networks.palm(palm_input)),
        "detect (palm network, hand network, boxes)": (1, lambda: predictor.detect(image)),
        "photo with one hand, without drawing": (1, lambda: predictor(image)),
        "draw it (848x480)": (1, lambda: hmr.draw(image, hands)),
        f"draw a hand of {LARGE_PX} px": (1, lambda: hmr.draw(photo, [large])),
        f"tracked video, {FRAMES} frames": (FRAMES, video(predictor, image)),
    }
    for count in BATCHES:
        crops = torch.rand(count, HAND_SIZE, HAND_SIZE, 3)
        points, joints, cameras = hands_of(layer, count)
        several: dict[str, Callable[[], object]] = {
            "hand network": partial(networks.hand, crops),
            "fit of joints alone": partial(fit_hands, layer, joints),
            "fit of image and joints": partial(fitter, points, joints, cameras),
            "fit of what was detected": partial(predictor.look, image, camera, [sought[0]] * count, REQUEST),
        }
        steps |= {f"{name}, {count}": (count, step) for name, step in several.items()}
    best = fastest_ms({name: step for name, (_, step) in steps.items()}, rounds)
    rows: list[dict[str, Any]] = []
    for name, (count, _) in steps.items():
        ms = best[name] / count
        row = {
            "step": name,
            "ms": f"{ms:.2f}",
            "per_second": f"{1000 / ms:.1f}",
            "ratio": f"{ms / best['palm network']:.2f}",
        }
        rows.append({**row, "threads": threads, "data": "synthetic"})
        print("  ".join(f"{value:>42}" for value in rows[-1].values()))
    write_rows(csv_path, rows)


if __name__ == "__main__":
    main()

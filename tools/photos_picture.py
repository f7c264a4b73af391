"""Make docs/photos.png: what `hmr predict mediapipe` draws over views of the synthetic data set, beside the views.

Run: python tools/photos_picture.py docs/photos.png. It needs `hmr mediapipe fetch`. The views are those of `hmr synth`
with seed 0; the networks know nothing of them but the picture.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy import ndarray

import hmr_core as hmr
from hmr_core.data.synthetic.picture import Painter
from hmr_core.data.synthetic.scene import Spread, make_moment, make_sequence
from hmr_core.data.synthetic.sizes import SIZES
from hmr_core.hand.synthetic import load_synthetic_hand
from hmr_core.pictures import encode

TILE_PX, GAP_PX = 240, 4
ROUND = 1.7
"""The side of the part of a view that is shown, by its hand's box."""


class View(NamedTuple):
    """A view of the synthetic data set: sequence, moment and camera by their numbers."""

    sequence: int
    moment: int
    camera: int


VIEWS = (View(0, 9, 3), View(1, 3, 3), View(3, 9, 2), View(7, 9, 2))


def painted(view: View) -> ndarray:
    """The view's picture, RGB."""
    model, spread = load_synthetic_hand(), Spread()
    sequence = make_sequence(view.sequence, 0, spread)
    painter = Painter(model, sequence, np.random.default_rng(view.sequence))
    moment = make_moment(model, sequence, view.moment, SIZES["demo"].frames, 0, spread)
    scene = painter.scene(moment, np.random.default_rng(0))
    picture: ndarray = painter.paint(scene, sequence.cameras[view.camera], np.random.default_rng(1))
    return picture


def tile(image: ndarray, box: tuple[float, float, float, float]) -> ndarray:
    """A square about a box."""
    x, y, width, height = box
    side = ROUND * max(width, height)
    scale = TILE_PX / side
    move = np.array([[scale, 0, -scale * (x + width / 2 - side / 2)], [0, scale, -scale * (y + height / 2 - side / 2)]])
    return cv2.warpAffine(image, move, (TILE_PX, TILE_PX), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE)


parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("out", type=Path)
out: Path = parser.parse_args().out

predictor = hmr.load("mediapipe", device="cpu")
columns = []
for view in VIEWS:
    image = painted(view)
    hands = predictor(image)
    if not hands:
        raise SystemExit(f"no hand was found in {view}")
    drawn = hmr.draw(image, hands)
    pair = [tile(image, hands[0].box), np.full((GAP_PX, TILE_PX, 3), 255, np.uint8), tile(drawn, hands[0].box)]
    columns += [np.concatenate(pair), np.full((2 * TILE_PX + GAP_PX, GAP_PX, 3), 255, np.uint8)]
    print(view, [(hand.side, round(hand.score, 2)) for hand in hands])
sheet = np.concatenate(columns[:-1], axis=1)
encoded = encode(".png", sheet, (cv2.IMWRITE_PNG_COMPRESSION, 9))
out.write_bytes(encoded)
print(f"{out}: {sheet.shape[1]}x{sheet.shape[0]}, {len(encoded) / 1000:.0f} kB")

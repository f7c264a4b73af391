"""The pictures and annotations of some frames of a synthetic data set, as files of a release tree."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch

from hmr_core.data.synthetic import pickles
from hmr_core.data.synthetic.picture import Painter
from hmr_core.data.synthetic.scene import (
    FOR_PICTURE,
    FOR_ROOM,
    Camera,
    Moment,
    SceneHand,
    Sequence,
    Spread,
    frame_number,
    make_moment,
    to_camera,
)
from hmr_core.data.synthetic.sizes import CAMERAS
from hmr_core.hand.synthetic import load_synthetic_hand
from hmr_core.pictures import encode

ARRAYS = ("cam_intr", "hand_j", "hand_v", "obj_transf", "general_info")

PNG_PARAMETERS: tuple[int, ...] = (cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_HUFFMAN_ONLY)
"""No search for runs, of which noise leaves none, and the filter that is quickest to write and to read."""
if hasattr(cv2, "IMWRITE_PNG_FILTER"):  # since OpenCV 4.12; naming it drops OpenCV's own level, its lowest
    PNG_PARAMETERS += (cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP, cv2.IMWRITE_PNG_COMPRESSION, 1)


@dataclass(frozen=True)
class Frames:
    """Frames first to last, this not included, of a sequence of so many; folder: the tree's."""

    folder: Path
    sequence: Sequence
    first: int
    last: int
    frames: int
    seed: int
    spread: Spread


def write_frames(task: Frames, wanted: Callable[[], bool] = lambda: True) -> int:
    """Write the files of some frames; the number of images.

    wanted: asked before each frame whether to go on. Raises HmrError when OpenCV cannot encode an image, OSError when a
    file cannot be written.
    """
    model = load_synthetic_hand()
    sequence = task.sequence
    painter = Painter(model, sequence, np.random.default_rng([task.seed, FOR_ROOM, sequence.number]))
    written = 0
    for index in range(task.first, task.last):
        if not wanted():
            break
        moment = make_moment(model, sequence, index, task.frames, task.seed, task.spread)
        scene = painter.scene(moment, np.random.default_rng([task.seed, FOR_PICTURE, sequence.number, index]))
        for which, camera in enumerate(sequence.cameras):
            generator = np.random.default_rng([task.seed, FOR_PICTURE, sequence.number, index, which])
            image = painter.paint(scene, camera, generator)
            name = f"{CAMERAS[which]}_color_{frame_number(index)}.png"
            frame = task.folder / "image" / "stream_release_v2" / sequence.name / sequence.time / name
            frame.write_bytes(encode(".png", image, PNG_PARAMETERS))
            for flag, hand in enumerate(moment.hands):
                stem = f"{sequence.name}__{sequence.time}__{flag}__{frame_number(index)}__{which}"
                _write_annotations(task.folder / "image" / "anno", stem, hand, moment, camera)
            written += 1
    return written


def _write_annotations(anno: Path, stem: str, hand: SceneHand, moment: Moment, camera: Camera) -> None:
    """The five pickles of a sample. hand_j, hand_v and obj_transf are in camera space, general_info in world space."""
    object_pose = camera.extrinsics.astype(np.float64) @ moment.object_pose.astype(np.float64)
    contents = {
        "cam_intr": camera.intrinsics,
        "hand_j": to_camera(camera, hand.joints_m).astype(np.float32),
        "hand_v": to_camera(camera, hand.verts_m).astype(np.float32),
        "obj_transf": object_pose.astype(np.float32),
        "general_info": {
            "hand_anno": {
                "hand_tsl": torch.from_numpy(hand.translation_m),
                "hand_shape": torch.from_numpy(hand.subject.betas),
                "hand_pose": torch.from_numpy(hand.quaternions),
            },
            "cam_extr": torch.from_numpy(camera.extrinsics),
            "cam_intr": torch.from_numpy(camera.intrinsics),
            "obj_anno": torch.from_numpy(moment.object_pose),
        },
    }
    for name, content in contents.items():
        (anno / name / f"{stem}.pkl").write_bytes(pickles.dump(content))

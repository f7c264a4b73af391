"""hands.jsonl: a line for each frame of a video, written as the frames are done."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from hmr_core.errors import HmrError
from hmr_core.inference.predictor import Predictor
from hmr_core.inference.video.steady import pose, size_of
from hmr_core.inference.video.tracker import SettledFrame, TrackedHand


def frame_line(frame: SettledFrame) -> str:
    """The line of a frame: `frame`, `time_s`, and its `hands`, each with the keys of hands.json and `track`."""
    values = {"frame": frame.index, "time_s": frame.time_s, "hands": [hand.as_json() for hand in frame.hands]}
    return json.dumps(values) + "\n"


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The frames of a file of lines, one at a time; HmrError, naming the line, for what is none."""
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                values = json.loads(line)
                whole = line.endswith(b"\n") and values["frame"] == number - 1 and isinstance(values["hands"], list)
            except (ValueError, KeyError, TypeError):
                whole = False
            if not whole:
                raise HmrError(f"{path}: line {number} is not that of frame {number - 1}. The file is damaged.")
            yield values


def line_array(hand: dict[str, Any], name: str) -> Float32[ndarray, "..."] | None:
    """An array of a hand of a line, as float32; None where it has none."""
    return None if hand.get(name) is None else np.array(hand[name], np.float32)


def hands_of_line(line: dict[str, Any], predictor: Predictor) -> list[TrackedHand]:
    """The hands of a line, with their meshes: as the hand model has them for their rotations, betas and joints."""
    return [_hand(values, predictor) for values in line["hands"]]


def _hand(values: dict[str, Any], predictor: Predictor) -> TrackedHand:
    side = values["side"]
    joints, rotations, betas = (line_array(values, name) for name in ("joints", "rotations", "betas"))
    assert joints is not None
    verts = line_array(values, "verts")
    if rotations is not None and betas is not None:
        posed = pose(predictor.layer, side, rotations, betas)
        scale = size_of(joints) / size_of(posed.joints)
        verts = np.asarray(scale * posed.verts + (joints - scale * posed.joints).mean(0), np.float32)
    return TrackedHand(
        track=values["track"],
        side=side,
        score=values["score"],
        box=tuple(values["box"]),
        joints=joints,
        joints_px=np.array(values["joints_px"], np.float32),
        verts=verts,
        faces=None if verts is None else predictor.faces(side),
        rotations=rotations,
        betas=betas,
        confidence=line_array(values, "confidence"),
        intrinsics=np.array(values["intrinsics"], np.float64),
        intrinsics_from=values["intrinsics_from"],
        depth_from=values["depth_from"],
        remarks=tuple(values["remarks"]),
    )

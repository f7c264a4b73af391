"""Makes the hand of a track steady: of one shape and size, and smooth in time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float32, Float64
from numpy import ndarray

from hmr_core.geometry.mirror import mirror_points, mirror_rotations
from hmr_core.hand.joints import SIDES
from hmr_core.hand.layer import HandLayer
from hmr_core.inference.depth import REACH, bone_lengths, hand_size
from hmr_core.inference.video.one_euro import PointFilter, RotationFilter
from hmr_core.inference.video.smoothing import Smoothing
from hmr_core.plugins.photo_hands import FoundHand

PALM = [0, 5, 9, 13, 17]
"""The wrist and the knuckles: their middle is a hand's place, which the fingers do not move."""

AFRESH_S = 0.5
"""After a gap that is longer, a filter begins anew: what was before says nothing of what is."""

_NEAREST_M = 0.01


def size_of(joints: Float[ndarray, "21 3"]) -> float:
    """A hand's size in metres: from the wrist along the bones to the middle fingertip."""
    chain = joints[[0, *REACH]].astype(np.float64)
    return float(np.linalg.norm(np.diff(chain, axis=0), axis=1).sum())


def place_of(joints: Float[ndarray, "21 3"]) -> Float64[ndarray, "3"]:
    """A hand's place: the middle of its palm, metres, camera space, in front of the camera."""
    place: ndarray = joints[PALM].astype(np.float64).mean(0)
    place[2] = max(place[2], _NEAREST_M)
    return place


class PosedHand(NamedTuple):
    """A hand of a side as the hand model has it, with its palm at the origin; metres."""

    joints: Float64[ndarray, "21 3"]
    verts: Float64[ndarray, "778 3"]


def pose(
    layer: HandLayer, side: str, rotations: Float[ndarray, "16 3"], betas: Float[ndarray, "10"], scale: float = 1.0
) -> PosedHand:
    """Pose a hand of a side by the layer of a right hand. scale: how many times as large as the model's it is."""
    left = side != SIDES[0]
    turns = torch.from_numpy(rotations).float()
    with torch.no_grad():
        posed = layer((mirror_rotations(turns) if left else turns)[None], torch.from_numpy(betas).float()[None])
        joints, verts = posed.joints[0], posed.verts[0]
        if left:
            joints, verts = mirror_points(joints), mirror_points(verts)
    points = joints.double().numpy() * scale, verts.double().numpy() * scale
    palm = points[0][PALM].mean(0)
    return PosedHand(points[0] - palm, points[1] - palm)


class SteadyHand:
    """Makes one track's hands steady, frame by frame.

    layer: of a right hand. smoothing: None for none. size_m: that all hands are to have; None: as their shape has it.
    """

    def __init__(self, layer: HandLayer, smoothing: Smoothing | None, size_m: float | None) -> None:
        self.layer, self.smoothing, self.size_m = layer, smoothing, size_m
        self.time_s: float | None = None
        self._begin()

    def step(self, found: FoundHand, betas: Float[ndarray, "10"] | None, time_s: float) -> FoundHand:
        """A hand that was found, with the track's shape, smoothed by the frames before it.

        Mesh and joints are the hand model's own, posed by the filtered rotations. A hand of another size is put where
        it looks as large: its depth changes as its size does. A hand without rotations has its points filtered, and
        keeps its shape.
        """
        gap = None if self.time_s is None else time_s - self.time_s
        if gap is not None and not 0 < gap <= AFRESH_S:
            self._begin()
        self.time_s, dt = time_s, gap or 1.0
        if found.rotations is None or betas is None:
            return self._points(found, dt)
        turns = found.rotations.astype(np.float64)
        if self.smoothing is not None:
            turns = self.rotations.step(turns, dt)
        shape = betas.astype(np.float32)
        posed = pose(self.layer, found.side, turns, shape, self._scale(shape))
        size = size_of(posed.joints)
        place = self._place(place_of(found.joints) * (size / size_of(found.joints)), size, dt)
        return replace(
            found,
            joints=_float32(posed.joints + place),
            verts=_float32(posed.verts + place),
            rotations=_float32(turns),
            betas=shape,
        )

    def state(self) -> dict[str, Any]:
        """What it goes on from."""
        return {"time_s": self.time_s, **{name: part.state() for name, part in self._filters().items()}}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self.time_s = state["time_s"]
        for name, part in self._filters().items():
            part.restore(state[name])

    def _begin(self) -> None:
        cutoffs = self.smoothing or Smoothing()
        self.rotations = RotationFilter(cutoffs.rotation)
        self.ray, self.depth = PointFilter(cutoffs.place), PointFilter(cutoffs.depth)
        self.joints, self.verts = PointFilter(cutoffs.place), PointFilter(cutoffs.place)

    def _filters(self) -> dict[str, PointFilter | RotationFilter]:
        names = ("rotations", "ray", "depth", "joints", "verts")
        return {name: getattr(self, name) for name in names}

    def _scale(self, betas: Float32[ndarray, "10"]) -> float:
        if self.size_m is None:
            return 1.0
        return self.size_m / float(hand_size(bone_lengths(self.layer, torch.from_numpy(betas)[None])))

    def _place(self, place: Float64[ndarray, "3"], size: float, dt: float) -> Float64[ndarray, "3"]:
        """The place, filtered across the picture and in depth apart: a picture tells depth much worse."""
        if self.smoothing is None:
            return place
        depth = np.exp(self.depth.step(np.log(place[None, 2:]), dt))
        ray = self.ray.step(place[None, :2] / place[2], dt, unit=size / place[2])
        return np.concatenate([ray[0] * depth[0], depth[0]])

    def _points(self, found: FoundHand, dt: float) -> FoundHand:
        """A hand of which there are points alone, filtered about its palm."""
        place, size = place_of(found.joints), size_of(found.joints)
        scale = 1.0 if self.size_m is None else self.size_m / size
        palm = found.joints[PALM].astype(np.float64).mean(0)
        to = self._place(place * scale, size * scale, dt)

        def moved(part: PointFilter, points: ndarray) -> Float32[ndarray, "n 3"]:
            about = (points.astype(np.float64) - palm) * scale
            return _float32(to + (about if self.smoothing is None else part.step(about, dt, unit=size * scale)))

        verts = None if found.verts is None else moved(self.verts, found.verts)
        return replace(found, joints=moved(self.joints, found.joints), verts=verts)


def _float32(array: ndarray) -> Float32[ndarray, "..."]:
    return np.asarray(array, np.float32)

"""Follows the hands of a video from frame to frame: which hand is which, of which side, of which shape.

A hand that was seen in the frame before is sought near where it was, moved on at its speed. The detector looks for
others: on every frame while no hand is followed, at once when one was lost, and else on every DETECT_EVERY-th frame as
long as fewer hands are followed than are wanted. A model sees a hand wherever it looks, so it cannot tell that a hand
has gone: for it the detector looks at every frame.

What is found is assigned to the tracks by where they should be and by side, not by order. So two hands that cross keep
their numbers. Of two tracks that fall on one hand, the better fitting one keeps it, and the other is lost. A lost hand
has its number again when a hand of its side comes back within MEMORY_S seconds, near where it was last seen or would be
now. Else it gets the next number.

A track's side is that of most of its first SETTLE_FRAMES frames, and then stays. Its shape is the median of theirs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float64, UInt8
from numpy import ndarray

from hmr_core.geometry.camera import project
from hmr_core.hand.joints import SIDES
from hmr_core.inference.boxes import overlap_of_boxes
from hmr_core.inference.camera import PhotoCamera
from hmr_core.inference.predictor import Predictor, box_around
from hmr_core.inference.request import PhotoRequest
from hmr_core.inference.video.matching import cheapest_pairs
from hmr_core.inference.video.steady import place_of, size_of
from hmr_core.plugins.photo_hands import HAND, JOINTS, Box, Detection, FoundHand, InBox, SeenBefore, Sought

DETECT_EVERY = 5
SETTLE_FRAMES = 8
MEMORY_S = 2.0

REACH = 1.5
"""How far from its expected place a hand may be, in hand lengths, to be the one that was followed there."""

AWAY_REACH, FARTHEST = 2.0, 4.0
"""How much farther a lost hand may be for each second, and how far at most."""

COASTING_S = 0.5
"""So long a hand is taken to go on at the speed it had."""

OTHER_SIDE = 0.75
"""What another side costs, in hand lengths."""

SAME_HAND = 0.2
"""Two hands are one if their joints are nearer to each other, on the average, in hand lengths."""

SAME_BOX = 0.5
"""A detection is of a hand that is followed if their boxes' intersection is a larger share of their union."""

_SPEED_MEMORY_S = 0.04
"""Over about so long a speed is taken: two frames that come one upon another say little of it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Sighting:
    """A hand of a frame, and what is known of its track so far: number, side, shape, since which frame it is seen."""

    track: int
    side: str
    first: int
    betas: Float[ndarray, "10"] | None
    found: FoundHand


@dataclass(kw_only=True, eq=False)
class Track:
    """A hand that is followed.

    votes: for each side, the scores of the frames that saw it so. first, last: the frames in which it was seen first
    and last. time_s: of the last. place, speed: of the palm, pixels and pixels a second. size: pixels. shapes: of the
    first frames. betas: the shape; None where it is not known yet, or there is none.
    """

    number: int
    side: str
    votes: dict[str, float]
    first: int
    last: int
    time_s: float
    found: FoundHand
    place: Float64[ndarray, "2"]
    size: float
    speed: Float64[ndarray, "2"] = field(default_factory=lambda: np.zeros(2))
    shapes: list[ndarray] = field(default_factory=list)
    betas: ndarray | None = None

    def expected(self, time_s: float) -> Float64[ndarray, "2"]:
        """Where it should be at a time, pixels."""
        return self.place + self.speed * min(time_s - self.time_s, COASTING_S)

    def shape(self) -> ndarray | None:
        """Its shape, as far as it is known."""
        if self.betas is not None or not self.shapes:
            return self.betas
        return np.asarray(np.median(self.shapes, axis=0), np.float32)


class Follower:
    """Follows the hands of one video.

    camera: of all its frames. request: its boxes, where they are given, are where hands are looked for, in place of the
    detector; its side, where it is given, that of all hands. hands: how many are followed at most.
    """

    def __init__(self, predictor: Predictor, camera: PhotoCamera, request: PhotoRequest, *, hands: int) -> None:
        self.predictor, self.camera, self.request, self.hands = predictor, camera, request, hands
        self.tracks: list[Track] = []
        self.frame = 0
        self.detected = -DETECT_EVERY
        self.numbers = 0

    def step(self, image: UInt8[ndarray, "height width 3"], time_s: float) -> list[Sighting]:
        """The hands of the next frame, by their tracks' numbers."""
        before = [track for track in self.tracks if track.last == self.frame - 1]
        seen: dict[int, FoundHand] = {}
        if self.predictor.follows and before:
            self._assign(self._again(image, before, time_s), before, seen, image, time_s)
        if self._detector_is_due(len(before), len(seen)):
            self.detected = self.frame
            left = self._new(image, list(seen.values()))
            older = [track for track in self.tracks if track not in before]
            left = self._assign(left, [track for track in before if track.number not in seen], seen, image, time_s)
            left = self._assign(left[: self.hands - len(seen)], older, seen, image, time_s)
            for hand in left[: self.hands - len(seen)]:
                self._begin(hand, seen, image, time_s)
        self.tracks = [track for track in self.tracks if time_s - track.time_s <= MEMORY_S]
        sightings = [
            Sighting(track=t.number, side=t.side, first=t.first, betas=t.shape(), found=seen[t.number])
            for t in self.tracks
            if t.number in seen
        ]
        self.frame += 1
        return sightings

    def state(self) -> dict[str, Any]:
        """What it goes on from."""
        tracks = [{part.name: getattr(track, part.name) for part in fields(track)} for track in self.tracks]
        return {"tracks": tracks, **{name: getattr(self, name) for name in ("frame", "detected", "numbers")}}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self.tracks = [Track(**values) for values in state["tracks"]]
        self.frame, self.detected, self.numbers = state["frame"], state["detected"], state["numbers"]

    def _detector_is_due(self, before: int, seen: int) -> bool:
        if not self.predictor.follows or not seen:
            return True
        return seen < self.hands and (seen < before or self.frame - self.detected >= DETECT_EVERY)

    def _look(self, image: ndarray, sought: Sequence[Sought]) -> list[FoundHand | None]:
        return self.predictor.look(image, self.camera.intrinsics, sought, self.request) if sought else []

    def _again(self, image: ndarray, tracks: Sequence[Track], time_s: float) -> list[FoundHand]:
        """The hands that are found near where those of tracks should be."""
        found = []
        looked = self._look(image, [self._near(track, time_s) for track in tracks])
        for track, hand in zip(tracks, looked, strict=True):
            if hand is not None:
                found.append((_length(self._pixels(hand) - track.expected(time_s)) / track.size, hand))
        return _without_doubles([hand for _, hand in sorted(found, key=lambda one: one[0])])

    def _near(self, track: Track, time_s: float) -> SeenBefore:
        """A hand that is sought where its speed takes it."""
        hand = track.found
        focal = self.camera.intrinsics[[0, 1], [0, 1]]
        shift = np.append((track.expected(time_s) - track.place) / focal, 0) * place_of(hand.joints)[2]
        moved = {
            name: (points + shift).astype(np.float32)
            for name in ("joints", "verts")
            if (points := getattr(hand, name)) is not None
        }
        return SeenBefore(hand=replace(hand, **moved), betas=track.betas)

    def _new(self, image: ndarray, seen: Sequence[FoundHand]) -> list[FoundHand]:
        """The hands that the detector sees and that are none of those seen already, the surest first."""
        height, width = image.shape[:2]
        places: Sequence[InBox | Detection] | None = self.request.sought(width, height)
        if places is None:
            places = self.predictor.find(image, self.request)
        boxes = [self._box(hand) for hand in seen]
        places = [place for place in places if all(overlap_of_boxes(place.box, box) <= SAME_BOX for box in boxes)]
        found = [hand for hand in self._look(image, places) if hand is not None]
        found = [hand for hand in found if not any(_apart(hand, other) < SAME_HAND for other in seen)]
        return _without_doubles(sorted(found, key=lambda hand: -hand.score))

    def _assign(
        self,
        found: Sequence[FoundHand],
        tracks: Sequence[Track],
        seen: dict[int, FoundHand],
        image: ndarray,
        time_s: float,
    ) -> list[FoundHand]:
        """Give tracks the hands that were found, by number into `seen`; returns the hands that are of none."""
        costs = np.array([[self._cost(hand, track, time_s) for track in tracks] for hand in found])
        left = list(found)
        for i, j in cheapest_pairs(costs.reshape(len(found), len(tracks))):
            left.remove(found[i])
            hand = self._of_its_side(found[i], tracks[j], image)
            if hand is not None:
                self._go_on(tracks[j], hand, time_s)
                seen[tracks[j].number] = hand
        return left

    def _cost(self, hand: FoundHand, track: Track, time_s: float) -> float:
        """How badly a hand fits a track, in hand lengths; infinite where it cannot be that one."""
        place = self._pixels(hand)
        distance = _length(place - track.expected(time_s)) / track.size
        reach, other_side = REACH, 0.0 if hand.side == track.side else OTHER_SIDE
        if self.predictor.follows and self.detected == self.frame:  # it was not where it should be
            distance = min(distance, _length(place - track.place) / track.size)
        if track.last < self.frame - 1:  # it was lost
            distance = min(distance, _length(place - track.place) / track.size)
            reach = min(REACH + AWAY_REACH * (time_s - track.time_s), FARTHEST)
            other_side *= math.inf if other_side else 1
        size = abs(math.log(self._size(hand) / track.size))
        return distance + other_side + size if distance <= reach else math.inf

    def _begin(self, hand: FoundHand, seen: dict[int, FoundHand], image: ndarray, time_s: float) -> None:
        """A new track of a hand."""
        side = self.request.side or hand.side
        self.numbers += 1
        track = Track(
            number=self.numbers,
            side=side,
            votes=dict.fromkeys(SIDES, 0.0),
            first=self.frame,
            last=self.frame,
            time_s=time_s,
            found=hand,
            place=self._pixels(hand),
            size=self._size(hand),
        )
        of_side = self._of_its_side(hand, track, image)
        if of_side is None:
            self.numbers -= 1
            return
        self._go_on(track, of_side, time_s)
        self.tracks.append(track)
        seen[track.number] = of_side

    def _of_its_side(self, hand: FoundHand, track: Track, image: ndarray) -> FoundHand | None:
        """The hand as one of the track's side, looked at anew where it was taken for the other; None for no hand."""
        if self.frame - track.first < SETTLE_FRAMES and self.request.side is None:
            track.votes[hand.side] += hand.score
            other = SIDES[1 - SIDES.index(track.side)]
            if track.votes[other] > track.votes[track.side]:
                track.side, track.shapes = other, []
        if hand.side == track.side:
            return hand
        (again,) = self._look(image, [InBox(box=self._box(hand), box_of=_box_of(hand), side=track.side)])
        return again if again is not None and again.side == track.side else None

    def _go_on(self, track: Track, hand: FoundHand, time_s: float) -> None:
        """Note what a track's hand is like in this frame."""
        place, dt = self._pixels(hand), time_s - track.time_s
        if track.last == self.frame - 1 and dt > 0:
            track.speed = track.speed + dt / (dt + _SPEED_MEMORY_S) * ((place - track.place) / dt - track.speed)
        else:
            track.speed = np.zeros(2)
        track.found, track.place, track.size = hand, place, self._size(hand)
        track.last, track.time_s = self.frame, time_s
        if track.betas is None and hand.betas is not None:
            track.shapes.append(hand.betas)
        if self.frame - track.first >= SETTLE_FRAMES - 1:
            track.betas, track.shapes = track.shape(), []

    def _pixels(self, hand: FoundHand) -> Float64[ndarray, "2"]:
        """Where a hand's palm is in the picture."""
        pixels = self.camera.intrinsics @ place_of(hand.joints)
        return np.asarray(pixels[:2] / pixels[2])

    def _size(self, hand: FoundHand) -> float:
        """How long a hand would be in the picture if it were straight and faced the camera, pixels."""
        scale = float(self.camera.intrinsics[0, 0] / place_of(hand.joints)[2])
        return max(size_of(hand.joints) * scale, 1.0)

    def _box(self, hand: FoundHand) -> Box:
        outline = hand.joints if hand.verts is None else hand.verts
        return box_around(project(torch.from_numpy(outline).double(), torch.from_numpy(self.camera.intrinsics)).numpy())


def _box_of(hand: FoundHand) -> str:
    return JOINTS if hand.verts is None else HAND


def _without_doubles(found: Sequence[FoundHand]) -> list[FoundHand]:
    """The hands without those that are one with a hand before them."""
    kept: list[FoundHand] = []
    for hand in found:
        if all(_apart(hand, other) >= SAME_HAND for other in kept):
            kept.append(hand)
    return kept


def _apart(hand: FoundHand, other: FoundHand) -> float:
    """How far the joints of two hands are apart as the camera sees them, on the average, in hand lengths."""
    size = size_of(other.joints) / place_of(other.joints)[2]
    rays = [each.joints[:, :2] / np.maximum(each.joints[:, 2:], 1e-3) for each in (hand, other)]
    return float(np.linalg.norm(rays[0] - rays[1], axis=1).mean() / size)


def _length(vector: ndarray) -> float:
    return float(np.linalg.norm(vector))

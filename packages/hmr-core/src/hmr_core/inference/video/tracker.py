"""From frames to hands that keep their numbers: what a live loop steps, and what files are written by."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from hmr_core.errors import UsageError
from hmr_core.hand.hand import Hand
from hmr_core.inference.camera import photo_camera
from hmr_core.inference.numbers import Number, Numbers
from hmr_core.inference.photo import Photo
from hmr_core.inference.predictor import Predictor, as_photo
from hmr_core.inference.request import PhotoRequest
from hmr_core.inference.video.following import Follower, Sighting
from hmr_core.inference.video.request import HANDS, VideoRequest
from hmr_core.inference.video.settling import SeenFrame, Settling
from hmr_core.inference.video.smoothing import Smoothing, smoothing_of
from hmr_core.inference.video.steady import SteadyHand


@dataclass(frozen=True, kw_only=True, eq=False)
class TrackedHand(Hand):
    """A hand of a frame of a video. track: its number, from 1, the same through the video."""

    track: int

    def __repr__(self) -> str:
        """The hand in one line."""
        return f"{self.track}: {super().__repr__()}"

    def as_json(self) -> dict[str, Any]:
        """What hands.jsonl has of it."""
        values = {"track": self.track, **super().as_json()}
        if self.rotations is None and self.verts is not None:  # nothing else tells the mesh
            values["verts"] = np.round(self.verts.astype(np.float64), 6).tolist()
        return values


class Tracker:
    """Follows the hands of a live picture: `step` it with each frame.

    predictor: of `hmr.load`. side: of all hands, where it is known. intrinsics or fov: of the camera, as a predictor
    takes them; else it is the assumed one. hand_size: millimetres. hands: how many are followed at most. smooth:
    whether to smooth, or how. Raises UsageError for what cannot be.
    """

    def __init__(
        self,
        predictor: Predictor,
        *,
        side: str | None = None,
        intrinsics: Numbers | None = None,
        fov: Number | None = None,
        hand_size: Number | None = None,
        hands: int = HANDS,
        smooth: bool | Smoothing = True,
    ) -> None:
        if not isinstance(predictor, Predictor):
            raise UsageError(f"a predictor as {type(predictor).__name__}; valid: what hmr.load gives.")
        photo = PhotoRequest(sides=side, intrinsics=intrinsics, fov=fov, hand_size=hand_size)
        self._predictor = predictor
        self._request = VideoRequest(photo=photo, hands=hands, smoothing=smoothing_of(smooth))
        self._work: VideoWork | None = None
        self._size, self._last = (0, 0), -math.inf

    def step(self, image: ndarray, time_s: float) -> list[TrackedHand]:
        """The hands of the next frame, by their tracks' numbers, at once.

        image: (height, width, 3), uint8, RGB, of the same size as those before. time_s: seconds, later than before.
        A hand's shape is that of its frames so far, and stays after the first eight.
        Raises UsageError for a time that is not later and for a picture of another size, HmrError as a predictor does.
        """
        photo = as_photo(image)
        size = photo.width, photo.height
        if self._work is None:
            self._work, self._size = VideoWork(self._predictor, photo, self._request), size
        if not time_s > self._last:
            raise UsageError(f"a frame at {time_s} s after one at {self._last} s; valid: later times, in seconds.")
        if size != self._size:
            raise UsageError(
                f"a frame of {size[0]}x{size[1]} pixels after frames of {self._size[0]}x{self._size[1]}; valid: frames "
                "of one size. Begin a new tracker for another size."
            )
        self._last = float(time_s)
        return self._work.now(photo.image, self._last)


class VideoWork:
    """What one video's hands are made by: followed, settled, made steady.

    first: its first frame, whose camera is that of all. seen: how many hands the last frame had.
    """

    def __init__(self, predictor: Predictor, first: Photo, request: VideoRequest) -> None:
        self.predictor, self.request, self.smoothing = predictor, request.photo, request.smoothing
        self.camera = photo_camera(first, intrinsics=self.request.intrinsics, fov=self.request.fov)
        self.follower = Follower(predictor, self.camera, self.request, hands=request.hands)
        self.settling = Settling()
        self.steady: dict[int, SteadyHand] = {}
        self.seen = 0

    def now(self, image: UInt8[ndarray, "height width 3"], time_s: float) -> list[TrackedHand]:
        """The hands of the next frame at once, with the shapes that their tracks have so far."""
        return self._hands(self.follower.step(image, time_s), time_s)

    def settled(self, image: UInt8[ndarray, "height width 3"], index: int, time_s: float) -> Iterator[SettledFrame]:
        """Take the next frame; gives the hands of the frames that are settled now, which may be earlier ones."""
        seen = SeenFrame(index, time_s, self.follower.step(image, time_s))
        self.seen = len(seen.sightings)
        yield from map(self._settled, self.settling.step(seen))

    def rest(self) -> Iterator[SettledFrame]:
        """The hands of the frames that are not settled yet, when no more frames come."""
        yield from map(self._settled, self.settling.rest())

    def state(self) -> dict[str, Any]:
        """What it goes on from."""
        steady = [[number, hand.state()] for number, hand in self.steady.items()]
        return {"follower": self.follower.state(), "settling": self.settling.state(), "steady": steady}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self.follower.restore(state["follower"])
        self.settling.restore(state["settling"])
        self.steady = {}
        for number, values in state["steady"]:
            self.steady[number] = self._new_steady()
            self.steady[number].restore(values)

    def _settled(self, frame: SeenFrame) -> SettledFrame:
        return SettledFrame(frame.number, frame.time_s, self._hands(frame.sightings, frame.time_s))

    def _hands(self, sightings: Sequence[Sighting], time_s: float) -> list[TrackedHand]:
        hands = []
        for sighting in sightings:
            if sighting.track not in self.steady:
                self.steady[sighting.track] = self._new_steady()
            found = self.steady[sighting.track].step(sighting.found, sighting.betas, time_s)
            hand = self.predictor.hand(found, self.camera, self.request, box=None)
            hands.append(
                TrackedHand(track=sighting.track, **{part.name: getattr(hand, part.name) for part in fields(hand)})
            )
        needed = {track.number for track in self.follower.tracks}
        needed |= {sighting.track for frame in self.settling.waiting for sighting in frame.sightings}
        self.steady = {number: steady for number, steady in self.steady.items() if number in needed}
        return hands

    def _new_steady(self) -> SteadyHand:
        size = self.request.hand_size
        return SteadyHand(self.predictor.layer, self.smoothing, None if size is None else float(size) / 1000)


@dataclass(frozen=True, eq=False)
class SettledFrame:
    """A frame's number, its time in seconds, and its hands."""

    index: int
    time_s: float
    hands: list[TrackedHand]

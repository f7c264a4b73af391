"""Holds the frames of a video back until the side and the shape of their hands are settled."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import fields
from typing import Any, NamedTuple

from hmr_core.inference.video.following import SETTLE_FRAMES, Sighting


class SeenFrame(NamedTuple):
    """A frame's number, its time in seconds, and the hands that were seen in it."""

    number: int
    time_s: float
    sightings: Sequence[Sighting]


class Settling:
    """Holds back each frame until each of its hands was first seen SETTLE_FRAMES frames ago, and so at most as many.

    Then a frame's hands have the shapes of their tracks as these are by now; a hand that was taken for one of the other
    side than its track turned out to be of is left out.
    """

    def __init__(self) -> None:
        self.waiting: deque[SeenFrame] = deque()
        self.tracks: dict[int, Sighting] = {}

    def step(self, frame: SeenFrame) -> Iterator[SeenFrame]:
        """Take the next frame; gives those that are settled now, in their order."""
        self.waiting.append(frame)
        self.tracks |= {sighting.track: sighting for sighting in frame.sightings}
        while self.waiting:
            newest = max((sighting.first for sighting in self.waiting[0].sightings), default=-SETTLE_FRAMES)
            if frame.number - newest < SETTLE_FRAMES - 1:
                return
            yield self._next()

    def rest(self) -> Iterator[SeenFrame]:
        """The frames that are held back still, when no more come."""
        while self.waiting:
            yield self._next()

    def state(self) -> dict[str, Any]:
        """What it goes on from."""
        waiting = [[*frame[:2], [_plain(sighting) for sighting in frame.sightings]] for frame in self.waiting]
        return {"waiting": waiting, "tracks": [_plain(sighting) for sighting in self.tracks.values()]}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self.waiting = deque(
            SeenFrame(number, time_s, [Sighting(**values) for values in sightings])
            for number, time_s, sightings in state["waiting"]
        )
        self.tracks = {values["track"]: Sighting(**values) for values in state["tracks"]}

    def _next(self) -> SeenFrame:
        frame = self.waiting.popleft()
        settled = []
        for sighting in frame.sightings:
            now = self.tracks[sighting.track]
            if sighting.found.side == now.side:
                settled.append(
                    Sighting(track=now.track, side=now.side, first=now.first, betas=now.betas, found=sighting.found)
                )
        waited_for = {sighting.track for other in self.waiting for sighting in other.sightings}
        self.tracks = {number: self.tracks[number] for number in self.tracks if number in waited_for}
        return frame._replace(sightings=settled)


def _plain(sighting: Sighting) -> dict[str, Any]:
    return {part.name: getattr(sighting, part.name) for part in fields(sighting)}

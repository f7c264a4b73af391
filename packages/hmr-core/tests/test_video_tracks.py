"""Hands of made-up videos, followed: who is who, when the detector runs, how smooth it is, and how late."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

import hmr_core as hmr
from hmr_core.errors import HmrError, UsageError
from hmr_core.hand.source import packaged_hand
from hmr_core.inference.plugin_predictor import PluginPredictor
from hmr_core.inference.video.smoothing import Smoothing
from hmr_core.inference.video.steady import PALM, SteadyHand, place_of, pose, size_of
from hmr_core.inference.video.tracker import TrackedHand
from hmr_core.plugins.photo_hands import FoundHand, InBox, SeenBefore

Hands = dict[int, dict[int, TrackedHand]]
"""By frame and track."""


class OfNoPresence(PluginPredictor):
    """As a model is: it sees a hand wherever it looks, so the detector runs on every frame."""

    follows = False


@pytest.fixture
def predictor(world: ModuleType) -> PluginPredictor:
    return made(world, world.Animation())


def made(world: ModuleType, animation: Any, kind: type[PluginPredictor] = PluginPredictor) -> PluginPredictor:
    return kind(
        name="animation",
        config=world.Config(),
        hand_model=packaged_hand(),
        layer=world.layer(),
        predictor=animation,
        device=torch.device("cpu"),
    )


def tracked(
    world: ModuleType, predictor: PluginPredictor, scene: str, *, frames: int | None = None, **options: Any
) -> Hands:
    pictures = world.pictures(scene, frames or world.FRAMES)
    frames_of_hands = hmr.track(predictor, pictures, fps=world.FPS, **options)
    return {index: {hand.track: hand for hand in hands} for index, _, hands in frames_of_hands}


def owners(world: ModuleType, scene: str, hands: Hands) -> dict[int, set[str]]:
    """Of which true hands each track is."""
    found: dict[int, set[str]] = {}
    for frame, by_track in hands.items():
        for number, hand in by_track.items():
            truth = world.true_hands(scene, frame)
            nearest = min(truth, key=lambda name: np.linalg.norm(place_of(hand.joints) - truth[name].place))
            assert hand.side == truth[nearest].side
            found.setdefault(number, set()).add(nearest)
    return found


@pytest.fixture(scope="session")
def runs(world: ModuleType) -> dict[tuple[str, bool], Hands]:
    """The hands of scenes, with and without smoothing."""
    return {
        (scene, smooth): tracked(world, made(world, world.Animation()), scene, smooth=smooth)
        for scene in ("cross", "leave")
        for smooth in (True, False)
    }


def test_two_hands_that_cross_keep_their_numbers(world: ModuleType, runs: dict[tuple[str, bool], Hands]) -> None:
    hands = runs["cross", True]
    assert owners(world, "cross", hands) == {1: {"a"}, 2: {"b"}}
    visible = [len(world.visible("cross", frame)) for frame in hands]
    assert min(visible) == 1  # one is behind the other for a while
    seen = [len(by_track) for by_track in hands.values()]
    assert sum(np.subtract(visible, seen)) <= 2 * 4  # until the detector looks again, twice


def test_hands_that_a_model_sees_keep_their_numbers(world: ModuleType) -> None:
    hands = tracked(world, made(world, world.Animation(), OfNoPresence), "cross", frames=50, smooth=False)
    assert owners(world, "cross", hands) == {1: {"a"}, 2: {"b"}}
    assert [len(by_track) for by_track in hands.values()] == [len(world.visible("cross", frame)) for frame in hands]


def test_a_hand_that_leaves_and_comes_back_is_the_same(world: ModuleType, runs: dict[tuple[str, bool], Hands]) -> None:
    hands = runs["leave", True]
    assert owners(world, "leave", hands) == {1: {"a"}, 2: {"b"}}
    away = [frame for frame, by_track in hands.items() if 1 not in by_track]
    true_away = [frame for frame in hands if "a" not in world.visible("leave", frame)]
    assert len(true_away) > 30
    assert set(true_away) <= set(away)
    assert len(away) <= len(true_away) + 5  # until the detector looks again


def test_a_hand_that_is_away_for_long_is_another_one(
    world: ModuleType, predictor: PluginPredictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hmr_core.inference.video.following.MEMORY_S", 0.5)
    assert owners(world, "leave", tracked(world, predictor, "leave")) == {1: {"a"}, 2: {"b"}, 3: {"a"}}


@pytest.mark.parametrize(
    ("kind", "scene", "hands", "times"),
    [
        (PluginPredictor, "still", 1, range(1, 2)),
        (PluginPredictor, "still", 2, range(8, 9)),
        (PluginPredictor, "empty", 2, range(40, 41)),
        (PluginPredictor, "cross", 1, range(1, 5)),
        (OfNoPresence, "still", 1, range(40, 41)),
    ],
)
def test_the_detector_looks_where_hands_are_missing(
    world: ModuleType, kind: type[PluginPredictor], scene: str, hands: int, times: range
) -> None:
    animation = world.Animation()
    found = tracked(world, made(world, animation, kind), scene, frames=40, hands=hands, smooth=False)
    assert animation.detected in times
    assert max(map(len, found.values())) == (0 if scene == "empty" else 1)


@pytest.mark.parametrize("scene", ["cross", "leave"])
def test_the_filter_takes_half_of_the_jitter_and_lags_a_frame_at_most(
    world: ModuleType, runs: dict[tuple[str, bool], Hands], scene: str
) -> None:
    """Half of the acceleration's error goes, at least; the lag is by cross-correlation, of the palm and of the tips."""
    by_quarter = true_joints(world, scene)
    for number, name in ((1, "a"), (2, "b")):
        errors, lags = [], []
        for smooth in (False, True):
            own = {f: by_track[number].joints for f, by_track in runs[scene, smooth].items() if number in by_track}
            frames = [f for f in range(10, world.FRAMES - 1) if {f - 1, f, f + 1} <= own.keys()]
            true = {f: by_quarter[name][4 * f] for f in range(world.FRAMES)}
            bends = [[of[f - 1] - 2 * of[f] + of[f + 1] for f in frames] for of in (own, true)]
            errors.append(np.linalg.norm(np.subtract(*bends), axis=-1).mean())
            lags.append([lag(own, by_quarter[name], frames, part) for part in (place_in_picture, tips)])
        assert errors[1] < 0.5 * errors[0]
        assert np.abs(lags[0]).max() <= 0.25
        assert np.max(lags[1]) <= 1.0


def true_joints(world: ModuleType, scene: str) -> dict[str, np.ndarray]:
    """The joints of a scene's hands at every quarter of a frame."""
    made = {}
    for name in ("a", "b"):
        hands = [world.true_hands(scene, quarter / 4)[name] for quarter in range(4 * world.FRAMES)]
        mirror = np.array([-1, 1, 1] if hands[0].side == "left" else [1, 1, 1])
        turns = np.array([hand.rotations for hand in hands]) * mirror[0] * mirror
        joints = world.layer().joints(
            torch.from_numpy(turns).float(), torch.from_numpy(world.BETAS).expand(len(hands), 10)
        )
        about = joints.numpy() - joints.numpy()[:, PALM].mean(1, keepdims=True)
        made[name] = about * mirror + np.array([hand.place for hand in hands])[:, None]
    return made


def place_in_picture(joints: np.ndarray) -> np.ndarray:
    return np.asarray((joints[PALM] / joints[PALM, 2:]).mean(0)[:2])


def tips(joints: np.ndarray) -> np.ndarray:
    return np.asarray(joints[[8, 12, 16, 20]] - joints[0]).ravel()


def lag(
    own: dict[int, np.ndarray], by_quarter: np.ndarray, frames: list[int], part: Callable[[np.ndarray], np.ndarray]
) -> float:
    """By how many frames the truth is to be late to be most like what was made."""

    def centred(joints: list[np.ndarray]) -> np.ndarray:
        values = np.array([part(each) for each in joints])
        return np.asarray(values - values.mean(0))

    made = centred([own[f] for f in frames])

    def alike(by: float) -> float:
        true = centred([by_quarter[4 * f - round(4 * by)] for f in frames])
        return float((made * true).sum() / np.sqrt((made**2).sum() * (true**2).sum()))

    return float(max(np.arange(-1, 3.1, 0.25), key=alike))


def test_shape_and_size_stay_once_they_are_settled(world: ModuleType, predictor: PluginPredictor) -> None:
    hands = tracked(world, predictor, "still", frames=40)
    settled = [hands[frame][1] for frame in range(8, 40)]
    assert all(np.array_equal(hand.betas, settled[0].betas) for hand in settled)
    sizes = [size_of(hand.joints) for hand in settled]
    assert np.ptp(sizes) < 0.003  # the tip of the finger is on the skin
    raw = [size_of(world.found("still")[frame, "a"].joints) for frame in range(8, 40)]
    assert np.ptp(raw) > 3 * np.ptp(sizes)


def test_mesh_and_joints_are_of_the_same_hand(world: ModuleType, runs: dict[tuple[str, bool], Hands]) -> None:
    assert len(runs["cross", True][20]) == 2
    for hand in runs["cross", True][20].values():
        assert hand.rotations is not None
        assert hand.betas is not None
        posed = pose(world.layer(), hand.side, hand.rotations, hand.betas)
        np.testing.assert_allclose(hand.joints - hand.joints[0], posed.joints - posed.joints[0], atol=1e-5)
        np.testing.assert_allclose(hand.verts - hand.joints[0], posed.verts - posed.joints[0], atol=1e-5)
        assert hand.intrinsics_from == "assumed"
        assert repr(hand).startswith(f"{hand.track}: Hand({hand.side}")


def test_a_hand_size_is_that_of_every_frame(world: ModuleType, predictor: PluginPredictor) -> None:
    plain = tracked(world, predictor, "still", frames=11, smooth=False)
    sized = tracked(world, predictor, "still", frames=11, smooth=False, hand_size=100)
    for frame in (0, 10):
        one, other = plain[frame][1], sized[frame][1]
        scale = size_of(other.joints) / size_of(one.joints)
        assert size_of(other.joints) == pytest.approx(0.1, rel=0.03)
        np.testing.assert_allclose(other.joints, one.joints * scale, rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(other.joints_px, one.joints_px, atol=0.1)


class Mistaken:
    """Takes the hand for a left one on some frames, unless it is told which it is."""

    root_joint = 0

    def __init__(self, world: ModuleType, mistaken: Callable[[int], bool]) -> None:
        self.world, self.mistaken = world, mistaken
        self.asked: list[Any] = []

    def detect(self, image: np.ndarray) -> Any:
        return self.world.Animation().detect(image)

    def predict(self, image: np.ndarray, intrinsics: np.ndarray, sought: Any) -> Any:
        _, frame = self.world.read(image)
        made = []
        for hand, place in zip(self.world.Animation().predict(image, intrinsics, sought), sought, strict=True):
            told = place.side if isinstance(place, InBox) else None
            self.asked.append(place)
            side = told or ("left" if self.mistaken(frame) else "right")
            made.append(replace(hand, side=side))
        return made


def test_a_side_is_voted_for_and_then_stays(world: ModuleType) -> None:
    mistaken = Mistaken(world, lambda frame: frame in (2, 3, 20, 21))
    hands = tracked(world, made(world, mistaken), "still", frames=25, smooth=False)
    assert {hand.side for by_track in hands.values() for hand in by_track.values()} == {"right"}
    assert all(1 in by_track for by_track in hands.values())
    assert sum(isinstance(place, InBox) for place in mistaken.asked) == 4
    assert all(place.betas is None for place in mistaken.asked[:8] if isinstance(place, SeenBefore))
    assert isinstance(mistaken.asked[-1], SeenBefore)
    assert mistaken.asked[-1].betas is not None


def test_a_side_that_was_mistaken_at_first_is_put_right(world: ModuleType) -> None:
    hands = tracked(world, made(world, Mistaken(world, lambda frame: frame < 2)), "still", frames=10, smooth=False)
    sides = [by_track[1].side for by_track in hands.values()]
    assert sides[:2] == ["left", "left"]  # at once is at once; files wait until it is settled
    assert set(sides[5:]) == {"right"}


def test_a_given_side_is_every_hand_s(world: ModuleType) -> None:
    hands = tracked(
        world, made(world, Mistaken(world, lambda frame: True)), "still", frames=4, side="right", smooth=False
    )
    assert {hand.side for by_track in hands.values() for hand in by_track.values()} == {"right"}


def test_two_tracks_on_one_hand_become_one(world: ModuleType) -> None:
    class Double(world.Animation):  # type: ignore[misc,name-defined]
        def detect(self, image: np.ndarray) -> Any:
            one = super().detect(image)[:1]
            return [*one, *(replace(each, box=(each.box[0] + 5, *each.box[1:])) for each in one)]

    for kind in (PluginPredictor, OfNoPresence):
        hands = tracked(world, made(world, Double(), kind), "still", frames=8, smooth=False)
        assert {tuple(by_track) for by_track in hands.values()} == {(1,)}


def test_hands_without_rotations_are_smoothed_and_keep_their_shape(world: ModuleType) -> None:
    found = [world.found("still")[frame, "a"] for frame in range(60)]
    plain = [replace(hand, rotations=None, betas=None) for hand in found]
    raw, smooth = SteadyHand(world.layer(), None, None), SteadyHand(world.layer(), Smoothing(), None)
    sized = SteadyHand(world.layer(), Smoothing(), 0.1)

    def through(steady: SteadyHand, hands: list[FoundHand]) -> np.ndarray:
        return np.array([steady.step(hand, None, i / 30).joints for i, hand in enumerate(hands)])

    kept = through(raw, plain)
    np.testing.assert_allclose(kept, [hand.joints for hand in plain], atol=1e-5)
    made = through(smooth, plain)
    bend = [np.linalg.norm(np.diff(each, 2, axis=0), axis=-1).mean() for each in (kept, made)]
    assert bend[1] < 0.5 * bend[0]
    assert size_of(through(sized, plain[:1])[0]) == pytest.approx(0.1, rel=1e-4)
    verts = smooth.step(plain[0], None, 9.0).verts  # after a gap, anew
    np.testing.assert_allclose(verts, plain[0].verts, atol=1e-5)


def test_a_left_hand_is_posed_as_the_mirror_image(world: ModuleType) -> None:
    right = pose(world.layer(), "right", world.true_hands("cross", 10)["a"].rotations, world.BETAS)
    left = pose(world.layer(), "left", world.true_hands("cross", 10)["b"].rotations, world.BETAS)
    np.testing.assert_allclose(left.joints, right.joints * [-1, 1, 1], atol=1e-6)
    np.testing.assert_allclose(left.verts, right.verts * [-1, 1, 1], atol=1e-6)


def test_frames_of_a_variable_rate_are_smoothed_by_their_times(world: ModuleType, predictor: PluginPredictor) -> None:
    """Frames twice as far apart in time are smoothed less."""
    made = []
    for step in (1 / 30, 1 / 5):
        tracker = hmr.Tracker(predictor)
        for i, image in enumerate(world.pictures("still", 40)):
            hands = tracker.step(image, i * step)
        made.append(hands[0].joints)
    raw = world.found("still")[39, "a"].joints
    assert np.abs(made[1] - raw).max() < np.abs(made[0] - raw).max()


def test_what_cannot_be_is_told(world: ModuleType, predictor: PluginPredictor) -> None:
    image = world.picture("still", 0)
    tracker = hmr.Tracker(predictor)
    tracker.step(image, 0.0)
    with pytest.raises(UsageError, match=r"a frame at 0\.0 s after one at 0\.0 s"):
        tracker.step(image, 0.0)
    with pytest.raises(UsageError, match="a frame of 160x240 pixels after frames of 320x240"):
        tracker.step(np.ascontiguousarray(image[:, :160]), 1.0)
    for wrong in ({"hands": 0}, {"hands": True}, {"side": "up"}, {"fov": 0}):
        with pytest.raises(UsageError, match=r"(v|V)alid"):
            hmr.Tracker(predictor, **wrong)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"pictures have no times\. .*fps=30"):
        hmr.track(predictor, [image])
    with pytest.raises(HmrError, match=r"no such video: gone\.mp4"):
        hmr.track(predictor, "gone.mp4")

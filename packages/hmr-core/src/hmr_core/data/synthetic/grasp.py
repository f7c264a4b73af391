"""A hand that closes round an object until its fingers touch it and its thumb meets them from the other side."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int64
from numpy import ndarray
from torch import Tensor

from hmr_core.data.synthetic.objects import Object
from hmr_core.geometry.rotations import axis_angle_to_matrix
from hmr_core.hand.joints import TIP_VERTICES
from hmr_core.hand.layer import HandLayer
from hmr_core.hand.poses import FINGER_ORDER, Bends, bend_axes, bend_fingers, oppose_thumb

_LEVELS, _THUMB_LEVELS = 8, 5
"""So many bends are tried on the way from a finger's last one to as far as it goes."""

_WAYS = (4, 4, 3)
"""So many ways to oppose the thumb's base, to move it sideways and to bend it are tried."""

_BEST = 6
"""Of so many of these, it is tried how far the thumb's end joint goes on."""

_SINK_M, _FOLD_M = 0.001, 0.0025
"""How far skin gives where it touches, and in the folds between segments."""

_FURTHEST_M = 0.12

_APART_M = 0.0135
"""The least distance of the thumb's bones from the fingers'."""

_THUMB = FINGER_ORDER.index("thumb")
_TASTE_M, _STRAIGHT_M = 0.001, 0.001
"""Between ways to set the thumb, so much is left to chance, and a straight thumb may end so much further away."""

_THUMB_JOINTS = [13, 14, 15]
_BONES = np.array([[5, 6], [6, 7], [7, 8], [9, 10], [10, 11], [11, 12], [14, 15], [15, 16], [18, 19], [19, 20]])
"""Of the fingers, those that a thumb can meet (joints in OpenPose order)."""


def grasp(
    layer: HandLayer, betas: Float[Tensor, "10"], held: Object, generator: np.random.Generator
) -> tuple[Float[Tensor, "16 3 3"], Float64[ndarray, "4 4"]]:
    """The rotations of a hand that holds an object, the wrist's the identity, and the object's pose in the frame of the
    hand model (fingers -x, palm -y, thumb +z).

    The object's long axis lies more or less across the palm, against it. Fingers close joint by joint: each as a whole
    until it touches, then its outer two joints, then the last. Of many ways to set the thumb, one is taken whose pad
    touches the object, clear of the fingers.
    """
    hand = _Hand(layer, betas, held, _place(held, generator))
    sideways = generator.uniform(0.25, 0.75, 5)
    _push_against_palm(hand, sideways)
    thumbs = _stiff_thumbs(hand, generator)
    flexion = _close_fingers(hand, sideways, generator)
    return _set_thumb(hand, thumbs, flexion, sideways, generator), hand.pose


@dataclass(frozen=True)
class _Skin:
    """Some vertices, and how far each gives."""

    verts: Int64[ndarray, "v"]
    give_m: Float64[ndarray, "v"]


@dataclass
class _Hand:
    """A hand and the object that it is to hold. pose: the object's in the frame of the hand model."""

    layer: HandLayer
    betas: Float[Tensor, "10"]
    held: Object
    pose: Float64[ndarray, "4 4"]

    def skin(self, joints: list[int]) -> _Skin:
        """The vertices that these joints of MANO's 16 move; those that they hardly move are in a fold or of the
        palm.
        """
        share = self.layer.skin_weights.numpy()[:, joints].sum(1)
        verts = np.flatnonzero(share > 0.1)
        return _Skin(verts, np.where(share[verts] > 0.5, _SINK_M, _FOLD_M))

    def part(
        self, rotations: Float[Tensor, "n 16 3 3"], verts: Int64[ndarray, "v"]
    ) -> tuple[Float64[ndarray, "n 21 3"], Float64[ndarray, "n v 3"]]:
        """Joints and vertices of hands in these poses."""
        joints, chosen = self.layer.part(rotations, self.betas.expand(len(rotations), 10), verts.tolist())
        return joints.numpy(), chosen.numpy()

    def outside_m(self, points_m: Float64[ndarray, "*n 3"]) -> Float64[ndarray, "*n"]:
        """How far points are from the object; negative inside."""
        distance: ndarray = self.held.solid.distance_m((points_m - self.pose[:3, 3]) @ self.pose[:3, :3])
        return distance


@dataclass(frozen=True)
class _Thumbs:
    """Ways to set a thumb: how far its base is opposed, moved sideways and bent; for each way and some bends of its
    outer joints, its joints, base to tip, and its vertices; and which of these are the end segment's pad.
    """

    ways: Float64[ndarray, "n 3"]
    joints_m: Float64[ndarray, "n levels 4 3"]
    verts_m: Float64[ndarray, "n levels v 3"]
    pad: Bool[ndarray, "v"]


def _place(held: Object, generator: np.random.Generator) -> Float64[ndarray, "4 4"]:
    """The object before the palm, its z axis along the hand's but for some turn; not yet moved against the palm."""
    about_y = np.radians(generator.uniform(-25, 25))
    about_x = np.radians(generator.uniform(-8, 8))
    quarter = np.pi / 2 * generator.integers(4) + np.radians(generator.uniform(-10, 10))
    flipped = np.pi * generator.integers(2)
    vectors = np.array([[0, about_y, 0], [about_x, 0, 0], [flipped, 0, 0], [0, 0, quarter]])
    turns = axis_angle_to_matrix(torch.from_numpy(vectors)).numpy()
    pose = np.eye(4)
    pose[:3, :3] = turns[0] @ turns[1] @ turns[2] @ turns[3]
    pose[:3, 3] = generator.uniform((-0.002, 0, -0.002), (0.02, 0, 0.014))
    return pose


def _push_against_palm(hand: _Hand, sideways: Float64[ndarray, "5"]) -> None:
    """Move the object from afar up to where it would go into the palm or into open fingers."""
    body = hand.skin(list(range(13))).verts
    _, verts = hand.part(_bent(hand, np.zeros((1, 5, 3)), sideways[None]), body)
    nearest, furthest = 0.0, _FURTHEST_M
    for _ in range(2):
        away = np.linspace(nearest, furthest, 16)
        clear = hand.outside_m(verts + away[:, None, None] * np.array([0, 1, 0])).min(1) > -_SINK_M
        blocked = -1 if clear.all() else int(np.flatnonzero(~clear)[-1])
        nearest, furthest = away[max(blocked, 0)], away[min(blocked + 1, 15)]
    hand.pose[1, 3] -= furthest


def _close_fingers(
    hand: _Hand, sideways: Float64[ndarray, "5"], generator: np.random.Generator
) -> Float64[ndarray, "5 3"]:
    """The fingers' bends, the thumb's zero: see grasp. A finger that meets nothing stays half open."""
    follow = np.stack([np.ones(5), *generator.uniform((0.15, 0.05), (0.45, 0.35), (5, 2)).T], axis=1)
    relaxed = generator.uniform(0.4, 0.7, 5)
    flexion, met = np.zeros((5, 3)), np.zeros(5, bool)
    level = np.linspace(0, 1, _LEVELS)[:, None, None]
    for first in range(3):
        end = flexion.copy()
        end[:_THUMB, first:] = follow[:_THUMB] if first == 0 else 1.0
        skins = [hand.skin([3 * finger + 1 + k for k in range(first, 3)]) for finger in range(_THUMB)]
        tried = flexion + (end - flexion) * level
        _, verts = hand.part(_bent(hand, tried, sideways[None]), np.concatenate([skin.verts for skin in skins]))
        outside = hand.outside_m(verts) + np.concatenate([skin.give_m for skin in skins])
        parts = np.split(outside, np.cumsum([len(skin.verts) for skin in skins])[:-1], axis=1)
        reached = np.array([*(float(_free_share(part.min(1))) for part in parts), 1.0])
        met |= reached < 1
        flexion = flexion + (end - flexion) * reached[:, None]
    relax = ~met & (np.arange(5) != _THUMB)
    flexion[relax] = relaxed[relax, None] * follow[relax]
    return flexion


def _free_share(margin_m: Float64[ndarray, "*n levels"]) -> Float64[ndarray, "*n"]:
    """The share of a way, tried in equal steps, up to which a margin is positive; between steps it is taken to change
    evenly.
    """
    blocked = margin_m <= 0
    steps = margin_m.shape[-1] - 1
    after = np.where(blocked.any(-1), blocked.argmax(-1), steps)[..., None]
    before = np.maximum(after - 1, 0)
    first, second = (np.take_along_axis(margin_m, k, -1)[..., 0] for k in (before, after))
    inside = np.where(first > second, np.maximum(first, 0) / np.maximum(first - second, 1e-12), 1.0).clip(0, 1)
    return np.where(blocked.any(-1), (before[..., 0] + inside * (after != before)[..., 0]) / steps, 1.0)


def _stiff_thumbs(hand: _Hand, generator: np.random.Generator) -> _Thumbs:
    """A grid of ways to set the thumb, each moved at random within its cell, and its outer joints bent in equal steps.
    Only the ways whose start is clear of the object, which gives way where there is none.

    The segments are stiff: as near to the hand's own as is needed to choose between ways.
    """
    grid = np.stack(np.meshgrid(*map(np.arange, _WAYS)), -1).reshape(-1, 3)
    ways = (grid + generator.random(grid.shape)) / _WAYS
    count = len(ways)
    bends = np.zeros((count + _THUMB_LEVELS, 3))
    bends[:count, 0], bends[count:, 1:] = ways[:, 2], np.linspace(0, 1, _THUMB_LEVELS)[:, None]
    set_so = np.concatenate([ways[:, :2], np.zeros((_THUMB_LEVELS, 2))])
    rotations = _with_thumbs(hand, np.concatenate([set_so, bends], axis=1))
    skin, turns = hand.skin(_THUMB_JOINTS), rotations.numpy()
    _, straight = hand.part(rotations[:count], skin.verts)
    first, middle, end = turns[:count, 13], turns[count:, 14], turns[count:, 15]

    layer, betas = hand.layer, hand.betas
    strongest = layer.skin_weights.numpy().argmax(1)
    verts = (layer.template + layer.shape_dirs @ betas).numpy()
    joints = (layer.rest + layer.rest_dirs @ betas).numpy()[_THUMB_JOINTS]
    turn, place = np.broadcast_to(first[:, None], (count, _THUMB_LEVELS, 3, 3)), joints[0]
    places = [np.broadcast_to(place, (count, _THUMB_LEVELS, 3))]
    posed = []
    for k, (joint, following) in enumerate(zip(joints, [*joints[1:], verts[TIP_VERTICES[0]]], strict=True)):
        if k > 0:
            turn = turn @ (middle, end)[k - 1]
        segment = verts[strongest == _THUMB_JOINTS[k]][::2]
        posed.append(places[-1][..., None, :] + (segment - joint) @ turn.mT)
        places.append(places[-1] + turn @ (following - joint))
    all_verts = np.concatenate(posed, axis=2)
    while not (clear := (hand.outside_m(straight) + skin.give_m).min(1) > 0).any():
        hand.pose[1, 3] -= 0.002
    pad = np.concatenate([np.zeros(all_verts.shape[2] - len(segment), bool), _faces_pad(hand, segment)])
    return _Thumbs(ways[clear], np.stack(places, axis=2)[clear], all_verts[clear], pad)


def _faces_pad(hand: _Hand, verts: Float64[ndarray, "v 3"]) -> Bool[ndarray, "v"]:
    """Which vertices of the straight thumb's end segment are on the side that it bends to."""
    rest = (hand.layer.rest + hand.layer.rest_dirs @ hand.betas).numpy()[15]
    flexion, _ = bend_axes(hand.layer.model)
    bone = verts.mean(0) - rest
    side: Bool[ndarray, "v"] = (verts - verts.mean(0)) @ np.cross(flexion[14].numpy(), bone) > 0
    return side


def _set_thumb(
    hand: _Hand,
    thumbs: _Thumbs,
    flexion: Float64[ndarray, "5 3"],
    sideways: Float64[ndarray, "5"],
    generator: np.random.Generator,
) -> Float[Tensor, "16 3 3"]:
    """The whole hand's rotations, with the thumb whose pad comes nearest to the object, give or take some chance."""
    bones = hand.layer.joints(_bent(hand, flexion[None], sideways[None]), hand.betas[None])[0].numpy()[_BONES]
    outside = hand.outside_m(thumbs.verts_m)
    margin = np.minimum(outside.min(-1) + _SINK_M, _apart_m(thumbs.joints_m, bones) - _APART_M)
    bent = _free_share(margin)
    gap = _between(outside[..., thumbs.pad].min(-1)[..., None], bent)[:, 0]
    score = np.maximum(gap, 0) + generator.uniform(0, _TASTE_M, len(gap)) + _STRAIGHT_M * bent
    best = np.argsort(score)[:_BEST]

    # With the hand's own skin: the outer joints together nearly as far as that, and then the end joint on.
    bent = np.maximum(bent[best] - 0.06, 0)[:, None]
    together, on = np.array([0, 0.6, 1, 1, 1, 1]), np.array([0, 0, 0, 0.3, 0.6, 1])
    middle = bent * together
    tried = np.stack(
        [*(np.repeat(x[:, None], 6, axis=1) for x in thumbs.ways[best].T), middle, middle + (1 - bent) * on], -1
    )
    whole, end = hand.skin(_THUMB_JOINTS), hand.skin([15])
    joints, verts = hand.part(_with_thumbs(hand, tried.reshape(-1, 5)), whole.verts)
    shape = (len(best), len(on), -1)
    outside = hand.outside_m(verts).reshape(shape)
    margin = (outside + whole.give_m).min(-1)
    own = np.isin(whole.verts, end.verts)
    margin[:, 3:] = (outside[:, 3:, own] + whole.give_m[own]).min(-1)
    margin = np.minimum(margin, _apart_m(joints[:, 1:5].reshape(*shape[:2], 4, 3), bones) - _APART_M)
    reached = _free_share(margin)
    template = (hand.layer.template + hand.layer.shape_dirs @ hand.betas).numpy()
    pad = own & _faces_pad(hand, template[whole.verts])
    gap = _between(outside[..., pad].min(-1)[..., None], reached)[:, 0]
    chosen = int(np.argmin(np.maximum(gap, 0) + score[best] - 10 * np.minimum(margin[:, 0], 0)))
    opposed, beside, *thumb = _between(tried, reached)[chosen]
    flexion, sideways = flexion.copy(), sideways.copy()
    flexion[_THUMB], sideways[_THUMB] = thumb, beside
    return oppose_thumb(hand.layer.model, _bent(hand, flexion[None], sideways[None]), np.array([opposed]))[0]


def _with_thumbs(hand: _Hand, thumbs: Float64[ndarray, "n 5"]) -> Float[Tensor, "n 16 3 3"]:
    """The rotations of open hands whose thumbs are opposed, moved sideways and bent at their three joints so far."""
    flexion, sideways = np.zeros((len(thumbs), 5, 3)), np.full((len(thumbs), 5), 0.5)
    flexion[:, _THUMB], sideways[:, _THUMB] = thumbs[:, 2:], thumbs[:, 1]
    return oppose_thumb(hand.layer.model, _bent(hand, flexion, sideways), thumbs[:, 0])


def _apart_m(thumb_m: Float64[ndarray, "*n 4 3"], bones: Float64[ndarray, "b 2 3"]) -> Float64[ndarray, "*n"]:
    """How far the outer two bones of thumbs, as joints from base to tip, are from the fingers' bones."""
    share = np.array([0, 0.33, 0.67, 1])[:, None]
    start, end = thumb_m[..., 1:3, None, :], thumb_m[..., 2:4, None, :]
    points = (start + share * (end - start)).reshape(*thumb_m.shape[:-2], 8, 3)
    apart: ndarray = _from_bones_m(points, bones).min(-1)
    return apart


def _between(levels: Float64[ndarray, "n levels k"], share: Float64[ndarray, "n"]) -> Float64[ndarray, "n k"]:
    """What is given in equal steps along a way, at a share of it."""
    at = share * (levels.shape[1] - 1)
    low = np.minimum(at.astype(np.int64), levels.shape[1] - 2)
    row = np.arange(len(levels))
    value: ndarray = levels[row, low] + (levels[row, low + 1] - levels[row, low]) * (at - low)[:, None]
    return value


def _from_bones_m(points: Float64[ndarray, "*n 3"], bones: Float64[ndarray, "b 2 3"]) -> Float64[ndarray, "*n"]:
    """The distance of points from the nearest bone."""
    along = bones[:, 1] - bones[:, 0]
    start, length2 = bones[:, 0], (along**2).sum(-1)
    ahead = points @ along.T - (start * along).sum(-1)
    share = np.clip(ahead / length2, 0, 1)
    to_start2 = (points**2).sum(-1)[..., None] - 2 * points @ start.T + (start**2).sum(-1)
    distance: ndarray = np.sqrt(np.maximum((to_start2 + share * (share * length2 - 2 * ahead)).min(-1), 0))
    return distance


def _bent(
    hand: _Hand, flexion: Float64[ndarray, "n 5 3"], sideways: Float64[ndarray, "m 5"]
) -> Float[Tensor, "n 16 3 3"]:
    return bend_fingers(hand.layer.model, Bends(flexion=flexion, sideways=sideways + np.zeros(flexion.shape[:2])))

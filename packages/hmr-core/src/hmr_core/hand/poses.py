"""Plausible random hands: finger poses within joint limits, and shapes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float64
from numpy import ndarray
from torch import Tensor

from hmr_core.hand.joints import TIP_VERTICES
from hmr_core.hand.model import HandModel

FINGER_ORDER = ("index", "middle", "little", "ring", "thumb")
"""The fingers among MANO's joints 1 to 15, three each."""

FLEXION_DEG = {
    "index": ((-10, 80), (0, 100), (0, 70)),
    "middle": ((-10, 85), (0, 100), (0, 70)),
    "ring": ((-10, 85), (0, 100), (0, 70)),
    "little": ((-10, 85), (0, 95), (0, 70)),
    "thumb": ((-12, 28), (-5, 50), (-10, 70)),
}
"""The range of each finger's three flexions, straight to fully bent: the limits of a healthy adult hand, rounded
inwards.
"""

ABDUCTION_DEG = {"index": (-8, 8), "middle": (-7, 7), "ring": (-6, 8), "little": (-9, 14), "thumb": (-15, 20)}
"""The range of each finger's sideways angle at its base, from the somewhat spread fingers of the template: positive
towards the thumb; of the thumb, away from the others.
"""

CONVERGENCE_DEG = {"index": 0, "middle": -2, "ring": -3, "little": -5}
"""The sideways angle of a finger that is fully bent at its knuckle: the tips then point towards the thumb's side of the
wrist, the scaphoid bone, and keep from each other.
"""


@lru_cache(maxsize=4)
def bend_axes(model: HandModel) -> tuple[Float[Tensor, "15 3"], Float[Tensor, "5 3"]]:
    """Find the axes that fingers bend about, in the template's frame.

    Returns, for joints 1 to 15, the unit axis of flexion (a positive angle bends towards the palm), and for each finger
    the unit axis of abduction at its base (a positive angle moves it towards the thumb). For a right hand that lies as
    MANO's does: palm facing -y.
    """
    joints = model.joint_regressor @ model.template
    tips = dict(zip(("thumb", "index", "middle", "ring", "little"), TIP_VERTICES, strict=True))
    ends = model.template[[tips[name] for name in FINGER_ORDER]]
    bones = torch.cat([joints[1:].reshape(5, 3, 3), ends[:, None]], dim=1).diff(dim=1)
    # The thumb's back is turned by some 60 degrees against the others', so that it bends across the palm.
    backs = [[[0.0, 0.6, 0.8] if name == "thumb" else [0.0, 1.0, 0.0]] for name in FINGER_ORDER]
    flexion = torch.linalg.cross(torch.tensor(backs, dtype=bones.dtype).expand_as(bones), bones)
    flexion = flexion / flexion.norm(dim=-1, keepdim=True)
    upright = torch.linalg.cross(bones[:, 0], flexion[:, 0])
    return flexion.reshape(15, 3), upright / upright.norm(dim=-1, keepdim=True)


@dataclass(frozen=True, kw_only=True)
class Bends:
    """How far the fingers of some hands are bent, each value 0 to 1 within its range above.

    flexion: of each finger's three joints. sideways: of its base. Fingers in FINGER_ORDER.
    """

    flexion: Float64[ndarray, "count 5 3"]
    sideways: Float64[ndarray, "count 5"]


def random_bends(count: int, generator: np.random.Generator) -> Bends:
    """Draw random bends: a curl of the whole hand, from which each finger departs.

    Open hands, fists and gestures such as pointing all occur.

    As in a hand that moves by itself, a finger's end joint follows its middle joint, the little finger follows the
    ring finger and neighbours follow each other, fingers spread together, and the thumb gives way to bent fingers.
    """
    hand_curl = generator.beta(0.6, 0.9, size=(count, 1))
    own_curl = generator.beta(0.5, 0.75, size=(count, 5)) @ _FOLLOWS.T
    uniform, normal = generator.random((count, 7)), generator.standard_normal((count, 16))
    mix = 0.2 + 0.7 * uniform[:, :1]
    curl = mix * hand_curl + (1 - mix) * own_curl
    # A fist's knuckles bend with its fingers; those of a hook are straight, and those of a hand on a table's edge bent.
    lead = 0.08 * normal[:, :1] + 0.06 * normal[:, 1:6]
    flexion = np.empty((count, 5, 3))
    flexion[:, :, 0] = curl + lead
    flexion[:, :, 1] = curl - lead + 0.05 * normal[:, 6:11]
    flexion[:, :, 2] = flexion[:, :, 1] + 0.05 * normal[:, 11:]
    flexion = flexion.clip(0, 1)
    flexion[:, 4, 1:] *= _THUMB_CURLS
    together, alone = uniform[:, 1:2] - 0.5, uniform[:, 2:] - 0.5
    sideways = 0.5 + _SPREADS * together + (1 - abs(_SPREADS)) * alone
    # Of the thumb, what the two fingers next to it leave room for.
    crowd = flexion[:, 4, 0] * np.maximum(flexion[:, 0], flexion[:, 1]).mean(1)
    sideways[:, 4] = np.maximum(sideways[:, 4], _ROOM[0] * crowd).clip(0, 1)
    flexion[:, 4, 1:] = np.minimum(flexion[:, 4, 1:], 1 - _ROOM[1] * crowd[:, None])
    return Bends(flexion=flexion, sideways=sideways)


_FOLLOWS = np.array(
    [
        [0.95, 0.05, 0.00, 0.00, 0.00],
        [0.10, 0.75, 0.00, 0.15, 0.00],
        [0.00, 0.10, 0.50, 0.40, 0.00],
        [0.00, 0.25, 0.25, 0.50, 0.00],
        [0.00, 0.00, 0.00, 0.00, 1.00],
    ]
)
"""How much of each finger's own curl is its neighbours'."""

_SPREADS = np.array([0.5, 0.0, -0.5, -0.3, 0.3])
"""How much of each finger's sideways angle is the hand's spread."""

_THUMB_CURLS = 0.8
"""How far the outer joints of a thumb go at most: fully bent by itself it would be a lump by the wrist."""

_ROOM = (1.5, 0.7)
"""How far a bent thumb is moved away from the fingers, and how much straighter it is, where they are bent, too."""


def bend_fingers(model: HandModel, bends: Bends) -> Float[Tensor, "count 16 3 3"]:
    """Make rotations of MANO's 16 joints of bends, relative to the flat hand, float64; the wrist's is the identity.

    They are within FLEXION_DEG and ABDUCTION_DEG.
    """
    about_flexion, about_abduction = _bend_crosses(model)
    limits = _limits()
    bent, sideways = torch.from_numpy(bends.flexion), torch.from_numpy(bends.sideways)
    low, high = limits.flexion
    flexion = low + (high - low) * bent
    turns = _turn_about(about_flexion, flexion.reshape(-1, 15)).reshape(-1, 5, 3, 3, 3)

    low, high = limits.abduction
    abduction = low + (high - low) * sideways
    bound = bent[:, :, 0] * limits.bound
    abduction = (1 - bound) * abduction + bound * limits.converged
    turns[:, :, 0] = _turn_about(about_abduction, abduction) @ turns[:, :, 0]

    wrist = torch.eye(3, dtype=torch.float64).expand(len(turns), 1, 3, 3)
    return torch.cat([wrist, turns.reshape(-1, 15, 3, 3)], dim=1)


_THUMB = 1 + 3 * FINGER_ORDER.index("thumb")
"""MANO's joint at the base of the thumb."""

OPPOSITION_DEG = (35, -40)
"""How far the base of a thumb that is set against the fingers turns towards the palm's side, and about its bone."""


def oppose_thumb(
    model: HandModel, rotations: Float[Tensor, "count 16 3 3"], share: Float64[ndarray, "count"]
) -> Float[Tensor, "count 16 3 3"]:
    """Bring the thumb of rotations as bend_fingers makes them before the palm, with its pad facing the fingers'.

    A share of 0 leaves the thumb, 1 brings it as far as it goes.
    """
    angles = torch.from_numpy(np.radians(OPPOSITION_DEG) * share[:, None])
    turns = _turn_about(_opposition_crosses(model), angles)
    opposed = rotations.clone()
    opposed[:, _THUMB] = turns[:, 0] @ turns[:, 1] @ rotations[:, _THUMB]
    return opposed


class _Crosses(NamedTuple):
    """What turns about unit axes are made of, which takes longer to make than they do: the identity, the axes' matrices
    of cross products, and the squares of these.
    """

    identity: Float[Tensor, "3 3"]
    once: Float[Tensor, "axes 3 3"]
    twice: Float[Tensor, "axes 3 3"]


def _crosses(axes: Float[Tensor, "axes 3"]) -> _Crosses:
    identity = torch.eye(3, dtype=axes.dtype)
    once = torch.linalg.cross(axes[:, None], identity.expand(len(axes), 3, 3)).mT
    return _Crosses(identity, once, once @ once)


@lru_cache(maxsize=4)
def _bend_crosses(model: HandModel) -> tuple[_Crosses, _Crosses]:
    flexion, abduction = bend_axes(model)
    return _crosses(flexion), _crosses(abduction)


@lru_cache(maxsize=4)
def _opposition_crosses(model: HandModel) -> _Crosses:
    """The crosses of the axes that OPPOSITION_DEG is about."""
    joints = model.joint_regressor[_THUMB : _THUMB + 2] @ model.template
    bone = (joints[1] - joints[0]) / (joints[1] - joints[0]).norm()
    out = torch.linalg.cross(bone, torch.tensor([0.0, -1.0, 0.0], dtype=bone.dtype))
    return _crosses(torch.stack([out / out.norm(), bone]))


def _turn_about(axes: _Crosses, angles: Float[Tensor, "n axes"]) -> Float[Tensor, "n axes 3 3"]:
    """Rotations by angles, in radians: Rodrigues' formula."""
    angles = angles[..., None, None]
    turns: Tensor = axes.identity + angles.sin() * axes.once + (1 - angles.cos()) * axes.twice
    return turns


class _Limits(NamedTuple):
    """The ranges above as tensors, in radians, fingers in FINGER_ORDER. bound: 1 for a finger that cannot be moved
    sideways when it is fully bent at its knuckle, and then is at the angle converged; the thumb can.
    """

    flexion: tuple[Float[Tensor, "5 3"], Float[Tensor, "5 3"]]
    abduction: tuple[Float[Tensor, "5"], Float[Tensor, "5"]]
    bound: Float[Tensor, "5"]
    converged: Float[Tensor, "5"]


@lru_cache(maxsize=1)
def _limits() -> _Limits:
    return _Limits(
        flexion=_radians([FLEXION_DEG[name] for name in FINGER_ORDER]),
        abduction=_radians([ABDUCTION_DEG[name] for name in FINGER_ORDER]),
        bound=torch.tensor([name != "thumb" for name in FINGER_ORDER], dtype=torch.float64),
        converged=torch.tensor([math.radians(CONVERGENCE_DEG.get(n, 0)) for n in FINGER_ORDER], dtype=torch.float64),
    )


def _radians(ranges_deg: Sequence[object]) -> tuple[Tensor, Tensor]:
    """The lower and the upper ends of ranges, in radians."""
    low, high = torch.from_numpy(np.radians(np.array(ranges_deg, dtype=np.float64))).unbind(-1)
    return low, high


def random_poses(model: HandModel, count: int, generator: np.random.Generator) -> Float[Tensor, "count 16 3 3"]:
    """Draw random finger poses: random_bends as rotations (see bend_fingers)."""
    return bend_fingers(model, random_bends(count, generator))


def random_shapes(count: int, generator: np.random.Generator) -> Float[Tensor, "count 10"]:
    """Draw random betas, float64: standard normal, cut at two."""
    return torch.from_numpy(np.clip(generator.standard_normal((count, 10)), -2, 2))

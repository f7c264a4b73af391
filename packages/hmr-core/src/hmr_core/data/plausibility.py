"""Whether annotations are hands in camera space: units, finger tips, bone lengths, cameras, places, poses."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from hmr_core.data.remarks import Level, Remark
from hmr_core.hand.joints import (
    BONES,
    FINGERS,
    JOINT_NAMES,
    MANO_TO_OPENPOSE,
    MIDDLE_MCP,
    TIP_VERTICES,
    WRIST,
)
from hmr_core.wording import listed

TIPS = (4, 8, 12, 16, 20)
"""The finger tips in OpenPose order, thumb to little finger."""

MANO_TIPS = (16, 17, 18, 19, 20)
"""Where the tips are when MANO's 16 joints come first."""

ORDERS = {
    "MANO's order (16 joints, then the tips)": MANO_TO_OPENPOSE,
    "an order with each finger from its tip and the wrist last": (
        20, 3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12, 19, 18, 17, 16,
    ),
}  # fmt: skip
"""Where the joints of our order are in others that data sets have."""

TIP_TOLERANCE_M = 5e-4
"""How far a tip may be from its vertex; the release takes the one from the other, so that rounding alone is left."""

FITTED_TIPS_M = 0.01
"""How far tips may be from their vertices on average, all five of them, where meshes were fitted to joints."""

LEFT_MIDDLE_TIP = 445
"""The vertex that published code takes for the middle finger's tip of left hands, where it is 444 of right ones."""

PALM_M = (0.03, 0.16)
"""The distance from the wrist to the middle knuckle, of a small child to a very large man."""

UNITS = {"metres": 1.0, "centimetres": 100.0, "millimetres": 1000.0}

# From the bones of two-year-olds to those of large adults (Garn et al., Radiology 105:375, 1972, 19 bones by age and
# sex), some 20 % wider. Joints are centres of rotation, and tips are on the skin, so that a bone here is not one of an
# X-ray: the first of a finger has the carpus in it, the last some millimetres of flesh, the thumb's first is short.
# The hand of the tests and the synthetic one keep within them for betas up to 3.
BONE_M = {
    "wrist to thumb": (0.008, 0.080),
    "wrist to knuckle": (0.030, 0.160),
    "first": (0.009, 0.080),
    "middle": (0.006, 0.060),
    "last": (0.005, 0.060),
}

FARTHEST_M = 5.0
"""Beyond this no camera of the data sets stands."""

BETAS_LIMIT = 10.0
"""Betas are standard deviations."""

ANGLE_LIMIT = 2 * np.pi + 1e-3
"""No rotation needs a longer axis-angle vector."""


@dataclass(frozen=True, kw_only=True)
class HandArrays:
    """Annotations of some samples, as a pack or a tree has them; see plugins.sample.Sample. None: there are none."""

    ids: tuple[str, ...]
    joints: Float[ndarray, "n 21 3"]
    joints_valid: Bool[ndarray, "n 21"]
    intrinsics: Float[ndarray, "n 3 3"]
    frame_px: Float[ndarray, "n 2"]
    verts_valid: Bool[ndarray, " n"]
    pose_valid: Bool[ndarray, " n"]
    verts: Float[ndarray, "n 778 3"] | None = None
    rotations: Float[ndarray, "n 16 3"] | None = None
    betas: Float[ndarray, "n 10"] | None = None
    left: Bool[ndarray, " n"] | None = None

    def there(self) -> dict[str, ndarray]:
        """The arrays that there are, by name."""
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        return {name: array for name, array in arrays.items() if array is not None}

    def chosen(self, keep: Bool[ndarray, " n"]) -> HandArrays:
        """The samples for which keep is true."""
        arrays: dict[str, Any] = {name: array[keep] for name, array in self.there().items()}
        return HandArrays(ids=tuple(np.array(self.ids)[keep].tolist()), **arrays)

    def in_double(self) -> HandArrays:
        """The same in float64, in which no finite float32 is too large to be squared."""
        arrays: dict[str, Any] = {name: a.astype(np.float64) for name, a in self.there().items() if a.dtype != bool}
        return replace(self, **arrays)


_ARRAYS = (
    "joints", "joints_valid", "intrinsics", "frame_px", "verts_valid", "pose_valid", "verts", "rotations", "betas",
    "left",
)  # fmt: skip


def plausibility(hands: HandArrays) -> Iterator[Remark]:
    """What the annotations of some samples say of themselves; those without the middle knuckle have nothing to say."""
    hands = hands.chosen(hands.joints_valid[:, MIDDLE_MCP])
    if not hands.ids:
        return
    if not hands.ids:
        return
    finite = np.ones(len(hands.ids), dtype=bool)
    for array in hands.there().values():
        finite &= np.isfinite(array).reshape(len(finite), -1).all(1)
    if not finite.all():
        text = f"annotations are not finite numbers in {_which(hands, ~finite)}"
        yield Remark(level="wrong", text=text, misleads=True)
    hands = hands.chosen(finite).in_double()
    if not hands.ids:
        return
    rescaled: dict[str, Any] = {}
    for name, points in (("joints", hands.joints), ("verts", hands.verts)):
        if points is None or (name == "verts" and not hands.verts_valid.any()):
            continue
        known = points[hands.verts_valid] if name == "verts" else points
        unit = likely_unit(name, known)
        if unit != "metres":
            yield Remark(level="wrong", text=unit_text(name, unit, known), misleads=True)
        if unit in UNITS:
            rescaled[name] = points / np.float32(UNITS[unit])
    hands = replace(hands, **rescaled)
    for check in (_tips, _joint_order, _bones, _intrinsics, _places, _pose):
        yield from check(hands)


def likely_unit(name: str, points: Float[ndarray, "n points 3"]) -> str:
    """The unit in which hands have a hand's size, or "unknown". name: joints, in OpenPose order, or verts."""
    low, high = PALM_M if name == "joints" else (0.08, 0.40)
    size = _size(name, points)
    return next((unit for unit, factor in UNITS.items() if low <= size / factor <= high), "unknown")


def _size(name: str, points: Float[ndarray, "n points 3"]) -> float:
    """The median palm of the joints, or the median diagonal of the meshes' boxes."""
    points = points.astype(np.float64)  # the largest float32 has no square in float32
    if name == "joints":
        return float(np.median(np.linalg.norm(points[:, MIDDLE_MCP] - points[:, WRIST], axis=-1)))
    return float(np.median(np.linalg.norm(np.ptp(points, axis=1), axis=-1)))


def unit_text(name: str, unit: str, points: Float[ndarray, "n points 3"]) -> str:
    """What to say of hands that are not in metres, but in this unit, or in none that is known."""
    size = f"{_size(name, points):.3g}"
    what = (
        f"from the wrist to joint {MIDDLE_MCP} (the middle knuckle) they are {size} long, and a hand is "
        f"{PALM_M[0]} to {PALM_M[1]} m there"
        if name == "joints"
        else f"the boxes of the meshes have a diagonal of {size}, and a hand's is 0.08 to 0.4 m"
    )
    return f"{name} are no hands in metres: {what}" if unit == "unknown" else f"{name} look like {unit}: {what}"


def _tips(hands: HandArrays) -> Iterator[Remark]:
    """The tips of the fingers against the meshes: joints TIPS are vertices TIP_VERTICES."""
    hands = hands.chosen(np.asarray(hands.joints_valid[:, list(TIPS)].all(1) & hands.verts_valid))
    if hands.verts is None or not hands.ids:
        return
    tips, verts = hands.joints[:, list(TIPS)], hands.verts[:, list(TIP_VERTICES)]
    if hands.left is not None:
        middle = hands.verts[:, LEFT_MIDDLE_TIP]
        published = hands.left & (np.linalg.norm(tips[:, 2] - middle, axis=-1) <= TIP_TOLERANCE_M)
        verts[published, 2] = middle[published]
        if published.any():
            text = (
                f"the middle's tip of {_which(hands, published)}, left hands, is at vertex {LEFT_MIDDLE_TIP}, as "
                f"published code has it; hmr's own have theirs at {TIP_VERTICES[2]}"
            )
            yield Remark(level="note", text=text)
    apart = np.linalg.norm(tips - verts, axis=-1)
    off = [finger for finger in range(5) if not apart[:, finger].max() <= TIP_TOLERANCE_M]
    if not off:
        text = f"the finger tips of {len(apart)} samples are at vertices {', '.join(map(str, TIP_VERTICES))}"
        yield Remark(level="ok", text=f"{text}, {1000 * apart.max():.3f} mm apart at most")
        return
    order = _order(hands.joints, verts)
    others = [_vertex_at(tips[:, finger], hands.verts) for finger in range(5)]
    if order is None and len(off) == 5 and None not in others:  # another convention, not a slip of one finger
        text = (
            f"the finger tips are at vertices {', '.join(map(str, others))}, and hmr's own hands have theirs at "
            f"{', '.join(map(str, TIP_VERTICES))}: tips of posed hands are off by what is between"
        )
        yield Remark(level="note", text=text)
        return
    if order is None and len(off) == 5 and apart.mean() <= FITTED_TIPS_M:
        text = (
            f"the finger tips are {1000 * apart.mean():.1f} mm from the meshes' on average: meshes that were fitted to "
            "joints, and do not share them"
        )
        yield Remark(level="note", text=text)
        return
    if order == MANO_TIPS:
        text = "the joints look like MANO's order (16 joints, then the tips); here they are in OpenPose order"
        yield Remark(level="wrong", text=text, misleads=True)
    elif order is not None:
        shown = ", ".join(f"joint {joint} is at the {FINGERS[finger]}'s" for finger, joint in enumerate(order))
        text = f"the tips are in another order: {shown}; they should be joints {', '.join(map(str, TIPS))}"
        yield Remark(level="wrong", text=text, misleads=True)
    for finger in off:
        gaps = apart[:, finger]
        text = (
            f"the {FINGERS[finger]}'s tip, joint {TIPS[finger]}, is up to {1000 * gaps.max():.1f} mm from vertex "
            f"{TIP_VERTICES[finger]}, in {_which(hands, gaps > TIP_TOLERANCE_M)}"
        )
        if order is None and others[finger] is not None:
            text += f"; it is at vertex {others[finger]}"
        yield Remark(level="wrong", text=text)


def _order(joints: Float[ndarray, "n 21 3"], verts: Float[ndarray, "n 5 3"]) -> tuple[int, ...] | None:
    """The joints that are at the tips' vertices, if there is one for each, in nearly every sample."""
    apart = np.quantile(np.linalg.norm(joints[:, :, None] - verts[:, None], axis=-1), 0.9, axis=0)
    nearest = apart.argmin(0)
    found = tuple(int(joint) for joint in nearest)
    there = (apart[nearest, range(5)] <= TIP_TOLERANCE_M).all() and len(set(found)) == 5
    return found if there and found != TIPS else None


def _vertex_at(tip: Float[ndarray, "n 3"], verts: Float[ndarray, "n 778 3"]) -> int | None:
    """The vertex at which a tip is in every sample."""
    apart = np.linalg.norm(verts - tip[:, None], axis=-1).max(0)
    nearest = int(apart.argmin())
    return nearest if apart[nearest] <= TIP_TOLERANCE_M else None


def _joint_order(hands: HandArrays) -> Iterator[Remark]:
    """Hands whose bones are no hand's as the joints are listed, and are one's in another order."""
    hands = hands.chosen(np.asarray(hands.joints_valid.all(1)))
    if not hands.ids or not _most(_with_odd_bones(hands.joints)):
        return
    meshed = hands.chosen(hands.verts_valid)
    verts = meshed.verts if meshed.ids else None
    if verts is not None and _order(meshed.joints, verts[:, list(TIP_VERTICES)]) is not None:
        return  # the tips tell
    for name, order in ORDERS.items():
        if not _most(_with_odd_bones(hands.joints[:, list(order)])):
            text = f"the joints look like {name}; here they are in OpenPose order"
            yield Remark(level="wrong", text=text, misleads=True)
            return


def _with_odd_bones(joints: Float[ndarray, "n 21 3"]) -> Bool[ndarray, " n"]:
    """Which hands have a bone of a length that people's do not have."""
    odd = np.zeros(len(joints), dtype=bool)
    for parent, child in BONES:
        low, high = BONE_M[_kind(child)]
        lengths = np.linalg.norm(joints[:, child] - joints[:, parent], axis=-1)
        odd |= ~((lengths >= low) & (lengths <= high))
    return odd


def _bones(hands: HandArrays) -> Iterator[Remark]:
    """The length of every bone against what people's are."""
    wrong = 0
    for parent, child in BONES:
        low, high = BONE_M[_kind(child)]
        lengths = np.linalg.norm(hands.joints[:, child] - hands.joints[:, parent], axis=-1)
        known = hands.joints_valid[:, parent] & hands.joints_valid[:, child]
        odd = known & ~((lengths >= low) & (lengths <= high))
        if not odd.any():
            continue
        wrong += 1
        text = (
            f"the bone from {JOINT_NAMES[parent]} to {JOINT_NAMES[child]} (joints {parent}, {child}) is "
            f"{1000 * lengths[odd].min():.0f} to {1000 * lengths[odd].max():.0f} mm long in {_which(hands, odd)}; "
            f"people's are {1000 * low:.0f} to {1000 * high:.0f}"
        )
        yield Remark(level=_level(odd), text=text)
    if not wrong:
        palm = 1000 * np.linalg.norm(hands.joints[:, MIDDLE_MCP] - hands.joints[:, WRIST], axis=-1)
        text = (
            f"the {len(BONES)} bones have lengths that people's have; palms are {palm.min():.0f} to {palm.max():.0f} mm"
        )
        yield Remark(level="ok", text=text)


def _kind(child: int) -> str:
    """Which of a finger's bones ends at a joint."""
    if child % 4 == 1:
        return "wrist to thumb" if child == 1 else "wrist to knuckle"
    return ("last", "", "first", "middle")[child % 4]


def _intrinsics(hands: HandArrays) -> Iterator[Remark]:
    """The form of a camera's matrix: focal lengths above 0, skew at most besides, and 0 0 1 below."""
    matrix = hands.intrinsics
    focal = np.minimum(matrix[:, 0, 0], matrix[:, 1, 1])
    odd = (matrix[:, 1, 0] != 0) | (matrix[:, 2] != np.array([0, 0, 1])).any(1) | ~(focal > 0)
    if odd.any():
        text = (
            f"intrinsics are no camera's matrix in {_which(hands, odd)}; such a matrix has two focal lengths above 0 "
            "on its diagonal, 0 below it, and 0 0 1 for its last row"
        )
        yield Remark(level="wrong", text=text, misleads=_most(odd))
    skewed = ~odd & (matrix[:, 0, 1] != 0)
    if skewed.any():
        most = np.abs(matrix[skewed, 0, 1]).max()
        text = f"cameras have skew, of up to {most:.3g} pixels, in {_which(hands, skewed)}: the matrix is used with it"
        yield Remark(level="note", text=text)


def _places(hands: HandArrays) -> Iterator[Remark]:
    """Hands are before the camera, not too far, and seen in the frame."""
    known, everywhere = hands.joints_valid, hands.joints[..., 2]
    depth = np.where(known, everywhere, everywhere[:, WRIST, None])  # the wrist is always known
    behind = depth.min(1) <= 0
    if behind.any():
        hint = "; the camera seems to look along -z, as in OpenGL: here z is away from it" if behind.all() else ""
        text = f"joints are behind the camera in {_which(hands, behind)}"
        yield Remark(level="wrong", text=text + hint, misleads=_most(behind))
    far = ~behind & (depth.max(1) > FARTHEST_M)
    if far.any():
        text = f"hands are more than {FARTHEST_M:g} m away in {_which(hands, far)}"
        yield Remark(level="warning", text=text)
    projected = hands.joints @ hands.intrinsics.swapaxes(-1, -2)
    with np.errstate(all="ignore"):
        pixels = projected[..., :2] / projected[..., 2:]
    inside = ((pixels >= 0) & (pixels < hands.frame_px[:, None])).all(-1) & known
    unseen = ~behind & ~inside.any(1)
    if unseen.any():
        text = (
            f"no joint is in the frame in {_which(hands, unseen)}: intrinsics of another image size, or joints of "
            "another camera"
        )
        # Some samples of seq_all.json are so; the release's splits have only frames with half of the joints in them.
        yield Remark(level=_level(unseen), text=text, misleads=_most(unseen))
    if not (behind | far | unseen).any():
        seen = 100 * float(inside[known].mean())
        text = (
            f"hands are {depth.min():.2f} to {depth.max():.2f} m before the camera; {seen:.1f} % of joints in the frame"
        )
        yield Remark(level="ok", text=text)


def _pose(hands: HandArrays) -> Iterator[Remark]:
    """Axis-angle vectors in radians, betas in standard deviations."""
    hands = hands.chosen(hands.pose_valid)
    if hands.rotations is None or hands.betas is None or not hands.ids:
        return
    angles, betas = np.linalg.norm(hands.rotations, axis=-1), np.abs(hands.betas).max(1)
    long, odd = angles.max(1) > ANGLE_LIMIT, betas > BETAS_LIMIT
    if long.any():
        text = f"rotations turns joints by up to {angles.max():.0f} in {_which(hands, long)}"
        hint = ": these look like degrees, not radians" if angles.max() <= 361 else ""
        yield Remark(level="wrong", text=text + hint, misleads=_most(long))
    if odd.any():
        text = f"betas are up to {betas.max():.1f} in {_which(hands, odd)}"
        yield Remark(level="warning", text=f"{text}; people's are within 5 or so")
    if not (long | odd).any():
        text = f"poses are axis-angle in radians (up to {angles.max():.2f}), betas within {betas.max():.1f}"
        yield Remark(level="ok", text=text)


def _level(odd: Bool[ndarray, " n"]) -> Level:
    """A few odd samples are no reason to stop; most being odd means another order, unit or camera."""
    return "wrong" if _most(odd) else "warning"


def _most(odd: Bool[ndarray, " n"]) -> bool:
    return bool(odd.mean() >= 0.5)


def _which(hands: HandArrays, which: Bool[ndarray, " n"]) -> str:
    """How many samples, and the first of them."""
    names = [hands.ids[i] for i in np.flatnonzero(which)]
    return f"{len(names)} of {len(hands.ids)} samples ({listed(names)})"

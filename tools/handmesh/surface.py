"""The hand as an implicit surface (a smooth union of tapered capsules), and marching tetrahedra over it."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from handmesh.skeleton import BACK_OF_THUMB, CUT_X, FINGERS, MANO_FINGERS, RADII, Array, joints
from hmr_core.hand.joints import MANO_PARENTS

Faces = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Flesh:
    """A tapered capsule from a to b with an oval cross-section, and the bones that carry its ends.

    flat: how much thinner than wide it is, along `up`. roof: where along `up` a plane cuts it off, measured from the
    axis: the bed of a nail. bones: of each end, MANO's joint and its share; the joint's parent has the rest.
    """

    a: Array
    b: Array
    radius_a: float
    radius_b: float
    bones: tuple[tuple[int, float], tuple[int, float]] = ((0, 1.0), (0, 1.0))
    flat: float = 1.0
    up: Array = field(default_factory=lambda: np.array([0.0, 1.0, 0.0]))
    roof: float = np.inf

    def value(self, p: Array) -> Array:
        """About the distance to it at points (n, 3), negative inside."""
        ab = self.b - self.a
        t = np.clip(((p - self.a) @ ab) / (ab @ ab), 0.0, 1.0)
        offset = p - (self.a + t[:, None] * ab)
        height = offset @ self.up
        squared = (offset * offset).sum(1) + (self.flat**2 - 1) * height * height
        value: Array = np.sqrt(squared) - (self.radius_a + t * (self.radius_b - self.radius_a))
        return value if self.roof == np.inf else -_smooth_union([-value, self.roof - height], 0.5)

    def posed(self, turns: Array, places: Array) -> Flesh:
        """Carried by the bones: global rotations (16, 3, 3) and places (16, 3) of MANO's joints."""
        rest = joints()

        def carried(point: Array, bone: int, share: float) -> Array:
            moved = [turns[j] @ (point - rest[j]) + places[j] for j in (bone, max(MANO_PARENTS[bone], 0))]
            return np.asarray(share * moved[0] + (1 - share) * moved[1])

        bone, share = self.bones[1]
        up = turns[bone if share == 1 else 0] @ self.up
        return replace(self, a=carried(self.a, *self.bones[0]), b=carried(self.b, *self.bones[1]), up=up)


def _smooth_union(values: list[Array], k: float) -> Array:
    stacked = np.stack(values)
    low = stacked.min(0)
    union: Array = low - k * np.log(np.exp((low - stacked) / k).sum(0))
    return union


def _finger(name: str) -> list[Flesh]:
    """A finger's flesh: three bones, each slimmer in its middle, pads on the palm's side and the nail's bed."""
    chain, radii, first = FINGERS[name], RADII[name], 1 + 3 * MANO_FINGERS.index(name)
    last = chain[3] - chain[2]
    end = chain[3] - last / np.linalg.norm(last) * radii[3]  # so that the surface ends at the tip
    points = [chain[0], chain[1], chain[2], end]
    parts = []
    for k in range(3):
        a, b, ra, rb = points[k], points[k + 1], radii[k], radii[k + 1]
        bone, along = first + k, (b - a) / np.linalg.norm(b - a)
        up = BACK_OF_THUMB if name == "thumb" else np.array([0.0, 1.0, 0.0])
        up = up - (up @ along) * along
        up /= np.linalg.norm(up)
        own = ((bone, 1.0), (bone, 1.0))
        if k == 2:
            parts.append(Flesh(a=a, b=b, radius_a=ra, radius_b=rb, bones=own, flat=1.04, up=up, roof=0.62 * ra))
            pulp = a + 0.62 * (b - a) - 0.16 * rb * up
            parts.append(Flesh(a=pulp, b=b - 0.1 * rb * up, radius_a=rb, radius_b=0.9 * rb, bones=own, up=up))
            continue
        middle, slim = 0.5 * (a + b), 0.46 * (ra + rb)
        parts.append(Flesh(a=a, b=middle, radius_a=ra, radius_b=slim, bones=own, up=up))
        parts.append(Flesh(a=middle, b=b, radius_a=slim, radius_b=rb, bones=own, up=up))
        if name != "thumb" or k == 1:
            low, high = a + (0.45 if k == 0 else 0.35) * (b - a), a + 0.7 * (b - a)
            pad = 0.17 * rb * up
            parts.append(Flesh(a=low - pad, b=high - pad, radius_a=0.96 * slim, radius_b=0.94 * slim, bones=own, up=up))
    return parts


def _palm() -> list[Flesh]:
    """The flesh of the palm with the balls of thumb and little finger, of the webs and of the forearm."""
    parts = [
        Flesh(a=np.array(start), b=FINGERS[name][0], radius_a=13.0, radius_b=RADII[name][0] + 0.2, flat=1.06)
        for name, start in CARPUS.items()
    ]
    parts += [  # knuckles
        Flesh(a=FINGERS[n][0] + [9, 1.6, 0], b=FINGERS[n][0] + [1, 1.6, 0], radius_a=6.0, radius_b=RADII[n][0] - 0.6)
        for n in CARPUS
    ]
    for name, other in (("index", "middle"), ("middle", "ring"), ("ring", "little")):
        ends = [FINGERS[n][0] + 0.30 * (FINGERS[n][1] - FINGERS[n][0]) - [0.0, 1.5, 0.0] for n in (name, other)]
        bones = tuple((1 + 3 * MANO_FINGERS.index(n), 0.5) for n in (name, other))
        parts.append(Flesh(a=ends[0], b=ends[1], radius_a=6.6, radius_b=6.6, bones=(bones[0], bones[1])))
    thumb = FINGERS["thumb"]
    parts += [
        Flesh(  # ball of the thumb
            a=thumb[0] + [0, -3, -3],
            b=thumb[1] + [4, -1, -2],
            radius_a=14.5,
            radius_b=10.5,
            bones=((THUMB, 0.5), (THUMB, 1.0)),
        ),
        Flesh(
            a=np.array([66.0, -8.0, 12.0]),
            b=thumb[1] + [12, 0, -12],
            radius_a=12.0,
            radius_b=8.0,
            bones=((0, 1.0), (THUMB, 0.7)),
        ),
        Flesh(  # ball of the little finger
            a=np.array([74.0, -7.5, -15.0]), b=np.array([32.0, -6.0, -32.0]), radius_a=13.0, radius_b=10.0
        ),
        Flesh(  # pads below the fingers
            a=np.array([13.0, -4.5, 20.0]), b=np.array([21.0, -5.0, -31.0]), radius_a=8.0, radius_b=7.5
        ),
        Flesh(  # web of the thumb
            a=np.array([28.0, -3.0, 24.0]),
            b=thumb[1] + [6, 2, -7],
            radius_a=9.0,
            radius_b=7.5,
            bones=((0, 1.0), (THUMB, 0.8)),
            flat=1.1,
        ),
        Flesh(a=np.array([88.0, 0.0, 11.0]), b=np.array([140.0, 0.0, 10.0]), radius_a=17.0, radius_b=18.0),  # forearm
        Flesh(a=np.array([88.0, 0.0, -11.0]), b=np.array([140.0, 0.0, -10.0]), radius_a=17.0, radius_b=18.0),
    ]
    return parts


CARPUS = {
    "index": (84.0, 0.0, 11.0),
    "middle": (86.0, 1.0, 2.0),
    "ring": (86.0, 0.0, -7.0),
    "little": (84.0, -1.0, -14.0),
}
"""Where the metacarpals start."""

THUMB = 1 + 3 * MANO_FINGERS.index("thumb")
"""The thumb's first joint among MANO's."""


@dataclass(frozen=True)
class Surface:
    """The hand as an implicit surface, at rest or posed."""

    palm: list[Flesh]
    fingers: dict[str, list[Flesh]]

    def finger_value(self, p: Array, name: str) -> Array:
        """Distance to a finger's surface, the thumb's with its metacarpal, at points (n, 3) in mm."""
        return _smooth_union([part.value(p) for part in self.fingers[name]], 0.8)

    def metacarpal_value(self, p: Array) -> Array:
        """Distance to the bones of the palm with their flesh, without the thumb's."""
        return np.asarray(np.minimum.reduce([part.value(p) for part in self.palm[:4]]))

    def value(self, p: Array) -> Array:
        """The implicit function at points (n, 3) in mm: negative inside; near the surface about the distance in mm."""
        palm = _smooth_union([part.value(p) for part in self.palm], 3.0)
        return _smooth_union([palm, *(self.finger_value(p, name) for name in self.fingers)], 2.2)

    def posed(self, turns: Array, places: Array) -> Surface:
        """Carried by the bones (see Flesh.posed)."""
        return Surface(
            [part.posed(turns, places) for part in self.palm],
            {name: [part.posed(turns, places) for part in parts] for name, parts in self.fingers.items()},
        )

    def gradient(self, p: Array, step: float = 1e-3) -> Array:
        """Central differences of the implicit function, (n, 3)."""
        moved = np.concatenate([p + sign * step * axis for axis in np.eye(3) for sign in (1, -1)])
        values = self.value(moved).reshape(3, 2, len(p))
        return np.asarray((values[:, 0] - values[:, 1]).T / (2 * step))


HAND = Surface(_palm(), {name: _finger(name) for name in FINGERS})
"""The hand at rest."""


def project_to_surface(
    p: Array, fixed_x: NDArray[np.bool_] | None = None, rounds: int = 6, surface: Surface = HAND
) -> Array:
    """Newton steps along the gradient; points in `fixed_x` keep their x (the border stays in its plane)."""
    p = p.copy()
    for _ in range(rounds):
        g = surface.gradient(p)
        if fixed_x is not None:
            g[fixed_x, 0] = 0.0
        p -= np.clip(surface.value(p) / np.maximum((g * g).sum(1), 0.05), -4.0, 4.0)[:, None] * g
    return p


def march(spacing: float = 2.5) -> tuple[Array, Faces]:
    """Marching tetrahedra over a grid that ends at the cut: vertices (n, 3) mm and faces, open only in the plane of the
    cut.

    Each cube is cut into the six tetrahedra around its main diagonal (Kuhn's), which match across neighbours.
    """
    low, high = np.array([-112.0, -52.0, -75.0]), np.array([CUT_X, 34.0, 112.0])
    shape = np.ceil((high - low) / spacing).astype(int) + 1
    low[0] = high[0] - (shape[0] - 1) * spacing
    axes = [low[i] + spacing * np.arange(shape[i]) for i in range(3)]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
    values = HAND.value(points)
    values[values == 0] = 1e-9

    stride = np.array([shape[1] * shape[2], shape[2], 1])
    corner = (np.stack(np.meshgrid(*[np.arange(n - 1) for n in shape], indexing="ij"), -1).reshape(-1, 3) * stride).sum(
        1
    )
    tets = []
    for order in itertools.permutations(range(3)):
        path = np.cumsum([0, *(stride[i] for i in order)])
        odd = np.linalg.det(np.eye(3)[list(order)]) < 0
        tets.append(corner[:, None] + (path[[0, 1, 3, 2]] if odd else path))
    tet = np.concatenate(tets)
    inside = values[tet] < 0
    count = inside.sum(1)

    triangles: list[NDArray[np.int64]] = []  # each corner is an edge of the grid (inside, outside)
    for chosen in (1, 2, 3):
        t, flags = tet[count == chosen], inside[count == chosen]
        # put the inside corners first, by an even permutation, so that the orientation survives
        for pattern in itertools.combinations(range(4), chosen):
            rows = t[(flags == np.isin(np.arange(4), pattern)).all(1)]
            corners = [*pattern, *(i for i in range(4) if i not in pattern)]
            if np.linalg.det(np.eye(4)[corners]) < 0:
                i, j = (0, 1) if chosen == 3 else (2, 3)
                corners[i], corners[j] = corners[j], corners[i]
            a, b, c, d = (rows[:, i] for i in corners)
            if chosen == 1:
                triangles.append(np.stack([a, b, a, c, a, d], 1))
            elif chosen == 3:
                triangles.append(np.stack([a, d, b, d, c, d], 1))
            else:
                triangles.append(np.stack([a, c, a, d, b, d], 1))
                triangles.append(np.stack([a, c, b, d, b, c], 1))
    edges = np.concatenate(triangles).reshape(-1, 2)
    unique, faces = np.unique(edges, axis=0, return_inverse=True)
    va, vb = values[unique[:, 0]], values[unique[:, 1]]
    t = np.clip(va / (va - vb), 0.05, 0.95)[:, None]
    vertices = points[unique[:, 0]] * (1 - t) + points[unique[:, 1]] * t
    faces = faces.reshape(-1, 3)
    first = vertices[faces]
    centre = first.mean(1)
    normal = np.cross(first[:, 1] - first[:, 0], first[:, 2] - first[:, 0])
    if np.median((normal * HAND.gradient(centre)).sum(1)) < 0:
        faces = faces[:, ::-1]
    return vertices, faces.astype(np.int64)

"""Bring a triangle mesh with one border to an exact number of vertices: edge collapses, then flips and relaxation.

A disc of V vertices whose border has B edges has 2 V - B - 2 faces, so 778 vertices and 16 border edges are 1538 faces.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable

import numpy as np

from handmesh.skeleton import Array
from handmesh.surface import Faces, project_to_surface


class Mesh:
    """Vertices with their faces, kept so that an edge can be collapsed in constant time."""

    def __init__(self, vertices: Array, faces: Faces) -> None:
        self.points: list[Array] = list(vertices)
        self.faces: dict[int, tuple[int, int, int]] = {i: (a, b, c) for i, (a, b, c) in enumerate(faces.tolist())}
        self.around: list[set[int]] = [set() for _ in self.points]
        for i, face in self.faces.items():
            for v in face:
                self.around[v].add(i)
        self.border = self._border_vertices()
        self.alive = [bool(a) for a in self.around]
        self.count = sum(self.alive)

    def _border_vertices(self) -> set[int]:
        directed = {edge for a, b, c in self.faces.values() for edge in ((a, b), (b, c), (c, a))}
        return {v for a, b in directed if (b, a) not in directed for v in (a, b)}

    def neighbours(self, v: int) -> set[int]:
        """The vertices that share a face with v."""
        return {w for i in self.around[v] for w in self.faces[i]} - {v}

    def collapse(self, keep: int, drop: int, most_border: int) -> bool:
        """Merge two ends of an edge; False when that would break the mesh or its border."""
        shared = self.around[keep] & self.around[drop]
        on_border = (keep in self.border) + (drop in self.border)
        if on_border == 2 and (len(shared) != 1 or len(self.border) <= most_border):
            return False
        if on_border < 2 and len(shared) != 2:
            return False
        if drop in self.border and keep not in self.border:
            keep, drop = drop, keep
        if len(self.neighbours(keep) & self.neighbours(drop)) != len(shared):
            return False
        target = self.points[keep] if on_border == 1 else 0.5 * (self.points[keep] + self.points[drop])
        moved = (self.around[keep] | self.around[drop]) - shared
        for i in moved:
            old = [self.points[v] for v in self.faces[i]]
            new = [target if v in (keep, drop) else self.points[v] for v in self.faces[i]]
            n_old, n_new = _normal(*old), _normal(*new)
            if n_old @ n_new < 0.2 * math.sqrt((n_old @ n_old) * (n_new @ n_new)):
                return False
        for v in {w for i in shared for w in self.faces[i]} - {keep, drop}:
            if len(self.around[v]) <= 3 and v not in self.border:
                return False
        for i in shared:
            for v in self.faces.pop(i):
                self.around[v].discard(i)
        for i in list(self.around[drop]):
            self.faces[i] = tuple(keep if v == drop else v for v in self.faces[i])  # type: ignore[assignment]
            self.around[keep].add(i)
        self.around[drop].clear()
        self.alive[drop] = False
        self.count -= 1
        self.border.discard(drop)
        self.points[keep] = target
        return True

    def arrays(self) -> tuple[Array, Faces]:
        """What is left, vertices renumbered."""
        index = np.cumsum(self.alive) - 1
        vertices = np.stack([p for p, alive in zip(self.points, self.alive, strict=True) if alive])
        return vertices, index[np.array([self.faces[i] for i in sorted(self.faces)])].astype(np.int64)


Size = Callable[[Array], Array]
"""How long edges should be at points (n, 3), relative to each other."""


def decimate(vertices: Array, faces: Faces, size: Size, count: int, border: int) -> tuple[Array, Faces]:
    """Collapse the edges that are shortest for their place (length over `size`) until `count` vertices remain."""
    mesh = Mesh(vertices, faces)
    sizes = size(vertices).tolist()

    def length(a: int, b: int) -> float:
        return 2.0 * float(math.dist(mesh.points[a], mesh.points[b])) / float(sizes[a] + sizes[b])

    def run(until: Callable[[], bool], edges: set[tuple[int, int]]) -> None:
        heap = [(length(a, b), a, b) for a, b in edges]
        heapq.heapify(heap)
        while not until():
            cost, a, b = heapq.heappop(heap)
            if not (mesh.alive[a] and mesh.alive[b]) or not mesh.around[a] & mesh.around[b]:
                continue
            if length(a, b) > cost + 1e-9:  # it has grown since it was queued
                heapq.heappush(heap, (length(a, b), a, b))
                continue
            if mesh.collapse(a, b, border):
                kept = a if mesh.alive[a] else b
                sizes[kept] = 0.5 * (sizes[a] + sizes[b])
                for other in sorted(mesh.neighbours(kept)):
                    heapq.heappush(heap, (length(kept, other), min(kept, other), max(kept, other)))

    def all_edges() -> set[tuple[int, int]]:
        return {(min(x, y), max(x, y)) for a, b, c in mesh.faces.values() for x, y in ((a, b), (b, c), (c, a))}

    run(lambda: len(mesh.border) <= border, {e for e in all_edges() if len(mesh.around[e[0]] & mesh.around[e[1]]) == 1})
    run(lambda: mesh.count <= count, all_edges())
    return mesh.arrays()


def flip_to_delaunay(vertices: Array, faces: Faces) -> Faces:
    """Flip inner edges whose opposite angles sum to more than 180 degrees, where the surface stays nearly the same."""
    rows = [tuple(f) for f in faces.tolist()]
    for _ in range(4):
        owner = {}
        for i, (a, b, c) in enumerate(rows):
            owner[a, b], owner[b, c], owner[c, a] = (i, c), (i, a), (i, b)
        touched: set[int] = set()
        flipped = 0
        for (a, b), (i, c) in list(owner.items()):
            if a > b or (b, a) not in owner:
                continue
            j, d = owner[b, a]
            if i in touched or j in touched or (c, d) in owner or (d, c) in owner:
                continue
            pa, pb, pc, pd = vertices[a], vertices[b], vertices[c], vertices[d]
            if _angle(pc, pa, pb) + _angle(pd, pa, pb) <= np.pi + 1e-6:
                continue
            before = np.cross(pb - pa, pc - pa) + np.cross(pd - pa, pb - pa)
            new = np.cross(pd - pa, pc - pa), np.cross(pb - pd, pc - pd)
            if any(n @ before < 0.7 * np.linalg.norm(n) * np.linalg.norm(before) for n in new):
                continue
            rows[i], rows[j] = (a, d, c), (d, b, c)
            owner[c, d] = owner[d, c] = (i, a)
            touched |= {i, j}
            flipped += 1
        if not flipped:
            break
    return np.array(rows, dtype=np.int64)


def _normal(a: Array, b: Array, c: Array) -> Array:
    """The face's normal, twice its area long; many times faster than numpy's cross for one pair of vectors."""
    (ux, uy, uz), (vx, vy, vz) = (b - a).tolist(), (c - a).tolist()
    return np.array([uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx])


def _angle(apex: Array, a: Array, b: Array) -> float:
    u, v = a - apex, b - apex
    return float(np.arccos(np.clip(u @ v / (np.linalg.norm(u) * np.linalg.norm(v)), -1, 1)))


def relax(
    vertices: Array, faces: Faces, size: Size, rounds: int, fixed: dict[int, Array] | None = None
) -> tuple[Array, Faces]:
    """Even the triangles out: flips, and steps towards the weighted middle of the neighbours, back on the surface.

    Border vertices move along the border only. `fixed` gives vertices that stay at a place.
    """
    fixed = fixed or {}
    for _ in range(rounds):
        faces = flip_to_delaunay(vertices, faces)
        directed = {edge for a, b, c in faces.tolist() for edge in ((a, b), (b, c), (c, a))}
        border_edges = [(a, b) for a, b in directed if (b, a) not in directed]
        border = np.zeros(len(vertices), dtype=bool)
        border[[v for edge in border_edges for v in edge]] = True
        total, weight = np.zeros_like(vertices), np.zeros(len(vertices))
        corners = vertices[faces]
        area = 0.5 * np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
        middle = corners.mean(1)
        w = area / size(middle) ** 2
        for k in range(3):
            np.add.at(total, faces[:, k], w[:, None] * middle)
            np.add.at(weight, faces[:, k], w)
        target = total / weight[:, None]
        total, weight = np.zeros_like(vertices), np.zeros(len(vertices))
        for a, b in border_edges:
            total[a] += vertices[b]
            total[b] += vertices[a]
        target[border] = 0.5 * total[border]
        vertices = project_to_surface(vertices + 0.6 * (target - vertices), fixed_x=border)
        for v, place in fixed.items():
            vertices[v] = place
    return vertices, faces

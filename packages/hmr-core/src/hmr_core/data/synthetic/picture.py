"""The picture that a camera takes of a moment: hands with sleeves before a background of soft shapes."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Float64, Int64, UInt8
from numpy import ndarray

from hmr_core.data.synthetic.scene import FRAME_SIZE, Camera, Hand, Moment, to_camera
from hmr_core.hand.border import border_loop
from hmr_core.hand.model import HandModel
from hmr_core.render.shading import RenderMesh, draw, vertex_normals

_SLEEVE = ((-0.010, 0.10), (0.02, 0.16), (0.05, 0.20), (0.08, 0.24), (0.11, 0.28))
"""Of each ring of a sleeve: how far behind the open end it is, in metres, and how much wider."""


class Painter:
    """Draws moments; holds what does not change from one picture to the next."""

    def __init__(self, model: HandModel) -> None:
        self._faces = model.faces.numpy()
        self._border = border_loop(self._faces)
        template = model.template.numpy()
        palm = np.clip(-vertex_normals(template, self._faces)[:, 1], 0, 1)
        # Palms are lighter than backs, and finger ends redder.
        end = model.skin_weights.numpy()[:, [3, 6, 9, 12, 15]].sum(1)
        self._complexion = 1 + 0.10 * palm[:, None] + end[:, None] * np.array([0.04, -0.05, -0.04])

    def paint(
        self, moment: Moment, camera: Camera, light: Float64[ndarray, "3"], generator: np.random.Generator
    ) -> UInt8[ndarray, "height width 3"]:
        """The picture, RGB. light: the direction towards the light in world space. The generator makes the
        background.
        """
        image = background(FRAME_SIZE, generator)
        meshes = []
        for hand in moment.hands:
            sleeve_rgb = generator.uniform(0.05, 0.95, 3)
            meshes += [self._hand_mesh(hand, camera), self._sleeve_mesh(hand, camera, sleeve_rgb)]
        turn = camera.extrinsics[:3, :3].astype(np.float64)
        drawn = draw(image, meshes, camera.intrinsics.astype(np.float64), turn @ light)
        # A lens is not perfectly sharp; it also softens the steps of the silhouette.
        return np.asarray(cv2.GaussianBlur(drawn, (3, 3), 0.6), dtype=np.uint8)

    def _hand_mesh(self, hand: Hand, camera: Camera) -> RenderMesh:
        return RenderMesh(
            verts_m=to_camera(camera, hand.verts_m),
            faces=self._faces,
            colours=np.clip(self._complexion * hand.subject.skin_rgb, 0, 1),
            two_sided=False,  # the sleeve hides the open end
        )

    def _sleeve_mesh(self, hand: Hand, camera: Camera, rgb: Float64[ndarray, "3"]) -> RenderMesh:
        """A tube around the open end of the hand, going on along the forearm."""
        ring = hand.verts_m[self._border]
        middle = ring.mean(0)
        along = hand.wrist_turn[:, 0]
        rings = [middle + (1 + grow) * (ring - middle) + reach * along for reach, grow in _SLEEVE]
        verts = np.concatenate([*rings, rings[-1].mean(0, keepdims=True)])
        return RenderMesh(
            verts_m=to_camera(camera, verts),
            faces=_tube_faces(len(ring), len(rings)),
            colours=np.tile(rgb, (len(verts), 1)),
        )


def _tube_faces(around: int, rings: int) -> Int64[ndarray, "f 3"]:
    """A tube of rings of vertices, closed at its last ring by a fan around one more vertex."""
    i = np.arange(around)
    j = (i + 1) % around
    faces = []
    for r in range(rings - 1):
        a, b = r * around, (r + 1) * around
        faces += [np.stack([i + a, j + a, i + b], 1), np.stack([j + a, j + b, i + b], 1)]
    last = (rings - 1) * around
    faces.append(np.stack([i + last, j + last, np.full(around, rings * around)], 1))
    return np.concatenate(faces).astype(np.int64)


def background(size: tuple[int, int], generator: np.random.Generator) -> UInt8[ndarray, "height width 3"]:
    """Soft colours with some shapes over them, RGB; drawn at a quarter of the size."""
    width, height = size[0] // 4, size[1] // 4
    coarse = generator.integers(30, 226, size=(4, 6, 3)).astype(np.float32)
    coarse = coarse.mean() + 0.6 * (coarse - coarse.mean())
    canvas = np.clip(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), 0, 255).astype(np.uint8)
    for _ in range(int(generator.integers(4, 10))):
        colour = [int(c) for c in generator.integers(20, 236, size=3)]
        centre = generator.uniform(0, 1, 2) * (width, height)
        corners = generator.uniform(-0.25, 0.25, size=(int(generator.integers(3, 6)), 2)) * width
        shape = cv2.convexHull((centre + corners).astype(np.float32)).astype(np.int32)
        cv2.fillConvexPoly(canvas, shape, colour, cv2.LINE_AA)
    canvas = cv2.GaussianBlur(canvas, (5, 5), 0)
    return np.asarray(cv2.resize(canvas, size, interpolation=cv2.INTER_LINEAR), dtype=np.uint8)

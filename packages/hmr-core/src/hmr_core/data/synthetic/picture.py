"""The picture that a camera takes of a moment: hands with sleeves and an object above a desk."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
from jaxtyping import Float32, Float64, Int64, UInt8
from numpy import ndarray

from hmr_core.data.synthetic.desk import PIXEL_M, SIDE_PX, paint_desk
from hmr_core.data.synthetic.objects import object_named
from hmr_core.data.synthetic.occlusion import OWN, Balls, Light, behind_balls, behind_object, hand_balls
from hmr_core.data.synthetic.scene import FRAME_SIZE, Camera, Moment, SceneHand, Sequence, to_camera
from hmr_core.geometry.camera import pixel_scaling
from hmr_core.hand.border import border_loop
from hmr_core.hand.joints import TIP_VERTICES
from hmr_core.hand.model import HandModel
from hmr_core.render.lit import Lighting, Surface, draw_lit, to_linear
from hmr_core.render.raster import Triangles
from hmr_core.render.shading import vertex_normals

_SLEEVE = (
    *((0.003, 0.00), (-0.003, 0.10), (0.001, 0.19), (0.015, 0.22), (0.019, 0.16), (0.024, 0.21), (0.05, 0.26)),
    *((0.08, 0.33), (0.11, 0.38), (0.15, 0.46), (0.20, 0.55), (0.26, 0.62), (0.33, 0.70), (0.50, 0.85), (1.00, 1.20)),
)
"""Of each ring of a sleeve: how far behind the open end it is, in metres, and how much wider. The first make a cuff;
the last is outside the picture.
"""

_FLUSH = np.array([0.55, 0.08, -0.05])
"""How much more of each colour skin gives in full shade: what light is there has been on skin before."""

_COARSE = 8
"""Shadows on the desk and the fall of light are painted at so small a part of the size."""

_SHRUNK = {k: pixel_scaling(1 / k) for k in (2, _COARSE)}
"""From the pixels of a picture to those of one a k-th as wide and high; pixel centres are at integers."""

_SHADOW_SIDE, _SHADOW_PIXEL_M = 208, 0.006
"""Shadows on the desk are found once for all cameras, so coarse, in a square about the origin..."""
_SHADOW_TO_M = np.diag([_SHADOW_PIXEL_M, _SHADOW_PIXEL_M, 1]) @ np.array(
    [[1, 0, (1 - _SHADOW_SIDE) / 2], [0, 1, (1 - _SHADOW_SIDE) / 2], [0, 0, 1.0]]
)
"""... whose pixels, column by row, are at these places in world space."""

_NEAR_DESK_M, _SKY_AT_DESK = 0.02, 0.45
"""Below this height an object gets less of the sky's light, at the desk this part, and the desk around it is dark."""

_FROM_EDGE_M = 0.09
"""At least so far from the desk's edge is an object's middle: a little more than half the longest object."""

_NOISE_SIDE = (1000, 600)


@dataclass(frozen=True)
class Scene:
    """A moment ready to be drawn: its surfaces in world space, their shadow (see _SHADOW_TO_M), and how the desk lies
    (desk pixels to metres).
    """

    surfaces: tuple[Surface, ...]
    shadow: Float32[ndarray, "side side"]
    desk: Float64[ndarray, "3 3"]
    brightness: float


class Painter:
    """Draws the moments of a sequence; holds what does not change from one picture to the next."""

    def __init__(self, model: HandModel, sequence: Sequence, generator: np.random.Generator) -> None:
        self._faces = model.faces.numpy()
        self._border = border_loop(self._faces)
        self._complexion = complexion(model)
        self._sequence = sequence
        self._desk = paint_desk(generator)
        # Of four bytes a pixel OpenCV warps twice as many.
        self._desk_rgba = cv2.cvtColor(self._desk.picture, cv2.COLOR_RGB2RGBA)
        warmth = generator.uniform(-1, 1)
        strength = generator.uniform(0.7, 1.0)
        share = generator.uniform(0.45, 0.72)  # of the lamp
        lamp_rgb = np.array([1 + 0.13 * warmth, 1.0, 1 - 0.17 * warmth])
        sky_rgb = np.array([1 - 0.09 * warmth, 1.0, 1 + 0.11 * warmth])
        bounce = to_linear(self._desk.picture[::16, ::16].reshape(-1, 3).mean(0) / 255.0)
        self._lamp_rgb = strength * share * 1.15 * lamp_rgb
        self._sky_rgb = strength * (1 - share) * 1.25 * sky_rgb
        self._ground_rgb = strength * (0.08 + 0.35 * bounce)
        self._shadow = share
        self._sleeve_rgb = to_linear(generator.uniform(0.08, 0.9, (2, 3)))
        self._gloss = float(generator.uniform(0.02, 0.07)), float(generator.uniform(0.02, 0.3))
        self._fall = _light_fall(generator)
        self._noise = _noise_tile(generator)
        self._blur = float(generator.uniform(0.45, 0.7))

    def scene(self, moment: Moment, generator: np.random.Generator) -> Scene:
        """What all cameras see of a moment. The generator lays the desk: hands move about it."""
        surfaces: list[Surface] = []
        balls = [hand_balls(hand.joints_m) for hand in moment.hands]
        for i, hand in enumerate(moment.hands):
            surfaces += [self._hand(hand, balls[i], moment), self._sleeve(hand, self._sleeve_rgb[i])]
        surfaces.append(self._object(moment, balls))
        desk = self._lay_desk(moment, generator)
        return Scene(tuple(surfaces), self._shadow_of(surfaces), desk, float(generator.uniform(0.92, 1.08)))

    def _lay_desk(self, moment: Moment, generator: np.random.Generator) -> Float64[ndarray, "3 3"]:
        """Desk pixels to metres, the object being above the desk, not beyond its edge."""
        while True:  # the desk's middle is a quarter of a metre from the edge, so that half of all turns do at least
            turn = generator.uniform(0, 2 * np.pi)
            offset = generator.uniform(-0.25, 0.25, 2)
            cosine, sine = PIXEL_M * np.cos(turn), PIXEL_M * np.sin(turn)
            turned = np.array([[cosine, -sine, offset[0]], [sine, cosine, offset[1]], [0, 0, 1]])
            desk: ndarray = turned @ np.array([[1, 0, -SIDE_PX / 2], [0, 1, -SIDE_PX / 2], [0, 0, 1.0]])
            below = np.linalg.solve(desk, [*moment.object_pose[:2, 3], 1.0])
            if self._desk.room_m(below[:2]) > _FROM_EDGE_M:
                return desk

    def paint(self, scene: Scene, camera: Camera, generator: np.random.Generator) -> UInt8[ndarray, "height width 3"]:
        """The picture, RGB. The generator makes the sensor's noise."""
        intrinsics = camera.intrinsics.astype(np.float64)
        turn = camera.extrinsics[:3, :3].astype(np.float64)
        image = self._below(scene, camera, intrinsics)
        seen = [
            Surface(
                verts_m=to_camera(camera, s.verts_m),
                normals=s.normals @ turn.T,
                faces=s.faces,
                colours=s.colours,
                ambient=s.ambient,
                direct=s.direct,
                gloss=s.gloss,
                softness=s.softness,
            )
            for s in scene.surfaces
        ]
        lighting = Lighting(
            lamp=turn @ self._sequence.lamp,
            lamp_rgb=scene.brightness * self._lamp_rgb,
            up=turn @ np.array([0, 0.35, 0.94]),
            sky_rgb=scene.brightness * self._sky_rgb,
            ground_rgb=scene.brightness * self._ground_rgb,
        )
        draw_lit(image, seen, intrinsics, lighting, blur_px=self._blur)
        width, height = FRAME_SIZE
        x, y = (int(generator.integers(room - size + 1)) for room, size in zip(_NOISE_SIDE, FRAME_SIZE, strict=True))
        brighter, darker = (tile[y : y + height, x : x + width] for tile in self._noise)
        if generator.integers(2):
            brighter, darker = darker, brighter
        rgb = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGBA2RGB), dtype=np.uint8)
        cv2.subtract(cv2.add(rgb, brighter, dst=rgb), darker, dst=rgb)
        return rgb

    def _below(
        self, scene: Scene, camera: Camera, intrinsics: Float64[ndarray, "3 3"]
    ) -> UInt8[ndarray, "height width 4"]:
        """The desk with the shadows that lie on it, RGBA: painted at half the size, as it is out of focus."""
        desk_m = self._sequence.desk_m
        extrinsics = camera.extrinsics.astype(np.float64)
        plane = np.stack([extrinsics[:3, 0], extrinsics[:3, 1], extrinsics[:3, 2] * desk_m + extrinsics[:3, 3]], axis=1)
        seen = intrinsics @ plane
        half = (FRAME_SIZE[0] // 2, FRAME_SIZE[1] // 2)
        desk = cv2.warpPerspective(
            self._desk_rgba, _SHRUNK[2] @ seen @ scene.desk, half, borderMode=cv2.BORDER_REFLECT_101
        )
        width, height = FRAME_SIZE[0] // _COARSE, FRAME_SIZE[1] // _COARSE
        shadow = cv2.warpPerspective(scene.shadow, _SHRUNK[_COARSE] @ seen @ _SHADOW_TO_M, (width, height))
        soft = cv2.GaussianBlur(shadow, (0, 0), 1.4)[..., None]
        light = (1 - 0.8 * self._shadow * soft) * (200 * scene.brightness * self._fall)
        factors = cv2.resize(np.clip(light, 0, 255).astype(np.uint8), half, interpolation=cv2.INTER_LINEAR)
        shaded = cv2.multiply(desk, factors, dst=desk, scale=1 / 200)
        return np.asarray(cv2.resize(shaded, FRAME_SIZE, interpolation=cv2.INTER_LINEAR), dtype=np.uint8)

    def _shadow_of(self, surfaces: list[Surface]) -> Float32[ndarray, "side side"]:
        """Where the desk is dark, with _SHADOW_TO_M: 1 in the lamp's shadow, and around the foot of an object that lies
        on it. The object is the last surface.
        """
        desk_m, lamp = self._sequence.desk_m, self._sequence.lamp
        counts = np.cumsum([0, *(len(s.verts_m) for s in surfaces)])
        verts = np.concatenate([s.verts_m for s in surfaces])
        faces = np.concatenate([s.faces + n for s, n in zip(surfaces, counts[:-1], strict=True)])
        fallen = (verts - lamp * ((verts[:, 2:] - desk_m) / lamp[2]))[:, :2] / _SHADOW_PIXEL_M + (_SHADOW_SIDE - 1) / 2
        # The half of a closed surface that looks at the lamp throws all of its shadow.
        (ax, ay), (bx, by) = ((fallen[faces[:, k]] - fallen[faces[:, 0]]).T for k in (1, 2))
        lit = ax * by - ay * bx > 0
        triangles = Triangles(fallen, np.ones(len(fallen)), faces[lit], (_SHADOW_SIDE, _SHADOW_SIDE))
        shadow: ndarray = (triangles.nearest(triangles.spans()).keys > 0).astype(np.float32)
        foot = surfaces[-1].verts_m
        foot = foot[foot[:, 2] < desk_m + _NEAR_DESK_M, :2]
        if len(foot):
            hull = cv2.convexHull(np.rint(foot / _SHADOW_PIXEL_M + (_SHADOW_SIDE - 1) / 2).astype(np.int32))
            cv2.fillConvexPoly(shadow, hull, 1.0)
            cv2.polylines(shadow, [hull], isClosed=True, color=1.0, thickness=3)
        return shadow

    def _hand(self, hand: SceneHand, balls: Balls, moment: Moment) -> Surface:
        normals = vertex_normals(hand.verts_m, self._faces)
        light = behind_balls(hand.verts_m, normals, balls, self._sequence.lamp, OWN)
        pose = moment.object_pose.astype(np.float64)
        shown = object_named(self._sequence.object_name)
        turn = pose[:3, :3]
        other = behind_object(
            shown.solid.distance_m, (hand.verts_m - pose[:3, 3]) @ turn, normals @ turn, self._sequence.lamp @ turn
        )
        ambient, direct = light.ambient * other.ambient, light.direct * other.direct
        shade = 1 - 0.5 * (ambient + direct)
        return Surface(
            verts_m=hand.verts_m,
            normals=normals,
            faces=self._faces,
            colours=to_linear(self._complexion * hand.subject.skin_rgb) * (1 + shade[:, None] * _FLUSH),
            ambient=ambient,
            direct=direct,
            gloss=self._gloss[0],
            softness=0.3,
        )

    def _object(self, moment: Moment, balls: list[Balls]) -> Surface:
        shown = object_named(self._sequence.object_name)
        pose = moment.object_pose.astype(np.float64)
        verts = shown.verts_m @ pose[:3, :3].T + pose[:3, 3]
        normals = vertex_normals(verts, shown.faces)
        height = verts[:, 2] - self._sequence.desk_m
        light = Light(np.clip(_SKY_AT_DESK + (1 - _SKY_AT_DESK) * height / _NEAR_DESK_M, 0, 1), np.ones(len(verts)))
        for of_hand in balls:
            one = behind_balls(verts, normals, of_hand, self._sequence.lamp)
            light = Light(light.ambient * one.ambient, light.direct * one.direct)
        return Surface(
            verts_m=verts,
            normals=normals,
            faces=shown.faces,
            colours=to_linear(self._sequence.object_rgb)[shown.banded.astype(int)],
            ambient=light.ambient,
            direct=light.direct,
            gloss=self._gloss[1],
        )

    def _sleeve(self, hand: SceneHand, rgb: Float64[ndarray, "3"]) -> Surface:
        """A tube around the open end of the hand, going on along the forearm."""
        ring = hand.verts_m[self._border]
        middle = ring.mean(0)
        along = hand.wrist_turn[:, 0]
        rings = [middle + (1 + grow) * (ring - middle) + reach * along for reach, grow in _SLEEVE]
        verts = np.concatenate([*rings, rings[-1].mean(0, keepdims=True)])
        faces = _tube_faces(len(ring), len(rings))
        cuff = np.repeat(np.array([0.8 if reach < 0.02 else 1.0 for reach, _ in _SLEEVE]), len(ring))
        return Surface(
            verts_m=verts,
            normals=vertex_normals(verts, faces),
            faces=faces,
            colours=np.outer(np.append(cuff, 1.0), rgb),
            ambient=np.ones(len(verts)),
            direct=np.ones(len(verts)),
        )


def complexion(model: HandModel) -> Float64[ndarray, "v 3"]:
    """Factors of the skin's colour: palms are lighter than backs, finger ends and knuckles redder, nails lighter."""
    template, weights = model.template.numpy(), model.skin_weights.numpy()
    normals = vertex_normals(template, model.faces.numpy())
    palm = np.clip(-normals[:, 1], 0, 1)
    end = weights[:, [3, 6, 9, 12, 15]].sum(1)
    # Where two joints share the skin, it is over a knuckle.
    knuckle = np.clip(normals[:, 1], 0, 1) * np.clip(4 * (weights[:, 1:] * (1 - weights[:, 1:])).max(1), 0, 1)
    factor = 1 + 0.10 * palm[:, None] + (end * (0.5 + 0.5 * palm))[:, None] * np.array([0.05, -0.06, -0.05])
    factor += knuckle[:, None] * np.array([0.0, -0.08, -0.07])
    for finger, tip in enumerate(TIP_VERTICES):
        back = np.array([0.0, 0.6, 0.8]) if finger == 0 else np.array([0.0, 1.0, 0.0])
        near = np.linalg.norm(template - template[tip], axis=1) < 0.013
        nail = near & (normals @ back > 0.75)
        factor[nail] = (1.12, 1.06, 1.08)
    colours: ndarray = factor
    return colours


@cache
def _tube_faces(around: int, rings: int) -> Int64[ndarray, "f 3"]:
    """A tube of rings of vertices that turn as a mesh's border does, closed at its last ring by a fan around one more
    vertex.
    """
    i = np.arange(around)
    j = (i + 1) % around
    faces = []
    for r in range(rings - 1):
        a, b = r * around, (r + 1) * around
        faces += [np.stack([j + a, i + a, i + b], 1), np.stack([j + b, j + a, i + b], 1)]
    last = (rings - 1) * around
    faces.append(np.stack([j + last, i + last, np.full(around, rings * around)], 1))
    return np.concatenate(faces).astype(np.int64)


def _light_fall(generator: np.random.Generator) -> ndarray:
    """The light on the desk, coarse: brighter on one side, darker in the picture's corners."""
    width, height = FRAME_SIZE[0] // _COARSE, FRAME_SIZE[1] // _COARSE
    x, y = np.meshgrid(np.linspace(-1, 1, width), np.linspace(-1, 1, height))
    slope = generator.uniform(-0.18, 0.18, 2)
    corners = generator.uniform(0.03, 0.14) * (x**2 + y**2) / 2
    tint = np.append(1 + generator.uniform(-0.04, 0.04, 3), 1.0)
    fall: ndarray = ((1 + slope[0] * x + slope[1] * y - corners)[..., None] * tint).astype(np.float32)
    return fall


def _noise_tile(generator: np.random.Generator) -> tuple[ndarray, ndarray]:
    """A sensor's noise, larger than a picture, so that each picture takes another part: grey and coloured. What it adds
    and what it takes away, RGB, which OpenCV does faster with bytes than it adds numbers that have a sign.
    """
    width, height = _NOISE_SIDE
    grey = generator.standard_normal((height, width, 1), dtype=np.float32)
    coloured = generator.standard_normal((height, width, 3), dtype=np.float32)
    mixed = cv2.GaussianBlur(0.8 * grey + 0.6 * coloured, (3, 3), 0.5)
    level = generator.uniform(1.0, 2.0)
    noise = np.rint(mixed * (level / mixed.std())).astype(np.int8)  # of a dozen grey levels at most
    return np.maximum(noise, 0).view(np.uint8), np.maximum(-noise, 0).view(np.uint8)

"""A model and its hand as a predictor: from a photo to the hands in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float64, UInt8
from numpy import ndarray
from torch import Tensor

from hmr_core.data.batch import as_input
from hmr_core.data.crops import crop_size
from hmr_core.errors import HmrError, UsageError
from hmr_core.geometry.camera import project
from hmr_core.geometry.mirror import mirror_intrinsics
from hmr_core.hand.fit.lm import fit_hands
from hmr_core.hand.hand import GIVEN, HAND_SIZE, Hand
from hmr_core.hand.layer import HandLayer
from hmr_core.hand.solver import UnsolvableJointsError
from hmr_core.hand.source import HandModelSource
from hmr_core.inference.boxes import (
    HAND,
    JOINTS,
    LOOKS,
    WHOLE,
    Box,
    GivenBoxes,
    first_square,
    square_by_hand,
    square_of_joints,
)
from hmr_core.inference.camera import PhotoCamera, photo_camera
from hmr_core.inference.crops import Look, crop_looks
from hmr_core.inference.depth import bone_lengths, hand_size
from hmr_core.inference.numbers import Number, Numbers
from hmr_core.inference.photo import Photo, read_photo
from hmr_core.inference.request import PhotoRequest
from hmr_core.inference.roots import roots_by_size
from hmr_core.inference.solving import LoadedSolver, solve
from hmr_core.nn.decode import Points, decode
from hmr_core.nn.float32 import float32_arithmetic
from hmr_core.nn.model import Inputs, Prediction
from hmr_core.plugins.failures import failures_told
from hmr_core.plugins.recipes import ImageRecipe
from hmr_core.plugins.specs import ModelSpec
from hmr_core.viz.hands import draw_hands
from hmr_core.weights.checkpoints import Checkpoint

SIDE = "right"
"""The hands that models are trained on. A left one is mirrored before a model sees it, and what it predicts back."""


@dataclass(frozen=True, kw_only=True)
class Predictor:
    """Predicts the hands of photos; `hmr.load` makes one.

    layer: poses the hand model, of a right hand, on the CPU. solver: what makes a mesh where the model predicts joints
    alone; None for no mesh there.
    """

    spec: ModelSpec
    checkpoint: Checkpoint
    hand_model: HandModelSource
    layer: HandLayer
    solver: LoadedSolver | None
    device: torch.device

    def __repr__(self) -> str:
        """The predictor in one line: a notebook shows it, and the weights would fill pages."""
        solver = "no solver" if self.solver is None else f"solver {self.solver.name}"
        return f"Predictor({self.spec.name}, {self.checkpoint.path}, {self.hand_model.label}, {solver}, {self.device})"

    def __call__(
        self,
        image: ndarray | Path | str,
        *,
        boxes: GivenBoxes = (WHOLE,),
        box_of: str = HAND,
        sides: str | Sequence[str] = SIDE,
        intrinsics: Numbers | None = None,
        fov: Number | None = None,
        depth: Number | None = None,
        hand_size: Number | None = None,
    ) -> list[Hand]:
        """The hands in the boxes of a photo, in their order.

        image: (height, width, 3), uint8, RGB, or a path. The others are those of PhotoRequest: boxes in pixels of the
        upright photo ("whole" for a hand that fills it) around the hand or, by box_of, the joints; sides; intrinsics or
        fov (degrees); depth (metres) or hand_size (millimetres).
        Raises UsageError for boxes, sides and cameras that cannot be, HmrError for what is no photo, and for a
        prediction that is not finite or that no mesh can be made of.
        """
        request = PhotoRequest(
            boxes=boxes, box_of=box_of, sides=sides, intrinsics=intrinsics, fov=fov, depth=depth, hand_size=hand_size
        )
        return self.predict(as_photo(image), request)

    def predict(self, photo: Photo, request: PhotoRequest) -> list[Hand]:
        """The hands of a photo, as __call__ has them."""
        camera = photo_camera(photo, intrinsics=request.intrinsics, fov=request.fov)
        wanted = request.hands(photo.width, photo.height)
        if not wanted:
            return []
        views = [_view(photo, camera, hand.box, hand.side) for hand in wanted]
        square = square_of_joints if request.box_of == JOINTS else first_square
        looks: Sequence[Look] = [Look(view.image, view.intrinsics, square(view.box)) for view in views]
        for _ in range(0 if request.box_of == JOINTS else LOOKS - 1):
            looks = self._closer(looks, views, self._look(looks, request)[0])
        points, scale = self._look(looks, request)
        points = _scaled(self._with_mesh(points), scale)
        faces = self.layer.model.faces.numpy()
        found = []
        for i, hand in enumerate(wanted):
            joints = _array(points.joints, i)
            intrinsics = views[i].intrinsics
            predicted = Hand(
                side=SIDE,
                score=1.0,
                box=views[i].box,
                joints=joints,
                joints_px=_pixels(joints, intrinsics),
                verts=None if points.verts is None else _array(points.verts, i),
                faces=None if points.verts is None else faces,
                rotations=None if points.rotations is None else _array(points.rotations, i),
                betas=None if points.betas is None else _array(points.betas, i),
                confidence=None if points.confidence is None else _array(points.confidence, i),
                intrinsics=intrinsics,
                intrinsics_from=camera.intrinsics_from,
                depth_from=HAND_SIZE if request.depth is None else GIVEN,
            )
            found.append(predicted if hand.side == SIDE else predicted.mirrored(photo.width))
        return found

    def as_report(self) -> dict[str, Any]:
        """What hands.json says of it."""
        return {
            "model": self.spec.name,
            "checkpoint": {"path": str(self.checkpoint.path), "blake2b": self.checkpoint.digest},
            "hand_model": self.hand_model.as_report(),
            "solver": None if self.solver is None else self.solver.as_report(),
        }

    def _closer(self, looks: Sequence[Look], views: Sequence[View], seen: Points) -> Sequence[Look]:
        """The looks at the joints' boxes, as the hands that were seen have them in theirs."""
        try:
            fit = fit_hands(self.layer, seen.joints.clone())
        except UnsolvableJointsError:  # of a model that knows nothing yet
            return looks
        return [
            Look(view.image, view.intrinsics, square_by_hand(view.box, *(_pixels(p, view.intrinsics) for p in points)))
            for view, *points in zip(views, fit.joints.numpy(), fit.verts.numpy(), strict=True)
        ]

    def _look(self, looks: Sequence[Look], request: PhotoRequest) -> tuple[Points, Tensor | None]:
        """The hands that the model sees, in the camera spaces of the pictures, and by what all their points are to be
        scaled.
        """
        recipe = self.checkpoint.recipe
        assert isinstance(recipe, ImageRecipe)
        size, expand = crop_size(recipe.model), recipe.data.bbox_expand
        images, intrinsics = crop_looks(looks, bbox_expand=expand, image_size=size)
        image = as_input(images.to(self.device))
        with (
            failures_told(f'the model "{self.spec.name}"', "on a photo", samples=len(looks), device=str(self.device)),
            torch.inference_mode(),
            float32_arithmetic(tf32=False),
        ):
            prediction = self.checkpoint.model(Inputs(image=image, intrinsics=intrinsics.to(self.device))).to("cpu")
            inputs = Inputs(image=image, intrinsics=intrinsics)
            root = roots_by_size(
                prediction,
                inputs,
                self.layer,
                root_joint=self.spec.root_joint,
                side_px=size / expand,
                depth=None if request.depth is None else float(request.depth),
            )
            points = decode(prediction, inputs, root, root_joint=self.spec.root_joint, layer=self.layer)
        if not all(bool(torch.isfinite(array).all()) for array in (points.joints, points.verts) if array is not None):
            raise HmrError(
                f'what the model "{self.spec.name}" predicted is not finite. Its weights may have diverged: use '
                "another checkpoint, or train it anew with a smaller train.learning_rate."
            )
        return points, self._scale(prediction, request)

    def _with_mesh(self, points: Points) -> Points:
        """The points with the solver's mesh, where they are joints alone."""
        if points.verts is not None or self.solver is None:
            return points
        names = [f"hand {i + 1}" for i in range(len(points.joints))]
        fit = solve(self.solver, names, points.joints.clone(), lambda hands: None)
        return replace(points, verts=fit.verts, rotations=fit.rotations, betas=fit.betas)

    def _scale(self, prediction: Prediction, request: PhotoRequest) -> Tensor | None:
        """How many times as large as the hand model's the hands are said to be; None where nothing is said.

        A picture does not tell a hand from one twice as large and twice as far away, so all points are scaled.
        """
        if request.hand_size is None:
            return None
        betas = torch.zeros(1, 10) if prediction.betas is None else prediction.betas.float()
        return float(request.hand_size) / 1000 / hand_size(bone_lengths(self.layer, betas)).float()


def as_photo(image: ndarray | Path | str) -> Photo:
    """A photo of an array (height, width, 3), uint8, RGB, or of the file at a path; HmrError for anything else."""
    if isinstance(image, Path | str):
        return read_photo(Path(image))
    if not isinstance(image, ndarray):
        raise HmrError(
            f"a photo as {type(image).__name__}; valid: a NumPy array (height, width, 3) of uint8, RGB, or the path of "
            "a file."
        )
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise HmrError(
            f"a photo of shape {image.shape} and type {image.dtype}; valid: (height, width, 3) of uint8, RGB, or the "
            "path of a file."
        )
    return Photo(image)


def draw(image: ndarray | Path | str, hands: Sequence[Hand]) -> UInt8[ndarray, "height width 3"]:
    """A copy of a photo with its hands drawn over it: meshes, or joints where there is no mesh; uint8, RGB.

    image: as a predictor takes it.
    """
    if not isinstance(hands, Sequence) or not all(isinstance(hand, Hand) for hand in hands):
        raise UsageError(
            f"hands to draw as {type(hands).__name__}; valid: a list of hmr.Hand, as a predictor gives it."
        )
    return draw_hands(as_photo(image).image, hands)


class View(NamedTuple):
    """A hand's picture, in which it is a right one: its pixels, its camera, and the hand's box in it."""

    image: UInt8[ndarray, "height width 3"]
    intrinsics: Float64[ndarray, "3 3"]
    box: Box


def _view(photo: Photo, camera: PhotoCamera, box: Box, side: str) -> View:
    """The hand's box in the photo, or, of a left hand, in the mirrored one."""
    if side == SIDE:
        return View(photo.image, camera.intrinsics, box)
    x, y, width, height = box
    given = torch.from_numpy(camera.intrinsics)
    return View(
        image=np.ascontiguousarray(photo.image[:, ::-1]),
        intrinsics=mirror_intrinsics(given, given.new_tensor(photo.width)).numpy(),
        box=(photo.width - x - width, y, width, height),
    )


def _scaled(points: Points, scale: Tensor | None) -> Points:
    if scale is None:
        return points
    times = scale[:, None, None]
    return replace(points, joints=points.joints * times, verts=None if points.verts is None else points.verts * times)


def _array(tensor: Tensor, i: int) -> ndarray:
    array: ndarray = tensor[i].float().numpy()
    return array


def _pixels(joints: ndarray, intrinsics: Float64[ndarray, "3 3"]) -> ndarray:
    pixels: ndarray = project(torch.from_numpy(joints).double(), torch.from_numpy(intrinsics)).float().numpy()
    return pixels

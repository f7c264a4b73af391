"""A model and its hand as a predictor: from a photo to the hands in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from jaxtyping import Float64, UInt8
from numpy import ndarray
from torch import Tensor

from hmr_core.data.batch import as_input
from hmr_core.data.crops import crop_size
from hmr_core.errors import HmrError
from hmr_core.geometry.mirror import mirror_intrinsics, mirror_points, mirror_rotations
from hmr_core.hand.fit.lm import fit_hands
from hmr_core.hand.layer import HandLayer
from hmr_core.hand.solver import UnsolvableJointsError
from hmr_core.hand.source import HandModelSource
from hmr_core.inference.boxes import LOOKS, Square, first_square, square_by_hand, square_of_joints
from hmr_core.inference.crops import Look, crop_looks
from hmr_core.inference.depth import bone_lengths, hand_size
from hmr_core.inference.detecting import LoadedDetector
from hmr_core.inference.predictor import Predictor, box_around, pixels_of
from hmr_core.inference.request import PhotoRequest
from hmr_core.inference.roots import roots_by_size
from hmr_core.inference.solving import LoadedSolver, solve
from hmr_core.nn.decode import Points, decode
from hmr_core.nn.float32 import float32_arithmetic
from hmr_core.nn.model import Inputs, Prediction
from hmr_core.plugins.failures import failures_told
from hmr_core.plugins.photo_hands import HAND, JOINTS, Box, Detection, FoundHand, InBox, SeenBefore, Sought
from hmr_core.plugins.recipes import ImageRecipe
from hmr_core.plugins.specs import ModelSpec
from hmr_core.weights.checkpoints import Checkpoint

SIDE = "right"
"""The hands that models are trained on. A left one is mirrored before a model sees it, and what it predicts back."""


@dataclass(frozen=True, kw_only=True, repr=False)
class ModelPredictor(Predictor):
    """Predicts the hands of photos by a model that was trained.

    layer: poses the hand model, of a right hand, on the CPU. solver: what makes a mesh where the model predicts joints
    alone; None for no mesh there. detector: what finds hands; None: one hand fills each photo.
    """

    follows: ClassVar[bool] = False
    spec: ModelSpec
    checkpoint: Checkpoint
    hand_model: HandModelSource
    layer: HandLayer
    solver: LoadedSolver | None
    detector: LoadedDetector | None = None
    device: torch.device

    @property
    def name(self) -> str:  # type: ignore[override]  # read only
        """The model's name."""
        return self.spec.name

    def __repr__(self) -> str:
        """The predictor in one line: a notebook shows it, and the weights would fill pages."""
        solver = "no solver" if self.solver is None else f"solver {self.solver.name}"
        made_of = self.spec.name, self.checkpoint.path, self.hand_model.label, solver, self.device
        return f"ModelPredictor({', '.join(map(str, made_of))})"

    def detect(self, image: UInt8[ndarray, "height width 3"]) -> Sequence[InBox | Detection]:
        """Where the hands of an upright picture are: as the detector has them, else one that fills the picture."""
        if self.detector is not None:
            return self.detector.detect(image)
        height, width = image.shape[:2]
        return [InBox(box=(0.0, 0.0, float(width), float(height)))]

    def look(
        self,
        image: UInt8[ndarray, "height width 3"],
        intrinsics: Float64[ndarray, "3 3"],
        sought: Sequence[Sought],
        request: PhotoRequest,
    ) -> list[FoundHand | None]:
        """The hands that are sought in a picture; a model sees one wherever it looks."""
        places = [_place(place, intrinsics) for place in sought]
        views = [_view(image, intrinsics, place) for place in places]
        looks: Sequence[Look] = [Look(view.image, view.intrinsics, _first(view)) for view in views]
        of_joints = [view.box_of == JOINTS for view in views]
        for _ in range(0 if all(of_joints) else LOOKS - 1):
            closer = self._closer(looks, views, self._look(looks, request)[0])
            looks = [old if keep else new for keep, old, new in zip(of_joints, looks, closer, strict=True)]
        points, scale = self._look(looks, request)
        points = _scaled(self._with_mesh(points), scale)
        return [_found(points, i, place.side or SIDE, place.score) for i, place in enumerate(places)]

    def as_report(self) -> dict[str, Any]:
        """What hands.json says of it."""
        return {
            "model": self.spec.name,
            "checkpoint": {"path": str(self.checkpoint.path), "blake2b": self.checkpoint.digest},
            "hand_model": self.hand_model.as_report(),
            "solver": None if self.solver is None else self.solver.as_report(),
            "detector": None if self.detector is None else self.detector.as_report(),
        }

    def _closer(self, looks: Sequence[Look], views: Sequence[View], seen: Points) -> Sequence[Look]:
        """The looks at the joints' boxes, as the hands that were seen have them in theirs."""
        try:
            fit = fit_hands(self.layer, seen.joints.clone())
        except UnsolvableJointsError:  # of a model that knows nothing yet
            return looks
        return [
            Look(
                view.image, view.intrinsics, square_by_hand(view.box, *(pixels_of(p, view.intrinsics) for p in points))
            )
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


class Place(NamedTuple):
    """Where a model looks for a hand: a box, what it is tight around, the hand's side, how sure it is that there is
    one.
    """

    box: Box
    box_of: str
    side: str | None
    score: float


def _place(sought: Sought, intrinsics: Float64[ndarray, "3 3"]) -> Place:
    if isinstance(sought, InBox):
        return Place(sought.box, sought.box_of, sought.side, 1.0)
    if isinstance(sought, SeenBefore):
        hand = sought.hand
        return Place(box_around(pixels_of(hand.joints, intrinsics)), JOINTS, hand.side, hand.score)
    return Place(sought.box, HAND, sought.side, sought.score)


class View(NamedTuple):
    """A hand's picture, in which it is a right one: its pixels, its camera, and the hand's box in it."""

    image: UInt8[ndarray, "height width 3"]
    intrinsics: Float64[ndarray, "3 3"]
    box: Box
    box_of: str


def _view(image: UInt8[ndarray, "height width 3"], intrinsics: Float64[ndarray, "3 3"], place: Place) -> View:
    """The hand's box in the photo, or, of a left hand, in the mirrored one."""
    if place.side in (None, SIDE):
        return View(image, intrinsics, place.box, place.box_of)
    x, y, width, height = place.box
    given, photo_width = torch.from_numpy(intrinsics), image.shape[1]
    return View(
        image=np.ascontiguousarray(image[:, ::-1]),
        intrinsics=mirror_intrinsics(given, given.new_tensor(photo_width)).numpy(),
        box=(photo_width - x - width, y, width, height),
        box_of=place.box_of,
    )


def _first(view: View) -> Square:
    """The square that is looked at first."""
    return square_of_joints(view.box) if view.box_of == JOINTS else first_square(view.box)


def _found(points: Points, i: int, side: str, score: float) -> FoundHand:
    """The i-th hand of what was predicted of right ones: as it is, or the left one that it is the mirror image of."""
    mirror = side != SIDE

    def array(tensor: Tensor | None, mirrored: Callable[[Tensor], Tensor]) -> ndarray | None:
        if tensor is None:
            return None
        one = tensor[i].float()
        values: ndarray = (mirrored(one) if mirror else one).numpy()
        return values

    joints = array(points.joints, mirror_points)
    assert joints is not None
    return FoundHand(
        side=side,
        score=score,
        joints=joints,
        verts=array(points.verts, mirror_points),
        rotations=array(points.rotations, mirror_rotations),
        betas=array(points.betas, lambda betas: betas),
        confidence=array(points.confidence, lambda confidence: confidence),
    )


def _scaled(points: Points, scale: Tensor | None) -> Points:
    if scale is None:
        return points
    times = scale[:, None, None]
    return replace(points, joints=points.joints * times, verts=None if points.verts is None else points.verts * times)

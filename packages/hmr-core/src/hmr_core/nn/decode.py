"""From a prediction to points in camera space: one rule for whatever was predicted.

Where the root joint is, the caller says: the annotations under the published protocol, the hand's size on a photo.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from jaxtyping import Float
from torch import Tensor

from hmr_core.errors import HmrError
from hmr_core.geometry.camera import from_uvd
from hmr_core.hand.layer import HandLayer
from hmr_core.hand.solver import check_joints, scale_and_place
from hmr_core.nn.model import Inputs, Prediction, TensorRecord


@dataclass(frozen=True, kw_only=True)
class Points(TensorRecord):
    """Hands of a batch, metres, in the camera space of the crop.

    joints: OpenPose order. verts: None where no mesh was predicted. rotations, betas: axis-angle of MANO's 16 joints
    (flat hand) and the shape, where a hand was posed. confidence: 0..1, where the model has one.
    """

    joints: Float[Tensor, "batch 21 3"]
    verts: Float[Tensor, "batch 778 3"] | None = None
    rotations: Float[Tensor, "batch 16 3"] | None = None
    betas: Float[Tensor, "batch 10"] | None = None
    confidence: Float[Tensor, "batch 21"] | None = None


def decode(
    prediction: Prediction,
    inputs: Inputs,
    root: Float[Tensor, "batch 3"],
    *,
    root_joint: int,
    layer: HandLayer | None = None,
) -> Points:
    """The points of a prediction, float32, metres, in the camera space of the crop.

    UVD is lifted by the crop's camera and the root's depth. With a joint_regressor the joints are those of the lifted
    mesh. Rotations and betas are posed: the hand is put where its joints are closest to the lifted ones (in the sum of
    the squared distances), or its root joint at `root` where no UVD was predicted. The hand of a model of joints is
    scaled and placed by the joints that it was given, and `root` is not used.

    inputs: what the model was given; of the image its size alone counts. root: the root joint, metres, camera space of
    the crop. layer: poses rotations, on the device of the prediction. All other tensors are on that device, too.
    Raises HmrError where the prediction has nothing to make joints of, ValueError for rotations without betas or
    without a layer, and UnsolvableJointsError for given joints that are no hand's.
    """
    if inputs.joints is not None:
        hand = _pose(prediction, inputs.joints[:, root_joint], root_joint, layer)
        check_joints(inputs.joints)
        assert hand.verts is not None
        joints, verts = scale_and_place(hand.joints, hand.verts, inputs.joints)
        return replace(hand, joints=joints, verts=verts)
    lifted = _lift(prediction, inputs, root)
    if prediction.rotations is not None:
        hand = _pose(prediction, root, root_joint, layer)
        return hand if lifted is None else _moved(hand, (lifted.joints - hand.joints).mean(1, keepdim=True))
    if lifted is None:
        raise HmrError("the model predicted neither joints_uvd nor rotations and betas, so there are no joints.")
    return lifted


def pose_for_loss(
    prediction: Prediction, root: Float[Tensor, "batch 3"], *, root_joint: int, layer: HandLayer | None
) -> Prediction:
    """The prediction as the loss takes it: with the joints and verts of its rotations and betas, if it has them.

    root: where the root joint is put, metres, camera space; the true one in training. layer: on the same device.
    Raises ValueError for rotations without betas or without a layer.
    """
    if prediction.rotations is None:
        return prediction
    hand = _pose(prediction, root, root_joint, layer)
    return replace(prediction, joints=hand.joints, verts=hand.verts)


def _moved(hand: Points, shift: Float[Tensor, "batch 1 3"]) -> Points:
    assert hand.verts is not None
    return replace(hand, joints=hand.joints + shift, verts=hand.verts + shift)


def _lift(prediction: Prediction, inputs: Inputs, root: Float[Tensor, "batch 3"]) -> Points | None:
    """The points of what was predicted in UVD; None where nothing was."""
    if prediction.joints_uvd is None:
        return None
    assert inputs.image is not None, "UVD refers to the crop of an image"
    assert inputs.intrinsics is not None, "UVD is lifted by the crop's camera"
    size = inputs.image.shape[-1]
    joints = from_uvd(prediction.joints_uvd.float(), root, inputs.intrinsics, size)
    if prediction.verts_uvd is None:
        return Points(joints=joints, confidence=prediction.confidence)
    verts = from_uvd(prediction.verts_uvd.float(), root, inputs.intrinsics, size)
    if prediction.joint_regressor is not None:
        joints = prediction.joint_regressor @ verts  # lifting is not linear: not quite the joints of the mesh in UVD
    return Points(joints=joints, verts=verts, confidence=prediction.confidence)


def _pose(prediction: Prediction, root: Float[Tensor, "batch 3"], root_joint: int, layer: HandLayer | None) -> Points:
    """The hand of the predicted rotations and betas, its root joint at `root`."""
    if layer is None:
        raise ValueError("the model predicts rotations, and has no hand to pose: its spec must say needs_hand=True")
    if prediction.rotations is None or prediction.betas is None:
        raise ValueError("a model that predicts a hand's parameters must give rotations and betas")
    hand = layer(prediction.rotations.float(), prediction.betas.float(), centre=root_joint)
    return Points(
        joints=hand.joints + root[:, None],
        verts=hand.verts + root[:, None],
        rotations=prediction.rotations,
        betas=prediction.betas,
        confidence=prediction.confidence,
    )

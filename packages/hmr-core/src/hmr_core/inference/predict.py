"""From a model to points in camera space."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from numpy import ndarray
from torch import Tensor

from hmr_core.data.image_dataset import ImageDataset
from hmr_core.data.joint_dataset import JointBatch
from hmr_core.data.loading import AnyBatch, AnyDataset, Loader, split_batches
from hmr_core.errors import HmrError
from hmr_core.geometry.camera import from_uvd
from hmr_core.hand.layer import HandLayer
from hmr_core.hand.solver import UnsolvableJointsError, check_joints, scale_and_place
from hmr_core.nn.decode import pose
from hmr_core.nn.model import PoseModel, Prediction, Targets
from hmr_core.plugins.failures import failures_told


@dataclass(frozen=True, kw_only=True)
class Points:
    """Predicted points, metres, camera space, on the CPU.

    verts is None for a model that predicts joints alone. rotations (axis-angle) and betas are there where a hand was
    posed, confidence (0..1) where the model has one.
    """

    ids: list[str]
    joints: Float[Tensor, "batch 21 3"]
    verts: Float[Tensor, "batch 778 3"] | None = None
    rotations: Float[Tensor, "batch 16 3"] | None = None
    betas: Float[Tensor, "batch 10"] | None = None
    confidence: Float[Tensor, "batch 21"] | None = None


def to_camera(
    prediction: Prediction, targets: Targets, image_size: int
) -> tuple[Float[Tensor, "batch 21 3"], Float[Tensor, "batch 778 3"] | None]:
    """Joints and vertices in camera space, of what a model of images predicts in UVD.

    The root's depth is the ground truth's, as in the published protocol. With a joint_regressor the joints are those
    of the mesh in camera space, which are not quite those of the mesh in UVD.
    """
    if prediction.joints_uvd is None:
        raise HmrError("the model predicted no joints_uvd, and nothing here makes joints of what it did predict")
    joints = from_uvd(prediction.joints_uvd.float(), targets.root, targets.intrinsics, image_size)
    if prediction.verts_uvd is None:
        return joints, None
    verts = from_uvd(prediction.verts_uvd.float(), targets.root, targets.intrinsics, image_size)
    return joints if prediction.joint_regressor is None else prediction.joint_regressor @ verts, verts


def gather(batches: Iterable[Points]) -> Points:
    """The points of all batches as one."""
    parts = list(batches)

    def together(name: str) -> Tensor | None:
        arrays = [getattr(part, name) for part in parts if getattr(part, name) is not None]
        return torch.cat(arrays) if arrays else None

    return Points(
        ids=[i for part in parts for i in part.ids],
        joints=torch.cat([part.joints for part in parts]),
        verts=together("verts"),
        rotations=together("rotations"),
        betas=together("betas"),
        confidence=together("confidence"),
    )


def predict(
    model: PoseModel,
    loader: Loader,
    rows: Int64[ndarray, " n"],
    *,
    layer: HandLayer | None = None,
    batch_size: int,
    on_batch: Callable[[int], None] = lambda samples: None,
) -> Iterator[Points]:
    """The points of a model, on the loader's device, for the given rows of the pack, in order, batch by batch.

    layer: the hand layer, on the CPU, that poses the rotations of models that predict them. on_batch is told how many
    samples were done. HmrError names a sample whose points are not finite, or the batch in which the model failed.
    """
    was_training = model.training
    model.eval()
    try:
        for batch in loader.load(split_batches(rows, batch_size)):
            told = failures_told(
                f"the model {type(model).__name__}",
                f"in the batch that begins with {batch.ids[0]}",
                samples=len(batch.ids),
                device=str(loader.device),
            )
            with told, torch.inference_mode(), _full_precision():
                points = _points(model(batch.inputs()), batch, loader.dataset, layer)
            _refuse_non_finite(points)
            yield points
            on_batch(len(batch.ids))
    finally:
        model.train(was_training)


def _full_precision() -> AbstractContextManager[None]:
    """cuDNN as it is set, but for TensorFloat-32, which would cost a tenth of a millimetre on GPUs that have it."""
    cudnn = torch.backends.cudnn
    # What is not given would not stay as it is: cuDNN itself would be off.
    flags: AbstractContextManager[None] = cudnn.flags(
        enabled=cudnn.enabled, benchmark=cudnn.benchmark, deterministic=cudnn.deterministic, allow_tf32=False
    )
    return flags


def _points(prediction: Prediction, batch: AnyBatch, dataset: AnyDataset, layer: HandLayer | None) -> Points:
    # On the CPU, where the layer is: lifting and posing are a small part of the work.
    prediction, targets = prediction.to("cpu"), batch.targets.to("cpu")
    confidence = prediction.confidence
    if isinstance(dataset, ImageDataset):
        joints, verts = to_camera(prediction, targets, dataset.image_size)
        if prediction.rotations is None:
            return Points(ids=batch.ids, joints=joints, verts=verts, confidence=confidence)
        posed = pose(layer, prediction, joints[:, dataset.root_joint], root_joint=dataset.root_joint)
        assert posed.joints is not None
        assert posed.verts is not None
        joints, verts = posed.joints, posed.verts
    else:
        assert isinstance(batch, JointBatch)
        given = batch.joints.cpu()
        posed = pose(layer, prediction, given[:, dataset.root_joint], root_joint=dataset.root_joint)
        try:
            check_joints(given)
        except UnsolvableJointsError as error:
            raise HmrError(f"the joints of sample {batch.ids[error.index]} are no hand's: {error.reason}.") from error
        assert posed.joints is not None
        assert posed.verts is not None
        joints, verts = scale_and_place(posed.joints, posed.verts, given)
    return Points(
        ids=batch.ids,
        joints=joints,
        verts=verts,
        rotations=posed.rotations,
        betas=posed.betas,
        confidence=confidence,
    )


def _refuse_non_finite(points: Points) -> None:
    for tensor in (points.joints, points.verts):
        if tensor is not None and not bool(torch.isfinite(tensor).all()):
            bad = (~torch.isfinite(tensor).flatten(1).all(1)).nonzero().flatten().tolist()
            raise HmrError(
                f"the model's prediction is not finite for {points.ids[bad[0]]} ({len(bad)} in its batch). Its weights "
                "may have diverged: train it with a smaller train.learning_rate, or with train.clip_norm."
            )

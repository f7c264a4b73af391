"""From a model to points in camera space."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from numpy import ndarray
from torch import Tensor

from hmr_core.data.dataset import HandDataset
from hmr_core.data.joint_dataset import JointBatch
from hmr_core.data.loading import AnyBatch, AnyDataset, load_batches, split_batches
from hmr_core.errors import HmrError
from hmr_core.geometry.camera import from_uvd
from hmr_core.hand.solver import UnsolvableJointsError, check_joints, place
from hmr_core.nn.model import HandModel, Prediction, Targets
from hmr_core.nn.posing import pose


@dataclass(frozen=True, kw_only=True)
class Points:
    """Predicted points, metres, camera space, on the CPU.

    verts is None for a model that predicts joints alone. rotations (axis-angle) and betas are of a model of joints.
    """

    ids: list[str]
    joints: Float[Tensor, "batch 21 3"]
    verts: Float[Tensor, "batch 778 3"] | None = None
    rotations: Float[Tensor, "batch 16 3"] | None = None
    betas: Float[Tensor, "batch 10"] | None = None


def to_camera(
    prediction: Prediction, targets: Targets, image_size: int
) -> tuple[Float[Tensor, "batch 21 3"], Float[Tensor, "batch 778 3"] | None]:
    """Joints and vertices in camera space. The root's depth is the ground truth's, as in the published protocol."""
    if prediction.joints_uvd is None:
        raise HmrError("the model predicted no joints_uvd, and nothing here makes joints of what it did predict")
    joints = from_uvd(prediction.joints_uvd.float(), targets.root, targets.intrinsics, image_size)
    if prediction.verts_uvd is None:
        return joints, None
    return joints, from_uvd(prediction.verts_uvd.float(), targets.root, targets.intrinsics, image_size)


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
    )


def predict(
    model: HandModel,
    dataset: AnyDataset,
    rows: Int64[ndarray, " n"],
    *,
    device: torch.device,
    batch_size: int,
    workers: int,
    on_batch: Callable[[int], None] = lambda samples: None,
) -> Iterator[Points]:
    """The model's points for the given rows of the pack, in order, batch by batch.

    on_batch is told how many samples were done. HmrError names the samples of a batch whose points are not finite.
    """
    was_training = model.training
    model.eval()
    try:
        for batch in load_batches(dataset, split_batches(rows, batch_size), workers=workers, device=device):
            # TensorFloat-32 would cost a tenth of a millimetre on GPUs that have it.
            with torch.inference_mode(), torch.backends.cudnn.flags(allow_tf32=False):
                points = _points(model(batch.inputs()), batch, dataset)
            _refuse_non_finite(points)
            yield points
            on_batch(len(batch.ids))
    finally:
        model.train(was_training)


def _points(prediction: Prediction, batch: AnyBatch, dataset: AnyDataset) -> Points:
    if isinstance(dataset, HandDataset):
        joints, verts = to_camera(prediction, batch.targets, dataset.image_size)
        return Points(ids=batch.ids, joints=joints.cpu(), verts=None if verts is None else verts.cpu())
    assert isinstance(batch, JointBatch)
    # On the CPU, where the data set's layer is: posing is a small part of the work.
    given, root_joint = batch.joints.cpu(), dataset.root_joint
    posed = pose(dataset.layer, prediction.to("cpu"), given[:, root_joint], root_joint=root_joint)
    try:
        check_joints(given)
    except UnsolvableJointsError as error:
        raise HmrError(f"the joints of sample {batch.ids[error.index]} are no hand's: {error.reason}.") from error
    assert posed.joints is not None
    assert posed.verts is not None
    joints, verts = place(posed.joints, posed.verts, given)
    return Points(ids=batch.ids, joints=joints, verts=verts, rotations=posed.rotations, betas=posed.betas)


def _refuse_non_finite(points: Points) -> None:
    for tensor in (points.joints, points.verts):
        if tensor is not None and not bool(torch.isfinite(tensor).all()):
            bad = (~torch.isfinite(tensor).flatten(1).all(1)).nonzero().flatten().tolist()
            raise HmrError(f"the model's prediction is not finite for {points.ids[bad[0]]} ({len(bad)} in its batch).")

"""From a model to points in camera space."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from numpy import ndarray
from torch import Tensor

from hmr_core.data.dataset import HandDataset
from hmr_core.data.loading import load_batches, split_batches
from hmr_core.errors import HmrError
from hmr_core.geometry.camera import from_uvd
from hmr_core.nn.model import HandModel, Prediction, Targets


@dataclass(frozen=True, kw_only=True)
class Points:
    """Predicted points, metres, camera space, on the CPU. verts is None for a model of joints alone."""

    ids: list[str]
    joints: Float[Tensor, "batch 21 3"]
    verts: Float[Tensor, "batch 778 3"] | None


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
    verts = [part.verts for part in parts if part.verts is not None]
    return Points(
        ids=[i for part in parts for i in part.ids],
        joints=torch.cat([part.joints for part in parts]),
        verts=torch.cat(verts) if verts else None,
    )


def predict(
    model: HandModel,
    dataset: HandDataset,
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
                joints, verts = to_camera(model(batch.inputs()), batch.targets, dataset.image_size)
            points = Points(ids=batch.ids, joints=joints.cpu(), verts=None if verts is None else verts.cpu())
            _refuse_non_finite(points)
            yield points
            on_batch(len(batch.ids))
    finally:
        model.train(was_training)


def _refuse_non_finite(points: Points) -> None:
    for tensor in (points.joints, points.verts):
        if tensor is not None and not bool(torch.isfinite(tensor).all()):
            bad = (~torch.isfinite(tensor).flatten(1).all(1)).nonzero().flatten().tolist()
            raise HmrError(f"the model's prediction is not finite for {points.ids[bad[0]]} ({len(bad)} in its batch).")

"""From a model and a pack to points in camera space."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int64
from numpy import ndarray
from torch import Tensor

from hmr_core.data.batch import Batch
from hmr_core.data.loading import Loader, split_batches
from hmr_core.errors import HmrError
from hmr_core.hand.layer import HandLayer
from hmr_core.hand.solver import UnsolvableJointsError
from hmr_core.nn.decode import Points, decode
from hmr_core.nn.float32 import float32_arithmetic
from hmr_core.nn.model import Inputs, PoseModel, Prediction
from hmr_core.plugins.failures import failures_told
from hmr_core.processes import ALONE, Place

RootSource = Callable[[Prediction, Inputs, Batch], Float[Tensor, "batch 3"]]
"""Says where the root joints of a batch are: metres, camera space of the crops. Called with tensors on the CPU, but for
the images."""


def annotated_roots(prediction: Prediction, inputs: Inputs, batch: Batch) -> Float[Tensor, "batch 3"]:
    """The ground truth's root joints, as the published protocol has them given."""
    return batch.targets.root


@dataclass(frozen=True, kw_only=True)
class SamplePoints(Points):
    """The points of samples of a pack, on the CPU. ids: of the samples, in their order."""

    ids: list[str]


def gather(batches: Iterable[SamplePoints]) -> SamplePoints:
    """The points of all batches as one."""
    parts = list(batches)

    def together(name: str) -> Tensor | None:
        arrays = [getattr(part, name) for part in parts if getattr(part, name) is not None]
        return torch.cat(arrays) if arrays else None

    return SamplePoints(
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
    roots: RootSource,
    layer: HandLayer | None = None,
    batch_size: int,
    on_batch: Callable[[int], None] = lambda samples: None,
    where: Place = ALONE,
) -> Iterator[SamplePoints]:
    """The points of a model, on the loader's device, for the given rows of the pack, in order, batch by batch.

    roots: says where the root joints are. layer: the hand layer, on the CPU, that poses the rotations of models that
    predict them. on_batch is told how many samples were done. where: of several processes, each predicts its share of
    the batches.
    HmrError names a sample whose points are not finite, or the batch in which the model failed.
    """
    was_training = model.training
    model.eval()
    try:
        for batch in loader.load(where.share_of(split_batches(rows, batch_size))):
            told = failures_told(
                f"the model {type(model).__name__}",
                f"in the batch that begins with {batch.ids[0]}",
                samples=len(batch.ids),
                device=str(loader.device),
            )
            with told, torch.inference_mode(), float32_arithmetic(tf32=False):
                inputs = batch.inputs()
                points = _points(model(inputs), inputs, batch, roots, loader.dataset.root_joint, layer)
            _refuse_non_finite(points)
            yield points
            on_batch(len(batch.ids))
    finally:
        model.train(was_training)


def _points(
    prediction: Prediction, inputs: Inputs, batch: Batch, roots: RootSource, root_joint: int, layer: HandLayer | None
) -> SamplePoints:
    # On the CPU, where the layer is: decoding is a small part of the work. Of the images only the size counts there.
    prediction, image = prediction.to("cpu"), inputs.image
    inputs = replace(replace(inputs, image=None).to("cpu"), image=image)
    root = roots(prediction, inputs, replace(batch, image=None).to("cpu"))
    try:
        points = decode(prediction, inputs, root, root_joint=root_joint, layer=layer)
    except UnsolvableJointsError as error:
        raise HmrError(f"the joints of sample {batch.ids[error.index]} are no hand's: {error.reason}.") from error
    return SamplePoints(ids=batch.ids, **vars(points))


def _refuse_non_finite(points: SamplePoints) -> None:
    for tensor in (points.joints, points.verts):
        if tensor is not None and not bool(torch.isfinite(tensor).all()):
            bad = (~torch.isfinite(tensor).flatten(1).all(1)).nonzero().flatten().tolist()
            raise HmrError(
                f"the model's prediction is not finite for {points.ids[bad[0]]} ({len(bad)} in its batch). Its weights "
                "may have diverged: train it with a smaller train.learning_rate, or with train.clip_norm."
            )

"""An evaluation of a predictor, as it is asked for: what can be told of it without torch, and what it then loads."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hmr_core.data.default_pack import default_pack
from hmr_core.data.pack.reader import Pack
from hmr_core.errors import Option, UsageError
from hmr_core.evaluation.official import OwnForms
from hmr_core.evaluation.protocols import solver_protocol
from hmr_core.evaluation.request import EvaluationRequest
from hmr_core.hand.arrays import named_hand_file
from hmr_core.hand.layer_names import OWN
from hmr_core.inference.load import is_predictor, right_hand
from hmr_core.inference.photo_options import photo_options
from hmr_core.plugins.registry import Registry
from hmr_core.plugins.specs import PredictorSpec

if TYPE_CHECKING:
    import torch

    from hmr_core.evaluation.predictor_subject import PredictorSubject


@dataclass(frozen=True, kw_only=True)
class PredictorTask:
    """A request for a predictor, of which all names were looked up. folder: of the results; None where none are
    written. own: what of the data set's own is asked for.
    """

    request: EvaluationRequest
    spec: PredictorSpec
    split: str
    pack: Pack
    folder: Path | None
    own: OwnForms


def predictor_of(request: EvaluationRequest, registry: Registry) -> PredictorSpec | None:
    """The predictor that is to be evaluated; None for a model.

    Raises UsageError for a predictor with a checkpoint, and for a model without one.
    """
    name = request.model
    if name is None or not is_predictor(name, registry):
        if request.ckpt is None:
            if name is not None:
                registry.model(name)  # which may not be there
            raise UsageError(
                f'the model "{name}" needs its weights.',
                "Give ",
                Option("ckpt", "FILE"),
                ": a run, a checkpoint, or a released file.",
            )
        return None
    if request.ckpt is not None:
        raise UsageError(
            f'"{name}" is a predictor, which was not trained here.', "Leave ", Option("ckpt", request.ckpt), " out."
        )
    return registry.predictor(name)


def check_predictor(request: EvaluationRequest, spec: PredictorSpec) -> tuple[Pack, str]:
    """The pack and the split of a request; UsageError for options of models, and for those that do not exist."""
    given = (
        (Option("solver", request.solver or ""), request.solver is not None),
        (Option("solver_ckpt"), request.solver_ckpt is not None),
        (Option("solver_set"), bool(request.solver_sets)),
        (Option("protocol", request.protocol), solver_protocol(request.protocol) != "published"),
        (Option("hand_layer", request.hand_layer), request.hand_layer != OWN),
    )
    if useless := [option for option, there in given if there]:
        raise UsageError(
            f'the predictor "{spec.name}" makes its meshes by itself, with the hand layer of hmr.',
            "Leave ",
            useless[0],
            *(part for option in useless[1:] for part in (", ", option)),
            " out.",
        )
    photo_options(spec, request.sets)
    if request.split is None:
        raise UsageError(
            f'the predictor "{spec.name}" was trained on no split that could be taken.',
            "Give ",
            Option("split"),
            " (`hmr pack info` lists a pack's).",
        )
    named_hand_file(request.hand_model)
    pack = Pack(request.data or default_pack())
    split = pack.split_name(request.split)
    pack.indices(split, request.subset)
    return pack, split


def load_subject(task: PredictorTask, device: torch.device) -> PredictorSubject:
    """The predictor and its hand model, loaded."""
    from hmr_core.evaluation.predictor_subject import PredictorSubject
    from hmr_core.evaluation.subject import LoadedHand
    from hmr_core.inference.plugin_predictor import make_predictor

    source, layer = right_hand(task.request.hand_model)
    predictor = make_predictor(task.spec, task.request.sets, hand_model=source, layer=layer, device=device)
    return PredictorSubject(
        pack=task.pack,
        split=task.split,
        subset=task.request.subset,
        hand=LoadedHand(source=source, layer=layer),
        own=task.own,
        predictor=predictor,
    )

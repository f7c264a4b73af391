"""`hmr.load`: a checkpoint, its model and what it works with, or a predictor of a plugin's, by its name.

What the arguments and the files alone show is looked at first, without torch, so that a mistake is told at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from hmr_core.devices import check_device_name, choose_device
from hmr_core.errors import Option, UsageError
from hmr_core.files import as_path
from hmr_core.hand.arrays import named_hand_file
from hmr_core.inference.photo_options import photo_options
from hmr_core.inference.request import check_consumes_images
from hmr_core.option_text import override_texts
from hmr_core.plugins.known import KNOWN
from hmr_core.plugins.registry import Registry, discover
from hmr_core.plugins.solver_presets import check_weights
from hmr_core.weights.checkpoint_record import check_model, read_record
from hmr_core.weights.find_weights import CKPT, find_weights, without_choice
from hmr_core.weights.model_of import model_of

if TYPE_CHECKING:
    from hmr_core.hand.layer import HandLayer
    from hmr_core.hand.source import HandModelSource
    from hmr_core.inference.model_predictor import ModelPredictor
    from hmr_core.inference.plugin_predictor import PluginPredictor
    from hmr_core.inference.predictor import Predictor

SOLVER = "lm"
"""What makes the mesh of a model that predicts joints alone, unless another solver is wanted."""


def load(
    ckpt: Path | str,
    *,
    model: str | None = None,
    hand_model: Path | str | None = None,
    solver: str | None = SOLVER,
    solver_ckpt: Path | str | None = None,
    detector: str | None = None,
    detector_set: Mapping[str, object] | None = None,
    set: Mapping[str, object] | None = None,
    device: str | None = None,
    registry: Registry | None = None,
) -> Predictor:
    """What predicts the hands of photos: a run, a checkpoint or a released file of weights, or a predictor by its name.

    ckpt: its path, or the name of a predictor, such as "mediapipe" ("./mediapipe" is a path). model: its name, needed
    where the file itself does not tell it. hand_model: a file; by default $HMR_HAND_MODEL's, then the synthetic hand.
    solver, solver_ckpt: what makes a mesh where the model predicts joints alone, and its weights if it needs any; None
    for no mesh there. detector: what finds the hands of photos for a model, and detector_set its options; without one,
    boxes are given or a hand fills the photo. set: options of a predictor. device: cpu, cuda, cuda:N or mps; by default
    the best there is. registry: the plugins; by default the installed ones.
    Raises UsageError for a model of joints and for names and options that do not exist, HmrError for files that cannot
    be used.
    """
    registry = registry or discover()
    if model is None and names_predictor(ckpt, registry):
        if solver != SOLVER or any(value is not None for value in (solver_ckpt, detector, detector_set)):
            raise UsageError(
                f'the predictor "{ckpt}" finds hands and makes meshes by itself: it takes no detector and no solver.'
            )
        return load_predictor(
            str(ckpt), sets=override_texts(set), hand_model=hand_model, device=device, registry=registry
        )
    if set:
        raise UsageError(
            "a model's options are in its checkpoint.", "Leave ", Option("set"), " out: it is for predictors."
        )
    return load_model(
        ckpt,
        model=model,
        hand_model=hand_model,
        solver=solver,
        solver_ckpt=solver_ckpt,
        detector=detector,
        detector_sets=override_texts(detector_set),
        device=device,
        registry=registry,
    )


def names_predictor(ckpt: Path | str, registry: Registry) -> bool:
    """Whether what is to be loaded is a predictor by its name, and no path; "./mediapipe" and Path("mediapipe") are."""
    return isinstance(ckpt, str) and is_predictor(ckpt, registry)


def is_predictor(name: str, registry: Registry) -> bool:
    """Whether a name is that of a predictor, installed or of a package of ours that is not."""
    return name in registry.predictors() or name in KNOWN["predictor"]


def load_predictor(
    name: str, *, sets: Sequence[str], hand_model: Path | str | None, device: str | None, registry: Registry
) -> PluginPredictor:
    """A predictor of a plugin's; sets: its options, as "key=value". Errors are those of `load`."""
    spec = registry.predictor(name)
    check_device_name(device)
    photo_options(spec, sets)
    hand_file = as_path(hand_model)
    named_hand_file(hand_file)

    from hmr_core.inference.plugin_predictor import make_predictor

    hand, layer = right_hand(hand_file)
    return make_predictor(spec, sets, hand_model=hand, layer=layer, device=choose_device(device))


def load_model(
    ckpt: Path | str,
    *,
    model: str | None,
    hand_model: Path | str | None,
    solver: str | None,
    solver_ckpt: Path | str | None,
    detector: str | None,
    detector_sets: Sequence[str],
    device: str | None,
    registry: Registry,
) -> ModelPredictor:
    """A model that was trained, as a predictor; detector_sets: as "key=value". Errors are those of `load`."""
    path = Path(ckpt)
    hand_file, solver_weights = as_path(hand_model), as_path(solver_ckpt)
    spec = registry.model(model or model_of(path))
    check_consumes_images(spec)
    solver_spec = None if solver is None else registry.solver(solver)
    if solver_spec is not None:
        check_weights(solver_spec, solver_weights)
    elif solver_weights is not None:
        raise UsageError("weights of a solver are of no use without one.", "Leave ", Option("solver_ckpt"), " out.")
    detector_spec = None if detector is None else registry.detector(detector)
    if detector_spec is not None:
        photo_options(detector_spec, detector_sets)
    elif detector_sets:
        raise UsageError("options of a detector are of no use without one.", "Add ", Option("detector", "NAME"), ".")
    check_device_name(device)
    weights = find_weights(path)
    if without_choice(path).is_dir():  # to look into a file takes torch
        check_model(path, read_record(weights), spec.name, CKPT)
    if solver_weights is not None:
        find_weights(solver_weights, option=Option("solver_ckpt"))
    named_hand_file(hand_file)

    from hmr_core.inference.detecting import load_detector
    from hmr_core.inference.model_predictor import ModelPredictor
    from hmr_core.inference.solving import load_solver
    from hmr_core.weights.checkpoints import load_checkpoint

    chosen = choose_device(device)
    hand, layer = right_hand(hand_file)
    checkpoint = load_checkpoint(path, spec)
    if spec.needs_hand:
        checkpoint.model.use_hand(layer.model)
    loaded = None
    if solver_spec is not None:
        loaded = load_solver(
            solver_spec,
            layer,
            solver_weights,
            protocol="best" if "best" in solver_spec.protocols else "published",
            device=chosen,
        )
    return ModelPredictor(
        spec=spec,
        checkpoint=replace(checkpoint, model=checkpoint.model.to(chosen).eval()),
        hand_model=hand,
        layer=layer,
        solver=loaded,
        detector=None if detector_spec is None else load_detector(detector_spec, detector_sets, chosen),
        device=chosen,
    )


def right_hand(file: Path | None) -> tuple[HandModelSource, HandLayer]:
    """The hand model that is asked for, and the layer of its right hand, on the CPU."""
    from hmr_core.hand.back_ends import make_layer
    from hmr_core.hand.mirror import mirrored
    from hmr_core.hand.source import find_hand_model
    from hmr_core.inference.model_predictor import SIDE

    hand = find_hand_model(file)
    return hand, make_layer(hand.model if hand.model.side == SIDE else mirrored(hand.model))

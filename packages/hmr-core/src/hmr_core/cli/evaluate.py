"""`hmr eval`."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hmr_core.cli.options import (
    data_option,
    device_option,
    find_data,
    hand_layer_option,
    hand_model_option,
    split_option,
    workers_option,
)
from hmr_core.cli.solver_options import check_solver_options
from hmr_core.errors import HmrError, Option, UsageError
from hmr_core.plugins.solver_presets import PROTOCOLS
from hmr_core.shell import command_line

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch
    from jaxtyping import Int
    from numpy import ndarray

    from hmr_core.evaluation.evaluate import Evaluation
    from hmr_core.evaluation.request import EvaluationRequest, HandInUse
    from hmr_core.plugins.recipes import Recipe
    from hmr_core.plugins.specs import ModelSpec
    from hmr_core.weights.checkpoints import Checkpoint

RESULTS = ("report.json", "predictions.h5", "contact_sheet.png")
"""What an evaluation leaves in its folder, and all of it."""


@click.command("eval")
@click.argument("model")
@click.option(
    "--ckpt", type=click.Path(path_type=Path), required=True, help="A run, a checkpoint, or a released .pth.tar file."
)
@split_option
@click.option("--subset", default="test", show_default=True, help="train, val, train+val, test or all.")
@data_option
@click.option(
    "--set", "sets", metavar="data.KEY=VALUE", multiple=True, help="Change what the model is given; can be repeated."
)
@click.option("--solver", metavar="NAME", help="What makes a mesh of the joints; `hmr solvers` lists them.")
@click.option(
    "--solver-ckpt",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The solver's weights, if it needs any: a run, a checkpoint, or a released file.",
)
@click.option(
    "--solver-set", "solver_sets", metavar="KEY=VALUE", multiple=True, help="An option of the solver; can be repeated."
)
@click.option(
    "--protocol",
    type=click.Choice(PROTOCOLS),
    default="published",
    show_default=True,
    help="The solver's options: as in the literature, or the best there are.",
)
@hand_model_option
@hand_layer_option
@click.option("--batch-size", type=click.IntRange(min=1), default=64, show_default=True, help="Changes speed only.")
@device_option
@workers_option
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Folder of the results; by default eval/MODEL-SPLIT-SUBSET[-SOLVER[-best]]. A repeated evaluation replaces "
    "itself alone.",
)
def evaluate(
    model: str,
    ckpt: Path,
    split: str | None,
    subset: str,
    data: Path | None,
    sets: tuple[str, ...],
    solver: str | None,
    solver_ckpt: Path | None,
    solver_sets: tuple[str, ...],
    protocol: str,
    hand_model: Path | None,
    hand_layer: str,
    batch_size: int,
    device: str | None,
    workers: int | None,
    out: Path | None,
) -> None:
    """Score MODEL's checkpoint on a subset of a split, by the published protocol.

    \b
    Examples:
      hmr eval integral --ckpt runs/integral-sp0-tiny --split sp0
      hmr eval integral --ckpt runs/integral-sp0-tiny --split sp0 --solver lm
      hmr eval integral --ckpt runs/integral-sp0-tiny --split sp0 --solver iknet --solver-ckpt runs/iknet-sp0-tiny
      hmr eval integral --ckpt IntegralPose.pth.tar --split sp0 --solver iknet --solver-ckpt iknet.pt --protocol best
      hmr eval i2l --ckpt I2L_MeshNet.pth.tar --split sp0 --hand-model hand.npz
      hmr eval iknet --ckpt runs/iknet-sp0-tiny --split sp0 --set data.noise_mm=5

    The root joint's depth is given, errors are in camera space, PA allows reflections: docs/protocol.md. Leaves
    report.json, predictions.h5 and contact_sheet.png (best, median and worst samples); nothing if any sample fails.
    """
    from hmr_core.cli.main import current_command, current_registry
    from hmr_core.data.splits import split_name, subset_name

    if split is None:
        raise UsageError("--split is needed: sp0, sp1, sp2 or sp0-ho.")
    split, subset = split_name(split), subset_name(subset)
    spec = current_registry().model(model)
    check_solver_options(
        spec, solver=solver, ckpt=solver_ckpt, sets=solver_sets, protocol=protocol, hand_layer=hand_layer
    )
    solver_spec = current_registry().solver(solver) if solver is not None else None

    from hmr_core.devices import check_device_name, choose_device, choose_workers
    from hmr_core.hand.arrays import named_hand_file
    from hmr_core.plugins.recipes import parse_recipe
    from hmr_core.staging import clear_leftovers, staged_folder
    from hmr_core.weights.checkpoint_record import RECORD, check_model, read_info
    from hmr_core.weights.find_weights import find_weights

    # What needs no torch is looked at first: a mistake is told at once.
    check_device_name(device)
    name = "-".join([model, split, subset, *([solver] if solver else []), *(["best"] if protocol == "best" else [])])
    folder = out or Path("eval") / name
    clear_leftovers(folder.resolve())  # which may bring an evaluation back
    _refuse_foreign(folder)
    weights = find_weights(ckpt)
    if ckpt.is_dir():  # a checkpoint of ours
        info = read_info(weights)
        check_model(ckpt, info, model, "--ckpt")
        _overridden(spec, parse_recipe(spec, info["recipe"], source=f"the recipe in {weights.with_name(RECORD)}"), sets)
    if solver_ckpt is not None:
        find_weights(solver_ckpt, option=Option("solver_ckpt"))
    needed = solver is not None or spec.needs_hand
    if needed or hand_model is not None:
        named_hand_file(hand_model)

    from hmr_core.data.pack.reader import Pack

    pack = Pack(find_data(data))
    pack.indices(split, subset)

    from hmr_core.cli.metrics_table import show_figures
    from hmr_core.evaluation.evaluate import draw_contact_sheet, write_evaluation
    from hmr_core.evaluation.request import EvaluationRequest
    from hmr_core.inference.solving import load_solver
    from hmr_core.pictures import write_png
    from hmr_core.provenance import provenance
    from hmr_core.weights.checkpoints import load_checkpoint

    chosen = choose_device(device)
    checkpoint, notes = _changed(spec, load_checkpoint(ckpt, spec), sets)
    hand = _find_hand(hand_model, hand_layer) if needed or hand_model is not None else None
    loaded = None
    if solver_spec is not None and hand is not None:
        loaded = load_solver(
            solver_spec, hand.layer, solver_ckpt, protocol=protocol, overrides=solver_sets, device=chosen
        )
    request = EvaluationRequest(
        spec=spec,
        checkpoint=checkpoint,
        pack=pack,
        split=split,
        subset=subset,
        hand=hand if needed else None,
        solver=loaded,
        notes=notes,
    )
    _refuse_another(folder, request)
    # Staged around all of it: whether results can be written there is known before they are computed.
    with staged_folder(folder) as part:
        started = provenance(current_command())
        evaluation = _watched(request, device=chosen, batch_size=batch_size, workers=choose_workers(workers, chosen))
        evaluation = replace(evaluation, report={**evaluation.report, "started": started})
        write_evaluation(part, evaluation)
        write_png(part / "contact_sheet.png", draw_contact_sheet(evaluation, _faces(evaluation, hand)))
    show_figures(evaluation.report)
    click.echo(f"written: {folder}/ with {', '.join(RESULTS)}")


def _watched(request: EvaluationRequest, *, device: torch.device, batch_size: int, workers: int) -> Evaluation:
    """The evaluation, with a progress bar of what is predicted, and then one of what is solved."""
    from hmr_core.cli.progress import progress
    from hmr_core.evaluation.evaluate import evaluate

    samples = len(request.pack.indices(request.split, request.subset))
    unit = "hands" if request.spec.consumes == "joints" else "images"
    solver = "" if request.solver is None else request.solver.name
    with ExitStack() as bars:
        predicted = bars.enter_context(
            progress(f"{request.spec.name} on {request.split} {request.subset}", samples, unit)
        )
        solved: list[Callable[[int], None]] = []

        def on_solved(hands: int) -> None:
            if not solved:  # a terminal shows one bar at a time
                bars.close()
                solved.append(bars.enter_context(progress(solver, samples, "hands")))
            solved[0](hands)

        return evaluate(
            request, device=device, batch_size=batch_size, workers=workers, on_batch=predicted, on_solved=on_solved
        )


def _changed(spec: ModelSpec, checkpoint: Checkpoint, sets: tuple[str, ...]) -> tuple[Checkpoint, list[str]]:
    """The checkpoint with its recipe's [data] as --set says, and what the report is to say of that."""
    recipe = _overridden(spec, checkpoint.recipe, sets)
    was, now = checkpoint.recipe.data.model_dump(mode="json"), recipe.data.model_dump(mode="json")
    notes = [
        f"data.{key} is {now[key]}, and {was[key]} in the checkpoint's recipe" for key in now if now[key] != was[key]
    ]
    return replace(checkpoint, recipe=recipe), notes


def _overridden(spec: ModelSpec, recipe: Recipe, sets: tuple[str, ...]) -> Recipe:
    """A checkpoint's recipe with its [data] as --set says; UsageError for another part, since a model is what it is."""
    from hmr_core.plugins.recipes import options, override

    for text in sets:
        key = text.partition("=")[0].strip()
        if not key.startswith("data.") and key.removeprefix("model.") in options(spec):
            valid = ", ".join(key for key in options(spec) if key.startswith("data."))
            raise UsageError(
                f"{command_line('--set', text)}: an evaluation can change what the model is given alone ({valid}); "
                "the rest is the checkpoint's."
            )
    return override(spec, recipe, sets)


def _find_hand(given: Path | None, kind: str = "own") -> HandInUse:
    """The hand model and what poses it."""
    from hmr_core.evaluation.request import HandInUse
    from hmr_core.hand.back_ends import make_layer
    from hmr_core.hand.source import find_hand_model

    source = find_hand_model(given)
    return HandInUse(source=source, kind=kind, layer=make_layer(source.model, kind))


def _refuse_foreign(folder: Path) -> None:
    """HmrError when a folder holds something other than an evaluation."""
    if folder.is_dir() and {path.name for path in folder.iterdir()} - set(RESULTS):
        raise HmrError(f"{folder} holds something other than an evaluation, so it is left alone. Choose another --out.")


def _refuse_another(folder: Path, request: EvaluationRequest) -> None:
    """HmrError when a folder's evaluation is another one than the wanted, saying in what it differs."""
    from hmr_core.evaluation.request import evaluated, identity
    from hmr_core.hand.arrays import ENVIRONMENT

    report = evaluated(folder)
    if report is None:
        return
    there, wanted = identity(report), identity(request.as_report())
    differing = [name for name in wanted if there[name] != wanted[name]]
    if not differing:
        return
    otherwise = f"another --out (such as {command_line('--out', Path(f'{folder}-2'))}), or delete it."
    if differing == ["hand model"] and request.hand is not None:
        path = report["hand_model"]["path"]
        before = "the synthetic hand of hmr itself" if path is None else path
        again = f"no --hand-model and no {ENVIRONMENT}" if path is None else command_line("--hand-model", Path(path))
        raise HmrError(
            f"{folder} holds this evaluation with another hand model, {before}, and is left alone; the one in use now "
            f"is {request.hand.source.label}. Give {again}, choose {otherwise}"
        )
    raise HmrError(
        f"{folder} holds another evaluation ({there['split']} {there['subset']}; differing in: "
        f"{', '.join(differing)}), which is left alone. Choose {otherwise}"
    )


def _faces(evaluation: Evaluation, hand: HandInUse | None) -> Int[ndarray, "f 3"] | None:
    """The faces to draw the predicted meshes with; None where there is no mesh, or no hand model of its layout.

    hand: as given. A model's own mesh is laid out as the annotations' are, so the hand model must be theirs.
    """
    from hmr_core.data.hand_model_check import check_hand_model

    if evaluation.predictions.verts is None and hand is not None:
        click.echo(
            "warning: --hand-model was of no use: the model predicts joints only, and no solver was given", err=True
        )
    if evaluation.faces is not None or evaluation.predictions.verts is None:
        return evaluation.faces
    try:
        hand = hand or _find_hand(None)
        check_hand_model(hand.source, hand.layer, evaluation.dataset.pack, evaluation.rows)
    except HmrError as error:  # not worth losing the evaluation
        click.echo(f"warning: no mesh is drawn: {error}", err=True)
        return None
    return hand.source.model.faces.numpy()

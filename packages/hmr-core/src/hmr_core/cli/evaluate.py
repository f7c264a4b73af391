"""`hmr eval`."""

from __future__ import annotations

from pathlib import Path

import click

from hmr_core.cli.options import (
    device_option,
    gpus_option,
    hand_layer_option,
    hand_model_option,
    max_restarts_option,
    named_data,
    workers_option,
)
from hmr_core.data.default_pack import DEFAULT, ENVIRONMENT
from hmr_core.errors import HmrError
from hmr_core.evaluation.protocols import EVALUATION_PROTOCOLS
from hmr_core.shell import flag

PARENT = Path("eval")
"""Where results go that no folder was named for."""


@click.command("eval")
@click.argument("model", metavar="NAME")
@click.option(
    "--ckpt",
    type=click.Path(path_type=Path),
    help="A model's weights: a run (its last checkpoint; RUN:best is the best on val), a checkpoint, or a released "
    ".pth.tar file. A predictor has none.",
)
@click.option(
    "--split",
    help="One of the pack's splits, such as sp0 (`hmr pack info` lists them); by default the one that the checkpoint "
    "was trained on; a predictor needs it.",
)
@click.option("--subset", default="test", show_default=True, help="One of the split's subsets, such as val, or all.")
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help=f"The pack; by default ${ENVIRONMENT}, then the one that the run was trained on, then {DEFAULT}. Of a run of "
    "several packs, the one that has --split.",
)
@click.option(
    "--set",
    "sets",
    metavar="KEY=VALUE",
    multiple=True,
    help="Change what the model is given, as data.KEY=VALUE, or an option of the predictor; can be repeated.",
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
    type=click.Choice(EVALUATION_PROTOCOLS),
    default="published",
    show_default=True,
    help="The solver's options: as in the literature, or the best there are. official: as in the literature, and also "
    "scored by the rules of the data set's authors.",
)
@hand_model_option
@hand_layer_option
@click.option("--batch-size", type=click.IntRange(min=1), default=64, show_default=True, help="Changes speed only.")
@device_option
@gpus_option
@max_restarts_option
@workers_option
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Folder of the results; by default eval/NAME-SPLIT-SUBSET[-SOLVER][-best|-official]. A repeated evaluation "
    "replaces itself alone.",
)
@click.option(
    "--submission",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Write the predictions in the form that the data set's authors take into a folder, too.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON, as report.json has it, and no table.")
def evaluate(
    model: str,
    ckpt: Path | None,
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
    gpus: int | None,
    max_restarts: int | None,
    workers: int | None,
    out: Path | None,
    submission: Path | None,
    as_json: bool,
) -> None:
    """Score a model's checkpoint or a predictor on a subset of a split, by the published protocol.

    NAME is a model, with its --ckpt, or a predictor of photos (`hmr predictors` lists them), nothing of which was
    trained on the data: each sample's part of the frame is a photo to it, with the camera, the box and the side that
    the annotations have. Hands that it does not find count, too.

    \b
    Examples:
      hmr eval integral --ckpt runs/integral-sp0-tiny
      hmr eval integral --ckpt runs/integral-sp0-tiny:best --subset val
      hmr eval integral --ckpt runs/integral-sp0-tiny --solver lm
      hmr eval integral --ckpt runs/integral-sp0-tiny --solver iknet --solver-ckpt runs/iknet-sp0-tiny
      hmr eval integral --ckpt IntegralPose.pth.tar --split sp0 --solver iknet --solver-ckpt iknet.pt --protocol best
      hmr eval i2l --ckpt I2L_MeshNet.pth.tar --split sp0 --hand-model hand.npz
      hmr eval iknet --ckpt runs/iknet-sp0-tiny --set data.noise_mm=5
      hmr eval i2l --ckpt runs/i2l-sp0-published --gpus 4
      hmr eval mediapipe --split sp0
      hmr eval i2l --ckpt runs/i2l-freihand --split freihand --protocol official --submission submission

    The root joint's depth is given, errors are in camera space, PA allows reflections: docs/protocol.md. Leaves
    report.json, predictions.h5 and contact_sheet.png (best, median and worst samples); nothing if any sample fails.
    """
    from hmr_core.cli.gpus import run_on_gpus, to_launch
    from hmr_core.cli.main import current_command, current_registry
    from hmr_core.cli.progress import progress
    from hmr_core.evaluation.request import EvaluationRequest
    from hmr_core.evaluation.results import RESULTS
    from hmr_core.evaluation.session import check, run

    where = to_launch(gpus, max_restarts)
    request = EvaluationRequest(
        ckpt=ckpt,
        model=model,
        split=split,
        subset=subset,
        data=named_data(data),
        sets=sets,
        solver=solver,
        solver_ckpt=solver_ckpt,
        solver_sets=solver_sets,
        protocol=protocol,
        hand_model=hand_model,
        hand_layer=hand_layer,
        batch_size=batch_size,
        device=device,
        workers=workers,
        out=out,
        parent=PARENT,
        submission=submission,
        command=current_command(),
    )
    if where is not None:
        check(request, current_registry(), where)
        run_on_gpus(where, device, max_restarts or 0)
        return
    evaluation = run(request, current_registry(), progress=progress, warn=_warn)

    if evaluation is None:  # of several processes, the first has it
        return

    from hmr_core.cli.metrics_table import show_metrics
    from hmr_core.evaluation.report import report_text

    if as_json:
        click.echo(report_text(evaluation.report), nl=False)
        return
    show_metrics(evaluation.report)
    click.echo(f"written: {evaluation.folder}/ with {', '.join(RESULTS)}")
    if submission is not None:
        click.echo(f"written: {submission}/, the submission")


def _warn(warning: HmrError) -> None:
    click.echo(f"warning: {warning.worded(flag)}", err=True)

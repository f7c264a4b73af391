"""`hmr train`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hmr_core.cli.gpus import run_on_gpus, to_launch
from hmr_core.cli.main import current_command, current_registry
from hmr_core.cli.options import (
    device_option,
    find_data,
    gpus_option,
    hand_model_option,
    max_restarts_option,
    workers_option,
)
from hmr_core.data.default_pack import DEFAULT, ENVIRONMENT
from hmr_core.errors import Option, UsageError
from hmr_core.option_names import meant
from hmr_core.shell import command_line, flag

if TYPE_CHECKING:
    from hmr_core.plugins.run import Run, RunData
    from hmr_core.processes import Place
    from hmr_core.training.request import TrainingRequest
    from hmr_core.training.watchers import Observer

_FROM_RUN = (
    "split", "subset", "recipe", "set", "batch_size", "grad_accum", "overfit", "limit_train", "limit_val", "out",
    "checkpoint_every", "keep_last", "tensorboard", "wandb", "verify", "init", "init_partial", "resume_or_start",
)  # fmt: skip

_TO_RUN = ("data", "hand_model", "device", "workers", "epochs", "timeout_s", "profile")


class TrainCommand(click.Command):
    """As click's; an option that is the recipe's, such as --lr, is answered with how --set gives it."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click's; UsageError for an option that is none of the command's, but one of the model's recipes."""
        words = list(args)  # click takes them out of the list
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            recipe = self._meant_of_recipe(error.option_name, words)
            if not recipe:
                raise
            raise click.UsageError(f"unknown option {error.option_name}. {recipe}", ctx) from error

    def _meant_of_recipe(self, given: str, words: list[str]) -> str:
        """Ask whether an option of the recipe was meant; empty when none is close, or there is no model to tell."""
        from hmr_core.plugins.recipes import options

        models = current_registry().models()
        model = next((word for word in words if word in models), None)
        if model is None:
            return ""
        own = {parameter.name for parameter in self.params}  # --epochs is an option itself
        keys = [key for key in options(models[model]) if key.rpartition(".")[2] not in own]
        question = meant(given.lstrip("-"), keys)
        listed = command_line("hmr models", model)
        return f"--set KEY=VALUE sets a value of the recipe.{question} `{listed}` lists the keys." if question else ""


@click.command(cls=TrainCommand)
@click.argument("model", required=False)
@click.option(
    "--split",
    help="One of the pack's splits, such as sp0 (`hmr pack info` lists them); of several packs, that of each one that "
    "has it. A pack's only split need not be named.",
)
@click.option("--subset", help="train or train+val; the recipe's own by default. Test is never trained on.")
@click.option(
    "--data",
    multiple=True,
    metavar="PACK[:SPLIT][=SHARE]",
    help=f"The pack; by default ${ENVIRONMENT}, then {DEFAULT}. Given several times, all of them: of the samples that "
    "an epoch draws, each gives its share (b.h5=0.25), or by its size what is left. A pack may have a split of its own "
    "(b.h5:freihand), which overrides --split for that pack.",
)
@click.option("--recipe", default="published", show_default=True, help="One of the model's recipes (see `hmr models`).")
@click.option("--set", multiple=True, metavar="KEY=VALUE", help="Override a value of the recipe; may be repeated.")
@click.option("--epochs", type=click.IntRange(min=1), help="Short for --set train.epochs=N.")
@click.option("--batch-size", type=click.IntRange(min=1), help="Short for --set train.batch_size=N.")
@click.option(
    "--grad-accum",
    type=click.IntRange(min=1),
    help="Compute each process's share of a batch in N parts: less memory. Short for --set train.grad_accum=N.",
)
@click.option(
    "--overfit",
    type=click.IntRange(min=1),
    metavar="N",
    help="Train on N samples, unaugmented, and validate on the same: to see that a model can learn at all.",
)
@click.option("--limit-train", type=click.IntRange(min=1), metavar="N", help="Train on N samples of the subset.")
@click.option("--limit-val", type=click.IntRange(min=1), metavar="N", help="Validate on N samples of val.")
@hand_model_option
@device_option
@gpus_option
@max_restarts_option
@workers_option
@click.option("--out", type=click.Path(path_type=Path), help="The run's folder; by default a new one under runs/.")
@click.option(
    "--checkpoint-every",
    metavar="EVERY",
    help="Save within epochs, too: each so many steps (500), or after a time (10m). A stopped run is saved anyway.",
)
@click.option(
    "--keep-last",
    type=click.IntRange(min=1),
    default=2,
    show_default=True,
    help="How many of the newest checkpoints are kept, besides the best on val.",
)
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=1),
    metavar="SECONDS",
    help="How long processes wait for one that does not come, such as one that hangs; 600 by default.",
)
@click.option("--tensorboard", is_flag=True, help="Also write TensorBoard's files into the run's folder.")
@click.option("--wandb", is_flag=True, help="Also write W&B's files there; offline, unless WANDB_MODE=online.")
@click.option("--profile", type=click.IntRange(min=1), metavar="N", help="Record N steps with PyTorch's profiler.")
@click.option("--verify", is_flag=True, help="Compare the checksums of all that is read from the pack.")
@click.option(
    "--init",
    type=click.Path(path_type=Path),
    metavar="CKPT",
    help="Start from the weights of a run, a checkpoint or a file.",
)
@click.option("--init-partial", is_flag=True, help="Take those weights that fit, and draw the others anew.")
@click.option("--resume", type=click.Path(path_type=Path), metavar="RUN", help="Go on with a run where it stopped.")
@click.option(
    "--resume-or-start",
    is_flag=True,
    help="Go on with the run in the folder if it is there, else start it: for scripts that are started again.",
)
@click.pass_context
def train(
    ctx: click.Context,
    /,
    model: str | None,
    resume: Path | None,
    gpus: int | None,
    max_restarts: int | None,
    **options: Any,
) -> None:
    """Train MODEL on a split of a pack, or go on with a run.

    \b
    Examples:
      hmr train integral --split sp0                     the published recipe, on data/oakink.h5
      hmr train integral --split sp0 --recipe tiny       learns on a CPU in minutes
      hmr train integral --split sp0 --set train.learning_rate=3e-4 --set backbone.name=resnet18
      hmr train integral --split sp0 --init runs/a:best  starts from another run's weights
      hmr train integral --split sp0 --gpus 4            the same steps, shared by four GPUs
      hmr train integral --split sp0 --data data/oakink.h5 --data data/freihand.h5=0.25   a mixture of packs
      hmr train --resume runs/integral-sp0-tiny          goes on where it stopped
      hmr train --resume runs/integral-sp0-tiny --epochs 40   and longer, finished or not
      hmr train i2l --split sp0 --hand-model hand.npz    needs the hand model of the annotations
      hmr train iknet --split sp0 --hand-model hand.npz  so does this one, which learns from the pack's joints

    The run's folder gets config.json, metrics.jsonl, train.log and checkpoints/ (the newest, and the best on val).
    `hmr models MODEL` lists everything that --set takes. A run can be stopped at any step and resumed; it then takes
    the very steps that it would have taken.
    """
    where = to_launch(gpus, max_restarts)
    if resume is None:
        if model is None:
            raise click.MissingParameter(ctx=ctx, param_hint="'MODEL'", param_type="argument")
        request = _request(model, **options)
        look, work = partial(_look_at, request), partial(_start, request, options["profile"])
    else:
        given = [
            flag(Option(name))
            for name in _FROM_RUN
            if ctx.get_parameter_source(name) not in (None, click.core.ParameterSource.DEFAULT)
        ]
        if given:
            raise UsageError(
                f"--resume takes these from the run, so they cannot be given with it: {', '.join(given)}.",
                "To train on with other values, start a new run from its weights: ", Option("init", resume), ".",
            )  # fmt: skip
        look, work = (
            partial(_look_at_run, resume),
            partial(_resume, model, resume, **{name: options[name] for name in _TO_RUN}),
        )
    if where is not None:
        look(where)  # before processes are started
        run_on_gpus(where, options["device"], max_restarts or 0)
        return
    run = work()
    click.echo(f"run: {run.folder}")
    for pack in run.data:
        click.echo(f"next: {_evaluation(run, pack)}")


def _request(
    model: str,
    *,
    data: tuple[str, ...],
    set: tuple[str, ...],
    profile: int | None,
    **options: Any,
) -> TrainingRequest:
    from hmr_core.training.asked_data import AskedPack, parse_pack
    from hmr_core.training.request import TrainingRequest

    current_registry().model(model)  # a misspelt one before a pack that is missing
    return TrainingRequest(
        model=model,
        overrides=set,
        data=tuple(map(parse_pack, data)) or (AskedPack(path=find_data(None)),),
        command=current_command(),
        **options,
    )


def _look_at(request: TrainingRequest, where: Place) -> None:
    from hmr_core.training.request import check

    check(request, current_registry(), where)


def _look_at_run(folder: Path, where: Place) -> None:
    from hmr_core.weights.run_record import open_run

    open_run(folder)


def _start(request: TrainingRequest, profile: int | None) -> Run:
    from hmr_core.training.session import start

    return start(request, current_registry(), _observers(profile))


def _resume(model: str | None, folder: Path, *, profile: int | None, data: tuple[str, ...], **options: Any) -> Run:
    from hmr_core.training.asked_data import parse_pack
    from hmr_core.training.resume import go_on

    moved = [parse_pack(text) for text in data]
    if any(one.split is not None or one.share is not None for one in moved):
        raise UsageError("--resume takes splits and shares from the run: --data says where a pack is now, and no more.")
    observers = _observers(profile)
    return go_on(
        folder, current_registry(), observers, model=model, data=[one.path for one in moved],
        command=current_command(), **options,
    )  # fmt: skip


def _observers(profile: int | None) -> list[Observer]:
    """What shows the run and, if that is asked for, what records some of its steps."""
    from hmr_core.cli.console import display
    from hmr_core.training.profile import Profile

    return [display(), *([] if profile is None else [Profile(profile)])]


def _evaluation(run: Run, pack: RunData) -> str:
    """The command that scores a run on one of its packs."""
    hand = [] if run.hand_model is None or run.hand_model.path is None else [Option("hand_model", run.hand_model.path)]
    return command_line(
        "hmr eval",
        run.model,
        Option("ckpt", run.folder),
        Option("split", pack.split or run.split),
        Option("data", pack.path),
        *hand,
    )

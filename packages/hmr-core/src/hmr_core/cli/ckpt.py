"""`hmr ckpt`: identify a file of weights, and make a released one a checkpoint."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hmr_core.plugins.known import KNOWN
from hmr_core.shell import command_line
from hmr_core.weights import weights_file as wf
from hmr_core.wording import counted

if TYPE_CHECKING:
    from hmr_core.plugins.registry import Registry
    from hmr_core.weights.next_commands import Installed
    from hmr_core.weights.released_file import ReleasedFile
    from hmr_core.weights.weights_file import CheckpointFile, Closest, Identified, ReleasedWeights


@click.group()
def ckpt() -> None:
    """Identify a file of weights, or make a released one a checkpoint.

    --ckpt and --solver-ckpt take checkpoints as well as released files: docs/checkpoints.md.

    \b
    Examples:
      hmr ckpt show IntegralPose.pth.tar
      hmr ckpt convert IntegralPose.pth.tar --out integral-released
    """


@ckpt.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show(file: Path, as_json: bool) -> None:
    """Identify FILE by its contents; its name does not count.

    FILE is a run's folder (its last checkpoint is shown), a checkpoint's folder, or a file. The command shows:

    \b
    - of a checkpoint: the model and the recipe, what it was trained on, its metrics on val;
    - of a released file: the model that it fits, what of it is not used, how it differs from
      the published recipe, and whether it is damaged;
    - of a backbone's weights: which one's;
    - of other weights: the closest model, and the first tensors that do not fit it.

    Nothing in a file is run: a file that holds anything but weights is refused. The exit status is 1 where there is a
    problem with the weights, for example where they were altered.

    In the commands that are shown, hand.npz stands for your hand model (`hmr mano import`; synthetic data needs none),
    and SPLIT for a split of your data set.

    \b
    Examples:
      hmr ckpt show runs/integral-sp0-tiny
      hmr ckpt show I2L_MeshNet.pth.tar
      hmr ckpt show RegressFlow3D.pth.tar --json
    """
    from hmr_core.cli.main import current_registry

    registry = current_registry()

    from hmr_core.weights.find_weights import find_weights

    if not file.is_file():
        find_weights(file, option="FILE")  # whether there are any is told before torch is imported

    from hmr_core.weights.identify import identify

    found = identify(file, _installed(registry))
    if as_json:
        import json

        click.echo(json.dumps({"kind": found.kind, **asdict(found)}, indent=2, default=str))
    else:
        from hmr_core.cli.table import show_record

        show_record(_rows(found))
    if found.problem:
        click.get_current_context().exit(1)


@ckpt.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, metavar="DIR", help="The folder to write.")
@click.option("--model", metavar="NAME", help="The model that the file is of; needed where it fits several.")
@click.option("--force", is_flag=True, help="Replace the folder if it is a checkpoint converted before.")
def convert(file: Path, out: Path, model: str | None, force: bool) -> None:
    """Make a released FILE a checkpoint: DIR/model.safetensors, and model.json beside it.

    The command identifies and checks the file as `hmr eval` does, and leaves out what the model does not use.
    model.json has the recipe, the file's path and digest, and what was left out. The metrics are those of the file.
    A converted checkpoint can be evaluated, but not resumed: it has no optimizer's state.

    \b
    Examples:
      hmr ckpt convert I2L_MeshNet.pth.tar --out i2l-released
      hmr eval i2l --ckpt i2l-released --split sp0 --hand-model hand.npz
    """
    from hmr_core.cli.main import current_registry

    registry = current_registry()

    if model is not None:
        registry.model(model)  # UsageError says why there is none

    from hmr_core.weights.converted import refuse_taken
    from hmr_core.weights.find_weights import find_weights

    # Before torch is imported: a mistake is told at once.
    refuse_taken(out, force)
    if not file.is_file():
        find_weights(file, option="FILE")

    from hmr_core.weights.convert import convert_released

    checkpoint = convert_released(file, out, _installed(registry), model=model, force=force)
    if checkpoint.released is not None and (note := checkpoint.released.note()):
        click.echo(f"note: {note}")
    click.echo(f"written: {out}/ with model.safetensors, model.json")
    click.echo(f"next: {command_line('hmr ckpt show', out)}")


def _installed(registry: Registry) -> Installed:
    """What is installed; what a plugin that does not work has is known of our own alone."""
    from hmr_core.plugins.specs import BackboneSpec
    from hmr_core.weights.next_commands import Installed

    bad = [plugin for plugin in registry.plugins if not plugin.ok]
    names, distributions = {plugin.name for plugin in bad}, {plugin.distribution for plugin in bad}
    ours = {name for name, known in KNOWN["model"].items() if known.distribution in distributions}
    models = registry.models()
    backbones = {name: spec for name, spec in registry.backbones().items() if isinstance(spec, BackboneSpec)}
    return Installed(models, registry.solvers(), backbones, broken=(names | ours) - set(models))


Rows = list[tuple[str, str]]


def _rows(found: Identified) -> Rows:
    """What `show` prints, a line each; a line without a text is left out."""
    numbers = f"{counted(found.tensors, 'tensor')}, {found.numbers:,} numbers, {found.size_bytes / 1e6:.1f} MB"
    what, of_kind = _of_kind(found)
    rows = [("file", str(found.path)), ("what", what), ("weights", numbers), *of_kind]
    rows += [("blake2b", found.blake2b), ("problem", found.problem or "")]
    return [*rows, *(("use", command) for command in found.use)]


def _of_kind(found: Identified) -> tuple[str, Rows]:
    """What a file is, in words, and the lines that its kind has of its own."""
    match found:
        case wf.CheckpointFile():
            converted = ", converted from a released file," if found.released else ""
            return f"a checkpoint{converted} of the model {_named(found)}", _checkpoint_rows(found)
        case wf.OptimizerFile():
            needed = "which a resumed run needs"
            return f"the optimizer's state of a checkpoint, {needed}; the model is {found.model_file}", []
        case wf.ReleasedWeights():
            rows = _released_rows(found) if found.model_state == "installed" else []
            return f"a released file of the model {_named(found)}", rows
        case wf.BackboneFile():
            return f"the weights of the backbone {found.backbone}, which a model can start from", []
        case wf.BareWeights():
            return "weights in safetensors that have no model.json beside them", _closest_rows(found.closest)
        case wf.UnknownWeights():
            return "weights that are no released file of an installed model", _closest_rows(found.closest)


def _named(found: CheckpointFile | ReleasedWeights) -> str:
    """A file's model by name, with others that the file fits, and whether the model can be used."""
    others = found.fits_too if isinstance(found, wf.ReleasedWeights) else ()
    state = {"installed": "", "broken": ", whose plugin cannot be used", "not installed": ", which is not installed"}
    return "".join([f'"{found.model}"', *(f' (and of "{name}")' for name in others), state[found.model_state]])


def _checkpoint_rows(found: CheckpointFile) -> Rows:
    rows = [("recipe", "" if found.released else found.recipe_name or "")]
    if found.epoch is not None:
        rows.append(("trained", f"{counted(found.epoch, 'epoch')} on {found.split} {found.subset}"))
    val = ", ".join(f"{name} {value:.4g}" for name, value in found.val.items() if value is not None)
    rows += [("val", val), ("versions", ", ".join(f"{name} {text}" for name, text in found.versions.items()))]
    if found.released:
        rows += [("from", f"{found.released.path} (blake2b {found.released.blake2b})"), *_released_rows(found.released)]
    if not found.optimizer:
        rows.append(("optimizer", "none, so no run can go on from it"))
    return rows


def _released_rows(found: ReleasedWeights | ReleasedFile) -> Rows:
    ignored = [
        ("ignored", f"{prefix}* ({counted(one.tensors, 'tensor')}): {one.what}")
        for prefix, one in found.ignored.items()
    ]
    recipe = f"published, with {', '.join(found.overrides)}" if found.overrides else "published"
    return [*ignored, ("recipe", recipe)]


def _closest_rows(closest: Closest | None) -> Rows:
    if closest is None:
        return []
    fitting = f"{closest.tensors_that_fit} of its {counted(closest.tensors_wanted, 'tensor')}"
    rows = [("closest", f"{closest.model}: {fitting}")]
    for title, differing in (
        ("lacks", closest.missing),
        ("unknown", closest.unknown),
        ("shape", closest.wrong_shape),
        ("type", closest.wrong_type),
    ):
        more = differing.count - len(differing.first)
        rows += [(title, text) for text in differing.first]
        rows += [(title, f"and {more} more")] if more else []
    return rows

"""`hmr ckpt`: what a file of weights is, and a released one made a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hmr_core.plugins.known import KNOWN
from hmr_core.shell import command_line
from hmr_core.wording import counted

if TYPE_CHECKING:
    from hmr_core.plugins.registry import Registry


@click.group()
def ckpt() -> None:
    """Say what a file of weights is; make a released one a checkpoint.

    --ckpt and --solver-ckpt take checkpoints and released files alike: docs/checkpoints.md.

    \b
    Examples:
      hmr ckpt show IntegralPose.pth.tar
      hmr ckpt convert IntegralPose.pth.tar --out integral-released
    """


@ckpt.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show(file: Path, as_json: bool) -> None:
    """Say what FILE is, by its contents; a file's name counts for nothing.

    FILE is a run's folder (its last checkpoint is shown), a checkpoint's folder, or a file. Shown are the model and the
    recipe of a checkpoint, with what it was trained on and its figures on val; of a released file the model that it
    fits, what of it is not used, by what it differs from the published recipe, and whether it is damaged; of
    torchvision's ResNets the depth; of other weights the closest model, and the first tensors that do not fit it.
    Nothing in a file is run: one that holds anything but weights is refused. The exit status is 1 where there is a
    problem with the weights, such as that they were altered.

    hand.npz in a command that is shown stands for your hand model (`hmr mano import`); synthetic data needs none.

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

    from hmr_core.weights.identify import describe

    found = describe(file, registry.models(), registry.solvers(), broken=_broken(registry))
    if as_json:
        import json

        click.echo(json.dumps(found, indent=2))
    else:
        from hmr_core.cli.table import show_record

        show_record(_rows(found))
    if found.get("problem"):
        click.get_current_context().exit(1)


@ckpt.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, metavar="DIR", help="The folder to write.")
@click.option("--model", metavar="NAME", help="The model that the file is of; needed where it fits several.")
@click.option("--force", is_flag=True, help="Replace the folder if it is a checkpoint converted before.")
def convert(file: Path, out: Path, model: str | None, force: bool) -> None:
    """Make a released FILE a checkpoint: DIR/model.safetensors, and model.json beside it.

    The file is recognised and checked as `hmr eval` does it, and what the model does not use is left out. model.json
    has the recipe, the file's path and digest, and what was left out; the figures are those of the file itself.
    A converted checkpoint can be evaluated, not resumed: it has no optimizer's state.

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

    checkpoint = convert_released(file, out, registry.models(), model=model, broken=_broken(registry), force=force)
    if checkpoint.released is not None and (note := checkpoint.released.note()):
        click.echo(f"note: {note}")
    click.echo(f"written: {out}/ with model.safetensors, model.json")
    click.echo(f"next: {command_line('hmr ckpt show', out)}")


def _broken(registry: Registry) -> set[str]:
    """The models that are installed and cannot be used, as far as is known what a plugin that does not work has."""
    bad = [plugin for plugin in registry.plugins if not plugin.ok]
    names, distributions = {plugin.name for plugin in bad}, {plugin.distribution for plugin in bad}
    ours = {name for name, known in KNOWN["model"].items() if known.distribution in distributions}
    return (names | ours) - set(registry.models())


def _rows(found: dict[str, Any]) -> list[tuple[str, str]]:
    """What `show` prints, a line each; a line without a text is left out."""
    numbers = f"{counted(found['tensors'], 'tensor')}, {found['numbers']:,} numbers, {found['size_bytes'] / 1e6:.1f} MB"
    rows = [("file", found["path"]), ("what", _what(found)), ("weights", numbers)]
    if found["kind"] == "checkpoint":
        rows += _checkpoint_rows(found)
    if found["kind"] == "released" and found["installed"]:
        rows += _released_rows(found)
    rows += _difference_rows(found) if found.get("closest") else []
    rows += [("blake2b", found.get("blake2b", "")), ("problem", found.get("problem") or "")]
    return [*rows, *(("use", command) for command in found["use"])]


def _what(found: dict[str, Any]) -> str:
    kind, model = found["kind"], found.get("model")
    if kind == "optimizer":
        return f"the optimizer's state of a checkpoint, which a resumed run needs; the model is {found['model_file']}"
    if kind == "backbone":
        return f"torchvision's ResNet-{found['depth']}, which a model's backbone can start from"
    if kind == "bare":
        return "weights in safetensors that have no model.json beside them"
    if kind == "unknown":
        return "weights that are no released file of an installed model"
    missing = ", whose plugin cannot be used" if found.get("broken") else ", which is not installed"
    installed = "" if found["installed"] else missing
    if kind == "released":
        too = "".join(f' (and of "{name}")' for name in found.get("fits_too", []))
        return f'a released file of the model "{model}"{too}{installed}'
    converted = ", converted from a released file," if found["released"] else ""
    return f'a checkpoint{converted} of the model "{model}"{installed}'


def _checkpoint_rows(found: dict[str, Any]) -> list[tuple[str, str]]:
    rows = [("recipe", "" if found["released"] else found["recipe_name"] or "")]
    if found["epoch"] is not None:
        rows.append(("trained", f"{counted(found['epoch'], 'epoch')} on {found['split']} {found['subset']}"))
    val = ", ".join(f"{name} {value:.4g}" for name, value in found["val"].items() if value is not None)
    rows += [("val", val), ("versions", ", ".join(f"{name} {text}" for name, text in found["versions"].items()))]
    if found["released"]:
        rows += [("from", f"{found['released']['path']} (blake2b {found['released']['blake2b']})")]
        rows += _released_rows(found["released"])
    if not found["optimizer"]:
        rows.append(("optimizer", "none, so no run can go on from it"))
    return rows


def _released_rows(found: dict[str, Any]) -> list[tuple[str, str]]:
    ignored = [
        ("ignored", f"{prefix}* ({counted(one['tensors'], 'tensor')}): {one['what']}")
        for prefix, one in found["ignored"].items()
    ]
    recipe = f"published, with {', '.join(found['overrides'])}" if found["overrides"] else "published"
    return [*ignored, ("recipe", recipe)]


def _difference_rows(found: dict[str, Any]) -> list[tuple[str, str]]:
    fitting = f"{found['tensors_that_fit']} of its {counted(found['tensors_wanted'], 'tensor')}"
    rows = [("closest", f"{found['closest']}: {fitting}")]
    for name, title in (("missing", "lacks"), ("unknown", "unknown"), ("wrong_shape", "shape"), ("wrong_type", "type")):
        count, first = found[name]["count"], found[name]["first"]
        rows += [(title, text) for text in first]
        rows += [(title, f"and {count - len(first)} more")] if count > len(first) else []
    return rows

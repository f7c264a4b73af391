"""`hmr mano import`: the licensed hand model, into the file that every command takes."""

from __future__ import annotations

from pathlib import Path

import click

from hmr_core.errors import HmrError, UsageError
from hmr_core.hand.joints import SIDES
from hmr_core.shell import command_line


@click.group()
def mano() -> None:
    """Import the licensed hand model.

    Without it, everything runs on a synthetic hand. Mesh metrics on OakInk-Image need MANO's own model.

    \b
    Example:
      hmr mano import mano_v1_2/models/MANO_RIGHT.pkl --out hand.npz
      export HMR_HAND_MODEL=$PWD/hand.npz
    """


@mano.command("import")
@click.argument("source", metavar="MANO_RIGHT.pkl", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, metavar="FILE", help="The .npz file to write.")
@click.option("--side", type=click.Choice(SIDES), help="The hand.  [default: as the file's name says]")
@click.option("--force", is_flag=True, help="Replace the file if it exists.")
def import_(source: Path, out: Path, side: str | None, force: bool) -> None:
    """Make a hand-model file of MANO's own.

    The command reads MANO_RIGHT.pkl or MANO_LEFT.pkl of MANO v1.2 as it is shipped, checks it, and writes --out. It
    needs neither chumpy nor scipy, and it runs nothing in the file: a file that names anything but what MANO's files
    use is refused. Get the files from https://mano.is.tue.mpg.de (mano_v1_2.zip, in the folder models). Their licence
    holds for the file that is written, too.

    \b
    Examples:
      hmr mano import mano_v1_2/models/MANO_RIGHT.pkl --out hand.npz
      hmr mano import mano_v1_2/models/MANO_LEFT.pkl --out left.npz
      hmr mano import renamed.pkl --side right --out hand.npz --force
    """
    from hmr_core.hand.mano_file import read_mano_file
    from hmr_core.staging import check_file_writable, staged_file

    if out.suffix != ".npz":
        given, other = (command_line("--out", path) for path in (out, out.with_suffix(".npz")))
        raise UsageError(f"{given} does not end in .npz. Give another, for instance {other}.")
    if out.exists() and not force:
        raise HmrError(f"{out} exists. Give another --out, or --force to replace it.")
    check_file_writable(out)
    model = read_mano_file(source, side)

    from hmr_core.hand.model import save_hand_model  # which needs torch

    with staged_file(out) as part:
        save_hand_model(model, part)
    click.echo(
        f"read {source}: a {model.side} hand, {len(model.template)} vertices, {len(model.faces)} faces, "
        f"{len(model.parents)} joints\n"
        f"source: {model.source}\n"
        f"licence: {model.licence}\n"
        f"wrote {out}\n"
        f"next: {command_line('export', f'HMR_HAND_MODEL={out.resolve()}')}"
    )

"""`hmr mediapipe`: where the networks are, and how they get there."""

from __future__ import annotations

from pathlib import Path

import click

from hmr_core.errors import HmrError


@click.group(invoke_without_command=True)
@click.pass_context
def mediapipe(context: click.Context) -> None:
    """MediaPipe's hand networks: show where they are; fetch them.

    \b
    Examples:
      hmr mediapipe
      hmr mediapipe fetch
    """
    if context.invoked_subcommand is not None:
        return
    from hmr_mediapipe.fetch import missing_files
    from hmr_mediapipe.files import FETCH, FILES, networks_folder

    folder = networks_folder()
    missing = missing_files(folder)
    for name in FILES:
        click.echo(f"{folder / name}: {missing.get(name, 'ok')}")
    if missing:
        raise HmrError(f"MediaPipe's networks are not all in {folder}. Run: {FETCH}")


@mediapipe.command()
@click.option(
    "--from",
    "source",
    type=click.Path(path_type=Path),
    metavar="WHEEL|FOLDER",
    help="Take the networks from a file or folder, without network.  [default: pip downloads the wheel]",
)
def fetch(source: Path | None) -> None:
    """Put the networks into the user's cache directory, or into HMR_MEDIAPIPE.

    Four networks of 12 MB together lie in a wheel of 36 MB, mediapipe 0.10.21, which pip downloads; the package itself
    is neither installed nor needed. They are Google's, under the Apache License 2.0; the licence is put beside them.
    Each file is checked by its SHA-256. Where all are there already, nothing is done.

    --from takes that wheel, a folder with it, or a folder with the files, such as another machine's cache.

    \b
    Examples:
      hmr mediapipe fetch
      hmr mediapipe fetch --from mediapipe-0.10.21-cp311-cp311-manylinux_2_28_x86_64.whl
      HMR_MEDIAPIPE=/srv/mediapipe hmr mediapipe fetch
    """
    from hmr_mediapipe.fetch import fetch_networks, missing_files
    from hmr_mediapipe.files import networks_folder

    folder = networks_folder()
    if not missing_files(folder):
        click.echo(f"MediaPipe's networks are in {folder} already")
        return
    fetch_networks(folder, source)
    click.echo(f"MediaPipe's networks are in {folder}, with their licence (Apache-2.0)")

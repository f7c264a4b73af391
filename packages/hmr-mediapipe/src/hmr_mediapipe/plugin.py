"""What hmr finds through this package's entry point."""

from __future__ import annotations

import click

from hmr_core.plugins import hookimpl


@hookimpl
def hmr_commands(cli: click.Group) -> None:
    """Add `hmr mediapipe`."""
    from hmr_mediapipe.cli import mediapipe

    cli.add_command(mediapipe)

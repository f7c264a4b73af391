"""Tables and records on stdout: rich ones on a terminal, plain aligned text that never wraps elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from hmr_core.text_table import aligned


def show_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table; each row has a text for every column."""
    if sys.stdout.isatty():
        _rich_table(columns, rows)
        return
    for line in aligned(columns, rows):
        click.echo(line)


def show_record(fields: Sequence[tuple[str, str]]) -> None:
    """Print the fields that have a value, one on a line: `name: value`."""
    width = max(len(name) for name, _ in fields) + 2
    for name, value in fields:
        if value:
            click.echo(f"{name + ':':<{width}}{value}")


def _rich_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.table import Table

    from hmr_core.cli.terminal import terminal

    table = Table(box=None, pad_edge=False, header_style="bold")
    for i, column in enumerate(columns):
        table.add_column(column, style="cyan" if i == 0 else "", no_wrap=i == 0, overflow="fold")  # nothing is cut off
    for row in rows:
        table.add_row(*row)
    terminal().print(table)

"""`hmr doctor`: what is there, what is wrong, what to run."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hmr_core.cli.main import current_registry
from hmr_core.cli.options import data_option, find_data, hand_model_option
from hmr_core.wording import counted

if TYPE_CHECKING:
    from hmr_core.doctor.finding import Finding

STYLES = {"ok": "green", "note": "cyan", "warning": "yellow", "wrong": "bold red"}
"""The colour of each mark; the word says it, too."""

WIDTH = max(map(len, STYLES))


@click.command()
@click.option(
    "--root",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Look at a data set's folder, too: lists, missing files, a selection of samples.",
)
@click.option(
    "--dataset",
    metavar="NAME",
    help="What --root is a tree of (`hmr datasets` lists them); by default the first data set that takes it.",
)
@data_option
@hand_model_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def doctor(root: Path | None, dataset: str | None, data: Path | None, hand_model: Path | None, as_json: bool) -> None:
    """Say what is there, what is wrong, and what to run.

    The command looks at versions, devices and plugins; at the pack (counts, checksums, and the annotations of a
    selection of samples); at the hand model, and whether the pack's meshes are of it; with --root at a data set's
    tree. Each line is marked ok, note, warning or wrong, and what to run follows. The command writes nothing.

    The exit status is 0 when nothing is wrong (there may be warnings), and 1 otherwise.

    \b
    Examples:
      hmr doctor
      hmr doctor --root OakInk
      hmr doctor --root OakInk --data data/oakink.h5 --hand-model hand.npz
      hmr doctor --root FreiHAND --dataset freihand
    """
    from hmr_core.doctor.examine import Subject, examine

    context = click.get_current_context().find_root()
    registry = current_registry()
    if isinstance(context.command, click.Group):
        context.command.list_commands(context)  # asks for the plugins' commands, since a clash of theirs counts, too
    subject = Subject(
        root=root,
        dataset=dataset,
        data=find_data(data),
        data_named=bool(data or os.environ.get("HMR_DATA")),
        data_from_environment=bool(data is None and os.environ.get("HMR_DATA")),
        hand_model=hand_model,
        hand_model_named=bool(hand_model or os.environ.get("HMR_HAND_MODEL")),
    )
    levels: Counter[str] = Counter()
    findings = _counted(examine(subject, registry), levels)
    if as_json:
        found = [dataclasses.asdict(finding) for finding in findings]
        counts = {level: levels[level] for level in STYLES}
        click.echo(json.dumps({"ok": not levels["wrong"], "counts": counts, "findings": found}, indent=2))
    else:
        _show(findings)
        click.echo(f"\n{_summary(levels)}")
    context.exit(1 if levels["wrong"] else 0)


def _counted(findings: Iterator[Finding], levels: Counter[str]) -> Iterator[Finding]:
    for finding in findings:
        levels[finding.level] += 1
        yield finding


def _show(findings: Iterator[Finding]) -> None:
    """Print findings as they are made, under their sections' names."""
    show = _rich_line if sys.stdout.isatty() else _plain_line
    section = ""
    for finding in findings:
        if finding.section != section:
            click.echo(f"{section and chr(10)}{finding.section}")
            section = finding.section
        show(finding)


def _plain_line(finding: Finding) -> None:
    click.echo(f"  {finding.level:<{WIDTH}}  {finding.text}")
    if finding.remedy:
        click.echo(f"  {'':<{WIDTH}}  -> {finding.remedy}")


def _rich_line(finding: Finding) -> None:
    """As a plain line, but that what is long hangs under its beginning."""
    from rich.table import Table
    from rich.text import Text

    from hmr_core.cli.terminal import terminal

    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(width=WIDTH + 2, no_wrap=True)
    table.add_column()
    table.add_row(Text(f"  {finding.level}", style=STYLES[finding.level]), finding.text)
    if finding.remedy:
        table.add_row("", f"-> {finding.remedy}")
    terminal().print(table)


def _summary(levels: Counter[str]) -> str:
    warnings = counted(levels["warning"], "warning")
    if levels["wrong"]:
        return f"{levels['wrong']} wrong, {warnings}, {levels['ok']} ok. What to run follows each line, after ->."
    return f"nothing is wrong; {warnings}, {levels['ok']} ok"

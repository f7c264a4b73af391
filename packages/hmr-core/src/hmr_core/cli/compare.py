"""`hmr compare`."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hmr_core.cli.options import data_option, hand_model_option
from hmr_core.errors import HmrError, Option, UsageError
from hmr_core.shell import flag

if TYPE_CHECKING:
    from hmr_core.data.pack.reader import Pack
    from hmr_core.evaluation.saved import SavedEvaluation

FORMATS = ("text", "json", "csv", "markdown", "latex")

ENDINGS = {".txt": "text", ".json": "json", ".csv": "csv", ".md": "markdown", ".tex": "latex"}
"""What a file of such a name is written as, unless it is said."""

PAGE_ENDINGS = (".html", ".htm")


@click.command()
@click.argument("evaluations", metavar="EVAL...", type=click.Path(path_type=Path), nargs=-1, required=True)
@data_option
@click.option(
    "--by",
    metavar="NAME",
    multiple=True,
    help="Break the metrics down by joint, finger, subject, object, view, intent, sequence, side, visibility or size; "
    "can be repeated. By default JSON and CSV have all that the pack knows, and tables have none.",
)
@click.option(
    "--cluster",
    metavar="NAME",
    help="What the intervals draw whole: a label of the pack, or sample; by default sequence, then subject, then "
    "sample.",
)
@click.option(
    "--format", "format_", type=click.Choice(FORMATS), help="By default what the ending of --out says, else text."
)
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE", help="Write to this file, not to stdout.")
@click.option("--picture", type=click.Path(path_type=Path), metavar="FILE", help="Draw samples side by side as a PNG.")
@click.option(
    "--html",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write a page with tables, curves and the worst and best hands: one HTML file that needs no network "
    '(pip install "hmr-core[report]").',
)
@hand_model_option
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the draws.")
@click.option(
    "--draws", type=click.IntRange(min=100), default=2000, show_default=True, help="How often samples are drawn anew."
)
def compare(
    evaluations: tuple[Path, ...],
    data: Path | None,
    by: tuple[str, ...],
    cluster: str | None,
    format_: str | None,
    out: Path | None,
    picture: Path | None,
    html: Path | None,
    hand_model: Path | None,
    seed: int,
    draws: int,
) -> None:
    """Compare evaluations of the same samples: metrics with 95 % intervals, and whether they differ.

    EVAL is a folder that `hmr eval` left, or a file of predictions: yours, or one in the form that the authors of the
    pack's data set take (`hmr score --help`).

    \b
    Examples:
      hmr compare eval/integral-sp0-test eval/rle-sp0-test
      hmr compare eval/integral-sp0-test eval/rle-sp0-test --by finger --by object
      hmr compare eval/integral-sp0-test mine.h5 --data data/oakink.h5 --out table.tex
      hmr compare eval/* --format csv > comparison.csv
      hmr compare eval/* --picture models.png
      hmr compare eval/* --html report.html

    Intervals are made by drawing whole sequences anew, since frames of one sequence resemble each other; differences
    are taken sample by sample: docs/compare.md. The pack is the one that the reports name, if it is still there.
    """
    from hmr_core.evaluation.page.plotly_js import require_plotly
    from hmr_core.staging import check_file_writable, write_text

    written_as = format_ or _format_of(out)
    _check_ending("html", html, PAGE_ENDINGS)
    _check_ending("picture", picture, (".png",))
    if html is not None:
        require_plotly()
    for file in (out, picture, html):
        if file is not None:
            check_file_writable(file)

    # These need torch, which what was looked at so far does not.
    from hmr_core.cli.main import current_registry
    from hmr_core.cli.progress import progress
    from hmr_core.evaluation.comparing.compare import compare as compare_read
    from hmr_core.evaluation.comparing.reading import open_evaluations
    from hmr_core.evaluation.comparing.writers import WRITERS
    from hmr_core.hand.arrays import named_hand_file

    if picture is not None or html is not None:
        named_hand_file(hand_model)
    found, pack = open_evaluations(evaluations, data, current_registry())
    if picture is not None and pack is None:
        raise HmrError("the picture needs the pack, and it was not found.", "Name it with ", Option("data"), ".")
    whole = written_as in ("json", "csv")
    wanted = by or (None if whole or html is not None else ())
    samples = sum(len(one.predictions.ids) for one in found)
    with progress("comparing", samples, "samples") if pack is not None else nullcontext(_untold) as on_scored:
        comparison = compare_read(found, pack, by=wanted, cluster=cluster, seed=seed, draws=draws, on_scored=on_scored)
    shown = comparison if by or whole else replace(comparison, breakdowns=[])
    text = WRITERS[written_as](shown)
    if out is None:
        click.echo(text, nl=False)
    else:
        write_text(out, text)
        click.echo(f"written: {out}", err=True)
    if picture is not None and pack is not None:
        _draw(found, pack, picture, hand_model)
    if html is not None:
        from hmr_core.evaluation.page.write import write_page
        from hmr_core.hand.source import find_hand_model

        write_page(html, comparison, found, pack, find_hand_model(hand_model).model.faces.numpy())
        click.echo(f"page: {html}", err=True)


def _untold(samples: int) -> None:
    """Tell of nothing: without the pack, nothing is computed that takes long."""


def _format_of(out: Path | None) -> str:
    """What a file is written as by its ending; UsageError for an ending of something else."""
    if out is None or not out.suffix:
        return "text"
    if out.suffix.lower() not in ENDINGS:
        page = f" A page is written by {flag(Option('html', out))}." if out.suffix.lower() in PAGE_ENDINGS else ""
        raise UsageError(
            f"{flag(Option('out', out))} ends in {out.suffix}, which says no format. Valid: {', '.join(ENDINGS)}; "
            f"or name one with --format.{page}"
        )
    return ENDINGS[out.suffix.lower()]


def _check_ending(name: str, file: Path | None, endings: Sequence[str]) -> None:
    """UsageError for a file of another ending than those of what is written into it."""
    if file is not None and file.suffix.lower() not in endings:
        given, other = (flag(Option(name, path)) for path in (file, file.with_suffix(endings[0])))
        raise UsageError(f"{given} does not end in {' or '.join(endings)}. Give another, for instance {other}.")


def _draw(found: Sequence[SavedEvaluation], pack: Pack, picture: Path, hand_model: Path | None) -> None:
    """Draw some samples of the evaluations side by side."""
    from hmr_core.evaluation.saved import draw_comparison
    from hmr_core.hand.source import find_hand_model
    from hmr_core.pictures import write_png

    write_png(picture, draw_comparison(found, pack, find_hand_model(hand_model).model.faces.numpy()))
    click.echo(f"picture: {picture}", err=True)

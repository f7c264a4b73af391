"""`hmr score`."""

from __future__ import annotations

from pathlib import Path

import click

from hmr_core.cli.options import data_option, find_data


@click.command()
@click.argument("predictions", type=click.Path(path_type=Path))
@data_option
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print them as JSON, as they stand in report.json, with each sample's errors.",
)
def score(predictions: Path, data: Path | None, as_json: bool) -> None:
    """Score a file of PREDICTIONS (predictions.h5, or an evaluation's folder) against a pack, without a model.

    The file may be of a model of your own: docs/predictions.md says how to write one.

    \b
    Examples:
      hmr score eval/integral-sp0-test/predictions.h5
      hmr score mine.h5 --data data/oakink.h5 --json
    """
    from hmr_core.data.pack.reader import Pack
    from hmr_core.evaluation.predictions import read_predictions
    from hmr_core.evaluation.results import PREDICTIONS

    path = predictions / PREDICTIONS if predictions.is_dir() else predictions
    content = read_predictions(path)
    pack = Pack(find_data(data))

    # These need torch, which what was looked at so far does not.
    from hmr_core.cli.metrics_table import show_metrics
    from hmr_core.evaluation.report import report_text
    from hmr_core.evaluation.rescoring import score_predictions

    report = score_predictions(path, content, pack)

    if as_json:
        click.echo(report_text(report), nl=False)
    else:
        show_metrics(report)

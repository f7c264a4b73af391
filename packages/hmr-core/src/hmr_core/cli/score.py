"""`hmr score`."""

from __future__ import annotations

from pathlib import Path

import click

from hmr_core.cli.options import data_option, find_data
from hmr_core.errors import Option, UsageError
from hmr_core.evaluation.protocols import OFFICIAL


@click.command()
@click.argument("predictions", type=click.Path(path_type=Path))
@data_option
@click.option("--split", help="Of a submission, where the pack has several splits; other files say it themselves.")
@click.option(
    "--protocol",
    type=click.Choice(("published", OFFICIAL)),
    default="published",
    show_default=True,
    help="official: also score by the rules of the data set's authors.",
)
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print them as JSON, as they stand in report.json, with each sample's errors.",
)
def score(predictions: Path, data: Path | None, split: str | None, protocol: str, as_json: bool) -> None:
    """Score a file of PREDICTIONS (predictions.h5, or the folder that holds it) against a pack, without a model.

    The file may be of a model of your own, or in the form that the authors of the pack's data set take: pred.json or
    pred.zip of FreiHAND and HO-3D, DexYCB's CSV, or the folder that `hmr eval --submission` wrote. docs/predictions.md
    says how to write one.

    \b
    Examples:
      hmr score eval/integral-sp0-test/predictions.h5
      hmr score mine.h5 --data data/oakink.h5 --json
      hmr score pred.zip --data freihand.h5 --protocol official
    """
    from hmr_core.cli.main import current_registry
    from hmr_core.cli.progress import progress
    from hmr_core.data.pack.reader import Pack
    from hmr_core.evaluation.official import official_rules
    from hmr_core.evaluation.predictions import read_predictions
    from hmr_core.evaluation.submissions import find_predictions, is_submission, read_submission

    path = find_predictions(predictions, current_registry())
    if is_submission(path):
        pack = Pack(find_data(data))
        content = read_submission(path, pack, split, current_registry())
    else:
        content = read_predictions(path)
        if split is not None:
            raise UsageError(f"{path} says itself that it is of {content.split}.", "Leave ", Option("split"), " out.")
        pack = Pack(find_data(data))
    rules = None
    if protocol == OFFICIAL:
        rules = official_rules(pack, content.split, content.subset, current_registry())

    # These need torch, which what was looked at so far does not.
    from hmr_core.cli.metrics_table import show_metrics
    from hmr_core.evaluation.report import report_text
    from hmr_core.evaluation.rescoring import score_predictions

    with progress("scoring", len(content.ids), "samples") as on_scored:
        report = score_predictions(path, content, pack, rules, on_scored=on_scored)

    if as_json:
        click.echo(report_text(report), nl=False)
    else:
        show_metrics(report)

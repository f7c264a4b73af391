"""`hmr score`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from hmr_core.cli.options import data_option, find_data

NO_VERTS = "the file has no verts, so there is no mesh metric"
"""Of a file that somebody else wrote."""


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

    if predictions.is_dir():
        predictions = predictions / "predictions.h5"
    content = read_predictions(predictions)
    pack = Pack(find_data(data))

    # These need torch, which what was looked at so far does not.
    from hmr_core.cli.metrics_table import show_metrics
    from hmr_core.evaluation.report import NO_MESH, report_text
    from hmr_core.evaluation.scoring import rescore

    scores = rescore(predictions, pack, content)
    told = content.labels.get("notes", [])
    notes = [*told, *(note for note in scores.notes if note not in told)]
    if content.pack not in ("", pack.info.digest):
        notes.append(f"the predictions were made on another pack than {pack.path}")
    missing = [] if content.verts is not None else [NO_MESH if content.sealed else NO_VERTS]
    if not content.sealed:
        notes.append(f"{predictions} has no digest, so that nobody can tell whether it is as it was written")
    report: Any = {
        **content.labels,
        "model": content.model,
        "split": content.split,
        "subset": content.subset,
        **scores.as_report(),
        "missing": missing,
        "notes": notes,
        "synthetic": pack.info.synthetic,
    }
    if as_json:
        click.echo(report_text(report), nl=False)
    else:
        show_metrics(report)

"""`hmr.compare`: from the folders of evaluations to a comparison."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hmr_core.evaluation.comparing.bootstrap import DRAWS
from hmr_core.evaluation.comparing.comparison import Comparison
from hmr_core.files import as_path


def compare(
    evaluations: Sequence[str | Path],
    *,
    data: str | Path | None = None,
    by: Sequence[str] | None = None,
    cluster: str | None = None,
    seed: int = 0,
    draws: int = DRAWS,
) -> Comparison:
    """Hold evaluations of the same samples against each other: metrics, differences, breakdowns, curves.

    evaluations: folders that an evaluation left, or files of predictions. data: their pack; by default the default
    pack or the one that the reports name, and where neither is theirs, there is what the predictions have by
    themselves. by: what to break the metrics down by; None for all that the pack knows. cluster: what is drawn anew
    for the intervals: a label of the pack, or "sample"; None for its sequences, else its subjects, else samples. seed,
    draws: of the intervals.
    Raises UsageError for names that do not exist, and HmrError for evaluations that cannot be compared.
    """
    from hmr_core.evaluation.comparing.compare import compare as compare_read
    from hmr_core.evaluation.comparing.reading import open_evaluations

    found, pack = open_evaluations([Path(path) for path in evaluations], as_path(data))
    return compare_read(found, pack, by=by, cluster=cluster, seed=seed, draws=draws)

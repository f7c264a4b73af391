"""What evaluations are called beside each other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hmr_core.evaluation.comparing.names import unique_names


class Made:
    """What of an evaluation its name is made of."""

    def __init__(self, folder: str, model: str = "m", solver: str | None = None, **report: str) -> None:
        self.folder = Path(folder)
        self.report: Any = {
            "model": model,
            "split": "sp0",
            "subset": "test",
            "solver": solver and {"name": solver},
            **report,
        }


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ([Made("eval/x", "m", "lm", protocol="best")], ["m"]),
        ([Made("eval/x", "m", "lm"), Made("eval/y", "n")], ["m", "n"]),
        ([Made("x"), Made("y", solver="lm"), Made("z", "n", "lm")], ["m", "m + lm", "n"]),
        (
            [Made("x", solver="lm", protocol="published"), Made("y", solver="lm", protocol="best"), Made("z", "n")],
            ["m (published)", "m (best)", "n"],
        ),
        ([Made("x", split="sp1"), Made("y", split="sp1-mine")], ["m (sp1)", "m (sp1-mine)"]),
        ([Made("runs/a/eval"), Made("runs/b/eval")], ["m (a)", "m (b)"]),
        ([Made("a"), Made("more/a")], ["m (a)", "m (more/a)"]),
        ([Made("eval/one.h5"), Made("eval/two.h5")], ["m (one.h5)", "m (two.h5)"]),
        (
            [Made("x/1", protocol="published"), Made("y/1", protocol="published"), Made("x/2", protocol="best")],
            ["m (published, x)", "m (published, y)", "m (best)"],
        ),
    ],
)
def test_the_shortest_names_that_tell_evaluations_apart(given: Any, names: list[str]) -> None:
    assert unique_names([one.report for one in given], [one.folder for one in given]) == names

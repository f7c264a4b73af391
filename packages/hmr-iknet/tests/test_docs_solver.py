"""docs/solver.md is right about iknet: its options, its metrics as recorded; the README's program runs."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest

from hmr_core.hand.fit.from_network import START_ERROR
from hmr_core.hand.fit.least_squares import NOISE_MM
from hmr_core.hand.fit.outliers import NOISE_SPREAD, SHAPE_SPREAD
from hmr_iknet.solver import DEFAULT_PRIOR_GROUP, DEFAULT_STEPS
from hmr_iknet.solver_config import IKNetSolverConfig

REPOSITORY = Path(__file__).parents[3]
PAGE = (REPOSITORY / "docs/solver.md").read_text(encoding="utf-8")


def table(heading: str) -> list[list[str]]:
    """The rows of the first table after a heading, but for its head."""
    lines = PAGE[PAGE.index(heading) :].splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    ends = [i for i, row in enumerate(rows) if set(row[0]) == {"-"}]
    return rows[ends[0] + 1 : ends[1] - 1 if len(ends) > 1 else None]


def test_options() -> None:
    named = {row[0].strip("`"): row[1] for row in table("Of `iknet`:")}
    fields = IKNetSolverConfig.model_fields
    assert set(named) == set(fields)
    assert named["fit"].strip("`") == fields["fit"].default
    assert named["prior_group"] == str(DEFAULT_PRIOR_GROUP)
    assert named["noise_mm"] == f"{NOISE_MM:g}"
    assert f"null: {DEFAULT_PRIOR_GROUP}," in str(fields["prior_group"].description)
    assert str(fields["noise_mm"].description).endswith(f"null: {NOISE_MM:g}")
    assert named["steps"] == f"{DEFAULT_STEPS['published']} (`published`), {DEFAULT_STEPS['lm']} (`lm`)"


def test_constants() -> None:
    assert f"s = {START_ERROR} rad" in PAGE
    assert SHAPE_SPREAD == 0.25
    assert f"more than a quarter and {NOISE_SPREAD:.0f} n" in PAGE


def test_figures() -> None:
    with (REPOSITORY / "results/fit.csv").open(encoding="utf-8", newline="") as file:
        measured = {(row["what"], row["noise_mm"]): row for row in csv.DictReader(file)}
    rows = table("## Measured")
    assert [row[0] for row in rows] == list(dict.fromkeys(what for what, _ in measured))
    for what, at_once, rate, ratio, *errors in rows:
        two, five = measured[what, "2"], measured[what, "5"]
        assert at_once == two["at_once"]
        assert rate == f"{int(two['hands_per_s']):,}"
        assert ratio == f"{float(two['ratio']):,.0f}"
        assert errors == [f"{row['mesh_error_mm']} mm" if row["mesh_error_mm"] else "" for row in (two, five)]


def test_sweep() -> None:
    with (REPOSITORY / "results/fit_noise.csv").open(encoding="utf-8", newline="") as file:
        measured: dict[tuple[str, str], dict[str, str]] = {}
        for row in csv.DictReader(file):
            of_hands = measured.setdefault((row["hands_kind"], f"{row['joint_noise_mm']} mm"), {})
            of_hands[row["noise_mm"]] = row["mesh_error_mm"]
    assert {(kind, noise): errors for kind, noise, *errors in table("### The expected noise")} == {
        hands: list(errors.values()) for hands, errors in measured.items()
    }
    for (_, noise), errors in measured.items():
        above = float(errors[f"{NOISE_MM:g}"]) / min(float(error) for error in errors.values())
        assert above < (1.21 if noise == "2 mm" else 1.1)  # as the page says


def test_the_readmes_program_runs(capsys: pytest.CaptureFixture[str]) -> None:
    readme = (REPOSITORY / "packages/hmr-iknet/README.md").read_text(encoding="utf-8")
    (program,) = re.findall(r"```python\n(.*?)```", readme, flags=re.DOTALL)
    exec(compile(program, "README.md", "exec"), {})
    assert capsys.readouterr().out == "torch.Size([5, 778, 3])\n"

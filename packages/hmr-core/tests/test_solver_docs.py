"""docs/solver.md is right about lm: its options, its constants, where fits start; its program runs."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest

from hmr_core.hand.fit.from_mean_pose import BASE_ERROR, ERROR, HINGE_ERROR, STEPS, THUMB_ERROR, WRIST_ERROR
from hmr_core.hand.fit.least_squares import LEAST_OUTLIER, NOISE_MM, OUTLIER
from hmr_core.hand.fit.lm_config import LmConfig

REPOSITORY = Path(__file__).parents[3]
PAGE = (REPOSITORY / "docs/solver.md").read_text(encoding="utf-8")


def table(heading: str) -> list[list[str]]:
    """The rows of the first table after a heading, but for its head."""
    lines = PAGE[PAGE.index(heading) :].splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith("|"))
    rows = []
    for line in lines[first + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


def test_options() -> None:
    defaults = {name: f"{field.default:g}" for name, field in LmConfig.model_fields.items()}
    assert {row[0].strip("`"): row[1] for row in table("Of `lm`:")} == defaults
    assert (LmConfig().noise_mm, LmConfig().steps) == (NOISE_MM, STEPS)


def test_constants() -> None:
    text = " ".join(PAGE.split())
    assert f"c = {OUTLIER:.0f} n and at least {1000 * LEAST_OUTLIER:.0f} mm" in text
    assert (
        f"s is {ERROR} rad about the axis of a finger's flexion and less about other axes: {BASE_ERROR} rad at a "
        f"finger's base, {HINGE_ERROR} rad at its other two joints, {THUMB_ERROR} rad at all joints of a thumb. The "
        f"wrist's s is {WRIST_ERROR} rad." in text
    )


def test_where_fits_start() -> None:
    measured: dict[str, list[str]] = {}
    with (REPOSITORY / "results/fit_starts.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            measured.setdefault(row["start"], []).append(row["mesh_error_mm"])
    assert {start: errors for start, *errors in table("### Where the fit starts")} == measured
    errors = {start: [float(error) for error in row] for start, row in measured.items()}
    stand_in, found, flat = (errors[k] for k in ("IKNet's stand-in", "the mean pose (`lm`)", "the flat hand"))
    supple, informed = errors["the mean pose, 0.5 rad about every axis"], "the flat hand, 0.25 rad about every axis"
    text = " ".join(PAGE.split())

    def percent(one: float, other: float) -> str:
        return f"{abs(100 * (one / other - 1)):.0f} %"

    better, worse = percent(found[2], stand_in[2]), percent(found[3], stand_in[3])
    assert f"`lm` is {better} better than least squares from there with 2 mm of noise, and {worse} worse with 5" in text
    assert f"it is {percent(found[0], stand_in[0])} and {percent(found[1], stand_in[1])} worse" in text
    assert f"leaves {' and '.join(measured[informed][:2])} mm" in text
    assert f"is {percent(found[2], flat[2])} and {percent(found[3], flat[3])} better than the flat hand" in text
    assert f"take {percent(found[2], supple[2])} and {percent(found[3], supple[3])} off the error" in text


def test_the_program_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (program,) = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    exec(compile(program, "solver.md", "exec"), {})
    (expected,) = re.findall(r"print\(.*\)  # (.*)", program)
    assert capsys.readouterr().out == f"{expected}\n"

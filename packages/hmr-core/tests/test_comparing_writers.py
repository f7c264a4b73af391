"""A comparison as text, JSON, CSV, Markdown and LaTeX."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import asdict, replace

import pytest

from hmr_core.evaluation.comparing.comparison import (
    Breakdown,
    Comparison,
    Curve,
    Group,
    Interval,
    MetricRow,
    Pair,
    Reference,
)
from hmr_core.evaluation.comparing.tables import metrics_table
from hmr_core.evaluation.comparing.writers import as_csv, as_json, as_latex, as_markdown, as_text

COMPARISON = Comparison(
    names=["small", "small_2 & more"],
    split="sp0",
    subset="test",
    samples=24,
    cluster="sequence",
    clusters=6,
    confidence=0.95,
    seed=0,
    draws=2000,
    ids=["x"],
    metrics=[
        MetricRow(
            metric="mpjpe_mm",
            title="MPJPE",
            unit="mm",
            better="lower",
            values=[Interval(value=10.123, low=9.5, high=11.25), Interval(value=9.0, low=8.0, high=10.0)],
            best=1,
        ),
        MetricRow(
            metric="pck_auc_0_50mm",
            title="PCK-AUC",
            unit="",
            better="higher",
            values=[Interval(value=0.8), Interval(value=None)],
            best=None,
        ),
    ],
    pairs=[
        Pair(
            a="small",
            b="small_2 & more",
            metric="mpjpe_mm",
            difference=Interval(value=-1.123, low=-2.0, high=-0.5),
            sentence="small_2 & more is better by 1.12 mm, 95 % interval 0.50 to 2.00",
        )
    ],
    breakdowns=[
        Breakdown(
            by="object",
            metric="mpjpe_mm",
            groups=[
                Group(name="A01001", samples=24, values=[Interval(value=10.0), Interval(value=9.0, low=8.0, high=10.0)])
            ],
        )
    ],
    curves=[Curve(kind="pck", thresholds_mm=[0.0, 50.0], shares=[[0.0, 1.0], [0.25, 1.0]])],
    references=[Reference(of="small", label="mean pose of train", values={"mpjpe_mm": 30.0})],
    errors_mm={"mpjpe_mm": {"small": [10.0], "small_2 & more": [None]}},
    notes=["100 % of it is made up"],
    synthetic=True,
)

TEXT = """\
sp0 test, 24 samples, synthetic data; 95 % intervals over 6 sequences
                    MPJPE mm       PCK-AUC
small               10.12          0.800
  95 % interval     9.50 to 11.25
small_2 & more      9.00           -
  95 % interval     8.00 to 10.00
mean pose of train  30.00          -

Differences:
  MPJPE       small_2 & more is better by 1.12 mm, 95 % interval 0.50 to 2.00

MPJPE mm by object:
object  samples  small  small_2 & more
A01001  24       10.00  9.00 [8.00, 10.00]

note: 100 % of it is made up
"""

MARKDOWN = r"""sp0 test, 24 samples, synthetic data; 95 % intervals over 6 sequences.

**Metrics**

|  | MPJPE mm | PCK-AUC |
|---|---|---|
| small | 10.12 \[9.50, 11.25\] | 0.800 |
| small\_2 & more | **9.00** \[8.00, 10.00\] | - |
| mean pose of train | 30.00 | - |

**MPJPE mm by object**

| object | samples | small | small\_2 & more |
|---|---|---|---|
| A01001 | 24 | 10.00 | 9.00 \[8.00, 10.00\] |

**Differences**

- MPJPE: small\_2 & more is better by 1.12 mm, 95 % interval 0.50 to 2.00

**Notes**

- 100 % of it is made up
"""

LATEX = r"""% sp0 test, 24 samples, synthetic data; 95 % intervals over 6 sequences. Needs \usepackage{booktabs}.

% Metrics
\begin{tabular}{lrr}
\toprule
 & MPJPE mm & PCK-AUC \\
\midrule
small & 10.12 {\scriptsize [9.50, 11.25]} & 0.800 \\
small\_2 \& more & \textbf{9.00} {\scriptsize [8.00, 10.00]} & - \\
mean pose of train & 30.00 & - \\
\bottomrule
\end{tabular}

% MPJPE mm by object
\begin{tabular}{lrrr}
\toprule
object & samples & small & small\_2 \& more \\
\midrule
A01001 & 24 & 10.00 & 9.00 {\scriptsize [8.00, 10.00]} \\
\bottomrule
\end{tabular}

% MPJPE: small_2 & more is better by 1.12 mm, 95 % interval 0.50 to 2.00
% 100 % of it is made up
"""


def test_text() -> None:
    assert as_text(COMPARISON) == TEXT


def test_markdown() -> None:
    assert as_markdown(COMPARISON) == MARKDOWN


def test_latex() -> None:
    assert as_latex(COMPARISON) == LATEX


def test_json_has_all_of_it() -> None:
    found = json.loads(as_json(COMPARISON))
    assert found.pop("format") == "hmr-comparison/1"
    assert found == asdict(COMPARISON)
    with pytest.raises(ValueError, match="JSON"):
        as_json(replace(COMPARISON, confidence=float("nan")))


def test_csv_has_each_value_in_a_line() -> None:
    lines = list(csv.DictReader(io.StringIO(as_csv(COMPARISON))))
    kinds = [line["kind"] for line in lines]
    assert kinds == [*["metric"] * 4, "reference", "difference", *["breakdown"] * 2, *["pck"] * 4]
    first, difference, group, point = lines[0], lines[5], lines[7], lines[10]
    assert (first["evaluation"], first["metric"], first["unit"], first["samples"]) == ("small", "mpjpe_mm", "mm", "24")
    assert (first["value"], first["low"], first["high"]) == ("10.123", "9.5", "11.25")
    assert (lines[3]["value"], lines[3]["low"]) == ("", "")
    assert (difference["evaluation"], difference["other"], difference["value"]) == ("small_2 & more", "small", "-1.123")
    assert (group["by"], group["group"], group["evaluation"], group["value"]) == (
        "object",
        "A01001",
        "small_2 & more",
        "9",
    )
    assert (point["evaluation"], point["group"], point["value"]) == ("small_2 & more", "0", "0.25")


def several(*names: str) -> Comparison:
    """Evaluations of which each two differ in three metrics; what they are held against differs in the last."""
    keys = {"mpjpe_mm": "MPJPE", "mpvpe_mm": "MPVPE", "wrist_mpjpe_mm": "MPJPE, wrists aligned"}
    return replace(
        COMPARISON,
        names=list(names),
        metrics=[
            MetricRow(
                metric=key, title=title, unit="mm", better="lower", values=[Interval(value=1.0)] * len(names), best=None
            )
            for key, title in keys.items()
        ],
        pairs=[
            Pair(a=a, b=b, metric=key, difference=Interval(value=1.0), sentence=f"{b} - {a}")
            for key in keys
            for place, b in enumerate(names)
            for a in names[:place]
        ],
        references=[
            *(Reference(of=name, label="as published", values={"mpjpe_mm": 8.14}) for name in names),
            *(Reference(of=name, label="mean pose", values={"mpjpe_mm": 30.0}) for name in names[:-1]),
            Reference(of=names[-1], label="mean pose", values={"mpjpe_mm": 31.0}),
        ],
        breakdowns=[],
        curves=[],
        notes=[],
    )


def test_what_evaluations_are_held_against_is_there_once() -> None:
    comparison = several("a", "b", "c")
    rows = ["a", "b", "c", "as published", "a, b: mean pose", "c: mean pose"]
    assert [line.name for line in metrics_table(comparison).lines] == rows
    for written in (as_text(comparison), as_markdown(comparison), as_latex(comparison)):
        assert written.count("as published") == written.count("a, b: mean pose") == written.count("8.14") == 1
    assert as_csv(comparison).count("as published") == 3, "each value with its evaluation"


def test_a_reader_is_told_how_each_differs_from_the_first_in_the_published_table_s_metrics() -> None:
    comparison = several("a", "b", "c", "d")
    told = ["b - a", "c - a", "d - a"]
    assert [line.split()[-3:] for line in as_text(comparison).splitlines() if " - a" in line] == [
        text.split() for text in 2 * told
    ]
    for written in (as_text(comparison), as_markdown(comparison), as_latex(comparison)):
        assert "JSON, CSV and the page have 12 more differences" in written
        assert "d - b" not in written
    assert as_csv(comparison).count("difference,") == len(json.loads(as_json(comparison))["pairs"]) == 18
    assert "more difference" not in as_text(replace(comparison, pairs=comparison.pairs[:1]))


def test_the_published_table_s_metrics_are_a_table_of_their_own() -> None:
    first, second, *_ = as_text(several("a", "b")).split("\n\n")
    assert "MPJPE mm  MPVPE mm" in first
    assert "wrists" not in first
    assert second.splitlines()[1].strip() == "MPJPE, wrists aligned mm"
    assert "published" not in second, "nothing is known there"


def test_a_line_break_in_a_note_ends_no_comment() -> None:
    """Notes are of whoever wrote a plugin; a LaTeX comment ends with its line."""
    assert "\n\\input" not in as_latex(replace(COMPARISON, notes=["one\n\\input{x}"]))

"""`hmr compare` as its user runs it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import hmr_core
from hmr_core.data.pack.reader import Pack
from hmr_core.evaluation.comparing.writers import as_json
from hmr_core.evaluation.saved import SavedEvaluation
from hmr_core.pictures import read_picture
from hmr_core.viz.tiles import TILE_PX

Evaluated = Callable[..., SavedEvaluation]


@pytest.fixture
def two(command_line: Any, evaluated: Evaluated) -> None:
    """Two evaluations in the folders a and b, of which b is the better one."""
    evaluated("a", 6.0, folder=Path("a"))
    evaluated("b", 3.0, folder=Path("b"), mesh=False)


def told(err: str) -> list[str]:
    """The lines on stderr, without that of the samples that were compared, which comes first."""
    first, *lines = err.splitlines()
    assert re.fullmatch(r"comparing: (48/48|24/24) samples in .*", first)
    return lines


def test_two_evaluations_are_compared(command_line: Any, two: None) -> None:
    status, out, err = command_line("compare", "a", "b")
    assert (status, told(err)) == (0, [])
    lines = out.splitlines()
    assert lines[0] == "sp0 test, 24 samples; 95 % intervals over 5 sequences"
    assert [line.split("  ")[0].strip() or line.strip().split("  ")[0] for line in lines[2:10]] == [
        "a", "95 % interval", "b", "95 % interval", "mean pose of train", "a as published, on OakInk-Image",
        "b as published, on OakInk-Image", "",
    ]  # fmt: skip
    assert any(line.startswith("  MPJPE  ") and "b is better than a by " in line for line in lines)
    assert "by finger" not in out
    status, out, _ = command_line("compare", "a", "b", "--by", "finger", "--by", "view", "--cluster", "sample")
    assert status == 0
    assert "95 % intervals over single samples" in out
    assert "MPJPE mm by finger:" in out
    assert "PA-MPJPE mm by view:" in out
    assert "by joint" not in out


def test_each_format_is_written_by_its_name_or_the_file_s_ending(command_line: Any, two: None) -> None:
    for name, begin in (
        ("c.json", '{\n "format": "hmr-comparison/1"'), ("c.csv", "kind,by,group,"), ("c.md", "sp0 test, 24 samples"),
        ("c.tex", "% sp0 test, 24 samples"), ("c.txt", "sp0 test, 24 samples; 95 %"), ("c", "sp0 test, 24 samples"),
    ):  # fmt: skip
        status, out, err = command_line("compare", "a", "b", "--out", name)
        assert (status, out, told(err)) == (0, "", [f"written: {name}"])
        assert Path(name).read_text().startswith(begin)
    found = json.loads(Path("c.json").read_text())
    assert {breakdown["by"] for breakdown in found["breakdowns"]} >= {"joint", "finger", "subject", "object", "view"}
    status, out, _ = command_line("compare", "a", "b", "--format", "latex", "--by", "finger")
    assert status == 0
    assert out.count(r"\begin{tabular}") == 2


def test_a_breakdown_of_one_group_has_it_and_says_that_it_is_the_only_one(command_line: Any, two: None) -> None:
    status, out, err = command_line("compare", "a", "b", "--by", "side")
    assert (status, told(err)) == (0, [])
    lines = out.splitlines()
    assert lines[lines.index("MPJPE mm by side:") + 2].startswith("right  24 ")
    assert 'note: by side, there is one group alone, "right", which has all samples' in lines


def test_python_gives_the_same(command_line: Any, two: None) -> None:
    comparison = hmr_core.compare(["a", Path("b")], by=["finger"], cluster="sample")
    assert command_line("compare", "a", "b", "--by", "finger", "--cluster", "sample", "--format", "json").out == (
        as_json(comparison)
    )
    other = hmr_core.compare(["a", "b"], cluster="sample", seed=1, draws=500, by=())
    assert other.row("mpjpe_mm").values[0].value == comparison.row("mpjpe_mm").values[0].value
    assert other.row("mpjpe_mm").values[0].low != comparison.row("mpjpe_mm").values[0].low


def test_the_picture_shows_them_side_by_side(command_line: Any, two: None, mini_pack: Pack) -> None:
    status, _, err = command_line("compare", "a", "b", "--picture", "models.png")
    assert (status, told(err)) == (0, ["picture: models.png"])
    assert read_picture(Path("models.png")).shape[1] == (1 + 2 + 1) * TILE_PX
    report = json.loads(Path("a/report.json").read_text())
    report["pack"]["path"] = "gone.h5"
    Path("a/report.json").write_text(json.dumps(report))
    status, _, err = command_line("compare", "a", "--picture", "models.png")
    assert status == 1
    assert err == "error: the picture needs the pack, and it was not found. Name it with --data.\n"
    assert command_line("compare", "a", "--data", str(mini_pack.path), "--picture", "again.png").status == 0


def test_the_page_has_all_that_the_pack_knows_and_the_table_as_little_as_without(
    command_line: Any, two: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hmr_core.evaluation.page.choice.MOST_A_GROUP", 1)
    few = ("--draws", "100")
    _, table, _ = command_line("compare", "a", "b", *few)
    status, out, err = command_line("compare", "a", "b", "--html", "report.html", *few)
    assert (status, out, told(err)) == (0, table, ["page: report.html"])
    page = Path("report.html").read_text()
    pictures = page.count("data:image/jpeg;base64,")
    assert pictures in (2 * 4, 3 * 4), "of each sample: the truth, two models' joints, one mesh"
    for by in ("joint", "finger", "subject", "object", "view"):
        assert f"<summary>MPJPE by {by}, as a table</summary>" in page
    assert command_line("compare", "a", "b", "--html", "some.html", "--by", "finger", *few).status == 0
    some = Path("some.html").read_text()
    assert "MPJPE by finger" in some
    assert "MPJPE by view" not in some


def test_the_page_without_the_pack_says_so(command_line: Any, two: None) -> None:
    for name in ("a", "b"):
        report = json.loads(Path(f"{name}/report.json").read_text())
        report["pack"]["path"] = "gone.h5"
        Path(f"{name}/report.json").write_text(json.dumps(report))
    status, _, err = command_line("compare", "a", "b", "--html", "report.html")
    assert (status, err) == (0, "page: report.html\n")
    page = Path("report.html").read_text()
    assert "data:image/jpeg" not in page
    assert "This page has no pictures: it was made without the pack that the evaluations are of." in page


def test_the_page_without_plotly_is_an_error_before_anything_is_read(
    command_line: Any, two: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hmr_core.optional_packages.find_spec", lambda name: None)
    status, out, err = command_line("compare", "a", "nowhere", "--html", "report.html")
    assert (status, out) == (1, "")
    assert err == (
        'error: Plotly, which draws the page\'s charts, is not installed. Run: pip install "hmr-core[report]"\n'
    )
    assert not Path("report.html").exists()


@pytest.mark.parametrize(
    ("options", "told", "status"),
    [
        ("--out c.pdf", "--out c.pdf ends in .pdf, which says no format. Valid: .txt, .json, .csv, .md, .tex; or", 2),
        ("--out c.html", "or name one with --format. A page is written by --html c.html.", 2),
        ("--html c.txt", "--html c.txt does not end in .html or .htm. Give another, for instance --html c.html.", 2),
        ("--picture c.jpg", "--picture c.jpg does not end in .png. Give another, for instance --picture c.png.", 2),
        ("--out a/report.json/c.md", "the file a/report.json/c.md cannot be written: a/report.json is a file.", 1),
        ("--html folder.html", "the file folder.html cannot be written: folder.html is a folder. Choose another.", 1),
        ("--picture a/report.json/c.png", "the file a/report.json/c.png cannot be written: a/report.json is a fil", 1),
    ],
)
def test_a_place_that_cannot_be_written_is_told_before_anything_is_read(
    command_line: Any, two: None, monkeypatch: pytest.MonkeyPatch, options: str, told: str, status: int
) -> None:
    monkeypatch.setattr("hmr_core.evaluation.comparing.reading.open_evaluations", lambda *given: pytest.fail("read"))
    Path("folder.html").mkdir()
    found = command_line("compare", "a", "b", *options.split())
    assert (found.status, found.out) == (status, "")
    assert told in found.err


def test_a_format_that_is_named_goes_into_a_file_of_any_name(command_line: Any, two: None) -> None:
    assert command_line("compare", "a", "--format", "latex", "--out", "c.inc").status == 0
    assert Path("c.inc").read_text().startswith("% sp0 test")


def test_mistakes_are_told(command_line: Any, two: None) -> None:
    assert command_line("compare").status == 2
    for wanted in ("--html", "--picture"):
        name = "c.html" if wanted == "--html" else "c.png"
        status, out, err = command_line("compare", "a", wanted, name, "--hand-model", "no.npz")
        assert (status, out) == (1, "")
        assert err.startswith("error: no hand model at no.npz.")
    status, _, err = command_line("compare", "a", "--by", "fingers")
    assert status == 2
    assert 'error: there is no breakdown by "fingers". Did you mean "finger"?' in err
    status, _, err = command_line("compare", "a", "a/")
    assert status == 2
    assert "error: a is given twice. Give each evaluation once." in err
    status, _, err = command_line("compare", "nothing")
    assert status == 1
    assert "error: nothing holds no evaluation: " in err

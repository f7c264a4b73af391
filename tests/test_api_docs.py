"""docs/api.md is right: its programs run in order, print what it says, and use every public name. README's runs."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import cv2
import pytest
from numpy import ndarray

import hmr_core as hmr

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/api.md").read_text(encoding="utf-8")


def programs_of(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)


PROGRAMS = programs_of(PAGE)


def printed_by(program: str) -> list[str]:
    """What a program prints by its own account: the comments behind its calls of print."""
    return re.findall(r"^ *print\(.*\)  # (.*)$", program, flags=re.MULTILINE)


@pytest.fixture
def folder(tmp_path: Path, mini_pack_path: Path, mini_tree: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with what the programs find there."""
    for name in ("HMR_DATA", "HMR_HAND_MODEL", "HMR_PLUGINS"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "data").mkdir()
    (tmp_path / "data/oakink.h5").symlink_to(mini_pack_path)
    monkeypatch.chdir(tmp_path)
    shutil.copy(
        next((mini_tree / "image/stream_release_v2").rglob("*.png")), "photo.jpg"
    )  # the ending counts for nothing
    hmr.train("integral", split="sp0", recipe="tiny", set={"train.epochs": 1}, device="cpu", progress=False)
    return tmp_path


def test_its_programs_run(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {}
    for program in PROGRAMS:
        exec(compile(program, "docs/api.md", "exec"), names)
        assert capsys.readouterr().out.splitlines() == printed_by(program)


def test_the_program_of_the_readme_runs(folder: Path, hand_view: ndarray, networks_folder_path: Path) -> None:
    cv2.imwrite("photo.jpg", cv2.cvtColor(hand_view, cv2.COLOR_RGB2BGR))
    (program,) = programs_of((ROOT / "README.md").read_text(encoding="utf-8"))
    names: dict[str, Any] = {}
    exec(compile(program, "README.md", "exec"), names)
    assert (folder / "hand.obj").exists()
    assert names["report"]["samples"] == 24


def test_each_print_says_what_it_prints() -> None:
    for program in PROGRAMS:
        assert program.count("print(") == len(printed_by(program))


def test_it_shows_every_name() -> None:
    table = PAGE.partition("| name |")[2].partition("\n\n")[0]
    assert set(re.findall(r"^\| \[`hmr\.(\w+)`\]", table, flags=re.MULTILINE)) == set(hmr.__all__)
    for name in hmr.__all__:
        assert any(f"hmr.{name}" in program for program in PROGRAMS), name


def test_it_names_every_key_of_a_sample(mini_pack_path: Path) -> None:
    table = PAGE.partition("| key |")[2].partition("\n\n")[0]
    shown = set(re.findall(r"`(\w+)`", table))
    assert shown | {"id"} == set(hmr.ImageDataset(mini_pack_path, split="sp0")[0])


def test_it_names_every_attribute_of_hands_and_errors() -> None:
    for section, kind in (("From a photo to hands", hmr.Hand), ("Metrics", hmr.metrics.Errors)):
        table = PAGE.partition(f"## {section}\n")[2].partition("| attribute |")[2].partition("\n\n")[0]
        assert set(re.findall(r"`(\w+)`", table)) >= set(kind.__dataclass_fields__)

"""`hmr doctor` as its user sees it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from hmr_core.cli.main import main
from hmr_core.doctor.choose import chosen
from hmr_core.hand.synthetic import load_synthetic_hand

HMR = [sys.executable, "-m", "hmr_core"]


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty working folder, and no variable that names a file."""
    for name in ("HMR_DATA", "HMR_HAND_MODEL", "HMR_DEBUG", "HMR_PLUGINS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def findings(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any]]:
    status = main(["doctor", "--json", *arguments])
    return status, json.loads(capsys.readouterr().out)


def texts(report: dict[str, Any], section: str) -> list[str]:
    return [f"{f['level']}: {f['text']}" for f in report["findings"] if f["section"] == section]


def test_without_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    headings = [line for line in lines if line and not line.startswith(" ")]
    assert headings[:-1] == ["versions", "machine", "plugins", "root", "data", "hand model"]
    assert headings[-1].startswith("nothing is wrong; 0 warnings, ")
    place = lines.index("  note     no tree was looked at")
    assert lines[place + 1] == "           -> hmr doctor --root OakInk, the folder of a data set"
    place = lines.index(
        "  note     no pack: none is named, neither here nor by HMR_DATA, and there is no data/oakink.h5"
    )
    assert lines[place + 1] == (
        "           -> `hmr pack oakink --root OakInk --out data/oakink.h5`; without the release: "
        "`hmr synth demo`, then `hmr pack oakink --root demo/OakInk --out data/oakink.h5`; "
        "`hmr datasets` lists the other data sets"
    )
    assert not list(Path().iterdir())  # nothing is written


def test_all_that_there_is(
    mini_tree: Path, mini_pack_path: Path, mini_hand_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--root", str(mini_tree), "--data", str(mini_pack_path), "--hand-model", str(mini_hand_path)]
    status, report = findings(capsys, *given)
    assert status == 0
    assert report["ok"] is True
    assert report["counts"]["wrong"] == 0
    assert report["counts"]["warning"] == 6  # three counts of tree and pack: the data set of the tests is a small one
    assert set(report["findings"][0]) == {"section", "level", "text", "remedy"}
    assert texts(report, "root and data")[:2] == [
        "ok: the 20 lists of the pack are the tree's, sample by sample",
        "ok: annotations of 64 samples are the tree's",
    ]
    assert texts(report, "hand model")[-1].startswith(f"ok: it makes the meshes of {mini_pack_path} from their poses")
    assert main(["doctor", *given]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("nothing is wrong; 6 warnings, ")


def test_what_is_wrong_is_counted_and_fails(
    mini_tree: Path, mini_pack_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tree = Path(shutil.copytree(mini_tree, tmp_path / "OakInk", copy_function=os.symlink))
    for path in (tree / "image/anno/hand_v").iterdir():
        path.unlink()
    assert main(["doctor", "--root", str(tree)]) == 1
    lines = capsys.readouterr().out.splitlines()
    place = next(i for i, line in enumerate(lines) if "image/anno/hand_v lacks 96 of 96 files: " in line)
    assert lines[place].startswith("  wrong    ")
    assert lines[place + 1] == "           -> Unpack image/anno/hand_v again."
    assert lines[-1].startswith("2 wrong, 3 warnings, ")
    assert lines[-1].endswith(" ok. What to run follows each line, after ->.")


def test_every_line_that_is_not_right_says_what_to_do(
    mini_pack_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "cut.h5").write_bytes(mini_pack_path.read_bytes()[:-1])
    (tmp_path / "bad.npz").write_text("no hand")
    given = ["--root", "nowhere", "--data", "cut.h5", "--hand-model", "bad.npz"]
    status, report = findings(capsys, *given)
    assert status == 1
    wrong = [finding for finding in report["findings"] if finding["level"] in ("warning", "wrong")]
    assert [finding["section"] for finding in wrong] == ["root", "data", "hand model"]
    assert wrong[0]["remedy"] == ""  # the error's own text says what to do
    assert "Pass as --root the folder of a data set" in wrong[0]["text"]
    assert wrong[1]["remedy"] == (
        "`hmr pack verify cut.h5` tells what is damaged; then copy it again, or `hmr pack NAME --root FOLDER --out "
        "cut.h5 --force`"
    )
    assert wrong[2]["remedy"]
    assert wrong[0]["text"].startswith("there is no folder nowhere.")
    assert wrong[1]["text"].startswith("cut.h5 is truncated: ")
    assert wrong[2]["text"].startswith("bad.npz is not a hand model")


@pytest.mark.parametrize("given", ["folder", "gone.h5", "other.h5", "pipe"])
def test_a_pack_that_is_none_has_no_remedy_but_its_error_s(given: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("folder").mkdir()
    Path("other.h5").write_bytes(b"something else, which --force would replace")
    os.mkfifo("pipe")
    held = os.open("pipe", os.O_RDWR)
    os.write(held, bytes(1000))  # so that what reads from it fails instead of waiting
    status, report = findings(capsys, "--data", given)
    os.close(held)
    assert status == 1
    (wrong,) = [finding for finding in report["findings"] if finding["section"] == "data"]
    assert wrong["level"] == "wrong"
    assert wrong["remedy"] == ""
    assert "hmr pack NAME --root " in wrong["text"]


def test_a_tree_with_a_damaged_list_is_to_be_unpacked_again(
    mini_tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tree = Path(shutil.copytree(mini_tree, tmp_path / "OakInk", copy_function=os.symlink))
    (tree / "image/anno/seq_all.json").unlink()
    (tree / "image/anno/seq_all.json").write_text("[")
    status, report = findings(capsys, "--root", str(tree))
    assert status == 1
    (wrong,) = [finding for finding in report["findings"] if finding["level"] == "wrong"]
    assert wrong["text"].startswith(f"{tree}/image/anno/seq_all.json is damaged: not JSON")
    assert wrong["remedy"] == (
        "Unpack the release's annotations again (image/anno/split, split_train_val, seq_all.json)."
    )


def test_meshes_that_are_no_numbers_do_not_blame_the_hand_model(
    mini_pack_path: Path, mini_hand_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = Path(shutil.copy(mini_pack_path, tmp_path / "nan.h5"))
    with h5py.File(path, "r+", locking=False) as file:
        file["samples/verts"][:, 7, 2] = float("nan")
    status, report = findings(capsys, "--data", str(path), "--hand-model", str(mini_hand_path))
    assert status == 1
    last = report["findings"][-1]
    assert (last["section"], last["level"]) == ("hand model", "wrong")
    assert "is no finite number, in 64 of 64 samples looked at" in last["text"]
    assert last["remedy"] == "See what is said of data above."


def test_checks_of_as_many_samples_look_at_others(
    mini_tree: Path,
    mini_pack_path: Path,
    mini_hand_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    looked: list[list[int]] = []

    def recording(samples: int, most: int, rng: np.random.Generator) -> Any:
        rows = chosen(samples, most, rng)
        looked.append(rows.tolist())
        return rows

    for module in ("pack", "match", "hand"):
        monkeypatch.setattr(f"hmr_core.doctor.{module}.chosen", recording)
    given = ["--root", str(mini_tree), "--data", str(mini_pack_path), "--hand-model", str(mini_hand_path)]
    findings(capsys, *given)
    integrity, _, match, hand = looked
    assert len(integrity) == len(match) == len(hand) == 64
    assert integrity != match != hand != integrity
    findings(capsys, *given)
    assert looked[4:] == looked[:4]  # and are the same ones each time


def test_the_variables_are_followed(
    mini_pack_path: Path, mini_hand_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HMR_DATA", str(mini_pack_path))
    status, report = findings(capsys)
    assert status == 0
    assert texts(report, "hand model")[-1].startswith("warning: it is not the hand of the annotations")
    monkeypatch.setenv("HMR_HAND_MODEL", str(mini_hand_path))
    status, report = findings(capsys)
    assert texts(report, "hand model")[-1].startswith("ok: it makes the meshes")
    monkeypatch.setenv("HMR_DATA", "gone.h5")
    monkeypatch.setenv("HMR_HAND_MODEL", "gone.npz")
    status, report = findings(capsys)
    assert status == 1
    assert texts(report, "data")[0] == "ok: HMR_DATA names the pack: gone.h5"
    assert texts(report, "data")[1].startswith("wrong: there is no data file gone.h5. Make one: ")
    assert texts(report, "hand model")[0].startswith("wrong: HMR_HAND_MODEL is gone.npz: no hand model at gone.npz.")


def test_another_hand_model_that_was_chosen_is_wrong(
    mini_pack_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from hmr_core.hand.model import save_hand_model

    save_hand_model(load_synthetic_hand(), tmp_path / "hand.npz")
    status, report = findings(capsys, "--data", str(mini_pack_path), "--hand-model", "hand.npz")
    assert status == 1
    assert texts(report, "hand model")[-1].startswith("wrong: it is not the hand of the annotations")


def test_the_default_pack_is_found(mini_pack_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "data").mkdir()
    shutil.copy(mini_pack_path, tmp_path / "data/oakink.h5")
    _, report = findings(capsys)
    assert texts(report, "data")[0].startswith("ok: data/oakink.h5 opens: OakInk-Image v2.1; 96 samples, png, ")


@pytest.mark.slow
@pytest.mark.parametrize("broken", ["torch", "h5py", "cv2"])
def test_the_report_comes_even_if_a_package_is_broken(
    broken: str, mini_tree: Path, mini_pack_path: Path, tmp_path: Path
) -> None:
    site = tmp_path / "site"
    site.mkdir()
    (site / f"{broken}.py").write_text("raise ImportError('its binary is of another machine')")
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")])}
    command = [*HMR, "doctor", "--json", "--root", str(mini_tree), "--data", str(mini_pack_path)]
    done = subprocess.run(command, capture_output=True, text=True, env=environ, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (1, "")
    report = json.loads(done.stdout)
    assert f"wrong: {broken} cannot be imported (ImportError: its binary is of another machine)" in texts(
        report, "versions"
    )
    assert {finding["section"] for finding in report["findings"]} >= {
        "machine",
        "plugins",
        "root",
        "data",
        "hand model",
    }
    assert all(finding["remedy"] for finding in report["findings"] if finding["level"] == "wrong")
    if broken == "torch":  # the pack is read without it
        assert not [text for text in texts(report, "data") if text.startswith("wrong")]


@pytest.mark.slow
def test_a_broken_plugin_is_a_line(tmp_path: Path, fakes: Any) -> None:
    site = tmp_path / "site"
    site.mkdir()
    fakes.install(site, "bad", "raise ImportError('no such thing')")
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run([*HMR, "doctor"], capture_output=True, text=True, env=environ, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (1, "")
    assert "  wrong    bad (hmr-bad 1.0) is broken: " in done.stdout
    assert "           -> hmr plugins bad" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("1 wrong, 0 warnings, ")


def test_on_a_terminal_it_says_the_same(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "50")
    monkeypatch.setenv("TERM", "xterm-256color")
    assert main(["doctor"]) == 0
    shown = capsys.readouterr().out
    assert "\x1b[36m  note" in shown  # in colour, and in words
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line).rstrip() for line in shown.splitlines()]
    place = lines.index("  note     no tree was looked at")
    indent = lines[place].index("no tree")
    assert lines[place + 1] == " " * indent + "-> hmr doctor --root OakInk, the folder"
    assert lines[place + 2] == " " * indent + "of a data set"  # what is long hangs under its beginning
    assert max(map(len, lines)) <= 50


def test_the_page_shows_what_is_printed(
    mini_tree: Path, mini_pack_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(mini_tree, tmp_path / "OakInk", copy_function=os.symlink)
    for camera in "01":
        name = f"A01001_0001_0000__2021-09-26-19-59-58__0__12__{camera}.pkl"
        (tmp_path / "OakInk/image/anno/hand_v" / name).unlink()
    (tmp_path / "data").mkdir()
    shutil.copy(mini_pack_path, tmp_path / "data/oakink.h5")
    assert main(["doctor", "--root", "OakInk"]) == 1
    printed = capsys.readouterr().out.splitlines()
    page = (Path(__file__).parents[3] / "docs/doctor.md").read_text()
    (sample,) = re.findall(r"^```\n(root\n.*?)^```", page, re.MULTILINE | re.DOTALL)
    *lines, summary = sample.splitlines()
    assert [line for line in lines if line not in printed] == []
    assert summary.split(",")[:2] == printed[-1].split(",")[:2]  # how much is ok depends on what is installed


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--help"]) == 0
    shown = capsys.readouterr().out
    assert "The exit status is 0 when nothing is wrong (there may be warnings)" in shown
    assert "hmr doctor --root OakInk --data data/oakink.h5 --hand-model hand.npz" in shown

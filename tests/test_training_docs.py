"""docs/training.md is right: its commands run one after another, and its table of options has options."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from hmr_core.cli.main import main
from hmr_core.plugins.recipes import options
from hmr_core.plugins.registry import discover
from hmr_core.weights.checkpoint_folders import run_checkpoints

pytestmark = pytest.mark.slow

PAGE = (Path(__file__).parents[1] / "docs/training.md").read_text(encoding="utf-8")
EPOCHS = {None: "2", "100": "1", "20": "3", "5": "1", "1": "1"}
"""How many epochs a command of the page is given here, by how many it has there; no run there is as long."""


def shortened(command: list[str]) -> list[str]:
    """A command of the page, as short as a test can wait for."""
    given = command[command.index("--epochs") + 1] if "--epochs" in command else None
    rest = [word for word in command if word not in ("--epochs", given)]
    return [*rest, "--device", "cpu", *([] if given is None and "--resume" in command else ["--epochs", EPOCHS[given]])]


@pytest.fixture(scope="module")
def folder(mini_pack_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder in which the page's commands were typed, but for those that need a GPU or a download."""
    folder = tmp_path_factory.mktemp("training")
    (folder / "data").mkdir()
    (folder / "data/oakink.h5").symlink_to(mini_pack_path)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("HMR_DATA", "HMR_HAND_MODEL", "HMR_PLUGINS"):
            patch.delenv(name, raising=False)
        patch.chdir(folder)
        blocks = re.findall(r"^```\w*\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
        typed = [line.split("  #")[0] for block in blocks for line in block.splitlines() if line.startswith("hmr ")]
        commands = [shlex.split(line)[1:] for line in typed if "--recipe tiny" in line or "--resume" in line]
        assert (len(typed), len(commands)) == (15, 11)
        for command in commands:
            assert main(shortened(command)) == 0, command
    return folder


def test_what_its_commands_leave_is_there(folder: Path) -> None:
    runs = {path.name: json.loads((path / "config.json").read_text()) for path in (folder / "runs").iterdir()}
    assert {name for name in runs if "overfit" in name or "limit" in name} != set()
    lengthened = runs["short"]
    assert lengthened["recipe"]["train"]["epochs"] == 3
    assert len(lengthened["lengthened"]) == 1
    assert run_checkpoints(folder / "runs/short")[-1].name == "epoch-0003"
    (mixture,) = [values["data"] for values in runs.values() if len(values["data"]) > 1]
    assert [(pack["name"], pack["split"], pack["share"]) for pack in mixture] == [
        ("oakink-sp0", "sp0", pytest.approx(0.7)), ("oakink-sp1", "sp1", 0.3)
    ]  # fmt: skip
    started = [values["init"] for values in runs.values() if values["init"] is not None]
    assert [init["partial"] for init in started] == [False, True]


def test_its_options_are_options() -> None:
    named = set(re.findall(r"`train\.(\w+)[=`]", PAGE)) - {"log"}  # which is a file
    there = {key.removeprefix("train.") for key in options(discover().model("integral")) if key.startswith("train.")}
    assert named <= there

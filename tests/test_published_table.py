"""The page on the protocol: its table against what the models' specs say, its commands, and the options it names."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hmr_core.errors import UsageError
from hmr_core.metrics import METRICS
from hmr_core.plugins.recipes import load_recipe
from hmr_core.plugins.registry import Registry, discover
from hmr_core.plugins.solver_presets import solver_config

PAGE = (Path(__file__).parents[1] / "docs/protocol.md").read_text()
MODELS = {"Integral-Pose + IKNet": "integral", "RLE + IKNet": "rle", "I2L-MeshNet": "i2l"}
SPLITS = ("sp0", "sp1", "sp2")
ROWS = [(model, split) for model in MODELS.values() for split in SPLITS]


@pytest.fixture(scope="module")
def registry() -> Registry:
    return discover()


def section(title: str) -> str:
    return PAGE.split(f"## {title}\n")[1].split("\n## ")[0]


def cells_of(text: str) -> list[list[str]]:
    """A table's rows, without its head."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
    return rows[2:]


def published() -> dict[str, dict[str, dict[str, float]]]:
    """The page's table, by model and split."""
    table: dict[str, dict[str, dict[str, float]]] = {}
    model = ""
    for title, split, *figures in cells_of(section("The published table")):
        model = MODELS[title] if title else model
        table.setdefault(model, {})[split.lower()] = dict(zip(METRICS, map(float, figures), strict=True))
    return table


def test_the_table_is_that_of_the_models(registry: Registry) -> None:
    assert published() == {name: registry.model(name).published for name in MODELS.values()}


@pytest.mark.parametrize(("model", "split"), ROWS)
def test_auc_is_what_mpjpe_suggests(model: str, split: str) -> None:
    """Errors beyond 50 mm cost no more than those of 50, so it is above that, not below."""
    figures = published()[model][split]
    assert -0.0005 < figures["pck_auc_0_50mm"] - (1 - figures["mpjpe_mm"] / 50) < 0.006


@pytest.mark.parametrize(("model", "split"), ROWS)
def test_each_row_has_its_commands(model: str, split: str, registry: Registry) -> None:
    """From training, and from a released file; that they parse is tested with all pages'."""
    released = registry.model(model).released
    assert released is not None
    hand = " --hand-model hand.npz"
    solver = "" if model == "i2l" else " --solver iknet --solver-ckpt iknet.pt"
    evaluation = f"hmr eval {model} --ckpt {{}} --split {split}{solver}{hand}"
    commands = section("How to reproduce each row").splitlines()
    training = f"hmr train {model} --split {split}" + (hand if registry.model(model).needs_hand else "")
    place = commands.index(training)
    assert commands[place + 1] == evaluation.format(f"runs/{model}-{split}-published")
    ours = evaluation.format(f"released/{split}/{released.file}") + f" --out eval/released/{model}-{split}"
    assert ours in commands


def test_the_options_that_the_page_names_are_there(registry: Registry) -> None:
    """In the third column: `key=value` of some model's recipe, and `--solver-set key=value` of the solver."""
    text = section("Where the published code does something a reader would not expect, and what we do")
    ways = [code for row in cells_of(text) for code in re.findall(r"`([^`]*=[^`]*)`", row[2])]
    assert len(ways) >= 10
    for way in ways:
        assert is_option(registry, way), way


def is_option(registry: Registry, way: str) -> bool:
    if way.startswith("--solver-set "):
        solver_config(registry.solver("iknet"), "published", [way.removeprefix("--solver-set ")])
        return True
    found = []
    for name in MODELS.values():
        spec = registry.model(name)
        try:
            found.append(load_recipe(spec, "published", [way]) != load_recipe(spec, "published"))
        except UsageError:
            continue
    return any(found)


def test_an_option_that_is_not_there_is_seen(registry: Registry) -> None:
    assert not is_option(registry, "train.clipnorm=3")
    with pytest.raises(UsageError, match="unknown option"):
        is_option(registry, "--solver-set groups=1")

"""Which hand model a command finds, and what it says of it."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import click
import pytest
import torch
from click.testing import CliRunner

from hmr_core.cli.options import hand_layer_option, hand_model_option
from hmr_core.errors import HmrError
from hmr_core.hand.layer_names import HAND_LAYERS
from hmr_core.hand.model import save_hand_model
from hmr_core.hand.source import find_hand_model, require_side
from hmr_core.hand.synthetic import load_synthetic_hand


def write(path: Path, **changes: str) -> Path:
    save_hand_model(replace(load_synthetic_hand(), **changes), path)
    return path


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HMR_HAND_MODEL", raising=False)


def test_nothing_given_is_the_synthetic_hand() -> None:
    found = find_hand_model(None)
    assert torch.equal(found.model.template, load_synthetic_hand().template)
    assert found.label == "the synthetic right hand (no hand model was given, and HMR_HAND_MODEL names none)"
    assert found.as_report() == {
        "name": "synthetic", "side": "right", "synthetic": True, "path": None, "blake2b": None, "source": None,
    }  # fmt: skip


def test_the_given_file_comes_before_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = write(tmp_path / "one.npz", name="mano", source="MANO_RIGHT.pkl, sha256 12")
    two = write(tmp_path / "two.npz")
    monkeypatch.setenv("HMR_HAND_MODEL", str(two))
    assert find_hand_model(None).path == two
    found = find_hand_model(one)
    assert found.label == f"{one} (mano, right)"
    assert found.as_report() == {
        "name": "mano",
        "side": "right",
        "synthetic": False,
        "path": str(one),
        "blake2b": hashlib.blake2b(one.read_bytes(), digest_size=16).hexdigest(),
        "source": "MANO_RIGHT.pkl, sha256 12",
    }


def test_the_synthetic_hand_from_a_file_is_synthetic(tmp_path: Path) -> None:
    found = find_hand_model(write(tmp_path / "hand.npz"))
    assert found.synthetic
    assert found.label == f"{tmp_path / 'hand.npz'} (the synthetic right hand)"


def test_an_empty_variable_names_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HMR_HAND_MODEL", "")
    assert find_hand_model(None).path is None


def test_a_missing_file_is_named_with_the_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "none.npz"
    with pytest.raises(HmrError) as error:
        find_hand_model(path)
    assert str(error.value).startswith(f"no hand model at {path}. `hmr mano import")
    monkeypatch.setenv("HMR_HAND_MODEL", str(path))
    with pytest.raises(HmrError) as error:
        find_hand_model(None)
    assert str(error.value).startswith(f"HMR_HAND_MODEL is {path}: no hand model at {path}. ")


def test_a_left_hand_where_a_right_one_is_needed(tmp_path: Path) -> None:
    path = write(tmp_path / "left.npz", name="mano", side="left")
    source = find_hand_model(path)
    require_side(source, "left", "this")
    with pytest.raises(HmrError) as error:
        require_side(source, "right", "OakInk-Image")
    assert str(error.value) == (
        f"OakInk-Image needs a right hand, and the hand model {path} (mano, left) is of a left one. Give a right "
        "hand's by hand_model or HMR_HAND_MODEL: `hmr mano import MANO_RIGHT.pkl --out hand.npz` makes one."
    )


def test_the_options_of_commands(tmp_path: Path) -> None:
    @click.command()
    @hand_model_option
    @hand_layer_option
    def command(hand_model: Path | None, hand_layer: str) -> None:
        click.echo(f"{hand_model!r} {hand_layer}")

    assert CliRunner().invoke(command, []).output == "None own\n"
    given = CliRunner().invoke(command, ["--hand-model", "a.npz", "--hand-layer", "manotorch"])
    assert given.output == f"{Path('a.npz')!r} manotorch\n"
    wrong = CliRunner().invoke(command, ["--hand-layer", "other"])
    assert "'other' is not one of 'own', 'manotorch'" in wrong.output
    assert HAND_LAYERS == ("own", "manotorch")
